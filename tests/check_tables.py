"""Tables in which entries are looked up, from the command line: an update that leaves alone what a batch does not name has the bits of one that goes over the whole table, for any
threads, across --resume and beside a padding entry; what `nnc explain` says of each table; tables before products; entries outside of a table."""

import json
import random
import unittest

from command_line import CommandLine, read_safetensors

ENTRIES = 97
PROGRAM = """dim Entries = 97, Places = 5
data rows {
  item[Places] : class(Entries) = csv("rows.csv", columns: 0..5)
  y            : f32            = csv("rows.csv", columns: 5)
}
model Scores(item[B, Places]: class(Entries)) -> [B] {
  (item |> table: Embedding(Entries, 6) |> tanh |> flatten |> hidden: Dense(8) |> tanh |> Dense(1)) as [B]
}
train {
  data     rows, batch: 16
  minimize mean_squared_error(Scores(item), y)
  using    sgd(lr: 0.1)
  steps    40
  seed     3
}
"""
# A norm that no gradient reaches: the factor is 1, and every gradient is kept whole.
WHOLE = ("using    sgd(lr: 0.1)", "using    sgd(lr: 0.1), clip_norm: 1e30")
PADDED = ("Embedding(Entries, 6)", "Embedding(Entries, 6, padding: 4)")


