// Who asks about the regions of a program: which of them stand around a kernel, in which order kernels run.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ir/program.h"

namespace nnc {

/// Numbers of the regions around a kernel, outermost first.
std::vector<size_t> regions_around(const Program&, size_t kernel);
/// How often a kernel runs in a step.
int64_t rounds_of(const Program&, size_t kernel);
/// A kernel's turn: all that it does, or what it does in one round of the parallel regions around it.
struct Turn {
  size_t kernel = 0;
  const std::vector<int64_t>& rounds;  ///< the index of each region around it, outermost first
  const std::vector<int64_t>& point;   ///< indices of its first axes, over which parallel regions go
  bool begins = false;                 ///< the first kernel of a round of an outermost parallel region
};
/// Visits kernels as they run, rounds of parallel regions one after the other, with so many rows.
void for_each_turn(const Program&, int64_t rows, const std::function<void(const Turn&)>& visit);
/// Whether a buffer is a partial sum's.
bool is_partial(const Program&, BufferId);
/// A step may stop for shares of a batch to exchange parts of sums: its kernels are cut where one, or a region, reads a partial sum that kernels before it store. The first kernel of each segment,
/// ascending from 0; {0} where nothing is exchanged.
std::vector<size_t> segments_of(const Program&);

/// Kernels in order, those of a region twice (of nested regions four times): all that may follow one another does.
std::vector<size_t> kernels_in_two_rounds(const Program&);

/// Which parallel region stands in which, found once for who asks about many kernels. Requires that they are nested or apart.
class ParallelNesting {
 public:
  static constexpr size_t none = SIZE_MAX;
  explicit ParallelNesting(const Program&);
  size_t innermost(size_t kernel) const { return innermost_[kernel]; }
  size_t around(size_t region) const { return around_[region]; }
  /// The innermost one around kernels `first` to `last`.
  size_t innermost(size_t first, size_t last) const;

 private:
  const Program& program_;
  std::vector<size_t> innermost_, around_;  ///< by kernel, by region
};

/// The number of the innermost parallel region around kernels `first` to `last`.
std::optional<size_t> innermost_parallel_region(const Program&, size_t first, size_t last);
/// Whether a kernel stands in a parallel region behind its first kernel, where no thread waits for others.
bool continues_round(const Program&, size_t kernel);
/// How many axes of a kernel parallel regions go over.
int round_axes(const Program&, size_t kernel);

/// How many elements a buffer's strides go over, of a field those of a row. That is how many it has, or, if it has none, as many as if each axis without indices had one
/// (buffer_strides): so the slots of what has no elements stand side by side like any others, and have the order of any others.
int64_t stretch_of(const Buffer&, int64_t rows);

/// What a slot covers of the buffer it is a part of, in elements: [begin, end); its stretch, where it has none.
struct SlotRange {
  int64_t begin = 0, end = 0;
  bool meets(const SlotRange& other) const { return begin < other.end && other.begin < end; }
};
/// Over all rounds of `regions` (those around a kernel, outermost first) from number `from` on, the outer ones in round 0. A buffer with memory of its own covers itself.
SlotRange slot_range(const Program&, BufferId, const std::vector<size_t>& regions, size_t from);

}  // namespace nnc
