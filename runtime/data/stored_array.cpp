// Conversion of file elements to the declared type. One loop, instantiated per pair of types: load (byte order, half precision),
// check the range, store. Column-major arrays are walked in row-major order of the result.
#include "runtime/data/stored_array.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "base/check.h"

namespace nnc {
namespace {

struct TypeInfo {
  StoredType type;
  size_t bytes;
  std::string_view name;
  DType widened;
};

constexpr TypeInfo types[] = {{StoredType::f16, 2, "f16", DType::f32},
                              {StoredType::bf16, 2, "bf16", DType::f32},
                              {StoredType::f32, 4, "f32", DType::f32},
                              {StoredType::f64, 8, "f64", DType::f64},
                              {StoredType::i8, 1, "i8", DType::i32},
                              {StoredType::i16, 2, "i16", DType::i32},
                              {StoredType::i32, 4, "i32", DType::i32},
                              {StoredType::i64, 8, "i64", DType::i64},
                              {StoredType::u8, 1, "u8", DType::u8},
                              {StoredType::u16, 2, "u16", DType::i32},
                              {StoredType::u32, 4, "u32", DType::i64},
                              {StoredType::u64, 8, "u64", DType::i64},
                              {StoredType::boolean, 1, "bool", DType::boolean}};

const TypeInfo& info(StoredType type) { return types[static_cast<size_t>(type)]; }

/// IEEE half precision, all of it: subnormals, infinities, NaN.
float half_to_float(uint16_t half) {
  uint32_t sign = uint32_t{half & 0x8000u} << 16, exponent = half >> 10 & 0x1F, fraction = half & 0x3FF;
  if (exponent == 0) {
    float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -magnitude : magnitude;
  }
  uint32_t bits = exponent == 31 ? 0x7F800000 | fraction << 13 : (exponent + 112) << 23 | fraction << 13;
  return std::bit_cast<float>(sign | bits);
}

struct Half {
  uint16_t bits;
  operator float() const { return half_to_float(bits); }
};
struct BrainFloat {
  uint16_t bits;
  operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};
struct Boolean {
  uint8_t bits;
  operator uint8_t() const { return bits != 0; }
};

template <class F>
decltype(auto) with_stored_type(StoredType type, F&& f) {
  switch (type) {
    case StoredType::f16:
      return f(Half{});
    case StoredType::bf16:
      return f(BrainFloat{});
    case StoredType::f32:
      return f(float{});
    case StoredType::f64:
      return f(double{});
    case StoredType::i8:
      return f(int8_t{});
    case StoredType::i16:
      return f(int16_t{});
    case StoredType::i32:
      return f(int32_t{});
    case StoredType::i64:
      return f(int64_t{});
    case StoredType::u8:
      return f(uint8_t{});
    case StoredType::u16:
      return f(uint16_t{});
    case StoredType::u32:
      return f(uint32_t{});
    case StoredType::u64:
      return f(uint64_t{});
    case StoredType::boolean:
      return f(Boolean{});
  }
  NNC_UNREACHABLE("stored type");
}

/// As with_element, but a bool is one: only 0 and 1 become it.
template <class F>
decltype(auto) with_dtype(DType type, F&& f) {
  return type == DType::boolean ? f(bool{}) : with_element(type, f);
}

template <class T>
T load(const std::byte* at, bool swap) {
  std::byte raw[sizeof(T)];
  std::memcpy(raw, at, sizeof(T));
  if (swap)
    for (size_t i = 0; i < sizeof(T) / 2; ++i) std::swap(raw[i], raw[sizeof(T) - 1 - i]);
  T value;
  std::memcpy(&value, raw, sizeof(T));
  return value;
}

/// The value as arithmetic type: what a wrapper converts to, else itself.
template <class T>
auto value_of(T v) {
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BrainFloat>)
    return static_cast<float>(v);
  else if constexpr (std::is_same_v<T, Boolean>)
    return static_cast<uint8_t>(v);
  else
    return v;
}

template <class To, class From>
bool fits(From v) {
  if constexpr (std::is_same_v<To, float> && std::is_same_v<From, double>)
    return !std::isfinite(v) || std::isfinite(static_cast<float>(v));
  else if constexpr (std::is_floating_point_v<To> || std::is_floating_point_v<From>)
    return true;
  else if constexpr (std::is_same_v<To, bool>)
    return v == 0 || v == 1;
  else
    return std::in_range<To>(v);
}

/// Byte offset of each element in row-major order, for an array stored with its first dimension fastest.
class FortranWalk {
 public:
  FortranWalk(const std::vector<int64_t>& shape, size_t element) : shape_(shape), index_(shape.size(), 0), stride_(shape.size()) {
    size_t stride = element;
    for (size_t d = 0; d < shape.size(); ++d) {
      stride_[d] = stride;
      stride *= static_cast<size_t>(shape[d]);
    }
  }
  size_t next() {
    size_t here = offset_;
    for (size_t d = shape_.size(); d-- > 0;) {
      offset_ += stride_[d];
      if (++index_[d] < shape_[d]) break;
      offset_ -= stride_[d] * static_cast<size_t>(shape_[d]);
      index_[d] = 0;
    }
    return here;
  }

