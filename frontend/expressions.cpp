// Expressions: numbers are worked out at once, tensors become nodes. A size is a number that also knows its normal form over
// dimensions, so that arithmetic on sizes needs no rules of its own.
#include <fmt/format.h>

#include <cmath>

#include "base/check.h"
#include "frontend/lowering.h"

namespace nnc {

namespace {

constexpr int max_levels = ast::max_tree_depth + 100;  // the stack of 8 MB must hold them in sanitized builds too
constexpr int64_t max_evaluations = 1'000'000;

std::string_view symbol(ast::BinaryOp op) {
  static constexpr std::string_view names[] = {"`+`",  "`-`", "`*`",  "`/`", "`//`", "`%`",   "`^`", "`==`",
                                               "`!=`", "`<`", "`<=`", "`>`", "`>=`", "`and`", "`or`"};
  return names[size_t(op)];
}

bool is_comparison(ast::BinaryOp op) { return op >= ast::BinaryOp::equal && op <= ast::BinaryOp::greater_equal; }
bool is_logical(ast::BinaryOp op) { return op == ast::BinaryOp::and_ || op == ast::BinaryOp::or_; }

/// The name that every condition of an `if` compares with something, as in `if reduce == none { ... } else if reduce == sum { ... }`, and what
/// it is compared with; null where the conditions are others.
const ast::Expr* asked_for(const ast::Expr& condition, std::vector<const ast::Expr*>& choices) {
  if (condition.kind != ast::ExprKind::binary) return nullptr;
  const ast::Expr &left = *condition.operands[0], &right = *condition.operands[1];
  if (condition.binary_op == ast::BinaryOp::or_) {
    const ast::Expr *first = asked_for(left, choices), *second = asked_for(right, choices);
    return first && second && first->text == second->text ? first : nullptr;
  }
  if (condition.binary_op != ast::BinaryOp::equal || left.kind != ast::ExprKind::name) return nullptr;
  choices.push_back(&right);
  return &left;
}

/// ", found `max`"; nothing for what has no short form.
std::string describe_found(const Value& v) {
  switch (v.kind) {
    case ValueKind::number:
      return fmt::format(", found {:g}", v.number);
    case ValueKind::boolean:
      return v.boolean ? ", found `true`" : ", found `false`";
    case ValueKind::string:
      return fmt::format(", found \"{}\"", v.text);
    case ValueKind::symbol:
    case ValueKind::builtin:
    case ValueKind::callable:
      return fmt::format(", found `{}`", v.text);
    default:
      return "";
  }
}

}  // namespace

/// Counts one evaluation or iteration; false if there were too many, which is reported once.
bool Lowering::has_budget(Span span) {
  if (gave_up_) return false;
  if (++evaluations_ <= max_evaluations) return true;
  gave_up_ = too_large_ = true;
  error(Code::E0209, span, fmt::format("this program expands to more than {} operations", max_evaluations))
      .notes.push_back("definitions are expanded where they are called, and `repeat` unrolls its body");
  return false;
}

/// Trees are bounded and so are chains of calls, but not calls that stand deep in trees: together they must fit the stack.
Value Lowering::evaluate(const ast::Expr& e) {
  if (!has_budget(e.span)) return poison();
  if (levels_ >= max_levels) {
    gave_up_ = true;
    error(Code::E0009, e.span, fmt::format("expressions are more than {} deep, those around the calls that lead here included", max_levels))
        .help.push_back("give parts of them names with `let`, and call definitions by those");
    return poison();
  }
  ++levels_;
  struct Level {
    int& levels;
    ~Level() { --levels; }
  } leave{levels_};
  return evaluate_kind(e);
}

Value Lowering::evaluate_kind(const ast::Expr& e) {
  using K = ast::ExprKind;
  switch (e.kind) {
    case K::error:
      return poison();
    case K::number:
      return e.is_integer ? Value::of_size(e.integer) : Value::of_number(e.number);
    case K::percent:
      error(Code::E0206, e.span, "a percentage stands only where a share of the data is expected")
          .help.push_back(fmt::format("write {}", e.number / 100));
      return poison();
    case K::string:
      return Value::of_text(ValueKind::string, e.text);
    case K::name:
      return lookup(e.text, e.span);
    case K::ellipsis:
    case K::underscore:
      NNC_UNREACHABLE("`...` and `_` stand in lists of dimensions alone");
    case K::unary: {
      Value v = evaluate(*e.operands[0]);
      if (is_poison(v)) return poison();
      if (e.unary_op == ast::UnaryOp::negate) return negate(v, e.span);
      if (!check_truth(v, "`not`", e.operands[0]->span)) return poison();
      if (v.is(ValueKind::boolean)) return Value::of_bool(!v.boolean);
      return Value::of(unary(Op::logical_not, v.tensor, e.span));
    }
    case K::binary:
      return evaluate_operator(e);
    case K::range: {
      Value first = evaluate(*e.operands[0]), end = evaluate(*e.operands[1]);
      return Value::of_items(ValueKind::range, {first, end});
    }
    case K::tuple: {
      std::vector<Value> items;
      for (const ast::ExprPtr& o : e.operands) items.push_back(evaluate(*o));
      return Value::of_items(ValueKind::tuple, std::move(items));
    }
    case K::array:
      return evaluate_array(e);
    case K::call:
      return evaluate_call(e);
    case K::select: {
      Value v = evaluate(*e.operands[0]);
      std::optional<TensorValue> t = as_tensor(v, e.operands[0]->span);
      return t ? select(*t, e) : poison();
    }
    case K::view: {
      Value v = evaluate(*e.operands[0]);
      std::optional<TensorValue> t = as_tensor(v, e.operands[0]->span);
      return t ? view(*t, e) : poison();
    }
    case K::pipe:
      return evaluate_pipe(e);
    case K::if_:
      return evaluate_if(e);
    case K::scan:
      return not_in_this_version(e.span, "`scan` is");
  }
  return poison();
}

Value Lowering::evaluate_array(const ast::Expr& e) {
  std::vector<Value> items;
  for (const ast::ExprPtr& o : e.operands) items.push_back(evaluate(*o));
  Value v = Value::of_items(ValueKind::array, std::move(items));
  return is_poison(v) ? poison() : v;
}

Value Lowering::evaluate_operator(const ast::Expr& e) {
  const ast::Expr &left = *e.operands[0], &right = *e.operands[1];
  Value a = evaluate(left);
  if (is_logical(e.binary_op) && a.is(ValueKind::boolean) && a.boolean == (e.binary_op == ast::BinaryOp::or_)) return a;
  Value b = evaluate(right);
  if (is_poison(a) || is_poison(b)) return poison();
  return combine(e.binary_op, a, b, e.span, left.span, right.span);
}

// Choices (none, same, a function or layer, texts, true and false) can be compared with each other. Each goes by its name, so that `sum` is the
// same choice whichever `sum` is seen from here, and so is "sum".
std::optional<bool> Lowering::same_choice(const Value& a, const Value& b) const {
  auto has_name = [](const Value& v) {
    return v.is(ValueKind::symbol) || v.is(ValueKind::builtin) || v.is(ValueKind::string) || v.is(ValueKind::callable);
  };
  auto is_choice = [&](const Value& v) { return has_name(v) || v.is(ValueKind::boolean); };
  if (!is_choice(a) && !is_choice(b)) return std::nullopt;
  if (a.is(ValueKind::tensor) || b.is(ValueKind::tensor)) return std::nullopt;
  if (has_name(a) && has_name(b)) return a.text == b.text;
  return a.is(ValueKind::boolean) && b.is(ValueKind::boolean) && a.boolean == b.boolean;
}

Value Lowering::combine(ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span) {
  if (op == ast::BinaryOp::equal || op == ast::BinaryOp::not_equal)
    if (std::optional<bool> same = same_choice(a, b)) return Value::of_bool(*same == (op == ast::BinaryOp::equal));
  if (is_logical(op)) {
    if (!check_truth(a, symbol(op), a_span) || !check_truth(b, symbol(op), b_span)) return poison();
    if (a.is(ValueKind::boolean) && b.is(ValueKind::boolean))
      return Value::of_bool(op == ast::BinaryOp::and_ ? a.boolean && b.boolean : a.boolean || b.boolean);
  }
  if (a.is(ValueKind::number) && b.is(ValueKind::number)) {
    bool sizes = a.is_size && b.is_size;
    if (!varies(a) && !varies(b)) return combine_numbers(op, a, b, span);
    if (sizes && op <= ast::BinaryOp::floor_divide) {  // a size that grows with the rows stays a size where it can
      DimSum sum;
      std::optional<DimSum> quotient;
      switch (op) {
        case ast::BinaryOp::add:
          sum = add(a.sum, b.sum);
          break;
        case ast::BinaryOp::subtract:
          sum = add(a.sum, b.sum, -1);
          break;
        case ast::BinaryOp::multiply:
          sum = multiply(a.sum, b.sum);
          break;
        default:
          quotient = dims_.divide(a.sum, b.sum, op == ast::BinaryOp::floor_divide);
          if (quotient) sum = *quotient;
      }
      if ((op < ast::BinaryOp::divide || quotient) && dims_.evaluate(sum)) {
        double number = 0;  // what it is where the rows cancel; where they do not, nobody asks
        for (const DimTerm& t : sum) {
          double product = double(t.factor);
          for (uint32_t atom : t.atoms) product *= double(dims_.extent(atom).size);
          number += product;
        }
        Value v = Value::of_number(number);
        v.is_size = true;
        v.sum = sum;
        return v;
      }
    }
    if (is_comparison(op) && sizes && a.sum == b.sum)
      return Value::of_bool(op == ast::BinaryOp::equal || op == ast::BinaryOp::less_equal || op == ast::BinaryOp::greater_equal);
  }
  return combine_tensors(op, a, b, span, a_span, b_span);
}

bool Lowering::check_truth(const Value& v, std::string_view what, Span span) {
  if (v.is(ValueKind::boolean) || (v.is(ValueKind::tensor) && v.tensor.dtype == DType::boolean)) return true;
  if (v.is(ValueKind::tensor))
    error(Code::E0206, span, fmt::format("{} needs true or false, found {}", what, dtype_name(v.tensor.dtype)));
  else if (v.is(ValueKind::number))
    error(Code::E0206, span, fmt::format("{} needs true or false, found a number", what));
  else
    as_tensor(v, span);  // says what it is instead
  return false;
}

Value Lowering::combine_numbers(ast::BinaryOp op, const Value& a, const Value& b, Span span) {
  using B = ast::BinaryOp;
  double x = a.number, y = b.number;
  auto size = [&](double number, std::optional<DimSum> sum) {
    Value v = Value::of_number(number);
    if (a.is_size && b.is_size && sum) {
      v.is_size = true;
      v.sum = std::move(*sum);
    }
    return v;
  };
  bool integers = a.is_size && b.is_size;
  switch (op) {
    case B::add:
      return size(x + y, integers ? std::optional(add(a.sum, b.sum)) : std::nullopt);
    case B::subtract:
      return size(x - y, integers ? std::optional(add(a.sum, b.sum, -1)) : std::nullopt);
    case B::multiply:
      return size(x * y, integers ? std::optional(multiply(a.sum, b.sum)) : std::nullopt);
    case B::divide:
      return size(x / y, integers ? dims_.divide(a.sum, b.sum, false) : std::nullopt);
    case B::floor_divide:
    case B::remainder:
      if (y == 0) {
        error(Code::E0111, span, fmt::format("`{}` divides by zero", program_.sources->text(span)));
        return poison();
      }
      if (op == B::floor_divide) return size(std::floor(x / y), integers ? dims_.divide(a.sum, b.sum, true) : std::nullopt);
      return size(x - std::floor(x / y) * y,
                  integers ? std::optional(number_sum(int64_t(x - std::floor(x / y) * y))) : std::nullopt);
    case B::power: {
      double z = std::pow(x, y);
      bool exact = integers && y >= 0 && std::abs(z) < 1e15;
      return size(z, exact ? std::optional(number_sum(int64_t(z))) : std::nullopt);
    }
    case B::equal:
      return Value::of_bool(x == y);
    case B::not_equal:
      return Value::of_bool(x != y);
    case B::less:
      return Value::of_bool(x < y);
    case B::less_equal:
      return Value::of_bool(x <= y);
    case B::greater:
      return Value::of_bool(x > y);
    case B::greater_equal:
      return Value::of_bool(x >= y);
    case B::and_:
    case B::or_:
      break;  // numbers are neither true nor false
  }
  NNC_UNREACHABLE("operator on numbers");
}

Value Lowering::combine_tensors(ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span,
                                bool pairs_freely) {
  using B = ast::BinaryOp;
  if (op == B::power) return power(a, b, span, a_span, b_span);
  // A number takes the type of the tensor beside it.
  DType hint = DType::f32;
  for (const Value* v : {&a, &b})
    if (v->is(ValueKind::tensor))
      hint = is_comparison(op) && !is_float(v->tensor.dtype) && v->tensor.dtype != DType::boolean ? v->tensor.dtype
                                                                                                  : arithmetic_type(v->tensor);
  if (hint == DType::u8) hint = DType::i32;
  std::optional<TensorValue> x = as_tensor(a, a_span, hint), y = as_tensor(b, b_span, hint);
  if (!x || !y) return poison();
  DType dtype = is_logical(op) ? DType::boolean : common_type(*x, *y, is_comparison(op));
  if ((op == B::divide || op == B::floor_divide || op == B::remainder) && !is_float(dtype)) dtype = DType::f32;
  bool free = (x->free || x->dims.empty()) && (y->free || y->dims.empty()) && (x->free || y->free);
  TensorValue left = cast(*x, dtype, span), right = cast(*y, dtype, span);
  left.free = x->free;
  right.free = y->free;
  std::optional<Aligned> aligned = align(left, right, symbol(op), span, a_span, b_span, pairs_freely);
  if (!aligned) return poison();
  Builder builder_here = builder(span);
  auto make = [&](Op o) { return builder_here.binary(o, aligned->a, aligned->b); };
  TensorValue t;
  switch (op) {
    case B::add:
      t.node = make(Op::add);
      break;
    case B::subtract:
      t.node = make(Op::sub);
      break;
    case B::multiply:
      t.node = make(Op::mul);
      break;
    case B::divide:
      t.node = make(Op::div);
      break;
    case B::floor_divide:
      t.node = builder_here.unary(Op::floor, make(Op::div));
      break;
    case B::remainder: {
      NodeId floor = builder_here.unary(Op::floor, make(Op::div));
      t.node = builder_here.sub(aligned->a, builder_here.mul(floor, aligned->b));
      break;
    }
    case B::equal:
      t.node = make(Op::equal);
      break;
    case B::not_equal:
      t.node = make(Op::not_equal);
      break;
    case B::less:
      t.node = make(Op::less);
      break;
    case B::less_equal:
      t.node = make(Op::less_equal);
      break;
    case B::greater:
      t.node = make(Op::greater);
      break;
    case B::greater_equal:
      t.node = make(Op::greater_equal);
      break;
    case B::and_:
      t.node = make(Op::logical_and);
      break;
    case B::or_:
      t.node = make(Op::logical_or);
      break;
    case B::power:
      NNC_UNREACHABLE("power has its own function");
  }
  t.dims = aligned->dims;
  t.dtype = graph_.type(t.node).dtype;
  t.free = free;
  t.span = place(span);
  return Value::of(t);
}

// Small whole exponents are products, which are exact and cheap.
Value Lowering::power(const Value& a, const Value& b, Span span, Span a_span, Span b_span) {
  std::optional<double> exponent = number_of(b);
  if (exponent && a.is(ValueKind::tensor) && (*exponent == 1 || *exponent == 2 || *exponent == 3 || *exponent == -1)) {
    TensorValue x = to_float(a.tensor, span);
    if (*exponent == 1) return Value::of(x);
    if (*exponent == -1) return Value::of(binary(Op::div, constant(1, x.dtype, x.dims, span), x, span));
    TensorValue square = binary(Op::mul, x, x, span);
    return Value::of(*exponent == 2 ? square : binary(Op::mul, square, x, span));
  }
  std::optional<TensorValue> x = as_tensor(a, a_span), y = as_tensor(b, b_span);
  if (!x || !y) return poison();
  DType dtype = x->dtype == DType::f64 || y->dtype == DType::f64 ? DType::f64 : DType::f32;
  TensorValue left = cast(*x, dtype, span), right = cast(*y, dtype, span);
  std::optional<Aligned> aligned = align(left, right, symbol(ast::BinaryOp::power), span, a_span, b_span);
  if (!aligned) return poison();
  TensorValue t;
  t.node = builder(span).binary(Op::pow, aligned->a, aligned->b);
  t.dims = aligned->dims;
  t.dtype = dtype;
  t.span = place(span);
  return Value::of(t);
}

Value Lowering::negate(const Value& v, Span span) {
  if (v.is(ValueKind::number) && !varies(v)) {
    Value n = Value::of_number(-v.number);
    n.is_size = v.is_size;
    n.sum = multiply(v.sum, number_sum(-1));
    return n;
  }
  std::optional<TensorValue> t = as_tensor(v, span);
  if (!t) return poison();
  TensorValue x = cast(*t, arithmetic_type(*t), span);
  bool free = t->free;
  TensorValue result = unary(Op::neg, x, span);
  result.free = free;
  return Value::of(result);
}

std::optional<bool> Lowering::evaluate_condition(const ast::Expr& e) {
  Value v = evaluate(e);
  if (is_poison(v)) return std::nullopt;
  if (v.is(ValueKind::boolean)) return v.boolean;
  if (v.is(ValueKind::tensor)) {
    Diagnostic& d = error(Code::E0212, e.span, "`if` chooses at compile time, and this is known only at run time");
    d.help.push_back("use `where(condition, a, b)` to choose per element");
  } else if (e.kind == ast::ExprKind::name) {
    error(Code::E0206, e.span, fmt::format("`{}` must be `true` or `false`{}", e.text, describe_found(v)));
  } else {
    error(Code::E0206, e.span, "a condition must be true or false");
  }
  return std::nullopt;
}

Value Lowering::evaluate_block(const ast::Block& block) {
  size_t names = frame_->locals.size();
  execute_all(block.statements);
  std::vector<Value> results;
  for (const ast::ExprPtr& e : block.results) {
    Value v = evaluate(*e);
    if (v.is(ValueKind::tuple) && block.results.size() == 1) {
      results = v.items;
      break;
    }
    results.push_back(std::move(v));
  }
  frame_->locals.resize(names);
  if (results.size() == 1) return results[0];
  return Value::of_items(ValueKind::tuple, std::move(results));
}

Value Lowering::evaluate_if(const ast::Expr& e) {
  if (!frame_->file->is_std) is_open_ = true;  // with other sizes another branch may be taken
  for (const ast::Branch& branch : e.branches) {
    if (!branch.condition) return evaluate_block(branch.body);
    std::optional<bool> condition = evaluate_condition(*branch.condition);
    if (!condition) return poison();
    if (*condition) return evaluate_block(branch.body);
  }
  // Where an `if` goes through all that a name may be, another value is the caller's mistake, and the author needs no `else`.
  std::vector<const ast::Expr*> choices;
  const ast::Expr* name = asked_for(*e.branches[0].condition, choices);
  for (const ast::Branch& branch : e.branches) {
    if (&branch == &e.branches[0] || !name) continue;
    const ast::Expr* next = asked_for(*branch.condition, choices);
    if (!next || next->text != name->text) name = nullptr;
  }
  if (!name) {
    error(Code::E0206, e.span, "no branch of this `if` is taken, so it has no value").help.push_back("add an `else`");
    return poison();
  }
  std::string list;
  for (size_t i = 0; i < choices.size(); ++i)
    list += fmt::format("{}`{}`", i == 0 ? "" : i + 1 < choices.size() ? ", " : " or ", program_.sources->text(choices[i]->span));
  Span at = place(name->span), call = frame_->call_span;
  Diagnostic& d = error(Code::E0206, name->span, fmt::format("`{}` must be {}{}", name->text, list, describe_found(lookup(name->text, name->span))));
  if (frame_->definition && call.valid() && at != call)
    d.labels.push_back({call, fmt::format("in this call of `{}`", frame_->definition->name())});
  return poison();
}

Value Lowering::evaluate_pipe(const ast::Expr& e) {
  Value v = evaluate(*e.operands[0]);
  Span span = e.operands[0]->span;
  for (const ast::Stage& stage : e.stages) {
    v = evaluate_stage(stage, std::move(v), span);
    span = join(e.operands[0]->span, stage.span);
  }
  return v;
}

std::optional<int64_t> Lowering::evaluate_integer(const ast::Expr& e, std::string_view what, int64_t least) {
  Value v = evaluate(e);
  if (is_poison(v)) return std::nullopt;
  std::optional<int64_t> n = integer_of(v);
  if (n && *n >= least) return n;
  error(Code::E0304, e.span, fmt::format("{} must be a whole number, at least {}, and known at compile time", what, least));
  return std::nullopt;
}

}  // namespace nnc
