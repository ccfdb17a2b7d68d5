// Optimiser states in parts: of a state that its owners alone read and update, a worker's programs have room for its own elements alone.
//
// Requires:   the programs of all stages of a step, with places, of which shard_updates has shared out the last; the ranges that it gave.
// Guarantees: all programs are verified; persistents stand at the same places in all of them, each at a multiple of 64 bytes, partial sums behind all others. What a kernel touches of a state in parts
//             is counted from the first element that is here (PersistentPlace::part). Which states are in parts is the same for all workers.
#pragma once

#include <vector>

#include "ir/program.h"
#include "passes/shard_updates.h"

namespace nnc {

/// Sets OwnedRange::in_parts. The programs are those of worker `worker`.
void shard_states(std::vector<Program>& stages, std::vector<OwnedRange>& owned, int worker);

}  // namespace nnc
