// An array as a file stores it, before it becomes what the program declared.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "runtime/data/file_bytes.h"

namespace nnc {

/// Element types that files hold. Those outside DType are widened when they are read: f16 and bf16 to f32, i8, i16 and u16 to
/// i32, u32 to i64, u64 to i64 if every value fits.
enum class StoredType : uint8_t { f16, bf16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, boolean };

size_t byte_size(StoredType);
std::string_view stored_type_name(StoredType);
StoredType stored_type(DType);
DType widened(StoredType);  ///< the DType that holds all its values
bool is_float(StoredType);

/// Row-major (or column-major: see fortran_order) elements inside a file's bytes.
struct StoredArray {
  StoredType type = StoredType::f32;
  bool big_endian = false;
  bool fortran_order = false;
  std::vector<int64_t> shape;
  size_t offset = 0;   ///< of the first element in bytes.data
  size_t count = 0;    ///< elements, the product of shape
  FileBytes bytes;     ///< of the file or the decompressed member
  std::string header;  ///< where the shape stands, for messages: "header bytes 8-15", "shape (100, 32) in its header"
};

/// Product of non-negative sizes times `unit`; nothing if it does not fit 63 bits or a size is negative.
std::optional<uint64_t> checked_product(const std::vector<int64_t>& sizes, uint64_t unit = 1);

/// "(100, 32)", as numpy writes shapes; "28x28", as people do ("1" for no dimensions).
std::string shape_as_tuple(const std::vector<int64_t>&);
std::string shape_as_product(const std::vector<int64_t>&);

/// A value that the target type cannot hold.
struct UnfitValue {
  size_t index = 0;   ///< of the element
  std::string value;  ///< as written to a user
};

/// Elements in row-major order of type `to`: a view into the file where nothing has to change and alignment allows, else a copy.
/// Floats are rounded to nearest. A finite float must stay finite and integers must fit (bool: 0 or 1), or `unfit` is set and the
/// result is empty. Floats to integers are refused by the caller beforehand.
FileBytes convert_elements(const StoredArray&, DType to, std::optional<UnfitValue>& unfit);

}  // namespace nnc
