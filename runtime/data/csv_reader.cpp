// CSV in one pass: a scanner cuts the text into cells (RFC 4180, with blanks around numbers, CR, LF or both), each row feeds
// every field that wants some of its cells, numbers are parsed in place by std::from_chars. Whether the first row is a header is
// decided by its content (guess_header) and by the names that fields ask for; a row that may be either is refused, since both guesses
// would be silent: one loses a row, the other invents one. Anything else in it is data, so that a bad cell there is still found.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <optional>
#include <set>

#include "base/check.h"
#include "base/diagnostics.h"
#include "runtime/data/readers.h"

namespace nnc {
namespace {

class CsvScanner {
 public:
  CsvScanner(std::string_view text, const std::string& path) : at_(text.data()), end_(text.data() + text.size()), path_(path) {
    if (text.starts_with("\xEF\xBB\xBF")) at_ += 3;
  }

  /// The next row that is not blank; false at the end. Cells live until the next call.
  bool next_row(std::vector<std::string_view>& cells) {
    while (at_ < end_) {
      cells.clear();
      unescaped_.clear();
      row_line_ = line_;
      bool quoted = scan_row(cells);
      if (cells.size() > 1 || quoted || !cells[0].empty()) return true;
    }
    return false;
  }

  int64_t row_line() const { return row_line_; }  ///< where the row begins, from 1

 private:
  static bool is_blank(char c) { return c == ' ' || c == '\t'; }

  bool scan_row(std::vector<std::string_view>& cells) {
    bool quoted = false;
    while (true) {
      while (at_ < end_ && is_blank(*at_)) ++at_;
      if (at_ < end_ && *at_ == '"') {
        quoted = true;
        cells.push_back(scan_quoted());
      } else {
        const char* begin = at_;
        while (at_ < end_ && *at_ != ',' && *at_ != '\n' && *at_ != '\r') ++at_;
        const char* last = at_;
        while (last > begin && is_blank(last[-1])) --last;
        cells.emplace_back(begin, static_cast<size_t>(last - begin));
      }
      if (at_ == end_) return quoted;
      char c = *at_++;
      if (c == ',') continue;
      if (c == '\r' && at_ < end_ && *at_ == '\n') ++at_;
      ++line_;
      return quoted;
    }
  }

  /// at_ is on the opening quote; afterwards on the comma, line break or end behind the cell.
  std::string_view scan_quoted() {
    int64_t opened = line_;
    const char* begin = ++at_;
    bool doubled = false;
    while (true) {
      if (at_ == end_)
        throw UserError(Code::E0408,
                        fmt::format("a quote that opens at line {} of `{}` is never closed", opened, file_name(path_)),
                        fmt::format("{}:{}", path_, opened));
      if (*at_ == '\n') ++line_;
      if (*at_ == '"') {
        if (at_ + 1 == end_ || at_[1] != '"') break;
        doubled = true;
        ++at_;
      }
      ++at_;
    }
    std::string_view cell(begin, static_cast<size_t>(at_ - begin));
    ++at_;
    while (at_ < end_ && is_blank(*at_)) ++at_;
    if (at_ < end_ && *at_ != ',' && *at_ != '\n' && *at_ != '\r')
      throw UserError(Code::E0408, fmt::format("text follows a closing quote at line {} of `{}`", line_, file_name(path_)),
                      fmt::format("{}:{}", path_, line_));
    if (doubled) {
      std::string& plain = unescaped_.emplace_back();
      for (size_t i = 0; i < cell.size(); ++i) {
        plain += cell[i];
        if (cell[i] == '"') ++i;
      }
      cell = plain;
    }
    while (!cell.empty() && is_blank(cell.front())) cell.remove_prefix(1);
    while (!cell.empty() && is_blank(cell.back())) cell.remove_suffix(1);
    return cell;
  }

