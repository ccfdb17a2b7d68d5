// What is made again behind sums over rows: the same bits, and in a batch norm nothing of x - mean stands in memory.
#include "passes/recompute.h"

#include "ir/interpreter.h"
#include "passes/dead_code.h"
#include "passes/pipeline.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;

namespace {

/// (x - mean) / variance of a convolution by 1 over x[B, C, W], channels by channels.
Graph normalised() {
  Graph graph;
  Builder b(graph);
  const Extent rows{1, true};
  const NodeId x = b.input("x", {DType::f32, {rows, {8}, {32}}});
  const NodeId w = b.parameter({"w", {DType::f32, {{16}, {8}}}, PersistentKind::parameter, {}});
  const NodeId y = b.contract(x, w, {0, 1, 2}, {3, 1}, {0, 3, 2});
  auto mean = [&](NodeId n) { return b.expand(b.mean(n, {0, 2}), {0, 2}, n); };
  const NodeId centred = b.sub(y, mean(y));
  graph.outputs.push_back({"result", b.div(centred, mean(b.mul(centred, centred)))});
  return graph;
}

}  // namespace

TEST_CASE("what is made again behind a sum has the same bits", "[passes]") {
  const Graph before = normalised();
  Graph after = before;
  recompute(after);
  remove_dead_code(after);
  CHECK(verify_graph(after).empty());
  CHECK(after.size() == before.size() + 1);
  const Bindings bindings = test::random_bindings(before, 3, 1);
  const auto expected = interpret(before, bindings).outputs.at("result").values, got = interpret(after, bindings).outputs.at("result").values;
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(double(got[i]) == double(expected[i]));
  Graph again = after;
  recompute(again);
  CHECK(print_graph(again, nullptr) == print_graph(after, nullptr));
}

TEST_CASE("of a batch norm one value of the images' size stands in memory", "[passes]") {
  Graph graph = normalised();
  optimize_graph(graph);
  LowerOptions options;
  options.rows = 4;
  const Program program = build_program(graph, options);
  int whole = 0;
  for (const Buffer& b : program.buffers) whole += b.kind == BufferKind::temporary && b.shape.size() == 3;
  CHECK(whole == 1);
}
