// Gradients of scans against finite differences, and scans written out against scans.
#include <string>

#include "base/diagnostics.h"
#include "engine/graph_runner.h"
#include "passes/differentiate.h"
#include "passes/pass_manager.h"
#include "passes/pipeline.h"
#include "passes/unroll.h"
#include "tests/random_scan.h"
#include "tests/text_changes.h"
#include "tests/unit/catch.h"
#include "tests/unit/passes_gradient_check.h"
#include "tests/unit/passes_scan_gradients.h"
#include "verify/route.h"

using namespace nnc;
using namespace nnc::test;

namespace {

bool has_scan(const Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [](const Node& n) { return n.op == Op::scan || n.op == Op::result; });
}

/// Optimized, as a program that is interpreted.
Route as_program() {
  Route route = Route::optimized();
  route.executor = Executor::program_interpreter;
  return route;
}

int regions_of_program(Graph graph, int64_t rows) {
  hold_inputs(graph);
  optimize_graph(graph);
  return int(build_program(graph, {"test", rows, target_with_level(VectorLevel::portable)}).regions.size());
}

/// The optimized program of a graph, once it has computed what the graph says.
Program program_of(const std::string& text) {
  Diagnostics diagnostics;
  SourceMap sources;
  std::optional<Graph> graph = parse_graph(sources, sources.add("scan.nnir", text), diagnostics);
  REQUIRE(graph);
  std::mt19937_64 random(1);
  const Bindings at = random_bindings(*graph, 2, random);
  RoutedGraph routed(*graph, as_program(), 2);
  CHECK_FALSE(find_difference(routed.run(at), interpret(*graph, at), 1e-6));
  return *routed.program();
}

}  // namespace

TEST_CASE("gradients through random scans are what finite differences say", "[passes][regions]") {
  int compared = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    RandomScan made = random_scan(seed);
    for (NodeId result : made.results) {
      GradientCheck check = check_gradients(made.graph, result, made.leaves, made.bindings, seed + 1);
      INFO("seed " << seed << ": " << check.first_fault << "\n" << print_graph(made.graph, nullptr));
      REQUIRE(check.wrong == 0);
      compared += check.compared;
    }
  }
  CHECK(compared > 3000);
}

TEST_CASE("scans and their gradients written out compute the same", "[passes][regions]") {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    RandomScan made = random_scan(seed);
    Bindings at = made.bindings;
    Graph graph = with_gradients(made, at);
    INFO("seed " << seed << "\n" << print_graph(graph, nullptr));
    REQUIRE(verify_graph(graph).empty());
    Graph flat = graph;
    unroll_scans(flat);
    REQUIRE(verify_graph(flat).empty());
    REQUIRE_FALSE(has_scan(flat));
    const Results expected = interpret(graph, at);
    std::optional<Difference> difference = find_difference(interpret(flat, at), expected, 1e-14);
    INFO((difference ? difference->name : ""));
    CHECK_FALSE(difference);
    // Differentiating what is written out gives the same again.
    RandomScan written = made;
    std::vector<NodeId> nodes = made.leaves;
    nodes.insert(nodes.end(), made.results.begin(), made.results.end());
    unroll_and_follow(written.graph, nodes);
    written.leaves.assign(nodes.begin(), nodes.begin() + ptrdiff_t(made.leaves.size()));
    written.results.assign(nodes.begin() + ptrdiff_t(made.leaves.size()), nodes.end());
    Bindings unused = made.bindings;
    const Results by_steps = interpret(with_gradients(written, unused), at);
    for (const auto& [name, value] : by_steps.outputs) {
      if (!expected.outputs.contains(name)) continue;
      for (size_t i = 0; i < value.values.size(); ++i) CHECK(expected.outputs.at(name).values[i] == Approx(value.values[i]).margin(1e-12));
    }
  }
}

TEST_CASE("as regions of a program, scans and their gradients are what the interpreter says", "[passes][regions]") {
  int regions = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    RandomScan made = random_scan(seed);
    Bindings at = made.bindings;
    Graph graph = with_gradients(made, at);
    INFO("seed " << seed << "\n" << print_graph(graph, nullptr));
    regions += regions_of_program(graph, at.rows);
    std::optional<Difference> difference = find_difference(run_route(graph, at, as_program()), interpret(graph, at), 1e-6);  // constants in f32
    INFO((difference ? difference->name : ""));
    REQUIRE_FALSE(difference);
  }
  CHECK(regions > 200);
}

