// Causal attention without what its mask makes zero. Of two axes of a program's kernels, t and s, that are as long as each other, the elements at s > t are found to be without effect: scores there are -inf,
// weights 0, and no sum sees them. Then t becomes (block, index in it), and s gets the limit that it stays below the end of t's block, or t that it begins with s's.
//
// It looks at code alone: what an element at s > t is follows from comparisons of two indices, selects, and arithmetic on -inf and 0 (known_numbers.h), through temporaries from one
// kernel to the next. So any mask written with indices does, in either orientation, wherever attention stands and whatever it is called.
//
// Requires: a lowered program, before its kernels are put in order. Values that are not known are finite (known_numbers.h).
// Guarantees: kernels that compute the same values of all elements that anybody reads. A kernel gets a limit only if what it leaves out is neutral in each of its sums, and if all who read what it stores
// have the same limit. Results have the bits they had, but for the sign of zeros. Kernels without such a pair of axes stay as they are.
#pragma once

#include "ir/program.h"

namespace nnc {

void limit_axes(Program&);

/// In which blocks axes of `size` indices are limited; 0: not at all, since there are too few indices or they have no whole blocks.
int64_t limit_block(int64_t size, int lanes);

}  // namespace nnc
