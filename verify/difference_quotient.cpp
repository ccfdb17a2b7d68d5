// Extrapolation, and the comparison with what a rule gives.
#include "verify/difference_quotient.h"

#include <algorithm>
#include <cmath>

#include "engine/tensors.h"

namespace nnc {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();

}  // namespace

Quotient extrapolate(double d1, double d2, double d3, double magnitude, double h) {
  double r1 = (4 * d2 - d1) / 3, r2 = (4 * d3 - d2) / 3, r = (16 * r2 - r1) / 15;
  Quotient q{r, std::fabs(r - r2) + 16 * epsilon * magnitude / h};
  if (!std::isfinite(q.value) || !std::isfinite(q.error)) q = {};
  return q;
}

Quotient extrapolate_one_side(double d1, double d2, double d3, double magnitude, double h) {
  double r1 = 2 * d2 - d1, r2 = 2 * d3 - d2, r = (4 * r2 - r1) / 3;
  Quotient q{r, std::fabs(r - r2) + 16 * epsilon * magnitude / h};
  if (!std::isfinite(q.value) || !std::isfinite(q.error)) q = {};
  return q;
}

double relative_error(double rule, const Quotient& q, double tolerance) {
  if (std::isnan(rule)) return std::numeric_limits<double>::infinity();
  double diff = std::fabs(rule - q.value);
  if (diff == 0) return 0;
  return diff / (std::max(std::fabs(rule), std::fabs(q.value)) + 10 * q.error / tolerance);
}

std::string index_text(size_t element, const std::vector<int64_t>& shape) {
  return shape.empty() ? "" : " at " + shape_text(index_of(element, shape));
}

void note_worst(WorstGradient& worst, bool& failed, double tolerance, WorstGradient candidate) {
  if (candidate.error > tolerance) failed = true;
  if (candidate.error >= worst.error) worst = std::move(candidate);
}

std::vector<size_t> spread(size_t total, size_t count) {
  std::vector<size_t> chosen;
  if (total <= count) {
    for (size_t i = 0; i < total; ++i) chosen.push_back(i);
    return chosen;
  }
  for (size_t k = 0; k < count; ++k) chosen.push_back(count == 1 ? 0 : k * (total - 1) / (count - 1));
  return chosen;
}

}  // namespace nnc
