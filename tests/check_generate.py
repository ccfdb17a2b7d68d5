"""Text written by models of text, from the command line: what is written is what the model says of the characters before, whether a character costs one position or the whole context; choices and seeds;
what is said of prompts, options, models and weights that do not fit; Ctrl-C."""

import json
import os
import re
import signal
import struct
import time
import unittest

from command_line import CommandLine, read_safetensors

TEXT = "to be, or not to be: a rose.\n" * 40
VOCABULARY = sorted(set(TEXT))
CONTEXT = 8

HEAD = """dim Ctx = 8, Vocab = 13, Width = 16
data poem {
  tokens[Ctx], next[Ctx] : class(Vocab) = text("poem.txt", context: Ctx)
  test 10%
}
"""

TRAIN = """
train {
  data     poem, batch: 16
  let logits = Net(tokens)
  minimize cross_entropy(logits, next)
  using    adamw(lr: 0.01)
  steps    80
  seed     3
}
"""

ATTENTION = """layer Attention(Heads)(x[B, T, C]) -> [B, T, C] {
  dim D = C / Heads
  dim S = T
  let q = (x |> query: Dense(C)) as [B, T, Heads, D]
  let k = (x |> key: Dense(C)) as [B, S, Heads, D]
  let v = (x |> value: Dense(C)) as [B, S, Heads, D]
  let score = sum(q * k, over: D) / sqrt(D)
  let past = MASK
  sum(softmax(past, over: S) * v, over: S) as [B, T, C] |> project: Dense(C)
}
model Net(tokens[B, T]: class(Vocab)) -> [B, T, Vocab] where T <= Ctx {
  param token[Vocab, Width] ~ normal(0.3)
  param position[Ctx, Width] ~ normal(0.3)
  let x = token[Vocab: tokens] + (position[Ctx: 0..T] as [T, Width])
  let h = x + (x |> LayerNorm |> first: Attention(2))
  let y = h + (h |> second: Attention(4))
  sum((y |> LayerNorm) * token, over: Width)
}
"""
CAUSAL = "where(index(S) <= index(T), score, -inf)"

LSTM = """model Net(tokens[B, T]: class(Vocab)) -> [B, T, Vocab] {
  tokens |> embed: Embedding(Vocab, Width) |> lstm: Lstm(Width, layers: 2) |> out: Dense(Vocab)
}
"""

WINDOW = """layer Convolution(K)(x[B, T, C]) -> [B, T, C] {
  dim Out = C
  param weight[Out, C, K] ~ normal(0.3)
  (sum(x[T: index(T) - 2 * index(K), outside: 0] * weight, over: (C, K)) as [B, T, C]) |> tanh
}
model Net(tokens[B, T]: class(Vocab)) -> [B, T, Vocab] {
  tokens |> embed: Embedding(Vocab, Width) |> first: Convolution(3) |> second: Convolution(2) |> out: Dense(Vocab)
}
"""


def attention(mask=CAUSAL):
    return ATTENTION.replace("MASK", mask)


def npy(rows):
    """Bytes of an i32 .npy."""
    header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"".join(struct.pack("<i", v) for row in rows for v in row)


def window_of(length):
    """How many characters the model sees behind `length` of them."""
    size = 0
    for _ in range(length):
        size = CONTEXT // 2 if size == CONTEXT else size
        size += 1
    return size


