// Which contractions have the rows of the batch as the rows of their register tiles, images at one pixel, so that their kernel can sum over them.
#pragma once

#include "ir/graph.h"

namespace nnc {

/// A convolution whose images have borders: these are bounds of loops only where the rows of a tile stand at one pixel (lower_contract.cpp, rows_last).
bool has_row_tiles(const Graph&, const Node& contract);
/// Whether the value is such a contraction's result, or made of it by a bias, an activation or the like: light operations that read nothing else of its size. With more,
/// a whole tile's epilogue would be too long for registers (contract_plan.cpp), and cost more than a kernel that reads the value again (measured: the sums of batch
/// norm's gradient, of which both factors stand in memory, twice as much).
bool follows_row_tiles(const Graph&, NodeId);
/// Whether `node` is a sum over the rows, and these alone, of such a value.
bool is_row_sum(const Graph&, const Node& node);

}  // namespace nnc
