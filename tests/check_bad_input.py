"""Bad input from the command line: each gets a message with its place, the right exit status, no crash, and costs no file that was there before."""

import gzip
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

from command_line import EXAMPLES, NNC, CommandLine

DIGITS = EXAMPLES / "digits.nn"
MNIST = EXAMPLES / "mnist_mlp.nn"
COMMANDS = ("train", "eval", "predict", "run", "ir", "summary", "check", "test", "bench")


def idx(dimensions, body, magic=b"\0\0\x08"):
    return magic + bytes([len(dimensions)]) + b"".join(struct.pack(">I", d) for d in dimensions) + body


def npy(header, body=b""):
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def safetensors(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


class BadInput(CommandLine):
    """`fails`: the run ends with status 1 and says `code`; `misused`: it ends with 2."""

    def setUp(self):
        super().setUp()
        self.elsewhere = Path(tempfile.mkdtemp(prefix="nnc-elsewhere-"))  # where a state goes that cannot be saved
        self.addCleanup(shutil.rmtree, self.elsewhere, ignore_errors=True)
        self.environment.update(TMPDIR=str(self.elsewhere), HOME=str(self.elsewhere))
        self.rows = [line.split(",") for line in (EXAMPLES / "data/digits.csv").read_text().splitlines()[:60]]

    def files(self):
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}

    def check_message(self, message, words):
        first = message.splitlines()[0] if message else ""
        self.assertRegex(first, r"^error(\[E\d{4}\])?: \S")
        text = first.split(": ", 1)[1]
        self.assertFalse(text[0].isupper() and text.split()[0] not in ("FILE", "CODE"), f"a message begins in lower case: {first}")
        self.assertFalse(text.endswith("."), first)
        for word in words:
            self.assertIn(str(word), message)

    def fails(self, code, *arguments, says=(), changes=()):
        before = self.files()
        run = self.run_nnc(*arguments, timeout=60)
        self.assertEqual(run.returncode, 1, f"nnc {arguments}: {run.stdout}{run.stderr}")
        self.assertEqual(re.findall(r"^error\[(E\d{4})\]", run.stderr, re.M)[:1], [code], run.stderr)
        self.check_message(run.stderr, says)
        after = self.files()
        for name, content in before.items():
            self.assertEqual(after.get(name), content, f"{name} was changed")
        self.assertEqual(sorted(set(after) - set(before) - set(changes)), [], "files appeared")
        return run

    def misused(self, *arguments, says=()):
        before = self.files()
        run = self.run_nnc(*arguments)
        self.assertEqual(run.returncode, 2, f"nnc {arguments}: {run.stdout}{run.stderr}")
        self.check_message(run.stderr, says)
        self.assertIn("help: ", run.stderr)
        self.assertEqual(self.files(), before)

    def csv(self, name, rows):
        return self.write(name, "".join(",".join(row) + "\n" for row in rows))

    def changed(self, row, column, value):
        rows = [list(r) for r in self.rows]
        rows[row][column] = value
        return rows

    def digits_from(self, code, rows_or_bytes, says=()):
        """digits.nn trained on this file must fail so."""
        if isinstance(rows_or_bytes, list):
            self.csv("bad.csv", rows_or_bytes)
        else:
            self.write("bad.csv", rows_or_bytes)
        return self.fails(code, "train", DIGITS, "--data", "image=bad.csv", "--data", "label=bad.csv", says=("bad.csv", *says))


