// The part of verify_program that looks at chains of places (chains.h).
#pragma once

#include "ir/program.h"
#include "ir/verify_memory.h"

namespace nnc {

/// P16, of a program in which P1 to P7 hold.
void check_chains(const Program&, FaultList&);

}  // namespace nnc
