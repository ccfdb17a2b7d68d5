// Places in source files as both textual representations write them, turned into spans again.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/source.h"

namespace nnc {

/// Line and column, from 1, of a file that need not be at hand.
struct WrittenPlace {
  std::string path;
  int64_t line = 0, column = 0;
  Span written;  ///< where the text says so
};

inline constexpr int64_t max_written_line = 10'000'000, max_written_column = 100'000;

/// Sets each span to its place. A file that the map does not hold with such lines gets an entry made of blanks, in proportion to `text_size`, the size of
/// the text that names it. A place that reaches further is returned, and the rest left as it is; else null.
const WrittenPlace* resolve_places(SourceMap&, const std::vector<std::pair<const WrittenPlace*, Span*>>& places, size_t text_size);

}  // namespace nnc
