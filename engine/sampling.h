// A token from the scores that a model gives for what may come next. README.md, "Generation", says in which order what is computed.
#pragma once

#include <cstdint>
#include <span>

#include "base/philox.h"

namespace nnc {

struct SamplingOptions {
  double temperature = 1;  ///< 0: the largest score, always; else finite and above 0: scores are divided by it
  int64_t top_k = 0;       ///< of the largest scores so many stay; 0: all
  double top_p = 1;        ///< in (0, 1]: of those, the likeliest whose probabilities sum up to at least so much
};

class Sampler {
 public:
  Sampler(SamplingOptions options, uint64_t seed) : options_(options), random_(seed, stable_hash("generate")) {}
  /// Scores as a softmax takes them: no NaN, the largest finite; -inf is a token that never comes. Draws one number, none at temperature 0.
  int32_t choose(std::span<const double> scores);

 private:
  SamplingOptions options_;
  RandomStream random_;
};

/// e^x for x <= 0, by additions and products of f64 alone, so that it is the same number on every machine; off by 2 ULP at most, 0 below -708.
double exp_of_negative(double x);

}  // namespace nnc