class Programs(BadInput):
    def test_every_command_refuses_what_is_no_program(self):
        self.write("empty.nn", "")
        self.write("blank.nn", " \n\t\n# only a comment\n")
        self.write("binary.nn", bytes(range(256)) * 8)
        self.write("folder.nn", "").unlink()
        (self.folder / "folder.nn").mkdir()
        self.write("w.safetensors", safetensors({}))
        more = {"eval": ("--weights", "w.safetensors"), "predict": ("--weights", "w.safetensors"), "run": ("--fn", "f"), "ir": ("--stage", "graph")}
        for command in COMMANDS:
            for name, code in (("empty", "E0006"), ("binary", "E0002"), ("folder", "E0602"), ("missing", "E0602")):
                with self.subTest(command=command, name=name):
                    self.fails(code, command, f"{name}.nn", *more.get(command, ()), says=(f"{name}.nn",))
        self.fails("E0006", "train", "blank.nn", says=("blank.nn",))

    def test_a_truncated_file_never_crashes(self):
        text = DIGITS.read_text()
        for cut in list(range(0, len(text) - 120, 61)) + [len(text) - 2]:
            self.write("cut.nn", text[:cut])
            with self.subTest(cut=cut):
                run = self.run_nnc("check", "cut.nn")
                complete = not text[:cut].strip() or text[:cut].rstrip().endswith("}")  # whole definitions are a whole file
                self.assertIn(run.returncode, (0, 1) if complete else (1,))
                if run.returncode:
                    self.check_message(run.stderr, ())
                    self.assertIn("--> cut.nn:", run.stderr)
        train = text[text.index("train {"):]
        for cut in range(len("train {"), len(train) - 2, 5):  # an unclosed block is one mistake, whatever misses in it
            self.write("cut.nn", text[:text.index("train {")] + train[:cut])
            with self.subTest(cut=train[:cut]):
                codes = re.findall(r"^error\[(E\d{4})\]", self.run_nnc("check", "cut.nn").stderr, re.M)
                self.assertIn("E0008", codes)
                self.assertLessEqual(set(codes), {"E0008", "E0004"})
        self.fails("E0008", "check", self.write("open.nn", text.rstrip().rstrip("}")), says=("open.nn:16:7", "never closed"))

    def test_a_file_in_another_encoding(self):
        self.fails("E0002", "check", self.write("latin.nn", "dim Größe = 3\n".encode("latin-1")), says=("latin.nn:1:7",))

    def test_unknown_names(self):
        for old, new, near in (("relu", "rellu", "relu"), ("cross_entropy", "cross_entrpy", "cross_entropy"), ("sgd(", "sdg(", "sgd"),
                               ("(logits, label)\n  using", "(logit, label)\n  using", "logits"), ("data     digits", "data     digit", "digits")):
            with self.subTest(new=new):
                run = self.fails("E0201", "train", self.program("digits", (old, new)), says=(f"`{near}`",))
                self.assertRegex(run.stderr, r"--> \S*digits\.nn:\d+:\d+\n")

    def test_a_file_that_uses_itself(self):
        for name in ("self.nn", "./self.nn", "../" + self.folder.name + "/self.nn"):
            self.write("self.nn", f'use "{name}"\nfn f(x[N]) -> [N] {{ x }}\n')
            self.fails("E0211", "check", "self.nn", says=("`self.nn` uses itself", "--> self.nn:1:5"))
        self.write("a.nn", 'use "b.nn" { g }\nfn f(x[N]) -> [N] { g(x) }\n')
        self.write("b.nn", 'use "./a.nn" { f }\nfn g(x[N]) -> [N] { x }\nfn h(x[N]) -> [N] { f(x) }\n')
        self.nnc("check", "a.nn")

    def test_a_file_without_train(self):
        text = DIGITS.read_text()
        self.fails("E0603", "train", self.write("model.nn", text[text.index("model Digits"):text.index("train {")]), says=("model.nn", "train"))

    def test_every_error_is_an_object_with_json(self):
        file = self.program("digits", ("relu", "rellu"), ("lr: 0.05", "rate: 0.05"))
        run = self.run_nnc("check", file, "--json")
        self.assertEqual((run.returncode, run.stderr), (1, ""))
        found = [json.loads(line) for line in run.stdout.splitlines()]
        self.assertGreaterEqual(len(found), 3)
        for d in found:
            self.assertLessEqual({"code", "severity", "message", "file", "line", "column", "labels", "help"}, set(d))
            self.assertEqual(d["file"], str(file))
        for arguments in (("train", "missing.nn"), ("train", DIGITS, "--data", "image=missing.csv"), ("eval", DIGITS, "--weights", "missing")):
            run = self.run_nnc(*arguments, "--json")
            self.assertEqual((run.returncode, run.stderr), (1, ""))
            self.assertIn("missing", json.loads(run.stdout)["message"])


