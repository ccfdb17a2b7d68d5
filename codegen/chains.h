// Chains of places by entry (ir/chains.h): how they are made, and the kernels that walk them. See chains.cpp.
#pragma once

#include "codegen/emitter.h"

namespace nnc {

/// Adds a place to the chain of its entry.
void emit_link(Emitter&, const Instruction&, Point&);

bool walks_chains(const MapKernel&);
/// The kernel's code, at the insertion point.
void emit_chain_walk(Emitter&, const Kernel&);
/// Its number of pieces, whatever the number of rows.
int64_t chain_walk_pieces(const Emitter&, const Kernel&);

}  // namespace nnc
