// The lines of `train` and `test` blocks: clauses, expectations. Both are `word items, option: value`.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "frontend/syntax/parser_impl.h"

namespace nnc {

using ast::StmtKind;
using ast::StmtPtr;

/// A clause of `train`: `word items, option: value`.
StmtPtr Parser::parse_clause() {
  const auto& words = clause_words();
  const Token& first = now();
  std::vector<std::string> candidates(words.begin(), words.end());
  std::string word(text(first));
  static constexpr std::pair<std::string_view, std::string_view> synonyms[] = {
      {"loss", "minimize"}, {"minimise", "minimize"}, {"optimizer", "using"},  {"optimiser", "using"}, {"optimize", "using"},
      {"metric", "report"}, {"metrics", "report"},    {"log", "report"},       {"dataset", "data"},    {"checkpoint", "save"},
      {"epoch", "epochs"},  {"step", "steps"},        {"maximize", "minimize"}};
  const Token& next = peek();
  std::string list = fmt::format("the clauses are {}", fmt::join(words, ", "));
  if (first.kind == TokenKind::bad || first.kind == TokenKind::bad_rest) fail();
  if (first.kind != TokenKind::name) {
    report(Code::E0019, span(first), fmt::format("expected a clause of `train`, found {}", describe(first))).help.push_back(list);
    fail();
  }
  bool known = std::find(words.begin(), words.end(), word) != words.end();
  if (!known) {
    bool reserved = is_reserved(first);
    if (reserved) {
      report(Code::E0025, span(first), fmt::format("`{}` does not belong in `train`", word)).help.push_back(list);
      fail();
    }
    static constexpr std::pair<std::string_view, std::string_view> options[] = {{"batch", "data NAME, batch: 32"},
                                                                                {"lr", "using sgd(lr: 0.01)"},
                                                                                {"momentum", "using sgd(momentum: 0.9)"},
                                                                                {"clip_norm", "using OPTIMIZER, clip_norm: 1.0"},
                                                                                {"every", "report EXPR, every: 100"}};
    for (auto [option, clause] : options)
      if (word == option) {
        report(Code::E0019, span(first), fmt::format("`{}` is not a clause of its own", word))
            .help.push_back(fmt::format("it is given as in `{}`", clause));
        fail();
      }
    if (next.kind == TokenKind::assign && nearest(word, candidates).empty()) report_misplaced(Context::train);
    std::string meant;
    for (auto [from, to] : synonyms)
      if (word == from) meant = to;
    if (meant.empty()) meant = nearest(word, candidates);
    Diagnostic& d = report(Code::E0019, span(first), fmt::format("`{}` is not a clause of `train`", word));
    d.help.push_back(meant.empty()        ? list
                     : word == "maximize" ? "write `minimize -(...)`"
                                          : fmt::format("did you mean `{}`?", meant));
    if (meant.empty()) fail();
    word = meant;
  }
  StmtPtr clause = make_statement(StmtKind::clause, take());
  clause->name = {word, span(first)};
  if ((at(TokenKind::colon) || at(TokenKind::assign)) && !now().newline_before) {
    if (known)
      report(Code::E0019, span(now()), fmt::format("`{}` is followed by its items, without {}", word, describe(now())))
          .help.push_back(fmt::format("write `{} ...`", word));
    take();
  }
  if (begins_line(now()) || at(TokenKind::right_brace)) {
    report(Code::E0014, clause->name.span, fmt::format("`{}` is followed by nothing", word));
    clause->arguments.emplace_back().value = make_error(end_of_previous());
    return clause;
  }
  for (bool more = true; more;) {
    ast::Argument argument;
    uint32_t begin = now().begin;
    // After a comma the line goes on, unless the next is plainly another clause.
    if (previous().kind == TokenKind::comma && now().newline_before && at(TokenKind::name) &&
        peek().kind != TokenKind::left_paren && peek().kind != TokenKind::colon &&
        (std::find(words.begin(), words.end(), text(now())) != words.end() || is_reserved(now()))) {
      report(Code::E0014, span(previous()), "nothing follows this comma")
          .help.push_back("remove it, or go on with an item or an option");
      break;
    }
    if (previous().kind == TokenKind::comma && at(TokenKind::right_brace)) {
      report(Code::E0014, span(previous()), "nothing follows this comma")
          .help.push_back("remove it, or go on with an item or an option");
      break;
    }
    if (at(TokenKind::name) && peek().kind == TokenKind::colon) {
      argument.name = name_of(take());
      take();
    }
    argument.value = parse_value();
    if (at_word("for") && !now().newline_before) {
      take();
      argument.pattern = parse_text("a pattern such as \"*.bias\"");
    }
    argument.span = span_from(begin);
    bool is_item = !argument.name || (word == "report" && argument.name->text != "every");
    (is_item ? clause->arguments : clause->options).push_back(std::move(argument));
    more = take_if(TokenKind::comma);
  }
  return clause;
}

/// Options after an item: `, tolerance: 1e-6`.
void Parser::parse_options(std::vector<ast::Argument>& options) {
  while (at(TokenKind::comma)) {
    take();
    if (!at(TokenKind::name) || peek().kind != TokenKind::colon) fail_expected("an option such as `tolerance: 1e-6`");
    options.push_back(parse_argument());
  }
}

StmtPtr Parser::parse_expect() {
  const Token& first = take();
  if (at_word("error") && (peek().kind == TokenKind::string || is_word(peek(), "in") || peek().kind == TokenKind::bad_rest))
    return parse_expect_error(first);
  StmtPtr statement = make_statement(StmtKind::expect, first);
  if (begins_line(now())) {
    report(Code::E0014, span(first), "`expect` has nothing to expect").help.push_back("write `expect f(x) == y`");
    statement->value = make_error(end_of_previous());
    return statement;
  }
  statement->value = parse_value();
  parse_options(statement->options);
  return statement;
}

/// The snippet's own syntax errors may be what is expected, so they are collected instead of reported; those of the lexer, found
/// before, are fetched by their place.
StmtPtr Parser::parse_expect_error(const Token& first) {
  StmtPtr statement = make_statement(StmtKind::expect_error, first);
  take();
  statement->text = parse_text("the text that the error must contain");
  if (!take_word("in")) fail_expected("`in` and a block", "write `expect error \"has 10 columns\" in { ... }`");
  if (!at(TokenKind::left_brace)) fail_expected("`{`");
  statement->body = std::make_unique<ast::Block>();
  Diagnostics snippet;
  struct Restore {
    Parser& parser;
    Diagnostics* sink;
    size_t trouble;
    ~Restore() {
      parser.sink_ = sink;
      parser.trouble_ = trouble;
    }
  };
  {
    Restore restore{*this, sink_, trouble_};
    sink_ = &snippet;
    parse_block(*statement->body, Context::snippet);
  }
  Diagnostics elsewhere;
  for (const Diagnostic& d : lexical_.items()) {
    bool inside = d.span.begin >= statement->body->span.begin && d.span.end <= statement->body->span.end;
    (inside ? snippet : elsewhere).add(d);
  }
  lexical_ = std::move(elsewhere);
  statement->syntax_errors = snippet.sorted();
  return statement;
}

StmtPtr Parser::parse_check_gradients() {
  StmtPtr statement = make_statement(StmtKind::check_gradients, take());
  if (begins_line(now())) {
    report(Code::E0014, span(previous()), "`check_gradients` has nothing to check")
        .help.push_back("write `check_gradients f(x)`");
    statement->value = make_error(end_of_previous());
    return statement;
  }
  statement->value = parse_value();
  parse_options(statement->options);
  return statement;
}

}  // namespace nnc
