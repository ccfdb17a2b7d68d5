// Random sound graphs for round trips, for passes and for compiled code against the interpreter. Everything follows from the seed.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "ir/graph.h"
#include "ir/interpreter.h"

namespace nnc::test {

struct RandomGraphOptions {
  int nodes = 30;
  bool tame = true;       ///< f32 only where arithmetic is done, operations defined and smooth nearly everywhere, values of moderate size
  int persistents = 2;
  bool decorate = false;  ///< scopes and groups
};

class RandomGraph {
 public:
  RandomGraph(uint64_t seed, RandomGraphOptions options = {}) : options_(options), random_(seed, stable_hash("random graph")), builder_(graph_) {
    graph_.name = fmt::format("random.{}", seed);
    for (int i = 0; i < 3; ++i) pool_.push_back(builder_.input(fmt::format("x{}", i), {DType::f32, random_shape(true)}));
    if (!options_.tame) {
      pool_.push_back(builder_.input("bytes", {DType::u8, random_shape(true)}));
      pool_.push_back(builder_.input("index", {DType::i64, random_shape(true)}));
    }
    for (int i = 0; i < options_.persistents; ++i) {
      Persistent p{fmt::format("layer{}.weight", i), {DType::f32, random_shape(false)}, PersistentKind::parameter, {}};
      if (i % 3 == 1) p.kind = PersistentKind::state;
      pool_.push_back(builder_.parameter(p));
    }
    pool_.push_back(builder_.cast(builder_.scalar("using.lr"), DType::f32));
    while (int(graph_.size()) < options_.nodes) add_node();
    for (int i = 0; i < 3; ++i) graph_.outputs.push_back({fmt::format("out{}", i), pick([](const Type&) { return true; })});
    graph_.outputs.push_back({"last", pool_.back()});
    for (const Persistent& p : graph_.persistents)
      graph_.updates.push_back({p.name, pick([&](const Type& t) { return t == p.type; })});
  }

  Graph take() { return std::move(graph_); }

 private:
  int below(int bound) { return int(random_.next_below(uint64_t(bound))); }
  bool chance(int percent) { return below(100) < percent; }

  Extent random_extent() {
    static constexpr int64_t sizes[] = {1, 2, 3, 4, 5, 8};
    return {sizes[below(6)], false};
  }

  Shape random_shape(bool rows_allowed) {
    Shape shape;
    if (rows_allowed && chance(60)) shape.push_back({chance(85) ? 1 : 2, true});
    for (int rank = below(3); rank > 0; --rank) shape.push_back(random_extent());
    return shape;
  }

  template <class Fits>
  NodeId pick(Fits fits) {
    std::vector<NodeId> found;
    for (NodeId id : pool_)
      if (fits(graph_.type(id))) found.push_back(id);
    return found.empty() ? NodeId{} : found[size_t(below(int(found.size())))];
  }

  NodeId pick_float() {
    return pick([](const Type& t) { return t.dtype == DType::f32; });
  }
  NodeId pick_like(NodeId other) {
    NodeId id = pick([&](const Type& t) { return t == graph_.type(other); });
    return chance(50) ? builder_.constant_like((below(9) - 4) * 0.25, other) : id;
  }
  int random_axis(NodeId id) { return below(graph_.type(id).rank()); }

  void push(NodeId id) {
    Node& node = graph_[id];
    if (options_.decorate && chance(40)) node.scope = fmt::format("block.{}", below(3));
    if (options_.decorate && chance(40)) node.group = below(5);
    pool_.push_back(id);
  }

  void add_node() {
    switch (below(11)) {
      case 0:
      case 1: return add_unary();
      case 2:
      case 3: return add_binary();
      case 4: return add_select();
      case 5: return add_broadcast();
      case 6: return add_layout();
      case 7: return add_window();
      case 8: return add_reduce();
      case 9: return add_contract();
      default: return add_indexing();
    }
  }

  void add_unary() {
    static constexpr Op tame[] = {Op::neg, Op::abs, Op::tanh, Op::sigmoid, Op::sin, Op::cos, Op::erf, Op::stop_gradient};
    static constexpr Op wild[] = {Op::sign, Op::floor, Op::ceil, Op::round, Op::sqrt, Op::exp, Op::expm1, Op::log, Op::log1p};
    NodeId x = pick_float();
    if (!options_.tame && chance(20)) {
      static constexpr DType types[] = {DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean};
      return push(builder_.cast(x, types[below(5)]));
    }
    push(builder_.unary(!options_.tame && chance(50) ? wild[below(9)] : tame[below(8)], x));
  }

