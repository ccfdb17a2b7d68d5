"""Every call on the way of a save and of a load failed in turn.

    python3 tests/state/fault_points.py --build build [--only save,load,full] [--stride N]

The library fail_calls (fail_calls.c, loaded with LD_PRELOAD) makes the n-th open, write, fsync, rename ... of a run fail, for all n
until a run has no n-th call. A run of six steps that saves after the third and at its end, over files of an older run, must
leave each of its two files as it was or as one of the saves wrote it, end with a status that tells whether something was lost, say
which path and why, and leave no temporary file; what could not be written where it belongs must be somewhere else. `full` is a
disk that is really full: a tmpfs of a few pages where one can be mounted, else a limit on the size of files.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "examples/digits.nn"
SAVE_CALLS = {
    "open": ("ENOSPC", "EACCES", "EINTR"), "write": ("ENOSPC", "EIO", "EINTR", "SHORT"), "fsync": ("EIO", "EINTR"), "rename": ("EIO", "EINTR"),
    "close": ("EIO", "EINTR"), "unlink": ("EIO", "EINTR"), "fchmod": ("EACCES", "EINTR"), "flock": ("EINTR",), "stat": ("EIO", "EACCES"), "malloc": ("ENOMEM",)}
LOAD_CALLS = {"open": ("EACCES", "EIO", "EINTR"), "read": ("EIO", "EINTR", "SHORT"), "stat": ("EIO",), "malloc": ("ENOMEM",)}
HARMLESS = ("EINTR", "SHORT")  # no faults: the call is made again
CRASH = re.compile(r"terminate called|Segmentation|core dumped|internal error|Assertion|what\(\):|Sanitizer|std::")


class Failed(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failed(message)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


class Faults:
    def __init__(self, build):
        self.nnc, self.library = build / "nnc", build / "libnnc_fail_calls.so"
        check(self.library.exists(), f"{self.library} was not built")
        self.base = Path(tempfile.mkdtemp(prefix="nnc-faults-"))
        self.runs = 0
        # Without a test split nothing is compiled once the steps are under way: LLVM does not live without memory.
        self.program = self.base / "digits.nn"
        self.program.write_text(PROGRAM.read_text().replace("  test 20%\n", "").replace('"data/', f'"{ROOT}/examples/data/'))
        self.old, self.saves = self.base / "old", {}
        self.old.mkdir()
        self.train(self.old, "--steps", 9, "--seed", 5)
        for steps in (3, 6):
            folder = self.base / f"after{steps}"
            folder.mkdir()
            self.train(folder, "--steps", steps, "--log", "run.jsonl")
            for name in ("w.safetensors", "w.checkpoint.safetensors"):
                self.saves.setdefault(name, []).append(digest(folder / name))
        self.log = self.losses(self.base / "after6")

    def close(self):
        shutil.rmtree(self.base, ignore_errors=True)

    @staticmethod
    def losses(folder):
        return [json.loads(line)["loss"] for line in (folder / "run.jsonl").read_text().splitlines()]

    def run(self, folder, *arguments, faults=None, **options):
        self.runs += 1
        environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "TMPDIR": str(folder / "elsewhere"), "HOME": str(folder / "elsewhere")}
        if faults:
            environment.update({"LD_PRELOAD": str(self.library), "NNC_FAIL_COUNT_TO": str(self.base / "count"), **{k: str(v) for k, v in faults.items()}})
        return subprocess.run([str(self.nnc), *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, errors="replace",
                              timeout=300, **options)

    def train(self, folder, *arguments, **options):
        return self.run(folder, "train", self.program, "--quiet", "--threads", 1, "--out", "w.safetensors", *arguments, **options)

    def fresh(self):
        folder = self.base / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.old, folder)
        (folder / "elsewhere").mkdir()
        return folder

    def check_messages(self, run, harmless):
        check(run.returncode in (0, 1), f"ended with status {run.returncode}: {run.stderr}")
        check(not CRASH.search(run.stdout + run.stderr), run.stderr)
        if harmless:
            # The program that is evaluated sets rows aside, the run had none to spare: that is said, and nothing else.
            rest = re.sub(r"^warning\[E0512\].*?(\n\n|\Z)", "", run.stderr, flags=re.DOTALL)
            check(run.returncode == 0 and not rest, f"a call that only had to be made again was taken for a fault: {run.stderr}")
        if run.returncode == 1:
            check(re.search(r"^error\[E\d{4}\]: \S", run.stderr, re.M), f"no message: {run.stderr}")

    def check_saved(self, folder, run, can_delete=True):
        """Files are old or new, and the status and the messages tell the truth about them; nothing else stays where files can be deleted."""
        final = True
        for name, (third, sixth) in self.saves.items():
            found = digest(folder / name)
            check(found in (digest(self.old / name), third, sixth), f"{name} is neither the old file nor one that was saved")
            final = final and found == sixth
        left = [str(p.relative_to(folder)) for p in folder.rglob(".nnc-*")]
        check(not left or not can_delete, f"left behind: {left}")
        rescued = [p for p in folder.rglob("*.rescued-*.safetensors")]
        if run.returncode == 0:
            check(final, "status 0, but something was not saved")
            check(self.losses(folder) == self.log, "status 0, but the log is not whole")
            return
        if "E0604" in run.stderr and "nothing was written" not in run.stderr and "the state after" not in run.stderr:  # "... step N is lost, that after step M is in FILE", too
            # There was no memory to begin with.
            check(all(digest(folder / name) == digest(self.old / name) for name in self.saves), f"files changed: {run.stderr}")
            return
        check("w." in run.stderr or "run.jsonl" in run.stderr or "nothing was written" in run.stderr, f"the message names no path: {run.stderr}")
        for path in rescued:
            check(digest(path) == self.saves["w.checkpoint.safetensors"][1], f"{path.name} is not the state at the end")
            check(path.name in run.stderr, f"the message does not name {path.name}: {run.stderr}")
        if "rescued" in run.stderr or "the state after" in run.stderr:
            check(rescued or " is lost" in run.stderr, f"nothing was rescued: {run.stderr}")

    def each(self, calls, errors, faults, attempt, stride=1):
        """attempt(faults, error) for n = 1, 1 + stride, ... until a run has no n-th call; the number of faults."""
        number = 1
        while True:
            given = {"NNC_FAIL_CALLS": calls, "NNC_FAIL_AT": number, "NNC_FAIL_ERROR": errors, **faults}
            (self.base / "count").unlink(missing_ok=True)
            try:
                attempt(given)
            except Failed as e:
                raise Failed(f"{calls} {number} fails with {errors}{' and stays so' if 'NNC_FAIL_ON' in faults else ''}: {e}") from None
            counted = int((self.base / "count").read_text())
            if counted < number:
                check(number > 1, f"no call of {calls} was met")
                return (number - 1 + stride - 1) // stride
            number += stride

    def save(self, calls=SAVE_CALLS, stays=False, stride=1, report=lambda text: None):
        total = 0
        for call, errors in calls.items():
            for error in errors:
                if stays and error in HARMLESS:
                    continue
                faults = {"NNC_FAIL_PATH": str(self.base / "run")}
                if call == "malloc":  # from when the steps begin
                    faults = {"NNC_FAIL_ARM": "run.jsonl", "NNC_FAIL_SIZE": 512}
                if stays:
                    faults["NNC_FAIL_ON"] = 1

                def attempt(given, harmless=error in HARMLESS, can_delete=not (stays and call in ("unlink", "stat"))):
                    # What cannot be looked at is not deleted either: it may be another run's.
                    folder = self.fresh()
                    run = self.train(folder, "--steps", 6, "--set", "save.every=3", "--log", "run.jsonl", faults=given)
                    self.check_messages(run, harmless)
                    self.check_saved(folder, run, can_delete)

                count = self.each(call, error, faults, attempt, stride)
                total += count
                report(f"save: {call} {error}{' from then on' if stays else ''}: {count} faults")
        return total

    def load(self, calls=LOAD_CALLS, stride=1, report=lambda text: None):
        expected = self.base / "expected"
        expected.mkdir(exist_ok=True)
        shutil.copy(self.base / "after3/w.checkpoint.safetensors", expected / "in.safetensors")
        self.train(expected, "--steps", 6, "--resume", "in.safetensors")
        total = 0
        for call, errors in calls.items():
            for error in errors:
                faults = {"NNC_FAIL_PATH": "in.safetensors"}
                if call == "malloc":
                    faults = {"NNC_FAIL_ARM": "in.safetensors", "NNC_FAIL_SIZE": 512}

                def attempt(given, harmless=error in HARMLESS, call=call):
                    folder = self.fresh()
                    shutil.copy(self.base / "after3/w.checkpoint.safetensors", folder / "in.safetensors")
                    run = self.train(folder, "--steps", 6, "--resume", "in.safetensors", faults=given)
                    self.check_messages(run, harmless)
                    for name in self.saves:
                        wanted = [digest(expected / name)] if run.returncode == 0 else [digest(self.old / name), digest(expected / name)]
                        check(digest(folder / name) in wanted, f"{name} is neither old nor new")
                    check(run.returncode == 0 or call == "malloc" or "in.safetensors" in run.stderr, f"the path is not named: {run.stderr}")

                def evaluate(given, harmless=error in HARMLESS):
                    folder = self.fresh()
                    shutil.copy(self.base / "after3/w.checkpoint.safetensors", folder / "in.safetensors")
                    self.check_messages(self.run(folder, "eval", PROGRAM, "--weights", "in.safetensors", "--threads", 1, faults=given), harmless)

                count = self.each(call, error, faults, attempt, stride)
                if call != "malloc":  # eval compiles after it has read the weights
                    count += self.each(call, error, faults, evaluate, stride)
                total += count
                report(f"load: {call} {error}: {count} faults")
        return total

    def full(self, report=lambda text: None):
        """Disks that fill up after so many kB, for real."""
        sizes = [4, 16, 40, 70, 100, 140, 180, 260]
        disk = self.base / "disk"
        disk.mkdir(exist_ok=True)
        count = 0
        for size in sizes:
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "nnc-test", disk], capture_output=True).returncode == 0
            try:
                folder = disk / "run" if mounted else self.fresh()
                elsewhere = self.base / "elsewhere"
                elsewhere.mkdir(exist_ok=True)
                if mounted:
                    folder.mkdir()

                def limit():
                    import resource
                    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (size * 256, size * 256))

                environment = {**os.environ, "NO_COLOR": "1", "TMPDIR": str(elsewhere), "HOME": str(elsewhere)}
                run = subprocess.run([str(self.nnc), "train", str(self.program), "--quiet", "--threads", "1", "--steps", "6", "--set", "save.every=3"],
                                     cwd=folder, env=environment, capture_output=True, text=True, preexec_fn=None if mounted else limit)
                self.runs += 1
                self.check_messages(run, False)
                rescued = list(elsewhere.glob("*.rescued-*"))
                sixth = {"digits.safetensors": self.saves["w.safetensors"], "digits.checkpoint.safetensors": self.saves["w.checkpoint.safetensors"]}
                for name, states in sixth.items():
                    found = digest(folder / name)
                    check(found is None or not mounted or found in states, f"{name} is not whole on a disk of {size} kB")
                    check(run.returncode != 0 or found == states[1], f"status 0, but {name} was not saved on a disk of {size} kB")
                check([p for p in folder.glob(".nnc-*")] == [], "a temporary file was left on the full disk")
                if run.returncode == 1:
                    check("E0413" in run.stderr and ("no space left" in run.stderr or "too large" in run.stderr), run.stderr)
                    if mounted and rescued:
                        check(digest(rescued[0]) == sixth["digits.checkpoint.safetensors"][1], "what was rescued is not the state at the end")
                        check(str(rescued[0]) in run.stderr, run.stderr)
                    check(rescued or "is saved; it holds the weights" in run.stderr or " is lost" in run.stderr, run.stderr)
                for path in rescued:
                    path.unlink()
                count += run.returncode == 1
                report(f"full: {size} kB ({'tmpfs' if mounted else 'file size limit'}): status {run.returncode}")
            except Failed as e:
                raise Failed(f"disk of {size} kB: {e}") from None
            finally:
                if mounted:
                    subprocess.run(["umount", disk], capture_output=True)
        check(count > 0, "no disk was small enough")
        return count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--only", default="save,load,full")
    parser.add_argument("--stride", type=int, default=1, help="every N-th call only")
    options = parser.parse_args()
    begin = time.monotonic()
    say = lambda text: print(text, flush=True)
    faults = Faults(options.build.resolve())
    total = 0
    try:
        if "save" in options.only:
            total += faults.save(stride=options.stride, report=say) + faults.save(stays=True, stride=options.stride, report=say)
        if "load" in options.only:
            total += faults.load(stride=options.stride, report=say)
        if "full" in options.only:
            total += faults.full(report=say)
    except Failed as e:
        print(f"FAILED: {e}")
        return 1
    finally:
        faults.close()
    print(f"{total} faults, {faults.runs} runs: files old or new, statuses and messages true; {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
