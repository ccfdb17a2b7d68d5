"""What a run says of itself: metrics of the test split, `eval` after it, and what --json and --log hold of every report."""

import json
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


if __name__ == "__main__":
    unittest.main()
