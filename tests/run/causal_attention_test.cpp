// Random causal attention with its gradients, in which half of the scores are left out (passes/limit_axes.h): against the interpreter of graphs, against the same kernels without
// limits, in memory that is NaN at first, and on several threads.
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "ir/program_interpreter.h"
#include "passes/differentiate.h"
#include "passes/fuse.h"
#include "passes/limit_axes.h"
#include "passes/pipeline.h"
#include "passes/poison.h"
#include "tests/run/graph_runner.h"
#include "tests/run/guarded_step.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

struct Attention {
  int64_t positions = 128, heads = 2, width = 16, features = 8;
  int mask = 0;             ///< in which words it says what is seen
  bool heads_first = false; ///< [B, H, T, S], else [B, T, H, S]
  bool causal = true;
  bool dropout = false;
};

constexpr int masks = 6;

Graph make(const Attention& a) {
  Graph graph;
  Builder b(graph);
  const Extent B{1, true}, T{a.positions}, H{a.heads}, D{a.width}, C{a.features};
  const NodeId x = b.input("x", {DType::f32, {B, T, C}});
  std::vector<std::string> names{"query", "key", "value"};
  std::vector<NodeId> weights, projected;
  for (const std::string& name : names) {
    weights.push_back(b.parameter({name, {DType::f32, {C, H, D}}, PersistentKind::parameter, {}}));
    projected.push_back(b.contract(x, weights.back(), {0, 1, 2}, {2, 3, 4}, {0, 1, 3, 4}));  // [B, T, H, D]
  }
  enum { b_, t, h, d, s };
  const std::vector<int> out = a.heads_first ? std::vector<int>{b_, h, t, s} : std::vector<int>{b_, t, h, s};
  const NodeId scores = b.mul(b.contract(projected[0], projected[1], {b_, t, h, d}, {b_, s, h, d}, out), 0.25);
  const Shape& shape = graph.type(scores).shape;
  const NodeId of_t = b.iota(shape, a.heads_first ? 2 : 1), of_s = b.iota(shape, 3);
  const NodeId nothing = b.constant_like(-std::numeric_limits<double>::infinity(), scores);
  NodeId seen = scores;
  switch (a.causal ? a.mask : -1) {
    case 0: seen = b.select(b.binary(Op::less_equal, of_s, of_t), scores, nothing); break;
    case 1: seen = b.select(b.binary(Op::greater, of_s, of_t), nothing, scores); break;
    case 2: seen = b.select(b.binary(Op::greater_equal, of_t, of_s), scores, nothing); break;
    case 3: seen = b.select(b.unary(Op::logical_not, b.binary(Op::less, of_t, of_s)), scores, nothing); break;
    case 4: seen = b.select(b.binary(Op::less_equal, of_t, of_s), scores, nothing); break;                            // what comes later is seen
    case 5: seen = b.add(scores, b.select(b.binary(Op::greater, b.cast(of_s, DType::f32), b.cast(of_t, DType::f32)), nothing, b.constant_like(0, scores))); break;
    default: break;
  }
  const NodeId largest = b.expand(b.unary(Op::stop_gradient, b.reduce(Op::reduce_max, seen, {3})), {3}, seen);
  const NodeId power = b.unary(Op::exp, b.sub(seen, largest));
  const NodeId weight = b.div(power, b.expand(b.reduce(Op::reduce_sum, power, {3}), {3}, power));
  const NodeId drop = b.binary(Op::less, b.random("attention#0", shape), b.constant_like(0.2, weight));
  const NodeId left = a.dropout ? b.select(drop, b.constant_like(0, weight), b.mul(weight, 1.25)) : weight;
  const NodeId y = b.contract(left, projected[2], out, {b_, s, h, d}, {b_, t, h, d});
  graph.outputs.push_back({"y", y});
  const NodeId loss = b.mean(b.mul(y, b.unary(Op::tanh, y)), {0, 1, 2, 3});
  graph.outputs.push_back({"loss", loss});
  const std::vector<ParameterGradient> gradients = differentiate(graph, loss, names);
  for (size_t i = 0; i < names.size(); ++i) graph.updates.push_back({names[i], b.sub(weights[i], b.mul(gradients[i].node, 0.5))});
  return graph;
}

std::vector<Axis>& axes_of(Kernel& kernel) {
  if (auto* map = std::get_if<MapKernel>(&kernel.body)) return map->axes;
  return std::get<ContractKernel>(kernel.body).axes;
}

/// How many kernels have a limit; takes them away if asked to.
int count_limits(Program& program, bool remove = false) {
  int count = 0;
  for (Kernel& kernel : program.kernels)
    for (Axis& axis : axes_of(kernel)) {
      count += axis.limit.axis >= 0;
      if (remove) axis.limit = {};
    }
  return count;
}

Program program_of(const Attention& a, int64_t rows, bool split) {
  Graph graph = make(a);
  optimize_graph(graph);
  Program program = build_program(graph, {"attention", rows, host_target_with_cpu(), {}});
  if (!split) return program;
  share_all_kernels(program);
  return program;
}

Attention random_attention(uint64_t seed, std::mt19937_64& random) {
  auto pick = [&](std::vector<int64_t> of) { return of[random() % of.size()]; };
  Attention a;
  a.positions = pick({128, 192, 256});
  a.heads = pick({1, 2, 3});
  a.width = pick({5, 16, 24, 40});
  a.features = pick({4, 16});
  a.mask = int(seed % masks);
  a.heads_first = random() % 2 == 0;
  a.dropout = seed >= 12;
  return a;
}

}  // namespace

