"""What training promises (the same bits for any number of threads and across --resume, Ctrl-C that loses nothing), seen from the command line."""

import csv
import fcntl
import json
import math
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
import unittest

from command_line import EXAMPLES, NNC, SLOWNESS, CommandLine, read_safetensors, relative_gap

DIGITS = EXAMPLES / "digits.nn"
EXAMPLE_NAMES = ("digits", "forecast", "mnist_mlp", "own_convolution", "own_optimizer", "recurrent", "regression")
STEPS_PER_EPOCH = 45  # of digits.nn: 1438 of 1797 rows train, in batches of 32


def digits_rows():
    with open(EXAMPLES / "data/digits.csv", newline="") as file:
        return list(csv.reader(file))


def csv_text(rows):
    return "".join(",".join(row) + "\n" for row in rows)


class SameBits(CommandLine):
    def check_threads(self, example):
        expected = self.train(EXAMPLES / f"{example}.nn", "one", "--threads", 1, "--epochs", 2)
        for threads in (1, 2, 3, 7):
            with self.subTest(threads=threads):
                self.assertEqual(self.train(EXAMPLES / f"{example}.nn", "other", "--threads", threads, "--epochs", 2), expected)

    def check_resume(self, example):
        file = EXAMPLES / f"{example}.nn"
        expected = self.train(file, "whole", "--epochs", 10)
        first = self.train(file, "half", "--epochs", 5)
        self.assertNotEqual(first[0], expected[0], "five more epochs must change the weights")
        self.assertEqual(self.train(file, "half", "--epochs", 10, "--resume", "half.checkpoint.safetensors"), expected)

    def test_resume_in_the_middle_of_an_epoch(self):
        expected = self.train(DIGITS, "whole", "--steps", 2 * STEPS_PER_EPOCH + 10)
        self.train(DIGITS, "part", "--steps", 7)
        for steps in (8, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 20, 2 * STEPS_PER_EPOCH + 10):
            found = self.train(DIGITS, "part", "--steps", steps, "--resume", "part.checkpoint.safetensors")
            self.assertEqual(read_safetensors(self.folder / "part.checkpoint.safetensors")[0]["nnc.step"], str(steps))
        self.assertEqual(found, expected)

    def test_resume_under_another_number_of_threads(self):
        expected = self.train(DIGITS, "whole", "--epochs", 4, "--threads", 1)
        self.train(DIGITS, "part", "--epochs", 2, "--threads", 3)
        self.assertEqual(self.train(DIGITS, "part", "--epochs", 4, "--threads", 2, "--resume", "part.checkpoint.safetensors"), expected)

    def test_where_the_run_is_started_and_written_does_not_matter(self):
        expected = self.train(DIGITS, "one", "--epochs", 2)
        (self.folder / "deep").mkdir()
        self.assertEqual(self.train(self.program("digits"), "deep/other name", "--epochs", 2), expected)


for name in EXAMPLE_NAMES:
    setattr(SameBits, f"test_threads_{name}", lambda self, name=name: self.check_threads(name))
    setattr(SameBits, f"test_resume_{name}", lambda self, name=name: self.check_resume(name))


