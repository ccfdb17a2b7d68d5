// Blocks and statements. A statement ends at its line's end; what failed is skipped to there and the next is read, so that every
// error of a block is found in one run.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "frontend/syntax/parser_impl.h"

namespace nnc {

using ast::ExprKind;
using ast::ExprPtr;
using ast::StmtKind;
using ast::StmtPtr;

ast::StmtPtr Parser::make_statement(StmtKind kind, const Token& first) const {
  auto statement = std::make_unique<ast::Stmt>();
  statement->kind = kind;
  statement->span = statement->keyword_span = span(first);
  return statement;
}

/// `{ ... }`; returns its depth. With open_is_missing the `{` has been reported as missing, and the block is read as if it stood
/// before this token.
int Parser::parse_block(ast::Block& block, Context context, bool open_is_missing) {
  Nesting nesting(*this);
  const Token open = now();
  if (!open_is_missing) expect(TokenKind::left_brace, "`{`");
  int outer_brackets = bracket_depth_;
  bracket_depth_ = 0;
  struct Depth {  // the surrounding block is at least as deep as this one, even if this one fails
    int& deepest;
    int outer = std::exchange(deepest, 0);
    ~Depth() { deepest = std::max(deepest, outer); }
  } depth_scope{deepest_};
  for (;;) {
    while (take_if(TokenKind::semicolon)) {
    }
    if (at(TokenKind::right_brace)) break;
    if (at(TokenKind::end)) fail_unclosed_block(open);
    if (begins_definition(at_, context == Context::test || context == Context::snippet)) {
      bool nestable = at_word("layer") || at_word("fn") || at_word("model") || at_word("optimizer");
      bool allowed =
          (context == Context::snippet || (context == Context::test && nestable)) && column(now().begin) > item_column_;
      if (!allowed && column(now().begin) <= item_column_) fail_unclosed_block(open);
      if (allowed) {
        auto statement = make_statement(StmtKind::definition, now());
        statement->keyword_span = {};
        statement->item = std::make_unique<ast::Item>();
        parse_definition(*statement->item, text(now()));
        statement->span = statement->item->span;
        block.statements.push_back(std::move(statement));
        continue;
      }
    }
    parse_statement(block, context);
  }
  const Token& close = now();
  if (!has_suspect_ && close.newline_before && column(close.begin) < indentation(open.begin)) {
    has_suspect_ = true;
    suspect_open_ = open;
    suspect_close_ = close;
  }
  take();
  bracket_depth_ = outer_brackets;
  block.span = span_from(open.begin);
  note_depth(deepest_ + 1, span(open));
  return deepest_;
}

void Parser::parse_statement(ast::Block& block, Context context) {
  size_t start = at_;
  try {
    parse_statement_inner(block, context);
  } catch (const Failure& failure) {
    bracket_depth_ = 0;
    skip_statement(failure, start);
    // What was meant as the result is unknown, not absent.
    if (at(TokenKind::right_brace) && block.results.empty() && (context == Context::body || context == Context::snippet))
      block.results.push_back(make_error(span_from(tokens_[start].begin)));
  }
}

void Parser::parse_statement_inner(ast::Block& block, Context context) {
  auto add = [&](StmtPtr statement) {
    statement->span = span_from(statement->span.begin);
    block.statements.push_back(std::move(statement));
    end_statement();
  };
  const Token& first = now();
  statement_start_ = at_;
  if (context == Context::train && !at_word("let") && !at_word("dim")) return add(parse_clause());
  if (at_word("let")) return add(parse_let());
  if (at_word("dim")) return add(parse_dim());
  if (context == Context::test) {
    if (at_word("expect")) {
      StmtPtr statement = parse_expect();
      if (statement->kind == StmtKind::expect_error) statement->keyword_span = span(first);
      return add(std::move(statement));
    }
    if (at_word("check_gradients")) return add(parse_check_gradients());
  }
  if (at_word("param")) return add(parse_stored(StmtKind::param, false, first));
  if (at_word("state")) return add(parse_stored(StmtKind::state, false, first));
  if (at_word("frozen")) return add(parse_frozen());
  if (at_word("update")) return add(parse_update());
  if (at_word("yield")) return add(parse_yield());
  if (at_word("repeat")) return add(parse_repeat());
  bool after_return = report_misplaced(context);
  if (at(TokenKind::name) && peek().kind == TokenKind::colon) return add(parse_instance(false, first));
  parse_expression_statement(block, context, after_return);
}

/// Statements of other blocks and of other languages, by the word they begin with. Returns if there is none, or
/// after a `return`, whose expression can be read: then true.
bool Parser::report_misplaced(Context context) {
  if (!at(TokenKind::name)) return false;
  std::string word(text(now()));
  const Token& next = peek();
  bool same_line = !begins_line(next);
  bool before_operand = same_line &&
                        (next.kind == TokenKind::name || next.kind == TokenKind::number || next.kind == TokenKind::string) &&
                        infix_at(next).precedence == 0 && !is_word(next, "as");
  auto misplaced = [&](std::string message, std::string help) {
    Diagnostic& d = report(Code::E0025, span(now()), std::move(message));
    if (!help.empty()) d.help.push_back(std::move(help));
  };
  if (word == "return" && (before_operand || (same_line && begins_operand(next) && next.space_before) || !same_line)) {
    misplaced("there is no `return`", context == Context::test
                                          ? "a test gives no result: write `expect ... == ...`"
                                          : "the last expression of a block is its result: leave the word out");
    take();
    if (!same_line) fail();
    return true;
  }
  if (word == "else") {
    misplaced("this `else` has no `if`", {});
    fail();
  }
  if (is_reserved(now())) return false;
  if (!before_operand) {
    if (next.kind == TokenKind::assign) {
      std::string help =
          context == Context::body
              ? fmt::format("write `let {0} = ...` for a new name, `update {0} = ...` for a new value of a state", word)
              : fmt::format("write `let {} = ...`", word);
      report(Code::E0022, span(now()), fmt::format("`{} = ...` stands without `let`", word)).help.push_back(help);
      take();
      take();
      if (!begins_line(now()) && begins_operand(now())) parse_value();
      throw Failure{0};
    }
    return false;
  }
  if (word == "for" || word == "while") {
    misplaced(fmt::format("there is no `{}`", word),
              "`repeat 4 as i { ... }` unrolls a loop, `scan t in T with h = 0 { ... }` is a recurrence along a dimension");
    fail();
  }
  if (word == "var" || word == "const" || word == "val" || word == "auto") {
    misplaced(fmt::format("there is no `{}`", word), fmt::format("write `let {} = ...`", text(next)));
    fail();
  }
  if (word == "with") {
    misplaced("`with` belongs to a `scan`", "write `scan t in T with h[B, H] = 0 { ... }`");
    fail();
  }
  if (context != Context::test && (word == "expect" || word == "check_gradients")) {
    misplaced(fmt::format("`{}` stands in a `test` block only", word), {});
    fail();
  }
  const auto& clauses = clause_words();
  if (std::find(clauses.begin(), clauses.end(), word) != clauses.end()) {
    misplaced(fmt::format("`{}` is a clause of `train`", word), "move it into the `train` block");
    fail();
  }
  if (word == "layer" || word == "fn" || word == "model" || word == "optimizer" || word == "use" || word == "data" ||
      word == "train" || word == "test") {
    misplaced(fmt::format("`{}` stands at the top of a file, not inside a definition", word), {});
    fail();
  }
  std::string near = nearest(
      word, {"let", "param", "frozen", "state", "update", "yield", "repeat", "scan", "dim", "if", "expect", "check_gradients"});
  if (!near.empty()) {
    report(Code::E0010, span(now()), fmt::format("`{}` begins no statement", word))
        .help.push_back(fmt::format("did you mean `{}`?", near));
    fail();
  }
  return false;
}

/// A statement ends before a line break, `;` or `}`.
void Parser::end_statement() {
  const Token& t = now();
  if (t.newline_before || t.kind == TokenKind::semicolon || t.kind == TokenKind::right_brace || t.kind == TokenKind::end) return;
  std::string found = describe(t);
  switch (t.kind) {
    case TokenKind::bad:
    case TokenKind::bad_rest:
      fail();
    case TokenKind::right_paren:
    case TokenKind::right_bracket:
      report(Code::E0008, span(t), fmt::format("{} closes nothing", found));
      fail();
    case TokenKind::assign:
      report(Code::E0010, span(t), "`=` cannot stand here")
          .help.push_back("equality is written `==`; a name gets a value by `let name = ...`");
      fail();
    case TokenKind::arrow:
      report(Code::E0010, span(t), "`->` cannot stand here").help.push_back("a pipeline is written `|>`");
      fail();
    default:
      break;
  }
  Diagnostic& d = report(Code::E0010, span(t), fmt::format("expected the end of the line, found {}", found));
  if (is_word(t, "as"))
    d.help.push_back("a view's dimensions stand in brackets: `as [B, T]`");
  else if (begins_statement(t))
    d.help.push_back("begin a new line, or put `;` between the statements");
  else if (begins_operand(t))
    d.help.push_back("an operator or a comma may be missing before it");
  fail();
}

/// Whether a comma is followed by the names and the `=` of a further binding. Each name is looked at once in all.
bool Parser::begins_binding() const {
  size_t i = at_;
  if (i < no_binding_before_) return false;
  while (tokens_[i].kind == TokenKind::name && !is_reserved(tokens_[i])) {
    ++i;
    if (tokens_[i].kind == TokenKind::assign) return true;
    if (tokens_[i].kind != TokenKind::comma) break;
    ++i;
  }
  no_binding_before_ = i;
  return false;
}

/// The `=` of let, dim and update; says what is missing if it is not there.
void Parser::expect_assign(const ast::Name& name, std::string_view statement) {
  if (take_if(TokenKind::assign)) return;
  if (begins_line(now()) || at(TokenKind::right_brace)) {
    report(Code::E0014, name.span, fmt::format("`{}` has no value", name.text))
        .help.push_back(fmt::format("write `{} {} = ...`", statement, name.text));
    throw Failure{0};
  }
  if (at(TokenKind::equal)) {
    report(Code::E0010, span(now()), "`==` compares").help.push_back(fmt::format("write `{} {} = ...`", statement, name.text));
    take();
    return;
  }
  if (peek().kind == TokenKind::assign && infix_at(now()).precedence != 0) {
    report(Code::E0010, {file_, now().begin, peek().end}, fmt::format("there is no operator `{}=`", text(now())))
        .help.push_back(fmt::format("write `{0} {1} = {1} {2} ...`", statement, name.text, text(now())));
    fail();
  }
  fail_expected("`=`");
}

StmtPtr Parser::parse_let() {
  StmtPtr let = make_statement(StmtKind::let, take());
  do {
    ast::Binding& binding = let->bindings.emplace_back();
    uint32_t begin = now().begin;
    do {
      binding.names.push_back(parse_name("a name"));
      if (at(TokenKind::colon) || (at(TokenKind::left_bracket) && !now().newline_before)) {
        Token sign = now();
        if (sign.kind == TokenKind::colon && peek().kind == TokenKind::assign) {
          report(Code::E0010, {file_, sign.begin, peek().end}, "there is no operator `:=`")
              .help.push_back("a name gets its value by `=`");
          take();
          continue;
        }
        if (at(TokenKind::left_bracket)) parse_dims();
        if (take_if(TokenKind::colon)) parse_type();
        Diagnostic& d = report(Code::E0015, {file_, sign.begin, previous().end},
                               sign.kind == TokenKind::colon ? "a `let` takes no type" : "a `let` takes no dimensions");
        d.help.push_back(sign.kind == TokenKind::colon
                             ? "leave it out: the value has its type already"
                             : "leave them out: the value has its dimensions already; `value as [...]` views it in others");
      }
    } while (take_if(TokenKind::comma));
    expect_assign(binding.names.back(), "let");
    binding.values.push_back(parse_value(true));
    while (at(TokenKind::comma)) {
      take();
      if (begins_binding()) break;
      binding.values.push_back(parse_value(true));
    }
    binding.span = span_from(begin);
  } while (previous().kind == TokenKind::comma && begins_binding());
  return let;
}

std::vector<ast::DimDeclaration> Parser::parse_dim_declarations() {
  std::vector<ast::DimDeclaration> dims;
  do {
    ast::DimDeclaration& dim = dims.emplace_back();
    dim.name = parse_name("a dimension's name");
    if (!dim.name.is_capitalised()) {
      std::string capital = dim.name.text;
      if (capital[0] >= 'a' && capital[0] <= 'z') capital[0] += 'A' - 'a';
      Diagnostic& d =
          report(Code::E0013, dim.name.span, fmt::format("the dimension `{}` must start with a capital", dim.name.text));
      if (capital != dim.name.text) d.help.push_back(fmt::format("write `{}`", capital));
    }
    expect_assign(dim.name, "dim");
    dim.value = parse_value(true);
    dim.span = span_from(dim.name.span.begin);
  } while (take_if(TokenKind::comma));
  return dims;
}

StmtPtr Parser::parse_dim() {
  StmtPtr statement = make_statement(StmtKind::dim, take());
  statement->dims_declared = parse_dim_declarations();
  return statement;
}

/// `param w[Out, In] : f32 ~ normal(0.02)`, `param w[Out] as "weight_l{i}" = 0`, `state m = 0`; a `frozen` before it has been read.
StmtPtr Parser::parse_stored(StmtKind kind, bool frozen, const Token& first) {
  StmtPtr statement = make_statement(kind, first);
  statement->frozen = frozen;
  statement->keyword_span = span(now());
  std::string_view keyword = text(take());
  uint32_t begin = now().begin;
  statement->name = parse_name(kind == StmtKind::param ? "the parameter's name" : "the state's name");
  if (at(TokenKind::left_bracket) && !now().newline_before) statement->dims = parse_dims();
  if (take_if(TokenKind::colon)) statement->type = parse_type();
  if (take_word("as")) statement->text = parse_text("the name under which it is stored");
  if (at(TokenKind::tilde)) {
    take();
    statement->is_drawn = true;
  } else if (!take_if(TokenKind::assign)) {
    if (!begins_line(now()) && !at(TokenKind::right_brace)) fail_expected("`~` and a distribution, or `=` and a value");
    std::string_view written = text_.substr(begin, std::min<size_t>(previous().end - begin, 60));
    report(Code::E0014, statement->name.span, fmt::format("`{}` has no first value", statement->name.text))
        .help.push_back(kind == StmtKind::param ? fmt::format("write `{0} {1} ~ normal(0.02)` or `{0} {1} = 0`", keyword, written)
                                                : fmt::format("write `{} {} = 0`", keyword, written));
    statement->value = make_error(end_of_previous());
    return statement;
  }
  statement->value = parse_value();
  return statement;
}

StmtPtr Parser::parse_frozen() {
  const Token& first = take();
  if (at_word("param")) return parse_stored(StmtKind::param, true, first);
  if (at(TokenKind::name) && peek().kind == TokenKind::colon) return parse_instance(true, first);
  fail_expected("`param` or a named layer", "write `frozen param w[Out] = 0` or `frozen fc1: Dense(64)`");
}

StmtPtr Parser::parse_instance(bool frozen, const Token& first) {
  StmtPtr statement = make_statement(StmtKind::instance, first);
  statement->keyword_span = {};
  statement->frozen = frozen;
  statement->name = parse_name("the layer's name");
  take();  // `:`
  if (at(TokenKind::assign)) {
    report(Code::E0010, {file_, previous().begin, now().end}, "there is no operator `:=`")
        .help.push_back(fmt::format("write `let {} = ...`", statement->name.text));
    fail();
  }
  if (at(TokenKind::name) && peek().kind == TokenKind::assign) {
    report(Code::E0022, statement->name.span,
           fmt::format("`{}: {} = ...` stands without `let`", statement->name.text, text(now())))
        .help.push_back(fmt::format("write `let {} = ...`; a `let` takes no type", statement->name.text));
    fail();
  }
  statement->value = parse_callee("after the instance's name");
  return statement;
}

StmtPtr Parser::parse_update() {
  StmtPtr statement = make_statement(StmtKind::update, take());
  statement->name = parse_name("the name of a state");
  expect_assign(statement->name, "update");
  statement->value = parse_value();
  return statement;
}

StmtPtr Parser::parse_yield() {
  StmtPtr statement = make_statement(StmtKind::yield, take());
  if (begins_line(now()) || at(TokenKind::right_brace)) {
    report(Code::E0014, span(previous()), "`yield` has no value").help.push_back("write `yield h`");
    statement->values.push_back(make_error(end_of_previous()));
    return statement;
  }
  do statement->values.push_back(parse_value());
  while (take_if(TokenKind::comma));
  return statement;
}

StmtPtr Parser::parse_repeat() {
  StmtPtr statement = make_statement(StmtKind::repeat, take());
  if (at(TokenKind::left_brace)) fail_expected("the number of rounds", "write `repeat 4 { ... }`");
  statement->value = parse_binary(1);
  if (take_word("as")) statement->name = parse_name("a name for the number of the round");
  statement->body = std::make_unique<ast::Block>();
  parse_block(*statement->body, Context::body);
  for (const ExprPtr& value : statement->body->results)
    if (value->kind != ExprKind::error && !has_suspect_)  // the end of the body is not in doubt
      report(Code::E0024, value->span, "this value is not used")
          .help.push_back("a `repeat` gives no value: keep one with `update`, in a name that `let` made before it");
  return statement;
}

/// Expressions at the end of a block are its results; elsewhere only an `if` that gives no value may stand alone.
void Parser::parse_expression_statement(ast::Block& block, Context context, bool after_return) {
  const Token& first = now();
  if (first.newline_before && infix_at(first).precedence != 0 && !first.space_after && first.kind != TokenKind::minus &&
      at_ > 0 && previous().kind != TokenKind::left_brace) {
    report(Code::E0026, span(first),
           fmt::format("a line that begins with `{}` needs a space after it to continue the one before", text(first)))
        .help.push_back(fmt::format("write `{} ...`", text(first)));
    fail();
  }
  if (first.kind == TokenKind::slash_slash || (first.kind == TokenKind::slash && peek().kind == TokenKind::star)) {
    report(Code::E0010, span(first), fmt::format("{} begins no statement", describe(first)))
        .help.push_back("comments begin with `#`");
    throw Failure{0};
  }
  if (first.kind == TokenKind::right_paren || first.kind == TokenKind::right_bracket)
    end_of_previous(), report(Code::E0008, span(first), fmt::format("{} closes nothing", describe(first))), fail();
  if (context == Context::test) {
    if (!begins_operand(first)) fail_expected("`expect`, `check_gradients` or `let`");
    if (!after_return)
      report(Code::E0025, span(first), "an expression alone states nothing").help.push_back("write `expect ... == ...`");
    fail();
  }
  if (is_reserved(first) && !at_word("if") && !at_word("scan") && !at_word("not")) fail_expected("a statement");
  if (at(TokenKind::left_brace)) fail_expected("a statement", "a block stands after `if`, `else`, `repeat` or `scan` only");
  std::vector<ExprPtr> values;
  do values.push_back(parse_expression());
  while (take_if(TokenKind::comma));
  end_statement();
  while (take_if(TokenKind::semicolon)) {
  }

  bool is_statement = values.size() == 1 && values[0]->kind == ExprKind::if_ &&
                      std::all_of(values[0]->branches.begin(), values[0]->branches.end(),
                                  [](const ast::Branch& b) { return b.body.results.empty(); });
  if (at(TokenKind::right_brace) && !is_statement) {
    block.results = std::move(values);
    return;
  }
  for (ExprPtr& value : values) {
    auto statement = std::make_unique<ast::Stmt>();
    statement->kind = is_statement ? StmtKind::if_ : StmtKind::expression;
    statement->span = value->span;
    if (!is_statement && !after_return && value->kind != ExprKind::error && !at(TokenKind::end) && !begins_definition(at_)) {
      Diagnostic& d = report(Code::E0024, value->span, "this value is not used");
      const Token& next = now();
      if (next.kind == TokenKind::left_paren || next.kind == TokenKind::left_bracket || next.kind == TokenKind::minus)
        d.labels.push_back(
            {span(next), next.kind == TokenKind::minus
                             ? "this begins a statement of its own: to continue the line, put a space after `-`"
                             : fmt::format("a line that begins with `{}` does not continue the one before", text(next))});
      else
        d.help.push_back("give it a name with `let`, or remove it; the result is the last expression of the block");
    }
    statement->value = std::move(value);
    block.statements.push_back(std::move(statement));
  }
}

}  // namespace nnc
