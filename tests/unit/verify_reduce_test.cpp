// Planted faults in random graphs: a predicate that asks for a pattern, and a pass that is wrong for one operation. What is left
// must be what the fault needs.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "passes/dead_code.h"
#include "passes/differentiate.h"
#include "verify/reduce.h"
#include "verify/reduce_sizes.h"
#include "passes/rewrite.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;
using namespace nnc::test;

namespace {

Extent n(int64_t size) { return {size, false}; }
const Extent rows{1, true};

int operations(const Graph& graph) {
  return int(
      std::count_if(graph.nodes().begin(), graph.nodes().end(), [](const Node& x) { return op_class(x.op) != OpClass::leaf; }));
}

bool has(const Graph& graph, Op op) {
  return std::any_of(graph.nodes().begin(), graph.nodes().end(), [&](const Node& x) { return x.op == op; });
}

// A pass that takes sigmoid for tanh.
Graph break_sigmoid(const Graph& graph) {
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node node = rebuild.translated({i});
    if (node.op == Op::sigmoid) node.op = Op::tanh;
    rebuild.to[i] = add_node(rebuild.result, node);
  }
  return rebuild.finish();
}

bool differ(const Results& a, const Results& b) {
  auto values_differ = [](const std::map<std::string, Tensor>& x, const std::map<std::string, Tensor>& y) {
    for (const auto& [name, t] : x)
      for (size_t i = 0; i < t.values.size(); ++i)
        if (std::fabs(t.values[i] - y.at(name).values[i]) > 1e-4) return true;
    return false;
  };
  return values_differ(a.outputs, b.outputs) || values_differ(a.updates, b.updates);
}

// The bindings hold what the graph reads, in its shapes, and nothing else.
void check_bindings(const GraphCase& c) {
  CHECK(verify_graph(c.graph).empty());
  CHECK_NOTHROW(interpret(c.graph, c.bindings));
  for (const auto& [name, tensor] : c.bindings.inputs) {
    bool read = false;
    for (const Node& x : c.graph.nodes()) read |= x.op == Op::input && x.attributes.text == name;
    CHECK(read);
  }
  for (const auto& [name, tensor] : c.bindings.persistents) CHECK(c.graph.find_persistent(name) != nullptr);
}

}  // namespace

TEST_CASE("a pass that is wrong for one operation is left with that operation alone", "[reduce]") {
  int shown = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    GraphCase start;
    start.graph = random_graph(seed, {60, true, 3, true});
    start.bindings = random_bindings(start.graph, 7, seed);
    auto fails = [](const GraphCase& c) {
      return differ(interpret(c.graph, c.bindings), interpret(break_sigmoid(c.graph), c.bindings));
    };
    if (!fails(start)) continue;
    ++shown;
    GraphCase found = reduce_case(start, fails);
    INFO("seed " << seed << "\n" << print_graph(found.graph, nullptr));
    CHECK(fails(found));
    CHECK(has(found.graph, Op::sigmoid));
    CHECK(operations(found.graph) == 1);
    CHECK(found.bindings.rows == 1);
    for (const Node& x : found.graph.nodes()) CHECK(x.type.elements(1) == 1);
    check_bindings(found);
  }
  CHECK(shown >= 10);
}

