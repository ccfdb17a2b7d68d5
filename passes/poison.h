// Programs changed so that a mistake in the memory plan shows. Neither changes what a sound program computes, to the bit; tests and sanitized builds
// run programs that went through them.
#pragma once

#include "ir/program.h"

namespace nnc {

/// Adds a kernel after the last read of each temporary that overwrites it (floats: NaN; integers: a number that no index has; bool: true), so that
/// whoever still reads it, or a buffer that overlaps it, computes from that. From the second step on, a read before the first write of a step finds it too.
/// Requires a scheduled and planned program; plan and schedule stay as they are, but for barriers that keep the fills from their neighbours.
void poison_dead(Program&);

/// Gives each temporary and persistent bytes of its own, shared at no time with another, with at least `gap` (a multiple of 64) unused bytes after each.
/// For AddressSanitizer, which reports who touches those.
void spread_memory(Program&, int64_t gap);

}  // namespace nnc
