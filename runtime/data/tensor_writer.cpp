// Writers. The bytes depend on the tensors alone: no time stamps in archives, no order of hash tables.
// safetensors are laid out with the largest element type first, as the format's own library does, so that every tensor is
// aligned.
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <type_traits>

#include "base/check.h"
#include "base/diagnostics.h"
#include "runtime/data/readers.h"
#include "runtime/data/tensor_file.h"

namespace nnc {
namespace {

std::string_view safetensors_type(DType type) {
  switch (type) {
    case DType::f32:
      return "F32";
    case DType::f64:
      return "F64";
    case DType::i32:
      return "I32";
    case DType::i64:
      return "I64";
    case DType::u8:
      return "U8";
    case DType::boolean:
      return "BOOL";
  }
  NNC_UNREACHABLE("element type");
}

std::string_view numpy_type(DType type) {
  switch (type) {
    case DType::f32:
      return "<f4";
    case DType::f64:
      return "<f8";
    case DType::i32:
      return "<i4";
    case DType::i64:
      return "<i8";
    case DType::u8:
      return "|u1";
    case DType::boolean:
      return "|b1";
  }
  NNC_UNREACHABLE("element type");
}

/// Magic to the last byte before the elements; a multiple of 64 bytes long.
std::string npy_header(const TensorView& t) {
  std::string dict =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}", numpy_type(t.dtype), shape_as_tuple(t.shape));
  bool long_header = dict.size() + 1 + 10 + 63 > 0xFFFF;
  size_t prefix = long_header ? 12 : 10;
  dict.append((64 - (prefix + dict.size() + 1) % 64) % 64, ' ');
  dict += '\n';
  std::string header = long_header ? std::string("\x93NUMPY\x02\x00", 8) : std::string("\x93NUMPY\x01\x00", 8);
  for (size_t i = 8; i < prefix; ++i) header += static_cast<char>(dict.size() >> 8 * (i - 8) & 0xFF);
  return header + dict;
}

template <class T>
void put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(static_cast<uint64_t>(value) >> 8 * i & 0xFF);
}

void check_unique_names(std::span<const TensorView> tensors) {
  std::set<std::string_view> names;
  for (const TensorView& t : tensors) NNC_CHECK(names.insert(t.name).second, "two tensors of one file are named " + t.name);
}

