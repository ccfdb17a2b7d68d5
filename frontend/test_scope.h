// What evaluation asks of a test block that it stands in: numbers that are written there may be differentiated, so they are inputs.
#pragma once

#include <vector>

#include "frontend/builtins.h"
#include "frontend/value.h"

namespace nnc {

class TestScope {
 public:
  virtual ~TestScope() = default;
  /// Numbers of a written array of a float type, row-major, as an input of the test's graph.
  virtual TensorValue input(std::vector<double> values, DType dtype, Dims dims, Span span) = 0;
  /// `gradient(f)(x, ...)`: the first argument is the function.
  virtual Value gradient(const BuiltinCall& call) = 0;
};

}  // namespace nnc