class Generate(CommandLine):
    def net(self, model, *changes, name="net.nn", train=True):
        self.write("poem.txt", TEXT)
        program = HEAD + model + TRAIN
        for old, new in changes:
            self.assertIn(old, program)
            program = program.replace(old, new)
        path = self.write(name, program)
        if train:
            self.nnc("train", name, "--quiet", "--out", "w.safetensors")
        return path

    def generate(self, *options, prompt="to be", length=60):
        return self.nnc("predict", "net.nn", "--weights", "w.safetensors", "--prompt", prompt, "--length", length, *options)

    def text(self, *options, **how):
        """What follows the prompt."""
        prompt, length = how.get("prompt", "to be"), how.get("length", 60)
        run = self.generate(*options, **how)
        written = run.stdout.removesuffix("\n") if len(run.stdout) == len(prompt) + length + 1 else run.stdout
        self.assertTrue(written.startswith(prompt), written)
        self.assertEqual(len(written), len(prompt) + length)
        return written[len(prompt):]

    def fails(self, code, *options, says=(), prompt="to be", status=1):
        run = self.run_nnc("predict", "net.nn", "--weights", "w.safetensors", "--prompt", prompt, *options)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        if code:
            self.assertIn(f"error[{code}]", run.stderr)
        for words in says:
            self.assertIn(words, run.stderr)
        self.assertEqual(run.stdout, "")

    def check_greedy(self, prompt):
        """Each character is the likeliest of what the model, compiled as a whole, gives for the characters that it sees."""
        written = prompt + self.text("--temperature", 0, prompt=prompt)
        numbers = [VOCABULARY.index(c) for c in written]
        rows = []
        for at in range(len(prompt), len(written)):
            seen = numbers[at - window_of(at):at]
            rows.append(seen + [0] * (CONTEXT - len(seen)))
        self.write("x.npy", npy(rows))
        found = self.nnc("predict", "net.nn", "--weights", "w.safetensors", "--input", "tokens=x.npy", "--json").stdout.splitlines()
        for i, line in enumerate(found):
            at = len(prompt) + i
            scores = json.loads(line)["result"][window_of(at) - 1]
            best, chosen = max(scores), scores[numbers[at]]
            self.assertLess(best - chosen, 1e-4, f"character {at} of {written!r}")

    def test_the_likeliest_character_each_time(self):
        for name, model in (("attention", attention()), ("lstm", LSTM), ("window", WINDOW)):
            with self.subTest(model=name):
                self.net(model)
                self.assertEqual(self.generate("--temperature", 0).stderr, "")  # one position a character
                for prompt in ("t", "to be, o", "to be, or", "or not to be: a rose.\nto be, or"):
                    self.check_greedy(prompt)

    def test_where_positions_see_later_ones(self):
        masks = {"score": "the largest over positions reads later ones",
                 "where(index(S) <= index(T) + 1, score, -inf)": "the largest over positions reads later ones",
                 "where(index(S) >= index(T), score, -inf)": "the largest over positions reads later ones",
                 "where(index(S) <= index(T), score, -1e9)": "gives later ones a weight that is not known to be 0"}
        for mask, reason in masks.items():
            with self.subTest(mask=mask):
                self.net(attention(mask))
                said = self.generate().stderr
                self.assertIn("warning[E0531]: each character costs the whole context of 8: ", said)
                self.assertIn(reason, said)
                self.assertEqual(said.count("warning"), 1)
                self.assertIn(" net.nn:", said)
                self.assertIn("`first`", said)
                self.check_greedy("to be, or")
        self.net(LSTM.replace("layers: 2", "bidirectional: true"))
        self.assertIn("a recurrence runs from the last position to the first", self.generate().stderr)
        self.net(WINDOW.replace("index(T) - 2 * index(K)", "index(T) + index(K) - 1"))
        self.assertIn("a window reads 1 position further on", self.generate().stderr)

    def test_a_context_of_one_character(self):
        """One position is all that the model sees: it costs the whole context, and there is nothing to be warned of."""
        for name, model in (("attention", attention()), ("all positions", attention("score")), ("lstm", LSTM)):
            with self.subTest(model=name):
                self.net(model, ("Ctx = 8", "Ctx = 1"))
                run = self.generate("--temperature", 0, prompt="t")
                self.assertEqual(run.stderr, "")
                self.assertEqual(self.generate(prompt="to", length=1).stderr, "the prompt has 2 characters and the model sees 1: the first has no part in what follows\n")
                numbers = [VOCABULARY.index(c) for c in run.stdout[:61]]
                self.write("x.npy", npy([[number] for number in numbers]))
                found = self.nnc("predict", "net.nn", "--weights", "w.safetensors", "--input", "tokens=x.npy", "--json").stdout.splitlines()
                for line, following in zip(found, numbers[1:]):
                    scores = json.loads(line)["result"][0]
                    self.assertLess(max(scores) - scores[following], 1e-4)

    def test_masks_in_other_words(self):
        self.net(attention())
        expected = self.text("--temperature", 0)
        for mask in ("where(index(T) >= index(S), score, -inf)", "score + where(index(S) > index(T), -inf, 0)", "where(index(S) < index(T) + 1, score, -inf)"):
            with self.subTest(mask=mask):
                self.net(attention(mask), train=False)
                run = self.generate("--temperature", 0)
                self.assertEqual(run.stderr, "")
                self.assertEqual(run.stdout[5:65], expected)

    def test_seeds_and_threads(self):
        self.net(LSTM)
        first = self.text("--seed", 1)
        self.assertEqual(self.text("--seed", 1), first)
        for threads in (1, 2, 3):
            self.assertEqual(self.text("--seed", 1, "--threads", threads), first)
        self.assertNotEqual(self.text("--seed", 2), first)
        self.assertEqual(self.text("--seed", 3), self.text())  # the run's own
        self.assertTrue(self.text("--seed", 1, length=90).startswith(first))
        self.assertEqual(self.text("--seed", 1, "--temperature", 1, "--top-p", 1, "--top-k", 13), first)

    def test_choices(self):
        self.net(LSTM, ("steps    80", "steps    10"))  # so that it is not sure of itself
        likeliest = self.text("--temperature", 0)
        self.assertEqual(self.text("--temperature", 0, "--seed", 5), likeliest)
        self.assertEqual(self.text("--top-k", 1, "--seed", 5), likeliest)
        self.assertEqual(self.text("--top-p", "1e-9", "--seed", 5), likeliest)
        self.assertEqual(self.text("--temperature", "1e-6", "--seed", 5), likeliest)
        hot = {c for seed in range(4) for c in self.text("--temperature", 50, "--seed", seed, length=200)}
        self.assertEqual(hot, set(VOCABULARY))
        # Of the two likeliest characters of one place, both come, and no other.
        self.write("x.npy", npy([[VOCABULARY.index(c) for c in "or not t"]]))
        scores = json.loads(self.nnc("predict", "net.nn", "--weights", "w.safetensors", "--input", "tokens=x.npy", "--json").stdout)["result"][-1]
        order = sorted(range(13), key=lambda i: -scores[i])
        found = {self.text("--temperature", 9, "--top-k", 2, "--seed", seed, prompt="or not t", length=1) for seed in range(24)}
        self.assertEqual(found, {VOCABULARY[i] for i in order[:2]})

    def test_characters_of_several_bytes(self):
        self.net(LSTM, train=False)
        self.write("poem.txt", TEXT.replace("o", "\u00e9").replace("r", "\U0001f600"))
        self.nnc("train", "net.nn", "--quiet", "--out", "w.safetensors")
        written = self.text("--seed", 1, prompt="t\u00e9 be, \u00e9\U0001f600", length=120)
        self.assertIn("\u00e9", written)
        self.assertIn("\U0001f600", written)

    def test_json(self):
        self.net(LSTM)
        found = json.loads(self.generate("--json", "--seed", 7).stdout)
        self.assertEqual(found, {"prompt": "to be", "text": self.text("--seed", 7), "seed": 7})

    def test_a_long_prompt(self):
        self.net(attention())
        prompt = "to be, or not to be: a rose.\nto be, or "
        run = self.generate(prompt=prompt)
        self.assertIn(f"the prompt has 39 characters and the model sees 8: the first {39 - window_of(39)} have no part in what follows", run.stderr)
        self.assertEqual(self.generate("--quiet", prompt=prompt).stderr, "")
        for length in range(1, 24):
            self.assertEqual(self.text("--temperature", 0, prompt=prompt[:length], length=24 - length), self.text("--temperature", 0, prompt=prompt[:length], length=30 - length)[:24 - length])

    def test_a_model_that_gives_probabilities_or_characters(self):
        self.net(LSTM)
        expected, likeliest = self.text("--seed", 4), self.text("--temperature", 0)
        soft = LSTM.replace("|> out: Dense(Vocab)", "|> out: Dense(Vocab) |> soft")
        soft = "fn soft(x[B, T, Vocab]) -> [B, T, Vocab] { softmax(x, over: Vocab) }\n" + soft
        self.net(soft, ("cross_entropy(logits, next)", "cross_entropy(log(logits), next)"), train=False)
        self.assertEqual(self.text("--seed", 4), expected)
        best = """model Net(tokens[B, T]: class(Vocab)) -> [B, T] {
  frozen embed: Embedding(Vocab, Width)
  frozen lstm: Lstm(Width, layers: 2)
  frozen out: Dense(Vocab)
  argmax(tokens |> embed |> lstm |> out, over: Vocab)
}
"""
        self.net(best, ("cross_entropy(logits, next)", "mean(f32(logits))"), train=False)
        self.assertEqual(self.text(), likeliest)
        self.fails("E0601", "--temperature", 2, says=["`--temperature` chooses among scores, and the model of net.nn gives characters"])

    def test_prompts_that_do_not_fit(self):
        self.net(LSTM)
        self.fails("E0415", prompt="to be!", says=["the prompt holds `!`, which is none of the 13 characters of w.safetensors", "the prompt, character 6",
                                                   "its characters are U+000A, ` `, `,`, `.`, `:`, `a`, `b`, `e`, `n`, `o`, `r` to `t`"])
        self.fails("E0415", prompt="To be", says=["the prompt, character 1", "it knows `t`"])
        self.fails("E0415", prompt="to b\u00e9", says=["`\u00e9` (U+00E9)", "the prompt, character 5"])
        self.fails("E0404", prompt="to \udcff", says=["the byte 0xFF, which is no UTF-8", "the prompt, character 4"])
        self.fails("E0601", prompt="", says=["`--prompt` is empty"])

    def test_options_that_do_not_fit(self):
        self.net(LSTM)
        for length in (0, -1, "x", "1.5"):
            self.fails(None, "--length", length, status=2)
        for temperature in ("-1", "nan", "inf", "hot", "0x1", "1e999"):
            self.fails("E0601", f"--temperature={temperature}", says=[f"`--temperature {temperature}` is no temperature"])
        for share in ("0", "-0.5", "1.5", "nan", "half"):
            self.fails("E0601", f"--top-p={share}", says=[f"`--top-p {share}` is no share of the probability"])
        self.fails(None, "--top-k", 0, status=2)
        self.fails("E0601", "--top-k", 14, says=["`--top-k 14` of 13 characters"])
        self.fails("E0601", "--input", "tokens=x.npy", says=["`--input` goes with rows from files, and `--prompt` asks for text"])
        self.fails("E0601", "--classes", says=["`--classes` goes with rows from files"])
        self.fails("E0601", "--output", "x.npy", says=["`--output` goes with rows from files"])
        for option in (("--length", 5), ("--temperature", 1), ("--top-k", 2), ("--top-p", 1)):
            run = self.run_nnc("predict", "net.nn", "--weights", "w.safetensors", "--input", "tokens=x.npy", *option)
            self.assertEqual(run.returncode, 1)
            self.assertIn(f"error[E0601]: `{option[0]}` goes with `--prompt`", run.stderr)

    def test_models_that_write_no_text(self):
        self.net(LSTM)
        weights = (self.folder / "w.safetensors").read_bytes()
        self.write("w.safetensors", weights.replace(b"nnc.vocabulary", b"nnc.vocabulari"))
        self.fails("E0530", says=["w.safetensors records no vocabulary"])
        self.net(LSTM.replace("-> [B, T, Vocab]", "-> [B, Vocab]").replace("|> out", "|> last |> out"), ("cross_entropy(logits, next)", "mean(logits)"),
                 ("model Net", "fn last(x[B, T, C]) -> [B, C] { x[T: T - 1] }\nmodel Net"))
        self.fails("E0530", says=["the model gives f32[B, 13], which is no score for each of 13 characters at each of 8 positions"])
        program = self.program("digits", name="net.nn")
        self.nnc("train", program, "--steps", 2, "--quiet", "--out", "w.safetensors")
        self.fails("E0530", says=["the model's input `", "is no text"])

    def test_scores_that_are_not_finite(self):
        self.net(LSTM.replace("|> out: Dense(Vocab)", "|> out: Dense(Vocab) |> broken"), ("model Net", "fn broken(x[...]) { x + log(x - x - 1) }\nmodel Net"), ("steps    80", "steps    1"), train=False)
        self.net(LSTM, ("steps    80", "steps    1"), name="sound.nn", train=False)
        self.nnc("train", "sound.nn", "--quiet", "--out", "w.safetensors")
        run = self.run_nnc("predict", "net.nn", "--weights", "w.safetensors", "--prompt", "to")
        self.assertEqual(run.returncode, 1)
        self.assertIn("error[E0532]: the model's scores behind 1 character are NaN", run.stderr)

    def test_interrupted(self):
        self.net(LSTM)
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 130)):
            process = self.start("predict", "net.nn", "--weights", "w.safetensors", "--prompt", "to be", "--length", 100_000_000)
            self.assertEqual(process.stdout.read(30)[:5], "to be")  # it streams
            process.send_signal(number)
            written, said = process.communicate(timeout=60)
            self.assertEqual(process.returncode, status)
            self.assertTrue(written.endswith("\n"))
            self.assertEqual(said, "")
            self.assertLessEqual(set(written), set(VOCABULARY))

    def test_a_reader_that_goes_away(self):
        self.net(LSTM)
        process = self.start("predict", "net.nn", "--weights", "w.safetensors", "--prompt", "to be", "--length", 100_000_000)
        process.stdout.read(10)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 1)
        self.assertIn("cannot write to standard output", process.stderr.read())
        process.stderr.close()


if __name__ == "__main__":
    unittest.main()
