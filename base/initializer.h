// Initial values of a stored tensor, as one of a closed set of draws. std.nn computes the scales at compile time, the runtime draws.
#pragma once

#include <cstdint>

namespace nnc {

struct Initializer {
  enum class Kind : uint8_t { constant, normal, uniform, truncated_normal, orthogonal };
  Kind kind = Kind::constant;
  double a = 0;  ///< constant: value; normal, truncated_normal: mean; uniform: low; orthogonal: gain
  double b = 0;  ///< normal, truncated_normal: standard deviation; uniform: high
  int64_t zero_row = -1;  ///< of the first dimension: it begins as 0, whatever was drawn; -1: none
  bool operator==(const Initializer&) const = default;
};

}  // namespace nnc
