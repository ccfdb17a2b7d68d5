// Scans taken apart against scans as they were: what leaves the loop, that the values stay, and that nothing is left that could leave.
#include <map>
#include <random>
#include <string>

#include "base/diagnostics.h"
#include "ir/regions.h"
#include "passes/batch_steps.h"
#include "passes/prune_scans.h"
#include "passes/rewrite_scans.h"
#include "passes/simplify.h"
#include "passes/split_scans.h"
#include "passes/step_places.h"
#include "tests/random_scan.h"
#include "tests/run/op_sweep.h"
#include "tests/unit/catch.h"
#include "tests/unit/passes_scan_gradients.h"
#include "verify/route.h"

using namespace nnc;
using namespace nnc::test;

namespace {

std::string text_of(const Graph& graph) { return print_graph(graph, nullptr); }

Graph parse(const std::string& text) {
  Diagnostics diagnostics;
  SourceMap sources;
  std::optional<Graph> graph = parse_graph(sources, sources.add("scan.nnir", text), diagnostics);
  REQUIRE(graph);
  return *graph;
}

std::vector<const Node*> scans_of(const Graph& graph) {
  std::vector<const Node*> found;
  for (const Node& node : graph.nodes())
    if (node.op == Op::scan) found.push_back(&node);
  return found;
}

/// The graph's only scan.
const Node& scan_of(const Graph& graph) {
  REQUIRE(scans_of(graph).size() == 1);
  return *scans_of(graph)[0];
}

int count(const Graph& graph, Op op) {
  return int(std::ranges::count_if(graph.nodes(), [&](const Node& node) { return node.op == op; }));
}

/// Whether a pass would still take something out of a loop, in bodies as well.
bool anything_moves(const Graph& graph, int64_t rows) {
  for (const Node* scan : scans_of(graph))
    if (place_steps(*scan, rows).anything_moves || anything_moves(*scan->attributes.body, rows)) return true;
  return false;
}

/// Taken apart, with the values it had.
Graph split_and_compare(const Graph& graph, const Bindings& at, double tolerance = 1e-12) {
  INFO(text_of(graph));
  Graph split = graph;
  split_scans(split, at.rows);
  INFO(text_of(split));
  REQUIRE(verify_graph(split).empty());
  std::optional<Difference> difference = find_difference(interpret(split, at), interpret(graph, at), tolerance);
  INFO((difference ? difference->name : ""));
  CHECK_FALSE(difference);
  Graph again = split;
  split_scans(again, at.rows);
  CHECK(text_of(again) == text_of(split));
  return split;
}

Graph split_and_compare(const std::string& text) {
  const Graph graph = parse(text);
  std::mt19937_64 random(7);
  return split_and_compare(graph, random_bindings(graph, 3, random));
}

/// Values of the steps as one sequence.
Tensor stack(const std::vector<Tensor>& slices, const Type& slice, int64_t rows) {
  Tensor sequence = make_tensor(slice.dtype, shape_at(sequence_type(slice, int64_t(slices.size())), rows));
  const size_t outer = slice.has_rows() ? size_t(slice.shape[0].at(rows)) : 1, inner = slices[0].values.size() / outer;
  for (size_t o = 0; o < outer; ++o)
    for (size_t t = 0; t < slices.size(); ++t)
      for (size_t i = 0; i < inner; ++i) {
        const size_t to = (o * slices.size() + t) * inner + i;
        sequence.values[to] = slices[t].values[o * inner + i];
        if (!slices[t].rests.empty()) {
          sequence.rests.resize(sequence.values.size());
          sequence.rests[to] = slices[t].rests[o * inner + i];
        }
      }
  return sequence;
}

}  // namespace

