// Mathematical functions emitted inline, for scalars and vectors of f32 and f64 alike. Bounds are stated in
// vector_math_bounds.h, methods in vector_math.cpp.
#pragma once

#include "codegen/emitter.h"

namespace nnc {

/// The value of a unary floating-point op (floor, ceil, round, sqrt, exp, expm1, log, log1p, sin, cos, tanh, sigmoid, erf, normal_cdf) of x.
llvm::Value* emit_unary_math(Emitter&, Op, llvm::Value* x);
/// x ^ y
llvm::Value* emit_pow(Emitter&, llvm::Value* x, llvm::Value* y);

}  // namespace nnc
