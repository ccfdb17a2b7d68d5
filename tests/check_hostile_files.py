"""Files made to harm: every one is refused with a message and its place, or read; nothing crashes, hangs or fills the memory.

What a reader meets byte by byte is tests/unit/runtime_hostile_test.cpp and the corpus of tests/fuzz/readers, which is read here too. This is
what a user meets at the command line. Every run has an address space of 3 GB, and its file a few megabytes at most."""

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from command_line import EXAMPLES, NNC, ROOT, SLOWNESS, CommandLine

sys.path.insert(0, str(ROOT / "tests/fuzz/readers"))
from make_corpus import FLOATS, NPY, archive, deflate, files, gz, idx, npy, safetensors, zip64_archive, zip_record  # noqa: E402

DEEP = 100_000
CORES = os.cpu_count() or 2


def limit_memory():
    if not os.environ.get("NNC_SANITIZER"):  # sanitizers reserve terabytes
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))


class Hostile(CommandLine):
    def setUp(self):
        super().setUp()
        self.write("f.nn", "fn f(x[N]) -> [N] { x * 2 }\n")

    def run_limited(self, *arguments, **options):
        return self.run_nnc(*arguments, timeout=60, preexec_fn=limit_memory, **options)

    def refused(self, code, *arguments, says=(), **options):
        """The run ends with status 1, `code` comes first, and all of `says` is said."""
        run = self.run_limited(*arguments, **options)
        self.assertEqual(run.returncode, 1, f"nnc {arguments}: {run.stdout[:500]}{run.stderr[:2000]}")
        self.assertTrue(run.stderr.startswith(f"error[{code}]: "), run.stderr[:2000])
        for word in says:
            self.assertIn(word, run.stderr[:5000])
        self.assertLess(len(run.stderr), 60_000, "more than anybody reads")
        return run

    def data_refused(self, code, name, content, *says):
        """A file of an array or a table, as the input of a function."""
        if content is not None:
            self.write(name, content)
        return self.refused(code, "run", "f.nn", "--fn", "f", "--input", f"x={name}", says=(os.path.basename(name), *says))

    def weights_refused(self, code, content, *says):
        self.write("w.safetensors", content)
        return self.refused(code, "eval", EXAMPLES / "digits.nn", "--weights", "w.safetensors", says=("w.safetensors", *says))

    def all_at_once(self, function, cases):
        """The cases on all cores; each is a test of its own."""
        with ThreadPoolExecutor(CORES) as pool:
            for case, done in [(case, pool.submit(function, *case)) for case in cases]:
                with self.subTest(case=case[0]):
                    done.result()


