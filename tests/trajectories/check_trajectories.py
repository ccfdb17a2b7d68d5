"""The compiled training step against PyTorch's trajectories (README.md in this folder)."""

import json
import math
import os
import re
import struct
import subprocess
import tempfile
import unittest
from array import array
from pathlib import Path

HERE = Path(__file__).resolve().parent
NNC = os.environ.get("NNC", str(HERE.parent.parent / "build/nnc"))
LOSS_TOLERANCE = 1e-4
WEIGHT_TOLERANCE = 1e-4


def read_safetensors(path):
    """Name -> (shape, values) of a file of F32, F64 and I64; of integers exactly those."""
    raw = Path(path).read_bytes()
    size, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = array({"F32": "f", "F64": "d", "I64": "q"}[entry["dtype"]])
            values.frombytes(raw[8 + size + begin:8 + size + end])
            tensors[name] = (entry["shape"], values)
    return tensors


def norm(values):
    return math.sqrt(math.fsum(v * v for v in values))


class Trajectories(unittest.TestCase):
    def follow(self, case, folder, *options):
        """(lines of the log, final weights) of a run of nnc."""
        log, weights = Path(folder) / "run.jsonl", Path(folder) / "out.safetensors"
        command = [NNC, "train", HERE / case["program"], "--init", HERE / case["init"], "--no-shuffle", "--quiet",
                   "--log", log, "--out", weights, *options]
        run = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return [json.loads(line) for line in log.read_text().splitlines()], read_safetensors(weights)

    def check_predictions(self, case, folder):
        """The model outside of training, with the weights that the run wrote."""
        found = Path(folder) / "found.csv"
        run = subprocess.run([NNC, "predict", HERE / case["program"], "--weights", Path(folder) / "out.safetensors",
                              "--input", case.get("input", "x={0}/std.csv").format(HERE), "--output", found], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        rows = [[float(cell) for cell in line.split(",")] for line in found.read_text().splitlines() if line[0] in "-0123456789"]
        self.assertEqual(len(rows), case.get("rows", len(case["predictions"])))
        for i, (row, expected) in enumerate(zip(rows, case["predictions"])):
            for value, right in zip(row, expected, strict=True):
                self.assertLessEqual(abs(value - right), LOSS_TOLERANCE * max(1, abs(right)) * 4, f"row {i}: {row}, expected {expected}")

    def check(self, name):
        case = json.loads((HERE / "expected.json").read_text())[name]
        with tempfile.TemporaryDirectory() as folder:
            log, weights = self.follow(case, folder)
            if "predictions" in case:
                self.check_predictions(case, folder)
        self.assertEqual(len(log), case["steps"])
        for name, values in {"loss": case["losses"], **case.get("reports", {})}.items():
            for step, (line, expected) in enumerate(zip(log, values)):
                allowed = LOSS_TOLERANCE * max(1, abs(expected))
                self.assertLessEqual(abs(line[name] - expected), allowed, f"{name} of step {step}: {line[name]}, expected {expected}")
        final = read_safetensors(HERE / case["final"])
        self.assertEqual(sorted(weights), sorted(final))
        for tensor, (shape, expected) in final.items():
            self.assertEqual(weights[tensor][0], shape, tensor)
            self.assertEqual(weights[tensor][1].typecode, "q" if expected.typecode == "q" else "f", f"{tensor}: counts are I64, all else F32")
            gap, size = norm([a - b for a, b in zip(weights[tensor][1], expected)]), norm(expected)
            self.assertLessEqual(gap, case.get("weight_tolerance", WEIGHT_TOLERANCE) * size, f"{tensor} is off by {gap:.2e}, its norm is {size:.2e}")


def definitions(kind, text):
    """name -> names of the parameters, of the definitions of std.nn that begin with the word."""
    return {name: [p.split("=")[0].split("[")[0].strip() for p in parameters.split(",")]
            for name, parameters in re.findall(rf"^{kind} (\w+)\(([^)]*)\)", text, re.M)}


class WholeLibrary(unittest.TestCase):
    """Together the programs use everything in std.nn; what is added there needs a trajectory, which is asked for by name."""

    # Drawn numbers are not PyTorch's: tests/check_initializers.py holds their moments against the formulas.
    INITIALIZERS = {"he", "he_uniform", "glorot", "glorot_normal", "lecun"}

    # Nor what these draw while they train: tests/check_random.py and tests/oracle hold them against an independent generator. (`Dropout` and `normal_like` have trajectories.)
    DRAWS = {"GaussianNoise", "StochasticDepth", "bernoulli_like", "dropout"}

    def setUp(self):
        self.std = re.sub(r"#.*", "", (HERE.parent.parent / "frontend/std.nn").read_text())
        self.programs = re.sub(r"#.*", "", "\n".join(path.read_text() for path in HERE.glob("*.nn")))

    def test_every_definition_is_used(self):
        names = [name for kind in ("layer", "fn", "optimizer") for name in definitions(kind, self.std)]
        self.assertGreater(len(names), 40)
        inner = {"reduced", "reduced_by_shares", "is_place", "found_class", "unbiased", "is_share", "left_over", "places", "places_within", "kernels", "kernel_given", "groups_given", "per_group", "pad_before", "pad_around", "pad_given", "reached", "pool_places", "inside",
                 "pooled_both", "pooled_size", "pooled", "padded", "reflected", "enlarged", "at_least_1", "repeated", "between",
                 "layers_given", "with_state", "rnn_steps", "gru_steps", "gru_step", "lstm_steps", "lstm_step", "is_count", "dropped", "in_heads", "turned", "turn", "OutProjection",
                 "length", "at_least", "unit", "is_positive", "is_not_negative", "is_cosine", "partner_lost", "focused", "overlap", "downhill", "matrices_in", "rows_in", "columns_in", "shaped_as"}  # helpers
        missing = [name for name in names if not re.search(rf"\b{name}\b", self.programs)]
        self.assertEqual(sorted(set(missing) - self.INITIALIZERS - self.DRAWS - inner), [])

    def test_networks_are_those_of_the_examples(self):
        """But for their data, steps and rates, and the transformer's sizes."""
        for name in ("cnn", "residual", "autoencoder", "mnist_mlp", "transformer"):
            network = lambda text: [line for line in re.sub(r"#.*", "", text).splitlines()
                                    if line.strip() and not re.match(r"  (test|data|using|epochs|steps|save|seed) |.*= (idx|text)\(|dim Ctx", line)]
            example = (HERE.parent.parent / f"examples/{name}.nn").read_text()
            self.assertEqual(network((HERE / f"{name}.nn").read_text()), network(example), name)

    def test_every_hyperparameter_is_set(self):
        missing = []
        for name, parameters in definitions("optimizer", self.std).items():
            uses = " ".join(re.findall(rf"using +{name}\((.*)\)", self.programs))
            missing += [f"{name}.{p}" for p in parameters if not re.search(rf"\b{p}:", uses)]
        self.assertEqual(missing, [])


def add_cases():
    for name in json.loads((HERE / "expected.json").read_text()):
        setattr(Trajectories, f"test_{name}", lambda self, name=name: self.check(name))


add_cases()

if __name__ == "__main__":
    unittest.main()
