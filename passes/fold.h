// Constant folding.
//
// Requires:   a verified graph.
// Guarantees: no element-wise operation, shape operation or reduction of constants alone is left (but for results that are NaN,
// or outside the
//             normal numbers of an f32 while all operands are inside); extents known at compile time are constants. Numbers are
//             computed by the interpreter, in 64 bits; code generation rounds a constant to its type. Node ids change.
#pragma once

#include <optional>

#include "ir/graph.h"

namespace nnc {

/// The number in every element of the node, which is not in the graph but whose operands are, if it is computed from constants.
std::optional<Number> fold_node(const Graph&, const Node&);

void fold_constants(Graph&);

}  // namespace nnc