TEST_CASE("a pattern of two operations keeps both, their spans and little else", "[reduce]") {
  Graph g;
  Builder b(g, Span{{1}, 10, 20});
  NodeId x = b.input("x", {DType::f32, {rows, n(12)}});
  NodeId w = b.parameter({"w", {DType::f32, {n(5), n(12)}}, PersistentKind::parameter, {}});
  NodeId y = b.contract(x, w, {0, 1}, {2, 1}, {0, 2});
  b.span = Span{{1}, 30, 40};
  NodeId m = b.reduce(Op::reduce_max, b.unary(Op::sin, y), {1});
  b.span = Span{{1}, 50, 60};
  NodeId t = b.unary(Op::tanh, m);
  NodeId loss = b.mean(b.mul(t, t), {0});
  g.outputs = {{"other", y}, {"loss", loss}};
  GraphCase start{g, random_bindings(g, 9, 3)};
  auto fails = [](const GraphCase& c) {
    for (const Node& x : c.graph.nodes())
      if (x.op == Op::tanh) {
        const Node& from = c.graph[x.operands[0]];
        if (from.op == Op::reduce_max && from.attributes.axes == std::vector<int>{1}) return true;
      }
    return false;
  };
  GraphCase found = reduce_case(start, fails);
  INFO(print_graph(found.graph, nullptr));
  REQUIRE(fails(found));
  CHECK(operations(found.graph) == 2);
  for (const Node& x : found.graph.nodes()) {
    if (x.op == Op::tanh) CHECK(x.span == Span{{1}, 50, 60});
    if (x.op == Op::reduce_max) CHECK(x.span == Span{{1}, 30, 40});
    CHECK(x.type.elements(1) == 1);
  }
  check_bindings(found);
  SECTION("the same twice") {
    GraphCase again = reduce_case(start, fails);
    CHECK(print_graph(again.graph, nullptr) == print_graph(found.graph, nullptr));
    CHECK(again.bindings.inputs == found.bindings.inputs);
  }
}

TEST_CASE("values that show a fault survive when what made them goes", "[reduce]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {rows, n(6)}});
  NodeId y = b.mul(b.unary(Op::exp, x), 3);
  g.outputs = {{"result", b.unary(Op::log1p, b.unary(Op::floor, y))}};
  GraphCase start{g, random_bindings(g, 4, 8)};
  // Only an element above 10 shows it; no input is that large.
  auto fails = [](const GraphCase& c) {
    std::vector<Tensor> values = interpret(c.graph, c.bindings, true).values;
    for (uint32_t i = 0; i < c.graph.size(); ++i)
      if (c.graph[NodeId{i}].op == Op::log1p)
        for (double v : values[c.graph[NodeId{i}].operands[0].value].values)
          if (v > 8.5) return true;
    return false;
  };
  start.bindings.inputs["x"].values[13] = 1.25;
  REQUIRE(fails(start));
  GraphCase found = reduce_case(start, fails);
  INFO(print_graph(found.graph, nullptr));
  REQUIRE(fails(found));
  CHECK(operations(found.graph) == 1);
  CHECK(found.bindings.rows == 1);
}

TEST_CASE("an update shows a fault of its own", "[reduce]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {rows, n(3)}});
  NodeId w = b.parameter({"w", {DType::f32, {n(3)}}, PersistentKind::parameter, {}});
  NodeId unused = b.parameter({"v", {DType::f32, {n(3)}}, PersistentKind::parameter, {}});
  NodeId s = b.reduce(Op::reduce_sum, b.mul(x, b.broadcast(w, {rows, n(3)}, {1})), {0});
  g.outputs = {{"loss", b.reduce(Op::reduce_sum, s, {0})}};
  g.updates = {{"v", b.mul(unused, 2)}, {"w", b.sub(w, b.mul(s, 0.1))}};
  GraphCase start{g, random_bindings(g, 5, 1)};
  auto fails = [](const GraphCase& c) {
    for (const Update& u : c.graph.updates)
      if (u.name == "w" && c.graph[u.node].op == Op::sub) return true;
    return false;
  };
  GraphCase found = reduce_case(start, fails);
  INFO(print_graph(found.graph, nullptr));
  REQUIRE(fails(found));
  CHECK(found.graph.outputs.empty());
  CHECK(found.graph.updates.size() == 1);
  CHECK(operations(found.graph) == 1);
  CHECK(found.graph.persistents.size() == 1);
  check_bindings(found);
}

