// Checks for bugs in nnc itself. A failed NNC_CHECK is never the user's fault: the driver reports it as an internal
// error, asks for the input file and exits with 70. Wrong user input is reported through base/diagnostics.h instead.
#pragma once

#include <stdexcept>
#include <string>

namespace nnc {

/// Thrown by NNC_CHECK; what() holds the condition, the place in nnc's source and the message.
struct InternalError : std::logic_error {
  using std::logic_error::logic_error;
};

[[noreturn]] void check_failed(const char* condition, const char* file, int line, const std::string& message);

}  // namespace nnc

/// NNC_CHECK(condition, message): message is any expression convertible to std::string; evaluated only on failure.
#define NNC_CHECK(condition, ...)                                                          \
  do {                                                                                     \
    if (!(condition)) [[unlikely]]                                                         \
      ::nnc::check_failed(#condition, __FILE__, __LINE__, std::string{__VA_ARGS__});       \
  } while (false)

/// A place that cannot be reached unless nnc has a bug.
#define NNC_UNREACHABLE(...) ::nnc::check_failed("unreachable", __FILE__, __LINE__, std::string{__VA_ARGS__})
