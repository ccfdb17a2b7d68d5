// Every gradient rule against finite differences. The cases are asked for by ops.def: a differentiable operation without a case
// fails.
#include <functional>
#include <map>
#include <set>

#include "ir/window.h"
#include "passes/simplify.h"
#include "tests/unit/ir_random_graph.h"
#include "tests/unit/passes_gradient_check.h"

using namespace nnc;
using namespace nnc::test;

namespace {

Extent n(int64_t size) { return {size, false}; }
const Extent rows{1, true};

// What a case builds: leaves to differentiate by and the result.
struct Case {
  Graph graph;
  Builder b{graph};
  std::vector<NodeId> leaves;
  NodeId result;
  double low = -1.5, high = 1.5;  // values of the leaves
  std::map<std::string, std::vector<double>> indices;

  NodeId leaf(Shape shape) {
    NodeId id = b.input("x" + std::to_string(leaves.size()), {DType::f32, std::move(shape)});
    leaves.push_back(id);
    return id;
  }
  NodeId index(Shape shape, std::vector<double> values) {
    std::string name = "index" + std::to_string(indices.size());
    indices[name] = std::move(values);
    return b.input(name, {DType::i32, std::move(shape)});
  }
};
using MakeCase = std::function<void(Case&)>;

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> list = {{}, {n(3)}, {rows, n(4)}, {n(2), n(1), n(3)}, {Extent{2, true}}};
  return list;
}

void add_elementwise(std::vector<MakeCase>& cases, Op op, double low, double high) {
  for (const Shape& shape : shapes())
    cases.push_back([=](Case& c) {
      c.low = low;
      c.high = high;
      std::vector<NodeId> operands;
      for (int i = 0; i < op_arity(op); ++i) operands.push_back(c.leaf(shape));
      c.result = c.graph.add(op, operands);
    });
  if (op_arity(op) == 2)  // one node as both operands
    cases.push_back([=](Case& c) {
      c.low = low;
      c.high = high;
      NodeId x = c.leaf({n(3)});
      NodeId y = c.b.mul(x, x);
      c.result = c.graph.add(op, {y, y});
    });
}

void add_contract(std::vector<MakeCase>& cases, Shape p, Shape q, std::vector<int> lhs, std::vector<int> rhs,
                  std::vector<int> out) {
  cases.push_back([=](Case& c) {
    NodeId x = c.leaf(p), y = c.leaf(q);
    c.result = c.b.contract(x, y, lhs, rhs, out);
  });
}

void add_indexing(std::vector<MakeCase>& cases, Op op, Shape data, Shape index, std::vector<double> values, Attributes a) {
  cases.push_back([=](Case& c) {
    NodeId x = c.leaf(data), i = c.index(index, values);
    c.result = c.graph.add(op, {x, i}, a);
  });
}

Attributes labels(int axis, std::vector<int> lhs, std::vector<int> rhs, std::vector<int> out, Shape extents = {}) {
  Attributes a;
  a.axes = {axis};
  a.lhs = std::move(lhs);
  a.rhs = std::move(rhs);
  a.out = std::move(out);
  a.extents = std::move(extents);
  return a;
}

