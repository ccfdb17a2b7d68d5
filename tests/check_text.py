"""Text as training data, from the command line: which characters a row holds, how a text is split, its vocabulary on disk, the same bits for any threads and across
--resume, and what is said of texts that do not fit."""

import gzip
import json
import math
import struct
import unittest

from command_line import CommandLine, read_safetensors

# 13 characters; a line of 29.
LINE = "to be, or not to be: a rose.\n"
TEXT = LINE * 40
VOCABULARY = sorted(set(TEXT))

PROGRAM = """dim Ctx = 8, Vocab = {size}, Width = 16
data poem {{
  tokens[Ctx], next[Ctx] : class(Vocab) = text("poem.txt", context: Ctx)
{splits}}}
model Net(tokens[B, T]: class(Vocab)) -> [B, T, Vocab] where T <= Ctx {{
  param position[Ctx, Width] ~ normal(0.1)
  let h = (tokens |> embed: Embedding(Vocab, Width)) + (position[Ctx: 0..T] as [T, Width])
  h |> hidden: Dense(Width) |> tanh |> out: Dense(Vocab)
}}
train {{
  data     poem, batch: 16
  let logits = Net(tokens)
  minimize cross_entropy(logits, next)
  using    adamw(lr: 0.01), clip_norm: 0.5
  steps    60
  report   perplexity(logits, next), sum_in: sum(f32(tokens)), sum_out: sum(f32(next))
  seed     3
}}
"""


