// nnc gradcheck on compilers that are wrong: a pass, the lowering of fused kernels, code generation and gradient rules, each
// broken from outside, are named and cut down to the operation at fault. And on the right one: rounding and kinks are no fault.
#include <algorithm>
#include <cmath>

#include "base/diagnostics.h"
#include "verify/bisect.h"
#include "verify/case_file.h"
#include "verify/gradient_check.h"
#include "passes/differentiate.h"
#include "passes/rewrite.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

Extent n(int64_t size) { return {size, false}; }
const Extent rows{1, true};
const DType f32 = DType::f32;

/// Two layers, a loss, gradients and a step of descent; `rows` odd, so that vectors have tails.
GraphCase small_network() {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {f32, {rows, n(6)}});
  NodeId w = b.parameter({"w", {f32, {n(5), n(6)}}, PersistentKind::parameter, {}});
  NodeId v = b.parameter({"v", {f32, {n(5)}}, PersistentKind::parameter, {}});
  NodeId lr = b.cast(b.scalar("lr"), DType::f32);
  NodeId h = b.unary(Op::tanh, b.contract(x, w, {0, 1}, {2, 1}, {0, 2}));
  NodeId s = b.unary(Op::sigmoid, b.contract(h, v, {0, 1}, {1}, {0}));
  NodeId loss = b.mean(b.unary(Op::log, b.add(s, 1.0)), {0});
  g.outputs = {{"loss", loss}};
  for (const ParameterGradient& p : differentiate(g, loss, {"w", "v"}))
    g.updates.push_back({p.parameter, b.sub(p.parameter == "w" ? w : v, b.mul(p.node, lr))});
  std::mt19937_64 random(5);
  return {g, random_bindings(g, 7, random)};
}

int operations(const Graph& graph) {
  return int(
      std::count_if(graph.nodes().begin(), graph.nodes().end(), [](const Node& x) { return op_class(x.op) != OpClass::leaf; }));
}

bool has(const Graph& graph, Op op) {
  return std::any_of(graph.nodes().begin(), graph.nodes().end(), [&](const Node& x) { return x.op == op; });
}

/// Every `op` a thousandth too large.
void spoil(Graph& graph, Op op, const std::function<bool(const Graph&, NodeId)>& where = {}) {
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    NodeId id = rebuild.copy(NodeId{i});
    if (graph[NodeId{i}].op != op || (where && !where(graph, NodeId{i}))) continue;
    Builder b(rebuild.result, graph[NodeId{i}].span);
    int group = graph[NodeId{i}].group;
    NodeId factor = b.constant_like(1.001, id), wrong = b.mul(id, factor);
    rebuild.result[wrong].group = group;
    rebuild.to[i] = wrong;
  }
  graph = rebuild.finish();
}

CompilerUnderTest product() { return CompilerUnderTest::product(host_target().level, 1); }

GradientFunction wrong_rule(Op op) {
  return [op](Graph& g, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
    std::vector<NodeId> gradients = gradients_of(g, output, seed, wrt);
    for (NodeId& gradient : gradients)
      if (g[output].op == op && gradient.valid()) gradient = Builder(g).mul(gradient, 1.001);
    return gradients;
  };
}

/// Every rule is right, but what `op` gets from a value that something else reads too does not count.
GradientFunction lost_way(Op op) {
  return [op](Graph& g, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
    Users users = g.users();
    Rebuild rebuild(g);
    for (uint32_t i = 0; i < g.size(); ++i) {
      Node node = rebuild.translated(NodeId{i});
      if (node.op == op && users[g[NodeId{i}].operands[0].value].size() > 1)
        node.operands[0] = Builder(rebuild.result).unary(Op::stop_gradient, node.operands[0]);
      rebuild.to[i] = add_node(rebuild.result, node);
    }
    auto now = [&](NodeId id) { return rebuild.to[id.value]; };
    std::vector<NodeId> moved;
    for (NodeId leaf : wrt) moved.push_back(now(leaf));
    g = std::move(rebuild.result);
    return gradients_of(g, now(output), now(seed), moved);
  };
}

}  // namespace

TEST_CASE("the product's compiler agrees with the interpreter", "[gradcheck]") {
  CHECK_FALSE(find_culprit(product(), small_network()));
}

