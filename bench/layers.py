#!/usr/bin/env python3
"""layers.py NNC FILE.nn [--few N] [--many N] [--set NAME] [--runs N] [--beside NNC]: time of compilation against the number of layers.

Compiles the program with few and with many layers in turn and prints for each the median and the best time in milliseconds, the part of it before
code, and the ratio of the medians. `--beside` measures another build in the same turns. Run it where the program's data paths lead somewhere.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys


def compile_once(nnc, program, name, layers):
    command = [nnc, "bench", program, "--set", f"{name}={layers}", "--turns", "1", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}")
    figures = json.loads(done.stdout)
    return figures["compile_ms"], figures["passes_ms"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("nnc")
    parser.add_argument("program")
    parser.add_argument("--few", type=int, default=4)
    parser.add_argument("--many", type=int, default=24)
    parser.add_argument("--set", default="Layers", help="the dimension that counts layers")
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--beside")
    options = parser.parse_args()
    builds = [os.path.abspath(nnc) for nnc in (options.nnc, options.beside) if nnc]
    times = {(nnc, layers): [] for nnc in builds for layers in (options.few, options.many)}
    for _ in range(options.runs):
        for nnc, layers in times:
            times[nnc, layers].append(compile_once(nnc, options.program, options.set, layers))
    for nnc in builds:
        medians = []
        for layers in (options.few, options.many):
            compiled, passes = zip(*times[nnc, layers])
            medians.append(statistics.median(compiled))
            print(f"{nnc}: {layers} layers {medians[-1]:.0f} ms (best {min(compiled):.0f}), before code {statistics.median(passes):.0f} ms (best {min(passes):.0f})")
        print(f"{nnc}: {options.many} layers take {medians[1] / medians[0]:.2f} times as long as {options.few}")


main()