 private:
  const std::vector<int64_t>& shape_;
  std::vector<int64_t> index_;
  std::vector<size_t> stride_;
  size_t offset_ = 0;
};

template <class To, class From>
FileBytes convert(const StoredArray& array, std::optional<UnfitValue>& unfit) {
  OwnedBytes out = allocate_bytes(array.count * sizeof(To));
  auto* target = reinterpret_cast<To*>(out.data.get());
  const std::byte* source = array.bytes.data + array.offset;
  FortranWalk walk(array.shape, sizeof(From));
  for (size_t i = 0; i < array.count; ++i) {
    size_t at = array.fortran_order ? walk.next() : i * sizeof(From);
    auto value = value_of(load<From>(source + at, array.big_endian));
    if (!fits<To>(value)) {
      unfit = UnfitValue{i, fmt::format("{}", value)};
      return {};
    }
    target[i] = static_cast<To>(value);
  }
  return {out.data.get(), out.size, out.data, false};
}

}  // namespace

size_t byte_size(StoredType type) { return info(type).bytes; }
std::string_view stored_type_name(StoredType type) { return info(type).name; }
DType widened(StoredType type) { return info(type).widened; }
bool is_float(StoredType type) { return is_float(widened(type)); }

StoredType stored_type(DType type) {
  switch (type) {
    case DType::f32:
      return StoredType::f32;
    case DType::f64:
      return StoredType::f64;
    case DType::i32:
      return StoredType::i32;
    case DType::i64:
      return StoredType::i64;
    case DType::u8:
      return StoredType::u8;
    case DType::boolean:
      return StoredType::boolean;
  }
  NNC_UNREACHABLE("element type");
}

std::optional<uint64_t> checked_product(const std::vector<int64_t>& sizes, uint64_t unit) {
  uint64_t product = unit;
  bool zero = false;
  for (int64_t size : sizes) {
    if (size < 0) return std::nullopt;
    if (size == 0) zero = true;
    // A zero does not excuse sizes that overflow before or after it: the order of dimensions must not matter.
    if (__builtin_mul_overflow(product, static_cast<uint64_t>(std::max<int64_t>(size, 1)), &product) || product > INT64_MAX)
      return std::nullopt;
  }
  return zero ? 0 : product;
}

std::string shape_as_tuple(const std::vector<int64_t>& shape) {
  return fmt::format("({}{})", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
}

std::string shape_as_product(const std::vector<int64_t>& shape) {
  return shape.empty() ? "1" : fmt::format("{}", fmt::join(shape, "x"));
}

FileBytes convert_elements(const StoredArray& array, DType to, std::optional<UnfitValue>& unfit) {
  unfit.reset();
  size_t bytes = array.count * byte_size(array.type);
  NNC_CHECK(array.offset + bytes <= array.bytes.size, "array outside its file");
  bool same_order = !array.big_endian || byte_size(array.type) == 1;
  bool row_major = !array.fortran_order || array.shape.size() < 2;
  // A bool byte may hold any value in a file, so bools are always looked at.
  if (array.type == stored_type(to) && to != DType::boolean && same_order && row_major) {
    const std::byte* data = array.bytes.data + array.offset;
    if (reinterpret_cast<uintptr_t>(data) % byte_size(to) == 0) return {data, bytes, array.bytes.owner, array.bytes.mapped};
  }
  return with_dtype(to, [&](auto target) {
    return with_stored_type(array.type, [&](auto source) { return convert<decltype(target), decltype(source)>(array, unfit); });
  });
}

}  // namespace nnc