TEST_CASE("sizes that must agree shrink together, through reshape, slice, pad and index", "[reduce]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {rows, n(12)}});
  NodeId index = b.input("index", {DType::i32, {rows}});
  NodeId folded = b.reshape(x, {rows, n(3), n(4)});
  NodeId window = b.slice(folded, 2, 1, n(3));
  NodeId padded = b.pad(window, 2, 2, n(8));
  Attributes a;
  a.axes = {2};
  a.lhs = {0, 1, 2};
  a.rhs = {0};
  a.out = {0, 1};
  NodeId picked = g.add(Op::gather, {padded, index}, a);
  g.outputs = {{"result", picked}};
  GraphCase start{g, random_bindings(g, 4, 2)};
  start.bindings.inputs["index"].values = {3, 7, 2, 5};
  interpret(start.graph, start.bindings);
  DimensionClasses dims(g);
  REQUIRE(dims.classes().size() >= 4);
  for (const DimensionClasses::Class& c : dims.classes())
    for (int64_t size = 1; size < c.size; ++size)
      for (bool tail : {false, true}) {
        std::optional<GraphCase> smaller = dims.shrink(start, c.id, size, tail);
        if (!smaller) continue;
        INFO("class of size " << c.size << " to " << size << "\n" << print_graph(smaller->graph, nullptr));
        check_bindings(*smaller);
      }
  // 12 = 3 * 4: the whole follows from a factor and a factor from the whole.
  std::optional<GraphCase> half = dims.shrink(start, dims.classes()[0].id, 6, false);
  REQUIRE(half);
  CHECK(half->bindings.inputs.at("x").shape == std::vector<int64_t>{4, 6});
  // All of it as the search does it: one element of everything.
  GraphCase found = reduce_case(start, [](const GraphCase& c) { return has(c.graph, Op::gather); });
  INFO(print_graph(found.graph, nullptr));
  CHECK(operations(found.graph) == 1);
  for (const Node& node : found.graph.nodes()) CHECK(node.type.elements(1) == 1);
  check_bindings(found);
  // The last rows instead of the first.
  GraphCase last = take_rows(start, 1, true);
  CHECK(last.bindings.inputs.at("index").values == std::vector<double>{5});
}

TEST_CASE("a case that does not fail, or only as it stands, comes back as it is", "[reduce]") {
  Graph g = random_graph(11, {40, true, 2, false});
  GraphCase start{g, random_bindings(g, 3, 11)};
  auto text = print_graph(g, nullptr);
  CHECK(print_graph(reduce_case(start, [](const GraphCase&) { return false; }).graph, nullptr) == text);
  CHECK(print_graph(reduce_case(start, [](const GraphCase&) -> bool { throw std::runtime_error("no"); }).graph, nullptr) == text);
  int asked = 0;
  auto whole = [&](const GraphCase& c) { return ++asked, c.graph.size() == g.size(); };
  CHECK(reduce_case(start, whole).graph.size() == g.size());
  asked = 0;
  reduce_case(start, [&](const GraphCase&) { return ++asked, true; }, {17, 30});
  CHECK(asked <= 17);
}

TEST_CASE("a fault of two results together keeps both and no other", "[reduce]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {rows, n(4)}});
  NodeId w = b.parameter({"w", {DType::f32, {n(4)}}, PersistentKind::parameter, {}});
  NodeId a = b.unary(Op::sin, x), c = b.unary(Op::exp, w);
  g.outputs = {{"a", b.unary(Op::neg, x)}, {"b", a}, {"c", b.unary(Op::abs, x)}, {"d", b.unary(Op::cos, x)}};
  g.updates = {{"w", b.mul(c, 2.0)}};
  GraphCase start{g, random_bindings(g, 6, 5)};
  auto fails = [](const GraphCase& c) {
    bool output = std::any_of(c.graph.outputs.begin(), c.graph.outputs.end(), [](const Output& o) { return o.name == "b"; });
    return output && has(c.graph, Op::sin) && c.graph.updates.size() == 1 && has(c.graph, Op::exp);
  };
  GraphCase found = reduce_case(start, fails);
  INFO(print_graph(found.graph, nullptr));
  CHECK(fails(found));
  CHECK(found.graph.outputs.size() == 1);
  CHECK(operations(found.graph) == 2);
  check_bindings(found);
}

