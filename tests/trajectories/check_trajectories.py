"""The compiled training step against PyTorch's trajectories (README.md in this folder)."""

import json
import math
import os
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
    """Name -> (shape, values) of an F32 or F64 file."""
    raw = Path(path).read_bytes()
    size, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = array({"F32": "f", "F64": "d"}[entry["dtype"]])
            values.frombytes(raw[8 + size + begin:8 + size + end])
            tensors[name] = (entry["shape"], values)
    return tensors


def norm(values):
    return math.sqrt(math.fsum(v * v for v in values))


class Trajectories(unittest.TestCase):
    def follow(self, case, folder, *options):
        """(losses by step, final weights) of a run of nnc."""
        log, weights = Path(folder) / "run.jsonl", Path(folder) / "out.safetensors"
        command = [NNC, "train", HERE / case["program"], "--init", HERE / case["init"], "--no-shuffle", "--quiet",
                   "--log", log, "--out", weights, *options]
        run = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return [json.loads(line)["loss"] for line in log.read_text().splitlines()], read_safetensors(weights)

    def check(self, name):
        case = json.loads((HERE / "expected.json").read_text())[name]
        with tempfile.TemporaryDirectory() as folder:
            losses, weights = self.follow(case, folder)
        self.assertEqual(len(losses), case["steps"])
        for step, (found, expected) in enumerate(zip(losses, case["losses"])):
            self.assertLessEqual(abs(found - expected), LOSS_TOLERANCE, f"loss of step {step}: {found}, expected {expected}")
        final = read_safetensors(HERE / case["final"])
        self.assertEqual(sorted(weights), sorted(final))
        for tensor, (shape, expected) in final.items():
            self.assertEqual(weights[tensor][0], shape, tensor)
            gap = norm([a - b for a, b in zip(weights[tensor][1], expected)]) / norm(expected)
            self.assertLessEqual(gap, WEIGHT_TOLERANCE, f"{tensor} is off by {gap:.2e} of its norm")


def add_cases():
    for name in json.loads((HERE / "expected.json").read_text()):
        setattr(Trajectories, f"test_{name}", lambda self, name=name: self.check(name))


add_cases()

if __name__ == "__main__":
    unittest.main()
