// The element-wise functions of the standard library, their slopes and what they are held to, over all f32 arguments (vector_math_sweep.cpp). The
// bounds are those that frontend/README.md states.
//
// References are in double, by forms in which nothing cancels. A value may be `bound` ULP off, or `least` times the smallest subnormal number where a factor
// of it is one. A slope is the sum of terms that cancel where it is zero, and of which a saturated function keeps an absolute error only: it may be
// `slope_bound` ULP of the larger of 1 and its value off.
#pragma once

#include <cmath>
#include <functional>
#include <numbers>
#include <string>
#include <vector>

#include "tests/run/vector_math_reference.h"

namespace nnc::test {

struct StdFunction {
  std::string code;  ///< of one x, as a program writes it
  double bound = 0, least = 0, slope_bound = 0;
  std::function<double(double)> exact, slope;
};

inline std::vector<StdFunction> std_functions() {
  using std::exp, std::expm1, std::log1p, std::fabs, std::tanh;
  constexpr double lambda = 1.0507009873554805, alpha = 1.6732632423543772, inv_root = 0.3989422804014326779;
  auto sigmoid = [](double x) { return sigmoid_of(x); };
  auto softplus = [](double x) { return (x > 0 ? x : 0.0) + log1p(exp(-fabs(x))); };
  auto cdf = [](double x) { return normal_cdf_of(x); };
  auto bell = [](double x) { return inv_root * exp(-x * x / 2); };
  auto inner = [](double x) { return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x); };
  auto inner_slope = [](double x) { return std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x); };
  auto sech2 = [](double x) {  // 1 - tanh^2
    double t = exp(-2 * fabs(x));
    return 4 * t / ((1 + t) * (1 + t));
  };
  // Where one factor is 0 the product is, whatever the other has grown to.
  auto times = [](double a, double b) { return a == 0 ? 0 : a * b; };
  return {
      {"relu(x)", 0, 0, 0, [](double x) { return x <= 0 ? 0 : x; }, [](double x) { return x <= 0 ? 0.0 : 1.0; }},
      {"relu6(x)", 0, 0, 0, [](double x) { return x <= 0 ? 0 : x >= 6 ? 6 : x; }, [](double x) { return x <= 0 || x >= 6 ? 0.0 : 1.0; }},
      {"leaky_relu(x)", 1.5, 0, 1, [](double x) { return x > 0 ? x : 0.01 * x; }, [](double x) { return x > 0 ? 1 : 0.01; }},
      {"softplus(x)", 3, 0, 3, softplus, sigmoid},
      {"softsign(x)", 1.5, 0, 3, [](double x) { return x / (1 + fabs(x)); }, [](double x) { return 1 / ((1 + fabs(x)) * (1 + fabs(x))); }},
      {"log_sigmoid(x)", 3, 0, 3, [=](double x) { return -softplus(-x); }, [=](double x) { return sigmoid(-x); }},
      {"elu(x)", 2, 0, 2, [](double x) { return x > 0 ? x : expm1(x); }, [](double x) { return x > 0 ? 1 : exp(x); }},
      {"selu(x)", 4, 0, 4, [](double x) { return lambda * (x > 0 ? x : alpha * expm1(x)); }, [](double x) { return lambda * (x > 0 ? 1 : alpha * exp(x)); }},
      {"celu(x)", 2, 0, 2, [](double x) { return x > 0 ? x : expm1(x); }, [](double x) { return x > 0 ? 1 : exp(x); }},
      {"silu(x)", 4, 96, 16, [=](double x) { return x * sigmoid(x); }, [=](double x) { return sigmoid(x) + times(sigmoid(x) * sigmoid(-x), x); }},
      {"mish(x)", 8, 64, 16, [=](double x) { return x * tanh(softplus(x)); },
       [=](double x) { return tanh(softplus(x)) + times(sech2(softplus(x)) * sigmoid(x), x); }},
      {"gelu(x)", 7, 16, 8, [=](double x) { return x * cdf(x); }, [=](double x) { return cdf(x) + times(bell(x), x); }},
      {"gelu(x, approximate: tanh)", 256, 16, 24, [=](double x) { return x * sigmoid(2 * inner(x)); },
       [=](double x) { return sigmoid(2 * inner(x)) + times(sigmoid(2 * inner(x)) * sigmoid(-2 * inner(x)), 2 * x * inner_slope(x)); }},
      {"hardtanh(x)", 0, 0, 0, [](double x) { return x <= -1 ? -1 : x >= 1 ? 1 : x; }, [](double x) { return x <= -1 || x >= 1 ? 0.0 : 1.0; }},
      // Of the compiler's own functions the slopes.
      {"sigmoid(x)", 2.5, 0, 4, sigmoid, [=](double x) { return sigmoid(x) * sigmoid(-x); }},
      {"tanh(x)", 2.5, 0, 6, [](double x) { return tanh(x); }, sech2},
      {"erf(x)", 2.2, 0, 4, [](double x) { return std::erf(x); }, [](double x) { return 2 * std::numbers::inv_sqrtpi * exp(-x * x); }},
      {"normal_cdf(x)", 6, 0, 4, cdf, bell},
  };
}

}  // namespace nnc::test
