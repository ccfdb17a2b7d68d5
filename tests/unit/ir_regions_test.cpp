// Scans as text, what the verifier asks of them, and what they compute, by hand.
#include <string>
#include <utility>
#include <vector>

#include "base/diagnostics.h"
#include "ir/interpreter_ops.h"
#include "ir/regions.h"
#include "tests/random_scan.h"
#include "tests/text_changes.h"
#include "tests/unit/catch.h"

using namespace nnc;
using nnc::test::contains;
using nnc::test::TextChanges;
using nnc::test::with_changes;

namespace {

// What is carried doubles and takes a slice; a second scan goes the other way, and one stands in the body of another.
const std::string sound = R"(graph @main {
  %0 = input @x : f32[B, 3]
  %1 = input @first : f32[B]
  %2 = input @factor : f32[]
  %3 = scan(%1, %0, %2) carried 1 sliced 1 steps 3 {
    %0 = input @carry.0 : f32[B]
    %1 = input @slice.0 : f32[B]
    %2 = input @capture.0 : f32[]
    %3 = broadcast(%2) axes [] : f32[B]
    %4 = mul(%0, %3) : f32[B]
    %5 = add(%4, %1) : f32[B]
    output "carry.0" %5
    output "stack.0" %5
    output "stack.1" %0
  } : bool[]
  %4 = result(%3) 0 : f32[B]
  %5 = result(%3) 1 : f32[B, 3]
  %6 = result(%3) 2 : f32[B, 3]
  %7 = scan(%1, %5) carried 1 sliced 1 steps 3 reverse {
    %0 = input @carry.0 : f32[B]
    %1 = input @slice.0 : f32[B]
    %2 = scan(%0, %1) carried 1 sliced 0 steps 2 {
      %0 = input @carry.0 : f32[B]
      %1 = input @capture.0 : f32[B]
      %2 = add(%0, %1) : f32[B]
      output "carry.0" %2
    } : bool[]
    %3 = result(%2) 0 : f32[B]
    output "carry.0" %3
    output "stack.0" %3
  } : bool[]
  %8 = result(%7) 1 : f32[B, 3]
  output "last" %4
  output "all" %5
  output "before" %6
  output "back" %8
}
)";

std::optional<Graph> read(const std::string& text, Diagnostics& diagnostics) {
  SourceMap sources;
  return parse_graph(sources, sources.add("scan.nnir", text), diagnostics);
}

std::string changed(const TextChanges& changes) { return with_changes(sound, changes); }

std::string fault_of(const TextChanges& changes) {
  Diagnostics diagnostics;
  if (read(changed(changes), diagnostics)) return "sound";
  return diagnostics.items().empty() ? "no message" : diagnostics.items()[0].message;
}

Graph sound_graph() {
  Diagnostics diagnostics;
  std::optional<Graph> graph = read(sound, diagnostics);
  REQUIRE(graph);
  return std::move(*graph);
}

/// The first problem of the graph once its first scan has been changed.
std::string problem_after(const std::function<void(Attributes&, Graph& body)>& change) {
  Graph graph = sound_graph();
  Attributes& a = graph[NodeId{3}].attributes;
  Graph body = *a.body;
  change(a, body);
  a.body = {std::make_shared<Graph>(std::move(body))};
  std::vector<std::string> problems = verify_graph(graph);
  return problems.empty() ? "sound" : problems[0];
}

}  // namespace

TEST_CASE("scans print as they are read", "[ir][regions]") {
  Graph graph = sound_graph();
  CHECK(verify_graph(graph).empty());
  CHECK(print_graph(graph, nullptr) == sound);
  for (uint64_t seed = 0; seed < 60; ++seed) {
    INFO("seed " << seed);
    Graph random = test::random_scan(seed).graph;
    REQUIRE(verify_graph(random).empty());
    const std::string text = print_graph(random, nullptr);
    Diagnostics diagnostics;
    std::optional<Graph> again = read(text, diagnostics);
    REQUIRE(again);
    CHECK(print_graph(*again, nullptr) == text);
  }
}

TEST_CASE("places inside a body are read and printed", "[ir][regions]") {
  Diagnostics diagnostics;
  SourceMap sources;
  const std::string text = changed({{"    %5 = add(%4, %1) : f32[B]\n", "    %5 = add(%4, %1) : f32[B] scope \"cell\" loc(\"net.nn\":7:3)\n"}});
  std::optional<Graph> graph = parse_graph(sources, sources.add("scan.nnir", text), diagnostics);
  REQUIRE(graph);
  CHECK(print_graph(*graph, &sources) == text);
}

