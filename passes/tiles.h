// Register tiles, cache blocks and packing of a contraction, from target, shape and strides alone.
//
// Requires: axes, operands' code and epilogue of the kernel are final; buffers of the program have their kinds and types.
// Guarantees: mr * nr accumulators and the vectors of b fit the target's registers; operands that a register tile cannot read in
// place are packed. None of it changes a bit of any result: the order over k follows from the shape alone (ir/sum_order.h).
#pragma once

#include "ir/program.h"

namespace nnc {

/// How an operand's value lies in memory, in elements. `across` is the last axis of m for a, n for b.
struct OperandLayout {
  bool readable = false;      ///< one affine f32 load: the register tile can read it in place (b: with stride 1 along n)
  int64_t across_stride = 0;  ///< of its first load; 0 where a row of a field is looked up
  int64_t k_stride = 0;       ///< along the last axis of k
  bool guarded = false;       ///< readable, and has guards, which a packed panel would not have
};

struct TileRequest {
  int64_t m = 1, n = 1, k = 1;                          ///< for the planned rows; m: of the last axis of m, k: of all its axes as one
  int64_t lines = 1;                                    ///< of the other axes of m as one
  int64_t k_run = 1;                                    ///< of the last axis of k
  bool m_rows = false, n_rows = false, k_rows = false;  ///< that many at most: the extent depends on the rows of the batch
  int64_t batch = 1;                                    ///< product of the batch axes
  bool row_sums = false;                                ///< the epilogue sums over m, of which a block then has all
  int64_t row_chain = 0;                                ///< then: chains of these sums are multiples of it; 0: there is one chain
  int64_t m_step = 0, n_step = 0;                       ///< by a limit of the axis a block begins and ends with a multiple of it; 0: there is none
  OperandLayout a, b;
  int epilogue = 1;  ///< instructions of the epilogue
};

struct TileChoice {
  int mr = 1, nr = 1;
  int64_t mc = 1, nc = 1, kc = 1;
  bool pack_a = false, pack_b = false;
};

TileChoice choose_tiles(const Target&, const TileRequest&);

TileRequest tile_request(const Program&, const ContractKernel&);
/// Sets mr, nr, mc, nc, kc and the operands' pack.
void choose_tiles(const Program&, ContractKernel&);

}  // namespace nnc
