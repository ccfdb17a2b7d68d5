// Names that people bring along from other languages and libraries, and what is written here instead.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nnc {

/// One sentence for a message's help, "`mse` is called `mean_squared_error`"; "" if the name is not known from elsewhere.
std::string familiar_name_help(std::string_view name);

/// Of an option that a definition does not have: which of its own options is called so elsewhere, `pad` for `padding`; "" if none is.
std::string familiar_option(std::string_view name, const std::vector<std::string>& own);

/// One sentence on an option that is known from elsewhere and that nothing here has, `in_channels`; "" if it is not known.
std::string familiar_option_help(std::string_view name);

/// The same of `module.name` or `value.method`, where only `module` or `value` and the name after the point are given.
std::string familiar_path_help(std::string_view before, std::string_view name);

}  // namespace nnc