  const char* at_;
  const char* end_;
  const std::string& path_;
  int64_t line_ = 1, row_line_ = 1;
  std::deque<std::string> unescaped_;
};

/// What keeps a cell from being a value; "" if nothing does.
using Problem = const char*;
constexpr Problem none = "";

template <class T>
Problem parse_float(std::string_view cell, T& value) {
  auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error == std::errc::invalid_argument || end != cell.data() + cell.size()) return "is not a number";
  if (error == std::errc::result_out_of_range) {
    // from_chars does not say which way; strtod does, and a value too small for the type is zero (or subnormal), not an error.
    double wide = std::strtod(std::string(cell).c_str(), nullptr);
    if (std::abs(wide) > 1) return "is too large for the type of the field";
    value = static_cast<T>(wide);
  }
  return std::isnan(value) ? "is NaN, which data must not hold" : none;
}

Problem parse_whole(std::string_view cell, int64_t& value) {
  auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error == std::errc() && end == cell.data() + cell.size()) return none;
  if (error == std::errc::result_out_of_range) return "is too large for the type of the field";
  double wide = 0;
  if (Problem problem = parse_float(cell, wide); *problem) return problem;
  if (wide != std::floor(wide)) return "is not a whole number";
  if (std::abs(wide) > 0x1p53) return "is too large for the type of the field";
  value = static_cast<int64_t>(wide);
  return none;
}

/// The value of one to four digits, which most cells of pictures and labels are; -1 if the cell is anything else.
int small_number(std::string_view cell) {
  if (cell.empty() || cell.size() > 4) return -1;
  int value = 0;
  for (char c : cell) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

Problem parse_cell(std::string_view cell, DType type, std::byte* out) {
  if (cell.empty()) return "is empty";
  if (type == DType::boolean && (cell == "true" || cell == "True" || cell == "false" || cell == "False")) {
    *out = std::byte{cell[0] == 't' || cell[0] == 'T'};
    return none;
  }
  if (cell[0] == '+' && cell.size() > 1 && cell[1] != '-') cell.remove_prefix(1);
  auto store = [&](auto value) { std::memcpy(out, &value, sizeof value); };
  int small = small_number(cell);
  if (type == DType::f32) {
    if (small >= 0) return store(static_cast<float>(small)), none;
    float value = 0;
    Problem problem = parse_float(cell, value);
    return store(value), problem;
  }
  if (type == DType::f64) {
    if (small >= 0) return store(static_cast<double>(small)), none;
    double value = 0;
    Problem problem = parse_float(cell, value);
    return store(value), problem;
  }
  int64_t value = small;
  if (small < 0)
    if (Problem problem = parse_whole(cell, value); *problem) return problem;
  auto store_if = [&](auto low, auto high, auto narrow) -> Problem {
    if (value < low || value > high) return "does not fit the type of the field";
    return store(static_cast<decltype(narrow)>(value)), none;
  };
  switch (type) {
    case DType::i32:
      return store_if(INT32_MIN, INT32_MAX, int32_t{});
    case DType::i64:
      return store(value), none;
    case DType::u8:
      return store_if(0, 255, uint8_t{});
    default:
      return store_if(0, 1, uint8_t{});
  }
}

bool is_number(std::string_view cell) {
  double value;
  if (!cell.empty() && cell[0] == '+') cell.remove_prefix(1);
  auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  return error != std::errc::invalid_argument && end == cell.data() + cell.size() && !cell.empty();
}

bool looks_like_name(std::string_view cell) {
  static constexpr std::string_view values[] = {"na", "n/a", "nan", "null", "none", "inf", "infinity", "-", "?", "true", "false"};
  std::string lower(cell);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  return !cell.empty() && !is_number(cell) && !(cell[0] >= '0' && cell[0] <= '9') &&
         std::find(std::begin(values), std::end(values), lower) == std::end(values);
}

enum class HeaderGuess : uint8_t { no, yes, unclear };

/// Names stand above numbers. Numbers among the names of a header count the columns from 0 or 1, as in tables that were written
/// without names; a few may do so by chance, and others may be names too (years). All names differ.
HeaderGuess guess_header(const std::vector<std::string_view>& first, const std::vector<std::string_view>* second) {
  constexpr int counted_by_chance = 3;
  bool name_above_number = false, all_names = true, counts = true;
  int numbers = 0;
  int64_t ahead = 0;  // of its column is each number
  std::set<std::string_view> seen;
  for (size_t i = 0; i < first.size(); ++i) {
    if (is_number(first[i])) {
      int64_t number = 0;
      if (!seen.insert(first[i]).second) return HeaderGuess::no;
      counts = counts && !*parse_whole(first[i], number) && (numbers == 0 ? number == 0 || number == 1 : number == ahead + int64_t(i));
      if (counts) ahead = number - static_cast<int64_t>(i);
      ++numbers;
    }
    if (!looks_like_name(first[i])) all_names = false;
    if (looks_like_name(first[i]) && second && i < second->size() && is_number((*second)[i])) name_above_number = true;
  }
  if (!second) return all_names ? HeaderGuess::yes : HeaderGuess::no;
  if (!name_above_number) return HeaderGuess::no;
  return numbers == 0 || (counts && numbers > counted_by_chance) ? HeaderGuess::yes : HeaderGuess::unclear;
}

bool holds_all(const std::vector<std::string_view>& cells, const std::vector<std::string>& names) {
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) { return std::find(cells.begin(), cells.end(), name) != cells.end(); });
}

