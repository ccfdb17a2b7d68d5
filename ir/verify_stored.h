// The check that nothing is read that has not been stored (P20 of verify_program.cpp).
#pragma once

#include "ir/program.h"
#include "ir/verify_memory.h"

namespace nnc {

/// Requires what check_memory does.
void check_stored(const Program&, const BufferTouches&, FaultList&);

}  // namespace nnc
