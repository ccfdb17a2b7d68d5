// Lookups before products: random tables, orders of axes, indices with duplicates and at both ends, padding; the values of before, forward to the bit, and no lookup left that a
// product reads. Where the table is larger than what is looked up, where the index reaches the other operand or where something stands between, everything stays.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "ir/interpreter.h"
#include "passes/cse.h"
#include "passes/dead_code.h"
#include "passes/multiply_tables.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

struct Sizes {
  int64_t entries = 7, width = 16, outputs = 20, rows = 6, places = 4;
};

struct Nodes {
  NodeId index, gradient, table, weight, looked_up, forward, of_weight, of_table, padded;
};

/// Forward product, both gradients, and the table's under the mask of a padding entry; axes in orders of `random`.
Nodes add_nodes(Graph& g, const Sizes& s, std::mt19937_64& random) {
  Builder b(g);
  const Extent rows{1, true}, places{s.places}, entries{s.entries}, width{s.width}, outputs{s.outputs};
  const bool turned = random() % 2, weight_turned = random() % 2, swapped = random() % 2, places_last = random() % 2;
  Nodes n;
  n.index = b.input("index", {DType::i32, {rows, places}});
  n.gradient = b.input("gradient", {DType::f32, {rows, places, outputs}});
  n.table = b.parameter({"table", {DType::f32, turned ? Shape{width, entries} : Shape{entries, width}}, PersistentKind::parameter, {}});
  n.weight = b.parameter({"weight", {DType::f32, weight_turned ? Shape{width, outputs} : Shape{outputs, width}}, PersistentKind::parameter, {}});
  // labels: entries 0, width 1, rows 2, places 3, outputs 4
  Attributes a;
  a.axes = {turned ? 1 : 0};
  a.lhs = turned ? std::vector<int>{1, 0} : std::vector<int>{0, 1};
  a.rhs = {2, 3};
  a.out = places_last ? std::vector<int>{2, 1, 3} : std::vector<int>{2, 3, 1};
  const std::vector<int> x = a.out, w = weight_turned ? std::vector<int>{1, 4} : std::vector<int>{4, 1}, z{2, 3, 4};
  n.looked_up = g.add(Op::gather, {n.table, n.index}, a);
  n.forward = swapped ? b.contract(n.weight, n.looked_up, w, x, z) : b.contract(n.looked_up, n.weight, x, w, z);
  n.of_weight = swapped ? b.contract(n.looked_up, n.gradient, x, z, w) : b.contract(n.gradient, n.looked_up, z, x, w);
  const NodeId back = swapped ? b.contract(n.weight, n.gradient, w, z, x) : b.contract(n.gradient, n.weight, z, w, x);
  Attributes scatter;
  scatter.axes = a.axes;
  scatter.extents = g.type(n.table).shape;
  scatter.lhs = x;
  scatter.rhs = {2, 3};
  scatter.out = a.lhs;
  n.of_table = g.add(Op::scatter_add, {back, n.index}, scatter);
  // Another product for the padded one: a value with two readers stays.
  const NodeId again = swapped ? b.contract(n.weight, n.gradient, w, z, x) : b.contract(n.gradient, n.weight, z, w, x);
  const NodeId number = b.cast(n.index, DType::f32);
  const NodeId is_padding = b.binary(Op::equal, number, b.constant_like(double(s.entries - 1), number));
  std::vector<int> at;
  for (int label : {2, 3}) at.push_back(int(std::find(x.begin(), x.end(), label) - x.begin()));
  const NodeId everywhere = b.broadcast(is_padding, g.type(again).shape, at);
  const NodeId masked = b.select(everywhere, b.constant_like(0, again), again);
  n.padded = g.add(Op::scatter_add, {masked, n.index}, scatter);
  return n;
}