/// One field while the file is read.
struct Sink {
  const DataField* request;
  std::vector<size_t> columns;
  size_t element_bytes = 0, row_bytes = 0;
  OwnedBytes bytes;
  size_t used = 0;
  // labels out of range: the first, and whether all labels lie in 1 .. classes, a common slip that has its own help
  int64_t lowest = INT64_MAX, highest = INT64_MIN;
  int64_t bad_label = 0, bad_line = 0, bad_row = 0, bad_column = 0;

  std::byte* next_row() {
    if (bytes.size - used < row_bytes) {
      OwnedBytes larger = allocate_bytes(bytes.size + bytes.size / 2 + row_bytes);
      if (used) std::memcpy(larger.data.get(), bytes.data.get(), used);
      bytes = larger;
    }
    used += row_bytes;
    return bytes.data.get() + used - row_bytes;
  }
};

class CsvReader {
 public:
  CsvReader(const FileBytes& file, const std::string& path, std::span<const DataField* const> requests)
      : file_(file), path_(path), name_(file_name(path)), scanner_(file.text(), path) {
    for (const DataField* r : requests) sinks_.push_back({r, {}, byte_size(r->dtype), 0, {}, 0});
  }

  std::vector<FieldData> read() {
    std::vector<std::string_view> cells;
    if (file_.text().substr(0, 4096).find('\0') != std::string_view::npos)
      refuse_format(path_, "is not text: it holds zero bytes", recognise_format(file_));
    if (!scanner_.next_row(cells)) throw UserError(Code::E0403, fmt::format("`{}` holds no rows", name_), path_);
    width_ = cells.size();
    first_line_ = scanner_.row_line();
    HeaderGuess header = read_header(cells);
    for (Sink& s : sinks_) choose_columns(s);
    if (header == HeaderGuess::unclear) refuse_unclear(cells);
    prepare_buffers();
    bool more = header == HeaderGuess::yes ? scanner_.next_row(cells) : true;
    if (!more) throw UserError(Code::E0403, fmt::format("`{}` holds a header and no rows", name_), path_);
    for (; more; more = scanner_.next_row(cells)) {
      ++rows_;
      if (cells.size() != width_) refuse_width(cells);
      for (Sink& s : sinks_) read_row(s, cells);
    }
    for (const Sink& s : sinks_) check_labels(s);
    std::vector<FieldData> fields;
    for (Sink& s : sinks_)
      fields.push_back({s.request->dtype, s.request->row_shape, rows_, static_cast<int64_t>(s.row_bytes), s.bytes.data.get(),
                        s.bytes.data, false});
    return fields;
  }

