// Attention written by hand, and values whose rows do not stand first in the program: what the graph computes against plain
// loops.
#include <cmath>

#include "tests/unit/frontend_fixture.h"

namespace nnc::frontend_tests {
namespace {

std::vector<double> numbers(size_t n, double seed) {
  std::vector<double> values;
  for (size_t i = 0; i < n; ++i) values.push_back(std::sin(seed + 1.7 * double(i)));
  return values;
}

const std::string attention = R"(
layer Attention(Heads)(x[B, T, C]) -> [B, T, C] where C % Heads == 0 {
  dim D = C / Heads
  dim S = T
  let q = (x |> query: Dense(C)) as [B, T, Heads, D]
  let k = (x |> key:   Dense(C)) as [B, S, Heads, D]
  let v = (x |> value: Dense(C)) as [B, S, Heads, D]
  let score = sum(q * k, over: D) / sqrt(D)
  let past  = where(index(S) <= index(T), score, -inf)
  sum(softmax(past, over: S) * v, over: S) as [B, T, C] |> project: Dense(C)
}
)";

TEST_CASE("causal attention with several heads", "[frontend][attention]") {
  constexpr size_t batch = 2, time = 3, width = 4, heads = 2, depth = width / heads;
  std::map<std::string, Tensor> weights;
  double seed = 0;
  for (const char* name : {"query", "key", "value", "project"}) {
    weights[std::string(name) + ".weight"] = tensor({width, width}, numbers(width * width, seed += 0.3));
    weights[std::string(name) + ".bias"] = tensor({width}, numbers(width, seed += 0.3));
  }
  const Tensor x = tensor({batch, time, width}, numbers(batch * time * width, 0.1));
  Tensor result = run(attention, "Attention", {{"x", x}}, weights, {}, {{"Heads", heads}});
  auto dense = [&](const std::string& name, const std::vector<double>& in) {
    std::vector<double> out;
    for (size_t row = 0; row < batch * time; ++row)
      for (size_t o = 0; o < width; ++o) {
        double sum = weights[name + ".bias"].values[o];
        for (size_t i = 0; i < width; ++i) sum += in[row * width + i] * weights[name + ".weight"].values[o * width + i];
        out.push_back(sum);
      }
    return out;
  };
  std::vector<double> q = dense("query", x.values), k = dense("key", x.values), v = dense("value", x.values),
                      mixed(batch * time * width, 0);
  for (size_t b = 0; b < batch; ++b)
    for (size_t h = 0; h < heads; ++h)
      for (size_t t = 0; t < time; ++t) {
        std::vector<double> share;
        double total = 0;
        for (size_t s = 0; s <= t; ++s) {
          double score = 0;
          for (size_t d = 0; d < depth; ++d)
            score += q[(b * time + t) * width + h * depth + d] * k[(b * time + s) * width + h * depth + d];
          share.push_back(std::exp(score / std::sqrt(double(depth))));
          total += share.back();
        }
        for (size_t s = 0; s <= t; ++s)
          for (size_t d = 0; d < depth; ++d)
            mixed[(b * time + t) * width + h * depth + d] += share[s] / total * v[(b * time + s) * width + h * depth + d];
      }
  check_values(result, dense("project", mixed), 1e-9);
}

// Rows that are known at run time only, in every place of a value.
TEST_CASE("the row dimension may stand anywhere in the program", "[frontend][attention]") {
  Loaded l = load(
      "data d { x[3] : f32 = npy(\"x.npy\") }\nmodel M(x[B, In]) -> [B, In] {\n dim Out = 2, Pair = 2\n param w[Out, In] ~ "
      "normal(1)\n"
      " let y = sum(w * x, over: In)\n"               // [Out, B]
      " let p = softmax(y, over: Out) - y[Out: 1]\n"  // [Out, B]
      " let q = spread(p as [B, Out], over: Pair) as [Pair, B, Out]\n let r = q as [Out, _, Pair]\n"
      " sum((r as [B, Out, Pair]) * w, over: (Out, Pair)) }\n"
      "train { data d\n let z = M(x)\n minimize sum(z)\n using sgd(lr: 1)\n epochs 1\n report total: sum(z, over: B) }");
  INFO(l.errors());
  REQUIRE(l.module);
  Diagnostics d;
  std::optional<BuiltGraph> g = l.module->build_train_graph(d);
  REQUIRE(g);
  REQUIRE(verify_graph(g->graph).empty());
  constexpr size_t rows = 2;
  Bindings b;
  b.rows = rows;
  const std::vector<double> x = numbers(rows * 3, 1), w = numbers(6, 2);
  b.inputs["x"] = tensor({rows, 3}, x);
  b.persistents["w"] = tensor({2, 3}, w);
  std::vector<double> expected(3, 0);
  for (size_t row = 0; row < rows; ++row) {
    double y[2] = {0, 0};
    for (size_t o = 0; o < 2; ++o)
      for (size_t i = 0; i < 3; ++i) y[o] += w[o * 3 + i] * x[row * 3 + i];
    double total = std::exp(y[0]) + std::exp(y[1]);
    for (size_t o = 0; o < 2; ++o)
      for (size_t i = 0; i < 3; ++i) expected[i] += 2 * (std::exp(y[o]) / total - y[1]) * w[o * 3 + i];
  }
  Results r = interpret(g->graph, b);
  check_values(r.outputs.at("total"), expected, 1e-9);
  CHECK(r.outputs.at("loss").values[0] == Approx(expected[0] + expected[1] + expected[2]));
}

}  // namespace
}  // namespace nnc::frontend_tests
