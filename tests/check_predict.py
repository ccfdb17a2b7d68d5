"""`predict` is the model as `train` calls it: under its path, with its arguments, on the columns it was given, whatever batch a row is in."""

import json
import math
import struct
import unittest

from command_line import CommandLine


class Predict(CommandLine):
    """Four rows of two numbers; `expression` is what is minimized, with a rate of zero: the weights are those that a run begins with."""

    TRAIN = "train {{\n  data d, batch: all\n  let p = {call}\n  minimize mean(p)\n  using sgd(lr: 0.0)\n  epochs 1\n}}\n"

    def setUp(self):
        super().setUp()
        self.write("x.csv", "1,2\n3,4\n5,6\n7,8\n")

    def trained(self, call, *definitions, data='x[2] : f32 = csv("x.csv")'):
        file = self.write("net.nn", f"data d {{ {data} }}\n" + "\n".join(definitions) + "\n" + self.TRAIN.format(call=call))
        self.loss = json.loads(self.nnc("train", file, "--json", "--out", "w.safetensors").stdout.splitlines()[-1])["loss"]
        return file

    def rows(self, file, *options, x="x.csv"):
        lines = self.nnc("predict", file, "--weights", "w.safetensors", "--input", f"x={x}", *options).stdout.splitlines()
        return [[float(cell) for cell in line.split(",")] for line in lines]

    def refused(self, said, file, *options, x="x.csv", code="E0601"):
        run = self.run_nnc("predict", file, "--weights", "w.safetensors", "--input", f"x={x}", *options)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn(f"error[{code}]", run.stderr)
        self.assertIn(said, run.stderr)


class AsTrained(Predict):
    NET = "model Net(x[B, 2]) -> [B] { (x |> out: Dense(1)) as [B] }"

    def holds(self, file):
        values = [v for row in self.rows(file) for v in row]
        self.assertAlmostEqual(sum(values) / len(values), self.loss, places=5)
        self.assertGreater(abs(self.loss), 1e-3)

    def test_where_the_model_is_called(self):
        inner = "model Enc(x[B, 2]) -> [B, 3] { x |> e: Dense(3) }"
        outer = "model Net(x[B, 2]) -> [B] { (Enc(x) |> out: Dense(1)) as [B] }"
        for name, call, definitions in (("plain", "Net(x)", (self.NET,)), ("named", "x |> big: Net", (self.NET,)),
                                        ("in a layer", "W(x)", (self.NET, "layer W(x[B, 2]) -> [B] { Net(x) }")),
                                        ("of another model", "Net(x)", (inner, outer))):
            with self.subTest(name):
                self.holds(self.trained(call, *definitions))

    def test_arguments(self):
        scaled = "model M(x[B, 2], k = 1) -> [B, 2] { param w[] = 1\n  w * x * k }"
        for call in ("M(x, 3)", "M(x, k: 3)", "M(k: 3, x: x)"):
            with self.subTest(call):
                self.assertEqual(self.rows(self.trained(call, scaled)), [[3, 6], [9, 12], [15, 18], [21, 24]])
        self.assertEqual(self.rows(self.trained("M(x)", scaled)), [[1, 2], [3, 4], [5, 6], [7, 8]])
        shifted = "model M(x[B, 2], by[2]) -> [B, 2] { param w[] = 1\n  w * x + by }"
        self.assertEqual(self.rows(self.trained("M(x, [10, 20])", shifted))[0], [11, 22])
        sized = "dim H = 3\nmodel M(K)(x[B, 2]) -> [B, K] { x |> Dense(K) }"
        self.assertEqual([len(row) for row in self.rows(self.trained("x |> M(2 * H)", sized))], [6] * 4)

    def test_rows_that_depend_on_each_other_are_one_batch(self):
        self.write("n.csv", "".join(f"{i}\n" for i in range(300)))
        for name, body in (("mean", "x - mean(x)"), ("largest", "x - max(x) + 149.5"), ("number", "x - (B - 1) / 2"), ("place", "x * 0 + index(B) - 149.5")):
            with self.subTest(name):
                file = self.trained("M(x)", f"model M(x[B]) -> [B] {{ param w[] = 1\n  w * ({body}) }}", data='x : f32 = csv("n.csv")')
                self.assertEqual(self.rows(file, x="n.csv"), [[i - 149.5] for i in range(300)])

    def test_columns_of_the_field_that_the_model_is_given(self):
        self.write("ab.csv", "a,b\n1,10\n2,20\n")
        data = 'x[1] : f32 = csv("ab.csv", columns: ["a"])\n z[1] : f32 = csv("ab.csv", columns: ["b"])'
        model = "model M(x[B, 1]) -> [B] { param w[] = 1\n  w * x as [B] }"
        for call, wanted in (("M(z)", [[10], [20]]), ("M(x)", [[1], [2]])):
            self.assertEqual(self.rows(self.trained(f"{call} + 0 * mean(x + z)", model, data=data), x="ab.csv"), wanted)
        file = self.trained("M(z / 10) + 0 * mean(x)", model, data=data)  # none of the columns is what the model takes
        self.refused("holds 2 columns", file, x="ab.csv", code="E0401")


