// The reports of an epoch of training: for all of its rows, as one batch, each row with the values that its step gave it (passes/split_epoch.h says how they are cut).
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/data.h"
#include "engine/epoch_sums.h"
#include "engine/row_levels.h"
#include "engine/tensors.h"
#include "passes/split_epoch.h"
#include "runtime/trainer.h"

namespace nnc {

/// What of an epoch under way a checkpoint holds: EpochSums::to_text, and the rows that were kept, in the epoch's order.
struct EpochRecord {
  std::string sums;
  std::vector<StoredTensor> rows;
};
/// Kept rows stand in a checkpoint under names that begin so; no persistent's does, for `epoch` is a word of the language.
inline constexpr std::string_view epoch_rows_prefix = "epoch.";

class EpochReports {
 public:
  /// At most so many bytes of rows are kept, of all reports together.
  static constexpr int64_t most_kept_bytes = int64_t(64) << 20;
  struct Options {
    int64_t every = 0;            ///< all reports but the loss count the steps whose number it divides; 0 and 1: all steps
    bool keeps_outputs = false;   ///< reports that are no single numbers are wanted too
    Collectives* workers = nullptr;  ///< who share what is read again at the end of an epoch; null: nobody
  };
  /// Compilation, data, runner and team outlive this. `reports` as split_epoch gave them for the graph that the runner's program was made from.
  EpochReports(Compilation&, std::vector<EpochSplit> reports, const RunData&, const StepRunner&, const TrainPlan&, const Layouts&, Team&, Options);

  const std::vector<std::string>& numbers() const { return numbers_; }  ///< names of those that are single numbers; the first of the program's results
  const std::vector<std::string>& outputs() const { return outputs_; }  ///< names of the others; the first of its outputs
  /// Of a single-number report: "", or why there is no value of it over an epoch, a sentence without a full stop.
  const std::string& obstacle(size_t number) const { return reports_[index_of_number_[number]].split.obstacle; }
  /// Whether something has to be read after every step.
  bool needs_single_steps() const;

  /// After a step that the runner has just done.
  void add(EpochSums&, const StepRecord&) const;
  /// Nothing if no step has counted yet, or there is an obstacle. Collective. One that is not as cheap as a mean (`is_direct`) is evaluated; `last` is the last step, `stop` ends that (and gives nothing).
  std::optional<double> number(size_t number, const EpochSums&, const StepRecord& last, const std::function<bool()>& stop);
  std::optional<Tensor> output(size_t output, const EpochSums&, const StepRecord& last, const std::function<bool()>& stop);
  bool are_direct() const { return std::ranges::all_of(index_of_number_, [this](size_t r) { return reports_[r].split.is_direct(); }); }
  bool is_direct(size_t number) const { return reports_[index_of_number_[number]].split.is_direct(); }

  /// After so many updates of the run.
  EpochRecord record(const EpochSums&, int64_t steps) const;
  /// Sums to add to: those of a record after so many updates, or new ones if it is empty. Nothing if it is damaged; a report whose rows it lacks begins anew.
  /// Call once.
  std::optional<EpochSums> begin(const EpochRecord&, int64_t steps);

 private:
  struct Source {
    bool is_result = false;  ///< else an output
    size_t index = 0;        ///< in the program
    size_t value = 0;        ///< in the sums; of kept rows: their index there
    std::string name;        ///< of the persistent or input that reads it
    Type type;
  };
  struct Report {
    EpochSplit split;
    bool is_wanted = false, is_loss = false;
    std::vector<Source> values, kept;
    std::optional<RowLevels> levels;
  };
  Source find_source(const std::string& output, const Type&) const;
  void prepare(Report&);
  bool counts(const Report&, int64_t step) const;
  std::vector<int64_t> rows_of(const Report&, double rows, int64_t steps) const;
  std::optional<Tensor> evaluate(Report&, const EpochSums&, const StepRecord& last, const std::function<bool()>& stop);
  std::string name_of_kept(const Report& r, const Source& s) const { return std::string(epoch_rows_prefix) + r.split.name + "." + s.name; }

  Compilation& compilation_;
  const RunData& data_;
  const StepRunner& runner_;
  const TrainPlan& plan_;
  const Layouts& layouts_;
  Team& team_;
  Options options_;
  std::vector<Report> reports_;
  std::vector<std::string> numbers_, outputs_;
  std::vector<size_t> index_of_number_, index_of_output_;
  EpochSums start_;
  int64_t kept_bytes_ = 0;
};

}  // namespace nnc
