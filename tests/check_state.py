"""State is never lost: kills, failing system calls, files that vanish, second runs, odd outputs, signals, and what a resume compares.

The long forms are commands: tests/state/kill_points.py and tests/state/fault_points.py.
"""

import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest
from pathlib import Path

from command_line import EXAMPLES, NNC, SLOWNESS, CommandLine, read_safetensors

sys.path.insert(0, str(Path(__file__).resolve().parent / "state"))
import fault_points  # noqa: E402
import kill_points  # noqa: E402

DIGITS = EXAMPLES / "digits.nn"
BUILD = Path(NNC).resolve().parent
SANITIZED = not (BUILD / "libnnc_fail_calls.so").exists()  # sanitizers wrap the calls themselves


class Kills(unittest.TestCase):
    def test_killed_runs_resume_to_the_same_bits(self):
        seed = 1
        killed, chains, _ = kill_points.kill_chains(NNC, 12, seed)
        self.assertEqual(killed, 12)
        self.assertGreater(chains, 0)


@unittest.skipIf(SANITIZED, "the library of failing calls is not built with sanitizers")
class Faults(unittest.TestCase):
    """A few calls of each kind; the command fails all of them."""

    def test_calls_of_a_save_and_a_load(self):
        faults = fault_points.Faults(BUILD)
        self.addCleanup(faults.close)
        saves = faults.save({"fsync": ("EIO",), "rename": ("EIO",), "write": ("SHORT",)}, stride=6)
        saves += faults.save({"write": ("ENOSPC",), "open": ("EACCES",)}, stride=13)
        saves += faults.save({"fsync": ("ENOSPC",)}, stays=True, stride=6)
        loads = faults.load({"read": ("EIO", "SHORT")}, stride=2)
        self.assertGreater(saves, 8)
        self.assertGreater(loads, 2)


class Run(CommandLine):
    """Runs that are disturbed while they train."""

    def setUp(self):
        super().setUp()
        self.elsewhere = self.folder / "elsewhere"
        self.elsewhere.mkdir()
        self.environment.update(TMPDIR=str(self.elsewhere), HOME=str(self.elsewhere))

    def begin(self, *arguments, lines=20, **options):
        """A run whose steps are under way."""
        run = self.start("train", *arguments, "--log", "run.jsonl", **options)
        self.addCleanup(lambda: run.poll() is None and run.kill())
        for pipe in (run.stdout, run.stderr):
            if pipe:
                self.addCleanup(pipe.close)
        self.wait_for_steps(run, self.folder / "run.jsonl", lines)
        return run

    def end(self, run, number=signal.SIGINT):
        if number:
            run.send_signal(number)
        _, messages = run.communicate(timeout=60)
        self.assertNotRegex(messages or "", fault_points.CRASH)
        return messages

    def rescued(self):
        return sorted(self.folder.rglob("*.rescued-*.safetensors"))


class Folders(Run):
    def test_the_folder_is_deleted(self):
        (self.folder / "out").mkdir()
        run = self.begin(DIGITS, "--steps", 100000000, "--set", "save.every=50", "--out", "out/w.safetensors")
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        while (self.folder / "out").exists():
            shutil.rmtree(self.folder / "out", ignore_errors=True)
        line = ""
        while "the run goes on" not in line and run.poll() is None:
            line = run.stderr.readline()
        time.sleep(0.1)
        self.assertIsNone(run.poll(), "a save in the middle that fails ends no run")
        messages = self.end(run)
        self.assertEqual(run.returncode, 1, messages)
        self.assertNotIn("warning", messages, "said once")
        self.assertIn("error[E0413]: cannot write `out/w.safetensors`: there is no folder `out`", messages)
        path, = self.rescued()
        self.assertIn(path.name, messages)
        step = int(read_safetensors(path)[0]["nnc.step"])
        self.assertEqual(self.train(DIGITS, "on", "--steps", step + 7, "--resume", path), self.train(DIGITS, "whole", "--steps", step + 7))
        self.nnc("eval", DIGITS, "--weights", path)

    @unittest.skipIf(os.environ.get("NNC_SANITIZER") == "thread", "ThreadSanitizer maps a file that it has written, and the limit cuts that short")
    def test_a_file_size_limit_stands_for_a_full_disk(self):
        expected = self.train(DIGITS, "w", "--steps", 4)

        def limit():  # its signal, which ends a process, is left as it is
            resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))  # room for the weights, not for the checkpoint

        run = self.run_nnc("train", DIGITS, "--steps", 8, "--quiet", "--out", "w.safetensors", preexec_fn=limit)
        self.assertEqual(run.returncode, 1)
        self.assertIn("error[E0413]: cannot write `w.checkpoint.safetensors`: file too large", run.stderr)
        self.assertIn("the state after step 8 is lost", run.stderr)
        found = self.digest("w")
        self.assertEqual(found[1], expected[1], "the old checkpoint stays")
        self.assertNotEqual(found[0], expected[0], "what can be written is written")
        self.assertEqual(list(self.folder.rglob(".nnc-*")), [])

    def test_an_unwritable_current_folder(self):
        if os.geteuid() != 0:
            self.skipTest("needs another user to be")
        locked = self.folder / "locked"
        locked.mkdir()
        for path in (self.folder, locked):
            path.chmod(0o555)
        run = subprocess.run([NNC, "train", DIGITS, "--steps", "3"], cwd=locked, env=self.environment, capture_output=True, text=True, user=65534, group=65534,
                             extra_groups=[])
        self.folder.chmod(0o755)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("error[E0413]: cannot write `digits.safetensors`: permission denied", run.stderr)


