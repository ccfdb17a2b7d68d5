// Definitions. One that cannot be read in part still gives the rest: its name, its body, its other lines. What begins no
// definition gets one message, with the keyword that may have been meant, and reading goes on at the next definition.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "frontend/syntax/parser_impl.h"

namespace nnc {

using ast::ExprKind;
using ast::ExprPtr;

namespace {

constexpr std::string_view definition_words[] = {"use", "dim", "data", "layer", "fn", "model", "optimizer", "train", "test"};

}  // namespace

bool Parser::is_definition_word(std::string_view word) {
  return std::find(std::begin(definition_words), std::end(definition_words), word) != std::end(definition_words);
}

void Parser::parse_item() {
  while (take_if(TokenKind::semicolon)) {
  }
  if (at(TokenKind::end)) return;
  const Token& first = now();
  std::string_view word = text(first);
  if (first.kind != TokenKind::name || !is_definition_word(word)) return parse_stray();
  ast::Item item;
  parse_definition(item, word);
  result_->items.push_back(std::move(item));
}

/// A definition, read as if it began with the keyword given. Never fails: what could be read is in the item.
void Parser::parse_definition(ast::Item& item, std::string_view keyword) {
  size_t start = at_, trouble = trouble_;
  uint32_t outer_column = item_column_;
  bool is_top = nesting_ == 0;
  item_column_ = std::min(column(now().begin), indentation(now().begin));
  if (is_top) has_suspect_ = depth_reported_ = false;
  struct Restore {
    Parser& parser;
    uint32_t column;
    ~Restore() { parser.item_column_ = column; }
  } restore{*this, outer_column};
  try {
    if (keyword == "use") parse_use(item);
    if (keyword == "dim") {
      ast::DimList& list = item.node.emplace<ast::DimList>();
      take();
      list.dims = parse_dim_declarations();
      list.span = span_from(tokens_[start].begin);
      end_statement();
    }
    if (keyword == "data") parse_data(item);
    if (keyword == "layer") parse_callable(item, ast::CallableKind::layer);
    if (keyword == "fn") parse_callable(item, ast::CallableKind::fn);
    if (keyword == "model") parse_callable(item, ast::CallableKind::model);
    if (keyword == "optimizer") parse_callable(item, ast::CallableKind::optimizer);
    if (keyword == "train") parse_train(item);
    if (keyword == "test") parse_test(item);
  } catch (const Failure& failure) {
    bracket_depth_ = 0;
    if (is_top) nesting_ = 0;
    skip_statement(failure, start);
    if (at_ == start) take();
    if (is_top) {
      // The rest of a definition that could not be read belongs to it, up to its `}` or the next definition.
      while (!at(TokenKind::end) && !begins_definition(at_)) take();
    }
  } catch (const UnclosedBlock&) {
    if (!is_top) throw;
    ++trouble_;  // whatever a snippet it came from has kept to itself
    bracket_depth_ = nesting_ = 0;
    sink_ = &diagnostics_;
  }
  item.has_errors = trouble_ != trouble;
  item.span = span_from(tokens_[start].begin);
}

/// Something at the top of the file that begins no definition: a misspelt keyword, or text that belongs elsewhere. One message,
/// then on to the next definition.
void Parser::parse_stray() {
  const Token& first = now();
  std::string word(text(first));
  bool closed_early = !result_->items.empty();  // it may belong to the definition before, which a `}` too many ended
  if (first.kind == TokenKind::bad || first.kind == TokenKind::bad_rest) {
    ++trouble_;
  } else if (first.kind == TokenKind::right_brace || first.kind == TokenKind::right_paren ||
             first.kind == TokenKind::right_bracket) {
    report(Code::E0008, span(first), fmt::format("{} closes nothing", describe(first)));
  } else if (first.kind == TokenKind::name) {
    const Token& next = peek();
    bool head = next.kind == TokenKind::name || next.kind == TokenKind::string || next.kind == TokenKind::left_brace;
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> foreign = {{{"def", "fn"},
                                                                                               {"func", "fn"},
                                                                                               {"function", "fn"},
                                                                                               {"import", "use"},
                                                                                               {"include", "use"},
                                                                                               {"from", "use"},
                                                                                               {"network", "model"},
                                                                                               {"net", "model"},
                                                                                               {"optimiser", "optimizer"},
                                                                                               {"dataset", "data"},
                                                                                               {"class", "layer"}}};
    std::string meant;
    for (auto [from, to] : foreign)
      if (word == from) meant = to;
    if (meant.empty() && head) meant = nearest(word, {std::begin(definition_words), std::end(definition_words)});
    if (head && !meant.empty()) {
      report(Code::E0011, span(first), fmt::format("`{}` begins no definition", word))
          .help.push_back(fmt::format("did you mean `{}`?", meant));
      bool fits = meant == "use"     ? next.kind == TokenKind::string
                  : meant == "test"  ? next.kind == TokenKind::string
                  : meant == "train" ? next.kind == TokenKind::left_brace
                                     : next.kind == TokenKind::name;
      if (fits) {
        ast::Item item;
        parse_definition(item, meant);
        item.has_errors = true;
        result_->items.push_back(std::move(item));
        return;
      }
      closed_early = false;
    } else if (begins_statement(first) || word == "if" || word == "scan" || next.kind == TokenKind::assign) {
      Diagnostic& d = report(Code::E0011, span(first), fmt::format("`{}` stands outside of every definition", word));
      d.help.push_back(word == "let" || next.kind == TokenKind::assign
                           ? "a size is given a name by `dim N = 64`; other values belong inside a definition"
                           : "move it into a layer, a model or an optimizer");
    } else if (std::find(clause_words().begin(), clause_words().end(), word) != clause_words().end() || word == "expect" ||
               word == "check_gradients") {
      report(Code::E0011, span(first), fmt::format("`{}` stands outside of every definition", word))
          .help.push_back(fmt::format("it belongs in a `{}` block", word[0] == 'e' && word != "epochs" ? "test"
                                                                    : word[0] == 'c'                   ? "test"
                                                                                                       : "train"));
    } else {
      report(Code::E0011, span(first), fmt::format("expected a definition, found `{}`", word.substr(0, 60)))
          .help.push_back("a definition begins with use, dim, data, layer, fn, model, optimizer, train or test");
    }
  } else {
    Diagnostic& d = report(Code::E0011, span(first), fmt::format("expected a definition, found {}", describe(first)));
    if (first.kind == TokenKind::slash_slash || first.kind == TokenKind::slash)
      d.help.push_back("comments begin with `#`");
    else
      d.help.push_back("a definition begins with use, dim, data, layer, fn, model, optimizer, train or test");
  }
  if (closed_early) result_->items.back().has_errors = true;
  item_column_ = UINT32_MAX;
  take();
  while (!at(TokenKind::end) && !begins_definition(at_)) take();
}

void Parser::parse_use(ast::Item& item) {
  ast::Use& use = item.node.emplace<ast::Use>();
  uint32_t begin = take().begin;
  use.path = parse_text("the file's name");
  if (at(TokenKind::left_brace)) {
    use.has_names = true;
    parse_bracketed(TokenKind::left_brace, TokenKind::right_brace, [&] { use.names.push_back(parse_name("a name to use")); });
  }
  use.span = span_from(begin);
  end_statement();
}

void Parser::parse_data(ast::Item& item) {
  ast::Data& data = item.node.emplace<ast::Data>();
  uint32_t begin = take().begin;
  data.name = parse_name("the data block's name");
  const Token open = expect(TokenKind::left_brace, "`{`");
  for (;;) {
    while (take_if(TokenKind::semicolon)) {
    }
    if (at(TokenKind::right_brace)) break;
    if (at(TokenKind::end) || (begins_definition(at_) && column(now().begin) <= item_column_)) {
      data.span = span_from(begin);
      fail_unclosed_block(open);
    }
    size_t start = at_;
    try {
      const Token& next = peek();
      bool word = at_word("test") || at_word("valid");
      bool field = next.kind == TokenKind::left_bracket || next.kind == TokenKind::colon || next.kind == TokenKind::comma ||
                   next.kind == TokenKind::assign;
      bool unknown_split =
          at(TokenKind::name) && !field && (next.kind == TokenKind::number || is_word(next, "last") || is_word(next, "from"));
      if ((word && !field) || unknown_split)
        parse_split(data);
      else
        parse_field(data);
      end_statement();
    } catch (const Failure& failure) {
      bracket_depth_ = 0;
      skip_statement(failure, start);
    }
  }
  take();
  data.span = span_from(begin);
}

void Parser::parse_field(ast::Data& data) {
  ast::Field field;
  uint32_t begin = now().begin;
  do {
    ast::FieldName name;
    if (!is_plain_name(now())) {
      if (is_reserved(now()) || at(TokenKind::bad) || at(TokenKind::bad_rest)) {
        if (!is_reserved(now())) fail();
        parse_name("a field's name");
        fail();
      }
      report(Code::E0020, span(now()), fmt::format("expected a field or a split, found {}", describe(now())))
          .help.push_back("a field is written `image[784] : u8 = idx(\"f.gz\")`, a split `test 20%`");
      fail();
    }
    name.name = name_of(take());
    if (at(TokenKind::left_bracket) && !now().newline_before) name.dims = parse_dims();
    name.span = span_from(name.name.span.begin);
    field.names.push_back(std::move(name));
  } while (take_if(TokenKind::comma));
  if (take_if(TokenKind::colon)) field.type = parse_type();
  if (!take_if(TokenKind::assign)) {
    const ast::Name& name = field.names[0].name;
    if (!begins_line(now()) && !at(TokenKind::right_brace))
      fail_expected("`=` and a source", "a field is written `image[784] : u8 = idx(\"f.gz\")`");
    report(Code::E0014, name.span, fmt::format("the field `{}` has no source", name.text))
        .help.push_back(fmt::format("write `{} = csv(\"FILE.csv\")`, or idx, npy, npz, safetensors, text",
                                    text_.substr(begin, std::min<size_t>(previous().end - begin, 60))));
    field.source = make_error(end_of_previous());
  } else {
    field.source = parse_value();
  }
  field.span = span_from(begin);
  data.fields.push_back(std::move(field));
}

void Parser::parse_split(ast::Data& data) {
  ast::Split split;
  uint32_t begin = now().begin;
  split.word = name_of(take());
  std::string word = split.word.text;
  if (word != "test" && word != "valid") {
    std::string meant = nearest(word, {"test", "valid"});
    if (word == "validation" || word == "val") meant = "valid";
    report(Code::E0020, split.word.span, fmt::format("`{}` is neither a field nor a split", word))
        .help.push_back(meant.empty() ? "splits are `test 20%` and `valid 10%`; the rest of the rows trains"
                                      : fmt::format("did you mean `{}`?", meant));
    fail();
  }
  if (at_word("from") && !now().newline_before) {
    take();
    split.kind = ast::Split::Kind::from;
    split.other = parse_name("the name of a data block");
  } else {
    if (at_word("last") && !now().newline_before) {
      take();
      split.kind = ast::Split::Kind::last;
    }
    split.share = parse_share(split.kind == ast::Split::Kind::last ? word + " last" : word);
  }
  split.span = span_from(begin);
  data.splits.push_back(std::move(split));
}

/// `20%`; other ways to say how much are reported with their equivalent.
ExprPtr Parser::parse_share(std::string_view clause) {
  if (at(TokenKind::bad) || at(TokenKind::bad_rest)) fail();
  if (!at(TokenKind::number) || now().newline_before) {
    report(Code::E0020, begins_line(now()) ? end_of_previous() : span(now()),
           fmt::format("`{}` is followed by a share of the rows", clause))
        .help.push_back(fmt::format("write `{} 20%`", clause));
    fail();
  }
  const Token& t = take();
  ExprPtr share = make(ExprKind::percent, span(t));
  share->number = number_value(text(t)).number;
  if (take_if(TokenKind::percent)) {
    share->span = span_from(t.begin);
    if (!(share->number > 0 && share->number < 100)) {
      report(Code::E0020, share->span, "a share lies between 0% and 100%, and both parts need rows");
      return make_error(share->span);
    }
    return finish(std::move(share));
  }
  Diagnostic& d = report(Code::E0020, span(t), "a share of the rows is given in percent");
  if (share->number > 0 && share->number < 1)
    d.help.push_back(fmt::format("write `{} {:g}%`", clause, share->number * 100));
  else if (share->number < 100)
    d.help.push_back(fmt::format("write `{} {}%`", clause, text(t)));
  return make_error(span(t));
}

std::vector<ast::Parameter> Parser::parse_parameters() {
  std::vector<ast::Parameter> parameters;
  parse_bracketed(TokenKind::left_paren, TokenKind::right_paren, [&] {
    ast::Parameter parameter;
    uint32_t begin = now().begin;
    parameter.name = parse_name("an argument's name");
    if (at(TokenKind::left_bracket)) parameter.dims = parse_dims();
    if (take_if(TokenKind::colon)) parameter.type = parse_type();
    if (take_if(TokenKind::assign)) parameter.default_value = parse_expression();
    parameter.span = span_from(begin);
    parameters.push_back(std::move(parameter));
  });
  return parameters;
}

/// `(static)(arguments) -> [dims], [dims] where conditions`
void Parser::parse_head(ast::Callable& callable) {
  if (!at(TokenKind::left_paren)) fail_expected("`(` and the arguments");
  callable.arguments = parse_parameters();
  if (at(TokenKind::left_paren)) {
    callable.has_static_list = true;
    callable.static_arguments = std::move(callable.arguments);
    callable.arguments = parse_parameters();
  }
  if (at(TokenKind::left_paren))
    fail_expected("`->` or `{`", "a definition has at most two argument lists: the static one, then the values");
  if (take_if(TokenKind::arrow)) {
    callable.has_results = true;
    do {
      ast::ResultType& result = callable.results.emplace_back();
      uint32_t begin = now().begin;
      if (!at(TokenKind::left_bracket))
        fail_expected("the dimensions of the result in brackets", "write `-> [B, 10]`; a single number is `-> []`");
      result.dims = parse_dims();
      if (take_if(TokenKind::colon)) result.type = parse_type();
      result.span = span_from(begin);
    } while (take_if(TokenKind::comma));
  }
  if (take_word("where")) {
    do {
      ast::Condition& condition = callable.conditions.emplace_back(ast::Condition{parse_expression(), {}});
      if (at(TokenKind::assign)) {
        report(Code::E0023, span(now()), "`=` gives a name a value, it does not compare")
            .help.push_back("equality is written `==`");
        take();
        parse_expression();
      }
      if (take_word("else")) condition.reason = parse_text("what is said where the condition does not hold, in quotes");
    } while (take_if(TokenKind::comma));
  }
}

void Parser::parse_callable(ast::Item& item, ast::CallableKind kind) {
  ast::Callable& callable = item.node.emplace<ast::Callable>();
  callable.kind = kind;
  uint32_t begin = take().begin;
  bool open_is_missing = false;
  try {
    callable.name = parse_name("a name");
    parse_head(callable);
    if (!at(TokenKind::left_brace)) {
      open_is_missing = now().newline_before && !begins_definition(at_);
      fail_expected("`{`", at(TokenKind::assign) ? "the body stands in braces: `{ ... }`" : "");
    }
  } catch (const Failure&) {
    // The body is read all the same, if it can be found.
    bracket_depth_ = 0;
    if (!open_is_missing)
      while (!at(TokenKind::left_brace) && !at(TokenKind::right_brace) && !at(TokenKind::end) && !begins_definition(at_)) take();
    if (!at(TokenKind::left_brace) && !open_is_missing) throw;
  }
  callable.head_span = callable.span = span_from(begin);
  parse_block(callable.body, Context::body, open_is_missing);
  callable.span = span_from(begin);
}

void Parser::parse_train(ast::Item& item) {
  ast::Train& train = item.node.emplace<ast::Train>();
  train.keyword_span = span(take());
  if (at(TokenKind::name) && !now().newline_before) {
    report(Code::E0010, span(now()), "`train` has no name").help.push_back("a model may have a name, its training has none");
    take();
  }
  ast::Block block;
  in_train_ = at(TokenKind::left_brace);
  try {
    parse_block(block, Context::train);
  } catch (const UnclosedBlock&) {
    in_train_ = false;
    train.statements = std::move(block.statements);
    throw;
  } catch (const Failure&) {
    in_train_ = false;
    throw;
  }
  in_train_ = false;
  train.statements = std::move(block.statements);
  train.span = span_from(train.keyword_span.begin);
}

void Parser::parse_test(ast::Item& item) {
  ast::Test& test = item.node.emplace<ast::Test>();
  uint32_t begin = take().begin;
  if (at(TokenKind::left_brace)) {
    report(Code::E0014, span(previous()), "a test needs a name").help.push_back("write `test \"what it shows\" { ... }`");
    test.name = {"", span(previous())};
  } else {
    test.name = parse_text("the test's name");
  }
  parse_block(test.body, Context::test);
  test.span = span_from(begin);
}

}  // namespace nnc
