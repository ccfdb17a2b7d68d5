// Scans in the language, by the interpreter: what they carry and give, in which order and dimensions, and the recurrent layers of std by their formulas.
#include <cmath>

#include "base/philox.h"
#include "tests/unit/frontend_fixture.h"
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

const Tensor three_by_two = tensor({3, 2}, {1, 10, 2, 20, 3, 30});  // x[T, C]

/// Of a program whose tests are all to hold.
void check_tests(const std::string& program) {
  INFO(program);
  Loaded l = load(program);
  INFO(l.errors());
  REQUIRE(l.module);
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

TEST_CASE("a scan stacks what it yields, and gives its carries without a yield", "[frontend][scan]") {
  check_values(run("fn f(x[T, C]) { scan t in T with h[C] = 0 { update h = h + x[T: t]\n yield h } }", "f", {{"x", three_by_two}}), {1, 10, 3, 30, 6, 60});
  check_values(run("fn f(x[T, C]) { scan t in reverse T with h[C] = 0 { update h = h + x[T: t]\n yield h } }", "f", {{"x", three_by_two}}), {6, 60, 5, 50, 3, 30});
  check_values(run("fn f(x[T, C]) { scan t in T with h[C] = 0 { update h = 2 * h + x[T: t] } }", "f", {{"x", three_by_two}}), {11, 110});
  check_values(run("fn f(x[T, C]) { scan t in T { yield 2 * x[T: t] } }", "f", {{"x", three_by_two}}), {2, 20, 4, 40, 6, 60});
  // What is yielded before an update is the value of the step before.
  check_values(run("fn f(x[T, C]) { scan t in T with h[C] = 5 { yield h\n update h = x[T: t] } }", "f", {{"x", three_by_two}}), {5, 5, 1, 10, 2, 20});
}

TEST_CASE("several values are carried and yielded", "[frontend][scan]") {
  const std::string program = R"(
fn f(x[T, C]) {
  let a, b = scan t in T with a[C] = 0, b = 1 { update a = a + b * x[T: t]; update b = 2 * b; yield a, b }
  a + b
}
fn last(x[T, C]) {
  let a, b = scan t in T with a[C] = 0, b = 1 { update a = a + b * x[T: t]; update b = 2 * b }
  a + b
})";
  check_values(run(program, "f", {{"x", three_by_two}}), {3, 12, 9, 54, 25, 178});
  check_values(run(program, "last", {{"x", three_by_two}}), {25, 178});
}

TEST_CASE("a carried value has the type that is declared, a number that of f32", "[frontend][scan]") {
  check_values(run("fn f(x[T, C]) { let n = scan t in T with n: i32 = 0 { update n = 3 * n + t + 1 }\n x * f32(n) }", "f", {{"x", three_by_two}}),
               {18, 180, 36, 360, 54, 540});  // ((1)*3 + 2)*3 + 3
  check_values(run("fn f(x[T, C]) { scan t in T with n: i64 = 9007199254740993 { yield n // 2 - 4503599627370495 } }", "f", {{"x", three_by_two}}), {1, 1, 1});
  Loaded l = load("fn f(x[T, C]) { scan t in T with n: i32 = 0 { update n = n + t; yield n } }");
  Diagnostics diagnostics;
  std::optional<BuiltGraph> built = l.module->build_definition("f", {argument("x", {3, 2})}, {}, diagnostics);
  REQUIRE(built);
  CHECK(built->graph.type(built->graph.outputs[0].node) == Type{DType::i32, {{3, false}}});
}