TEST_CASE("a scan computes step after step, in either direction", "[ir][regions]") {
  Graph graph = sound_graph();
  Bindings at;
  at.rows = 2;
  at.inputs["x"] = {DType::f32, {2, 3}, {1, 2, 3, 10, 20, 30}};
  at.inputs["first"] = {DType::f32, {2}, {4, 0}};
  at.inputs["factor"] = {DType::f32, {}, {2}};
  const auto outputs = interpret(graph, at).outputs;
  // 4 -> 9 -> 20 -> 43 and 0 -> 10 -> 40 -> 110.
  CHECK(outputs.at("last").values == std::vector<double>{43, 110});
  CHECK(outputs.at("all").values == std::vector<double>{9, 20, 43, 10, 40, 110});
  CHECK(outputs.at("before").values == std::vector<double>{4, 9, 20, 0, 10, 40});
  // From the last: each adds its slice twice.
  CHECK(outputs.at("back").values == std::vector<double>{148, 130, 90, 320, 300, 220});
}

TEST_CASE("a hook sees the nodes of a body at every step", "[ir][regions]") {
  Graph graph = sound_graph();
  Bindings at;
  at.rows = 1;
  at.inputs["x"] = {DType::f32, {1, 3}, {1, 2, 3}};
  at.inputs["first"] = {DType::f32, {1}, {4}};
  at.inputs["factor"] = {DType::f32, {}, {2}};
  std::vector<double> sums;
  auto hook = [&](InterpreterCall& call) {
    if (call.node.op != Op::add || &call.graph == &graph) return;
    sums.push_back(call.result.values[0]);
    if (sums.size() == 1) call.result.values[0] += 100;
  };
  const auto outputs = interpret(graph, at, false, hook).outputs;
  CHECK(sums.size() == 3 + 3 * 2);
  CHECK(outputs.at("all").values == std::vector<double>{109, 220, 443});
}

TEST_CASE("texts of scans that do not fit are refused with their places", "[ir][regions][diagnostics]") {
  CHECK_THAT(fault_of({{"@capture.0 : f32[]\n", "@capture.1 : f32[]\n"}}), contains("no operand is input capture.1 of its body"));
  CHECK_THAT(fault_of({{"@carry.0 : f32[B]", "@carry.00 : f32[B]"}}), contains("no operand is input carry.00 of its body"));
  CHECK_THAT(fault_of({{"steps 3 {", "steps 4 {"}}), contains("sequence 0 is f32[B, 3]: it needs 4 steps on axis 1"));
  CHECK_THAT(fault_of({{"steps 3 {", "steps 0 {"}}), contains("needs a fixed number of steps, at least 1"));
  CHECK_THAT(fault_of({{"carried 1 sliced 1 steps 3 {", "carried 3 sliced 1 steps 3 {"}}), contains("are more than its 3 operands"));
  CHECK_THAT(fault_of({{"@slice.0 : f32[B]\n    %2 = input @capture.0", "@slice.0 : f32[2*B]\n    %2 = input @capture.0"}}), contains("add: "));
  CHECK_THAT(fault_of({{"    output \"carry.0\" %5\n", ""}}), contains("output 0 of its body is named stack.0, not carry.0"));
  CHECK_THAT(fault_of({{"output \"carry.0\" %5", "output \"carry.0\" %2"}}), contains("carry.0 is f32[B], and the next step is given f32[]"));
  CHECK_THAT(fault_of({{"output \"stack.1\" %0", "output \"stack.2\" %0"}}), contains("named stack.2, not stack.1"));
  CHECK_THAT(fault_of({{"    %2 = input @capture.0 : f32[]\n", "    %2 = scalar @step : i64[]\n"}}), contains("broadcast"));
  CHECK_THAT(fault_of({{"    %2 = input @capture.0 : f32[]\n", "    param @p : f32[]\n    %2 = parameter @p : f32[]\n"}}), contains("its body has persistents or updates"));
  CHECK_THAT(fault_of({{"    %2 = input @capture.0 : f32[]\n", "    %2 = random @\"d#0\" : f32[]\n"}}), contains("its body reads random d#0, which has to be captured or sliced"));
  CHECK_THAT(fault_of({{"result(%3) 2 : f32[B, 3]", "result(%3) 3 : f32[B, 3]"}}), contains("number 3 of a scan that has 3"));
  CHECK_THAT(fault_of({{"result(%3) 2 : f32[B, 3]", "result(%3) 2 : f32[B]"}}), contains("the type is written f32[B], but the scan gives f32[B, 3]"));
  CHECK_THAT(fault_of({{"result(%3) 2", "result(%2) 2"}}), contains("its operand is no scan"));
  CHECK_THAT(fault_of({{"output \"last\" %4", "output \"last\" %3"}}), contains("%3 is a scan, whose value only a result reads"));
  CHECK_THAT(fault_of({{"  } : bool[]\n  %4", "  } : f32[]\n  %4"}}), contains("the type is written f32[], but scan gives bool[]"));
  CHECK_THAT(fault_of({{"%5 = add(%4, %1) : f32[B]\n", "%5 = ad(%4, %1) : f32[B]\n"}}), contains("unknown operation `ad`"));
  Diagnostics cut_off;
  CHECK_FALSE(read(sound.substr(0, sound.find("    output \"stack.1\"")), cut_off));
  CHECK_THAT(cut_off.items()[0].message, contains("the file ends inside graph @body"));
  std::string deep = "graph @main {\n  %0 = input @x : f32[]\n";
  for (int i = 0; i < 20; ++i) deep += "%1 = scan(%0) carried 1 sliced 0 steps 2 {\n%0 = input @carry.0 : f32[]\n";
  Diagnostics diagnostics;
  CHECK_FALSE(read(deep, diagnostics));
  CHECK_THAT(diagnostics.items()[0].message, contains("regions stand at most 16 deep in each other"));
}

