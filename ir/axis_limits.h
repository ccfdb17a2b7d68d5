// Limits of axes: a loop nest in the form of a triangle. Of an axis those indices are there that are below step * (i + 1), or from step * i, where i is the index of another axis.
// What a causal mask makes zero is then neither computed nor summed: the queries of a block see the keys up to the block's end.
//
// Where limits may stand (P19 of verify_program.cpp):
//   - in a contraction on the last axis of m, on n, and on the axis of k if it is the only one, each by an axis of the batch;
//   - in a map kernel on inner axes, each by an outer one that is not the vector axis, and then only as `below`.
// So a limit is one number for a piece of work, or for a pass through an inner loop: the begin or the end of a loop. Neither axis has rows, and at each index of the other axis
// some index is there. Kernels with a limit sum over no rows of tiles, take no indices together, and have no argmax, no chains and, in what they limit, no guards.
//
// Operands of a contraction may be evaluated at indices of m and n that are not there, as loads of what lies in the buffer: nothing follows from the values. Terms of k
// that are not there are not evaluated.
#pragma once

#include <algorithm>

#include "ir/program.h"
#include "ir/verify_memory.h"

namespace nnc {

inline constexpr int64_t max_limit_step = int64_t(1) << 40;

struct IndexRange {
  int64_t begin, end;
  bool has(int64_t index) const { return index >= begin && index < end; }
};

/// Which indices of an axis without rows there are, `by`: the index of the axis that its limit names. All of them, if it has none.
inline IndexRange indices_at(const Axis& axis, int64_t by) {
  const int64_t size = axis.extent.size;
  if (axis.limit.axis < 0) return {0, size};
  if (axis.limit.from) return {std::min(size, axis.limit.step * by), size};
  return {0, std::min(size, axis.limit.step * (by + 1))};
}

/// Which part of the points of a kernel is there, from 0 to 1: its work is that part of what it would be without limits.
double share_of_points(const Kernel&);

/// P19.
void check_limits(const Kernel&, FaultList&);

}  // namespace nnc
