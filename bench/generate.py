#!/usr/bin/env python3
"""generate.py NNC gpt.nn|lstm.nn WEIGHTS [CHARACTERS [TURNS]]: characters a second that a model of text writes, one thread, one text: nnc, and PyTorch with a loop of its own that keeps what earlier
positions left (keys and values of attention, the state of the LSTM).

Both read the same weights, cut the text in the same way (at a full context the last half stays; PyTorch reads it again in one call) and sample at temperature 1. They take turns; the median of each is
told, and the ratio turn by turn. nnc's start and compilation are left out: what is told is the difference between a long text and a short one. With CHARACTERS the likeliest texts of both are compared
first.
"""

import json
import os
import statistics
import struct
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

CONTEXT = 64


def read_weights(path):
    raw = open(path, "rb").read()
    size, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = torch.frombuffer(bytearray(raw[8 + size + begin:8 + size + end]), dtype=torch.float32).reshape(entry["shape"])
    return tensors, json.loads(header["__metadata__"]["nnc.vocabulary"])


class Gpt:
    """gpt.nn with keys and values kept."""

    def __init__(self, w, heads=4):
        self.w, self.heads = w, heads
        self.layers = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("blocks."))
        self.width = w["token"].shape[1]
        self.kept = [torch.zeros(2, 1, heads, CONTEXT, self.width // heads) for _ in range(self.layers)]
        self.at = 0

    def restart(self):
        self.at = 0

    def linear(self, name, x):
        return F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def norm(self, name, x):
        return F.layer_norm(x, (self.width,), self.w[name + ".weight"], self.w[name + ".bias"])

    def feed(self, tokens):
        n, begin, end = len(tokens), self.at, self.at + len(tokens)
        split = lambda x: x.view(1, n, self.heads, -1).transpose(1, 2)
        h = F.embedding(tokens, self.w["token"])[None] + self.w["position"][begin:end]
        for i in range(self.layers):
            a = f"blocks.{i}.attention."
            x = self.norm(f"blocks.{i}.ln1", h)
            kept = self.kept[i]
            kept[0, :, :, begin:end] = split(self.linear(a + "key", x))
            kept[1, :, :, begin:end] = split(self.linear(a + "value", x))
            y = F.scaled_dot_product_attention(split(self.linear(a + "query", x)), kept[0, :, :, :end], kept[1, :, :, :end], is_causal=n > 1)
            h = h + self.linear(a + "project", y.transpose(1, 2).reshape(1, n, self.width))
            h = h + self.linear(f"blocks.{i}.down", F.gelu(self.linear(f"blocks.{i}.up", self.norm(f"blocks.{i}.ln2", h))))
        self.at = end
        return F.linear(self.norm("final", h)[0, -1], self.w["token"])


class Lstm:
    """lstm.nn with its state kept."""

    def __init__(self, w):
        self.w = w
        self.layer = torch.nn.LSTM(w["lstm.weight_ih"].shape[1], w["lstm.weight_hh"].shape[1], batch_first=True)
        self.layer.load_state_dict({name + "_l0": w["lstm." + name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")})
        self.state = None

    def restart(self):
        self.state = None

    def feed(self, tokens):
        y, self.state = self.layer(F.embedding(tokens, self.w["embed.weight"])[None], self.state)
        return F.linear(y[0, -1], self.w["out.weight"], self.w["out.bias"])


def write(model, prompt, length, greedy):
    """The numbers of the characters that follow."""
    model.restart()
    seen, written = list(prompt), []
    scores = model.feed(torch.tensor(seen))
    for _ in range(length):
        token = int(scores.argmax()) if greedy else int(torch.multinomial(F.softmax(scores, dim=-1), 1))
        written.append(token)
        if len(seen) == CONTEXT:
            seen = seen[-(CONTEXT // 2):]
            model.restart()
            seen.append(token)
            scores = model.feed(torch.tensor(seen))
        else:
            seen.append(token)
            scores = model.feed(torch.tensor([token]))
    return written


def run_nnc(nnc, program, weights, prompt, length, *options):
    start = time.monotonic()
    done = subprocess.run([nnc, "predict", program, "--weights", weights, "--prompt", prompt, "--length", str(length), "--threads", "1", *options], capture_output=True, text=True, check=True)
    return time.monotonic() - start, done.stdout[len(prompt):]


def main():
    nnc, program, weights = sys.argv[1:4]
    length = int(sys.argv[4]) if len(sys.argv) > 4 else 4000
    turns = int(sys.argv[5]) if len(sys.argv) > 5 else 7
    torch.set_num_threads(1)
    w, vocabulary = read_weights(weights)
    prompt = "ROMEO:"
    numbers = [vocabulary.index(c) for c in prompt]
    with torch.inference_mode():
        model = Gpt(w) if "gpt" in os.path.basename(program) else Lstm(w)
        theirs = "".join(vocabulary[i] for i in write(model, numbers, 300, True))
        ours = run_nnc(nnc, program, weights, prompt, 300, "--temperature", "0")[1][:300]
        same = next((i for i in range(300) if theirs[i] != ours[i]), 300)
        print(f"likeliest texts: the same for {same} of 300 characters")
        rates = []
        for turn in range(turns):
            short, long = (run_nnc(nnc, program, weights, prompt, n)[0] for n in (1, length + 1))
            start = time.monotonic()
            write(model, numbers, length // 8, False)
            rates.append((length / (long - short), length // 8 / (time.monotonic() - start)))
    mine, theirs = (statistics.median(r[i] for r in rates) for i in (0, 1))
    ratios = sorted(a / b for a, b in rates)
    print(f"nnc {mine:,.0f} characters a second, PyTorch {torch.__version__} {theirs:,.0f}; {statistics.median(ratios):.1f} times as many ({ratios[0]:.1f} to {ratios[-1]:.1f} in {turns} turns)")


main()
