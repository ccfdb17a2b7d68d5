// A training run as the user sees it: progress, the log, metrics after each epoch, and everything that is saved.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "engine/data.h"
#include "engine/epoch_means.h"
#include "engine/evaluate.h"
#include "driver/progress.h"
#include "driver/session.h"
#include "driver/step_log.h"
#include "runtime/trainer.h"

namespace nnc {

struct TrainRunOptions {
  std::string out, log;  ///< `log` may be empty
  bool json = false, quiet = false;
  Graph rate;        ///< of the run's scalars, one output: the log's `rate`; without outputs there is none
  std::string sums;  ///< of the epoch so far, as the checkpoint that the run goes on from records them (`nnc.sums`); may be empty
};

/// Thrown by on_step and on_progress when a mapped data file lost its content (lost_data_file()): what was computed since the
/// last snapshot means nothing.
struct DataLost {};

/// References outlive the run. `description`: what checkpoints record beside the step and the epoch's sums. Opens the log (E0413).
class TrainRun : public TrainObserver {
 public:
  TrainRun(Session&, TrainRunOptions, StepRunner&, Evaluator*, const RunData&, const TrainPlan&,
           std::map<std::string, std::string> description);

  void on_step(const StepRecord&) override;
  /// What a step reported, in the means of its epoch and of what checkpoints record.
  void add_to_means(const StepRecord&);
  /// The means as they were at the trainer's last snapshot: for a replay of the steps since.
  void return_to_snapshot();
  void on_snapshot(int64_t steps) override;
  void on_progress(const StepRecord& last, bool finished) override;
  /// A save in the middle of a run that fails is a warning: the run goes on, and the next save may succeed.
  void on_save(int64_t steps) override;

  bool to_device() const { return to_device_; }
  std::string checkpoint_path() const;
  /// Weights and checkpoint, at the end. If one of them cannot be written, the checkpoint, which holds all that the weights do,
  /// is written elsewhere (the current folder, the folder for temporary files, the home folder), and UserError E0413 says where.
  void save(int64_t steps);
  /// The state of the runner as a checkpoint at `path`. Empty if it is there, else a sentence that says why not and where it is.
  std::string keep_state(const std::string& path, int64_t steps);
  /// Progress line and log are brought to their end. UserError E0413 if the log is not whole.
  void finish();

  /// Steps whose state the last complete save wrote; -1: none.
  int64_t saved_steps() const { return saved_steps_; }
  Progress& progress() { return progress_; }
  /// Of the last epoch: "valid loss", "test accuracy", ...
  const std::map<std::string, Tensor>& last_reports() const { return last_reports_; }

 private:
  bool wants_outputs() const { return options_.json || !options_.log.empty(); }
  /// Reports over a part, for the end of the epoch's line; also in its line of JSON and in last_reports().
  std::string evaluate(Part, const char* word, const StepRecord& last, nlohmann::ordered_json& line);
  void save_weights(const std::string& path, int64_t steps);
  void save_checkpoint(const std::string& path, int64_t steps);
  std::vector<Diagnostic> try_save(int64_t steps);
  std::string rescue(int64_t steps);

  Session& session_;
  TrainRunOptions options_;
  StepRunner& runner_;
  Evaluator* evaluator_;
  const RunData& data_;
  const TrainPlan& plan_;
  std::map<std::string, std::string> description_;
  bool to_device_;
  Progress progress_;
  StepLog log_;
  std::string last_warning_;
  int64_t saved_steps_ = -1;
  std::chrono::steady_clock::time_point start_;
  std::map<std::string, Tensor> last_reports_;
  std::vector<Tensor> values_;  ///< of the last step: reports that are not single numbers, by the program's outputs
  // By the program's results, then its outputs: after the last step, and at the trainer's last snapshot.
  EpochMeans means_, snapshot_means_;
  int64_t means_step_, snapshot_step_ = -1;
};

/// A device or pipe takes the weights, but has no folder of the run's own for checkpoints beside it.
bool is_device(const std::string& path);

}  // namespace nnc
