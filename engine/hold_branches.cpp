// A graph whose decisions are made: which side of a comparison, which integer, which of several is the largest stands as it is at
// one point, whatever the leaves do. That is the function that differentiation differentiates. Where no decision changes nearby
// it is the graph's own; at a kink or a jump it is the smooth piece that the gradient rules have chosen (gradient_rules.cpp): the
// slope of |x| at 0 is 0, ties share.
#include "engine/hold_branches.h"

#include <cmath>

#include "base/floor_division.h"
#include "ir/interpreter_ops.h"
#include "passes/rewrite.h"
#include "passes/unroll.h"

namespace nnc {
namespace {

/// Steps from one number to another, with slope 0 where it has one.
bool is_step(const Graph& graph, const Node& n) {
  switch (n.op) {
    case Op::sign:
    case Op::floor:
    case Op::ceil:
    case Op::round:
    case Op::floor_div:
    case Op::argmax:
    case Op::equal:
    case Op::not_equal:
    case Op::less:
    case Op::less_equal:
    case Op::greater:
    case Op::greater_equal:
      return true;
    case Op::cast:
      return is_float(graph.type(n.operands[0]).dtype) && !is_float(n.type.dtype);
    default:
      return false;
  }
}

class Holder {
 public:
  Holder(const Graph& graph, const Bindings& bindings, Held held)
      : graph_(graph), held_(held), values_(interpret(graph, bindings, true).values), rebuild_(graph), case_{Graph{}, bindings} {}

  GraphCase hold(const std::vector<NodeId>& results) {
    for (uint32_t i = 0; i < graph_.size(); ++i) rebuild_.to[i] = replacement(NodeId{i});
    case_.graph = std::move(rebuild_.result);
    for (size_t k = 0; k < results.size(); ++k) case_.graph.outputs.push_back({std::to_string(k), rebuild_.to[results[k].value]});
    return std::move(case_);
  }

 private:
  NodeId replacement(NodeId id) {
    const Node& n = graph_[id];
    if (n.op == Op::stop_gradient) return held_.stopped ? leaf(id, "value", n.type, values_[id.value]) : rebuild_.copy(id);
    if (!held_.branches) return rebuild_.copy(id);
    if (is_step(graph_, n)) return leaf(id, "value", n.type, values_[id.value]);
    if (!is_float(n.type.dtype)) return rebuild_.copy(id);  // places that are looked up: nothing moves them
    switch (n.op) {
      case Op::abs:
        return slope_of_abs(id);
      case Op::floor_mod:
        return rest(id);
      case Op::maximum:
      case Op::minimum:
        return winner(id);
      case Op::reduce_max:
      case Op::reduce_min:
        return shares(id);
      default:
        return rebuild_.copy(id);
    }
  }

  /// No name in a program has a space.
  NodeId leaf(NodeId id, const char* what, Type type, Tensor value) {
    std::string name = leaf_name(id, what);
    case_.bindings.inputs[name] = std::move(value);
    return at(id).input(name, std::move(type));
  }
  static std::string leaf_name(NodeId id, const char* what) { return std::string(what) + " of " + std::to_string(id.value); }
  Builder at(NodeId id) { return Builder(rebuild_.result, graph_[id].span, graph_[id].scope); }
  NodeId operand(NodeId id, size_t k) const { return rebuild_.to[graph_[id].operands[k].value]; }
  const Tensor& operand_value(NodeId id, size_t k) const { return values_[graph_[id].operands[k].value]; }

  NodeId slope_of_abs(NodeId id) {
    Tensor slope = operand_value(id, 0);
    for (double& v : slope.values) v = v > 0 ? 1 : v < 0 ? -1 : v;
    NodeId held = leaf(id, "slope", graph_[id].type, std::move(slope));
    return at(id).mul(operand(id, 0), held);
  }

