// The plan of one ContractKernel's code: its tiles and blocks, clamped to target and shape, what it packs, and where it keeps what in its scratch memory.
#pragma once

#include <vector>

#include "codegen/joint_axes.h"
#include "ir/program.h"
#include "ir/sum_order.h"

namespace nnc {

struct ContractPlan {
  size_t m_axis, n_axis;  ///< m_axis: the last of m, of which tiles have rows
  JointAxes outer_m, k_axes;
  Extent lines, m, n, k;  ///< lines: the other axes of m as one; k: all of them as one
  int64_t planned_lines, planned_m, planned_n, planned_k;
  int mr, nr;
  int64_t width;  ///< columns of a tile: nr vectors
  int64_t mc, nc, kc;
  int64_t block_lines;  ///< of m in a block; more than one only where mc holds all of a line
  SumOrder order;       ///< along k
  int64_t block_chains; ///< chains of a block of k; 1 where a block is a part of a chain
  bool pack_a, pack_b, split_k;
  std::vector<int> row_sums;  ///< ids of the epilogue's sums over the rows, the last axis of m, of which a block then has all
  SumOrder row_order;         ///< along the rows; tiles end with chains
  bool rows_left, columns_left;  ///< there may be rows, columns that fill no whole tile
  bool masked;                   ///< every tile is masked: n is smaller than a tile's width and no multiple of a vector
  bool ragged_rows, ragged_columns;  ///< by a limit of the axis a block may have any number of rows, columns
  bool late_columns;                 ///< and begin at any column
  bool inline_epilogue;
  bool calls_tiles;  ///< whole tiles are made by a function of their own, too
  bool surplus_rows, surplus_columns;            ///< a tile at the edge may compute rows, columns that do not exist
  int64_t a_panel = 0, b_panel = 0, c_tile = 0;  ///< bytes
  int64_t a_offset = 0, b_offset = 0, c_offset = 0, waiting_offset = 0, sums_offset = 0, scratch = 0;
  int64_t sums_bytes = 0;  ///< of the row sums of a column of tiles; a level of their tree takes as much behind them
  int inner_levels = 0;  ///< levels of the tree that end within a block: tiles share their places
  int outer_levels = 0;  ///< the others: every tile has its own, behind its accumulators
  bool cuts() const { return inner_levels + outer_levels > 0; }
  bool parts() const { return kc < order.chain; }  ///< a chain goes over several blocks
  int64_t tile_places() const { return (1 + outer_levels) * c_tile; }
  int64_t line_tiles() const { return mc / mr; }  ///< tiles of a line in a block
  /// The last vector of b of an edge is read under a mask.
  bool reads_masked(int lanes) const { return !pack_b && (n.size % lanes != 0 || late_columns); }
  /// Of the planned blocks of k, the shortest.
  int64_t shortest_block() const;
};

ContractPlan plan_contract(const Program&, const ContractKernel&);

}  // namespace nnc
