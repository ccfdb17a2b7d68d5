"""`nnc train --workers N` leaves what one worker leaves, to the bit: any N, threads, last batches of every length, resumes with another N, after kills and interruptions;
and what it says when something is wrong, once.

How the workers of a run meet is held by check_workers.py and the unit tests of runtime/workers; that batches made up of several are one large batch by check_accumulate.py."""

import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

from check_workers import missing
from command_line import EXAMPLES, NNC, ROOT, SLOWNESS, CommandLine
from shared_steps import COUPLED, DATA, PROGRAMS, ROWS, TRAIN, SharedSteps, batch

sys.path.insert(0, str(Path(__file__).resolve().parent / "state"))
import kill_workers  # noqa: E402

def workers_of(process):
    """Process ids of all workers of a run, the first one's first."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    except OSError:
        children = ""
    return [process.pid, *map(int, children.split())]


def is_running(pid):
    """Not of a process that has ended and that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class SameBits(SharedSteps):
    def test_any_number_of_workers(self):
        threads = itertools.cycle((1, 2, 1))
        for name in sorted(PROGRAMS | COUPLED):
            file = self.make(name, test="test last 15%")
            expected = self.result(file, *batch(12, 1, 12))
            for workers in (1, 2, 3, 4, 6):
                with self.subTest(name=name, workers=workers):
                    self.assertEqual(self.result(file, *batch(12, 1, 12), "--workers", workers, "--threads", next(threads)), expected)

    def test_threads_of_each_worker(self):
        """Kernels worth splitting, pieces of many rows, ranges of many lines."""
        options = ("--steps", 6, *batch(384, 1, 6))
        file = EXAMPLES / "mnist_mlp.nn"
        expected = self.train(file, "one", "--threads", 1, *options)
        for workers, threads in ((2, 1), (2, 2), (3, 1), (4, 2), (6, 1)):
            with self.subTest(workers=workers, threads=threads):
                self.assertEqual(self.train(file, "more", "--workers", workers, "--threads", threads, *options), expected)

    def test_gradients_that_are_sent_early(self):
        """Layers of more than a megabyte: a step is run in segments, and of a worker with several shares the last one alone."""
        text = (EXAMPLES / "mnist_mlp.nn").read_text().replace("Dense(64)", "Dense(600)").replace('"data/', f'"{EXAMPLES}/data/').replace("test 20%", "test 1%")
        file = self.write("wide.nn", text)
        options = ("--steps", 4, *batch(48, 1, 6))
        expected = self.train(file, "one", "--threads", 1, *options)
        for workers, threads in ((2, 2), (4, 1)):
            with self.subTest(workers=workers, threads=threads):
                self.assertEqual(self.train(file, "more", "--workers", workers, "--threads", threads, *options), expected)

    def test_every_example(self):
        files = [path for path in (*sorted(EXAMPLES.glob("*.nn")), *(ROOT / f"tests/lit/parse/{name}.nn" for name in ("gpt", "lstm", "vae", "resnet"))) if "\ntrain " in path.read_text()]
        self.assertGreater(len(files), 12)
        for i, path in enumerate(files):
            text = path.read_text().replace('"../data/tinyshakespeare.txt"', f'"{EXAMPLES}/data/coriolanus.txt"').replace('Vocab = 65', 'Vocab = 61')
            file = self.write(path.name, text.replace('"../data/', f'"{EXAMPLES}/data/').replace('"data/', f'"{EXAMPLES}/data/').replace("test 20%", "test 1%"))
            options = ("--steps", 3, *batch(24, 1, 12))
            workers = (2, 3, 4, 6)[i % 4]
            with self.subTest(file=path.name, workers=workers):
                self.assertEqual(self.train(file, "more", "--workers", workers, "--threads", 1, *options), self.train(file, "one", *options))

    def test_batches_made_up_of_several(self):
        """Workers take shares of each as they do of one."""
        for name in ("clipped", "draws", "ignore"):
            file = self.make(name)
            expected = self.result(file, *batch(12, 1, 12))
            for rows, accumulate, workers in ((3, 4, 2), (6, 2, 3), (1, 12, 5)):
                with self.subTest(name=name, rows=rows, workers=workers):
                    self.assertEqual(self.result(file, *batch(rows, accumulate, 12), "--workers", workers, "--threads", 1), expected)

    def test_last_batches_of_every_length(self):
        """Of 12 pieces of a row, and of 6 of two; some workers have none of the last batch."""
        turn = itertools.cycle(((12, 4), (6, 6), (12, 2), (6, 3), (12, 5)))
        for rest, name in itertools.product(range(12), ("clipped", "normed")):
            if name == "normed" and rest not in (0, 2, 5, 11):
                continue  # of 1 it is refused: one row has no spread
            file = self.make(name)
            self.write_rows(36 + rest)
            pieces, workers = next(turn)
            with self.subTest(name=name, rest=rest, pieces=pieces, workers=workers):
                expected = self.result(file, *batch(12, 1, pieces, epochs=2))
                self.assertEqual(self.result(file, *batch(12, 1, pieces, epochs=2), "--workers", workers, "--threads", 1), expected)

    def test_data_that_one_worker_reads(self):
        file = self.make("clipped", test="test last 15%")
        expected = self.result(file, *batch(12, 1, 12))
        for workers, reader in ((1, 0), (2, 0), (3, 2), (4, 0)):
            with self.subTest(workers=workers, reader=reader):
                self.assertEqual(self.result(file, *batch(12, 1, 12), "--workers", workers, "--threads", 1, "--data-from", reader), expected)

    def test_resume_with_another_number(self):
        options = batch(12, 1, 12)
        for name in ("clipped", "draws", "own_optimizer", "normed_conv"):
            file = self.make(name)
            expected = self.train(file, "whole", "--steps", 15, *options)
            last = ()
            for steps, workers in ((4, 4), (8, 1), (15, 3)):
                found = self.train(file, "part", "--steps", steps, "--workers", workers, *options, *last)
                last = ("--resume", "part.checkpoint.safetensors")
            self.assertEqual(found, expected, name)

    def test_a_run_that_diverges(self):
        """Found together, said by the first."""
        file = self.make("sgd")
        said = []
        for workers in (1, 3):
            run = self.run_nnc("train", file, "--quiet", "--out", "w.safetensors", *batch(12, 1, 12), "--set", "using.lr=1e30", "--workers", workers)
            self.assertEqual(run.returncode, 1)
            said.append((run.stderr, (self.folder / "w.last-good.safetensors").read_bytes() if (self.folder / "w.last-good.safetensors").exists() else None))
        self.assertIn("error[E0501]", said[0][0])
        self.assertEqual(said[1], said[0])