TEST_CASE("steps stand behind the rows, else first", "[frontend][scan]") {
  // A definition's head takes dimensions in its own order.
  check_tests(data + R"(
dim T = 2, C = 2
fn sums(x[B, T, C]) { scan t in T with h[B, C] = 0 { update h = h + x[T: t]; yield h } }
fn means(x[B, T, C]) { scan t in T { yield mean(x[T: t], over: B) } }
fn of_rows(x[B, T, C]) { sum(x) }
fn of_none(x[T, C]) { sum(x) }
train { data d
 let y = x as [B, T, C]
 minimize of_rows(sums(y)) + of_none(means(y))
 using sgd(lr: 1)
 epochs 1 }
)");
  check_tests(R"(
fn sums(x[B, T, C]) { scan t in T with h[B, C] = 0 { update h = h + x[T: t]; yield h } }
fn fixed(x[B, T, C]) -> [B, T, C] { scan t in T with h[B, C] = 0 { update h = h + x[T: t]; yield h } }
test "t" { expect shape(sums(zeros([5, 3, 2]))) == [3, 5, 2]
 expect shape(fixed(zeros([5, 3, 2]))) == [5, 3, 2] }
)");
}

TEST_CASE("scans stand in one another, in and around `repeat` and `if`", "[frontend][scan]") {
  const std::string inner = R"(
fn f(x[T, C]) {
  scan t in T with h = 0 {
    let row = x[T: t]
    update h = scan c in C with s = h { update s = 2 * s + row[C: c] }
    yield h
  }
})";
  check_values(run(inner, "f", {{"x", three_by_two}}), {12, 72, 324});
  check_values(run("fn f(x[T, C]) { scan t in T with h[C] = 0 { repeat 2 as i { update h = h + (i + 1) * x[T: t] }; yield h } }", "f", {{"x", three_by_two}}),
               {3, 30, 9, 90, 18, 180});
  check_values(run("fn f(x[T, C]) { let y = x\n repeat 2 { update y = scan t in T with h[C] = 0 { update h = h + y[T: t]; yield h } }\n y }", "f", {{"x", three_by_two}}),
               {1, 10, 4, 40, 10, 100});
  check_values(run("fn f(x[T, C]) { scan t in T with h[C] = 0 { if C == 2 { update h = h + x[T: t] } else { update h = 7 }; yield h } }", "f", {{"x", three_by_two}}),
               {1, 10, 3, 30, 6, 60});
  check_values(run("fn f(x[T, C]) { scan t in T with h[C] = 0 { let a = x[T: t]\n update h = where(t > 0, h + a, a)\n if C > 1 { yield h } } }", "f", {{"x", three_by_two}}),
               {1, 10, 3, 30, 6, 60});
}

TEST_CASE("a step reads what is outside, at its own place and at others", "[frontend][scan]") {
  check_values(run("fn f(x[T, C]) { let m = max(x, over: T)\n scan t in T { yield m - x[T: t] } }", "f", {{"x", three_by_two}}), {2, 20, 1, 10, 0, 0});
  check_values(run("fn f(x[T, C]) { dim S = T - 1\n scan t in S { yield x[T: t + 1] - x[T: t] } }", "f", {{"x", three_by_two}}), {1, 10, 1, 10});
  check_values(run("fn f(x[T, C]) { dim S = T - 1\n scan t in S { yield x[T: t] } }", "f", {{"x", three_by_two}}), {1, 10, 2, 20});
}

TEST_CASE("a layer or parameter in a scan is one for all steps", "[frontend][scan]") {
  const std::string program = R"(
layer f(x[T, C]) {
  scan t in T with h[C] = 0 {
    param w[C] = 1
    update h = x[T: t] |> scale: Scale
    yield h * w
  }
}
layer Scale(x[...]) { param s = 1
 x * s })";
  check_values(run(program, "f", {{"x", three_by_two}}, {{"w", tensor({2}, {1, 2})}, {"scale.s", tensor({}, {3})}}), {3, 60, 6, 120, 9, 180});
}

TEST_CASE("gradients go through a scan", "[frontend][scan]") {
  check_tests(R"(
fn cell(x[T]) { scan t in T with h = 1 { update h = h * x[T: t] } }
fn all(x[T]) { sum(scan t in reverse T with h = 0 { update h = tanh(h + x[T: t]); yield h * h }) }
fn both(x[T], w) { sum(scan t in T with h = 0, c = 1 { update c = c * sigmoid(w * h) + x[T: t]; update h = tanh(c); yield h }) }
test "a product" {
  expect gradient(cell)([2, 3, 5]) == [15, 10, 6]
  check_gradients all([0.5, 0.25, -1])
  check_gradients both([0.5, 0.25, -1], 0.75)
}
)");
}