TEST_CASE("a wrong pass is named, wherever it stands, and left with its operation", "[gradcheck]") {
  GraphCase c = small_network();
  for (size_t at : {size_t{1}, size_t{4}}) {
    CompilerUnderTest compiler = product();
    GraphPass right = compiler.passes[at].run;
    compiler.passes[at].run = [right](Graph& g, const PassContext& context) {
      right(g, context);
      spoil(g, Op::sigmoid);
    };
    std::optional<Culprit> culprit = find_culprit(compiler, c);
    REQUIRE(culprit);
    CHECK(culprit->executor == Executor::graph_interpreter);
    CHECK(culprit->passes == at + 1);
    CHECK(culprit->pass == compiler.passes[at].name);
    CHECK(culprit->text().find("the pass `" + compiler.passes[at].name + "`") == 0);
    CHECK(culprit->difference.name == "loss");
    GraphCase small = reduce_culprit(compiler, c, *culprit);
    INFO(print_graph(small.graph, nullptr));
    CHECK(operations(small.graph) == 1);
    CHECK(has(small.graph, Op::sigmoid));
    CHECK(small.bindings.rows == 1);
    CHECK(check_stage(compiler, small, *culprit));
    CHECK_FALSE(check_stage(product(), small, *culprit));
  }
}

TEST_CASE("lowering that is wrong for fused kernels is told from passes and from code generation", "[gradcheck]") {
  GraphCase c = small_network();
  CompilerUnderTest compiler = product();
  // Wrong where a tanh shares its kernel with what it is applied to, which fuse_contractions brings about.
  auto fused = [](const Graph& g, NodeId id) { return g[id].group >= 0 && g[g[id].operands[0]].group == g[id].group; };
  for (Executor broken : {Executor::program_interpreter, Executor::compiled}) {
    compiler.execute = [=](const Graph& g, const Bindings& b, Executor executor) {
      Graph wrong = g;
      if (executor == broken || executor == Executor::compiled) spoil(wrong, Op::tanh, fused);
      Route route;
      route.executor = executor;
      return run_route(wrong, b, route);
    };
    std::optional<Culprit> culprit = find_culprit(compiler, c);
    REQUIRE(culprit);
    CHECK(culprit->executor == broken);
    CHECK(culprit->pass == "fuse_contractions");
    CHECK(culprit->text().find(broken == Executor::compiled ? "code generation" : "lowering") == 0);
    ReduceOptions few;
    few.evaluations = 150;
    GraphCase small = reduce_culprit(compiler, c, *culprit, {}, few);
    INFO(print_graph(small.graph, nullptr));
    CHECK(operations(small.graph) <= 3);
    CHECK(has(small.graph, Op::tanh));
    CHECK(has(small.graph, Op::contract));
  }
}

TEST_CASE("a compiler that stops is a fault of the stage that stops", "[gradcheck]") {
  CompilerUnderTest compiler = product();
  compiler.passes[2].run = [](Graph& g, const PassContext&) { g.outputs.push_back({"beyond", NodeId{g.size()}}); };
  std::optional<Culprit> culprit = find_culprit(compiler, small_network());
  REQUIRE(culprit);
  CHECK(culprit->passes == 3);
  CHECK(culprit->crash.find("is broken after the pass") != std::string::npos);
}

TEST_CASE("what rounding may change follows from the numbers", "[gradcheck]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {f32, {rows}}), y = b.input("y", {f32, {rows}});
  g.outputs = {{"sum", b.add(x, y)}, {"cancelled", b.sub(b.add(x, y), x)}, {"exact", b.binary(Op::maximum, x, y)}};
  Bindings values;
  values.rows = 2;
  values.inputs["x"] = {f32, {2}, {1000, 1}};
  values.inputs["y"] = {f32, {2}, {0.001, 1}};
  RoundingModel model(g, values);
  auto wrong = [&](const std::string& name, size_t i, double relative, Precision precision = Precision::f32) {
    Results found = model.expected();
    found.outputs[name].values[i] *= 1 + relative;
    std::optional<Difference> d = model.compare(found, precision).difference;
    if (d) CHECK((d->name == name && d->index == i));
    return d.has_value();
  };
  CHECK(wrong("sum", 0, 1e-5));
  CHECK_FALSE(wrong("sum", 0, 5e-8));
  CHECK(wrong("sum", 0, 5e-8, Precision::f64));
  CHECK_FALSE(wrong("cancelled", 0, 0.01));  // digits are lost, and that is known
  CHECK(wrong("cancelled", 0, 1e-8, Precision::f64));
  CHECK(wrong("cancelled", 1, 1e-5));
  CHECK(wrong("exact", 0, 2e-6));
  Results f = model.expected();
  CHECK(model.compare(f, Precision::f32).elements == 6);
  f.outputs["sum"].values[0] = std::nan("");
  CHECK(model.compare(f, Precision::f32).difference);
  f.outputs.erase("sum");
  CHECK(model.compare(f, Precision::f32).difference);
  CHECK(model.compare(f, Precision::f32).worst == INFINITY);
}