std::map<Op, std::vector<MakeCase>> all_cases() {
  std::map<Op, std::vector<MakeCase>> cases;
  for (Op op : {Op::neg, Op::abs, Op::exp, Op::expm1, Op::sin, Op::cos, Op::tanh, Op::sigmoid, Op::erf, Op::normal_cdf, Op::add, Op::sub, Op::mul,
                Op::maximum, Op::minimum, Op::copysign})
    add_elementwise(cases[op], op, -1.5, 1.5);
  for (Op op : {Op::sqrt, Op::log, Op::div, Op::pow}) add_elementwise(cases[op], op, 0.4, 2);
  add_elementwise(cases[Op::log1p], Op::log1p, -0.5, 2);
  cases[Op::floor_mod].push_back([](Case& c) {  // the quotient stays 2 or -3
    c.low = 1, c.high = 1.05;
    NodeId x = c.b.mul(c.leaf({rows, n(3)}), 2.4), y = c.leaf({rows, n(3)});
    c.result = c.b.add(c.b.binary(Op::floor_mod, x, y), c.b.binary(Op::floor_mod, c.b.neg(x), y));
  });
  for (double exponent : {-1.0, 0.0, 1.0, 2.0, 3.0})  // negative bases with integer exponents
    cases[Op::pow].push_back([=](Case& c) {
      NodeId x = c.leaf({rows, n(3)});
      c.result = c.b.binary(Op::pow, x, c.b.constant_like(exponent, x));
    });
  cases[Op::select].push_back([](Case& c) {
    NodeId x = c.leaf({rows, n(3)}), y = c.leaf({rows, n(3)});
    c.result = c.b.select(c.b.binary(Op::less, x, y), c.b.mul(x, y), c.b.sub(y, x));
  });
  cases[Op::cast].push_back([](Case& c) { c.result = c.b.cast(c.leaf({rows, n(2)}), DType::f64); });
  cases[Op::cast].push_back([](Case& c) {  // through an integer: no gradient
    NodeId x = c.leaf({n(5)});
    c.result = c.b.add(c.b.cast(c.b.cast(x, DType::i32), DType::f32), c.b.mul(x, x));
  });
  cases[Op::broadcast].push_back([](Case& c) { c.result = c.b.broadcast(c.leaf({}), {rows, n(3)}, {}); });
  cases[Op::broadcast].push_back([](Case& c) { c.result = c.b.broadcast(c.leaf({n(3)}), {rows, n(3), n(2)}, {1}); });
  cases[Op::broadcast].push_back([](Case& c) { c.result = c.b.broadcast(c.leaf({rows, n(2)}), {rows, n(4), n(2)}, {0, 2}); });
  cases[Op::transpose].push_back([](Case& c) { c.result = c.b.transpose(c.leaf({n(2), n(3), n(4)}), {2, 0, 1}); });
  cases[Op::transpose].push_back([](Case& c) { c.result = c.b.transpose(c.leaf({rows, n(3), n(4)}), {0, 2, 1}); });
  cases[Op::reshape].push_back([](Case& c) { c.result = c.b.reshape(c.leaf({rows, n(6)}), {rows, n(2), n(3)}); });
  cases[Op::reshape].push_back([](Case& c) { c.result = c.b.reshape(c.leaf({rows, n(4)}), {Extent{4, true}}); });
  cases[Op::slice].push_back([](Case& c) { c.result = c.b.slice(c.leaf({rows, n(6)}), 1, 2, n(3)); });
  cases[Op::pad].push_back([](Case& c) { c.result = c.b.pad(c.leaf({n(2), n(3)}), 0, 1, n(5)); });
  cases[Op::window].push_back([](Case& c) { c.result = c.b.window(c.leaf({rows, n(6)}), make_window({1}, n(4), 2, 1, -1)); });
  cases[Op::window].push_back([](Case& c) { c.result = c.b.window(c.leaf({rows, n(5), n(3)}), make_window({1, 2}, n(5), 1, 1, -1)); });
  cases[Op::window].push_back([](Case& c) { c.result = c.b.window(c.leaf({n(2), n(7)}), make_window({1, 0}, n(3), 2, 3, -2, 1, 4)); });
  cases[Op::window].push_back([](Case& c) { c.result = c.b.window(c.leaf({rows, n(3), n(4)}), make_window({2, 1}, n(9), 1, -2, 3, 2)); });
  cases[Op::window].push_back([](Case& c) { c.result = c.b.window(c.leaf({rows, n(7), n(2)}), make_window({1, 2}, n(5), -2, -1, 7)); });
  for (Op op : {Op::reduce_sum, Op::reduce_max, Op::reduce_min}) {
    cases[op].push_back([=](Case& c) { c.result = c.b.reduce(op, c.leaf({n(5)}), {0}); });
    cases[op].push_back([=](Case& c) { c.result = c.b.reduce(op, c.leaf({rows, n(3)}), {0}); });
    cases[op].push_back([=](Case& c) { c.result = c.b.reduce(op, c.leaf({rows, n(3), n(2)}), {1}); });
    cases[op].push_back([=](Case& c) { c.result = c.b.reduce(op, c.leaf({n(2), n(3), n(2)}), {0, 2}); });
  }
  std::vector<MakeCase>& contractions = cases[Op::contract];
  add_contract(contractions, {rows, n(3)}, {n(4), n(3)}, {0, 1}, {2, 1}, {0, 2});
  add_contract(contractions, {rows, n(3)}, {rows, n(2)}, {0, 1}, {0, 2}, {1, 2});
  add_contract(contractions, {n(2), n(3), n(2)}, {n(2), n(2), n(3)}, {0, 1, 2}, {0, 2, 3},
               {0, 3, 1});                                                                  // batched, transposed result
  add_contract(contractions, {n(3), n(2)}, {n(2)}, {0, 1}, {1}, {0});                       // matrix times vector
  add_contract(contractions, {n(3)}, {n(3)}, {0}, {0}, {});                                 // inner product
  add_contract(contractions, {n(3)}, {n(2)}, {0}, {1}, {1, 0});                             // outer product
  add_contract(contractions, {rows, n(3), n(2)}, {n(3), n(4)}, {0, 1, 2}, {1, 3}, {0, 3});  // label 2 summed in one operand only
  add_contract(contractions, {n(3)}, {rows, n(2)}, {0}, {1, 2}, {2});                       // nothing shared
  add_contract(contractions, {}, {n(2)}, {}, {0}, {0});
  std::vector<MakeCase>& gathers = cases[Op::gather];
  add_indexing(gathers, Op::gather, {rows, n(4)}, {rows}, {0, 3, 3}, labels(1, {0, 1}, {0}, {0}));     // one per row
  add_indexing(gathers, Op::gather, {n(4), n(2)}, {rows}, {1, 1, 3}, labels(0, {0, 1}, {2}, {2, 1}));  // repeated
  add_indexing(gathers, Op::gather, {n(4), n(2)}, {rows, n(2)}, {1, 1, 3, 0, 1, 1}, labels(0, {0, 1}, {2, 3}, {2, 3, 1}));
  add_indexing(gathers, Op::gather, {rows, n(3), n(2)}, {rows}, {2, 0, 2}, labels(1, {0, 1, 2}, {0}, {0, 2}));
  add_indexing(gathers, Op::gather, {n(2), n(3)}, {n(2), n(4)}, {2, 0, 2, 2, 1, 1, 0, 1},
               labels(1, {0, 1}, {0, 2}, {0, 2}));  // aligned and free
  add_indexing(gathers, Op::gather, {n(4)}, {}, {2}, labels(0, {0}, {}, {}));
  std::vector<MakeCase>& scatters = cases[Op::scatter_add];
  add_indexing(scatters, Op::scatter_add, {rows, n(2)}, {rows}, {1, 1, 3}, labels(0, {2, 1}, {2}, {0, 1}, {n(4), n(2)}));
  add_indexing(scatters, Op::scatter_add, {rows}, {rows}, {0, 3, 3}, labels(1, {0}, {0}, {0, 1}, {rows, n(4)}));
  return cases;
}

