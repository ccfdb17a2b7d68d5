// Contractions.
#pragma once

#include "frontend/value.h"

namespace nnc {

class SymbolicEvaluator;

/// `sum(a * b * ..., over: D)`: one contraction where D stands in two factors or more, else the product, reduced.
Value sum_of_product(SymbolicEvaluator& eval, const ast::Expr& e, Span name_span);

}  // namespace nnc
