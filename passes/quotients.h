// Values that are quotients, seen through signs and repetitions: -(n / d), and n / d repeated, are divided by d and by d repeated. What gradients have in common is looked for in this
// form, so that a division happens once, behind a sum rather than before it.
#pragma once

#include "ir/graph.h"

namespace nnc {

/// Whether `value` is something divided by `divisor`, which has its type.
bool is_divided_by(const Graph&, NodeId value, NodeId divisor);

/// What `value`, a quotient as above, divides: the same signs and repetitions of its dividend.
NodeId dividend(Builder&, NodeId value);

/// The divisor of a quotient or of its negative; invalid if `value` is neither.
NodeId divisor_of(const Graph&, NodeId value);

/// The sum over axes. A divisor that is the same all along them divides the sum instead: once for each result, not once for each term.
NodeId sum_before_division(Builder&, NodeId value, const std::vector<int>& axes);

}  // namespace nnc