class Options(CommandLine):
    def test_seed(self):
        seeds = {seed: self.train(DIGITS, "w", "--epochs", 1, "--seed", seed)[0] for seed in (7, 8, 9)}
        self.assertEqual(len(set(seeds.values())), 3)
        self.assertEqual(seeds[7], self.train(DIGITS, "w", "--epochs", 1)[0], "7 is the file's own seed")

    def test_set_is_what_the_file_would_say(self):
        for path, value, change in (("using.lr", "0.02", ("lr: 0.05", "lr: 0.02")), ("using.momentum", "0", ("momentum: 0.9", "momentum: 0")),
                                    ("data.batch", "64", ("batch: 32", "batch: 64")), ("data.batch", "all", ("batch: 32", "batch: all")),
                                    ("seed", "3", ("seed     7", "seed     3"))):
            with self.subTest(path=path, value=value):
                changed = self.train(self.program("digits", change), "file", "--epochs", 2)
                self.assertEqual(self.train(DIGITS, "set", "--set", f"{path}={value}", "--epochs", 2), changed)
                self.assertNotEqual(self.train(DIGITS, "plain", "--epochs", 2), changed)

    def test_set_a_dimension(self):
        file = self.program("digits", ("data digits {", "dim Width = 64\ndata digits {"), ("Dense(64) |> relu\n    |> Dense(10)", "Dense(Width) |> relu\n    |> Dense(10)"))
        self.train(file, "w", "--steps", 1, "--set", "Width=24")
        self.assertEqual(read_safetensors(self.folder / "w.safetensors")[1]["dense2.weight"][0], [24, 64])

    def test_options_may_stand_before_the_file(self):
        expected = self.train(DIGITS, "after", "--epochs", 1, "--set", "data.batch=64")
        self.nnc("train", "--set", "data.batch=64", DIGITS, "--quiet", "--out", "before.safetensors", "--epochs", 1)
        self.assertEqual(self.digest("before"), expected)

    def test_epochs_are_passes_over_the_training_rows(self):
        self.assertEqual(self.train(DIGITS, "a", "--epochs", 2)[0], self.train(DIGITS, "b", "--steps", 2 * STEPS_PER_EPOCH)[0])

    def test_default_output_is_named_after_the_file_in_the_current_folder(self):
        self.nnc("train", DIGITS, "--quiet", "--steps", 1)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["digits.checkpoint.safetensors", "digits.safetensors"])

    def test_data_takes_the_place_of_a_file(self):
        rows = digits_rows()[:500]
        self.write("short.csv", csv_text(rows))
        changed = self.program("digits", ('"data/digits.csv"', '"short.csv"'))
        expected = self.train(changed, "file", "--epochs", 2)
        options = ("--data", "image=short.csv", "--data", "label=short.csv")
        self.assertEqual(self.train(DIGITS, "option", "--epochs", 2, *options), expected)
        self.assertNotEqual(self.train(DIGITS, "own", "--epochs", 2), expected)

    def test_init_starts_from_weights(self):
        self.train(DIGITS, "first", "--epochs", 2)
        self.train(DIGITS, "still", "--epochs", 2, "--init", "first.safetensors", "--set", "using.lr=0")
        self.assertEqual((self.folder / "still.safetensors").read_bytes(), (self.folder / "first.safetensors").read_bytes())
        self.train(DIGITS, "on", "--epochs", 1, "--init", "first.safetensors")
        self.assertNotEqual((self.folder / "on.safetensors").read_bytes(), (self.folder / "first.safetensors").read_bytes())

    def test_log_has_a_line_for_every_step(self):
        self.nnc("train", DIGITS, "--quiet", "--epochs", 2, "--log", "run.jsonl", "--out", "w.safetensors")
        lines = self.log("run.jsonl")
        self.assertEqual([line["step"] for line in lines], list(range(1, 2 * STEPS_PER_EPOCH + 1)))
        self.assertEqual([line["epoch"] - lines[0]["epoch"] for line in lines], [0] * STEPS_PER_EPOCH + [1] * STEPS_PER_EPOCH)
        for line in lines:
            self.assertEqual(set(line), {"step", "epoch", "loss", "accuracy", "rate", "seconds"})
            self.assertAlmostEqual(line["rate"], 0.05, places=6)
        self.assertLess(lines[-1]["loss"], lines[0]["loss"])
        self.assertEqual([line["seconds"] for line in lines], sorted(line["seconds"] for line in lines))
        self.nnc("train", DIGITS, "--quiet", "--epochs", 3, "--log", "run.jsonl", "--out", "w.safetensors", "--resume", "w.checkpoint.safetensors")
        more = self.log("run.jsonl")
        self.assertEqual(more[:len(lines)], lines, "a resumed run goes on in the log")
        self.assertEqual([line["step"] for line in more], list(range(1, 3 * STEPS_PER_EPOCH + 1)))

    def test_a_pipe_gets_at_most_a_line_a_second(self):
        begin = time.monotonic()
        lines = [l for l in self.nnc("train", DIGITS, "--epochs", 40).stderr.splitlines() if l.startswith("Epoch")]
        seconds = time.monotonic() - begin
        self.assertTrue(lines[0].startswith("Epoch 1/40: "), "the first is shown at once")
        self.assertTrue(lines[-1].startswith("Epoch 40/40: "), "the last is shown always")
        self.assertLessEqual(len(lines), 2 + seconds)

    def on_a_terminal(self, columns, *arguments):
        """What a terminal of so many columns gets, and its lines as they stand at the end, of cells that were written last."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
        process = subprocess.Popen([NNC, *map(str, arguments)], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=slave, env=environment)
        os.close(slave)
        written = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            written += chunk
        os.close(master)
        self.assertEqual(process.wait(), 0)
        text = written.decode().partition("saved ")[0]  # what is said behind progress is never drawn again, and may wrap
        screen, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[\d*[A-Z]|[^\x1b]", text):
            if part == "\n":
                row, column = row + 1, 0
                if row == len(screen):
                    screen.append("")
            elif part == "\r":
                column = 0
            elif part.endswith("A") and part[0] == "\x1b":
                row -= int(part[2:-1])
                self.assertGreaterEqual(row, 0)
            elif part == "\x1b[J":
                screen = screen[:row] + [screen[row][:column]]
            else:
                self.assertNotEqual(part[0], "\x1b", part)
                screen[row] = screen[row][:column].ljust(column) + part + screen[row][column + 1:]
                column += 1
                self.assertLess(column, columns, "a line that reaches the edge cannot be drawn again in its place")
        return screen

    def test_an_epoch_fits_the_terminal(self):
        wide = self.on_a_terminal(160, "train", DIGITS, "--epochs", 2)
        self.assertRegex(wide[1], r"^45/45 .*/step - loss: .* - accuracy: .* - test loss: .* - test accuracy: 0\.\d{4}$")
        self.assertEqual(wide[2], "Epoch 2/2")
        narrow = self.on_a_terminal(40, "train", DIGITS, "--epochs", 2)
        self.assertEqual(narrow[0], "Epoch 1/2")
        self.assertRegex(narrow[1], r"^45/45 .*/step$")
        self.assertRegex(narrow[2], r"^  loss: \d\.\d{4}$")
        self.assertRegex(narrow[5], r"^  test accuracy: 0\.\d{4}$")
        self.assertEqual(narrow[6], "Epoch 2/2")
        two = self.on_a_terminal(52, "train", DIGITS, "--epochs", 1)
        self.assertRegex(two[2], r"^  loss: \d\.\d{4} {11}accuracy: 0\.\d{4}$")

    def test_quiet_and_progress(self):
        self.assertEqual(self.nnc("train", DIGITS, "--quiet", "--epochs", 1).stderr, "")
        progress = self.nnc("train", DIGITS, "--epochs", 2).stderr
        self.assertIn("Epoch 2/2: ", progress)
        self.assertRegex(progress, r"45/45 .*loss: \d\.\d{4} - accuracy: 0\.\d{4} - test loss: \d\.\d{4} - test accuracy: 0\.\d{4}\n")
        self.assertNotIn("\r", progress, "nothing is overwritten in a pipe")
        self.assertNotIn("\x1b", progress, "no colour in a pipe")


class SmallerLastBatch(CommandLine):
    """39 rows in batches of 32: the second step trains on 7 rows, and its loss is the mean over those 7."""

    def test_it_is_a_step_of_its_own_rows(self):
        rows = digits_rows()
        for name, chosen in (("all", rows[:39]), ("head", rows[:32]), ("tail", rows[32:39])):
            self.write(f"{name}.csv", csv_text(chosen))
        plain = (("  test 20%\n", ""), (", momentum: 0.9", ""), ("lr: 0.05", "lr: 0.5"))
        files = {name: self.program("digits", ('"data/digits.csv"', f'"{name}.csv"'), *plain, name=f"{name}.nn") for name in ("all", "head", "tail")}
        common = ("--no-shuffle", "--log", "run.jsonl")
        self.train(files["all"], "both", "--steps", 2, *common)
        losses = [line["loss"] for line in self.log("run.jsonl")]
        self.train(files["head"], "first", "--steps", 1, *common)
        self.assertAlmostEqual(self.log("run.jsonl")[0]["loss"], losses[0], places=6)
        self.train(files["tail"], "second", "--steps", 1, "--set", "data.batch=7", "--init", "first.safetensors", *common)
        self.assertAlmostEqual(self.log("run.jsonl")[0]["loss"], losses[1], places=5)
        found, expected = (read_safetensors(self.folder / f"{name}.safetensors")[1] for name in ("both", "second"))
        before = read_safetensors(self.folder / "first.safetensors")[1]
        for name, (shape, values) in expected.items():
            self.assertEqual(found[name][0], shape)
            self.assertLess(relative_gap(found[name][1], values), 1e-6, name)
            self.assertGreater(relative_gap(found[name][1], before[name][1]), 1e-4, f"{name} did not train")


class Metrics(CommandLine):
    def test_digits_learns_and_eval_repeats_its_metrics(self):
        run = self.nnc("train", DIGITS, "--json", "--out", "w.safetensors")
        epochs = [json.loads(line) for line in run.stdout.splitlines()]
        self.assertEqual([e["epoch"] for e in epochs], list(range(1, 31)))
        for e in epochs:
            self.assertEqual(set(e), {"epoch", "loss", "accuracy", "test"})
            self.assertEqual(set(e["test"]), {"loss", "accuracy"})
        self.assertGreaterEqual(epochs[-1]["test"]["accuracy"], 0.955)
        evaluated = json.loads(self.nnc("eval", DIGITS, "--weights", "w.safetensors", "--json").stdout)
        self.assertEqual(evaluated, epochs[-1]["test"])

    def test_a_forecast_is_better_than_last_years_months(self):
        """examples/forecast.nn as it stands: of twelve months ahead, on nine years that were not trained on."""
        epochs = [json.loads(line) for line in self.nnc("train", EXAMPLES / "forecast.nn", "--json").stdout.splitlines()]
        test = epochs[-1]["test"]
        self.assertAlmostEqual(test["last_year"], self.last_years_error(), places=4)
        self.assertLess(test["error"], 0.8 * test["last_year"])

    def last_years_error(self):
        off = []
        for line in (EXAMPLES / "data/co2_later.csv").read_text().splitlines()[1:]:
            months = [float(cell) for cell in line.split(",")[1:]]
            known, told = months[:36], months[36:]
            off += [abs(known[24 + i] + known[35] - known[23] - value) for i, value in enumerate(told)]
        return sum(off) / len(off)

    def test_eval_takes_the_split_of_the_run_that_wrote_the_weights(self):
        trained = self.nnc("train", DIGITS, "--json", "--epochs", 2, "--seed", 99, "--out", "w.safetensors").stdout.splitlines()[-1]
        evaluated = json.loads(self.nnc("eval", DIGITS, "--weights", "w.safetensors", "--json").stdout)
        self.assertEqual(evaluated, json.loads(trained)["test"])

    def test_eval_prints_what_train_printed(self):
        for example, epochs in (("digits", 3), ("forecast", 2), ("mnist_mlp", 1), ("own_convolution", 1), ("own_optimizer", 3), ("regression", 3)):
            with self.subTest(example=example):
                file = EXAMPLES / f"{example}.nn"
                trained = self.nnc("train", file, "--epochs", epochs, "--quiet", "--out", "w.safetensors").stdout.splitlines()
                evaluated = self.nnc("eval", file, "--weights", "w.safetensors").stdout.splitlines()
                self.assertGreaterEqual(len(trained), 2)
                self.assertEqual(sorted(trained), sorted(f"test {line}" for line in evaluated))

    def test_predicted_classes_have_the_accuracy_of_eval(self):
        rows = digits_rows()
        train, held = rows[:1200], rows[1200:]
        self.write("train.csv", csv_text(train))
        self.write("held.csv", csv_text(held))
        self.write("images.csv", csv_text(row[:64] for row in held))
        block = ('data {} {{\n  image[64] : f32 = csv("{}.csv", columns: 0..64)\n'
                 '  label : class(10) = csv("{}.csv", columns: 64)\n{}}}\n')
        text = DIGITS.read_text()
        text = text[text.index("model Digits"):]
        file = self.write("held.nn", block.format("later", "held", "held", "") + block.format("digits", "train", "train", "  test from later\n") + text)
        self.train(file, "w", "--epochs", 5)
        evaluated = json.loads(self.nnc("eval", file, "--weights", "w.safetensors", "--json").stdout)
        predicted = self.nnc("predict", file, "--weights", "w.safetensors", "--input", "image=images.csv", "--classes").stdout
        table = list(csv.DictReader(predicted.splitlines()))
        self.assertEqual(len(table), len(held))
        hits = sum(int(row["class"]) == int(truth[64]) for row, truth in zip(table, held))
        self.assertAlmostEqual(hits / len(held), evaluated["accuracy"], places=6)
        self.assertGreater(hits / len(held), 0.8)
        self.assertTrue(all(0.1 <= float(row["probability"]) <= 1 for row in table), "the most likely of ten classes")

    def test_bench_gives_its_figures_as_json(self):
        figures = json.loads(self.nnc("bench", DIGITS, "--json", "--threads", 1).stdout)
        self.assertLessEqual({"step_us", "gflops", "peak_gflops", "share_of_peak", "bytes", "arena_bytes", "compile_ms", "kernels"}, set(figures))
        self.assertGreater(figures["step_us"], 0)
        self.assertAlmostEqual(figures["share_of_peak"], figures["gflops"] / figures["peak_gflops"], places=3)


class Interruption(CommandLine):
    def begin(self, *arguments):
        """A run in a process group of its own, once its steps are under way."""
        run = self.start("train", *arguments, "--log", "run.jsonl", start_new_session=True)
        self.addCleanup(run.stdout.close)
        self.addCleanup(run.stderr.close)
        self.addCleanup(lambda: run.poll() is None and run.kill())
        deadline = time.monotonic() + 60 * SLOWNESS
        while not (self.folder / "run.jsonl").exists() and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        self.assertIsNone(run.poll(), "the run ended before it could be interrupted")
        time.sleep(0.15)
        return run

    def check_interrupted(self, number):
        run = self.begin(EXAMPLES / "mnist_mlp.nn", "--steps", 1000000, "--out", "w.safetensors")
        os.killpg(run.pid, number)
        output, messages = run.communicate(timeout=30)
        self.assertEqual(run.returncode, 130, messages)
        self.assertIn("w.checkpoint.safetensors", messages)
        metadata, _ = read_safetensors(self.folder / "w.checkpoint.safetensors")
        done = int(metadata["nnc.step"])
        self.assertGreater(done, 0)
        self.assertEqual(len(self.log("run.jsonl")), done)
        total = done + 100
        found = self.train(EXAMPLES / "mnist_mlp.nn", "w", "--steps", total, "--resume", "w.checkpoint.safetensors")
        self.assertEqual(found, self.train(EXAMPLES / "mnist_mlp.nn", "uninterrupted", "--steps", total))

    def test_ctrl_c_saves_and_resumes_to_the_same_bits(self):
        self.check_interrupted(signal.SIGINT)

    def test_termination_saves_too(self):
        self.check_interrupted(signal.SIGTERM)

    def test_before_there_is_anything_to_stop(self):
        """Each command speaks of what it was about to do; here it still waits for its program."""
        os.mkfifo(self.folder / "net.nn")
        for arguments, said in ((("train", "net.nn"), "interrupted before the first step; nothing was written\n"),
                                (("predict", "net.nn", "--weights", "w.safetensors", "--prompt", "a"), "interrupted before the first character\n"),
                                (("gradcheck", "net.nn"), "interrupted; nothing is known of the rest\n")):
            with self.subTest(command=arguments[0]):
                run = self.start(*arguments)
                with open(self.folder / "net.nn", "w"):  # waits until the program reads
                    run.send_signal(signal.SIGINT)
                    self.assertEqual(run.communicate(timeout=30), ("", said))
                self.assertEqual(run.returncode, 130)

    def test_a_second_ctrl_c_leaves_at_once(self):
        file = self.program("mnist_mlp", ("fc1: Dense(64)", "fc1: Dense(4096)"), ("fc2: Dense(64)", "fc2: Dense(4096)"), ("batch: 32", "batch: all"))
        old = self.write("w.safetensors", b"the old weights")
        run = self.begin(file, "--threads", 1, "--out", "w.safetensors")  # a step takes seconds
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.1)
        self.assertIsNone(run.poll(), "the first Ctrl-C waits for the step")
        os.killpg(run.pid, signal.SIGINT)
        start = time.monotonic()
        run.communicate(timeout=30)
        self.assertLess(time.monotonic() - start, 1.0 * SLOWNESS)
        self.assertEqual(run.returncode, 130)
        self.assertEqual(old.read_bytes(), b"the old weights")
        self.assertEqual([p.name for p in self.folder.glob(".nnc-*")], [], "no temporary file stays")

    def test_a_killed_run_leaves_whole_files(self):
        file = self.program("digits", ("seed     7", "seed     7\n  save every: 5"))
        run = self.begin(file, "--steps", 1000000, "--out", "w.safetensors")
        time.sleep(0.2)
        run.kill()
        run.communicate(timeout=30)
        saved = sorted(self.folder.glob("*.safetensors"))
        self.assertNotEqual(saved, [])
        for path in saved:
            read_safetensors(path)
            self.nnc("eval", file, "--weights", path)


class Divergence(CommandLine):
    """Rows of two numbers from 1 to 5, but for a 0 in row 26: not shuffled and in batches of 4 that is the second row of step 7."""

    STEPS = 20
    TEXT = """data rows {
  x[Two] : f32 = csv("d.csv", columns: 0..2)
  y      : f32 = csv("d.csv", columns: 2)
}

