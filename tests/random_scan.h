// Graphs with a random scan in them: one to three carries (floats, and sometimes a counter), sequences, captured values, forwards or in reverse, now and then a scan in the body.
// Values stay small: what goes around is bounded by a function of every turn.
#pragma once

#include <string>
#include <vector>

#include "base/philox.h"
#include "ir/interpreter.h"
#include "ir/regions.h"

namespace nnc::test {

struct RandomScan {
  Graph graph;  ///< outputs: all results
  std::vector<NodeId> leaves, results;  ///< of float type
  Bindings bindings;
};

class ScanMaker {
 public:
  ScanMaker(uint64_t seed, int64_t width) : width_{width}, random_(seed, stable_hash("scan")) {}

  RandomScan make() {
    RandomScan made;
    made.bindings.rows = between(1, 4);
    std::vector<NodeId> values;
    for (int i = 0; i < 6; ++i) values.push_back(leaf(made, Type{DType::f32, shape()}));
    values.push_back(leaf(made, Type{DType::f32, {width_, width_}}));
    const NodeId scan = add_scan(made.graph, values, &made, 0);
    Builder b(made.graph);
    const size_t count = made.graph[scan].attributes.body->outputs.size();
    for (size_t k = 0; k < count; ++k) {
      const NodeId result = b.result(scan, int(k));
      made.graph.outputs.push_back({"result." + std::to_string(k), result});
      if (is_float(made.graph.type(result).dtype)) made.results.push_back(result);
    }
    return made;
  }

 private:
  int64_t between(int64_t low, int64_t high) { return low + int64_t(random_.next_below(uint64_t(high - low + 1))); }
  bool chance(int percent) { return between(1, 100) <= percent; }
  template <class T>
  const T& pick(const std::vector<T>& list) { return list[size_t(between(0, int64_t(list.size()) - 1))]; }
  Shape shape() {
    const std::vector<Shape> shapes{{{1, true}, width_}, {{1, true}, width_}, {width_}, {{1, true}}, {}};
    return pick(shapes);
  }

  NodeId leaf(RandomScan& made, Type type) {
    const std::string name = "x" + std::to_string(made.leaves.size());
    Tensor t = make_tensor(type.dtype, shape_at(type, made.bindings.rows));
    for (double& v : t.values) v = double(float(random_.next_normal() / 2));
    made.bindings.inputs[name] = std::move(t);
    made.leaves.push_back(Builder(made.graph).input(name, type));
    return made.leaves.back();
  }

  /// Adds a scan over values that `graph` has; of a graph that is not a body yet more leaves.
  NodeId add_scan(Graph& graph, std::vector<NodeId> values, RandomScan* made, int depth) {
    Attributes a;
    a.extents = {{between(1, 5)}};
    a.reverse = chance(40);
    a.carried = int(between(made ? 1 : 0, 3));
    a.sliced = int(between(a.carried == 0 ? 1 : 0, 2));
    const bool counts = a.carried > 1 && chance(30);
    std::vector<NodeId> operands;
    Builder b(graph);
    for (int k = 0; k < a.carried; ++k) operands.push_back(counts && k == 0 ? b.constant(between(0, 3), Type{DType::i32, {}}) : pick(values));
    for (int k = 0; k < a.sliced; ++k) operands.push_back(sequence(graph, pick(values), a.extents[0], made));
    for (int64_t k = between(0, 3); k > 0; --k) operands.push_back(pick(values));

    Graph body;
    body.name = "body";
    Builder in(body);
    std::vector<NodeId> pool;
    for (size_t k = 0; k < operands.size(); ++k) {
      const auto [kind, number] = place_of_operand(a, int(k));
      if (kind != BodyInput::carry && chance(10)) continue;  // not read
      pool.push_back(in.input(body_input_name(kind, number), body_input_type(a, int(k), graph.type(operands[k]))));
    }
    NodeId count;
    if (counts) {
      count = pool[0];
      pool[0] = in.cast(count, DType::f32);
    }
    if (pool.empty()) pool.push_back(in.constant(0.5, Type{DType::f32, {width_}}));
    for (int64_t n = between(2, 9); n > 0; --n) pool.push_back(add_operation(body, pool));
    if (depth == 0 && chance(30)) {
      const NodeId inner = add_scan(body, pool, nullptr, depth + 1);
      for (size_t k = 0; k < body[inner].attributes.body->outputs.size(); ++k)
        if (NodeId result = in.result(inner, int(k)); is_float(body.type(result).dtype)) pool.push_back(result);
    }
    for (int k = 0; k < a.carried; ++k) {
      const Type type = graph.type(operands[size_t(k)]);
      if (counts && k == 0) {
        body.outputs.push_back({body_output_name(a, k), in.add(count, in.constant(1, type))});
        continue;
      }
      std::vector<NodeId> fitting;
      for (NodeId p : pool)
        if (body.type(p) == type) fitting.push_back(p);
      const NodeId next = pick(fitting);  // the carry itself, if nothing else is of its type
      body.outputs.push_back({body_output_name(a, k), chance(20) ? next : in.unary(Op::tanh, next)});
    }
    for (int64_t k = between(a.carried == 0 ? 1 : 0, 2); k > 0; --k) body.outputs.push_back({body_output_name(a, int(body.outputs.size())), pick(pool)});
    a.body = {std::make_shared<Graph>(std::move(body))};
    return graph.add(Op::scan, std::move(operands), std::move(a));
  }

