// Names that people bring along from other languages and libraries, and what is written here instead.
#pragma once

#include <string>
#include <string_view>

namespace nnc {

/// One sentence for a message's help, "`mse` is called `mean_squared_error`"; "" if the name is not known from elsewhere.
std::string familiar_name_help(std::string_view name);

/// The same of `module.name` or `value.method`, where only `module` or `value` and the name after the point are given.
std::string familiar_path_help(std::string_view before, std::string_view name);

}  // namespace nnc