constexpr int64_t row_count = 3;

Bindings bindings_of(const Case& c, uint64_t seed) {
  Bindings bindings = random_bindings(c.graph, row_count, seed);
  RandomStream random(seed, stable_hash("leaves"));
  for (NodeId leaf : c.leaves)
    for (double& v : bindings.inputs.at(c.graph[leaf].attributes.text).values) v = c.low + (c.high - c.low) * random.next_unit();
  for (const auto& [name, values] : c.indices) {
    REQUIRE(bindings.inputs.at(name).values.size() == values.size());
    bindings.inputs.at(name).values = values;
  }
  return bindings;
}

double value_of(const Graph& graph, NodeId id, const Bindings& bindings, size_t element = 0) {
  return interpret(graph, bindings, true).values[id.value].values.at(element);
}

// Gradient of a scalar function of one number at x, by our rules.
double slope(double x, const std::function<NodeId(Builder&, NodeId)>& f) {
  Graph g;
  Builder b(g);
  NodeId leaf = b.input("x", {DType::f32, {}});
  NodeId y = f(b, leaf);
  NodeId gradient = gradients_of(g, y, b.constant_like(1, y), {leaf})[0];
  REQUIRE(gradient.valid());
  Bindings bindings;
  bindings.inputs["x"] = {DType::f32, {}, {x}};
  return value_of(g, gradient, bindings);
}

}  // namespace