TEST_CASE("jumps, overflow and wide sums are allowed for by themselves, and by nothing else", "[gradcheck]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {f32, {rows, n(3)}}), y = b.input("y", {f32, {rows, n(3)}}), big = b.input("big", {f32, {rows, n(2)}});
  Attributes last;
  last.axes = {1};
  g.outputs = {{"largest", g.add(Op::argmax, {b.unary(Op::exp, y)}, last)},
               {"total", b.reduce(Op::reduce_sum, b.mul(x, 1.1), {1})},
               {"wide", b.reduce(Op::reduce_sum, big, {1})}};
  Bindings values;
  values.rows = 3;
  // A tie but for less than rounding; a clear winner; sums that cancel and one that does not.
  values.inputs["x"] = {f32, {3, 3}, {1, 1 - 0x1p-24, 0, 0, 1, 0, 1000, -1000, 0.001}};
  values.inputs["y"] = {f32, {3, 3}, {1, 1 - 0x1p-24, 0, 0, 1, 0, 4, -4, 0.001}};
  values.inputs["big"] = {f32, {3, 2}, {1, 0, 0x1p127, 0x0.fffffep127, 3e38, 3e38}};
  RoundingModel model(g, values);
  auto wrong = [&](const std::string& name, size_t i, double value, Precision precision = Precision::f32) {
    Results found = model.expected();
    found.outputs[name].values[i] = value;
    return model.compare(found, precision).difference.has_value();
  };
  CHECK(model.expected().outputs.at("largest").values == std::vector<double>{0, 1, 0});
  CHECK_FALSE(wrong("largest", 0, 1));
  CHECK(wrong("largest", 0, 1, Precision::f64));
  CHECK(wrong("largest", 1, 2));
  CHECK_FALSE(wrong("total", 2, model.expected().outputs.at("total").values[2] + 1e-4));
  CHECK(wrong("total", 2, model.expected().outputs.at("total").values[2] + 0.1));
  CHECK(wrong("total", 1, 1.1001));
  CHECK_FALSE(wrong("wide", 1, INFINITY));  // within rounding of the largest f32
  CHECK_FALSE(wrong("wide", 2, INFINITY));
  CHECK(wrong("wide", 0, INFINITY));
  CHECK(wrong("wide", 2, INFINITY, Precision::f64));
}

TEST_CASE("a scalar result is held to its own type, by the routes and by what they may be off by", "[gradcheck]") {
  Graph g;
  Builder b(g);
  NodeId i = b.input("i", {DType::i32, {rows}}), d = b.input("d", {DType::f64, {n(3)}}), s = b.input("s", {f32, {}});
  g.outputs = {{"largest", b.reduce(Op::reduce_max, i, {0})},
               {"total", b.reduce(Op::reduce_sum, d, {0})},
               {"whole", b.cast(b.reduce(Op::reduce_max, i, {0}), DType::i64)},
               {"root", b.unary(Op::sqrt, s)}};
  Bindings values;
  values.rows = 2;
  values.inputs["i"] = {DType::i32, {2}, {16777217, 2147483647}};
  values.inputs["d"] = {DType::f64, {3}, {1e200, 0.1, 3}};
  values.inputs["s"] = {f32, {}, {2}};
  RoundingModel model(g, values);
  for (const Route& route : {Route::plain(), Route::optimized()}) {
    Results found = run_route(g, values, route);
    CHECK_FALSE(model.compare(found, Precision::f32).difference);
    CHECK(found.outputs.at("largest").dtype == DType::i32);
    CHECK(found.outputs.at("largest").values[0] == 2147483647);
    CHECK(found.outputs.at("total").values[0] == 1e200);
    CHECK(found.outputs.at("whole").dtype == DType::i64);
  }
  for (const auto& [name, off] : {std::pair{"largest", 1.0}, {"total", 1e190}, {"whole", 1.0}, {"root", 1e-5}}) {
    Results found = model.expected();
    found.outputs[name].values[0] -= off;
    CHECK(model.compare(found, Precision::f32).difference);
  }
}

