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
  std::vector<NncScalar> scalars; ///< by the program's order; those named step and epoch are overwritten
  bool watch = true;              ///< look for NaN and infinity in the persistents; false: a replay, which wants to see them
  double snapshot_seconds = 1;    ///< at least so long between two looks, each of which keeps a copy; 0: before every chunk
  int64_t longest_chunk = 4096;   ///< steps
  int64_t steps_per_epoch() const { return (int64_t(rows.size()) + batch - 1) / batch; }
};

/// What happened in one step.
struct StepRecord {
  int64_t step = 0;               ///< updates finished, this one included
  int64_t epoch = 0;              ///< 0-based
  int64_t step_in_epoch = 0;      ///< 1-based
  int64_t rows = 0;
  std::span<const double> results;     ///< by the program's order
  std::span<const NncScalar> scalars;
  std::span<const int64_t> row_numbers;  ///< of the batch's rows in the data
};

/// Told of progress, between runs of the step function. Exceptions pass through.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void on_step(const StepRecord&) {}
  /// The persistents as they are after so many updates are all finite, and kept as the last such state.
  virtual void on_snapshot(int64_t /*steps_done*/) {}
  /// `finished`: the epoch or the run is complete.
  virtual void on_progress(const StepRecord& last, bool finished) = 0;
  virtual void on_save(int64_t steps_done) = 0;
};

enum class TrainOutcome : uint8_t { finished, stopped, diverged };

class Trainer {
 public:
  /// `loss`: index of the loss among the program's results; a value that is not finite ends the run, in that step. So does a persistent that is not
  /// finite, which is looked for at every snapshot, before every save and at the end, so that nothing else is ever saved; persistents that are not
  /// finite at the start (a state that begins at infinity) are left alone. Other results may be what they are.
  Trainer(StepRunner&, TrainPlan, int loss);
  /// The rows of an epoch in their order (`epoch_order`), where they have been put so already.
  void take_order(int64_t epoch, std::vector<int64_t> order) {
    order_epoch_ = epoch;
    order_ = std::move(order);
  }
  TrainOutcome run(TrainObserver&);
  int64_t steps_done() const { return done_; }
  /// After `diverged`: the persistents as they were at the last snapshot, when everything was finite, and the step of it.
  std::span<const std::byte> last_finite_state() const { return runner_.kept_state(); }
  int64_t last_finite_step() const { return runner_.kept_number(); }
  /// The step whose loss, or after which a persistent, was seen not to be finite; and which persistent, or -1 if it was the loss.
  const StepRecord& diverged_at() const { return diverged_at_; }
  int diverged_persistent() const { return diverged_persistent_; }
  bool diverged_to_nan() const { return diverged_to_nan_; }  ///< else to an infinity
  /// By the program's persistents: those that were not finite at the start.
  const std::vector<bool>& ignored() const { return ignored_; }

 private:
  int64_t next_chunk(int64_t step_in_epoch) const;
  bool state_diverged();
  bool is_diverged(int persistent);
  void fill_chunk(int64_t steps);
  StepRunner& runner_;
  TrainPlan plan_;
  int loss_;
  int64_t done_ = 0;
  int64_t chunk_ = 1;
  int64_t order_epoch_ = -1;
  std::vector<int64_t> order_, chunk_rows_, chunk_index_;
  std::vector<NncScalar> chunk_scalars_;
  std::vector<double> chunk_results_;
  double next_snapshot_ = 0;
  StepRecord diverged_at_;
  int diverged_persistent_ = -1;
  bool diverged_to_nan_ = false;
  std::vector<bool> ignored_;
};

}  // namespace nnc
