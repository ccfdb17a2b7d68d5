// Progress of training, in the layout of Keras.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "driver/terminal.h"

namespace nnc {

/// A report by its name, as it is shown: "test accuracy", "0.9800".
using ShownReport = std::pair<std::string, std::string>;

class Progress {
 public:
  /// `first_step`: how many steps of its first epoch an earlier run had done.
  Progress(int64_t epochs, int64_t steps_per_epoch, int64_t first_step, bool quiet);
  /// Reports over the epoch so far. A terminal is redrawn at most ten times a second; `finished` always draws there.
  void show(int64_t epoch, int64_t step_in_epoch, std::vector<ShownReport> reports, bool finished);
  /// Ends an epoch, with more to say of it.
  void finish_epoch(const std::vector<ShownReport>& more);
  /// Brings what is shown to an end, so that something else can be printed: an unfinished line, or one that was held back.
  void interrupt();

 private:
  std::string status_line(bool finished, double now) const;
  void draw();
  void print_line();

  int64_t epochs_, steps_;
  bool quiet_;
  Terminal terminal_;
  // What is shown of the epoch.
  int64_t epoch_ = 0, step_ = 0;
  std::string status_;
  std::vector<ShownReport> reports_;

  int64_t shown_epoch_ = -1;
  double epoch_start_ = 0, last_draw_ = 0, last_line_ = 0;
  int64_t first_step_;      ///< of the epoch, which an earlier run had done
  int lines_drawn_ = 0;     ///< on a terminal: of the epoch, from which the cursor stands on the last
  bool held_back_ = false;  ///< elsewhere: an epoch's line is not printed yet
};

/// A first line of `status` and reports, or, where they do not fit `columns` terminal cells, a table of reports below it: columns of equal
/// width, as many as fit. Without line breaks at the ends.
std::string lay_out_reports(const std::string& status, size_t status_width, const std::vector<ShownReport>&, int columns);

/// "0.2100", "1.2e-05": four significant places where that reads well.
std::string format_metric(double);

}  // namespace nnc
