// One compilation: a program's sources, what is wrong with them, the checked module, and the graphs of its training step. Nothing here prints: what a
// user is to know is a Diagnostic, handed to whoever compiles.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/diagnostics.h"
#include "base/source.h"
#include "base/target.h"
#include "codegen/codegen.h"
#include "frontend/batch_plan.h"
#include "frontend/frontend.h"
#include "passes/split_epoch.h"
#include "passes/split_stages.h"
#include "ir/graph.h"

namespace nnc {

class Compilation {
 public:
  explicit Compilation(Target target) : target(std::move(target)) {}

  std::string name;                   ///< of the program's file, as it was given
  std::vector<Override> overrides;    ///< that it was loaded with
  SourceMap sources;                  ///< of the program and all that it uses: diagnostics are rendered with it
  Diagnostics diagnostics;            ///< reported since the last settle()
  std::unique_ptr<Module> module;     ///< null before load()
  Target target;                      ///< that programs are built for
  int workers = 1;                    ///< that share each training step
  CompileOptions code;                ///< what is asked of code generation
  std::function<void(const Diagnostic&)> on_warning;  ///< told of each warning as it is settled; may be empty

  /// Parses and checks a program and what it uses: a file, or a text, whose name messages call it by and from whose folder `use` and data files count.
  /// Throws ProgramErrors with every error of it, UserError E0602 if the file cannot be read.
  void load_file(const std::string& path, std::vector<Override> overrides = {});
  void load_text(const std::string& path, std::string text, std::vector<Override> overrides = {});
  /// What was reported ends here: warnings are passed on, in the order of their places; if there is an error among them, all of it is thrown as ProgramErrors.
  void settle();
  /// As above; what is reported with an empty `value` holds an error.
  template <class T>
  T require(std::optional<T> value) {
    settle();
    NNC_CHECK(value, "nothing was built, and no error says why");
    return std::move(*value);
  }
  void warn(const Diagnostic& d) const {
    if (on_warning) on_warning(d);
  }
};

/// The text of a program's file; UserError E0602 if it cannot be read.
std::string read_text_file(const std::string& path);
/// Replaces it in one step, so that a crash leaves the old text or the new one; UserError E0413 if it cannot be written.
void write_text_file(const std::string& path, std::string_view text);

/// What a training step is planned for where no data is read: the train block's batch (ProgramErrors E0311), 256 rows with `batch: all`.
BatchPlan planned_batch(const Compilation&);
/// The same with `rows` in place of `batch: all`.
BatchPlan planned_batch(const Compilation&, int64_t rows);
/// ProgramErrors E0315 if there are more workers than pieces of the batch.
void require_pieces(const Compilation&, const BatchPlan&);
/// UserError E0503 if a whole batch takes more rows than train.
void require_rows_of_batch(const BatchPlan&, int64_t rows, const std::string& program);

/// The training graph at each stage of its way.
struct TrainingGraphs {
  BuiltGraph forward;                ///< its outputs are the loss, the reports, and what the reports need of a step
  std::vector<EpochSplit> reports;   ///< the loss and each report over an epoch
  std::vector<UpdateRule> rules;
  Graph backward;   ///< with gradients and updates
  Graph optimized;  ///< simplified and grouped into kernels
  std::optional<StepStages> stages;  ///< where a share of the batch is computed at a time
  bool couples_rows = false;         ///< then each share is normalised by itself
};
/// The module has a train block. ProgramErrors E0203 and E0302 for parameters that cannot train.
TrainingGraphs make_training_graphs(Compilation&);
Graph make_backward(Compilation&, const Graph& forward, const std::vector<UpdateRule>& rules, bool hand_on_gradients = false);
/// Warning E0308 if no parameter of the training step's forward graph trains.
void warn_if_nothing_trains(const Compilation&, const BuiltGraph& forward);

}  // namespace nnc
