#!/usr/bin/env python3
"""recommender.py NNC [--threads N] [--turns N]: a step of recommender.nn beside PyTorch's with sparse gradients and plain SGD, on the same rows.

Both are measured in turns in one run, so that both see the same machine; each turn gives a ratio, and medians are printed. PyTorch's step is the usual one: rows by index from
tensors in memory, forward, backward, step of the optimiser. Needs numpy and torch.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import torch

ITEMS, SLOTS, WIDTH, HIDDEN, BATCH, ROWS = 200_000, 8, 32, 64, 256, 16_384


def make_rows(folder):
    """Some items are chosen far more often than others."""
    random = numpy.random.default_rng(1)
    items = (ITEMS * random.random((ROWS, SLOTS)) ** 2).astype(numpy.int32)
    liked = (random.random(ROWS) < 0.5).astype(numpy.uint8)
    numpy.savez(folder / "clicks.npz", items=items, liked=liked)
    return torch.from_numpy(items.astype(numpy.int64)), torch.from_numpy(liked.astype(numpy.float32))


class Peer:
    def __init__(self, items, liked):
        torch.manual_seed(7)
        self.items, self.liked = items, liked
        self.embedding = torch.nn.Embedding(ITEMS, WIDTH, sparse=True)
        self.rest = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SLOTS * WIDTH, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 1))
        self.optimizer = torch.optim.SGD([*self.embedding.parameters(), *self.rest.parameters()], lr=0.1)
        self.loss = torch.nn.BCEWithLogitsLoss()
        self.order = torch.randperm(len(items))
        self.at = 0

    def step(self):
        rows = self.order[self.at:self.at + BATCH]
        self.at = (self.at + BATCH) % len(self.items)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.rest(self.embedding(self.items[rows])).squeeze(1), self.liked[rows])
        loss.backward()
        self.optimizer.step()

    def microseconds(self, seconds=0.5):
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin = time.perf_counter()
            self.step()
            times.append(time.perf_counter() - begin)
        return statistics.median(times) * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nnc")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peer = Peer(*make_rows(folder))
        shutil.copy(Path(__file__).with_name("recommender.nn"), folder)
        command = [str(Path(options.nnc).resolve()), "bench", str(folder / "recommender.nn"), "--threads", str(options.threads), "--turns", "7", "--json"]
        for _ in range(options.turns):
            theirs.append(peer.microseconds())
            ours.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["step_us"])
    ratios = sorted(t / o for o, t in zip(ours, theirs))
    print(f"nnc {statistics.median(ours):.0f} us a step, PyTorch {torch.__version__} with sparse gradients {statistics.median(theirs):.0f} us, "
          f"{options.threads} thread{'s' if options.threads > 1 else ''}: nnc is {statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} turns)")


main()
