// Reads a .nnir graph. One node per line, so a fault spoils one line: it is reported, the line's value counts as known but spoilt, lines that use
// it are passed over in silence, and reading goes on. Types are checked against infer_type.
//
// Locations name places in files that need not be there. Each named file that the SourceMap does not hold with such a line gets an entry made
// of blanks, just large enough that line and column can be computed from an offset; printing then gives back the same locations.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "base/check.h"
#include "base/utf8.h"
#include "base/diagnostics.h"
#include "ir/graph.h"
#include "ir/op_rules.h"
#include "ir/text.h"

namespace nnc {
namespace {

constexpr size_t max_errors = 100;
constexpr int64_t max_line = 10'000'000, max_column = 100'000;
constexpr size_t always_blank_text = size_t(1) << 20, max_blank_ratio = 16;  // of all blank entries together, against the .nnir file

struct Place {
  std::string path;
  int64_t line = 0, column = 0;
  Span written;  ///< in the .nnir file
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return is_letter(c) || is_digit(c) || c == '_'; }

class Parser {
 public:
  Parser(SourceMap& sources, FileId file, Diagnostics& diagnostics)
      : sources_(sources), file_(file), text_(sources.text(file)), diagnostics_(diagnostics) {}

  std::optional<Graph> run() {
    if (!check_text()) return std::nullopt;
    try {
      skip_blank_lines();
      if (!accept_word("graph")) fail(Code::E0630, here(), "expected `graph @name {`");
      graph_.name = parse_name();
      expect("{");
      end_line();
    } catch (Fault) {
      return std::nullopt;
    }
    bool closed = false;
    while (!closed) {
      if (!overflow_.items().empty()) return std::nullopt;
      skip_blank_lines();
      if (at_ >= text_.size()) {
        report(Code::E0630, here(), fmt::format("the file ends inside graph {}: expected `}}`", at_name(graph_.name)));
        return std::nullopt;
      }
      try {
        closed = accept("}");
        if (!closed) parse_line();
        end_line();
      } catch (Fault) {
        NNC_CHECK(faulty_, "a line was given up without a message");
        skip_line();
      }
    }
    skip_blank_lines();
    if (size_t begin = at_; at_ < text_.size()) {
      if (accept_word("graph"))
        report(Code::E0630, since(begin), "a second graph begins here, but a file holds one").help.push_back("give each graph a file of its own");
      else
        report(Code::E0630, here(), "expected the end of the file");
    }
    if (!faulty_) resolve_places();
    if (faulty_) return std::nullopt;
    return std::move(graph_);
  }

 private:
  struct Fault {};

  // --- diagnostics ---

  Span here() const {
    uint32_t end = uint32_t(std::min(text_.size(), at_ + 1));
    return {file_, uint32_t(std::min(at_, text_.size())), end};
  }
  Span since(size_t begin) const { return {file_, uint32_t(begin), uint32_t(std::max(begin, at_))}; }

  Diagnostic& report(Code code, Span span, std::string message) {
    faulty_ = true;
    Diagnostics& sink = diagnostics_.items().size() < max_errors ? diagnostics_ : overflow_;
    return sink.report(code, span, std::move(message));
  }
  [[noreturn]] void fail(Code code, Span span, std::string message, std::string help = {}) {
    Diagnostic& d = report(code, span, std::move(message));
    if (!help.empty()) d.help.push_back(std::move(help));
    throw Fault{};
  }

  /// Names and places are shown and written again, so that all of the file must be text.
  bool check_text() {
    size_t zero = text_.find('\0'), malformed = find_malformed_utf8(text_);
    if (zero != std::string_view::npos)
      report(Code::E0002, {file_, uint32_t(zero), uint32_t(zero + 1)}, "this is not a text file: it holds a byte 0");
    else if (malformed != std::string_view::npos)
      report(Code::E0002, {file_, uint32_t(malformed), uint32_t(malformed + 1)},
             fmt::format("this is not UTF-8 text: byte 0x{:02x} cannot stand here", static_cast<unsigned char>(text_[malformed])));
    return !faulty_;
  }