TEST_CASE("a sequence that scans have made is seen under another shape", "[passes][regions]") {
  CHECK(program_of(R"(graph @main {
  %0 = input @x : f32[B, 3, 2]
  %1 = input @first : f32[B, 2]
  %2 = scan(%1, %0) carried 1 sliced 1 steps 3 {
    %0 = input @carry.0 : f32[B, 2]
    %1 = input @slice.0 : f32[B, 2]
    %2 = sub(%1, %0) : f32[B, 2]
    output "carry.0" %2
    output "stack.0" %2
  } : bool[]
  %3 = result(%2) 1 : f32[B, 3, 2]
  %4 = reshape(%3) : f32[B, 6]
  %5 = neg(%4) : f32[B, 6]
  output "flat" %5
}
)").regions.size() == 1);
}

TEST_CASE("what has no elements goes through the rounds in the order of what has some", "[passes][regions]") {
  // The first product of a round reads the carry, the second, which needs the first, stores the next one.
  const std::string text = R"(graph @main {
  %0 = input @first : f32[2, 8]
  %1 = input @w : f32[8, 8]
  %2 = scan(%0, %1) carried 1 sliced 0 steps 3 DIRECTION{
    %0 = input @carry.0 : f32[2, 8]
    %1 = input @capture.0 : f32[8, 8]
    %2 = contract(%0, %1) ab,bc->ac : f32[2, 8]
    %3 = contract(%2, %1) ab,bc->ac : f32[2, 8]
    output "carry.0" %3
    output "stack.0" %2
  } : bool[]
  %3 = result(%2) 0 : f32[2, 8]
  %4 = result(%2) 1 : f32[3, 2, 8]
  output "last" %3
  output "all" %4
}
)";
  for (const char* direction : {"", "reverse "}) {
    auto made_for = [&](const std::string& size) {
      std::string changed = text;
      for (const auto& [from, to] : {std::pair<std::string, std::string>{"2, 8]", size + ", 8]"}, {"DIRECTION", direction}})
        for (size_t at = 0; (at = changed.find(from, at)) != std::string::npos; at += to.size()) changed.replace(at, from.size(), to);
      return program_of(changed);
    };
    const Program some = made_for("2"), none = made_for("0");
    auto names = [](const Program& program) {
      std::vector<std::string> list;
      for (const Kernel& k : program.kernels) list.push_back(k.name);
      return list;
    };
    REQUIRE(none.regions.size() == 1);
    CHECK(none.regions[0].count == 2);
    CHECK(none.regions[0].first == some.regions[0].first);
    CHECK(names(none) == names(some));
  }
}

TEST_CASE("vectors without elements go through random scans and their gradients", "[passes][regions]") {
  int regions = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    RandomScan made = random_scan(seed, 0);
    Bindings at = made.bindings;
    Graph graph = with_gradients(made, at);
    INFO("seed " << seed << "\n" << print_graph(graph, nullptr));
    REQUIRE(verify_graph(graph).empty());
    const Results expected = interpret(graph, at);
    Graph flat = graph;
    unroll_scans(flat);
    CHECK_FALSE(find_difference(interpret(flat, at), expected, 1e-14));
    regions += regions_of_program(graph, at.rows);
    CHECK_FALSE(find_difference(run_route(graph, at, as_program()), expected, 1e-6));
    if (seed % 5 == 0) CHECK_FALSE(find_difference(run_route(graph, at, Route::optimized()), expected, 1e-5));
  }
  CHECK(regions > 50);
}

TEST_CASE("slices of a sequence whose channels stand innermost are read where they stand", "[passes][regions]") {
  // As a convolution makes it: channels, which the weights alone give, and pixels.
  const Program program = program_of(R"(graph @main {
  %0 = input @x : f32[B, 3, 5, 2]
  %1 = input @weight : f32[4, 2]
  %2 = input @first : f32[B, 4, 5]
  %3 = contract(%0, %1) atpc,oc->atop : f32[B, 3, 4, 5]
  %4 = scan(%2, %3) carried 1 sliced 1 steps 3 {
    %0 = input @carry.0 : f32[B, 4, 5]
    %1 = input @slice.0 : f32[B, 4, 5]
    %2 = sub(%1, %0) : f32[B, 4, 5]
    output "carry.0" %2
  } : bool[]
  %5 = result(%4) 0 : f32[B, 4, 5]
  output "last" %5
}
)");
  CHECK(std::ranges::any_of(program.buffers, [](const Buffer& b) { return b.order == std::vector<int>{1, 0, 3, 2}; }));
}