// docs/numbers.md, Random numbers.
TEST_CASE("a draw in a scan is one for all steps, which count as a dimension in front of the others", "[frontend][scan][random]") {
  auto expected = [](int64_t count) {
    std::vector<double> values;
    for (int64_t e = 0; e < count; ++e) values.push_back(draw_unit(make_draw_key(0, "#0"), 0, 0, uint64_t(e)));
    return values;
  };
  check_values(run("fn f(x[T, C]) { scan t in T { yield uniform_like(x[T: t]) } }", "f", {{"x", three_by_two}}), expected(6));
  check_values(run("fn f(x[T, C]) { scan t in reverse T { yield uniform_like(x[T: t]) } }", "f", {{"x", three_by_two}}), expected(6));
  // In one another: outer steps, inner steps, the value's own dimensions.
  check_values(run("fn f(x[T, C]) { scan t in T { yield scan s in 2 { yield uniform_like(x[T: t]) } } }", "f", {{"x", three_by_two}}), expected(12));
}

TEST_CASE("values are stored under the names that are asked for", "[frontend]") {
  const std::string program = R"(
layer f(x[T, C]) {
  let y = x
  repeat 2 as i {
    let end = if i == 0 { "" } else { "_last" }
    param weight[C] as "w_l{i}{end}" = 1
    update y = y * weight
  }
  y |> inner: Inner
}
layer Inner(x[...]) { param a as "b" = 1
 state c: i64 as "d" = 0
 update c = c + 1
 x * a })";
  check_values(run(program, "f", {{"x", three_by_two}},
                   {{"w_l0", tensor({2}, {1, 2})}, {"w_l1_last", tensor({2}, {3, 4})}, {"inner.b", tensor({}, {1})}, {"inner.d", tensor({}, {0}, DType::i64)}}),
               {3, 80, 6, 160, 9, 240});
}

TEST_CASE("recurrent layers are their formulas", "[frontend][std]") {
  const Tensor x = tensor({1, 2, 1}, {0.5, -1});  // one row, two steps, one number
  auto one = [](double value) { return tensor({1}, {value}); };
  auto column = [](std::vector<double> values) {
    const int64_t n = int64_t(values.size());
    return tensor({n, 1}, std::move(values));
  };
  const double first = std::tanh(0.5 * 2 + 0.1 + 0.2), second = std::tanh(-1 * 2 + 0.1 + 0.2 + 3 * first);
  std::map<std::string, Tensor> weights{{"rnn1.weight_ih_l0", column({2})}, {"rnn1.weight_hh_l0", column({3})}, {"rnn1.bias_ih_l0", one(0.1)}, {"rnn1.bias_hh_l0", one(0.2)}};
  check_values(run("layer f(x[B, T, C]) { x |> Rnn(1) }", "f", {{"x", x}}, weights), {first, second});
  check_values(run("layer f(x[B, T, C]) { x |> Rnn(1, nonlinearity: relu) }", "f", {{"x", x}}, weights), {1.3, 2.2});

  double h = 0, c = 0;
  std::vector<double> expected;
  for (double in : {0.5, -1.0}) {
    const double r = sigmoid(in * 0.1 + 0.2 * h), z = sigmoid(in * 0.3 + 0.4 * h), n = std::tanh(in * 0.5 + r * (0.6 * h));
    h = (1 - z) * n + z * h;
    expected.push_back(h);
  }
  check_values(run("layer f(x[B, T, C]) { x |> Gru(1, bias: false) }", "f", {{"x", x}},
                   {{"gru1.weight_ih_l0", column({0.1, 0.3, 0.5})}, {"gru1.weight_hh_l0", column({0.2, 0.4, 0.6})}}),
               expected);

  h = 0;
  expected.clear();
  for (double in : {0.5, -1.0}) {
    const double i = sigmoid(in * 0.1 + 0.2 * h), f = sigmoid(in * 0.3 + 0.4 * h), g = std::tanh(in * 0.5 + 0.6 * h), o = sigmoid(in * 0.7 + 0.8 * h);
    c = f * c + i * g;
    h = o * std::tanh(c);
    expected.push_back(h);
  }
  const std::map<std::string, Tensor> lstm{{"lstm1.weight_ih_l0", column({0.1, 0.3, 0.5, 0.7})}, {"lstm1.weight_hh_l0", column({0.2, 0.4, 0.6, 0.8})}};
  check_values(run("layer f(x[B, T, C]) { x |> Lstm(1, bias: false) }", "f", {{"x", x}}, lstm), expected);
  check_values(run("layer f(x[B, T, C]) { let y, h, c = x |> Lstm(1, bias: false, states: true)\n c }", "f", {{"x", x}}, lstm), {c});
}

