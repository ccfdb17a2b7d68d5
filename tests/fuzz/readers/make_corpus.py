#!/usr/bin/env python3
"""Writes the seeds of the fuzzers: small valid files of every format, and some that are wrong in one known way, into corpus/FORMAT/.

Files named finding-* are inputs that once broke a reader; they are kept as they were found and not written here. The dictionaries
nn.dict and nnir.dict come from the language's own lists. check_hostile_files.py builds its damaged files from the same functions.
"""

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

PROGRAMS = {
    "train": """dim H = 3
data d {
  x[4], y[2] : f32 = csv("d.csv", columns: 0..4)
  label : class(3) = csv("d.csv", columns: ["label"])
  test last 20%
}
fn twice(a[B, D]) -> [B, D] { a * 2 }
layer Unit(Out)(x[B, In]) -> [B, Out] where In > 1 {
  param w[Out, In] ~ he(In)
  state seen = 0
  update seen = seen + 1
  sum(x * w, over: In)
}
model M(x[B, 4]) -> [B, 3] { x |> twice |> one: Unit(H) |> relu |> Dense(3) }
train {
  data d, batch: 2
  let p = M(x)
  minimize cross_entropy(p, label)
  using adam(lr: 1e-3), clip: 1
  epochs 2
  report accuracy(p, label)
  seed 1
}
""",
    "tests": """fn f(x[N]) -> [N] { if 1 > 0 and not false { x^2 - -x } else { 0 * x } }
test "t" {
  let a = [[1.0, 2], [3, 4]] as [R, C]
  expect f([1.0, 2]) == [2, 6], tolerance: 1e-9
  expect error "dimension" in { f([[1.0]]) }
  check_gradients f([0.5, 1])
  expect a[R: 0, C: 0..1] == [1]
  expect shape(zeros([2, 3])) == [2, 3]
}
""",
    "optimizer": """optimizer mine(lr, m = 0.9) {
  state v = 0
  update v = m * v + grad
  update value = value - lr * v
}
layer L(x[B, T, C]) -> [B, T, C] {
  repeat 2 as i { mix: Dense(C) }
  scan t in T with h[B, C] = 0 { let n = h + x[T: t]
    yield n
    update h = n }
}
""",
    # Each body is as deep as one may be, and calls the next: once too deep for the stack.
    "deep_calls": "fn f0(x[N]) -> [N] { x }\n" + "".join(f"fn f{i}(x[N]) -> [N] {{ f{i - 1}(x){'+0' * 900} }}\n" for i in range(1, 6)),
    "odd": "\ufeffuse \"a.nn\" { A }\r\nfn g(x[N],) -> [] { # \u00fc\r\n sum(where(x == max(x), 1.5e-3, 20%), over: N) // 1 % 2 }\r\n",
}

GRAPHS = {
    "update": """graph @train {
  param @w : f32[3, 2] loc("a.nn":4:3)
  frozen @"odd \\"name\\"" : i32[]
  %0 = input @x : u8[B, 3] loc("a.nn":12:8)
  %1 = parameter @w : f32[3, 2] scope "fc1"
  %2 = cast(%0) : f32[B, 3]
  %3 = contract(%2, %1) ab,bc->ac : f32[B, 2] scope "fc1" group 3
  %4 = constant -1e-1 : f32[B, 2]
  %5 = maximum(%3, %4) : f32[B, 2]
  %6 = argmax(%5) axis 1 : i32[B]
  %7 = scalar @using.lr : f64[]
  %12 = cast(%7) : f32[]
  %8 = broadcast(%12) axes [] : f32[3, 2]
  %9 = gather(%8, %6) axis 0 ab,c->cb : f32[B, 2]
  %10 = scatter_add(%9, %6) axis 0 cb,c->ab : f32[3, 2]
  %11 = reduce_sum(%5) axes [0, 1] : f32[]
  output "loss" %11
  update @w %10
}
""",
    "shapes": """graph @g { # every shape operation
  %0 = input @x : f64[2, 6]
  %1 = reshape(%0) : f64[3, 4]
  %2 = transpose(%1) axes [1, 0] : f64[4, 3]
  %3 = slice(%2) axis 0 begin 1 : f64[2, 3]
  %4 = pad(%3) axis 1 begin 2 : f64[2, 7]
  %5 = iota axis 0 : i32[2, 7]
  %6 = extent 7 : f64[]
  %7 = constant inf : f64[2, 7]
  %8 = less(%4, %7) : bool[2, 7]
  %9 = select(%8, %4, %7) : f64[2, 7]
  %10 = concat(%9, %4) axis 0 : f64[4, 7]
  %11 = random @"dropout1#0" : f32[B, 7]
  output "y" %9
}
""",
    "empty": "graph @\"\" {\n}\n",
}

