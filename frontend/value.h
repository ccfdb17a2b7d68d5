// What an expression of the language stands for while a definition is evaluated over symbolic tensors: a node of the graph with
// named dimensions, or something known at compile time (a number, a choice, a layer to be instantiated).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "frontend/dimension.h"
#include "frontend/frontend.h"
#include "frontend/syntax/ast.h"
#include "ir/graph.h"

namespace nnc {

struct SourceFile;

/// A layer, fn, model or optimizer and the file whose names its body sees.
struct Definition {
  const SourceFile* file = nullptr;
  const ast::Callable* ast = nullptr;
  bool is_broken = false;  ///< it had syntax errors, which have been reported: calls of it stay silent
  const std::string& name() const { return ast->name.text; }
  bool is_layer() const { return ast->kind == ast::CallableKind::layer || ast->kind == ast::CallableKind::model; }
};

/// A node and how the program sees its dimensions. The graph keeps the row dimension outermost, whatever its place in `dims`:
/// axis order in the graph is that of `dims` with the row dimension moved to the front.
struct TensorValue {
  NodeId node;
  Dims dims;
  DType dtype = DType::f32;
  bool is_class = false;  ///< an integer in 0 .. classes-1
  Dim classes;
  bool free = false;  ///< made of index(D) alone: may be paired with any dimensions
  /// A number of the run: made of step, epoch, hyperparameters, the number of rows and written numbers alone. It is computed in 64 bits and takes the
  /// type of the tensor that it meets.
  bool is_run_number = false;
  Span span;          ///< the expression in the user's file that gave it
};

enum class ValueKind : uint8_t {
  poison,  ///< an error has been reported; whoever meets one stays silent
  tensor,
  number,  ///< `number`, and `sum` when it is an integer (a size)
  boolean,
  string,
  symbol,    ///< none, all, same
  builtin,   ///< a function of the compiler: `text`
  callable,  ///< overloads
  layer,     ///< a layer with its static arguments, perhaps an instance with a path
  tuple,
  array,  ///< `[4, 10]`: not yet a tensor
  range,
  distribution,  ///< initial values
};

struct LayerTemplate;

struct Value {
  ValueKind kind = ValueKind::poison;
  TensorValue tensor;
  double number = 0;
  bool is_size = false;  ///< number: an integer, whose normal form is `sum`
  DimSum sum;
  bool boolean = false;
  std::string text;
  std::vector<Value> items;
  std::vector<const Definition*> overloads;
  std::shared_ptr<const LayerTemplate> layer;
  Initializer initializer;

  bool is(ValueKind k) const { return kind == k; }
  static Value of(TensorValue t) {
    Value v;
    v.kind = ValueKind::tensor;
    v.tensor = std::move(t);
    return v;
  }
  static Value of_number(double x) {
    Value v;
    v.kind = ValueKind::number;
    v.number = x;
    return v;
  }
  static Value of_size(int64_t x) {
    Value v = of_number(double(x));
    v.is_size = true;
    v.sum = number_sum(x);
    return v;
  }
  /// A whole number where 64 bits hold the result, else its nearest double.
  static Value of_whole(std::optional<int64_t> x, double nearest) { return x ? of_size(*x) : of_number(nearest); }
  static Value of_bool(bool x) {
    Value v;
    v.kind = ValueKind::boolean;
    v.boolean = x;
    return v;
  }
  static Value of_text(ValueKind kind, std::string text) {
    Value v;
    v.kind = kind;
    v.text = std::move(text);
    return v;
  }
  static Value of_items(ValueKind kind, std::vector<Value> items) {
    Value v;
    v.kind = kind;
    v.items = std::move(items);
    return v;
  }
  static Value of_distribution(Initializer i) {
    Value v;
    v.kind = ValueKind::distribution;
    v.initializer = i;
    return v;
  }
};

/// What stands where an error has been reported.
inline Value poison() { return {}; }
/// Whether it is, or holds, poison.
bool is_poison(const Value& v);
/// A number that is written, or computed from such, as a whole one: exactly.
inline std::optional<int64_t> whole_number(const Value& v) {
  return v.is(ValueKind::number) && v.is_size && is_constant(v.sum) ? std::optional(constant_of(v.sum)) : std::nullopt;
}
/// Of a number: its value, exactly.
inline Number exact_number(const Value& v) {
  std::optional<int64_t> whole = whole_number(v);
  return whole ? Number(*whole) : Number(v.number);
}

/// An evaluated argument of a call.
struct CallArgument {
  std::string name;  ///< "" if positional
  Span name_span;
  Value value;
  const ast::Expr* expr = nullptr;  ///< null for what arrives through a pipe
  Span span;
};

/// A layer that waits for its tensor arguments.
struct LayerTemplate {
  const Definition* definition = nullptr;  ///< null for stack
  std::vector<CallArgument> statics;
  Span span;         ///< as written: `Dense(64)`
  std::string path;  ///< an instance's full path; only if is_instance
  bool is_instance = false;
  bool frozen = false;
  int64_t count = 0;  ///< stack(count, inner)
  std::shared_ptr<const LayerTemplate> inner;
};

/// Whether a call cannot tell them apart: the same node under the same names, equal numbers, choices, layers.
bool same_value(const Value& a, const Value& b);
/// The value for another evaluation, where nodes and names of dimensions mean something else: sizes become plain numbers. Nothing
/// if it is or holds a tensor, or a size that varies with the rows.
std::optional<Value> constant_value(Value v, const DimTable& dims);

}  // namespace nnc
