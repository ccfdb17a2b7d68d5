// What the system says of a call that failed.
#pragma once

#include <string>

namespace nnc {

/// The system's words for an errno value, lower case: "no such file or directory".
std::string error_text(int error_number);

}  // namespace nnc
