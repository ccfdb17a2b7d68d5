// The division that rounds down: quotient `x // y` and remainder `x % y` of the language, in one place for the frontend's numbers and the interpreters.
// Generated code computes the same bits (codegen/floor_division.cpp).
//
// Floats: the quotient is the largest integer not above the exact quotient of x and y, rounded once to the type where it has more digits than the type; the
// remainder is x - y * floor(x / y), rounded once, with the sign of y (also where it is 0). As in Python and NumPy: x // 0 is x / 0 (an infinity or NaN) and
// x % 0 is NaN; of an infinite x both are NaN; for a finite x and an infinite y of the same sign they are 0 and x, of the other sign -1 and y.
//
// Integers: exact. A division by 0 gives the quotient 0 and the remainder 0, as in NumPy; the lowest integer // -1 wraps around to itself.
#pragma once

#include <cstdint>

namespace nnc {

double floor_quotient(double x, double y);
double floor_remainder(double x, double y);

int64_t floor_quotient(int64_t x, int64_t y);
int64_t floor_remainder(int64_t x, int64_t y);

}  // namespace nnc
