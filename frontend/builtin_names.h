// The names of the compiler's own functions.
#pragma once

#include <string_view>
#include <vector>

namespace nnc {

/// `none`, `all`, `same`, `valid`: words that stand for themselves, as values of options.
inline bool is_option_word(std::string_view name) { return name == "none" || name == "all" || name == "same" || name == "valid"; }

bool is_builtin_name(std::string_view name);
/// Sorted.
const std::vector<std::string_view>& builtin_names();

}  // namespace nnc
