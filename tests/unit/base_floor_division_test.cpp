// Quotient and remainder that round down, against integers of 128 bits and what the language promises of special numbers.
#include "base/floor_division.h"

#include <cstdint>
#include <random>

#include "tests/floor_division_reference.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(), none = std::numeric_limits<double>::quiet_NaN();

bool same(double a, double b) { return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b); }

void check(double x, double y) {
  INFO(x << " by " << y);
  FloorDivision exact = exact_floor_division(x, y);
  CHECK(same(floor_remainder(x, y), exact.remainder));
  double quotient = floor_quotient(x, y);
  if (exact.quotient)
    CHECK(same(quotient, *exact.quotient));
  else
    CHECK((std::fabs(quotient - x / y) <= std::fabs(quotient) * 0x1p-52 || quotient == x / y));
}

}  // namespace

TEST_CASE("floor division of floats is exact", "[floor]") {
  for (double x : awkward_operands<double>())
    for (double y : awkward_operands<double>()) check(x, y);
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    auto draw = [&] { return std::ldexp(double(int64_t(random()) >> (random() % 62)), int(random() % 80) - 40); };
    double x = draw(), y = draw();
    if (x != 0 && y != 0) check(x, y);
  }
  // Multiples and their neighbours, whose rounded quotient is the same integer.
  for (double y : {41.0, 0.1, 1.0 / 3, 3e-310})
    for (double k = 1; k < 200; ++k)
      for (double x : {k * y, std::nextafter(k * y, inf), std::nextafter(k * y, -inf)}) check(x, y), check(-x, y);
}

TEST_CASE("floor division of special floats is Python's and NumPy's", "[floor]") {
  struct {
    double x, y, quotient, remainder;
  } cases[] = {{7, inf, 0, 7},     {-7, inf, -1, inf},  {7, -inf, -1, -inf}, {-7, -inf, 0, -7},   {inf, 2, none, none}, {-inf, inf, none, none}, {1, 0, inf, none},
               {-1, 0, -inf, none}, {1, -0.0, -inf, none}, {0, 0, none, none},   {inf, 0, inf, none},  {none, 2, none, none}, {2, none, none, none},    {0.0, 3, 0.0, 0.0},
               {-0.0, 3, -0.0, 0}, {0.0, -3, -0.0, -0.0}, {6, -3, -2, -0.0}, {-6, 3, -2, 0.0},    {1e8, 3, 33333333, 1}, {41, 41, 1, 0},     {-1e-320, 1e300, -1, 1e300},
               {0.0, inf, 0, 0},   {-0.0, inf, -0.0, 0.0}};
  for (auto [x, y, quotient, remainder] : cases) {
    INFO(x << " by " << y);
    CHECK(same(floor_quotient(x, y), quotient));
    CHECK(same(floor_remainder(x, y), remainder));
  }
}

TEST_CASE("floor division of integers is exact and never traps", "[floor]") {
  constexpr int64_t lowest = INT64_MIN, highest = INT64_MAX;
  const int64_t numbers[] = {0, 1, -1, 2, -2, 3, -3, 41, -41, (1 << 24) + 1, (int64_t(1) << 53) + 1, highest, highest - 1, lowest, lowest + 1};
  for (int64_t x : numbers)
    for (int64_t y : numbers) {
      INFO(x << " by " << y);
      int64_t quotient = floor_quotient(x, y), remainder = floor_remainder(x, y);
      if (y == 0) {
        CHECK((quotient == 0 && remainder == 0));
        continue;
      }
      CHECK(uint64_t(quotient) * uint64_t(y) + uint64_t(remainder) == uint64_t(x));
      CHECK((remainder == 0 || ((remainder < 0) == (y < 0) && (y > 0 ? remainder < y : remainder > y))));
    }
  CHECK(floor_quotient(lowest, int64_t(-1)) == lowest);
  CHECK(floor_quotient((int64_t(1) << 53) + 1, int64_t(1)) == (int64_t(1) << 53) + 1);
}
