"""Random numbers of runs: those of docs/numbers.md, computed here by tests/oracle/draws.py, for any chunks, threads, batches, vector levels, and after a resume."""

import re
import struct
import sys
import unittest
import zipfile
from array import array
from pathlib import Path

from command_line import CommandLine, read_safetensors

sys.path.insert(0, str(Path(__file__).resolve().parent / "oracle"))
from check_oracle import vector_levels  # noqa: E402
from draws import draw, philox4x32  # noqa: E402


def as_f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def npy(values, shape):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},), }}"
    head += " " * (63 - (len(head) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + array("f", values).tobytes()


def read_npy(path):
    raw = Path(path).read_bytes()
    values = array("f")
    values.frombytes(raw[10 + struct.unpack_from("<H", raw, 8)[0]:])
    return list(values)


# Each step moves w by what it draws: -w is the sum of the draws of all updates.
WALK = """
dim C = 70
data d {{ x[3] : f32 = npy("x.npy") }}
layer Noise(y[C]) -> [C] {{ uniform_like(y) }}
model M(x[B, 3]) -> [B] {{
  param w[C] = 0
  {more}
  spread(sum(w * (w |> noise: Noise), over: C), over: B)
}}
train {{
  data     d, batch: 4
  minimize mean(M(x))
  using    sgd(lr: 1)
  steps    40
  seed     99
}}
"""


class Numbers(CommandLine):
    def test_the_oracle_has_the_published_numbers(self):
        self.assertEqual(philox4x32((0, 0, 0, 0), (0, 0)), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8))
        self.assertEqual(philox4x32((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)),
                         (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1))

    def test_one_definition_on_every_vector_level(self):
        self.write("draw.nn", "fn draw(x[A, C]) -> [A, C], [A, C] { uniform_like(x), uniform_like(x) }\n")
        self.write("x.npy", npy([0] * 5 * 70, (5, 70)))
        for options in [("--engine", "interpreter"), *(("--cpu", level) for level in vector_levels())]:
            with self.subTest(options=options):
                self.nnc("run", "draw.nn", "--fn", "draw", "--input", "x=x.npy", "--output", "y.npz", *options)
                found = self.read_npz("y.npz")
                for ordinal, values in enumerate(found):
                    self.assertEqual(values, [draw(0, f"#{ordinal}", 0, 0, i) for i in range(350)])

    def read_npz(self, name):
        found = []
        with zipfile.ZipFile(self.folder / name) as archive:
            for entry in sorted(archive.namelist()):
                found.append(read_npy(self.write(entry, archive.read(entry))))
        return found


class Training(CommandLine):
    def walk(self, steps, seed=99, begin=0, w=None):
        """w after so many steps, each of which is rounded to f32."""
        w = w or [0.0] * 70
        for step in range(begin, steps):
            w = [as_f32(v - draw(seed, "noise#0", step, 0, i)) for i, v in enumerate(w)]
        return w

    def weights(self, name):
        return list(read_safetensors(self.folder / f"{name}.safetensors")[1]["w"][1])

    def setUp(self):
        super().setUp()
        self.write("x.npy", npy(range(24), (8, 3)))
        self.write("walk.nn", WALK.format(more=""))

    def test_each_update_draws_its_own_numbers(self):
        expected = self.walk(40)
        for options in [(), ("--threads", 1), ("--threads", 2), ("--threads", 3), ("--threads", 7), *(("--cpu", level) for level in vector_levels()), ("--log", "log.jsonl")]:
            with self.subTest(options=options):
                self.train("walk.nn", "w", *options)
                self.assertEqual(self.weights("w"), expected)

    def test_another_seed_and_a_resumed_run(self):
        self.train("walk.nn", "w", "--seed", 5)
        self.assertEqual(self.weights("w"), self.walk(40, seed=5))
        self.train("walk.nn", "part", "--steps", 13)
        self.assertEqual(self.weights("part"), self.walk(13))
        self.train("walk.nn", "rest", "--resume", "part.checkpoint.safetensors")
        self.assertEqual(self.weights("rest"), self.walk(40))

    def test_a_new_layer_changes_no_other_layers_numbers(self):
        self.write("walk.nn", WALK.format(more="let other = w |> first: Noise\n  let third = w |> Noise"))
        self.train("walk.nn", "w")
        self.assertEqual(self.weights("w"), self.walk(40))

    def test_dropout_is_the_same_for_any_threads_and_chunks(self):
        file = self.program("digits", ("|> Dense(64) |> relu\n    |> Dense(10)", "|> Dense(64) |> relu |> Dropout(0.25) |> GaussianNoise(0.01)\n    |> StochasticDepth(0.1) |> Dense(10)"))
        expected = self.train(file, "one", "--steps", 60, "--threads", 1)
        for threads in (2, 3, 7):
            self.assertEqual(self.train(file, "more", "--steps", 60, "--threads", threads), expected, threads)
        self.train(file, "part", "--steps", 23)
        self.assertEqual(self.train(file, "rest", "--steps", 60, "--resume", "part.checkpoint.safetensors"), expected)
        self.assertEqual(self.train(file, "logged", "--steps", 60, "--log", "log.jsonl"), expected)
        plain = self.train(self.program("digits", name="plain.nn"), "plain", "--steps", 60, "--threads", 1)
        self.assertNotEqual(plain, expected)


class OutsideTraining(CommandLine):
    """Drawn by the run's seed and the number of updates, as in one batch of all rows."""

    def setUp(self):
        super().setUp()
        self.rows = 600
        self.write("x.npy", npy(range(self.rows * 3), (self.rows, 3)))
        self.write("noisy.nn", """
data d {
  x[3] : f32 = npy("x.npy")
  test last 50%
}
model M(x[B, 3]) -> [B, 3] {
  param w[3] = 1
  uniform_like(x) + 0 * w
}
train {
  data     d, batch: 50
  minimize mean(M(x) * x)
  using    sgd(lr: 0.1)
  steps    7
  report   drawn: mean(M(x))
  seed     21
}
""")

    def test_predictions_of_several_batches(self):
        self.nnc("train", "noisy.nn", "--quiet", "--out", "w.safetensors")
        expected = [draw(21, "#0", 7, row, i) for row in range(self.rows) for i in range(3)]
        for threads in (1, 3):
            self.nnc("predict", "noisy.nn", "--weights", "w.safetensors", "--input", "x=x.npy", "--output", "y.npy", "--threads", threads)
            self.assertEqual(read_npy(self.folder / "y.npy"), expected)

    def test_evaluation_of_a_split(self):
        self.nnc("train", "noisy.nn", "--quiet", "--out", "w.safetensors", "--seed", 4)
        expected = sum(draw(4, "#0", 7, row, i) for row in range(self.rows // 2) for i in range(3)) / (self.rows // 2 * 3)
        for _ in range(2):
            found = re.search(r"drawn[^0-9]*([0-9.]+)", self.nnc("eval", "noisy.nn", "--weights", "w.safetensors", "--json").stdout)
            self.assertAlmostEqual(float(found[1]), expected, 6)


if __name__ == "__main__":
    unittest.main()