class Usage(BadInput):
    def test_commands_and_flags(self):
        self.misused("trian", DIGITS, says=("`trian`", "`nnc train`"))
        self.misused("frobnicate", says=("`frobnicate`", "nnc --help"))
        self.misused("train", DIGITS, "--epoch", 3, says=("`--epoch`", "`--epochs`"))
        self.misused("eval", DIGITS, "--wieghts", "w", says=("`--wieghts`", "`--weights`"))
        self.misused("train", DIGITS, "-e", 3, says=("`-e`",))
        self.misused("--vresion", says=("`--vresion`", "`--version`"))
        self.misused("train", says=("FILE is required",))
        self.misused("eval", DIGITS, says=("--weights is required",))
        self.misused("train", DIGITS, "another.nn", says=("`another.nn`",))

    def test_wrong_usage_is_an_object_with_json(self):
        for arguments, word in ((("trian", DIGITS), "`trian`"), (("train", DIGITS, "--epoch", 3), "`--epoch`"), (("eval", DIGITS), "--weights")):
            run = self.run_nnc(*arguments, "--json")
            self.assertEqual((run.returncode, run.stderr), (2, ""))
            found = json.loads(run.stdout)
            self.assertEqual(found["severity"], "error")
            self.assertIn(word, found["message"])
            self.assertTrue(found["help"])

    def test_values_of_flags(self):
        self.misused("train", DIGITS, "--threads", 0, says=("`--threads`", "`0`"))
        self.misused("train", DIGITS, "--threads", -2, says=("`--threads`", "`-2`"))
        self.misused("train", DIGITS, "--threads", 10000, says=("`--threads` takes 1 to 1024, found `10000`",))
        self.misused("train", DIGITS, "--threads", "many", says=("`--threads`", "`many`"))
        self.misused("train", DIGITS, "--epochs", "ten", says=("`--epochs`", "`ten`"))
        self.misused("train", DIGITS, "--epochs", says=("`--epochs`", "value"))
        self.misused("ir", DIGITS, "--stage", "kernals", says=("`--stage`", "`kernals`", "kernels"))
        self.fails("E0620", "train", DIGITS, "--cpu", "8086", says=("`8086`",))

    def test_cpus_of_32_bits(self):
        """LLVM describes them too, and would end the process when asked for their code."""
        for cpu in ("i386", "pentium3", "athlon", "yonah"):
            with self.subTest(cpu=cpu):
                self.fails("E0620", "ir", EXAMPLES / "regression.nn", "--stage", "asm", "--cpu", cpu, says=(f"`{cpu}` has no 64-bit mode",))
        self.assertNotIn("pentium", self.fails("E0620", "ir", DIGITS, "--stage", "asm", "--cpu", "pentium33").stderr.split("help", 1)[-1])
        self.nnc("ir", EXAMPLES / "regression.nn", "--stage", "asm", "--cpu", "nocona", stdout=subprocess.DEVNULL)

    def test_code_of_another_cpu_is_shown_but_not_run(self):
        known = set(Path("/proc/cpuinfo").read_text().split())
        for cpu, flags in {"bdver4": {"fma4", "xop", "tbm"}, "sapphirerapids": {"avx512_fp16", "avx_vnni"}, "arrowlake": {"avx_vnni_int8"}}.items():
            with self.subTest(cpu=cpu):
                self.nnc("ir", EXAMPLES / "regression.nn", "--stage", "asm", "--cpu", cpu, stdout=subprocess.DEVNULL)
                run = self.run_nnc("bench", EXAMPLES / "regression.nn", "--turns", 1, "--cpu", cpu)
                if not flags <= known:
                    self.assertEqual(run.returncode, 1)
                    self.check_message(run.stderr, ("error[E0620]", f"this machine cannot run code for {cpu}: it "))
                    self.assertRegex(run.stderr, "it (has (portable|avx2)|lacks .)")
        for cpu in ("x86-64", "portable", "native"):
            self.nnc("bench", EXAMPLES / "regression.nn", "--turns", 1, "--cpu", cpu)

    def test_nothing_to_train(self):
        self.write("digits.safetensors", b"the old weights")
        self.fails("E0502", "train", DIGITS, "--epochs", 0, says=("zero epochs",))
        self.fails("E0502", "train", DIGITS, "--steps", 0, says=("zero steps",))
        self.fails("E0502", "train", DIGITS, "--set", "epochs=0", says=("zero epochs",))
        self.fails("E0502", "train", self.program("digits", ("epochs   30", "steps 0"), name="none.nn"), says=("zero epochs or steps were asked for",), changes=("none.nn",))

    def fails_once(self, code, *arguments, says=()):
        run = self.fails(code, *arguments, says=says)
        self.assertEqual(run.stderr.count("error["), 1, run.stderr)
        self.assertNotIn("digits.nn:", run.stderr)
        return run

    def test_a_wrong_count_is_said_once_at_its_option(self):
        for option in ("--epochs", "--steps", "--seed"):
            self.fails_once("E0304", "train", DIGITS, option, -1, says=(f"`{option}`", "at least 0, found `-1`", f"--> {option} -1"))
        run = self.fails_once("E0304", "train", DIGITS, "--epochs", 99999999999999, says=("at most", "`99999999999999`"))
        self.assertNotIn("at least", run.stderr)
        for value in ("0", "1.5"):
            self.fails_once("E0304", "train", DIGITS, "--set", f"data.batch={value}",
                            says=("at least 1", f"found `{value}`", f"--> --set data.batch={value}"))
        self.fails_once("E0611", "train", DIGITS, "--set", "data.batch=abc", says=("`abc`", "--> --set data.batch=abc"))

    def test_a_count_in_the_file_that_is_too_large(self):
        for old, new, name in (("epochs   30", "epochs 99999999999999", "epochs"), ("epochs   30", "steps 9999999999999", "steps"),
                               ("batch: 32", "batch: 99999999999999", "batch")):
            run = self.fails("E0304", "check", self.program("digits", (old, new)), says=(f"`{name}` must be at most 1000000000000", "digits.nn:"))
            self.assertNotIn("at least", run.stderr)

    def test_only_decimal_numbers_can_be_set(self):
        for value in ("nan", "inf", "-inf", "infinity", "0x1", "1e999", "1.5.2"):
            self.fails_once("E0611", "train", DIGITS, "--set", f"using.lr={value}", says=("number", f"`{value}`"))

    def test_two_lengths_contradict(self):
        both = "contradict"
        self.fails_once("E0303", "train", DIGITS, "--steps", 9223372036854775807 // 10**7, "--set", "epochs=3", says=(both, "--set epochs=3"))
        self.fails_once("E0303", "train", DIGITS, "--steps", 5, "--epochs", 3, says=(both, "`--steps 5`", "`--epochs 3`"))
        self.fails("E0304", "train", DIGITS, "--steps", 9223372036854775807, "--set", "epochs=3", says=("9223372036854775807",))

    def test_set(self):
        self.fails("E0503", "train", DIGITS, "--set", "data.batch=100000", says=("100000", "1438"))
        for value in ("0", "-1", "1.5"):
            self.fails("E0304", "train", DIGITS, "--set", f"data.batch={value}", says=("`data.batch`", "at least 1"))
        self.fails("E0610", "train", DIGITS, "--set", "data.bacth=3", says=("`data.bacth`", "`data.batch`"))
        self.fails("E0610", "train", DIGITS, "--set", "using.rate=3", says=("`using.rate`", "using.lr"))
        self.fails("E0610", "train", DIGITS, "--set", "Layers=3", says=("`Layers`",))
        self.fails("E0611", "train", DIGITS, "--set", "data.batch=many", says=("`many`",))
        self.fails("E0611", "train", DIGITS, "--set", "using.lr=", says=("number",))
        for value in ("true", "all", "fast", "none"):
            self.fails_once("E0611", "train", DIGITS, "--set", f"using.lr={value}", says=(f"`using.lr` needs a number, found `{value}`",))
        self.fails_once("E0611", "train", DIGITS, "--set", "using.nesterov=3", says=("`using.nesterov` is true or false, found `3`",))
        self.fails_once("E0610", "train", DIGITS, "--set", "using=3", says=("`using` is a clause; its options are using.clip_norm, using.lr,",))
        self.fails("E0601", "train", DIGITS, "--set", "using.lr", says=("`--set using.lr`", "PATH=VALUE"))
        self.fails("E0601", "train", DIGITS, "--set", "=3", says=("PATH=VALUE",))

    def test_set_for_a_file_that_cannot_be_read(self):
        for code, text in (("E0006", b""), ("E0002", "dim N = 3".encode("utf-16")), ("E0008", b"fn f(x { x }")):
            self.write("broken.nn", text)
            self.fails_once(code, "train", "broken.nn", "--steps", 1, "--set", "N=4")

    def test_share_that_sets_nothing_aside(self):
        for split, word in (("test 0.02%", "test"), ("test last 0.02%", "test last"), ("valid 0.02%", "valid")):
            file = self.program("digits", ("test 20%", split))
            self.fails("E0509", "train", file, says=(f"`{split}` of 1797 rows sets none aside", f"`{word} 0.06%` sets 1 aside", f"{file}:"))

    def test_data_option(self):
        self.fails("E0601", "train", DIGITS, "--data", "imag=x.csv", says=("`imag`", "`image`"))
        self.fails("E0601", "train", DIGITS, "--data", "image", says=("FIELD=PATH",))
        self.fails("E0601", "train", DIGITS, "--data", "image=", says=("FIELD=PATH",))


class Tables(BadInput):
    def test_files(self):
        self.fails("E0402", "train", self.program("digits", ('"data/digits.csv"', '"nowhere.csv"')), says=("nowhere.csv",))
        (self.folder / "folder.csv").mkdir()
        self.fails("E0402", "train", DIGITS, "--data", "image=folder.csv", says=("folder.csv", "folder"))
        os.mkfifo(self.folder / "pipe.csv")
        self.fails("E0402", "train", DIGITS, "--data", "image=pipe.csv", says=("pipe.csv", "pipe"))
        self.fails("E0402", "train", DIGITS, "--data", "image=/dev/zero", says=("/dev/zero", "device"))

    def test_cells(self):
        self.digits_from("E0407", self.changed(6, 3, "abc"), says=("line 7, column 4", "`abc`", "`image`"))
        self.digits_from("E0407", self.changed(6, 3, ""), says=("line 7, column 4", "empty"))
        self.digits_from("E0407", self.changed(6, 3, "nan"), says=("line 7, column 4", "NaN"))
        self.digits_from("E0407", self.changed(6, 64, "2.5"), says=("line 7, column 65", "whole number", "`label`"))
        self.digits_from("E0407", self.changed(6, 64, "seven"), says=("line 7, column 65", "`seven`"))

    def test_labels(self):
        self.digits_from("E0409", self.changed(6, 64, "10"), says=("label 10", "row 7", "0 to 9"))
        self.digits_from("E0409", self.changed(59, 64, "-1"), says=("label -1", "row 60", "0 to 9"))
        self.digits_from("E0409", self.changed(0, 64, "4294967"), says=("label 4294967", "row 1"))
        self.digits_from("E0407", self.changed(0, 64, "4294967296"), says=("`4294967296`", "line 1, column 65", "class(10)"))

    def test_shape(self):
        self.digits_from("E0403", b"")
        self.digits_from("E0408", [row[:40] for row in self.rows], says=("40 columns",))
        self.digits_from("E0408", self.rows[:5] + [self.rows[5][:30]] + self.rows[6:], says=("line 6", "30 cells"))
        cut = b"".join(",".join(row).encode() + b"\n" for row in self.rows)[:2000]
        self.digits_from("E0408", cut, says=("line ",))
        self.digits_from("E0408", b'"1,2\n' * 3, says=("line ",))
        self.csv("few.csv", self.rows[:8])
        self.fails("E0503", "train", DIGITS, "--data", "image=few.csv", "--data", "label=few.csv", says=("32 rows", "only 6", "data.batch=6"))
        self.digits_from("E0404", b"\x93NUMPY" + bytes(200))

    def test_no_rows_but_a_header(self):
        header = "cement,slag,ash,water,plasticizer,coarse,fine,age,strength\n"
        self.write("head.csv", header)
        options = ("--data", "mix=head.csv", "--data", "strength=head.csv")
        self.fails("E0403", "train", EXAMPLES / "regression.nn", *options, says=("head.csv",))
        self.write("head.csv", header.replace("ash", "dust") + "1,2,3,4,5,6,7,8,9\n" * 50)
        self.fails("E0408", "train", EXAMPLES / "regression.nn", *options, says=("head.csv", "`ash`"))

    def test_different_numbers_of_rows(self):
        self.csv("short.csv", self.rows)
        self.fails("E0412", "train", DIGITS, "--data", "image=short.csv", says=("`image` has 60 rows", "`label` has 1797"))

    def test_compressed(self):
        whole = gzip.compress("".join(",".join(row) + "\n" for row in self.rows).encode())
        self.digits_from("E0405", whole[:len(whole) // 2], says=("cut short",))
        self.digits_from("E0405", whole[:200] + bytes(20) + whole[220:])

    def test_a_split_needs_rows_on_both_sides(self):
        for share in ("100%", "150%"):
            self.fails("E0020", "train", self.program("digits", ("test 20%", f"test {share}")), says=("digits.nn:6:8",))


class Arrays(BadInput):
    def images_from(self, code, content, says=(), name="bad.idx"):
        self.write(name, content)
        self.fails(code, "train", MNIST, "--data", f"image={name}", says=(name, *says))

    def test_idx(self):
        pixels = bytes(28 * 28 * 4)
        self.images_from("E0403", b"")
        self.images_from("E0405", idx((4, 28, 28), pixels)[:10], says=("header", "10 of 16 bytes"))
        self.images_from("E0405", idx((4, 28, 28), pixels)[:-100], says=("cut short",))
        self.images_from("E0405", idx((4, 28, 28), pixels + b"more"), says=("4 bytes more",))
        self.images_from("E0404", b"\1\2\3\4" + pixels)
        self.images_from("E0401", idx((4, 32, 32), bytes(32 * 32 * 4)), says=("32x32", "`image`", "784"))
        self.images_from("E0403", idx((0, 28, 28), b""), says=("no rows",))
        self.images_from("E0405", idx((2**32 - 1,) * 3, b""))
        self.images_from("E0406", idx((4, 28, 28), bytes(28 * 28 * 16), b"\0\0\x0d"), says=("`image`",))
        self.images_from("E0412", idx((4, 28, 28), pixels), says=("4 rows", "10000"))

    def test_idx_labels(self):
        labels = gzip.decompress((EXAMPLES / "data/t10k-labels-idx1-ubyte.gz").read_bytes())
        self.write("labels.idx", labels[:8 + 41] + b"\x0a" + labels[8 + 42:])
        self.fails("E0409", "train", MNIST, "--data", "label=labels.idx", says=("label 10", "row 42", "0 to 9"))

    def test_npy(self):
        good = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 784), }"
        for code, content in (("E0405", npy(good, bytes(100))), ("E0404", b"\x93NUMPX" + bytes(100)), ("E0405", npy(good)[:9]),
                              ("E0401", npy(good.replace("784", "600"), bytes(1200))), ("E0403", npy(good.replace("2,", "0,"))),
                              ("E0406", npy(good.replace("|u1", "|O"), bytes(2 * 784)))):
            with self.subTest(code=code, content=content[:90]):
                self.images_from(code, content, name="bad.npy")


    def test_npy_values(self):
        """NaN with row and place, and labels that are floats."""
        def floats(shape, values):
            return npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}", struct.pack(f"<{len(values)}f", *values))

        values = [0.0] * (50 * 64)
        values[6 * 64 + 3] = float("nan")
        self.write("x.npy", floats("(50, 64)", values))
        self.write("y.npy", floats("(50,)", [1.0] * 50))
        data = ("train", DIGITS, "--data", "image=x.npy", "--data", "label=y.npy")
        self.fails("E0410", *data, says=("row 7 of `x.npy` holds NaN (value 4 of 64)",))
        self.write("x.npy", floats("(50, 64)", [0.0] * (50 * 64)))
        self.fails("E0406", *data, says=("`label` is class(10), but y.npy holds f32", "save the labels as integers"))

    def test_data_that_changes_shape_between_runs(self):
        pixels, labels = idx((200, 28, 28), bytes(28 * 28 * 200)), idx((200,), bytes(200))
        self.write("x.idx", pixels)
        self.write("y.idx", labels)
        data = ("--data", "image=x.idx", "--data", "label=y.idx")
        self.nnc("train", MNIST, "--quiet", "--steps", 2, *data)
        resumed = ("train", MNIST, "--steps", 9, "--resume", "mnist_mlp.checkpoint.safetensors", *data)
        self.write("x.idx", idx((200, 14, 56), bytes(28 * 28 * 200)))
        self.nnc(*resumed, "--out", "w.safetensors")  # 784 values all the same, and their content too
        self.write("x.idx", idx((200, 30, 30), bytes(900 * 200)))
        self.fails("E0401", *resumed, says=("x.idx holds 30x30 images", "`image` is declared 784"))
        self.write("x.idx", idx((150, 28, 28), bytes(28 * 28 * 150)))
        self.fails("E0412", *resumed, says=("150 rows in x.idx", "200 in y.idx"))
        self.write("y.idx", idx((150,), bytes(150)))
        self.fails("E0504", *resumed, says=("training rows:", "in the checkpoint"))