TEST_CASE("infinity is a result like any other: rounding does not explain another one", "[gradcheck]") {
  Graph g;
  Builder b{g};
  NodeId x = b.input("x", {f32, {{1, true}}});
  NodeId power = b.unary(Op::exp, x);
  NodeId turned = b.neg(power);
  g.outputs = {{"power", power}, {"sum", b.add(turned, 1.0)}, {"quotient", b.div(x, power)}};
  Bindings values;
  values.rows = 2;
  values.inputs["x"] = {f32, {2}, {1000, 2}};
  RoundingModel model(g, values);
  auto wrong = [&](const std::string& name, size_t i, double value, Precision precision = Precision::f32) {
    Results found = model.expected();
    found.outputs[name].values[i] = value;
    return model.compare(found, precision).difference.has_value();
  };
  for (Precision p : {Precision::f32, Precision::f64}) {
    CHECK_FALSE(model.compare(model.expected(), p).difference);
    CHECK(wrong("power", 0, 5, p));
    CHECK(wrong("power", 0, -INFINITY, p));
    CHECK(wrong("power", 0, std::nan(""), p));
    CHECK(wrong("sum", 0, INFINITY, p));
    CHECK(wrong("quotient", 0, 1, p));
    CHECK(wrong("power", 1, INFINITY, p));
  }
}

TEST_CASE("every gradient rule of a graph is checked, and the wrong one is named", "[gradcheck]") {
  GraphCase c = small_network();
  NodeId loss = c.graph.outputs[0].node;
  c.graph.updates.clear();
  std::vector<NodeId> leaves = float_leaves(c.graph);
  std::vector<bool> nodes = nodes_with_gradient(c.graph, {loss}, leaves);
  GradientCheckOptions options;
  std::vector<RuleReport> right = check_rules(c.graph, c.bindings, nodes, options);
  std::vector<std::string_view> seen;
  for (const RuleReport& r : right) {
    INFO(op_name(r.op) << " " << r.worst.error << " " << r.worst.what);
    seen.push_back(op_name(r.op));
    CHECK_FALSE(r.failed);
    CHECK(r.elements > 0);
    CHECK(r.worst.error < 1e-9);
  }
  for (std::string_view op : {"tanh", "sigmoid", "log", "contract", "reduce_sum", "div", "add"})
    CHECK(std::count(seen.begin(), seen.end(), op) == 1);
  CHECK_FALSE(check_loss(c.graph, c.bindings, {loss}, leaves, options).failed);
  for (Op op : {Op::tanh, Op::contract, Op::reduce_sum}) {
    options.gradients = wrong_rule(op);
    for (const RuleReport& r : check_rules(c.graph, c.bindings, nodes, options)) {
      INFO(op_name(r.op));
      CHECK(r.failed == (r.op == op));
      if (r.failed) CHECK(r.worst.error == Approx(1e-3).margin(2e-4));
    }
  }
  // Gradients that do not add up, though every rule is right.
  options.gradients = [&](Graph& g, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
    std::vector<NodeId> gradients = gradients_of(g, output, seed, wrt);
    gradients[1] = Builder(g).mul(gradients[1], 1.01);
    return gradients;
  };
  LossReport wrong = check_loss(c.graph, c.bindings, {loss}, leaves, options);
  CHECK(wrong.failed);
  CHECK(wrong.directions > 3);
}

