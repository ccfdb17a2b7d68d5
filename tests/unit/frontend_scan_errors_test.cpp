// What nnc says of scans that mean nothing, and of names under which values are stored.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

/// In a layer of x[B, T, C].
std::string layer(const std::string& body) { return "layer L(x[B, T, C]) {\n" + body + "\n}"; }

}  // namespace

TEST_CASE("what a scan goes along", "[frontend][diagnostics]") {
  const std::string model = data + "fn steps(x[B, T]) { scan t in B { yield x[B: t] } }\ntrain { data d\n minimize sum(steps(x))\n using sgd(lr: 1)\n epochs 1 }";
  check_sayings({
      {model, "E0113 `B`: a scan cannot go along the rows of a batch: they have no order, and their number is known only at run time\n"
              "  label `steps(x)`: in this call of `steps`\n  help the steps of a sequence are a dimension of their own, `x[B, T, C]`"},
      {layer("scan t in Steps { yield x[T: t] }"), "E0201 `Steps`: unknown name `Steps`"},
      {layer("scan t in \"T\" { yield x[T: t] }"), "E0206 `\"T\"`: a size is needed here, and `\"T\"` is none"},
      {layer("scan t in x { yield x[T: t] }"), "E0206 `x`: a scan goes along a dimension, and `x` is known only while a step runs\n"
                                                "  help all rows take the same steps; what a row has come to by its own length stays with `update h = where(t < length, ..., h)`"},
      {"layer L(x[B, T, C], length[B]: i32) {\nscan t in length with h[B, C] = 0 { update h = h + x[T: t] } }",
       "E0206 `length`: a scan goes along a dimension, and `length` is known only while a step runs\n"
       "  help all rows take the same steps; what a row has come to by its own length stays with `update h = where(t < length, ..., h)`"},
      {"layer L(x[B, T, C], length[B]: i32) {\nscan t in T with h[B, C] = 0 { update h = where(t < length, h + x[T: t], h) } }", ""},
      {"fn f(x[S, T]) { scan t in T { yield x[S: t] } }\ntest \"t\" { expect shape(f(zeros([3, 4]))) == [4, 4] }",
       "E0114 `x[S: t]`: `t` goes from 0 to 3, and what it selects from has 3 entries\n  label `f(zeros([3, 4]))`: in this call of `f`\n  label `T`: 4 steps"},
  });
}

TEST_CASE("what a scan carries and gives", "[frontend][diagnostics]") {
  const std::string keeps = "each step keeps the dimensions of what is carried: ";
  const std::string gives = "`yield` before it stacks it over the steps; without a `yield` a scan gives what it carries, as it is at the end";
  check_sayings({
      {layer("scan t in T with h = 0 {\n update h = h + x[T: t]\n yield h }"),
       "E0112 `h + x[T: t]`: `h` is [], and its new value is [B, C]\n  help " + keeps + "`with h[B, C] = ...` has them from the beginning"},
      {layer("scan t in T with h[B, C] = 0 {\n update h = x\n yield h }"),
       "E0112 `x`: `h` is [B, C], and its new value is [B, T, C]\n  help " + keeps + "`with h[B, T, C] = ...` has them from the beginning"},
      {layer("scan t in T with h[B, C] = 0 {\n update h = x[T: t] |> Dense(2 * C)\n yield h }"),
       "E0112 `x[T: t] |> Dense(2 * C)`: `h` is [B, C], and its new value is [B, 2*C]\n  help " + keeps + "`with h[B, 2*C] = ...` has them from the beginning"},
      {layer("scan t in T with h[B, C] = 0 {\n update h = concat(h, x[T: t], over: C)\n yield h }"),
       "E0112 `concat(h, x[T: t], over: C)`: `h` is [B, C], and its new value is [B, 2*C]\n  help " + keeps + "`with h[B, 2*C] = ...` has them from the beginning"},
      {layer("scan t in T with h[B, 5] = 0 {\n update h = x[T: t] |> Dense(4)\n yield h }"),
       "E0101 `x[T: t] |> Dense(4)`: `update` cannot align [B, 5] with [B, 4]: 5 against 4\n  label `h`: [B, 5], declared at t.nn:2\n  label `x[T: t] |> Dense(4)`: [B, 4], from `Dense(4)` at t.nn:3\n  help " + keeps +
           "`with h[B, 4] = ...` has them from the beginning"},
      {layer("scan t in T with h[B, C]: i32 = 0 {\n update h = h + x[T: t]\n yield h }"),
       "E0206 `h + x[T: t]`: `h` is i32, and its new value is f32\n  help convert it: `i32(...)` takes the fraction away"},
      {layer("scan t in T with h[B, C] = \"0\" { yield h }"), "E0206 `\"0\"`: a tensor is needed here, found a text"},
      {layer("scan t in T with t[B, C] = 0 { yield t }"), "E0205 `t`: two values of this scan are called `t`\n  label `t`: the first"},
      {layer("scan t in T with h = 0, h = 1 { yield h }"), "E0205 `h`: two values of this scan are called `h`\n  label `h`: the first"},
      {layer("scan t in T with H = 0 { yield x }"), "E0208 `H`: `H` begins with a capital, as dimensions do"},
      {layer("let a = x\nscan t in T with h[B, C] = 0 {\n update a = x + 1\n yield h }"),
       "E0208 `a`: `a` stands outside of this `scan`, whose steps cannot change it\n  label `a`: made here\n  help carry it: `scan ... with a = a { ... update a = ... }`"},
      {layer("scan t in T with h[B, C] = 0 {\n let h = h + x[T: t]\n yield h }"),
       "E0214 `h`: this `let h` makes a new `h`, which the next step does not see\n  label `h`: this `h` is carried\n  help for the next step, write `update h = ...`"},
      {layer("scan t in T with h[B, C] = 0 {\n let g = h\n update h = g + x[T: t]\n h }"), "E0208 `h`: the last line of a `scan` is not its result\n  help " + gives},
      {layer("scan t in T { let a = x[T: t] }"),
       "E0213 `scan t in T { let a = x[T: t] }`: this scan gives nothing\n"
       "  help `yield` stacks a value over the steps; `with h[B, H] = 0` carries one from step to step"},
      {layer("scan t in T {\n yield x[T: t]\n yield x[T: t] }"), "E0208 `yield x[T: t]`: a scan yields once\n  label `yield x[T: t]`: the first\n  help `yield a, b` stacks several values"},
      {layer("scan t in T { repeat 2 { yield x[T: t] } }"),
       "E0208 `yield x[T: t]`: a scan yields once, and this is written out several times\n  note `repeat` unrolls its body"},
      {layer("scan t in T { yield x[T: t], \"a\" }"), "E0206 `\"a\"`: a tensor is needed here, found a text"},
  });
}

