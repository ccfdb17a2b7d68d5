// A table over the operations. In a view an axis is kept if as many elements stand before it as before the operand's axis of the same size.
#include "passes/axis_origin.h"

#include <algorithm>

#include "passes/rewrite.h"

namespace nnc {
namespace {

int origin_in_reshape(const Shape& from, const Shape& to, int axis) {
  int64_t before = 1, passed = 1;
  for (int i = 0; i < axis; ++i) before *= to[size_t(i)].size;
  for (size_t i = 0; i < from.size(); ++i) {
    if (passed == before && from[i] == to[size_t(axis)]) return int(i);
    passed *= from[i].size;
  }
  return -1;
}

/// The axis that stands at `axis` once `removed` (ascending) are gone.
int origin_in_reduction(const std::vector<int>& removed, int axis) {
  for (int r : removed)
    if (r <= axis) ++axis;
  return axis;
}

}  // namespace

int axis_origin(const Graph& graph, const Node& node, size_t operand, int axis) {
  const Attributes& a = node.attributes;
  if (is_elementwise(node.op)) return axis;
  switch (node.op) {
    case Op::broadcast: return position_of(a.axes, axis);
    case Op::transpose: return a.axes[size_t(axis)];
    case Op::reshape: return origin_in_reshape(graph.type(node.operands[0]).shape, node.type.shape, axis);
    case Op::slice:
    case Op::pad:
    case Op::window: return axis;
    case Op::reduce_sum:
    case Op::reduce_max:
    case Op::reduce_min:
    case Op::argmax: return origin_in_reduction(a.axes, axis);
    case Op::contract:
    case Op::gather: return position_of(operand == 0 ? a.lhs : a.rhs, a.out[size_t(axis)]);
    default: return -1;
  }
}

}  // namespace nnc
