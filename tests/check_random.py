"""Random numbers of runs: those of docs/numbers.md, computed here by tests/oracle/draws.py, for any chunks, threads, batches, vector levels, and after a resume."""

import json
import math
import re
import struct
import sys
import unittest
import zipfile
from array import array
from pathlib import Path

from command_line import EXAMPLES, ROOT, CommandLine, read_safetensors

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


class Variational(CommandLine):
    """A program of the language's brief as it stands: samples in the middle of the model, in training alone."""

    def test_it_learns_and_depends_on_nothing_but_its_seed(self):
        text = (ROOT / "tests/lit/parse/vae.nn").read_text()
        self.assertIn('"../data/t10k', text)
        file = self.write("vae.nn", text.replace('"../data/', f'"{EXAMPLES}/data/'))
        lines = [json.loads(line) for line in self.nnc("train", file, "--json", "--out", "one.safetensors", "--epochs", 2, "--threads", 1).stdout.splitlines()]
        first, last = lines[0]["loss"], lines[-1]["loss"]
        self.assertLess(last, 200)  # of 784 pixels at log(2) each: 543
        self.assertLess(last, first)
        self.assertEqual(self.train(file, "more", "--epochs", 2, "--threads", 3), self.digest("one"))
        self.assertNotEqual(self.train(file, "other", "--epochs", 2, "--seed", 4), self.digest("one"))


class Divergence(CommandLine):
    def test_the_step_is_replayed_with_its_numbers(self):
        self.write("x.npy", npy([1] * 40 * 70, (40, 70)))
        self.write("net.nn", """
dim N = 70
data d { x[N] : f32 = npy("x.npy") }
model M(x[B, N]) -> [B, N] {
  param w[N] = 0
  log(x |> own: Dropout(0.01)) + 0 * w
}
train {
  data     d, batch: 40
  minimize mean(M(x))
  using    sgd(lr: 0.1)
  epochs   1
  seed     8
}
""")
        row, element = next((r, i) for r in range(40) for i in range(70) if draw(8, "own#0", 0, r, i) < 0.01)
        run = self.run_nnc("train", "net.nn", "--quiet")
        self.assertIn(f"`log` at net.nn:6 received 0 at [{row}, {element}]", run.stderr)


