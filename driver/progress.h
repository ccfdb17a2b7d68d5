// Progress of training, in the layout of Keras.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "driver/terminal.h"

namespace nnc {

class Progress {
 public:
  Progress(std::vector<std::string> names, int64_t epochs, int64_t steps_per_epoch, bool quiet);
  /// Values by name, means over the epoch so far. Redraws at most a few times a second; `finished` always draws.
  void show(int64_t epoch, int64_t step_in_epoch, std::span<const double> values, bool finished);
  /// Ends the line of an epoch, with more to say after it.
  void finish_epoch(const std::string& more);
  /// Leaves an unfinished line, so that something else can be printed.
  void interrupt();

 private:
  std::vector<std::string> names_;
  int64_t epochs_, steps_;
  bool quiet_;
  Terminal terminal_;
  int64_t shown_epoch_ = -1;
  double epoch_start_ = 0, last_draw_ = 0;
  int64_t first_step_ = 0;  ///< steps of the epoch that an earlier run had done
  bool open_line_ = false;
};

/// "0.2100", "1.2e-05": four significant places where that reads well.
std::string format_metric(double);

}  // namespace nnc
