// The syntax tree of one .nn file: what was written, with the place of every piece, and nothing more. Names are not resolved,
// sizes are not computed, defaults are not filled in; that is the evaluator's work. Invariants:
//  * Trees own their children (unique_ptr, vector); nothing points upwards or sideways. The text itself stays in the SourceMap.
//  * Every node has a span, every name a span of its own.
//  * A pointer documented as present is never null, not even after syntax errors: what could not be read is an Expr of kind
//    `error`. The parser has already reported it; whoever meets one stays silent and treats the value as unknown.
//  * A tree is at most max_tree_depth deep (expressions plus blocks), so recursion over it is safe.
// Grammar and precedence: frontend/syntax/README.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/diagnostics.h"
#include "base/source.h"

namespace nnc::ast {

/// No path from the root of a tree to a leaf has more nodes than this (the parser reports E0009 instead of building a deeper
/// one).
inline constexpr int max_tree_depth = 1000;

struct Expr;
struct Stmt;
struct Item;
using ExprPtr = std::unique_ptr<Expr>;
using StmtPtr = std::unique_ptr<Stmt>;

/// An identifier as written. An empty text means that it was missing and has been reported (the span is then where it should
/// stand).
struct Name {
  std::string text;
  Span span;
  bool empty() const { return text.empty(); }
  /// Dimensions start with a capital; so do static arguments that are dimensions (`Heads`, `Out`), and by custom layers and
  /// models.
  bool is_capitalised() const { return !text.empty() && text[0] >= 'A' && text[0] <= 'Z'; }
};

/// A string literal; the text is without quotes, escapes (\" \\ \n \t) replaced.
struct Text {
  std::string text;
  Span span;
};

/// `[B, T, 4*C]`: each entry is an expression over dimensions, or `...` (ExprKind::ellipsis) or `_` (ExprKind::underscore).
/// `[]` is a single number. The parser rejects more than one `...` in a list.
struct Dims {
  std::vector<ExprPtr> entries;
  Span span;  ///< with the brackets
};

/// `f32`, `u8`, `class(Vocab)`: `name` is any identifier (the evaluator knows which exist); `size` stands for class(...) alone.
struct Type {
  Name name;
  ExprPtr size;  ///< null unless `class(N)`
  Span span;
};

/// One argument of a call, or one item or option of a clause.
struct Argument {
  std::optional<Name> name;     ///< `over: In`, `every: 250`
  ExprPtr value;                ///< present
  std::optional<Text> pattern;  ///< `using sgd(...) for "*.bias"`: items of `using` alone
  Span span;                    ///< name, value and pattern
};

/// One stage of a pipeline: `relu`, `Dense(64)`, `fc1: Dense(64)`, `frozen fc1: Dense(64)`. The value that arrives is its first
/// tensor argument.
struct Stage {
  std::optional<Name> instance;  ///< `fc1`
  bool frozen = false;           ///< only with an instance name
  ExprPtr callee;                ///< present: a name, a call of a name, a call of such a call, or `error`
  Span span;
};

/// One selection in brackets: `T: t`, `T: 0..16`, `Vocab: tokens`; or `outside: 0`, what windows read outside of what they select from.
struct Selector {
  ExprPtr dim;    ///< a name, or an expression over dimensions (`4*H`); absent in `outside: 0`, of which a selection has at most one
  ExprPtr value;  ///< present: any value, or a range (ExprKind::range)
  Span span;
};

/// `{ statements, results }`. A trailing list of expressions is the block's result ("a block's result may be several"). An `if`
/// in last place is a result when at least one of its blocks has results, otherwise it is a statement.
struct Block {
  std::vector<StmtPtr> statements;
  std::vector<ExprPtr> results;  ///< empty if the block gives no value
  Span span;                     ///< with the braces
};

/// One arm of an `if`: `if c { ... }`, `else if c { ... }`, `else { ... }`.
struct Branch {
  ExprPtr condition;  ///< null for `else`
  Block body;
  Span span;
};

/// A value that a scan carries: `h[B, H] = 0`.
struct Carried {
  Name name;
  std::optional<Dims> dims;
  std::optional<Type> type;
  ExprPtr first;  ///< present: the value before the first step
  Span span;
};

enum class ExprKind : uint8_t {
  error,    ///< could not be read; already reported; stay silent
  number,   ///< `number`; `is_integer` and `integer` if written without point and exponent (1_000; at most 2^63-1)
  percent,  ///< `20%`: `number` is 20. Stands only where a share is expected (clauses); elsewhere the evaluator rejects it
  string,   ///< `text` (escapes replaced)
  name,  ///< `text`: any identifier, including the plain names true false inf none all same mean training step epoch value grad
  ellipsis,    ///< `...`, in Dims and in `over: (B, ...)`
  underscore,  ///< `_`, in Dims only
  unary,       ///< `unary_op`, operands[0]
  binary,      ///< `binary_op`, `op_span`, operands[0], operands[1]. Comparisons do not chain
  range,       ///< `0..64`: operands[0] first, operands[1] one past the last; a bound left out (`..8`) is reported by the parser
  tuple,       ///< `(D, E)`: operands, two or more. Plain parentheses leave no node: they are in the span of what they are an operand of
  array,       ///< `[0.0, 1.0]`, `[[1], [2]]`, `[]`: operands
  call,        ///< operands[0] callee, `arguments`: `Dense(64)`, and `Attention(Heads)(x)` is a call whose callee is a call
  select,      ///< operands[0] value, `selectors` (one or more): `x[T: 0..16]`
  view,        ///< operands[0] value, `dims`: `x as [B, T, Heads, D]`
  pipe,        ///< operands[0] value, `stages` (one or more, in order of flow): `x |> Dense(64) |> relu` is one node
  if_,         ///< `branches`: one or more with a condition, then at most one `else`
  scan,        ///< `scan variable in [reverse] dim with carried, ... { body }`: `variable`, operands[0] the dimension, `carried`, `body`
};

enum class UnaryOp : uint8_t { negate, not_ };

enum class BinaryOp : uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide /* // */,
  remainder /* % */,
  power /* ^ */,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  and_,
  or_,
};

