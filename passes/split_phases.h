// A contraction with a window that divides (the input's gradient of a convolution with a stride, the transposed convolution) multiplies mostly zeros: of d
// neighbouring results each meets its own taps only. This pass writes the result's index as i = d * i' + r and sums, for each r, over the offsets q of the
// operand at i' + q; the tap that belongs to (r, q) is looked up in a window of the other operand, 0 where there is none. For a kernel of 3 at a stride of 2 two
// offsets are left of three taps at twice as many places. (Polyphase decomposition: Bellanger et al., "Digital filtering by polyphase network", 1976.)
//
// Requires:   simplify has run; store_borders has not.
// Guarantees: values are those of before but for the order of sums; no contraction has a window left that divides by more than its offsets would be.
#pragma once

#include "ir/graph.h"

namespace nnc {

void split_phases(Graph&);

}  // namespace nnc
