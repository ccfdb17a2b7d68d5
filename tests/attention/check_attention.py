"""MultiHeadAttention against PyTorch: values and gradients of random configurations (generate.py), by compiled code and by the 64-bit interpreter, weights loaded strictly."""

import json
import struct
import sys
import unittest
import zipfile
from array import array
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from command_line import CommandLine  # noqa: E402

# The interpreter's results are rounded to f32 where they are written. Compiled code rounds at every step: what 8 terms of sums and softmaxes leave, of the largest number.
BOUNDS = {"interpreter": 1e-6, "jit": 1e-5}


def npy(shape, values):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},), }}"
    head += " " * (63 - (len(head) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + array("f", values).tobytes()


def read_npy(raw):
    values = array("f")
    values.frombytes(raw[10 + struct.unpack_from("<H", raw, 8)[0]:])
    return list(values)


def safetensors(tensors):
    header, body = {}, b""
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + 4 * len(values)]}
        body += array("f", values).tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


class Attention(CommandLine):
    def check(self, case):
        scaled = lambda t: [v * case["unit"] for v in t["values"]]
        inputs = {name: npy(t["shape"], scaled(t)) for name, t in case["inputs"].items()}
        if case["there"]:
            inputs["there"] = npy(case["there"]["shape"], case["there"]["values"])
        for name, raw in inputs.items():
            self.write(f"{name}.npy", raw)
        self.write("f.nn", case["program"] + "\n")
        self.write("seed.npy", npy(case["seed"]["shape"], scaled(case["seed"])))
        self.write("w.safetensors", safetensors({name: (t["shape"], scaled(t)) for name, t in case["weights"].items()}))
        expected = {"result": case["result"], **{f"grad.{name}": t for name, t in case["gradients"].items()}}
        for engine, bound in BOUNDS.items():
            self.nnc("run", "f.nn", "--fn", "f", *[word for name in inputs for word in ("--input", f"{name}={name}.npy")], "--weights", "w.safetensors", "--grad", "seed.npy",
                     "--engine", engine, "--output", "found.npz")
            with zipfile.ZipFile(self.folder / "found.npz") as archive:
                found = {name.removesuffix(".npy"): read_npy(archive.read(name)) for name in archive.namelist()}
            self.assertEqual(set(found) - {"grad.there"}, set(expected))
            for name, right in expected.items():
                largest = max(1.0, *map(abs, right["values"]))
                for i, (value, wanted) in enumerate(zip(found[name], right["values"], strict=True)):
                    self.assertTrue(abs(value - wanted) <= bound * largest, f"{case['program']}\n{engine}: {name}[{i}] is {value}, expected {wanted}")


def add_cases():
    cases = json.loads((HERE / "cases.json").read_text())
    for number, case in enumerate(cases):
        setattr(Attention, f"test_case_{number}", lambda self, case=case: self.check(case))


add_cases()

if __name__ == "__main__":
    unittest.main()
