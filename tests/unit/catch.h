// Catch2, version 2 (Debian 12) or 3 (Debian 13, Ubuntu 24.04), under one name. Tests may use TEST_CASE, SECTION, CHECK, REQUIRE,
// CHECK_THROWS_AS, CHECK_THAT, INFO, CAPTURE, GENERATE, Approx and the two matchers below.
#pragma once

#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
using Catch::Approx;
#define NNC_CATCH2_VERSION 3
#else
#include <catch2/catch.hpp>
#define NNC_CATCH2_VERSION 2
#endif

namespace nnc::test {

/// Matcher: the string contains `part`. CHECK_THAT(text, contains("error[E0101]"))
inline auto contains(const std::string& part) {
#if NNC_CATCH2_VERSION == 3
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

/// Matcher: the string begins with `part`.
inline auto starts_with(const std::string& part) { return Catch::Matchers::StartsWith(part); }

}  // namespace nnc::test
