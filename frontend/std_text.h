// The text of the standard library (frontend/std.nn), embedded in the binary by cmake/embed_std.cmake.
#pragma once

#include <cstddef>

namespace nnc {

extern const char* const std_nn_text;  ///< UTF-8, ends with a zero byte that std_nn_size does not count
extern const std::size_t std_nn_size;  ///< bytes

}  // namespace nnc
