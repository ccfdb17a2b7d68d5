// The passes as a whole: parameters that cannot train are reported; leaves that a program cannot read where they stand are
// copied; programs changed so that mistakes show compute the same.
#include <cmath>
#include <functional>

#include "base/check.h"
#include "base/diagnostics.h"
#include "ir/program_interpreter.h"
#include "passes/apply_updates.h"
#include "passes/cse.h"
#include "passes/pipeline.h"
#include "passes/poison.h"
#include "passes/rewrite.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;
using namespace nnc::test;

namespace {

const DType f32 = DType::f32;
const Extent rows{1, true};
Extent n(int64_t size) { return {size, false}; }

Graph plain_rule(const Type& type) {
  Graph rule;
  Builder b(rule);
  rule.updates = {{"value", b.sub(b.input("value", type), b.mul(b.input("grad", type), b.cast(b.scalar("lr"), DType::f32)))}};
  return rule;
}

/// What a graph computes, and what the program does that is made from it with these orders in memory, must be the same.
Program check_program(Graph graph, const Layouts& layouts, const Bindings& bindings) {
  Results expected = interpret(graph, bindings);
  optimize_graph(graph);
  Program program = build_program(graph, {"test", 4, target_with_level(VectorLevel::portable), layouts});
  Results found = interpret_program(program, bindings);
  for (const auto& [name, tensor] : expected.outputs) CHECK(found.outputs.at(name).values == tensor.values);
  for (const auto& [name, tensor] : expected.updates) CHECK(found.updates.at(name).values == tensor.values);
  return program;
}

}  // namespace

TEST_CASE("pipeline: a parameter that cannot train is reported with what stands in its way", "[passes]") {
  Graph graph;
  Builder b(graph);
  Type type{f32, {n(3)}};
  NodeId trains = b.parameter({"good", type, PersistentKind::parameter, {}});
  NodeId blocked = b.parameter({"blocked", type, PersistentKind::parameter, {FileId{1}, 0, 2}});
  b.unary(Op::exp, b.parameter({"dangling", type, PersistentKind::parameter, {FileId{1}, 4, 6}}));
  graph.add_persistent({"unread", type, PersistentKind::parameter, {FileId{1}, 8, 9}});
  NodeId floor = b.unary(Op::floor, blocked);
  graph.outputs = {{"accuracy", trains}, {"loss", b.reduce(Op::reduce_sum, b.mul(trains, floor), {0})}};
  Graph rule = plain_rule(type);
  Diagnostics diagnostics;
  add_backward(graph, {{"good", &rule}, {"blocked", &rule}, {"dangling", &rule}, {"unread", &rule}}, 1.0, diagnostics);
  REQUIRE(diagnostics.items().size() == 3);
  const Diagnostic& first = diagnostics.items()[0];
  CHECK(first.code == Code::E0302);
  CHECK(first.message == "`floor` has no gradient, so `blocked` cannot train");
  CHECK(first.span == Span{FileId{1}, 0, 2});
  REQUIRE(first.labels.size() == 1);
  CHECK(first.labels[0].text == "`floor` stands between it and the loss");
  for (auto [i, name] : {std::pair{size_t{1}, "dangling"}, {size_t{2}, "unread"}}) {
    const Diagnostic& d = diagnostics.items()[i];
    CHECK(d.code == Code::E0203);
    CHECK(d.message == "parameter `" + std::string(name) + "` never reaches the loss, so it cannot train");
    CHECK(d.help == std::vector<std::string>{"remove it, or use it in the result"});
  }
  CHECK(graph.updates.empty());
}

