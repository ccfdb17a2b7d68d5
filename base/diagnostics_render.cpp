// Diagnostics as text: a headline, source lines with marks below them, then notes and help.
// Problem: marks have to stand under what they mean although bytes, code points and terminal columns differ (tabs, UTF-8, wide
// and combining characters), and several labels may share a line. Method: each line is laid out once into terminal cells with a
// map from byte to column; the rightmost label is written beside its mark, the others hang below on bars, from right to left, so
// that no text ever crosses a bar.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/diagnostics.h"

namespace nnc {
namespace {

constexpr int tab_stop = 4;
constexpr int widest_line = 200;  // longer lines are cut to a window around their marks
constexpr int window_before = 40, window_width = 160;
constexpr size_t laid_out_before = 1000,
                 laid_out_width = 4000;  // bytes around the first mark; of longer lines nothing else is shown

enum class Style : uint8_t { plain, bold, error, warning, other, help };

class Painter {
 public:
  explicit Painter(bool colour) : colour_(colour) {}
  std::string operator()(Style style, std::string_view text) const {
    if (!colour_ || style == Style::plain || text.empty()) return std::string(text);
    static constexpr std::string_view codes[] = {"", "1", "1;31", "1;33", "1;34", "1;36"};
    return fmt::format("\x1b[{}m{}\x1b[0m", codes[static_cast<size_t>(style)], text);
  }

 private:
  bool colour_;
};

/// One code point of UTF-8 at text[at]: its length in bytes, 0 if malformed.
int decode(std::string_view text, size_t at, char32_t& point) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  unsigned lead = byte(at);
  if (lead < 0x80) return point = lead, 1;
  int length = lead >= 0xF0 && lead < 0xF5 ? 4 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xC2 && lead < 0xE0 ? 2 : 0;
  if (length == 0) return 0;
  point = lead & (0x7F >> length);
  for (int i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
    point = point << 6 | (byte(at + i) & 0x3F);
  }
  static constexpr char32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < smallest[length] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return 0;
  return length;
}

/// Columns that a code point takes on a terminal: 0 combining, 2 East Asian wide and emoji, else 1.
int terminal_width(char32_t c) {
  auto in = [c](char32_t low, char32_t high) { return c >= low && c <= high; };
  if (in(0x300, 0x36F) || in(0x200B, 0x200F) || in(0x20D0, 0x20FF) || in(0xFE00, 0xFE0F) || in(0x1AB0, 0x1AFF) ||
      in(0xFE20, 0xFE2F))
    return 0;
  if (in(0x1100, 0x115F) || in(0x2E80, 0x303E) || in(0x3041, 0xA4CF) || in(0xAC00, 0xD7A3) || in(0xF900, 0xFAFF) ||
      in(0xFE30, 0xFE6F) || in(0xFF00, 0xFF60) || in(0xFFE0, 0xFFE6) || in(0x1F300, 0x1F64F) || in(0x1F900, 0x1F9FF) ||
      in(0x20000, 0x3FFFD))
    return 2;
  return 1;
}

bool is_control(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 || (c >= 0x202A && c <= 0x202E);
}

constexpr size_t longest_text = 8000;

/// Text of a message for a terminal: control characters and malformed UTF-8 are written as escapes, line breaks stay if `lines`. What a
/// message quotes may be of any length; nobody reads it all.
std::string printable(std::string_view text, bool lines) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() > longest_text) return out + "...";
    char32_t c = 0;
    int length = decode(text, i, c);
    if (length == 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
      length = 1;
    } else if (c == '\n' && lines) {
      out += '\n';
    } else if (c == '\n' || c == '\t') {
      out += ' ';
    } else if (is_control(c)) {
      out +=
          c < 0x100 ? fmt::format("\\x{:02x}", static_cast<uint32_t>(c)) : fmt::format("\\u{{{:x}}}", static_cast<uint32_t>(c));
    } else {
      out += text.substr(i, length);
    }
    i += length;
  }
  return out;
}

/// A source line as cells of a terminal. column_of[i] is the column at which byte i begins; one more entry for the end of the
/// line.
struct LineLayout {
  std::vector<std::string> cells;  // a wide character is followed by an empty cell
  std::vector<int> column_of;