  void add_binary() {
    static constexpr Op ops[] = {Op::add, Op::sub, Op::mul, Op::maximum, Op::minimum, Op::div, Op::pow};
    NodeId x = pick_float(), y = pick_like(x);
    Op op = ops[below(options_.tame ? 5 : 7)];
    NodeId result = builder_.binary(op, x, y);
    // Products of products grow: keep values moderate.
    push(options_.tame && op == Op::mul ? builder_.unary(Op::tanh, result) : result);
  }

  void add_select() {
    static constexpr Op ops[] = {Op::less, Op::less_equal, Op::greater, Op::greater_equal, Op::equal, Op::not_equal};
    NodeId x = pick_float(), y = pick_like(x), z = pick_like(x);
    NodeId condition = builder_.binary(ops[below(options_.tame ? 4 : 6)], x, y);
    if (chance(30)) condition = builder_.unary(Op::logical_not, condition);
    if (chance(30)) condition = builder_.binary(chance(50) ? Op::logical_and : Op::logical_or, condition, builder_.binary(Op::less, z, x));
    push(builder_.select(condition, x, z));
  }

  void add_broadcast() {
    NodeId x = pick_float();
    Shape shape = graph_.type(x).shape;
    if (shape.size() >= 3) return;
    std::vector<int> axes;
    int at = shape.empty() ? 0 : below(int(shape.size()) + 1);
    if (graph_.type(x).has_rows()) at = std::max(at, 1);
    for (int i = 0; i < int(shape.size()); ++i) axes.push_back(i < at ? i : i + 1);
    Extent added = random_extent();
    if (at == 0 && chance(50)) added = {1, true};
    shape.insert(shape.begin() + at, added);
    push(builder_.broadcast(x, shape, axes));
  }

  void add_layout() {
    NodeId x = pick_float();
    const Type type = graph_.type(x);
    int fixed = type.has_rows() ? 1 : 0;
    if (chance(50) && type.rank() - fixed >= 2) {
      std::vector<int> axes;
      for (int i = 0; i < type.rank(); ++i) axes.push_back(i);
      std::reverse(axes.begin() + fixed, axes.end());
      return push(builder_.transpose(x, axes));
    }
    Shape flat;
    Extent all{1, type.has_rows()};
    for (const Extent& e : type.shape) all.size *= e.size;
    flat.push_back(all);
    if (chance(50) && type.has_rows()) flat = {{1, true}, {all.size, false}};
    if (chance(30)) flat.push_back({1, false});
    push(builder_.reshape(x, flat));
  }

  void add_window() {
    NodeId x = pick_float();
    if (graph_.type(x).rank() == 0) return;
    int axis = random_axis(x);
    Extent e = graph_.type(x).shape[size_t(axis)];
    if (e.rows) return;
    if (chance(50) && e.size > 1) {
      int64_t begin = below(int(e.size));
      return push(builder_.slice(x, axis, begin, {1 + below(int(e.size - begin)), false}));
    }
    int before = below(3), after = below(3);
    if (e.size <= 8) push(builder_.pad(x, axis, before, {e.size + before + after, false}));
  }

  void add_reduce() {
    NodeId x = pick_float();
    int rank = graph_.type(x).rank();
    if (rank == 0) return;
    std::vector<int> axes;
    for (int i = 0; i < rank; ++i)
      if (chance(50)) axes.push_back(i);
    if (axes.empty()) axes.push_back(below(rank));
    switch (below(4)) {
      case 0: return push(builder_.mean(x, axes));
      case 1: return push(builder_.reduce(Op::reduce_max, x, axes));
      case 2: return push(builder_.reduce(Op::reduce_min, x, axes));
      default: push(builder_.unary(Op::tanh, builder_.reduce(Op::reduce_sum, x, axes)));
    }
  }

