"""Reports over an epoch of training: what their expressions give for all of its rows as one batch, each row with the values that its step gave it."""

import json
import math
import random
import unittest

from command_line import CommandLine

ROWS, BATCH = 53, 13  # five steps, the last of one row
STEPS = -(-ROWS // BATCH)


def mean(values):
    return sum(values) / len(values)


class Epochs(CommandLine):
    REPORTS = ("r2: r2(p, y), rmse: root_mean_squared_error(p, y), worst: max_absolute_error(p, y), off: mean_absolute_error(p, y), "
               "total: sum(p), rows: B, spread: sqrt(mean((p - mean(p))^2))")

    def setUp(self):
        super().setUp()
        draw = random.Random(3)
        self.x = [[round(draw.gauss(0, 1), 3) for _ in range(3)] for _ in range(ROWS)]
        self.y = [round(2 * r[0] - r[1] + draw.gauss(5, 1), 3) for r in self.x]
        self.write("t.csv", "".join(",".join(str(v) for v in (*r, y, int(y > 5) + int(y > 6))) + "\n" for r, y in zip(self.x, self.y)))

    def net(self, reports=REPORTS, using="sgd(lr: 0.05)", model="(x |> Dense(1)) as [B]", result="[B]", loss="mean_squared_error(p, y)", batch=BATCH,
            length="epochs 2", name="net.nn"):
        return self.write(name, f"""data t {{
  x[3]         = csv("t.csv", columns: 0..3)
  y            = csv("t.csv", columns: 3)
  k : class(3) = csv("t.csv", columns: 4)
}}
model M(x[B, 3]) -> {result} {{ {model} }}
train {{
  data t, batch: {batch}
  let p = M(x)
  minimize {loss}
  using {using}
  {length}
  report {reports}
}}
""")

    def epochs(self, file, *options):
        return [json.loads(line) for line in self.nnc("train", file, "--json", "--out", "w.safetensors", *options).stdout.splitlines()]

    def predicted(self, file, weights):
        shown = self.nnc("predict", file, "--weights", weights, "--input", "x=x.csv").stdout.split()
        return [float(v) for v in shown]

    def check(self, found, p, y, tolerance=1e-5):
        self.assertEqual(found["rows"], len(y))
        middle, centre = mean(y), mean(p)
        right = {"r2": 1 - sum((a - b) ** 2 for a, b in zip(p, y)) / sum((b - middle) ** 2 for b in y),
                 "rmse": math.sqrt(mean([(a - b) ** 2 for a, b in zip(p, y)])), "worst": max(abs(a - b) for a, b in zip(p, y)),
                 "off": mean([abs(a - b) for a, b in zip(p, y)]), "total": sum(p), "spread": math.sqrt(mean([(a - centre) ** 2 for a in p]))}
        for name, value in right.items():
            self.assertLess(abs(found[name] - value), tolerance * max(1, abs(value)), f"{name}: {found[name]} instead of {value}")

    def test_weights_that_stay(self):
        """With a rate of 0 an epoch is one evaluation, in whatever batches."""
        self.write("x.csv", "".join(",".join(map(str, r)) + "\n" for r in self.x))
        for batch in (1, BATCH, 52, ROWS):
            with self.subTest(batch=batch):
                file = self.net(using="sgd(lr: 0.0)", batch=batch)
                for epoch in self.epochs(file):
                    self.check(epoch, self.predicted(file, "w.safetensors"), self.y)

    def test_each_row_with_the_weights_of_its_step(self):
        self.write("x.csv", "".join(",".join(map(str, r)) + "\n" for r in self.x))
        file = self.net(batch=BATCH)
        p = []
        for step in range(STEPS):  # file order: the rows of step s as the weights after s updates have them
            if step:
                self.nnc("train", file, "--no-shuffle", "--quiet", "--steps", step, "--out", "s.safetensors")
            else:  # the rate of the first step is 0: weights as they were drawn
                self.nnc("train", file, "--no-shuffle", "--quiet", "--steps", 1, "--set", "using.lr=0", "--out", "s.safetensors")
            p += self.predicted(file, "s.safetensors")[step * BATCH:(step + 1) * BATCH]
        self.check(self.epochs(file, "--no-shuffle")[0], p, self.y)

    def test_threads_and_chunks(self):
        file = self.net()
        expected = self.epochs(file, "--threads", 1)
        self.assertEqual(self.epochs(file, "--threads", 3), expected)
        self.assertEqual(self.epochs(file, "--threads", 2, "--log", "run.jsonl"), expected)

    def test_resumed_in_mid_epoch(self):
        file = self.net()
        expected = self.epochs(file, "--epochs", 3)
        for steps in (1, 3, STEPS, STEPS + 4):
            with self.subTest(steps=steps):
                self.epochs(file, "--steps", steps)
                self.assertEqual(self.epochs(file, "--epochs", 3, "--resume", "w.checkpoint.safetensors"), expected[steps // STEPS:])

    def test_reports_that_join_in_mid_epoch(self):
        """They count the rows since; the loss goes on."""
        file = self.net()
        whole = self.epochs(file)[0]
        self.epochs(file, "--steps", 2, "--set", "report.every=7")  # no step has counted
        rest = self.epochs(file, "--resume", "w.checkpoint.safetensors")[0]
        self.assertEqual(rest["rows"], ROWS - 2 * BATCH)
        self.assertEqual(rest["loss"], whole["loss"])

    def test_every(self):
        self.write("x.csv", "".join(",".join(map(str, r)) + "\n" for r in self.x))
        file = self.net(self.REPORTS + ", every: 2", using="sgd(lr: 0.0)", length="epochs 1")
        epoch = self.epochs(file, "--no-shuffle")[0]
        counted = [i for i in range(ROWS) if i // BATCH in (1, 3)]  # steps 2 and 4
        p = self.predicted(file, "w.safetensors")
        self.check(epoch, [p[i] for i in counted], [self.y[i] for i in counted])
        self.assertLess(abs(epoch["loss"] - mean([(a - b) ** 2 for a, b in zip(p, self.y)])), 1e-5 * epoch["loss"])

    def test_an_epoch_of_which_no_step_counts(self):
        """Its reports are no NaN: they are left out."""
        for reports, more in ((self.REPORTS, {}), ("accuracy(p, k), confusion(p, k)", {"model": "x |> Dense(3)", "result": "[B, 3]", "loss": "cross_entropy(p, k)"})):
            with self.subTest(reports=reports):
                file = self.net(reports + ", every: 7", length="epochs 2", **more)
                first, second = self.epochs(file)  # steps 1 to 5, and 6 to 10
                self.assertEqual(list(first), ["epoch", "loss"])
                self.assertIn("r2" if not more else "confusion", second)
                shown = self.nnc("train", file, "--steps", STEPS, "--out", "w.safetensors").stderr
                self.assertRegex(shown, r"^Epoch 1/1: 5/5 \S+ \S+ - loss: [\d.]+\n")

    def test_classes(self):
        file = self.net("accuracy(p, k), f1(p, k), confusion(p, k), recall(p, k)", using="sgd(lr: 0.0)", model="x |> Dense(3)", result="[B, 3]",
                        loss="cross_entropy(p, k)", length="epochs 1")
        epoch = self.epochs(file)[0]
        self.write("x.csv", "".join(",".join(map(str, r)) + "\n" for r in self.x))
        shown = self.nnc("predict", file, "--weights", "w.safetensors", "--input", "x=x.csv").stdout
        scores = [[float(v) for v in line.split(",")] for line in shown.split()]
        labels, found = [int(y > 5) + int(y > 6) for y in self.y], [row.index(max(row)) for row in scores]
        table = [[sum(a == i and b == j for a, b in zip(labels, found)) for j in range(3)] for i in range(3)]
        self.assertEqual(epoch["confusion"], table)
        self.assertAlmostEqual(epoch["accuracy"], mean([a == b for a, b in zip(labels, found)]), 6)
        f1 = mean([2 * table[c][c] / max(1, sum(table[c]) + sum(row[c] for row in table)) for c in range(3)])
        self.assertAlmostEqual(epoch["f1"], f1, 6)

    def test_more_rows_than_are_kept(self):
        """64 MB: said once, and no value over the epoch; a step has one still."""
        file = self.write("wide.nn", """data t {
  x = csv("many.csv", columns: 0)
  y = csv("many.csv", columns: 1)
}
model M(x[B]) -> [B, 64] {
  dim W = 64
  param w[W] = 1
  spread(x, over: W) * w
}
train {
  data t, batch: 50000
  let p = M(x)
  minimize mean(p^2)
  using sgd(lr: 0.0)
  steps 1
  report far: mean((p - mean(p, over: B))^2), near: mean(abs(p))
}
""")
        self.write("many.csv", "1,2\n" * 270000)
        run = self.nnc("train", file, "--json", "--log", "run.jsonl", "--out", "w.safetensors")
        warnings = [line for line in (run.stdout + run.stderr).splitlines() if "E0517" in line]
        self.assertEqual(len(warnings), 1, run.stderr)
        self.assertIn("66 MB", warnings[0])
        epoch = json.loads(run.stdout.splitlines()[-1])
        self.assertNotIn("far", epoch)
        self.assertEqual(epoch["near"], 1)
        self.assertEqual(json.loads((self.folder / "run.jsonl").read_text())["far"], 0)

    def test_what_cannot_be_combined(self):
        file = self.net("best: f32(argmax(p, over: B)), off: mean_absolute_error(p, y)", length="epochs 1")
        run = self.nnc("train", file, "--json", "--out", "w.safetensors")
        self.assertEqual(set(json.loads(run.stdout.splitlines()[-1])), {"epoch", "loss", "off"})
        warnings = [line for line in (run.stdout + run.stderr).splitlines() if "E0517" in line]
        self.assertEqual(len(warnings), 1, run.stderr)
        self.assertIn("`best` has no value over an epoch of training: `argmax` over the rows", warnings[0])
        shown = self.nnc("train", file, "--out", "w.safetensors").stderr
        self.assertNotIn(" - best: ", shown)
        self.assertIn("off: ", shown)


class Counters(CommandLine):
    """`step` counts in 64 bits, and rates are f64."""

    PROGRAM = """data t {{
  x = csv("t.csv", columns: 0)
  y = csv("t.csv", columns: 1)
}}
model M(x[B]) -> [B] {{
  param w = 0.5
  x * w
}}
train {{
  data t, batch: 2
  minimize mean_squared_error(M(x), y)
  using {using}
  steps {steps}
  report {reports}
}}
"""

    def net(self, using="sgd(lr: 0.0)", reports="s: step", steps=3):
        self.write("t.csv", "1,2\n3,4\n")
        return self.write("net.nn", self.PROGRAM.format(using=using, reports=reports, steps=steps))

    def after(self, file, step):
        """A run that goes on after so many updates."""
        self.nnc("train", file, "--quiet", "--steps", 1, "--out", "w.safetensors")
        path = self.folder / "w.checkpoint.safetensors"
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:8 + size])
        header["__metadata__"]["nnc.step"] = str(step)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size:])
        return ("--resume", "w.checkpoint.safetensors", "--steps", step + 3)

    def log(self, file, *options):
        (self.folder / "run.jsonl").unlink(missing_ok=True)
        self.nnc("train", file, "--quiet", "--log", "run.jsonl", "--out", "w.safetensors", *options)
        return [json.loads(line) for line in (self.folder / "run.jsonl").read_text().splitlines()]

    def test_counts(self):
        file = self.net(reports="s: step, e: epoch, odd: step - 2 * floor(step / 2), next: step + 1")
        for start in (16777216, 2147483647, 2 ** 39 + 1):
            with self.subTest(start=start):
                lines = self.log(file, *self.after(file, start))
                self.assertEqual([line["s"] for line in lines], [start, start + 1, start + 2])
                self.assertEqual([line["e"] for line in lines], [start, start + 1, start + 2])
                self.assertEqual([line["next"] for line in lines], [start + 1, start + 2, start + 3])
                self.assertEqual([line["odd"] for line in lines], [(start + i) % 2 for i in range(3)])

    def test_schedules_go_on(self):
        total = 40000000
        file = self.net(using=f"sgd(lr: cosine(0.1, total: {total}))")
        start = 2 ** 24 + 1
        for i, line in enumerate(self.log(file, *self.after(file, start))):
            right = 0.05 * (1 + math.cos(math.pi * ((start + i) / total)))
            self.assertLess(abs(line["rate"] - right), 1e-15)

    def test_rates_near_one(self):
        """Adam's corrections in f64: the first update of a weight is the rate, whatever beta2 is."""
        for beta2 in (0.999, 0.99999999, 0.9999999999):
            with self.subTest(beta2=beta2):
                file = self.net(using=f"adam(lr: 0.01, beta2: {beta2!r}, eps: 0.0)", reports="w: mean(M(x)) / mean(x)", steps=2)
                first, second = self.log(file)
                self.assertAlmostEqual(first["w"], 0.5, 6)
                self.assertAlmostEqual(second["w"], 0.51, 6)

    def test_rates_are_given_in_64_bits(self):
        file = self.net(using="sgd(lr: 0.1)")
        self.assertEqual(self.log(file)[0]["rate"], 0.1)
        self.assertEqual(self.log(file, "--set", "using.lr=0.30000000000000004")[0]["rate"], 0.30000000000000004)


if __name__ == "__main__":
    unittest.main()
