// Emission of map kernels that take several outer indices together or have guards. See register_blocks.cpp.
#pragma once

#include "codegen/emitter.h"

namespace nnc {

bool is_register_block(const MapKernel&);
/// The kernel's code, at the insertion point.
void emit_register_blocks(Emitter&, const Kernel&);
/// Number of pieces (i64) at a number of rows.
llvm::Value* register_block_pieces(Emitter&, const Kernel&, llvm::Value* rows);

}  // namespace nnc
