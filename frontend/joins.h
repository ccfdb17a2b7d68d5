// Functions of the compiler that join values and cut them: `concat(a, b, over: C)`, `split(x, 2, over: C)`; and `pair(x)`, two numbers where one may stand for both.
#pragma once

#include "frontend/builtins.h"

namespace nnc {

Value builtin_concat(SymbolicEvaluator& eval, const BuiltinCall& call);
/// A tuple of its parts.
Value builtin_split(SymbolicEvaluator& eval, const BuiltinCall& call);
/// A tuple of two as it is; of anything else a tuple of it twice.
Value builtin_pair(SymbolicEvaluator& eval, const BuiltinCall& call);

}  // namespace nnc
