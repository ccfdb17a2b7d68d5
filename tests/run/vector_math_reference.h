// The exact values that the inline functions are held to (codegen/vector_math_bounds.h): the C library's, in double for f32
// arguments (glibc's double functions are within 2 ULP of a double, 2^-28 ULP of a float) and in long double for f64.
#pragma once

#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "base/check.h"
#include "codegen/vector_math_bounds.h"
#include "tests/run/program_fixture.h"

namespace nnc::test {

struct MathReference {
  Op op;
  double low, high;  ///< where the function bends: sampled densely
  long double (*exact)(long double);
  double (*exact_double)(double);
};

template <class T>
T sign_of(T x) {
  return x > 0 ? T(1) : x < 0 ? T(-1) : x;
}
template <class T>
T sigmoid_of(T x) {
  return 1 / (1 + std::exp(-x));
}

/// erfc(-x / sqrt 2) / 2. The argument's rounding error, which the slope makes large far below zero, is put right to first order.
template <class T>
T normal_cdf_of(T x) {
  constexpr long double half_root = 0.70710678118654752440084436210484903928L;
  const T c = T(half_root), c_low = sizeof(T) == 8 ? T(half_root - (long double)(c)) : T(1.8950326e-20L);
  T t = -x * c;
  if (!std::isfinite(x)) return std::erfc(t) / 2;
  T lost = std::fma(-x, c, -t) - x * c_low;
  return (std::erfc(t) - lost * 2 * std::numbers::inv_sqrtpi_v<T> * std::exp(-t * t)) / 2;
}

#define NNC_MATH_REFERENCE(op, low, high, value) \
  {Op::op, low, high, [](long double x) -> long double { return value; }, [](double x) -> double { return value; }}
inline const std::vector<MathReference> math_references{
    NNC_MATH_REFERENCE(neg, -20, 20, -x),
    NNC_MATH_REFERENCE(abs, -20, 20, std::fabs(x)),
    NNC_MATH_REFERENCE(sign, -20, 20, sign_of(x)),
    NNC_MATH_REFERENCE(floor, -20, 20, std::floor(x)),
    NNC_MATH_REFERENCE(ceil, -20, 20, std::ceil(x)),
    NNC_MATH_REFERENCE(round, -20, 20, std::nearbyint(x)),
    NNC_MATH_REFERENCE(sqrt, 0, 4, std::sqrt(x)),
    NNC_MATH_REFERENCE(exp, -110, 95, std::exp(x)),
    NNC_MATH_REFERENCE(expm1, -20, 20, std::expm1(x)),
    NNC_MATH_REFERENCE(log, 0, 4, std::log(x)),
    NNC_MATH_REFERENCE(log1p, -1, 4, std::log1p(x)),
    NNC_MATH_REFERENCE(sin, -30, 30, std::sin(x)),
    NNC_MATH_REFERENCE(cos, -30, 30, std::cos(x)),
    NNC_MATH_REFERENCE(tanh, -10, 10, std::tanh(x)),
    NNC_MATH_REFERENCE(sigmoid, -100, 100, sigmoid_of(x)),
    NNC_MATH_REFERENCE(erf, -5, 5, std::erf(x)),
    NNC_MATH_REFERENCE(normal_cdf, -40, 10, normal_cdf_of(x)),
};
#undef NNC_MATH_REFERENCE

inline const MathBound& math_bound(Op op) {
  for (const MathBound& b : math_bounds)
    if (b.op == op) return b;
  NNC_UNREACHABLE("no bound is stated for " + std::string(op_name(op)));
}

/// A program of one kernel: y[i] = op(x[i]), or op(x[i], y[i]); x is persistent, the second operand a temporary, the result an
/// output.
inline ProgramFixture math_program(VectorLevel level, Op op, DType type, int64_t n, bool two_operands = false) {
  ProgramFixture f(level);
  f.buffer("x", BufferKind::persistent, type, {{n}});
  f.buffer("z", BufferKind::output, type, {{n}});
  if (two_operands) f.buffer("y", BufferKind::temporary, type, {{n}});
  f.kernels(fmt::format(R"(
  kernel f  # parallel, after a barrier
    for i < {0}  (vector along i):
      v0 = load x[i] : {1}
{2}      v2 = {3}({4}) : {1}
      z[i] <- v2 : {1}
)", n, dtype_name(type), two_operands ? fmt::format("      v1 = load y[i] : {}\n", dtype_name(type)) : "", op_name(op), two_operands ? "v0, v1" : "v0"));
  return f;
}

}  // namespace nnc::test
