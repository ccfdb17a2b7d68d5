// Source text and places in it. Every diagnostic, AST node, graph node and kernel carries a Span.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nnc {

/// Index of a file in a SourceMap; 0 means "no file".
struct FileId {
  uint32_t value = 0;
  bool operator==(const FileId&) const = default;
};

/// Half-open byte range [begin, end) in one file.
struct Span {
  FileId file;
  uint32_t begin = 0;
  uint32_t end = 0;
  bool valid() const { return file.value != 0; }
  bool operator==(const Span&) const = default;
};

/// The smallest span that covers both (same file; an invalid one is ignored).
Span join(Span a, Span b);

/// 1-based line and column; the column counts Unicode code points.
struct LineColumn {
  uint32_t line = 0;
  uint32_t column = 0;
};

/// Owns the text of every file that took part in a compilation. Ids stay valid for its lifetime.
class SourceMap {
 public:
  /// `path` is what diagnostics show ("net.nn", "<std>").
  FileId add(std::string path, std::string text);
  const std::string& path(FileId) const;
  std::string_view text(FileId) const;
  std::string_view text(Span) const;
  LineColumn position(FileId, uint32_t offset) const;
  /// Text of a 1-based line without its line break.
  std::string_view line(FileId, uint32_t line) const;
  /// "net.nn:3:14", or "" for an invalid span.
  std::string describe(Span) const;
  /// "net.nn:3"
  std::string describe_line(Span) const;
  size_t file_count() const { return files_.size(); }

 private:
  struct File {
    std::string path, text;
    std::vector<uint32_t> line_starts;
  };
  const File& file(FileId) const;
  std::vector<std::unique_ptr<File>> files_;
};

}  // namespace nnc
