// How the rows of an update are taken: what is computed at once, what of it makes up a whole batch, and the pieces that fix the order of its sums (ir/sum_order.h).
#pragma once

#include <optional>

#include "base/diagnostics.h"
#include "frontend/frontend.h"
#include "ir/sum_order.h"

namespace nnc {

struct BatchPlan {
  int64_t batch = 1;       ///< rows that are computed at once
  int64_t accumulate = 1;  ///< so many of these make up the whole batch
  int64_t piece = 1;       ///< rows of a piece; of `batch` whole ones, where more than one makes up the whole
  int64_t whole() const { return batch * accumulate; }
  /// Pieces of the whole batch, at most as many as were asked for: so many as have rows.
  int64_t pieces() const { return planned().pieces(); }
  PlannedRows planned() const { return {batch, whole(), piece}; }
};

/// `batch`: TrainSpec::batch, or all rows that train where that is 0. Where nobody says how many pieces there are: as many as a batch of all these rows has, and at
/// least one for each of the batches that make it up, each of which has whole ones. Requires that find_batch_fault finds nothing.
BatchPlan plan_batch(const TrainSpec&, int64_t batch);

/// Error E0311 if there are more pieces than rows, or if the batches that make up a whole one would cut one.
std::optional<Diagnostic> find_batch_fault(const TrainSpec&, int64_t batch);

}  // namespace nnc
