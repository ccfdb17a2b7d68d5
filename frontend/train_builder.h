// The train block: what a run needs beside graphs, and the forward graph with loss and reports. One builder does one of the two, once.
#pragma once

#include <optional>
#include <string>

#include "frontend/evaluator.h"

namespace nnc {

class TrainBuilder {
 public:
  TrainBuilder(const Program& program, Diagnostics& diagnostics, bool training) : eval_(program, diagnostics, training) {}

  TrainSpec evaluate_spec();
  /// Outputs: "loss" and the reports. Nothing after an error.
  std::optional<BuiltGraph> build(const TrainSpec& spec);
  /// What the walk over the block found, for prediction and for trials.
  const SymbolicEvaluator& evaluator() const { return eval_; }

 private:
  Value option_value(const ast::Argument& a, const std::string& path);

  SymbolicEvaluator eval_;
  EvaluationContext& ctx_ = eval_.ctx;
  TensorBuilder& tensors_ = eval_.tensors;
};

}  // namespace nnc
