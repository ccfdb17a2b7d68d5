// Axes of a kernel under other names: one axis as several, rows of tiles as batch indices, operands exchanged. What is computed, and where it is stored, stays.
//
// Requires: a sound kernel, with what each function asks for besides; NNC_CHECK says where it is not given.
// Guarantees: a kernel that computes the same values of the same elements. Sums keep the order of their terms, but for an axis of k that is split: chains end with whole
// runs of a short last axis (sum_order_of). A contraction's tiles, blocks and packing are those of before, which need not fit what is there now: who has finished calls
// choose_tiles (tiles.h).
#pragma once

#include <vector>

#include "ir/program.h"

namespace nnc {

/// Several axes instead of one, slowest first: their joint extent is that of the axis, and rows are the first of them, so an index is a sum of multiples of theirs. Vector lanes, and indices taken together, go to
/// the last. n is one axis: of its parts all but the last become batch axes, the last of them. Not split: an axis along which rows of a field, draws or entries of
/// a table are looked up, one with a limit or by which another one has a limit, that of an argmax, and the rows over which an epilogue sums. Returns where the parts stand, in their order.
std::vector<size_t> split_axis(Kernel&, size_t axis, const std::vector<Extent>& parts);

/// The first axis of a contraction's m, behind which there are more, becomes its last batch axis.
void move_to_batch(Kernel&, size_t axis);

/// Gives the axes another order: place p goes to axis order[p] of before. Outer axes stay outer ones, batch axes batch axes, and so on; a lane axis keeps its place.
void reorder_axes(Kernel&, const std::vector<size_t>& order);

/// Exchanges what m and n are, a and b: for a contraction with one axis of m, whose epilogue sums over no rows.
void swap_operands(Kernel&);

}  // namespace nnc
