// One pass over the bytes, the longest token first. Whether a line break ends a statement is decided by the parser, so tokens
// only remember the white space around them. What a newcomer is likely to type in from another language or paste from a document
// (`&&`, `x.shape`, curly quotes, a minus sign of typography) has a message that names nnc's own form. A run of unreadable
// characters is one error.
#include "frontend/syntax/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/check.h"
#include "base/utf8.h"
#include "frontend/syntax/familiar_names.h"

namespace nnc {
namespace {

constexpr size_t max_lexical_errors = 100;  // of one file: more are never read

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_word(char c) { return is_letter(c) || is_digit(c); }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

struct Operator {
  std::string_view text;
  TokenKind kind;
};

// Longer ones before their own beginnings.
constexpr Operator operators[] = {
    {"...", TokenKind::ellipsis},     {"..", TokenKind::dots},      {"->", TokenKind::arrow},      {"|>", TokenKind::pipe},
    {"//", TokenKind::slash_slash},   {"==", TokenKind::equal},     {"!=", TokenKind::not_equal},  {"<=", TokenKind::less_equal},
    {">=", TokenKind::greater_equal}, {"(", TokenKind::left_paren}, {")", TokenKind::right_paren}, {"[", TokenKind::left_bracket},
    {"]", TokenKind::right_bracket},  {"{", TokenKind::left_brace}, {"}", TokenKind::right_brace}, {",", TokenKind::comma},
    {":", TokenKind::colon},          {";", TokenKind::semicolon},  {"~", TokenKind::tilde},       {"=", TokenKind::assign},
    {"+", TokenKind::plus},           {"-", TokenKind::minus},      {"*", TokenKind::star},        {"/", TokenKind::slash},
    {"%", TokenKind::percent},        {"^", TokenKind::caret},      {"<", TokenKind::less},        {">", TokenKind::greater},
};

struct Foreign {
  std::string_view text, help;
};

// Characters of other languages and of documents, with what to write instead. Longer ones first.
constexpr Foreign foreign[] = {
    {"&&", "write `and`"},
    {"||", "write `or`"},
    {"&", "write `and`"},
    {"|", "a pipeline is written `|>`, a choice `or`"},
    {"!", "write `not`"},
    {"@", "a matrix product is written `sum(a * b, over: D)`, where D is the dimension that both have"},
    {".", "names and values have no parts"},
    {"'", "strings stand in double quotes"},
    {"\\", "a line continues by itself when the next begins with `|>`, `else` or a binary operator"},
    {"\u201c", "strings stand in straight quotes: \""},
    {"\u201d", "strings stand in straight quotes: \""},
    {"\u2018", "strings stand in straight quotes: \""},
    {"\u2019", "strings stand in straight quotes: \""},
    {"\u2212", "write `-`"},
    {"\u2013", "write `-`"},
    {"\u00d7", "write `*`"},
    {"\u00b7", "write `*`"},
    {"\u00f7", "write `/`"},
    {"\u2264", "write `<=`"},
    {"\u2265", "write `>=`"},
    {"\u2260", "write `!=`"},
    {"\u2192", "write `->`"},
    {"\u2026", "write `...`"},
};

class Lexer {
 public:
  Lexer(const SourceMap& sources, FileId file, Diagnostics& diagnostics)
      : text_(sources.text(file)), file_(file), diagnostics_(diagnostics) {}

  TokenList run() {
    if (size_t nul = text_.find('\0'); nul != std::string_view::npos) {
      report(Code::E0002, nul, nul + 1, "this is not a text file: it holds a byte 0")
          .help.push_back("give nnc a .nn file, which is UTF-8 text");
      return unreadable();
    }
    if (text_.substr(0, 3) == "\xEF\xBB\xBF") at_ = 3;  // a byte order mark is harmless
    while (skip_space(), at_ < text_.size()) {
      if (!read_token()) return unreadable();
      if (result_.tokens.size() > max_tokens) {
        report(Code::E0007, result_.tokens.back().begin, result_.tokens.back().end,
               fmt::format("the file is too large: it has more than {} words, numbers and signs", max_tokens));
        return unreadable();
      }
    }
    begin_ = text_.size();
    push(TokenKind::end);
    return std::move(result_);
  }