TEST_CASE("every differentiable operation has a gradient that finite differences confirm", "[differentiate]") {
  std::map<Op, std::vector<MakeCase>> cases = all_cases();
  for (int i = 0; i < op_count; ++i) {
    Op op = Op(i);
    if (op_class(op) == OpClass::region) continue;  // passes_scan_test.cpp
    if (op_differentiable(op) != Differentiable::yes) {
      CHECK(cases.count(op) == 0);
      continue;
    }
    INFO("operation " << op_name(op));
    REQUIRE_FALSE(cases[op].empty());
    int compared = 0, number = 0;
    for (const MakeCase& make : cases[op]) {
      Case c;
      make(c);
      INFO("case " << number++);
      bool uses_op = false;
      for (const Node& node : c.graph.nodes()) uses_op |= node.op == op;
      REQUIRE(uses_op);
      GradientCheck check = check_gradients(c.graph, c.result, c.leaves, bindings_of(c, uint64_t(number)));
      INFO(check.first_fault);
      CHECK(check.wrong == 0);
      compared += check.compared;
    }
    CHECK(compared > 0);
  }
}

TEST_CASE("corners follow the usual conventions", "[differentiate]") {
  constexpr double inf = std::numeric_limits<double>::infinity();
  auto unary = [](Op op) { return [op](Builder& b, NodeId x) { return b.unary(op, x); }; };
  CHECK(slope(0, unary(Op::abs)) == 0);
  CHECK(slope(0, unary(Op::sqrt)) == inf);
  auto power = [](double e) { return [e](Builder& b, NodeId x) { return b.binary(Op::pow, x, b.constant_like(e, x)); }; };
  CHECK(slope(0, power(0)) == 0);
  CHECK(slope(0, power(1)) == 1);
  CHECK(slope(0, power(2)) == 0);
  CHECK(slope(-2, power(3)) == Approx(12));
  CHECK(slope(-2, power(2)) == Approx(-4));
  CHECK(slope(0, power(0.5)) == inf);
  // A run-time exponent of zero, and the exponent's own gradient where the base is zero.
  auto run_time_power = [](double base, double exponent, bool by_exponent) {
    Graph g;
    Builder b(g);
    NodeId x = b.input("x", {DType::f32, {}}), e = b.input("e", {DType::f32, {}});
    NodeId y = b.binary(Op::pow, x, e);
    std::vector<NodeId> gradients = gradients_of(g, y, b.constant_like(1, y), {x, e});
    Bindings bindings;
    bindings.inputs["x"] = {DType::f32, {}, {base}};
    bindings.inputs["e"] = {DType::f32, {}, {exponent}};
    return value_of(g, gradients[by_exponent ? 1 : 0], bindings);
  };
  CHECK(run_time_power(0, 0, false) == 0);
  CHECK(run_time_power(0, 2, true) == 0);
  CHECK(run_time_power(0, 0, true) == 0);
  CHECK(run_time_power(2, 3, true) == Approx(8 * std::log(2.0)));
  CHECK(std::isnan(run_time_power(-2, 2, true)));
  auto with_zero = [](Op op) { return [op](Builder& b, NodeId x) { return b.binary(op, x, b.constant_like(0, x)); }; };
  CHECK(slope(0, with_zero(Op::maximum)) == 0.5);
  CHECK(slope(1, with_zero(Op::maximum)) == 1);
  CHECK(slope(-1, with_zero(Op::maximum)) == 0);
  CHECK(slope(0, with_zero(Op::minimum)) == 0.5);
  CHECK(slope(1, with_zero(Op::minimum)) == 0);
  CHECK(slope(3, [](Builder& b, NodeId x) { return b.binary(Op::maximum, x, x); }) == 1);
  // The branch not taken has an infinite slope, which does not come through.
  CHECK(slope(0, [](Builder& b, NodeId x) {
          NodeId zero = b.constant_like(0, x), safe = b.select(b.binary(Op::greater, x, zero), x, b.constant_like(1, x));
          return b.select(b.binary(Op::greater, x, zero), b.unary(Op::log, safe), b.mul(x, 3.0));
        }) == 3);
  CHECK(slope(-1, [](Builder& b, NodeId x) {  // an infinite gradient that arrives does not become inf * 0 in the branch not taken
          NodeId zero = b.constant_like(0, x);
          return b.unary(Op::sqrt, b.select(b.binary(Op::greater, x, zero), b.mul(x, 2.0), zero));
        }) == 0);
}

TEST_CASE("ties of a reduction share the gradient", "[differentiate]") {
  for (Op op : {Op::reduce_max, Op::reduce_min}) {
    Graph g;
    Builder b(g);
    NodeId x = b.input("x", {DType::f32, {n(5)}});
    NodeId y = b.reduce(op, x, {0});
    NodeId gradient = gradients_of(g, y, b.constant_like(6, y), {x})[0];
    double s = op == Op::reduce_max ? 1 : -1;
    Bindings bindings;
    bindings.inputs["x"] = {DType::f32, {5}, {2 * s, 0, 2 * s, 1 * s, 2 * s}};
    CHECK(interpret(g, bindings, true).values[gradient.value].values == std::vector<double>{2, 0, 2, 0, 2});
  }
}