class Weights(BadInput):
    HEADER = {"dense1.weight": [64, 64], "dense1.bias": [64], "dense2.weight": [64, 64], "dense2.bias": [64], "dense3.weight": [10, 64], "dense3.bias": [10]}

    def weights(self, **shapes):
        header, offset = {}, 0
        for name, shape in {**self.HEADER, **shapes}.items():
            if shape:
                size = 4
                for s in shape:
                    size *= s
                header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
                offset += size
        return safetensors(header, bytes(offset))

    def test_corrupt_and_wrong_ones(self):
        good = self.weights()
        size, = struct.unpack("<Q", good[:8])
        self.write("good.safetensors", good)
        self.nnc("eval", DIGITS, "--weights", "good.safetensors")
        (self.folder / "folder").mkdir()
        self.write("digits.safetensors", b"the old weights")
        overlap = json.loads(good[8:8 + size])
        overlap["dense1.bias"]["data_offsets"] = [0, 256]
        for code, content, says in (
                ("E0403", b"", ()), ("E0405", good[:9000], ("cut short",)), ("E0405", good[:100], ()), ("E0405", good + b"xx", ("2 bytes",)),
                ("E0404", b"PK\3\4" + bytes(500), ()), ("E0404", good[:8] + b"!" + good[9:], ()), ("E0405", struct.pack("<Q", 1 << 60) + good[8:], ()),
                ("E0405", safetensors(overlap, good[8 + size:]), ()), ("E0405", safetensors(b'{"a": [1, 2]}'), ()), ("E0405", safetensors(b'{"a"' * 4), ()),
                ("E0505", self.weights(**{"dense1.weight": [32, 128]}), ("`dense1.weight` is [32, 128] in the file, [64, 64] in the model",)),
                ("E0505", self.weights(**{"dense3.weight": [64, 10]}), ("`dense3.weight` is [64, 10] in the file, [10, 64] in the model: transposed",)),
                ("E0505", self.weights(**{"dense3.bias": None}), ("missing: `dense3.bias` [10]",)),
                ("E0505", self.weights(**{"dense4.bias": [5]}), ("extra: `dense4.bias` [5]",))):
            self.write("bad.safetensors", content)
            for command in (("eval", "--weights"), ("train", "--init")):
                with self.subTest(command=command[0], content=content[:40], code=code):
                    self.fails(code, command[0], DIGITS, command[1], "bad.safetensors", says=("bad.safetensors", *says))
        self.fails("E0402", "eval", DIGITS, "--weights", "nowhere.safetensors", says=("nowhere.safetensors",))
        self.fails("E0402", "eval", DIGITS, "--weights", "folder", says=("folder",))

    def test_every_tensor_that_does_not_fit_is_named_at_once(self):
        self.write("bad.safetensors", self.weights(**{"dense1.weight": [32, 128], "dense2.bias": None, "dense3.bias": [11], "dense4.bias": [5]}))
        run = self.fails("E0505", "train", DIGITS, "--init", "bad.safetensors", says=(
            "4 tensors differ", "shape: `dense1.weight` is [32, 128] in the file, [64, 64] in the model", "missing: `dense2.bias` [64]",
            "shape: `dense3.bias` is [11] in the file, [10] in the model", "extra: `dense4.bias` [5], which the model does not have"))
        self.assertEqual(run.stderr.count("= note: "), 4)

    def test_of_very_many_tensors_the_first_are_named(self):
        self.write("bad.safetensors", self.weights(**{f"x{i:03}": [5] for i in range(300)}))
        for command, says in (("--init", ("300 tensors differ", "`x000`", "`x019`", "and 280 more")),
                              ("--resume", ("302 things differ", "optimizer: no states", "`x000`", "`x018`", "and 281 more", "these are weights"))):
            with self.subTest(command=command):
                run = self.fails("E0505", "train", DIGITS, command, "bad.safetensors", says=says)
                self.assertNotIn("`x020`", run.stderr)

    def test_weights_that_are_no_numbers(self):
        good = self.weights()
        for number, shown in ((float("nan"), "nan"), (float("inf"), "inf")):
            self.write("bad.safetensors", good[:-4] + struct.pack("<f", number))  # the last of dense3.bias
            self.csv("x.csv", [row[:64] for row in self.rows])
            for command in (("eval", DIGITS, "--weights", "bad.safetensors"), ("train", DIGITS, "--init", "bad.safetensors"),
                            ("predict", DIGITS, "--weights", "bad.safetensors", "--input", "image=x.csv"),
                            ("run", DIGITS, "--fn", "Digits", "--weights", "bad.safetensors", "--input", "image=x.csv")):
                with self.subTest(command=command[0], number=shown):
                    self.fails("E0505", *command, says=("bad.safetensors", "NaN or infinite", f"`dense3.bias` [10]: element 9 is {shown}"))

    def test_checkpoints(self):
        self.nnc("train", DIGITS, "--quiet", "--steps", 50)
        checkpoint = "digits.checkpoint.safetensors"
        self.fails("E0504", "train", DIGITS, "--resume", checkpoint, "--seed", 3, says=("seed: 7 in the checkpoint, 3 now",))
        self.fails("E0504", "train", DIGITS, "--resume", checkpoint, "--set", "data.batch=16", says=("batch: 32 in the checkpoint, 16 now",))
        self.fails("E0504", "train", DIGITS, "--resume", checkpoint, "--no-shuffle", says=("shuffle",))
        self.fails("E0502", "train", DIGITS, "--resume", checkpoint, "--steps", 50, says=("50 steps",))
        self.fails("E0502", "train", DIGITS, "--resume", checkpoint, "--epochs", 1, says=("50 steps",))
        self.fails("E0505", "train", DIGITS, "--resume", "digits.safetensors", says=("optimizer.",))
        self.fails("E0505", "train", MNIST, "--resume", checkpoint, says=(checkpoint, "`fc1.weight`"))
        content = (self.folder / checkpoint).read_bytes()
        self.write("bad.safetensors", content.replace(b'"nnc.step":"50"', b'"nnc.step":"5x"'))
        self.assertNotEqual((self.folder / "bad.safetensors").read_bytes(), content)
        self.fails("E0405", "train", DIGITS, "--resume", "bad.safetensors", says=("bad.safetensors", "`5x`"))
        self.write("bad.safetensors", content[:-1000])
        self.fails("E0405", "train", DIGITS, "--resume", "bad.safetensors", says=("bad.safetensors",))


