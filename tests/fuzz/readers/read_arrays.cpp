// The formats of arrays. Headers are parsed from a buffer that ends where the file ends, so that ASan sees one byte read too many
// (files that are loaded have 64 spare bytes); then the same bytes are read from a path, as the driver reads them, with every
// type that a field can have. What was read must survive being written and read again.
#include <fmt/format.h>

#include <cstring>
#include <functional>

#include "base/diagnostics.h"
#include "runtime/data/readers.h"
#include "runtime/data/tensor_file.h"
#include "runtime/data/text_tokens.h"
#include "tests/fuzz/readers/readers.h"

namespace nnc::fuzz {
namespace {

constexpr DType all_types[] = {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean};

/// Whether the file was taken; a refusal must say something.
bool taken(const std::function<void()>& read) {
  try {
    read();
    return true;
  } catch (const UserError& e) {
    require(e.diagnostic().message.size() > 10, "a refusal says nothing");
    SourceMap none;
    require(!render_text(e.diagnostic(), none, false).empty() && !render_json(e.diagnostic(), none).empty(),
            "a refusal cannot be shown");
    return false;
  }
}

/// A buffer of exactly the file's size, at the alignment that load_file gives.
FileBytes exact_bytes(Bytes bytes) {
  auto* raw = static_cast<std::byte*>(::operator new(bytes.size(), std::align_val_t{64}));
  if (!bytes.empty()) std::memcpy(raw, bytes.data(), bytes.size());
  std::shared_ptr<const void> owner(raw, [](const void* p) { ::operator delete(const_cast<void*>(p), std::align_val_t{64}); });
  return {raw, bytes.size(), owner, false};
}

/// Every byte is looked at, so that ASan sees what is not there.
void touch(const std::byte* data, size_t size) {
  unsigned sum = 0;
  for (size_t i = 0; i < size; ++i) sum += std::to_integer<unsigned>(data[i]);
  volatile unsigned sink = sum;
  (void)sink;
}

void convert_to_every_type(const StoredArray& array) {
  for (DType type : all_types) {
    if (is_float(array.type) && !is_float(type)) continue;
    std::optional<UnfitValue> unfit;
    FileBytes elements = convert_elements(array, type, unfit);
    if (unfit) continue;
    require(elements.size == array.count * byte_size(type), "a conversion has another size");
    touch(elements.data, elements.size);
  }
}

void check_tensor(const TensorView& tensor, const std::string& path) {
  touch(tensor.data, tensor.byte_count());
  for (DType type : {DType::f32, DType::i64}) taken([&] { convert_tensor(tensor, type, path); });
}

/// What was read as npy, written as npy and read again is the same.
void check_npy_round_trip(const TensorView& tensor) {
  std::string written = format_npy(tensor);
  StoredArray again = parse_npy(exact_bytes({reinterpret_cast<const uint8_t*>(written.data()), written.size()}), "again");
  require(again.shape == tensor.shape && widened(again.type) == tensor.dtype,
          "an array that is written and read has another type");
  require(std::memcmp(again.bytes.data + again.offset, tensor.data, tensor.byte_count()) == 0,
          "an array that is written and read differs");
}

void check_file(const std::string& path, SourceKind kind, const std::string& key) {
  taken([&] {
    TensorFile file = read_tensors(path, kind);
    size_t looked_at = 0;
    for (const TensorView& tensor : file.tensors) {
      if (++looked_at > 8) break;
      check_tensor(tensor, path);
      check_npy_round_trip(tensor);
      // As a field of just that row shape, and of one value too many.
      if (tensor.shape.empty()) continue;
      DataField request;
      request.name = "x";
      request.source.kind = kind;
      request.source.path = path;
      request.source.key = tensor.name.empty() ? key : tensor.name;
      request.row_shape.assign(tensor.shape.begin() + 1, tensor.shape.end());
      for (DType type : {DType::f32, DType::i32, DType::u8}) {
        request.dtype = type;
        request.classes = type == DType::i32 ? 10 : 0;
        taken([&] {
          FieldData field = read_field(request);
          touch(field.data, static_cast<size_t>(field.rows * field.row_stride_bytes) + FileBytes::readable_past_end);
        });
      }
      request.classes = 0;
      request.row_shape.push_back(3);
      taken([&] { read_field(request); });
    }
  });
}

}  // namespace

void read_idx(Bytes bytes) {
  taken([&] { convert_to_every_type(parse_idx(exact_bytes(bytes), "fuzz.idx")); });
  MemoryFile file(bytes);
  check_file(file.path(), SourceKind::idx, "");
}

void read_npy(Bytes bytes) {
  taken([&] { convert_to_every_type(parse_npy(exact_bytes(bytes), "fuzz.npy")); });
  MemoryFile file(bytes);
  check_file(file.path(), SourceKind::npy, "");
}

void read_npz(Bytes bytes) {
  taken([&] {
    FileBytes file = exact_bytes(bytes);
    size_t looked_at = 0;
    for (const auto& [key, array] : parse_npz(file, "fuzz.npz")) {
      if (++looked_at > 8) break;
      convert_to_every_type(array);
      convert_to_every_type(parse_npz_member(file, "fuzz.npz", key));
    }
  });
  MemoryFile file(bytes);
  check_file(file.path(), SourceKind::npz, "");
}

void read_safetensors(Bytes bytes) {
  taken([&] {
    SafetensorsContent content = parse_safetensors(exact_bytes(bytes), "fuzz.safetensors");
    for (const auto& [name, array] : content.tensors) convert_to_every_type(array);
  });
  MemoryFile file(bytes);
  check_file(file.path(), SourceKind::safetensors, "");
}

void read_gz(Bytes bytes) {
  MemoryFile file(bytes);
  taken([&] {
    FileBytes loaded = load_file(file.path());
    require(loaded.size > 0, "an empty file was taken");
    touch(loaded.data, loaded.size + FileBytes::readable_past_end);
  });
}

void read_text(Bytes bytes) {
  taken([&] {
    const std::string json(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (std::optional<Vocabulary> vocabulary = vocabulary_from_json(json))
      require(vocabulary_from_json(vocabulary_as_json(*vocabulary)) == vocabulary, "a vocabulary that is written and read differs");
  });
  MemoryFile file(bytes);
  taken([&] {
    const TextTokens text = read_text_tokens(file.path());
    touch(reinterpret_cast<const std::byte*>(text.numbers.get()), size_t(text.count) * sizeof(int32_t) + FileBytes::readable_past_end);
    const KnownVocabulary known{text.vocabulary, "itself"};
    const TextTokens again = read_text_tokens(file.path(), &known);
    require(again.count == text.count && std::memcmp(again.numbers.get(), text.numbers.get(), size_t(text.count) * sizeof(int32_t)) == 0,
            "a text that is read by its own vocabulary differs");
  });
}

void read_csv(Bytes bytes) {
  FileBytes exact = exact_bytes(bytes);
  if (exact.size == 0) return;  // load_file refuses empty files
  int64_t width = 0;
  taken([&] { width = read_csv_head(exact, "fuzz.csv", {"a"}).columns; });
  // All columns as floats, the last as a label, the first by name; each alone and all in one pass.
  DataField all, label, named;
  all.name = "all", label.name = "label", named.name = "named";
  all.dtype = DType::f64;
  if (width != 1) all.row_shape = {width};
  label.dtype = DType::i32;
  label.classes = 10;
  label.source.columns = {width - 1};
  named.dtype = DType::boolean;
  named.source.column_names = {"a"};
  std::vector<const DataField*> together = {&all, &label};
  taken([&] { parse_csv(exact, "fuzz.csv", together); });
  for (const DataField* request : {&label, &named}) taken([&] { parse_csv(exact, "fuzz.csv", {&request, 1}); });
  const DataField* only = &all;
  taken([&] {
    FieldData field = std::move(parse_csv(exact, "fuzz.csv", {&only, 1}).at(0));
    size_t size = static_cast<size_t>(field.rows * field.row_stride_bytes);
    touch(field.data, size + FileBytes::readable_past_end);
    TensorView view{"", field.dtype, {field.rows, static_cast<int64_t>(width)}, field.data};
    std::string written = format_csv({&view, 1});
    FieldData again = std::move(
        parse_csv(exact_bytes({reinterpret_cast<const uint8_t*>(written.data()), written.size()}), "again", {&only, 1}).at(0));
    require(again.rows == field.rows && std::memcmp(again.data, field.data, size) == 0,
            "a table that is written and read differs");
  });
}

}  // namespace nnc::fuzz
