// The file of --log: one JSON line for each step.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace nnc {

/// Buffered lines. A log that cannot be written costs neither the run nor its weights: the fault is kept for `finish`.
class StepLog {
 public:
  /// A run that goes on after `first_step` updates goes on in its log: lines of later steps, which the run that wrote them did
  /// not live to save, and a line that was cut off are dropped. Otherwise the file is begun anew. "" for no log. UserError E0413,
  /// also for a file to go on in that is no log.
  StepLog(std::string path, int64_t first_step);
  StepLog(const StepLog&) = delete;
  StepLog& operator=(const StepLog&) = delete;
  ~StepLog();
  explicit operator bool() const { return file_ != nullptr; }
  void write_line(const std::string& line);
  void flush();
  /// Writes what is left; UserError E0413 if anything did not get into the file.
  void finish();
  /// Gives the log up for this reason (an errno value).
  void fail(int error);
  /// `seconds` of the last line that was kept, 0 if there was none.
  double seconds_before() const { return seconds_before_; }

 private:
  void go_on(int64_t first_step);
  std::string path_;
  std::FILE* file_ = nullptr;
  int error_ = 0;
  double seconds_before_ = 0;
};

}  // namespace nnc