  // --- characters and words ---

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_spaces() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\r') ++at_;
    if (peek() == '#')
      while (at_ < text_.size() && text_[at_] != '\n') ++at_;
  }
  void skip_line() {
    while (at_ < text_.size() && text_[at_] != '\n') ++at_;
  }
  void skip_blank_lines() {
    for (skip_spaces(); peek() == '\n'; skip_spaces()) ++at_;
  }
  void end_line() {
    skip_spaces();
    if (at_ < text_.size() && peek() != '\n') fail(Code::E0630, here(), "expected the end of the line");
  }
  bool accept(std::string_view mark) {
    skip_spaces();
    if (text_.substr(at_, mark.size()) != mark) return false;
    at_ += mark.size();
    return true;
  }
  void expect(std::string_view mark) {
    if (!accept(mark)) fail(Code::E0630, here(), fmt::format("expected `{}`", mark));
  }
  std::string_view parse_word() {
    skip_spaces();
    size_t begin = at_;
    while (is_word(peek())) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  bool accept_word(std::string_view word) {
    skip_spaces();
    size_t begin = at_;
    if (parse_word() == word) return true;
    at_ = begin;
    return false;
  }
  void expect_word(std::string_view word) {
    if (!accept_word(word)) fail(Code::E0630, here(), fmt::format("expected `{}`", word));
  }

  std::string parse_string() {
    skip_spaces();
    size_t begin = at_;
    if (peek() != '"') fail(Code::E0630, here(), "expected a text in double quotes");
    ++at_;
    std::string out;
    while (peek() != '"') {
      if (at_ >= text_.size() || peek() == '\n') fail(Code::E0630, since(begin), "the text does not end on its line");
      char c = text_[at_++];
      if (c != '\\') {
        out += c;
        continue;
      }
      char escape = peek();
      if (at_ < text_.size() && escape != '\n') ++at_;
      switch (escape) {
        case '"': out += '"'; break;
        case '\\': out += '\\'; break;
        case 'n': out += '\n'; break;
        case 't': out += '\t'; break;
        case 'r': out += '\r'; break;
        case 'x': {
          unsigned value = 0;
          std::string_view digits = text_.substr(at_, 2);
          auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
          if (error != std::errc() || end != digits.data() + 2) fail(Code::E0630, since(begin), "expected two hexadecimal digits after `\\x`");
          if (value > 0x7F) fail(Code::E0630, since(begin), "`\\x` stands for the characters 00 to 7f; others are written as they are");
          at_ += 2;
          out += char(value);
          break;
        }
        default: fail(Code::E0630, since(begin), "unknown escape in a text; there are \\\" \\\\ \\n \\t \\r \\xNN");
      }
    }
    ++at_;
    return out;
  }

  std::string parse_name() {
    skip_spaces();
    if (peek() != '@') fail(Code::E0630, here(), "expected a name such as @fc1.weight");
    ++at_;
    if (peek() == '"') return parse_string();
    size_t begin = at_;
    while (is_word(peek()) || peek() == '.') ++at_;
    if (at_ == begin) fail(Code::E0630, here(), "expected a name such as @fc1.weight");
    return std::string(text_.substr(begin, at_ - begin));
  }

  int64_t parse_integer(int64_t limit, std::string_view what) {
    skip_spaces();
    size_t begin = at_;
    while (is_digit(peek())) ++at_;
    if (at_ == begin) fail(Code::E0630, here(), fmt::format("expected {}", what));
    int64_t value = 0;
    std::string_view digits = text_.substr(begin, at_ - begin);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || value > limit) fail(Code::E0636, since(begin), fmt::format("{} is at most {}", what, limit));
    return value;
  }

  double parse_number() {
    skip_spaces();
    size_t begin = at_;
    while (is_word(peek()) || peek() == '.' || peek() == '-' || peek() == '+') ++at_;
    std::string_view word = text_.substr(begin, at_ - begin);
    number_span_ = since(begin);
    double value = 0;
    auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error == std::errc::result_out_of_range) {  // too large, or so small that it is 0
      value = std::strtod(std::string(word).c_str(), nullptr);
      if (std::isinf(value)) fail(Code::E0636, number_span_, fmt::format("{} does not fit a 64-bit float", word));
      error = std::errc();
    }
    if (word.empty() || error != std::errc() || end != word.data() + word.size()) fail(Code::E0630, since(begin), "expected a number");
    return value;
  }

