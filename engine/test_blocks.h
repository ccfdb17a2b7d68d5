// The `test` blocks of a program. Shapes and error texts have been decided by the checker; the other expectations are evaluated here.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "engine/compilation.h"

namespace nnc {

/// An expectation that does not hold.
struct TestFault {
  Span span;
  std::string why;
};

struct TestResult {
  std::string name;
  Span span;
  size_t expectations = 0;
  std::vector<TestFault> faults;  ///< in the order of the expectations; none: passed
};

/// Runs every test block of the loaded module; `on_result` is told of each when it is done. ProgramErrors if one cannot be built, UserError for an
/// expectation that cannot be evaluated.
void run_tests(Compilation&, int threads, const std::function<void(const TestResult&)>& on_result);

}  // namespace nnc
