// Program text as a whole: a file, a pipe, a terminal.
#pragma once

#include <string>

namespace nnc {

/// No .nn or .nnir file is larger: places in it are 32-bit numbers, and so long a text is not one that somebody wrote.
inline constexpr size_t largest_text = size_t{256} << 20;

/// The whole content. A pipe is read to its end if somebody writes to it (`nnc check <(...)`), or refused after ten seconds
/// without a byte. Devices are refused. Throws UserError E0402.
std::string read_text(const std::string& path);

}  // namespace nnc