  /// A constant is held as a 64-bit float: a whole number beyond 2^53 would become another one.
  void check_exact(const Attributes& a) {
    constexpr double most = 9007199254740992.0;
    if (a.dtype != DType::i64 || !std::isfinite(a.number) || std::abs(a.number) < most) return;
    std::string_view word = text_.substr(number_span_.begin, number_span_.end - number_span_.begin);
    if (word == number_text(a.number) && std::abs(a.number) == most) return;
    fail(Code::E0636, number_span_, fmt::format("{} is beyond 2^53, up to which constants of i64 are exact", word),
         "larger values come in by an input or a parameter");
  }

  // --- parts of a line ---

  Extent parse_extent() {
    if (accept_word("B")) return {1, true};
    Extent e{parse_integer(max_elements, "a size"), false};
    if (accept("*")) {
      expect_word("B");
      e.rows = true;
    }
    return e;
  }

  Type parse_type() {
    skip_spaces();
    size_t begin = at_;
    std::string_view word = parse_word();
    std::optional<DType> dtype = parse_dtype(word);
    if (!dtype) fail(Code::E0630, since(begin), "expected a type such as f32[B, 64]", "element types are f32, f64, i32, i64, u8 and bool");
    Type type{*dtype, {}};
    expect("[");
    if (accept("]")) return type;
    do type.shape.push_back(parse_extent());
    while (accept(","));
    expect("]");
    for (size_t i = 1; i < type.shape.size(); ++i)
      if (type.shape[i].rows) fail(Code::E0634, since(begin), "the row dimension B must be outermost");
    return type;
  }

  uint32_t parse_value_number() {
    skip_spaces();
    if (peek() != '%') fail(Code::E0630, here(), "expected a value such as %3");
    ++at_;
    if (!is_digit(peek())) fail(Code::E0630, here(), "expected a value such as %3");
    return uint32_t(parse_integer(UINT32_MAX - 1, "a value's number"));
  }

  /// A defined value; a spoilt one ends the line without another message.
  NodeId parse_value() {
    skip_spaces();
    size_t begin = at_;
    uint32_t number = parse_value_number();
    auto it = values_.find(number);
    if (it == values_.end() || number == defining_) fail(Code::E0633, since(begin), fmt::format("%{} is not defined above this line", number));
    if (!it->second.valid()) throw Fault{};
    return it->second;
  }

  std::vector<int> parse_axes() {
    expect_word("axes");
    expect("[");
    std::vector<int> axes;
    if (accept("]")) return axes;
    do axes.push_back(int(parse_integer(1 << 20, "an axis")));
    while (accept(","));
    expect("]");
    return axes;
  }

  std::vector<int> parse_labels() {
    std::vector<int> labels;
    for (; is_letter(peek()); ++at_) labels.push_back(peek() >= 'a' ? peek() - 'a' : 26 + (peek() - 'A'));
    return labels;
  }

  void parse_notation(Attributes& a) {
    skip_spaces();
    a.lhs = parse_labels();
    expect(",");
    a.rhs = parse_labels();
    expect("->");
    a.out = parse_labels();
  }

  void parse_attributes(Op op, Attributes& a) {
    auto parse_axis = [&] {
      expect_word("axis");
      a.axes = {int(parse_integer(1 << 20, "an axis"))};
    };
    switch (op) {
      case Op::input:
      case Op::parameter:
      case Op::scalar: a.text = parse_name(); break;
      case Op::constant: a.number = parse_number(); break;
      case Op::extent: a.extents = {parse_extent()}; break;
      case Op::broadcast:
      case Op::transpose:
      case Op::reduce_sum:
      case Op::reduce_max:
      case Op::reduce_min: a.axes = parse_axes(); break;
      case Op::iota:
      case Op::argmax: parse_axis(); break;
      case Op::slice:
      case Op::pad:
        parse_axis();
        expect_word("begin");
        a.begin = parse_integer(max_elements, "a position");
        break;
      case Op::contract: parse_notation(a); break;
      case Op::gather:
      case Op::scatter_add:
        parse_axis();
        parse_notation(a);
        break;
      default: break;
    }
  }

