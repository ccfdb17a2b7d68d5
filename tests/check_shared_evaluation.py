"""Reports of several workers: each evaluates its own batches of the rows set aside, and all that is said of them has the bits of one worker.

That the weights have them is held by check_shared_training.py."""

import itertools
import os
import signal
import unittest
from pathlib import Path

from shared_steps import DATA, PLAIN, SharedSteps, batch, without_times

WORKERS = (2, 3, 4, 6)
# Means, sums, extremes, matrices, and reports that need a level for the mean and another for the distances from it.
REPORTS = """
layer Regression(x[B, 12]) -> [B, 3], [B] {
  let h = x |> Dense(6) |> tanh
  h |> scores: Dense(3), (h |> value: Dense(1)) as [B]
}
model Net(x[B, 12]) -> [B, 3], [B] { x |> Regression }
train {
  data     rows, batch: 12
  let scores, value = Net(x)
  let error = (value - target)^2
  minimize cross_entropy(scores, label) + mean(error)
  using    adam(lr: 0.02)
  epochs   2
  report   accuracy(scores, label), confusion(scores, label), perplexity: exp(cross_entropy(scores, label)), r2(value, target), root_mean_squared_error(value, target),
           worst: max(error), least: min(error), spread: mean((target - mean(target))^2), of_shares: sum(error * share) / sum(share), fine: sum((f64(value) / 3)^3)
  seed     5
}
"""


class Reports(SharedSteps):
    def program(self, rows, parts="test last 80%"):
        self.write_rows(rows)
        return self.write("reports.nn", DATA.format(test=parts) + REPORTS)

    def test_splits_of_every_length(self):
        """Of one batch and of several, fewer than workers and more, the last of any length."""
        workers = itertools.cycle(WORKERS)
        for evaluated in (5, 255, 256, 257, 511, 513, 700, 769, 1024, 1300, 1797):
            rows = max(-(-evaluated * 5 // 4), evaluated + 12)
            file = self.program(rows, f"test last {100 * evaluated / rows}%")
            options = (*batch(12, 1, 12), "--steps", 3)
            expected = self.result(file, *options)
            self.assertIn('"test": {"loss"', expected[2][-1])
            for n in (next(workers), next(workers)):
                with self.subTest(evaluated=evaluated, workers=n):
                    self.assertEqual(self.result(file, *options, "--workers", n, "--threads", 1), expected)

    def test_both_parts_and_every_epoch(self):
        """Epochs of which some rows are read again at their end."""
        file = self.program(1500, "test 30%\n  valid 40%")
        options = batch(12, 1, 12)
        expected = self.result(file, *options)
        self.assertEqual(len(expected[2]), 2)
        for name in ("accuracy", "confusion", "perplexity", "r2", "worst", "spread"):
            for part in ("", '"test": {.*', '"valid": {.*'):
                self.assertRegex(expected[2][-1], f'{part}"{name}"')
        for n in WORKERS:
            with self.subTest(workers=n):
                self.assertEqual(self.result(file, *options, "--workers", n, "--threads", 1 + n % 2), expected)
        evaluated = without_times(self.nnc("eval", file, "--weights", "w.safetensors", "--json").stdout)
        self.assertIn(evaluated[0][1:-1], expected[2][-1])

    def test_without_json(self):
        """Worker 0 alone is asked for the matrices; reports that need levels are evaluated together all the same."""
        file = self.program(900, "test 40%")
        said = [self.nnc("train", file, "--quiet", "--out", "w.safetensors", *batch(12, 1, 12), "--workers", n).stdout for n in (1, 3)]
        self.assertIn("r2", said[0])
        self.assertEqual(said[1], said[0])

    def test_an_interruption_of_an_evaluation(self):
        """Of one worker: all stop, in the midst of the batches."""
        self.write_rows(60)
        self.write("many.csv", (self.folder / "rows.csv").read_text() * 4000)
        head = DATA.format(test="").replace('"rows.csv"', '"many.csv"').replace("data rows", "data many")
        file = self.write("long.nn", head + DATA.format(test="test from many") + PLAIN.replace("17", "1700").replace("5)", "1500)") + """
train {
  data     rows, batch: 12
  let scores = Net(x)
  minimize cross_entropy(scores, label)
  using    sgd(lr: 0.01)
  steps    2
  seed     5
}
""")
        for who in (0, 2):
            run = self.start("train", file, "--json", "--out", "w.safetensors", *batch(12, 1, 12), "--workers", 3, "--threads", 1, "--log", "run.jsonl")
            self.addCleanup(lambda run=run: run.poll() is None and run.kill())
            self.wait_for_steps(run, self.folder / "run.jsonl", 2)
            everybody = [run.pid, *map(int, Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split())]
            os.kill(everybody[who], signal.SIGINT)
            out, messages = run.communicate(timeout=60)
            with self.subTest(who=who):
                self.assertEqual(run.returncode, 130, messages)
                self.assertNotIn("error", messages)
                self.assertNotIn('"test"', out)
            (self.folder / "run.jsonl").unlink()


if __name__ == "__main__":
    unittest.main()
