// Selection by name and views.
#pragma once

#include "frontend/value.h"

namespace nnc {

class SymbolicEvaluator;

Value select(SymbolicEvaluator& eval, const TensorValue& t, const ast::Expr& e);  ///< `x[T: 3]`, `x[T: 0..16]`, `table[Vocab: tokens]`
Value view(SymbolicEvaluator& eval, const TensorValue& t, const ast::Expr& e);    ///< `x as [B, T, Heads, D]`

}  // namespace nnc
