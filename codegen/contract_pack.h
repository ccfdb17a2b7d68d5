// Packing: a block of one operand of a contraction, evaluated with its prologue into panels that the register tile reads
// contiguously.
#pragma once

#include <vector>

#include "codegen/emitter.h"
#include "codegen/joint_axes.h"

namespace nnc {

/// A block [across][k] of an operand, where `across` is the operand's other axis: the last of m for a, n for b. k is all its axes as one.
/// Panel p holds across indices first + p * width ... as [k][width] of f32; a last panel that is not full has unspecified values
/// in the rest.
struct PackJob {
  const Operand* operand = nullptr;
  int across_axis = 0;
  JointAxes k_axes;
  std::vector<llvm::Value*> index;                     ///< of the batch axes and the outer ones of m; as long as the kernel has axes
  llvm::Value *first = nullptr, *count = nullptr;      ///< i64, across: begin and length (>= 1) of the block
  llvm::Value *k_first = nullptr, *k_count = nullptr;  ///< i64, k
  int64_t k_min = 1, k_max = 1;                        ///< what is known of k_count
  int64_t count_max = 1;                               ///< what is known of count
  bool whole_panels = false;                           ///< count is surely a multiple of width
  int width = 1;
  int64_t panel_bytes = 0;  ///< from one panel to the next
  llvm::Value* panels = nullptr;
};

void emit_pack(Emitter&, const PackJob&);

/// Rows of data fields that lie anywhere in memory, where across is the batch's rows: asks for rows first .. end - 1, the whole
/// of k. Whether there are such loads is `gathers_rows`.
void emit_prefetch_rows(Emitter&, const PackJob&, llvm::Value* first, llvm::Value* end);
bool gathers_rows(const Operand&, int across_axis);

/// The operand is one f32 load that a register tile can read in place: its address is affine in across and k.
bool directly_readable(const Program&, const ContractKernel&, const Operand&);

}  // namespace nnc
