// What docs/numbers.md promises of element-wise arithmetic: each operation is rounded once, by itself, to the nearest number of its type, whatever kernel computes
// it and what else stands there. So compiled code has the bits of C++'s own arithmetic in the same type.
#include <cmath>
#include <cstring>
#include <random>

#include "codegen/codegen.h"
#include "tests/run/graph_runner.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr Extent rows{1, true};

/// f32 operands with many digits and products that differ in their last ones.
std::vector<float> numbers(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> v(count);
  for (float& x : v) x = std::ldexp(float(int32_t(random() % 0x2000000) - 0x1000000), int(random() % 9) - 28);
  return v;
}

Tensor tensor(const std::vector<float>& v, std::vector<int64_t> shape) {
  Tensor t = make_tensor(DType::f32, std::move(shape));
  t.values.assign(v.begin(), v.end());
  return t;
}

constexpr int64_t count = 61, width = 7;

/// Fields a, b, c, d [B, width] in which b is a where `equal`.
struct Operands {
  Operands(bool equal) {
    bindings.rows = count;
    for (int k = 0; k < 4; ++k) {
      values[k] = numbers(size_t(count * width), uint64_t(k == 1 && equal ? 0 : k));
      bindings.inputs[std::string(1, char('a' + k))] = tensor(values[k], {count, width});
    }
  }
  NodeId operator()(Builder& b, char name) const { return b.input(std::string(1, name), {DType::f32, {rows, {width}}}); }
  std::vector<float> values[4];
  Bindings bindings;
};

/// Alone and fused, on every level.
template <class Check>
void on_every_road(const Graph& g, const Bindings& bindings, Check check) {
  for (VectorLevel level : host_levels())
    for (bool optimize : {false, true}) {
      INFO("level " << int(level) << (optimize ? ", fused" : ""));
      GraphRunOptions options;
      options.level = level;
      options.optimize = optimize;
      check(run_compiled(g, bindings, options));
    }
}

}  // namespace

TEST_CASE("a * a - b * b of equal operands is 0, in whichever kernel", "[run][rounding]") {
  Operands operands(true);
  Graph g;
  Builder b(g);
  NodeId p = operands(b, 'a'), q = operands(b, 'b');
  NodeId squares = b.mul(p, p), difference = b.sub(squares, b.mul(q, q));
  NodeId weight = b.parameter({"w", {DType::f32, {{width}, {3}}}, PersistentKind::parameter, {}});
  Bindings bindings = operands.bindings;
  bindings.persistents["w"] = tensor(numbers(size_t(width * 3), 9), {width, 3});
  g.outputs = {{"alone", difference},
               {"beside its product", b.mul(squares, b.add(difference, 1.0))},  // the square, if the difference is 0
               {"squares", squares},
               {"under a sum", b.reduce(Op::reduce_sum, b.unary(Op::abs, difference), {1})},
               {"before a contraction", b.contract(difference, weight, {0, 1}, {1, 2}, {0, 2})}};
  NodeId product = b.contract(p, weight, {0, 1}, {1, 2}, {0, 2}), same = b.contract(q, weight, {0, 1}, {1, 2}, {0, 2});
  g.outputs.push_back({"after a contraction", b.sub(b.mul(product, product), b.mul(same, same))});
  on_every_road(g, bindings, [](const Results& found) {
    for (const auto& [name, t] : found.outputs) {
      if (name == "squares") continue;
      INFO(name);
      const std::vector<double>& want = found.outputs.at("squares").values;
      int wrong = 0;
      for (size_t i = 0; i < t.values.size(); ++i) wrong += t.values[i] != (name == "beside its product" ? want[i] : 0);
      CHECK(wrong == 0);
    }
  });
}