Bindings make_values(const Graph& g, const Sizes& s, std::mt19937_64& random) {
  Bindings v;
  v.rows = s.rows;
  auto fill = [&](const Type& type) {
    Tensor t = make_tensor(type.dtype, shape_at(type, s.rows));
    for (double& x : t.values)
      x = is_integer(type.dtype) ? double(random() % 3 == 0 ? (random() % 2 ? s.entries - 1 : 0) : int64_t(random() % uint64_t(s.entries)))
                                 : double(float(double(random() % 2000) / 1000 - 1));
    return t;
  };
  for (const Persistent& p : g.persistents) v.persistents[p.name] = fill(p.type);
  for (const Node& n : g.nodes())
    if (n.op == Op::input) v.inputs[n.attributes.text] = fill(n.type);
  return v;
}

int count(const Graph& g, Op op) {
  return int(std::count_if(g.nodes().begin(), g.nodes().end(), [&](const Node& n) { return n.op == op; }));
}

void tidy(Graph& g) {
  merge_common_subexpressions(g);
  remove_dead_code(g);
}

/// The graph with one output of a node, before the pass and after it, for so many rows.
std::pair<Graph, Graph> with_and_without(const Graph& all, NodeId result, int64_t rows) {
  Graph before = all;
  before.outputs.push_back({"result", result});
  tidy(before);
  Graph after = before;
  multiply_tables(after, rows);
  tidy(after);
  return {before, after};
}

void check_close(const Tensor& found, const Tensor& expected, double tolerance) {
  REQUIRE(found.shape == expected.shape);
  for (size_t i = 0; i < found.values.size(); ++i) {
    if (tolerance == 0)
      CHECK(found.values[i] == expected.values[i]);
    else
      CHECK(std::abs(found.values[i] - expected.values[i]) <= tolerance * std::max(1.0, std::abs(expected.values[i])));
  }
}

}  // namespace

TEST_CASE("products with rows that are looked up become products with the table", "[multiply_tables]") {
  for (uint64_t seed = 0; seed < 24; ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    Graph g;
    Sizes s;
    s.entries = 1 + int64_t(random() % 20);
    const Nodes n = add_nodes(g, s, random);
    const Bindings values = make_values(g, s, random);
    for (NodeId result : {n.forward, n.of_weight, n.of_table, n.padded}) {
      const auto [before, after] = with_and_without(g, result, s.rows);
      REQUIRE(verify_graph(after) == std::vector<std::string>{});
      check_close(interpret(after, values).outputs.at("result"), interpret(before, values).outputs.at("result"), result == n.forward ? 0 : 1e-12);
      // What is multiplied has the table's rows.
      for (const Node& node : after.nodes())
        if (node.op == Op::contract) CHECK(!node.type.has_rows());
      CHECK(count(after, Op::contract) == 1);
    }
    // All at once: one scatter of the gradient for three products.
    Graph all = g;
    for (NodeId result : {n.forward, n.of_weight, n.of_table, n.padded}) all.outputs.push_back({fmt::format("r{}", result.value), result});
    multiply_tables(all, s.rows);
    tidy(all);
    CHECK(count(all, Op::scatter_add) == 1);
    CHECK(count(all, Op::gather) == 1);
  }
}

TEST_CASE("a padding entry gets no gradient, whatever its places would have brought", "[multiply_tables]") {
  std::mt19937_64 random(3);
  Graph g;
  const Sizes s;
  const Nodes n = add_nodes(g, s, random);
  Bindings values = make_values(g, s, random);
  const Tensor index = values.inputs.at("index");
  for (size_t p = 0; p < index.values.size(); ++p)
    if (index.values[p] == double(s.entries - 1)) values.inputs.at("gradient").values[p * size_t(s.outputs)] = std::nan("");
  const Tensor result = interpret(with_and_without(g, n.padded, s.rows).second, values).outputs.at("result");
  for (double x : result.values) CHECK(!std::isnan(x));
  const size_t entries_axis = result.shape[0] == s.entries ? 0 : 1;
  for (int64_t d = 0; d < s.width; ++d) CHECK(result.values[size_t(entries_axis == 0 ? (s.entries - 1) * s.width + d : d * s.entries + s.entries - 1)] == 0);
}