TEST_CASE("the verifier finds scans that are not sound", "[ir][regions]") {
  CHECK(problem_after([](Attributes&, Graph&) {}) == "sound");
  CHECK_THAT(problem_after([](Attributes&, Graph& body) { body[NodeId{5}].operands[0] = NodeId{9}; }), contains("G9: in the body of %3 (scan): G1"));
  CHECK_THAT(problem_after([](Attributes& a, Graph&) { a.begin = 1; }), contains("G5"));
  CHECK_THAT(problem_after([](Attributes&, Graph& body) { body.outputs.pop_back(); }), contains("G9: %6 (result) is number 2 of %3 (scan), which has 2 results"));
  CHECK_THAT(problem_after([](Attributes& a, Graph&) { a.extents = {{2}}; }), contains("G2"));
  Graph graph = sound_graph();
  graph[NodeId{4}].attributes.body = graph[NodeId{3}].attributes.body;
  CHECK_THAT(verify_graph(graph)[0], contains("G5"));
  Graph reads;
  Builder b(reads);
  NodeId x = b.input("x", {DType::f32, {}});
  Graph body;
  body.outputs = {{"carry.0", Builder(body).input("carry.0", {DType::f32, {}})}};
  Attributes a;
  a.carried = 1;
  a.extents = {{3}};
  a.body = {std::make_shared<Graph>(body)};
  NodeId scan = reads.add(Op::scan, {x}, a);
  b.unary(Op::logical_not, scan);
  CHECK_THAT(verify_graph(reads)[0], contains("G9: %2 (logical_not) uses %1, a scan, whose value only a result reads"));
}

TEST_CASE("no output and no update is a scan", "[ir][regions]") {
  Graph graph = sound_graph();
  graph.outputs[0].node = NodeId{3};
  CHECK_THAT(verify_graph(graph)[0], contains("G9: output last is %3, a scan"));
  graph = sound_graph();
  graph.add_persistent({"p", {DType::boolean, {}}, PersistentKind::state, {}});
  graph.updates = {{"p", NodeId{3}}};
  CHECK_THAT(verify_graph(graph)[0], contains("G9: update of p is %3, a scan"));
}

TEST_CASE("bodies are compared by what they compute", "[ir][regions]") {
  Graph a = sound_graph(), b = sound_graph();
  CHECK(a[NodeId{3}].attributes == b[NodeId{3}].attributes);
  Graph body = *b[NodeId{3}].attributes.body;
  std::swap(body.outputs[1].node, body.outputs[2].node);
  b[NodeId{3}].attributes.body = {std::make_shared<Graph>(body)};
  CHECK_FALSE(a[NodeId{3}].attributes == b[NodeId{3}].attributes);
}