TEST_CASE("pipeline: without clipping every gradient is used as it is, with it they are scaled together", "[passes]") {
  for (bool clipped : {false, true}) {
    Graph graph;
    Builder b(graph);
    Type type{f32, {n(2)}};
    NodeId w = b.parameter({"w", type, PersistentKind::parameter, {}});
    graph.outputs = {{"loss", b.reduce(Op::reduce_sum, b.mul(w, b.input("x", type)), {0})}};
    Graph rule = plain_rule(type);
    Diagnostics diagnostics;
    add_backward(graph, {{"w", &rule}}, clipped ? std::optional(1.0) : std::nullopt, diagnostics);
    REQUIRE(diagnostics.items().empty());
    Bindings bindings;
    bindings.inputs["x"] = {f32, {2}, {3, 4}};
    bindings.scalars["lr"] = 1;
    bindings.persistents["w"] = {f32, {2}, {0, 0}};
    std::vector<double> updated = interpret(graph, bindings).updates.at("w").values;
    double scale = clipped ? 1 / (5 + 1e-6) : 1;
    CHECK(std::fabs(updated[0] + 3 * scale) < 1e-6);
    CHECK(std::fabs(updated[1] + 4 * scale) < 1e-6);
  }
}

TEST_CASE("pipeline: a rule for a parameter that the graph does not read adds the reading", "[passes]") {
  Graph graph;
  Builder b(graph);
  Type type{f32, {n(2)}};
  graph.add_persistent({"w", type, PersistentKind::parameter, {}});
  NodeId grad = b.input("x", type);
  Graph rule = plain_rule(type);
  apply_updates(graph, {{"w", &rule, grad}});
  REQUIRE(verify_graph(graph).empty());
  Bindings bindings;
  bindings.inputs["x"] = {f32, {2}, {3, 4}};
  bindings.scalars["lr"] = 0.5;
  bindings.persistents["w"] = {f32, {2}, {1, 1}};
  CHECK(interpret(graph, bindings).updates.at("w").values == std::vector<double>{-0.5, -1});
  CHECK(clip_norm(graph, {}, b.scalar("lr")).empty());
}

TEST_CASE("layouts: a permuted parameter that is seen under another shape is copied first", "[passes]") {
  Graph graph;
  Builder b(graph);
  NodeId w = b.parameter({"w", {f32, {n(2), n(3)}}, PersistentKind::parameter, {}});
  NodeId x = b.input("x", {f32, {rows, n(2)}});
  NodeId flat = b.reshape(w, {n(6)}), turned = b.reshape(flat, {n(3), n(2)});
  NodeId product = b.contract(x, w, {0, 1}, {1, 2}, {0, 2});
  graph.outputs = {
      {"product", product}, {"flat", b.unary(Op::neg, flat)}, {"turned", b.reduce(Op::reduce_sum, b.mul(turned, 2.0), {1})}};
  graph.updates = {{"w", b.mul(w, 3.0)}};
  REQUIRE(verify_graph(graph).empty());
  Bindings bindings;
  bindings.rows = 3;
  bindings.inputs["x"] = {f32, {3, 2}, {1, 2, 3, 4, 5, 6}};
  bindings.persistents["w"] = {f32, {2, 3}, {1, 2, 3, 4, 5, 6}};
  check_program(graph, {}, bindings);
  Program program = check_program(graph, {{"w", {1, 0}}}, bindings);
  CHECK(program[program.persistents[0].buffer].order == std::vector<int>{1, 0});
  optimize_graph(graph);
  CHECK_FALSE(copy_viewed_leaves(graph, {}));  // nothing to copy
  LowerOptions other_order;
  other_order.layouts = {{"w", {1, 0}}};
  CHECK(copy_viewed_leaves(graph, other_order));
}