TEST_CASE("a fault that only an update shows is left with the update alone", "[reduce]") {
  Graph g;
  Builder b(g);
  NodeId v = b.parameter({"v", {DType::f32, {n(3)}}, PersistentKind::parameter, {}});
  NodeId w = b.parameter({"w", {DType::f32, {n(4)}}, PersistentKind::parameter, {}});
  g.outputs = {{"loss", b.reduce(Op::reduce_sum, v, {0})}};
  g.updates = {{"v", b.mul(v, 2.0)}, {"w", b.unary(Op::tanh, w)}};
  GraphCase start{g, random_bindings(g, 2, 5)};
  auto fails = [](const GraphCase& c) {
    return std::any_of(c.graph.updates.begin(), c.graph.updates.end(), [&](const Update& u) { return c.graph[u.node].op == Op::tanh; });
  };
  GraphCase found = reduce_case(start, fails);
  INFO(print_graph(found.graph, nullptr));
  CHECK(fails(found));
  CHECK(found.graph.outputs.empty());
  CHECK(found.graph.updates.size() == 1);
  CHECK(operations(found.graph) == 1);
  check_bindings(found);
}

TEST_CASE("attributes and scalars become as plain as the fault allows", "[reduce]") {
  Graph g;
  Builder b(g, {}, "layer");
  NodeId x = b.parameter({"x", {DType::f32, {n(3), n(8)}}, PersistentKind::parameter, {}});
  NodeId cut = b.slice(x, 1, 3, n(4)), padded = b.pad(cut, 1, 2, n(9)), turned = b.transpose(b.broadcast(padded, {n(2), n(3), n(9)}, {1, 2}), {2, 1, 0});
  g.outputs = {{"y", b.binary(Op::mul, b.cast(b.scalar("lr"), DType::f32), turned)}};
  for (uint32_t i = 0; i < g.size(); ++i)
    if (op_class(g[{i}].op) != OpClass::leaf) g[{i}].group = 0;
  GraphCase start{g, random_bindings(g, 1, 5)};
  start.bindings.scalars["lr"] = 0.3;
  auto fails = [](const GraphCase& c) {
    return has(c.graph, Op::slice) && has(c.graph, Op::pad) && has(c.graph, Op::transpose) && has(c.graph, Op::broadcast) && has(c.graph, Op::scalar) &&
           c.bindings.scalars.at("lr") >= 0;
  };
  REQUIRE(fails(start));
  GraphCase found = reduce_case(start, fails);
  INFO(print_graph(found.graph, nullptr));
  CHECK(fails(found));
  CHECK(found.bindings.scalars.at("lr") == 0);
  for (const Node& node : found.graph.nodes()) {
    if (node.op == Op::slice || node.op == Op::pad) CHECK(node.attributes.begin == 0);
    CHECK(node.type.elements(1) <= 2);
    CHECK(node.group == -1);
    CHECK(node.scope.empty());
  }
  // 0.7 and more: the nearest plain value that still shows it.
  start.bindings.scalars["lr"] = 0.8;
  GraphCase higher = reduce_case(start, [&](const GraphCase& c) { return fails(c) && c.bindings.scalars.at("lr") > 0.7; });
  CHECK(higher.bindings.scalars.at("lr") == 1);
}

TEST_CASE("reduction ends when its share of questions or time is used up", "[reduce]") {
  GraphCase start;
  start.graph = random_graph(3, {60, true, 3, true});
  start.bindings = random_bindings(start.graph, 7, 3);
  for (int share : {1, 2, 5, 9, 20, 60}) {
    int asked = 0;
    auto fails = [&](const GraphCase& c) {
      ++asked;
      return operations(c.graph) > 0;
    };
    GraphCase found = reduce_case(start, fails, {share, 30});
    CHECK(asked <= share);
    CHECK(operations(found.graph) > 0);
    CHECK(operations(found.graph) <= operations(start.graph));
  }
  int asked = 0;
  GraphCase found = reduce_case(start, [&](const GraphCase&) { return ++asked > 0; }, {2000, -1});
  CHECK(asked == 1);
  Graph live = start.graph;
  remove_dead_code(live);
  CHECK(print_graph(found.graph, nullptr) == print_graph(live, nullptr));
  // A fault that the whole case does not show leaves it as it is.
  found = reduce_case(start, [](const GraphCase&) { return false; });
  CHECK(print_graph(found.graph, nullptr) == print_graph(start.graph, nullptr));
  found = reduce_case(start, [](const GraphCase&) -> bool { throw std::runtime_error("cannot tell"); });
  CHECK(print_graph(found.graph, nullptr) == print_graph(start.graph, nullptr));
}
