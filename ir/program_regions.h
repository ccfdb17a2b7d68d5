// Who asks about the regions of a program: which of them stand around a kernel, in which order kernels run.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "ir/program.h"

namespace nnc {

/// Numbers of the regions around a kernel, outermost first.
std::vector<size_t> regions_around(const Program&, size_t kernel);
/// How often a kernel runs in a step.
int64_t rounds_of(const Program&, size_t kernel);
/// Visits kernels as they run, with the index of each region around them, outermost first.
void for_each_round(const Program&, const std::function<void(size_t kernel, const std::vector<int64_t>& rounds)>& visit);
/// Kernels in order, those of a region twice (of nested regions four times): all that may follow one another does.
std::vector<size_t> kernels_in_two_rounds(const Program&);

/// What a slot covers of the buffer it is a part of, in elements: [begin, end).
struct SlotRange {
  int64_t begin = 0, end = 0;
  bool meets(const SlotRange& other) const { return begin < other.end && other.begin < end; }
};
/// Over all rounds of `regions` (those around a kernel, outermost first) from number `from` on, the outer ones in round 0. A buffer with memory of its own covers itself.
SlotRange slot_range(const Program&, BufferId, const std::vector<size_t>& regions, size_t from);

}  // namespace nnc
