// UTF-8: which bytes form a code point.
#pragma once

#include <cstddef>
#include <string_view>

namespace nnc {

/// Bytes of the sequence at text[at]; 0 if it is malformed (over-long forms, surrogates and points beyond Unicode included).
size_t utf8_length(std::string_view text, size_t at);

/// Where the first malformed sequence begins; npos if there is none.
size_t find_malformed_utf8(std::string_view text);

}  // namespace nnc
