// Rules about views: compositions of broadcast, transpose, reshape and slice, and computing before a value is repeated rather
// than after.
#include <algorithm>

#include "passes/simplify_rules.h"

namespace nnc {

#define RULE(name) NodeId simplify_##name(Candidate& c)

RULE(nothing_moved) {
  switch (c.op()) {
    case Op::broadcast:
    case Op::reshape:
    case Op::slice:
    case Op::pad:
      return c.type(c.x(0)) == c.node.type ? c.x(0) : NodeId{};
    case Op::window: {
      const Attributes& a = c.node.attributes;
      const bool one_element = a.axes.size() == 1 || c.node.type.shape[size_t(a.axes[1])].size == 1;
      return c.type(c.x(0)) == c.node.type && one_element && a.begin == 0 && a.stride == 1 && a.divide == 1 ? c.x(0) : NodeId{};
    }
    case Op::transpose:
      return c.node.attributes.axes == identity_axes(c.node.type.rank()) ? c.x(0) : NodeId{};
    default:
      return {};
  }
}

RULE(broadcast_twice) {
  if (c.op() != Op::broadcast || c.op_of(0) != Op::broadcast) return {};
  Node inner = c.def(0);
  std::vector<int> axes;
  for (int axis : inner.attributes.axes) axes.push_back(c.node.attributes.axes[size_t(axis)]);
  return c.b.broadcast(inner.operands[0], c.node.type.shape, axes);
}

RULE(transpose_twice) {
  if (c.op() != Op::transpose || c.op_of(0) != Op::transpose) return {};
  Node inner = c.def(0);
  std::vector<int> axes;
  for (int axis : c.node.attributes.axes) axes.push_back(inner.attributes.axes[size_t(axis)]);
  return c.b.transpose(inner.operands[0], axes);
}

RULE(reshape_twice) {
  if (c.op() != Op::reshape || c.op_of(0) != Op::reshape) return {};
  NodeId source = c.def(0).operands[0];
  return c.b.reshape(source, c.node.type.shape);
}

RULE(reshape_spread) {
  if (c.op() != Op::reshape) return {};
  const Shape &from = c.type(c.x(0)).shape, &to = c.node.type.shape;
  std::vector<int> axes;
  for (size_t axis = 0; axis < to.size(); ++axis)
    if (axes.size() < from.size() && to[axis] == from[axes.size()]) axes.push_back(int(axis));
  return axes.size() == from.size() ? c.b.broadcast(c.x(0), to, axes) : NodeId{};
}

RULE(reshape_of_spread) {
  if (c.op() != Op::reshape || c.op_of(0) != Op::broadcast) return {};
  const NodeId source = c.def(0).operands[0];
  const Type &from = c.type(source), &spread = c.type(c.x(0));
  const bool repeats = from.has_rows() != spread.has_rows() || from.elements(1) != spread.elements(1);
  return repeats ? NodeId{} : c.b.reshape(source, c.node.type.shape);
}

RULE(reshape_number) {
  if (c.op() != Op::reshape || c.op_of(0) != Op::broadcast || !c.def(0).attributes.axes.empty()) return {};
  NodeId number = c.def(0).operands[0];
  return c.b.broadcast(number, c.node.type.shape, {});
}

RULE(slice_twice) {
  if (c.op() != Op::slice || c.op_of(0) != Op::slice) return {};
  Node inner = c.def(0);
  int axis = c.node.attributes.axes[0];
  if (inner.attributes.axes[0] != axis) return {};
  return c.b.slice(inner.operands[0], axis, inner.attributes.begin + c.node.attributes.begin, c.node.attributes.extents[0]);
}

RULE(slice_broadcast) {
  if (c.op() != Op::slice || c.op_of(0) != Op::broadcast) return {};
  Node inner = c.def(0);
  if (holds(inner.attributes.axes, c.node.attributes.axes[0])) return {};
  return c.b.broadcast(inner.operands[0], c.node.type.shape, inner.attributes.axes);
}

RULE(transpose_broadcast) {
  if (c.op() != Op::transpose || c.op_of(0) != Op::broadcast) return {};
  Node inner = c.def(0);
  // Result axis i is the broadcast's axis axes[i], which is the source's axis p for axes[i] = inner.axes[p], or repeated.
  return align_labels(c.b, inner.operands[0], inner.attributes.axes, c.node.attributes.axes, c.node.type.shape);
}

RULE(sink_into_broadcast) {
  if (!is_elementwise(c.op()) || c.node.type.rank() == 0) return {};
  std::vector<Repeated> operands;
  std::vector<int> kept;
  for (NodeId x : c.node.operands) {
    std::optional<Repeated> r = as_repeated(c, x);
    if (!r) return {};
    for (int axis : r->axes)
      if (!holds(kept, axis)) kept.push_back(axis);
    operands.push_back(std::move(*r));
  }
  if (int(kept.size()) == c.node.type.rank()) return {};
  std::sort(kept.begin(), kept.end());
  Shape small;
  for (int axis : kept) small.push_back(c.node.type.shape[size_t(axis)]);
  std::vector<NodeId> sources;
  for (size_t i = 0; i < operands.size(); ++i)
    sources.push_back(
        align_labels(c.b, source_of(c, operands[i], c.type(c.node.operands[i]).dtype), operands[i].axes, kept, small));
  return c.b.broadcast(c.same_op(sources), c.node.type.shape, kept);
}

RULE(sink_into_transpose) {
  if (!is_elementwise(c.op())) return {};
  const std::vector<int>* axes = nullptr;
  for (NodeId x : c.node.operands) {
    if (c.number(x)) continue;
    const Node& node = c.def(x);
    if (node.op != Op::transpose || c.uses(x) > 1 || (axes && *axes != node.attributes.axes)) return {};
    axes = &node.attributes.axes;
  }
  if (!axes) return {};
  std::vector<int> order = *axes;
  Shape shape;
  for (NodeId x : c.node.operands)
    if (!c.number(x)) shape = c.type(c.def(x).operands[0]).shape;
  std::vector<NodeId> sources;
  for (NodeId x : c.node.operands) {
    std::optional<Number> number = c.number(x);
    sources.push_back(number ? c.b.constant(*number, {c.type(x).dtype, shape}) : c.def(x).operands[0]);
  }
  return c.b.transpose(c.same_op(sources), order);
}

}  // namespace nnc
