// IDX: magic 00 00 TT NN, NN sizes of four bytes, then the elements, everything big-endian. Source: the format's description on
// the MNIST page of LeCun, Cortes and Burges.
#include <fmt/format.h>

#include "base/diagnostics.h"
#include "runtime/data/readers.h"

namespace nnc {
namespace {

std::optional<StoredType> idx_type(uint8_t code) {
  switch (code) {
    case 0x08:
      return StoredType::u8;
    case 0x09:
      return StoredType::i8;
    case 0x0B:
      return StoredType::i16;
    case 0x0C:
      return StoredType::i32;
    case 0x0D:
      return StoredType::f32;
    case 0x0E:
      return StoredType::f64;
    default:
      return std::nullopt;
  }
}

}  // namespace

StoredArray parse_idx(const FileBytes& file, const std::string& path) {
  auto byte = [&](size_t i) { return std::to_integer<uint8_t>(file.data[i]); };
  if (file.size < 4 || byte(0) != 0 || byte(1) != 0)
    refuse_format(path, "is not an idx file: it does not begin with two zero bytes", recognise_format(file));
  std::optional<StoredType> type = idx_type(byte(2));
  if (!type)
    refuse_format(path, fmt::format("is not an idx file: byte 2 names no element type (0x{:02x})", byte(2)),
                  recognise_format(file));
  StoredArray array;
  array.type = *type;
  array.big_endian = true;
  size_t dimensions = byte(3);
  if (dimensions == 0) refuse_format(path, "is not an idx file: byte 3 says that it has no dimensions");
  array.offset = 4 + 4 * dimensions;
  if (file.size < array.offset)
    refuse_damaged(path, fmt::format("ends inside its header: {} of {} bytes", file.size, array.offset));
  for (size_t d = 0; d < dimensions; ++d) {
    uint32_t size = 0;
    for (size_t i = 0; i < 4; ++i) size = size << 8 | byte(4 + 4 * d + i);
    array.shape.push_back(size);
  }
  array.header = dimensions == 1 ? "one dimension, header byte 3" : fmt::format("header bytes 8-{}", 3 + 4 * dimensions);
  array.bytes = file;
  std::optional<uint64_t> count = checked_product(array.shape), bytes = checked_product(array.shape, byte_size(*type));
  if (!count || !bytes)
    refuse_damaged(path,
                   fmt::format("promises {} elements in its header, more than any file holds", shape_as_product(array.shape)));
  size_t held = file.size - array.offset;
  if (held < *bytes)
    refuse_damaged(path, fmt::format("is cut short: its header promises {} bytes of data ({} of {}), it holds {}", *bytes,
                                     shape_as_product(array.shape), stored_type_name(*type), held));
  if (held > *bytes)
    refuse_damaged(path, fmt::format("holds {} bytes more than its header promises ({} of {})", held - *bytes,
                                     shape_as_product(array.shape), stored_type_name(*type)));
  array.count = *count;
  return array;
}

}  // namespace nnc