class Depth(Hostile):
    def test_every_construct_of_the_language_nested_very_deep(self):
        n = DEEP
        body = lambda text: "fn f(x[N]) -> [N] { " + text + " }\n"  # noqa: E731
        cases = [
            ("parentheses", "E0009", body("(" * n + "x" + ")" * n)),
            ("open parentheses", "E0009", body("(" * n)),
            ("minus", "E0009", body("-" * n + "x")),
            ("not", "E0009", body("not " * n + "true")),
            ("selections after each other", "E0009", body("x" + "[N: 0..1]" * n)),
            ("selections inside each other", "E0009", body("x[N: " * n + "0" + "]" * n)),
            ("calls inside each other", "E0009", body("exp(" * n + "x" + ")" * n)),
            ("calls after each other", "E0009", body("x" + "()" * n)),
            ("named arguments", "E0009", body("f(a: " * n + "x" + ")" * n)),
            ("arrays", "E0009", body("[" * n + "1" + "]" * n)),
            ("tuples", "E0009", body("(1, " * n + "1" + ")" * n)),
            ("powers", "E0009", body("x" + "^x" * n)),
            ("powers of minus", "E0009", body("x" + "^-x" * n)),
            ("a sum", "E0009", body("x" + " + x" * n)),
            ("a sum over lines", "E0009", body("x" + "\n + x" * n)),
            ("and", "E0009", body("true" + " and true" * n)),
            ("views after each other", "E0009", body("x" + " as [N]" * n)),
            ("views inside each other", "E0009", body("x as [" * n)),
            ("stages with many argument lists", "E0009", body("x |> Dense" + "(1)" * n)),
            ("braces", "E0010", body("{" * n + "}" * n)),
            ("blocks of if", "E0009", body("if 1 > 0 { " * n + "x" + " }" * n)),
            ("conditions of if", "E0009", body("if " * n)),
            ("repeat", "E0009", body("repeat 1 { " * n + "}" * n)),
            ("scan", "E0009", body("scan t in T { " * n + "}" * n)),
            ("ranges of scan", "E0009", body("scan t in " * n)),
            ("types", "E0009", "fn f(x[N]: " + "class(" * n + "1" + ")" * n + ") { x }\n"),
            ("dimensions", "E0009", "fn f(x" + "[" * n + ") { x }\n"),
            ("conditions of a head", "E0009", "fn f(x[N]) where " + "(" * n + " { x }\n"),
            ("a dim", "E0009", "dim A = " + "(" * n + "1" + ")" * n + "\n"),
            ("a source", "E0009", "data d { x : f32 = " + "csv(" * n + ")" * n + " }\n"),
            ("a clause", "E0008", "train { " + "minimize (" * n),
            ("unclosed definitions", "E0008", "fn f(x) { " * n),
            ("unclosed braces", "E0011", "{" * n),
        ]

        def check(name, code, text):
            run = self.refused(code, "check", self.write(f"{name}.nn", text))
            self.assertRegex(run.stderr, rf"--> [^\n]*/{name}\.nn:\d+:\d+\n")

        self.all_at_once(check, cases)

    def test_depth_that_only_calls_make(self):
        # Each body is as deep as a body may be, and each chain of calls as long: both together must still fit the stack.
        chain = ["fn f0(x[N]) -> [N] { x }"]
        chain += [f"fn f{i}(x[N]) -> [N] {{ f{i - 1}(x){' + 0' * 900} }}" for i in range(1, 119)]
        self.refused("E0009", "check", self.write("chain.nn", "\n".join(chain) + "\n"), says=("let", "chain.nn:"))

    @unittest.skipIf(os.environ.get("NNC_SANITIZER") == "thread", "one thread, and ten minutes of it")
    def test_programs_that_expand_without_end(self):
        doubling = "\n".join(["fn f0(x[N]) -> [N] { x }"] + [f"fn f{i}(x[N]) -> [N] {{ f{i - 1}(x) + f{i - 1}(x) }}" for i in range(1, 60)])
        loops = "fn f(x[N]) -> [N] {\n" + "repeat 10000 {\n" * 4 + "}" * 4 + "\nx }\n"
        self.all_at_once(lambda name, text, words: self.refused("E0209", "check", self.write(name, text), says=words),
                         [("doubling.nn", doubling + "\n", ("expands to more than", "doubling.nn:")), ("loops.nn", loops, ("expands to more than", "loops.nn:"))])

    def test_long_is_no_fault(self):
        # A hundred thousand statements, stages, definitions on one line, nodes: nothing here costs the square of its length.
        n = DEEP
        lets = "fn f(x[N]) -> [N] {\n  let a0 = x\n" + "".join(f"  let a{i + 1} = a{i} + x\n" for i in range(n)) + f"  a{n}\n}}\n"
        pipe = "fn f(x[N]) -> [N] { x" + " |> relu" * 10_000 + " }\n"
        line = " " * 1_000_000 + "".join(f"fn f{i}(x[N]) -> [N] {{ x }} " for i in range(20_000)) + "\n"
        self.all_at_once(lambda name, text: self.assertEqual(self.run_limited("check", self.write(name, text)).stderr, f"{self.folder / name}: no errors\n"),
                         [("lets.nn", lets), ("pipe.nn", pipe), ("line.nn", line)])

    def test_graphs(self):
        n = DEEP
        chain = "graph @g {\n  %0 = input @x : f32[B]\n" + "".join(f"  %{i + 1} = neg(%{i}) : f32[B]\n" for i in range(n)) + f'  output "y" %{n}\n}}\n'
        places = "graph @g {\n  %0 = input @x : f32[B]\n" + "".join(f'  %{i + 1} = neg(%{i}) : f32[B] loc("a":1:99999)\n' for i in range(20_000)) + "}\n"
        names = "graph @g {\n" + "".join(f'  param @p{i} : f32[] loc("a{i}":1:1)\n' for i in range(20_000)) + "}\n"
        many = lambda open_, n=n: "graph @g {\n %0 = input @x : f32[]\n " + open_ * n + "\n}\n"  # noqa: E731

        def accepted(name, text):
            run = self.run_limited("opt", self.write(f"{name}.nnir", text))
            self.assertEqual((run.returncode, run.stderr), (0, ""))

        self.all_at_once(accepted, [("chain", chain), ("places", places), ("names", names)])
        self.all_at_once(lambda name, code, text: self.refused(code, "opt", self.write(f"{name}.nnir", text), says=(f"{name}.nnir:",)), [
            ("braces", "E0630", many("{")), ("brackets", "E0630", "graph @g {\n %0 = input @x : f32" + "[" * n + "\n}\n"),
            ("operands", "E0632", "graph @g {\n %0 = input @x : f32[]\n %1 = add(" + "%0," * n + "%0) : f32[]\n}\n"),
            ("far", "E0636", 'graph @g {\n %0 = input @x : f32[] loc("a":9999999:1)\n}\n'),
            ("errors", "E0630", many("?\n"))])

    def test_programs(self):
        n = DEEP
        head = "program @g {\n  target any avx2, 8 rows planned\n  arena 64 bytes, persistent 0 bytes\n"
        output = '  output "y" : f32[100000] slot 0\n  output "z" : f32[1] slot 1\n'
        store = lambda i: f"    y[{i}] <- v0 : f32\n"  # noqa: E731
        one = f"{head}{output}  kernel k  # one thread\n    v0 = constant 1 : f32\n    z[0] <- v0 : f32\n"
        stores = one + "".join(map(store, range(n))) + "}\n"
        phases = head + "".join(
            f'  output "y{i}" : f32[1] slot {i}\n  kernel k{i}  # parallel\n    v0 = constant 1 : f32\n    y{i}[0] <- v0 : f32\n' for i in range(n // 10)) + "}\n"

        def accepted(name, text):
            run = self.run_limited("opt", self.write(f"{name}.nnir", text))
            self.assertEqual((run.returncode, run.stderr), (0, ""))

        self.all_at_once(accepted, [("stores", stores), ("phases", phases)])
        axes = ", ".join(f"a{i} < 1" for i in range(n))
        self.all_at_once(lambda name, code, text: self.refused(code, "opt", self.write(f"{name}.nnir", text), says=(f"{name}.nnir:",)), [
            ("axes", "E0636", f"{head}  kernel k\n    for {axes}:\n      v0 = constant 1 : f32\n}}\n"),
            ("rank", "E0636", f'{head}  temporary "x" : f32[{", ".join("1" * n)}] at 0, 4 bytes\n}}\n'),
            ("order", "E0636", f'{head}  temporary "x" : f32[1] order [{", ".join("0" * n)}] at 0, 4 bytes\n}}\n'),
            ("nested", "E0630", f"{head}  kernel k\n" + "".join(" " * (i + 3) + f"for a{i} < 2:\n" for i in range(3000)) + "}\n"),
            ("terms", "E0637", one + "    y[" + "q + " * n + "0] <- v0 : f32\n}\n"),
            ("operands", "E0632", one + "    v1 = add(" + "v0, " * n + "v0) : f32\n}\n"),
            ("meet", "E0639", one + store(0) * 1000 + "}\n"),
            ("many", "E0007", one + "    v1 = constant 1 : f32\n" * 1_000_001 + "}\n"),
            ("errors", "E0630", one + "    ?\n" * n + "}\n"),
            ("slots", "E0639", f'{head}  output "y" : f32[] slot 2147483647\n}}\n'),
            ("huge", "E0639", f'{head}  output "y" : f32[1099511627776*B, 1099511627776, 0] slot 0\n}}\n'),
            ("far", "E0636", one.replace("# one", "# from a.nn:9999999, one") + "}\n"),
            ("cut", "E0630", one)])

    def test_headers_of_weights(self):
        for text in (b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}", b'{"a":{"dtype":' + b"[" * DEEP + b"]" * DEEP + b',"shape":[],"data_offsets":[0,0]}}',
                     b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"{" + b"[" * DEEP):
            with self.subTest(text=text[:20]):
                self.weights_refused("E0405", safetensors(text), "header" if text.endswith(b"[") else "wrongly")
        many = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(900)}
        self.weights_refused("E0505", safetensors(many), "t0")


