// The part of verify_program that looks at blocks of outer indices and at guards of inner loops.
#pragma once

#include <vector>

#include "ir/program.h"
#include "ir/verify_memory.h"

namespace nnc {

/// P3, of the axes of which indices are taken together.
void check_together(const Kernel&, const MapKernel&, FaultList&);
/// P5, of the guards of an inner block, each of which has a stride for each axis or has been found at fault.
void check_block_guards(const Kernel&, const MapKernel&, const Block&, const std::vector<const Instruction*>& guards, FaultList&);

}  // namespace nnc