 private:
  /// Decides on a header with the second row in sight; the scanner stands behind the first row afterwards.
  HeaderGuess read_header(const std::vector<std::string_view>& first) {
    std::vector<std::string> wanted;
    for (const Sink& s : sinks_) wanted.insert(wanted.end(), s.request->source.column_names.begin(), s.request->source.column_names.end());
    CsvScanner ahead = scanner_;
    std::vector<std::string_view> second;
    bool have_second = ahead.next_row(second);
    HeaderGuess guess = wanted.empty() ? guess_header(first, have_second ? &second : nullptr) : HeaderGuess::yes;
    if (!holds_all(first, wanted) && std::all_of(first.begin(), first.end(), is_number)) {
      auto missing = std::find_if(wanted.begin(), wanted.end(), [&](const std::string& name) { return !holds_all(first, {name}); });
      throw UserError(Code::E0408,
                      fmt::format("`{}` has no header with the name `{}`: its first row is all numbers", name_, *missing), path_,
                      "choose columns by position: `columns: 0..64`");
    }
    if (guess == HeaderGuess::yes)
      for (std::string_view cell : first) names_.emplace_back(cell);
    return guess;
  }

  /// A first row that may be a header is read as data only where that finds its text to be a bad cell.
  void refuse_unclear(const std::vector<std::string_view>& first) const {
    for (const Sink& s : sinks_)
      for (size_t column : s.columns)
        if (looks_like_name(first[column])) return;
    auto text = std::find_if(first.begin(), first.end(), looks_like_name), number = std::find_if(first.begin(), first.end(), is_number);
    UserError error(Code::E0408,
                    fmt::format("line {} of `{}` may be a header or a row of data: `{}` in it stands above numbers, `{}` is one itself",
                                first_line_, name_, *text, *number),
                    fmt::format("{}:{}", path_, first_line_));
    Diagnostic d = error.diagnostic();
    constexpr size_t most_shown = 4;
    std::string names;
    const std::vector<size_t>& columns = sinks_.front().columns;
    for (size_t i = 0; i < std::min(columns.size(), most_shown); ++i)
      names += fmt::format("{}\"{}\"", i > 0 ? ", " : "", first[columns[i]]);
    if (columns.size() > most_shown) names += ", ...";
    d.help.push_back(fmt::format("if it is a header, choose columns by their names: `columns: [{}]`", names));
    d.help.push_back("if it is a row of data, put a header above it, a line of names");
    throw UserError(std::move(d));
  }

  void choose_columns(Sink& s) const {
    const DataField& r = *s.request;
    const DataSource& source = r.source;
    std::string described;
    auto take = [&](int64_t column) {
      if (column < 0 || column >= static_cast<int64_t>(width_))
        throw UserError(
            Code::E0408,
            fmt::format("`{}` has {} columns (0 to {}); `{}` asks for column {}", name_, width_, width_ - 1, r.name, column),
            path_, separator_help());
      s.columns.push_back(static_cast<size_t>(column));
    };
    std::optional<uint64_t> values = checked_product(r.row_shape);
    NNC_CHECK(values, "row shape of a field overflows");
    auto check_count = [&](uint64_t count, const std::string& what) {
      if (count == *values) return;
      std::string declared = r.row_shape.empty()       ? "one value"
                             : r.row_shape.size() == 1 ? std::to_string(*values)
                                                       : fmt::format("{} = {}", shape_as_product(r.row_shape), *values);
      throw UserError(Code::E0401, fmt::format("{}; `{}` is declared {} per row", what, r.name, declared), path_,
                      separator_help());
    };
    if (source.has_range) {
      uint64_t count = source.end_column > source.first_column ? static_cast<uint64_t>(source.end_column - source.first_column) : 0;
      check_count(count, fmt::format("columns {}..{} of {} are {} columns", source.first_column, source.end_column, name_, count));
      if (count > width_) take(source.end_column - 1);
      for (int64_t c = source.first_column; c < source.end_column; ++c) take(c);
    } else if (!source.columns.empty()) {
      check_count(source.columns.size(), fmt::format("{} columns of {} are chosen", source.columns.size(), name_));
      for (int64_t c : source.columns) take(c);
    } else if (!source.column_names.empty()) {
      check_count(source.column_names.size(), fmt::format("{} columns of {} are chosen", source.column_names.size(), name_));
      for (const std::string& wanted : source.column_names) take(find_name(wanted));
    } else {
      check_count(width_, fmt::format("{} holds {} columns", name_, width_));
      for (size_t c = 0; c < width_; ++c) s.columns.push_back(c);
    }
    s.row_bytes = s.columns.size() * s.element_bytes;
  }

