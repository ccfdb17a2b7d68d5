#!/usr/bin/env python3
"""What training loses when every core is shared with another busy process, as a share of the ideal: half the speed it has alone.

    python3 bench/oversubscribed.py build/nnc bench/wide.nn --set data.batch=32

Steps are timed in turns without and with one competing busy loop per core, so that both see the same machine; the medians are compared. A turn in which
other processes took more than a twentieth of the machine is measured again (at most so many times), for their share would count as loss or as gain.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys


def machine_ticks():
    """(busy, all) clock ticks of all cores."""
    with open("/proc/stat") as file:
        values = [int(word) for word in file.readline().split()[1:9]]
    idle = values[3] + values[4]
    return sum(values) - idle, sum(values)


def child_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def measure(command, competitors):
    """(microseconds a step, share of the machine that others took)"""
    spin = [sys.executable, "-c", "while True: pass"]
    rivals = [subprocess.Popen(spin) for _ in range(competitors)]
    try:
        before_busy, before_all = machine_ticks()
        own_before = os.times()
        rival_before = sum(child_ticks(r.pid) for r in rivals)
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        rival_after = sum(child_ticks(r.pid) for r in rivals)
        own_after = os.times()
        after_busy, after_all = machine_ticks()
    finally:
        for r in rivals:
            r.kill()
            r.wait()
    tick = os.sysconf("SC_CLK_TCK")
    own = (own_after.children_user + own_after.children_system - own_before.children_user - own_before.children_system) * tick
    others = (after_busy - before_busy) - own - (rival_after - rival_before)
    return json.loads(run.stdout)["step_us"], max(0.0, others / max(1, after_all - before_all))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nnc")
    parser.add_argument("file")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--retries", type=int, default=3)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    command = [options.nnc, "bench", options.file, "--json", "--turns", "15", "--threads", str(options.threads)]
    for value in options.set:
        command += ["--set", value]
    times = {0: [], cores: []}
    worst = 0.0
    for _ in range(options.turns):
        for competitors, found in times.items():
            tries = [measure(command, competitors)]
            while tries[-1][1] > 0.05 and len(tries) <= options.retries:
                tries.append(measure(command, competitors))
            step, others = min(tries, key=lambda t: t[1])
            worst = max(worst, others)
            found.append(step)
    alone, shared = (statistics.median(times[c]) for c in (0, cores))
    print(f"alone {alone:.0f} us a step, with a busy process on each of {cores} cores {shared:.0f} us: "
          f"{2 * alone / shared:.0%} of the ideal of half the speed ({options.threads} threads; others took at most {worst:.0%} of the machine)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
