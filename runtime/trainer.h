// The training loop: epochs, batches, scalars of each step, what was reported, where to stop. Knows compiled steps, not the compiler.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/step_runner.h"

namespace nnc {

struct TrainPlan {
  std::vector<int64_t> rows;      ///< rows that train
  int64_t batch = 32;             ///< at most the program's capacity
  int64_t total_steps = 0;        ///< updates of the whole run, counted from its very start
  uint64_t seed = 0;
  bool shuffle = true;
  int64_t save_every = 0;         ///< steps; 0: never in between
  int64_t first_step = 0;         ///< updates already done (resume)
  std::vector<float> scalars;     ///< by the program's order; those named step and epoch are overwritten
  int64_t steps_per_epoch() const { return (int64_t(rows.size()) + batch - 1) / batch; }
};

/// What happened in one step.
struct StepRecord {
  int64_t step = 0;               ///< updates finished, this one included
  int64_t epoch = 0;              ///< 0-based
  int64_t step_in_epoch = 0;      ///< 1-based
  int64_t rows = 0;
  std::span<const float> results; ///< by the program's order
  std::span<const float> scalars;
};

/// Told of progress, between runs of the step function. Exceptions pass through.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void on_step(const StepRecord&) {}
  /// Means over the epoch's rows of every result so far; `finished`: the epoch is complete.
  virtual void on_progress(const StepRecord& last, std::span<const double> means, bool finished) = 0;
  virtual void on_save(int64_t steps_done) = 0;
};

enum class TrainOutcome : uint8_t { finished, stopped, diverged };

class Trainer {
 public:
  /// `loss`: index of the loss among the program's results; a value that is not finite ends the run.
  Trainer(StepRunner&, TrainPlan, int loss);
  TrainOutcome run(TrainObserver&);
  int64_t steps_done() const { return done_; }
  /// After `diverged`: the persistents as they were at the last snapshot, when everything was finite, and the step of it.
  std::span<const std::byte> last_finite_state() const { return snapshot_; }
  int64_t last_finite_step() const { return snapshot_step_; }
  const StepRecord& diverged_at() const { return diverged_at_; }

 private:
  int64_t next_chunk(int64_t step_in_epoch) const;
  void fill_chunk(int64_t steps);
  StepRunner& runner_;
  TrainPlan plan_;
  int loss_;
  int64_t done_ = 0;
  int64_t chunk_ = 1;
  int64_t order_epoch_ = -1;
  std::vector<int64_t> order_, chunk_rows_, chunk_index_;
  std::vector<float> chunk_scalars_, chunk_results_;
  std::vector<std::byte> snapshot_;
  int64_t snapshot_step_ = 0;
  StepRecord diverged_at_;
};

}  // namespace nnc