class Outputs(BadInput):
    """A place that cannot be written is refused before training, which the number of epochs would make last for hours."""

    def test_weights(self):
        (self.folder / "folder").mkdir()
        (self.folder / "taken.checkpoint.safetensors").mkdir()
        self.write("file", "x")
        for path in ("nowhere/w.safetensors", "folder", "file/w.safetensors", "folder/", "/proc/w.safetensors", "n" * 300, "taken.safetensors"):
            with self.subTest(path=path):
                self.fails("E0413", "train", DIGITS, "--epochs", 10000000, "--out", path, says=(path.rstrip("/").removesuffix(".safetensors"),))

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_a_folder_without_permission(self):
        (self.folder / "locked").mkdir(mode=0o500)
        self.fails("E0413", "train", DIGITS, "--epochs", 10000000, "--out", "locked/w.safetensors", says=("locked/w.safetensors",))

    def test_log(self):
        (self.folder / "folder").mkdir()
        for path in ("nowhere/run.jsonl", "folder"):
            self.fails("E0413", "train", DIGITS, "--epochs", 10000000, "--log", path, says=(path,))

    @unittest.skipUnless(os.path.exists("/dev/full"), "needs /dev/full")
    def test_full_disk(self):
        run = self.run_nnc("train", DIGITS, "--epochs", 1, "--quiet", "--out", "/dev/full")
        self.assertEqual(run.returncode, 1)
        self.check_message(run.stderr, ("error[E0413]", "/dev/full", "no space", "the state after step 45 is kept in full.rescued-"))
        for path in self.folder.glob("full.rescued-*"):
            self.nnc("eval", DIGITS, "--weights", path)
            path.unlink()
        self.nnc("train", DIGITS, "--quiet", "--steps", 100, "--out", "expected.safetensors")
        for steps in (3, 100):  # less than a buffer of log, and more
            name = f"w{steps}.safetensors"
            self.fails("E0413", "train", DIGITS, "--steps", steps, "--quiet", "--log", "/dev/full", "--out", name, says=("/dev/full", "no space"),
                       changes=(name, f"w{steps}.checkpoint.safetensors"))
        self.assertEqual(self.digest("w100"), self.digest("expected"), "a log that fails costs no weights")

    @unittest.skipUnless(os.path.exists("/dev/null"), "needs /dev/null")
    def test_a_device_gets_no_checkpoint(self):
        run = self.nnc("train", DIGITS, "--steps", 3, "--out", "/dev/null")
        self.assertIn("wrote /dev/null", run.stderr)
        self.assertNotIn("checkpoint", run.stderr)
        for path in ("/dev/null.checkpoint.safetensors", "/dev/checkpoint.safetensors"):
            self.assertFalse(os.path.exists(path), path)

    def test_predictions(self):
        self.nnc("train", DIGITS, "--quiet", "--steps", 1)
        self.csv("x.csv", [row[:64] for row in self.rows])
        given = ("predict", DIGITS, "--weights", "digits.safetensors")
        self.fails("E0413", *given, "--input", "image=x.csv", "--output", "nowhere/y.npy", says=("nowhere/y.npy",))
        self.fails("E0601", *given, "--input", "image=x.csv", "--output", "y.xls", says=("y.xls", ".npy"))
        self.fails("E0601", *given, "--input", "imag=x.csv", says=("`imag`", "`image`"))
        self.fails("E0601", *given, "--input", "x.csv", says=("NAME=FILE",))
        self.fails("E0601", *given, says=("`image`",))
        self.fails("E0402", *given, "--input", "image=nowhere.csv", says=("nowhere.csv",))
        self.csv("narrow.csv", [row[:30] for row in self.rows])
        run = self.run_nnc(*given, "--input", "image=narrow.csv")
        self.assertEqual(run.returncode, 1)
        self.check_message(run.stderr, ("narrow.csv", "30"))

    def test_standard_output_closed_or_full(self):
        self.nnc("train", DIGITS, "--quiet", "--steps", 1)
        for arguments in (("eval", DIGITS, "--weights", "digits.safetensors"), ("train", DIGITS, "--quiet", "--steps", 1), ("ir", DIGITS, "--stage", "llvm"), ("summary", DIGITS)):
            with self.subTest(arguments=arguments[0]):
                closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", NNC, *map(str, arguments)], cwd=self.folder, stderr=subprocess.PIPE, text=True)
                self.assertEqual(closed.returncode, 1, closed.stderr)
                self.check_message(closed.stderr, ("standard output",))
                if os.path.exists("/dev/full"):
                    with open("/dev/full", "w") as full:
                        run = self.run_nnc(*arguments, stdout=full)
                    self.assertEqual(run.returncode, 1, run.stderr)
                    self.check_message(run.stderr, ("standard output",))

    def test_a_name_that_is_not_text(self):
        name = os.fsdecode(b"t\xff.nn")
        try:
            self.write(name, 'test "sums" {\n  expect 1 + 1 == 2\n}\n')
            shutil.copy(self.program("regression"), self.folder / os.fsdecode(b"r\xff.nn"))
        except OSError:
            self.skipTest("the file system wants names in UTF-8")
        for arguments in (("test", name), ("bench", os.fsdecode(b"r\xff.nn"), "--turns", 1), ("fmt", "--check", name), ("check", os.fsdecode(b"\xff.nn"))):
            with self.subTest(command=arguments[0]):
                run = subprocess.run([NNC, *map(str, arguments), "--json"], cwd=self.folder, env=self.environment, capture_output=True)
                self.assertEqual(run.returncode, 0 if arguments[0] != "check" else 1, run.stderr)
                for line in run.stdout.decode("utf-8").splitlines():
                    json.loads(line)

    def test_a_limit_on_the_size_of_files(self):
        """The text that still fits is written, and the reason is that of the write that failed, whatever the process inherits for the signal."""
        for handler in (signal.SIG_DFL, signal.SIG_IGN):
            def limit():
                signal.signal(signal.SIGXFSZ, handler)
                resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

            with self.subTest(handler=handler), open(self.folder / "out.txt", "w") as out:
                run = self.run_nnc("ir", EXAMPLES / "regression.nn", "--stage", "asm", stdout=out, preexec_fn=limit)
                self.assertEqual((run.returncode, run.stderr), (1, "error: cannot write to standard output: File too large\n"))
                self.assertEqual((self.folder / "out.txt").stat().st_size, 5000)

    def test_standard_input_that_cannot_be_read(self):
        for arguments in (("fmt", "-"), ("opt", "-")):
            with self.subTest(arguments=arguments):
                closed = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", NNC, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True)
                self.assertEqual((closed.returncode, closed.stdout), (1, ""))
                self.check_message(closed.stderr, ("error[E0602]: cannot read standard input: ",))
                with open(self.folder / "written.txt", "w") as written:
                    run = self.run_nnc(*arguments, stdin=written)
                self.assertEqual(run.returncode, 1)
                self.check_message(run.stderr, ("error[E0602]: cannot read standard input: ",))

    def test_why_standard_output_could_not_be_written(self):
        """The first failure's reason, however much has happened since."""
        commands = [("train", DIGITS, "--json", "--epochs", 3, "--out", "w.safetensors"), ("train", DIGITS, "--quiet", "--epochs", 1), ("ir", DIGITS, "--stage", "llvm"),
                    ("explain", "E0103"), ("explain", EXAMPLES / "regression.nn"), ("explain", DIGITS, "--json"), ("--help",)]
        for arguments in commands:
            with self.subTest(arguments=arguments):
                if os.path.exists("/dev/full"):
                    with open("/dev/full", "w") as full:
                        run = self.run_nnc(*arguments, stdout=full)
                    self.assertEqual((run.returncode, run.stderr.splitlines()[-1]), (1, "error: cannot write to standard output: No space left on device"))
                if arguments[0] != "train":  # the others end by the signal, as programs do whose reader has gone
                    continue
                reading, writing = os.pipe()
                os.close(reading)
                with os.fdopen(writing, "w") as nobody:
                    run = self.run_nnc(*arguments, stdout=nobody)
                self.assertEqual((run.returncode, run.stderr.splitlines()[-1]), (1, "error: cannot write to standard output: Broken pipe"))

    def test_results_never_take_the_place_of_what_is_read(self):
        self.nnc("train", DIGITS, "--steps", 1, "--quiet", "--out", "w.safetensors")
        self.csv("x.csv", [row[:64] for row in self.rows])
        (self.folder / "link.csv").symlink_to("x.csv")
        (self.folder / "w.npy").symlink_to("w.safetensors")
        self.program("digits", name="d.npy")
        predict = ("predict", "d.npy", "--weights", "w.safetensors", "--input", "image=x.csv", "--output")
        for output, read in (("x.csv", "x.csv"), ("./x.csv", "x.csv"), ("link.csv", "x.csv"), ("w.npy", "w.safetensors"), ("d.npy", "d.npy")):
            self.fails("E0413", *predict, output, says=(f"cannot write `{output}`: this run reads `{read}`", "--output NAME"))
        self.nnc(*predict, "y.csv")
        self.nnc(*predict, "y.csv")  # what it wrote before it may write again
        self.write("lib.nn", "fn twice(x[B]) -> [B] { 2 * x }\n")
        self.write("f.csv", 'use "lib.nn" { twice }\n\nfn f(x[B]) -> [B] { twice(x) }\n')
        (self.folder / "lib.csv").symlink_to("lib.nn")
        run = ("run", "f.csv", "--fn", "twice", "--input", "x=x.npy")
        self.write("x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", struct.pack("<2f", 1, 2)))
        self.write("g.npy", (self.folder / "x.npy").read_bytes())
        for output, read in (("x.npy", "x.npy"), ("f.csv", "f.csv"), ("lib.csv", "lib.nn")):
            self.fails("E0413", *run, "--output", output, says=(f"cannot write `{output}`: this run reads", read))
        self.nnc(*run, "--output", "y.npy")
        (self.folder / "g.npz").symlink_to("g.npy")
        self.fails("E0413", *run, "--grad", "g.npy", "--output", "g.npz", says=("cannot write `g.npz`: this run reads `g.npy`",))
        for output, read in (("./d.npy", "d.npy"), ("w.npy", "w.safetensors")):
            self.fails("E0413", "gradcheck", "d.npy", "--weights", "w.safetensors", "--out", output, says=(f"cannot write `{output}`: this run reads", read))

    def test_train_does_not_write_into_its_program(self):
        self.write("lib.nn", "dim Width = 64\n")
        file = self.program("digits", ("model Digits", 'use "lib.nn" { Width }\n\nmodel Digits'), ("Dense(64) |> relu\n    |> Dense(10)", "Dense(Width) |> relu\n    |> Dense(10)"))
        for option in ("--out", "--log"):
            self.fails("E0413", "train", file, "--steps", 1, option, "lib.nn", says=("this run reads `", "lib.nn", option))

    def test_two_beginnings_contradict(self):
        self.nnc("train", DIGITS, "--steps", 1, "--quiet", "--out", "w.safetensors")
        self.fails("E0601", "train", DIGITS, "--steps", 2, "--init", "w.safetensors", "--resume", "w.checkpoint.safetensors",
                   says=("`--init` and `--resume` contradict each other",))

    def test_an_option_is_no_value(self):
        self.misused("train", DIGITS, "--out", "--quiet", says=("`--out` needs a value",))
        self.misused("train", DIGITS, "--seed", "99999999999999999999", says=("`--seed`", "found `99999999999999999999`"))

    def test_no_home_folder(self):
        for home in (None, "", "/nowhere"):
            environment = {k: v for k, v in self.environment.items() if k not in ("HOME", "TMPDIR")}
            if home is not None:
                environment["HOME"] = home
            run = subprocess.run([NNC, "train", str(DIGITS), "--steps", "2", "--quiet"], cwd=self.folder, env=environment, capture_output=True, text=True)
            self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_standard_error_closed(self):
        for descriptors in ("2>&-", "0<&- 1>&- 2>&-"):
            subprocess.run(["sh", "-c", f'exec "$@" {descriptors}', "sh", NNC, "train", str(DIGITS), "--epochs", "1"], cwd=self.folder, stdout=subprocess.DEVNULL)
            with self.subTest(descriptors=descriptors):  # nothing that was printed may have gone into a file
                self.nnc("eval", DIGITS, "--weights", "digits.safetensors")
                (self.folder / "digits.safetensors").unlink()

    def test_a_reader_that_goes_away_costs_no_weights(self):
        run = self.start("train", DIGITS, "--json", "--epochs", 40)
        run.stdout.readline()
        run.stdout.close()
        messages = run.stderr.read()
        run.stderr.close()
        self.assertIn(run.wait(timeout=60), (0, 1), messages)
        self.nnc("eval", DIGITS, "--weights", "digits.safetensors")


if __name__ == "__main__":
    unittest.main()