TEST_CASE("element-wise arithmetic has the bits of one rounding for each operation", "[run][rounding]") {
  Operands operands(false);
  Graph g;
  Builder b(g);
  NodeId p = operands(b, 'a'), q = operands(b, 'b'), r = operands(b, 'c'), s = operands(b, 'd');
  auto by = [&](NodeId x, double c) { return b.div(x, b.constant_like(double(float(c)), x)); };
  NodeId per_row = b.slice(s, 1, 2, {1});
  NodeId repeated = b.broadcast(b.reduce(Op::reduce_sum, per_row, {1}), {rows, {width}}, {0});
  g.outputs = {{"products", b.add(b.mul(p, q), b.mul(r, s))},
               {"quotients", b.sub(b.div(p, q), b.mul(b.div(r, s), q))},
               {"constant divisors", b.add(by(p, 41), b.add(by(q, 0.1), by(r, -3)))},
               {"repeated divisor", b.div(p, repeated)},
               {"added constants", b.add(b.add(p, double(float(0.1))), double(float(1e6)))},
               {"factors", b.mul(b.mul(p, double(float(0.1))), 3.0)},
               {"roots", b.mul(b.unary(Op::sqrt, b.unary(Op::abs, p)), q)}};
  on_every_road(g, operands.bindings, [&](const Results& found) {
    int wrong = 0;
    for (size_t i = 0; i < size_t(count * width); ++i) {
      // Each in a variable of its own, so that no compiler fuses two.
      volatile float x = operands.values[0][i], y = operands.values[1][i], z = operands.values[2][i], w = operands.values[3][i];
      auto expect = [&](const char* name, float want) { wrong += float(found.outputs.at(name).values[i]) != want; };
      volatile float u = x * y, v = z * w, t;
      expect("products", u + v);
      u = x / y;
      v = z / w;
      v = v * y;
      expect("quotients", u - v);
      u = x / 41.0f;
      v = y / 0.1f;
      t = z / -3.0f;
      v = v + t;
      expect("constant divisors", u + v);
      expect("repeated divisor", x / operands.values[3][i / width * width + 2]);
      u = x + 0.1f;
      expect("added constants", u + 1e6f);
      u = x * 0.1f;
      expect("factors", u * 3.0f);
      u = std::sqrt(std::fabs(x));
      expect("roots", u * y);
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("a division by what is constant or repeated loses no range", "[run][rounding]") {
  // Reciprocals of these are 0, infinite or denormal in f32.
  Graph g;
  Builder b(g);
  const std::vector<float> tiny{1e-39f, 2e-39f, 0x1p-149f, 3e38f, 1e38f, 0x1p127f};
  NodeId x = b.input("x", {DType::f32, {rows}});
  NodeId divisor = b.parameter({"s", {DType::f32, {}}, PersistentKind::parameter, {}});
  g.outputs.push_back({"repeated", b.div(x, divisor)});
  for (size_t k = 0; k < tiny.size(); ++k) g.outputs.push_back({std::to_string(k), b.div(x, b.constant_like(double(tiny[k]), x))});
  for (float s : tiny) {
    Bindings bindings;
    bindings.rows = int64_t(tiny.size());
    bindings.inputs["x"] = tensor(tiny, {bindings.rows});
    bindings.persistents["s"] = tensor({s}, {});
    on_every_road(g, bindings, [&](const Results& found) {
      for (size_t i = 0; i < tiny.size(); ++i) {
        INFO(tiny[i] << " / " << s);
        CHECK(float(found.outputs.at("repeated").values[i]) == tiny[i] / s);
        for (size_t k = 0; k < tiny.size(); ++k) CHECK(float(found.outputs.at(std::to_string(k)).values[i]) == tiny[i] / tiny[k]);
      }
    });
  }
}

TEST_CASE("bytes divided by a constant have the bits of the division", "[run][rounding]") {
  Graph g;
  Builder b(g);
  NodeId byte = b.cast(b.input("x", {DType::u8, {rows}}), DType::f32);
  const std::vector<float> divisors{255, 41, -3, 0.1f, 1e-39f, 3e38f, 256, 127.5f, -HUGE_VALF, 0};
  for (size_t k = 0; k < divisors.size(); ++k) g.outputs.push_back({std::to_string(k), b.div(byte, b.constant_like(double(divisors[k]), byte))});
  Bindings bindings;
  bindings.rows = 256;
  bindings.inputs["x"] = make_tensor(DType::u8, {256});
  for (size_t i = 0; i < 256; ++i) bindings.inputs["x"].values[i] = double(i);
  on_every_road(g, bindings, [&](const Results& found) {
    int wrong = 0;
    for (size_t k = 0; k < divisors.size(); ++k)
      for (size_t i = 0; i < 256; ++i) {
        float got = float(found.outputs.at(std::to_string(k)).values[i]), want = float(i) / divisors[k];
        wrong += std::isnan(want) ? !std::isnan(got) : got != want || std::signbit(got) != std::signbit(want);
      }
    CHECK(wrong == 0);
  });
}

TEST_CASE("a power that becomes a root keeps the infinity of C's pow", "[run][rounding]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {rows}});
  for (double e : {0.5, -0.5, 1.5}) g.outputs.push_back({std::to_string(e), b.binary(Op::pow, x, b.constant_like(e, x))});
  Bindings bindings;
  bindings.rows = 5;
  bindings.inputs["x"] = tensor({-HUGE_VALF, HUGE_VALF, 4, 0, -0.0f}, {5});
  on_every_road(g, bindings, [&](const Results& found) {
    for (double e : {0.5, -0.5, 1.5})
      for (size_t i = 0; i < 5; ++i) {
        INFO(bindings.inputs["x"].values[i] << " ^ " << e);
        CHECK(found.outputs.at(std::to_string(e)).values[i] == std::pow(bindings.inputs["x"].values[i], e));
      }
  });
}