 private:
  Span span(size_t begin, size_t end) const { return {file_, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)}; }

  Diagnostic& report(Code code, size_t begin, size_t end, std::string message) {
    Diagnostics& sink = diagnostics_.items().size() < max_lexical_errors ? diagnostics_ : overflow_;
    return sink.report(code, span(begin, end), std::move(message));
  }

  TokenList unreadable() {
    result_.tokens.clear();
    result_.readable = false;
    begin_ = at_ = text_.size();
    push(TokenKind::end);
    return std::move(result_);
  }

  std::string_view word(const Token& t) const { return text_.substr(t.begin, t.end - t.begin); }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  void push(TokenKind kind) {
    bool space_after = at_ >= text_.size() || is_space(text_[at_]) || text_[at_] == '#';
    result_.tokens.push_back({kind, newline_, space_, space_after, static_cast<uint32_t>(begin_), static_cast<uint32_t>(at_)});
    newline_ = space_ = false;
  }

  /// White space and comments; only the first malformed byte of a file is reported, since the others have the same cause.
  void skip_space() {
    for (; at_ < text_.size(); ++at_) {
      char c = text_[at_];
      if (c == '#') {
        size_t end = std::min(text_.find('\n', at_), text_.size());
        check_utf8(at_, end);
        for (size_t i = at_; i + 1 < end; ++i) report_lone_return(i);
        result_.comments.push_back(span(at_, end > at_ && text_[end - 1] == '\r' ? end - 1 : end));
        at_ = end - 1;
      } else if (is_space(c)) {
        newline_ |= c == '\n';
        report_lone_return(at_);
      } else {
        return;
      }
      space_ = true;
    }
  }

  /// Files whose lines end with CR alone: a comment would hide all that follows it.
  void report_lone_return(size_t at) {
    if (text_[at] != '\r' || lone_return_reported_ || at + 1 >= text_.size() || text_[at + 1] == '\n') return;
    lone_return_reported_ = true;
    report(Code::E0001, at, at + 1, "a carriage return without a line feed does not end a line")
        .help.push_back("save the file with line ends of LF or CR LF");
  }

  bool check_utf8(size_t begin, size_t end) {
    for (size_t i = begin; i < end;) {
      size_t length = utf8_length(text_, i);
      if (length == 0) {
        report_malformed(i);
        return false;
      }
      i += length;
    }
    return true;
  }

  void report_malformed(size_t at) {
    if (malformed_reported_) return;
    malformed_reported_ = true;
    report(Code::E0002, at, at + 1,
           fmt::format("this is not UTF-8 text: byte 0x{:02x} cannot stand here", static_cast<unsigned char>(text_[at])))
        .help.push_back("save the file as UTF-8");
  }

  /// False if the file is not text.
  bool read_token() {
    begin_ = at_;
    char c = peek();
    if (is_letter(c)) {
      while (is_word(peek())) ++at_;
      push(TokenKind::name);
      return true;
    }
    if (is_digit(c)) return read_number(), true;
    if (c == '.' && is_digit(peek(1)) && !follows_value()) return read_number_without_zero(), true;
    if (c == '"') return read_string(), true;
    for (const Operator& op : operators)
      if (text_.compare(at_, op.text.size(), op.text) == 0) {
        at_ += op.text.size();
        push(op.kind);
        return true;
      }
    return read_unexpected();
  }

  /// `x.5` is an attempt at an attribute, `(.5` one at a number.
  bool follows_value() const {
    if (result_.tokens.empty() || space_) return false;
    TokenKind last = result_.tokens.back().kind;
    return last == TokenKind::name || last == TokenKind::right_paren || last == TokenKind::right_bracket;
  }