TEST_CASE("layouts: an input whose rows become one with other axes is copied first", "[passes]") {
  Graph graph;
  Builder b(graph);
  NodeId x = b.input("x", {f32, {rows, n(2), n(3)}});
  NodeId all = b.reshape(x, {Extent{6, true}}), kept = b.reshape(x, {rows, n(6)});
  graph.outputs = {{"all", b.unary(Op::neg, all)}, {"kept", b.unary(Op::neg, kept)}};
  REQUIRE(verify_graph(graph).empty());
  Bindings bindings;
  bindings.rows = 2;
  bindings.inputs["x"] = {f32, {2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
  check_program(graph, {}, bindings);
  optimize_graph(graph);
  CHECK(copy_viewed_leaves(graph, {}));
}

TEST_CASE("poison: temporaries of every type are overwritten after their last use, and nothing else changes", "[passes]") {
  Graph graph;
  Builder b(graph);
  NodeId x = b.input("x", {f32, {rows, n(4)}}), w = b.parameter({"w", {f32, {n(4), n(4)}}, PersistentKind::parameter, {}});
  NodeId h = b.unary(Op::exp, b.contract(x, w, {0, 1}, {1, 2}, {0, 2}));
  NodeId next = b.contract(h, w, {0, 1}, {1, 2}, {0, 2});
  graph.outputs = {{"sum", b.reduce(Op::reduce_sum, next, {0, 1})}};
  graph.updates = {{"w", b.mul(w, 0.5)}};
  Bindings bindings;
  bindings.rows = 2;
  bindings.inputs["x"] = {f32, {2, 4}, {1, 2, 3, 4, -1, -2, -3, -4}};
  bindings.persistents["w"] = make_tensor(f32, {4, 4});
  for (size_t i = 0; i < 16; ++i) bindings.persistents["w"].values[i] = double(i) / 8 - 1;
  Program program = check_program(graph, {}, bindings);
  Results expected = interpret_program(program, bindings);
  for (DType type : {f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean}) {
    Program poisoned = program;
    // One more temporary, which a kernel of its own fills first.
    Buffer extra;
    extra.name = "extra";
    extra.dtype = type;
    extra.shape = {n(5)};
    extra.bytes = buffer_bytes(extra, poisoned.rows);
    extra.offset = poisoned.arena_bytes;
    poisoned.arena_bytes += 64;
    poisoned.buffers.push_back(extra);
    Instruction number, store;
    number.kind = Instruction::Kind::constant;
    number.id = 0;
    number.dtype = store.dtype = type;
    store.kind = Instruction::Kind::store;
    store.operands = {0};
    store.access.buffer = BufferId{uint32_t(poisoned.buffers.size() - 1)};
    store.access.strides = {1};
    MapKernel map;
    map.axes = {{"i", n(5)}};
    map.outer = 1;
    map.blocks = {{false, {number, store}}};
    poisoned.kernels.insert(poisoned.kernels.begin(), Kernel{"extra", "", {}, map, false, true, 0, 0, {}});
    REQUIRE(verify_program(poisoned).empty());
    size_t kernels = poisoned.kernels.size();
    poison_dead(poisoned);
    CHECK(poisoned.kernels.size() > kernels);
    CHECK(verify_program(poisoned).empty());
    CHECK(interpret_program(poisoned, bindings).outputs.at("sum").values == expected.outputs.at("sum").values);
    const Kernel* fill = nullptr;
    for (const Kernel& k : poisoned.kernels)
      if (k.name == "poison." + std::to_string(store.access.buffer.value)) fill = &k;
    REQUIRE(fill);
    double value = std::get<MapKernel>(fill->body).blocks[0].code[0].number;
    CHECK(is_float(type) == std::isnan(value));
    CHECK((is_float(type) || value != 0));
  }
}

TEST_CASE("spread memory: no two buffers share a byte, and gaps stand around each", "[passes]") {
  Graph graph;
  Builder b(graph);
  NodeId w = b.parameter({"w", {f32, {n(4), n(4)}}, PersistentKind::parameter, {}}),
         v = b.parameter({"v", {f32, {n(3)}}, PersistentKind::parameter, {}});
  NodeId h = b.contract(b.input("x", {f32, {rows, n(4)}}), w, {0, 1}, {1, 2}, {0, 2});
  for (int i = 0; i < 3; ++i) h = b.contract(b.unary(Op::tanh, h), w, {0, 1}, {1, 2}, {0, 2});
  graph.outputs = {{"y", h}, {"v", b.reduce(Op::reduce_sum, v, {0})}};
  optimize_graph(graph);
  Program program = build_program(graph, {"spread", 4, target_with_level(VectorLevel::portable), {}});
  int64_t before = program.arena_bytes;
  spread_memory(program, 128);
  CHECK(verify_program(program).empty());
  CHECK(program.arena_bytes > before);
  for (const Buffer& a : program.buffers)
    for (const Buffer& c : program.buffers)
      if (a.kind == c.kind && a.offset < c.offset && (a.kind == BufferKind::temporary || a.kind == BufferKind::persistent))
        CHECK(c.offset - (a.offset + a.bytes) >= 128);
  CHECK_THROWS_AS(spread_memory(program, 32), InternalError);
  CHECK_THROWS_AS(spread_memory(program, 0), InternalError);
}

TEST_CASE("cse: nodes that differ in one attribute alone stay two", "[passes]") {
  auto merged = [](const std::function<std::pair<NodeId, NodeId>(Builder&)>& make) {
    Graph graph;
    Builder b(graph);
    auto [first, second] = make(b);
    graph.outputs = {{"first", first}, {"second", second}};
    return merge_common_subexpressions(graph) && graph.outputs[0].node == graph.outputs[1].node;
  };
  Type square{f32, {n(3), n(3)}};
  auto twice = [&](auto make) {
    return [&square, make](Builder& b) {
      NodeId x = b.input("x", square), y = b.input("y", square);
      return std::pair{make(b, x, y, 0), make(b, x, y, 1)};
    };
  };
  CHECK(merged(twice([](Builder& b, NodeId x, NodeId, int) { return b.unary(Op::exp, x); })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId x, NodeId, int i) { return b.unary(i ? Op::exp : Op::neg, x); })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId x, NodeId y, int i) { return b.sub(i ? x : y, i ? y : x); })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId x, NodeId, int i) { return b.reduce(Op::reduce_sum, x, {i}); })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId x, NodeId, int i) { return b.slice(x, 0, i, n(2)); })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId x, NodeId, int i) { return b.slice(x, 0, 0, n(1 + i)); })));
  CHECK_FALSE(merged(twice([&](Builder& b, NodeId, NodeId, int i) { return b.constant(i ? 0.0 : -0.0, square); })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId, NodeId, int i) { return b.scalar(i ? "lr" : "momentum"); })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId x, NodeId, int i) { return b.cast(x, i ? DType::f64 : DType::i32); })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId x, NodeId y, int i) {
    return b.contract(x, y, {0, 1}, i ? std::vector{1, 2} : std::vector{2, 1}, {0, 2});
  })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId x, NodeId y, int i) {
    return b.contract(x, y, i ? std::vector{0, 1} : std::vector{1, 0}, {1, 2}, {0, 2});
  })));
  CHECK_FALSE(merged(twice([](Builder& b, NodeId x, NodeId y, int i) {
    return b.contract(x, y, {0, 1}, {1, 2}, i ? std::vector{0, 2} : std::vector{2, 0});
  })));
}

TEST_CASE("splats are seen through operations that only move elements", "[passes]") {
  Graph graph;
  Builder b(graph);
  NodeId c = b.broadcast(b.constant(2.5, {f32, {n(3)}}), {n(2), n(3)}, {1});
  NodeId moved = b.slice(b.reshape(b.transpose(c, {1, 0}), {n(6)}), 0, 1, n(4));
  CHECK(splat_value(graph, moved) == std::optional(2.5));
  CHECK(splat_value(graph, b.unary(Op::neg, moved)) == std::nullopt);
  CHECK(splat_value(graph, b.pad(moved, 0, 1, n(9))) == std::nullopt);  // zeros beside it
}
