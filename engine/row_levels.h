// Values over many rows as over one batch: graphs that were cut at their reductions over rows (passes/split_rows.h), run batch by batch in compiled code, combined in
// 64 bits and finished by the interpreter. Several workers share the batches; their results are combined in the batches' order, so that all have the bits of one worker.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/bindings.h"
#include "engine/compilation.h"
#include "engine/step.h"
#include "passes/split_rows.h"
#include "runtime/team.h"
#include "runtime/workers/collectives.h"

namespace nnc {

/// Takes up a part's value. NaN stays NaN.
void combine(Combine, double& into, double value);
/// What combining begins with: 0, -inf or inf.
double start_of(Combine);

class RowLevels {
 public:
  /// Each level's code is compiled when it is first wanted. `batch`: rows of one; it decides bits. `workers`: who share the batches, null if nobody does. Compilation, team and workers outlive this.
  RowLevels(Compilation&, std::vector<RowLevel>, Graph final_graph, int64_t batch, Layouts, Team&, Collectives* workers);
  ~RowLevels();
  RowLevels(RowLevels&&) noexcept;

  /// Whether there is any level; without one the final graph alone is evaluated.
  bool reads_rows() const { return !levels_.empty(); }
  struct Rows {
    std::span<const int64_t> numbers;
    std::function<void(StepRunner&)> bind;  ///< the fields that they are rows of
  };
  /// The final graph's outputs. What is drawn is drawn as in one batch of all rows. Persistents from `accumulated` (what is known before the first level), else as in `from`; scalars by name, `rows` among them.
  /// `stop` is asked before each batch, unless it is empty: true, on any worker, ends it, and there are no outputs. Collective if there are levels.
  std::map<std::string, Tensor> evaluate(const Rows&, const StepRunner& from, const ScalarValues&, const DrawPosition&,
                                         std::map<std::string, Tensor> accumulated, const std::function<bool()>& stop);

 private:
  struct Level;
  void compile(Level&);
  bool run(Level&, const Rows&, const StepRunner& from, const ScalarValues&, const DrawPosition&, std::map<std::string, Tensor>& accumulated,
           const std::function<bool()>& stop);
  Compilation& compilation_;
  std::vector<std::unique_ptr<Level>> levels_;
  Graph final_;
  int64_t batch_;
  Layouts layouts_;
  Team& team_;
  Collectives* workers_;
};

}  // namespace nnc
