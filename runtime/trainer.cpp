// Steps are run in chunks: one call of the step function does as many as take some tens of milliseconds, so that the host's work between calls does not
// show even where a step takes a microsecond. A chunk ends at the end of an epoch and where something is to be saved. Chunks change no bits.
#include "runtime/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/check.h"
#include "runtime/row_order.h"

namespace nnc {
namespace {

constexpr double chunk_seconds = 0.04;
constexpr double snapshot_seconds = 1.0;
constexpr int64_t most_steps = 4096;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Trainer::Trainer(StepRunner& runner, TrainPlan plan, int loss) : runner_(runner), plan_(std::move(plan)), loss_(loss), done_(plan_.first_step) {
  NNC_CHECK(plan_.batch > 0 && plan_.batch <= runner_.program().rows_capacity && !plan_.rows.empty(), "a plan that cannot be run");
  plan_.scalars.resize(runner_.program().scalars.size());
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
      float value = plan_.scalars[k];
      if (program.scalars[k] == "step") value = float(done_ + s);
      if (program.scalars[k] == "epoch") value = float(epoch);
      chunk_scalars_[size_t(s) * scalars + k] = value;
    }
  }
}

TrainOutcome Trainer::run(TrainObserver& observer) {
  const StepProgram& program = runner_.program();
  size_t scalars = program.scalars.size(), results = program.results.size();
  int64_t per_epoch = plan_.steps_per_epoch();
  std::vector<double> sums(results, 0), means(results, 0);
  double rows_seen = 0, last_snapshot = -snapshot_seconds;
  while (done_ < plan_.total_steps) {
    double now = seconds();
    if (now - last_snapshot >= snapshot_seconds) {
      std::span<const std::byte> block = runner_.persistent_block();
      snapshot_.assign(block.begin(), block.end());
      snapshot_step_ = done_;
      last_snapshot = now;
    }
    int64_t epoch = done_ / per_epoch, first = done_ % per_epoch;
    int64_t steps = next_chunk(first);
    fill_chunk(steps);
    int64_t ran = runner_.run(chunk_rows_, chunk_index_.data(), chunk_scalars_.data(), chunk_results_.data());
    double took = seconds() - now;
    if (took < chunk_seconds && chunk_ < most_steps) chunk_ *= 2;
    if (took > 2 * chunk_seconds && chunk_ > 1) chunk_ /= 2;
    StepRecord record;
    for (int64_t s = 0; s < ran; ++s) {
      record = {done_ + s + 1, epoch, first + s + 1, chunk_rows_[size_t(s)],
                std::span(chunk_results_).subspan(size_t(s) * results, results), std::span(chunk_scalars_).subspan(size_t(s) * scalars, scalars)};
      rows_seen += double(record.rows);
      for (size_t k = 0; k < results; ++k) {
        sums[k] += double(record.results[k]) * double(record.rows);
        means[k] = sums[k] / rows_seen;
      }
      observer.on_step(record);
      if (loss_ >= 0 && !std::isfinite(record.results[size_t(loss_)])) {
        diverged_at_ = record;
        diverged_at_.results = diverged_at_.scalars = {};
        done_ += s + 1;
        return TrainOutcome::diverged;
      }
    }
    done_ += ran;
    bool epoch_done = done_ % per_epoch == 0 && ran > 0;
    if (ran > 0) observer.on_progress(record, means, epoch_done || done_ == plan_.total_steps);
    if (epoch_done) {
      std::fill(sums.begin(), sums.end(), 0);
      rows_seen = 0;
    }
    if (ran > 0 && plan_.save_every > 0 && done_ % plan_.save_every == 0 && done_ < plan_.total_steps) observer.on_save(done_);
    if (ran < steps) return TrainOutcome::stopped;
  }
  return TrainOutcome::finished;
}

}  // namespace nnc
