// Invariants P17 and P18 of verify_program.cpp: regions whose rounds are shared out to threads, and the buffers that live in a round.
#pragma once

#include "ir/program.h"
#include "ir/verify_memory.h"

namespace nnc {

/// P17 as far as it is about the ranges of kernels; what follows relies on them.
void check_parallel_ranges(const Program&, FaultList&);
/// The rest of P17, and P18. Kernels must be sound by themselves, accesses within their buffers.
void check_parallel_rounds(const Program&, const BufferTouches&, FaultList&);

}  // namespace nnc