TEST_CASE("each operation for all steps at once gives what the steps give", "[passes][regions]") {
  constexpr int64_t steps = 3;
  std::mt19937_64 random(11);
  std::map<Op, int> batched;
  for (DType dtype : {DType::f32, DType::i32, DType::i64, DType::boolean})
    for (const OpSweep& sweep : sweeps) {
      if (op_class(sweep.op) == OpClass::leaf || op_class(sweep.op) == OpClass::region) continue;
      Sweep s(dtype, 4);
      sweep.add(s);
      for (int round = 0; round < 4; ++round) {
        std::vector<Bindings> at;
        for (int64_t t = 0; t < steps; ++t) at.push_back(s.bind(2, random));
        Bindings all = at[0];
        Graph graph;
        std::vector<StepsValue> values;
        for (uint32_t i = 0; i < s.graph.size(); ++i) {
          const NodeId id{i};
          const Node& node = s.graph[id];
          INFO(op_name(sweep.op) << " of " << dtype_name(dtype) << ", node " << i << "\n" << text_of(s.graph));
          if (node.op == Op::input || node.op == Op::parameter) {
            // The first round has sequences alone, the others what chance says.
            const bool is_sequence = round == 0 || random() % 2 == 0;
            const std::string& name = node.attributes.text;
            auto value = [&](Bindings& b) -> Tensor& { return (node.op == Op::input ? b.inputs : b.persistents).at(name); };
            std::vector<Tensor> slices;
            for (Bindings& b : at) slices.push_back(value(is_sequence ? b : at[0]));
            for (size_t t = 0; t < at.size(); ++t) value(at[t]) = slices[t];
            all.inputs[name] = is_sequence ? stack(slices, node.type, 2) : slices[0];
            values.push_back({Builder(graph).input(name, is_sequence ? sequence_type(node.type, steps) : node.type), is_sequence});
            continue;
          }
          std::vector<StepsValue> operands;
          for (NodeId operand : node.operands) operands.push_back(values[operand.value]);
          const bool has_rule = has_batching_rule(s.graph, id, steps);
          if (!has_rule) {
            // Where rows merge with other axes steps would stand within the rows.
            REQUIRE(node.op == Op::reshape);
            REQUIRE(node.type.shape[0] != s.graph.type(node.operands[0]).shape[0]);
            values.push_back({});
            continue;
          }
          if (std::ranges::any_of(operands, [](const StepsValue& v) { return !v.node.valid(); })) {
            values.push_back({});
            continue;
          }
          values.push_back(batch_steps(graph, s.graph, id, operands, steps));
          const Type& type = graph.type(values.back().node);
          CHECK(type == (values.back().is_sequence ? sequence_type(node.type, steps) : node.type));
          if (node.op == sweep.op && values.back().is_sequence) ++batched[sweep.op];
        }
        for (const Output& o : s.graph.outputs)
          if (values[o.node.value].node.valid()) {
            Builder b(graph);
            graph.outputs.push_back({o.name, as_sequence(b, values[o.node.value], steps)});
          }
        REQUIRE(verify_graph(graph).empty());
        std::vector<Results> expected;
        for (const Bindings& b : at) expected.push_back(interpret(s.graph, b));
        Results stacked;
        for (const Output& o : graph.outputs) {
          std::vector<Tensor> slices;
          for (const Results& r : expected) slices.push_back(r.outputs.at(o.name));
          const NodeId node = std::ranges::find(s.graph.outputs, o.name, &Output::name)->node;
          stacked.outputs[o.name] = stack(slices, s.graph.type(node), 2);
        }
        std::optional<Difference> difference = find_difference(interpret(graph, all), stacked, 1e-13);
        INFO(op_name(sweep.op) << " of " << dtype_name(dtype) << (difference ? ": " + difference->name : "") << "\n" << text_of(graph));
        CHECK_FALSE(difference);
      }
    }
  for (int i = 0; i < op_count; ++i) {
    INFO(op_name(Op(i)));
    if (op_class(Op(i)) != OpClass::leaf && op_class(Op(i)) != OpClass::region) CHECK(batched[Op(i)] > 0);
  }
}

TEST_CASE("taken apart, random scans and their gradients compute the same", "[passes][regions]") {
  int before = 0, after = 0, carries_before = 0, carries_after = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    INFO("seed " << seed);
    RandomScan made = random_scan(seed);
    Bindings at = made.bindings;
    const Graph graph = with_gradients(made, at);
    const Graph split = split_and_compare(graph, at);
    INFO(text_of(split));
    CHECK_FALSE(anything_moves(split, at.rows));
    for (const Node* scan : scans_of(graph)) ++before, carries_before += scan->attributes.carried;
    for (const Node* scan : scans_of(split)) ++after, carries_after += scan->attributes.carried;
  }
  CHECK(after < before);
  CHECK(carries_after < carries_before * 4 / 5);
}

