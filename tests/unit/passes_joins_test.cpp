// Which sums of pads are joins, who stores their parts, and who shares a kernel.
#include "passes/joins.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "ir/kernel_code.h"
#include "passes/pipeline.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

const Extent rows{1, true};

/// A graph with two inputs of [B, 4] and of [B, 3], and what a test makes of them.
struct Case {
  Graph graph;
  Builder b{graph};
  NodeId x = b.input("x", {DType::f32, {rows, {4}}}), y = b.input("y", {DType::f32, {rows, {4}}}), z = b.input("z", {DType::f32, {rows, {3}}});

  NodeId pad(NodeId n, int64_t begin, int64_t total) { return b.pad(n, graph.type(n).rank() - 1, begin, Extent{total}); }
  NodeId side_by_side(NodeId left, NodeId right) {
    const int axis = graph.type(left).rank() - 1;
    const int64_t first = graph.type(left).shape.back().size, total = first + graph.type(right).shape.back().size;
    const NodeId a = b.pad(left, axis, 0, Extent{total}), c = b.pad(right, axis, first, Extent{total});
    return b.add(a, c);
  }
  void output(NodeId n) { graph.outputs.push_back({fmt::format("out{}", graph.outputs.size()), n}); }
  /// Read by a product: it must stand in memory.
  void multiply(NodeId n) {
    const NodeId w = b.parameter({fmt::format("w{}", graph.persistents.size()), {DType::f32, {graph.type(n).shape.back(), {2}}}, PersistentKind::parameter, {}});
    output(b.contract(n, w, {0, 1}, {1, 2}, {0, 2}));
  }
  NodeId tanh(NodeId n) { return b.unary(Op::tanh, n); }
};

/// By join: its parts as "value begin computed".
std::vector<std::vector<std::string>> joins_of(const Graph& graph) {
  std::vector<std::vector<std::string>> all;
  for (const Join& join : find_joins(graph).all) {
    all.emplace_back();
    for (const JoinedPart& part : join.parts) {
      std::string text = fmt::format("{}", op_name(graph[part.value].op));
      for (const IndexTerm& term : part.place) {
        text += fmt::format(" {}", term.offset);
        for (auto [axis, factor] : term.axes) text += fmt::format("+{}a{}", factor, axis);
      }
      all.back().push_back(text + (part.computed ? "" : " copied"));
    }
  }
  return all;
}

using Parts = std::vector<std::string>;

Parts lone_join(const std::function<void(Case&)>& make) {
  Case c;
  make(c);
  const auto all = joins_of(c.graph);
  if (all.empty()) return {};
  REQUIRE(all.size() == 1);
  return all[0];
}

Program program_of(Graph graph, int64_t planned = 8) {
  optimize_graph(graph);
  return build_program(graph, {"joins", planned, host_target(), {}});
}

/// Offsets at which each kernel stores a buffer, ascending.
std::vector<std::vector<int64_t>> stores_of(const Program& program, const std::string& buffer) {
  std::vector<std::vector<int64_t>> found;
  for (const Kernel& kernel : program.kernels) {
    std::vector<int64_t> offsets;
    for_each_access(kernel, [&](const Instruction& i) {
      if (i.kind == Instruction::Kind::store && program[i.access.buffer].name == buffer) offsets.push_back(i.access.offset);
    });
    std::sort(offsets.begin(), offsets.end());
    if (!offsets.empty()) found.push_back(std::move(offsets));
  }
  std::sort(found.begin(), found.end());
  return found;
}
using Offsets = std::vector<std::vector<int64_t>>;

}  // namespace

TEST_CASE("pads beside each other that cover a sum are a join", "[passes][joins]") {
  CHECK(lone_join([](Case& c) { c.multiply(c.side_by_side(c.tanh(c.x), c.tanh(c.z))); }) == Parts{"tanh 0+1a0 0+1a1", "tanh 0+1a0 4+1a1"});
  // In any order, and of any number.
  CHECK(lone_join([](Case& c) {
          const NodeId last = c.pad(c.tanh(c.z), 8, 11), middle = c.pad(c.tanh(c.y), 4, 11), first = c.pad(c.b.neg(c.x), 0, 11);
          c.multiply(c.b.add(last, c.b.add(first, middle)));
        }) == Parts{"tanh 0+1a0 8+1a1", "neg 0+1a0 0+1a1", "tanh 0+1a0 4+1a1"});
  // A sum within a pad is more parts.
  CHECK(lone_join([](Case& c) { c.multiply(c.side_by_side(c.side_by_side(c.tanh(c.x), c.tanh(c.y)), c.tanh(c.z))); }) ==
        Parts{"tanh 0+1a0 0+1a1", "tanh 0+1a0 4+1a1", "tanh 0+1a0 8+1a1"});
  // Gaps, overlaps and a lone pad are none.
  CHECK(lone_join([](Case& c) { c.multiply(c.b.add(c.pad(c.tanh(c.x), 0, 8), c.pad(c.tanh(c.z), 4, 8))); }).empty());
  CHECK(lone_join([](Case& c) { c.multiply(c.b.add(c.pad(c.tanh(c.x), 0, 7), c.pad(c.tanh(c.y), 3, 7))); }).empty());
  CHECK(lone_join([](Case& c) { c.multiply(c.b.add(c.pad(c.tanh(c.x), 0, 4), c.pad(c.tanh(c.y), 0, 4))); }).empty());
  CHECK(lone_join([](Case& c) { c.multiply(c.pad(c.tanh(c.x), 0, 8)); }).empty());
  // Where two that overlap are added up within a pad, their sum is a part.
  CHECK(lone_join([](Case& c) { c.multiply(c.side_by_side(c.b.add(c.pad(c.tanh(c.x), 0, 5), c.pad(c.tanh(c.y), 1, 5)), c.tanh(c.z))); }) ==
        Parts{"add 0+1a0 0+1a1", "tanh 0+1a0 5+1a1"});
}