class Tables(CommandLine):
    def setUp(self):
        super().setUp()
        pick = random.Random(5)
        lines = []
        for _ in range(203):
            items = [pick.choice((0, 4, ENTRIES - 1, pick.randrange(ENTRIES), pick.randrange(12))) for _ in range(5)]
            lines.append(",".join(map(str, items + [round(pick.uniform(-1, 1), 3)])))
        self.write("rows.csv", "\n".join(lines) + "\n")

    def net(self, *changes, name="net.nn"):
        text = PROGRAM
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        return self.write(name, text)

    def weights(self, file, out, *options):
        self.train(file, out, *options)
        return read_safetensors(self.folder / f"{out}.safetensors")[1]

    def reason(self, *changes):
        found, = json.loads(self.nnc("explain", self.net(*changes), "--json").stdout)["tables"]
        self.assertEqual(found["parameter"], "table.weight")
        self.assertEqual(found["by_entries"], found["reason"] == "touched_rows")
        self.assertEqual(self.nnc("explain", self.net(*changes), "table.weight").stdout.count(f"Lookups: {found['text']}.\n"), 1)
        return found["reason"]

    def test_the_bits_of_the_whole_table(self):
        for padding in ((), (PADDED,)):
            expected = self.weights(self.net(WHOLE, *padding), "whole", "--threads", 1)
            for threads in (1, 2, 3, 7):
                with self.subTest(padding=bool(padding), threads=threads):
                    self.assertEqual(self.weights(self.net(*padding), "entries", "--threads", threads), expected)

    def test_resume(self):
        expected = self.train(self.net(), "all")
        self.train(self.net(), "part", "--steps", 7)
        for steps in (20, 40):
            found = self.train(self.net(), "part", "--steps", steps, "--resume", "part.checkpoint.safetensors")
        self.assertEqual(found, expected)

    def test_the_padding_entry_is_never_changed(self):
        # Before a product the table's gradient is a product, too, and the mask moves to the entry.
        direct = (("|> tanh |> flatten |> hidden: Dense(8) |> tanh |> Dense(1)) as [B]", "|> hidden: Dense(24) |> tanh |> flatten |> Dense(1)) as [B]"),
                  ("Embedding(Entries, 6, padding: 4)", "Embedding(Entries, 16, padding: 4)"))
        for changes in ((PADDED,), (PADDED, WHOLE), (PADDED, *direct), (PADDED, ("sgd(lr: 0.1)", "adam(lr: 0.01)"))):
            with self.subTest(changes=changes):
                (_, width), values = self.weights(self.net(*changes), "w")["table.weight"]
                self.assertEqual(list(values[4 * width:5 * width]), [0.0] * width)
                self.assertTrue(all(values[0:width]))

    def test_explain_says_which_tables_and_why_not(self):
        self.assertEqual(self.reason(), "touched_rows")
        self.assertEqual(self.reason(PADDED), "touched_rows")
        self.assertEqual(self.reason(("lr: 0.1", "lr: cosine(0.1, total: 40)")), "touched_rows")
        for rule in ("sgd(lr: 0.1, momentum: 0.9)", "sgd(lr: 0.1, decay: 0.01)", "adam(lr: 0.1)", "adamw(lr: 0.1)", "rmsprop(lr: 0.1)", "adagrad(lr: 0.1)"):
            with self.subTest(rule=rule):
                self.assertEqual(self.reason(("sgd(lr: 0.1)", rule)), "moves_others")
        self.assertEqual(self.reason(WHOLE), "kept_gradient")
        shared = ("  (item |> table: Embedding(Entries, 6) |> tanh", "  table: Embedding(Entries, 6)\n  (tanh(table(item)) * mean(table(item[Places: 0]) as [B, 6])")
        self.assertEqual(self.reason(shared), "other_gradient")

    def test_tables_before_products_learn_the_same(self):
        # 16 rows of 5 places look up 80 of 97 entries, 32 rows 160: the product is with what is looked up, or with the table.
        direct = (("|> tanh |> flatten |> hidden: Dense(8) |> tanh |> Dense(1)) as [B]", "|> hidden: Dense(24) |> tanh |> flatten |> Dense(1)) as [B]"),
                  ("Embedding(Entries, 6)", "Embedding(Entries, 16)"), ("batch: 16", "batch: 32"))
        kernels = self.nnc("ir", self.net(*direct), "--stage", "kernels").stdout
        self.assertIn("f32[97, 24]", kernels)
        expected = self.train(self.net(*direct), "one", "--threads", 1)
        for threads in (2, 3, 7):
            self.assertEqual(self.train(self.net(*direct), "other", "--threads", threads), expected)
        # A sum hides the lookup from the product.
        hidden = (("|> hidden: Dense(24)", "|> shifted |> hidden: Dense(24)"), ("model Scores", "fn shifted(x[...]) -> [...] { where(x < 1e30, x, 0) }\nmodel Scores"))
        other = self.net(*direct, *hidden)
        self.assertNotIn("f32[97, 24]", self.nnc("ir", other, "--stage", "kernels").stdout)
        first, second = self.weights(self.net(*direct), "first"), self.weights(other, "second")
        for name, (_, values) in first.items():
            for a, b in zip(values, second[name][1]):
                self.assertAlmostEqual(a, b, delta=1e-4, msg=name)

    def test_an_entry_outside_of_the_table(self):
        direct = ("|> tanh |> flatten |> hidden: Dense(8) |> tanh |> Dense(1)) as [B]", "|> hidden: Dense(24) |> tanh |> flatten |> Dense(1)) as [B]")
        loose = (("item[Places] : class(Entries) =", "item[Places] : i32 ="), ("item[B, Places]: class(Entries)", "item[B, Places]: i32"), ("Embedding(Entries, 6)", "Loose"),
                 ("model Scores", "layer Loose(index[...]: i32) -> [..., _] {\n  param weight[Entries, 16] ~ normal(1)\n  weight[Entries: index]\n}\nmodel Scores"))
        text = (self.folder / "rows.csv").read_text().splitlines()
        text[41] = "1,2,97,4,5,0.5"
        self.write("rows.csv", "\n".join(text) + "\n")
        for batch in (16, 32):
            run = self.run_nnc("train", self.net(direct, *loose, ("batch: 16", f"batch: {batch}")), "--quiet", "--out", "w.safetensors")
            self.assertEqual(run.returncode, 1, run.stderr)
            self.assertIn("error[E0510]: `item` is 97 in row 42, but the table has 97 entries (0..96)", run.stderr)
            self.assertIn("weight[Entries: index]", run.stderr)


if __name__ == "__main__":
    unittest.main()
