// Lexing and diagnostics of textual graphs and programs: no table, no tokens ahead, a place in the text and functions that read what should stand there.
#include "ir/text_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/utf8.h"
#include "ir/op_rules.h"

namespace nnc {
namespace {

constexpr size_t max_errors = 100;

}  // namespace

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return is_letter(c) || is_digit(c) || c == '_'; }

Span TextReader::here() const {
  uint32_t end = uint32_t(std::min(text_.size(), at_ + 1));
  return {file_, uint32_t(std::min(at_, text_.size())), end};
}

Span TextReader::since(size_t begin) const { return {file_, uint32_t(begin), uint32_t(std::max(begin, at_))}; }

Diagnostic& TextReader::report(Code code, Span span, std::string message) {
  faulty_ = true;
  Diagnostics& sink = diagnostics_.items().size() < max_errors ? diagnostics_ : overflow_;
  return sink.report(code, span, std::move(message));
}

void TextReader::fail(Code code, Span span, std::string message, std::string help) {
  Diagnostic& d = report(code, span, std::move(message));
  if (!help.empty()) d.help.push_back(std::move(help));
  throw Fault{};
}

void TextReader::fail_unknown_op(std::string_view word, Span span) {
  std::vector<std::string> names;
  for (int i = 0; i < op_count; ++i) names.emplace_back(op_name(Op(i)));
  std::string hint = nearest(word, names);
  fail(Code::E0631, span, fmt::format("unknown operation `{}`", word), hint.empty() ? "" : fmt::format("did you mean `{}`?", hint));
}

bool TextReader::check_text() {
  size_t zero = text_.find('\0'), malformed = find_malformed_utf8(text_);
  if (zero != std::string_view::npos)
    report(Code::E0002, {file_, uint32_t(zero), uint32_t(zero + 1)}, "this is not a text file: it holds a byte 0");
  else if (malformed != std::string_view::npos)
    report(Code::E0002, {file_, uint32_t(malformed), uint32_t(malformed + 1)},
           fmt::format("this is not UTF-8 text: byte 0x{:02x} cannot stand here", static_cast<unsigned char>(text_[malformed])));
  return !faulty_;
}

void TextReader::skip_blanks() {
  while (peek() == ' ' || peek() == '\t' || peek() == '\r') ++at_;
}

void TextReader::skip_spaces() {
  skip_blanks();
  if (peek() == '#') skip_line();
}

void TextReader::skip_line() {
  while (at_ < text_.size() && text_[at_] != '\n') ++at_;
}

void TextReader::skip_blank_lines() {
  for (skip_spaces(); peek() == '\n'; skip_spaces()) ++at_;
}

void TextReader::end_line() {
  skip_spaces();
  if (at_ < text_.size() && peek() != '\n') fail(Code::E0630, here(), "expected the end of the line");
}

bool TextReader::accept(std::string_view mark) {
  skip_spaces();
  if (text_.substr(at_, mark.size()) != mark) return false;
  at_ += mark.size();
  return true;
}

void TextReader::expect(std::string_view mark) {
  if (!accept(mark)) fail(Code::E0630, here(), fmt::format("expected `{}`", mark));
}

std::string_view TextReader::parse_word() {
  skip_spaces();
  size_t begin = at_;
  while (is_word(peek())) ++at_;
  return text_.substr(begin, at_ - begin);
}

bool TextReader::accept_word(std::string_view word) {
  skip_spaces();
  size_t begin = at_;
  if (parse_word() == word) return true;
  at_ = begin;
  return false;
}

void TextReader::expect_word(std::string_view word) {
  if (!accept_word(word)) fail(Code::E0630, here(), fmt::format("expected `{}`", word));
}

std::string TextReader::parse_string() {
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

std::string TextReader::parse_name() {
  skip_spaces();
  if (peek() != '@') fail(Code::E0630, here(), "expected a name such as @fc1.weight");
  ++at_;
  if (peek() == '"') return parse_string();
  size_t begin = at_;
  while (is_word(peek()) || peek() == '.') ++at_;
  if (at_ == begin) fail(Code::E0630, here(), "expected a name such as @fc1.weight");
  return std::string(text_.substr(begin, at_ - begin));
}

int64_t TextReader::parse_integer(int64_t limit, std::string_view what) {
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

int64_t TextReader::parse_signed(std::string_view what) {
  skip_spaces();
  size_t begin = at_;
  if (peek() == '-') ++at_;
  if (!is_digit(peek())) {
    at_ = begin;
    fail(Code::E0630, here(), fmt::format("expected {}", what));
  }
  while (is_digit(peek())) ++at_;
  int64_t value = 0;
  std::string_view digits = text_.substr(begin, at_ - begin);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc()) fail(Code::E0636, since(begin), fmt::format("{} fits 64 bits", what));
  return value;
}

Number TextReader::parse_number() {
  skip_spaces();
  size_t begin = at_;
  while (is_word(peek()) || peek() == '.' || peek() == '-' || peek() == '+') ++at_;
  std::string_view word = text_.substr(begin, at_ - begin);
  number_span_ = since(begin);
  int64_t whole = 0;
  if (auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), whole);
      !word.empty() && error == std::errc() && end == word.data() + word.size() && whole != 0)  // 0 may be -0
    return whole;
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

std::vector<Number> TextReader::parse_numbers() {
  std::vector<Number> numbers;
  number_spans_.clear();
  expect("[");
  if (accept("]")) return numbers;
  do {
    numbers.push_back(parse_number());
    number_spans_.push_back(number_span_);
  } while (accept(","));
  expect("]");
  return numbers;
}

void TextReader::require_exact(DType dtype, Number number, Span written) {
  std::string_view word = text_.substr(written.begin, written.end - written.begin);
  if (is_float(dtype) || !is_value_of(dtype, number) || std::abs(double(number)) < 0x1p53 || word.find_first_of(".eE") == std::string_view::npos) return;
  fail(Code::E0636, written, fmt::format("{} is beyond 2^53, up to which a number with a point or an exponent is exact", word), "write all its digits");
}

Extent TextReader::parse_extent() {
  if (accept_word("B")) return {1, true};
  Extent e{parse_integer(max_elements, "a size"), false};
  if (accept("*")) {
    expect_word("B");
    e.rows = true;
  }
  return e;
}

Type TextReader::parse_type() {
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

}  // namespace nnc