TEST_CASE("repeated indices add up, one index per row does not scatter", "[differentiate]") {
  Graph g;
  Builder b(g);
  NodeId table = b.input("table", {DType::f32, {n(3)}}), index = b.input("index", {DType::i32, {rows}});
  NodeId y = g.add(Op::gather, {table, index}, labels(0, {0}, {1}, {1}));
  NodeId gradient = gradients_of(g, y, b.constant_like(1, y), {table})[0];
  CHECK(g[gradient].op == Op::scatter_add);
  Bindings bindings;
  bindings.rows = 4;
  bindings.inputs["table"] = {DType::f32, {3}, {1, 2, 3}};
  bindings.inputs["index"] = {DType::i32, {4}, {2, 0, 2, 2}};
  CHECK(interpret(g, bindings, true).values[gradient.value].values == std::vector<double>{1, 0, 3});

  Graph h;
  Builder c(h);
  NodeId logits = c.input("logits", {DType::f32, {rows, n(3)}}), label = c.input("label", {DType::i32, {rows}});
  NodeId picked = h.add(Op::gather, {logits, label}, labels(1, {0, 1}, {0}, {0}));
  NodeId one_hot = gradients_of(h, picked, c.constant_like(1, picked), {logits})[0];
  CHECK(h[one_hot].op == Op::select);
}

TEST_CASE("gradients of several reads and uses of a parameter add up", "[differentiate]") {
  Graph g;
  SourceMap sources;
  FileId file = sources.add("net.nn", "w*w + 3*w");
  Persistent w{"w", {DType::f32, {n(2)}}, PersistentKind::parameter, {}};
  Builder b(g, {file, 0, 3}, "fc1");
  NodeId first = b.parameter(w), second = b.parameter(w);
  NodeId loss = b.reduce(Op::reduce_sum, b.add(b.mul(first, first), b.mul(second, 3.0)), {0});
  uint32_t before = g.size();
  std::vector<ParameterGradient> gradients = differentiate(g, loss, {"w"});
  REQUIRE(gradients.size() == 1);
  CHECK(gradients[0].reached);
  CHECK(verify_graph(g).empty());
  Bindings bindings;
  bindings.persistents["w"] = {DType::f32, {2}, {5, -1}};
  CHECK(interpret(g, bindings, true).values[gradients[0].node.value].values == std::vector<double>{13, 1});
  REQUIRE(g.size() > before);
  for (uint32_t i = before; i < g.size(); ++i) {
    CHECK(g[NodeId{i}].span == Span{file, 0, 3});
    CHECK(g[NodeId{i}].scope == "fc1");
  }
}

TEST_CASE("a gradient common to two contributions is taken out of their sum", "[differentiate]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {n(2)}}), given = b.input("given", {DType::f32, {n(2)}});
  NodeId e = b.unary(Op::exp, x);
  // given * e and (given * x) * e: what is in brackets is of the forward pass alone.
  const Node whole = g[gradients_of(g, b.mul(x, e), given, {x})[0]];
  REQUIRE(whole.op == Op::mul);
  CHECK(whole.operands[0] == given);
  const Node sum = g[whole.operands[1]];
  REQUIRE(sum.op == Op::add);
  CHECK(sum.operands[0] == e);
  const Node product = g[sum.operands[1]];
  CHECK(product.op == Op::mul);
  CHECK(std::set<NodeId>(product.operands.begin(), product.operands.end()) == std::set<NodeId>{x, e});
}