TEST_CASE("a gradient that is wrong though every rule is right is left with the operations that it takes", "[gradcheck]") {
  // Two layers whose hidden values are read twice, in the middle of other things.
  Graph g;
  Builder b(g);
  SourceMap sources;
  FileId file = sources.add("model.nn", "line one\nh = tanh(x)\nexp(h)\n");
  NodeId x = b.input("x", {f32, {rows, n(6)}});
  NodeId w = b.parameter({"w", {f32, {n(5), n(6)}}, PersistentKind::parameter, {}});
  NodeId v = b.parameter({"v", {f32, {n(5)}}, PersistentKind::parameter, {}});
  NodeId h = b.unary(Op::tanh, b.contract(x, w, {0, 1}, {2, 1}, {0, 2}));
  NodeId e = Builder(g, Span{file, 21, 27}).unary(Op::exp, h);
  NodeId both = b.contract(b.mul(h, e), v, {0, 1}, {1}, {0});
  NodeId loss = b.mean(b.unary(Op::sigmoid, both), {0});
  g.outputs = {{"loss", loss}, {"other", b.reduce(Op::reduce_max, both, {0})}};
  std::mt19937_64 random(5);
  GraphCase c{g, random_bindings(g, 7, random)};
  GradientCheckOptions options;
  options.gradients = lost_way(Op::exp);
  for (const RuleReport& r : check_rules(g, c.bindings, nodes_with_gradient(g, {loss}, float_leaves(g)), options))
    CHECK_FALSE(r.failed);
  CHECK(check_loss(g, c.bindings, {loss}, {w, v}, options).failed);
  CHECK_FALSE(check_loss(g, c.bindings, {loss}, {w, v}, {}).failed);
  GraphCase small = reduce_loss_fault(g, c.bindings, {loss}, options);
  INFO(print_graph(small.graph, nullptr));
  CHECK(operations(small.graph) == 2);  // exp, and what else reads its operand
  CHECK(has(small.graph, Op::exp));
  CHECK(small.bindings.rows == 1);
  for (const Node& node : small.graph.nodes())
    if (node.op == Op::exp) CHECK(node.span == Span{file, 21, 27});
  auto fails = [&](const GradientCheckOptions& o) {
    return check_loss(small.graph, small.bindings, float_results(small.graph), float_leaves(small.graph), o).failed;
  };
  CHECK(fails(options));
  CHECK_FALSE(fails({}));
  // A right gradient is left alone.
  CHECK(operations(reduce_loss_fault(g, c.bindings, {loss}, {}).graph) > 5);
}

TEST_CASE("a wrong rule is left alone with one element", "[gradcheck]") {
  GraphCase c = small_network();
  NodeId tanh;
  for (uint32_t i = 0; i < c.graph.size(); ++i)
    if (c.graph[NodeId{i}].op == Op::tanh && !tanh.valid()) tanh = NodeId{i};
  GradientCheckOptions options;
  options.gradients = wrong_rule(Op::tanh);
  GraphCase small = reduce_rule_fault(c.graph, c.bindings, tanh, options);
  CHECK(operations(small.graph) == 1);
  CHECK(has(small.graph, Op::tanh));
  CHECK(small.bindings.rows == 1);
}

TEST_CASE("results with a shape are differentiated together, each element with a weight of its own", "[gradcheck]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {f32, {rows, n(3)}});
  g.outputs = {{"soft", b.unary(Op::sigmoid, x)}, {"shifted", b.unary(Op::exp, x)}};
  std::mt19937_64 random(3);
  Bindings at = random_bindings(g, 4, random);
  std::vector<NodeId> results = float_results(g);
  CHECK(results.size() == 2);
  CHECK_FALSE(check_loss(g, at, results, {x}, {}).failed);
  for (Op op : {Op::sigmoid, Op::exp}) {
    GradientCheckOptions options;
    options.gradients = wrong_rule(op);
    CHECK(check_loss(g, at, results, {x}, options).failed);
  }
}