  /// x - y * quotient
  NodeId rest(NodeId id) {
    const Tensor &x = operand_value(id, 0), &y = operand_value(id, 1);
    Tensor quotient = x;
    for (size_t i = 0; i < x.values.size(); ++i) quotient.values[i] = floor_quotient(x.values[i], y.values[i]);
    NodeId held = leaf(id, "quotient", graph_[id].type, std::move(quotient));
    Builder b = at(id);
    return b.sub(operand(id, 0), b.mul(operand(id, 1), held));
  }

  /// Of two; half of their sum where they tie. NaN wins.
  NodeId winner(NodeId id) {
    const Tensor &x = operand_value(id, 0), &y = operand_value(id, 1);
    Type decision{DType::boolean, graph_[id].type.shape};
    Tensor first = make_tensor(DType::boolean, x.shape), tie = first;
    for (size_t i = 0; i < x.values.size(); ++i) {
      double a = x.values[i], b = y.values[i];
      first.values[i] = std::isnan(a) || (graph_[id].op == Op::maximum ? a > b : a < b);
      tie.values[i] = a == b;
    }
    NodeId wins = leaf(id, "first", decision, std::move(first)), ties = leaf(id, "tie", decision, std::move(tie));
    Builder b = at(id);
    return b.select(ties, b.mul(b.add(operand(id, 0), operand(id, 1)), 0.5), b.select(wins, operand(id, 0), operand(id, 1)));
  }

  /// The mean of those that are the largest or smallest.
  NodeId shares(NodeId id) {
    const Tensor &x = operand_value(id, 0), &y = values_[id.value];
    const std::vector<int>& axes = graph_[id].attributes.axes;
    std::vector<int64_t> strides = row_major_strides(x.shape), kept = row_major_strides(y.shape);
    std::vector<size_t> result_of(x.values.size());
    Tensor extreme = make_tensor(DType::boolean, x.shape), share = make_tensor(y.dtype, x.shape);
    std::vector<double> count(y.values.size(), 0);
    for (size_t i = 0; i < x.values.size(); ++i) {
      size_t out = 0;
      for (size_t a = 0; a < x.shape.size(); ++a)
        if (!holds(axes, int(a))) result_of[i] += size_t(int64_t(i) / strides[a] % x.shape[a] * kept[out++]);
      extreme.values[i] = x.values[i] == y.values[result_of[i]];
      count[result_of[i]] += extreme.values[i];
    }
    for (size_t i = 0; i < x.values.size(); ++i) share.values[i] = extreme.values[i] != 0 ? 1 / count[result_of[i]] : 0;
    const Type& type = graph_.type(graph_[id].operands[0]);
    NodeId is_extreme = leaf(id, "extreme", {DType::boolean, type.shape}, std::move(extreme));
    NodeId its_share = leaf(id, "share", type, std::move(share));
    Builder b = at(id);
    NodeId parts = b.select(is_extreme, b.mul(operand(id, 0), its_share), b.constant_like(0, its_share));
    return b.reduce(Op::reduce_sum, parts, axes);
  }

  const Graph& graph_;
  Held held_;
  std::vector<Tensor> values_;
  Rebuild rebuild_;
  GraphCase case_;
};

}  // namespace

GraphCase hold(const Graph& graph, const Bindings& bindings, const std::vector<NodeId>& results, Held held) {
  Graph steps = graph;  // decisions differ from step to step
  std::vector<NodeId> now = results;
  unroll_and_follow(steps, now);
  return Holder(steps, bindings, held).hold(now);
}

bool has_branches(const Graph& graph) {
  for (const Node& n : graph.nodes())
    if (is_step(graph, n) || n.op == Op::abs || n.op == Op::floor_mod || n.op == Op::maximum || n.op == Op::minimum || n.op == Op::reduce_max ||
        n.op == Op::reduce_min || (n.op == Op::scan && has_branches(*n.attributes.body)))
      return true;
  return false;
}

}  // namespace nnc