TEST_CASE("parts are seen through views that rename indices", "[passes][joins]") {
  const Shape parts{rows, {2}, {4}};
  CHECK(lone_join([&](Case& c) {
          const NodeId left = c.b.broadcast(c.tanh(c.x), {rows, {1}, {4}}, {0, 2}), right = c.b.reshape(c.tanh(c.y), {rows, {1}, {4}});
          const NodeId join = c.b.add(c.b.pad(left, 1, 1, Extent{2}), c.b.pad(right, 1, 0, Extent{2}));
          c.multiply(c.b.reshape(join, {rows, {8}}));
        }) == Parts{"tanh 0+1a0 1 0+1a1", "tanh 0+1a0 0 0+1a1"});
  // Axes joined by a reshape are one in the join; one that is cut is not followed.
  CHECK(lone_join([&](Case& c) {
          const NodeId wide = c.b.input("wide", {DType::f32, {rows, {2}, {1}, {3}}});
          c.multiply(c.side_by_side(c.b.reshape(c.tanh(wide), {rows, {6}}), c.tanh(c.z)));
        }) == Parts{"tanh 0+1a0 0+3a1+1a3", "tanh 0+1a0 6+1a1"});
  CHECK(lone_join([&](Case& c) {
          const NodeId cut = c.b.reshape(c.tanh(c.x), {rows, {2}, {2}}), also = c.b.input("also", {DType::f32, {rows, {2}, {3}}});
          c.multiply(c.b.reshape(c.side_by_side(cut, c.tanh(also)), {rows, {10}}));
        }) == Parts{"reshape 0+1a0 0+1a1 0+1a2 copied", "tanh 0+1a0 0+1a1 2+1a2"});
  // What is repeated is not.
  CHECK(lone_join([&](Case& c) { c.multiply(c.side_by_side(c.b.broadcast(c.b.reduce(Op::reduce_max, c.x, {1}), {rows, {5}}, {0}), c.tanh(c.z))); }) ==
        Parts{"broadcast 0+1a0 0+1a1 copied", "tanh 0+1a0 5+1a1"});
  CHECK(lone_join([&](Case& c) {
          const NodeId wide = c.b.input("wide", {DType::f32, {{5}, {3}}}), other = c.b.input("other", {DType::f32, {{3}, {4}}});
          c.output(c.side_by_side(c.b.transpose(c.tanh(wide), {1, 0}), c.tanh(other)));
        }) == Parts{"tanh 0+1a1 0+1a0", "tanh 0+1a0 5+1a1"});
}

TEST_CASE("a join stands in memory, or is none", "[passes][joins]") {
  auto soft = [](NodeId (*left)(Case&)) {
    return [left](Case& c) { c.output(c.b.unary(Op::sigmoid, c.side_by_side(left(c), c.tanh(c.z)))); };
  };
  // Parts that pads would keep anyway; a leaf is read where it stands.
  CHECK(lone_join(soft([](Case& c) { return c.tanh(c.x); })).size() == 2);
  CHECK(lone_join(soft([](Case& c) { return c.x; })).empty());
  CHECK(lone_join([](Case& c) { c.output(c.side_by_side(c.x, c.tanh(c.z))); }) == Parts{"input 0+1a0 0+1a1 copied", "tanh 0+1a0 4+1a1"});
  CHECK(lone_join([](Case& c) { c.multiply(c.side_by_side(c.x, c.tanh(c.z))); }).size() == 2);
  CHECK(lone_join([](Case& c) { c.output(c.tanh(c.b.slice(c.side_by_side(c.x, c.tanh(c.z)), 1, 2, Extent{3}))); }).size() == 2);
  CHECK(lone_join([](Case& c) { c.output(c.tanh(c.b.reshape(c.side_by_side(c.x, c.tanh(c.z)), {rows, {1}, {7}}))); }).empty());  // only renamed
  // A new value of a persistent may stand where the old one does.
  CHECK(lone_join([](Case& c) {
          const NodeId p = c.b.parameter({"p", {DType::f32, {{4}}}, PersistentKind::parameter, {}}), q = c.b.parameter({"q", {DType::f32, {{8}}}, PersistentKind::parameter, {}});
          c.output(q);
          c.graph.updates.push_back({"q", c.side_by_side(c.tanh(p), c.b.unary(Op::exp, p))});
        }).empty());
  // A sum of some of the parts that somebody else reads has a kernel.
  CHECK(lone_join([](Case& c) {
          const NodeId some = c.b.add(c.pad(c.tanh(c.x), 0, 11), c.pad(c.tanh(c.y), 4, 11));
          c.output(some);
          c.multiply(c.b.add(some, c.pad(c.tanh(c.z), 8, 11)));
        }).empty());
}

