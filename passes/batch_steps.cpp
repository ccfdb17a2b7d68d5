// A batching rule says where the axis of steps goes (as `vmap` of JAX does: https://docs.jax.dev, "Automatic vectorization"): attributes that name axes count it, index notation gets a
// label for it. It stands behind the rows, so it moves by one where an operation loses the rows or brings them in.
#include "passes/batch_steps.h"

#include <algorithm>

#include "base/check.h"
#include "ir/op_rules.h"
#include "ir/regions.h"

namespace nnc {
namespace {

/// An axis of a value as an axis of the sequence, whose steps are axis `steps_at`.
int with_steps(int axis, int steps_at) { return axis >= steps_at ? axis + 1 : axis; }

std::vector<int> with_steps(std::vector<int> axes, int steps_at) {
  for (int& axis : axes) axis = with_steps(axis, steps_at);
  return axes;
}

/// A label that the operation does not use; label_count if it uses all.
int free_label(const Attributes& a) {
  int label = 0;
  auto is_used = [&](const std::vector<int>& labels) { return std::ranges::find(labels, label) != labels.end(); };
  while (label < label_count && (is_used(a.lhs) || is_used(a.rhs) || is_used(a.out))) ++label;
  return label;
}

bool has_room(const Type& type, int64_t steps) {
  int64_t elements = steps;
  for (const Extent& e : type.shape) {
    const int64_t size = std::max<int64_t>(e.size, 1);
    if (elements > max_elements / size) return false;
    elements *= size;
  }
  return true;
}

}  // namespace

bool has_batching_rule(const Graph& body, NodeId id, int64_t steps) {
  const Node& node = body[id];
  if (!has_room(node.type, steps)) return false;
  switch (op_class(node.op)) {
    case OpClass::leaf:
    case OpClass::unary:
    case OpClass::binary:
    case OpClass::compare:
    case OpClass::select:
    case OpClass::reduce: return true;
    default: break;
  }
  switch (node.op) {
    case Op::broadcast:
    case Op::transpose:
    case Op::slice:
    case Op::pad:
    case Op::window: return true;
    case Op::reshape: return !node.type.has_rows() || node.type.shape[0] == body.type(node.operands[0]).shape[0];  // else steps would stand within the rows
    case Op::contract:
    case Op::gather: return free_label(node.attributes) < label_count;
    case Op::scatter_add: return free_label(node.attributes) < label_count && has_room(body.type(node.operands[0]), steps);
    default: return false;
  }
}

NodeId as_sequence(Builder& b, StepsValue value, int64_t steps) {
  if (value.is_sequence) return value.node;
  const Type type = sequence_type(b.graph.type(value.node), steps);
  std::vector<int> axes;
  for (int axis = 0; axis < type.rank(); ++axis)
    if (axis != step_axis(type)) axes.push_back(axis);
  return b.broadcast(value.node, type.shape, axes);
}

StepsValue batch_steps(Graph& graph, const Graph& body, NodeId id, const std::vector<StepsValue>& in, int64_t steps) {
  const Node& node = body[id];
  Builder b(graph, node.span, node.scope);
  std::vector<NodeId> operands;
  for (const StepsValue& value : in) operands.push_back(value.node);
  Attributes a = node.attributes;
  if (std::ranges::none_of(in, &StepsValue::is_sequence)) return {graph.add(node.op, std::move(operands), std::move(a), node.span, node.scope), false};

  const Extent all{steps, false};
  const int at = step_axis(node.type), from = step_axis(body.type(node.operands[0]));  // where steps are in the result, and in the first operand
  auto label_steps = [&](std::vector<int>& labels, int place, int label) { labels.insert(labels.begin() + place, label); };
  auto make_sequence = [&](size_t k) { operands[k] = as_sequence(b, in[k], steps); };
  switch (node.op) {
    case Op::broadcast:
      a.axes = with_steps(a.axes, at);
      a.axes.insert(a.axes.begin() + from, at);
      a.extents.insert(a.extents.begin() + at, all);
      break;
    case Op::transpose:
      a.axes = with_steps(a.axes, at);
      a.axes.insert(a.axes.begin() + at, at);
      break;
    case Op::reshape: a.extents.insert(a.extents.begin() + at, all); break;
    case Op::slice:
    case Op::pad:
    case Op::window: a.axes = with_steps(a.axes, at); break;
    case Op::scatter_add: make_sequence(0); [[fallthrough]];
    case Op::contract:
    case Op::gather: {
      const int label = free_label(a);
      if (in[0].is_sequence || node.op == Op::scatter_add) label_steps(a.lhs, from, label);
      if (in[1].is_sequence) label_steps(a.rhs, step_axis(body.type(node.operands[1])), label);
      label_steps(a.out, at, label);
      if (node.op == Op::gather && in[0].is_sequence) a.axes = with_steps(a.axes, from);
      if (node.op == Op::scatter_add) {
        a.axes = with_steps(a.axes, at);
        a.extents.insert(a.extents.begin() + at, all);
      }
      break;
    }
    default:
      if (op_class(node.op) == OpClass::reduce) {
        a.axes = with_steps(a.axes, from);
        break;
      }
      NNC_CHECK(is_elementwise(node.op), "no batching rule for " + std::string(op_name(node.op)));
      for (size_t k = 0; k < operands.size(); ++k) make_sequence(k);
  }
  return {graph.add(node.op, std::move(operands), std::move(a), node.span, node.scope), true};
}

}  // namespace nnc
