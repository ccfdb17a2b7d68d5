// Random joins (passes/joins.h): boxes that cover a value, made by every kind of kernel, read by every kind of reader. Against the interpreter of graphs, in memory that is NaN at first, with
// what is dead overwritten, and on several threads.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "ir/kernel_code.h"
#include "ir/program_interpreter.h"
#include "passes/joins.h"
#include "passes/pipeline.h"
#include "passes/poison.h"
#include "tests/run/graph_runner.h"
#include "tests/run/guarded_step.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

class JoinedGraph {
 public:
  JoinedGraph(uint64_t seed, int part_kinds) : random_(seed * 7919 + 3), part_kinds_(part_kinds), b_(graph) {}

  Graph make() {
    const int rank = 2 + int(random_() % 2);
    Shape shape{Extent{1, true}};
    for (int axis = 1; axis < rank; ++axis) shape.push_back(Extent{2 + int64_t(random_() % 11)});
    cover(shape, 0);
    const NodeId join = sum_of_pads(shape);
    read(join, shape);
    return std::move(graph);
  }

 private:
  struct Box {
    std::vector<int64_t> begin;
    Shape size;
  };

  int64_t pick(int64_t most) { return int64_t(random_() % uint64_t(most)); }

  /// Cuts a shape into boxes.
  void cover(const Shape& size, int depth, std::vector<int64_t> begin = {}) {
    begin.resize(size.size(), 0);
    std::vector<int> axes;
    for (int axis = 1; axis < int(size.size()); ++axis)
      if (size[size_t(axis)].size > 1) axes.push_back(axis);
    if (axes.empty() || depth == 4 || (depth > 0 && pick(3) == 0)) {
      boxes_.push_back({begin, size});
      return;
    }
    const size_t axis = size_t(axes[size_t(pick(int64_t(axes.size())))]);
    // Often in halves, so that several parts have the same loops.
    const int64_t whole = size[axis].size, first = whole % 2 == 0 && pick(3) > 0 ? whole / 2 : 1 + pick(whole - 1);
    Shape part = size;
    part.set(axis, Extent{first});
    cover(part, depth + 1, begin);
    part.set(axis, Extent{whole - first});
    begin[axis] += first;
    cover(part, depth + 1, begin);
  }

  NodeId input(const Shape& shape) {
    for (const auto& [known, node] : inputs_)
      if (known == shape && pick(2) == 0) return node;
    const NodeId node = b_.input(fmt::format("x{}", inputs_.size()), {DType::f32, shape});
    inputs_.emplace_back(shape, node);
    return node;
  }

  NodeId part(const Shape& shape) {
    const int last = int(shape.size()) - 1;
    switch (pick(part_kinds_)) {
      case 0: return b_.mul(input(shape), input(shape));
      case 1: return b_.unary(Op::tanh, b_.add(input(shape), input(shape)));
      case 2: {  // a contraction over an axis of its own
        Shape wide = shape;
        wide.set(size_t(last), Extent{5});
        const NodeId w = b_.parameter({fmt::format("w{}", graph.persistents.size()), {DType::f32, {Extent{5}, shape[size_t(last)]}}, PersistentKind::parameter, {}});
        std::vector<int> lhs(shape.size()), out(shape.size());
        for (int i = 0; i <= last; ++i) lhs[size_t(i)] = out[size_t(i)] = i;
        out[size_t(last)] = last + 1;
        return b_.contract(input(wide), w, lhs, {last, last + 1}, out);
      }
      case 3: {  // of an axis less, and of one that is split
        Shape narrow(shape.begin(), shape.end() - 1);
        if (shape[size_t(last)].size == 1) return b_.reshape(b_.unary(Op::exp, input(narrow)), shape);
        if (shape[size_t(last)].size % 2 != 0) return b_.neg(input(shape));
        narrow.push_back(Extent{shape[size_t(last)].size / 2});
        narrow.push_back(Extent{2});
        return b_.reshape(b_.unary(Op::sigmoid, input(narrow)), shape);
      }
      case 4: {  // along rows
        const NodeId power = b_.unary(Op::exp, input(shape));
        return b_.div(power, b_.expand(b_.reduce(Op::reduce_sum, power, {last}), {last}, power));
      }
      case 5: {
        Shape turned = shape;
        if (last > 1) turned = {shape[0], shape[2], shape[1]};
        const NodeId y = b_.mul(input(turned), -0.5);
        return last > 1 ? b_.transpose(y, {0, 2, 1}) : y;
      }
      case 6: return input(shape);
      case 7: {
        Shape larger = shape;
        larger.set_size(size_t(last), larger[size_t(last)].size + 2);
        return b_.slice(b_.unary(Op::tanh, input(larger)), last, 1, shape[size_t(last)]);
      }
      case 8: return b_.constant(0.25, {DType::f32, shape});
      case 9: return b_.expand(b_.reduce(Op::reduce_max, input(shape), {last}), {last}, input(shape));
      default: {  // of zeros of both signs
        const NodeId x = input(shape);
        return b_.mul(x, b_.constant_like(-0.0, x));
      }
    }
  }

