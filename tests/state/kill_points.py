"""kill -9 at random moments of training with frequent saves.

    python3 tests/state/kill_points.py --build build --points 200 [--seed N]

A chain is one training run that is killed and resumed until it is through. After every kill the files must be whole or not there
yet, no more than what one dead process can have left may lie about, and the checkpoint must not have gone back. A finished chain must
have the weights, the checkpoint and the log (times left out) of a run that was never interrupted, to the bit: a resumed state
that is wrong anywhere shows there. The seed is printed; a failure names the point.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "examples/digits.nn"
STEPS, SAVE_EVERY = 600, 2


class Failed(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failed(message)


def read_header(path):
    """Metadata of a safetensors file, whose every byte must be accounted for."""
    raw = path.read_bytes()
    check(len(raw) >= 8, f"{path.name} has {len(raw)} bytes")
    size, = struct.unpack_from("<Q", raw)
    check(8 + size <= len(raw), f"{path.name} is cut short in its header")
    header = json.loads(raw[8:8 + size])
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    check(max(ends) == len(raw) - 8 - size, f"{path.name} is cut short or has more bytes than tensors")
    return header.get("__metadata__", {})


class Chain:
    program = PROGRAM

    def __init__(self, nnc, folder, steps=STEPS, save_every=SAVE_EVERY):
        self.nnc, self.folder, self.steps, self.save_every = str(nnc), folder, steps, save_every
        self.out, self.checkpoint, self.log = folder / "w.safetensors", folder / "w.checkpoint.safetensors", folder / "run.jsonl"
        self.environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "TMPDIR": str(folder)}
        self.last_step = 0

    def command(self):
        resume = ["--resume", str(self.checkpoint)] if self.checkpoint.exists() else []
        return [self.nnc, "train", str(self.program), "--quiet", "--steps", str(self.steps), "--set", f"save.every={self.save_every}", "--threads", "1",
                "--out", str(self.out), "--log", str(self.log), *resume]

    def start(self):
        return subprocess.Popen(self.command(), cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def kill(self, run, draw):
        """Ends a run, or a part of it that the rest cannot do without."""
        run.kill()

    def was_killed(self, returncode, messages):
        return returncode == -9

    def is_saved(self, step):
        """Whether a killed run may leave this step's checkpoint."""
        return step % self.save_every == 0

    def run_to_end(self):
        run = self.start()
        _, messages = run.communicate(timeout=600)
        check(run.returncode == 0, f"the run ended with {run.returncode}: {messages}")

    def result(self):
        """Digests of weights and checkpoint, and the log without its times."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        for line in lines:
            line.pop("seconds")
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (self.out, self.checkpoint)], lines

    def inspect(self):
        """What a killed run has left."""
        found = {p.name for p in self.folder.iterdir()}
        stale = sorted(name for name in found if name.startswith(".nnc-"))
        check(len([n for n in stale if n.endswith(".tmp")]) <= 1 and len([n for n in stale if n.endswith(".lock")]) <= 1, f"left behind: {stale}")
        unknown = found - set(stale) - {self.out.name, self.checkpoint.name, self.log.name}
        check(not unknown, f"unknown files: {unknown}")
        if self.out.exists():
            check(read_header(self.out)["nnc.seed"] == "7", "the weights lack their seed")
        check(self.out.exists() or not self.checkpoint.exists(), "a checkpoint without the weights, which are written before it")
        if self.checkpoint.exists():
            step = int(read_header(self.checkpoint)["nnc.step"])
            check(step == self.steps or (0 < step < self.steps and self.is_saved(step)), f"a checkpoint of step {step}")
            check(step >= self.last_step, f"the checkpoint went back from step {self.last_step} to {step}")
            self.last_step = step
        if self.log.exists():
            whole, _, _ = self.log.read_text().rpartition("\n")
            numbers = [json.loads(line)["step"] for line in whole.splitlines()]
            check(numbers == list(range(1, len(numbers) + 1)), "the log has steps twice or not at all")
            check(len(numbers) >= self.last_step, "the log ends before the checkpoint")

    def eval(self):
        run = subprocess.run([self.nnc, "eval", str(self.program), "--weights", str(self.out)], env=self.environment, capture_output=True, text=True)
        check(run.returncode == 0, f"eval does not take the weights: {run.stderr}")


def kill_chains(nnc, points, seed, report=lambda text: None, steps=STEPS, save_every=SAVE_EVERY, make=Chain):
    """Kills `points` runs of what `make` makes; returns (points, finished chains, kills that hit a save). Raises Failed."""
    draw = random.Random(seed)
    base = Path(tempfile.mkdtemp(prefix="nnc-kill-"))
    try:
        (base / "reference").mkdir()
        reference = make(nnc, base / "reference", steps, save_every)
        begin = time.monotonic()
        reference.run_to_end()
        whole = time.monotonic() - begin
        expected = reference.result()
        killed = chains = hits = 0
        while killed < points:
            folder = base / f"chain{chains}"
            folder.mkdir()
            chain = make(nnc, folder, steps, save_every)
            kills = 0
            while True:
                run = chain.start()
                where = f"point {killed + 1}, chain {chains}, kill {kills + 1}"
                if killed < points and kills < 40:
                    if draw.random() < 0.85:  # in the steps and their saves; the others anywhere, also while the program is compiled
                        last = chain.log.stat().st_size if chain.log.exists() else -1
                        give_up = time.monotonic() + 60
                        while run.poll() is None and time.monotonic() < give_up:
                            if chain.log.exists() and chain.log.stat().st_size > max(last, 0):
                                break
                            time.sleep(0.001)
                        time.sleep(draw.random() * whole * 0.15)
                    else:
                        time.sleep(draw.random() * whole)
                    chain.kill(run, draw)
                _, messages = run.communicate(timeout=600)
                try:
                    if run.returncode == 1 and chain.last_step == steps and "steps already" in messages:
                        break  # killed after its last save: there was nothing left to do
                    check(run.returncode == 0 or chain.was_killed(run.returncode, messages), f"the run ended with {run.returncode}: {messages}")
                    chain.inspect()
                    if run.returncode == 0:
                        break
                    killed += 1
                    kills += 1
                    hits += any(name.name.endswith(".tmp") for name in folder.iterdir())
                    if chain.out.exists() and draw.random() < 0.1:
                        chain.eval()
                except Failed as e:
                    raise Failed(f"seed {seed}, {where}: {e}") from None
                if killed % 10 == 0:
                    report(f"{killed} of {points} kills, {chains} chains finished, {hits} kills in the middle of a file")
            check(chain.result() == expected, f"seed {seed}, chain {chains}: not the bits of an uninterrupted run after {kills} kills")
            left = [p.name for p in folder.iterdir() if p.name.startswith(".nnc-")]
            check(not left, f"seed {seed}, chain {chains}: a finished run leaves {left}")
            shutil.rmtree(folder)
            chains += 1
        return killed, chains, hits
    finally:
        shutil.rmtree(base, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begin = time.monotonic()
    try:
        killed, chains, hits = kill_chains(options.build.resolve() / "nnc", options.points, options.seed, lambda text: print(text, flush=True))
    except Failed as e:
        print(f"FAILED: {e}", flush=True)
        return 1
    print(f"{killed} kills survived, {hits} of them in the middle of a file; {chains} chains ended in the bits of an uninterrupted run; "
          f"{time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
