// The one table of element types: size as stored and name in the language.
#include "base/types.h"

#include <array>

#include "base/check.h"

namespace nnc {
namespace {

struct TypeInfo {
  DType type;
  size_t bytes;
  std::string_view name;
};

constexpr std::array<TypeInfo, 6> types{{{DType::f32, 4, "f32"},
                                         {DType::f64, 8, "f64"},
                                         {DType::i32, 4, "i32"},
                                         {DType::i64, 8, "i64"},
                                         {DType::u8, 1, "u8"},
                                         {DType::boolean, 1, "bool"}}};

const TypeInfo& info(DType type) {
  for (const TypeInfo& t : types)
    if (t.type == type) return t;
  NNC_UNREACHABLE("element type without an entry");
}

}  // namespace

size_t byte_size(DType type) { return info(type).bytes; }

std::string_view dtype_name(DType type) { return info(type).name; }

std::optional<DType> parse_dtype(std::string_view name) {
  for (const TypeInfo& t : types)
    if (t.name == name) return t.type;
  return std::nullopt;
}

}  // namespace nnc
