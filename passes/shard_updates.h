// The updates of a step shared out to workers: each computes its own range of every parameter and state, and the others get it from there.
//
// In the last stage of a step (split_stages.h) an update is a kernel over the elements of a tensor, in the order of its memory. A worker's share of it is a range of its first axis: of a flat kernel any
// range of whole vectors, else whole lines. Kernels that do more than update persistents, element by element along that axis, are left as they are: every worker runs them. So is what a rule needs of
// whole tensors.
//
// Requires:   a program of a last stage, before its memory is planned or after: places do not change.
// Guarantees: the program is verified; bits are those of the whole, element by element.
#pragma once

#include <string>
#include <vector>

#include "ir/program.h"

namespace nnc {

/// Elements [begins[w], begins[w + 1]) of a persistent's memory are worker w's: numbers from 0 to all of them.
struct OwnedRange {
  std::string name;
  std::vector<int64_t> begins;
  bool updated = false;  ///< by its owner alone; else it is a partial sum of which each worker reads its own range alone
  bool read_whole = false;  ///< of what is updated: somebody in this stage reads more than its own range
  bool in_parts = false;    ///< each worker has room for its own range alone, nobody else reads it (shard_states.h)
};

/// Leaves of the updates those of one worker of so many, from 0.
std::vector<OwnedRange> shard_updates(Program&, int worker, int workers);

}  // namespace nnc
