// Which elements of a buffer an access touches over all indices, and whether two accesses have one in common.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "ir/program.h"

namespace nnc {

/// offset + a sum of steps, each a stride times an index from 0 to below its size; in elements.
struct Places {
  int64_t offset = 0;
  std::vector<std::pair<int64_t, int64_t>> steps;  ///< stride and size of axes with several indices and a stride
  bool nothing = false;                            ///< an axis has no index at all

  void add(int64_t stride, int64_t size);
  int64_t points() const;  ///< indices, not elements: as many if it is one-to-one
};

/// Of an access without a computed index, over the axes from number `first` on that it moves along: an axis without indices that does not move it may be none that it runs over.
Places places_of(const Access&, const std::vector<Axis>& axes, int64_t rows, size_t first = 0);

enum class Meeting : uint8_t { apart, meet, unknown };
/// Whether both have an element in common. `unknown` where strides are so entangled that finding out would take long, which no layout makes them.
Meeting meeting(const Places&, const Places&);

/// Whether two kernels do nothing else to a buffer than to store elements that they do not have in common, as those who make parts of a value do.
bool store_apart(const Program&, const Kernel&, const Kernel&, BufferId);

}  // namespace nnc
