// Loss and reports over a part of the data, as what their expressions give for the whole split taken as one batch.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/compilation.h"
#include "engine/data.h"
#include "engine/row_levels.h"

namespace nnc {

class Evaluator {
 public:
  /// Reports E0508 at once; code is compiled at the first evaluation. Compilation, data and team outlive this. `layouts`: orders of
  /// persistents in the runner that weights will come from. `workers`: who share the batches; evaluations are collective then.
  Evaluator(Compilation&, const BuiltGraph& eval, const RunData&, const Layouts& layouts, Team&, Collectives* workers = nullptr);
  /// Asked before each batch: true, on any worker, ends the evaluation, which then gives nothing.
  void stop_if(std::function<bool()> asked) { stop_ = std::move(asked); }
  /// Weights as in `from`; scalars by name; draws as in one batch of all rows. Outputs by name, in the order of `names`.
  std::map<std::string, Tensor> evaluate(Part, const StepRunner& from, const ScalarValues& scalars, const DrawPosition&);
  const std::vector<std::string>& names() const { return names_; }

 private:
  const RunData& data_;
  std::optional<RowLevels> levels_;
  std::vector<std::string> names_;
  std::function<bool()> stop_;
};

}  // namespace nnc
