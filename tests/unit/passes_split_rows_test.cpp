// Evaluation batch by batch against evaluation of the whole split as one batch.
#include <algorithm>
#include <cmath>
#include <limits>

#include "passes/split_rows.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;
using namespace nnc::test;

namespace {

Extent n(int64_t size) { return {size, false}; }
const Extent rows{1, true};
const DType f32 = DType::f32;

// Rows begin .. begin+count of everything that has rows.
Bindings batch_of(const Graph& graph, const Bindings& whole, int64_t begin, int64_t count) {
  Bindings batch = whole;
  batch.rows = count;
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::input || !node.type.has_rows()) continue;
    Tensor& t = batch.inputs.at(node.attributes.text);
    int64_t per_row = node.type.elements(1);
    const std::vector<double>& all = whole.inputs.at(node.attributes.text).values;
    t.shape = shape_at(node.type, count);
    t.values.assign(all.begin() + begin * per_row, all.begin() + (begin + count) * per_row);
  }
  return batch;
}

double combine(Combine how, double a, double b) {
  if (how == Combine::sum) return a + b;
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  return how == Combine::max ? std::fmax(a, b) : std::fmin(a, b);
}

// What a host does with a split.
std::map<std::string, Tensor> evaluate(const RowSplit& split, Bindings whole, int64_t batch_size) {
  whole.scalars["rows"] = double(whole.rows);
  for (const RowLevel& level : split.levels) {
    std::map<std::string, Tensor> partial;
    for (const Accumulator& a : level.accumulators) {
      Tensor t = make_tensor(a.type.dtype, shape_at(a.type, 0));
      double start = a.combine == Combine::sum ? 0 : a.combine == Combine::max ? -INFINITY : INFINITY;
      std::fill(t.values.begin(), t.values.end(), start);
      partial[a.name] = t;
    }
    for (int64_t begin = 0; begin < whole.rows; begin += batch_size) {
      Bindings batch = batch_of(level.batch, whole, begin, std::min(batch_size, whole.rows - begin));
      Results results = interpret(level.batch, batch);
      REQUIRE(results.outputs.size() == level.accumulators.size());
      for (const Accumulator& a : level.accumulators)
        for (size_t i = 0; i < partial[a.name].values.size(); ++i)
          partial[a.name].values[i] = combine(a.combine, partial[a.name].values[i], results.outputs.at(a.name).values.at(i));
    }
    for (auto& [name, tensor] : partial) whole.persistents[name] = tensor;
  }
  for (const Node& node : split.final_graph.nodes()) CHECK_FALSE(node.type.has_rows());
  return interpret(split.final_graph, whole).outputs;
}

RowSplit check_split(const Graph& graph, const Bindings& whole, int64_t batch_size) {
  RowSplitObstacle obstacle;
  std::optional<RowSplit> split = split_rows(graph, obstacle);
  INFO(obstacle.reason);
  REQUIRE(split.has_value());
  for (const RowLevel& level : split->levels) CHECK(verify_graph(level.batch).empty());
  CHECK(verify_graph(split->final_graph).empty());
  std::map<std::string, Tensor> ours = evaluate(*split, whole, batch_size), expected = interpret(graph, whole).outputs;
  REQUIRE(ours.size() == expected.size());
  for (const auto& [name, tensor] : expected)
    for (size_t i = 0; i < tensor.values.size(); ++i) {
      INFO(name << "[" << i << "]");
      CHECK(ours.at(name).values.at(i) == Approx(tensor.values[i]).epsilon(1e-10).margin(1e-10));
    }
  return *split;
}

RowSplitObstacle obstacle_of(const Graph& graph) {
  RowSplitObstacle obstacle;
  CHECK_FALSE(split_rows(graph, obstacle).has_value());
  return obstacle;
}

}  // namespace

TEST_CASE("a mean is one level, a variance two", "[split_rows]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {f32, {rows, n(3)}});
  NodeId mean = b.mean(x, {0});
  NodeId centred = b.sub(x, b.broadcast(mean, g.type(x).shape, {1}));
  NodeId variance = b.mean(b.mul(centred, centred), {0});
  g.outputs = {{"mean", mean}, {"deviation", b.unary(Op::sqrt, variance)}};
  RowSplit split = check_split(g, random_bindings(g, 11, 1), 4);
  CHECK(split.levels.size() == 2);
  CHECK(split.levels[1].batch.find_persistent("accumulated.0"));
  CHECK(split.levels[1].batch.find_persistent("accumulated.0")->kind == PersistentKind::state);
  // The mean alone needs one.
  g.outputs.resize(1);
  CHECK(check_split(g, random_bindings(g, 11, 2), 5).levels.size() == 1);
}