  /// What the written type alone says: the shape and element type of leaves, the target of shape operations.
  void take_from_type(Op op, const Type& type, Attributes& a) {
    switch (op) {
      case Op::input:
      case Op::parameter:
      case Op::constant:
        a.dtype = type.dtype;
        a.extents = type.shape;
        break;
      case Op::cast: a.dtype = type.dtype; break;
      case Op::iota:
      case Op::broadcast:
      case Op::reshape:
      case Op::scatter_add: a.extents = type.shape; break;
      case Op::slice:
      case Op::pad:
        if (a.axes[0] < type.rank()) a.extents = {type.shape[size_t(a.axes[0])]};
        break;
      default: break;
    }
  }

  std::optional<Place> parse_place() {
    skip_spaces();
    size_t begin = at_;
    if (!accept_word("loc")) return std::nullopt;
    Place place;
    expect("(");
    place.path = parse_string();
    expect(":");
    place.line = parse_integer(max_line, "a line number");
    expect(":");
    place.column = parse_integer(max_column, "a column number");
    expect(")");
    place.written = since(begin);
    if (place.line == 0 || place.column == 0) fail(Code::E0636, place.written, "lines and columns count from 1");
    return place;
  }

  // --- lines ---

  void parse_line() {
    defining_ = UINT32_MAX;
    skip_spaces();
    if (peek() == '%') return parse_node();
    size_t begin = at_;
    std::string_view word = parse_word();
    for (PersistentKind kind : {PersistentKind::parameter, PersistentKind::frozen, PersistentKind::state, PersistentKind::optimizer_state})
      if (word == persistent_keyword(kind)) return parse_persistent(kind);
    if (word == "output") return parse_output();
    if (word == "update") return parse_update();
    std::string hint = nearest(word, {"param", "frozen", "state", "optimizer_state", "output", "update"});
    fail(Code::E0630, since(begin), "expected a node `%n = ...`, param, frozen, state, optimizer_state, output, update or `}`",
         hint.empty() ? "" : fmt::format("did you mean `{}`?", hint));
  }

  void parse_persistent(PersistentKind kind) {
    skip_spaces();
    size_t begin = at_;
    Persistent p;
    p.kind = kind;
    p.name = parse_name();
    Span name_span = since(begin);
    if (persistents_.count(p.name) || spoilt_persistents_.count(p.name))
      fail(Code::E0637, name_span, fmt::format("{} is declared twice", at_name(p.name)));
    spoilt_persistents_.insert(p.name);
    expect(":");
    skip_spaces();
    begin = at_;
    p.type = parse_type();
    if (p.type.has_rows()) fail(Code::E0637, since(begin), fmt::format("{} cannot have the row dimension B: it outlives the batch", at_name(p.name)));
    check_type_size(p.type, since(begin));
    std::optional<Place> place = parse_place();
    end_line();
    if (place) persistent_places_.emplace_back(graph_.persistents.size(), std::move(*place));
    spoilt_persistents_.erase(p.name);
    persistents_.emplace(p.name, graph_.persistents.size());
    graph_.persistents.push_back(std::move(p));
  }

  void check_type_size(const Type& type, Span span) {
    std::string error;
    Attributes a;
    a.text = "x";
    a.extents = type.shape;
    a.dtype = type.dtype;
    if (!infer_type(Op::input, {}, a, error)) fail(Code::E0636, span, error);
  }

