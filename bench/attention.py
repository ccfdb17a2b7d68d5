#!/usr/bin/env python3
"""attention.py NNC [--threads N] [--turns N] [--dropout RATE] [T,D,BATCH ...]: forward and backward of attention.nn's causal attention beside PyTorch's scaled_dot_product_attention.

Both are measured in turns in one run, so that both see the same machine; each turn gives a ratio, and medians are printed. Of nnc these are the attention's eight kernels, two row-wise ones and
six products, as `nnc bench` times them, with --dropout one of the shares among them; of PyTorch the function and its backward alone, for queries, keys and values [B, T, 4, D]. Needs numpy and torch.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import torch

HEADS = 4
SIZES = ["64,32,16", "256,64,4", "512,64,2", "1024,64,1", "2048,64,1"]


def peer_microseconds(positions, width, batch, dropout, seconds=0.7):
    torch.manual_seed(1)
    q, k, v = (torch.randn(batch, positions, HEADS, width, requires_grad=True) for _ in range(3))
    gradient = torch.randn(batch, positions, HEADS, width)
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        q.grad = k.grad = v.grad = None
        begin = time.perf_counter()
        y = torch.nn.functional.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, dropout_p=dropout).transpose(1, 2)
        y.backward(gradient)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def is_attention(name):
    """Products and rows of scores; what scales queries, keys and values is a row-wise kernel with another number."""
    part, _, number = name.removeprefix("attention.").partition(".")
    return name.startswith("attention.") and (part == "contract" or (part == "rows" and number in ("", "2")))


def own_microseconds(nnc, folder, positions, width, batch, threads):
    command = [nnc, "bench", str(folder / "attention.nn"), "--threads", str(threads), "--turns", "5", "--json",
               "--set", f"Ctx={positions}", f"D={width}", f"data.batch={batch}"]
    kernels = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["kernels"]
    times = [k["us"] for k in kernels if is_attention(k["name"])]
    assert len(times) == 8, [k["name"] for k in kernels]
    return sum(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nnc")
    parser.add_argument("sizes", nargs="*", default=SIZES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--dropout", type=float, default=0.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    nnc = str(Path(options.nnc).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = Path(__file__).with_name("attention.nn").read_text()
        shares = "softmax(score, over: S)"
        assert shares in text
        if options.dropout:
            text = text.replace(shares, f"dropout({shares}, rate: {options.dropout})")
        (folder / "attention.nn").write_text(text)
        for size in options.sizes:
            positions, width, batch = map(int, size.split(","))
            rows = numpy.random.default_rng(1).standard_normal((batch, positions, width * HEADS), dtype=numpy.float32)
            numpy.save(folder / "x.npy", rows)
            ours, theirs = [], []
            for _ in range(options.turns):
                theirs.append(peer_microseconds(positions, width, batch, options.dropout))
                ours.append(own_microseconds(nnc, folder, positions, width, batch, options.threads))
            ratios = sorted(t / o for o, t in zip(ours, theirs))
            print(f"T {positions}, D {width}, {batch} x {HEADS} heads: nnc {statistics.median(ours) / 1e3:.2f} ms, PyTorch {torch.__version__} {statistics.median(theirs) / 1e3:.2f} ms: "
                  f"nnc is {statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} turns)", flush=True)


main()
