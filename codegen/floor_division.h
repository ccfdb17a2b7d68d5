// `x // y` and `x % y`, inline, for scalars and vectors of i32, i64, f32 and f64 alike: the bits of base/floor_division.h.
#pragma once

#include "codegen/emitter.h"

namespace nnc {

/// `op` is floor_div or floor_mod; the operands have one type.
llvm::Value* emit_floor_division(Emitter&, Op op, llvm::Value* x, llvm::Value* y);

}  // namespace nnc