class Outputs(Run):
    def test_a_second_run_of_the_same_name_does_not_start(self):
        os.symlink("w.safetensors", self.folder / "link.safetensors")
        run = self.begin(DIGITS, "--steps", 100000000, "--out", "w.safetensors")
        for name in ("w.safetensors", "w", "./w.safetensors", "link.safetensors"):
            second = self.run_nnc("train", DIGITS, "--steps", 5, "--out", name)
            self.assertEqual(second.returncode, 1, name)
            self.assertIn(f"error[E0414]: another run (process {run.pid}) is writing", second.stderr)
            self.assertIn("--out", second.stderr)
        self.nnc("train", DIGITS, "--steps", 5, "--quiet", "--out", "other.safetensors")
        self.end(run)
        self.assertEqual(run.returncode, 130)
        self.nnc("train", DIGITS, "--steps", 5, "--quiet", "--out", "w.safetensors")
        self.assertEqual(list(self.folder.glob(".nnc-*")), [])

    def test_what_killed_runs_leave_is_removed_and_what_living_ones_write_is_not(self):
        run = self.begin(DIGITS, "--steps", 100000000, "--out", "w.safetensors")
        self.write(".nnc-1-0.tmp", b"of a process that is gone")
        self.write(".nnc-gone.lock", b"1\n")
        self.write(".nnc-notes.txt", b"not of nnc")
        self.nnc("train", DIGITS, "--steps", 5, "--quiet", "--out", "other.safetensors")
        self.assertEqual(sorted(p.name for p in self.folder.glob(".nnc-*")), [".nnc-notes.txt", ".nnc-w.lock"])
        run.kill()
        run.communicate()
        self.nnc("train", DIGITS, "--steps", 5, "--quiet", "--out", "w.safetensors")
        self.assertEqual([p.name for p in self.folder.glob(".nnc-*")], [".nnc-notes.txt"])

    def test_links(self):
        (self.folder / "there").mkdir()
        os.symlink("there/w.safetensors", self.folder / "w.safetensors")  # to nothing yet
        os.symlink("nowhere/w.safetensors", self.folder / "lost.safetensors")
        os.symlink("loop.safetensors", self.folder / "loop.safetensors")
        self.train(DIGITS, "w", "--steps", 3)
        self.assertTrue((self.folder / "w.safetensors").is_symlink())
        self.assertTrue((self.folder / "there/w.safetensors").is_file())
        self.train(DIGITS, "w", "--steps", 4)
        self.assertTrue((self.folder / "w.safetensors").is_symlink())
        for name, why in (("lost", "there is no folder `nowhere`"), ("loop", "its links lead in a circle")):
            run = self.run_nnc("train", DIGITS, "--steps", 3, "--out", f"{name}.safetensors")
            self.assertEqual(run.returncode, 1)
            self.assertIn(f"error[E0413]: cannot write `{name}.safetensors`: {why}", run.stderr)

    def test_a_named_pipe(self):
        self.train(DIGITS, "plain", "--steps", 3)
        os.mkfifo(self.folder / "pipe")
        reader = subprocess.Popen(["cat", "pipe"], cwd=self.folder, stdout=subprocess.PIPE)
        self.nnc("train", DIGITS, "--steps", 3, "--quiet", "--set", "save.every=1", "--out", "pipe")
        content, _ = reader.communicate(timeout=20)
        self.assertEqual(content, (self.folder / "plain.safetensors").read_bytes())

    def test_what_the_run_reads_is_not_overwritten(self):
        file = self.program("digits")
        self.write("x.csv", (EXAMPLES / "data/digits.csv").read_bytes())
        before = (self.folder / "x.csv").read_bytes()
        data = ("--data", "image=x.csv", "--data", "label=x.csv", "--steps", 2)
        for path, option in (("digits.nn", "--out"), ("x.csv", "--out"), ("x.csv", "--log")):
            run = self.run_nnc("train", file, *data, option, path)
            self.assertEqual(run.returncode, 1, run.stderr)
            self.assertIn(f"error[E0413]: cannot write `{path}`: this run reads", run.stderr)
        run = self.run_nnc("train", file, *data, "--out", "w.safetensors", "--log", "./w.safetensors")
        self.assertIn("both the log and the weights", run.stderr)
        self.assertEqual((self.folder / "x.csv").read_bytes(), before)