TEST_CASE("what every step multiplies with stands as products read it", "[passes][regions]") {
  const std::string text = R"(graph @main {
  %0 = input @x : f32[B, 5, 4]
  %1 = input @first : f32[B, 4]
  %2 = input @weight : f32[4, 4]
  %3 = tanh(%2) : f32[4, 4]
  %4 = scan(%1, %0, %2) carried 1 sliced 1 steps 5 {
    %0 = input @carry.0 : f32[B, 4]
    %1 = input @slice.0 : f32[B, 4]
    %2 = input @capture.0 : f32[4, 4]
    %3 = contract(%0, %2) ai,oi->ao : f32[B, 4]
    %4 = add(%3, %1) : f32[B, 4]
    output "carry.0" %4
  } : bool[]
  %5 = result(%4) 0 : f32[B, 4]
  output "last" %5
}
)";
  auto is_turned = [](const Program& program, BufferKind kind) {
    return std::ranges::any_of(program.buffers, [&](const Buffer& b) { return b.kind == kind && b.shape == Shape{{4}, {4}} && b.order == std::vector<int>{1, 0}; });
  };
  const Program held = program_of(text);
  CHECK(is_turned(held, BufferKind::persistent));
  CHECK_FALSE(is_turned(held, BufferKind::temporary));
  // What is computed is turned once, in a copy.
  CHECK(is_turned(program_of(with_changes(text, {{"scan(%1, %0, %2)", "scan(%1, %0, %3)"}})), BufferKind::temporary));
}

TEST_CASE("compiled, scans and their gradients are what the interpreter says", "[passes][regions]") {
  Route written_out = Route::optimized(), split = Route::optimized();
  std::ranges::replace(written_out.passes, "unroll_short", "unroll");
  split.split_all = true;
  split.threads = 3;
  for (uint64_t seed = 0; seed < 25; ++seed) {
    RandomScan made = random_scan(seed);
    Bindings at = made.bindings;
    Graph graph = with_gradients(made, at);
    const Results expected = interpret(graph, at);
    for (const Route& route : {Route::optimized(), Route::plain(), written_out, split}) {
      std::optional<Difference> difference = find_difference(run_route(graph, at, route), expected, 2e-5);
      INFO("seed " << seed << ", " << route.text() << (difference ? ": " + difference->name : ""));
      CHECK_FALSE(difference);
    }
  }
}

TEST_CASE("a second gradient goes through the scan of the first", "[passes][regions]") {
  int checked = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    RandomScan made = random_scan(seed);
    if (made.results.empty()) continue;
    Graph g = made.graph;
    Builder b(g);
    const NodeId result = made.results[0], one = b.constant_like(1, result);
    NodeId norm;
    for (NodeId found : gradients_of(g, result, one, made.leaves)) {
      if (!found.valid()) continue;
      const NodeId square = b.mul(found, found);
      std::vector<int> axes;
      for (int i = 0; i < g.type(square).rank(); ++i) axes.push_back(i);
      const NodeId sum = b.reduce(Op::reduce_sum, square, axes);
      norm = norm.valid() ? b.add(norm, sum) : sum;
    }
    if (!norm.valid()) continue;
    GradientCheck check = check_gradients(g, norm, made.leaves, made.bindings, seed + 1);
    INFO("seed " << seed << ": " << check.first_fault << "\n" << print_graph(g, nullptr));
    REQUIRE(check.wrong == 0);
    ++checked;
  }
  CHECK(checked > 25);
}

TEST_CASE("through a thousand steps a gradient stays right", "[passes][regions]") {
  // h <- tanh(w h + x): the slope of the last h is a product of a thousand factors.
  Graph g;
  Builder b(g);
  const Type number{DType::f32, {}};
  const NodeId w = b.input("w", number), first = b.input("first", number), x = b.input("x", {DType::f32, {{1000}}});
  Graph body;
  Builder in(body);
  const NodeId h = in.input("carry.0", number), slice = in.input("slice.0", number), factor = in.input("capture.0", number);
  body.outputs = {{"carry.0", in.unary(Op::tanh, in.add(in.mul(h, factor), slice))}};
  Attributes a;
  a.carried = a.sliced = 1;
  a.extents = {{1000}};
  a.body = {std::make_shared<Graph>(body)};
  const NodeId last = b.result(g.add(Op::scan, {first, x, w}, a), 0);
  const std::vector<NodeId> found = gradients_of(g, last, b.constant(1, number), {w, first, x});
  g.outputs = {{"last", last}, {"w", found[0]}, {"first", found[1]}, {"x", found[2]}};
  Bindings at;
  at.inputs["w"] = {DType::f32, {}, {1.25}};
  at.inputs["first"] = {DType::f32, {}, {0.5}};
  Tensor xs = make_tensor(DType::f32, {1000});
  for (size_t t = 0; t < 1000; ++t) xs.values[t] = 0.3 * std::sin(double(t));
  at.inputs["x"] = xs;
  const auto outputs = interpret(g, at).outputs;
  // The same by hand.
  std::vector<double> states{0.5};
  for (size_t t = 0; t < 1000; ++t) states.push_back(std::tanh(1.25 * states[t] + xs.values[t]));
  double back = 1, w_sum = 0;
  for (size_t t = 1000; t-- > 0;) {
    const double inner = back * (1 - states[t + 1] * states[t + 1]);
    CHECK(outputs.at("x").values[t] == Approx(inner).epsilon(1e-12));
    w_sum += inner * states[t];
    back = inner * 1.25;
  }
  CHECK(outputs.at("last").values[0] == Approx(states[1000]).epsilon(1e-14));
  CHECK(outputs.at("w").values[0] == Approx(w_sum).epsilon(1e-12));
  CHECK(outputs.at("first").values[0] == Approx(back).epsilon(1e-12));
}

