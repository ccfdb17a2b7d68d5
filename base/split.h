// How a data block sets rows aside for the test or the validation of a run: declared in the language, drawn by the runtime.
#pragma once

#include <cstdint>
#include <string>

#include "base/source.h"

namespace nnc {

struct SplitSpec {
  enum class Kind : uint8_t { none, random, last, from };
  Kind kind = Kind::none;
  double fraction = 0;  ///< random, last: share of all rows, 0.2 for 20%
  std::string other;    ///< from: another data block, all of whose rows are the part; none of this block's are set aside
  Span span;
};

}  // namespace nnc
