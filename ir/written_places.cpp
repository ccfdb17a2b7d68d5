// Locations name places in files that need not be there. Each named file that the SourceMap does not hold with such a line gets an entry made
// of blanks, just large enough that line and column can be computed from an offset; printing then gives back the same locations.
#include "ir/written_places.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>

namespace nnc {
namespace {

constexpr size_t always_blank_text = size_t(1) << 20, max_blank_ratio = 16;  // of all blank entries together, against the text

class PlaceResolver {
 public:
  PlaceResolver(SourceMap& sources, size_t text_size)
      : sources_(sources), known_files_(uint32_t(sources.file_count())), blank_text_(always_blank_text + max_blank_ratio * text_size) {}

  using Entries = std::vector<std::pair<const WrittenPlace*, Span*>>;

  const WrittenPlace* run(const Entries& all) {
    std::map<std::string, Entries> by_path;
    for (auto& entry : all) by_path[entry.first->path].push_back(entry);
    for (auto& [path, entries] : by_path) {
      FileId file = find_file(path, entries);
      if (!file.value) file = add_blank_file(path, entries);
      if (!file.value) return entries.front().first;
      for (auto& [place, span] : entries) {
        uint32_t offset = find_offset(file, *place).value_or(0);
        *span = Span{file, offset, offset};
      }
    }
    return nullptr;
  }

 private:
  std::optional<uint32_t> find_offset(FileId file, const WrittenPlace& place) {
    std::string_view all = sources_.text(file), line = sources_.line(file, uint32_t(place.line));
    if (!line.data()) return std::nullopt;
    size_t begin = size_t(line.data() - all.data()), offset = begin;
    auto [plain, fresh] = plain_.try_emplace(file.value);
    if (fresh) plain->second = std::all_of(all.begin(), all.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (plain->second)  // a walk for each place of a long line would take the square of its length
      offset += size_t(place.column) - 1;
    else
      for (int64_t column = 1; column < place.column && offset < all.size(); ++column)
        do ++offset;
        while (offset < all.size() && (static_cast<unsigned char>(all[offset]) & 0xC0) == 0x80);
    if (offset > begin + line.size()) return std::nullopt;
    return uint32_t(offset);
  }

  /// A file of that path that has all the places, or none.
  FileId find_file(const std::string& path, const Entries& entries) {
    for (uint32_t id = 1; id <= known_files_; ++id) {
      FileId file{id};
      if (sources_.path(file) != path) continue;
      if (std::all_of(entries.begin(), entries.end(), [&](auto& entry) { return find_offset(file, *entry.first).has_value(); })) return file;
    }
    return {};
  }

  FileId add_blank_file(const std::string& path, const Entries& entries) {
    std::map<int64_t, int64_t> widths;
    for (auto& [place, span] : entries) widths[place->line] = std::max(widths[place->line], place->column);
    std::string text;
    int64_t line = 1;
    for (auto [wanted, width] : widths) {
      if (text.size() + size_t(wanted - line) + size_t(width) > blank_text_) return {};
      text.append(size_t(wanted - line), '\n');
      text.append(size_t(width), ' ');
      line = wanted;
    }
    blank_text_ -= text.size();
    return sources_.add(path, std::move(text));
  }

  SourceMap& sources_;
  uint32_t known_files_;            ///< before blank ones were added
  size_t blank_text_;               ///< that may still be added
  std::map<uint32_t, bool> plain_;  ///< by file: it is ASCII
};

}  // namespace

const WrittenPlace* resolve_places(SourceMap& sources, const std::vector<std::pair<const WrittenPlace*, Span*>>& places, size_t text_size) {
  return PlaceResolver(sources, text_size).run(places);
}

}  // namespace nnc
