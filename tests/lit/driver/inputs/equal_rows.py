"""Rows of equal numbers, and whether means and variances of them are what they are.

  equal_rows.py write f4|f8 FILE   a .npy of 9 rows x 1031
  equal_rows.py columns FILE       the same in f4, transposed
  equal_rows.py check FILE f4|f8   of a .npz: every other array has the numbers, the ones between are 0
"""

import struct
import sys
import zipfile

from arrays import CODES, parse

NUMBERS = [0.1, 3.3, 1e10, 1e-30, -7.7, 1 / 3, 16777217.0, 6e-39, 1e34]


def rounded(kind):
    return [struct.unpack(CODES[kind], struct.pack(CODES[kind], n))[0] for n in NUMBERS]


def write(path, kind, shape, values):
    text = f"{{'descr': '<{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + struct.pack(f"<{len(values)}{CODES[kind]}", *values))


def check(path, kind):
    with zipfile.ZipFile(path) as archive:
        arrays = [parse(archive.read(name))[2] for name in archive.namelist()]
    assert len(arrays) in (2, 8), len(arrays)
    for i, values in enumerate(arrays):
        assert list(values) == (rounded(kind) if i % 2 == 0 else [0] * len(NUMBERS)), (i, values)


if sys.argv[1] == "write":
    write(sys.argv[3], sys.argv[2], (len(NUMBERS), 1031), [n for n in rounded(sys.argv[2]) for _ in range(1031)])
elif sys.argv[1] == "columns":
    write(sys.argv[2], "f4", (1031, len(NUMBERS)), rounded("f4") * 1031)
else:
    check(sys.argv[2], sys.argv[3])
