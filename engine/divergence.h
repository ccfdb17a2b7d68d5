// Where NaN or infinity came from.
#pragma once

#include <cstddef>
#include <span>
#include <functional>
#include <string>
#include <vector>

#include "engine/data.h"
#include "engine/compilation.h"
#include "ir/interpreter.h"
#include "runtime/trainer.h"

namespace nnc {

struct Divergence {
  std::string cause;             ///< "`log` at net.nn:9 received 0 at [17, 3]"; "" if it was not found
  std::string row;               ///< which row of the data that element is of, as a sentence; "" if it is of none
  bool in_data = false;          ///< the cause is a value of a data field
  int64_t step = 0;              ///< updates done before the step in which the cause stands
  std::vector<std::byte> state;  ///< the runner's persistents after `step` updates: the last in which everything is finite
};

/// Replays the run, which is exact, from the trainer's last finite state to the step in which it diverged: the first step that gives something not
/// finite is interpreted, and the operation it began with is named. Changes the runner's persistents. A stop that is requested meanwhile ends the
/// search; what it gives then means nothing. `on_step` is told of the steps from the trainer's last finite state to that in the result.
Divergence find_divergence(Compilation&, StepRunner&, const TrainPlan&, int loss, const TrainingGraphs&, const RunData&, const Trainer&,
                           const std::function<void(const StepRecord&)>& on_step);

/// What the user is told. `found`: null if the search was interrupted; `saved`: where the last finite state is, "" if nowhere.
Diagnostic describe_divergence(const StepRunner&, const Trainer&, const Divergence* found, int64_t saved_step, const std::string& saved, Span);

// --- the search in one step (divergence_cause.cpp) ---

/// An element of a node's value.
struct ValuePlace {
  NodeId node;
  size_t element = 0;
};

/// The operation in which the NaN or infinity at `from` began: a place whose value is not finite though what it was computed from is. An infinity
/// that stands in the program or in the data is followed back to what made NaN of it, if anything did.
ValuePlace find_origin(const Graph&, const std::vector<Tensor>& values, ValuePlace from);

/// "`log` in the gradient at net.nn:9 received 0 at [17, 3]"; `part` (" in the gradient") stands after the operation.
std::string describe_origin(const Graph&, const std::vector<Tensor>& values, ValuePlace, const SourceMap&, const std::string& part);

}  // namespace nnc
