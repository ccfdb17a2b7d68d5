"""Initial values: every distribution of the language and of std.nn has the moments and bounds that its formula states, independently in every tensor."""

import math
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from command_line import NNC, read_safetensors

ROOT = Path(__file__).resolve().parent.parent


IN, OUT = 300, 400  # of each tensor; 120,000 numbers
COUNT = IN * OUT

# name of the parameter -> (how it is written, mean, variance, excess kurtosis, lowest, highest). The formulas: He et al. 2015, Glorot and Bengio 2010,
# LeCun et al. 1998; a uniform distribution on [-b, b] has variance b^2/3 and excess kurtosis -6/5.


def uniform(bound, centre=0.0):
    return centre, bound**2 / 3, -1.2, centre - bound, centre + bound


def normal(deviation, mean=0.0):
    return mean, deviation**2, 0.0, -math.inf, math.inf


def truncated(deviation, mean=0.0):
    """A normal distribution cut off at two deviations, as PyTorch's trunc_normal_ and JAX's truncated_normal cut it."""
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    mass = math.erf(2 / math.sqrt(2))
    second = 1 - 2 * 2 * density / mass
    fourth = 3 - 2 * (8 + 3 * 2) * density / mass
    return mean, deviation**2 * second, fourth / second**2 - 3, mean - 2 * deviation, mean + 2 * deviation


DISTRIBUTIONS = {
    "uniform_one": ("uniform(0.25)", *uniform(0.25)),
    "uniform_two": ("uniform(-0.5, 2)", *uniform(1.25, 0.75)),
    "normal_zero": ("normal(0.02)", *normal(0.02)),
    "normal_shifted": ("normal(0.5, mean: 3)", *normal(0.5, 3)),
    "truncated": ("truncated_normal(0.5)", *truncated(0.5)),
    "he": ("he(In)", *normal(math.sqrt(2 / IN))),
    "he_uniform": ("he_uniform(In)", *uniform(math.sqrt(6 / IN))),
    "glorot": ("glorot(In, Out)", *uniform(math.sqrt(6 / (IN + OUT)))),
    "glorot_normal": ("glorot_normal(In, Out)", *normal(math.sqrt(2 / (IN + OUT)))),
    "lecun": ("lecun(In)", *normal(math.sqrt(1 / IN))),
    "dense": ("uniform(1 / sqrt(In))", *uniform(1 / math.sqrt(IN))),
}


def program():
    parameters = "\n".join(f"  param {name}[Out, In] ~ {text}" for name, (text, *_) in DISTRIBUTIONS.items())
    total = " + ".join(["turn", *DISTRIBUTIONS])
    return f"""dim In = {IN}, Out = {OUT}
data rows {{ x : f32 = csv("x.csv") }}
layer All()(x[B]) -> [B] {{
{parameters}
  param turn[Out, In] ~ orthogonal
  x * mean({total})
}}
model Net(x[B]) -> [B] {{ x |> all: All() }}
train {{ data rows, batch: 4
  minimize mean(Net(x))
  using sgd(lr: 0)
  steps 1 }}
"""


