// Conversions of a number that is exact, and its text. The parts of a whole number are put together in two's complement, where no addition overflows.
#include "base/number.h"

#include <bit>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

namespace nnc {

bool same_bits(Number a, Number b) { return std::bit_cast<uint64_t>(double(a)) == std::bit_cast<uint64_t>(double(b)) && a.rest() == b.rest(); }

Number highest_of(DType type) { return type == DType::i64 ? Number(INT64_MAX) : Number(traits(type).highest); }
Number lowest_of(DType type) { return traits(type).lowest; }

bool is_value_of(DType type, Number number) {
  if (is_float(type)) return true;
  return number >= lowest_of(type) && number <= highest_of(type) && double(number) == std::trunc(double(number));
}

Number rounded_to(DType type, Number number) {
  if (type == DType::f64) return double(number);
  if (type != DType::f32) return number;
  return double(number.rest() != 0 ? float(int64_t(number)) : float(double(number)));  // one rounding, not two
}

Number convert_number(Number value, DType from, DType to) {
  if (to == DType::boolean) return double(value) != 0 ? 1 : 0;
  if (is_float(to)) return is_float(from) ? value : Number(double(value));
  if (!is_float(from)) {
    switch (to) {
      case DType::i32: return int32_t(uint32_t(value.bits()));
      case DType::u8: return uint8_t(value.bits());
      default: return int64_t(value.bits());
    }
  }
  if (std::isnan(double(value))) return 0;
  if (value <= lowest_of(to)) return lowest_of(to);
  if (value >= highest_of(to)) return highest_of(to);
  return std::trunc(double(value)) + 0.0;  // + 0.0: no negative zero among integers
}

std::string number_text(Number number) {
  double value = number;
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return number.rest() != 0 ? fmt::format("{}", int64_t(number)) : fmt::format("{}", value);
}

std::string number_text(Number number, DType type) {
  double value = number;
  if (!is_float(type) && is_value_of(type, number)) return fmt::format("{}", int64_t(number));
  if (type != DType::f32 || !std::isfinite(value) || double(float(value)) != value) return number_text(number);
  std::string text = fmt::format("{}", float(value));
  // What reads it goes by way of a double: two roundings, which in rare cases are not one.
  return float(std::strtod(text.c_str(), nullptr)) == float(value) ? text : number_text(number);
}

}  // namespace nnc
