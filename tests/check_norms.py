"""Layers with statistics of a batch, from the command line: the same bits for any threads and across --resume, what evaluation and prediction take, weights in
and out. Their numbers are held by trajectories/ and oracle/."""

import json
import unittest
from pathlib import Path

from command_line import CommandLine, read_safetensors

# Sequences of 4 values in 16 channels, images of 2 x 8 in 4; rows that are one channel each.
LAYERS = """    |> wide: Wide |> relu
    |> Dense(64) |> BatchNorm1d |> relu
"""
DEFINITIONS = """
dim Channels = 16, Length = 4, Planes = 4, Height = 2, Width = 8

layer Wide(x[B, ...]) -> [B, _] {
  let sequences = (x |> dense: Dense(64)) as [B, Channels, Length]
  let images = (sequences |> norm: BatchNorm1d(momentum: none) |> instance: InstanceNorm1d(track: true)) as [B, Planes, Height, Width]
  images |> planes: BatchNorm2d |> groups: GroupNorm(2) |> flatten |> root: RmsNorm
}

model Digits"""
# Bytes of the file, as counts of 64 bits.
COUNTS = ("wide.norm.num_batches_tracked", "wide.planes.num_batches_tracked", "batchnorm1d1.num_batches_tracked")


class Norms(CommandLine):
    def net(self, *changes, name="digits.nn"):
        return self.program("digits", ("    |> Dense(64) |> relu\n    |> Dense(64) |> relu\n", LAYERS), ("\nmodel Digits", DEFINITIONS), *changes, name=name)

    def test_the_same_bits_for_any_threads(self):
        for batch in ("32", "1024"):  # the second cuts its rows into pieces, and its last batch has 414
            options = ("--epochs", 2, "--set", f"data.batch={batch}")
            expected = self.train(self.net(), "one", "--threads", 1, *options)
            for threads in (2, 3, 7):
                with self.subTest(batch=batch, threads=threads):
                    self.assertEqual(self.train(self.net(), "other", "--threads", threads, *options), expected)

    def test_resume(self):
        expected = self.train(self.net(), "whole", "--steps", 60)
        self.train(self.net(), "part", "--steps", 7)
        for steps in (20, 45, 60):  # in the middle of the first epoch, at its end, in the second
            found = self.train(self.net(), "part", "--steps", steps, "--resume", "part.checkpoint.safetensors")
        self.assertEqual(found, expected)

    def test_batches_are_counted_and_a_run_goes_on_from_weights(self):
        self.train(self.net(), "w", "--epochs", 2)
        found = self.counts("w.safetensors")
        self.assertEqual([found[name] for name in COUNTS], [90, 90, 90])
        self.assertEqual(found["wide.instance.num_batches_tracked"], 0)
        self.nnc("train", self.net(), "--quiet", "--epochs", "1", "--init", "w.safetensors", "--out", "v.safetensors")
        self.assertEqual([self.counts("v.safetensors")[name] for name in COUNTS], [135, 135, 135])

    def counts(self, name):
        return {tensor: int.from_bytes(values.tobytes(), "little") for tensor, (_, values) in read_safetensors(self.folder / name)[1].items()
                if tensor.endswith("num_batches_tracked")}

    def test_evaluation_takes_the_running_statistics(self):
        printed = self.nnc("train", self.net(), "--json", "--epochs", "3", "--out", "w.safetensors").stdout
        test = json.loads(printed.splitlines()[-1])["test"]
        self.assertGreater(test["accuracy"], 0.9)
        self.assertEqual(json.loads(self.nnc("eval", self.net(), "--weights", "w.safetensors", "--json").stdout), test)
        # A row's prediction does not depend on the rows beside it.
        rows = (self.folder / "digits.nn").read_text().split('csv("')[1].split('"')[0]
        lines = Path(rows).read_text().splitlines()[:40]
        self.write("many.csv", "\n".join(lines) + "\n")
        self.write("one.csv", lines[17] + "\n")
        many, one = (self.nnc("predict", self.net(), "--weights", "w.safetensors", "--input", f"image={f}.csv").stdout.splitlines() for f in ("many", "one"))
        self.assertEqual(one, [many[17]])

    def test_an_epochs_report_is_of_the_values_that_its_steps_saw(self):
        printed = self.nnc("train", self.net(), "--json", "--epochs", "1", "--log", "log.jsonl", "--out", "w.safetensors").stdout
        steps = self.log("log.jsonl")
        rows = [32] * 44 + [30]
        self.assertEqual(len(steps), len(rows))
        mean = sum(n * line["accuracy"] for n, line in zip(rows, steps)) / sum(rows)
        self.assertAlmostEqual(json.loads(printed.splitlines()[-1])["accuracy"], mean, places=6)

    def test_one_row_left_over(self):
        run = self.run_nnc("train", self.net(), "--quiet", "--set", "data.batch=479", "--out", "w.safetensors")
        self.assertEqual(run.returncode, 1)
        self.assertIn("the last batch of an epoch has 1 row: 1438 rows train, 479 at a time", run.stderr)
        self.assertIn("with `--set data.batch=480` every batch has enough", run.stderr)
        self.assertFalse((self.folder / "w.safetensors").exists())
        # Statistics over several values of a row have enough in one row.
        alone = ("    |> Dense(64) |> BatchNorm1d |> relu\n", "")
        self.nnc("train", self.net(alone), "--quiet", "--set", "data.batch=479", "--epochs", "1", "--out", "w.safetensors")


if __name__ == "__main__":
    unittest.main()