dim Two = 2

model Net(x[B, Two]) -> [B] {
  param w[Two] = 1
  MODEL
}

train {
  data     rows, batch: 4
  minimize LOSS
  using    USING
  epochs   2
  seed     1
  REPORT
}
"""
    SUM = "sum(x * w, over: Two)"

    def diverging(self, model=SUM, loss="mean_squared_error(Net(x), y)", using="sgd(lr: 0.001)", report="", zero=(25, 1), name="net"):
        rows = [[str(i % 5 + 1), str(i % 3 + 1), str(i % 4)] for i in range(40)]
        rows[zero[0]][zero[1]] = "0"
        self.write("d.csv", csv_text(rows))
        text = self.TEXT.replace("MODEL", model).replace("LOSS", loss).replace("USING", using).replace("  REPORT\n", report)
        return self.write(f"{name}.nn", text)

    def line(self, file, part):
        """FILE:LINE of the one line with this text."""
        lines = [i for i, line in enumerate(file.read_text().splitlines(), 1) if part in line]
        self.assertEqual(len(lines), 1, part)
        return f"{file.name}:{lines[0]}"

    def check_divergence(self, file, what, *notes, good, options=()):
        """The run stops with `what` and the notes; the last good state is finite and bit for bit that of a run of `good` steps."""
        run = self.run_nnc("train", file.name, "--no-shuffle", "--quiet", "--out", "w.safetensors", *options)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertTrue(run.stderr.startswith(f"error[E0501]: {what}\n"), f"{what}\n{run.stderr}")
        for note in (*notes, f"the last finite state (step {good}) is saved in w.last-good.safetensors"):
            self.assertIn(f"= note: {note}\n", run.stderr)
        self.assertFalse((self.folder / "w.safetensors").exists())
        self.check_good(file, good)

    def check_good(self, file, good):
        path = self.folder / "w.last-good.safetensors"
        metadata, tensors = read_safetensors(path)
        self.assertEqual(metadata["nnc.step"], str(good))
        self.assertTrue(all(math.isfinite(v) for _, values in tensors.values() for v in values))
        if good > 0:
            self.train(file, "good", "--no-shuffle", "--steps", good)
            self.assertEqual(path.read_bytes(), (self.folder / "good.checkpoint.safetensors").read_bytes())

    def test_in_the_forward_pass(self):
        row = "[1, ...] is of row 26 of the data, counted from 1"
        for operation, given, loss in (("log(a)", "`log` at {} received 0", "infinite"), ("a / a", "`div` at {} received 0 and 0", "NaN"),
                                       ("sqrt(a - 1)", "`sqrt` at {} received -1", "NaN")):
            with self.subTest(operation=operation):
                file = self.diverging(f"let a = x * x\n  let b = {operation}\n  sum(b * w, over: Two)")
                place = given.format(self.line(file, "let b"))
                self.check_divergence(file, f"loss became {loss} at epoch 1, step 7: {place} at [1, 1]", row, good=6)

    def test_in_the_data(self):
        file = self.write("data.nn", """data d { x[2] = csv("d.csv") }