struct Expr {
  ExprKind kind = ExprKind::error;
  UnaryOp unary_op{};
  BinaryOp binary_op{};
  bool is_integer = false;
  uint16_t depth = 1;  ///< nodes on the longest path below, this one included
  Span span;           ///< the whole expression
  Span op_span;        ///< unary, binary: the operator; pipe: the first `|>`; view: `as`
  double number = 0;
  int64_t integer = 0;
  std::string text;
  std::vector<ExprPtr> operands;    ///< all present
  std::vector<Argument> arguments;  ///< call
  std::vector<Selector> selectors;  ///< select
  std::vector<Stage> stages;        ///< pipe
  Dims dims;                        ///< view
  std::vector<Branch> branches;     ///< if_
  Name variable;                    ///< scan
  bool is_reverse = false;          ///< scan
  std::vector<Carried> carried;     ///< scan; may be empty
  std::unique_ptr<Block> body;      ///< scan: present
};

/// `dim Ctx = 64, Model = 128` declares several of these. The parser has checked that the name is capitalised.
struct DimDeclaration {
  Name name;
  ExprPtr value;  ///< present
  Span span;
};

/// One part of a `let`: `a = x`, or `mu, logvar = f(x)`, or `a, b = x, y`.
struct Binding {
  std::vector<Name> names;      ///< one or more; `_` throws a value away
  std::vector<ExprPtr> values;  ///< one or more; one value may give several names
  Span span;
};

enum class StmtKind : uint8_t {
  dim,    ///< `dim D = C / Heads, S = T`: `dims_declared`
  param,  ///< `param w[Out, In] ~ normal(0.02)`, `frozen param b[Out] = 0`: `name`, `frozen`, `dims`, `type`, `value`, `is_drawn`
  state,  ///< `state m = 0`, `state mean[C] = 0`: `name`, `dims`, `type`, `value`, `is_drawn`; of both, `as "weight_l{i}"`: `text`
  let,    ///< `bindings`, one or more
  instance,      ///< `mix: Dense(64)`, `frozen fc1: Dense(64)`: `name`, `frozen`, `value` (as Stage::callee)
  update,        ///< `update h = ...`: `name`, `value`
  yield,         ///< `yield h`, `yield a, b`: `values`; the evaluator checks that it stands in a scan
  repeat,        ///< `repeat N as i { ... }`: `value` the count, `name` (empty without `as`), `body`
  if_,           ///< `value` is an Expr of kind if_ none of whose blocks has results
  expression,    ///< `value`: an expression that is not the block's result (the evaluator warns or rejects; `error` after syntax
                 ///< errors)
  clause,        ///< train block: `name` the word, `arguments` items, `options`
  expect,        ///< test block: `expect a == b, tolerance: 1e-6`: `value`, `options`
  expect_error,  ///< test block: `expect error "text" in { ... }`: `text`, `body`, `syntax_errors`
  check_gradients,  ///< test block: `check_gradients f(x), tolerance: 1e-4`: `value`, `options`
  definition,       ///< test block and expect_error's body: a layer, fn, ... local to it: `item`
};

