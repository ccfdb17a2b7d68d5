// Arithmetic on numbers that are known before a program runs, as what stands behind a mask is: -inf, the 0 that exp makes of it, and what these make of other values.
//
// Assumed: values that are not known are finite, and what divides is not 0, as wherever a mask multiplies by 0 (docs/numbers.md).
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// Of an element-wise operation, one of whose operands is a number and the others are not known: the result where the number alone decides it (0 * x is 0).
std::optional<Number> deciding(Op, size_t operand, Number);

/// Of numbers alone: the result, if it is the same in 64 bits and in the type's, so that every engine has exactly it. `from`: type of operand 0; at most two operands.
std::optional<Number> number_everywhere(Op, DType from, DType to, const std::vector<Number>& operands);

}  // namespace nnc