class Text(Hostile):
    def test_lines_of_ten_megabytes(self):
        long = 10_000_000
        self.refused("E0004", "check", self.write("digits.nn", "dim A = " + "9" * long + "\n"), says=("digits.nn:1:9",))
        self.refused("E0201", "check", self.write("name.nn", "fn f(x) { " + "a" * long + " }"), says=("unknown name `aaaa",))
        self.refused("E0007", "check", self.write("words.nn", "fn f(x) { " + "x " * (long // 2) + "}"), says=("words.nn:1", "1000000"))
        self.refused("E0003", "check", self.write("string.nn", 'use "' + "a" * long), says=("string.nn:1:5",))
        self.refused("E0630", "opt", self.write("long.nnir", "graph @" + "a" * long + " }"), says=("long.nnir:1",))
        self.refused("E0630", "opt", self.write("text.nnir", 'graph @"' + "a" * long), says=("text.nnir:1",))
        self.refused("E0630", "opt", self.write("program.nnir", "program @" + "a" * long + " }"), says=("program.nnir:1",))
        self.data_refused("E0407", "cell.csv", b"1,2\n1," + b"9" * long, "line 2, column 2", "...")
        self.data_refused("E0408", "quote.csv", b'1,2\n1,"' + b"9" * long, "line 2", "never closed")
        self.data_refused("E0408", "wide.csv", b"1,2\n" + b"1," * (long // 2) + b"1\n", "5000001 cells")

    def test_what_is_not_utf8(self):
        self.refused("E0002", "check", self.write("a.nn", b"fn f(x[N]) {\n  x # \xff\n}"), says=("a.nn:2:7", "0xff"))
        self.refused("E0002", "check", self.write("b.nn", b'test "\xc0\xaf" { }'), says=("b.nn:1:7", "0xc0"))
        self.refused("E0002", "opt", self.write("c.nnir", b'graph @"\xc3\xa4" {\n  # \xed\xa0\x80\n}\n'), says=("c.nnir:2:5", "0xed"))
        self.data_refused("E0407", "d.csv", b"1,2\n1,\xff2\n", "line 2, column 2", "\\xff")
        self.weights_refused("E0405", safetensors(b'{"a\xff":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', bytes(4)), "not a JSON object")
        run = self.run_limited("check", "b.nn", "--json")
        self.assertEqual(json.loads(run.stdout.splitlines()[0])["column"], 7)

    def test_zeros_marks_and_line_ends(self):
        self.refused("E0002", "check", self.write("zero.nn", b"fn f(x[N]) { x }\n\0"), says=("zero.nn:2:1", "byte 0"))
        self.refused("E0002", "opt", self.write("zero.nnir", b"graph @g {\n}\n\0"), says=("zero.nnir:3:1", "byte 0"))
        self.refused("E0002", "opt", self.write("program.nnir", b"program @g {\n}\n\0"), says=("program.nnir:3:1", "byte 0"))
        self.data_refused("E0404", "zero.csv", b"1,2\n\0", "zero bytes")
        self.refused("E0002", "check", self.write("wide.nn", "fn f(x[N]) { x }".encode("utf-16")), says=("wide.nn:1",))
        text = "fn f(x[N]) -> [N] {\n  x\n}\n# a comment\nfn g(x[N]) -> [N] { x }\n"
        self.assertEqual(self.run_limited("check", self.write("mark.nn", b"\xef\xbb\xbf" + text.encode())).returncode, 0)
        self.assertEqual(self.run_limited("check", self.write("crlf.nn", text.replace("\n", "\r\n").encode())).returncode, 0)
        # With CR alone the comment would hide the rest of the file.
        self.refused("E0001", "check", self.write("cr.nn", text.replace("\n", "\r").encode()), says=("cr.nn:1:20", "carriage return"))
        self.refused("E0630", "opt", self.write("cr.nnir", b"# a comment\rgraph @g {\r}\r"), says=("cr.nnir:1",))
        self.write("g.nn", "fn g(x[R, C]) -> [R, C] { x * 2 }\n")
        for name, rows in (("mark.csv", b"\xef\xbb\xbf1\n2\n"), ("crlf.csv", b"1\r\n2\r\n"), ("cr.csv", b"1\r2\r")):
            self.write(name, rows)
            run = self.run_limited("run", "g.nn", "--fn", "g", "--input", f"x={name}")
            self.assertEqual((run.returncode, run.stdout.split()), (0, ["result", "f32[2,", "1]", "2", "4"]), run.stderr)


class Paths(Hostile):
    def test_what_is_no_file(self):
        (self.folder / "loop").symlink_to("pool")
        (self.folder / "pool").symlink_to("loop")
        (self.folder / "folder").mkdir()
        for name, word in (("loop", "symbolic links"), ("folder", "folder"), ("/dev/zero", "device"), ("/dev/full", "device"), ("nowhere", "no such file")):
            with self.subTest(name=name):
                self.refused("E0602", "check", name, says=(name, word))
                self.data_refused("E0402", name, None, word)
        self.data_refused("E0402", "/proc/self/maps", None, "no size of its own")
        self.refused("E0006", "check", self.write("empty.nn", b""))
        self.data_refused("E0403", "empty.csv", b"", "empty")

    @unittest.skipUnless(Path("/sys/kernel/mm/transparent_hugepage/enabled").exists(), "no file that is shorter than it says")
    def test_a_file_that_becomes_shorter(self):
        self.data_refused("E0402", "/sys/kernel/mm/transparent_hugepage/enabled", None, "became shorter")

    def test_pipes(self):
        os.mkfifo(self.folder / "pipe.nn")
        os.mkfifo(self.folder / "dry.nn")
        dry = self.start("check", "dry.nn")  # refused after ten seconds, in which other things are done
        self.data_refused("E0402", "pipe.nn", None, "pipe")
        threading.Thread(target=lambda: (self.folder / "pipe.nn").write_text("fn f(x[N]) -> [N] { y }\n")).start()
        self.refused("E0201", "check", "pipe.nn", says=("pipe.nn:1:21", "`y`"))
        error = dry.communicate(timeout=60)[1]
        self.assertEqual(dry.returncode, 1, error)
        self.assertIn("nothing has come for ten seconds", error)

    @unittest.skipUnless(os.geteuid() == 0, "needs to become another user")
    def test_without_permission(self):
        os.chmod(self.folder, 0o755)
        os.chmod(self.write("secret.nn", "fn f(x[N]) { x }"), 0)
        run = subprocess.run([NNC, "check", "secret.nn"], cwd=self.folder, env=self.environment, text=True, capture_output=True, user=65534)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("secret.nn`: permission denied", run.stderr)


class Arrays(Hostile):
    def test_lengths_that_overflow(self):
        for shape in ("(4294967296, 4294967296)", "(9223372036854775807,)", "(9223372036854775807, 2)", "(7000000000000000001, 7000000000000000001, 0)",
                      "(99999999999999999999,)", "(-1,)"):
            with self.subTest(shape=shape):
                self.data_refused("E0405", "a.npy", npy(("<f8", shape)), "header")
        self.data_refused("E0405", "a.npy", b"\x93NUMPY\2\0" + b"\xff" * 4 + bytes(100), "header")
        self.data_refused("E0405", "a", idx(8, [0xFFFFFFFF] * 3, b"x"), "promises", "header")
        self.data_refused("E0405", "a", idx(14, [0xFFFFFFFF, 0x40000000], b"x"), "promises")
        self.data_refused("E0405", "a", b"\0\0\x08\xff" + b"\xff" * 100, "header")
        for shape, offsets in (([2 ** 62, 4], [0, 0]), ([2 ** 63], [0, 4]), ([1], [0, 2 ** 64]), ([1], [2 ** 63, 2 ** 63 + 4]), ([1], [4, 0]), ([1], [-4, 0]),
                               ([1], [0.0, 4.0]), ([0.5], [0, 4])):
            with self.subTest(shape=shape, offsets=offsets):
                header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}})
                self.weights_refused("E0405", safetensors(header.encode(), bytes(4)), "`a`")
        self.weights_refused("E0405", struct.pack("<Q", 2 ** 64 - 1) + b"{}", "header")

    def test_tensors_that_share_bytes_or_names(self):
        part = lambda begin, end: {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}  # noqa: E731
        self.weights_refused("E0405", safetensors({"a": part(0, 4), "b": part(2, 6)}, bytes(6)), "overlaps", "`b`")
        self.weights_refused("E0405", safetensors({"a": part(0, 4), "b": part(0, 4)}, bytes(4)), "overlaps")
        self.weights_refused("E0405", safetensors({"a": part(0, 2), "b": part(3, 4)}, bytes(4)), "nothing describes", "`b`")
        self.weights_refused("E0405", safetensors({"a": part(0, 2)}, bytes(4)), "nothing describes")
        entry = json.dumps(part(0, 1))
        self.weights_refused("E0405", safetensors(f'{{"a":{entry},"a":{entry}}}'.encode(), b"x"), "`a` twice")

    def test_types_that_are_not_numbers(self):
        self.data_refused("E0406", "a.npy", npy(("|O", "(1,)"), b"\x80\4N."), "Python objects")
        self.data_refused("E0406", "a.npy", npy("{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (1,), }", bytes(8)), "records of named fields")
        for descr in ("<U4", "|S8", "<c8", "<M8[ns]", "<f16", "|V4", "<i3", ""):
            with self.subTest(descr=descr):
                self.data_refused("E0406", "a.npy", npy((descr, "(1,)"), bytes(16)), f"`{descr}`")
        self.data_refused("E0404", "a.npy", b"\x80\4\x95\x0b\0\0\0\0\0\0\0]\x94(K\1K\2e.", "not a numpy array")
        self.data_refused("E0405", "a.npy", npy("__import__('os').system('touch owned')"), "header")
        self.assertFalse((self.folder / "owned").exists())
        self.weights_refused("E0406", safetensors({"a": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}}, b"x"), "F8_E5M2")


class Archives(Hostile):
    def entry(self, content, **fields):
        return {"crc": zlib.crc32(content), "compressed": len(content), "size": len(content), **fields}

    def test_bombs(self):
        zeros = bytes(100 << 20)
        self.data_refused("E0402", "bomb.csv.gz", gz(zeros), "200 times its size", "gunzip")
        content = npy(("|u1", f"({len(zeros)},)")) + zeros
        self.data_refused("E0402", "bomb.npz", archive([("x.npy", content)], zipfile.ZIP_DEFLATED), "200 times its size", "np.savez")
        # Members that nobody asks for are not read, however large they say they are.
        parts = archive([("x.npy", NPY), *((f"{i}.npy", content) for i in range(4))], zipfile.ZIP_DEFLATED)
        (self.folder / "parts.npz").write_bytes(parts)
        self.write("h.nn", "fn h(x[R, C]) -> [] { sum(sum(x, over: C), over: R) }\n")
        self.assertEqual(self.run_limited("run", "h.nn", "--fn", "h", "--input", "x=parts.npz").returncode, 0)
        # All members are the same bytes of the file, as in zbsm.zip; or lie inside each other, as in 42.zip.
        kernel = deflate(bytes(1 << 20))
        shared = [(b"%d.npy" % i, kernel if i == 0 else None, {"method": 8, "crc": zlib.crc32(bytes(1 << 20)), "compressed": len(kernel), "size": 1 << 20, "offset": 0})
                  for i in range(1000)]
        self.data_refused("E0405", "shared.npz", zip_record(shared), "overlaps")
        inner = archive([("x.npy", NPY)])
        self.data_refused("E0403", "nested.npz", archive([("inner.zip", inner)]), "holds no arrays")
        self.data_refused("E0404", "twice.npy.gz", gz(gz(NPY)), "not a numpy array")
        # Numbers that compress well are no bomb.
        self.write("g.nn", "fn g(x[N]) -> [] { sum(x, over: N) }\n")
        (self.folder / "sparse.npy.gz").write_bytes(gz(npy(("|u1", f"({1 << 20},)")) + bytes(1 << 20)))
        self.assertEqual(self.nnc("run", "g.nn", "--fn", "g", "--input", "x=sparse.npy.gz").stdout.split()[-1], "0")

    def test_directories_that_lie(self):
        one = [(b"x.npy", NPY, self.entry(NPY))]
        big = struct.pack("<HHQQQ", 1, 24, 2 ** 63, 2 ** 63, 2 ** 63)
        for name, content, code, word in (
                ("sizes", zip_record([(b"x.npy", NPY, self.entry(NPY, compressed=0xFFFFFFFE, size=0xFFFFFFFE))]), "E0405", "past its end"),
                ("ratio", zip_record([(b"x.npy", NPY, self.entry(NPY, method=8, size=0xFFFFFFFE))]), "E0405", "impossible size"),
                ("offset", zip_record([(b"x.npy", NPY, self.entry(NPY, offset=0xFFFFFFF0))]), "E0405", "past its end"),
                ("zip64", zip_record([(b"x.npy", NPY, self.entry(NPY, compressed=0xFFFFFFFF, size=0xFFFFFFFF, offset=0xFFFFFFFF, extra=big))], zip64=True), "E0405", ""),
                ("count", zip_record(one, directory=(60000, 51, len(NPY) + 35)), "E0405", "directory"),
                ("fewer", zip_record(one * 1 + [(b"y.npy", NPY, self.entry(NPY))], directory=(1, 102, 2 * (len(NPY) + 35))), "E0405", "directory"),
                ("directory", zip_record(one, directory=(1, 51, 0xFFFFFFF0)), "E0405", "directory"),
                ("names", zip_record([(b"x.npy", NPY, self.entry(NPY)), (b"x.npy", NPY, self.entry(NPY))]), "E0405", "two arrays named `x`"),
                ("encrypted", zip_record([(b"x.npy", NPY, self.entry(NPY, flags=1))]), "E0404", "encrypted"),
                ("method", zip_record([(b"x.npy", NPY, self.entry(NPY, method=14))]), "E0404", "method 14"),
                ("checksum", zip_record([(b"x.npy", NPY, self.entry(NPY, crc=1))]), "E0405", "check sum"),
                ("empty", zip_record([]), "E0403", "holds no arrays")):
            with self.subTest(name=name):
                self.data_refused(code, f"{name}.npz", content, word)

    def test_zip64_as_numpy_writes_it(self):
        self.write("g.nn", "fn g(x[R, C]) -> [] { sum(sum(x, over: C), over: R) }\n")
        self.write("x.npz", zip64_archive(b"x.npy", NPY))
        self.assertEqual(self.nnc("run", "g.nn", "--fn", "g", "--input", "x=x.npz").stdout.split()[-1], "11.5")


class Corpus(unittest.TestCase):
    def test_every_input_of_the_fuzzers(self):
        """All seeds and everything that once broke a reader, with the memory that each may take."""
        folder = ROOT / "tests/fuzz/readers/corpus"
        run = subprocess.run([Path(NNC).parent / "nnc_replay", folder], capture_output=True, text=True, timeout=300 * SLOWNESS)
        self.assertEqual(run.returncode, 0, run.stderr[-2000:])
        self.assertEqual(run.stdout, f"{sum(p.is_file() for p in folder.rglob('*'))} files read\n")

    def test_the_seeds_are_those_that_the_generator_writes(self):
        for form, name, content in files():
            with self.subTest(file=f"{form}/{name}"):
                self.assertEqual((ROOT / "tests/fuzz/readers/corpus" / form / name).read_bytes(), content)


if __name__ == "__main__":
    unittest.main()
