"""`nnc train` under the mpirun of OpenMPI and of MPICH: the bits of one worker, hosts that differ (in data, text, options, CPU), and what is said when something is wrong, once.

Hosts are folders here: mpirun starts each group of workers in one of its own. MPICH is run with two workers (check_workers.py says why)."""

import os
import re
import signal
import subprocess
import time
import unittest
from pathlib import Path

from check_workers import LAUNCHERS, missing, of_the_worker
from command_line import NNC, SLOWNESS
from shared_steps import DATA, PROGRAMS, SharedSteps, batch, without_times

OPTIONS = (*batch(12, 1, 12), "--threads", "1")


class MpiTraining(SharedSteps):
    def setUp(self):
        super().setUp()
        self.first, self.other = self.folder / "first", self.folder / "other"
        for folder in (self.first, self.other):
            folder.mkdir()

    def libraries(self, most=2):
        """(library, number of workers): as many as asked for where that works."""
        found = False
        for library in LAUNCHERS:
            with self.subTest(library=library):
                if why := missing(library):
                    self.skipTest(why)
                found = True
                yield library, most if library == "openmpi" else 2
        if not found:
            self.skipTest("no MPI library")

    def hosts(self, text, rows=True, everywhere=True):
        """The program on both hosts, its data on the first or on both."""
        for folder in (self.first, self.other):
            (folder / "net.nn").write_text(text)
            if rows and (everywhere or folder == self.first):
                (folder / "rows.csv").write_text((self.folder / "rows.csv").read_text())

    def command(self, library, workers, first=(), other=()):
        """One worker in the first folder, the rest in the other; options beside those that all have."""
        def group(number, folder, options):
            out = () if "--out" in options else ("--out", "w.safetensors")
            return ["-np", str(number), "-wdir", str(folder), NNC, "train", "net.nn", *map(str, (*out, *OPTIONS, *options))]
        return [*LAUNCHERS[library], *group(1, self.first, first), ":", *group(workers - 1, self.other, other)]

    def begin(self, *arguments, **options):
        run = subprocess.Popen(self.command(*arguments, **options), cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        self.addCleanup(lambda: run.poll() is None and os.killpg(run.pid, signal.SIGKILL))
        for pipe in (run.stdout, run.stderr):
            self.addCleanup(pipe.close)
        return run

    def finish(self, run):
        out, err = run.communicate(timeout=90 * SLOWNESS)
        return run.returncode, of_the_worker(out), of_the_worker(err)

    def mpi(self, *arguments, **options):
        return self.finish(self.begin(*arguments, **options))

    def trained(self, *arguments, **options):
        status, out, err = self.mpi(*arguments, **options)
        self.assertEqual(status, 0, err)
        self.assertEqual(list(self.other.glob("*.safetensors")), [], "the first worker writes, no other")
        return [*self.digest("first/w"), without_times(out)], err

    def alone(self, *options):
        """What one worker leaves, in the first folder."""
        run = subprocess.run([NNC, "train", "net.nn", "--out", "w.safetensors", *map(str, (*OPTIONS, *options))], cwd=self.first, env=self.environment, text=True, capture_output=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return [*self.digest("first/w"), without_times(run.stdout)]

    def refused(self, *arguments, by_each=False, **options):
        """What is said of a run that must not begin, by mpirun left out: once, or by each worker where they have not met yet."""
        status, out, err = self.mpi(*arguments, **options)
        self.assertNotEqual(status, 0)
        said = len(re.findall(r"^error", err, re.MULTILINE))
        self.assertTrue(said == 1 or (by_each and said > 1), err)
        self.assertEqual([*self.first.glob("*.safetensors"), *self.other.glob("*.safetensors")], [])
        return err


class Bits(MpiTraining):
    def test_weights_and_reports(self):
        self.write_rows(1500)
        self.hosts(DATA.format(test="test 60%") + PROGRAMS["clipped"])
        expected = self.alone("--json", "--steps", 5)
        for library, workers in self.libraries(3):
            self.assertEqual(self.trained(library, workers, ("--json", "--steps", 5), ("--json", "--steps", 5)), (expected, ""))

    def test_data_of_the_first_worker(self):
        self.hosts(DATA.format(test="test 20%") + PROGRAMS["sgd"], everywhere=False)
        expected = self.alone("--json")
        both = ("--json", "--data-from", 0)
        for library, workers in self.libraries(3):
            self.assertEqual(self.trained(library, workers, both, both), (expected, ""))
            # As is, without the option, one diagnostic that says where and what would do.
            for file in self.first.glob("*.safetensors"):
                file.unlink()
            said = self.refused(library, workers)
            self.assertRegex(said, r"error\[E0402\]: cannot read `rows.csv`: no such file or directory(.|\n)*note: this is what worker 1 \(on .*\) met(.|\n)*help: .*`--data-from 0`")
            (self.first / "rows.csv").rename(self.first / "gone")
            said = self.refused(library, workers, ("--data-from", 0), ("--data-from", 0))
            self.assertIn("cannot read `rows.csv`", said)
            self.assertNotIn("--data-from", said)  # nor advised
            (self.first / "gone").rename(self.first / "rows.csv")

    def test_state_of_the_first_worker(self):
        """Weights and checkpoints are where the first worker wrote them, and nowhere else."""
        self.hosts(DATA.format(test="") + PROGRAMS["clipped"])
        expected = self.alone("--steps", 9)
        self.alone("--steps", 4)
        before = {path: path.read_bytes() for path in self.first.glob("*.safetensors")}
        for library, workers in self.libraries(3):
            for path, content in before.items():
                path.write_bytes(content)
            go_on = ("--steps", 9, "--resume", "w.checkpoint.safetensors", "--quiet")
            self.assertEqual(self.trained(library, workers, go_on, go_on)[0][:2], expected[:2])
            from_weights = ("--steps", 2, "--init", "w.safetensors", "--quiet")
            self.assertEqual(self.trained(library, workers, from_weights, from_weights)[1], "")

    def test_cpus_that_differ(self):
        """All compile for the lowest level, and it is said once."""
        self.hosts(DATA.format(test="") + PROGRAMS["sgd"])
        for library, workers in self.libraries(3):
            for first, other, level in (((), ("--cpu", "portable"), "portable"), (("--cpu", "portable"), (), "portable")):
                expected = self.alone("--quiet", "--cpu", level)
                found, said = self.trained(library, workers, ("--quiet", *first), ("--quiet", *other))
                self.assertEqual(found, expected)
                self.assertEqual(len(re.findall("^warning", said, re.MULTILINE)), 1, said)
                self.assertIn(f"warning[E0548]: the CPUs of the workers differ, so all compile for x86-64 ({level})", said)
                self.assertRegex(said, r"note: worker 0 \(on .*\) has .*\n.*note: worker 1 \(on .*\) has ")


class Wrong(MpiTraining):
    def setUp(self):
        super().setUp()
        self.hosts(DATA.format(test="") + PROGRAMS["sgd"])

    def test_hosts_that_differ(self):
        (self.other / "net.nn").write_text((self.first / "net.nn").read_text() + "\n# another\n")
        for library, workers in self.libraries():
            self.assertRegex(self.refused(library, workers), r"error\[E0542\]: worker 1 \(on .*\) has another text of net.nn than worker 0 \(on .*\): [0-9a-f]+ instead of ")
        (self.other / "net.nn").write_text((self.first / "net.nn").read_text())
        for library, workers in self.libraries():
            said = self.refused(library, workers, ("--seed", 3), ("--seed", 4))
            self.assertRegex(said, r"error\[E0542\]: worker 1 \(on .*\) has another `--seed` than worker 0 \(on .*\): 4 instead of 3")
        (self.other / "rows.csv").write_text((self.first / "rows.csv").read_text().replace("0.25", "0.75", 1))
        for library, workers in self.libraries():
            self.assertRegex(self.refused(library, workers), r"error\[E0542\]: worker 1 \(on .*\) has another nnc.data than worker 0")
        (self.other / "net.nn").unlink()
        for library, workers in self.libraries():
            self.assertRegex(self.refused(library, workers), r"error\[E0602\]: cannot read `net.nn`(.|\n)*note: this is what worker 1 \(on .*\) met")

    def test_outputs(self):
        for library, workers in self.libraries():
            self.assertIn("error[E0413]: cannot write `none/w.safetensors`: there is no folder `none`", self.refused(library, workers, ("--out", "none/w.safetensors")))
        holder = subprocess.Popen([NNC, "train", "net.nn", "--out", "w.safetensors", "--quiet", "--steps", str(10**9), "--log", "run.jsonl"], cwd=self.first, env=self.environment)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        self.wait_for_steps(holder, self.first / "run.jsonl", 2)
        for library, workers in self.libraries():
            self.assertIn("error[E0414]", self.refused(library, workers))

    def test_options(self):
        for library, workers in self.libraries():
            self.assertIn("error[E0544]: `--workers 2` in a run that mpirun has started with 2 processes", self.refused(library, workers, ("--workers", 2), ("--workers", 2), by_each=True))
            self.assertIn("error[E0601]: `--data-from 2`: there is no such worker, they are numbered from 0 to 1", self.refused(library, workers, ("--data-from", 2), ("--data-from", 2), by_each=True))
            self.assertIn("error[E0543]: mpirun has started 2 processes, and `--transport local`", self.refused(library, workers, ("--transport", "local"), ("--transport", "local"), by_each=True))

    def test_a_worker_that_is_killed(self):
        """mpirun ends the others; the first one says before what it knows, where it is given the time."""
        for library, workers in self.libraries(3):
            endless = ("--quiet", "--steps", 10**9)
            run = self.begin(library, workers, (*endless, "--log", "run.jsonl"), endless)
            self.wait_for_steps(run, self.first / "run.jsonl", 20)
            others = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cwd") if path.exists() and path.resolve() == self.other and (path.parent / "exe").resolve() == Path(NNC).resolve()]
            self.assertEqual(len(others), workers - 1)
            start = time.monotonic()
            os.kill(others[-1], signal.SIGKILL)
            status, _, err = self.finish(run)
            self.assertNotEqual(status, 0)
            self.assertLess(time.monotonic() - start, 30 * SLOWNESS)
            if library == "openmpi":  # MPICH's kills at once
                self.assertRegex(err, r"asked to stop, but worker \d \(on .*\) has not answered for [0-9.]+ s(.|\n)*nothing was saved in this run so far")
            (self.first / "run.jsonl").unlink()


if __name__ == "__main__":
    unittest.main()