uint32_t checksum(uint32_t so_far, std::span<const std::byte> bytes) {
  if (bytes.empty()) return so_far;  // zlib takes a null pointer for the request to begin anew
  return static_cast<uint32_t>(crc32_z(so_far, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

void append_element(std::string& out, const TensorView& t, size_t index) {
  auto append = [&](auto value) {
    std::memcpy(&value, t.data + index * sizeof value, sizeof value);
    if constexpr (std::is_floating_point_v<decltype(value)>)
      if (std::isnan(value)) value = std::numeric_limits<decltype(value)>::quiet_NaN();  // its sign means nothing
    fmt::format_to(std::back_inserter(out), "{}", value);
  };
  with_element(t.dtype, append);
}

}  // namespace

void write_safetensors(const std::string& path, std::span<const TensorView> tensors, const std::map<std::string, std::string>& metadata,
                       const std::function<std::vector<std::byte>(size_t)>& elements) {
  check_unique_names(tensors);
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return byte_size(tensors[a].dtype) > byte_size(tensors[b].dtype); });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (size_t i : order) {
    const TensorView& t = tensors[i];
    uint64_t end = offset + t.byte_count();
    header[t.name] = {{"dtype", safetensors_type(t.dtype)}, {"shape", t.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string length;
  put(length, static_cast<uint64_t>(text.size()));
  write_file_atomically(path, [&](FileSink& sink) {
    sink.write(length);
    sink.write(text);
    for (size_t i : order) {
      if (tensors[i].data || tensors[i].byte_count() == 0) {
        sink.write(tensors[i].bytes());
        continue;
      }
      const std::vector<std::byte> bytes = elements(i);
      NNC_CHECK(bytes.size() == tensors[i].byte_count(), "elements of another number than those of " + tensors[i].name);
      sink.write(bytes);
    }
  });
}

std::string format_npy(const TensorView& t) {
  std::string file = npy_header(t);
  return file.append(reinterpret_cast<const char*>(t.data), t.byte_count());
}

void write_npy(const std::string& path, const TensorView& t) {
  write_file_atomically(path, [&](FileSink& sink) {
    sink.write(npy_header(t));
    sink.write(t.bytes());
  });
}

void write_npz(const std::string& path, std::span<const TensorView> tensors) {
  check_unique_names(tensors);
  if (tensors.size() > 0xFFFE)
    throw UserError(Code::E0413, fmt::format("cannot write `{}`: an npz file holds at most 65534 arrays", path), path);
  // Fields that local header and directory share: version 2.0, no flags, stored, the zip epoch as date (1 January 1980).
  auto entry = [](uint32_t crc, uint64_t size, const std::string& name) {
    std::string fields;
    for (uint16_t v : {20, 0, 0, 0, 0x21}) put(fields, v);
    put(fields, crc);
    put(fields, static_cast<uint32_t>(size));
    put(fields, static_cast<uint32_t>(size));
    put(fields, static_cast<uint16_t>(name.size()));
    put(fields, uint16_t{0});
    return fields;
  };
  std::string directory;
  uint64_t offset = 0;
  write_file_atomically(path, [&](FileSink& sink) {
    for (const TensorView& t : tensors) {
      std::string header = npy_header(t), name = t.name + ".npy";
      uint64_t size = header.size() + t.byte_count();
      if (offset + size + name.size() + 30 > 0xFFFFFFFE || name.size() > 0xFFFF)
        throw UserError(Code::E0413, fmt::format("cannot write `{}`: an npz file holds at most 4 GB", path), path,
                        "write .npy files or .safetensors");
      uint32_t crc = checksum(checksum(0, std::as_bytes(std::span(header.data(), header.size()))), t.bytes());
      std::string fields = entry(crc, size, name), local = "PK\x03\x04" + fields + name;
      directory += "PK\x01\x02" + std::string("\x14\x00", 2) + fields;
      for (uint16_t v : {0, 0, 0}) put(directory, v);  // no comment, first disk, binary
      put(directory, uint32_t{0});
      put(directory, static_cast<uint32_t>(offset));
      directory += name;
      sink.write(local);
      sink.write(header);
      sink.write(t.bytes());
      offset += local.size() + size;
    }
    std::string end = "PK\x05\x06";
    for (size_t v : {size_t{0}, size_t{0}, tensors.size(), tensors.size()}) put(end, static_cast<uint16_t>(v));
    put(end, static_cast<uint32_t>(directory.size()));
    put(end, static_cast<uint32_t>(offset));
    put(end, uint16_t{0});
    sink.write(directory);
    sink.write(end);
  });
}

std::string format_csv(std::span<const TensorView> tensors, std::span<const std::string> header) {
  std::string out;
  for (size_t i = 0; i < header.size(); ++i) {
    bool quote = header[i].find_first_of(",\"\r\n") != std::string::npos;
    std::string cell;
    for (char c : header[i]) cell += c == '"' && quote ? std::string("\"\"") : std::string(1, c);
    out += (i ? "," : "") + (quote ? "\"" + cell + "\"" : cell);
  }
  if (!header.empty()) out += '\n';
  auto rows_of = [](const TensorView& t) { return t.shape.empty() ? int64_t{1} : t.shape[0]; };
  int64_t rows = tensors.empty() ? 0 : rows_of(tensors[0]);
  for (const TensorView& t : tensors) NNC_CHECK(rows_of(t) == rows, "csv columns of different length");
  for (int64_t row = 0; row < rows; ++row) {
    bool first = true;
    for (const TensorView& t : tensors) {
      size_t width = t.element_count() / static_cast<size_t>(rows);
      for (size_t i = 0; i < width; ++i, first = false) {
        if (!first) out += ',';
        append_element(out, t, static_cast<size_t>(row) * width + i);
      }
    }
    out += '\n';
  }
  return out;
}

void write_csv(const std::string& path, std::span<const TensorView> tensors, std::span<const std::string> header) {
  write_file_atomically(path, [text = format_csv(tensors, header)](FileSink& sink) { sink.write(text); });
}

}  // namespace nnc