TEST_CASE("kinks and the ends of domains are counted and no faults; a slope outside the corner's is one", "[gradcheck]") {
  auto check = [](Op op, std::vector<double> values, GradientFunction gradients = {}) {
    Graph g;
    Builder b(g);
    NodeId x = b.input("x", {f32, {rows}});
    NodeId y = op == Op::maximum      ? b.binary(op, x, b.constant_like(0, x))
               : op == Op::div        ? b.binary(op, x, x)
               : op == Op::reduce_max ? b.reduce(op, x, {0})
                                      : b.unary(op, x);
    Bindings at;
    at.rows = int64_t(values.size());
    at.inputs["x"] = {f32, {at.rows}, values};
    GradientCheckOptions options;
    options.gradients = std::move(gradients);
    std::vector<RuleReport> all = check_rules(g, at, nodes_with_gradient(g, {y}, {x}), options);
    REQUIRE(all.size() == 1);
    return all[0];
  };
  RuleReport abs = check(Op::abs, {0, 1, -2});
  CHECK_FALSE(abs.failed);
  CHECK(abs.kinks == 1);
  CHECK(abs.elements == 3);
  RuleReport relu = check(Op::maximum, {0, 0, 3, -1e-3});
  CHECK_FALSE(relu.failed);
  CHECK(relu.kinks == 4);  // two elements, seen from both operands
  RuleReport root = check(Op::sqrt, {0, 4});
  CHECK_FALSE(root.failed);
  CHECK(root.undefined == 1);
  CHECK(root.elements == 1);
  RuleReport quotient = check(Op::div, {0, 4});  // 0/0, and 1 all around it
  CHECK_FALSE(quotient.failed);
  CHECK(quotient.undefined == 1);
  CHECK(quotient.elements == 1);
  CHECK_FALSE(check(Op::log, {1e-6, 1e6, 1}).failed);
  CHECK_FALSE(check(Op::tanh, {20, -9, 1e-9}).failed);
  RuleReport tie = check(Op::reduce_max, {3, 1, 3, 3});
  CHECK_FALSE(tie.failed);
  CHECK(tie.kinks >= 1);
  auto shifted = [](Graph& g, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
    std::vector<NodeId> gradients = gradients_of(g, output, seed, wrt);
    Builder b(g);
    gradients[0] = b.add(gradients[0], b.mul(seed, 1.5));
    return gradients;
  };
  CHECK(check(Op::abs, {0.0}, shifted).failed);
  // Shares of a tie that add up to more than one.
  CHECK(check(Op::reduce_max, {3, 3}, [](Graph& g, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
          std::vector<NodeId> gradients = gradients_of(g, output, seed, wrt);
          gradients[0] = Builder(g).mul(gradients[0], 2);
          return gradients;
        }).failed);
}

