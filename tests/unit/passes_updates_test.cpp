// Optimiser rules inlined into a graph, clipping, and the pass manager.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "passes/apply_updates.h"
#include "passes/differentiate.h"
#include "passes/pass_manager.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;
using namespace nnc::test;

namespace {

Extent n(int64_t size) { return {size, false}; }
const DType f32 = DType::f32;

// loss = sum(w * x) + sum(b)
struct Network {
  Graph graph;
  NodeId loss;
  Network() {
    Builder b(graph, {}, "fc1");
    NodeId w = b.parameter({"fc1.w", {f32, {n(2)}}, PersistentKind::parameter, {}});
    NodeId bias = b.parameter({"fc1.b", {f32, {n(3)}}, PersistentKind::parameter, {}});
    NodeId x = b.input("x", {f32, {n(2)}});
    loss = b.add(b.reduce(Op::reduce_sum, b.mul(w, x), {0}), b.reduce(Op::reduce_sum, bias, {0}));
    graph.outputs = {{"loss", loss}};
  }
};

Bindings values() {
  Bindings bindings;
  bindings.inputs["x"] = {f32, {2}, {3, 4}};
  bindings.persistents["fc1.w"] = {f32, {2}, {1, 2}};
  bindings.persistents["fc1.b"] = {f32, {3}, {0, 0, 1}};
  return bindings;
}

Graph momentum_rule(const std::string& parameter, Shape shape) {
  Graph rule;
  Builder b(rule);
  NodeId value = b.input("value", {f32, shape}), grad = b.input("grad", {f32, shape});
  NodeId velocity = b.parameter({"optimizer.velocity." + parameter, {f32, shape}, PersistentKind::optimizer_state, {}});
  NodeId next = b.add(b.mul(velocity, b.cast(b.scalar("momentum"), DType::f32)), grad);
  rule.updates = {{"optimizer.velocity." + parameter, next}, {"value", b.sub(value, b.mul(next, b.cast(b.scalar("lr"), DType::f32)))}};
  return rule;
}

}  // namespace

TEST_CASE("an optimiser with a state is inlined per parameter", "[apply_updates]") {
  Network net;
  std::vector<ParameterGradient> gradients = differentiate(net.graph, net.loss, {"fc1.w", "fc1.b"});
  Graph for_w = momentum_rule("fc1.w", {n(2)}), for_b = momentum_rule("fc1.b", {n(3)});
  apply_updates(net.graph, {{"fc1.w", &for_w, gradients[0].node}, {"fc1.b", &for_b, gradients[1].node}});
  REQUIRE(verify_graph(net.graph).empty());
  REQUIRE(net.graph.updates.size() == 4);
  Bindings at = values();
  at.persistents["optimizer.velocity.fc1.w"] = {f32, {2}, {10, 20}};
  at.persistents["optimizer.velocity.fc1.b"] = {f32, {3}, {0, 0, 0}};
  at.scalars = {{"momentum", 0.5}, {"lr", 0.25}};
  Results results = interpret(net.graph, at);
  CHECK(results.updates.at("optimizer.velocity.fc1.w").values == std::vector<double>{8, 14});
  CHECK(results.updates.at("fc1.w").values == std::vector<double>{1 - 2, 2 - 3.5});
  CHECK(results.updates.at("fc1.b").values == std::vector<double>{-0.25, -0.25, 0.75});
  CHECK(results.outputs.at("loss").values[0] == 12);  // of the values before the step
  for (const Node& node : net.graph.nodes())
    if (node.op == Op::scalar) CHECK(node.scope == "fc1");
}

