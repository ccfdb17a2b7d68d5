// Element types shared by every folder: the language, both IRs, code generation and the data readers. What is true of a type stands in one table here: its
// size, its name, its range, how it rounds. Who asks "is it a float", "how large is it", "what does it hold" asks here and compares no types by hand.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace nnc {

enum class DType : uint8_t { f32, f64, i32, i64, u8, boolean };

enum class ElementKind : uint8_t { floating, integer, boolean };

struct ElementTraits {
  std::string_view name;  ///< in the language and in every text: "f32", "bool", ...
  size_t bytes;           ///< of one element as stored
  ElementKind kind;
  int value_bits;         ///< floats: of the significand, the hidden one included; others: without the sign. Whole numbers below 2^value_bits are exact
  double lowest;          ///< smallest value: -inf for floats
  double highest;         ///< largest value: inf for floats; i64: the largest of the doubles below 2^63 (highest_of knows it exactly)
};

inline constexpr std::array<ElementTraits, 6> element_traits{{
    {"f32", 4, ElementKind::floating, 24, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()},
    {"f64", 8, ElementKind::floating, 53, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()},
    {"i32", 4, ElementKind::integer, 31, -0x1p31, 0x1p31 - 1},
    {"i64", 8, ElementKind::integer, 63, -0x1p63, 0x1.fffffffffffffp62},
    {"u8", 1, ElementKind::integer, 8, 0, 255},
    {"bool", 1, ElementKind::boolean, 1, 0, 1},
}};

constexpr const ElementTraits& traits(DType type) { return element_traits[size_t(type)]; }
constexpr size_t byte_size(DType type) { return traits(type).bytes; }
constexpr std::string_view dtype_name(DType type) { return traits(type).name; }
constexpr bool is_float(DType type) { return traits(type).kind == ElementKind::floating; }
constexpr bool is_integer(DType type) { return traits(type).kind == ElementKind::integer; }
std::optional<DType> parse_dtype(std::string_view name);
/// The float type in which values of these types are computed where a float is needed: f64 if one of them is, else f32.
constexpr DType float_type(DType a, DType b = DType::f32) { return a == DType::f64 || b == DType::f64 ? DType::f64 : DType::f32; }

/// Whether arithmetic takes the type: floats and the wide integers. u8 and bool are storage, and are cast first.
constexpr bool is_arithmetic(DType type) { return is_float(type) || (is_integer(type) && traits(type).bytes >= 4); }
/// Whether every value of `from` is one of `to`.
bool holds_every(DType to, DType from);
/// What a float type makes of a number: the nearest of its values; the number itself for all other types.
inline double rounded_to(DType type, double number) { return type == DType::f32 ? double(float(number)) : number; }
/// Of a float type: half of the distance from 1 to the next value, which is what one rounding may change, relative to its result.
constexpr double unit_roundoff(DType type) { return 1.0 / double(uint64_t(1) << traits(type).value_bits); }

// Types that have a part to play in every program.
inline constexpr DType index_type = DType::i32;        ///< positions: iota, argmax, indices that kernels compute
inline constexpr DType scalar_type = DType::f64;       ///< of a step's run-time scalars that do not count, of its scalar results, and of extents as values
inline constexpr DType count_type = DType::i64;        ///< of run-time scalars that count
inline constexpr DType contraction_type = DType::f32;  ///< what the contraction kernel multiplies and accumulates
inline constexpr int64_t scalar_bytes = int64_t(byte_size(scalar_type));
static_assert(byte_size(count_type) == scalar_bytes);
/// The type of the run-time scalar of that name: `step` and `epoch` count, which 64 bits do for as long as a run may last; all others are rates and the like.
constexpr DType type_of_scalar(std::string_view name) { return name == "step" || name == "epoch" ? count_type : scalar_type; }
inline constexpr int64_t contraction_bytes = int64_t(byte_size(contraction_type));

/// Calls use(zero) with a zero of the C++ type that stores the element type (bool: uint8_t), and returns what that gives.
template <class Use>
decltype(auto) with_element(DType type, Use&& use) {
  switch (type) {
    case DType::f32: return std::forward<Use>(use)(float{});
    case DType::f64: return std::forward<Use>(use)(double{});
    case DType::i32: return std::forward<Use>(use)(int32_t{});
    case DType::i64: return std::forward<Use>(use)(int64_t{});
    case DType::u8:
    case DType::boolean: return std::forward<Use>(use)(uint8_t{});
  }
  NNC_UNREACHABLE("element type");
}

}  // namespace nnc