TEST_CASE("maxima, log-sum-exp over rows, a confusion matrix, a table of sums", "[split_rows]") {
  Graph g;
  Builder b(g);
  NodeId logits = b.input("logits", {f32, {rows, n(3)}}), label = b.input("label", {DType::i32, {rows}});
  NodeId largest = b.reduce(Op::reduce_max, logits, {0, 1});
  NodeId lse = b.add(b.unary(Op::log, b.reduce(Op::reduce_sum, b.unary(Op::exp, b.sub(logits, largest)), {0, 1})), largest);
  NodeId choice = b.reduce(Op::argmax, logits, {1});
  Shape classes = {rows, n(3)};
  auto one_hot = [&](NodeId index) {
    return b.cast(b.binary(Op::equal, b.iota(classes, 1), b.broadcast(index, classes, {0})), f32);
  };
  NodeId confusion = b.contract(one_hot(choice), one_hot(label), {0, 1}, {0, 2}, {2, 1});
  Attributes a;
  a.axes = {0};
  a.lhs = a.rhs = {0};
  a.out = {1};
  a.extents = {n(3)};
  NodeId per_class = g.add(Op::scatter_add, {b.reduce(Op::reduce_max, logits, {1}), label}, a);
  NodeId weight = b.parameter({"w", {f32, {n(3)}}, PersistentKind::parameter, {}});
  g.outputs = {{"lse", lse},
               {"confusion", confusion},
               {"per_class", b.mul(per_class, weight)},
               {"least", b.reduce(Op::reduce_min, logits, {0})},
               {"constant", b.reduce(Op::reduce_sum, weight, {0})}};
  for (int64_t batch : {1, 4, 13, 100}) {
    RowSplit split = check_split(g, random_bindings(g, 13, 3), batch);
    REQUIRE(split.levels.size() == 2);
    CHECK(split.levels[0].accumulators.size() == 4);
    CHECK(split.levels[1].accumulators.size() == 1);
  }
}

TEST_CASE("an extent of several per row", "[split_rows]") {
  Graph g;
  Builder b(g);
  NodeId x = b.reshape(b.input("x", {f32, {rows, n(3)}}), {Extent{3, true}});
  g.outputs = {{"mean", b.mean(x, {0})}};
  CHECK(check_split(g, random_bindings(g, 7, 5), 2).levels.size() == 1);
}

TEST_CASE("what cannot be split is named", "[split_rows]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {f32, {rows, n(3)}}), i = b.input("i", {DType::i32, {n(2)}});
  auto alone = [&](NodeId node) {
    Graph one = g;
    one.outputs = {{"result", node}};
    return obstacle_of(one);
  };
  NodeId per_row = b.neg(x);
  CHECK_THAT(alone(per_row).reason, contains("`result` has one value per row"));
  NodeId choice = b.reduce(Op::argmax, x, {0});
  CHECK(alone(choice).node == choice);
  CHECK_THAT(alone(choice).reason, contains("argmax"));
  NodeId number = b.iota({rows}, 0);
  CHECK(alone(b.reduce(Op::reduce_sum, b.cast(number, f32), {0})).node == number);
  Attributes a;
  a.axes = {0};
  a.lhs = {0, 1};
  a.rhs = {2};
  a.out = {2, 1};
  CHECK_THAT(alone(g.add(Op::gather, {x, i}, a)).reason, contains("selecting rows"));
  NodeId y = b.input("y", {f32, {rows, n(2)}});
  CHECK_THAT(alone(b.contract(x, y, {0, 1}, {2, 3}, {1, 3})).reason, contains("two row dimensions"));
}

TEST_CASE("random graphs over a split", "[split_rows][random]") {
  int split_count = 0, deep = 0;
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    INFO("seed " << seed);
    Graph g = random_graph(seed, {.nodes = 30});
    g.updates.clear();
    Builder b(g);
    for (Output& o : g.outputs)
      if (g.type(o.node).has_rows()) o.node = b.mean(o.node, {0});
    RowSplitObstacle obstacle;
    if (!split_rows(g, obstacle)) {
      CHECK_FALSE(obstacle.reason.empty());
      continue;
    }
    ++split_count;
    deep += check_split(g, random_bindings(g, 7, seed), 3).levels.size() > 1;
  }
  CHECK(split_count > 160);
  CHECK(deep > 5);
}