class Disturbed(SharedSteps):
    def begin(self, file, *options, lines=20):
        """A run whose steps are under way."""
        run = self.start("train", file, "--quiet", "--log", "run.jsonl", "--out", "w.safetensors", *options, start_new_session=True)
        self.addCleanup(lambda: run.poll() is None and os.killpg(run.pid, signal.SIGKILL))
        for pipe in (run.stdout, run.stderr):
            self.addCleanup(pipe.close)
        self.wait_for_steps(run, self.folder / "run.jsonl", lines)
        return run

    def left(self, everybody):
        """Who has not ended some time after the first one; their last files are closed a moment before they are gone."""
        deadline = time.monotonic() + 20 * SLOWNESS
        while (running := [pid for pid in everybody if is_running(pid)]) and time.monotonic() < deadline:
            time.sleep(0.01)
        return running

    def test_an_interruption_loses_nothing(self):
        """Of the first worker, of all (Ctrl-C), of another one: all stop after the same step."""
        file = self.make("clipped")
        options = batch(12, 1, 12)
        for who in ("first", "all", "other"):
            for left in self.folder.glob("*.safetensors"):
                left.unlink()
            (self.folder / "run.jsonl").unlink(missing_ok=True)
            run = self.begin(file, "--workers", 3, "--threads", 1, "--steps", 10**8, *options)
            others = workers_of(run)[1:]
            self.assertEqual(len(others), 2)
            if who == "all":
                os.killpg(run.pid, signal.SIGINT)
            else:
                os.kill(run.pid if who == "first" else others[1], signal.SIGINT)
            _, messages = run.communicate(timeout=60)
            with self.subTest(who=who):
                self.assertEqual(run.returncode, 130, messages)
                self.assertNotIn("error", messages)
                steps = len(self.log("run.jsonl"))
                self.assertGreater(steps, 3)
                expected = self.train(file, "whole", "--steps", steps + 5, *options)
                self.train(file, "on", "--steps", steps + 5, "--workers", 2, *options, "--resume", "w.checkpoint.safetensors")
                self.assertEqual(self.digest("on"), expected)

    def test_a_stop_while_a_worker_is_silent(self):
        """What is known is said at once; the run ends in order if the other goes on."""
        run = self.begin(self.make("sgd"), "--workers", 3, "--threads", 1, "--steps", 10**8, *batch(12, 1, 12))
        silent = workers_of(run)[2]
        os.kill(silent, signal.SIGSTOP)
        self.addCleanup(lambda: is_running(silent) and os.kill(silent, signal.SIGCONT))
        time.sleep(0.2)
        run.send_signal(signal.SIGTERM)
        said = run.stderr.readline() + run.stderr.readline()
        self.assertRegex(said, r"^asked to stop, but worker \d \(on .*\) has not answered for [0-9.]+ s: .*\n  nothing was saved in this run so far\n$")
        os.kill(silent, signal.SIGCONT)
        _, messages = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 130, messages)
        self.assertTrue((self.folder / "w.checkpoint.safetensors").exists())

    def test_all_workers_together_have_the_states_once(self):
        """Once where they are updated, and once in the copy that is kept for faults, whatever the number of workers."""
        width = 1536
        values = 13 * width + (width + 1) * width + (width + 1) * 3
        totals = {}
        for rule in ("sgd", "adam"):
            file = self.write("net.nn", DATA.format(test="") + f"model Net(x[B, 12]) -> [B, 3] {{ x |> Dense({width}) |> relu |> Dense({width}) |> relu |> Dense(3) }}\n" + TRAIN % ("", f"{rule}(lr: 1e-6)"))
            run = self.begin(file, "--workers", 4, "--threads", 1, "--steps", 10**8, *batch(12, 1, 12))  # a copy is taken before the first step
            totals[rule] = sum(int(re.search(r"^Pss: *(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[1]) * 1024 for pid in workers_of(run))
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            (self.folder / "run.jsonl").unlink()
        times = (totals["adam"] - totals["sgd"]) / (2 * 4 * values)  # that all moments are in memory
        self.assertGreater(times, 1.5)
        self.assertLess(times, 3)

    def test_a_worker_that_dies_ends_the_run(self):
        file = self.make("sgd")
        for which in (0, 1, 3):
            run = self.begin(file, "--workers", 4, "--threads", 1, "--steps", 10**8, *batch(12, 1, 12))
            everybody = workers_of(run)
            self.assertEqual(len(everybody), 4)
            os.kill(everybody[which], signal.SIGKILL)
            _, messages = run.communicate(timeout=60)  # ends when the last of them has closed its standard error
            with self.subTest(which=which):
                if which == 0:
                    self.assertEqual(run.returncode, -9)
                else:
                    self.assertEqual(run.returncode, 1, messages)
                    self.assertEqual(messages.count("error["), 1, messages)
                    self.assertRegex(messages, rf"error\[E0540\]: worker {which}.* has died, and the others cannot go on without it")
                self.assertFalse(self.left(everybody), "nobody is left")
            (self.folder / "run.jsonl").unlink()


class Kills(CommandLine):
    """A share of tests/state/kill_workers.py, which prints its seed and takes any number of kills."""

    def check_kills(self, points, transport):
        """The optimiser's states are each with one worker alone between saves."""
        program = kill_workers.write_program(self.folder)
        killed, chains, _ = kill_workers.kill_workers(NNC, program, points, 3, transport)
        self.assertEqual(killed, points)
        self.assertGreater(chains, 0)

    def test_runs_of_which_a_worker_is_killed_resume_to_the_same_bits(self):
        self.check_kills(8, "local")

    def test_the_same_under_mpirun(self):
        if why := missing("openmpi"):
            self.skipTest(why)
        self.check_kills(2, "openmpi")


class Refused(SharedSteps):
    def refused(self, *arguments, status=1, nnc=NNC, **more):
        run = subprocess.run([nnc, "train", self.make("sgd"), "--quiet", *map(str, arguments)], cwd=self.folder, env=self.environment, text=True, capture_output=True, timeout=60 * SLOWNESS, **more)
        self.assertEqual(run.returncode, status, run.stderr)
        self.assertEqual(len([line for line in run.stderr.splitlines() if line.startswith("error")]), 1, run.stderr)
        self.assertEqual(list(self.folder.glob("*.safetensors")), [])
        return run.stderr

    def test_numbers_that_cannot_be(self):
        for number in (0, 257):
            self.assertIn(f"`--workers` takes 1 to 256, found `{number}`", self.refused("--workers", number, status=2))
        self.assertRegex(self.refused("--workers", 13, *batch(12, 1, 12)), r"error\[E0315\]: 13 workers cannot share 12 pieces of a batch(.|\n)*help: a batch of 12 rows is enough for 12 workers")
        self.assertRegex(self.refused("--workers", 3, *batch(12)), r"error\[E0315\]: 3 workers cannot share 1 piece of a batch(.|\n)*help: `--set data.pieces=3`")
        self.assertRegex(self.refused("--workers", 2, *batch(1)), r"error\[E0315\]: 2 workers cannot share 1 piece of a batch(.|\n)*help: a batch of 1 row is enough for 1 worker")
        self.assertIn("error[E0311]", self.refused("--workers", 2, *batch(12, 1, 13)))
        self.assertIn("error[E0601]: `--data-from 1`: there is no such worker, they are numbered from 0 to 0", self.refused("--data-from", 1))

    def test_data_that_is_not_there(self):
        (self.folder / "rows.csv").unlink()
        for options in ((), ("--data-from", 0), ("--data-from", 2)):
            said = self.refused("--workers", 3, *batch(12, 1, 12), *options)
            self.assertIn("error[E0402]: cannot read `rows.csv`: no such file or directory", said)
            self.assertNotIn("this is what worker", said)

    def test_a_second_run_on_one_output(self):
        run = self.start("train", self.make("clipped"), "--quiet", "--log", "run.jsonl", "--out", "w.safetensors", "--steps", 10**8, *batch(12, 1, 12), "--workers", 2)
        self.addCleanup(lambda: run.communicate(timeout=30))
        self.addCleanup(run.terminate)
        self.wait_for_steps(run, self.folder / "run.jsonl", 2)
        self.assertIn("error[E0414]", self.refused("--workers", 3, *batch(12, 1, 12), "--out", "w.safetensors"))

    def test_no_shared_memory(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        said = self.refused("--workers", 2, *batch(12, 1, 12), preexec_fn=limit)
        self.assertRegex(said, r"error\[E0546\]: no shared memory for 2 workers: .*file too large(.|\n)*help: start fewer workers, or free memory")

    def test_an_output_that_cannot_be_written(self):
        said = self.refused("--workers", 3, *batch(12, 1, 12), "--out", "none/w.safetensors")
        self.assertIn("error[E0413]: cannot write `none/w.safetensors`: there is no folder `none`", said)

    def test_a_run_that_is_over(self):
        self.train(self.make("sgd"), "w", "--steps", 3, "--workers", 2, *batch(12, 1, 12))
        (self.folder / "w.checkpoint.safetensors").rename(self.folder / "over")
        (self.folder / "w.safetensors").unlink()
        self.assertIn("3 steps already", self.refused("--workers", 3, "--steps", 3, *batch(12, 1, 12), "--resume", "over"))

    def test_transports(self):
        self.assertIn("error[E0601]: there is no transport `smoke`", self.refused("--transport", "smoke"))
        self.assertIn("error[E0544]: `--workers 2` starts processes that meet in shared memory, not through openmpi", self.refused("--workers", 2, "--transport", "openmpi"))

    def test_a_library_of_mpi_that_is_not_there(self):
        """A binary beside which no plug-in stands."""
        (self.folder / "bin").mkdir()
        alone = shutil.copy(NNC, self.folder / "bin/nnc")
        said = self.refused("--transport", "mpich", nnc=alone)
        self.assertIn("error[E0545]: nnc-mpi-mpich.so cannot be loaded", said)
        self.assertIn(f"there is no {os.path.realpath(self.folder)}/bin/nnc-mpi-mpich.so", said)


if __name__ == "__main__":
    unittest.main()