TEST_CASE("so do second gradients", "[passes][regions]") {
  int checked = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    INFO("seed " << seed);
    RandomScan made = random_scan(seed);
    std::optional<Graph> graph = with_second_gradients(made);
    if (!graph) continue;
    split_and_compare(*graph, made.bindings, 1e-11);
    ++checked;
  }
  CHECK(checked > 40);
}

TEST_CASE("pruned scans have the same bits", "[passes][regions]") {
  int smaller = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    RandomScan made = random_scan(seed);
    Bindings at = made.bindings;
    Graph graph = with_gradients(made, at);
    // Some results are not read, and so one thing after the other is not.
    std::erase_if(graph.outputs, [&](const Output& o) { return (stable_hash(o.name) + seed) % 3 != 0; });
    if (graph.outputs.empty()) continue;
    Graph pruned = graph;
    prune_scans(pruned);
    INFO("seed " << seed << "\n" << text_of(graph) << text_of(pruned));
    REQUIRE(verify_graph(pruned).empty());
    CHECK_FALSE(find_difference(interpret(pruned, at), interpret(graph, at), 0));
    Graph again = pruned;
    CHECK_FALSE(prune_scans_of(again));
    smaller += text_of(pruned).size() < text_of(graph).size();
  }
  CHECK(smaller > 70);
}

TEST_CASE("compiled, what was taken apart is what the interpreter says", "[passes][regions]") {
  for (uint64_t seed = 100; seed < 120; ++seed) {
    RandomScan made = random_scan(seed);
    Bindings at = made.bindings;
    Graph graph = with_gradients(made, at);
    const Results expected = interpret(graph, at);
    Route alone;
    alone.passes = {"split_scans"};
    for (const Route& route : {Route::optimized(), alone}) {
      std::optional<Difference> difference = find_difference(run_route(graph, at, route), expected, 2e-5);
      INFO("seed " << seed << ", " << route.text() << (difference ? ": " + difference->name : ""));
      CHECK_FALSE(difference);
    }
  }
}

TEST_CASE("a body from which nothing can move stays as it is", "[passes][regions]") {
  const std::string text = R"(graph @main {
  %0 = input @x : f32[B, 5, 3]
  %1 = input @first : f32[B, 3]
  %2 = input @w : f32[3, 3]
  %3 = scan(%1, %0, %2) carried 1 sliced 1 steps 5 {
    %0 = input @carry.0 : f32[B, 3]
    %1 = input @capture.0 : f32[3, 3]
    %2 = contract(%0, %1) ab,cb->ac : f32[B, 3]
    %3 = input @slice.0 : f32[B, 3]
    %4 = mul(%3, %3) : f32[B, 3]
    %5 = add(%2, %4) : f32[B, 3]
    %6 = tanh(%5) : f32[B, 3]
    output "carry.0" %6
    output "stack.0" %0
    output "stack.1" %6
  } : bool[]
  %4 = result(%3) 0 : f32[B, 3]
  %5 = result(%3) 1 : f32[B, 5, 3]
  %6 = result(%3) 2 : f32[B, 5, 3]
  output "last" %4
  output "before" %5
  output "behind" %6
}
)";
  CHECK(text_of(split_and_compare(text)) == text);
}

TEST_CASE("a scan without carries is no loop", "[passes][regions]") {
  const Graph split = split_and_compare(R"(graph @main {
  %0 = input @x : f32[B, 5, 3]
  %1 = input @y : f32[5]
  %2 = input @w : f32[3]
  %3 = scan(%0, %1, %2) carried 0 sliced 2 steps 5 reverse {
    %0 = input @slice.0 : f32[B, 3]
    %1 = input @slice.1 : f32[]
    %2 = input @capture.0 : f32[3]
    %3 = broadcast(%2) axes [1] : f32[B, 3]
    %4 = broadcast(%1) axes [] : f32[B, 3]
    %5 = mul(%0, %3) : f32[B, 3]
    %6 = sub(%5, %4) : f32[B, 3]
    %7 = exp(%6) : f32[B, 3]
    output "stack.0" %7
    output "stack.1" %1
    output "stack.2" %2
  } : bool[]
  %4 = result(%3) 0 : f32[B, 5, 3]
  %5 = result(%3) 1 : f32[5]
  %6 = result(%3) 2 : f32[5, 3]
  output "computed" %4
  output "slices" %5
  output "same" %6
}
)");
  CHECK_FALSE(has_scan(split));
}

