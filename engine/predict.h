// Prediction: the model of a train block as a function of rows, which come from files or from a host's own memory. Compiled code takes them batch by batch; what it gives
// is put together as if all rows had been one batch.
//
//   Predictor predictor(compilation);
//   StepRunner weights(model_weights(compilation), team);   load_tensors(path, weights, false), or the runner of a finished training run
//   Prediction p = predictor.predict(rows, weights, {}, {}, team);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/bindings.h"
#include "engine/compilation.h"
#include "engine/step.h"
#include "engine/tensors.h"
#include "runtime/data/table.h"
#include "runtime/step_runner.h"
#include "runtime/team.h"

namespace nnc {

/// What the model gives for some rows, in the order of Predictor::results().
struct Prediction {
  int64_t rows = 0;
  std::vector<StoredTensor> results;
  std::vector<bool> by_row;  ///< of each: index r of its first dimension belongs to row r; else it is of all rows together
};

/// Whether the last operation of the first output makes probabilities (a sigmoid, a softmax), and not scores.
bool gives_probabilities(const Graph&);

class Predictor {
 public:
  /// What the model gives: "result", or "result.0", "result.1", ...
  struct Result {
    std::string name;
    Type type;
  };

  /// The module has a train block. ProgramErrors if its model cannot be built. The compilation outlives this.
  explicit Predictor(Compilation&);
  const std::vector<ArgumentSpec>& inputs() const { return inputs_; }
  const std::vector<Result>& results() const { return results_; }

  /// What is asked of the file given for an input: any file for the data field that training gives it, or one that holds these values alone. Reads the heads of files
  /// whose layout decides it. UserError E0506 for an input without rows, E04xx for a file that cannot be read.
  DataField request(const ArgumentSpec& input, const std::string& path) const;
  /// An array in the host's memory for an input, to be read with read_fields.
  DataField request(const ArgumentSpec& input, const HostArray&) const;

  /// The results for all rows of `fields`, which stand in the order of inputs(): of the input's element type, a row of its shape, and as many rows each (else UserError
  /// E0511). `weights` holds every parameter and state of the model; `scalars` are the values of `step` and `epoch`, 0 without (weights.h, trained_so_far).
  /// What the model draws is drawn as in one batch of all rows (weights.h, trained_draws).
  /// UserError E0510 for an index outside of its table, E0620 if this machine cannot run the target's code. Code is compiled once for each size of batch.
  Prediction predict(const std::vector<FieldData>& fields, const StepRunner& weights, const ScalarValues& scalars, const DrawPosition&, Team&);

  /// Whether the model's own last operation makes probabilities of its first result.
  bool gives_probabilities() const { return nnc::gives_probabilities(graph_); }
  /// Whether the first result can be taken as scores of classes: loss or reports do so, a field has as many classes as a row has scores (two for one score), or
  /// they are probabilities.
  bool gives_classes() const;

 private:
  DataField request(const ArgumentSpec& input) const;  ///< of a source that is open yet

  Compilation& compilation_;
  Graph graph_;
  std::vector<RowCondition> row_conditions_;
  std::vector<ArgumentSpec> inputs_;
  std::vector<Result> results_;
  CompiledStep compiled_;  ///< for step.rows_capacity rows; without code before the first prediction

  void check_fields(const std::vector<FieldData>&) const;
  int64_t batch_for(int64_t rows) const;
};

/// The likeliest class of each row ("class") and its probability ("probability") of a model with one result, one row of scores or probabilities for each row. One
/// score per row is that of class 1 against class 0. Nothing if the result is of another form.
std::optional<Prediction> likeliest_classes(const Prediction&, bool are_probabilities);

}  // namespace nnc
