// Where the rows of a data field come from and what they must look like: written in a `data` block, read by the readers of runtime/data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/types.h"

namespace nnc {

/// text: rows are pieces of one text (runtime/data/text_tokens.h); memory: an array of the program that nnc is a part of.
enum class SourceKind : uint8_t { csv, idx, npy, npz, safetensors, text, memory };

/// Row-major elements in a host's memory; the first dimension is the rows.
struct HostArray {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  const void* elements = nullptr;  ///< copied when the field is read
};

/// A file and what is taken from it. Columns are counted from 0.
struct DataSource {
  SourceKind kind = SourceKind::csv;
  std::string path;
  std::string key;                        ///< npz, safetensors: which array; npz with one array may leave it empty
  bool has_range = false;                 ///< csv: columns first_column .. end_column - 1
  int64_t first_column = 0, end_column = 0;
  std::vector<int64_t> columns;           ///< csv: these columns
  std::vector<std::string> column_names;  ///< csv: these columns of the header; with none of the three, all columns
  int64_t context = 0;                    ///< text: characters of a row
  int64_t offset = 0;                     ///< text: so many characters further on than the row's first one
  HostArray array;                        ///< memory
};

/// A field of a data block: one array of which every row has the same type and shape.
struct DataField {
  std::string name;                 ///< for messages and bindings
  DataSource source;
  DType dtype = DType::f32;         ///< as declared; class(N) is an integer type (i32 in the language) with classes = N
  int64_t classes = 0;              ///< every value lies in 0 .. classes - 1; 0: not a class
  std::vector<int64_t> row_shape;   ///< as declared, of one row
};

}  // namespace nnc