  void skip_digits() {
    while (is_digit(peek()) || (peek() == '_' && is_digit(peek(1)) && at_ > begin_ && is_digit(text_[at_ - 1]))) ++at_;
  }

  void read_number() {
    bool integer = true;
    skip_digits();
    if (peek() == '.' && is_digit(peek(1))) {
      integer = false;
      ++at_;
      skip_digits();
    } else if (peek() == '.' && peek(1) != '.') {  // `2.`; `0..64` is a range
      std::string_view digits = text_.substr(begin_, at_ - begin_);
      ++at_;
      report(Code::E0004, begin_, at_, "a number cannot end with its point").help.push_back(fmt::format("write `{}.0`", digits));
      return push(TokenKind::number);
    }
    if ((peek() == 'e' || peek() == 'E') && (is_digit(peek(1)) || ((peek(1) == '+' || peek(1) == '-') && is_digit(peek(2))))) {
      integer = false;
      at_ += 2;
      skip_digits();
    }
    size_t number_end = at_;
    while (is_word(peek()) || (peek() == '.' && is_digit(peek(1)))) ++at_;
    std::string_view written = text_.substr(begin_, at_ - begin_);
    if (at_ != number_end) {
      Diagnostic& d = report(Code::E0004, begin_, at_, fmt::format("`{}` is neither a number nor a name", written));
      if (written.find("__") != std::string_view::npos || written.back() == '_')
        d.help.push_back("a `_` in a number stands between two digits: 1_000");
      else if (written[0] == '0' && written.size() > 1 && (written[1] == 'x' || written[1] == 'b'))
        d.help.push_back("numbers are written in decimal");
      else if (written.back() == 'e' || written.back() == 'E')
        d.help.push_back(fmt::format("an exponent has digits: `{}-3`", written));
      else if (written.find('.') == std::string_view::npos)
        d.help.push_back("a name begins with a letter; a product is written with `*`");
      return push(TokenKind::number);
    }
    NumberValue value = number_value(written);
    if (integer && !value.is_integer)
      report(Code::E0004, begin_, at_, "this number is too large: integers go up to 9223372036854775807");
    else if (value.number > 1.7976931348623157e308)
      report(Code::E0004, begin_, at_, "this number is too large: the largest is about 1.8e308")
          .help.push_back("infinity is written `inf`");
    push(TokenKind::number);
  }

  void read_number_without_zero() {
    ++at_;
    while (is_word(peek())) ++at_;
    std::string_view written = text_.substr(begin_, at_ - begin_);
    report(Code::E0004, begin_, at_, "a number cannot begin with its point").help.push_back(fmt::format("write `0{}`", written));
    push(TokenKind::number);
  }

  void read_string() {
    ++at_;
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\n') {
      if (text_[at_] == '\\' && at_ + 1 < text_.size() && text_[at_ + 1] != '\n') {
        char escape = text_[at_ + 1];
        if (escape != '"' && escape != '\\' && escape != 'n' && escape != 't') {
          size_t length = std::max<size_t>(utf8_length(text_, at_ + 1), 1);
          report(Code::E0005, at_, at_ + 1 + length, fmt::format("unknown escape `{}`", text_.substr(at_, 1 + length)))
              .help.push_back("the escapes are \\\" \\\\ \\n \\t; a backslash itself is written \\\\, and paths use `/`");
        }
        ++at_;
      }
      ++at_;
    }
    check_utf8(begin_, std::min(at_, text_.size()));
    if (at_ >= text_.size() || text_[at_] != '"') {
      at_ = std::min(at_, text_.size());
      if (at_ > begin_ + 1 && text_[at_ - 1] == '\r') --at_;
      report(Code::E0003, begin_, begin_ + 1, "this string has no closing quote")
          .help.push_back("close it with \" on the same line; a line break in a string is written \\n");
      return push(TokenKind::bad_rest);
    }
    ++at_;
    push(TokenKind::string);
  }

