// The names of the compiler's own functions.
#pragma once

#include <string_view>
#include <vector>

namespace nnc {

bool is_builtin_name(std::string_view name);
/// Sorted.
const std::vector<std::string_view>& builtin_names();

}  // namespace nnc