TEST_CASE("a gradient goes around as often as it takes", "[passes][regions]") {
  // A delay line: what is sliced reaches the first carry after three steps.
  Graph g;
  Builder b(g);
  const Type number{DType::f32, {}};
  const NodeId x = b.input("x", {DType::f32, {{5}}}), zero = b.constant(0, number);
  Graph body;
  Builder in(body);
  const NodeId second = in.input("carry.1", number), third = in.input("carry.2", number), slice = in.input("slice.0", number);
  body.outputs = {{"carry.0", second}, {"carry.1", third}, {"carry.2", slice}};
  Attributes a;
  a.carried = 3;
  a.sliced = 1;
  a.extents = {{5}};
  a.body = {std::make_shared<Graph>(body)};
  const NodeId last = b.result(g.add(Op::scan, {zero, zero, zero, x}, a), 0);
  const std::vector<NodeId> found = gradients_of(g, last, b.constant(1, number), {x});
  REQUIRE(found[0].valid());
  g.outputs = {{"gradient", found[0]}};
  Bindings at;
  at.inputs["x"] = {DType::f32, {5}, {1, 2, 3, 4, 5}};
  CHECK(interpret(g, at).outputs.at("gradient").values == std::vector<double>{0, 0, 1, 0, 0});
}

TEST_CASE("gradients of all readers of a result add up", "[passes][regions]") {
  Graph g;
  Builder b(g);
  const Type number{DType::f32, {}};
  const NodeId first = b.input("first", number);
  Graph body;
  Builder in(body);
  body.outputs = {{"carry.0", in.mul(in.input("carry.0", number), 2.0)}};
  Attributes a;
  a.carried = 1;
  a.extents = {{3}};
  a.body = {std::make_shared<Graph>(body)};
  const NodeId scan = g.add(Op::scan, {first}, a);
  const NodeId once = b.result(scan, 0), again = b.result(scan, 0), sum = b.add(once, again);
  g.outputs = {{"gradient", gradients_of(g, sum, b.constant(1, number), {first})[0]}};
  Bindings at;
  at.inputs["first"] = {DType::f32, {}, {1}};
  CHECK(interpret(g, at).outputs.at("gradient").values == std::vector<double>{16});
}

TEST_CASE("what is cheap is computed again and what is dear is kept", "[passes][regions]") {
  Diagnostics diagnostics;
  SourceMap sources;
  // The gradient of tanh reads its value; that of the product reads the sum of carry and slice.
  const std::string text = R"(graph @main {
  %0 = input @x : f32[B, 4]
  %1 = input @first : f32[B]
  %2 = scan(%1, %0) carried 1 sliced 1 steps 4 {
    %0 = input @carry.0 : f32[B]
    %1 = input @slice.0 : f32[B]
    %2 = add(%0, %1) : f32[B]
    %3 = mul(%2, %2) : f32[B]
    %4 = tanh(%3) : f32[B]
    output "carry.0" %4
  } : bool[]
  %3 = result(%2) 0 : f32[B]
  output "last" %3
}
)";
  std::optional<Graph> g = parse_graph(sources, sources.add("scan.nnir", text), diagnostics);
  REQUIRE(g);
  Builder b(*g);
  const NodeId one = b.constant_like(1, {3});
  REQUIRE(gradients_of(*g, {3}, one, {{0}, {1}})[0].valid());
  const Graph& forward = *(*g)[NodeId{2}].attributes.body;
  REQUIRE(forward.outputs.size() == 3);  // the carry, its value before each step, and tanh
  CHECK(forward[forward.outputs[1].node].op == Op::tanh);
  CHECK(forward[forward.outputs[2].node].op == Op::input);
}
