// Operators. A size is a number that also knows its normal form over dimensions, so that arithmetic on sizes needs no rules of its own.
#include "frontend/operators.h"

#include <fmt/format.h>

#include <cmath>

#include "base/check.h"
#include "base/floor_division.h"

namespace nnc {

namespace {

std::string_view symbol(ast::BinaryOp op) {
  static constexpr std::string_view names[] = {"`+`",  "`-`", "`*`",  "`/`", "`//`", "`%`",   "`^`", "`==`",
                                               "`!=`", "`<`", "`<=`", "`>`", "`>=`", "`and`", "`or`"};
  return names[size_t(op)];
}

bool is_comparison(ast::BinaryOp op) { return op >= ast::BinaryOp::equal && op <= ast::BinaryOp::greater_equal; }

/// x, y: two whole numbers or two floats.
template <class T>
bool compare(ast::BinaryOp op, T x, T y) {
  using B = ast::BinaryOp;
  switch (op) {
    case B::equal:
      return x == y;
    case B::not_equal:
      return x != y;
    case B::less:
      return x < y;
    case B::less_equal:
      return x <= y;
    case B::greater:
      return x > y;
    case B::greater_equal:
      return x >= y;
    default:
      NNC_UNREACHABLE("not a comparison");
  }
}

}  // namespace

bool is_logical(ast::BinaryOp op) { return op == ast::BinaryOp::and_ || op == ast::BinaryOp::or_; }

bool is_none(const Value& v) { return v.is(ValueKind::symbol) && v.text == "none"; }

std::optional<bool> same_choice(const Value& a, const Value& b) {
  auto has_name = [](const Value& v) {
    return v.is(ValueKind::symbol) || v.is(ValueKind::builtin) || v.is(ValueKind::string) || v.is(ValueKind::callable);
  };
  auto is_choice = [&](const Value& v) { return has_name(v) || v.is(ValueKind::boolean); };
  if (!is_choice(a) && !is_choice(b)) return std::nullopt;
  if (a.is(ValueKind::tensor) || b.is(ValueKind::tensor)) return std::nullopt;
  if (has_name(a) && has_name(b)) return a.text == b.text;
  return a.is(ValueKind::boolean) && b.is(ValueKind::boolean) && a.boolean == b.boolean;
}

Value Operators::combine(ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span) {
  if (op == ast::BinaryOp::equal || op == ast::BinaryOp::not_equal)
    if (std::optional<bool> same = same_choice(a, b)) return Value::of_bool(*same == (op == ast::BinaryOp::equal));
  if (is_logical(op)) {
    if (!check_truth(a, symbol(op), a_span) || !check_truth(b, symbol(op), b_span)) return poison();
    if (a.is(ValueKind::boolean) && b.is(ValueKind::boolean))
      return Value::of_bool(op == ast::BinaryOp::and_ ? a.boolean && b.boolean : a.boolean || b.boolean);
  }
  if (a.is(ValueKind::number) && b.is(ValueKind::number)) {
    bool sizes = a.is_size && b.is_size;
    if (!ctx_.varies(a) && !ctx_.varies(b)) return combine_numbers(op, a, b, span);
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
          quotient = ctx_.dims.divide(a.sum, b.sum, op == ast::BinaryOp::floor_divide);
          if (quotient) sum = *quotient;
      }
      if ((op < ast::BinaryOp::divide || quotient) && ctx_.dims.evaluate(sum)) {
        double number = 0;  // what it is where the rows cancel; where they do not, nobody asks
        for (const DimTerm& t : sum) {
          double product = double(t.factor);
          for (uint32_t atom : t.atoms) product *= double(ctx_.dims.extent(atom).size);
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

bool Operators::check_truth(const Value& v, std::string_view what, Span span) {
  if (v.is(ValueKind::boolean) || (v.is(ValueKind::tensor) && v.tensor.dtype == DType::boolean)) return true;
  if (v.is(ValueKind::tensor))
    ctx_.error(Code::E0206, span, fmt::format("{} needs true or false, found {}", what, dtype_name(v.tensor.dtype)));
  else if (v.is(ValueKind::number))
    ctx_.error(Code::E0206, span, fmt::format("{} needs true or false, found a number", what));
  else
    tensors_.as_tensor(v, span);  // says what it is instead
  return false;
}

// Whole numbers exactly; what 64 bits do not hold is a float from then on.
Value Operators::combine_whole(ast::BinaryOp op, int64_t x, int64_t y, Span span) {
  using B = ast::BinaryOp;
  if (is_comparison(op)) return Value::of_bool(compare(op, x, y));
  int64_t r = 0;
  auto checked = [&](bool overflows, double nearest) { return Value::of_whole(overflows ? std::nullopt : std::optional(r), nearest); };
  switch (op) {
    case B::add:
      return checked(__builtin_add_overflow(x, y, &r), double(x) + double(y));
    case B::subtract:
      return checked(__builtin_sub_overflow(x, y, &r), double(x) - double(y));
    case B::multiply:
      return checked(__builtin_mul_overflow(x, y, &r), double(x) * double(y));
    case B::divide:
      if (y == 0 || (y == -1 && x == INT64_MIN) || x % y != 0) return Value::of_number(double(x) / double(y));
      return Value::of_size(x / y);
    case B::floor_divide:
    case B::remainder:
      if (y == 0) {
        ctx_.error(Code::E0111, span, fmt::format("`{}` divides by zero", ctx_.program.sources->text(span)));
        return poison();
      }
      if (y == -1) return op == B::remainder ? Value::of_size(0) : combine_whole(B::subtract, 0, x, span);
      r = x % y != 0 && (x < 0) != (y < 0) ? 1 : 0;  // rounded down, not towards zero
      return Value::of_size(op == B::floor_divide ? x / y - r : x % y + r * y);
    case B::power: {
      const double nearest = std::pow(double(x), double(y));
      if (y < 0) return Value::of_number(nearest);
      r = 1;
      for (int64_t i = 0; i < y && r != 0 && (x != 1 || i == 0) && (x != -1 || i < 2 - y % 2); ++i)
        if (__builtin_mul_overflow(r, x, &r)) return Value::of_number(nearest);
      return Value::of_size(r);
    }
    default:
      break;  // comparisons are made; numbers are neither true nor false
  }
  NNC_UNREACHABLE("operator on numbers");
}

Value Operators::combine_numbers(ast::BinaryOp op, const Value& a, const Value& b, Span span) {
  using B = ast::BinaryOp;
  if (std::optional<int64_t> m = whole_number(a), n = whole_number(b); m && n) return combine_whole(op, *m, *n, span);
  double x = a.number, y = b.number;
  if (is_comparison(op)) return Value::of_bool(compare(op, x, y));
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
      return size(x / y, integers ? ctx_.dims.divide(a.sum, b.sum, false) : std::nullopt);
    case B::floor_divide:
    case B::remainder:
      if (y == 0) {
        ctx_.error(Code::E0111, span, fmt::format("`{}` divides by zero", ctx_.program.sources->text(span)));
        return poison();
      }
      if (op == B::floor_divide) return size(floor_quotient(x, y), integers ? ctx_.dims.divide(a.sum, b.sum, true) : std::nullopt);
      return size(floor_remainder(x, y), integers ? std::optional(number_sum(int64_t(floor_remainder(x, y)))) : std::nullopt);
    case B::power: {
      double z = std::pow(x, y);
      bool exact = integers && y >= 0 && std::abs(z) < 1e15;
      return size(z, exact ? std::optional(number_sum(int64_t(z))) : std::nullopt);
    }
    default:
      break;  // comparisons are made; numbers are neither true nor false
  }
  NNC_UNREACHABLE("operator on numbers");
}

Value Operators::combine_tensors(ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span,
                                 bool pairs_freely) {
  using B = ast::BinaryOp;
  if (op == B::power) return power(a, b, span, a_span, b_span);
  std::optional<Operands> operands = tensors_.as_operands(a, b, a_span, b_span, is_comparison(op));
  if (!operands) return poison();
  const TensorValue *x = &operands->a, *y = &operands->b;
  DType dtype = is_logical(op) ? DType::boolean : common_type(*x, *y, is_comparison(op));
  if (op == B::divide && !is_float(dtype)) dtype = operands->is_run_number ? scalar_type : DType::f32;
  bool free = (x->free || x->dims.empty()) && (y->free || y->dims.empty()) && (x->free || y->free);
  TensorValue left = tensors_.cast(*x, dtype, span), right = tensors_.cast(*y, dtype, span);
  left.free = x->free;
  right.free = y->free;
  std::optional<Aligned> aligned = tensors_.align(left, right, symbol(op), span, a_span, b_span, pairs_freely);
  if (!aligned) return poison();
  Builder builder_here = ctx_.builder(span);
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
      t.node = make(Op::floor_div);
      break;
    case B::remainder:
      t.node = make(Op::floor_mod);
      break;
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
  t.dtype = ctx_.graph.type(t.node).dtype;
  t.free = free;
  t.is_run_number = operands->is_run_number;
  t.span = ctx_.place(span);
  return Value::of(t);
}

// Small whole exponents are products, which are exact and cheap. Those of integers are integers for every whole exponent from 0 on.
Value Operators::power(const Value& a, const Value& b, Span span, Span a_span, Span b_span) {
  std::optional<double> exponent = ctx_.number_of(b);
  if (std::optional<int64_t> whole = whole_number(b); whole && *whole >= 0 && a.is(ValueKind::tensor) && is_integer(arithmetic_type(a.tensor))) {
    TensorValue factor = tensors_.cast(a.tensor, arithmetic_type(a.tensor), span);
    std::optional<TensorValue> result;
    for (int64_t rest = *whole; rest > 0; rest /= 2) {
      if (rest % 2 == 1) result = result ? tensors_.binary(Op::mul, *result, factor, span) : factor;
      if (rest > 1) factor = tensors_.binary(Op::mul, factor, factor, span);
    }
    return Value::of(result ? *result : tensors_.constant(1, factor.dtype, factor.dims, span));
  }
  if (exponent && a.is(ValueKind::tensor) && (*exponent == 1 || *exponent == 2 || *exponent == 3 || *exponent == -1)) {
    TensorValue x = tensors_.to_float(a.tensor, span);
    if (*exponent == 1) return Value::of(x);
    if (*exponent == -1) {
      TensorValue one = tensors_.constant(1, x.dtype, x.dims, span);
      one.is_run_number = x.is_run_number;
      return Value::of(tensors_.binary(Op::div, one, x, span));
    }
    TensorValue square = tensors_.binary(Op::mul, x, x, span);
    return Value::of(*exponent == 2 ? square : tensors_.binary(Op::mul, square, x, span));
  }
  std::optional<Operands> operands = tensors_.as_operands(a, b, a_span, b_span);
  if (!operands) return poison();
  DType dtype = common_type(operands->a, operands->b, false);
  if (!is_float(dtype)) dtype = operands->is_run_number ? scalar_type : float_type(dtype);
  TensorValue left = tensors_.cast(operands->a, dtype, span), right = tensors_.cast(operands->b, dtype, span);
  std::optional<Aligned> aligned = tensors_.align(left, right, symbol(ast::BinaryOp::power), span, a_span, b_span);
  if (!aligned) return poison();
  TensorValue t;
  t.node = ctx_.builder(span).binary(Op::pow, aligned->a, aligned->b);
  t.dims = aligned->dims;
  t.dtype = dtype;
  t.is_run_number = operands->is_run_number;
  t.span = ctx_.place(span);
  return Value::of(t);
}

Value Operators::negate(const Value& v, Span span) {
  if (v.is(ValueKind::number) && !ctx_.varies(v)) {
    if (std::optional<int64_t> whole = whole_number(v)) return combine_whole(ast::BinaryOp::subtract, 0, *whole, span);
    Value n = Value::of_number(-v.number);
    n.is_size = v.is_size;
    n.sum = multiply(v.sum, number_sum(-1));
    return n;
  }
  std::optional<TensorValue> t = tensors_.as_tensor(v, span);
  if (!t) return poison();
  TensorValue x = tensors_.cast(*t, arithmetic_type(*t), span);
  bool free = t->free;
  TensorValue result = tensors_.unary(Op::neg, x, span);
  result.free = free;
  return Value::of(result);
}

}  // namespace nnc
