// Probabilities are never normalised: weights e^((score - largest) / temperature) are compared with shares of their sum.
#include "engine/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/check.h"

namespace nnc {

double exp_of_negative(double x) {
  if (!(x >= -708)) return 0;
  // x = n * log(2) + r, |r| <= log(2) / 2; log(2) in two parts, of which the first has zeros at its end, so that n times it is exact.
  constexpr double log2_high = 0x1.62e42fefa0000p-1, log2_low = 0x1.cf79abc9e3b39p-40, per_log2 = 0x1.71547652b82fep+0;
  const double n = std::nearbyint(x * per_log2), r = (x - n * log2_high) - n * log2_low;
  double sum = 1;  // Taylor's series from its end: the first term left out is below 2^-57
  for (int k = 14; k > 0; --k) sum = 1 + r / k * sum;
  return std::ldexp(sum, int(n));
}

int32_t Sampler::choose(std::span<const double> scores) {
  NNC_CHECK(!scores.empty(), "a token of none");
  const double largest = *std::ranges::max_element(scores);
  if (options_.temperature == 0) return int32_t(std::ranges::max_element(scores) - scores.begin());
  std::vector<double> weights;
  for (double score : scores) weights.push_back(score == largest ? 1 : exp_of_negative((score - largest) / options_.temperature));
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const int64_t k = options_.top_k == 0 ? int64_t(order.size()) : std::min(options_.top_k, int64_t(order.size()));
  if (k < int64_t(order.size()) || options_.top_p < 1) {
    std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return scores[size_t(a)] > scores[size_t(b)]; });
    order.resize(size_t(k));
    if (options_.top_p < 1) {
      double all = 0, sum = 0;
      for (int32_t token : order) all += weights[size_t(token)];
      size_t kept = 0;
      while (kept < order.size() && (kept == 0 || sum < options_.top_p * all)) sum += weights[size_t(order[kept++])];
      order.resize(kept);
    }
    std::ranges::sort(order);
  }
  double all = 0, passed = 0;
  for (int32_t token : order) all += weights[size_t(token)];
  const double mark = random_.next_unit() * all;
  int32_t chosen = -1;
  for (int32_t token : order) {
    if (weights[size_t(token)] == 0) continue;
    chosen = token;
    passed += weights[size_t(token)];
    if (passed > mark) break;
  }
  return chosen;
}

}  // namespace nnc