TEST_CASE("what leaves an inner loop leaves the outer one", "[passes][regions]") {
  const Graph split = split_and_compare(R"(graph @main {
  %0 = input @x : f32[B, 2, 3, 4]
  %1 = input @first : f32[B, 4]
  %2 = input @w : f32[4, 4]
  %3 = constant 0 : f32[4, 4]
  %4 = scan(%1, %3, %0, %2) carried 2 sliced 1 steps 2 {
    %0 = input @carry.0 : f32[B, 4]
    %1 = input @carry.1 : f32[4, 4]
    %2 = input @slice.0 : f32[B, 3, 4]
    %3 = input @capture.0 : f32[4, 4]
    %4 = constant 0 : f32[4, 4]
    %5 = scan(%0, %4, %2, %3) carried 2 sliced 1 steps 3 {
      %0 = input @carry.0 : f32[B, 4]
      %1 = input @carry.1 : f32[4, 4]
      %2 = input @slice.0 : f32[B, 4]
      %3 = input @capture.0 : f32[4, 4]
      %4 = contract(%2, %3) ab,cb->ac : f32[B, 4]
      %5 = add(%0, %4) : f32[B, 4]
      %6 = tanh(%5) : f32[B, 4]
      %7 = contract(%6, %2) ab,ac->bc : f32[4, 4]
      %8 = add(%1, %7) : f32[4, 4]
      output "carry.0" %6
      output "carry.1" %8
    } : bool[]
    %6 = result(%5) 0 : f32[B, 4]
    %7 = result(%5) 1 : f32[4, 4]
    %8 = add(%7, %1) : f32[4, 4]
    output "carry.0" %6
    output "carry.1" %8
  } : bool[]
  %5 = result(%4) 0 : f32[B, 4]
  %6 = result(%4) 1 : f32[4, 4]
  output "last" %5
  output "sum" %6
}
)");
  const Graph& outer = *scan_of(split).attributes.body;
  const Graph& inner = *scan_of(outer).attributes.body;
  CHECK(count(split, Op::contract) == 2);
  CHECK(count(outer, Op::contract) == 0);
  CHECK(count(inner, Op::contract) == 0);
  CHECK(scan_of(split).attributes.carried == 1);
  CHECK(scan_of(outer).attributes.carried == 1);
}

TEST_CASE("of a sum the terms that are larger than any slice are added up in the loop", "[passes][regions]") {
  const Graph split = split_and_compare(R"(graph @main {
  %0 = input @x : f32[B, 5, 3]
  %1 = input @h : f32[B, 3]
  %2 = input @first : f32[3, 3]
  %3 = input @w : f32[3, 3]
  %4 = scan(%1, %2, %0, %3) carried 2 sliced 1 steps 5 {
    %0 = input @carry.0 : f32[B, 3]
    %1 = input @carry.1 : f32[3, 3]
    %2 = input @slice.0 : f32[B, 3]
    %3 = input @capture.0 : f32[3, 3]
    %4 = reduce_sum(%0) axes [0, 1] : f32[]
    %5 = broadcast(%4) axes [] : f32[3, 3]
    %6 = mul(%5, %3) : f32[3, 3]
    %7 = sin(%6) : f32[3, 3]
    %8 = contract(%0, %7) ab,cb->ac : f32[B, 3]
    %9 = add(%8, %2) : f32[B, 3]
    %10 = tanh(%9) : f32[B, 3]
    %11 = contract(%10, %2) ab,ac->bc : f32[3, 3]
    %12 = constant 0.5 : f32[3, 3]
    %13 = mul(%11, %12) : f32[3, 3]
    %14 = add(%1, %7) : f32[3, 3]
    %15 = sub(%14, %13) : f32[3, 3]
    output "carry.0" %10
    output "carry.1" %15
  } : bool[]
  %5 = result(%4) 0 : f32[B, 3]
  %6 = result(%4) 1 : f32[3, 3]
  output "last" %5
  output "sum" %6
}
)");
  // With three rows a slice has nine elements, as has the larger term: it is stacked.
  CHECK(scan_of(split).attributes.carried == 1);
  CHECK(count(split, Op::contract) == 1);
  CHECK(count(*scan_of(split).attributes.body, Op::contract) == 1);
}

