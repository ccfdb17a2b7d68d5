// A training run as the user of the command line sees it: the progress lines, the log, lines of JSON.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "driver/progress.h"
#include "driver/session.h"
#include "driver/step_log.h"
#include "engine/training_run.h"

namespace nnc {

class TrainView : public TrainingObserver {
 public:
  /// References outlive this.
  TrainView(Session&, std::string log);
  /// Whether reports that are no single numbers are shown anywhere.
  bool shows_outputs() const { return session_.options.json || !log_path_.empty(); }
  /// The run is about to train. Opens the log (E0413).
  void begin(const TrainingRun&);
  /// An unfinished line of progress is left, so that something else can be printed.
  void leave_line();
  /// Progress and log are brought to their end. UserError E0413 if the log is not whole.
  void finish();
  /// Of the last epoch: "valid loss", "test accuracy", ...
  const std::map<std::string, Tensor>& last_reports() const { return last_reports_; }

  void on_fewer_threads(const std::string& shortage) override;
  void on_step(const StepRecord&) override;
  void on_progress(const EpochReport&, bool ended) override;
  void on_epoch(const EpochReport&) override;
  void on_warning(const Diagnostic&) override;

 private:
  Session& session_;
  std::string log_path_;
  const TrainingRun* run_ = nullptr;
  std::optional<Progress> progress_;
  std::optional<StepLog> log_;
  std::chrono::steady_clock::time_point start_;
  std::map<std::string, Tensor> last_reports_;
};

}  // namespace nnc
