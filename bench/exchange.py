"""Times of exchanging gradients and publishing weights: shared memory, OpenMPI, OpenMPI over TCP, and MPICH; and the two figures that `nnc plan --network` takes.

    ninja -C build nnc_worker && python3 bench/exchange.py build [--workers 2] [--turns 5] [--over "shared memory,OpenMPI,TCP,MPICH"] [--bytes N]

Per size: what it takes until every owner has added its shard in the order of one worker, and until everybody has all new shards (`publish`), then both one after the other; the parts are the same in
every turn, or are written anew before it (`fresh`), outside of the time. Medians of many turns in a run, of each the best of several runs, since other processes only add to them.

The network's figures: latency is the time of the smallest exchange for each other worker; bandwidth what a worker receives in a second while all publish 20 MB, or as many bytes as --bytes says. They are
those of so many workers at once on these cores, so that what the CPU does for a message is in them. MPICH is left out with more workers than cores: its ranks spin, and finish nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path

OPENMPI = ["mpirun.openmpi", "--oversubscribe", "--allow-run-as-root"]
TCP = [*OPENMPI, "--mca", "btl", "tcp,self"]
LAUNCHERS = {"shared memory": [], "OpenMPI": OPENMPI, "TCP": TCP, "MPICH": ["mpirun.mpich"]}


def times_of(build, launcher, workers, size=0):
    """What nnc_worker measures; with `size` of that many bytes alone."""
    command = [Path(build).resolve() / "nnc_worker", "time", *(["--bytes", size] if size else [])]
    command = [*launcher, "-np", workers, *command] if launcher else [*command, "--workers", workers]
    result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return json.loads(result.stdout)["times"]


def best(runs):
    """The least of each figure."""
    return {size: {name: min(run[size][name] for run in runs) for name in runs[0][size]} for size in runs[0]}


def network(table, workers, name):
    """(seconds, bytes a second) of the model of docs/workers.md."""
    round_seconds = table["8 scalars"]["whole_us"] / 1e6
    received = table[name]["bytes"] * (workers - 1) / workers
    seconds = table[name]["publish_us"] / 1e6
    return round_seconds / (workers - 1), received / max(seconds - round_seconds, seconds / 10)  # the best of each, which may be of two runs


def network_text(latency, bandwidth):
    return f"{latency * 1e6:.3g}us,{bandwidth / 1e6:.4g}MB/s"


def network_of(build, launcher, workers, size, turns=3):
    """As --network takes it, for messages of a step that publishes so many bytes."""
    return network_text(*network(best([times_of(build, launcher, workers, size) for _ in range(turns)]), workers, "asked"))


def text(microseconds):
    return f"{microseconds:.3g} us" if microseconds < 1000 else f"{microseconds / 1000:.3g} ms"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--over", default=",".join(LAUNCHERS))
    parser.add_argument("--bytes", type=int, default=0)
    options = parser.parse_args()
    tables = {}
    for name in options.over.split(","):
        launcher = LAUNCHERS[name]
        if launcher and not shutil.which(launcher[0]):
            continue
        if name == "MPICH" and options.workers > len(os.sched_getaffinity(0)):
            continue
        tables[name] = best([times_of(options.build, launcher, options.workers, options.bytes) for _ in range(options.turns)])
    sizes = ["asked"] if options.bytes else ["200 KB", "4 MB", "20 MB"]
    print(f"| {options.workers} workers: shards / publish / both / both, fresh parts | " + " | ".join(sizes) + " | 8 scalars | barrier |")
    print("| --- |" + " --- |" * (len(sizes) + 2))
    for name, table in tables.items():
        cells = [" / ".join(text(table[size][f"{column}_us"]) for column in ("shards", "publish", "both", "fresh_both")) for size in sizes]
        print(f"| {name} | " + " | ".join([*cells, text(table["8 scalars"]["whole_us"]), text(table["barrier"]["us"])]) + " |")
    if options.workers > 1:
        print()
        for name, table in tables.items():
            print(f"{name}: --network {network_text(*network(table, options.workers, sizes[-1]))}")


if __name__ == "__main__":
    main()
