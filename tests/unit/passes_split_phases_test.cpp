// Contractions with windows that divide, before and after they are split by phases, in the graph interpreter; sizes, strides, borders and directions are random.
#include <fmt/format.h>

#include <random>

#include "ir/interpreter.h"
#include "ir/window.h"
#include "passes/dead_code.h"
#include "passes/split_phases.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;

namespace {

bool divides(const Graph& graph) {
  for (const Node& node : graph.nodes())
    if (node.op == Op::window && node.attributes.divide > 1) return true;
  return false;
}

}  // namespace

TEST_CASE("phases of a contraction's windows have the values of the whole", "[passes]") {
  int split = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    auto pick = [&](int64_t low, int64_t high) { return low + int64_t(random() % uint64_t(high - low + 1)); };
    Graph graph;
    Builder b(graph);
    const int windows = int(pick(1, 2));
    // y[B, o, ...], w[o, c, taps ...]; labels: 0 = B, 1 = o, 2 = c, then an axis and its taps for each window.
    Shape y{Extent{1, true}, Extent{pick(1, 3), false}}, w{y[1], Extent{pick(1, 3), false}};
    std::vector<int64_t> taps;
    for (int i = 0; i < windows; ++i) {
      y.push_back(Extent{pick(1, 6), false});
      taps.push_back(pick(1, 5));
      w.push_back(Extent{taps.back(), false});
    }
    NodeId x = b.input("y", Type{DType::f32, y});
    const NodeId weights = b.parameter({"w", Type{DType::f32, w}, PersistentKind::parameter, {}});
    std::vector<int> lhs{0, 1}, rhs{1, 2}, out{0, 2};
    for (int i = 0; i < windows; ++i) {
      lhs.push_back(3 + 2 * i);
      rhs.push_back(4 + 2 * i);
      out.push_back(3 + 2 * i);
    }
    for (int i = 0; i < windows; ++i) {
      Shape repeated = graph.type(x).shape;
      std::vector<int> axes;
      for (int axis = 0; axis < graph.type(x).rank(); ++axis) axes.push_back(axis);
      repeated.push_back(Extent{taps[size_t(i)], false});
      x = b.broadcast(x, repeated, axes);
      lhs.push_back(4 + 2 * i);
      const int64_t divide = pick(1, 4);
      const int64_t stride = pick(1, 6) == 1 ? 2 : 1, dilation = pick(1, 6) == 1 ? 2 : 1;  // 2: not split
      x = b.window(x, make_window({2 + i, int(repeated.size()) - 1}, Extent{pick(1, 12), false}, stride, pick(0, 1) ? dilation : -dilation, pick(-4, 4), divide));
    }
    graph.outputs.push_back({"x", b.contract(x, weights, lhs, rhs, out)});
    Graph after = graph;
    split_phases(after);
    remove_dead_code(after);
    INFO("seed " << seed << "\n" << print_graph(graph, nullptr) << print_graph(after, nullptr));
    CHECK(verify_graph(after).empty());
    split += divides(graph) && !divides(after);
    const int64_t rows = pick(1, 3);
    const Bindings bindings = test::random_bindings(graph, rows, seed);
    const auto expected = interpret(graph, bindings).outputs.at("x").values, got = interpret(after, bindings).outputs.at("x").values;
    REQUIRE(got.size() == expected.size());
    for (size_t i = 0; i < got.size(); ++i) CHECK(double(got[i]) == Approx(double(expected[i])).margin(1e-12));
  }
  CHECK(split > 20);
}
