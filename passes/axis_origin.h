// Which axis of an operand an axis of the result is: where the result's element at index i along it is made of the operand's elements at index i along that one (of a window, a slice, a pad: at an index
// that follows from i), whatever the other indices are.
#pragma once

#include "ir/graph.h"

namespace nnc {

/// The operand's axis; -1 if there is none: the axis is new, joined with others or cut from one, or belongs to another operand. Of regions always -1.
int axis_origin(const Graph&, const Node&, size_t operand, int axis);

}  // namespace nnc