  void parse_node() {
    size_t begin = at_;
    uint32_t number = parse_value_number();
    auto [slot, fresh] = values_.emplace(number, NodeId{});
    if (!fresh) fail(Code::E0633, since(begin), fmt::format("%{} is defined twice", number));
    expect("=");
    defining_ = number;
    skip_spaces();
    begin = at_;
    std::string_view word = parse_word();
    Span op_span = since(begin);
    if (word.empty()) fail(Code::E0630, here(), "expected an operation");
    std::optional<Op> op = parse_op(word);
    if (!op) fail_unknown_op(word, op_span);

    std::vector<NodeId> operands;
    std::vector<Type> operand_types;
    begin = at_;
    if (accept("(") && !accept(")")) {
      do {
        operands.push_back(parse_value());
        operand_types.push_back(graph_.type(operands.back()));
      } while (accept(","));
      expect(")");
    }
    if (int(operands.size()) != op_arity(*op))
      fail(Code::E0632, operands.empty() ? op_span : since(begin),
           fmt::format("{} takes {} operand{}, got {}", word, op_arity(*op), op_arity(*op) == 1 ? "" : "s", operands.size()));
    Attributes a;
    parse_attributes(*op, a);
    expect(":");
    skip_spaces();
    begin = at_;
    Type written = parse_type();
    Span type_span = since(begin);
    take_from_type(*op, written, a);
    if (*op == Op::constant) check_exact(a);
    std::string error;
    std::optional<Type> type = infer_type(*op, operand_types, a, error);
    if (!type) fail(Code::E0635, op_span, fmt::format("{}: {}", word, error));
    if (*type != written)
      fail(Code::E0634, type_span, fmt::format("the type is written {}, but {} gives {}", to_string(written), word, to_string(*type)));
    check_name(*op, a, written, op_span);

    std::string scope = accept_word("scope") ? parse_string() : "";
    int group = accept_word("group") ? int(parse_integer(INT32_MAX, "a group")) : -1;
    std::optional<Place> place = parse_place();
    end_line();
    slot->second = graph_.add(*op, std::move(operands), std::move(a), {}, std::move(scope));
    graph_[slot->second].group = group;
    if (place) node_places_.emplace_back(slot->second, std::move(*place));
  }

  [[noreturn]] void fail_unknown_op(std::string_view word, Span span) {
    std::vector<std::string> names;
    for (int i = 0; i < op_count; ++i) names.emplace_back(op_name(Op(i)));
    std::string hint = nearest(word, names);
    fail(Code::E0631, span, fmt::format("unknown operation `{}`", word), hint.empty() ? "" : fmt::format("did you mean `{}`?", hint));
  }

  void check_name(Op op, const Attributes& a, const Type& type, Span span) {
    if (op == Op::parameter) {
      if (spoilt_persistents_.count(a.text)) throw Fault{};
      const Persistent* p = find_persistent(a.text);
      if (!p) fail_unknown_persistent(a.text, span);
      if (p->type != type)
        fail(Code::E0637, span, fmt::format("{} is declared {}, not {}", at_name(a.text), to_string(p->type), to_string(type)));
    }
    if (op == Op::input) {
      auto [it, fresh] = inputs_.emplace(a.text, type);
      if (!fresh && it->second != type)
        fail(Code::E0637, span, fmt::format("input {} is {} further up, not {}", at_name(a.text), to_string(it->second), to_string(type)));
    }
  }

  [[noreturn]] void fail_unknown_persistent(const std::string& name, Span span) {
    std::vector<std::string> names;
    for (const Persistent& p : graph_.persistents) names.push_back(p.name);
    std::string hint = nearest(name, names);
    fail(Code::E0637, span, fmt::format("{} is not declared above this line", at_name(name)),
         hint.empty() ? "" : fmt::format("did you mean {}?", at_name(hint)));
  }

  const Persistent* find_persistent(const std::string& name) const {
    auto it = persistents_.find(name);
    return it == persistents_.end() ? nullptr : &graph_.persistents[it->second];
  }

  void parse_output() {
    skip_spaces();
    size_t begin = at_;
    Output o;
    o.name = parse_string();
    Span span = since(begin);
    o.node = parse_value();
    end_line();
    if (!outputs_.insert(o.name).second) fail(Code::E0637, span, fmt::format("output {} is given twice", quote(o.name)));
    graph_.outputs.push_back(std::move(o));
  }

