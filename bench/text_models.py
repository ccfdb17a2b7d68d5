#!/usr/bin/env python3
"""text_models.py NNC GPT.nn LSTM.nn [--threads N] [--turns N]: a training step of a transformer and of an LSTM over characters beside PyTorch's and JAX's.

The programs: one like examples/transformer.nn with 4 layers of 128 numbers, 4 heads, 64 positions, a vocabulary of 65 and a batch of 16; one with an embedding of 64, an LSTM of 128 and a dense layer, 64 steps and a batch of
32. The peers compute the same step: cross-entropy, its gradients, their norm clipped to 1, AdamW (Adam for the LSTM). PyTorch runs its own modules (scaled_dot_product_attention, nn.LSTM) with its default optimisers, JAX one
compiled function, whose parameters it may overwrite. All are measured in turns in one run; each turn gives ratios, and medians are printed. Needs torch; JAX if it is there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

VOCAB, POSITIONS = 65, 64
MODEL, HEADS, LAYERS, GPT_BATCH = 128, 4, 4, 16
EMBEDDED, HIDDEN, LSTM_BATCH = 64, 128, 32


def median_of(step, seconds=1.5):
    step(), step()
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def torch_steps(threads):
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(1)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(MODEL), nn.LayerNorm(MODEL)
            self.query, self.key, self.value, self.project = (nn.Linear(MODEL, MODEL) for _ in range(4))
            self.up, self.down = nn.Linear(MODEL, 4 * MODEL), nn.Linear(4 * MODEL, MODEL)

        def forward(self, x):
            y = self.ln1(x)
            q, k, v = (part(y).view(*x.shape[:2], HEADS, -1).transpose(1, 2) for part in (self.query, self.key, self.value))
            x = x + self.project(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape))
            return x + self.down(F.gelu(self.up(self.ln2(x))))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.position = nn.Parameter(0.02 * torch.randn(VOCAB, MODEL)), nn.Parameter(0.02 * torch.randn(POSITIONS, MODEL))
            self.blocks, self.final = nn.Sequential(*(Block() for _ in range(LAYERS))), nn.LayerNorm(MODEL)

        def forward(self, tokens):
            return self.final(self.blocks(self.token[tokens] + self.position)) @ self.token.T

    class Lstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.lstm, self.out = nn.Embedding(VOCAB, EMBEDDED), nn.LSTM(EMBEDDED, HIDDEN, batch_first=True), nn.Linear(HIDDEN, VOCAB)

        def forward(self, tokens):
            return self.out(self.lstm(self.embed(tokens))[0])

    def step_of(model, batch, optimizer):
        tokens, following = torch.randint(VOCAB, (2, batch, POSITIONS))

        def step():
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(tokens).flatten(0, 1), following.flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        return step

    gpt, lstm = Gpt(), Lstm()
    return {"gpt": step_of(gpt, GPT_BATCH, torch.optim.AdamW(gpt.parameters(), lr=1e-3, weight_decay=0.1)), "lstm": step_of(lstm, LSTM_BATCH, torch.optim.Adam(lstm.parameters(), lr=2e-3))}


def jax_steps():
    import jax
    import jax.numpy as jnp

    def normed(p, x):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["weight"] + p["bias"]

    def dense(p, x):
        return x @ p["weight"] + p["bias"]

    def attended(p, x):
        q, k, v = (dense(p[name], x).reshape(*x.shape[:2], HEADS, -1) for name in ("query", "key", "value"))
        score = jnp.einsum("bthd,bshd->bhts", q, k) / (MODEL // HEADS) ** 0.5
        past = jnp.tril(jnp.ones((POSITIONS, POSITIONS), bool))
        return dense(p["project"], jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(jnp.where(past, score, -jnp.inf)), v).reshape(x.shape))

    def gpt(p, tokens):
        x = p["token"][tokens] + p["position"]
        for block in p["blocks"]:
            x = x + attended(block, normed(block["ln1"], x))
            x = x + dense(block["down"], jax.nn.gelu(dense(block["up"], normed(block["ln2"], x)), approximate=False))
        return normed(p["final"], x) @ p["token"].T

    def lstm(p, tokens):
        inputs = jnp.swapaxes(dense(p["input"], p["embed"][tokens]), 0, 1)

        def cell(carry, z):
            h, c = carry
            i, f, g, o = jnp.split(z + h @ p["recurrent"], 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((tokens.shape[0], HIDDEN))
        return dense(p["out"], jnp.swapaxes(jax.lax.scan(cell, (zero, zero), inputs)[1], 0, 1))

    def step_of(model, parameters, batch, decay):
        def loss(p, tokens, following):
            return -jnp.take_along_axis(jax.nn.log_softmax(model(p, tokens)), following[..., None], -1).mean()

        def advance(p, m, v, count, tokens, following):
            gradient = jax.grad(loss)(p, tokens, following)
            norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradient)))
            gradient = jax.tree.map(lambda g: g * jnp.minimum(1, 1 / (norm + 1e-6)), gradient)
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
            a, b = 1 - 0.9**count, 1 - 0.999**count
            return jax.tree.map(lambda p, m, v: p - 1e-3 * (m / a / (jnp.sqrt(v / b) + 1e-8) + decay * p), p, m, v), m, v, count + 1

        advance = jax.jit(advance, donate_argnums=(0, 1, 2, 3))
        tokens, following = jax.random.randint(jax.random.key(1), (2, batch, POSITIONS), 0, VOCAB)
        state = [parameters, jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters), jnp.float32(1)]

        def step():
            state[:] = advance(*state, tokens, following)
            jax.block_until_ready(state)

        return step

    keys = iter(jax.random.split(jax.random.key(2), 100))
    matrix = lambda *shape: 0.05 * jax.random.normal(next(keys), shape)  # noqa: E731
    layer = lambda inputs, outputs: {"weight": matrix(inputs, outputs), "bias": jnp.zeros(outputs)}  # noqa: E731
    norm = lambda: {"weight": jnp.ones(MODEL), "bias": jnp.zeros(MODEL)}  # noqa: E731
    block = lambda: {"ln1": norm(), "ln2": norm(), "up": layer(MODEL, 4 * MODEL), "down": layer(4 * MODEL, MODEL), **{name: layer(MODEL, MODEL) for name in ("query", "key", "value", "project")}}  # noqa: E731
    of_gpt = {"token": matrix(VOCAB, MODEL), "position": matrix(POSITIONS, MODEL), "blocks": [block() for _ in range(LAYERS)], "final": norm()}
    of_lstm = {"embed": matrix(VOCAB, EMBEDDED), "input": layer(EMBEDDED, 4 * HIDDEN), "recurrent": matrix(HIDDEN, 4 * HIDDEN), "out": layer(HIDDEN, VOCAB)}
    return {"gpt": step_of(gpt, of_gpt, GPT_BATCH, 0.1), "lstm": step_of(lstm, of_lstm, LSTM_BATCH, 0.0)}


def own_seconds(nnc, file, threads):
    run = subprocess.run([nnc, "bench", file.name, "--threads", str(threads), "--json"], cwd=file.parent, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)["step_us"] * 1e-6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nnc", type=Path)
    parser.add_argument("gpt", type=Path)
    parser.add_argument("lstm", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    # XLA asks how many cores it has once, when it starts.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:options.threads])
    peers = {"PyTorch": torch_steps(options.threads)}
    try:
        peers["JAX"] = jax_steps()
    except ImportError:
        print("JAX is not there", file=sys.stderr)
    for name, file in (("gpt", options.gpt.resolve()), ("lstm", options.lstm.resolve())):
        ratios = {peer: [] for peer in peers}
        own, theirs = [], {peer: [] for peer in peers}
        for _ in range(options.turns):
            own.append(own_seconds(options.nnc.resolve(), file, options.threads))
            for peer, steps in peers.items():
                theirs[peer].append(median_of(steps[name]))
                ratios[peer].append(theirs[peer][-1] / own[-1])
        beside = ", ".join(f"{peer} {statistics.median(theirs[peer]) * 1e3:.2f} ms: nnc is {statistics.median(r):.2f} times as fast ({min(r):.2f} to {max(r):.2f})" for peer, r in ratios.items())
        print(f"{name}, {options.threads} thread(s), {options.turns} turns: nnc {statistics.median(own) * 1e3:.2f} ms, {beside}")


if __name__ == "__main__":
    main()
