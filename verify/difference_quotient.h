// Difference quotients, and how far to trust them.
//
// All of it is 64-bit arithmetic, in which central differences with Richardson extrapolation over three step sizes h, h/2, h/4
// (an error of h^6) reach ten to twelve digits. The two extrapolations, of two and of three steps, differ by about the error of
// the better; with the rounding error of the quotient that is what a result may be off by. Several h are tried, from a coarse one
// that depends on the scale of the function to a fine one, and the one with the smallest such error counts. A complex step would
// be as sharp for smooth operations, but has no meaning for those with corners (max, abs, select, a rounding), and each operation
// of the oracle would have to exist a second time; extended precision gains digits that the rules, themselves in 64 bits, do not
// have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "verify/gradient_check.h"

namespace nnc {

/// A difference quotient and what it may be off by.
struct Quotient {
  double value = 0, error = std::numeric_limits<double>::infinity();
};

/// From central differences at h, h/2, h/4 and the magnitude of the function's values.
Quotient extrapolate(double d1, double d2, double d3, double magnitude, double h);

/// The same to one side: errors of h and h^2 are eliminated.
Quotient extrapolate_one_side(double d1, double d2, double d3, double magnitude, double h);

/// At ten times the quotient's own error this reaches the tolerance, whatever the magnitude.
double relative_error(double rule, const Quotient&, double tolerance);

void note_worst(WorstGradient& worst, bool& failed, double tolerance, WorstGradient candidate);

/// " at [0, 2]"; "" for a scalar.
std::string index_text(size_t element, const std::vector<int64_t>& shape);

/// `count` of `total` numbers, spread evenly, first and last among them.
std::vector<size_t> spread(size_t total, size_t count);

}  // namespace nnc
