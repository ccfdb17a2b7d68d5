"""Arrays for tests of the command line, with Python's standard library alone.

  arrays.py make FILE DTYPE SHAPE VALUES...   a .npy file; SHAPE as 5x64; with one value less than needed, values count up from the last
  arrays.py show FILE                         every array of a .npy or .npz: name, type, shape, values
  arrays.py compare A B TOLERANCE             the same arrays with values as near as that
"""

import math
import struct
import sys
import zipfile
from pathlib import Path

CODES = {"f4": "f", "f8": "d", "i4": "i", "i8": "q", "u1": "B"}


def make(path, dtype, shape, values):
    sizes = [int(n) for n in shape.split("x")] if shape != "0d" else []
    count = math.prod(sizes)
    numbers = [float(v) if dtype[0] == "f" else int(v) for v in values]
    while len(numbers) < count:
        numbers.append(numbers[-1] + (0.125 if dtype[0] == "f" else 1) if len(numbers) % 7 else numbers[0])
    kind = "|" if dtype == "u1" else "<"
    text = f"{{'descr': '{kind}{dtype}', 'fortran_order': False, 'shape': ({''.join(f'{n},' for n in sizes)}), }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    data = struct.pack(f"<{count}{CODES[dtype]}", *numbers[:count])
    Path(path).write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data)


def parse(data):
    assert data[:6] == b"\x93NUMPY"
    size = struct.unpack("<H", data[8:10])[0]
    header = eval(data[10:10 + size], {})
    code = CODES[header["descr"][1:]]
    body = data[10 + size:]
    return header["descr"][1:], header["shape"], struct.unpack(f"<{len(body) // struct.calcsize(code)}{code}", body)


def read(path):
    if path.endswith(".npy"):
        return {"": parse(Path(path).read_bytes())}
    with zipfile.ZipFile(path) as archive:
        return {name[:-4]: parse(archive.read(name)) for name in archive.namelist()}


def main(command, *rest):
    if command == "make":
        make(rest[0], rest[1], rest[2], rest[3:])
    elif command == "show":
        for name, (dtype, shape, values) in read(rest[0]).items():
            print(name or "-", dtype, "x".join(map(str, shape)) or "0d", " ".join(f"{v:.4g}" for v in values))
    else:
        a, b = read(rest[0]), read(rest[1])
        assert list(a) == list(b), f"{list(a)} and {list(b)}"
        for name in a:
            assert a[name][:2] == b[name][:2], f"{name}: {a[name][:2]} and {b[name][:2]}"
            scale = max([1.0] + [abs(v) for v in a[name][2]])
            worst = max((abs(x - y) for x, y in zip(a[name][2], b[name][2])), default=0)
            assert worst <= float(rest[2]) * scale, f"{name}: {worst} apart"
        print("equal:", " ".join(n or "-" for n in a))


if __name__ == "__main__":
    main(*sys.argv[1:])
