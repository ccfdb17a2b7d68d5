// The parser's class, shared by parser.cpp, parser_definition.cpp, parser_statement.cpp, parser_clause.cpp and
// parser_expression.cpp. Internal to
// frontend/syntax/parser*.
//
// Errors are reported where they are found and then thrown as Failure to the nearest place that can go on: the value of a
// statement, a statement, a clause, a definition. The catcher skips to where that ends, so one fault gives one message. Failure
// remembers how many ( and [ were open, because line breaks inside brackets do not end a statement.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/syntax/ast.h"
#include "frontend/syntax/lexer.h"
#include "frontend/syntax/parser.h"

namespace nnc {

class Parser {
 public:
  Parser(const SourceMap& sources, FileId file, Diagnostics& diagnostics);
  std::unique_ptr<ast::File> run(const SourceMap& sources);

 private:
  enum class Context : uint8_t { body, train, test, snippet };

  /// A syntax error that has been reported.
  struct Failure {
    int open_brackets = 0;
  };
  /// A `{` that is never closed, reported: only the top of the file can go on.
  struct UnclosedBlock {};

  /// Counts nesting for as long as it lives; fails at the limit.
  class Nesting {
   public:
    explicit Nesting(Parser& parser);
    ~Nesting() { --parser_.nesting_; }
    Nesting(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  // Tokens.
  const Token& now() const { return tokens_[at_]; }
  const Token& peek(size_t ahead = 1) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& previous() const { return tokens_[at_ == 0 ? 0 : at_ - 1]; }
  std::string_view text(const Token& t) const { return text_.substr(t.begin, t.end - t.begin); }
  Span span(const Token& t) const { return {file_, t.begin, t.end}; }
  Span span_from(uint32_t begin) const { return {file_, begin, std::max(begin, previous().end)}; }
  Span end_of_previous() const { return {file_, previous().end, previous().end}; }
  bool at(TokenKind kind) const { return now().kind == kind; }
  bool at_word(std::string_view word) const { return is_word(now(), word); }
  bool is_word(const Token& t, std::string_view word) const { return t.kind == TokenKind::name && text(t) == word; }
  const Token& take();
  bool take_if(TokenKind kind);
  bool take_word(std::string_view word);
  bool is_reserved(const Token& t) const;
  bool is_plain_name(const Token& t) const { return t.kind == TokenKind::name && !is_reserved(t); }
  bool begins_operand(const Token& t) const;
  bool begins_line(const Token& t) const {
    return t.newline_before || t.kind == TokenKind::end || t.kind == TokenKind::semicolon;
  }
  uint32_t column(uint32_t offset) const;       ///< bytes from the line's beginning
  uint32_t indentation(uint32_t offset) const;  ///< of the line that holds the offset

  // Errors.
  Diagnostic& report(Code code, Span where, std::string message);
  [[noreturn]] void fail();
  [[noreturn]] void fail_expected(std::string_view what, std::string_view help = {});
  std::string describe(const Token& t) const;
  void skip_braces();
  void skip_statement(Failure failure, size_t start);
  void skip_value(Failure failure, bool stop_at_binding);
  bool begins_statement(const Token& t) const;
  bool begins_definition(size_t index, bool within_line = false) const;
  static bool is_definition_word(std::string_view word);
  [[noreturn]] void fail_unclosed_block(const Token& open);

  // Small pieces.
  const Token& expect(TokenKind kind, std::string_view what, std::string_view help = {});
  ast::Name parse_name(std::string_view what);
  ast::Name name_of(const Token& t) const;
  ast::Text parse_text(std::string_view what);
  ast::Type parse_type();
  ast::Dims parse_dims();
  void parse_bracketed(TokenKind open, TokenKind close, const std::function<void()>& element);
  void close_bracket(const Token& open, TokenKind close);
  bool closes_soon(TokenKind close) const;

  // Definitions (parser_definition.cpp).
  void parse_item();
  void parse_definition(ast::Item& item, std::string_view keyword);
  void parse_stray();
  void parse_use(ast::Item& item);
  void parse_data(ast::Item& item);
  void parse_field(ast::Data& data);
  void parse_split(ast::Data& data);
  ast::ExprPtr parse_share(std::string_view word);
  void parse_callable(ast::Item& item, ast::CallableKind kind);
  void parse_head(ast::Callable& callable);
  std::vector<ast::Parameter> parse_parameters();
  void parse_train(ast::Item& item);
  void parse_test(ast::Item& item);

  // Statements (parser_statement.cpp).
  int parse_block(ast::Block& block, Context context, bool open_is_missing = false);
  void parse_statement(ast::Block& block, Context context);
  void parse_statement_inner(ast::Block& block, Context context);
  void end_statement();
  ast::StmtPtr make_statement(ast::StmtKind kind, const Token& first) const;
  ast::StmtPtr parse_let();
  ast::StmtPtr parse_stored(ast::StmtKind kind, bool frozen, const Token& first);
  ast::StmtPtr parse_frozen();
  ast::StmtPtr parse_instance(bool frozen, const Token& first);
  ast::StmtPtr parse_update();
  ast::StmtPtr parse_yield();
  ast::StmtPtr parse_repeat();
  ast::StmtPtr parse_dim();
  std::vector<ast::DimDeclaration> parse_dim_declarations();
  void parse_expression_statement(ast::Block& block, Context context, bool after_return);
  bool report_misplaced(Context context);
  bool begins_binding() const;
  void expect_assign(const ast::Name& name, std::string_view statement);

  // Lines of train and test blocks (parser_clause.cpp).
  ast::StmtPtr parse_clause();
  ast::StmtPtr parse_expect();
  ast::StmtPtr parse_expect_error(const Token& first);
  ast::StmtPtr parse_check_gradients();
  void parse_options(std::vector<ast::Argument>& options);

  // Expressions (parser_expression.cpp).
  struct Infix {
    ast::BinaryOp op{};
    int precedence = 0;  ///< 0: not an operator
    bool is_range = false;
  };
  ast::ExprPtr parse_expression();
  ast::ExprPtr parse_value(bool stop_at_binding = false);
  ast::ExprPtr parse_binary(int precedence);
  ast::ExprPtr parse_prefix(int precedence);
  ast::ExprPtr parse_power_operand();
  ast::ExprPtr parse_postfix();
  ast::ExprPtr parse_primary();
  ast::ExprPtr parse_number();
  ast::ExprPtr parse_parenthesised();
  ast::ExprPtr parse_array();
  ast::ExprPtr parse_if();
  ast::ExprPtr parse_scan();
  // `begin`: where the text of what stands in front begins, parentheses included.
  ast::ExprPtr parse_call(ast::ExprPtr callee, uint32_t begin);
  ast::ExprPtr parse_select(ast::ExprPtr value, uint32_t begin);
  ast::ExprPtr parse_view(ast::ExprPtr value, uint32_t begin);
  ast::Stage parse_stage();
  ast::ExprPtr parse_callee(std::string_view after);
  ast::Argument parse_argument();
  Infix infix_at(const Token& t) const;
  bool continues(const Token& t) const;
  ast::ExprPtr make(ast::ExprKind kind, Span where) const;
  ast::ExprPtr make_error(Span where) const { return make(ast::ExprKind::error, where); }
  ast::ExprPtr finish(ast::ExprPtr expr, int block_depth = 0);
  void note_depth(int depth, Span where);

  FileId file_;
  std::string_view text_;
  Diagnostics& diagnostics_;
  Diagnostics lexical_;   ///< the lexer's, until they have found their place
  Diagnostics* sink_;     ///< diagnostics_, or the snippet's own
  Diagnostics overflow_;  ///< what is reported beyond max_errors is not shown
  Diagnostics cut_off_;   ///< nor what only says that a file ends within `train`, beside that its `{` is never closed
  bool in_train_ = false;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  size_t statement_start_ = SIZE_MAX;  ///< the token that the statement being read begins with
  int nesting_ = 0;
  bool takes_ellipsis_ = false;           ///< in the value of `over:`, where `...` is an operand
  int bracket_depth_ = 0;                 ///< ( and [ that are open in the innermost block: line breaks count only at 0
  bool depth_reported_ = false;           ///< in the definition being read
  int deepest_ = 0;                       ///< depth of the deepest expression or block of the innermost block so far
  size_t trouble_ = 0;                    ///< errors so far, in snippets too
  uint32_t item_column_ = 0;              ///< of the definition being read
  struct PlaceInLine {
    uint32_t offset = 0, line = 0;  ///< `line`: where the line of that offset begins
  };
  mutable PlaceInLine seen_;              ///< the furthest place whose column was asked for
  mutable PlaceInLine indented_;          ///< the first character but spaces of the line that was last looked at
  mutable size_t no_binding_before_ = 0;  ///< begins_binding has looked this far and found none
  /// The first block whose `}` stands further left than the line that opens it: likely where a `}` is missing.
  bool has_suspect_ = false;
  Token suspect_open_, suspect_close_;
  std::unique_ptr<ast::File> result_;
};

}  // namespace nnc
