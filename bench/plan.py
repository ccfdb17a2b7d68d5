"""What `nnc plan` says beside what `nnc train` takes, as ratios: workers that share memory, and workers of OpenMPI over TCP on this host.

    ninja -C build nnc nnc_worker && python3 bench/plan.py build [FILE.nn --set data.pieces=4 ...] [--workers 1,2,4] [--over memory,tcp] [--steps 30]

Without FILE: bench/wide.nn. All workers have one thread. The two figures of TCP are measured by bench/exchange.py's worker between as many workers, with as many bytes as the step publishes; training's time is that from
chunk to chunk of its log, behind the first third of the steps. Both are run in turns, and of each the best counts, since other processes only add to them.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from exchange import TCP, network_of

parser = argparse.ArgumentParser()
parser.add_argument("build", type=Path)
parser.add_argument("file", type=Path, nargs="?", default=Path(__file__).with_name("wide.nn"))
parser.add_argument("--set", nargs="*", default=[])
parser.add_argument("--workers", default="1,2,4")
parser.add_argument("--over", default="memory,tcp")
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--runs", type=int, default=3)
options = parser.parse_args()
nnc = options.build.resolve() / "nnc"
settings = [word for value in (options.set or ["data.pieces=4"]) for word in ("--set", value)]
counts = [int(n) for n in options.workers.split(",")]


def lines_of(*command):
    result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return [json.loads(line) for line in result.stdout.splitlines()]


def seconds_of_step(log):
    """Lines of a chunk of steps come at once: the time between the ends of two chunks, over the steps between them."""
    times = [json.loads(line)["seconds"] for line in log.read_text().splitlines()]
    mean = times[-1] / len(times)
    ends = [i for i in range(len(times) - 1) if times[i + 1] - times[i] > mean / 5] + [len(times) - 1]
    begin = next(i for i in ends if i >= len(times) // 3)
    return (times[-1] - times[begin]) / (len(times) - 1 - begin)


def trained(workers, over):
    launcher = [*TCP, "-np", workers] if over == "tcp" and workers > 1 else []
    own = ["--workers", workers] if not launcher else []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        command = [*launcher, nnc, "train", options.file.resolve(), *settings, *own, "--threads", 1, "--steps", options.steps, "--quiet", "--log", log, "--out", Path(folder) / "w.safetensors"]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, timeout=600)
        return seconds_of_step(log)


def network_words(workers, over):
    """Options of `nnc plan`, and the figures of the network as text."""
    if over != "tcp" or workers == 1:
        return [], "-"
    shared = lines_of(nnc, "summary", options.file, *settings, "--workers", workers, "--json")[0]["shared"]
    network = network_of(options.build, TCP, workers, sum(p["bytes"] for p in shared["published"]))
    return ["--network", network, "--per-host", workers], network


def planned(workers, words):
    return lines_of(nnc, "plan", options.file, *settings, "--workers", workers, "--threads", 1, *words, "--json")[-1]


print(f"{options.file.name}, {' '.join(options.set or ['data.pieces=4'])}, {os.cpu_count()} cores\n")
print("| workers | over | network | itself | exchange, publish | planned | trained | planned / trained |")
print("| --- | --- | --- | --- | --- | --- | --- | --- |")
for over in options.over.split(","):
    for workers in counts:
        words, network = network_words(workers, over)
        turns = [(planned(workers, words), trained(workers, over) * 1e3) for _ in range(options.runs)]
        plan, measured = min((turn[0] for turn in turns), key=lambda line: line["step_us"]), min(turn[1] for turn in turns)
        step, own = plan["step_us"] / 1e3, plan["own_us"] / 1e3
        print(f"| {workers} | {over} | {network} | {own:.3g} ms | {step - own:.3g} ms | {step:.3g} ms | {measured:.3g} ms | {step / measured:.2f} |", flush=True)