class Data(Run):
    def large(self, rows):
        """MNIST's shape in two .npy files, the images large enough to be mapped."""
        for name, width in (("x.npy", 784), ("y.npy", 0)):
            shape = f"({rows}, {width})" if width else f"({rows},)"
            header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
            header += b" " * (-(len(header) + 11) % 64) + b"\n"
            body = bytes(range(251)) * (rows * width // 251) + bytes(rows * width % 251) if width else bytes(i % 10 for i in range(rows))
            self.write(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body)
        return ("--data", "image=x.npy", "--data", "label=y.npy")

    @unittest.skipIf(SANITIZED, "the library of failing calls is not built with sanitizers")
    def test_a_large_file_that_cannot_be_mapped_is_read(self):
        data = self.large(45000)
        self.environment.update({"LD_PRELOAD": str(BUILD / "libnnc_fail_calls.so"), "NNC_FAIL_CALLS": "mmap", "NNC_FAIL_PATH": "x.npy", "NNC_FAIL_AT": "1",
                                 "NNC_FAIL_ERROR": "ENOMEM", "NNC_FAIL_COUNT_TO": str(self.folder / "count")})
        self.nnc("train", EXAMPLES / "mnist_mlp.nn", "--steps", 2, "--quiet", *data)
        self.assertEqual((self.folder / "count").read_text(), "1\n")

    def test_a_data_file_is_cut_short_while_it_is_in_use(self):
        data = self.large(50000)
        self.train(EXAMPLES / "mnist_mlp.nn", "w", "--steps", 20, *data)
        old = self.digest("w")
        run = self.begin(EXAMPLES / "mnist_mlp.nn", "--steps", 100000000, "--out", "w.safetensors", *data)
        os.truncate(self.folder / "x.npy", 100000)
        messages = self.end(run, None)
        self.assertEqual(run.returncode, 1, messages)
        self.assertIn("error[E0402]: `x.npy` lost its content while the run was reading it", messages)
        found = self.digest("w")
        self.assertEqual(found[0], old[0], "the weights are as they were")
        if "before the first step" in messages:
            return
        self.assertIn("--resume w.checkpoint.safetensors", messages)
        step = int(read_safetensors(self.folder / "w.checkpoint.safetensors")[0]["nnc.step"])
        self.assertIn(f"after step {step} ", messages)
        self.large(50000)
        self.assertEqual(self.train(EXAMPLES / "mnist_mlp.nn", "on", "--steps", step + 9, "--resume", "w.checkpoint.safetensors", *data),
                         self.train(EXAMPLES / "mnist_mlp.nn", "whole", "--steps", step + 9, *data))

    def test_a_data_file_is_replaced_or_deleted_while_it_is_in_use(self):
        self.write("x.csv", (EXAMPLES / "data/digits.csv").read_bytes())
        data = ("--data", "image=x.csv", "--data", "label=x.csv")
        run = self.begin(DIGITS, "--steps", 100000000, "--out", "w.safetensors", *data)
        (self.folder / "x.csv").unlink()
        self.end(run)
        step = int(read_safetensors(self.folder / "w.checkpoint.safetensors")[0]["nnc.step"])
        self.assertEqual(self.digest("w")[0], self.train(DIGITS, "whole", "--steps", step)[0])


class Signals(Run):
    def test_a_hangup_saves(self):
        run = self.begin(DIGITS, "--steps", 100000000, "--out", "w.safetensors")
        messages = self.end(run, signal.SIGHUP)
        self.assertEqual(run.returncode, 130)
        self.assertIn("--resume w.checkpoint.safetensors", messages)
        read_safetensors(self.folder / "w.safetensors")

    def test_what_the_parent_ignores_stays_ignored(self):
        """SIGHUP under nohup; SIGINT in the background of a script."""
        for number in (signal.SIGHUP, signal.SIGINT):
            (self.folder / "run.jsonl").unlink(missing_ok=True)  # by its lines begin() knows that steps are under way
            run = self.begin(DIGITS, "--steps", 100000000, "--out", "w.safetensors", preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
            run.send_signal(number)
            time.sleep(0.2)
            self.assertIsNone(run.poll())
            self.end(run, signal.SIGTERM)
            self.assertEqual(run.returncode, 130)

    def test_before_the_first_step_nothing_is_written(self):
        old = self.write("w.safetensors", b"the old weights")
        for number in (signal.SIGINT, signal.SIGTERM):
            for delay in (0.06, 0.1, 0.14):
                run = self.start("train", DIGITS, "--steps", 100000000, "--out", "w.safetensors")
                time.sleep(delay)
                run.send_signal(number)
                _, messages = run.communicate(timeout=60)
                if "after step" in messages:
                    old.write_bytes(b"the old weights")
                    continue
                self.assertIn(run.returncode, (130, -number), messages)  # the process may not have come to its handlers yet
                self.assertEqual(old.read_bytes(), b"the old weights")
        self.assertEqual(list(self.folder.glob(".nnc-*")), [])

    def test_a_signal_at_any_time_of_a_run_that_saves_all_the_time(self):
        """Also in the middle of a save, of an evaluation, and after the last step."""
        expected = self.train(DIGITS, "whole", "--steps", 100)
        stopped = 0
        for i in range(6):
            for path in (*self.folder.glob("w.*"), *self.folder.glob("run.jsonl")):
                path.unlink()
            run = self.begin(DIGITS, "--steps", 100, "--set", "save.every=1", "--out", "w.safetensors", lines=1)
            time.sleep(0.03 * i)
            messages = self.end(run)
            self.assertIn(run.returncode, (0, 130), messages)
            metadata = read_safetensors(self.folder / "w.checkpoint.safetensors")[0]
            stopped += run.returncode == 130 and metadata["nnc.step"] != "100"
            if metadata["nnc.step"] != "100":
                self.nnc("train", DIGITS, "--quiet", "--steps", 100, "--out", "w.safetensors", "--resume", "w.checkpoint.safetensors")
            self.assertEqual(self.digest("w"), expected)
            self.assertEqual(list(self.folder.glob(".nnc-*")), [])
        self.assertGreater(stopped, 0)

    def test_reports_that_need_all_rows_of_an_interrupted_epoch(self):
        """The rows that r2 and confusion keep are in the checkpoint, whichever step the signal comes after."""
        file = self.program("digits", ("report   accuracy(logits, label)", "report   fit(logits, label), confusion(logits, label), accuracy(logits, label)"),
                            ("train {", "fn fit(p[B, C], y[B]: class(C)) { r2(max(p, over: C), f32(y)) }\ntrain {"),
                            ("batch: 32", "batch: 1"))
        run = self.begin(file, "--epochs", 100000, "--out", "w.safetensors", lines=2000)
        self.end(run)
        self.assertEqual(run.returncode, 130)
        path = self.folder / "w.checkpoint.safetensors"
        step, of_epoch = int(read_safetensors(path)[0]["nnc.step"]), 1438
        if step % of_epoch == 0:
            self.skipTest("the signal came after the last step of an epoch")
        epochs = step // of_epoch + 1
        resumed = self.nnc("train", file, "--json", "--epochs", epochs, "--out", "x.safetensors", "--resume", path).stdout.splitlines()
        whole = self.nnc("train", file, "--json", "--epochs", epochs, "--out", "y.safetensors").stdout.splitlines()
        self.assertEqual(json.loads(resumed[-1]), json.loads(whole[-1]))
        self.assertIn("fit", json.loads(whole[-1]))

    @unittest.skipIf(os.environ.get("NNC_SANITIZER") == "thread", "ThreadSanitizer keeps a signal back until a call that waits has returned")
    def test_after_everything_is_saved_the_status_is_the_same(self):
        """The run has written its files and waits for a reader of its metrics when the signal comes."""
        expected = self.train(DIGITS, "whole", "--steps", 20)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            reader, writer = os.pipe()
            os.set_blocking(writer, False)
            with self.assertRaises(BlockingIOError):
                while True:
                    os.write(writer, bytes(4096))
            os.set_blocking(writer, True)
            run = subprocess.Popen([NNC, "train", DIGITS, "--steps", "20", "--out", "w.safetensors"], cwd=self.folder, env=self.environment, stdout=writer,
                                   stderr=subprocess.PIPE, text=True)
            os.close(writer)
            for line in run.stderr:
                if line.startswith("saved "):
                    break
            time.sleep(0.3 * SLOWNESS)
            self.assertIsNone(run.poll(), "it waits")
            run.send_signal(number)
            _, messages = run.communicate(timeout=60)
            os.close(reader)
            self.assertEqual(run.returncode, 130, messages)
            self.assertEqual(messages, "")
            self.assertEqual(self.digest("w"), expected)
            self.assertEqual(list(self.folder.glob(".nnc-*")), [])

    def test_a_pipe_that_closes_costs_nothing(self):
        expected = self.train(DIGITS, "whole", "--epochs", 3)
        for command, status in (('"$0" train "$1" --epochs 3 --json --out w.safetensors | head -n 1; exit "${PIPESTATUS[0]}"', 1),
                                ('"$0" train "$1" --epochs 3 --out w.safetensors 2>&1 >/dev/null | head -n 1; exit "${PIPESTATUS[0]}"', 0)):
            run = subprocess.run(["bash", "-c", command, NNC, DIGITS], cwd=self.folder, capture_output=True, text=True)
            self.assertIn(run.returncode, (0, status), run.stderr)
            self.assertEqual(self.digest("w"), expected)


class Resume(Run):
    def setUp(self):
        super().setUp()
        self.expected = self.train(DIGITS, "whole", "--steps", 60)
        self.train(DIGITS, "w", "--steps", 30)

    def differs(self, *arguments, says, code="E0504", file=DIGITS):
        run = self.run_nnc("train", file, "--steps", 60, "--out", "x.safetensors", "--resume", "w.checkpoint.safetensors", *arguments)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertRegex(run.stderr, rf"^error\[{code}\]: w.checkpoint.safetensors does not continue this run: \d+ things? differs?\n")
        self.assertEqual(run.stderr.count("error["), 1)
        for text in says:
            self.assertIn(text, run.stderr)
        self.assertEqual(run.stderr.count("= note: "), len(says), run.stderr)

    def test_another_model(self):
        self.differs(file=self.program("digits", ("|> Dense(64) |> relu\n    |> Dense(10)", "|> Dense(32) |> relu\n    |> Dense(10)")), code="E0505",
                     says=("`dense2.weight` is [64, 64] in the file, [32, 64] in the model", "`dense2.bias` is [64] in the file, [32] in the model",
                           "`dense3.weight` is [10, 64]", "`optimizer.momentum_buffer.dense2.weight` is", "`optimizer.momentum_buffer.dense2.bias` is",
                           "`optimizer.momentum_buffer.dense3.weight` is"))

    def test_the_same_shapes_and_another_meaning(self):
        self.differs(file=self.program("digits", ("relu", "tanh")), says=("model: what it computes outside its layers is not what it was",))
        self.differs(file=self.program("digits", ("image / 16", "image / 255")), says=("model: a number outside its layers is ", ))

    def test_another_optimizer(self):
        self.differs(file=self.program("digits", ("sgd(lr: 0.05, momentum: 0.9)", "adam(lr: 0.001)")), code="E0505",
                     says=("optimizer: `momentum_buffer` in the file, `exp_avg`, `exp_avg_sq` now", "using.lr: 0.05 in the checkpoint, 0.001 now",
                           "using.beta1: none", "using.beta2: none", "using.eps: none"))

    def test_everything_at_once(self):
        self.differs("--seed", 3, "--set", "data.batch=16", "--no-shuffle",
                     says=("seed: 7 in the checkpoint, 3 now", "batch: 32 in the checkpoint, 16 now", "shuffle: true in the checkpoint, false now"))

    def test_other_data(self):
        lines = (EXAMPLES / "data/digits.csv").read_text().splitlines()
        lines[5] = "1" + lines[5][1:]
        self.write("changed.csv", "\n".join(lines) + "\n")
        self.differs("--data", "image=changed.csv", says=("data: the values of `image` are not those of the checkpoint's run",))
        self.write("fewer.csv", "\n".join(lines[:900]) + "\n")
        self.differs("--data", "image=fewer.csv", "--data", "label=fewer.csv", says=("training rows: 1438 in the checkpoint, 720 now",))
        self.differs(file=self.program("digits", ("image[64] : f32", "pixels[64] : f32"), ("Digits(image)", "Digits(pixels)")),
                     says=("model: what it computes", "data: field `image` is f32[64] in the checkpoint, none now", "data: field `pixels` is none in the checkpoint, f32[64] now"))

    def test_what_may_change_is_said_and_done(self):
        run = self.nnc("train", DIGITS, "--steps", 60, "--quiet", "--out", "x.safetensors", "--resume", "w.checkpoint.safetensors", "--set", "using.lr=0.01")
        self.assertIn("warning[E0504]", run.stderr)
        self.assertIn("using.lr: 0.05 in the checkpoint, 0.01 now", run.stderr)
        run = self.nnc("train", DIGITS, "--steps", 60, "--quiet", "--out", "x.safetensors", "--resume", "w.checkpoint.safetensors", "--set", "using.momentum=0.5")
        self.assertRegex(run.stderr, r"optimizer: a number in the rule that updates `dense1.weight` and 5 more is 0.9 in the checkpoint, 0.5 now")
        raw = (self.folder / "w.checkpoint.safetensors").read_bytes()
        changed = re.sub(rb'"nnc.version":"[0-9.]{5}"', b'"nnc.version":"9.9.9"', raw)
        self.assertNotEqual(raw, changed)
        self.write("w.checkpoint.safetensors", changed)
        run = self.nnc("train", DIGITS, "--steps", 60, "--quiet", "--out", "x.safetensors", "--resume", "w.checkpoint.safetensors")
        self.assertRegex(run.stderr, r"warning\[E0504\][^\0]*version of nnc: 9.9.9 in the checkpoint, [0-9.]+ now")
        self.assertEqual(self.digest("x"), self.expected)

    def test_a_report_more_changes_nothing(self):
        file = self.program("digits", ("report   accuracy(logits, label)", "report   accuracy(logits, label), precision: mean(logits)"))
        run = self.nnc("train", file, "--steps", 60, "--quiet", "--out", "x.safetensors", "--resume", "w.checkpoint.safetensors")
        self.assertEqual(run.stderr, "")
        self.assertEqual(self.digest("x")[0], self.expected[0])

    def test_values_that_are_no_numbers(self):
        raw = (self.folder / "w.checkpoint.safetensors").read_bytes()
        self.write("w.checkpoint.safetensors", raw[:-4] + struct.pack("<f", float("nan")))
        run = self.run_nnc("train", DIGITS, "--steps", 60, "--resume", "w.checkpoint.safetensors")
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, r"error\[E0505\]: w.checkpoint.safetensors holds NaN or infinite weights in 1 tensor\n")
        self.assertRegex(run.stderr, r"`\S+` \[[0-9, ]+\]: element \d+ is nan")

    def test_the_log_goes_on_where_the_checkpoint_is(self):
        def losses(name):
            return [(line["step"], line["loss"]) for line in self.log(name)]

        common = ("train", DIGITS, "--quiet", "--out", "l.safetensors")
        self.nnc(*common, "--steps", 50, "--log", "whole.jsonl")
        self.nnc(*common, "--steps", 20, "--log", "run.jsonl")
        saved = (self.folder / "l.checkpoint.safetensors").read_bytes()
        self.nnc(*common, "--steps", 35, "--log", "run.jsonl", "--resume", "l.checkpoint.safetensors")
        with open(self.folder / "run.jsonl", "a") as log:
            log.write('{"step":36,"epo')  # as a kill leaves it
        self.write("l.checkpoint.safetensors", saved)  # and steps 21 to 36 are in no checkpoint
        self.nnc(*common, "--steps", 50, "--log", "run.jsonl", "--resume", "l.checkpoint.safetensors")
        self.assertEqual(losses("run.jsonl"), losses("whole.jsonl"))
        seconds = [line["seconds"] for line in self.log("run.jsonl")]
        self.assertEqual(seconds, sorted(seconds))
        self.write("l.checkpoint.safetensors", saved)
        self.write("notes.txt", "my notes\n")
        run = self.run_nnc(*common, "--steps", 50, "--log", "notes.txt", "--resume", "l.checkpoint.safetensors")
        self.assertEqual(run.returncode, 1)
        self.assertIn("error[E0413]: cannot go on in `notes.txt`: its line 1 is not that of a step", run.stderr)
        self.assertEqual((self.folder / "notes.txt").read_text(), "my notes\n")


class Exchanged(CommandLine):
    """What the same shapes, operations and numbers of rows do not tell apart: operands, targets of updates and rows that are exchanged."""

    PROGRAM = """data d {
  x[2] = csv("d.csv", columns: 0..2)
  y    = csv("d.csv", columns: 2)
  test 20%
}
optimizer my(lr) {
  state m = 0
  state v = 0
  let a = 0.5 * m + grad
  let b = 0.5 * v + grad * grad
  update m = a
  update v = b
  update value = value - lr * m / (1 + v)
}
layer Means(x[B, 2]) -> [B, 2] {
  state s[2] = 0
  state t[2] = 0
  let p = x * 2 + 1
  let q = x * 4 + 3
  update s = mean(p, over: B)
  update t = mean(q, over: B)
  p + s - t
}
model M(x[B, 2]) -> [B] {
  fc: Dense(1)
  let p = x |> means: Means
  let u = p |> fc
  let w = p * p |> fc
  let h = (u - 3 * w) as [B]
  let a = h * h
  let b = 2 * h
  2 * a - 3 * b
}
train {
  data d, batch: 4
  minimize mean_squared_error(M(x), y)
  using my(lr: 0.01)
  epochs 2
  seed 1
}
"""

    def setUp(self):
        super().setUp()
        self.write("d.csv", "".join(f"{i % 7},{i % 5},{i % 3}\n" for i in range(20)))
        self.nnc("train", self.write("net.nn", self.PROGRAM), "--quiet", "--out", "w.safetensors")

    def resume(self, *changes):
        text = self.PROGRAM
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        return self.run_nnc("train", self.write("other.nn", text), "--quiet", "--epochs", 4, "--out", "x.safetensors", "--resume", "w.checkpoint.safetensors")

    def check(self, says, *changes):
        run = self.resume(*changes)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("error[E0504]: w.checkpoint.safetensors does not continue this run: 1 thing differs\n", run.stderr)
        self.assertIn(says, run.stderr)

    def test_operands(self):
        self.check("what it computes outside its layers is not what it was", ("2 * a - 3 * b", "2 * b - 3 * a"))

    def test_results_of_a_layer(self):
        self.check("what it computes outside its layers is not what it was", ("u - 3 * w", "w - 3 * u"))

    def test_updates_of_a_layer(self):
        self.check("what it computes in the layer `means` is not what it was", ("update s = mean(p, over: B)\n  update t = mean(q, over: B)",
                                                                              "update s = mean(q, over: B)\n  update t = mean(p, over: B)"))

    def test_updates_of_an_optimizer(self):
        self.check("the rule that updates `fc.weight` and 1 more is another", ("update m = a\n  update v = b", "update m = b\n  update v = a"))

    def test_rows_that_train(self):
        self.check("the rows that train are not those of the checkpoint's run", ("test 20%", "test last 20%"))

    def test_a_checkpoint_that_does_not_record_it(self):
        path = self.folder / "w.checkpoint.safetensors"
        whole = self.train(self.folder / "net.nn", "whole", "--epochs", 4)
        raw = path.read_bytes()
        for key in (b"nnc.split", b"nnc.layers", b"nnc.updates"):
            self.assertIn(key, raw)
            raw = raw.replace(b'"' + key + b'"', b'"old' + key[3:] + b'"')
        path.write_bytes(raw)
        run = self.resume()
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertEqual(self.digest("x"), whole)


class EpochLines(CommandLine):
    """The line of an epoch is that of the whole epoch, also where a checkpoint stands in its middle."""

    PROGRAM = """data d {{
  x            = csv("d.csv", columns: 0)
  k : class(3) = csv("d.csv", columns: 1)
}}
model M(x[B]) -> [B, 3] {{ (x as [B, 1]) |> Dense(3) }}
train {{
  data d, batch: 3
  minimize cross_entropy(M(x), k)
  using sgd(lr: {lr})
  epochs 3
  report {reports}
}}
"""

    def setUp(self):
        super().setUp()
        self.write("d.csv", "".join(f"{i / 20},{i % 3}\n" for i in range(20)))
        self.net("accuracy(M(x), k), confusion(M(x), k)")

    def net(self, reports, lr="0.1"):
        self.write("net.nn", self.PROGRAM.format(reports=reports, lr=lr))

    def lines(self, out, *options):
        shown = self.nnc("train", "net.nn", "--json", "--out", f"{out}.safetensors", *options).stdout
        return [json.loads(line) for line in shown.splitlines()]

    def resume(self, *options):
        return self.lines("w", "--resume", "w.checkpoint.safetensors", *options)

    def change(self, old, new):
        path = self.folder / "w.checkpoint.safetensors"
        raw = path.read_bytes()
        self.assertIn(old, raw)
        self.assertEqual(len(old), len(new))
        path.write_bytes(raw.replace(old, new))

    def test_whatever_step_it_is(self):
        whole = self.lines("whole")
        for step in (1, 6, 7, 8, 13, 20):
            with self.subTest(step=step):
                self.lines("w", "--steps", step)
                self.assertEqual(self.resume(), whole[step // 7:])
                self.assertEqual(self.digest("w"), self.digest("whole"))

    def test_twice_in_one_epoch(self):
        whole = self.lines("whole")
        self.lines("w", "--steps", 9)
        self.resume("--steps", 12)
        self.assertEqual(self.resume(), whole[1:])

    def test_a_report_that_joins_is_of_the_rows_since(self):
        self.net("accuracy(M(x), k)")
        self.lines("w", "--steps", 13)
        self.net("accuracy(M(x), k), confusion(M(x), k), rows: mean(x) * 0 + 1")
        whole, line = self.lines("whole")[1], self.resume()[0]
        self.assertEqual([line[key] for key in ("loss", "accuracy", "rows")], [whole["loss"], whole["accuracy"], 1])
        self.assertEqual(sum(map(sum, line["confusion"])), 2, "the last step of an epoch has two rows")

    def test_a_checkpoint_that_does_not_record_it(self):
        whole = self.lines("whole")
        self.lines("w", "--steps", 9)
        self.change(b'"nnc.sums"', b'"old.sums"')
        lines = self.resume()
        self.assertNotEqual(lines[0], whole[1])
        self.assertEqual(lines[1], whole[2])

    def test_a_checkpoint_of_version_0_1_0(self):
        """It had means and sums alone, described layers and rules by other texts, and did not know which rows were trained."""
        self.net("accuracy(M(x), k), total: sum(x)")
        whole = self.lines("whole")
        self.lines("w", "--steps", 9)
        path = self.folder / "w.checkpoint.safetensors"
        raw = path.read_bytes()
        size, = struct.unpack_from("<Q", raw)
        header = json.loads(raw[8:8 + size])
        recorded = header["__metadata__"]
        self.assertRegex(recorded["nnc.sums"], r"^loss:6,[^ ]+ accuracy:6,[^ ]+ sum\.total:6,[^ ]+$")
        recorded.update({"nnc.version": "0.1.0", "nnc.layers": "digest 0123456789abcdef", "nnc.updates": "dense1.weight:0123456789abcdef()"})
        del recorded["nnc.trained"]
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size:])
        run = self.nnc("train", "net.nn", "--json", "--out", "w.safetensors", "--resume", "w.checkpoint.safetensors")
        shown = [json.loads(line) for line in run.stdout.splitlines()]
        self.assertRegex(json.dumps(shown[0]), r"E0504.*version of nnc: 0.1.0 in the checkpoint, [0-9.]+ now")
        self.assertEqual(shown[1:], whole[1:])
        self.assertEqual(self.digest("w"), self.digest("whole"))

    def test_sums_that_are_none(self):
        self.lines("w", "--steps", 9)
        self.change(b'"loss:6,', b'"loss:x,')
        run = self.run_nnc("train", "net.nn", "--resume", "w.checkpoint.safetensors")
        self.assertEqual(run.returncode, 1)
        self.assertIn("error[E0405]", run.stderr)
        self.assertIn("it records the sums `loss:x,", run.stderr)

    def test_the_last_finite_state(self):
        self.net("accuracy(M(x), k)", lr="1 / (10 - step)")
        self.assertEqual(self.run_nnc("train", "net.nn", "--quiet", "--out", "w.safetensors").returncode, 1)
        kept = (self.folder / "w.last-good.safetensors").read_bytes()
        step = int(read_safetensors(self.folder / "w.last-good.safetensors")[0]["nnc.step"])
        self.assertNotEqual(step % 7, 0)
        self.lines("same", "--steps", step)
        self.assertEqual((self.folder / "same.checkpoint.safetensors").read_bytes(), kept)


if __name__ == "__main__":
    unittest.main()
