// Emission of MapKernels: loop nests of element-wise and row-wise code. See map.cpp.
#pragma once

#include "codegen/emitter.h"

namespace nnc {

/// Fills `function` with the kernel's code; the form of the function is described in emitter.h.
void emit_map_kernel(Emitter&, const Kernel&, llvm::Function*);
/// Number of pieces (i64) at a number of rows.
llvm::Value* emit_map_pieces(Emitter&, const Kernel&, llvm::Value* rows);

}  // namespace nnc
