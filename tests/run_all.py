#!/usr/bin/env python3
"""Runs every test of the project and adds up the counts; scripts/test calls it after the build.

Suites: unit and run (Catch2 executables), checks (tests/**/check_*.py outside tests/lit, Python's unittest), lit (tests/lit).
The last line of the output reads "N passed, N failed" over all of them; the exit status is 0 when nothing failed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_catch(executable):
    """(passed, failed) test cases of a Catch2 executable, whose output goes through to ours."""
    if not executable.exists():
        print(f"{executable} was not built")
        return 0, 1
    process = subprocess.Popen([executable], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=ROOT)
    tail = ""
    for line in process.stdout:
        sys.stdout.write(line)
        tail = (tail + line)[-4000:]
    status = process.wait()
    everything = re.findall(r"^All tests passed \(.* in (\d+) test cases?\)", tail, re.M)
    if everything and status == 0:
        return int(everything[-1]), 0
    summary = re.findall(r"^test cases: *\d+ .*$", tail, re.M)
    numbers = {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed)", summary[-1])} if summary else {}
    failed = numbers.get("failed", 0)
    if status != 0 and failed == 0:  # it died before it could say what failed
        print(f"{executable.name} ended with status {status}")
        failed = 1
    return numbers.get("passed", 0), failed


def run_checks(build):
    """(passed, failed) of the unittest modules tests/**/check_*.py."""
    os.environ["NNC"] = str(build / "nnc")
    suite = unittest.TestSuite()
    for path in sorted(p for p in (ROOT / "tests").rglob("check_*.py") if "lit" not in p.relative_to(ROOT).parts):
        sys.path.insert(0, str(path.parent))
        suite.addTests(unittest.defaultTestLoader.loadTestsFromName(path.stem))
        sys.path.pop(0)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    failed = len({test.id().split(" ")[0] for test, _ in result.failures + result.errors})
    return result.testsRun - failed - len(result.skipped), failed


def run_lit(build, llvm, arguments):
    """(passed, failed) of tests/lit."""
    places = [Path(llvm) / place for place in ("build/utils/lit/lit.py", "utils/lit/lit.py", "bin/lit")]  # the package of 22 has moved it
    lit = next((place for place in places if place.exists()), None)
    if lit is None:
        print(f"{places[0]} is not there; it comes with the package {Path(llvm).name}-tools")
        return 0, 1
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "lit.json"
        paths = arguments or [str(ROOT / "tests/lit")]
        progress = [] if sys.stdout.isatty() else ["--no-progress-bar"]
        subprocess.run([sys.executable, lit, "-s", "-v", *progress, "--order=lexical", f"--output={report}",
                        f"--param=build={build}", f"--param=llvm={llvm}", *paths], cwd=ROOT)
        if not report.exists():
            return 0, 1
        codes = [test["code"] for test in json.loads(report.read_text())["tests"]]
    passed = sum(code in ("PASS", "XFAIL", "FLAKYPASS") for code in codes)
    failed = sum(code in ("FAIL", "XPASS", "UNRESOLVED", "TIMEOUT") for code in codes)
    print(f"lit: {passed} passed, {failed} failed of {len(codes)}")
    return passed, failed if codes else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="the build folder")
    parser.add_argument("--llvm", default="/usr/lib/llvm-19", help="where LLVM with lit and FileCheck is installed")
    parser.add_argument("--sanitizer", choices=["address", "thread"], help="what the build folder was built with (scripts/test --sanitize)")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="unit, run, checks, lit (default: all)")
    own, lit_arguments = (sys.argv[1:], [])
    if "--" in own:
        cut = own.index("--")
        own, lit_arguments = own[:cut], own[cut + 1:]
    options = parser.parse_args(own)
    build = options.build.resolve()
    if options.sanitizer:
        os.environ["NNC_SANITIZER"] = options.sanitizer  # tests that cannot run under it skip themselves, and say why
    suites = {
        "checks": lambda: run_checks(build),
        "lit": lambda: run_lit(build, options.llvm, lit_arguments),
        "unit": lambda: run_catch(build / "nnc_unit_tests"),
        "run": lambda: run_catch(build / "nnc_run_tests"),
    }
    for name in options.suites:
        if name not in suites:
            parser.error(f"unknown suite {name}; there are {', '.join(suites)}")
    rows = []
    for name in options.suites or suites:
        print(f"== {name}", flush=True)
        start = time.monotonic()
        passed, failed = suites[name]()
        rows.append((name, passed, failed, time.monotonic() - start))
    print()
    for name, passed, failed, seconds in rows:
        print(f"{name:8} {passed:5} ok {failed:4} not ok {seconds:7.1f} s")
    passed, failed = sum(row[1] for row in rows), sum(row[2] for row in rows)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