TEST_CASE("what rules compute of scalars alone is made once, where it is the same", "[apply_updates]") {
  Network net;
  std::vector<ParameterGradient> gradients = differentiate(net.graph, net.loss, {"fc1.w", "fc1.b"});
  auto rule_of = [](Shape shape, double factor) {
    Graph rule;
    Builder b(rule);
    NodeId value = b.input("value", {f32, shape}), grad = b.input("grad", {f32, shape});
    NodeId later = b.add(b.cast(b.scalar("step"), DType::f64), 1);
    NodeId rate = b.div(b.mul(b.scalar("lr"), factor), later);
    rule.updates = {{"value", b.sub(value, b.mul(grad, b.cast(rate, DType::f32)))}};
    return rule;
  };
  auto count = [&](Op op, DType dtype) {
    return std::count_if(net.graph.nodes().begin(), net.graph.nodes().end(), [&](const Node& node) { return node.op == op && node.type == Type{dtype, {}}; });
  };
  const Graph for_w = rule_of({n(2)}, 2), for_b = rule_of({n(3)}, 4);
  apply_updates(net.graph, {{"fc1.w", &for_w, gradients[0].node}, {"fc1.b", &for_b, gradients[1].node}});
  REQUIRE(verify_graph(net.graph).empty());
  CHECK(count(Op::scalar, DType::i64) == 1);  // step, lr and step + 1 are the same
  CHECK(count(Op::scalar, DType::f64) == 1);
  CHECK(count(Op::add, DType::f64) == 1);
  CHECK(count(Op::mul, DType::f64) == 2);     // the factors are not, nor what is made of them
  CHECK(count(Op::div, DType::f64) == 2);
  Bindings at = values();
  at.scalars = {{"step", 3}, {"lr", 0.5}};
  Results results = interpret(net.graph, at);
  CHECK(results.updates.at("fc1.w").values == std::vector<double>{1 - 3 * 0.25, 2 - 4 * 0.25});
  CHECK(results.updates.at("fc1.b").values == std::vector<double>{-0.5, -0.5, 0.5});
}

TEST_CASE("a rule of another type is a bug of the caller", "[apply_updates]") {
  Network net;
  std::vector<ParameterGradient> gradients = differentiate(net.graph, net.loss, {"fc1.w"});
  Graph wrong = momentum_rule("fc1.w", {n(3)});
  CHECK_THROWS_AS(apply_updates(net.graph, {{"fc1.w", &wrong, gradients[0].node}}), InternalError);
}

TEST_CASE("clipping by the global norm", "[apply_updates]") {
  for (double limit : {2.0, 100.0}) {
    Network net;
    std::vector<ParameterGradient> gradients = differentiate(net.graph, net.loss, {"fc1.w", "fc1.b"});
    NodeId max_norm = Builder(net.graph).scalar("max_norm");
    std::vector<NodeId> clipped = clip_norm(net.graph, {gradients[0].node, gradients[1].node}, max_norm);
    net.graph.outputs = {{"w", clipped[0]}, {"b", clipped[1]}};
    REQUIRE(verify_graph(net.graph).empty());
    Bindings at = values();
    at.scalars["max_norm"] = limit;
    double factor = std::min(1.0, limit / (std::sqrt(9.0 + 16 + 3) + 1e-6));
    Results results = interpret(net.graph, at);
    CHECK(results.outputs.at("w").values[1] == Approx(4 * factor).epsilon(1e-14));
    CHECK(results.outputs.at("b").values[2] == Approx(factor).epsilon(1e-14));
  }
}

TEST_CASE("passes run by name, timed, verified and printed", "[pass_manager]") {
  Network net;
  std::vector<PassTiming> timings;
  std::vector<std::string> printed;
  PassOptions options;
  options.time = &timings;
  options.print_after = {"simplify"};
  options.print = [&](std::string_view pass, const Graph& graph) { printed.push_back(std::string(pass) + " " + graph.name); };
  for (const char* name : {"differentiate", "apply_updates", "simplify", "cse", "dead_code", "fold", "erase_stop_gradient"}) {
    const GraphPassInfo* pass = find_graph_pass(name);
    REQUIRE(pass);
    CHECK_FALSE(pass->summary.empty());
    run_passes(net.graph, {named_pass(name)}, options);
  }
  CHECK(find_graph_pass("no such pass") == nullptr);
  CHECK(printed == std::vector<std::string>{"simplify main"});
  REQUIRE(timings.size() == 7);
  CHECK(timings[0].name == "differentiate");
  CHECK(timings[0].nodes_after > timings[0].nodes_before);
  CHECK(net.graph.updates.size() == 2);
  Bindings at = values();
  at.scalars["lr"] = 0.5;
  CHECK(interpret(net.graph, at).updates.at("fc1.w").values == std::vector<double>{-0.5, 0});
}

TEST_CASE("a pass that breaks the graph is found out by name", "[pass_manager]") {
  Network net;
  auto breaks = [](Graph& graph, const PassContext&) { graph.updates.push_back({"fc1.w", graph.outputs[0].node}); };
  try {
    run_passes(net.graph, {{"breaks", breaks}, named_pass("simplify")});
    FAIL("a scalar as the update of a vector went through");
  } catch (const InternalError& error) {
    CHECK_THAT(error.what(), contains("after the pass breaks"));
  }
  std::vector<NamedPass> next{{"next", [](Graph&, const PassContext&) {}}};
  CHECK_THROWS_AS(run_passes(net.graph, next), InternalError);
  CHECK_NOTHROW(run_passes(net.graph, next, {.verify = false}));
}
