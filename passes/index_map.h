// Indices of one value in terms of those of another, or of a kernel's axes.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace nnc {

/// Index along one dimension of a node: a sum of indices of kernel axes, each times its factor, + offset + integer value `value` (if >= 0).
struct IndexTerm {
  IndexTerm() = default;
  IndexTerm(int axis, int64_t offset, int value) : offset(offset), value(value) {
    if (axis >= 0) axes.push_back({axis, 1});
  }
  std::vector<std::pair<int, int64_t>> axes;  ///< ascending axes, each once; factors are not 0
  int64_t offset = 0;
  int value = -1;
  auto operator<=>(const IndexTerm&) const = default;
};
using IndexMap = std::vector<IndexTerm>;

/// An index by those of a value, where each of these is what `map` says, none of them a computed one.
inline IndexTerm composed(const IndexTerm& term, const IndexMap& map) {
  IndexTerm result;
  result.offset = term.offset;
  std::map<int, int64_t> factors;
  for (auto [axis, factor] : term.axes) {
    result.offset += factor * map[size_t(axis)].offset;
    for (auto [own, own_factor] : map[size_t(axis)].axes) factors[own] += factor * own_factor;
  }
  for (auto [own, factor] : factors)
    if (factor != 0) result.axes.push_back({own, factor});
  return result;
}

}  // namespace nnc
