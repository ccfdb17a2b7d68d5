// Code of one ContractKernel: pieces, packing, register tiles, epilogue.
#pragma once

#include "codegen/emitter.h"

namespace nnc {

/// Fills the kernel's function (form: emitter.h). A piece is one batch index and one block of mc x nc outputs.
void emit_contract_kernel(Emitter&, const Kernel&, llvm::Function*);

/// i64: how many pieces there are at `rows` rows; 0 if there are no outputs.
llvm::Value* emit_contract_pieces(Emitter&, const Kernel&, llvm::Value* rows);

}  // namespace nnc
