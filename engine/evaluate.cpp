// The evaluation graph is cut at its reductions over rows (passes/split_rows.h), and evaluated level by level (row_levels.h).
#include "engine/evaluate.h"

#include <algorithm>

#include "engine/row_conditions.h"
#include "passes/split_rows.h"

namespace nnc {

Evaluator::Evaluator(Compilation& compilation, const BuiltGraph& eval, const RunData& data, const Layouts& layouts, Team& team, Collectives* workers) : data_(data) {
  for (const Output& o : eval.graph.outputs) names_.push_back(o.name);
  for (Part part : {Part::test, Part::valid})
    if (const size_t rows = data.rows_of(part).size()) require_rows(eval.row_conditions, int64_t(rows), part == Part::test ? "the split `test`" : "the split `valid`");
  RowSplitObstacle obstacle;
  std::optional<RowSplit> split = split_rows(eval.graph, obstacle);
  if (!split) {
    compilation.diagnostics.report(Code::E0508, eval.graph[obstacle.node].span,
                               obstacle.reason + " cannot be evaluated batch by batch");
    compilation.settle();
  }
  // By the data alone, not by what is evaluated first: the same rows give the same bits in `train` and in `eval`.
  const int64_t batch = std::clamp<int64_t>(int64_t(std::max(data.split.test.size(), data.split.valid.size())), 1, 256);
  levels_.emplace(compilation, std::move(split->levels), std::move(split->final_graph), batch, layouts, team, workers);
}

std::map<std::string, Tensor> Evaluator::evaluate(Part part, const StepRunner& from, const ScalarValues& scalars, const DrawPosition& draws) {
  const std::vector<int64_t>& rows = data_.rows_of(part);
  ScalarValues known = scalars;
  known["rows"] = double(rows.size());
  return levels_->evaluate({rows, [&](StepRunner& runner) { data_.bind(runner, part); }}, from, known, draws, {}, stop_);
}

}  // namespace nnc
