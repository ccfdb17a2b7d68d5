"""What `nnc explain` says is true: its sums are those of `nnc summary`, its kernels and temporaries are those of `nnc ir --stage kernels`, and each
reason is held against the operations it speaks of."""

import json
import re
import tempfile
import unittest
from pathlib import Path

from command_line import EXAMPLES, ROOT, CommandLine

FILES = [EXAMPLES / "mnist_mlp.nn", EXAMPLES / "own_optimizer.nn", EXAMPLES / "regression.nn", ROOT / "tests/lit/driver/inputs/attention.nn"]
AT_OTHER_INDICES = {"contraction_operand": "contract", "gather": "gather", "reshape": "reshape", "slice": "slice", "pad": "pad",
                    "scatter_operand": "scatter_add"}
REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "argmax"}


class Explain(CommandLine):
    def explain(self, file, *name):
        return json.loads(self.nnc("explain", file, *name, "--json").stdout)

    def test_the_whole_agrees_with_summary_and_kernels(self):
        for file in FILES:
            report = self.explain(file)
            summary = json.loads(self.nnc("summary", file, "--json").stdout)
            self.assertEqual(report["flops"], summary["flops"], file)
            self.assertEqual(report["bytes"], summary["bytes"], file)
            self.assertEqual(report["flops"], sum(k["flops"] for k in report["kernels"]), file)
            self.assertEqual(report["bytes"], sum(k["bytes"] for k in report["kernels"]), file)
            text = self.nnc("ir", file, "--stage", "kernels").stdout
            self.assertEqual([k["name"] for k in report["kernels"]], re.findall(r"^\s*kernel (\S+)", text, re.M), file)
            self.assertEqual({v["buffer"] for v in report["stored"]}, set(re.findall(r'^\s*temporary "?(%\d+)', text, re.M)), file)
            for layer in summary["layers"]:
                mine = [k for k in report["kernels"] if k["scope"] == layer["path"] or k["scope"].startswith(layer["path"] + ".")]
                if layer["path"]:
                    self.assertEqual(sum(k["flops"] for k in mine), layer["flops"], layer["path"])
            # Distinct memory: what is both read and written counts once.
            for k in report["kernels"]:
                sizes = {b["name"]: b["bytes"] for b in k["reads"] + k["writes"]}
                self.assertEqual(sum(sizes.values()), k["bytes"], k["name"])

    def test_every_stored_value_has_its_readers_and_a_reason_that_holds(self):
        for file in FILES:
            report = self.explain(file)
            kernels = {k["name"]: k for k in report["kernels"]}
            self.assertTrue(report["stored"])
            for value in report["stored"]:
                name = value["buffer"]
                readers = {k["name"] for k in report["kernels"] if name in [b["name"] for b in k["reads"]]}
                writers = {k["name"] for k in report["kernels"] if name in [b["name"] for b in k["writes"]]}
                self.assertEqual({r["kernel"] for r in value["reads"]}, readers, name)
                self.assertEqual(set(value["writers"]), writers, name)
                self.assertTrue(readers and writers, name)
                for read in value["reads"]:
                    kernel, reason = kernels[read["kernel"]], read["reason"]
                    ops = {n["op"] for n in kernel["nodes"]}
                    where = f"{file.name} {name} in {kernel['name']}: {reason}"
                    self.assertTrue(read["text"], where)
                    if reason in AT_OTHER_INDICES:
                        self.assertIn(AT_OTHER_INDICES[reason], ops, where)
                    if reason == "contraction_operand":
                        self.assertEqual(kernel["kind"], "contraction", where)
                    if reason == "reduction_of_contraction":
                        self.assertEqual({kernels[w]["kind"] for w in value["writers"]}, {"contraction"}, where)
                        self.assertTrue(ops & REDUCTIONS, where)
                    if reason == "other_reduction":
                        self.assertTrue(ops & REDUCTIONS, where)
                        self.assertIn("row-wise", {kernels[w]["kind"] for w in value["writers"]}, where)
                    if reason == "later_stage":
                        self.assertIn(kernel["name"], value["writers"], where)
                    if reason == "old_value_needed":
                        self.assertEqual(kernel["kind"], "copy", where)
                    if reason == "later_operand":
                        # The value that comes later is made by the reading kernel or by one that runs before it.
                        witness = int(re.search(r"also needs %(\d+)", read["text"])[1])
                        order = list(kernels)
                        makers = [order.index(k) for k in kernels if witness in [n["id"] for n in kernels[k]["nodes"]]]
                        self.assertTrue(any(m <= order.index(kernel["name"]) for m in makers), where)
                        self.assertTrue(any(m > order.index(w) for m in makers for w in value["writers"]), where)

    def test_a_name_narrows_to_what_it_names(self):
        whole = self.explain(EXAMPLES / "mnist_mlp.nn")
        layer = self.explain(EXAMPLES / "mnist_mlp.nn", "fc2")
        self.assertEqual(layer["name_is"], "layer")
        wanted = [k["name"] for k in whole["kernels"] if any(n["scope"] == "fc2" for n in k["nodes"])]
        self.assertEqual([k["name"] for k in layer["kernels"]], wanted)
        for kernel in layer["kernels"]:
            for node in kernel["nodes"]:
                self.assertEqual(node["selected"], node["scope"] == "fc2", node)
        weight = self.explain(EXAMPLES / "mnist_mlp.nn", "fc2.weight")
        wanted = [k["name"] for k in whole["kernels"] if "fc2.weight" in [b["name"] for b in k["reads"] + k["writes"]]]
        self.assertEqual([k["name"] for k in weight["kernels"]], wanted)

    NESTED = """dim F = 4, H = 6
data t { x[F] = csv("rows.csv", columns: 0..4) }
fn inner(x[...]) -> [...] { x * x + 1 }
fn bent(x[...]) -> [...] { inner(x) / 2 }
layer Enc(x[B, N]) -> [B, H] { x |> Dense(H) |> tanh }
layer Twice(x[B, N]) -> [B, N] { x |> stack(2, Dense(N)) }
model Ae(x[B, F]) -> [B, F] { x |> enc: Enc |> two: Twice |> bent |> dec: Dense(F) }
train { data t, batch: 8
  minimize mean_squared_error(Ae(x), x)
  using sgd(lr: 0.01)
  steps 2 }
"""

    def test_a_definition_counts_all_that_it_contains(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "nested.nn"
            file.write_text(self.NESTED)
            whole = self.explain(file)
            selected = {name: {n["id"] for k in self.explain(file, name)["kernels"] for n in k["nodes"] if n["selected"]}
                        for name in ("Ae", "enc", "two", "dec", "Enc", "Twice", "bent", "inner")}
            lines = self.NESTED.split("\n")
            of_functions = {n["id"] for k in whole["kernels"] for n in k["nodes"]
                            if n["line"].endswith(tuple(f":{i + 1}" for i, l in enumerate(lines) if l.startswith("fn")))}
            self.assertTrue(of_functions)
            self.assertEqual(selected["Ae"] - selected["enc"] - selected["two"] - selected["dec"] - of_functions, set())
            for part in ("enc", "two", "dec", "bent"):
                self.assertTrue(selected[part], part)
                self.assertLessEqual(selected[part], selected["Ae"], part)
            self.assertEqual(selected["Enc"], selected["enc"])
            self.assertEqual(selected["Twice"], selected["two"])
            self.assertLess(selected["inner"], selected["bent"])
            self.assertEqual(selected["bent"], of_functions)
            # The loss is not the model's.
            loss = {n["id"] for k in whole["kernels"] for n in k["nodes"] if n["line"].endswith(":9") and not n["scope"]}
            self.assertTrue(loss)
            self.assertFalse(loss & selected["Ae"])


if __name__ == "__main__":
    unittest.main()