TEST_CASE("parts are stored where they are made, in one kernel if they have the same loops", "[passes][joins]") {
  Case c;
  const NodeId shared = c.b.add(c.x, c.y);
  c.output(c.side_by_side(c.tanh(shared), c.b.unary(Op::exp, shared)));
  Program program = program_of(c.graph);
  CHECK(program.kernels.size() == 1);
  CHECK(stores_of(program, "out0") == Offsets{{0, 4}});

  Case other;  // of different widths
  other.output(other.side_by_side(other.tanh(other.x), other.tanh(other.z)));
  program = program_of(other.graph);
  CHECK(stores_of(program, "out0") == Offsets{{0}, {4}});

  Case waits;  // one that needs the other
  const NodeId first = waits.tanh(waits.x);
  waits.output(waits.side_by_side(first, waits.tanh(waits.b.slice(waits.side_by_side(waits.z, first), 1, 1, Extent{4}))));
  program = program_of(waits.graph);
  CHECK(stores_of(program, "out0") == Offsets{{0}, {4}});

  Case product;  // a product stores its part, and another value of it as well
  const NodeId w = product.b.parameter({"w", {DType::f32, {{4}, {5}}}, PersistentKind::parameter, {}});
  const NodeId y = product.b.contract(product.x, w, {0, 1}, {1, 2}, {0, 2});
  product.output(product.side_by_side(y, product.tanh(product.z)));
  product.output(product.tanh(product.b.slice(y, 1, 1, Extent{3})));
  program = program_of(product.graph);
  CHECK(stores_of(program, "out0") == Offsets{{0}, {5}});
}

TEST_CASE("who would compute again what the parts' kernel computes joins it", "[passes][joins]") {
  Case c;
  const NodeId shared = c.b.mul(c.b.add(c.x, c.y), c.y);
  c.output(c.side_by_side(c.b.mul(shared, c.x), c.b.add(shared, c.x)));
  c.output(c.tanh(shared));
  const Program program = program_of(c.graph);
  CHECK(program.kernels.size() == 1);
  Case apart;  // who shares nothing but memory stays
  apart.output(apart.side_by_side(apart.b.mul(apart.x, apart.y), apart.b.add(apart.x, apart.y)));
  apart.output(apart.tanh(apart.x));
  CHECK(program_of(apart.graph).kernels.size() == 2);
}

TEST_CASE("memory that is part of a join is copied, all parts of one shape in one kernel", "[passes][joins]") {
  Case c;
  const NodeId three = c.b.add(c.b.add(c.pad(c.x, 0, 11), c.pad(c.z, 4, 11)), c.pad(c.y, 7, 11));
  c.output(three);
  const Program program = program_of(c.graph);
  CHECK(stores_of(program, "out0") == Offsets{{0, 7}, {4}});
}

TEST_CASE("a join that is turned and part of another one is memory", "[passes][joins]") {
  Case c;
  auto parameter = [&](std::string name, Shape shape) { return c.b.parameter({std::move(name), {DType::f32, std::move(shape)}, PersistentKind::parameter, {}}); };
  const NodeId a = parameter("a", {{5}, {3}}), b = parameter("b", {{5}, {3}}), d = parameter("d", {{6}, {2}});
  const NodeId inner = c.side_by_side(c.tanh(a), c.b.unary(Op::exp, b));  // [5, 6]
  c.output(c.side_by_side(c.b.transpose(inner, {1, 0}), c.tanh(d)));
  CHECK(joins_of(c.graph) == std::vector<Parts>{{"tanh 0+1a0 0+1a1", "exp 0+1a0 3+1a1"}, {"add 0+1a1 0+1a0 copied", "tanh 0+1a0 5+1a1"}});
  CHECK(stores_of(program_of(c.graph), "out0") == Offsets{{0}, {5}});
}

TEST_CASE("a kernel that comes before another part's in number, and after it in time, makes a part as well", "[passes][joins]") {
  // The first part begins earlier and ends later: it needs a sum of what the second one makes.
  Case c;
  const NodeId early = c.tanh(c.x), second = c.tanh(c.z);
  const NodeId total = c.b.reduce(Op::reduce_sum, second, {1});
  const NodeId first = c.b.mul(early, c.b.expand(total, {1}, early));
  c.output(c.side_by_side(first, second));
  const Program program = program_of(c.graph);
  CHECK(stores_of(program, "out0") == Offsets{{0}, {4}});
}
