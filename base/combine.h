// How partial results become one.
#pragma once

#include <cstdint>

namespace nnc {

/// `mean` and `last` are for values of whole steps: weighted by rows, and the last one's. Largest and smallest keep NaN.
enum class Combine : uint8_t { sum, max, min, mean, last };

}  // namespace nnc
