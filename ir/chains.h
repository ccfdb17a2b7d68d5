// Which places name which entry of a table: what a sum by entries (scatter_add, the gradient of a lookup) walks instead of all places for each entry, or of all entries.
//
// A kernel of one `link` for each place, in the order of the places, makes chains in a buffer of i32; kernels with `linked` read them: an inner loop over all places whose terms
// are absent but where the place is one of the outer index' entry. It visits those alone, in ascending order. With `touched` entries that no place names are left out.
//
// The buffer is not cleared: `slot` of an entry counts if it is below `count` and `touched` there is the entry (Briggs and Torczon, "An efficient representation for sparse
// sets", 1993). So making the chains takes time by places, whatever the number of entries. Place 0 begins anew.
//
//   slot     one for each entry: where it stands in the next three
//   touched  entries that are named, in the order of their first places
//   first    their first place
//   last     their last place
//   next     one for each place: the next one of the same entry, or -1
//   count    how many entries are named
#pragma once

#include <cstdint>
#include <vector>

#include "ir/program.h"

namespace nnc {

struct ChainLayout {
  int64_t entries = 0, places = 0;  ///< of the planned rows; runs of fewer use the first of each part
  int64_t slot() const { return 0; }
  int64_t touched() const { return entries; }
  int64_t first() const { return entries + places; }
  int64_t last() const { return entries + 2 * places; }
  int64_t next() const { return entries + 3 * places; }
  int64_t count() const { return entries + 4 * places; }
  int64_t size() const { return entries + 4 * places + 1; }
};

/// Of a buffer of chains, by its size.
inline ChainLayout chain_layout(const Buffer& buffer, int64_t entries) { return {entries, (buffer.shape[0].size - entries - 1) / 4}; }

/// Makes or walks chains.
inline bool is_of_chains(const Instruction& i) {
  using Kind = Instruction::Kind;
  return i.kind == Kind::link || i.kind == Kind::linked || i.kind == Kind::touched;
}
/// The kernel's `linked` or `touched`; null: it has none.
const Instruction* find_linked(const MapKernel&);
const Instruction* find_touched(const MapKernel&);
/// Each place's number is a sum of its indices, times these: row-major over axes[begin] to axes[end - 1].
std::vector<int64_t> place_strides(const std::vector<Axis>& axes, size_t begin, size_t end, int64_t rows);

}  // namespace nnc
