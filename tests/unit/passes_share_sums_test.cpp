// Sums of random products over rows, before and after they share their terms, in the graph interpreter.
#include "passes/share_sums.h"

#include <random>

#include "ir/interpreter.h"
#include "passes/cse.h"
#include "passes/dead_code.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;

namespace {

int row_sums(const Graph& graph) {
  int count = 0;
  for (const Node& node : graph.nodes()) count += node.op == Op::reduce_sum && graph.type(node.operands[0]).has_rows();
  return count;
}

void expect_same_values(const Graph& before, const Graph& after, int64_t rows, uint64_t seed) {
  const Bindings bindings = test::random_bindings(before, rows, seed);
  const auto expected = interpret(before, bindings).outputs, got = interpret(after, bindings).outputs;
  for (const auto& [name, tensor] : expected) {
    const auto& other = got.at(name).values;
    REQUIRE(other.size() == tensor.values.size());
    for (size_t i = 0; i < other.size(); ++i) CHECK(double(other[i]) == Approx(double(tensor.values[i])).epsilon(1e-9).margin(1e-9));
  }
}

}  // namespace

TEST_CASE("sums that share their terms have the values of those they stand for", "[passes]") {
  int fewer = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    auto pick = [&](int64_t low, int64_t high) { return low + int64_t(random() % uint64_t(high - low + 1)); };
    Graph graph;
    Builder b(graph);
    const Extent rows{1, true}, channels{pick(1, 4), false}, places{pick(1, 4), false};
    const Shape shape{rows, channels, places};
    const std::vector<int> axes = pick(0, 3) == 0 ? std::vector<int>{0} : std::vector<int>{0, 2};
    std::vector<NodeId> values{b.input("x", {DType::f32, shape}), b.input("y", {DType::f32, shape})};
    const NodeId w = b.parameter({"w", {DType::f32, {channels}}, PersistentKind::parameter, {}});
    const NodeId v = b.parameter({"v", {DType::f32, {channels, places}}, PersistentKind::parameter, {}});
    values.push_back(b.broadcast(w, shape, {1}));
    values.push_back(b.broadcast(v, shape, {1, 2}));  // constant along the rows alone
    values.push_back(b.constant(1.5, {DType::f32, shape}));
    for (int i = 0; i < 5; ++i) {
      NodeId term = values[size_t(pick(0, 1))];
      for (int64_t factors = pick(0, 3); factors > 0; --factors) {
        const NodeId factor = values[size_t(pick(0, int64_t(values.size()) - 1))];
        switch (pick(0, 3)) {
          case 0: term = b.neg(term); break;
          case 1: term = b.div(term, values[size_t(pick(2, 4))]); break;
          case 2: term = b.mul(factor, term); break;
          default: term = b.mul(term, factor);
        }
      }
      const NodeId sum = b.reduce(Op::reduce_sum, term, axes);
      graph.outputs.push_back({fmt::format("out{}", i), sum});
      values.push_back(b.expand(sum, axes, values[0]));
    }
    merge_common_subexpressions(graph);
    Graph after = graph;
    share_sums(after);
    merge_common_subexpressions(after);
    remove_dead_code(after);
    INFO("seed " << seed << "\n" << print_graph(graph, nullptr) << print_graph(after, nullptr));
    CHECK(verify_graph(after).empty());
    CHECK(row_sums(after) <= row_sums(graph));
    fewer += row_sums(after) < row_sums(graph);
    expect_same_values(graph, after, pick(1, 3), seed);
    Graph again = after;
    share_sums(again);
    merge_common_subexpressions(again);
    remove_dead_code(again);
    CHECK(print_graph(again, nullptr) == print_graph(after, nullptr));
  }
  CHECK(fewer > 50);
}

TEST_CASE("a sum of one value many times over is left alone", "[passes]") {
  Graph graph;
  Builder b(graph);
  NodeId x = b.input("x", {DType::f32, {Extent{1, true}, Extent{2, false}}});
  for (int i = 0; i < 60; ++i) x = b.mul(x, x);
  graph.outputs.push_back({"a", b.reduce(Op::reduce_sum, x, {0})});
  graph.outputs.push_back({"b", b.reduce(Op::reduce_sum, b.neg(x), {0})});
  const std::string before = print_graph(graph, nullptr);
  share_sums(graph);
  CHECK(print_graph(graph, nullptr) == before);
}