  void parse_update() {
    skip_spaces();
    size_t begin = at_;
    Update u;
    u.name = parse_name();
    Span span = since(begin);
    u.node = parse_value();
    end_line();
    if (spoilt_persistents_.count(u.name)) throw Fault{};
    const Persistent* p = find_persistent(u.name);
    if (!p) fail_unknown_persistent(u.name, span);
    if (p->kind == PersistentKind::frozen) fail(Code::E0637, span, fmt::format("{} is frozen and cannot be updated", at_name(u.name)));
    if (p->type != graph_.type(u.node))
      fail(Code::E0637, span,
           fmt::format("{} is {}, but its new value is {}", at_name(u.name), to_string(p->type), to_string(graph_.type(u.node))));
    if (!updates_.insert(u.name).second) fail(Code::E0637, span, fmt::format("{} is updated twice", at_name(u.name)));
    graph_.updates.push_back(std::move(u));
  }

  // --- locations ---

  std::optional<uint32_t> find_offset(FileId file, const Place& place) {
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

  void resolve_places() {
    std::vector<std::pair<Place*, Span*>> all;
    for (auto& [index, place] : persistent_places_) all.emplace_back(&place, &graph_.persistents[index].span);
    for (auto& [node, place] : node_places_) all.emplace_back(&place, &graph_[node].span);
    std::map<std::string, std::vector<std::pair<Place*, Span*>>> by_path;
    for (auto& entry : all) by_path[entry.first->path].push_back(entry);
    known_files_ = uint32_t(sources_.file_count());
    blank_text_ = always_blank_text + max_blank_ratio * text_.size();
    for (auto& [path, entries] : by_path) {
      FileId file = find_file(path, entries);
      if (!file.value) file = add_blank_file(path, entries);
      if (!file.value) return;
      for (auto& [place, span] : entries) {
        uint32_t offset = find_offset(file, *place).value_or(0);
        *span = Span{file, offset, offset};
      }
    }
  }

  /// A file of that path that has all the places, or none.
  FileId find_file(const std::string& path, const std::vector<std::pair<Place*, Span*>>& entries) {
    for (uint32_t id = 1; id <= known_files_; ++id) {
      FileId file{id};
      if (sources_.path(file) != path) continue;
      if (std::all_of(entries.begin(), entries.end(), [&](auto& entry) { return find_offset(file, *entry.first).has_value(); })) return file;
    }
    return {};
  }

  FileId add_blank_file(const std::string& path, const std::vector<std::pair<Place*, Span*>>& entries) {
    std::map<int64_t, int64_t> widths;
    for (auto& [place, span] : entries) widths[place->line] = std::max(widths[place->line], place->column);
    std::string text;
    int64_t line = 1;
    for (auto [wanted, width] : widths) {
      if (text.size() + size_t(wanted - line) + size_t(width) > blank_text_) {
        report(Code::E0636, entries.front().first->written, fmt::format("the locations in {} reach too far", quote(path)));
        return {};
      }
      text.append(size_t(wanted - line), '\n');
      text.append(size_t(width), ' ');
      line = wanted;
    }
    blank_text_ -= text.size();
    return sources_.add(path, std::move(text));
  }

  SourceMap& sources_;
  FileId file_;
  std::string_view text_;
  Diagnostics& diagnostics_;
  Diagnostics overflow_;  ///< what is reported beyond max_errors is not shown, and ends the reading
  size_t at_ = 0;
  bool faulty_ = false;
  uint32_t defining_ = UINT32_MAX;     ///< the value whose line is being read
  Span number_span_;                   ///< the constant that was read last
  Graph graph_;
  std::map<uint32_t, NodeId> values_;  ///< by written number; invalid: its line was faulty
  std::map<std::string, Type> inputs_;
  std::map<std::string, size_t> persistents_;  ///< where they stand in graph_.persistents
  std::set<std::string> outputs_, updates_;
  std::set<std::string> spoilt_persistents_;
  uint32_t known_files_ = 0;             ///< before blank ones were added
  size_t blank_text_ = 0;                ///< that may still be added
  std::map<uint32_t, bool> plain_;       ///< by file: it is ASCII
  std::vector<std::pair<size_t, Place>> persistent_places_;
  std::vector<std::pair<NodeId, Place>> node_places_;
};

}  // namespace

std::optional<Graph> parse_graph(SourceMap& sources, FileId file, Diagnostics& diagnostics) {
  return Parser(sources, file, diagnostics).run();
}

}  // namespace nnc
