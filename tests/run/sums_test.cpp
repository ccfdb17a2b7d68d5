// Sums of very many terms keep their digits: of values, of rows, of gradients, in contractions and per destination of a scatter. One accumulator of f32 over
// ten million equal terms is wrong in its second digit.
//
// The bound: a term passes at most the additions of its chain, those that join accumulators and lanes, and one for each level of the trees, and each rounds
// once: |error| <= (chain + 40) * 2^-24 * sum|x| (N. Higham, "Accuracy and stability of numerical algorithms", 2002, 4.2). The right value is a sum in f64,
// which is within 1e-9 of exact.
#include <fmt/format.h>

#include <cmath>

#include "ir/graph.h"
#include "ir/sum_order.h"
#include "tests/run/graph_runner.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr int64_t million = 1000000;
constexpr int64_t chain_of_sum = 256, chain_of_product = 1024;  // what docs/numbers.md promises

struct Terms {
  const char* name;
  float (*at)(int64_t);
};
const Terms terms[] = {
    {"equal", [](int64_t) { return 0.1f; }},
    {"of any size", [](int64_t i) { return float(std::ldexp(double((i * 2654435761LL) % 16777213), -int(i % 23))); }},
    {"of both signs", [](int64_t i) { return float((i * 40503LL) % 65521 - 32760) * 0.37f; }},
};

Tensor tensor_of(std::vector<int64_t> shape, const Terms& t) {
  Tensor x = make_tensor(DType::f32, std::move(shape));
  for (size_t i = 0; i < x.values.size(); ++i) x.values[i] = double(t.at(int64_t(i)));
  return x;
}

std::vector<VectorLevel> levels() {
  std::vector<VectorLevel> all{VectorLevel::portable};
  if (host_target().level >= VectorLevel::avx2) all.push_back(VectorLevel::avx2);
  if (host_target().level >= VectorLevel::avx512) all.push_back(VectorLevel::avx512);
  return all;
}

void check_sum(double got, double right, double magnitude, int64_t chain) {
  CHECK(std::fabs(got - right) <= double(chain + 40) * 0x1p-24 * magnitude);
}

}  // namespace

TEST_CASE("ten million terms: sums and means of a whole, of rows and of columns") {
  for (VectorLevel level : levels())
    for (bool rows : {true, false})
      for (const Terms& t : terms) {
        INFO(vector_level_name(level) << ", terms " << t.name << (rows ? ", along rows" : ""));
        const int64_t n = 5 * million, c = 2;
        Graph graph;
        Builder b(graph);
        NodeId x = b.input("x", {DType::f32, {rows ? Extent{1, true} : Extent{n, false}, {c, false}}});
        graph.outputs.push_back({"all", b.reduce(Op::reduce_sum, x, {0, 1})});
        graph.outputs.push_back({"mean", b.mean(x, {0, 1})});
        graph.outputs.push_back({"columns", b.reduce(Op::reduce_sum, x, {0})});
        Bindings bindings;
        bindings.rows = rows ? n : 1;
        bindings.inputs["x"] = tensor_of({n, c}, t);
        const std::vector<double>& v = bindings.inputs["x"].values;
        double sum[2] = {0, 0}, size[2] = {0, 0};
        for (size_t i = 0; i < v.size(); ++i) sum[i % 2] += v[i], size[i % 2] += std::fabs(v[i]);
        GraphRunOptions options;
        options.level = level;
        Results found = run_compiled(std::move(graph), bindings, options);
        check_sum(found.outputs["all"].values[0], sum[0] + sum[1], size[0] + size[1], chain_of_sum);
        check_sum(found.outputs["mean"].values[0], (sum[0] + sum[1]) / double(n * c), (size[0] + size[1]) / double(n * c), chain_of_sum);
        for (size_t k = 0; k < 2; ++k) check_sum(found.outputs["columns"].values[k], sum[k], size[k], chain_of_sum);
      }
}