TEST_CASE("with few rows a large term stays", "[passes][regions]") {
  Graph graph = parse(R"(graph @main {
  %0 = input @x : f32[B, 5]
  %1 = input @h : f32[B]
  %2 = input @first : f32[3, 3]
  %3 = input @w : f32[3, 3]
  %4 = scan(%1, %2, %0, %3) carried 2 sliced 1 steps 5 {
    %0 = input @carry.0 : f32[B]
    %1 = input @carry.1 : f32[3, 3]
    %2 = input @slice.0 : f32[B]
    %3 = input @capture.0 : f32[3, 3]
    %4 = reduce_sum(%0) axes [0] : f32[]
    %5 = broadcast(%4) axes [] : f32[3, 3]
    %6 = mul(%5, %3) : f32[3, 3]
    %7 = sin(%6) : f32[3, 3]
    %8 = reduce_max(%7) axes [0, 1] : f32[]
    %9 = broadcast(%8) axes [] : f32[B]
    %10 = add(%9, %2) : f32[B]
    %11 = tanh(%10) : f32[B]
    %12 = contract(%11, %2) a,a-> : f32[]
    %13 = broadcast(%12) axes [] : f32[3, 3]
    %14 = add(%1, %13) : f32[3, 3]
    %15 = sub(%14, %7) : f32[3, 3]
    output "carry.0" %11
    output "carry.1" %15
  } : bool[]
  %5 = result(%4) 0 : f32[B]
  %6 = result(%4) 1 : f32[3, 3]
  output "last" %5
  output "sum" %6
}
)");
  std::mt19937_64 random(7);
  const Graph split = split_and_compare(graph, random_bindings(graph, 8, random));
  const Graph& body = *scan_of(split).attributes.body;
  CHECK(scan_of(split).attributes.carried == 2);
  CHECK(count(body, Op::contract) == 0);
  CHECK(count(split, Op::contract) == 1);
  const Graph more = split_and_compare(graph, random_bindings(graph, 9, random));
  CHECK(scan_of(more).attributes.carried == 1);
}

TEST_CASE("a sum that is read on its way stays in the loop", "[passes][regions]") {
  // The first is stacked as it grows, the second is read by the third, which alone leaves.
  const Graph split = split_and_compare(R"(graph @main {
  %0 = input @x : f32[B, 5]
  %1 = input @first : f32[B]
  %2 = scan(%1, %1, %1, %0) carried 3 sliced 1 steps 5 {
    %0 = input @carry.0 : f32[B]
    %1 = input @carry.1 : f32[B]
    %2 = input @carry.2 : f32[B]
    %3 = input @slice.0 : f32[B]
    %4 = add(%0, %3) : f32[B]
    %5 = sub(%1, %3) : f32[B]
    %6 = mul(%1, %3) : f32[B]
    %7 = add(%2, %6) : f32[B]
    output "carry.0" %4
    output "carry.1" %5
    output "carry.2" %7
    output "stack.0" %4
  } : bool[]
  %3 = result(%2) 0 : f32[B]
  %4 = result(%2) 1 : f32[B]
  %5 = result(%2) 2 : f32[B]
  %6 = result(%2) 3 : f32[B, 5]
  output "first" %3
  output "second" %4
  output "third" %5
  output "all" %6
}
)");
  CHECK(scan_of(split).attributes.carried == 2);
}