class Results(Predict):
    def test_order_and_shape(self):
        self.write("two.csv", "1,2\n3,4\n")
        file = self.several()
        lines = [json.loads(line) for line in self.nnc("predict", file, "--weights", "w.safetensors", "--input", "x=two.csv", "--json").stdout.splitlines()]
        self.assertEqual([list(line) for line in lines], [["row", "result.0", "result.1", "result.2", "result.3"]] * 2)
        self.assertEqual([list(line.values()) for line in lines], [[0, 1, 3, [1, 0], 2], [1, 3, 3, [1, 0], 4]])

    def several(self):
        model = "model M(x[B, C]) -> [B], [], [2], [B] {\n  param w[] = 1\n  let h = w * x[C: 0]\n  h, max(h), [1, 0] * w, h + 1\n}"
        return self.trained("S(x)", model, "layer S(x[B, 2]) { let a, b, c, d = M(x)\n  a + d }")

    def test_no_csv_of_results_without_rows(self):
        file = self.several()
        for options in ((), ("--output", "o.csv"), ("--output", "-")):
            with self.subTest(options=options):
                self.refused("`result.1`, f32[], has no rows", file, *options)
        self.assertEqual(self.nnc("predict", file, "--weights", "w.safetensors", "--input", "x=x.csv", "--output", "o.npz").returncode, 0)
        run = self.run_nnc("run", file, "--fn", "M", "--input", "x=x.csv", "--output", "r.csv")
        self.assertEqual(run.returncode, 1)
        self.assertIn("a line of a csv holds a row of each result, but `result.0` has 4 and `result.1` has 1", run.stderr)

    def test_probabilities(self):
        def logistic(z):
            return 1 / (1 + math.exp(-z))
        sums = [-5, -1, 3, 7]
        for name, body, probabilities in (("a sigmoid behind a view", "sigmoid(sum((x - 4) * w, over: C)) as [B]", [logistic(z) for z in sums]),
                                          ("scores", "sum((x - 4) * w, over: C) as [B]", [logistic(z) for z in sums]),
                                          ("an exponential is no softmax", "(exp(sum((x - 4) * w, over: C) / 8) / 4) as [B]", [logistic(math.exp(z / 8) / 4) for z in sums])):
            with self.subTest(name):
                loss = "M(x)" if body.startswith("sigmoid") else "binary_cross_entropy(M(x), y)"  # what says that a model gives scores of two classes
                data = 'x[2] : f32 = csv("x.csv")\n  y : f32 = csv("x.csv", columns: 0)'
                file = self.trained(loss, f"model M(x[B, C]) -> [B] {{ param w[1, C] = 1\n  ({body}) }}", data=data)
                lines = self.nnc("predict", file, "--weights", "w.safetensors", "--input", "x=x.csv", "--classes").stdout.splitlines()
                self.assertEqual(lines[0], "class,probability")
                for line, p in zip(lines[1:], probabilities):
                    kind, probability = line.split(",")
                    self.assertEqual(int(kind), int(p >= 0.5))
                    self.assertAlmostEqual(float(probability), max(p, 1 - p), places=5)

    def test_large_integers_in_json(self):
        self.write("k.csv", "9007199254740993\n-3\n")
        file = self.trained("mean(f32(M(k)) * 0)", "model M(k[B] : i64) -> [B] : i64 { k }", data='k : i64 = csv("k.csv")')
        lines = self.nnc("predict", file, "--weights", "w.safetensors", "--input", "k=k.csv", "--json").stdout.splitlines()
        self.assertEqual([json.loads(line)["result"] for line in lines], [9007199254740993, -3])
        file = self.trained("P(k)", "model M(k[B] : i64) -> [B] : i64, [] : i64 { k, max(k) - 0 }", "layer P(k[B] : i64) { let a, b = M(k)\n  f32(a) * 0 + b }",
                            data='k : i64 = csv("k.csv")')
        self.write("k.csv", "16777217\n-3\n")
        lines = self.nnc("predict", file, "--weights", "w.safetensors", "--input", "k=k.csv", "--json").stdout.splitlines()
        self.assertEqual([json.loads(line)["result.1"] for line in lines], [16777217, 16777217])


