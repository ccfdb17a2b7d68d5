// Rows, scalars and room for results are prepared beforehand, so that the time is that of the steps alone.
#include "engine/timed_steps.h"

#include <algorithm>
#include <chrono>

#include "engine/bindings.h"
#include "runtime/row_order.h"

namespace nnc {

TimedSteps::TimedSteps(StepRunner& runner, const TrainSpec& spec, const std::vector<int64_t>& rows, int64_t batch)
    : runner_(runner), rows_(rows), batch_(batch), seed_(spec.seed), scalars_(step_scalars(runner.program(), with_hyperparameters({}, spec))) {}

void TimedSteps::prepare(int64_t steps) {
  size_t capacity = size_t(runner_.program().rows_capacity);
  counts_.assign(size_t(steps), batch_);
  index_.assign(size_t(steps) * capacity, 0);
  for (size_t s = 0; s < size_t(steps); ++s) {
    if (next_ + size_t(batch_) > order_.size()) {
      order_ = epoch_order(rows_, seed_, epoch_++, true);
      next_ = 0;
    }
    std::copy_n(order_.begin() + std::ptrdiff_t(next_), batch_, index_.begin() + std::ptrdiff_t(s * capacity));
    next_ += size_t(batch_);
  }
  all_scalars_.clear();
  for (int64_t s = 0; s < steps; ++s) all_scalars_.insert(all_scalars_.end(), scalars_.begin(), scalars_.end());
  results_.assign(size_t(steps) * runner_.program().results.size(), 0);
}

double TimedSteps::run() {
  const auto start = std::chrono::steady_clock::now();
  runner_.run(counts_, index_.data(), all_scalars_.data(), results_.data(), {.seed = seed_});
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int64_t find_steps_per_turn(TimedSteps& steps) {
  int64_t count = 1;
  steps.prepare(count);
  steps.run();
  for (double took = steps.run(); took < 0.01 && count < 10000; took = steps.run()) {
    count = std::min<int64_t>(10000, std::max<int64_t>(count + 1, int64_t(double(count) * std::min(10.0, 0.012 / std::max(took, 1e-7)))));
    steps.prepare(count);
  }
  return count;
}

double quantile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  const double at = part * double(values.size() - 1);
  const size_t low = size_t(at), high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - double(low));
}

}  // namespace nnc