TEST_CASE("`yield` outside of a scan is one error", "[frontend][diagnostics]") {
  const std::string only = "E0208 `yield x`: `yield` belongs into a `scan`\n  help the result of a definition is the last expression of its body";
  check_sayings({
      {"fn f(x[B]) {\n yield x\n x }", only},
      {"fn f(x[B]) {\n yield x\n}", only},
      {"fn step(x[B]) {\n yield x\n x }\nfn f(y[B, T]) { scan t in T { yield step(y[T: t]) } }", only},
  });
}

TEST_CASE("no state changes inside a scan", "[frontend][diagnostics]") {
  const std::string carried = "\n  help a value that changes from step to step is carried: `scan t in T with h[B, H] = 0 { ... update h = ... }`";
  check_sayings({
      {layer("state n: i64 = 0\nscan t in T {\n update n = n + 1\n yield x[T: t] }"),
       "E0208 `n`: `n` is a state, and no state changes inside a `scan`\n  label `scan t in T`: in this scan" + carried},
      {"layer Count(x[...]) {\n state n: i64 = 0\n update n = n + 1\n x }\n" + layer("scan t in T { yield x[T: t] |> Count }"),
       "E0208 `n`: `n` is a state, and no state changes inside a `scan`\n  label `scan t in T`: in this scan" + carried},
      {layer("scan t in T { yield x[T: t] |> BatchNorm1d }"),
       "E0208 `BatchNorm1d`: `BatchNorm1d` updates what it keeps from batch to batch, which does not change inside a `scan`\n  label `scan t in T`: in this scan\n"
       "  note found inside `BatchNorm1d` of the standard library\n"
       "  help call it before or behind the scan, on all steps at once; inside, `LayerNorm` normalises without anything to keep"},
  });
}

TEST_CASE("scans that are too deep in one another, and long ones", "[frontend][diagnostics]") {
  auto program = [](const std::string& body, const std::string& more = "") {
    return "dim S = 30000, U = 300\nfn f(x[S]) {\n" + body + "\n}\n" + more + "test \"t\" { expect sum(f(zeros([S]))) == 0 }";
  };
  auto nested = [](int depth) {
    std::string text = "h0 + 1";
    for (int i = 0; i < depth; ++i) text = "scan t" + std::to_string(i) + " in U with h" + std::to_string(i) + " = " + (i + 1 < depth ? "h" + std::to_string(i + 1) : "0") + " { update h" + std::to_string(i) + " = " + text + " }";
    return text;
  };
  check_sayings({
      {program(nested(4)), ""},
      {program(nested(5)), "E0209 `" + nested(5) + "`: scans stand in one another 5 deep, and 4 is the most"
                           "\n  help what does not depend on the step before belongs in front of the scan, where it is computed for all steps at once"},
  });
}

TEST_CASE("names of stored values", "[frontend][diagnostics]") {
  check_sayings({
      {layer("repeat 2 as i { param w[C] as \"w_l{i}\" = 0 }\nx"), ""},
      {layer("repeat 2 as i { param w[C] as \"w_l\" = 0 }\nx"),
       "E0205 `\"w_l\"`: two rounds of this `repeat` store a value under the name `w_l`\n  help in `repeat N as i`, `{i}` in the name tells them apart"},
      {layer("param a[C] as \"w\" = 0\nparam b[C] as \"w\" = 0\nx"), "E0205 `b`: two values are stored under the name `w`\n  label `a`: the first"},
      {layer("param a[C] as \"w\" = 0\nparam w[C] = 0\nx"), "E0205 `w`: two values are stored under the name `w`\n  label `a`: the first"},
      {layer("param a[C] as \"a.b\" = 0\nx"),
       "E0012 `\"a.b\"`: nothing can be stored under the name `a.b`\n  help it is made of letters, digits and `_`; `{i}` stands for the value of i"},
      {layer("param a[C] as \"\" = 0\nx"),
       "E0012 `\"\"`: nothing can be stored under the name ``\n  help it is made of letters, digits and `_`; `{i}` stands for the value of i"},
      {layer("param a[C] as \"w{size}\" = 0\nx"), "E0201 `\"w{size}\"`: unknown name `size`"},
      {layer("param a[C] as w = 0\nx"), "E0010 `w`: expected the name under which it is stored, found `w`\n  help it stands in double quotes"},
  });
}

}  // namespace nnc::frontend_tests
