// Definitions on their own: for `nnc run`, where inputs have given shapes or those that the head declares, and for prediction.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "frontend/evaluator.h"

namespace nnc {

/// One builder makes one graph; each function gives nothing after an error.
class DefinitionBuilder {
 public:
  DefinitionBuilder(const Program& program, Diagnostics& diagnostics) : eval_(program, diagnostics, false) {}

  std::optional<BuiltGraph> build(const std::string& name, const std::vector<ArgumentSpec>& actual,
                                  const std::map<std::string, int64_t>& dims);
  std::optional<BuiltGraph> build_declared(const std::string& name, const std::vector<ArgumentSpec>& described,
                                           const std::map<std::string, int64_t>& dims);
  std::optional<BuiltGraph> build_predict(const TrainSpec& spec);

 private:
  std::optional<BuiltGraph> build_call(const Definition& d, const std::vector<ArgumentSpec>& actual,
                                       const std::map<std::string, int64_t>& dims, std::vector<CallArgument> statics = {},
                                       const std::vector<CallArgument>& others = {}, const std::string& path = {});
  bool is_builtin(const std::string& name) const;  ///< a function of the compiler that takes values, which no definition hides
  std::optional<BuiltGraph> build_builtin(const std::string& name, const std::vector<ArgumentSpec>& actual);
  std::optional<BuiltGraph> build_if_builtin(const std::string& name, const std::vector<ArgumentSpec>& actual);
  const Global* find_evaluated(const std::string& name);  ///< a layer, fn or model by name, or an error
  std::optional<Dim> class_size_from_others(const Definition& d, const std::string& name, const std::vector<ArgumentSpec>& actual);

  SymbolicEvaluator eval_;
  EvaluationContext& ctx_ = eval_.ctx;
  TensorBuilder& tensors_ = eval_.tensors;
};

}  // namespace nnc
