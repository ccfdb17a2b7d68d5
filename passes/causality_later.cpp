// What is known of the elements at s > t: asked from a sum back to the mask, with what was found kept. Numbers come from constants seen through views, from masks whose conditions the interpreter evaluates,
// and from arithmetic on them; a number is kept only where every engine has exactly the same, in 32 bits and in 64.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/interpreter.h"
#include "passes/axis_origin.h"
#include "passes/causality.h"
#include "passes/known_numbers.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

using Later = Causality::Later;
using Kind = Causality::Later::Kind;

Later known(Number number) { return {Kind::number, number}; }
bool is(const Later& l, double number) { return l.kind == Kind::number && double(l.number) == number; }

/// The node alone, with what it is computed of.
Graph cone_of(const Graph& graph, NodeId id) {
  Graph lone;
  lone.outputs = {{"value", id}};
  std::vector<bool> needed(id.value + 1);
  needed[id.value] = true;
  for (uint32_t i = id.value + 1; i-- > 0;)
    if (needed[i])
      for (NodeId o : graph[NodeId{i}].operands) needed[o.value] = true;
  std::vector<NodeId> to(id.value + 1);
  for (uint32_t i = 0; i <= id.value; ++i) {
    if (!needed[i]) continue;
    Node node = graph[NodeId{i}];
    for (NodeId& o : node.operands) o = to[o.value];
    to[i] = add_node(lone, node);
  }
  lone.outputs[0].node = to[id.value];
  return lone;
}

}  // namespace

Later Causality::later(NodeId id, int t, int s) {
  const auto key = std::make_tuple(id.value, t, s);
  if (auto it = known_.find(key); it != known_.end()) return it->second;
  return known_[key] = find_later(id, t, s);
}

Later Causality::find_later(NodeId id, int t, int s) {
  if (const std::optional<Number> number = splat_value(graph_, id)) return known(*number);
  Later l = later_of_rule(id, t, s);
  if (l.kind != Kind::number && computable_[id.value]) l = look_at_numbers(id, t, s);
  if (l.kind == Kind::unknown && !has_position(id, s)) l.kind = Kind::not_by_s;
  return l;
}

Later Causality::later_of_rule(NodeId id, int t, int s) {
  const Node& node = graph_[id];
  const Attributes& a = node.attributes;
  if (is_elementwise(node.op)) return later_elementwise(id, t, s);
  const auto goes_along = [&](int axis) { return axis == t || axis == s; };
  switch (node.op) {
    case Op::broadcast:
    case Op::transpose:
    case Op::reshape: return later_of_operand(id, 0, t, s);
    case Op::slice: return goes_along(a.axes[0]) && a.begin != 0 ? Later{} : later_of_operand(id, 0, t, s);
    case Op::pad:
    case Op::window: {
      if (std::ranges::any_of(a.axes, goes_along)) return {};
      const Later l = later_of_operand(id, 0, t, s);
      const Number outside = node.op == Op::pad ? Number(0) : a.number;
      return l.kind == Kind::number && !(l.number == outside) ? Later{Kind::not_by_s, {}} : l;
    }
    case Op::reduce_sum:
    case Op::reduce_max:
    case Op::reduce_min: return later_reduction(id, t, s);
    case Op::contract: return product_later(id, a.out[size_t(t)], a.out[size_t(s)]);
    case Op::gather: {
      const Later table = later_by_labels(node.operands[0], a.lhs, a.out[size_t(t)], a.out[size_t(s)]), index = later_by_labels(node.operands[1], a.rhs, a.out[size_t(t)], a.out[size_t(s)]);
      return table.kind != Kind::unknown && index.kind != Kind::unknown ? Later{Kind::not_by_s, {}} : Later{};
    }
    default: return {};
  }
}

Later Causality::later_of_operand(NodeId id, size_t operand, int t, int s) {
  const Node& node = graph_[id];
  const int from_t = axis_origin(graph_, node, operand, t), from_s = axis_origin(graph_, node, operand, s);
  return from_t < 0 || from_s < 0 ? Later{} : later(node.operands[operand], from_t, from_s);
}