  void add_contract() {
    // Two operands of any shapes: axes of equal size may share a label, up to two shared labels are summed.
    NodeId x = pick_float(), y = pick_float();
    const Shape p = graph_.type(x).shape, q = graph_.type(y).shape;
    std::vector<int> lhs, rhs, out;
    for (int i = 0; i < int(p.size()); ++i) lhs.push_back(i);
    int next = int(p.size());
    for (size_t i = 0; i < q.size(); ++i) {
      int shared = -1;
      for (size_t k = 0; k < p.size(); ++k)
        if (p[k] == q[i] && std::find(rhs.begin(), rhs.end(), int(k)) == rhs.end() && (q[i].rows || chance(70))) shared = int(k);
      rhs.push_back(shared >= 0 ? shared : next++);
    }
    auto size_of = [&](int label) {
      for (size_t i = 0; i < lhs.size(); ++i)
        if (lhs[i] == label) return p[i];
      for (size_t i = 0; i < rhs.size(); ++i)
        if (rhs[i] == label) return q[i];
      return Extent{};
    };
    bool rows_kept = false;
    int64_t elements = 1;
    for (int label = 0; label < next; ++label) {
      Extent e = size_of(label);
      if (e.rows) {
        if (rows_kept || chance(40)) continue;
        rows_kept = true;
        out.insert(out.begin(), label);
      } else if (chance(60) && out.size() < 3 && elements * e.size <= 64) {
        elements *= e.size;
        out.push_back(label);
      }
    }
    push(builder_.unary(Op::tanh, builder_.contract(x, y, lhs, rhs, out)));
  }

  void add_indexing() {
    // An index that is surely in range: the argmax over an axis as long as the table's.
    NodeId table = pick([](const Type& t) { return t.dtype == DType::f32 && t.rank() >= 1 && t.rank() <= 2 && !t.shape.back().rows; });
    if (!table.valid()) return;
    int axis = graph_.type(table).rank() - 1;
    const Shape table_shape = graph_.type(table).shape;
    int64_t length = table_shape[size_t(axis)].size;
    NodeId source = pick([&](const Type& t) { return t.dtype == DType::f32 && t.rank() == 2 && t.shape[1].size <= length && !t.shape[1].rows; });
    if (!source.valid()) return;
    NodeId index = builder_.reduce(Op::argmax, source, {1});
    Attributes a;
    a.axes = {axis};
    Extent count = graph_.type(index).shape[0];
    bool aligned = axis == 1 && table_shape[0] == count;
    if (axis == 1 && !aligned && table_shape[0].rows) return;
    if (axis == 1 && !aligned && count.rows) return;
    a.lhs = axis == 1 ? std::vector<int>{0, 1} : std::vector<int>{1};
    a.rhs = aligned ? std::vector<int>{0} : std::vector<int>{2};
    a.out = axis == 0 ? std::vector<int>{2} : aligned ? std::vector<int>{0} : std::vector<int>{0, 2};
    NodeId gathered = graph_.add(Op::gather, {table, index}, a);
    push(gathered);
    if (axis == 0 && chance(60)) {
      Attributes s;
      s.axes = {0};
      s.lhs = s.rhs = {2};
      s.out = {1};
      s.extents = table_shape;
      push(graph_.add(Op::scatter_add, {gathered, index}, s));
    }
  }

  RandomGraphOptions options_;
  RandomStream random_;
  Graph graph_;
  Builder builder_;
  std::vector<NodeId> pool_;
};

inline Graph random_graph(uint64_t seed, RandomGraphOptions options = {}) { return RandomGraph(seed, options).take(); }

/// Values for everything the graph reads: normal numbers, small non-negative integers.
inline Bindings random_bindings(const Graph& graph, int64_t rows, uint64_t seed) {
  Bindings bindings;
  bindings.rows = rows;
  auto draw = [&](const std::string& name, const Type& type) {
    RandomStream random(seed, stable_hash(name));
    Tensor t = make_tensor(type.dtype, shape_at(type, rows));
    for (double& v : t.values) v = is_float(type.dtype) ? double(float(random.next_normal())) : double(random.next_below(2));
    return t;
  };
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::input) bindings.inputs[node.attributes.text] = draw(node.attributes.text, node.type);
    if (node.op == Op::scalar) bindings.scalars[node.attributes.text] = 0.125;
  }
  for (const Persistent& p : graph.persistents) bindings.persistents[p.name] = draw(p.name, p.type);
  return bindings;
}

}  // namespace nnc::test
