// Questions about element types that take more than a look at the table.
#include "base/types.h"

namespace nnc {

std::optional<DType> parse_dtype(std::string_view name) {
  for (size_t i = 0; i < element_traits.size(); ++i)
    if (element_traits[i].name == name) return DType(i);
  return std::nullopt;
}

bool holds_every(DType to, DType from) {
  if (from == to || traits(from).kind == ElementKind::boolean) return true;
  if (traits(to).kind == ElementKind::boolean || (is_float(from) && !is_float(to))) return false;
  return traits(from).value_bits <= traits(to).value_bits;
}

}  // namespace nnc