TEST_CASE("a model that begins on kinks is no fault: its gradient is that of the decisions as they are", "[gradcheck]") {
  auto relu = [](Builder& b, NodeId x) {
    NodeId zero = b.constant_like(0, x);
    return b.select(b.binary(Op::less_equal, x, zero), zero, x);
  };
  using Make = std::function<NodeId(Builder&, NodeId h)>;
  const std::vector<std::pair<const char*, Make>> models{
      {"relu", relu},
      // x, of slope 1 to both sides, where the rules' 0 + 0 is no slope of it.
      {"smooth together", [&](Builder& b, NodeId h) { return b.sub(relu(b, h), relu(b, b.neg(h))); }},
      // Slopes 1 and 2: 0 is not between them.
      {"outside of both slopes", [&](Builder& b, NodeId h) { return b.sub(relu(b, h), b.mul(relu(b, b.neg(h)), 2)); }},
      {"maximum", [](Builder& b, NodeId h) { return b.mul(b.binary(Op::maximum, h, b.mul(h, -0.5)), 3); }},
      {"minimum", [](Builder& b, NodeId h) { return b.binary(Op::minimum, h, b.constant_like(0, h)); }},
      {"abs", [](Builder& b, NodeId h) { return b.add(b.unary(Op::abs, h), b.mul(h, 0.5)); }},
      {"remainder", [](Builder& b, NodeId h) { return b.binary(Op::floor_mod, h, b.add(h, 2.0)); }},
      {"jump", [](Builder& b, NodeId h) { return b.add(b.unary(Op::sign, h), h); }},
      {"largest of all", [](Builder& b, NodeId h) { return b.reduce(Op::reduce_max, h, {1}); }},
      {"smallest of all", [](Builder& b, NodeId h) { return b.reduce(Op::reduce_min, h, {0, 1}); }},
      {"through an integer",
       [](Builder& b, NodeId h) { return b.mul(b.cast(b.cast(b.add(h, 2.0), DType::i32), DType::f32), h); }},
  };
  for (const auto& [name, make] : models) {
    INFO(name);
    // Zero-initialised: every element of x w is a kink in w. v, beside it, is smooth.
    Graph g;
    Builder b(g);
    NodeId x = b.input("x", {f32, {rows, n(3)}});
    NodeId w = b.parameter({"w", {f32, {n(4), n(3)}}, PersistentKind::parameter, {}});
    NodeId v = b.parameter({"v", {f32, {n(3)}}, PersistentKind::parameter, {}});
    NodeId h = make(b, b.contract(x, w, {0, 1}, {2, 1}, {0, 2}));
    std::vector<int> axes;
    for (int i = 0; i < g.type(h).rank(); ++i) axes.push_back(i);
    NodeId kinked = b.reduce(Op::reduce_sum, h, axes),
           smooth = b.mean(b.unary(Op::tanh, b.contract(x, v, {0, 1}, {1}, {0})), {0});
    NodeId loss = b.add(kinked, b.unary(Op::exp, b.add(smooth, kinked)));
    g.outputs = {{"loss", loss}};
    std::mt19937_64 random(5);
    Bindings at = random_bindings(g, 5, random);
    for (double& value : at.persistents["w"].values) value = 0;
    GradientCheckOptions options;
    LossReport right = check_loss(g, at, {loss}, {w, v}, options);
    INFO(right.worst.what << ": " << right.worst.rule << " " << right.worst.difference);
    CHECK_FALSE(right.failed);
    CHECK(right.worst.error < 1e-6);
    CHECK(right.kinks >= 5);
    CHECK(right.skipped == 0);
    CHECK(right.unchecked.empty());
    CHECK(right.not_finite.empty());
    // Wrong at the kink itself, beside the kinks, and in the smooth parameter, where only the direction through everything meets
    // a kink.
    for (size_t wrong : {size_t{0}, size_t{1}}) {
      options.gradients = [&](Graph& of, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
        std::vector<NodeId> gradients = gradients_of(of, output, seed, wrt);
        gradients[wrong] = Builder(of).add(gradients[wrong], 0.01);
        return gradients;
      };
      CHECK(check_loss(g, at, {loss}, {w, v}, options).failed);
    }
    options.single_elements = 0;
    options.gradients = [&](Graph& of, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
      std::vector<NodeId> gradients = gradients_of(of, output, seed, wrt);
      for (NodeId& gradient : gradients) gradient = Builder(of).mul(gradient, 1.001);
      return gradients;
    };
    LossReport both = check_loss(g, at, {loss}, {w, v}, options);
    CHECK(both.failed);
    CHECK(both.worst.error == Approx(1e-3).margin(2e-4));
  }
}

TEST_CASE("a slope between those of both sides is wrong too, if it is not the rule's", "[gradcheck]") {
  Graph g;
  Builder b(g);
  NodeId x = b.parameter({"x", {f32, {}}, PersistentKind::parameter, {}});
  NodeId zero = b.constant_like(0, x);
  NodeId loss = b.select(b.binary(Op::less_equal, x, zero), zero, x);
  g.outputs = {{"loss", loss}};
  Bindings at;
  at.persistents["x"] = {f32, {}, {0}};
  CHECK_FALSE(check_loss(g, at, {loss}, {x}, {}).failed);
  GradientCheckOptions options;
  options.gradients = [](Graph& of, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
    return std::vector{Builder(of).add(gradients_of(of, output, seed, wrt)[0], 0.5)};
  };
  CHECK(check_loss(g, at, {loss}, {x}, options).failed);
}

