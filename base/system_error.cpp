// The words of the C++ library, which are those of strerror without its state.
#include "base/system_error.h"

#include <system_error>

namespace nnc {

std::string error_text(int error_number) {
  std::string text = std::generic_category().message(error_number);
  if (text.size() > 1 && text[1] >= 'a' && text[0] >= 'A' && text[0] <= 'Z') text[0] += 'a' - 'A';
  return text;
}

}  // namespace nnc
