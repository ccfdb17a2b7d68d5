"""What a run says of itself: metrics of the test split, `eval` after it, and what --json and --log hold of every report."""

import gzip
import json
import math
import random
import unittest

from command_line import CommandLine

ROWS, TRAINED, BATCH = 60, 48, 7  # 20% are set aside
STEPS_PER_EPOCH = 7


class Table(CommandLine):
    """A table of 60 rows, four inputs, a class and a number, and programs on it."""

    HEAD = """data t {{
  x[4]       = csv("t.csv", columns: 0..4)
  k : class(3) = csv("t.csv", columns: 4)
  y          = csv("t.csv", columns: 5)
  {split}
}}
"""

    def setUp(self):
        super().setUp()
        draw = random.Random(5)
        rows = [[f"{draw.gauss(0, 1):.4f}" for _ in range(4)] + [str(draw.randrange(3)), f"{draw.gauss(0, 1):.4f}"] for _ in range(ROWS)]
        self.write("t.csv", "".join(",".join(row) + "\n" for row in rows))

    def net(self, model="(x |> Dense(1)) as [B]", loss="mean_squared_error(M(x), y)", using="sgd(lr: 0.01)", length="steps 10", reports="", split="test 20%",
            batch=BATCH, result="[B]", name="net.nn"):
        body = f"model M(x[B, 4]) -> {result} {{\n  {model}\n}}\n\ntrain {{\n  data t, batch: {batch}\n  minimize {loss}\n  using {using}\n  {length}\n"
        return self.write(name, self.HEAD.format(split=split) + body + (f"  report {reports}\n" if reports else "") + "}\n")

    def epochs(self, *arguments):
        return [json.loads(line) for line in self.nnc("train", *arguments, "--json", "--out", "w.safetensors").stdout.splitlines()]

    def evaluated(self, file):
        return json.loads(self.nnc("eval", file, "--weights", "w.safetensors", "--json").stdout)


class States(Table):
    """A state that is updated in evaluation too, as its model is written: training alone changes it."""

    MODELS = {"a number": "state n = 0\n  update n = n + 1\n  (x |> Dense(1)) as [B] + n",
              "what the rows give": "state m[4] = 0\n  update m = m + mean(x, over: B)\n  ((x + m) |> Dense(1)) as [B]"}

    def test_the_test_split(self):
        for name, model in self.MODELS.items():
            for batch in (BATCH, "all"):
                with self.subTest(model=name, batch=batch):
                    file = self.net(model, batch=batch, length="epochs 3")
                    trained = self.epochs(file)
                    self.assertEqual(len(trained), 3)
                    self.assertEqual(self.evaluated(file), trained[-1]["test"])
                    # Evaluations after the first two epochs have not changed what training is.
                    with_split = (self.folder / "w.safetensors").read_bytes()
                    self.epochs(file, "--epochs", 1)
                    self.epochs(file, "--epochs", 3, "--resume", "w.checkpoint.safetensors")
                    self.assertEqual((self.folder / "w.safetensors").read_bytes(), with_split)

    def test_predictions_do_not_depend_on_the_rows_before(self):
        file = self.net(self.MODELS["a number"], split="")
        self.nnc("train", file, "--quiet", "--out", "w.safetensors")
        self.write("same.csv", "1,2,3,4\n" * 600)  # three batches
        predicted = self.nnc("predict", file, "--weights", "w.safetensors", "--input", "x=same.csv").stdout.split()
        self.assertEqual(len(predicted), 600)
        self.assertEqual(len(set(predicted)), 1)


