// Emission of MapKernels: loop nests of element-wise and row-wise code. See map.cpp.
#pragma once

#include "codegen/emitter.h"

namespace nnc {

/// Fills `function` with the kernel's code; the form of the function is described in emitter.h.
void emit_map_kernel(Emitter&, const Kernel&, llvm::Function*);
/// Number of pieces (i64) at a number of rows.
llvm::Value* emit_map_pieces(Emitter&, const Kernel&, llvm::Value* rows);

/// Iterations in a piece, of the planned ones: enough work to pay for claiming it (a microsecond or two), and no more than 64 pieces. INT64_MAX: all.
int64_t iterations_of_piece(const Kernel&, int64_t planned);
/// What a reduction begins with, and how it takes up one more value.
llvm::Constant* reduction_identity(Op, llvm::Type*);
llvm::Value* combine_reduced(Emitter&, Op, llvm::Value* a, llvm::Value* b);

}  // namespace nnc
