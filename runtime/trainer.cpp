// Steps are run in chunks: one call of the step function does as many as take some tens of milliseconds, so that the host's work between calls does not
// show even where a step takes a microsecond. A chunk ends at the end of an epoch and where something is to be saved. Chunks change no bits.
//
// Divergence costs a step nothing: its loss is looked at anyway. The persistents are looked at when a snapshot is taken, once a second or so and never for
// more than a hundredth of the time; a snapshot takes the old one's place only if everything in it is finite. What happened since is found by a replay.
#include "runtime/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/check.h"
#include "runtime/row_order.h"

namespace nnc {
namespace {

constexpr double chunk_seconds = 0.04;
constexpr double snapshot_share = 0.01;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Trainer::Trainer(StepRunner& runner, TrainPlan plan, int loss) : runner_(runner), plan_(std::move(plan)), loss_(loss), done_(plan_.first_step) {
  NNC_CHECK(plan_.batch > 0 && plan_.batch <= runner_.program().rows_capacity && !plan_.rows.empty(), "a plan that cannot be run");
  plan_.scalars.resize(runner_.program().scalars.size());
  if (plan_.watch) ignored_ = runner_.find_all_non_finite();
}

bool Trainer::state_diverged() { return plan_.watch && is_diverged(runner_.find_non_finite(ignored_)); }

/// Notes that a persistent was seen not to be finite; -1: none was.
bool Trainer::is_diverged(int persistent) {
  diverged_persistent_ = persistent;
  if (persistent < 0) return false;
  diverged_to_nan_ = runner_.holds_nan(size_t(diverged_persistent_));
  int64_t last = done_ - 1;
  diverged_at_ = {done_, last / plan_.steps_per_epoch(), last % plan_.steps_per_epoch() + 1, 0, {}, {}, {}};
  return true;
}

int64_t Trainer::next_chunk(int64_t step_in_epoch) const {
  int64_t steps = std::min({chunk_, plan_.steps_per_epoch() - step_in_epoch, plan_.total_steps - done_});
  if (plan_.save_every > 0) steps = std::min(steps, plan_.save_every - done_ % plan_.save_every);
  return steps;
}

void Trainer::fill_chunk(int64_t steps) {
  const StepProgram& program = runner_.program();
  int64_t per_epoch = plan_.steps_per_epoch(), capacity = program.rows_capacity;
  int64_t epoch = done_ / per_epoch, first = done_ % per_epoch;
  if (epoch != order_epoch_) {
    order_ = epoch_order(plan_.rows, plan_.seed, epoch, plan_.shuffle);
    order_epoch_ = epoch;
  }
  size_t scalars = program.scalars.size();
  chunk_rows_.resize(size_t(steps));
  chunk_index_.resize(size_t(steps * capacity));
  chunk_scalars_.resize(size_t(steps) * scalars);
  chunk_results_.resize(size_t(steps) * program.results.size());
  for (int64_t s = 0; s < steps; ++s) {
    int64_t begin = (first + s) * plan_.batch, end = std::min(begin + plan_.batch, int64_t(order_.size()));
    chunk_rows_[size_t(s)] = end - begin;
    std::copy(order_.begin() + begin, order_.begin() + end, chunk_index_.begin() + s * capacity);
    for (size_t k = 0; k < scalars; ++k) {
      NncScalar value = plan_.scalars[k];
      if (program.scalars[k] == "step") value.count = done_ + s;
      if (program.scalars[k] == "epoch") value.count = epoch;
      chunk_scalars_[size_t(s) * scalars + k] = value;
    }
  }
}

TrainOutcome Trainer::run(TrainObserver& observer) {
  const StepProgram& program = runner_.program();
  size_t scalars = program.scalars.size(), results = program.results.size();
  int64_t per_epoch = plan_.steps_per_epoch();
  while (done_ < plan_.total_steps) {
    double now = seconds();
    // Clocks differ; what they say is said for all workers by the first.
    if (runner_.as_first_says(plan_.watch && now >= next_snapshot_)) {
      if (is_diverged(runner_.keep_state(done_, ignored_))) return TrainOutcome::diverged;
      observer.on_snapshot(done_);
      double after = seconds();
      next_snapshot_ = plan_.snapshot_seconds > 0 ? after + std::max(plan_.snapshot_seconds, (after - now) / snapshot_share) : 0;
      now = after;
    }
    int64_t epoch = done_ / per_epoch, first = done_ % per_epoch;
    chunk_ = runner_.as_first_says(chunk_);
    int64_t steps = next_chunk(first);
    fill_chunk(steps);
    int64_t ran = runner_.run(chunk_rows_, chunk_index_.data(), chunk_scalars_.data(), chunk_results_.data(), {plan_.seed, uint64_t(done_), 0});
    double took = seconds() - now;
    if (took < chunk_seconds && chunk_ < plan_.longest_chunk) chunk_ = std::min(2 * chunk_, plan_.longest_chunk);
    if (took > 2 * chunk_seconds && chunk_ > 1) chunk_ /= 2;
    StepRecord record;
    for (int64_t s = 0; s < ran; ++s) {
      record = {done_ + s + 1, epoch, first + s + 1, chunk_rows_[size_t(s)],
                std::span(chunk_results_).subspan(size_t(s) * results, results), std::span(chunk_scalars_).subspan(size_t(s) * scalars, scalars),
                std::span(chunk_index_).subspan(size_t(s * program.rows_capacity), size_t(chunk_rows_[size_t(s)]))};
      observer.on_step(record);
      if (loss_ >= 0 && !std::isfinite(record.results[size_t(loss_)])) {
        diverged_at_ = record;
        diverged_at_.results = {};
        diverged_at_.scalars = {};
        diverged_at_.row_numbers = {};
        diverged_to_nan_ = std::isnan(record.results[size_t(loss_)]);
        done_ += s + 1;
        return TrainOutcome::diverged;
      }
    }
    done_ += ran;
    bool epoch_done = done_ % per_epoch == 0 && ran > 0;
    if (ran > 0) observer.on_progress(record, epoch_done || done_ == plan_.total_steps);
    bool save = ran > 0 && plan_.save_every > 0 && done_ % plan_.save_every == 0, last = ran < steps || done_ == plan_.total_steps;
    if ((save || last) && state_diverged()) return TrainOutcome::diverged;
    if (ran < steps) return TrainOutcome::stopped;
    if (save && !last) observer.on_save(done_);
  }
  return TrainOutcome::finished;
}

}  // namespace nnc
