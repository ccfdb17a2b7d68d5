// Through which operand of which operation does a gradient flow? The frontend asks to say which parameter cannot train, and
// differentiation to know where to go; the answer is a fact about operations (`differentiable` in ops.def) and element types.
#pragma once

#include "ir/graph.h"

namespace nnc {

/// True if no gradient flows through operand `operand` of the node: an operation without a gradient or with one that is zero
/// everywhere (floor, sign, ...), or an operand or a result that is no float (a condition, an index, a cast from or to an
/// integer).
inline bool blocks_gradient(const Graph& graph, NodeId node, int operand) {
  const Node& n = graph[node];
  if (op_differentiable(n.op) != Differentiable::yes) return true;
  return !is_float(n.type.dtype) || !is_float(graph.type(n.operands[size_t(operand)]).dtype);
}

}  // namespace nnc