  explicit LineLayout(std::string_view line) {
    for (size_t i = 0; i < line.size();) {
      char32_t c = 0;
      int length = decode(line, i, c);
      for (int k = 0; k < std::max(length, 1); ++k) column_of.push_back(static_cast<int>(cells.size()));
      if (c == '\t' && length == 1) {
        do cells.emplace_back(" ");
        while (cells.size() % tab_stop != 0);
      } else if (length == 0 || is_control(c)) {
        cells.emplace_back("\uFFFD");
      } else {
        int width = terminal_width(c);
        if (width == 0 && !cells.empty()) {
          cells.back() += line.substr(i, length);
        } else {
          cells.emplace_back(line.substr(i, length));
          if (width == 2) cells.emplace_back();
        }
      }
      i += std::max(length, 1);
    }
    column_of.push_back(static_cast<int>(cells.size()));
  }
  int column(size_t byte) const { return column_of[std::min(byte, column_of.size() - 1)]; }
};

/// A mark under one line, in bytes from the line's start (end > begin after layout).
struct Mark {
  size_t begin = 0, end = 0;
  bool primary = false;
  std::string text;
};

using MarkedLines = std::map<uint32_t, std::vector<Mark>>;  // by 1-based line

/// Adds the marks of one span. A span over several lines marks its first line to the end and its last from the first character.
void add_marks(MarkedLines& lines, const SourceMap& sources, Span span, bool primary, const std::string& text) {
  LineColumn first = sources.position(span.file, span.begin);
  LineColumn last = sources.position(span.file, std::max(span.begin, span.end > span.begin ? span.end - 1 : span.end));
  auto start_of = [&](uint32_t line) {
    return static_cast<size_t>(sources.line(span.file, line).data() - sources.text(span.file).data());
  };
  size_t begin = std::min<size_t>(span.begin, sources.text(span.file).size()), end = std::max<size_t>(begin, span.end);
  if (first.line == last.line) {
    size_t start = start_of(first.line);
    lines[first.line].push_back({begin - start, end - start, primary, text});
    return;
  }
  lines[first.line].push_back({begin - start_of(first.line), sources.line(span.file, first.line).size(), primary, {}});
  std::string_view last_text = sources.line(span.file, last.line);
  size_t indent = std::min(last_text.find_first_not_of(" \t"), last_text.size());
  size_t last_end = end - start_of(last.line);
  lines[last.line].push_back({std::min(indent, last_end), last_end, primary, text});
}

/// Draws one source line and its marks.
class LineRenderer {
 public:
  LineRenderer(std::string& out, const Painter& paint, Style primary, int gutter)
      : out_(out), paint_(paint), primary_(primary), gutter_(gutter) {}

