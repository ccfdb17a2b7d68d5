// Offsets into a file become lines and columns by a table of line starts, made once when the file is added.
#include "base/source.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace nnc {

Span join(Span a, Span b) {
  if (!a.valid()) return b;
  if (!b.valid() || a.file != b.file) return a;
  return {a.file, std::min(a.begin, b.begin), std::max(a.end, b.end)};
}

FileId SourceMap::add(std::string path, std::string text) {
  NNC_CHECK(text.size() < UINT32_MAX, "source files are addressed by 32 bits");
  auto file = std::make_unique<File>(File{std::move(path), std::move(text), {0}});
  for (uint32_t i = 0; i < file->text.size(); ++i)
    if (file->text[i] == '\n') file->line_starts.push_back(i + 1);
  files_.push_back(std::move(file));
  return {static_cast<uint32_t>(files_.size())};
}

const SourceMap::File& SourceMap::file(FileId id) const {
  NNC_CHECK(id.value > 0 && id.value <= files_.size(), fmt::format("file id {} of {}", id.value, files_.size()));
  return *files_[id.value - 1];
}

const std::string& SourceMap::path(FileId id) const { return file(id).path; }

std::string_view SourceMap::text(FileId id) const { return file(id).text; }

std::string_view SourceMap::text(Span span) const {
  if (!span.valid()) return {};
  std::string_view all = file(span.file).text;
  size_t begin = std::min<size_t>(span.begin, all.size());
  size_t end = std::clamp<size_t>(span.end, begin, all.size());
  return all.substr(begin, end - begin);
}

LineColumn SourceMap::position(FileId id, uint32_t offset) const {
  const File& f = file(id);
  offset = std::min(offset, static_cast<uint32_t>(f.text.size()));
  auto next = std::upper_bound(f.line_starts.begin(), f.line_starts.end(), offset);
  uint32_t line = static_cast<uint32_t>(next - f.line_starts.begin());
  uint32_t column = 1;
  for (uint32_t i = f.line_starts[line - 1]; i < offset; ++i)
    if ((static_cast<unsigned char>(f.text[i]) & 0xC0) != 0x80) ++column;  // continuation bytes belong to the code point before
  return {line, column};
}

std::string_view SourceMap::line(FileId id, uint32_t line) const {
  const File& f = file(id);
  if (line == 0 || line > f.line_starts.size()) return {};
  size_t begin = f.line_starts[line - 1];
  size_t end = line < f.line_starts.size() ? f.line_starts[line] - 1 : f.text.size();
  if (end > begin && f.text[end - 1] == '\r') --end;
  return std::string_view(f.text).substr(begin, end - begin);
}

std::string SourceMap::describe(Span span) const {
  if (!span.valid()) return {};
  LineColumn at = position(span.file, span.begin);
  return fmt::format("{}:{}:{}", path(span.file), at.line, at.column);
}

std::string SourceMap::describe_line(Span span) const {
  if (!span.valid()) return {};
  return fmt::format("{}:{}", path(span.file), position(span.file, span.begin).line);
}

}  // namespace nnc