Later Causality::later_elementwise(NodeId id, int t, int s) {
  const Node& node = graph_[id];
  std::vector<Later> of;
  for (NodeId o : node.operands) of.push_back(later(o, t, s));
  const bool none_by_s = std::ranges::none_of(of, [](const Later& l) { return l.kind == Kind::unknown; });
  if (node.op == Op::select) {
    if (of[0].kind == Kind::number) return of[double(of[0].number) != 0 ? 1 : 2];
    if (of[1].kind == Kind::number && of[2].kind == Kind::number && same_bits(of[1].number, of[2].number)) return of[1];
    return none_by_s ? Later{Kind::not_by_s, {}} : Later{};
  }
  if (std::ranges::all_of(of, [](const Later& l) { return l.kind == Kind::number; })) {
    std::vector<Number> numbers;
    for (const Later& l : of) numbers.push_back(l.number);
    if (const std::optional<Number> number = number_everywhere(node.op, graph_.type(node.operands[0]).dtype, node.type.dtype, numbers)) return known(*number);
    return {Kind::not_by_s, {}};
  }
  for (size_t k = 0; k < of.size(); ++k)
    if (of[k].kind == Kind::number)
      if (const std::optional<Number> number = deciding(node.op, k, of[k].number)) return known(*number);
  return none_by_s ? Later{Kind::not_by_s, {}} : Later{};
}

Later Causality::later_reduction(NodeId id, int t, int s) {
  const Node& node = graph_[id];
  const NodeId from = node.operands[0];
  const Later l = later_of_operand(id, 0, t, s);
  if (l.kind == Kind::number && (node.op != Op::reduce_sum || is(l, 0))) return l;
  // Another axis of positions is gone: its elements may have what they do not have by s.
  const bool loses_positions = std::ranges::any_of(node.attributes.axes, [&](int axis) { return has_position(from, axis); });
  return l.kind == Kind::unknown || loses_positions ? Later{} : Later{Kind::not_by_s, {}};
}

Later Causality::later_by_labels(NodeId id, const std::vector<int>& labels, int t_label, int s_label) {
  const int t = position_of(labels, t_label), s = position_of(labels, s_label);
  if (t >= 0 && s >= 0) return later(id, t, s);
  if (const std::optional<Number> number = splat_value(graph_, id)) return known(*number);
  return has_position(id, s) ? Later{} : Later{Kind::not_by_s, {}};
}

/// Of the products that a contraction sums, or of their sum where both labels are the result's.
Later Causality::product_later(NodeId id, int t_label, int s_label) {
  const Node& node = graph_[id];
  const Attributes& a = node.attributes;
  const Later left = later_by_labels(node.operands[0], a.lhs, t_label, s_label), right = later_by_labels(node.operands[1], a.rhs, t_label, s_label);
  if (is(left, 0) || is(right, 0)) return known(0);
  if (left.kind == Kind::unknown || right.kind == Kind::unknown) return {};
  const auto is_lost = [&](NodeId operand, const std::vector<int>& labels) {
    return std::ranges::any_of(positions_[operand.value], [&](int axis) { return labels[size_t(axis)] != s_label && !holds(a.out, labels[size_t(axis)]); });
  };
  return is_lost(node.operands[0], a.lhs) || is_lost(node.operands[1], a.rhs) ? Later{} : Later{Kind::not_by_s, {}};
}

/// Of what no data decides: as the interpreter has it.
Later Causality::look_at_numbers(NodeId id, int t, int s) {
  const Results results = interpret(cone_of(graph_, id), {});
  const Tensor& value = results.outputs.at("value");
  std::vector<int64_t> stride(value.shape.size(), 1);
  for (size_t i = value.shape.size(); i-- > 1;) stride[i - 1] = stride[i] * value.shape[i];
  std::optional<Number> found;
  for (size_t i = 0; i < value.values.size(); ++i) {
    const auto index = [&](int axis) { return int64_t(i) / stride[size_t(axis)] % value.shape[size_t(axis)]; };
    if (index(s) <= index(t)) continue;
    if (found && !same_bits(*found, value.at(i))) return {Kind::not_by_s, {}};
    found = value.at(i);
  }
  if (!found || !same_bits(rounded_to(value.dtype, *found), *found)) return {Kind::not_by_s, {}};
  return known(*found);
}

}  // namespace nnc
