// Initial values of parameters: a closed set of draws, each depending on the run's seed and the parameter's full name only.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/initializer.h"

namespace nnc {

/// Row-major values. truncated_normal stays within two standard deviations; orthogonal makes the matrix [shape[0], rest] have orthonormal rows or
/// columns, whichever are fewer (Saxe, McClelland, Ganguli 2013).
std::vector<double> draw(const Initializer&, const std::vector<int64_t>& shape, uint64_t seed, std::string_view name);

}  // namespace nnc
