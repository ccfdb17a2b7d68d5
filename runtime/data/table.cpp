// From a data block's requests to rows in memory: each file is loaded once, its reader gives an array (or, for csv, finished
// fields), and the array is held against the declaration: row shape, element type, range of classes, NaN.
#include "runtime/data/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <new>
#include <type_traits>

#include "base/check.h"
#include "base/diagnostics.h"
#include "runtime/data/readers.h"

namespace nnc {
namespace {

std::vector<int64_t> without_ones(const std::vector<int64_t>& shape) {
  std::vector<int64_t> sizes;
  for (int64_t s : shape)
    if (s != 1) sizes.push_back(s);
  return sizes;
}

/// Whether `coarse` arises from `fine` by joining neighbouring dimensions.
bool is_grouping(const std::vector<int64_t>& fine, const std::vector<int64_t>& coarse) {
  size_t at = 0;
  for (int64_t size : coarse) {
    int64_t product = 1;
    while (product < size && at < fine.size()) product *= fine[at++];  // cannot overflow: the product of all sizes was checked
    if (product != size) return false;
  }
  return at == fine.size();
}

bool can_view(const std::vector<int64_t>& held, const std::vector<int64_t>& declared) {
  std::vector<int64_t> a = without_ones(held), b = without_ones(declared);
  return a == b || is_grouping(a, b) || is_grouping(b, a);
}

std::string describe_rows(const std::vector<int64_t>& row, SourceKind kind) {
  if (row.empty()) return "single values";
  if (row.size() == 1) return fmt::format("rows of {}", row[0]);
  std::string sizes = shape_as_product(row);
  return kind == SourceKind::idx && row.size() == 2 ? sizes + " images" : "rows of " + sizes;
}

void check_shape(const StoredArray& array, const DataField& r) {
  std::string file = file_name(r.source.path);
  if (array.shape.empty())
    throw UserError(Code::E0401, fmt::format("{} holds a single number; `{}` needs rows", file, r.name), r.source.path);
  std::vector<int64_t> row(array.shape.begin() + 1, array.shape.end());
  if (can_view(row, r.row_shape)) {
    if (array.shape[0] == 0) throw UserError(Code::E0403, fmt::format("`{}` holds no rows ({})", file, array.header), r.source.path);
    return;
  }
  std::string declared = r.row_shape.empty() ? "one value per row" : shape_as_product(r.row_shape);
  bool turned = checked_product(row) == checked_product(r.row_shape);
  throw UserError(
      Code::E0401,
      fmt::format("{} holds {} ({}); `{}` is declared {}", file, describe_rows(row, r.source.kind), array.header, r.name, declared),
      r.source.path,
      turned ? fmt::format("the number of values agrees: declare `{}` as the file has it and view it with `as`", r.name)
             : std::string());
}

void check_type(const StoredArray& array, const DataField& r) {
  if (is_float(r.dtype) || !is_float(array.type)) return;
  std::string file = file_name(r.source.path), type(stored_type_name(array.type));
  if (r.classes > 0)
    throw UserError(Code::E0406,
                    fmt::format("`{}` is class({}), but {} holds {}: labels are integers", r.name, r.classes, file, type), r.source.path,
                    "save the labels as integers: labels.astype(np.int64)");
  throw UserError(Code::E0406, fmt::format("`{}` is {}, but {} holds {}", r.name, dtype_name(r.dtype), file, type), r.source.path,
                  fmt::format("declare `{}` as {}, or save integers", r.name, dtype_name(widened(array.type))));
}

template <class T>
void check_not_nan(const T* values, size_t count, const DataField& r, size_t per_row) {
  // Sums of products with zero are NaN exactly where a value is NaN or infinite: one fast pass, and a slow one only where it
  // found something.
  T probe = 0;
  for (size_t i = 0; i < count; ++i) probe += values[i] * T{0};
  if (probe == 0) return;
  for (size_t i = 0; i < count; ++i)
    if (std::isnan(values[i]))
      throw UserError(Code::E0410,
                      fmt::format("row {} of `{}` holds NaN (value {} of {}), which data must not hold", i / per_row + 1,
                                  file_name(r.source.path), i % per_row + 1, per_row),
                      r.source.path);
}

template <class T>
void check_classes(const T* labels, size_t count, const DataField& r, size_t per_row) {
  auto [low, high] = std::minmax_element(labels, labels + count);
  if (*low >= 0 && static_cast<int64_t>(*high) < r.classes) return;
  size_t bad = std::find_if(labels, labels + count, [&](T v) { return v < 0 || static_cast<int64_t>(v) >= r.classes; }) - labels;
  throw UserError(Code::E0409,
                  fmt::format("label {} in row {} of `{}` is out of range: `{}` is class({}), 0 to {}", labels[bad],
                              bad / per_row + 1, file_name(r.source.path), r.name, r.classes, r.classes - 1),
                  r.source.path, label_help(*low, *high, r.classes));
}

FieldData make_field(const StoredArray& array, const DataField& r) {
  check_shape(array, r);
  check_type(array, r);
  std::optional<UnfitValue> unfit;
  FileBytes elements = convert_elements(array, r.dtype, unfit);
  size_t per_row = std::max<size_t>(array.count / static_cast<size_t>(array.shape[0]), 1);
  if (unfit)
    throw UserError(Code::E0410,
                    fmt::format("value {} in row {} of `{}` does not fit {}, the type of `{}`", unfit->value,
                                unfit->index / per_row + 1, file_name(r.source.path), dtype_name(r.dtype), r.name),
                    r.source.path);
  if (r.classes > 0 && elements.mapped) {
    // Labels become indices: those that were checked must be those that are used, whatever happens to the file meanwhile.
    OwnedBytes copy = allocate_bytes(elements.size);
    std::memcpy(copy.data.get(), elements.data, elements.size);
    elements = {copy.data.get(), copy.size, copy.data, false};
  }
  with_element(r.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* values = reinterpret_cast<const T*>(elements.data);
    if constexpr (std::is_floating_point_v<T>)
      check_not_nan<T>(values, array.count, r, per_row);
    else if (r.classes > 0 && array.count > 0 && is_integer(r.dtype))
      check_classes<T>(values, array.count, r, per_row);
  });
  std::optional<uint64_t> row_bytes = checked_product(r.row_shape, byte_size(r.dtype));
  NNC_CHECK(row_bytes, "row shape of a field overflows");
  return {r.dtype, r.row_shape, array.shape[0], static_cast<int64_t>(*row_bytes), elements.data, elements.owner, elements.mapped};
}

StoredArray parse_array(const FileBytes& file, const DataField& r) {
  switch (r.source.kind) {
    case SourceKind::idx:
      return parse_idx(file, r.source.path);
    case SourceKind::npy:
      return parse_npy(file, r.source.path);
    case SourceKind::npz:
      return parse_npz_member(file, r.source.path, r.source.key);
    case SourceKind::safetensors: {
      SafetensorsContent content = parse_safetensors(file, r.source.path);
      std::vector<std::string> keys;
      for (auto& [name, array] : content.tensors) {
        if (name == r.source.key || (r.source.key.empty() && content.tensors.size() == 1)) return array;
        keys.push_back(name);
      }
      if (keys.empty()) throw UserError(Code::E0403, fmt::format("`{}` holds no arrays", file_name(r.source.path)), r.source.path);
      refuse_key(r.source.path, r.source.key, keys);
    }
    case SourceKind::csv:
    case SourceKind::text:
    case SourceKind::memory:
      break;
  }
  NNC_UNREACHABLE("source kind");
}

/// A copy, which stays what it was and may be read past its end.
StoredArray copy_array(const DataField& r) {
  const HostArray& host = r.source.array;
  std::optional<uint64_t> size = checked_product(host.shape, byte_size(host.dtype));
  if (!size || (*size > 0 && !host.elements))
    throw UserError(Code::E0401, fmt::format("the array for `{}` has no elements of shape {}", r.name, shape_as_tuple(host.shape)), r.source.path);
  OwnedBytes copy = allocate_bytes(*size);
  if (*size > 0) std::memcpy(copy.data.get(), host.elements, *size);
  StoredArray array;
  array.type = stored_type(host.dtype);
  array.shape = host.shape;
  array.count = *size / byte_size(host.dtype);
  array.bytes = {copy.data.get(), copy.size, copy.data, false};
  array.header = "shape " + shape_as_tuple(host.shape);
  return array;
}

std::vector<FieldData> read_all(std::span<const DataField> requests, const FileLoader& load) {
  std::map<std::string, FileBytes> files;
  std::vector<FieldData> fields(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const DataField& r = requests[i];
    NNC_CHECK(r.classes == 0 || !is_float(r.dtype), "classes are stored as integers");
    if (fields[i].data) continue;  // a csv's other fields came with its first
    if (r.source.kind == SourceKind::memory) {
      fields[i] = make_field(copy_array(r), r);
      continue;
    }
    auto [file, fresh] = files.try_emplace(r.source.path);
    if (fresh) file->second = load(r.source.path);
    if (r.source.kind != SourceKind::csv) {
      fields[i] = make_field(parse_array(file->second, r), r);
      continue;
    }
    std::vector<const DataField*> same_file;
    std::vector<size_t> slots;
    for (size_t k = i; k < requests.size(); ++k) {
      if (requests[k].source.kind != SourceKind::csv || requests[k].source.path != r.source.path) continue;
      same_file.push_back(&requests[k]);
      slots.push_back(k);
    }
    std::vector<FieldData> read = parse_csv(file->second, r.source.path, same_file);
    for (size_t k = 0; k < slots.size(); ++k) fields[slots[k]] = std::move(read[k]);
  }
  return fields;
}

}  // namespace

std::string label_help(int64_t lowest, int64_t highest, int64_t classes) {
  if (lowest == 1 && highest == classes)
    return fmt::format("the labels count from 1: declare class({}), or subtract one in the file", classes + 1);
  if (lowest >= 0) return fmt::format("the largest label is {}: class({}) would hold it", highest, highest + 1);
  return {};
}

std::vector<FieldData> read_fields(std::span<const DataField> requests, const FileLoader& load) {
  std::vector<FieldData> fields;
  try {
    fields = read_all(requests, load);
  } catch (const std::bad_alloc&) {
    throw UserError(Code::E0402, "the data does not fit into memory", requests.empty() ? std::string() : requests[0].source.path);
  }
  for (size_t i = 1; i < fields.size(); ++i)
    if (fields[i].rows != fields[0].rows)
      throw UserError(Code::E0412,
                      fmt::format("`{}` has {} rows in {}, but `{}` has {} in {}", requests[0].name, fields[0].rows,
                                  file_name(requests[0].source.path), requests[i].name, fields[i].rows, file_name(requests[i].source.path)),
                      requests[i].source.path);
  return fields;
}

FieldData read_field(const DataField& request) { return std::move(read_fields({&request, 1}).front()); }

}  // namespace nnc