class Counters(Table):
    """`step` and `epoch` in reports are what they were at the end of training, in `eval` and `predict` too."""

    def test_reports(self):
        file = self.net(reports="s: mean(y) * 0 + step, e: mean(y) * 0 + epoch")
        for steps in (3, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1, 2 * STEPS_PER_EPOCH):
            with self.subTest(steps=steps):
                test = self.epochs(file, "--steps", steps)[-1]["test"]
                self.assertEqual((test["s"], test["e"]), (steps, (steps - 1) // STEPS_PER_EPOCH))
                self.assertEqual(self.evaluated(file), test)
        checkpoint = self.nnc("eval", file, "--weights", "w.checkpoint.safetensors", "--json").stdout
        self.assertEqual(json.loads(checkpoint), test)

    def test_a_model_that_reads_them(self):
        file = self.net("(x |> Dense(1)) as [B] * 0 + step + 100 * epoch")
        self.epochs(file, "--steps", STEPS_PER_EPOCH + 2)
        self.write("x.csv", "1,2,3,4\n")
        predicted = self.nnc("predict", file, "--weights", "w.safetensors", "--input", "x=x.csv").stdout
        self.assertEqual(float(predicted), STEPS_PER_EPOCH + 2 + 100)
        for engine in ("jit", "interpreter"):
            def run(*options):
                shown = self.nnc("run", file, "--fn", "M", "--input", "x=x.csv", "--engine", engine, *options).stdout
                return float(shown.splitlines()[-1])
            self.assertEqual(run("--weights", "w.safetensors"), float(predicted))
            self.assertEqual(run(), 0)

    def test_weights_are_no_checkpoint_for_that(self):
        file = self.net()
        self.epochs(file)
        run = self.run_nnc("train", file, "--resume", "w.safetensors", "--quiet")
        self.assertEqual(run.returncode, 1)
        self.assertIn("these are weights, not a checkpoint", run.stderr)


class Splits(Table):
    """`valid` as `test`: reported after each epoch, measured by `eval`; rows of another data block go by the names of its fields."""

    OTHER = """data other {{
  y            = csv("o.csv", columns: {y})
  k : class(3) = csv("o.csv", columns: 4)
  x[4]         = csv("o.csv", columns: {x})
}}
"""

    def with_other(self, split, x="0..4", y="5"):
        file = self.net(split=split)
        return self.write("other.nn", self.OTHER.format(x=x, y=y) + file.read_text())

    def valid(self, file, *options):
        return json.loads(self.nnc("eval", file, "--weights", "w.safetensors", "--split", "valid", "--json", *options).stdout)

    def test_both(self):
        file = self.net(split="test 20%\n  valid 10%", length="epochs 2")
        trained = self.epochs(file)
        for epoch in trained:
            self.assertEqual(list(epoch), ["epoch", "loss", "valid", "test"])
        self.assertNotEqual(trained[-1]["valid"], trained[-1]["test"])
        self.assertEqual(self.valid(file), trained[-1]["valid"])
        self.assertEqual(self.evaluated(file), trained[-1]["test"])
        shown = self.nnc("train", file, "--quiet", "--out", "w.safetensors").stdout
        self.assertEqual([line.split(":")[0] for line in shown.splitlines()], ["test loss", "valid loss"])
        with_splits = (self.folder / "w.safetensors").read_bytes()
        shown = self.nnc("train", file, "--epochs", 1, "--out", "w.safetensors").stderr
        self.assertRegex(shown, "- loss: .* - valid loss: .* - test loss: ")
        self.epochs(file, "--resume", "w.checkpoint.safetensors")
        self.assertEqual((self.folder / "w.safetensors").read_bytes(), with_splits)

    def test_valid_alone(self):
        file = self.net(split="valid last 20%")
        self.assertEqual(set(self.epochs(file)[-1]), {"epoch", "loss", "valid"})
        self.assertEqual(set(self.valid(file)), {"loss"})
        self.assertIn("error[E0507]: the data block `t` sets no test rows aside", self.run_nnc("eval", file, "--weights", "w.safetensors").stderr)

    def test_other_data_goes_by_names(self):
        text = (self.folder / "t.csv").read_text()
        self.write("o.csv", text)
        file = self.with_other("valid from other\n  test from same")
        self.write("other.nn", self.HEAD.format(split="").replace("data t", "data same") + file.read_text())
        self.epochs(file)
        self.assertEqual(self.valid(file), self.evaluated(file), "the same rows, whatever the order of the fields")
        # Other columns and another file, by the block's name.
        columns = [line.split(",") for line in text.splitlines()]
        self.write("o.csv", "".join(",".join([row[5], row[0], row[1], row[2], row[4], row[3]]) + "\n" for row in columns[:7]))
        few = self.valid(self.with_other("valid from other", x="[1, 2, 3, 5]", y="0"))
        self.write("seven.csv", "".join(",".join(row) + "\n" for row in columns[:7]))
        file = self.with_other("valid from other\n  test last 20%")
        replaced = [option for field in "xyk" for option in ("--data", f"other.{field}=seven.csv")]
        self.assertEqual(self.valid(file, *replaced), few)

    def test_data_of_the_wrong_block(self):
        self.write("o.csv", (self.folder / "t.csv").read_text())
        file = self.with_other("valid from other\n  test last 20%")
        self.epochs(file)
        for option, said in (("t.x=t.csv", "`--data t.x=t.csv` changes nothing here: `eval` reads the rows of `other`"), ("x=t.csv", "`--data x=t.csv` changes nothing here: `eval` reads the rows of `other`"), ("othre.x=t.csv", "did you mean `other`?"),
                             ("other.z=t.csv", "the data block `other` has no field `z`"), ("other.x", "has no path")):
            with self.subTest(option=option):
                run = self.run_nnc("eval", file, "--weights", "w.safetensors", "--split", "valid", "--data", option)
                self.assertEqual(run.returncode, 1)
                self.assertIn("error[E0601]", run.stderr)
                self.assertIn(said, run.stderr)


class ExactReports(CommandLine):
    """Over a split a report has the digits of its type, also where several batches and several passes give it."""

    PROGRAM = """data t { k : i64 = csv("k.csv", columns: 0)
  f : f64 = csv("k.csv", columns: 1)
  x : f32 = csv("k.csv", columns: 0)
  test last 50% }
model M(x[B]) -> [B] { param w = 1
  w * x }
train { data t, batch: all
  minimize mean(M(x))
  using sgd(lr: 0.0)
  epochs 1
  report most: max(k), zero: max(k) - 16777917, least: min(f), sum: sum(k), apart: sum((k - max(k)) * (k - max(k))), large: max(k) > 16777916 }
"""

    def test_integers_and_f64(self):
        rows = range(16777218, 16777918)
        self.write("k.csv", "".join(f"{k},{k}.5\n" for k in rows))
        file = self.write("exact.nn", self.PROGRAM)
        trained = json.loads(self.nnc("train", file, "--json", "--out", "w.safetensors").stdout)["test"]
        tested = rows[350:]
        expected = {"most": 16777917, "zero": 0, "least": tested[0] + 0.5, "sum": sum(tested), "apart": sum((k - tested[-1]) ** 2 for k in tested), "large": 1}
        evaluated = json.loads(self.nnc("eval", file, "--weights", "w.safetensors", "--json").stdout)
        for said in (trained, evaluated):
            said.pop("loss")
            self.assertEqual(said, expected)
        shown = self.nnc("eval", file, "--weights", "w.safetensors").stdout
        self.assertIn("most: 16777917\n", shown)


class Replacements(Table):
    """`--data`: once for each field, and of the kind that the field is declared to be unless the file's name says another."""

    def test_twice(self):
        file = self.net()
        for second in ("y=a.csv", "t.y=t.csv"):
            for command in (("train", file), ("eval", file, "--weights", "w.safetensors")):
                if command[0] == "eval":
                    self.epochs(file)
                run = self.run_nnc(*command, "--data", "y=t.csv", "--data", second)
                self.assertEqual(run.returncode, 1)
                self.assertIn(f"error[E0601]: `--data`: the field `y` of `t` is given twice, as t.csv and {second.split('=')[1]}\n", run.stderr)

    def test_names_that_say_no_kind(self):
        file = self.net()
        expected = self.epochs(file)

        def predicted(name):
            return self.nnc("predict", file, "--weights", "w.safetensors", "--input", f"x={name}").stdout
        rows = predicted("t.csv")
        self.assertEqual(len(rows.splitlines()), ROWS)
        for name in ("T.CSV", "t.data", "t", "t.DATA.gz"):
            with self.subTest(name=name):
                text = (self.folder / "t.csv").read_bytes()
                self.write(name, gzip.compress(text) if name.endswith("gz") else text)
                self.assertEqual(self.epochs(file, *(option for field in "xyk" for option in ("--data", f"{field}={name}"))), expected)
                self.assertEqual(predicted(name), rows)


class EveryReport(Table):
    """A report that is a matrix stands beside the numbers."""

    CLASSES = {"model": "x |> Dense(3)", "result": "[B, 3]", "loss": "cross_entropy(M(x), k)", "reports": "accuracy(M(x), k), confusion(M(x), k)"}
    KEYS = {"loss", "accuracy", "confusion"}

    def test_json(self):
        file = self.net(length="epochs 3", **self.CLASSES)
        trained = self.epochs(file, "--log", "run.jsonl")
        log = self.log("run.jsonl")
        self.assertEqual(len(log), 3 * STEPS_PER_EPOCH)
        for number, epoch in enumerate(trained):
            self.assertEqual(set(epoch), self.KEYS | {"epoch", "test"})
            self.assertEqual(set(epoch["test"]), self.KEYS)
            self.assertEqual(sum(map(sum, epoch["test"]["confusion"])), ROWS - TRAINED)
            # Of an epoch it is that of all its rows: counts add up, and a share is the mean of its steps, each with the weight of its rows.
            steps = log[number * STEPS_PER_EPOCH:(number + 1) * STEPS_PER_EPOCH]
            rows = [sum(map(sum, line["confusion"])) for line in steps]
            self.assertEqual(rows, [BATCH] * (TRAINED // BATCH) + [TRAINED % BATCH])
            for line, count in zip(steps, rows):
                self.assertEqual(set(line), self.KEYS | {"step", "epoch", "rate", "seconds"})
                self.assertAlmostEqual(sum(line["confusion"][i][i] for i in range(3)), line["accuracy"] * count, places=4)
            self.check_epoch(epoch, steps)
        self.assertEqual(self.evaluated(file), trained[-1]["test"])

    def check_epoch(self, epoch, steps):
        """The reports of an epoch are those of the rows of `steps`."""
        rows = [sum(map(sum, line["confusion"])) for line in steps]
        self.assertAlmostEqual(epoch["accuracy"], sum(line["accuracy"] * count for line, count in zip(steps, rows)) / sum(rows), places=6)
        for i in range(3):
            for j in range(3):
                self.assertEqual(epoch["confusion"][i][j], sum(line["confusion"][i][j] for line in steps))

    def test_not_in_every_step(self):
        written = {**self.CLASSES, "reports": self.CLASSES["reports"] + ", every: 3"}
        for every, reports, options in ((3, written, ()), (2, written, ("--set", "report.every=2")), (4, self.CLASSES, ("--set", "report.every=4"))):
            with self.subTest(every=every, options=options):
                trained = self.epochs(self.net(length="epochs 2", **reports), "--log", "run.jsonl", *options)
                log = self.log("run.jsonl")
                for line in log:
                    self.assertEqual(self.KEYS & set(line), self.KEYS if line["step"] % every == 0 else {"loss"})
                always = self.epochs(self.net(length="epochs 2", **self.CLASSES))
                for epoch, whole in zip(trained, always, strict=True):
                    self.check_epoch(epoch, [line for line in log if line["epoch"] == epoch["epoch"] and line["step"] % every == 0])
                    self.assertEqual((epoch["loss"], epoch["test"]), (whole["loss"], whole["test"]), "the loss counts every step")

    def test_looking_changes_no_bit(self):
        file = self.net(length="epochs 3", **self.CLASSES)
        self.epochs(file, "--log", "run.jsonl")
        self.nnc("train", file, "--quiet", "--out", "plain.safetensors")
        self.assertEqual((self.folder / "w.safetensors").read_bytes(), (self.folder / "plain.safetensors").read_bytes())

    def test_the_end_of_a_run_is_what_eval_prints(self):
        file = self.net(**self.CLASSES)
        trained = self.nnc("train", file, "--quiet", "--out", "w.safetensors").stdout
        self.assertIn("test confusion [3, 3]:\n", trained)
        evaluated = self.nnc("eval", file, "--weights", "w.safetensors").stdout
        self.assertEqual(sorted(trained.replace("test ", "").splitlines()), sorted(evaluated.splitlines()))


class Rate(Table):
    """The log has the rate of every step, also where it is a schedule, and epochs as everywhere else, from 1."""

    def lines(self, using, *options):
        self.nnc("train", self.net(using=using, length="steps 20"), "--quiet", "--log", "run.jsonl", "--out", "w.safetensors", *options)
        return self.log("run.jsonl")

    def rates(self, using, *options):
        return [line["rate"] for line in self.lines(using, *options)]

    def check_rates(self, found, expected):
        self.assertEqual(len(found), 20)
        for step, rate in enumerate(found):
            self.assertAlmostEqual(rate, expected(step), places=7)

    def test_a_schedule(self):
        def cosine(step):
            return 0.05 * (1 + math.cos(math.pi * step / 30))
        self.check_rates(self.rates("sgd(lr: cosine(0.1, total: 30))"), cosine)
        self.check_rates(self.rates("sgd(cosine(0.1, total: 30), momentum: 0.9)"), cosine)
        self.check_rates(self.rates("adam(lr: 0.1)", "--set", "using.lr=0.25"), lambda step: 0.25)
        self.check_rates(self.rates("adam()"), lambda step: 0.001)
        self.check_rates(self.rates("sgd(lr: 0.1 / (1 + epoch))"), lambda step: 0.1 / (1 + step // STEPS_PER_EPOCH))

    def test_of_several_optimizers_the_first(self):
        self.check_rates(self.rates('sgd(lr: 0.1 * (step + 1)) for "*.bias", adam(lr: 0.5)'), lambda step: 0.1 * (step + 1))
        self.check_rates(self.rates('adam(lr: 0.5), sgd(lr: 0.1) for "*.bias"'), lambda step: 0.5)

    def test_a_resumed_run_goes_on_with_it(self):
        whole = self.lines("sgd(lr: cosine(0.1, total: 30))")
        self.lines("sgd(lr: cosine(0.1, total: 30))", "--steps", 9)
        on = self.lines("sgd(lr: cosine(0.1, total: 30))", "--resume", "w.checkpoint.safetensors")
        for a, b in zip(whole, on, strict=True):
            a.pop("seconds"), b.pop("seconds")
            self.assertEqual(a, b)

    def test_epochs_count_from_one(self):
        lines = self.lines("sgd(lr: 0.1)")
        self.assertEqual([line["epoch"] for line in lines], [1 + step // STEPS_PER_EPOCH for step in range(20)])
        self.assertEqual([epoch["epoch"] for epoch in self.epochs("net.nn")], [1, 2, 3])


if __name__ == "__main__":
    unittest.main()
