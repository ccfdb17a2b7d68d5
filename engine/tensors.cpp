// Between the interpreter's 64-bit tensors, the runtime's bytes and files.

#include "engine/tensors.h"

#include <cstring>
#include <type_traits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"

namespace nnc {
namespace {

/// What is stored: C++ leaves open what an integer that is too large for its type becomes.
Number stored_number(Number value, DType dtype) { return is_float(dtype) || dtype == DType::boolean ? value : convert_number(value, DType::f64, dtype); }

template <class T>
T element_of(Number value, DType dtype) {
  if constexpr (std::is_same_v<T, int64_t>) return int64_t(value.rest() != 0 ? value : stored_number(value, dtype));
  return T(double(rounded_to(dtype, stored_number(value, dtype))));
}

}  // namespace

Number read_element(const std::byte* at, DType dtype) {
  return with_element(dtype, [&](auto v) -> Number {
    std::memcpy(&v, at, sizeof v);
    return v;
  });
}

void write_element(std::byte* at, DType dtype, Number value) {
  with_element(dtype, [&](auto zero) {
    auto v = element_of<decltype(zero)>(value, dtype);
    std::memcpy(at, &v, sizeof v);
  });
}

std::vector<std::byte> to_bytes(const std::vector<double>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * byte_size(dtype));
  with_element(dtype, [&](auto zero) {
    for (size_t i = 0; i < values.size(); ++i) {
      auto v = element_of<decltype(zero)>(values[i], dtype);
      std::memcpy(bytes.data() + i * sizeof v, &v, sizeof v);
    }
  });
  return bytes;
}

std::vector<std::byte> to_bytes(const Tensor& t) {
  std::vector<std::byte> bytes = to_bytes(t.values, t.dtype);
  for (size_t i = 0; i < t.rests.size(); ++i)
    if (t.rests[i] != 0) write_element(bytes.data() + i * byte_size(t.dtype), t.dtype, t.at(i));
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

Tensor to_tensor(DType dtype, std::vector<int64_t> shape, const std::byte* elements) {
  const size_t count = size_t(element_count(shape));
  Tensor t{dtype, std::move(shape), to_numbers(elements, count, dtype)};
  if (dtype != DType::i64) return t;
  for (size_t i = 0; i < count; ++i) t.set(i, read_element(elements + i * sizeof(int64_t), dtype));
  return t;
}

Tensor to_tensor(const TensorView& view) { return to_tensor(view.dtype, view.shape, view.data); }
Tensor to_tensor(const StoredTensor& t) { return to_tensor(t.dtype, t.shape, t.bytes.data()); }

Tensor read_persistent(const StepRunner& runner, size_t index) {
  const PersistentSlot& slot = runner.program().persistents[index];
  std::vector<std::byte> bytes(byte_size(slot.dtype) * size_t(slot.elements()));
  runner.get_persistent(index, bytes.data());
  return to_tensor(slot.dtype, slot.shape, bytes.data());
}

void write_persistent(StepRunner& runner, size_t index, const Tensor& value) {
  const PersistentSlot& slot = runner.program().persistents[index];
  NNC_CHECK(value.shape == slot.shape, "a value of another shape than " + slot.name);
  std::vector<std::byte> bytes = value.dtype == slot.dtype ? to_bytes(value) : to_bytes(value.values, slot.dtype);
  runner.set_persistent(index, bytes.data());
}

StoredTensor to_stored(std::string name, const Tensor& t) {
  return {std::move(name), t.dtype, t.shape, to_bytes(t)};
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
