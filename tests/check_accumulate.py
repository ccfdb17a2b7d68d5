"""A batch made up of several has the bits of one large batch: weights, checkpoints, logs and reports; last batches of every length, resumes from one to the other.

Batch norm is the exception that trajectories/ hold against PyTorch (std_batch_norm_made_up)."""

import json
import unittest

from shared_steps import PROGRAMS, ROWS, SharedSteps, batch


class MadeUp(SharedSteps):
    def test_the_bits_of_one_large_batch(self):
        for name in sorted(PROGRAMS):
            file = self.make(name, test="test last 15%")
            for pieces in (4, 12):
                expected = self.result(file, *batch(12, 1, pieces))
                self.assertGreater(len(expected[3]), 10)
                for rows, accumulate, threads in ((3, 4, 1), (6, 2, 2), *(((1, 12, 1), (4, 3, 2)) if pieces == 12 else ())):
                    with self.subTest(name=name, pieces=pieces, rows=rows, accumulate=accumulate):
                        self.assertEqual(self.result(file, *batch(rows, accumulate, pieces), "--threads", threads), expected)

    def test_pieces_decide_the_bits(self):
        """Else the comparisons here would show nothing."""
        file = self.make("sgd")
        self.assertNotEqual(self.result(file, *batch(12, 1, 4))[0], self.result(file, *batch(12, 1, 12))[0])

    def test_last_batches_of_every_length(self):
        file = self.make("clipped")
        lengths = set()
        for rows in range(ROWS - 24, ROWS - 11):  # the rest has 1 ... 12 rows, and none: whole batches, parts of one, a single row
            self.write_rows(rows)
            lengths.add(rows % 12)
            for pieces, batches in ((6, ((4, 3), (2, 6))), (12, ((4, 3),))):  # of 7 and 11 pieces three parts are left over at the end
                expected = self.result(file, *batch(12, 1, pieces, epochs=2))
                for each, accumulate in batches:
                    with self.subTest(rows=rows, each=each, pieces=pieces):
                        self.assertEqual(self.result(file, *batch(each, accumulate, pieces, epochs=2)), expected)
        self.assertEqual(lengths, set(range(12)))

    def test_pieces_that_do_not_come_out_even(self):
        """Batches of a number of pieces that is no power of two, with rows enough for chains."""
        self.write_rows(1500)
        for name in ("sgd", "draws"):
            file = self.make(name)
            expected = self.result(file, *batch(1320, 1, 12))
            for rows, accumulate in ((330, 4), (220, 6), (440, 3), (110, 12)):
                with self.subTest(name=name, rows=rows):
                    self.assertEqual(self.result(file, *batch(rows, accumulate, 12)), expected)

    def test_pieces_that_nobody_chose(self):
        """As many as batches at least; said by the checkpoint."""
        file = self.make("sgd")
        found = self.result(file, *batch(4, 3))
        self.assertEqual(found, self.result(file, *batch(12, 1, 3)))
        self.write_rows(1500)
        self.assertEqual(self.result(file, *batch(512, 2)), self.result(file, *batch(1024)), "these pieces come out even by themselves")

    def test_resume_from_one_to_the_other(self):
        for name in ("clipped", "draws"):
            file = self.make(name)
            expected = self.train(file, "whole", "--steps", 14, *batch(12, 1, 12))
            self.train(file, "part", "--steps", 4, *batch(3, 4, 12))
            self.train(file, "part", "--steps", 8, *batch(12, 1, 12), "--resume", "part.checkpoint.safetensors")
            self.assertEqual(self.train(file, "part", "--steps", 14, *batch(6, 2, 12), "--resume", "part.checkpoint.safetensors"), expected)

    def test_another_number_of_pieces_is_another_run(self):
        file = self.make("sgd")
        self.train(file, "part", "--steps", 4, *batch(3, 4, 12))
        run = self.run_nnc("train", file, "--quiet", "--steps", 8, *batch(3, 4, 4), "--resume", "part.checkpoint.safetensors", "--out", "part.safetensors")
        self.assertEqual(run.returncode, 1)
        self.assertIn("pieces of a batch: 12 in the checkpoint, 4 now", run.stderr)

    def test_the_memory_of_one(self):
        """Rows are computed a few at a time: what a step takes does not grow with their number."""
        file = self.make("conv")
        peaks = []
        for rows, accumulate in ((64, 1), (64, 64), (4096, 1)):
            self.write_rows(4096) if not peaks else None
            peaks.append(self.arena(file, rows, accumulate))
        self.assertLess(peaks[1], 2 * peaks[0])
        self.assertGreater(peaks[2], 8 * peaks[0])

    def arena(self, file, rows, accumulate):
        return json.loads(self.nnc("summary", file, "--json", *batch(rows, accumulate, accumulate)).stdout)["arena_bytes"]

    def test_too_few_rows_for_one_update(self):
        run = self.run_nnc("train", self.make("sgd"), "--quiet", *batch(33, 2), "--out", "w.safetensors")
        self.assertEqual(run.returncode, 1)
        self.assertIn(f"error[E0503]: 2 batches of 33 rows are 66, but only {ROWS} train", run.stderr)
        self.assertFalse((self.folder / "w.safetensors").exists())


if __name__ == "__main__":
    unittest.main()
