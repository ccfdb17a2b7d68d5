// A failed check becomes an exception, so that the driver can name the user's file in its report and leave with status 70.
#include "base/check.h"

#include <fmt/format.h>

namespace nnc {

void check_failed(const char* condition, const char* file, int line, const std::string& message) {
  throw InternalError(message.empty() ? fmt::format("{}:{}: check `{}` failed", file, line, condition)
                                      : fmt::format("{}:{}: check `{}` failed: {}", file, line, condition, message));
}

}  // namespace nnc
