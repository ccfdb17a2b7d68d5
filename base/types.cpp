// Questions about element types that take more than a look at the table.
#include "base/types.h"

#include <cmath>

namespace nnc {

std::optional<DType> parse_dtype(std::string_view name) {
  for (size_t i = 0; i < element_traits.size(); ++i)
    if (element_traits[i].name == name) return DType(i);
  return std::nullopt;
}

bool is_value_of(DType type, double number) {
  if (is_float(type)) return true;
  constexpr double exact = 0x1p53;  // beyond it a double stands for several whole numbers
  return number >= std::fmax(traits(type).lowest, -exact) && number <= std::fmin(traits(type).highest, exact) && number == std::trunc(number);
}

bool holds_every(DType to, DType from) {
  if (from == to || traits(from).kind == ElementKind::boolean) return true;
  if (traits(to).kind == ElementKind::boolean || (is_float(from) && !is_float(to))) return false;
  return traits(from).value_bits <= traits(to).value_bits;
}

}  // namespace nnc
