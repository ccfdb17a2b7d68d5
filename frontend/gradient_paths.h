// Parameters that cannot train.
#pragma once

#include "frontend/evaluator.h"

namespace nnc {

/// Reports parameters that never reach the loss (E0203), and those to which no gradient comes back from it (E0302).
void check_gradient_paths(SymbolicEvaluator& eval, NodeId loss);

}  // namespace nnc