TEST_CASE("what is dear and needed on both sides is made once", "[passes][regions]") {
  const Graph split = split_and_compare(R"(graph @main {
  %0 = input @x : f32[B, 5]
  %1 = input @first : f32[B]
  %2 = scan(%1, %0) carried 1 sliced 1 steps 5 {
    %0 = input @carry.0 : f32[B]
    %1 = input @slice.0 : f32[B]
    %2 = sigmoid(%1) : f32[B]
    %3 = neg(%2) : f32[B]
    %4 = mul(%0, %3) : f32[B]
    %5 = tanh(%4) : f32[B]
    output "carry.0" %5
    output "stack.0" %3
  } : bool[]
  %3 = result(%2) 0 : f32[B]
  %4 = result(%2) 1 : f32[B, 5]
  output "last" %3
  output "all" %4
}
)");
  CHECK(count(split, Op::sigmoid) == 1);
  CHECK(count(*scan_of(split).attributes.body, Op::sigmoid) == 0);
}

TEST_CASE("sums of what does not vary", "[passes][regions]") {
  const Graph split = split_and_compare(R"(graph @main {
  %0 = input @first : i32[B]
  %1 = input @w : f32[3]
  %2 = constant 0 : f32[3]
  %3 = scan(%0, %2, %1) carried 2 sliced 0 steps 7 {
    %0 = input @carry.0 : i32[B]
    %1 = input @carry.1 : f32[3]
    %2 = input @capture.0 : f32[3]
    %3 = constant 3 : i32[B]
    %4 = sub(%0, %3) : i32[B]
    %5 = exp(%2) : f32[3]
    %6 = sub(%1, %5) : f32[3]
    output "carry.0" %4
    output "carry.1" %6
  } : bool[]
  %4 = result(%3) 0 : i32[B]
  %5 = result(%3) 1 : f32[3]
  output "count" %4
  output "sum" %5
}
)");
  CHECK_FALSE(has_scan(split));
}

TEST_CASE("what would put steps within the rows stays in the loop", "[passes][regions]") {
  const Graph split = split_and_compare(R"(graph @main {
  %0 = input @x : f32[B, 5, 4]
  %1 = input @y : f32[B, 5, 4]
  %2 = scan(%0, %1) carried 0 sliced 2 steps 5 {
    %0 = input @slice.0 : f32[B, 4]
    %1 = reshape(%0) : f32[4*B]
    %2 = exp(%1) : f32[4*B]
    %3 = reshape(%2) : f32[2*B, 2]
    %4 = reshape(%3) : f32[B, 4]
    %5 = input @slice.1 : f32[B, 4]
    %6 = contract(%4, %5) ab,ac->bc : f32[4, 4]
    %7 = reduce_sum(%4) axes [1] : f32[B]
    output "stack.0" %6
    output "stack.1" %7
    output "stack.2" %4
  } : bool[]
  %3 = result(%2) 0 : f32[5, 4, 4]
  %4 = result(%2) 1 : f32[B, 5]
  %5 = result(%2) 2 : f32[B, 5, 4]
  output "product" %3
  output "sum" %4
  output "all" %5
}
)");
  const Graph& body = *scan_of(split).attributes.body;
  CHECK(body.outputs.size() == 1);
  CHECK(count(body, Op::contract) + count(body, Op::reduce_sum) == 0);
}

TEST_CASE("no batching rule makes more than there may be", "[passes][regions]") {
  Graph body;
  Builder b(body);
  const NodeId small = b.input("slice.0", {DType::f32, {{1 << 20}}}), large = b.broadcast(small, {{1 << 15}, {1 << 20}}, {1});
  CHECK(has_batching_rule(body, large, 32));
  CHECK_FALSE(has_batching_rule(body, large, 33));
}

TEST_CASE("sums of sums that share their terms take no longer", "[passes][regions]") {
  // Each level has the one below it twice: 2^40 ways down.
  Graph g;
  Builder b(g);
  const Type square{DType::f32, {{3}, {3}}};
  const NodeId first = b.constant(0, square), x = b.input("x", {DType::f32, {{1, true}, {4}, {3}}});
  Graph body;
  Builder in(body);
  const NodeId carry = in.input("carry.0", square), slice = in.input("slice.0", {DType::f32, {{1, true}, {3}}});
  NodeId term = in.contract(slice, slice, {0, 1}, {0, 2}, {1, 2});
  for (int level = 0; level < 40; ++level) {
    const NodeId turned = in.transpose(term, {1, 0}), half = in.mul(turned, 0.5);
    term = in.sub(term, half);
  }
  body.outputs = {{"carry.0", in.add(term, carry)}};
  Attributes a;
  a.carried = a.sliced = 1;
  a.extents = {{4}};
  a.body = {std::make_shared<Graph>(body)};
  g.outputs = {{"sum", b.result(g.add(Op::scan, {first, x}, a), 0)}};
  std::mt19937_64 random(3);
  const Graph split = split_and_compare(g, random_bindings(g, 2, random));
  CHECK_FALSE(has_scan(split));
  CHECK(split.size() < 300);
}