TEST_CASE("parameters of recurrent layers have PyTorch's names, order, shapes and bounds", "[frontend][std]") {
  auto parameters = [](const std::string& layer) {
    Loaded l = load("layer f(x[B, T, C]) { x |> r: " + layer + " }");
    INFO(l.errors());
    Diagnostics diagnostics;
    std::optional<BuiltGraph> built = l.module->build_definition("f", {argument("x", {2, 3, 4})}, {}, diagnostics);
    REQUIRE(built);
    std::string text;
    for (const ParameterSpec& p : built->parameters) {
      text += p.persistent.name.substr(2) + "[";
      for (const Extent& e : p.persistent.type.shape) text += (text.back() == '[' ? "" : ", ") + std::to_string(e.size);
      text += "] ";
      CHECK(p.initializer.kind == Initializer::Kind::uniform);
      CHECK(p.initializer.b == Approx(1 / std::sqrt(5)));
    }
    return text;
  };
  CHECK(parameters("Rnn(5, bidirectional: true)") ==
        "weight_ih_l0[5, 4] weight_hh_l0[5, 5] bias_ih_l0[5] bias_hh_l0[5] weight_ih_l0_reverse[5, 4] weight_hh_l0_reverse[5, 5] bias_ih_l0_reverse[5] bias_hh_l0_reverse[5] ");
  CHECK(parameters("Gru(5, layers: 2, bias: false)") == "weight_ih_l0[15, 4] weight_hh_l0[15, 5] weight_ih_l1[15, 5] weight_hh_l1[15, 5] ");
  CHECK(parameters("Lstm(5, layers: 2, projection: 3)") ==
        "weight_ih_l0[20, 4] weight_hh_l0[20, 3] bias_ih_l0[20] bias_hh_l0[20] weight_hr_l0[3, 5] weight_ih_l1[20, 3] weight_hh_l1[20, 3] bias_ih_l1[20] bias_hh_l1[20] "
        "weight_hr_l1[3, 5] ");
}

TEST_CASE("options of recurrent layers", "[frontend][std][diagnostics]") {
  auto of = [](const std::string& layer) { return "layer f(x[B, T, C]) { x |> " + layer + " }"; };
  check_sayings({
      {of("Rnn(4, layers: 2, dropout: 0.5)"), ""},
      {of("Rnn(4, layers: 0)"), "E0104 `Rnn(4, layers: 0)`: there is a whole number of layers, at least 1, found 0\n  label `Rnn(4, layers: 0)`: in this call of `Rnn`"},
      {of("Gru(4, dropout: 2)"), "E0104 `Gru(4, dropout: 2)`: `dropout` is between 0 and 1, found 2\n  label `Gru(4, dropout: 2)`: in this call of `Gru`"},
      {of("Lstm(4, projection: 4)"),
       "E0104 `Lstm(4, projection: 4)`: a projection has fewer numbers than the 4 of the cell, found 4\n  label `Lstm(4, projection: 4)`: in this call of `Lstm`"},
  });
}

}  // namespace nnc::frontend_tests
