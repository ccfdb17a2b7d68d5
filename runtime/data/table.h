// Data fields: what a source in a `data` block becomes in memory, checked against its declaration.
//
// Every reader refuses what it cannot take with a UserError (E04xx) that names the file and the place in it. Rows, lines and
// columns are counted from 1 in messages. No reader allocates more than a small multiple of what the file really holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/data_source.h"
#include "base/types.h"
#include "runtime/data/file_bytes.h"

namespace nnc {

/// Rows of one field. Row r begins at data + r * row_stride_bytes; its elements are row-major, of type dtype and shape row_shape.
/// 64 bytes past the last row may be read.
struct FieldData {
  DType dtype = DType::f32;
  std::vector<int64_t> row_shape;
  int64_t rows = 0;
  int64_t row_stride_bytes = 0;
  const std::byte* data = nullptr;
  std::shared_ptr<const void> owner;  ///< keeps data alive: a buffer or a mapped file
  bool mapped = false;                ///< data is the file itself
};

/// Reads one field. Integers convert to any type that holds their values (checked), floats to floats; floats never become
/// integers (csv cells such as `3.0` that are whole do). A file's row shape may be a finer or coarser grouping of the declared
/// one (28x28 for [784], [1, 28, 28]), never a different one of the same size (28x14 for [14, 28]).
FieldData read_field(const DataField&);

/// Reads several fields of one data block: each file once, and all with the same number of rows (E0412).
std::vector<FieldData> read_fields(std::span<const DataField>, const FileLoader& load = load_file);

/// The kind that a file's name suggests (.csv, .npy, .npz, .safetensors, idx and -ubyte, else `otherwise`; whatever the case, and through .gz).
SourceKind guess_source_kind(const std::string& path, SourceKind otherwise = SourceKind::idx);

}  // namespace nnc
