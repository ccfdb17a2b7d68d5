"""kill -9 of a random worker at random moments of a run that several share.

    python3 tests/state/kill_workers.py --build build --points 10 [--seed N] [--transport openmpi]

As kill_points.py, but that each start of a run has another number of workers, of which one is killed. What the chain must come to are the bits of one worker that was never interrupted:
optimisers' states, which between saves each worker has a share of alone, among them. The seed is printed; a failure names the point.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import kill_points

OPENMPI = ["mpirun.openmpi", "--oversubscribe", "--allow-run-as-root"]  # the only one with which more workers than cores come along
RULES = ("sgd(lr: 0.05, momentum: 0.9)", "adam(lr: 0.002), clip_norm: 1")


def children_of(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class WorkerChain(kill_points.Chain):
    transport = "local"

    def __init__(self, nnc, folder, steps, save_every):
        super().__init__(nnc, folder, steps, save_every)
        self.numbers = random.Random(f"{self.seed} {folder.name}")
        if self.transport != "local":
            self.environment["TMPDIR"] = tempfile.gettempdir()  # where MPI has files of its own

    def command(self):
        # The reference is what one worker does.
        workers = 1 if self.folder.name == "reference" else self.numbers.randint(2, 5)
        own = [*super().command(), "--set", "data.pieces=8"]
        if workers == 1 or self.transport == "local":
            return [*own, "--workers", str(workers)]
        return [*OPENMPI, "-np", str(workers), *own]

    def kill(self, run, draw):
        if self.transport == "local":
            workers = [run.pid, *children_of(run.pid)]
        else:
            give_up = time.monotonic() + 60
            while not (workers := children_of(run.pid)) and run.poll() is None and time.monotonic() < give_up:
                time.sleep(0.001)
            if not workers:
                return
        try:
            os.kill(draw.choice(workers), signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has just ended

    def is_saved(self, step):
        return True  # the first worker outlives the others, and keeps its last snapshot

    def was_killed(self, returncode, messages):
        if self.transport == "local":
            return returncode == -signal.SIGKILL or (returncode == 1 and "error[E0540]" in messages and "has died" in messages)
        return returncode != 0 and ("has died" in messages or "exited on signal 9" in messages)


def kill_workers(nnc, program, points, seed, transport="local", report=lambda text: None, steps=150):
    """kill_points.kill_chains, of `program`."""
    make = type("WorkerChain", (WorkerChain,), {"program": program, "transport": transport, "seed": seed})
    return kill_points.kill_chains(nnc, points, seed, report, steps=steps, make=make)


def write_program(folder):
    """digits.nn with rules that keep states, and a norm of the whole gradient."""
    source = kill_points.PROGRAM
    text = source.read_text()
    before, after = RULES[0], RULES[1]
    if text.count(before) != 1:
        raise kill_points.Failed(f"{source.name} has no `{before}`")
    program = Path(folder) / source.name
    program.write_text(text.replace(before, after).replace('"data/', f'"{source.parent}/data/'))
    return program


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=kill_points.ROOT / "build")
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--transport", choices=("local", "openmpi"), default="local")
    options = parser.parse_args()
    if options.transport == "openmpi" and not shutil.which(OPENMPI[0]):
        parser.error(f"{OPENMPI[0]} is not installed")
    print(f"seed {options.seed}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nnc-kill-") as folder:
        try:
            killed, chains, hits = kill_workers(options.build.resolve() / "nnc", write_program(folder), options.points, options.seed, options.transport, lambda text: print(text, flush=True))
        except kill_points.Failed as e:
            print(f"FAILED: {e}", flush=True)
            return 1
    print(f"{killed} workers killed, {hits} of them in the middle of a file; {chains} chains ended in the bits of one worker that was never interrupted; {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