class Layers(CommandLine):
    """What the layers of std do in training steps, by reports over an epoch of rows of ones: 16 rows in each step but the last, which has 8."""

    def reports(self, layer):
        self.write("x.npy", npy([1] * 40 * 70, (40, 70)))
        self.write("net.nn", f"""
dim N = 70
data d {{ x[N] : f32 = npy("x.npy") }}
model M(x[B, N]) -> [B, N] {{
  param w[N] = 0
  (x |> own: {layer}) + 0 * w
}}
train {{
  data     d, batch: 16
  let y = M(x)
  minimize mean(y)
  using    sgd(lr: 0.1)
  epochs   1
  report   zeros: sum(f32(y == 0)), total: sum(y), spread: sqrt(mean((y - mean(y))^2))
  seed     8
}}
""")
        return json.loads(self.nnc("train", "net.nn", "--json", "--out", "w.safetensors").stdout.splitlines()[-1])

    def check(self, layer, value):
        """value(draws, row): what becomes of a row, where draws(ordinal, element) are its numbers."""
        y = [v for step in range(3) for row in range(16 if step < 2 else 8) for v in value(lambda ordinal, i: draw(8, f"own#{ordinal}", step, row, i))]
        self.assertEqual(len(y), 2800)
        middle = math.fsum(y) / 2800
        found = self.reports(layer)
        self.assertEqual(found["zeros"], y.count(0))
        self.assertAlmostEqual(found["total"], math.fsum(y), delta=1e-3)
        self.assertAlmostEqual(found["spread"], math.sqrt(math.fsum((v - middle) ** 2 for v in y) / 2800), 5)

    def test_dropout(self):
        self.check("Dropout(0.25)", lambda u: [0 if u(0, i) < 0.25 else 4 / 3 for i in range(70)])
        self.check("Dropout()", lambda u: [0 if u(0, i) < 0.5 else 2 for i in range(70)])

    def test_rates_at_the_ends(self):
        self.check("Dropout(0)", lambda u: [1] * 70)
        self.check("Dropout(1)", lambda u: [0] * 70)

    def test_stochastic_depth_takes_whole_rows(self):
        self.check("StochasticDepth(0.2)", lambda u: [0 if u(0, 0) < 0.2 else 1.25] * 70)
        self.check("StochasticDepth(1)", lambda u: [0] * 70)

    def test_gaussian_noise(self):
        normal = lambda u, i: math.sqrt(-2 * math.log(1 - u(0, i))) * math.cos(2 * math.pi * u(1, i))  # noqa: E731
        self.check("GaussianNoise(0.5)", lambda u: [1 + 0.5 * normal(u, i) for i in range(70)])
        self.check("GaussianNoise(0)", lambda u: [1] * 70)

    def test_a_report_of_draws_alone_has_those_of_its_steps(self):
        self.reports("Dropout(0)")
        text = (self.folder / "net.nn").read_text()
        self.write("net.nn", text.replace("let y = M(x)", "let y = M(x)\n  let u = uniform_like(x)").replace("report ", "report far: sqrt(mean((u - mean(u))^2)),"))
        found = json.loads(self.nnc("train", "net.nn", "--json", "--out", "w.safetensors").stdout.splitlines()[-1])["far"]
        u = [draw(8, "#0", step, row, i) for step in range(3) for row in range(16 if step < 2 else 8) for i in range(70)]
        middle = math.fsum(u) / 2800
        self.assertAlmostEqual(found, math.sqrt(math.fsum((v - middle) ** 2 for v in u) / 2800), 6)

    def test_weights_below_a_dropout_of_everything_do_not_move(self):
        self.write("x.npy", npy([1] * 8 * 3, (8, 3)))
        self.write("net.nn", """
data d { x[3] : f32 = npy("x.npy") }
model M(x[B, 3]) -> [B, 2] { x |> first: Dense(4, bias: false) |> Dropout(1) |> last: Dense(2) }
train {
  data     d, batch: 4
  minimize mean((M(x) - 3)^2)
  using    sgd(lr: 0.1)
  steps    WHEN
}
""")
        text = (self.folder / "net.nn").read_text()
        kept = []
        for steps in (1, 9):
            self.write("net.nn", text.replace("WHEN", str(steps)))
            self.train("net.nn", "w")
            tensors = read_safetensors(self.folder / "w.safetensors")[1]
            kept.append(list(tensors["first.weight"][1]))
            self.assertTrue(all(math.isfinite(v) for _, values in tensors.values() for v in values))
        self.assertEqual(*kept)


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

    def test_several_places_of_a_dimension_in_a_row_are_elements_of_it(self):
        file = self.folder / "noisy.nn"
        file.write_text(file.read_text().replace("uniform_like(x) +", "(uniform_like(x as [3*B]) as [B, 3]) +"))
        self.nnc("train", file, "--quiet", "--out", "w.safetensors")
        self.nnc("predict", file, "--weights", "w.safetensors", "--input", "x=x.npy", "--output", "y.npy")
        self.assertEqual(read_npy(self.folder / "y.npy"), [draw(21, "#0", 7, row, i) for row in range(self.rows) for i in range(3)])

    def test_evaluation_of_a_split(self):
        self.nnc("train", "noisy.nn", "--quiet", "--out", "w.safetensors", "--seed", 4)
        expected = sum(draw(4, "#0", 7, row, i) for row in range(self.rows // 2) for i in range(3)) / (self.rows // 2 * 3)
        for _ in range(2):
            found = re.search(r"drawn[^0-9]*([0-9.]+)", self.nnc("eval", "noisy.nn", "--weights", "w.safetensors", "--json").stdout)
            self.assertAlmostEqual(float(found[1]), expected, 6)


if __name__ == "__main__":
    unittest.main()
