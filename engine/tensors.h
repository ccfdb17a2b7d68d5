// Tensors on their way between files, compiled code (elements as stored) and the interpreter (numbers in 64 bits).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "ir/interpreter.h"
#include "runtime/step_runner.h"
#include "runtime/data/tensor_file.h"

namespace nnc {

/// One element as stored at `at`.
Number read_element(const std::byte* at, DType);
void write_element(std::byte* at, DType, Number value);

/// Elements as stored; f32 is rounded, integers are cut off, and those too large are the type's largest.
std::vector<std::byte> to_bytes(const std::vector<double>& values, DType);
std::vector<std::byte> to_bytes(const Tensor&);
/// An i64 that a double does not hold is rounded.
std::vector<double> to_numbers(const std::byte* elements, size_t count, DType);

/// Exactly.
Tensor to_tensor(DType, std::vector<int64_t> shape, const std::byte* elements);
Tensor to_tensor(const TensorView&);
Tensor read_persistent(const StepRunner&, size_t index);
/// The value must have the slot's shape.
void write_persistent(StepRunner&, size_t index, const Tensor&);

/// A tensor with a name, kept as bytes, so that views of it can be written to files.
struct StoredTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
  TensorView view() const { return {name, dtype, shape, bytes.data()}; }
};
StoredTensor to_stored(std::string name, const Tensor&);
Tensor to_tensor(const StoredTensor&);

/// Of a row-major element.
std::vector<int64_t> index_of(size_t element, const std::vector<int64_t>& shape);
std::string shape_text(const std::vector<int64_t>&);  ///< "[32, 10]"

}  // namespace nnc
