#!/usr/bin/env python3
"""Breaks the compiler on purpose, one place at a time, and shows that the tests notice.

    tests/mutation/mutate.py [--work FOLDER] [--jobs N] [--keep-going] [NAME...]

Works on a copy of the tree in FOLDER (default: build/mutation), which it builds once; then, for every mutant (README.md), applies it, builds, and runs the
suites until one fails. NAMEs, or beginnings of names, choose some. Results are kept in FOLDER/results.json, so that a run can be continued; --table
prints them as the table of tests/README.md. Exit status 1 if a mutant survived.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mutants import ROOT, read_mutants

LIT_FIRST = ["tests/lit/passes", "tests/lit/kernels", "tests/lit/runs"]


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


class Tree:
    """The copy and its build."""

    def __init__(self, folder, jobs, llvm):
        self.source, self.build, self.jobs, self.llvm = folder / "source", folder / "build", jobs, llvm
        self.environment = {**os.environ, "NNC": str(self.build / "nnc"), "NO_COLOR": "1"}

    def command(self, *arguments, seconds=1800):
        """(succeeded, output); a hang counts as a failure."""
        try:
            done = subprocess.run([str(a) for a in arguments], cwd=self.source, env=self.environment, timeout=seconds, capture_output=True,
                                  text=True, errors="replace")
            return done.returncode == 0, done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            return False, "timed out"

    def configure(self):
        ok, text = self.command("cmake", "-S", self.source, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DNNC_TESTS=ON")
        return ok or sys.exit(text)

    def make(self):
        return self.command("ninja", "-C", self.build, f"-j{self.jobs}", "nnc", "nnc_unit_tests", "nnc_run_tests")

    def suites(self, only):
        """Name and command of every suite, the quickest to notice first."""
        everything = [
            ("unit", [self.build / "nnc_unit_tests", "-a"]),
            ("lit", [sys.executable, f"{self.llvm}/build/utils/lit/lit.py", "-q", f"--param=build={self.build}", f"--param=llvm={self.llvm}",
                     *(self.source / p for p in ["tests/lit/passes", "tests/lit/kernels", "tests/lit/runs", "tests/lit/driver"])]),
            ("run", [self.build / "nnc_run_tests", "-a"]),
            ("trajectories", [sys.executable, "-m", "unittest", "-f", self.source / "tests/trajectories/check_trajectories.py"]),
            ("training", [sys.executable, "-m", "unittest", "-f", self.source / "tests/check_training.py"]),
        ]
        return [(name, command) for name, command in everything if not only or name in only]

    def first_failure(self, only):
        """(suite, last lines) of the first suite that fails, or None."""
        for name, command in self.suites(only):
            # What is broken must not take minutes to show: an endless loop is a failure, too.
            ok, text = self.command(*command, seconds=600)
            if not ok:
                return name, text[-2000:]
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--work", type=Path, default=ROOT / "build/mutation")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--llvm", default="/usr/lib/llvm-19")
    parser.add_argument("--again", action="store_true", help="also mutants that were caught before")
    parser.add_argument("--suites", default="", help="only these, separated by commas")
    parser.add_argument("--table", action="store_true", help="print the results so far as a table and stop")
    options = parser.parse_args()
    results_path = options.work / "results.json"
    results = json.loads(results_path.read_text()) if results_path.exists() else {}
    mutants = [m for m in read_mutants() if not options.names or any(m.name.startswith(n) for n in options.names)]
    if options.table:
        print("| mutant | what is wrong | noticed by |\n| --- | --- | --- |")
        for m in mutants:
            print(f"| `{m.name}` | {m.what} | {results.get(m.name, {}).get('caught', 'not run')} |")
        return 0
    options.work.mkdir(parents=True, exist_ok=True)
    tree = Tree(options.work.resolve(), options.jobs, options.llvm)
    copy_tree(tree.source)
    tree.configure()
    ok, text = tree.make()
    if not ok:
        sys.exit(text[-4000:])
    only = [s for s in options.suites.split(",") if s]
    if not results:
        print("every suite must pass before anything is broken ...", flush=True)
        if failed := tree.first_failure(only):
            sys.exit(f"{failed[0]} fails without any mutant:\n{failed[1]}")
    survived = broken = 0
    for number, m in enumerate(mutants, 1):
        if not options.again and results.get(m.name, {}).get("caught") not in (None, "nothing", "does not build"):
            continue
        path = tree.source / m.path
        original = path.read_text(encoding="utf-8")
        if faults := m.faults(original):
            sys.exit("\n".join(faults))
        begin = time.monotonic()
        try:
            path.write_text(m.apply(original), encoding="utf-8")
            ok, text = tree.make()
            caught, detail = ("does not build", text[-3000:]) if not ok else tree.first_failure(only) or ("nothing", "")
        finally:
            path.write_text(original, encoding="utf-8")
        results[m.name] = {"caught": caught, "seconds": round(time.monotonic() - begin, 1), "detail": detail}
        results_path.write_text(json.dumps(results, indent=1))
        survived += caught == "nothing"
        broken += caught == "does not build"
        print(f"{number:4}/{len(mutants)} {m.name:36} {caught:14} {results[m.name]['seconds']:6.1f} s", flush=True)
        if caught == "does not build":
            print(detail[-1500:], flush=True)
    print(f"{len(mutants)} mutants, {survived} survived, {broken} did not build")
    return 1 if survived or broken else 0


if __name__ == "__main__":
    sys.exit(main())
