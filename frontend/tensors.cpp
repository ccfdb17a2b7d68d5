// Values brought into the graph, and what is computed on tensors of equal dimensions.
#include "frontend/tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "frontend/test_scope.h"

namespace nnc {

DType arithmetic_type(const TensorValue& t) {
  return t.is_class || !is_arithmetic(t.dtype) ? DType::f32 : t.dtype;
}

bool is_run_number(const Value& v) {
  return v.is(ValueKind::number) || v.is(ValueKind::boolean) || (v.is(ValueKind::tensor) && v.tensor.is_run_number);
}

DType common_type(const TensorValue& a, const TensorValue& b, bool compare) {
  if (compare && is_integer(a.dtype) && is_integer(b.dtype))
    return a.dtype == b.dtype ? a.dtype : a.dtype == DType::i64 || b.dtype == DType::i64 ? DType::i64 : DType::i32;
  DType x = arithmetic_type(a), y = arithmetic_type(b);
  // Whole numbers beside an integer are integers of its type: those of i32 and i64 have digits that f32 does not hold.
  auto is_whole = [](const TensorValue& t) { return t.is_class || t.dtype == DType::u8 || t.dtype == DType::boolean; };
  if (is_integer(y) && !b.is_run_number && is_whole(a)) x = y;
  if (is_integer(x) && !a.is_run_number && is_whole(b)) y = x;
  if (a.is_run_number && b.is_run_number) return is_float(x) || is_float(y) ? scalar_type : count_type;
  // A number of the run takes the type of the tensor; whole numbers beside a fraction are f32, as they always are.
  if (a.is_run_number) x = is_float(x) ? DType::f32 : x;
  if (b.is_run_number) y = is_float(y) ? DType::f32 : y;
  if (is_float(x) || is_float(y)) return float_type(x, y);
  return x == DType::i64 || y == DType::i64 ? DType::i64 : DType::i32;
}

DType met_type(std::initializer_list<const Value*> values, bool compare) {
  for (const Value* v : values) {
    if (!v->is(ValueKind::tensor)) continue;
    const TensorValue& t = v->tensor;
    if (compare && is_integer(t.dtype)) return t.dtype == DType::u8 ? DType::i32 : t.dtype;
    return arithmetic_type(t);
  }
  return DType::f32;
}

TensorValue TensorBuilder::constant(Number value, DType dtype, Dims dims, Span span) {
  TensorValue t;
  t.node = ctx_.builder(span).constant(value, Type{dtype, shape_of(dims)});
  t.dims = std::move(dims);
  t.dtype = dtype;
  t.span = ctx_.place(span);
  return t;
}

std::optional<TensorValue> TensorBuilder::as_tensor(const Value& v, Span span, DType number_type) {
  switch (v.kind) {
    case ValueKind::tensor:
      return v.tensor;
    case ValueKind::number: {
      if (ctx_.varies(v)) {
        std::optional<Extent> extent = ctx_.dims.evaluate(v.sum);
        if (!extent) {
          ctx_.error(Code::E0113, span, fmt::format("`{}` does not grow in proportion to the number of rows", ctx_.dims.show(v.sum)));
          return std::nullopt;
        }
        TensorValue t;
        t.node = ctx_.builder(span).extent(*extent);
        t.dtype = ctx_.graph.type(t.node).dtype;
        t.is_run_number = true;
        t.span = ctx_.place(span);
        return t;
      }
      if (!v.is_size) number_type = float_type(number_type);
      Number number = exact_number(v);
      if (!check_fits(number, number_type, span)) return std::nullopt;
      return constant(number, number_type, {}, span);
    }
    case ValueKind::boolean:
      return constant(v.boolean, DType::boolean, {}, span);
    case ValueKind::array: {
      std::vector<Number> values;
      std::vector<int64_t> shape;
      size_t innermost = 0;  // where the numbers stand: the depth of the first
      bool is_regular = true;
      std::function<void(const Value&, size_t)> visit = [&](const Value& item, size_t depth) {
        if (item.is(ValueKind::array)) {
          if (!values.empty() && depth >= innermost) is_regular = false;
          if (shape.size() == depth) shape.push_back(int64_t(item.items.size()));
          is_regular = is_regular && shape[depth] == int64_t(item.items.size());
          for (const Value& inner : item.items) visit(inner, depth + 1);
        } else if (ctx_.number_of(item) && (values.empty() || depth == innermost)) {
          innermost = depth;
          values.push_back(exact_number(item));
          if (!item.is_size) number_type = float_type(number_type);
        } else {
          is_regular = false;
        }
      };
      visit(v, 0);
      int64_t count = 1;
      for (int64_t n : shape) count *= n;
      if (!is_regular || count != int64_t(values.size())) {
        ctx_.error(Code::E0115, span, "an array needs numbers that are known at compile time, in rows of equal length");
        return std::nullopt;
      }
      if (count == 0) {
        ctx_.settle(ctx_.error(Code::E0111, span, "an array without numbers has no size, and a size must be at least 1"), {count});
        return std::nullopt;
      }
      for (Number x : values)
        if (!check_fits(x, number_type, span)) return std::nullopt;
      return constant_array(values, number_type, shape, span);
    }
    case ValueKind::poison:
      return std::nullopt;
    case ValueKind::tuple:
      if (!is_poison(v))
        ctx_.error(Code::E0213, span, fmt::format("one value is needed here, found {}", v.items.size()))
            .help.push_back("take it apart with `let a, b = ...`");
      return std::nullopt;
    default:
      break;
  }
  static const char* const names[] = {"",
                                      "a tensor",
                                      "a number",
                                      "true or false",
                                      "a text",
                                      "a choice",
                                      "a function",
                                      "a definition",
                                      "a layer without an input",
                                      "several values",
                                      "an array",
                                      "a range",
                                      "a distribution"};
  ctx_.error(Code::E0206, span, fmt::format("a tensor is needed here, found {}", names[size_t(v.kind)]));
  return std::nullopt;
}

// Nothing silent: a number that the type cannot hold would become another one, or infinity.
bool TensorBuilder::check_fits(Number number, DType type, Span span) {
  bool fits = is_float(type) ? !std::isfinite(number) || std::isfinite(rounded_to(type, number)) : is_value_of(type, number);
  if (fits) return true;
  Diagnostic& d = ctx_.error(Code::E0116, span, fmt::format("{} does not fit {}, the type that it meets", number_text(number), dtype_name(type)));
  if (!is_float(type)) ctx_.settle(d, {int64_t(number)});  // an integer was declared; what is f32 while nobody calls may be f64 in a call
  if (type == DType::f32)
    d.help.push_back("the largest f32 is about 3.4e38; `f64(x)` gives the value beside it the wider type");
  else if (is_value_of(DType::i64, number))
    d.help.push_back(fmt::format("{} goes from {} to {}; `i64(x)` gives the value beside it the wider type", dtype_name(type),
                                 number_text(lowest_of(type)), number_text(highest_of(type))));
  return false;
}

// Numbers of an array: a literal, or a constant where all are one number.
TensorValue TensorBuilder::constant_array(const std::vector<Number>& values, DType dtype, std::vector<int64_t> shape, Span span) {
  Dims dims;
  for (int64_t n : shape) dims.push_back({0, {n, false}, {ctx_.place(span), "written"}});
  if (ctx_.test && is_float(dtype)) return ctx_.test->input(std::vector<double>(values.begin(), values.end()), dtype, std::move(dims), span);
  if (std::all_of(values.begin(), values.end(), [&](Number x) { return x == values[0]; })) return constant(values[0], dtype, dims, span);
  TensorValue t;
  t.node = ctx_.builder(span).literal(values, Type{dtype, shape_of(dims)});
  t.dtype = dtype;
  t.dims = std::move(dims);
  t.span = ctx_.place(span);
  return t;
}

std::optional<Operands> TensorBuilder::as_operands(const Value& a, const Value& b, Span a_span, Span b_span, bool compare) {
  const DType met = met_type({&a, &b}, compare);
  const bool is_run = is_run_number(a) && is_run_number(b);
  // Beside a number of the run a written one is of 64 bits too: whole beside a count.
  auto type_of = [&](const Value& v, const Value& beside) {
    if (!is_run || !v.is(ValueKind::number)) return met;
    return whole_number(v) && beside.is(ValueKind::tensor) && beside.tensor.dtype == count_type ? count_type : scalar_type;
  };
  std::optional<TensorValue> x = as_tensor(a, a_span, type_of(a, b)), y = as_tensor(b, b_span, type_of(b, a));
  if (!x || !y) return std::nullopt;
  if (is_run) x->is_run_number = y->is_run_number = true;
  return Operands{std::move(*x), std::move(*y), is_run};
}

TensorValue TensorBuilder::cast(TensorValue t, DType dtype, Span span) {
  if (t.dtype != dtype) t.node = ctx_.builder(span).cast(t.node, dtype);
  t.dtype = dtype;
  t.is_class = t.is_class && dtype == DType::i32;
  return t;
}

TensorValue TensorBuilder::to_float(TensorValue t, Span span) {
  DType dtype = t.is_run_number ? scalar_type : float_type(t.dtype);
  t = cast(std::move(t), dtype, span);
  t.is_class = false;
  return t;
}

TensorValue TensorBuilder::unary(Op op, const TensorValue& x, Span span) {
  TensorValue t = x;
  t.node = ctx_.builder(span).unary(op, x.node);
  t.dtype = ctx_.graph.type(t.node).dtype;
  t.is_class = false;
  t.span = ctx_.place(span);
  return t;
}

TensorValue TensorBuilder::binary(Op op, const TensorValue& a, const TensorValue& b, Span span) {
  TensorValue t = a.dims.empty() ? b : a;
  t.node = ctx_.builder(span).binary(op, a.node, b.node);
  t.dtype = ctx_.graph.type(t.node).dtype;
  t.is_class = false;
  t.free = false;
  t.is_run_number = a.is_run_number && b.is_run_number;
  t.span = ctx_.place(span);
  return t;
}

TensorValue TensorBuilder::as_stored(TensorValue t, DType dtype, Span span) {
  t = cast(std::move(t), t.is_run_number ? dtype : t.dtype, span);
  t.is_run_number = false;
  return t;
}

TensorValue TensorBuilder::reduce(Op op, const TensorValue& x, const std::vector<int>& indices, Span span) {
  std::vector<int> axes;
  for (int i : indices) axes.push_back(axis_of(x.dims, i));
  std::sort(axes.begin(), axes.end());
  TensorValue t = x;
  t.node = ctx_.builder(span).reduce(op, x.node, axes);
  t.dims.clear();
  for (size_t i = 0; i < x.dims.size(); ++i)
    if (std::find(indices.begin(), indices.end(), int(i)) == indices.end()) t.dims.push_back(x.dims[i]);
  t.dtype = ctx_.graph.type(t.node).dtype;
  t.is_class = false;
  t.free = false;
  t.span = ctx_.place(span);
  return t;
}

TensorValue TensorBuilder::mean(const TensorValue& x, const std::vector<int>& indices, Span span) {
  std::vector<int> axes;
  for (int i : indices) axes.push_back(axis_of(x.dims, i));
  std::sort(axes.begin(), axes.end());
  TensorValue t = x;
  t.node = ctx_.builder(span).mean(x.node, axes);
  t.dims.clear();
  for (size_t i = 0; i < x.dims.size(); ++i)
    if (std::find(indices.begin(), indices.end(), int(i)) == indices.end()) t.dims.push_back(x.dims[i]);
  t.free = false;
  t.span = ctx_.place(span);
  return t;
}

TensorValue TensorBuilder::back(const TensorValue& reduced, const std::vector<int>& indices, const TensorValue& like, Span span) {
  std::vector<int> axes;
  for (int i : indices) axes.push_back(axis_of(like.dims, i));
  std::sort(axes.begin(), axes.end());
  TensorValue t = like;
  t.dtype = reduced.dtype;
  t.is_run_number = reduced.is_run_number && like.is_run_number;
  t.node = indices.empty() ? reduced.node : ctx_.builder(span).expand(reduced.node, axes, like.node);
  return t;
}

// log(sum(exp(x))), shifted by the largest so that nothing overflows; the shift takes no part in the gradient. The shift itself is kept
// finite: with an infinite one, infinity - infinity would make a NaN of the -inf that nothing but -inf has, and of the inf of a +inf.
TensorValue TensorBuilder::logsumexp(const TensorValue& x, const std::vector<int>& indices, Span span) {
  TensorValue largest = unary(Op::stop_gradient, reduce(Op::reduce_max, x, indices, span), span);
  double limit = x.dtype == DType::f64 ? std::numeric_limits<double>::max() : double(std::numeric_limits<float>::max());
  largest = binary(Op::maximum, largest, constant(-limit, largest.dtype, largest.dims, span), span);
  largest = binary(Op::minimum, largest, constant(limit, largest.dtype, largest.dims, span), span);
  TensorValue shifted = binary(Op::sub, x, back(largest, indices, x, span), span);
  TensorValue sum = reduce(Op::reduce_sum, unary(Op::exp, shifted, span), indices, span);
  return binary(Op::add, largest, unary(Op::log, sum, span), span);
}

}  // namespace nnc
