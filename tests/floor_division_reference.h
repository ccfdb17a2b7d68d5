// `//` and `%` of floats from integers of 128 bits: what base/floor_division.cpp and generated code are held against, by another way than theirs.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace nnc::test {

struct FloorDivision {
  std::optional<double> quotient;  ///< none where it has more than 70 digits, which 128 bits do not hold
  double remainder;
};

/// Of two finite numbers that are not 0; results rounded to Float.
template <class Float>
FloorDivision exact_floor_division(Float x, Float y) {
  using Wide = unsigned __int128;
  auto split = [](double v, uint64_t& digits) {
    int exponent;
    digits = uint64_t(std::frexp(std::fabs(v), &exponent) * 0x1p53);
    return exponent - 53;
  };
  uint64_t a, b;
  int gap = split(double(x), a), unit = split(double(y), b);
  gap -= unit;
  bool below_zero = std::signbit(x) != std::signbit(y);
  auto signed_like_y = [&](Float v) { return double(std::copysign(v, y)); };
  if (gap < -70) return {below_zero ? -1.0 : 0.0, below_zero ? double(y) : double(x)};
  Wide rest, quotient = 0;
  if (gap < 0) {
    Wide divisor = Wide(b) << -gap;
    unit += gap;
    quotient = a / divisor;
    rest = a % divisor;
    if (below_zero && rest != 0) ++quotient, rest = divisor - rest;
  } else {
    Wide power = 1, base = 2;  // 2^gap modulo b
    for (int k = gap; k > 0; k /= 2, base = base * base % b)
      if (k % 2) power = power * base % b;
    rest = a % b * power % b;
    if (gap <= 70) quotient = (Wide(a) << gap) / b;
    if (below_zero && rest != 0) ++quotient, rest = b - rest;
  }
  std::optional<double> rounded;
  if (gap <= 70) rounded = below_zero ? -double(Float(quotient)) : double(Float(quotient));
  return {rounded, signed_like_y(Float(std::ldexp(Float(rest), unit)))};
}

/// Numbers on which a division goes wrong first, of both signs.
template <class Float>
std::vector<Float> awkward_operands() {
  using Limits = std::numeric_limits<Float>;
  const Float whole = std::ldexp(Float(1), Limits::digits);  // from here on there are only integers
  std::vector<Float> list{1,     3,         7,         41,        47,          Float(0.1),           Float(1) / 3,       Float(1e8),
                          whole, whole - 1, whole + 2, whole / 2, whole / 2 - Float(0.5), Limits::denorm_min(), 3 * Limits::denorm_min(), Limits::min(),
                          Limits::min() - Limits::denorm_min(), Limits::max(), Limits::max() / 3, Float(0x1p31), Float(16777215), Float(5e-39), Float(2.5), Float(255)};
  for (size_t n = list.size(), i = 0; i < n; ++i) list.push_back(-list[i]);
  return list;
}

}  // namespace nnc::test