TABLES = {
    "header": b"a,b,label\n1,2.5,0\n-3,4e2,9\n",
    "quoted": b'\xef\xbb\xbf"x ""y""", z\r\n"1",+2\r\n\r\n 3 ,nan\r\n',
    "plain": b"0,1\r1,0\r",
    "bools": b"true,False\n1,0\n",
    "wide": b",".join(b"%d" % i for i in range(40)) + b"\n",
    "limits": b"9223372036854775807,-1e-400\n1e400,0.1\n",
}


def idx(kind, sizes, body):
    return bytes([0, 0, kind, len(sizes)]) + b"".join(struct.pack(">I", n) for n in sizes) + body


def npy(header, body=b"", version=1):
    """`header` as text, or (descr, shape) of an array in row-major order."""
    if not isinstance(header, str):
        header = f"{{'descr': '{header[0]}', 'fortran_order': False, 'shape': {header[1]}, }}"
    prefix = 10 if version == 1 else 12
    text = header.encode("latin-1") + b" " * (-(len(header) + prefix + 1) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + body


def safetensors(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def archive(members, method=zipfile.ZIP_STORED):
    """A zip file with a fixed date, so that the same members give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, content in members:
            z.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content, compress_type=method)
    return out.getvalue()


def deflate(content):
    z = zlib.compressobj(9, zlib.DEFLATED, -15)
    return z.compress(content) + z.flush()


def zip_record(entries, directory=None, comment=b"", zip64=False):
    """A zip file from its parts. `entries`: (name, local bytes or None, dict of fields of the central directory)."""
    body, central = b"", b""
    for name, data, fields in entries:
        f = {"method": 0, "flags": 0, "crc": 0, "compressed": 0, "size": 0, "offset": len(body), "extra": b"", **fields}
        if data is not None:
            body += struct.pack("<IHHHHHIIIHH", 0x04034b50, 20, f["flags"], f["method"], 0, 0x21, f["crc"], f["compressed"], f["size"],
                                len(name), 0) + name + data
        central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 20, 20, f["flags"], f["method"], 0, 0x21, f["crc"], f["compressed"], f["size"],
                               len(name), len(f["extra"]), 0, 0, 0, 0, f["offset"]) + name + f["extra"]
    count, size, offset = len(entries), len(central), len(body)
    end = b""
    if zip64:
        end += struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, count, count, size, offset)
        end += struct.pack("<IIQI", 0x07064b50, 0, offset + size, 1)
        count, size, offset = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    if directory:
        count, size, offset = directory
    end += struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, count, count, size, offset, len(comment)) + comment
    return body + central + end


def zip64_archive(name, content):
    """One stored member whose sizes and place stand in the 64-bit fields, as numpy writes what may grow large."""
    extra = struct.pack("<HHQQQ", 1, 24, len(content), len(content), 0)
    fields = {"crc": zlib.crc32(content), "compressed": 0xFFFFFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF, "extra": extra}
    return zip_record([(name, content, fields)], zip64=True)


def gz(content, level=9):
    made = gzip.compress(content, level, mtime=0)
    return made[:9] + b"\3" + made[10:]  # the system: Unix with every Python (from 3.14 on it writes `unknown`)


FLOATS = struct.pack("<6f", 1, -2, 0.5, 3, 4, 5)
NPY = npy(("<f4", "(2, 3)"), FLOATS)


def files():
    """(format, name, bytes) of every seed."""
    for name, text in PROGRAMS.items():
        yield "nn", name, text.encode()
    yield "nn", "utf8", b"fn f(x[N]) { \xff }"
    for name, text in GRAPHS.items():
        yield "nnir", name, text.encode()
    for name in ("sound", "kernels"):  # programs
        yield "nnir", f"program_{name}", (ROOT / f"tests/lit/ir/inputs/{name}.nnir").read_bytes()
    for name, text in TABLES.items():
        yield "csv", name, text
    yield "idx", "u8", idx(8, [2, 2, 3], bytes(range(12)))
    yield "idx", "i16", idx(11, [3], struct.pack(">3h", 1, -2, 3))
    yield "idx", "f64", idx(14, [1, 2], struct.pack(">2d", 1, float("inf")))
    yield "idx", "empty", idx(13, [0, 5], b"")
    yield "npy", "f4", NPY
    yield "npy", "big", npy(("'>i8'".strip("'"), "(2,)"), struct.pack(">2q", 1, -1), 2)
    yield "npy", "fortran", npy("{'descr': '<u2', 'fortran_order': True, 'shape': (2, 2), }", struct.pack("<4H", 1, 2, 3, 4), 3)
    yield "npy", "f2", npy(("<f2", "()"), struct.pack("<e", 1.5))
    yield "npy", "bool", npy(("|b1", "(3,)"), b"\0\1\2")
    yield "npz", "stored", archive([("x.npy", NPY), ("y.npy", npy(("|u1", "(2,)"), b"\1\2"))])
    yield "npz", "deflated", archive([("x.npy", npy(("<f8", "(40,)"), bytes(320)))], zipfile.ZIP_DEFLATED)
    yield "npz", "zip64", zip64_archive(b"x.npy", NPY)
    yield "npz", "encrypted", zip_record([(b"x.npy", NPY, {"flags": 1, "compressed": len(NPY), "size": len(NPY), "crc": zlib.crc32(NPY)})])
    yield "npz", "comment", archive([("x", NPY)])[:-2] + struct.pack("<H", 3) + b"abc"
    yield "gz", "text", gz(b"1,2\n3,4\n")
    yield "gz", "zeros", gz(bytes(20000))
    yield "gz", "members", gz(b"1,2\n") + gz(b"3,4\n") + bytes(5)
    yield "gz", "stored", gz(b"stored", 0)
    yield "gz", "name", b"\x1f\x8b\x08\x1c" + bytes(4) + b"\0\3" + b"\2\0ab" + b"name\0comment\0" + deflate(b"hi") + struct.pack("<II", zlib.crc32(b"hi"), 2)
    two = {"__metadata__": {"nnc": "1"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
           "n": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]}}
    yield "safetensors", "two", safetensors(two, FLOATS + b"\x80\x3f")
    yield "safetensors", "types", safetensors({t: {"dtype": t, "shape": [1], "data_offsets": [i * 8, i * 8 + 8]} for i, t in enumerate(("I64", "U64", "F64"))},
                                              bytes(24))
    yield "safetensors", "empty", safetensors({})
    yield "text", "characters", "To be,\nor not: \u00e9 \u20ac \U0001f600".encode()
    yield "text", "mark", b"\xef\xbb\xbfx"
    yield "text", "cut", b"x\xe2\x82"
    yield "text", "vocabulary", b'["\\n","a","\xc3\xa9"]'
    yield "safetensors", "twice", safetensors(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}')


SIGNS = "... .. -> |> // == != <= >= ( ) [ ] { } , : ; ~ = + - * / % ^ < > # \" \\n".split()
WORDS = """layer fn model optimizer data train test use dim let param frozen state update yield repeat as if else and or not scan in with where over
true false inf training class f32 f64 i32 i64 u8 bool csv idx npy npz safetensors text columns from last valid expect error tolerance check_gradients
minimize using epochs steps report seed save every batch all shape zeros ones sum mean max min index one_hot classes range""".split()


def dictionaries():
    names = re.findall(r"^(?:layer|fn|optimizer) (\w+)", (ROOT / "frontend/std.nn").read_text(), re.M)
    operations = re.findall(r"^NNC_OP\((\w+),", (ROOT / "ir/ops.def").read_text(), re.M)
    graph = "graph param frozen state optimizer_state output update loc scope group axes axis begin f32 f64 i32 i64 u8 bool B 2*B nan -inf @ % : -> [ ] ( ) { }".split()
    yield "nn", SIGNS + WORDS + names
    program = """program target any portable avx2 avx512 rows planned arena bytes persistent field temporary scalar result order at slot kernel one thread parallel
serial not after barrier from FLOP kFLOP GB for inner vector along contract tile x vectors blocks packed each load constant index of sum over k extent the loop row
<- += < v0 v1 @2 # %1 9223372036854775807 -9223372036854775808""".split()
    yield "nnir", operations + graph + program


def quoted(word):
    return '"' + word.replace("\\n", "\n").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\x0a") + '"'


def main():
    for form, name, content in files():
        folder = HERE / "corpus" / form
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for form, words in dictionaries():
        (HERE / f"{form}.dict").write_text("".join(f"{quoted(w)}\n" for w in dict.fromkeys(words)))


if __name__ == "__main__":
    main()
