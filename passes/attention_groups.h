// Attention in a program's kernels: groups of them that have batch axes and scores in common, of which form_regions makes parallel regions (form_regions.h). Internal to the passes that do so.
//
// What is looked for: a product S[b, h, t, s] over batch axes b, h; kernels that go along its rows (a softmax, its gradient); products that sum over one of its axes. All kernels of
// a group have batch axes in common, and most the rows t.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "ir/kernel_code.h"
#include "passes/form_regions.h"

namespace nnc {

/// Of an axis: a kernel does not have it.
inline constexpr int no_axis = -1;

/// A kernel of a group, as it will be: its own copy.
struct Member {
  size_t kernel = 0;                      ///< number in the program
  Kernel copy;
  std::vector<int> batch;                 ///< by batch axis of the group: its axis, or no_axis
  int rows = no_axis, columns = no_axis;  ///< its axes t and s of scores

  /// Goes through scores block by block.
  bool blocked() const;
};

struct Group {
  std::vector<Member> members;   ///< in order
  std::vector<Extent> batch;     ///< extents of the batch axes, first those that all members have
  size_t shared = 0;             ///< how many these are
  int64_t rows = 0, columns = 0; ///< of scores, as the blocked members have them
  std::set<BufferId> scores;     ///< buffers with an element for each row and column
  std::vector<size_t> behind;    ///< kernels between them that read what they make, and will stand behind them

  const Member* member(size_t kernel) const;  ///< null: the kernel is none of them
  bool has(size_t kernel) const { return member(kernel) != nullptr; }
  const Member* maker(BufferId) const;        ///< who of them stores the buffer first; nobody: null
};

/// The groups of a program that stays as it is meanwhile.
class AttentionGroups {
 public:
  AttentionGroups(const Program&, const RegionOptions&);

  /// In order of kernels, apart from one another.
  std::vector<Group> find() const;
  /// The kernels that touch a buffer, in order.
  const std::vector<size_t>& touching(BufferId id) const { return touching_[id.value]; }
  /// Of whose elements all places are known: nobody sees them as a slot.
  bool is_temporary(BufferId) const;
  /// Whether a kernel goes through a buffer that a member stores as members of its group do.
  bool goes_along(const Group&, const Member& maker, BufferId, size_t kernel) const;

 private:
  const Program& program_;
  const RegionOptions& options_;
  std::vector<std::vector<size_t>> touching_;  ///< by buffer: kernels
  std::vector<bool> in_parts_;                 ///< by buffer: it has slots
};

/// Queries of a block; 0: there is no good size.
int64_t query_block(const Group&, const RegionOptions&);

// --- accesses of kernels to a buffer ---

/// A dimension of a buffer that has more than one index.
struct Dimension {
  int64_t stride;
  Extent extent;
};
/// The slowest first.
std::vector<Dimension> dimensions(const Program&, BufferId);
/// Which dimension a stride along an axis of so many indices goes along; -1: not one alone.
int dimension_of(const std::vector<Dimension>&, int64_t stride, int64_t size, int64_t rows);

template <class AnyKernel, class Visit>
void for_each_access_to(AnyKernel& kernel, BufferId id, Visit visit) {
  for_each_instruction(kernel, [&](auto& i) {
    if (i.access.buffer == id) visit(i);
  });
}

bool writes(const Kernel&, BufferId);
bool touches(const Kernel&, BufferId);
/// How far an index of the axis moves the accesses to a buffer, which all move alike.
int64_t stride_of(const Kernel&, BufferId, int axis);
/// Axes that are several dimensions of the buffer at once are made several.
void separate(const Program&, Kernel&, BufferId);

}  // namespace nnc
