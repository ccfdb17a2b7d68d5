#!/usr/bin/env python3
"""first_step.py NNC FILE.nn [RUNS]: milliseconds from process start to the first finished training step, and peak memory.

The moment is that at which the first line of --log arrives in a pipe: compilation, reading the data and one step are behind it. The first run warms
the file cache and is not counted.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def run_once(nnc, program, folder):
    pipe = os.path.join(folder, "log")
    if not os.path.exists(pipe):
        os.mkfifo(pipe)
    start = time.monotonic()
    process = subprocess.Popen([nnc, "train", program, "--steps", "1", "--quiet", "--log", pipe, "--out", os.path.join(folder, "w.safetensors")],
                               stdout=subprocess.DEVNULL)
    with open(pipe, encoding="utf-8") as log:
        line = log.readline()
        elapsed = time.monotonic() - start
        log.read()
    if process.wait() != 0 or not line:
        sys.exit(f"{nnc} ended with status {process.returncode}")
    return elapsed * 1000


def main():
    nnc, program = os.path.abspath(sys.argv[1]), sys.argv[2]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    with tempfile.TemporaryDirectory() as folder:
        run_once(nnc, program, folder)
        times = sorted(run_once(nnc, program, folder) for _ in range(runs))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"first step after {times[0]:.0f} ms at best, {statistics.median(times):.0f} ms median, {times[-1]:.0f} ms at worst of {runs}; peak memory {peak:.0f} MB")


main()
