// Between the interpreter's 64-bit tensors, the runtime's bytes and files.

#include "engine/tensors.h"

#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/diagnostics.h"
#include "runtime/data/file_bytes.h"

namespace nnc {
namespace {

/// What the type holds: C++ leaves open what an integer that is too large for its type becomes.
double stored_number(double value, DType dtype) {
  return is_float(dtype) || dtype == DType::boolean ? value : convert_number(value, DType::f64, dtype);
}

}  // namespace

double read_element(const std::byte* at, DType dtype) {
  return with_element(dtype, [&](auto v) {
    std::memcpy(&v, at, sizeof v);
    return double(v);
  });
}

void write_element(std::byte* at, DType dtype, double value) {
  with_element(dtype, [&](auto zero) {
    auto v = decltype(zero)(stored_number(value, dtype));
    std::memcpy(at, &v, sizeof v);
  });
}

std::vector<std::byte> to_bytes(const std::vector<double>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * byte_size(dtype));
  with_element(dtype, [&](auto zero) {
    for (size_t i = 0; i < values.size(); ++i) {
      auto v = decltype(zero)(stored_number(values[i], dtype));
      std::memcpy(bytes.data() + i * sizeof v, &v, sizeof v);
    }
  });
  return bytes;
}

std::vector<double> to_numbers(const std::byte* elements, size_t count, DType dtype) {
  std::vector<double> values(count);
  with_element(dtype, [&](auto v) {
    for (size_t i = 0; i < count; ++i) {
      std::memcpy(&v, elements + i * sizeof v, sizeof v);
      values[i] = double(v);
    }
  });
  return values;
}

Tensor to_tensor(const TensorView& view, const std::string& path) {
  if (view.dtype == DType::i64)
    for (size_t i = 0; i < view.element_count(); ++i) {
      int64_t v = 0;
      std::memcpy(&v, view.data + i * sizeof v, sizeof v);
      if (double held = double(v); held < 0x1p63 && int64_t(held) == v) continue;
      throw UserError(Code::E0410, fmt::format("element {} of `{}` is {}, which 64 bits of float do not hold", i,
                                               view.name.empty() ? file_name(path) : view.name, v),
                      path, "whole numbers beyond 2^53 are taken only where a 64-bit float equals them");
    }
  return {view.dtype, view.shape, to_numbers(view.data, view.element_count(), view.dtype)};
}

Tensor read_persistent(const StepRunner& runner, size_t index) {
  const PersistentSlot& slot = runner.program().persistents[index];
  std::vector<std::byte> bytes(byte_size(slot.dtype) * size_t(slot.elements()));
  runner.get_persistent(index, bytes.data());
  return {slot.dtype, slot.shape, to_numbers(bytes.data(), size_t(slot.elements()), slot.dtype)};
}

void write_persistent(StepRunner& runner, size_t index, const Tensor& value) {
  const PersistentSlot& slot = runner.program().persistents[index];
  NNC_CHECK(value.shape == slot.shape, "a value of another shape than " + slot.name);
  std::vector<std::byte> bytes = to_bytes(value.values, slot.dtype);
  runner.set_persistent(index, bytes.data());
}

StoredTensor to_stored(std::string name, const Tensor& t) {
  return {std::move(name), t.dtype, t.shape, to_bytes(t.values, t.dtype)};
}

Tensor to_tensor(const StoredTensor& t) {
  return {t.dtype, t.shape, to_numbers(t.bytes.data(), size_t(element_count(t.shape)), t.dtype)};
}

std::vector<int64_t> index_of(size_t element, const std::vector<int64_t>& shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t a = shape.size(); a-- > 0;) {
    index[a] = int64_t(element) % shape[a];
    element /= size_t(shape[a]);
  }
  return index;
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace nnc
