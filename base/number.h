// One number of any element type, exactly. A double holds every value of every type but i64, whose large ones fall between doubles. So a number is the
// double nearest to it and what it has beyond that: nothing for floats, at most 512 either way for whole numbers of 64 bits. It turns into a double by
// itself, so that code about floats takes it for one; what counts whole numbers takes `bits()` or int64_t(number).
#pragma once

#include <compare>
#include <concepts>
#include <cstdint>
#include <string>

#include "base/types.h"

namespace nnc {

/// Two's complement of a whole number in [-2^63, 2^63].
constexpr uint64_t integer_bits(double whole) { return whole >= 0x1p63 ? uint64_t(1) << 63 : uint64_t(int64_t(whole)); }

class Number {
 public:
  constexpr Number() = default;
  constexpr Number(double value) : nearest_(value) {}
  template <std::integral T>
  constexpr Number(T value) : nearest_(double(value)) {
    if constexpr (sizeof(T) == 8 && std::is_signed_v<T>) rest_ = int64_t(uint64_t(value) - integer_bits(nearest_));
    static_assert(sizeof(T) < 8 || std::is_signed_v<T>, "an unsigned number of 64 bits may be no i64");
  }
  /// nearest + rest; rest 0 but for whole numbers beyond 2^53.
  static constexpr Number of_parts(double nearest, int64_t rest) {
    Number n(nearest);
    n.rest_ = rest;
    return n;
  }

  constexpr operator double() const { return nearest_; }
  constexpr int64_t rest() const { return rest_; }
  /// Of a whole number in the range of i64: its two's complement.
  constexpr uint64_t bits() const { return integer_bits(nearest_) + uint64_t(rest_); }
  /// Truncated and saturating; NaN gives 0.
  constexpr explicit operator int64_t() const {
    if (nearest_ != nearest_) return 0;
    if (nearest_ >= 0x1p63 && rest_ >= 0) return INT64_MAX;
    return nearest_ < -0x1p63 ? INT64_MIN : int64_t(bits());
  }

  // Rounding to the nearest double keeps the order, so that the rest decides among equals only.
  friend constexpr bool operator==(Number a, Number b) { return a.nearest_ == b.nearest_ && a.rest_ == b.rest_; }
  friend constexpr std::partial_ordering operator<=>(Number a, Number b) {
    std::partial_ordering order = a.nearest_ <=> b.nearest_;
    return order == 0 ? std::partial_ordering(a.rest_ <=> b.rest_) : order;
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  friend constexpr bool operator==(Number a, T b) { return a == Number(b); }
  template <class T>
    requires std::is_arithmetic_v<T>
  friend constexpr std::partial_ordering operator<=>(Number a, T b) { return a <=> Number(b); }

 private:
  double nearest_ = 0;
  int64_t rest_ = 0;
};

/// Apart where == is not enough: NaN is itself, 0 is not -0.
bool same_bits(Number, Number);
/// Largest and smallest value of a type: infinities for floats.
Number highest_of(DType);
Number lowest_of(DType);
/// Whether a number is a value of the type: any for floats, whole ones in range for the others.
bool is_value_of(DType, Number);
/// What a float type makes of a number: the nearest of its values; the number itself for all other types.
Number rounded_to(DType, Number);
/// What storing a value of type `from` as `to` gives. Integers wrap around as in C++20; floats become integers by truncation, saturating, NaN is 0; bool is
/// whether it is not 0. Floats are not rounded.
Number convert_number(Number value, DType from, DType to);
/// Shortest decimal that reads back as the same number; inf, -inf, nan.
std::string number_text(Number);
/// Likewise among the values of the type.
std::string number_text(Number, DType);

}  // namespace nnc
