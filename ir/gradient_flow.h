// Through which operand of which operation does a gradient flow? The frontend asks to say which parameter cannot train, and
// differentiation to know where to go; the answer is a fact about operations (`differentiable` in ops.def) and element types.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace nnc {

/// True if no gradient flows through operand `operand` of the node: an operation without a gradient or with one that is zero
/// everywhere (floor, sign, ...), or an operand or a result that is no float (a condition, an index, a cast from or to an
/// integer). Of a region its body decides: whether a gradient flows from one of the results, through any number of steps.
bool blocks_gradient(const Graph& graph, NodeId node, int operand);

/// [n]: node n is wanted, or a gradient flows through it to one that is. `wanted` are floats.
std::vector<bool> nodes_on_the_way(const Graph& graph, std::vector<bool> wanted);

/// Of the operands of a scan that are wanted and of all its carries: which the gradient of a result depends on. A carry does if its first value is wanted, or if
/// the body makes it of something that does.
std::vector<bool> varying_operands(const Node& scan, const std::vector<bool>& wanted);

}  // namespace nnc
