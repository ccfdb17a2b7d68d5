#!/usr/bin/env python3
"""Breaks the compiler on purpose, one place at a time, and shows that the tests notice.

    tests/mutation/mutate.py [--work FOLDER] [--workers N] [NAME...]

Works on copies of the tree in FOLDER (default: build/mutation), one per worker, each built once; then, for every mutant (README.md), applies it, builds,
and runs the suites until one fails. NAMEs, or beginnings of names, choose some. Results are kept in FOLDER/results.json, so that a run can be continued;
a run of all mutants, or --table, writes them to RESULTS.md. Exit status 1 if a mutant survived.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from mutants import RESULTS, ROOT, SUITES, read_mutants, read_table, table

NOT_CAUGHT = ("nothing", "does not build")
TIMED_OUT = "timed out"
MEMORY = 8 << 30


def copy_tree(target):
    """The files of the working tree that git knows, with times kept, so that only what differs is built again."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=True).stdout.decode().split("\0")
    wanted = {n for n in names if n and (ROOT / n).is_file()}
    for name in wanted:
        here, there = ROOT / name, target / name
        if there.exists() and there.read_bytes() == here.read_bytes():
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(here, there)
    for path in [p for p in target.rglob("*") if p.is_file() and str(p.relative_to(target)) not in wanted]:
        path.unlink()


def write_table(results):
    """What this machine has not run stays as it was noted."""
    noted = read_table(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(table(read_mutants(), noted | {name: result["caught"] for name, result in results.items()}), encoding="utf-8")


class Tree:
    """A copy and its build."""

    def __init__(self, folder, jobs, llvm):
        self.source, self.build, self.jobs, self.llvm = folder / "source", folder / "build", jobs, llvm
        self.environment = {**os.environ, "NNC": str(self.build / "nnc"), "NO_COLOR": "1", "PYTHONPATH": str(self.source / "tests")}

    def command(self, *arguments, seconds=1800):
        """(succeeded, output); a hang counts as a failure, and so does taking all memory."""
        limit = (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1])
        try:
            done = subprocess.run([str(a) for a in arguments], cwd=self.source, env=self.environment, timeout=seconds, capture_output=True,
                                  text=True, errors="replace", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))
            return done.returncode == 0, done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            return False, TIMED_OUT

    def prepare(self):
        """Builds the copy before anything is broken."""
        ok, text = self.command("cmake", "-S", self.source, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DNNC_TESTS=ON")
        if ok:
            ok, text = self.make(os.cpu_count())
        return ok or sys.exit(text[-4000:])

    def make(self, jobs=None):
        return self.command("ninja", "-C", self.build, f"-j{jobs or self.jobs}", "nnc", "nnc_unit_tests", "nnc_run_tests", "nnc-fuzz")

    def suites(self, only, first=None):
        """Name and command of every suite: `first`, then the quickest to notice."""
        check = [sys.executable, "-m", "unittest", "-f"]
        commands = {
            "unit": [self.build / "nnc_unit_tests", "-a"],
            "lit": [sys.executable, f"{self.llvm}/build/utils/lit/lit.py", "-q", f"--param=build={self.build}", f"--param=llvm={self.llvm}",
                    *(self.source / p for p in ["tests/lit/ir", "tests/lit/passes", "tests/lit/kernels", "tests/lit/runs", "tests/lit/driver"])],
            "run": [self.build / "nnc_run_tests", "-a"],
            "random": [*check, self.source / "tests/check_random.py"],
            "trajectories": [*check, self.source / "tests/trajectories/check_trajectories.py"],
            "training": [*check, self.source / "tests/check_training.py"],
            "workers": [*check, "check_accumulate", "check_shared_training.SameBits", "check_shared_evaluation", "check_shared_training.Disturbed.test_an_interruption_loses_nothing"],
            "fuzz": [*check, self.source / "tests/check_fuzz.py"],
        }
        everything = [(name, commands[name]) for name in SUITES]
        everything.sort(key=lambda suite: suite[0] != first)
        return [(name, command) for name, command in everything if not only or name in only]

    def first_failure(self, only, first=None):
        """(suite, last lines) of the first suite that fails, or None."""
        for name, command in self.suites(only, first):
            # What is broken must not take minutes to show: an endless loop is a failure, too.
            ok, text = self.command(*command, seconds=600)
            if not ok:
                return name + (" (no end)" if text == TIMED_OUT else ""), text[-2000:]
        return None

    def try_mutant(self, mutant, only, first):
        """(what noticed it or why nothing could, last lines)."""
        path = self.source / mutant.path
        original = path.read_text(encoding="utf-8")
        if faults := mutant.faults(original):
            return "does not build", "\n".join(faults)
        try:
            path.write_text(mutant.apply(original), encoding="utf-8")
            ok, text = self.make()
            return self.first_failure(only, first) or ("nothing", "") if ok else ("does not build", text[-3000:])
        finally:
            path.write_text(original, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--work", type=Path, default=ROOT / "build/mutation")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="copies of the tree that work side by side")
    parser.add_argument("--llvm", default="/usr/lib/llvm-19")
    parser.add_argument("--again", action="store_true", help="also mutants that were caught before")
    parser.add_argument("--suites", default="", help="only these, separated by commas")
    parser.add_argument("--table", action="store_true", help="write the results so far to RESULTS.md and stop")
    options = parser.parse_args()
    results_path = options.work / "results.json"
    results = json.loads(results_path.read_text()) if results_path.exists() else {}
    mutants = [m for m in read_mutants() if not options.names or any(m.name.startswith(n) for n in options.names)]
    if options.table:
        write_table(results)
        return 0
    only = [s for s in options.suites.split(",") if s]
    waiting = [m for m in mutants if options.again or results.get(m.name, {}).get("caught") in (None, *NOT_CAUGHT)]
    workers = min(options.workers, len(waiting))
    trees = [Tree(options.work.resolve() / f"tree-{i}", max(1, os.cpu_count() // workers), options.llvm) for i in range(workers)]
    for tree in trees:
        copy_tree(tree.source)  # all of them now: what is edited later is not tested
    for tree in trees:
        tree.prepare()
    if not results and trees:
        print("every suite must pass before anything is broken ...", flush=True)
        if failed := trees[0].first_failure(only):
            sys.exit(f"{failed[0]} fails without any mutant:\n{failed[1]}")
    lock, noticed_last = threading.Lock(), {}  # the suite that noticed the last mutant of a file comes first for the next

    def work(tree):
        while True:
            with lock:
                if not waiting:
                    return
                m = waiting.pop(0)
                first = noticed_last.get(m.path)
            begin = time.monotonic()
            caught, detail = tree.try_mutant(m, only, first)
            with lock:
                if caught not in NOT_CAUGHT:
                    noticed_last[m.path] = caught.split()[0]
                results[m.name] = {"caught": caught, "seconds": round(time.monotonic() - begin, 1), "detail": detail}
                results_path.write_text(json.dumps(results, indent=1))
                print(f"{len(waiting):4} to go  {m.name:36} {caught:14} {results[m.name]['seconds']:6.1f} s", flush=True)
                if caught == "does not build":
                    print(detail[-1500:], flush=True)

    threads = [threading.Thread(target=work, args=[tree]) for tree in trees]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not options.names:
        write_table(results)
    survived, broken = (sum(results.get(m.name, {}).get("caught") == fate for m in mutants) for fate in NOT_CAUGHT)
    print(f"{len(mutants)} mutants, {survived} survived, {broken} did not build")
    return 1 if survived or broken else 0


if __name__ == "__main__":
    sys.exit(main())
