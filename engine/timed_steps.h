// Training steps for whoever measures how long they take.
#pragma once

#include <cstdint>
#include <vector>

#include "frontend/frontend.h"
#include "runtime/step_runner.h"

namespace nnc {

/// Steps over shuffled epochs of these rows, as training takes them. Runner and rows outlive it.
class TimedSteps {
 public:
  TimedSteps(StepRunner&, const TrainSpec&, const std::vector<int64_t>& rows, int64_t batch);
  void prepare(int64_t steps);
  /// Seconds that the prepared steps take.
  double run();

 private:
  StepRunner& runner_;
  const std::vector<int64_t>& rows_;
  int64_t batch_;
  uint64_t seed_;
  std::vector<NncScalar> scalars_, all_scalars_;
  std::vector<double> results_;
  std::vector<int64_t> order_, counts_, index_;
  size_t next_ = 0;
  int64_t epoch_ = 0;
};

/// How many steps make a turn of about ten milliseconds. The first steps warm caches, pages and the clock.
int64_t find_steps_per_turn(TimedSteps&);

/// Of some values, at least one: that of which so large a part is smaller.
double quantile(std::vector<double> values, double part);

}  // namespace nnc
