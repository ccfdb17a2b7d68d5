// The log of fusion changes no decision, and every temporary of a program has a reader with a reason.
#include "passes/fusion_report.h"

#include <algorithm>

#include "passes/pipeline.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

/// exp(x w - max) w * x: a row-wise kernel between two contractions.
Graph softmax_between_contractions() {
  Graph graph;
  Builder b(graph);
  Extent rows{1, true};
  NodeId x = b.input("x", {DType::f32, {rows, {16}}}), w = b.parameter({"w", {DType::f32, {{8}, {16}}}, PersistentKind::parameter, {}});
  NodeId logits = b.contract(x, w, {0, 1}, {2, 1}, {0, 2});
  NodeId top = b.expand(b.reduce(Op::reduce_max, logits, {1}), {1}, logits);
  NodeId powers = b.unary(Op::exp, b.sub(logits, top));
  graph.outputs.push_back({"result", b.mul(b.contract(powers, w, {0, 1}, {1, 2}, {0, 2}), x)});
  return graph;
}

}  // namespace

TEST_CASE("fusion decides alike with and without a log") {
  Graph plain = softmax_between_contractions(), logged = plain;
  optimize_graph(plain);
  FusionLog log;
  optimize_graph(logged, {.log = &log});
  CHECK(print_graph(plain, nullptr) == print_graph(logged, nullptr));
}

TEST_CASE("every temporary has a reason at each of its readers") {
  Graph graph = softmax_between_contractions();
  FusionLog log;
  optimize_graph(graph, {.log = &log});
  LowerOptions options;
  options.rows = 4;
  Program program = build_program(graph, options);
  std::vector<StoredValue> stored = stored_values(graph, program, log);
  std::vector<FusionRefusal> found;
  for (const StoredValue& v : stored) {
    CHECK(v.writers.size() == 1);
    CHECK(!v.reads.empty());
    for (const StoredRead& r : v.reads) {
      found.push_back(r.reason);
      if (r.reason == FusionRefusal::contraction_operand) CHECK(graph[r.witness].op == Op::contract);
    }
  }
  // The logits are reduced after a contraction; the exponentials are another contraction's operand.
  CHECK(std::count(found.begin(), found.end(), FusionRefusal::reduction_of_contraction) == 1);
  CHECK(std::count(found.begin(), found.end(), FusionRefusal::contraction_operand) == 1);
}