  /// In any order, some of them added up first; along several axes at once pads stand on each other.
  NodeId sum_of_pads(const Shape& shape) {
    std::vector<NodeId> pads;
    for (const Box& box : boxes_) {
      NodeId x = pick(6) == 0 && !made_.empty() && graph.type(made_.back()).shape == box.size ? made_.back() : part(box.size);
      made_.push_back(x);
      if (pick(5) == 0) graph.outputs.push_back({fmt::format("part{}", graph.outputs.size()), x});
      for (int axis = 1; axis < int(shape.size()); ++axis) x = b_.pad(x, axis, box.begin[size_t(axis)], shape[size_t(axis)]);
      pads.push_back(x);
    }
    std::shuffle(pads.begin(), pads.end(), random_);
    while (pads.size() > 1) {
      const size_t at = size_t(pick(int64_t(pads.size() - 1)));
      pads[at] = b_.add(pads[at], pads[at + 1]);
      pads.erase(pads.begin() + std::ptrdiff_t(at) + 1);
    }
    return pads[0];
  }

  void read(NodeId join, const Shape& shape) {
    const int last = int(shape.size()) - 1;
    const int readers = 1 + int(pick(3));
    for (int r = 0; r < readers; ++r) {
      const std::string name = fmt::format("y{}", r);
      switch (pick(5)) {
        case 0: graph.outputs.push_back({name, join}); break;
        case 1: graph.outputs.push_back({name, b_.reduce(Op::reduce_sum, b_.mul(join, join), {0})}); break;
        case 2: {
          const NodeId w = b_.parameter({name, {DType::f32, {shape[size_t(last)], Extent{4}}}, PersistentKind::parameter, {}});
          std::vector<int> lhs(shape.size()), out(shape.size());
          for (int i = 0; i <= last; ++i) lhs[size_t(i)] = out[size_t(i)] = i;
          out[size_t(last)] = last + 1;
          graph.outputs.push_back({name, b_.contract(join, w, lhs, {last, last + 1}, out)});
          break;
        }
        case 3: graph.outputs.push_back({name, b_.unary(Op::sigmoid, join)}); break;
        default: {
          Extent all{1};
          for (int axis = 1; axis <= last; ++axis) all.size *= shape[size_t(axis)].size;
          graph.outputs.push_back({name, b_.unary(Op::tanh, b_.reshape(join, {shape[0], all}))});
        }
      }
    }
  }

  Graph graph;
  std::mt19937_64 random_;
  int part_kinds_;
  Builder b_;
  std::vector<Box> boxes_;
  std::vector<NodeId> made_;
  std::vector<std::pair<Shape, NodeId>> inputs_;
};

/// Kernels that store a buffer which another kernel or another instruction stores, too.
int stores_of_parts(const Program& program) {
  std::map<BufferId, int> stores;
  for (const Kernel& kernel : program.kernels)
    for_each_access(kernel, [&](const Instruction& i) { stores[i.access.buffer] += i.kind == Instruction::Kind::store; });
  return int(std::count_if(stores.begin(), stores.end(), [](const auto& entry) { return entry.second > 1; }));
}

void check(const Graph& graph, int64_t rows, std::mt19937_64& random, int& joined) {
  Graph optimized = graph;
  optimize_graph(optimized);
  Program program = build_program(optimized, {"joins", rows, host_target_with_cpu(), {}});
  INFO(print_graph(graph, nullptr) << print_program(program, nullptr));
  REQUIRE(verify_program(program) == std::vector<std::string>{});
  joined += stores_of_parts(program) > 0;
  const Bindings bindings = random_bindings(graph, rows, random);
  const Results expected = interpret(graph, bindings);
  check_same(interpret_program(program, bindings), expected, 1e-9);
  const std::optional<Results> found = GuardedStep(program, Placement::planned).run(bindings, {1, 2, 0, 0});
  REQUIRE(found);
  check_same(*found, expected, 1e-5);
  share_all_kernels(program);
  poison_dead(program);
  REQUIRE(verify_program(program) == std::vector<std::string>{});
  for (const int threads : {1, 2, 3}) CHECK(first_difference(*GuardedStep(program, Placement::planned).run(bindings, {threads, 2, 0, 0}), *found) == "");
}

}  // namespace

TEST_CASE("joins of every kind of part and reader have the values of sums of pads", "[run][joins]") {
  int joined = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    INFO("seed " << seed);
    check(JoinedGraph(seed, 11).make(), 1 + int64_t(seed % 5), random, joined);
  }
  CHECK(joined > 40);
}

TEST_CASE("of a zero without a sign and one with a sign a join has what the sum has", "[run][joins]") {
  Graph graph;
  Builder b(graph);
  const Extent B{1, true}, N{4}, all{8};
  const NodeId x = b.input("x", {DType::f32, {B, N}});
  const NodeId left = b.pad(b.unary(Op::neg, b.mul(x, b.constant_like(0, x))), 1, 0, all), right = b.pad(b.mul(x, 2.0), 1, 4, all);
  graph.outputs.push_back({"y", b.add(left, right)});
  std::mt19937_64 random(1);
  const Bindings bindings = random_bindings(graph, 5, random, 0.5, 1);
  const Results found = run_compiled(graph, bindings), expected = interpret(graph, bindings);
  const auto &got = found.outputs.at("y").values, &wanted = expected.outputs.at("y").values;
  REQUIRE(got.size() == wanted.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(std::signbit(double(got[i])) == std::signbit(double(wanted[i])));
}
