// What a run leaves on disk: weights and checkpoint, whole at any time (README.md, "Saving", has the promises).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "engine/epoch_reports.h"
#include "engine/weights.h"
#include "runtime/step_runner.h"

namespace nnc {

/// A device or pipe takes the weights, but has no folder of the run's own for checkpoints beside it.
bool is_device(const std::string& path);

class RunFiles {
 public:
  struct Description {
    std::map<std::string, std::string> run;              ///< what a checkpoint records beside the step and the epoch's sums
    std::function<EpochRecord(int64_t steps)> epoch;     ///< of the epoch that is under way after so many steps; empty where it is not known
    uint64_t seed = 0;
    int64_t steps_per_epoch = 1;
  };
  /// `weights`: where they are written, "" for a run that leaves nothing. `rescue`: folders for a checkpoint that cannot stand beside the weights, in the order
  /// in which they are tried. The runner outlives this.
  RunFiles(std::string weights, std::vector<std::string> rescue, const StepRunner&, Description);

  bool are_wanted() const { return !weights_.empty(); }
  bool to_device() const { return to_device_; }
  const std::string& weights_path() const { return weights_; }
  std::string checkpoint_path() const;

  /// Weights and checkpoint in the middle of a run. A failure is a warning to pass on, once until it changes: the run goes on, and the next save may succeed.
  std::optional<Diagnostic> save_on_the_way(int64_t steps, const PersistentReader&);
  /// Weights and checkpoint at the end. If one of them cannot be written, the checkpoint, which holds all that the weights do, is written to a rescue folder, and
  /// UserError E0413 says where.
  void save(int64_t steps, const PersistentReader&);
  /// The state of the runner as a checkpoint at `path`. Empty if it is there, else a sentence that says why not and where it is.
  std::string keep_state(const std::string& path, int64_t steps, const PersistentReader&);
  /// Steps whose state the last complete save wrote; -1: none.
  int64_t saved_steps() const { return saved_steps_; }

 private:
  void save_weights(const std::string& path, int64_t steps);
  void save_checkpoint(const std::string& path, int64_t steps, const PersistentReader&);
  std::vector<Diagnostic> try_save(int64_t steps, const PersistentReader&);
  std::string rescue(int64_t steps, const PersistentReader&);

  std::string weights_;
  std::vector<std::string> rescue_;
  const StepRunner& runner_;
  Description description_;
  bool to_device_;
  std::string last_warning_;
  int64_t saved_steps_ = -1;
};

}  // namespace nnc
