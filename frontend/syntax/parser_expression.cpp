// Expressions by precedence climbing (Richards, "The MCPL programming manual", and Norvell, "Parsing expressions by recursive
// descent": one loop for all binary operators). From loosest to tightest:
//   |>    or    and    not    == != < <= > >=    ..    + -    * / // %    unary -    ^    call, selection, as
// Two guards keep trees safe to walk: Nesting bounds the parser's own recursion, finish() bounds the depth of chains such as
// a + b + c + ..., which are read by a loop but become a deep tree.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "frontend/syntax/parser_impl.h"

namespace nnc {
namespace {

using ast::BinaryOp;
using ast::ExprKind;
using ast::ExprPtr;

enum Precedence : int {
  lowest = 1,
  or_level = 1,
  and_level,
  not_level,
  comparison,
  range,
  additive,
  multiplicative,
  negation,
  power
};

}  // namespace

ExprPtr Parser::make(ExprKind kind, Span where) const {
  auto expr = std::make_unique<ast::Expr>();
  expr->kind = kind;
  expr->span = where;
  return expr;
}

void Parser::note_depth(int depth, Span where) {
  if (depth > ast::max_tree_depth) {
    if (!depth_reported_)  // the blocks around it are too deep for the same reason
      report(Code::E0009, where, fmt::format("this is more than {} operations deep", ast::max_tree_depth))
          .help.push_back("give parts of it names with `let`");
    depth_reported_ = true;
    fail();
  }
  deepest_ = std::max(deepest_, depth);
}

/// Sets the depth of a node from its children and checks it.
ExprPtr Parser::finish(ExprPtr expr, int block_depth) {
  int below = block_depth;
  auto look = [&](const ExprPtr& child) {
    if (child) below = std::max<int>(below, child->depth);
  };
  for (const ExprPtr& child : expr->operands) look(child);
  for (const ast::Argument& a : expr->arguments) look(a.value);
  for (const ast::Selector& s : expr->selectors) look(s.dim), look(s.value);
  for (const ast::Stage& s : expr->stages) look(s.callee);
  for (const ExprPtr& child : expr->dims.entries) look(child);
  for (const ast::Branch& b : expr->branches) look(b.condition);
  for (const ast::Carried& c : expr->carried) look(c.first);
  expr->depth = static_cast<uint16_t>(std::min(below + 1, 0xFFFF));
  note_depth(below + 1, expr->op_span.valid() ? expr->op_span : expr->span);
  return expr;
}

bool Parser::begins_operand(const Token& t) const {
  switch (t.kind) {
    case TokenKind::number:
    case TokenKind::string:
    case TokenKind::left_paren:
    case TokenKind::left_bracket:
    case TokenKind::minus:
      return true;
    case TokenKind::name:
      return !is_reserved(t) || is_word(t, "not") || is_word(t, "if") || is_word(t, "scan");
    default:
      return false;
  }
}

/// A line continues when the next begins with `|>`, or with a binary operator followed by a space; inside brackets, always.
bool Parser::continues(const Token& t) const {
  return !t.newline_before || bracket_depth_ > 0 || t.kind == TokenKind::pipe || t.space_after;
}

Parser::Infix Parser::infix_at(const Token& t) const {
  switch (t.kind) {
    case TokenKind::plus:
      return {BinaryOp::add, additive};
    case TokenKind::minus:
      return {BinaryOp::subtract, additive};
    case TokenKind::star:
      return {BinaryOp::multiply, multiplicative};
    case TokenKind::slash:
      return {BinaryOp::divide, multiplicative};
    case TokenKind::slash_slash:
      return {BinaryOp::floor_divide, multiplicative};
    case TokenKind::percent:
      return {BinaryOp::remainder, multiplicative};
    case TokenKind::caret:
      return {BinaryOp::power, power};
    case TokenKind::equal:
      return {BinaryOp::equal, comparison};
    case TokenKind::not_equal:
      return {BinaryOp::not_equal, comparison};
    case TokenKind::less:
      return {BinaryOp::less, comparison};
    case TokenKind::less_equal:
      return {BinaryOp::less_equal, comparison};
    case TokenKind::greater:
      return {BinaryOp::greater, comparison};
    case TokenKind::greater_equal:
      return {BinaryOp::greater_equal, comparison};
    case TokenKind::dots:
      return {{}, range, true};
    case TokenKind::name:
      if (text(t) == "and") return {BinaryOp::and_, and_level};
      if (text(t) == "or") return {BinaryOp::or_, or_level};
      return {};
    default:
      return {};
  }
}

/// A whole expression: a pipeline, whose stages are one flat node.
ExprPtr Parser::parse_expression() {
  uint32_t begin = now().begin;
  ExprPtr value = parse_binary(lowest);
  if (!at(TokenKind::pipe)) return value;
  ExprPtr pipe = make(ExprKind::pipe, value->span);
  pipe->op_span = span(now());
  pipe->operands.push_back(std::move(value));
  while (at(TokenKind::pipe)) {
    take();
    pipe->stages.push_back(parse_stage());
  }
  pipe->span = span_from(begin);
  return finish(std::move(pipe));
}

/// An expression that becomes `error` if it cannot be read, so that what it would give a name to keeps its name.
ExprPtr Parser::parse_value(bool stop_at_binding) {
  size_t start = at_;
  int brackets = bracket_depth_;
  try {
    return parse_expression();
  } catch (const Failure& failure) {
    bracket_depth_ = brackets;
    skip_value({failure.open_brackets - brackets}, stop_at_binding);
    return make_error(span_from(tokens_[start].begin));
  }
}

ExprPtr Parser::parse_binary(int precedence) {
  uint32_t begin = now().begin;
  ExprPtr left = parse_prefix(precedence);
  for (;;) {
    const Token& sign = now();
    Infix infix = infix_at(sign);
    if (infix.precedence < precedence || infix.precedence == 0 || !continues(sign)) return left;
    take();
    ExprPtr right;
    if (infix.is_range) {
      if (!begins_operand(now()) || begins_line(now())) {
        report(Code::E0021, span(sign), "this range has no end")
            .help.push_back("the end of a dimension T is T itself: `x[T: 8..T]`");
        right = make_error(end_of_previous());
      } else {
        right = parse_binary(infix.precedence + 1);
      }
    } else if (infix.op == BinaryOp::power) {
      right = parse_power_operand();
    } else {
      if (at(TokenKind::star) && sign.kind == TokenKind::star && !now().space_before) {
        report(Code::E0010, {file_, sign.begin, now().end}, "there is no operator `**`").help.push_back("a power is written `^`");
        fail();
      }
      if (at(TokenKind::assign) && !now().space_before) {
        std::string written(text(sign));
        report(Code::E0010, {file_, sign.begin, now().end}, fmt::format("there is no operator `{}=`", written))
            .help.push_back(fmt::format("write `update x = x {} ...`", written));
        fail();
      }
      right = parse_binary(infix.precedence + 1);
    }
    ExprPtr expr = make(infix.is_range ? ExprKind::range : ExprKind::binary, span_from(begin));
    expr->binary_op = infix.op;
    expr->op_span = span(sign);
    expr->operands.push_back(std::move(left));
    expr->operands.push_back(std::move(right));
    left = finish(std::move(expr));
    if (infix.precedence == comparison && infix_at(now()).precedence == comparison && continues(now())) {
      report(Code::E0018, span(now()), "comparisons do not chain").help.push_back("write `a < b and b < c`");
      fail();
    }
    if (infix.is_range && infix_at(now()).is_range) {
      report(Code::E0010, span(now()), "a range has two bounds, and no step");
      fail();
    }
  }
}

/// The right operand of `^`, which is right-associative and takes a sign: 2^-3^2 is 2^(-(3^2)).
ExprPtr Parser::parse_power_operand() {
  Nesting nesting(*this);
  return parse_binary(at(TokenKind::minus) ? negation : power);
}

ExprPtr Parser::parse_prefix(int precedence) {
  const Token& sign = now();
  bool negate = sign.kind == TokenKind::minus, invert = at_word("not");
  if (!negate && !invert) return parse_postfix();
  if (invert && precedence > not_level) {
    report(Code::E0010, span(sign), "`not` binds looser than the operator before it")
        .help.push_back("put `not ...` in parentheses");
    fail();
  }
  Nesting nesting(*this);
  take();
  ExprPtr operand = parse_binary(negate ? power : at_word("not") ? not_level : comparison);
  ExprPtr expr = make(ExprKind::unary, span_from(sign.begin));
  expr->unary_op = negate ? ast::UnaryOp::negate : ast::UnaryOp::not_;
  expr->op_span = span(sign);
  expr->operands.push_back(std::move(operand));
  return finish(std::move(expr));
}

ExprPtr Parser::parse_postfix() {
  uint32_t begin = now().begin;
  ExprPtr value = parse_primary();
  for (;;) {
    const Token& t = now();
    if (t.kind == TokenKind::left_paren && !t.newline_before)
      value = parse_call(std::move(value), begin);
    else if (t.kind == TokenKind::left_bracket && !t.newline_before)
      value = parse_select(std::move(value), begin);
    else if (is_word(t, "as") && peek().kind == TokenKind::left_bracket && continues(t))
      value = parse_view(std::move(value), begin);
    else
      return value;
  }
}

ExprPtr Parser::parse_primary() {
  const Token& t = now();
  switch (t.kind) {
    case TokenKind::number:
      return parse_number();
    case TokenKind::string: {
      ExprPtr expr = make(ExprKind::string, span(t));
      expr->text = string_value(text(t));
      take();
      return finish(std::move(expr));
    }
    case TokenKind::left_paren:
      return parse_parenthesised();
    case TokenKind::left_bracket:
      return parse_array();
    case TokenKind::name:
      break;
    case TokenKind::ellipsis: {
      auto is_one_of = [](TokenKind kind, std::initializer_list<TokenKind> kinds) { return std::find(kinds.begin(), kinds.end(), kind) != kinds.end(); };
      const bool is_alone = at_ > 0 && is_one_of(tokens_[at_ - 1].kind, {TokenKind::colon, TokenKind::left_paren, TokenKind::comma}) &&
                            is_one_of(peek().kind, {TokenKind::comma, TokenKind::right_paren});
      if (!takes_ellipsis_ || !is_alone) fail_expected("an expression", "`...` stands in lists of dimensions, and in `over: (B, ...)`");
      ExprPtr expr = make(ExprKind::ellipsis, span(t));
      take();
      return finish(std::move(expr));
    }
    case TokenKind::dots:
      report(Code::E0021, span(t), "this range has no beginning").help.push_back("the first position is 0: `0..16`");
      fail();
    case TokenKind::plus:
      fail_expected("an expression", "there is no sign `+`: write `x`, not `+x`");
    case TokenKind::slash_slash:
      fail_expected("an expression", "comments begin with `#`");
    default:
      fail_expected("an expression");
  }
  if (at_word("if")) return parse_if();
  if (at_word("scan")) return parse_scan();
  if (text(t) == "_") {
    report(Code::E0010, span(t), "`_` has no value")
        .help.push_back("`_` stands for a size to work out, in a result's dimensions alone");
    fail();
  }
  if (is_reserved(t)) fail_expected("an expression");
  if (is_word(t, "lambda")) {
    report(Code::E0025, span(t), "there are no functions without a name")
        .help.push_back("define one: `fn f(x[...]) -> [...] { ... }`");
    fail();
  }
  ExprPtr expr = make(ExprKind::name, span(t));
  expr->text = text(t);
  take();
  return finish(std::move(expr));
}

ExprPtr Parser::parse_number() {
  const Token& t = take();
  NumberValue value = number_value(text(t));
  ExprPtr expr = make(ExprKind::number, span(t));
  expr->number = value.number;
  expr->is_integer = value.is_integer;
  expr->integer = value.integer;
  // `20%` is a share where no operand follows the sign; otherwise `%` is the remainder.
  if (at(TokenKind::percent) && !now().space_before && (!begins_operand(peek()) || begins_line(peek()))) {
    take();
    expr->kind = ExprKind::percent;
    expr->span = span_from(t.begin);
  }
  return finish(std::move(expr));
}

/// Parentheses group and leave no node, or make a tuple.
ExprPtr Parser::parse_parenthesised() {
  Nesting nesting(*this);
  uint32_t begin = now().begin;
  ExprPtr tuple = make(ExprKind::tuple, span(now()));
  if (peek().kind == TokenKind::right_paren) {
    report(Code::E0010, {file_, begin, peek().end}, "there is nothing between these parentheses");
    fail();
  }
  parse_bracketed(TokenKind::left_paren, TokenKind::right_paren, [&] { tuple->operands.push_back(parse_expression()); });
  if (tuple->operands.size() == 1) return std::move(tuple->operands[0]);
  tuple->span = span_from(begin);
  return finish(std::move(tuple));
}

ExprPtr Parser::parse_array() {
  Nesting nesting(*this);
  uint32_t begin = now().begin;
  ExprPtr array = make(ExprKind::array, span(now()));
  parse_bracketed(TokenKind::left_bracket, TokenKind::right_bracket, [&] { array->operands.push_back(parse_expression()); });
  array->span = span_from(begin);
  return finish(std::move(array));
}

ast::Argument Parser::parse_argument() {
  ast::Argument argument;
  uint32_t begin = now().begin;
  if (at(TokenKind::name) && peek().kind == TokenKind::colon) {
    argument.name = name_of(take());
    take();
  } else if (at(TokenKind::name) && peek().kind == TokenKind::assign) {
    const Token &value = peek(2), &next = peek(3);
    bool is_short = (value.kind == TokenKind::name || value.kind == TokenKind::number || value.kind == TokenKind::string) &&
                    (next.kind == TokenKind::comma || next.kind == TokenKind::right_paren);
    report(Code::E0010, span(peek()), "a named argument is given with `:`, not `=`")
        .help.push_back(fmt::format("write `{}: {}`", text(now()), is_short ? text(value) : "..."));
    argument.name = name_of(take());
    take();
  }
  const bool outside = std::exchange(takes_ellipsis_, argument.name && argument.name->text == "over");
  argument.value = parse_expression();
  takes_ellipsis_ = outside;
  argument.span = span_from(begin);
  return argument;
}

ExprPtr Parser::parse_call(ExprPtr callee, uint32_t begin) {
  Nesting nesting(*this);
  ExprPtr call = make(ExprKind::call, callee->span);
  call->operands.push_back(std::move(callee));
  parse_bracketed(TokenKind::left_paren, TokenKind::right_paren, [&] { call->arguments.push_back(parse_argument()); });
  call->span = span_from(begin);
  return finish(std::move(call));
}

/// `x[T: t, D: 0..8]`. Positional forms of other languages (`x[0]`, `x[:, 1]`, `x[0:3]`) get one message each.
ExprPtr Parser::parse_select(ExprPtr value, uint32_t begin) {
  Nesting nesting(*this);
  std::string selected(value->kind == ExprKind::name ? value->text : "x");
  ExprPtr select = make(ExprKind::select, value->span);
  select->operands.push_back(std::move(value));
  auto positional = [&](Span where) {
    report(Code::E0016, where, "this does not say in which dimension to select")
        .help.push_back(fmt::format("write the dimension's name: `{}[T: 0]` for one position, `{}[T: 0..3]` for a slice",
                                    selected, selected));
    fail();
  };
  const Token& open = now();
  if (peek().kind == TokenKind::right_bracket) positional({file_, open.begin, peek().end});
  parse_bracketed(TokenKind::left_bracket, TokenKind::right_bracket, [&] {
    ast::Selector selector;
    const Token& first = now();
    if (first.kind == TokenKind::colon || first.kind == TokenKind::ellipsis) positional(span(first));
    selector.dim = parse_binary(range);
    const bool outside = selector.dim->kind == ExprKind::name && selector.dim->text == "outside" && at(TokenKind::colon);
    if (selector.dim->kind == ExprKind::number || selector.dim->kind == ExprKind::range) positional(selector.dim->span);
    if (!at(TokenKind::colon)) {
      if (at(TokenKind::comma) || at(TokenKind::right_bracket)) positional(selector.dim->span);
      fail_expected("`:` and what to select");
    }
    take();
    selector.value = parse_expression();
    selector.span = span_from(first.begin);
    if (outside) {
      auto is_outside = [](const ast::Selector& s) { return !s.dim; };
      if (std::any_of(select->selectors.begin(), select->selectors.end(), is_outside))
        report(Code::E0016, selector.span, "what stands outside is said twice").help.push_back("a selection has one `outside`, for all of its windows");
      selector.dim = nullptr;
    }
    select->selectors.push_back(std::move(selector));
  });
  select->span = span_from(begin);
  return finish(std::move(select));
}

ExprPtr Parser::parse_view(ExprPtr value, uint32_t begin) {
  ExprPtr view = make(ExprKind::view, value->span);
  view->op_span = span(take());
  view->operands.push_back(std::move(value));
  view->dims = parse_dims();
  view->span = span_from(begin);
  return finish(std::move(view));
}

/// What stands after `|>` or `name:`: a name and its argument lists.
ExprPtr Parser::parse_callee(std::string_view after) {
  if (now().kind == TokenKind::bad || now().kind == TokenKind::bad_rest) fail();
  if (!is_plain_name(now()) || text(now()) == "_" || (at_word("lambda") && peek().kind != TokenKind::left_paren)) {
    bool missing = now().kind == TokenKind::end || is_reserved(now()) || at(TokenKind::right_brace) || at(TokenKind::pipe);
    report(Code::E0017, missing && begins_line(now()) ? end_of_previous() : span(now()),
           fmt::format("{} stands a layer or function to call, not {}", after,
                       missing && begins_line(now()) && !at(TokenKind::end) ? "the end of the line" : describe(now())))
        .help.push_back("write its name, with arguments if it takes any: `relu`, `Dense(64)`");
    fail();
  }
  uint32_t begin = now().begin;
  ExprPtr callee = make(ExprKind::name, span(now()));
  callee->text = text(take());
  callee = finish(std::move(callee));
  while (at(TokenKind::left_paren) && !now().newline_before) callee = parse_call(std::move(callee), begin);
  return callee;
}

ast::Stage Parser::parse_stage() {
  ast::Stage stage;
  uint32_t begin = now().begin;
  stage.frozen = at_word("frozen") && peek().kind == TokenKind::name;
  if (stage.frozen) take();
  if (at(TokenKind::name) && peek().kind == TokenKind::colon) {
    stage.instance = parse_name("a name for the layer");
    take();
  } else if (stage.frozen) {
    take();
    fail_expected("`:` and a layer", "`frozen` needs the instance's name: `frozen fc1: Dense(64)`");
  }
  stage.callee = parse_callee(stage.instance ? "after the instance's name" : "after `|>`");
  stage.span = span_from(begin);

  // `|>` binds loosest: an operator here would apply to the layer, not to the pipeline's result.
  const Token& t = now();
  bool view = is_word(t, "as") && peek().kind == TokenKind::left_bracket;
  bool select = t.kind == TokenKind::left_bracket && !t.newline_before;
  if ((infix_at(t).precedence != 0 || view || select) && (continues(t) || select)) {
    std::string sign = select ? "[...]" : view ? "as" : std::string(text(t));
    std::string rest = select ? "[...]" : view ? " as [...]" : fmt::format(" {} ...", sign);
    report(Code::E0017, span(t), fmt::format("`{}` cannot follow a stage of a pipeline, since `|>` binds loosest", sign))
        .help.push_back(fmt::format("put the pipeline in parentheses: `(... |> {}){}`",
                                    text_.substr(begin, std::min<size_t>(stage.span.end - begin, 60)), rest));
    fail();
  }
  return stage;
}

ExprPtr Parser::parse_if() {
  Nesting nesting(*this);
  ExprPtr expr = make(ExprKind::if_, span(now()));
  uint32_t begin = now().begin;
  int block_depth = 0;
  auto parse_branch = [&](bool has_condition) {
    ast::Branch& branch = expr->branches.emplace_back();
    const Token& first = take();  // `if` or `else`
    if (has_condition) {
      if (is_word(first, "else")) take();  // the `if` of `else if`
      branch.condition = parse_expression();
      if (at(TokenKind::assign)) {
        report(Code::E0023, span(now()), "`=` gives a name a value, it does not compare")
            .help.push_back("equality is written `==`");
        take();
        parse_expression();
      }
    }
    block_depth = std::max(block_depth, parse_block(branch.body, Context::body));
    branch.span = span_from(first.begin);
  };
  parse_branch(true);
  while (at_word("else")) {
    bool has_condition = is_word(peek(), "if");
    parse_branch(has_condition);
    if (!has_condition) break;
  }
  if (at_word("elif") || at_word("elsif") || at_word("elseif")) {
    report(Code::E0010, span(now()), fmt::format("there is no `{}`", text(now()))).help.push_back("write `else if`");
    fail();
  }
  expr->span = span_from(begin);
  return finish(std::move(expr), block_depth);
}

ExprPtr Parser::parse_scan() {
  Nesting nesting(*this);
  uint32_t begin = take().begin;
  ExprPtr scan = make(ExprKind::scan, span_from(begin));
  scan->variable = parse_name("a name for the position");
  if (!take_word("in")) fail_expected("`in` and a dimension", "write `scan t in T with h[B, H] = 0 { ... }`");
  scan->is_reverse = take_word("reverse");
  scan->operands.push_back(parse_binary(additive));
  if (at(TokenKind::dots)) fail_expected("the dimension alone", "a scan takes all steps of a dimension, `scan t in T`; for fewer, give them a name: `dim S = T - 1`");
  if (take_word("with")) {
    do {
      ast::Carried& carried = scan->carried.emplace_back();
      uint32_t carried_begin = now().begin;
      carried.name = parse_name("the name of a carried value");
      if (at(TokenKind::left_bracket)) carried.dims = parse_dims();
      if (take_if(TokenKind::colon)) carried.type = parse_type();
      if (!at(TokenKind::assign)) {
        report(Code::E0014, carried.name.span, fmt::format("the carried value `{}` has no first value", carried.name.text))
            .help.push_back(
                fmt::format("write `{} = 0`",
                            text_.substr(carried_begin, std::min<size_t>(span_from(carried_begin).end - carried_begin, 60))));
        fail();
      }
      take();
      carried.first = parse_binary(lowest);
      carried.span = span_from(carried_begin);
    } while (take_if(TokenKind::comma));
  }
  scan->body = std::make_unique<ast::Block>();
  int block_depth = parse_block(*scan->body, Context::body);
  scan->span = span_from(begin);
  return finish(std::move(scan), block_depth);
}

}  // namespace nnc
