// Where a loss that is no longer finite came from.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "driver/data.h"
#include "driver/session.h"
#include "runtime/trainer.h"

namespace nnc {

struct Divergence {
  std::string loss;              ///< "NaN" or "infinite"
  std::string cause;             ///< "`log` at net.nn:9 received 0 at [17, 3]"; "" if it was not found
  int64_t step = 0;              ///< updates done before the step in which the cause stands
  std::vector<std::byte> state;  ///< the runner's persistents after `step` updates: the last in which everything is finite
};

/// Replays the run from the state `from` after `from_step` updates, which is exact, up to `diverged_step`: in the first step that
/// gives something not finite, the graph is interpreted and the first operation with a finite input and such a result is named.
/// Changes the runner's persistents.
Divergence find_divergence(Session&, StepRunner&, TrainPlan, int loss, const Graph&, const RunData&,
                           std::span<const std::byte> from, int64_t from_step, int64_t diverged_step);

}  // namespace nnc
