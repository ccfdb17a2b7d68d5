// Whole files of tensors: the readers of readers.h, widened to nnc's element types.
#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "base/check.h"
#include "base/diagnostics.h"
#include "runtime/data/readers.h"
#include "runtime/data/tensor_file.h"

namespace nnc {
namespace {

void add_tensor(TensorFile& file, std::string name, const StoredArray& array, DType to, const std::string& path) {
  std::optional<UnfitValue> unfit;
  FileBytes elements = convert_elements(array, to, unfit);
  if (unfit)
    throw UserError(Code::E0410, fmt::format("value {} of `{}` does not fit {}", unfit->value, file_name(path), dtype_name(to)),
                    path);
  file.tensors.push_back({std::move(name), to, array.shape, elements.data});
  file.owners.push_back(elements.owner);
}

/// Memory that a forged header cannot cause to be asked for may still be short.
template <class F>
TensorFile read_guarded(const std::string& path, F&& read) {
  try {
    return read();
  } catch (const std::bad_alloc&) {
    throw UserError(Code::E0402, fmt::format("`{}` does not fit into memory", file_name(path)), path);
  }
}

}  // namespace

size_t TensorView::element_count() const {
  std::optional<uint64_t> count = checked_product(shape);
  NNC_CHECK(count, "tensor size overflows");
  return *count;
}

const TensorView* TensorFile::find(std::string_view name) const {
  auto it = std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& t) { return t.name == name; });
  return it == tensors.end() ? nullptr : &*it;
}

TensorFile read_safetensors(const std::string& path, const FileLoader& load) {
  return read_guarded(path, [&] {
    TensorFile result;
    SafetensorsContent content = parse_safetensors(load(path), path);
    for (const auto& [name, array] : content.tensors) add_tensor(result, name, array, widened(array.type), path);
    result.metadata = std::move(content.metadata);
    return result;
  });
}

TensorFile read_npy(const std::string& path) {
  return read_guarded(path, [&] {
    TensorFile result;
    StoredArray array = parse_npy(load_file(path), path);
    add_tensor(result, "", array, widened(array.type), path);
    return result;
  });
}

TensorFile read_npz(const std::string& path) {
  return read_guarded(path, [&] {
    TensorFile result;
    FileBytes file = load_file(path);
    for (const auto& [key, array] : parse_npz(file, path)) add_tensor(result, key, array, widened(array.type), path);
    return result;
  });
}

TensorFile read_csv(const std::string& path, DType dtype) {
  return read_guarded(path, [&] {
    // A table of numbers of any width: the width is that of its first row, and parse_csv holds every other row to it.
    FileBytes file = load_file(path);
    DataField request;
    request.name = "input";
    request.source.path = path;
    request.dtype = dtype;
    request.row_shape = {read_csv_head(file, path, {}).columns};
    const DataField* pointer = &request;
    FieldData field = parse_csv(file, path, {&pointer, 1}).front();
    TensorFile result;
    result.tensors.push_back({"", dtype, {field.rows, request.row_shape[0]}, field.data});
    result.owners.push_back(field.owner);
    return result;
  });
}

std::vector<std::string> tensor_names(const std::string& path, SourceKind kind) {
  if (kind == SourceKind::npz) return npz_keys(load_file(path), path);
  std::vector<std::string> names;
  if (kind == SourceKind::safetensors)
    for (const auto& [name, array] : parse_safetensors(load_file(path), path).tensors) names.push_back(name);
  return names;
}

TensorFile read_one_tensor(const std::string& path, SourceKind kind, const std::string& name) {
  if (kind != SourceKind::npz && kind != SourceKind::safetensors) return read_tensors(path, kind);
  return read_guarded(path, [&] {
    std::vector<std::string> names = tensor_names(path, kind);
    if (names.empty() && kind == SourceKind::safetensors) throw UserError(Code::E0403, fmt::format("`{}` holds no arrays", file_name(path)), path);
    const bool takes_only = names.size() == 1 && names[0] != name;
    const std::string& key = takes_only ? names[0] : name;
    TensorFile result;
    StoredArray array;
    if (kind == SourceKind::npz) {
      array = parse_npz_member(load_file(path), path, key);
    } else {
      SafetensorsContent content = parse_safetensors(load_file(path), path);
      auto it = std::find_if(content.tensors.begin(), content.tensors.end(), [&](const auto& t) { return t.first == key; });
      if (it == content.tensors.end()) refuse_key(path, key, names);
      array = std::move(it->second);
    }
    add_tensor(result, key, array, widened(array.type), path);
    return result;
  });
}

TensorFile read_tensors(const std::string& path, SourceKind kind) {
  switch (kind) {
    case SourceKind::npy:
      return read_npy(path);
    case SourceKind::npz:
      return read_npz(path);
    case SourceKind::safetensors:
      return read_safetensors(path);
    case SourceKind::csv:
      return read_csv(path, DType::f64);
    case SourceKind::idx:
      return read_guarded(path, [&] {
        TensorFile result;
        StoredArray array = parse_idx(load_file(path), path);
        add_tensor(result, "", array, widened(array.type), path);
        return result;
      });
    case SourceKind::text:
    case SourceKind::memory:
      break;
  }
  NNC_UNREACHABLE("source kind");
}

ConvertedTensor convert_tensor(const TensorView& tensor, DType to, const std::string& place) {
  if (is_float(tensor.dtype) && !is_float(to))
    throw UserError(Code::E0406,
                    fmt::format("`{}` holds {}, but {} is needed", file_name(place), dtype_name(tensor.dtype), dtype_name(to)),
                    place, "save integers");
  StoredArray array;
  array.type = stored_type(tensor.dtype);
  array.shape = tensor.shape;
  array.count = tensor.element_count();
  array.bytes = {tensor.data, tensor.byte_count(), nullptr, false};
  TensorFile converted;
  add_tensor(converted, tensor.name, array, to, place);
  return {converted.tensors[0], converted.owners[0]};
}

}  // namespace nnc