  /// A sequence of slices like `slice`: a leaf of its own, or in a body made of what is there.
  NodeId sequence(Graph& graph, NodeId slice, Extent steps, RandomScan* made) {
    const Type type = sequence_type(graph.type(slice), steps.size);
    if (made) return leaf(*made, type);
    Builder b(graph);
    std::vector<int> axes;
    for (int i = 0; i < type.rank(); ++i)
      if (i != step_axis(type)) axes.push_back(i);
    const NodeId repeated = b.broadcast(slice, type.shape, axes);
    return b.mul(repeated, b.unary(Op::sin, b.cast(b.iota(type.shape, step_axis(type)), DType::f32)));
  }

  NodeId add_operation(Graph& body, const std::vector<NodeId>& pool) {
    Builder b(body);
    const NodeId x = pick(pool);
    const Type type = body.type(x);
    auto like = [&] {
      std::vector<NodeId> same;
      for (NodeId p : pool)
        if (body.type(p) == type) same.push_back(p);
      return pick(same);
    };
    switch (between(0, 9)) {
      case 0: return b.unary(Op::tanh, x);
      case 1: return b.unary(Op::sigmoid, x);
      case 2: return b.add(x, like());
      case 3: return b.mul(x, like());
      case 4: {
        const NodeId wave = b.unary(Op::sin, x);
        return b.sub(wave, like());
      }
      case 5: {
        const NodeId limit = b.constant_like(0.1, x), other = b.mul(like(), 0.5), is_less = b.binary(Op::less, x, limit);
        return b.select(is_less, x, other);
      }
      case 6:
        for (NodeId matrix : pool)
          if (type.rank() == 2 && type.has_rows() && body.type(matrix) == Type{DType::f32, {width_, width_}}) return b.contract(x, matrix, {0, 1}, {2, 1}, {0, 2});
        return b.neg(x);
      case 7: return type.rank() > 0 ? b.mul(b.reduce(Op::reduce_sum, x, {type.rank() - 1}), 0.25) : b.unary(Op::cos, x);
      case 8: return type.rank() == 1 && !type.has_rows() ? b.broadcast(x, {{1, true}, type.shape[0]}, {1}) : b.unary(Op::cos, x);
      default: return type.rank() == 0 ? b.broadcast(x, {width_}, {}) : b.mul(x, 0.7);
    }
  }

  const Extent width_;
  RandomStream random_;
};

/// `width`: of vectors and matrices.
inline RandomScan random_scan(uint64_t seed, int64_t width = 3) { return ScanMaker(seed, width).make(); }

}  // namespace nnc::test