model M(x[B, 2]) -> [B] { (x |> Dense(1)) as [B] }
train {
  data d, batch: 4
  minimize mean(M(x))
  using sgd(lr: 0.01)
  epochs 1
}
""")
        for value in ("inf", "-inf"):
            with self.subTest(value=value):
                self.write("d.csv", "".join(f"{i},{value if i == 6 else 1}\n" for i in range(12)))
                run = self.run_nnc("train", file, "--no-shuffle", "--quiet", "--out", "w.safetensors")
                self.assertIn(f"at epoch 1, step 2: `x` is {value} at [2, 1]\n", run.stderr)
                self.assertIn("[2, ...] is of row 7 of the data, counted from 1", run.stderr)
                self.assertIn("help: the data is not finite", run.stderr)
                self.assertNotIn("learning rate", run.stderr)

    def test_with_several_threads(self):
        file = self.diverging("let b = log(x)\n  sum(b * w, over: Two)")
        for threads in (2, 5):
            self.check_divergence(file, f"loss became infinite at epoch 1, step 7: `log` at {self.line(file, 'let b')} received 0 at [1, 1]", good=6,
                                  options=("--threads", threads))

    def test_in_the_first_step_and_in_the_last(self):
        for row, step in ((0, 1), (39, 10)):
            with self.subTest(step=step):
                file = self.diverging("let b = log(x)\n  sum(b * w, over: Two)", zero=(row, 0))
                self.check_divergence(file, f"loss became infinite at epoch 1, step {step}: `log` at {self.line(file, 'let b')} received 0 at [{row % 4}, 0]",
                                      good=step - 1, options=("--steps", step))

    def test_inside_a_fused_kernel(self):
        file = self.diverging("let a = exp(99 - 99 * x)\n  let b = sin(a)\n  let c = tanh(b)\n  sum(c * w, over: Two)")
        self.check_divergence(file, f"loss became NaN at epoch 1, step 7: `exp` at {self.line(file, 'let a')} received 99 at [1, 1]", good=6)

    def test_what_a_where_did_not_take_is_not_blamed(self):
        file = self.diverging("let harmless = where(x > 0, 1 / x, 0)\n  let b = log(where(x > 0, 1, x))\n  sum(b * harmless * w + x * w, over: Two)")
        self.check_divergence(file, f"loss became NaN at epoch 1, step 7: `log` at {self.line(file, 'let b')} received 0 at [1, 1]", good=6)

    def test_an_underflow_of_f32_counts(self):
        file = self.diverging("let a = exp(110 * (minimum(x, 1) - 1))\n  let b = log(a)\n  sum(0.0001 * b * w, over: Two)")
        self.check_divergence(file, f"loss became infinite at epoch 1, step 7: `log` at {self.line(file, 'let b')} received 0 at [1, 1]", good=6)

    def test_in_the_gradient_alone(self):
        file = self.diverging("let b = sqrt(x * w)\n  sum(b, over: Two)")
        run = self.run_nnc("train", file.name, "--no-shuffle", "--quiet", "--out", "w.safetensors")
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, rf"^error\[E0501\]: loss became NaN at epoch 1, step 8: `div` in the gradient at {self.line(file, 'let b')} "
                                     r"received -?[0-9.]+ and 0 at \[1, 1\]\n")
        self.assertIn("that was in step 7 of the run, 1 earlier", run.stderr)
        self.check_good(file, 6)

    def test_in_the_update(self):
        file = self.diverging(using="sgd(lr: 1e38)")
        place = self.line(file, "using")
        self.check_divergence(file, f"loss became infinite at epoch 1, step 2: `mul` in the update of `w` at {place} received 1e+38 and 14 at [0]",
                              "that was in step 1 of the run, 1 earlier: its update made a parameter or state infinite or NaN", good=0)
        # The weights of the only step are not finite though its loss is: nothing else would show it.
        self.check_divergence(file, f"`w` became infinite at epoch 1, step 1: `mul` in the update of `w` at {place} received 1e+38 and 14 at [0]", good=0,
                              options=("--steps", 1))

    def test_in_a_state_of_the_optimizer(self):
        file = self.diverging(loss="1e25 * mean_squared_error(Net(x), y)", using="adam()")
        state = "optimizer.exp_avg_sq.w"
        self.check_divergence(file, f"`{state}` became infinite at epoch 2, step 10: `mul` in the update of `{state}` at {self.line(file, 'using')} "
                                    "received 1.4e+26 and 1.4e+26 at [0]", good=0)

    def test_a_weight_that_the_loss_does_not_see(self):
        file = self.diverging("let h = sum(x * w, over: Two)\n  where(y_unused(h) > 0, h, 0)".replace("y_unused(h)", "minimum(h, 1)"), using="sgd(lr: 3e38)")
        run = self.run_nnc("train", file.name, "--no-shuffle", "--quiet", "--out", "w.safetensors", "--steps", 5)
        self.assertEqual(run.returncode, 1, "weights at minus infinity behind a cut-off leave the loss finite")
        self.assertIn(f"`mul` in the update of `w` at {self.line(file, 'using')} received 3e+38 and 14 at [0]", run.stderr)
        self.check_good(file, 0)

    def test_a_report_may_be_nan(self):
        file = self.diverging(report="  report   mean(log(x - 5)), max(y / 0)\n")
        self.assertEqual(self.nnc("train", file.name, "--json", "--out", "w.safetensors").stdout.count('"nan"'), 2 * 2)
        self.assertTrue((self.folder / "w.safetensors").exists())

    def test_after_a_resume_and_from_the_last_good_state(self):
        file = self.diverging("let b = log(x)\n  sum(b * w, over: Two)")
        self.train(file, "part", "--no-shuffle", "--steps", 3)
        message = f"loss became infinite at epoch 1, step 7: `log` at {self.line(file, 'let b')} received 0 at [1, 1]"
        self.check_divergence(file, message, good=6, options=("--resume", "part.checkpoint.safetensors"))
        # The same again from where it was saved, one step before.
        self.check_divergence(file, message, good=6, options=("--resume", "w.last-good.safetensors"))

    def test_a_smaller_rate_goes_on_from_the_last_good_state(self):
        file = self.diverging(using="sgd(lr: 1e38)", name="steep")
        self.assertEqual(self.run_nnc("train", file.name, "--quiet", "--out", "w.safetensors").returncode, 1)
        found = self.train(file, "on", "--set", "using.lr=0.001", "--resume", "w.last-good.safetensors")
        self.assertEqual(found[0], self.train(self.diverging(name="gentle"), "gentle")[0])

    def test_ctrl_c_during_the_search(self):
        """Some steps of a wide network are interpreted for seconds; the state that was finite is safe before."""
        file = self.program("mnist_mlp", ("fc1: Dense(64)", "fc1: Dense(1024)"), ("fc2: Dense(64)", "fc2: Dense(1024)"), ("batch: 32", "batch: 1024"))
        run = self.start("train", file, "--quiet", "--set", "using.lr=1e9", "--out", "w.safetensors", start_new_session=True)
        good, deadline = self.folder / "w.last-good.safetensors", time.monotonic() + 60 * SLOWNESS
        while not good.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(run.pid, signal.SIGINT)
        messages = run.communicate(timeout=60)[1]
        self.assertEqual(run.returncode, 130, messages)
        self.assertRegex(messages, r"^error\[E0501\]: loss became (NaN|infinite) at epoch 1, step \d\n")
        self.assertIn("= note: the search for the operation that it came from was interrupted\n", messages)
        self.assertIn("is saved in w.last-good.safetensors\n", messages)
        self.assertTrue(all(math.isfinite(v) for _, values in read_safetensors(good)[1].values() for v in values))

    def test_saves_in_between_are_finite(self):
        file = self.diverging(loss="1e25 * mean_squared_error(Net(x), y)", using="adam()", report='  save     every: 1\n')
        run = self.run_nnc("train", file.name, "--no-shuffle", "--quiet", "--out", "w.safetensors")
        self.assertEqual(run.returncode, 1)
        self.assertIn("became infinite at epoch 1, step 1:", run.stderr)
        self.assertFalse((self.folder / "w.checkpoint.safetensors").exists())

    def test_nan_stops_the_run_and_keeps_the_last_good_state(self):
        old = self.write("w.safetensors", b"the old weights")
        run = self.run_nnc("train", EXAMPLES / "mnist_mlp.nn", "--set", "using.lr=1e6", "--out", "w.safetensors", "--quiet")
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, r"^error\[E0501\]: loss became (NaN|infinite|NaN or infinite) at epoch 1, step \d+")
        self.assertIn("mnist_mlp.nn:", run.stderr)
        good = self.folder / "w.last-good.safetensors"
        self.assertIn(good.name, run.stderr)
        self.assertEqual(old.read_bytes(), b"the old weights")
        self.assertTrue(all(math.isfinite(v) for _, values in read_safetensors(good)[1].values() for v in values))
        self.nnc("eval", EXAMPLES / "mnist_mlp.nn", "--weights", good)

    def test_the_last_good_state_is_the_one_before_the_fault(self):
        rows = digits_rows()[:400]
        rows[300][0] = "-1"  # the first column is 0 everywhere, and step 10 of 32 rows meets this one
        self.write("data.csv", csv_text(rows))
        file = self.program("digits", ('"data/digits.csv"', '"data.csv"'), ("  test 20%\n", ""), ("image / 16", "sqrt(image) / 16"))
        run = self.run_nnc("train", file, "--no-shuffle", "--quiet", "--out", "w.safetensors")
        self.assertEqual(run.returncode, 1)
        self.assertIn("loss became NaN at epoch 1, step 10: `sqrt` at", run.stderr)
        self.assertIn("received -1 at [12, 0]", run.stderr)
        self.assertIn("(step 9)", run.stderr)
        good = (self.folder / "w.last-good.safetensors").read_bytes()
        self.train(file, "nine", "--no-shuffle", "--steps", 9)
        self.assertEqual(good, (self.folder / "nine.checkpoint.safetensors").read_bytes())

    def test_as_json(self):
        run = self.run_nnc("train", EXAMPLES / "mnist_mlp.nn", "--set", "using.lr=1e6", "--json")
        self.assertEqual(run.returncode, 1)
        found = json.loads(run.stdout.splitlines()[-1])
        self.assertEqual((found["code"], found["severity"]), ("E0501", "error"))


if __name__ == "__main__":
    unittest.main()
