// Below 2^51 the rounded quotient, cut to an integer, is the exact one or its neighbour away from zero: the remainder, which one FMA gives exactly, tells which
// (Markstein, "IA-64 and Elementary Functions", 2000). Beyond, digits are found one by one as on paper.
#include "base/floor_division.h"

#include <cmath>
#include <limits>

namespace nnc {
namespace {

/// value = digits * 2^exponent with 2^52 <= digits < 2^53, for a positive number, a denormal too.
struct Digits {
  explicit Digits(double value) {
    digits = uint64_t(std::frexp(value, &exponent) * 0x1p53);
    exponent -= 53;
  }
  uint64_t digits;
  int exponent;
};

/// For finite x and y, |x| >= |y| > 0. The digits of the quotient beyond the first 60 only decide how it is rounded.
double long_quotient(double x, double y) {
  Digits a(std::fabs(x)), b(std::fabs(y));
  uint64_t rest = a.digits, quotient = 0;
  int dropped = 0;
  bool any_dropped = false, all_dropped = true;
  for (int k = a.exponent - b.exponent; k >= 0; --k) {
    bool digit = rest >= b.digits;
    rest = (digit ? rest - b.digits : rest) * 2;
    if (quotient < uint64_t(1) << 60) {
      quotient = quotient * 2 + digit;
    } else {
      ++dropped;
      any_dropped |= digit;
      all_dropped &= digit;
    }
  }
  bool negative = std::signbit(x) != std::signbit(y);
  if (negative && rest != 0) {  // down is away from zero
    if (all_dropped) ++quotient;
    any_dropped = !all_dropped;
  }
  double magnitude = std::ldexp(double(quotient * 2 + any_dropped), dropped - 1);
  return negative ? -magnitude : magnitude;
}

}  // namespace

double floor_quotient(double x, double y) {
  double quotient = x / y;
  if (y == 0 || std::isnan(quotient)) return quotient;
  if (std::isinf(x)) return std::numeric_limits<double>::quiet_NaN();
  if (std::fabs(quotient) >= 0x1p51) return long_quotient(x, y);
  double whole = std::trunc(quotient);
  double rest = whole == 0 ? x : std::fma(-whole, y, x);
  return rest != 0 && (rest < 0) != (y < 0) ? whole - 1 : whole;
}

double floor_remainder(double x, double y) {
  double rest = std::fmod(x, y);
  if (rest == 0) return std::copysign(0.0, y);
  return (rest < 0) != (y < 0) ? rest + y : rest;
}

int64_t floor_quotient(int64_t x, int64_t y) {
  if (y == 0) return 0;
  if (y == -1) return int64_t(0 - uint64_t(x));
  return x / y - (x % y != 0 && (x < 0) != (y < 0));
}

int64_t floor_remainder(int64_t x, int64_t y) {
  if (y == 0 || y == -1) return 0;
  int64_t rest = x % y;
  return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}

}  // namespace nnc