class Initializers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        folder = Path(cls.folder.name)
        (folder / "x.csv").write_text("1\n2\n3\n4\n")
        (folder / "all.nn").write_text(program())
        cls.weights = []
        for seed in (1, 2):
            command = [NNC, "train", "all.nn", "--quiet", "--seed", str(seed), "--out", f"w{seed}.safetensors"]
            result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            _, tensors = read_safetensors(folder / f"w{seed}.safetensors")
            cls.weights.append({name.split(".")[-1]: values for name, (_, values) in tensors.items()})

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_moments(self):
        for name, (_, mean, variance, kurtosis, low, high) in DISTRIBUTIONS.items():
            with self.subTest(name):
                values = self.weights[0][name]
                self.assertEqual(len(values), COUNT)
                found = math.fsum(values) / COUNT
                deviations = [v - found for v in values]
                second = math.fsum(d * d for d in deviations) / COUNT
                third = math.fsum(d**3 for d in deviations) / COUNT / second**1.5
                fourth = math.fsum(d**4 for d in deviations) / COUNT / second**2 - 3
                # Five standard errors of each estimate (the seed is fixed: this passes or fails for good).
                self.assertLess(abs(found - mean), 5 * math.sqrt(variance / COUNT))
                self.assertLess(abs(second / variance - 1), 5 * math.sqrt((kurtosis + 2) / COUNT))
                self.assertLess(abs(third), 5 * math.sqrt(6 / COUNT))
                self.assertLess(abs(fourth - kurtosis), 5 * math.sqrt(24 / COUNT))
                self.assertGreaterEqual(min(values), low - 1e-7)
                self.assertLessEqual(max(values), high + 1e-7)
                if math.isfinite(low):  # the whole range is drawn from
                    self.assertLess(min(values), low + (high - low) * 1e-3)
                    self.assertGreater(max(values), high - (high - low) * 1e-3)

    def test_numbers_are_independent(self):
        def correlation(a, b):
            ma, mb = math.fsum(a) / len(a), math.fsum(b) / len(b)
            return (math.fsum((x - ma) * (y - mb) for x, y in zip(a, b))
                    / math.sqrt(math.fsum((x - ma)**2 for x in a) * math.fsum((y - mb)**2 for y in b)))

        limit = 5 / math.sqrt(COUNT - IN)
        one = self.weights[0]
        for distance in (1, 2, 3, 4, IN):  # neighbours in a row, in a column, in one block of the generator
            for name in ("normal_zero", "uniform_one", "truncated"):
                with self.subTest(f"{name}, distance {distance}"):
                    self.assertLess(abs(correlation(one[name][:-distance], one[name][distance:])), limit)
        self.assertLess(abs(correlation(one["he"], one["lecun"])), limit)                        # two tensors of one distribution
        self.assertLess(abs(correlation(one["he"], self.weights[1]["he"])), limit)  # two seeds

    def test_orthogonal_rows(self):
        values = self.weights[0]["turn"]
        columns = [[values[r * IN + c] for r in range(OUT)] for c in range(0, IN, 37)]
        for i, a in enumerate(columns):
            for j, b in enumerate(columns):
                self.assertAlmostEqual(math.fsum(x * y for x, y in zip(a, b)), float(i == j), delta=2e-6)

    def test_a_row_that_begins_as_zero(self):
        with tempfile.TemporaryDirectory() as folder:
            values = []
            for name, zero in (("all", ""), ("one", ", zero: 2")):
                (Path(folder) / f"{name}.nn").write_text(f'''data rows {{ x : f32 = csv("x.csv") }}
model Net(x[B]) -> [B] {{
  param w[4, 3] ~ normal(1{zero})
  x * mean(w)
}}
train {{ data rows, batch: 4
  minimize mean(Net(x))
  using sgd(lr: 0)
  steps 1 }}
''')
                (Path(folder) / "x.csv").write_text("1\n2\n3\n4\n")
                result = subprocess.run([NNC, "train", f"{name}.nn", "--quiet"], cwd=folder, capture_output=True, text=True)
                self.assertEqual(result.returncode, 0, result.stderr)
                values.append(list(read_safetensors(Path(folder) / f"{name}.safetensors")[1]["w"][1]))
            self.assertNotIn(0, values[0])
            self.assertEqual(values[1], values[0][:6] + [0, 0, 0] + values[0][9:])  # the other rows are drawn as without

    def test_every_initializer_is_here(self):
        std = (ROOT / "frontend/std.nn").read_text()
        section = std[std.index("# --- initial values"):std.index("# --- activations")]
        names = re.findall(r"^fn (\w+)", section, re.M)
        self.assertGreater(len(names), 3)
        self.assertEqual([n for n in names if not any(text.startswith(n + "(") for text, *_ in DISTRIBUTIONS.values())], [])


if __name__ == "__main__":
    unittest.main()
