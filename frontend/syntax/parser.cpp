// What all of the parser shares: tokens, errors, skipping, brackets.
// Recovery works on three levels. A value that cannot be read becomes an `error` node, so its name stays known; a statement that
// cannot be read is skipped to its line's end; a definition whose head cannot be read still has its body read. A `{` that is
// never closed is found when a definition begins no further right than the one being read; where some `}` stands left of the line
// that opens its block, the message points there, since that block is the one whose own `}` is missing.
#include "frontend/syntax/parser.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "frontend/syntax/parser_impl.h"

namespace nnc {
namespace {

constexpr int max_nesting = 256;
constexpr size_t max_errors = 100;  // of one file: more are never read

constexpr std::string_view reserved_words[] = {"let", "param", "frozen", "state", "update", "yield", "repeat", "scan",
                                               "dim", "if",    "else",   "as",    "and",    "or",    "not"};

constexpr std::string_view statement_words[] = {"let", "param", "frozen", "state", "update", "yield", "repeat", "dim"};

template <size_t N>
bool contains(const std::string_view (&words)[N], std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

}  // namespace

const std::vector<std::string_view>& clause_words() {
  static const std::vector<std::string_view> words = {"data", "minimize", "using", "epochs", "steps", "report", "seed", "save"};
  return words;
}

std::unique_ptr<ast::File> parse(const SourceMap& sources, FileId file, Diagnostics& diagnostics) {
  return Parser(sources, file, diagnostics).run(sources);
}

Parser::Parser(const SourceMap& sources, FileId file, Diagnostics& diagnostics)
    : file_(file),
      text_(sources.text(file)),
      diagnostics_(diagnostics),
      sink_(&diagnostics),
      result_(std::make_unique<ast::File>()) {}

std::unique_ptr<ast::File> Parser::run(const SourceMap& sources) {
  result_->id = file_;
  TokenList list = tokenize(sources, file_, lexical_);
  tokens_ = std::move(list.tokens);
  if (list.readable) {
    if (at(TokenKind::end)) {
      uint32_t end = static_cast<uint32_t>(text_.size());
      report(Code::E0006, {file_, 0, 0}, end == 0 ? "the file is empty" : "the file defines nothing")
          .help.push_back("a file holds definitions, such as `model Net(x[B, 64]) -> [B, 10] { ... }`");
    }
    while (!at(TokenKind::end)) parse_item();
  }
  trouble_ += lexical_.items().size();
  for (const Diagnostic& d : lexical_.items()) diagnostics_.add(d);
  result_->has_errors = trouble_ != 0;
  return std::move(result_);
}

// ---------------------------------------------------------------------------------------------------------------------- tokens

const Token& Parser::take() {
  const Token& t = now();
  if (t.kind != TokenKind::end) ++at_;
  return t;
}

bool Parser::take_if(TokenKind kind) {
  if (!at(kind)) return false;
  take();
  return true;
}

bool Parser::take_word(std::string_view word) {
  if (!at_word(word)) return false;
  take();
  return true;
}

bool Parser::is_reserved(const Token& t) const { return t.kind == TokenKind::name && contains(reserved_words, text(t)); }

/// Mostly asked for one place after another: no line is looked through twice for that, however long it is.
uint32_t Parser::column(uint32_t offset) const {
  uint32_t from = offset >= seen_.offset ? seen_.offset : 0;
  size_t line_break = text_.substr(0, offset).substr(from).rfind('\n');
  uint32_t line = line_break != std::string_view::npos ? static_cast<uint32_t>(from + line_break + 1) : from == 0 ? 0 : seen_.line;
  if (offset >= seen_.offset) seen_ = {offset, line};
  return offset - line;
}

uint32_t Parser::indentation(uint32_t offset) const {
  uint32_t line = offset - column(offset);
  if (indented_.line != line || indented_.offset == 0) {
    size_t first = text_.find_first_not_of(" \t", line);
    indented_ = {static_cast<uint32_t>(first == std::string_view::npos ? text_.size() : first), line};
  }
  return indented_.offset - line;
}

// ---------------------------------------------------------------------------------------------------------------------- errors

Parser::Nesting::Nesting(Parser& parser) : parser_(parser) {
  if (parser.nesting_ >= max_nesting) {
    parser.report(Code::E0009, parser.span(parser.now()), fmt::format("this is nested more than {} deep", max_nesting))
        .help.push_back("give inner parts names with `let`");
    parser.fail();
  }
  ++parser.nesting_;
}

Diagnostic& Parser::report(Code code, Span where, std::string message) {
  ++trouble_;
  Diagnostics* sink = sink_->items().size() < max_errors ? sink_ : &overflow_;
  if (in_train_ && code != Code::E0008 && tokens_.size() >= 2) {
    const Token& last = tokens_[tokens_.size() - 2];
    if (last.kind != TokenKind::right_brace && where.end >= last.end) sink = &cut_off_;
  }
  return sink->report(code, where, std::move(message));
}

void Parser::fail() {
  ++trouble_;
  if (!overflow_.items().empty()) at_ = tokens_.size() - 1;  // enough: nothing more would be shown
  throw Failure{at(TokenKind::bad_rest) ? 0 : bracket_depth_};
}

std::string Parser::describe(const Token& t) const {
  std::string_view written = text(t);
  switch (t.kind) {
    case TokenKind::name:
    case TokenKind::number:
      return fmt::format("`{}`", written.substr(0, 60));
    case TokenKind::string:
      return written.size() > 40 ? "a string" : std::string(written);
    default:
      return std::string(token_kind_name(t.kind));
  }
}

void Parser::fail_expected(std::string_view what, std::string_view help) {
  const Token& t = now();
  if (t.kind == TokenKind::bad || t.kind == TokenKind::bad_rest) fail();
  bool at_line_end = t.newline_before && at_ > 0 && at_ != statement_start_;
  Diagnostic& d =
      at_line_end || t.kind == TokenKind::end
          ? report(Code::E0010, end_of_previous(),
                   fmt::format("expected {}, found the end of the {}", what, t.kind == TokenKind::end ? "file" : "line"))
          : report(Code::E0010, span(t), fmt::format("expected {}, found {}", what, describe(t)));
  if (!help.empty()) d.help.emplace_back(help);
  if (is_word(t, "as") && what.find("line") == std::string_view::npos && help.empty() && !at_line_end &&
      peek().kind == TokenKind::name)
    d.help.push_back("a view's dimensions stand in brackets: `as [B, T]`");
  fail();
}

/// `{ ... }` as a whole, or up to where a definition begins or the file ends.
void Parser::skip_braces() {
  for (int open = 0;;) {
    if (at(TokenKind::end) || begins_definition(at_)) return;
    if (at(TokenKind::left_brace)) ++open;
    if (at(TokenKind::right_brace)) --open;
    take();
    if (open == 0) return;
  }
}

bool Parser::begins_statement(const Token& t) const { return t.kind == TokenKind::name && contains(statement_words, text(t)); }

/// To the beginning of the next statement or the end of the block; past at least one token unless the block ends here.
void Parser::skip_statement(Failure failure, size_t start) {
  int open = failure.open_brackets;
  for (;;) {
    const Token& t = now();
    if (t.kind == TokenKind::end || t.kind == TokenKind::right_brace) return;
    if (at_ > start && t.newline_before && (open <= 0 || begins_statement(t) || begins_definition(at_))) return;
    if (t.kind == TokenKind::semicolon && open <= 0) return;
    if (t.kind == TokenKind::left_paren || t.kind == TokenKind::left_bracket) ++open;
    if (t.kind == TokenKind::right_paren || t.kind == TokenKind::right_bracket) open = std::max(open - 1, 0);
    if (t.kind == TokenKind::left_brace)
      skip_braces();
    else
      take();
  }
}

/// To the end of a value: as skip_statement, but it may be there already, and a `let` has further bindings after a comma.
void Parser::skip_value(Failure failure, bool stop_at_binding) {
  int open = failure.open_brackets;
  for (;;) {
    const Token& t = now();
    if (t.kind == TokenKind::end || t.kind == TokenKind::right_brace) return;
    if (t.newline_before && (open <= 0 || begins_statement(t) || begins_definition(at_))) return;
    if (t.kind == TokenKind::semicolon && open <= 0) return;
    if (stop_at_binding && open <= 0 && t.kind == TokenKind::comma && peek().kind == TokenKind::name && !peek().newline_before &&
        peek(2).kind == TokenKind::assign)
      return;
    if (t.kind == TokenKind::left_paren || t.kind == TokenKind::left_bracket) ++open;
    if (t.kind == TokenKind::right_paren || t.kind == TokenKind::right_bracket) open = std::max(open - 1, 0);
    if (t.kind == TokenKind::left_brace)
      skip_braces();
    else
      take();
  }
}

/// Whether a line begins here that can only be a definition's head. Inside a definition it must stand no further right than that.
bool Parser::begins_definition(size_t index, bool within_line) const {
  const Token& t = tokens_[index];
  if (t.kind != TokenKind::name || !(t.newline_before || within_line) || !is_definition_word(text(t))) return false;
  auto after = [&](size_t n) -> const Token& { return tokens_[std::min(index + n, tokens_.size() - 1)]; };
  const Token& next = after(1);
  if (next.newline_before) return false;
  std::string_view word = text(t);
  if (word == "use") return next.kind == TokenKind::string;
  if (word == "test") return next.kind == TokenKind::string;
  if (word == "train") return next.kind == TokenKind::left_brace;
  if (next.kind != TokenKind::name) return false;
  if (word == "dim") return after(2).kind == TokenKind::assign && column(t.begin) == 0;
  if (word == "data") return after(2).kind == TokenKind::left_brace;
  return after(2).kind == TokenKind::left_paren || after(2).kind == TokenKind::left_brace;
}

void Parser::fail_unclosed_block(const Token& open) {
  sink_ = &diagnostics_;  // not part of any snippet: the block reaches beyond
  if (has_suspect_) {
    Diagnostic& d = report(Code::E0008, span(suspect_open_), "this `{` is never closed");
    d.labels.push_back({span(suspect_close_), "this `}` closes it, though it stands further left"});
  } else {
    Diagnostic& d = report(Code::E0008, span(open), "this `{` is never closed");
    if (!at(TokenKind::end)) d.labels.push_back({span(now()), "a definition begins here"});
  }
  throw UnclosedBlock{};
}

// ---------------------------------------------------------------------------------------------------------------- small pieces

const Token& Parser::expect(TokenKind kind, std::string_view what, std::string_view help) {
  if (!at(kind)) fail_expected(what, help);
  return take();
}

ast::Name Parser::name_of(const Token& t) const { return {std::string(text(t)), span(t)}; }

ast::Name Parser::parse_name(std::string_view what) {
  const Token& t = now();
  if (is_reserved(t) && !t.newline_before) {
    report(Code::E0012, span(t), fmt::format("`{}` is a word of the language and cannot be a name", text(t)));
    take();
    return {std::string(text(t)) + "_", span(t)};  // not the reserved word itself, so that nothing else matches it
  }
  if (t.kind != TokenKind::name || (t.newline_before && bracket_depth_ == 0 && is_reserved(t))) {
    if (t.kind == TokenKind::bad || t.kind == TokenKind::bad_rest) fail();
    bool at_line_end = t.newline_before || t.kind == TokenKind::end;
    report(Code::E0012, at_line_end ? end_of_previous() : span(t),
           fmt::format("expected {}, found {}", what, at_line_end ? "the end of the line" : describe(t)));
    fail();
  }
  return name_of(take());
}

ast::Text Parser::parse_text(std::string_view what) {
  const Token& t = now();
  if (t.kind != TokenKind::string) fail_expected(what, "it stands in double quotes");
  take();
  return {string_value(text(t)), span(t)};
}

ast::Type Parser::parse_type() {
  ast::Type type;
  uint32_t begin = now().begin;
  if (!is_plain_name(now())) fail_expected("a type such as `f32`, `u8` or `class(10)`");
  type.name = name_of(take());
  if (at(TokenKind::left_paren) && !now().newline_before) {
    parse_bracketed(TokenKind::left_paren, TokenKind::right_paren, [&] {
      if (type.size) fail_expected("`)`");
      type.size = parse_binary(1);
    });
    if (!type.size) {
      report(Code::E0014, span_from(begin), "the number of classes is missing").help.push_back("write `class(10)`");
      type.size = make_error(span_from(begin));
    }
  }
  type.span = span_from(begin);
  return type;
}

ast::Dims Parser::parse_dims() {
  ast::Dims dims;
  uint32_t begin = now().begin;
  Nesting nesting(*this);
  bool has_ellipsis = false;
  parse_bracketed(TokenKind::left_bracket, TokenKind::right_bracket, [&] {
    bool special = at(TokenKind::ellipsis) || at_word("_");
    if (at(TokenKind::ellipsis)) {
      if (has_ellipsis) report(Code::E0010, span(now()), "only one `...` can stand in a list of dimensions");
      has_ellipsis = true;
    }
    if (special) {
      ast::ExprPtr entry = make(at(TokenKind::ellipsis) ? ast::ExprKind::ellipsis : ast::ExprKind::underscore, span(now()));
      take();
      dims.entries.push_back(finish(std::move(entry)));
    } else {
      dims.entries.push_back(parse_binary(1));
    }
  });
  dims.span = span_from(begin);
  return dims;
}

/// `( element, element, )` with either kind of bracket; a comma may stand before the closing one.
void Parser::parse_bracketed(TokenKind open_kind, TokenKind close, const std::function<void()>& element) {
  const Token open = now();
  if (!take_if(open_kind)) fail_expected(token_kind_name(open_kind));
  ++bracket_depth_;
  while (!at(close)) {
    // A missing bracket shows where the next line begins a statement.
    if (at(TokenKind::end) || at(TokenKind::right_brace) ||
        (now().newline_before && (begins_statement(now()) || begins_definition(at_))))
      break;
    element();
    if (!take_if(TokenKind::comma)) break;
  }
  close_bracket(open, close);
}

/// Whether the closing bracket comes before anything that shows it to be missing; then something else is wrong here.
bool Parser::closes_soon(TokenKind close) const {
  int open = 0;
  for (size_t i = at_; i < tokens_.size() && i < at_ + 200; ++i) {
    const Token& t = tokens_[i];
    if (t.kind == TokenKind::end ||
        (t.newline_before && (begins_statement(t) || begins_definition(i) ||
                              (i == at_ && infix_at(peek()).precedence == 0 && peek().kind != TokenKind::comma &&
                               peek().kind != close && peek().kind != TokenKind::left_paren && peek().kind != TokenKind::colon))))
      return false;
    if (t.kind == TokenKind::left_brace || t.kind == TokenKind::right_brace || t.kind == TokenKind::semicolon ||
        t.kind == TokenKind::bad_rest)
      return false;
    if (t.kind == TokenKind::left_paren || t.kind == TokenKind::left_bracket) ++open;
    if (t.kind == TokenKind::right_paren || t.kind == TokenKind::right_bracket) {
      if (open == 0) return t.kind == close;
      --open;
    }
  }
  return false;
}

void Parser::close_bracket(const Token& open, TokenKind close) {
  const Token& t = now();
  if (t.kind == close) {
    --bracket_depth_;
    take();
    return;
  }
  if (t.kind == TokenKind::bad || t.kind == TokenKind::bad_rest) fail();
  std::string wanted(token_kind_name(close));
  if (t.kind == TokenKind::right_paren || t.kind == TokenKind::right_bracket) {
    report(Code::E0008, span(t), fmt::format("{} cannot close {}", describe(t), describe(open)))
        .labels.push_back({span(open), "opened here"});
    take();
    --bracket_depth_;
    fail();
  }
  bool unclosed = t.kind == TokenKind::end || t.kind == TokenKind::right_brace || t.kind == TokenKind::left_brace ||
                  (t.newline_before && !closes_soon(close));
  if (unclosed) {
    Diagnostic& d = report(Code::E0008, span(open), fmt::format("this {} is never closed", describe(open)));
    d.labels.push_back({end_of_previous(), fmt::format("{} is expected here", wanted)});
    ++trouble_;
    throw Failure{0};
  }
  if (t.kind == TokenKind::assign) fail_expected(fmt::format("`,` or {}", wanted), "equality is written `==`");
  if (t.kind == TokenKind::semicolon) fail_expected(fmt::format("`,` or {}", wanted), "items are separated by commas");
  fail_expected(fmt::format("`,` or {}", wanted));
}

}  // namespace nnc
