// The names of the compiler's own functions.
#pragma once

#include <string_view>
#include <vector>

namespace nnc {

/// Words that stand for themselves, as values of options: `reduce: none`, `batch: all`, `pad: same`, `mode: reflect`.
inline bool is_option_word(std::string_view name) {
  for (std::string_view word : {"none", "all", "same", "valid", "nearest", "linear", "bilinear", "zero", "reflect", "edge"})
    if (name == word) return true;
  return false;
}

bool is_builtin_name(std::string_view name);
/// Sorted.
const std::vector<std::string_view>& builtin_names();

}  // namespace nnc