  /// The name that ends right before the token that is read, "" if none does; and the one that begins at a byte.
  std::string_view word_before() const {
    if (result_.tokens.empty() || result_.tokens.back().kind != TokenKind::name || result_.tokens.back().end != begin_) return {};
    return word(result_.tokens.back());
  }
  std::string_view word_at(size_t at) const {
    size_t end = at;
    while (end < text_.size() && is_word(text_[end])) ++end;
    return text_.substr(at, end - at);
  }

  bool read_unexpected() {
    for (const Foreign& f : foreign)
      if (text_.compare(at_, f.text.size(), f.text) == 0) {
        at_ += f.text.size();
        if (f.text == "'") return read_quoted("'"), true;
        if (f.text == "\u201c") return read_quoted("\u201d"), true;
        bool attribute = f.text == ".";
        size_t count = result_.tokens.size();
        bool path = attribute && count >= 2 && word(result_.tokens[count - 2]) == "use";
        report(Code::E0001, begin_, at_,
               attribute ? std::string("a `.` cannot stand here") : fmt::format("unexpected character `{}`", f.text))
            .help.emplace_back(path        ? std::string("a file's name stands in double quotes: `use \"layers.nn\"`")
                               : attribute ? familiar_path_help(word_before(), word_at(at_))
                                           : std::string(f.help));
        push(TokenKind::bad);
        return true;
      }
    size_t length = utf8_length(text_, at_);
    if (length == 0) {
      report_malformed(at_);
      return false;
    }
    std::string_view character = text_.substr(at_, length);
    // One error for a run of such characters.
    while (at_ < text_.size() && begins_nothing(at_)) at_ += utf8_length(text_, at_);
    if (static_cast<unsigned char>(character[0]) < 0x20 || character[0] == 0x7F) {
      report(Code::E0001, begin_, at_,
             fmt::format("unexpected control character 0x{:02x}", static_cast<unsigned char>(character[0])));
    } else if (character == "\u00a0") {
      report(Code::E0001, begin_, at_, "this is a no-break space, not a space").help.push_back("replace it by a space");
    } else {
      Diagnostic& d = report(Code::E0001, begin_, at_, fmt::format("unexpected character `{}`", character));
      if (length > 1) d.help.push_back("names are made of the letters a to z and A to Z, digits and `_`");
    }
    push(TokenKind::bad);
    return true;
  }

  /// 'text' or text in curly quotes is taken as one piece, so that its inside does not become errors of its own.
  void read_quoted(std::string_view close) {
    size_t line_end = std::min(text_.find('\n', at_), text_.size());
    size_t end = text_.substr(0, line_end).find(close, at_);
    if (end != std::string_view::npos) {
      std::string_view inner = text_.substr(at_, end - at_);
      at_ = end + close.size();
      report(Code::E0001, begin_, at_, "strings stand in straight double quotes")
          .help.push_back(fmt::format("write \"{}\"", inner.size() > 60 ? "..." : inner));
    } else {
      report(Code::E0001, begin_, at_, fmt::format("unexpected character `{}`", text_.substr(begin_, at_ - begin_)))
          .help.push_back("names are made of letters, digits and `_`; strings stand in straight double quotes");
    }
    push(TokenKind::bad);
  }

  /// Whether no token and no foreign sign begins at this byte, and it is well-formed.
  bool begins_nothing(size_t i) const {
    char c = text_[i];
    if (is_space(c) || is_word(c) || c == '"' || c == '#' || utf8_length(text_, i) == 0) return false;
    for (const Operator& op : operators)
      if (text_.compare(i, op.text.size(), op.text) == 0) return false;
    for (const Foreign& f : foreign)
      if (text_.compare(i, f.text.size(), f.text) == 0) return false;
    return true;
  }