  int64_t find_name(const std::string& wanted) const {
    int64_t matches = std::count(names_.begin(), names_.end(), wanted);
    if (matches > 1)
      throw UserError(Code::E0408, fmt::format("`{}` has {} columns named `{}`", name_, matches, wanted), path_,
                      "choose them by position");
    if (matches == 1) return std::find(names_.begin(), names_.end(), wanted) - names_.begin();
    std::string near = nearest(wanted, names_), separator = separator_help();
    std::vector<std::string> shown(names_.begin(), names_.begin() + std::min<ptrdiff_t>(names_.size(), 12));
    throw UserError(Code::E0408, fmt::format("`{}` has no column `{}`", name_, wanted), path_,
                    !separator.empty() ? separator
                    : near.empty() ? fmt::format("its header names `{}`{}", fmt::join(shown, "`, `"),
                                               names_.size() > shown.size() ? ", ..." : "")
                                 : fmt::format("a column with a similar name exists: `{}`", near));
  }

  /// Where the first line is cut by another sign at least as often as by commas, which may then stand in the numbers.
  std::string separator_help() const {
    std::string_view head = file_.text().substr(0, 400);
    head = head.substr(0, head.find('\n'));
    const auto commas = std::count(head.begin(), head.end(), ',');
    for (auto [sign, shown] : {std::pair{';', "`;`"}, std::pair{'\t', "tabs"}}) {
      const auto times = std::count(head.begin(), head.end(), sign);
      if (times == 0 || times < commas) continue;
      return fmt::format("cells are separated by commas; this file seems to use {}{}", shown,
                         commas > 0 ? ", and commas in its numbers where a point is needed" : "");
    }
    return {};
  }

  /// Room for all rows at once: one per line break, but never more values than the text can hold.
  void prepare_buffers() {
    std::string_view text = file_.text();
    size_t lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
    for (Sink& s : sinks_) {
      size_t bound = (text.size() / 2 + 1) * s.element_bytes + s.row_bytes, wanted = 0;
      if (__builtin_mul_overflow(lines, s.row_bytes, &wanted)) wanted = bound;
      s.bytes = allocate_bytes(std::min(wanted, bound));
    }
  }

  void read_row(Sink& s, const std::vector<std::string_view>& cells) {
    std::byte* out = s.next_row();
    DType type = s.request->dtype;
    for (size_t column : s.columns) {
      if (Problem problem = parse_cell(cells[column], type, out); *problem) refuse_cell(s, cells[column], column, problem);
      if (s.request->classes > 0) note_label(s, cells[column], column);
      out += s.element_bytes;
    }
  }

