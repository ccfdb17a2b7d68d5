// Conditions of a definition, `where C % Heads == 0`: what each says of one call.
#pragma once

#include "frontend/evaluator.h"

namespace nnc {

/// In the frame of the call, after its arguments are bound. False after an error (on trial: without one), where the condition does not hold. What only the number of
/// rows decides is noted in EvaluationContext::row_conditions, for whoever knows it.
bool check_condition(SymbolicEvaluator& eval, const Definition& d, const ast::Expr& condition);

}  // namespace nnc