TEST_CASE("outer products that a carry adds up are one contraction", "[passes][regions]") {
  // The gradient of what every step attends to.
  Graph split = split_and_compare(R"(graph @main {
  %0 = input @x : f32[B, 5, 3]
  %1 = input @first : f32[B, 3]
  %2 = input @keys : f32[B, 7, 3]
  %3 = constant 0 : f32[B, 7, 3]
  %4 = scan(%1, %3, %0, %2) carried 2 sliced 1 steps 5 reverse {
    %0 = input @carry.0 : f32[B, 3]
    %1 = input @carry.1 : f32[B, 7, 3]
    %2 = input @slice.0 : f32[B, 3]
    %3 = input @capture.0 : f32[B, 7, 3]
    %4 = contract(%3, %0) abc,ac->ab : f32[B, 7]
    %5 = tanh(%4) : f32[B, 7]
    %6 = contract(%3, %5) abc,ab->ac : f32[B, 3]
    %7 = add(%6, %2) : f32[B, 3]
    %8 = sin(%7) : f32[B, 3]
    %9 = contract(%5, %8) ab,ac->abc : f32[B, 7, 3]
    %10 = add(%1, %9) : f32[B, 7, 3]
    output "carry.0" %8
    output "carry.1" %10
  } : bool[]
  %5 = result(%4) 0 : f32[B, 3]
  %6 = result(%4) 1 : f32[B, 7, 3]
  output "last" %5
  output "keys" %6
}
)");
  CHECK(scan_of(split).attributes.carried == 1);
  simplify(split);
  CHECK(count(split, Op::contract) == 1);
}

TEST_CASE("a body holds numbers and repetitions itself", "[passes][regions]") {
  const Graph split = split_and_compare(R"(graph @main {
  %0 = input @x : f32[B, 5]
  %1 = input @first : f32[B]
  %2 = constant 0.5 : f32[B, 5]
  %3 = input @y : f32[2]
  %4 = broadcast(%3) axes [2] : f32[B, 5, 2]
  %5 = broadcast(%0) axes [0, 2] : f32[B, 4, 5]
  %6 = input @z : f32[5]
  %7 = broadcast(%6) axes [1] : f32[B, 5]
  %8 = scan(%1, %2, %4, %7, %5, %0) carried 1 sliced 3 steps 5 {
    %0 = input @carry.0 : f32[B]
    %1 = input @slice.0 : f32[B]
    %2 = input @slice.1 : f32[B, 2]
    %3 = input @slice.2 : f32[B]
    %4 = input @capture.0 : f32[B, 4, 5]
    %5 = input @capture.1 : f32[B, 5]
    %6 = mul(%0, %1) : f32[B]
    %7 = add(%6, %3) : f32[B]
    %8 = broadcast(%7) axes [0] : f32[B, 4, 5]
    %9 = sub(%4, %8) : f32[B, 4, 5]
    %10 = reduce_max(%9) axes [1, 2] : f32[B]
    %11 = broadcast(%10) axes [0] : f32[B, 2]
    %12 = mul(%11, %2) : f32[B, 2]
    %13 = reduce_sum(%12) axes [1] : f32[B]
    %14 = reduce_max(%5) axes [1] : f32[B]
    %15 = add(%13, %14) : f32[B]
    %16 = sin(%15) : f32[B]
    output "carry.0" %16
  } : bool[]
  %9 = result(%8) 0 : f32[B]
  output "last" %9
}
)");
  const Node& scan = scan_of(split);
  CHECK(scan.attributes.sliced == 1);  // z, which differs from step to step
  CHECK(scan.operands.size() == 5);    // the carry, that, x as it was repeated, its largest, and y
}
