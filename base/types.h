// Element types shared by every folder: the language, both IRs, code generation and the data readers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace nnc {

enum class DType : uint8_t { f32, f64, i32, i64, u8, boolean };

size_t byte_size(DType);                                ///< bytes of one element as stored
std::string_view dtype_name(DType);                     ///< "f32", "bool", ...
std::optional<DType> parse_dtype(std::string_view);
inline bool is_float(DType t) { return t == DType::f32 || t == DType::f64; }

}  // namespace nnc
