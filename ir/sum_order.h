// The order in which the terms of a sum are added: pieces and chains. One accumulator over n equal terms loses the digits of every later term (at 10^7 terms
// of f32 hardly one is left); a tree over short chains keeps them (N. Higham, "The accuracy of floating point summation", 1993).
//
// Pieces cut the rows of the planned batch; within a piece a chain adds at most so many terms to one accumulator. The chains of a piece are joined by a binary
// tree, then the pieces by another. The order follows from the shape alone: never from a cache's size, a thread, or how many rows a batch really has (fewer
// rows leave out the last chains). A tree is a binary counter: what is finished as number u takes up the partial sum of every trailing one bit of u
// and waits at the level of u's lowest zero bit; the last takes up what still waits, lowest level first.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "ir/graph.h"

namespace nnc {

/// Most terms that one accumulator of a reduction, of a contraction adds up. A contraction's are more, since a register tile is put aside between chains.
inline constexpr int64_t reduction_chain = 256;
inline constexpr int64_t contraction_chain = 1024;

/// Into how many pieces the rows of a batch are cut where nobody says: the largest power of two that leaves 128 rows to each; at least 1, at most 64.
inline int64_t pieces_of(int64_t rows) { return int64_t(std::bit_floor(uint64_t(std::clamp<int64_t>(rows / 128, 1, 64)))); }
/// Rows of each of so many pieces; the last may have fewer, and where rows are few the last ones none.
inline int64_t piece_rows(int64_t rows, int64_t pieces) { return std::max<int64_t>(1, (rows + pieces - 1) / pieces); }

/// The rows that something is planned for. A run may have a share of a batch: what decides the order of a sum is the whole of it and its pieces; a share is whole pieces,
/// so that what it adds up is a part of the tree over all.
struct PlannedRows {
  int64_t most = 1;   ///< rows of a run at most: what there is memory for
  int64_t whole = 1;  ///< of the batch, of which a run has all or a share
  int64_t piece = 1;  ///< of a piece
  PlannedRows(int64_t rows) : PlannedRows(rows, rows, piece_rows(rows, pieces_of(rows))) {}
  PlannedRows(int64_t most, int64_t whole, int64_t piece) : most(most), whole(whole), piece(piece) {}
  int64_t pieces() const { return (whole + piece - 1) / piece; }
  bool operator==(const PlannedRows&) const = default;
};

/// The chains along one axis of `length` planned indices.
struct SumOrder {
  int64_t length = 0;
  int64_t piece = 1;      ///< indices of a piece; `length` along an axis without rows
  int64_t chain = 1;      ///< indices of a chain; the last of a piece may have fewer
  int64_t per_piece = 1;  ///< chains of a whole piece
  int64_t step = 1;       ///< chains are whole multiples of it, where there is more than one

  /// How many chains there are along the first `count` indices. They are numbered through all pieces.
  int64_t chains(int64_t count) const { return count < 1 ? 0 : (count - 1) / piece * per_piece + (count - 1) % piece / chain + 1; }
  /// Levels of the tree over the chains of a piece, of the one over pieces: partial sums that wait at the same time.
  int chain_levels() const { return int(std::bit_width(uint64_t(per_piece - 1))); }
  int piece_levels() const { return int(std::bit_width(uint64_t(std::max<int64_t>(length - 1, 0) / piece))); }
  bool cuts() const { return chain_levels() + piece_levels() > 0; }
};

/// Along an axis: rows are cut into pieces, then pieces into even chains of at most `most` indices, whole multiples of `step` (which divides `most`).
inline SumOrder sum_order(Extent extent, PlannedRows rows, int64_t most, int64_t step = 1) {
  auto parts = [](int64_t whole, int64_t part) { return whole / part + (whole % part != 0); };
  SumOrder order;
  order.length = extent.at(rows.most);
  order.piece = std::max<int64_t>(1, extent.rows ? rows.piece * extent.size : order.length);
  order.chain = parts(parts(order.piece, parts(order.piece, most)), step) * step;
  order.per_piece = parts(order.piece, order.chain);
  order.step = step;
  return order;
}

/// The length nearest to `block`, not above it where that can be, that a contraction may go over at once: a part of a chain in whole steps, or chains by a power
/// of two where pieces have one each, so that a tree's lower levels end within a block. All of it where `block` holds all.
inline int64_t chain_block(const SumOrder& order, int64_t block) {
  if (block >= order.length) return std::max<int64_t>(order.length, 1);
  if (block < order.chain) {
    int64_t parts = (order.chain + block - 1) / block;
    int64_t part = (order.chain + parts - 1) / parts;
    return (part + order.step - 1) / order.step * order.step;
  }
  return order.per_piece > 1 ? order.chain : int64_t(std::bit_floor(uint64_t(block / order.chain))) * order.chain;
}

/// Pieces alone, each one chain.
inline SumOrder piece_order(Extent extent, PlannedRows rows) { return sum_order(extent, rows, INT64_MAX); }

}  // namespace nnc