TEST_CASE("a gradient that is not finite is told from a wrong one, and what cannot be compared is named", "[gradcheck]") {
  Graph g;
  Builder b(g);
  auto scalar = [&](const char* name) { return b.parameter({name, {f32, {n(2)}}, PersistentKind::parameter, {}}); };
  NodeId root = scalar("root"), edge = scalar("edge"), smooth = scalar("smooth");
  NodeId parts = b.add(b.add(b.unary(Op::sqrt, b.mul(root, root)), b.unary(Op::sqrt, edge)), b.unary(Op::exp, smooth));
  NodeId loss = b.reduce(Op::reduce_sum, parts, {0});
  g.outputs = {{"loss", loss}};
  Bindings at;
  at.persistents["root"] = {f32, {2}, {0, 3}};
  at.persistents["edge"] = {f32, {2}, {1e-30, 1e-30}};  // finite slopes, of which no quotient to both sides knows
  at.persistents["smooth"] = {f32, {2}, {0.5, -1}};
  LossReport r = check_loss(g, at, {loss}, {root, edge, smooth}, {});
  CHECK_FALSE(r.failed);
  CHECK(r.is_loss_finite());
  REQUIRE(r.not_finite.size() == 1);
  CHECK((r.not_finite[0].node == root && r.not_finite[0].is_gradient));
  CHECK((r.not_finite[0].element == 0 && r.not_finite[0].count == 1));
  CHECK(std::isnan(r.not_finite[0].value));
  CHECK(r.unchecked == std::vector{edge});
  CHECK(r.skipped == 7);  // all three through everything, edge's three, and root's one element
  // The finite ones are compared as ever, also beside one that is not.
  for (size_t wrong : {size_t{0}, size_t{2}}) {
    GradientCheckOptions options;
    options.gradients = [&](Graph& of, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
      std::vector<NodeId> gradients = gradients_of(of, output, seed, wrt);
      gradients[wrong] = Builder(of).mul(gradients[wrong], 1.001);
      return gradients;
    };
    CHECK(check_loss(g, at, {loss}, {root, edge, smooth}, options).failed);
  }
  at.persistents["edge"].values[1] = -1;
  r = check_loss(g, at, {loss}, {root, edge, smooth}, {});
  CHECK_FALSE(r.is_loss_finite());
  CHECK(r.not_finite[0].node == loss);
  CHECK(r.directions == 0);
}

TEST_CASE("stop_gradient holds its value while the loss is moved", "[gradcheck]") {
  Graph g;
  Builder b(g);
  NodeId x = b.parameter({"x", {f32, {n(3)}}, PersistentKind::parameter, {}});
  NodeId loss = b.reduce(Op::reduce_sum, b.mul(x, b.unary(Op::stop_gradient, b.unary(Op::exp, x))), {0});
  g.outputs = {{"loss", loss}};
  Bindings at;
  at.persistents["x"] = {f32, {3}, {0.5, -1, 2}};
  LossReport r = check_loss(g, at, {loss}, {x}, {});
  CHECK_FALSE(r.failed);
  CHECK(r.elements == 3);
}

TEST_CASE("a case survives its file", "[gradcheck]") {
  GraphCase c = small_network();
  Bindings odd = c.bindings;
  odd.inputs["x"].values[3] = -INFINITY;
  odd.inputs["x"].values[4] = std::nan("");
  odd.inputs["x"].values[5] = 1.0 / 3;
  std::string text = print_case({c.graph, odd}, nullptr, "what it shows\nand how");
  CHECK(text.starts_with("# what it shows\n# and how\n#= rows 7\n"));
  std::optional<Bindings> back = parse_case_values(text, c.graph, "case.nnir");
  REQUIRE(back);
  CHECK(back->rows == 7);
  CHECK(back->scalars == odd.scalars);
  CHECK(back->persistents == odd.persistents);
  CHECK(std::isnan(back->inputs["x"].values[4]));
  back->inputs["x"].values[4] = odd.inputs["x"].values[4] = 0;
  CHECK(back->inputs == odd.inputs);
  CHECK(back->draws == DrawPosition{});
  odd.draws = {17, uint64_t(1) << 40, 5};
  text = print_case({c.graph, odd}, nullptr, "drawn");
  CHECK(text.find("\n#= draws 17 1099511627776 5\n") != std::string::npos);
  CHECK(parse_case_values(text, c.graph, "case.nnir")->draws == odd.draws);
  for (const char* wrong : {"17 3", "17 3 5 1", "17 -3 5", "a 3 5", "17 3 4294967296"}) {
    std::string damaged = text;
    damaged.replace(damaged.find("17 1099511627776 5"), 18, wrong);
    CHECK_THROWS_AS(parse_case_values(damaged, c.graph, "case.nnir"), UserError);
  }
  CHECK_FALSE(parse_case_values(print_graph(c.graph, nullptr), c.graph, "case.nnir"));
}