class Text(CommandLine):
    def net(self, *changes, text=TEXT, splits="  test 10%\n", size=len(VOCABULARY), name="poem.nn"):
        self.write("poem.txt", text)
        program = PROGRAM.format(size=size, splits=splits)
        for old, new in changes:
            self.assertIn(old, program)
            program = program.replace(old, new)
        return self.write(name, program)

    def fails(self, code, *arguments, says=()):
        run = self.run_nnc(*arguments)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertIn(f"error[{code}]", run.stderr)
        for words in says:
            self.assertIn(words, run.stderr)
        return run.stderr

    def metadata(self, name):
        return read_metadata(self.folder / name)

    def test_a_row_is_the_characters_from_its_own_on(self):
        self.nnc("train", self.net(), "--no-shuffle", "--quiet", "--log", "log.jsonl")
        steps = self.log("log.jsonl")
        number = [VOCABULARY.index(c) for c in TEXT]
        row = lambda begin: sum(number[begin:begin + 8])
        for step in (0, 1, 37, 59):
            rows = [(16 * step + r) % 1036 for r in range(16)]
            self.assertEqual(steps[step]["sum_in"], sum(map(row, rows)), f"step {step}")
            self.assertEqual(steps[step]["sum_out"], sum(row(r + 1) for r in rows), f"step {step}")

    def test_an_epoch_is_one_pass_over_all_rows(self):
        # 1,160 characters, the last 116 for the test: rows of 8 and one more begin at 0 to 1,035.
        self.nnc("train", self.net(("steps    60", "epochs   2")), "--quiet", "--log", "log.jsonl")
        steps = self.log("log.jsonl")
        self.assertEqual(len(steps), 2 * 65)
        number = [VOCABULARY.index(c) for c in TEXT]
        total = sum(sum(number[r:r + 8]) for r in range(1036))
        first, second = ([s["sum_in"] for s in steps if s["epoch"] == epoch] for epoch in (1, 2))
        self.assertEqual(sum(first), total)
        self.assertEqual(sum(second), total)
        self.assertNotEqual(first, second)

    def test_the_test_is_the_last_characters(self):
        printed = json.loads(self.nnc("train", self.net(), "--json", "--out", "w.safetensors").stdout.splitlines()[-1])["test"]
        number = [VOCABULARY.index(c) for c in TEXT]
        begins = list(range(1044, 1160 - 8, 8))
        self.assertEqual(printed["sum_in"], sum(sum(number[b:b + 8]) for b in begins))
        self.assertEqual(printed["sum_out"], sum(sum(number[b + 1:b + 9]) for b in begins))
        self.assertEqual(json.loads(self.nnc("eval", "poem.nn", "--weights", "w.safetensors", "--json").stdout), printed)
        self.assertAlmostEqual(printed["perplexity"], math.exp(printed["loss"]), delta=1e-5 * printed["perplexity"])
        # However a share is written, it is the last characters; validation takes those before them.
        self.nnc("train", self.net(splits="  test last 10%\n  valid 10%\n"), "--quiet", "--out", "v.safetensors")
        found = json.loads(self.nnc("eval", "poem.nn", "--weights", "v.safetensors", "--json").stdout)
        self.assertEqual(found["sum_in"], printed["sum_in"])
        found = json.loads(self.nnc("eval", "poem.nn", "--weights", "v.safetensors", "--split", "valid", "--json").stdout)
        self.assertEqual(found["sum_in"], sum(sum(number[b:b + 8]) for b in range(928, 1044 - 8, 8)))

    def test_the_last_test_characters_change_no_weight(self):
        self.nnc("train", self.net(), "--quiet", "--out", "w.safetensors")
        changed = TEXT[:1044] + TEXT[1044:][::-1]
        self.nnc("train", self.net(text=changed), "--quiet", "--out", "v.safetensors")
        self.assertEqual(read_safetensors(self.folder / "w.safetensors")[1], read_safetensors(self.folder / "v.safetensors")[1])

    def test_the_same_bits_for_any_threads(self):
        expected = self.train(self.net(), "one", "--threads", 1)
        for threads in (2, 3, 7):
            with self.subTest(threads=threads):
                self.assertEqual(self.train(self.net(), "other", "--threads", threads), expected)

    def test_resume(self):
        changes = (("seed     3", "save     every: 7\n  seed     3"), ("steps    60", "steps    140"))  # an epoch has 65
        expected = self.train(self.net(*changes), "whole")
        self.train(self.net(*changes), "part", "--steps", 20)
        for steps in (67, 140):
            found = self.train(self.net(*changes), "part", "--steps", steps, "--resume", "part.checkpoint.safetensors")
        self.assertEqual(found, expected)

    def test_the_vocabulary_is_stored(self):
        self.nnc("train", self.net(), "--quiet", "--out", "w.safetensors")
        for name in ("w.safetensors", "w.checkpoint.safetensors"):
            self.assertEqual(json.loads(self.metadata(name)["nnc.vocabulary"]), VOCABULARY)
        text = TEXT.replace("o", "\u00e9").replace("a", "\U0001f600")  # characters of several bytes
        self.nnc("train", self.net(text=text), "--quiet", "--out", "v.safetensors")
        self.assertEqual(json.loads(self.metadata("v.safetensors")["nnc.vocabulary"]), sorted(set(text)))

    def test_a_compressed_text(self):
        expected = self.train(self.net(), "w")
        program = self.net(("poem.txt", "poem.txt.gz"), name="gz.nn")
        self.write("poem.txt.gz", gzip.compress(TEXT.encode()))
        self.assertEqual(self.train(program, "v"), expected)

    def test_another_text_for_the_test(self):
        other = ("data other {\n  tokens[Ctx], next[Ctx] : class(Vocab) = text(\"other.txt\", context: Ctx)\n}\nmodel Net", )
        program = self.net(("model Net", *other), splits="  test from other\n")
        self.write("other.txt", "a rose. not a rose")  # fewer characters, whose numbers are those of the text that trains
        printed = json.loads(self.nnc("train", program, "--json", "--out", "w.safetensors").stdout.splitlines()[-1])["test"]
        number = [VOCABULARY.index(c) for c in "a rose. not a rose"]
        self.assertEqual(printed["sum_in"], sum(number[:16]))
        self.assertEqual(json.loads(self.nnc("eval", program, "--weights", "w.safetensors", "--json").stdout), printed)
        self.write("other.txt", "a rose.\nnot a ros\u00e9, to be")
        self.fails("E0415", "train", program, says=["`other.txt` holds `\u00e9` (U+00E9), which is none of the 13 characters of `poem`, which trains", "other.txt:2, column 10",
                                                   "read for this field"])

    def test_another_text_is_read_by_the_vocabulary_of_the_weights(self):
        self.nnc("train", self.net(), "--quiet", "--out", "w.safetensors")
        self.write("other.txt", "a rose. not a rose to be" * 4)
        found = json.loads(self.nnc("eval", "poem.nn", "--weights", "w.safetensors", "--data", "tokens=other.txt", "--json").stdout.splitlines()[-1])  # behind a warning
        number = [VOCABULARY.index(c) for c in ("a rose. not a rose to be" * 4)[86:94]]
        self.assertEqual(found["sum_in"], sum(number))  # the other field went along
        self.write("other.txt", "a rose, a lily" * 8)
        self.fails("E0415", "eval", "poem.nn", "--weights", "w.safetensors", "--data", "tokens=other.txt", says=["`l`", "13 characters of w.safetensors", "other.txt:1, column 11"])

    def test_files_in_the_place_of_a_text(self):
        self.net()
        self.write("a.txt", TEXT)
        self.write("b.txt", TEXT)
        self.nnc("train", "poem.nn", "--quiet", "--data", "next=a.txt")
        self.fails("E0601", "train", "poem.nn", "--data", "tokens=a.txt", "--data", "next=b.txt", says=["are of one text, and are given two"])
        rows = b"".join(struct.pack("<8i", *[(r + i) % 13 for i in range(8)]) for r in range(40))
        header = "{'descr': '<i4', 'fortran_order': False, 'shape': (40, 8), }"
        header += " " * (-(len(header) + 11) % 64) + "\n"
        self.write("rows.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + rows)
        self.fails("E0601", "train", "poem.nn", "--data", "tokens=rows.npy", says=["`next` is read from a text and `tokens` is not"])
        self.nnc("train", "poem.nn", "--quiet", "--data", "tokens=rows.npy", "--data", "next=rows.npy", "--out", "n.safetensors")
        self.assertNotIn("nnc.vocabulary", self.metadata("n.safetensors"))

    def test_a_number_of_classes_that_is_not_that_of_the_characters(self):
        for size in (12, 14):
            said = self.fails("E0401", "train", self.net(size=size), says=["`poem.txt` has 13 different characters, but `tokens` is class(%d)" % size, "declare it class(13)"])
            self.assertIn("poem.nn:3:3", said)

    def test_a_text_that_is_too_short(self):
        self.fails("E0401", "train", self.net(text="to be", size=5), says=["`poem.txt` has 5 characters, and a row reads 9", "poem.nn:3:3"])
        self.fails("E0403", "train", self.net(text=""), says=["poem.txt"])
        self.fails("E0509", "train", self.net(splits="  test 0.5%\n"), says=["`test 0.5%` of the 1160 characters of `poem` is 6, and a row reads 9", "`test 0.8%` is 9 characters"])
        self.fails("E0509", "train", self.net(splits="  valid 0.5%\n"), says=["`valid 0.5%`"])
        self.fails("E0502", "train", self.net(text="to be or not to be!", size=8, splits="  test 60%\n"), says=["11 of the 19 characters of `poem` are set aside, and a row reads 9"])
        self.fails("E0503", "train", self.net(text="to be or not to be!", size=8, splits=""), says=["a batch takes 16 rows, but only 11 train"])

    def test_what_is_no_text(self):
        program = self.net()
        self.write("poem.txt", b"to be\n\xff\xfe or")
        self.fails("E0404", "train", program, says=["`poem.txt` holds the byte 0xFF, which is no UTF-8", "poem.txt:2, column 1", "read for this field"])
        self.write("poem.txt", b"to be\0")
        self.fails("E0404", "train", program, says=["a NUL"])
        (self.folder / "poem.txt").unlink()
        self.fails("E0402", "train", program, says=["poem.txt", "poem.nn:3:3"])

    def test_weights_of_other_characters(self):
        self.nnc("train", self.net(), "--quiet", "--out", "w.safetensors")
        program = self.net(text=TEXT.replace(":", "!"), name="other.nn")
        self.fails("E0518", "train", program, "--init", "w.safetensors", says=["in the weights alone: `:`; in the text alone: `!`"])
        self.fails("E0504", "train", program, "--resume", "w.checkpoint.safetensors", "--steps", 90, says=["in the checkpoint alone: `:`; now alone: `!`"])
        self.fails("E0415", "eval", program, "--weights", "w.safetensors", says=["`!`"])
        self.nnc("train", self.net(), "--quiet", "--init", "w.safetensors", "--out", "v.safetensors")

    def test_a_damaged_vocabulary(self):
        self.nnc("train", self.net(), "--quiet", "--out", "w.safetensors")
        raw = (self.folder / "w.safetensors").read_bytes()
        self.assertIn(b'[\\"\\\\n\\"', raw)
        self.write("d.safetensors", raw.replace(b'[\\"\\\\n\\"', b'[\\"\\\\r\\"'.replace(b"\\\\r", b"zz ")))
        self.fails("E0405", "eval", "poem.nn", "--weights", "d.safetensors", says=["d.safetensors is damaged: its `nnc.vocabulary`"])

    def test_prediction_takes_numbers(self):
        self.nnc("train", self.net(), "--quiet", "--out", "w.safetensors")
        self.fails("E0506", "predict", "poem.nn", "--weights", "w.safetensors", "--input", "tokens=poem.txt", says=["`nnc.vocabulary`"])
        self.write("row.csv", "0,1,2,3,4,5,6,12\n")
        self.nnc("predict", "poem.nn", "--weights", "w.safetensors", "--input", "tokens=row.csv", "--output", "p.npy")
        self.write("row.csv", "0,1,2,3,4,5,6,13\n")
        self.fails("E0409", "predict", "poem.nn", "--weights", "w.safetensors", "--input", "tokens=row.csv", says=["label 13", "0 to 12"])

    def test_more_characters_than_there_are_positions(self):
        program = self.net(("position[Ctx, Width]", "position[Long, Width]"), ("position[Ctx: 0..T]", "position[Long: 0..T]"), ("where T <= Ctx", "where T <= Long"),
                           ("Width = 16", "Width = 16, Long = 4"))
        self.fails("E0104", "check", program, says=["`T <= Long` does not hold", "T = 8", "Long = 4"])

    def test_other_commands(self):
        program = self.net()
        self.nnc("check", program)
        self.nnc("summary", program)
        self.nnc("gradcheck", program, timeout=300)
        self.nnc("bench", program, "--turns", 1)


def read_metadata(path):
    raw = path.read_bytes()
    size, = struct.unpack_from("<Q", raw)
    return json.loads(raw[8:8 + size]).get("__metadata__", {})


if __name__ == "__main__":
    unittest.main()
