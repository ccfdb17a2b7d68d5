// What a reader says of a file that is not what it was called, or is no longer whole; and a guess at what it is instead, from its
// first bytes.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/diagnostics.h"
#include "runtime/data/readers.h"

namespace nnc {

void refuse_format(const std::string& path, const std::string& what, std::string help) {
  throw UserError(Code::E0404, fmt::format("`{}` {}", file_name(path), what), path, std::move(help));
}

void refuse_damaged(const std::string& path, const std::string& what) {
  throw UserError(Code::E0405, fmt::format("`{}` {}", file_name(path), what), path);
}

void refuse_key(const std::string& path, const std::string& key, const std::vector<std::string>& keys) {
  std::vector<std::string> shown(keys.begin(), keys.begin() + std::min<ptrdiff_t>(keys.size(), 12));
  std::string near = nearest(key, keys);
  std::string list = fmt::format("`{}`{}", fmt::join(shown, "`, `"), keys.size() > shown.size() ? ", ..." : "");
  throw UserError(
      Code::E0411,
      key.empty() ? fmt::format("`{}` holds {} arrays, and none is named", file_name(path), keys.size())
                  : fmt::format("`{}` holds no array `{}`", file_name(path), key),
      path, near.empty() ? fmt::format("it holds {}", list) : fmt::format("an array with a similar name exists: `{}`", near));
}

std::string recognise_format(const FileBytes& file) {
  std::string_view text = file.text();
  // A data block names the format, where a file is given by its name alone the ending does.
  auto looks_like = [](const char* what, const char* format) {
    return fmt::format("it looks like {}: read it with {}(...), or let its name end in .{}", what, format, format);
  };
  if (text.starts_with("\x93NUMPY")) return looks_like("a numpy array", "npy");
  if (text.starts_with("PK\x03\x04")) return looks_like("a zip archive", "npz");
  if (text.size() > 8 && text[8] == '{' && text.substr(4, 4) == std::string_view("\0\0\0\0", 4))
    return looks_like("a safetensors file", "safetensors");
  if (text.size() >= 4 && text[0] == 0 && text[1] == 0 && text[2] >= 8 && text[2] <= 14)
    return "it looks like an idx file: read it with idx(...)";
  std::string begin(text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()), 9));
  for (char& c : begin) c |= c >= 'A' && c <= 'Z' ? 'a' - 'A' : 0;
  if (begin == "<!doctype" || begin.starts_with("<html")) return "it looks like a web page: the download gave an error page";
  size_t printable = 0, looked = std::min<size_t>(text.size(), 256);
  for (char c : text.substr(0, looked)) printable += (c >= ' ' && c < 127) || c == '\n' || c == '\r' || c == '\t';
  if (printable == looked && text.substr(0, looked).find(',') != std::string_view::npos)
    return looks_like("text with commas", "csv");
  return {};
}

SourceKind guess_source_kind(const std::string& path, SourceKind otherwise) {
  std::string lower = file_name(path);
  for (char& c : lower) c |= c >= 'A' && c <= 'Z' ? 'a' - 'A' : 0;
  std::string_view name = lower;
  if (name.ends_with(".gz")) name.remove_suffix(3);
  if (name.ends_with(".csv")) return SourceKind::csv;
  if (name.ends_with(".npy")) return SourceKind::npy;
  if (name.ends_with(".npz")) return SourceKind::npz;
  if (name.ends_with(".safetensors")) return SourceKind::safetensors;
  if (name.ends_with("idx") || name.ends_with("ubyte")) return SourceKind::idx;  // train-images-idx3-ubyte
  return otherwise;
}

}  // namespace nnc