TEST_CASE("causal attention and its gradients leave out what the mask makes zero, and nothing else changes", "[run][limits][attention]") {
  for (uint64_t seed = 0; seed < 24; ++seed) {
    std::mt19937_64 random(seed * 31 + 7);
    const Attention a = random_attention(seed, random);
    const int64_t rows = 1 + int64_t(random() % 3);
    Program program = program_of(a, rows, seed % 2 == 0), whole = program;
    INFO(fmt::format("seed {}: {} positions, {} heads of {}, mask {}, heads first {}, dropout {}\n{}", seed, a.positions, a.heads, a.width, a.mask, a.heads_first, a.dropout, print_program(program, nullptr)));
    // Scores, their rows, the sum of values; backwards four products and the rows. Rows that begin late are computed whole, and so what they read and store is.
    CHECK(count_limits(whole, true) >= (a.mask == 4 ? 4 : 8));
    REQUIRE(verify_program(program) == std::vector<std::string>{});
    const Bindings bindings = random_bindings(make(a), rows, random);
    const Results expected = interpret(make(a), bindings);
    // What is not stored is NaN to the interpreter of programs and in guarded memory.
    check_same(interpret_program(program, bindings), expected, 1e-9);
    const std::optional<Results> found = GuardedStep(program, Placement::planned).run(bindings, {1, 2, 0, 0});
    REQUIRE(found);
    const std::optional<Results> without = GuardedStep(whole, Placement::planned).run(bindings, {1, 2, 0, 0});
    CHECK(first_difference(*found, *without) == "");
    Program poisoned = program;
    poison_dead(poisoned);
    for (const int threads : {2, 3}) CHECK(first_difference(*GuardedStep(poisoned, Placement::planned).run(bindings, {threads, 2, 0, 0}), *found) == "");
    check_same(run_compiled(make(a), bindings, {.parallel_all = true}), expected, 2e-4);
  }
}

TEST_CASE("attention without a mask, or of positions without whole blocks, has no limits", "[run][limits][attention]") {
  Attention a;
  a.causal = false;
  Program all = program_of(a, 2, false);
  CHECK(count_limits(all) == 0);
  a.causal = true;
  a.positions = 100;
  Program uneven = program_of(a, 2, false);
  CHECK(count_limits(uneven) == 0);
  a.positions = 128;
  Program causal = program_of(a, 2, false);
  CHECK(count_limits(causal) >= 8);
}

TEST_CASE("a sum that sees what is behind the diagonal has all of it", "[run][limits][attention]") {
  // By what stands there: nothing for the one sum is something for another.
  const double infinity = std::numeric_limits<double>::infinity();
  const Extent B{1, true}, T{128}, D{16};
  for (const double fill : {0.0, 1.0, -infinity, infinity})
    for (int reader = 0; reader < 5; ++reader) {  // the last one sums what a draw leaves of it
      Graph graph;
      Builder b(graph);
      const NodeId x = b.input("x", {DType::f32, {B, T, D}}), y = b.input("y", {DType::f32, {B, T, D}});
      const NodeId products = b.contract(x, y, {0, 1, 3}, {0, 2, 3}, {0, 1, 2});
      const Shape shape = graph.type(products).shape;
      const NodeId seen = b.select(b.binary(Op::less_equal, b.iota(shape, 2), b.iota(shape, 1)), products, b.constant_like(fill, products));
      const Op reductions[] = {Op::reduce_sum, Op::reduce_max, Op::reduce_min};
      if (reader >= 3 && std::isinf(fill)) continue;
      const NodeId left = b.select(b.binary(Op::less, b.random("left#0", shape), b.constant_like(0.5, seen)), b.constant_like(0, seen), seen);
      if (reader == 4) graph.outputs.push_back({"result", b.reduce(Op::reduce_sum, left, {2})});
      else graph.outputs.push_back({"result", reader < 3 ? b.reduce(reductions[reader], seen, {2}) : b.contract(seen, y, {0, 1, 2}, {0, 2, 3}, {0, 1, 3})});
      const Graph before = graph;
      optimize_graph(graph);
      Program program = build_program(graph, {"sums", 2, host_target_with_cpu(), {}});
      INFO(fill << ", reader " << reader << "\n" << print_program(program, nullptr));
      const bool neutral = reader == 1 ? fill == -infinity : reader == 2 ? fill == infinity : fill == 0;
      CHECK((count_limits(program) > 0) == neutral);
      std::mt19937_64 random(5);
      const Bindings bindings = random_bindings(before, 2, random);
      const Results expected = interpret(before, bindings);
      if (std::isinf(fill) && !neutral) continue;  // infinities as results
      check_same(interpret_program(program, bindings), expected, 1e-9);
      check_same(run_compiled(before, bindings), expected, 1e-4);
    }
}

TEST_CASE("a reader without a limit keeps its producers whole", "[run][limits][attention]") {
  // The weights themselves are an output: nobody may leave anything of them out, nor of the scores.
  Attention a;
  Graph graph = make(a);
  Builder b(graph);
  NodeId weights;
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (graph[NodeId{i}].op == Op::div && !weights.valid()) weights = NodeId{i};
  REQUIRE(weights.valid());
  graph.outputs.push_back({"weights", b.add(weights, 1.0)});
  optimize_graph(graph);
  Program program = build_program(graph, {"attention", 2, host_target_with_cpu(), {}});
  std::mt19937_64 random(3);
  const Bindings bindings = random_bindings(graph, 2, random);
  const Results expected = interpret(graph, bindings);
  check_same(interpret_program(program, bindings), expected, 1e-9);
  check_same(run_compiled(graph, bindings), expected, 2e-4);
}