  std::string_view text_;
  FileId file_;
  Diagnostics& diagnostics_;
  Diagnostics overflow_;  // what is reported beyond max_lexical_errors is not shown
  TokenList result_;
  size_t at_ = 0, begin_ = 0;
  bool newline_ = true, space_ = true;
  bool malformed_reported_ = false, lone_return_reported_ = false;
};

}  // namespace

std::string_view token_kind_name(TokenKind kind) {
  switch (kind) {
    case TokenKind::end:
      return "the end of the file";
    case TokenKind::bad:
    case TokenKind::bad_rest:
      return "an unreadable character";
    case TokenKind::name:
      return "a name";
    case TokenKind::number:
      return "a number";
    case TokenKind::string:
      return "a string";
    case TokenKind::left_paren:
      return "`(`";
    case TokenKind::right_paren:
      return "`)`";
    case TokenKind::left_bracket:
      return "`[`";
    case TokenKind::right_bracket:
      return "`]`";
    case TokenKind::left_brace:
      return "`{`";
    case TokenKind::right_brace:
      return "`}`";
    case TokenKind::comma:
      return "`,`";
    case TokenKind::colon:
      return "`:`";
    case TokenKind::semicolon:
      return "`;`";
    case TokenKind::tilde:
      return "`~`";
    case TokenKind::arrow:
      return "`->`";
    case TokenKind::pipe:
      return "`|>`";
    case TokenKind::dots:
      return "`..`";
    case TokenKind::ellipsis:
      return "`...`";
    case TokenKind::assign:
      return "`=`";
    case TokenKind::plus:
      return "`+`";
    case TokenKind::minus:
      return "`-`";
    case TokenKind::star:
      return "`*`";
    case TokenKind::slash:
      return "`/`";
    case TokenKind::slash_slash:
      return "`//`";
    case TokenKind::percent:
      return "`%`";
    case TokenKind::caret:
      return "`^`";
    case TokenKind::equal:
      return "`==`";
    case TokenKind::not_equal:
      return "`!=`";
    case TokenKind::less:
      return "`<`";
    case TokenKind::less_equal:
      return "`<=`";
    case TokenKind::greater:
      return "`>`";
    case TokenKind::greater_equal:
      return "`>=`";
  }
  NNC_UNREACHABLE("token kind");
}

TokenList tokenize(const SourceMap& sources, FileId file, Diagnostics& diagnostics) {
  return Lexer(sources, file, diagnostics).run();
}

std::string string_value(std::string_view written) {
  std::string value;
  if (!written.empty()) written.remove_prefix(1);
  if (!written.empty() && written.back() == '"') written.remove_suffix(1);
  for (size_t i = 0; i < written.size(); ++i) {
    if (written[i] != '\\' || i + 1 == written.size()) {
      value += written[i];
      continue;
    }
    char c = written[++i];
    if (c == 'n')
      value += '\n';
    else if (c == 't')
      value += '\t';
    else if (c == '"' || c == '\\')
      value += c;
    else
      value += {'\\', c};
  }
  return value;
}

NumberValue number_value(std::string_view written) {
  std::string digits;
  bool integer = true;
  for (char c : written) {
    if (c != '_') digits += c;
    if (!is_digit(c) && c != '_') integer = false;
  }
  NumberValue value;
  if (integer) {
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value.integer);
    value.is_integer = error == std::errc{};
  }
  // from_chars does not depend on the locale; beyond the range of a double it leaves the value alone.
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value.number);
  if (error == std::errc::result_out_of_range) {
    size_t exponent = digits.find_first_of("eE");
    bool tiny = exponent != std::string::npos && digits[exponent + 1] == '-';
    value.number = tiny ? 0 : std::numeric_limits<double>::infinity();
  }
  return value;
}

}  // namespace nnc