struct Stmt {
  StmtKind kind = StmtKind::expression;
  Span span;
  Span keyword_span;  ///< `let`, `param`, `repeat`, ...; invalid for instance, expression, if_ and definition
  bool frozen = false;
  bool is_drawn = false;  ///< param, state: `~ distribution(...)` rather than `= expression`
  Name name;
  std::optional<Dims> dims;  ///< nothing: the shape is that of the value (optimizer: of the parameter); `[]` is a single number
  std::optional<Type> type;
  ExprPtr value;  ///< present where the kind's description names it
  std::vector<ExprPtr> values;
  std::vector<DimDeclaration> dims_declared;
  std::vector<Binding> bindings;
  std::vector<Argument> arguments;
  std::vector<Argument> options;  ///< all have names
  std::unique_ptr<Block> body;
  std::optional<Text> text;
  /// expect_error: what the parser had to say about the snippet. It is kept here and not reported, since it may be the expected
  /// error.
  std::vector<Diagnostic> syntax_errors;
  std::unique_ptr<Item> item;
};

/// `use "layers.nn" { Encoder, Decoder }`; without a list, all that the file defines.
struct Use {
  Text path;
  bool has_names = false;
  std::vector<Name> names;
  Span span;
};

/// `dim Ctx = 64, Model = 128` at the top of a file.
struct DimList {
  std::vector<DimDeclaration> dims;
  Span span;
};

struct FieldName {
  Name name;
  std::optional<Dims> dims;  ///< nothing: one number per row
  Span span;
};

/// `tokens[Ctx], next[Ctx] : class(Vocab) = text("f.txt", context: Ctx)`
struct Field {
  std::vector<FieldName> names;  ///< one or more
  std::optional<Type> type;      ///< nothing: f32
  ExprPtr source;                ///< present: a call such as csv("f.csv", columns: 0..64)
  Span span;
};

/// `test 20%`, `test last 20%`, `test from OTHER`, and the same with `valid`.
struct Split {
  enum class Kind : uint8_t { random, last, from };
  Name word;  ///< `test` or `valid`
  Kind kind = Kind::random;
  ExprPtr share;  ///< random, last: an Expr of kind percent (or error); null for `from`
  Name other;     ///< from: the data block
  Span span;
};

struct Data {
  Name name;
  std::vector<Field> fields;
  std::vector<Split> splits;
  Span span;
};

/// One argument in a definition's head: `Heads`, `stride = 1`, `x[B, T, C]: u8`, `lr`.
struct Parameter {
  Name name;
  std::optional<Dims> dims;  ///< nothing: a single number, or whatever the definition's kind says
  std::optional<Type> type;
  ExprPtr default_value;  ///< null if it must be given
  Span span;
};

/// One result in a definition's head: `[B, T, C]`, `[B]: i32`.
struct ResultType {
  Dims dims;
  std::optional<Type> type;
  Span span;
};

enum class CallableKind : uint8_t { layer, fn, model, optimizer };

/// One part of `where`: what must hold at a call, and what is said where it does not, `stride >= 1 else "a stride is at least 1, found {stride}"`.
struct Condition {
  ExprPtr test;  ///< present
  std::optional<Text> reason;
};

/// layer, fn, model, optimizer. With two argument lists the first holds the static arguments. With one, it holds the tensor
/// arguments of a layer, fn or model (has_static_list is then false), and the hyperparameters of an optimizer (in `arguments`,
/// too).
struct Callable {
  CallableKind kind = CallableKind::fn;
  Name name;
  bool has_static_list = false;
  std::vector<Parameter> static_arguments;
  std::vector<Parameter> arguments;
  bool has_results = false;         ///< `->` was written
  std::vector<ResultType> results;  ///< one or more if has_results
  std::vector<Condition> conditions;  ///< `where C % Heads == 0, T <= Ctx`
  Block body;
  Span span;
  Span head_span;  ///< from the keyword to before the body
};

/// `train { ... }`: statements of kind clause, let and dim. The parser has checked that each clause's word is one of
/// clause_words(). Items and options of a clause: what has no name is an item, what has one is an option; but in `report`, `name:
/// EXPR` is an item too, unless the name is `every`.
struct Train {
  std::vector<StmtPtr> statements;
  Span span;
  Span keyword_span;
};

/// `test "name" { ... }`: statements of kind expect, expect_error, check_gradients, let, dim, instance and definition.
struct Test {
  Text name;
  Block body;  ///< results is empty
  Span span;
};

/// One definition of a file, in the order written.
struct Item {
  std::variant<Use, DimList, Data, Callable, Train, Test> node;
  Span span;
  /// There were syntax errors inside: parts may be missing. Names that cannot be found in it may be among them: stay silent about those.
  bool has_errors = false;
};

struct File {
  FileId id;
  std::vector<Item> items;
  /// Some error of syntax was reported. Definitions that could not be read at all are missing, so a name that cannot be found may be
  /// one of them; those that could be read in part are in `items`, with Item::has_errors.
  bool has_errors = false;
};

}  // namespace nnc::ast
