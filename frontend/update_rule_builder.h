// The rule of one parameter: the optimizer's body evaluated over `value` and `grad`.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "frontend/evaluator.h"

namespace nnc {

class UpdateRuleBuilder {
 public:
  /// A scalar of the run for every hyperparameter is added to `scalars` if given.
  UpdateRuleBuilder(const Program& program, Diagnostics& diagnostics, const ParameterSpec& parameter, std::vector<ScalarSpec>* scalars);

  /// The rule of the optimizer that is called in a `using` clause; hyperparameters have paths under `prefix`. Nothing after an error; once.
  std::optional<UpdateRule> build(const ast::Argument& item, const std::string& prefix);

 private:
  Value evaluate_hyperparameter(const ast::Expr& e, const std::string& path, bool is_fixed);
  Value as_run_scalar(Value v, const std::string& path, Span span, bool is_fixed);
  const Definition* find_optimizer(const ast::Expr& e);
  void bind_value_and_gradient(Span span);
  bool bind_hyperparameters(const Definition& d, const std::vector<const CallArgument*>& arguments, const std::set<std::string>& fixed,
                            const std::string& prefix, Span call);

  SymbolicEvaluator eval_;
  EvaluationContext& ctx_ = eval_.ctx;
  TensorBuilder& tensors_ = eval_.tensors;
  const ParameterSpec& parameter_;
  std::vector<ScalarSpec>* scalars_;
  OptimizedValue optimized_;
};

}  // namespace nnc