  void draw(std::string_view source, uint32_t number, std::vector<Mark> marks) {
    source = cut_to_reach(source, marks);
    LineLayout layout(source);
    std::vector<Drawn> drawn;
    for (Mark& m : marks) {
      int begin = layout.column(m.begin), end = std::max(layout.column(m.end), begin + 1);
      drawn.push_back({begin, end, m.primary, printable(m.text, false)});
    }
    std::stable_sort(drawn.begin(), drawn.end(),
                     [](const Drawn& a, const Drawn& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    std::string text = cut_to_window(layout, drawn);
    write_row(fmt::format("{:>{}} |", number, gutter_), text.empty() ? text : " " + text);
    if (drawn.empty()) return;

    // The rightmost label stands beside its mark if nothing is drawn right of it.
    Drawn* beside = nullptr;
    int last_end = 0;
    for (const Drawn& d : drawn) last_end = std::max(last_end, d.end);
    if (!drawn.back().text.empty() && drawn.back().end == last_end) beside = &drawn.back();

    Canvas underline;
    for (const Drawn& d : drawn)
      if (!d.primary) underline.fill(d.begin, d.end, '-', Style::other);
    for (const Drawn& d : drawn)
      if (d.primary) underline.fill(d.begin, d.end, '^', primary_);
    if (beside) underline.append(last_end + 1, beside->text, style_of(*beside));
    write_canvas(underline);

    std::vector<const Drawn*> hanging;
    for (const Drawn& d : drawn)
      if (&d != beside && !d.text.empty()) hanging.push_back(&d);
    if (hanging.empty()) return;
    write_bars(hanging, hanging.size(), nullptr);
    for (size_t i = hanging.size(); i-- > 0;) write_bars(hanging, i, hanging[i]);
  }

  void write_gutter() { write_row(fmt::format("{:>{}} |", "", gutter_), ""); }

 private:
  struct Drawn {
    int begin, end;
    bool primary;
    std::string text;
  };

  /// One row below a source line: ASCII marks by column, then text at the end.
  struct Canvas {
    std::string marks;
    std::vector<Style> styles;
    std::string text;
    Style text_style = Style::plain;
    void fill(int begin, int end, char mark, Style style) {
      if (marks.size() < static_cast<size_t>(end)) {
        marks.resize(end, ' ');
        styles.resize(end, Style::plain);
      }
      for (int i = begin; i < end; ++i) {
        marks[i] = mark;
        styles[i] = style;
      }
    }
    void append(int column, std::string what, Style style) {
      if (marks.size() < static_cast<size_t>(column)) {
        marks.resize(column, ' ');
        styles.resize(column, Style::plain);
      }
      text = std::move(what);
      text_style = style;
    }
  };

  Style style_of(const Drawn& d) const { return d.primary ? primary_ : Style::other; }

  void write_bars(const std::vector<const Drawn*>& hanging, size_t count, const Drawn* last) {
    Canvas row;
    for (size_t i = 0; i < count; ++i)
      if (!last || hanging[i]->begin < last->begin)
        row.fill(hanging[i]->begin, hanging[i]->begin + 1, '|', style_of(*hanging[i]));
    if (last) row.append(last->begin, last->text, style_of(*last));
    write_canvas(row);
  }

  void write_canvas(const Canvas& row) {
    std::string text = " ";
    for (size_t i = 0; i < row.marks.size();) {
      size_t end = i;
      while (end < row.marks.size() && row.styles[end] == row.styles[i]) ++end;
      text += paint_(row.styles[i], row.marks.substr(i, end - i));
      i = end;
    }
    write_row(fmt::format("{:>{}} |", "", gutter_), text + paint_(row.text_style, row.text));
  }

  void write_row(const std::string& gutter, std::string text) {
    while (!text.empty() && text.back() == ' ') text.pop_back();
    out_ += paint_(Style::other, gutter) + text + "\n";
  }

  /// The part of a line of many thousand bytes that cut_to_window can show, so that laying it out takes time by its width.
  static std::string_view cut_to_reach(std::string_view source, std::vector<Mark>& marks) {
    if (source.size() <= laid_out_width) return source;
    size_t first = source.size();
    for (const Mark& m : marks) first = std::min(first, m.begin);
    if (marks.empty()) first = 0;
    size_t from = first > laid_out_before ? first - laid_out_before : 0;
    while (from > 0 && (static_cast<unsigned char>(source[from]) & 0xC0) == 0x80) --from;  // not inside a code point
    size_t to = std::min(from + laid_out_width, source.size());
    while (to < source.size() && (static_cast<unsigned char>(source[to]) & 0xC0) == 0x80) ++to;
    for (Mark& m : marks) {
      m.begin = std::clamp(m.begin, from, to) - from;
      m.end = std::clamp(m.end, from, to) - from;
    }
    return source.substr(from, to - from);
  }

  /// The line's text, cut for very long lines; the marks are moved along with it.
  static std::string cut_to_window(const LineLayout& layout, std::vector<Drawn>& drawn) {
    int width = static_cast<int>(layout.cells.size()), from = 0, to = width;
    if (width > widest_line) {
      int first = drawn.empty() ? 0 : drawn.front().begin;
      from = std::max(0, first - window_before);
      to = std::min(width, from + window_width);
    }
    std::string text = from > 0 ? "..." : "";
    int shift = from - (from > 0 ? 3 : 0);
    for (int i = from; i < to; ++i) text += layout.cells[i];
    if (to < width) text += "...";
    for (Drawn& d : drawn) {
      d.begin = std::clamp(d.begin, from, to) - shift;
      d.end = std::max(std::clamp(d.end, from, to) - shift, d.begin + 1);
    }
    return text;
  }

  std::string& out_;
  const Painter& paint_;
  Style primary_;
  int gutter_;
};

void render_file(std::string& out, const SourceMap& sources, FileId file, const MarkedLines& lines, LineRenderer& renderer) {
  renderer.write_gutter();
  uint32_t previous = 0;
  for (const auto& [line, marks] : lines) {
    if (previous != 0 && line == previous + 2) renderer.draw(sources.line(file, previous + 1), previous + 1, {});
    if (previous != 0 && line > previous + 2) out += "...\n";
    renderer.draw(sources.line(file, line), line, marks);
    previous = line;
  }
}

/// "   = help: text", further lines of the text below its beginning.
void render_remark(std::string& out, const Painter& paint, int gutter, std::string_view kind, const std::string& text) {
  std::string indent(gutter + 1 + 2 + kind.size() + 2, ' ');
  std::string body;
  for (char c : printable(text, true)) {
    body += c;
    if (c == '\n') body += indent;
  }
  out += fmt::format("{} {}: {}\n", paint(Style::other, std::string(gutter + 1, ' ') + "="), paint(Style::help, kind), body);
}

/// Without places in files that `sources` does not have: a fault may outlive the text that it was found in, and is told without it then. What
/// stood beside such a place becomes a note.
Diagnostic without_lost_places(Diagnostic d, const SourceMap& sources) {
  auto lost = [&](Span span) { return span.file.value > sources.file_count(); };
  if (lost(d.span)) {
    d.span = {};
    if (!d.span_text.empty()) d.notes.push_back(std::exchange(d.span_text, {}));
  }
  for (const Label& l : d.labels)
    if (lost(l.span) && !l.text.empty()) d.notes.push_back(l.text);
  std::erase_if(d.labels, [&](const Label& l) { return lost(l.span); });
  return d;
}

std::string_view severity_name(Severity s) { return s == Severity::error ? "error" : "warning"; }

}  // namespace

std::string render_text(const Diagnostic& given, const SourceMap& sources, bool colour) {
  const Diagnostic d = without_lost_places(given, sources);
  Painter paint(colour);
  Style primary = d.severity == Severity::error ? Style::error : Style::warning;
  std::string out = paint(primary, fmt::format("{}[{}]", severity_name(d.severity), code_name(d.code)));
  std::string message = printable(d.message, true);
  out += paint(Style::bold, ": " + message) + "\n";

  // Marks by file: the primary file first, others in the order of their labels.
  std::vector<std::pair<FileId, MarkedLines>> files;
  std::vector<Span> heads;  // what the arrow of each file names
  auto add = [&](Span span, bool is_primary, const std::string& text) {
    if (!span.valid()) return;
    auto it = std::find_if(files.begin(), files.end(), [&](const auto& f) { return f.first == span.file; });
    if (it == files.end()) {
      it = files.insert(files.end(), {span.file, {}});
      heads.push_back(span);
    }
    add_marks(it->second, sources, span, is_primary, text);
  };
  add(d.span, true, d.span_text);
  for (const Label& l : d.labels) add(l.span, false, l.text);

  uint32_t last_line = 0;
  for (const auto& [file, lines] : files) last_line = std::max(last_line, lines.rbegin()->first);
  int gutter = files.empty() ? 2 : static_cast<int>(std::to_string(last_line).size());
  std::string arrow_indent(gutter, ' ');
  if (!d.place.empty() && !d.span.valid())
    out += fmt::format("{} {}\n", paint(Style::other, arrow_indent + "-->"), printable(d.place, false));
  LineRenderer renderer(out, paint, primary, gutter);
  for (size_t i = 0; i < files.size(); ++i) {
    std::string_view arrow = i == 0 && (d.span.valid() || d.place.empty()) ? "-->" : ":::";
    out += fmt::format("{} {}\n", paint(Style::other, arrow_indent + std::string(arrow)),
                       printable(sources.describe(heads[i]), false));
    render_file(out, sources, files[i].first, files[i].second, renderer);
  }
  for (const std::string& note : d.notes) render_remark(out, paint, gutter, "note", note);
  for (const std::string& help : d.help) render_remark(out, paint, gutter, "help", help);
  return out;
}

std::string render_json(const Diagnostic& given, const SourceMap& sources) {
  const Diagnostic d = without_lost_places(given, sources);
  using Json = nlohmann::ordered_json;
  auto put_span = [&](Json& object, Span span) {
    if (!span.valid()) {
      object["file"] = object["line"] = object["column"] = nullptr;
      return;
    }
    LineColumn begin = sources.position(span.file, span.begin), end = sources.position(span.file, span.end);
    object["file"] = sources.path(span.file);
    object["line"] = begin.line;
    object["column"] = begin.column;
    object["end_line"] = end.line;
    object["end_column"] = end.column;
  };
  Json object;
  object["code"] = code_name(d.code);
  object["severity"] = severity_name(d.severity);
  object["message"] = d.message;
  put_span(object, d.span);
  if (!d.place.empty()) object["place"] = d.place;
  object["labels"] = Json::array();
  if (!d.span_text.empty()) {
    Json label;
    put_span(label, d.span);
    label["text"] = d.span_text;
    object["labels"].push_back(label);
  }
  for (const Label& l : d.labels) {
    Json label;
    put_span(label, l.span);
    label["text"] = l.text;
    object["labels"].push_back(label);
  }
  if (!d.notes.empty()) object["notes"] = d.notes;
  std::string help;
  for (const std::string& line : d.help) help += (help.empty() ? "" : "\n") + line;
  object["help"] = help;
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace nnc