TEST_CASE("ten million terms: a contraction over rows, and updates of few destinations") {
  for (VectorLevel level : levels())
    for (const Terms& t : terms) {
      INFO(vector_level_name(level) << ", terms " << t.name);
      const int64_t n = 10 * million;
      Graph graph;
      Builder b(graph);
      NodeId x = b.input("x", {DType::f32, {{1, true}}}), i = b.input("i", {DType::u8, {{1, true}}});
      NodeId y = b.input("y", {DType::f32, {{1, true}}});
      graph.outputs.push_back({"product", b.contract(x, y, {0}, {0}, {})});
      Attributes scatter;
      scatter.axes = {0};
      scatter.extents = {{3, false}};
      scatter.lhs = {0};
      scatter.rhs = {0};
      scatter.out = {1};
      graph.outputs.push_back({"destinations", graph.add(Op::scatter_add, {x, b.cast(i, index_type)}, scatter, {}, {})});
      Bindings bindings;
      bindings.rows = n;
      bindings.inputs["x"] = tensor_of({n}, t);
      Tensor factor = make_tensor(DType::f32, {n}), index = make_tensor(DType::u8, {n});
      double product = 0, size = 0, sums[3] = {0, 0, 0}, sizes[3] = {0, 0, 0};
      const std::vector<double>& v = bindings.inputs["x"].values;
      for (size_t k = 0; k < v.size(); ++k) {
        factor.values[k] = k % 3 == 0 ? 1 : 0.75;
        index.values[k] = k % 1000 == 0 ? 2 : 0;  // destination 1 gets nothing
        product += v[k] * factor.values[k];
        size += std::fabs(v[k] * factor.values[k]);
        sums[size_t(index.values[k])] += v[k];
        sizes[size_t(index.values[k])] += std::fabs(v[k]);
      }
      bindings.inputs["y"] = std::move(factor);
      bindings.inputs["i"] = std::move(index);
      GraphRunOptions options;
      options.level = level;
      Results found = run_compiled(std::move(graph), bindings, options);
      check_sum(found.outputs["product"].values[0], product, size, chain_of_product);
      for (size_t d = 0; d < 3; ++d) {
        double got = found.outputs["destinations"].values[d];
        CHECK(std::fabs(got - sums[d]) <= 0x1p-24 * std::fabs(sums[d]) + 1e-8 * sizes[d]);  // made in f64, rounded once
      }
    }
}

TEST_CASE("the order of sums: pieces by rows, chains by terms") {
  CHECK(pieces_of(1) == 1);
  CHECK(pieces_of(255) == 1);
  CHECK(pieces_of(256) == 2);
  CHECK(pieces_of(1000) == 4);
  CHECK(pieces_of(8191) == 32);
  CHECK(pieces_of(10 * million) == 64);
  for (int64_t rows : {1, 127, 256, 300, 5000, 70000, 1234567})
    for (int64_t size : {1, 3, 28})
      for (int64_t most : {64, 256, 1024}) {
        SumOrder order = sum_order({size, true}, rows, most);
        INFO(rows << " rows of " << size << ", chains of " << most);
        CHECK(order.chain <= most);
        CHECK(order.piece % size == 0);
        // Chain by chain through all of it: none is empty, none is longer, and pieces begin where they should.
        int64_t at = 0, number = 0;
        for (int64_t piece = 0; piece < rows * size; piece += order.piece)
          for (int64_t begin = piece; begin < std::min(piece + order.piece, rows * size); begin += order.chain, ++number) {
            CHECK(begin == at);
            at = std::min({begin + order.chain, piece + order.piece, rows * size});
          }
        CHECK(at == rows * size);
        CHECK(order.chains(rows * size) == number);
        int64_t fewer = rows * size - rows * size / 3;
        CHECK(order.chains(fewer) <= number);
        if (number == 1) CHECK_FALSE(order.cuts());
      }
}
