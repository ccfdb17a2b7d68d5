// Calls of models: the same call is one value, and the first of `train` says what prediction runs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "frontend/context.h"

namespace nnc {

struct ModelCall {
  const Definition* definition;
  std::string path;
  std::vector<CallArgument> statics, arguments;  ///< all under their parameters' names, in their order; defaults left out
  bool is_outermost;                             ///< not called by another model
  std::vector<ArgumentSpec> inputs;              ///< the arguments that are tensors, as the model sees them
  Value result;
};

/// A call as far as it is known before its body: what makes two calls the same, whatever way they are written. Nothing after an error.
std::optional<ModelCall> begin_model_call(EvaluationContext& ctx, const Definition& d, const std::string& path,
                                          const std::vector<CallArgument>& statics, const std::vector<CallArgument>& arguments, Span span);

/// Whether the two mean one value.
bool is_same_call(const ModelCall& a, const ModelCall& b);

/// What a model takes, as it sees it in the innermost frame, which is its own: the inputs of prediction.
std::vector<ArgumentSpec> model_inputs(const EvaluationContext& ctx, const std::vector<CallArgument>& arguments);

}  // namespace nnc
