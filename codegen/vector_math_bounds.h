// How far each function of vector_math.cpp may be from the exact value, in units in the last place (ULP) of the exact value
// rounded to the type: the one statement of it, which the tests read (tests/run/vector_math_test.cpp: a fixed sample, f32 and
// f64; tests/exhaustive/vector_math_sweep.cpp: all 2^32 arguments in f32). A result that is the exact value correctly rounded is
// within 0.5. What overflows or underflows counts as if exponents had no end above (2^128 stands for infinity) and as denormals
// below.
//
// The bounds hold for every argument of the type, denormals and the largest included, and on every vector level. Special
// arguments and the signs of zeros are as in C's <math.h>: exactly, no bound applies to them.
#pragma once

#include "ir/graph.h"

namespace nnc {

struct MathBound {
  Op op;
  double f32, f64;  ///< ULP
};

inline constexpr MathBound math_bounds[] = {
    {Op::neg, 0, 0},      {Op::abs, 0, 0},      {Op::sign, 0, 0},      {Op::floor, 0, 0},   {Op::ceil, 0, 0},  {Op::round, 0, 0},
    {Op::sqrt, 0.5, 0.5}, {Op::exp, 1.1, 1},    {Op::expm1, 2, 1},     {Op::log, 1, 1},     {Op::log1p, 1, 1}, {Op::sin, 1.5, 1},
    {Op::cos, 1.5, 1},    {Op::tanh, 2.5, 2.5}, {Op::sigmoid, 2.5, 2}, {Op::erf, 2.2, 1.5},
    {Op::normal_cdf, 6, 6},
};

/// x ^ y in f32; in f64 it is pow_bound_f64(y log x), since the logarithm carries only its own precision.
inline constexpr double pow_bound_f32 = 1;
inline constexpr double pow_bound_f64(double magnitude) { return 4 * (1 + magnitude); }

}  // namespace nnc