class Indices(Predict):
    """An index outside of its table is refused before anything is computed from it."""

    MODEL = "dim V = 4\nmodel M(x[B] : i32) -> [B] { param w[V] = 1\n  w[V: x] }"

    def test_everywhere(self):
        self.write("i.csv", "0\n3\n1\n")
        file = self.trained("M(x)", self.MODEL, data='x : i32 = csv("i.csv")\n test last 34%')
        for value, row in ((4, 2), (-1, 1), (2**31 - 1, 3)):
            cells = [0, 3, 1]
            cells[row - 1] = value
            self.write("bad.csv", "".join(f"{cell}\n" for cell in cells))
            said = f"`x` is {value} in row {row}, but the table has 4 entries (0..3)"
            with self.subTest(value=value):
                self.refused(said, file, x="bad.csv", code="E0510")
                for command in (("train", file, "--data", "x=bad.csv"), ("eval", file, "--weights", "w.safetensors", "--data", "x=bad.csv")):
                    run = self.run_nnc(*command)
                    self.assertEqual(run.returncode, 1)
                    self.assertIn("error[E0510]: " + said, run.stderr)
        run = self.run_nnc("run", file, "--fn", "M", "--weights", "w.safetensors", "--input", f"x={self.npy([0, 7])}")
        self.assertEqual(run.returncode, 1)
        self.assertIn("`x` is 7 in row 2", run.stderr)

    def npy(self, values):
        header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({len(values)},), }}"
        header += " " * (63 - (10 + len(header)) % 64) + "\n"
        path = self.folder / "i.npy"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack(f"<{len(values)}i", *values))
        return path


class OnlyInEvaluation(Predict):
    def test_parameters(self):
        for kind in ("frozen param m[C] = 5", "param m[C] = 5", "state m[C] = 5"):
            with self.subTest(kind=kind):
                layer = f"layer Ev(x[B, C]) -> [B, C] {{\n  if training {{ x }} else {{\n    {kind}\n    x * m\n  }}\n}}"
                file = self.write("ev.nn", f'data d {{ x[2] : f32 = csv("x.csv") }}\n{layer}\nmodel M(x[B, 2]) -> [B, 2] {{ param w[] = 1\n  w * (x |> Ev) }}\n' + self.TRAIN.format(call="M(x)"))
                run = self.run_nnc("check", file)
                self.assertEqual(run.returncode, 1)
                self.assertIn("error[E0203]: `ev1.m` exists only where `training` is false", run.stderr)


if __name__ == "__main__":
    unittest.main()
