"""Threads: the same bits for every number of them over every example, affinity masks, more threads than cores, threads that cannot be started.

    python3 tests/check_threads.py --all      every number of threads from 1 to 16 for every example (the suite takes some for each)
"""

import json
import os
import re
import resource
import subprocess
import sys
import unittest
from pathlib import Path

from command_line import EXAMPLES, NNC, ROOT, SLOWNESS, CommandLine

STEPS = 12
COUNTS = range(2, 17)
ALL = "--all" in sys.argv


def programs():
    """Every training program that is kept: examples and trajectories."""
    found = [*sorted(EXAMPLES.glob("*.nn")), *sorted((ROOT / "tests/trajectories").glob("*.nn"))]
    return [path for path in found if re.search(r"^train\b", path.read_text(), re.M)]


class SameBitsForAnyThreads(CommandLine):
    def test_every_example(self):
        files = programs()
        self.assertGreaterEqual(len(files), len(COUNTS), "every number of threads is taken by some program")
        for i, file in enumerate(files):
            expected = self.train(file, "one", "--steps", STEPS, "--threads", 1)
            for threads in COUNTS if ALL else (COUNTS[i % len(COUNTS)],):
                with self.subTest(file=file.name, threads=threads):
                    self.assertEqual(self.train(file, "more", "--steps", STEPS, "--threads", threads), expected)

    def test_one_example_with_kernels_worth_splitting(self):
        file = EXAMPLES / "mnist_mlp.nn"
        options = ("--steps", STEPS, "--set", "data.batch=256")
        expected = self.train(file, "one", "--threads", 1, *options)
        for threads in COUNTS if ALL else (2, 3, 4, 7, 16):
            with self.subTest(threads=threads):
                self.assertEqual(self.train(file, "more", "--threads", threads, *options), expected)

    def test_networks_of_windows_draws_and_norms(self):
        """Convolution, pooling, dropout, batch norm, strided shortcuts, noise in mid-graph, on odd batches and few rows of the test split."""
        for name in ("cnn", "resnet", "vae"):
            text = (ROOT / f"tests/lit/parse/{name}.nn").read_text()
            for old, new in (("../data/", f"{EXAMPLES / 'data'}/"), ("test 20%", "test 1%")):
                self.assertIn(old, text)
                text = text.replace(old, new)
            file = self.write(f"{name}.nn", text)
            options = ("--steps", 3, "--set", "data.batch=13")
            expected = self.train(file, "one", "--threads", 1, *options)
            for threads in COUNTS if ALL else (2, 3, 7):
                with self.subTest(file=name, threads=threads):
                    self.assertEqual(self.train(file, "more", "--threads", threads, *options), expected)


class Cores(CommandLine):
    def threads(self, *arguments, before=None, prefix=()):
        """How many threads `bench` takes."""
        run = subprocess.run([*prefix, NNC, "bench", str(EXAMPLES / "regression.nn"), "--json", "--turns", "1", *map(str, arguments)], cwd=self.folder,
                             env=self.environment, text=True, capture_output=True, timeout=60 * SLOWNESS, preexec_fn=before)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)["threads"]

    def test_an_affinity_mask_is_respected(self):
        cores = sorted(os.sched_getaffinity(0))
        one = [cores[-1]]
        self.assertEqual(self.threads(before=lambda: os.sched_setaffinity(0, one)), 1)
        self.assertEqual(self.threads("--threads", 3, before=lambda: os.sched_setaffinity(0, one)), 3, "what is asked for is taken")
        self.assertLessEqual(self.threads(), len(cores))

    def test_a_mask_changes_no_bit(self):
        file = EXAMPLES / "digits.nn"
        expected = self.train(file, "free", "--steps", STEPS)
        cores = sorted(os.sched_getaffinity(0))
        for threads in ("", 2, 5):
            options = ("--threads", threads) if threads else ()
            run = self.start("train", file, "--quiet", "--steps", STEPS, "--out", "bound.safetensors", *options,
                             preexec_fn=lambda: os.sched_setaffinity(0, cores[:1]))
            self.assertEqual((run.communicate(timeout=60)[1], run.returncode), ("", 0))
            self.assertEqual(self.digest("bound"), expected)

    @unittest.skipIf(os.environ.get("NNC_SANITIZER"), "sanitizers reserve more addresses than the limit leaves")
    def test_threads_that_cannot_be_started(self):
        """Stacks of 2 GiB in 24 GiB of addresses: the 64 asked for do not fit. It is said, and the result is the same to the bit."""
        file = EXAMPLES / "digits.nn"
        expected = self.train(file, "all", "--steps", STEPS)

        def limit():
            resource.setrlimit(resource.RLIMIT_STACK, (2 << 30, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))

        if resource.getrlimit(resource.RLIMIT_STACK)[1] not in (resource.RLIM_INFINITY,):
            self.skipTest("stacks are limited here")
        run = self.start("train", file, "--quiet", "--steps", STEPS, "--threads", 64, "--out", "few.safetensors", preexec_fn=limit)
        messages = run.communicate(timeout=60)[1]
        self.assertEqual(run.returncode, 0, messages)
        self.assertRegex(messages, r"^nnc: the system started only \d+ of 64 threads: .*; training goes on with these\n$")
        self.assertEqual(self.digest("few"), expected)

    def test_a_quota_of_a_control_group_is_respected(self):
        """For real where this process may make control groups of version 1 or 2 (root, outside most containers)."""
        folders = [Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")]
        made = None
        for folder in folders:
            first, second = folder / "cpu.cfs_quota_us", folder / "cgroup.controllers"
            if not (first.exists() or (second.exists() and "cpu" in second.read_text().split())):
                continue
            try:
                made = folder / f"nnc-check-{os.getpid()}"
                made.mkdir()
                (made / "inner").mkdir()
                if first.exists():
                    (made / "cpu.cfs_quota_us").write_text("100000")
                else:
                    (made / "cpu.max").write_text("100000 100000")
                break
            except OSError:
                made = None
        if made is None:
            self.skipTest("no control group can be made here")

        def remove():
            for path in (made / "inner", made):
                path.rmdir()

        self.addCleanup(remove)
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("one core")
        self.assertEqual(self.threads(before=lambda: (made / "inner/cgroup.procs").write_text(str(os.getpid()))), 1)
        (made / ("cpu.cfs_quota_us" if (made / "cpu.cfs_quota_us").exists() else "cpu.max")).write_text("200000")
        self.assertEqual(self.threads(before=lambda: (made / "inner/cgroup.procs").write_text(str(os.getpid()))), 2)


if __name__ == "__main__":
    unittest.main(argv=[a for a in sys.argv if a != "--all"])