TEST_CASE("where it is no less work, lookups before products stay", "[multiply_tables]") {
  auto stays = [](const Sizes& s, int64_t rows, auto choose) {
    std::mt19937_64 random(11);
    Graph g;
    const Nodes n = add_nodes(g, s, random);
    const auto [before, after] = with_and_without(g, choose(g, n), rows);
    return print_graph(before, nullptr) == print_graph(after, nullptr);
  };
  auto forward = [](Graph&, const Nodes& n) { return n.forward; };
  auto of_weight = [](Graph&, const Nodes& n) { return n.of_weight; };
  auto of_table = [](Graph&, const Nodes& n) { return n.of_table; };
  auto padded = [](Graph&, const Nodes& n) { return n.padded; };
  const Sizes s;
  CHECK_FALSE(stays(s, 6, forward));
  CHECK_FALSE(stays(s, 0, forward));  // rows that are not known are many
  // 7 entries, 4 places a row: one row looks up fewer.
  CHECK(stays(s, 1, forward));
  CHECK(stays(s, 1, of_weight));
  CHECK(stays(s, 1, of_table));
  CHECK(stays(s, 1, padded));
  // A gradient's scatter must save enough for each number that it adds.
  Sizes narrow = s;
  narrow.width = 15;
  CHECK_FALSE(stays(narrow, 6, forward));
  CHECK(stays(narrow, 6, of_weight));
  CHECK(stays(narrow, 6, of_table));
  // Something between the lookup and the product hides it, as the embedding of positions does that is added to that of tokens.
  CHECK(stays(s, 6, [](Graph& g, const Nodes& n) {
    Builder b(g);
    const Node product = g[n.forward];
    std::vector<NodeId> operands = product.operands;
    for (NodeId& o : operands)
      if (o == n.looked_up) o = b.add(o, 1.0);
    return g.add(Op::contract, operands, product.attributes);
  }));
  // A product that something else reads is there in any case.
  CHECK(stays(s, 6, [](Graph& g, const Nodes& n) {
    Builder b(g);
    const NodeId back = g[n.of_table].operands[0];
    const NodeId sum = b.reduce(Op::reduce_sum, back, {0, 1, 2}), rest = b.reduce(Op::reduce_sum, n.of_table, {0, 1});
    return b.add(sum, rest);
  }));
  // A mask of another number than a place's own entry is no padding.
  CHECK(stays(s, 6, [](Graph& g, const Nodes& n) {
    Builder b(g);
    const Node scatter = g[n.padded];
    const Node select = g[scatter.operands[0]];
    const NodeId other = b.input("other", g.type(n.index));
    const NodeId mask = b.binary(Op::equal, other, b.constant_like(0, other));
    const NodeId everywhere = b.broadcast(mask, g.type(select.operands[2]).shape, g[select.operands[0]].attributes.axes);
    const NodeId masked = b.select(everywhere, select.operands[1], select.operands[2]);
    return g.add(Op::scatter_add, {masked, n.index}, scatter.attributes);
  }));
}

TEST_CASE("an index that stands in both operands of a product is none of a table's", "[multiply_tables]") {
  Graph g;
  Builder b(g);
  const Extent many{64};
  const NodeId index = b.parameter({"index", {DType::i32, {many}}, PersistentKind::state, {}});
  const NodeId x = b.parameter({"x", {DType::f32, {many, Extent{16}}}, PersistentKind::parameter, {}});
  const NodeId table = b.parameter({"table", {DType::f32, {Extent{3}, Extent{16}}}, PersistentKind::parameter, {}});
  Attributes a;
  a.axes = {0};
  a.lhs = {0, 1};
  a.rhs = {2};
  a.out = {2, 1};
  const NodeId looked_up = g.add(Op::gather, {table, index}, a);
  const NodeId by_place = b.contract(looked_up, x, {0, 1}, {0, 1}, {0}), all_pairs = b.contract(looked_up, x, {0, 1}, {0, 2}, {0, 1, 2});
  for (NodeId result : {by_place, all_pairs}) {
    const auto [before, after] = with_and_without(g, result, 1);
    CHECK(print_graph(before, nullptr) == print_graph(after, nullptr));
  }
}
