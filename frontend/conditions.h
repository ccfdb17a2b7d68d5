// Conditions of a definition, `where C % Heads == 0`: what each says of one call.
#pragma once

#include "frontend/evaluator.h"

namespace nnc {

/// In the frame of the call, after its arguments are bound. False after an error (on trial: without one), where the condition does not hold. What only the number of
/// rows decides is noted in EvaluationContext::row_conditions, for whoever knows it.
bool check_condition(SymbolicEvaluator& eval, const Definition& d, const ast::Condition& condition);

/// The names in a reason's text whose values stand there, in order: "a stride is at least 1, found {stride}".
std::vector<std::string_view> names_in(std::string_view reason);
/// The text with their values in place of them.
std::string fill_in(SymbolicEvaluator& eval, const ast::Text& reason);

}  // namespace nnc
