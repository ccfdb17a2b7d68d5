"""Times of exchanging gradients and publishing weights: shared memory, OpenMPI and MPICH.

    ninja -C build nnc_worker && python3 bench/exchange.py build [--workers 2] [--turns 5]

Per size: what it takes until every owner has added its shard in the order of one worker, and until everybody has all new shards (`publish`), then both one after the other; the parts are the same in
every turn, or are written anew before it (`fresh`), outside of the time. Medians of many turns in a run, of each the best of several runs, since other processes only add to them.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("build", type=Path)
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--turns", type=int, default=5)
options = parser.parse_args()
worker = options.build.resolve() / "nnc_worker"
number = str(options.workers)
commands = {
    "shared memory": [worker, "time", "--workers", number],
    "OpenMPI": ["mpirun.openmpi", "--oversubscribe", "--allow-run-as-root", "-np", number, worker, "time"],
    "MPICH": ["mpirun.mpich", "-np", number, worker, "time"],
}


def best(runs):
    """The least of each figure."""
    return {size: {name: min(run[size][name] for run in runs) for name in runs[0][size]} for size in runs[0]}


def text(microseconds):
    return f"{microseconds:.3g} us" if microseconds < 1000 else f"{microseconds / 1000:.3g} ms"


columns = ("shards", "publish", "both", "fresh_both")
tables = {}
for name, command in commands.items():
    if not shutil.which(command[0]):
        continue
    runs = []
    for _ in range(options.turns):
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
        runs.append(json.loads(result.stdout)["times"])
    tables[name] = best(runs)
sizes = ("200 KB", "4 MB", "20 MB")
print(f"| {options.workers} workers: shards / publish / both / both, fresh parts | " + " | ".join(sizes) + " | 8 scalars | barrier |")
print("| --- |" + " --- |" * (len(sizes) + 2))
for name, table in tables.items():
    cells = [" / ".join(text(table[size][f"{column}_us"]) for column in columns) for size in sizes]
    print(f"| {name} | " + " | ".join([*cells, text(table["8 scalars"]["whole_us"]), text(table["barrier"]["us"])]) + " |")
