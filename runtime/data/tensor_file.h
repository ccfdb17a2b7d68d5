// Named tensors in files: weights and checkpoints (safetensors), inputs and results (npy, npz, csv).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"
#include "runtime/data/atomic_file.h"
#include "runtime/data/table.h"

namespace nnc {

/// Row-major elements that somebody else owns.
struct TensorView {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  ///< empty: one number
  const std::byte* data = nullptr;
  size_t element_count() const;
  size_t byte_count() const { return element_count() * byte_size(dtype); }
  std::span<const std::byte> bytes() const { return {data, byte_count()}; }
};

/// What was read: views into memory that the owners keep. Types outside DType are widened (f16 and bf16 to f32, small integers to
/// i32 or i64).
struct TensorFile {
  std::vector<TensorView> tensors;              ///< in the file's order
  std::map<std::string, std::string> metadata;  ///< safetensors only
  std::vector<std::shared_ptr<const void>> owners;
  const TensorView* find(std::string_view name) const;  ///< null if there is none
};

/// Readers check everything that the format promises. UserError E0402 to E0406, E0410, E0411.
TensorFile read_safetensors(const std::string& path, const FileLoader& load = load_file);
TensorFile read_npy(const std::string& path);  ///< one tensor, its name is ""
TensorFile read_npz(const std::string& path);
TensorFile read_tensors(const std::string& path, SourceKind);  ///< any kind; csv gives one [rows, columns] tensor of f64
/// A csv file as one [rows, columns] tensor of the type, each cell a value of it (E0408, E0410 otherwise).
TensorFile read_csv(const std::string& path, DType);
/// Of any kind, the tensor of that name, or the only one; nothing else in the file is read as far as its format allows. E0411 if the name chooses none.
TensorFile read_one_tensor(const std::string& path, SourceKind, const std::string& name);
/// Names of the arrays in an npz archive or a safetensors file, in the file's order; of any other kind none.
std::vector<std::string> tensor_names(const std::string& path, SourceKind);
/// Elements as another type, with the rules of read_field (E0406, E0410). `place` is the path that messages show.
struct ConvertedTensor {
  TensorView view;
  std::shared_ptr<const void> owner;
};
ConvertedTensor convert_tensor(const TensorView&, DType to, const std::string& place);

/// Writers are atomic (write_file_atomically) and depend on their arguments alone, to the byte. UserError E0413.
/// Of a tensor without data the elements are asked for when their turn comes, by its number.
void write_safetensors(const std::string& path, std::span<const TensorView>, const std::map<std::string, std::string>& metadata = {},
                       const std::function<std::vector<std::byte>(size_t)>& elements = nullptr);
void write_npy(const std::string& path, const TensorView&);
void write_npz(const std::string& path, std::span<const TensorView>);  ///< members stored, at most 4 GB in all
/// One line per row, the tensors side by side; numbers in the shortest form that reads back the same. All tensors have the same
/// first size; a tensor of one number is one row. `header`: column names, none if empty (as many as there are columns).
void write_csv(const std::string& path, std::span<const TensorView>, std::span<const std::string> header = {});
std::string format_csv(std::span<const TensorView>, std::span<const std::string> header = {});
/// The .npy file of a tensor as bytes (for a pipe).
std::string format_npy(const TensorView&);

}  // namespace nnc