  void note_label(Sink& s, std::string_view cell, size_t column) {
    int64_t label = 0;
    if (*parse_whole(cell[0] == '+' ? cell.substr(1) : cell, label)) return;  // "true": within any class count
    s.lowest = std::min(s.lowest, label);
    s.highest = std::max(s.highest, label);
    if (s.bad_line != 0 || (label >= 0 && label < s.request->classes)) return;
    s.bad_label = label;
    s.bad_line = scanner_.row_line();
    s.bad_row = rows_;
    s.bad_column = static_cast<int64_t>(column) + 1;
  }

  void check_labels(const Sink& s) const {
    if (s.bad_line == 0) return;
    int64_t classes = s.request->classes;
    throw UserError(Code::E0409,
                    fmt::format("label {} in row {} (line {}, column {}) of `{}` is out of range: `{}` is class({}), 0 to {}",
                                s.bad_label, s.bad_row, s.bad_line, s.bad_column, name_, s.request->name, classes, classes - 1),
                    fmt::format("{}:{}", path_, s.bad_line), label_help(s.lowest, s.highest, classes));
  }

  [[noreturn]] void refuse_cell(const Sink& s, std::string_view cell, size_t column, Problem problem) const {
    std::string shown(cell.substr(0, 40));
    if (cell.size() > 40) shown += "...";
    std::string column_name = names_.empty() ? std::string() : fmt::format(" (`{}`)", names_[column]);
    UserError error(Code::E0407,
                    fmt::format("cell {}at line {}, column {}{} of `{}` {}", shown.empty() ? "" : fmt::format("`{}` ", shown),
                                scanner_.row_line(), column + 1, column_name, name_, problem),
                    fmt::format("{}:{}", path_, scanner_.row_line()));
    Diagnostic d = error.diagnostic();
    std::string note = fmt::format("field `{}` is {}", s.request->name, describe_type(*s.request));
    if (s.request->source.has_range || !s.request->source.columns.empty())
      note += fmt::format("; column {} is number {} in `columns:`, which counts from 0", column + 1, column);
    d.notes.push_back(std::move(note));
    if (std::string separator = separator_help(); !separator.empty())
      d.help.push_back(std::move(separator));
    else if (names_.empty() && scanner_.row_line() == first_line_ && looks_like_name(cell))
      d.help.push_back("if this line is a header, choose columns by their names: `columns: [\"...\"]`");
    throw UserError(std::move(d));
  }

  static std::string describe_type(const DataField& r) {
    return r.classes > 0 ? fmt::format("class({})", r.classes) : std::string(dtype_name(r.dtype));
  }

  [[noreturn]] void refuse_width(const std::vector<std::string_view>& cells) const {
    throw UserError(Code::E0408,
                    fmt::format("line {} of `{}` has {} cells, line {} has {}", scanner_.row_line(), name_, cells.size(),
                                first_line_, width_),
                    fmt::format("{}:{}", path_, scanner_.row_line()));
  }

  const FileBytes& file_;
  const std::string& path_;
  std::string name_;
  CsvScanner scanner_;
  std::vector<Sink> sinks_;
  std::vector<std::string> names_;  // of the header, if there is one
  size_t width_ = 0;
  int64_t first_line_ = 1, rows_ = 0;
};

}  // namespace

CsvHead read_csv_head(const FileBytes& file, const std::string& path, const std::vector<std::string>& wanted) {
  CsvScanner scanner(file.text(), path);
  std::vector<std::string_view> first, second;
  if (!scanner.next_row(first)) return {};
  CsvHead head{static_cast<int64_t>(first.size()), {}};
  CsvScanner ahead = scanner;  // cells live until the next row is read
  bool names_all = !wanted.empty() && holds_all(first, wanted);
  if (names_all || guess_header(first, ahead.next_row(second) ? &second : nullptr) == HeaderGuess::yes)
    head.names.assign(first.begin(), first.end());
  return head;
}

std::vector<FieldData> parse_csv(const FileBytes& file, const std::string& path, std::span<const DataField* const> requests) {
  return CsvReader(file, path, requests).read();
}

}  // namespace nnc