TEST_CASE("a parameter without gradient is explained", "[differentiate]") {
  Graph g;
  Builder b(g);
  auto parameter = [&](const char* name) { return b.parameter({name, {DType::f32, {n(3)}}, PersistentKind::parameter, {}}); };
  NodeId trained = parameter("trained"), unused = parameter("unused"), stopped = parameter("stopped"),
         rounded = parameter("rounded");
  b.mul(unused, unused);
  NodeId scores = b.mul(stopped, 2.0);
  NodeId choice = b.reduce(Op::argmax, scores, {0});
  NodeId floored = b.unary(Op::floor, rounded);
  NodeId loss = b.add(b.reduce(Op::reduce_sum, b.mul(b.mul(trained, trained), floored), {0}), b.cast(choice, DType::f32));
  std::vector<ParameterGradient> gradients = differentiate(g, loss, {"trained", "unused", "stopped", "rounded"});
  REQUIRE(gradients.size() == 4);
  CHECK(gradients[0].reached);
  for (int i = 1; i < 4; ++i) {
    CHECK_FALSE(gradients[size_t(i)].reached);
    REQUIRE(g[gradients[size_t(i)].node].op == Op::constant);
    CHECK(g[gradients[size_t(i)].node].attributes.number == 0);
    CHECK(g.type(gradients[size_t(i)].node) == g.type(trained));
  }
  CHECK_FALSE(explain_missing_gradient(g, loss, "unused").connected);
  MissingGradient why = explain_missing_gradient(g, loss, "stopped");
  CHECK(why.connected);
  CHECK(why.blocker == choice);
  REQUIRE(why.path.size() == 5);
  CHECK(why.path.front() == stopped);
  CHECK(why.path[1] == scores);
  CHECK(why.path.back() == loss);
  CHECK(explain_missing_gradient(g, loss, "rounded").blocker == floored);
}

TEST_CASE("stop_gradient and frozen values let nothing through", "[differentiate]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {}});
  NodeId y = b.mul(x, b.unary(Op::stop_gradient, x));
  NodeId gradient = gradients_of(g, y, b.constant_like(1, y), {x})[0];
  Bindings bindings;
  bindings.inputs["x"] = {DType::f32, {}, {3}};
  CHECK(value_of(g, gradient, bindings) == 3);
  CHECK_FALSE(gradients_of(g, b.unary(Op::stop_gradient, x), b.constant_like(1, x), {x})[0].valid());
}

TEST_CASE("gradients of random graphs agree with finite differences", "[differentiate][random]") {
  int compared = 0, skipped = 0;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    INFO("seed " << seed);
    Graph g = random_graph(seed, {.nodes = 25});
    erase_stop_gradient(g);  // differences see through it
    Bindings bindings = random_bindings(g, 3, seed);
    std::vector<NodeId> leaves;
    for (uint32_t i = 0; i < g.size(); ++i) {
      Op op = g[NodeId{i}].op;
      if ((op == Op::input || op == Op::parameter) && g[NodeId{i}].type.elements(3) <= 30) leaves.push_back({i});
    }
    for (const Output& o : g.outputs) {
      if (!is_float(g.type(o.node).dtype)) continue;
      GradientCheck check = check_gradients(g, o.node, leaves, bindings, seed);
      INFO(check.first_fault);
      CHECK(check.wrong == 0);
      compared += check.compared;
      skipped += check.skipped;
    }
  }
  CHECK(compared > 2000);
  CHECK(skipped * 50 < compared);
}

TEST_CASE("a small network's gradients: softmax, cross entropy, layer sharing", "[differentiate]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {rows, n(4)}}), label = b.input("label", {DType::i32, {rows}});
  NodeId w = b.parameter({"w", {DType::f32, {n(4), n(4)}}, PersistentKind::parameter, {}});
  NodeId bias = b.parameter({"bias", {DType::f32, {n(4)}}, PersistentKind::parameter, {}});
  auto layer = [&](NodeId in) {
    NodeId z = b.contract(in, w, {0, 1}, {2, 1}, {0, 2});
    return b.unary(Op::tanh, b.add(z, b.broadcast(bias, g.type(z).shape, {1})));
  };
  NodeId logits = layer(layer(x));
  NodeId shifted = b.sub(logits, b.expand(b.unary(Op::stop_gradient, b.reduce(Op::reduce_max, logits, {1})), {1}, logits));
  NodeId lse = b.unary(Op::log, b.reduce(Op::reduce_sum, b.unary(Op::exp, shifted), {1}));
  NodeId picked = g.add(Op::gather, {shifted, label}, labels(1, {0, 1}, {0}, {0}));
  NodeId loss = b.mean(b.sub(lse, picked), {0});
  Bindings bindings = random_bindings(g, 5, 7);
  bindings.inputs["label"].values = {0, 3, 1, 1, 2};
  GradientCheck check = check_gradients(g, loss, {w, bias, x}, bindings);
  INFO(check.first_fault);
  CHECK(check.wrong == 0);
  CHECK(check.skipped == 0);
  CHECK(check.compared == 16 + 4 + 20);
}
