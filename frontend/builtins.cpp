// Functions of the compiler. Each sorts its evaluated arguments with `read`, then adds nodes.
#include "frontend/builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/check.h"
#include "base/philox.h"
#include "frontend/builtin_names.h"
#include "frontend/evaluator.h"
#include "frontend/joins.h"
#include "frontend/signatures.h"
#include "frontend/test_scope.h"

namespace nnc {

std::optional<std::vector<const CallArgument*>> read(SymbolicEvaluator& eval, const BuiltinCall& call,
                                                     std::initializer_list<std::string_view> names, size_t required) {
  EvaluationContext& ctx = eval.ctx;
  std::vector<const CallArgument*> sorted(names.size(), nullptr);
  size_t position = 0;
  bool is_poisoned = false;
  for (const CallArgument& a : call.arguments) {
    is_poisoned = is_poisoned || is_poison(a.value);
    size_t i = 0;
    if (a.name.empty()) {
      i = position++;
      if (i >= names.size()) {
        ctx.error(Code::E0204, a.span,
                  fmt::format("`{}` takes {} argument{}, not {}", call.name, names.size(), names.size() == 1 ? "" : "s",
                              call.arguments.size()));
        return std::nullopt;
      }
    } else {
      while (i < names.size() && names.begin()[i] != a.name) ++i;
      if (i == names.size()) {
        refuse_option(ctx, call.name, a, std::vector<std::string>(names.begin(), names.end()));
        return std::nullopt;
      }
    }
    if (sorted[i]) {
      ctx.error(Code::E0204, a.span, fmt::format("`{}` of `{}` is given twice", names.begin()[i], call.name));
      return std::nullopt;
    }
    sorted[i] = &a;
  }
  if (is_poisoned) return std::nullopt;
  for (size_t i = 0; i < required; ++i)
    if (!sorted[i]) {
      ctx.error(Code::E0202, call.span, fmt::format("`{}` needs `{}`", call.name, names.begin()[i]));
      return std::nullopt;
    }
  return sorted;
}

std::optional<std::vector<uint32_t>> over_ids(SymbolicEvaluator& eval, std::string_view what, const Value& over, Span span) {
  EvaluationContext& ctx = eval.ctx;
  std::vector<uint32_t> ids;
  std::vector<Value> items;
  if (!over.is(ValueKind::tuple)) items = {over};
  for (const Value& v : over.items)  // what `...` stands for is a list of its own
    if (v.is(ValueKind::tuple))
      items.insert(items.end(), v.items.begin(), v.items.end());
    else
      items.push_back(v);
  for (const Value& v : items) {
    if (is_poison(v)) return std::nullopt;
    if (!v.is(ValueKind::number) || !v.is_size) {
      ctx.error(Code::E0206, span, fmt::format("`{}` needs the name of a dimension", what == "index" ? what : "over"));
      return std::nullopt;
    }
    Dim d = ctx.dims.to_dim(v.sum);
    if (!d.named()) {
      bool makes = what == "index" || what == "spread";  // a dimension, rather than finding it
      const std::string_view done = what == "concat" ? "joined" : what == "split" ? "cut" : "reduced";
      ctx.error(Code::E0110, span,
                makes ? fmt::format("`{}` needs a dimension with a name, and {} has none", what, d.extent.size)
                  : fmt::format("a dimension without a name cannot be {}: `over: {}`", done, d.extent.size))
          .help.push_back(fmt::format("give it a name: `dim Classes = {}`", d.extent.size));
      return std::nullopt;
    }
    ids.push_back(d.id);
  }
  return ids;
}

bool read_over(SymbolicEvaluator& eval, const BuiltinCall& call, const CallArgument* over, const TensorValue& x, Span x_span,
               std::vector<int>& indices) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  indices.clear();
  if (!over) {
    indices.resize(x.dims.size());
    std::iota(indices.begin(), indices.end(), 0);
    return true;
  }
  std::optional<std::vector<uint32_t>> ids = over_ids(eval, call.name, over->value, over->span);
  if (!ids) return false;
  for (uint32_t id : *ids) {
    int found = -1;
    for (size_t i = 0; i < x.dims.size(); ++i)
      if (x.dims[i].id == id) {
        if (found >= 0) {
          tensors.check_distinct(x, "`over`", x_span);
          return false;
        }
        found = int(i);
      }
    if (found < 0) {
      Diagnostic& d = ctx.error(Code::E0107, over->span,
                                fmt::format("{} has no dimension `{}`", ctx.dims.show(x.dims), ctx.dims.show(Dim{id, {}, {}})));
      if (x_span.valid() && ctx.place(x_span) != ctx.place(over->span)) d.labels.push_back({ctx.place(x_span), ctx.describe_dims_with_origin(x)});
      for (const Dim& dim : x.dims)
        if (!dim.named() && dim.extent == ctx.dims.extent(id))
          d.help.push_back(
              fmt::format("the dimension of size {} has no name here; declare its size with a name: `dim Classes = {}`",
                          dim.extent.size, dim.extent.size));
      return false;
    }
    if (std::find(indices.begin(), indices.end(), found) != indices.end()) {
      ctx.error(Code::E0103, over->span, fmt::format("dimension `{}` appears twice in `over`", ctx.dims.show(Dim{id, {}, {}})));
      return false;
    }
    indices.push_back(found);
  }
  std::sort(indices.begin(), indices.end());
  return true;
}

namespace {

Value builtin_unary(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  auto a = read(eval, call, {"x"}, 1);
  if (!a) return poison();
  const Value& v = (*a)[0]->value;
  const bool rounds = call.name == "floor" || call.name == "ceil" || call.name == "round", keeps_type = rounds || call.name == "abs" || call.name == "sign";
  if (std::optional<int64_t> whole = whole_number(v); whole && keeps_type) {
    if (call.name == "sign") return Value::of_size(*whole > 0 ? 1 : *whole < 0 ? -1 : 0);
    return rounds || *whole >= 0 ? v : eval.operators.negate(v, call.span);
  }
  if (std::optional<double> x = ctx.number_of(v)) {
    // Known at compile time: the interpreter's definition on a single number.
    static const std::unordered_map<std::string_view, double (*)(double)> functions{
        {"exp", [](double y) { return std::exp(y); }},
        {"expm1", [](double y) { return std::expm1(y); }},
        {"log", [](double y) { return std::log(y); }},
        {"log1p", [](double y) { return std::log1p(y); }},
        {"sqrt", [](double y) { return std::sqrt(y); }},
        {"abs", [](double y) { return std::abs(y); }},
        {"sin", [](double y) { return std::sin(y); }},
        {"cos", [](double y) { return std::cos(y); }},
        {"tanh", [](double y) { return std::tanh(y); }},
        {"erf", [](double y) { return std::erf(y); }},
        {"normal_cdf", [](double y) { return std::erfc(-y * std::numbers::sqrt2 / 2) / 2; }},
        {"floor", [](double y) { return std::floor(y); }},
        {"ceil", [](double y) { return std::ceil(y); }},
        {"round", [](double y) { return std::nearbyint(y); }},
        {"sign", [](double y) { return y > 0   ? 1.0
                                       : y < 0 ? -1.0
                                                   : y; }},
        {"sigmoid", [](double y) { return 1 / (1 + std::exp(-y)); }}};
    double y = functions.at(call.name)(*x);
    return v.is_size && std::floor(y) == y && std::abs(y) < 0x1p53 && is_constant(v.sum) ? Value::of_size(int64_t(y)) : Value::of_number(y);
  }
  std::optional<TensorValue> t = tensors.as_tensor(v, (*a)[0]->span);
  if (!t) return poison();
  std::optional<Op> op = parse_op(call.name);
  NNC_CHECK(op.has_value(), call.name);
  if (DType dtype = arithmetic_type(*t); keeps_type && is_integer(dtype)) {
    if (rounds) return Value::of(*t);
    return Value::of(tensors.unary(*op, tensors.cast(*t, dtype, call.span), call.span));
  }
  return Value::of(tensors.unary(*op, tensors.to_float(*t, call.span), call.span));
}

Value builtin_pairwise(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  auto a = read(eval, call, {"a", "b"}, 2);
  if (!a) return poison();
  const CallArgument &left = *(*a)[0], &right = *(*a)[1];
  if (call.name == "pow") return eval.operators.power(left.value, right.value, call.span, left.span, right.span);
  const bool is_max = call.name == "maximum" || call.name == "max", is_sign = call.name == "copysign";
  std::optional<double> m = ctx.number_of(left.value), n = ctx.number_of(right.value);
  if (m && n && is_sign) return Value::of_number(std::isnan(*n) ? *n : std::copysign(*m, *n));
  if (m && n) return is_max == (exact_number(left.value) >= exact_number(right.value)) ? left.value : right.value;
  std::optional<Operands> operands = tensors.as_operands(left.value, right.value, left.span, right.span);
  if (!operands) return poison();
  if (is_sign) {
    operands->a = tensors.to_float(operands->a, left.span);
    operands->b = tensors.to_float(operands->b, right.span);
  }
  DType dtype = common_type(operands->a, operands->b, false);
  TensorValue first = tensors.cast(operands->a, dtype, call.span), second = tensors.cast(operands->b, dtype, call.span);
  std::optional<Aligned> aligned = tensors.align(first, second, fmt::format("`{}`", call.name), call.span, left.span, right.span);
  if (!aligned) return poison();
  TensorValue t;
  t.node = ctx.builder(call.span).binary(is_sign ? Op::copysign : is_max ? Op::maximum : Op::minimum, aligned->a, aligned->b);
  t.dims = aligned->dims;
  t.dtype = dtype;
  t.is_run_number = operands->is_run_number;
  t.span = ctx.place(call.span);
  return Value::of(t);
}

Value builtin_where(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  auto a = read(eval, call, {"condition", "a", "b"}, 3);
  if (!a) return poison();
  const CallArgument &c = *(*a)[0], &left = *(*a)[1], &right = *(*a)[2];
  if (c.value.is(ValueKind::boolean)) return c.value.boolean ? left.value : right.value;
  if (!eval.operators.check_truth(c.value, "the condition of `where`", c.span)) return poison();
  const TensorValue& condition = c.value.tensor;
  const bool is_run = condition.is_run_number && is_run_number(left.value) && is_run_number(right.value);
  std::optional<TensorValue> x, y;
  if (is_run || left.value.is(ValueKind::tensor) || right.value.is(ValueKind::tensor)) {
    if (std::optional<Operands> branches = tensors.as_operands(left.value, right.value, left.span, right.span)) {
      x = branches->a;
      y = branches->b;
    }
  } else {  // two numbers, chosen from element by element
    x = tensors.as_tensor(left.value, left.span);
    y = tensors.as_tensor(right.value, right.span);
  }
  if (!x || !y) return poison();
  if (!is_run && x->is_run_number && y->is_run_number) {
    DType chosen = is_float(common_type(*x, *y, false)) ? DType::f32 : count_type;
    *x = tensors.as_stored(*x, x->dtype == DType::boolean ? x->dtype : chosen, call.span);
    *y = tensors.as_stored(*y, y->dtype == DType::boolean ? y->dtype : chosen, call.span);
  }
  DType dtype = x->dtype == DType::boolean && y->dtype == DType::boolean ? DType::boolean : common_type(*x, *y, false);
  *x = tensors.cast(*x, dtype, call.span);
  *y = tensors.cast(*y, dtype, call.span);
  // The common dimensions of all three: of the branches first, then with the condition.
  std::optional<Alignment> branches = tensors.find_alignment(*x, *y, "`where`", call.span, left.span, right.span);
  if (!branches) return poison();
  TensorValue both = *x;
  both.dims = branches->dims;
  both.free = x->free && y->free;
  std::optional<Alignment> all = tensors.find_alignment(both, condition, "`where`", call.span, join(left.span, right.span), c.span);
  if (!all || !tensors.check_rows(all->dims, call.span)) return poison();
  auto fit = [&](const TensorValue& t, const std::vector<int>& from) {
    return t.dims.empty() ? t.node : tensors.expand(t, from, all->dims, call.span);
  };
  auto fit_branch = [&](const TensorValue& t, const std::vector<int>& from) {
    std::vector<int> places;
    for (int i : from) places.push_back(all->from_a[size_t(i)]);
    return fit(t, places);
  };
  TensorValue t;
  t.node = ctx.builder(call.span).select(fit(condition, all->from_b), fit_branch(*x, branches->from_a),
                                         fit_branch(*y, branches->from_b));
  t.dims = all->dims;
  t.dtype = dtype;
  t.is_run_number = is_run;
  t.span = ctx.place(call.span);
  return Value::of(t);
}

Value builtin_index(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  auto a = read(eval, call, {"dimension"}, 1);
  if (!a) return poison();
  std::optional<std::vector<uint32_t>> ids = over_ids(eval, call.name, (*a)[0]->value, (*a)[0]->span);
  if (!ids) return poison();
  if (ids->size() != 1) {
    ctx.error(Code::E0206, (*a)[0]->span, fmt::format("`index` takes one dimension, not {}", ids->size()));
    return poison();
  }
  TensorValue t;
  t.dims = {{(*ids)[0], ctx.dims.extent((*ids)[0]), ctx.dims.origin((*ids)[0])}};
  if (const int64_t size = t.dims[0].extent.size; size > INT32_MAX) {
    ctx.error(Code::E0114, call.span, fmt::format("indices are i32, which {} of them do not fit", size));
    return poison();
  }
  t.node = ctx.builder(call.span).iota(shape_of(t.dims), 0);
  t.dtype = DType::i32;
  t.free = true;
  t.span = ctx.place(call.span);
  return Value::of(t);
}

Value builtin_spread(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  auto a = read(eval, call, {"x", "over"}, 2);
  if (!a) return poison();
  std::optional<TensorValue> x = tensors.as_tensor((*a)[0]->value, (*a)[0]->span);
  std::optional<std::vector<uint32_t>> ids = over_ids(eval, call.name, (*a)[1]->value, (*a)[1]->span);
  if (!x || !ids) return poison();
  Dims dims = x->dims;
  std::vector<int> from(x->dims.size());
  std::iota(from.begin(), from.end(), 0);
  for (uint32_t id : *ids) dims.push_back({id, ctx.dims.extent(id), ctx.dims.origin(id)});
  *x = tensors.as_stored(*x, is_float(x->dtype) ? DType::f32 : x->dtype, call.span);
  TensorValue t = *x;
  t.dims = dims;
  if (!tensors.check_distinct(t, "`spread`", call.span) || !tensors.check_rows(dims, call.span)) return poison();
  t.node = tensors.expand(*x, from, dims, call.span);
  t.span = ctx.place(call.span);
  return Value::of(t);
}

/// The only argument, x.
std::optional<TensorValue> read_tensor(SymbolicEvaluator& eval, const BuiltinCall& call) {
  auto a = read(eval, call, {"x"}, 1);
  if (!a) return std::nullopt;
  return eval.tensors.as_tensor((*a)[0]->value, (*a)[0]->span);
}

Value builtin_stop_gradient(SymbolicEvaluator& eval, const BuiltinCall& call) {
  TensorBuilder& tensors = eval.tensors;
  std::optional<TensorValue> x = read_tensor(eval, call);
  if (!x) return poison();
  if (is_integer(arithmetic_type(*x))) return Value::of(*x);  // nothing flows back through integers
  return Value::of(tensors.unary(Op::stop_gradient, tensors.to_float(*x, call.span), call.span));
}

Value builtin_uniform_like(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  std::optional<TensorValue> x = read_tensor(eval, call);
  if (!x) return poison();
  if (!ctx.may_draw) {
    ctx.error(Code::E0208, call.span, "an optimizer's rule and its hyperparameters cannot draw random numbers").help.push_back("draw in the model or in the loss");
    return poison();
  }
  TensorValue t;
  t.dims = x->dims;
  t.span = ctx.place(call.span);
  // Several places of a dimension for each row of the batch are elements of that row.
  Shape shape = shape_of(t.dims), drawn = shape;
  if (!drawn.empty() && drawn[0].rows && drawn[0].size != 1) {
    drawn.insert(drawn.begin() + 1, Extent{drawn[0].size, false});
    drawn.set_size(0, 1);
  }
  int64_t elements = 1;
  for (const Extent& e : drawn) elements = e.size > max_drawn_elements / elements ? max_drawn_elements + 1 : elements * e.size;
  if (elements > max_drawn_elements) {
    ctx.error(Code::E0111, call.span, fmt::format("{} has more than 2^34 elements for each row, which is as many as one place draws", ctx.dims.show(t.dims)));
    return poison();
  }
  Builder b = ctx.builder(call.span);
  NodeId draw = b.random(ctx.next_site(), std::move(drawn));
  t.node = b.reshape(draw, std::move(shape));
  return Value::of(t);
}

Value builtin_cast(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  auto a = read(eval, call, {"x"}, 1);
  if (!a) return poison();
  // A whole number is one of the type at once; a fraction is f64 on its way to an integer, so that it loses its fraction alone.
  const Value& v = (*a)[0]->value;
  const DType to = *parse_dtype(call.name);
  DType met = to == DType::boolean ? DType::f64 : to;
  if (std::optional<double> x = ctx.number_of(v); x && !is_float(to) && !v.is_size) met = DType::f64;
  std::optional<TensorValue> x = tensors.as_tensor(v, (*a)[0]->span, met);
  if (!x) return poison();
  TensorValue t = tensors.cast(*x, to, call.span);
  t.is_class = t.is_run_number = false;
  t.free = x->free;
  t.span = ctx.place(call.span);
  return Value::of(t);
}

Value builtin_reduce(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  if ((call.name == "max" || call.name == "min") && call.arguments.size() == 2 && call.arguments[1].name.empty())
    return builtin_pairwise(eval, call);
  auto a = read(eval, call, {"x", "over"}, 1);
  if (!a) return poison();
  Span x_span = (*a)[0]->span;
  std::optional<TensorValue> given = tensors.as_tensor((*a)[0]->value, x_span);
  if (!given) return poison();
  TensorValue x = *given;
  std::vector<int> indices;
  if (!read_over(eval, call, (*a)[1], x, x_span, indices)) return poison();
  if (call.name == "argmax") {
    if (indices.size() != 1) {
      ctx.error(Code::E0202, call.span, "`argmax` needs one dimension").help.push_back("write `argmax(x, over: D)`");
      return poison();
    }
    if (x.dtype == DType::boolean) x = tensors.to_float(x, call.span);
    Dim classes = x.dims[size_t(indices[0])];
    TensorValue t = tensors.reduce(Op::argmax, x, indices, call.span);
    t.is_class = true;
    t.classes = classes;
    return Value::of(t);
  }
  bool keeps_integers = call.name == "max" || call.name == "min";
  bool was_class = x.is_class;
  x = tensors.cast(x, keeps_integers && x.dtype == DType::i32 ? DType::i32 : arithmetic_type(x), call.span);
  if (!is_float(x.dtype) && (call.name == "mean" || call.name == "logsumexp"))
    x = tensors.to_float(x, call.span);
  if (was_class && !keeps_integers) x = tensors.to_float(x, call.span);
  if (indices.empty()) {
    TensorValue t = x;
    t.span = ctx.place(call.span);
    return Value::of(t);
  }
  if (call.name == "sum") return Value::of(tensors.reduce(Op::reduce_sum, x, indices, call.span));
  if (call.name == "max") return Value::of(tensors.reduce(Op::reduce_max, x, indices, call.span));
  if (call.name == "min") return Value::of(tensors.reduce(Op::reduce_min, x, indices, call.span));
  if (call.name == "mean") return Value::of(tensors.mean(x, indices, call.span));
  return Value::of(tensors.logsumexp(x, indices, call.span));
}

Value builtin_softmax(SymbolicEvaluator& eval, const BuiltinCall& call) {
  TensorBuilder& tensors = eval.tensors;
  auto a = read(eval, call, {"x", "over"}, 1);
  if (!a) return poison();
  std::optional<TensorValue> given = tensors.as_tensor((*a)[0]->value, (*a)[0]->span);
  if (!given) return poison();
  TensorValue x = tensors.to_float(*given, call.span);
  std::vector<int> indices;
  if (!read_over(eval, call, (*a)[1], x, (*a)[0]->span, indices)) return poison();
  TensorValue largest = tensors.unary(Op::stop_gradient, tensors.reduce(Op::reduce_max, x, indices, call.span), call.span);
  TensorValue shifted = tensors.binary(Op::sub, x, tensors.back(largest, indices, x, call.span), call.span);
  TensorValue e = tensors.unary(Op::exp, shifted, call.span);
  TensorValue sum = tensors.reduce(Op::reduce_sum, e, indices, call.span);
  if (call.name == "softmax") return Value::of(tensors.binary(Op::div, e, tensors.back(sum, indices, x, call.span), call.span));
  return Value::of(tensors.binary(Op::sub, shifted, tensors.back(tensors.unary(Op::log, sum, call.span), indices, x, call.span), call.span));
}

// Mean and variance (the mean of the squared distances). The mean is corrected by the mean distance from it, which rounding alone makes other than 0 (so it takes
// no part in the gradient): equal numbers then have exactly their value as mean, and no variance.
Value builtin_moments(SymbolicEvaluator& eval, const BuiltinCall& call) {
  TensorBuilder& tensors = eval.tensors;
  auto a = read(eval, call, {"x", "over"}, 1);
  if (!a) return poison();
  std::optional<TensorValue> given = tensors.as_tensor((*a)[0]->value, (*a)[0]->span);
  if (!given) return poison();
  TensorValue x = tensors.to_float(*given, call.span);
  std::vector<int> indices;
  if (!read_over(eval, call, (*a)[1], x, (*a)[0]->span, indices)) return poison();
  TensorValue first = tensors.mean(x, indices, call.span);
  TensorValue fixed = tensors.unary(Op::stop_gradient, first, call.span);
  TensorValue error = tensors.mean(tensors.binary(Op::sub, x, tensors.back(fixed, indices, x, call.span), call.span), indices, call.span);
  TensorValue centre = tensors.binary(Op::add, first, tensors.unary(Op::stop_gradient, error, call.span), call.span);
  TensorValue distance = tensors.binary(Op::sub, x, tensors.back(centre, indices, x, call.span), call.span);
  TensorValue variance = tensors.mean(tensors.binary(Op::mul, distance, distance, call.span), indices, call.span);
  return Value::of_items(ValueKind::tuple, {Value::of(centre), Value::of(variance)});
}

Value builtin_fill(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  auto a = read(eval, call, {"dimensions"}, 1);
  if (!a) return poison();
  const Value& v = (*a)[0]->value;
  if (!v.is(ValueKind::array)) {
    ctx.error(Code::E0206, (*a)[0]->span, fmt::format("`{}` needs dimensions", call.name))
        .help.push_back(fmt::format("write `{}([4, 10]{})`", call.name, call.name == "classes" ? ", of: 3" : ""));
    return poison();
  }
  Dims dims;
  const ast::Expr* written = (*a)[0]->expr;
  for (size_t i = 0; i < v.items.size(); ++i) {
    Span at = written && written->kind == ast::ExprKind::array ? written->operands[i]->span : (*a)[0]->span;
    std::optional<DimSum> sum = ctx.size_sum(v.items[i], at, ctx.program.sources->text(at));
    if (!sum) return poison();
    dims.push_back(ctx.dims.to_dim(*sum, {ctx.place(call.span), fmt::format("from {}", ctx.quote(ctx.place(call.span), "here"))}));
  }
  if (!tensors.check_rows(dims, call.span)) return poison();
  return Value::of(tensors.constant(call.name == "ones", DType::f32, dims, call.span));
}

Value builtin_classes(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  auto a = read(eval, call, {"dimensions", "of"}, 2);
  if (!a) return poison();
  BuiltinCall fill{call.name, call.span, call.name_span, {*(*a)[0]}};
  fill.arguments[0].name.clear();
  Value zeros = builtin_fill(eval, fill);
  std::optional<DimSum> count = ctx.size_sum((*a)[1]->value, (*a)[1]->span, ctx.program.sources->text((*a)[1]->span));
  if (!zeros.is(ValueKind::tensor) || !count) return poison();
  TensorValue t = tensors.constant(0, DType::i32, zeros.tensor.dims, call.span);
  t.is_class = true;
  t.classes = ctx.dims.to_dim(*count, {ctx.place(call.span), fmt::format("from {}", ctx.quote(ctx.place(call.span), "here"))});
  return Value::of(t);
}

Value builtin_shape(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  std::optional<TensorValue> x = read_tensor(eval, call);
  if (!x) return poison();
  std::vector<Value> sizes;
  for (const Dim& d : x->dims) {
    Value v = Value::of_number(double(d.extent.size));
    v.is_size = true;
    v.sum = ctx.dims.to_sum(d);
    sizes.push_back(std::move(v));
  }
  return Value::of_items(ValueKind::array, std::move(sizes));
}

// How many values a reduction over those dimensions takes: a size, which may be a multiple of the rows.
Value builtin_count(SymbolicEvaluator& eval, const BuiltinCall& call) {
  auto a = read(eval, call, {"x", "over"}, 1);
  if (!a) return poison();
  std::optional<TensorValue> x = eval.tensors.as_tensor((*a)[0]->value, (*a)[0]->span);
  std::vector<int> indices;
  if (!x || !read_over(eval, call, (*a)[1], *x, (*a)[0]->span, indices)) return poison();
  Value v = Value::of_size(1);
  for (int i : indices) {
    const Dim& d = x->dims[size_t(i)];
    v.sum = multiply(v.sum, eval.ctx.dims.to_sum(d));
    v.number *= double(d.extent.size);
  }
  return v;
}

Value builtin_rank(SymbolicEvaluator& eval, const BuiltinCall& call) {
  std::optional<TensorValue> x = read_tensor(eval, call);
  return x ? Value::of_size(int64_t(x->dims.size())) : poison();
}

// Whether it is a number before a run: no tensor, no number of the run, no choice.
Value builtin_known(SymbolicEvaluator& eval, const BuiltinCall& call) {
  auto a = read(eval, call, {"x"}, 1);
  return a ? Value::of_bool(eval.ctx.number_of((*a)[0]->value).has_value()) : poison();
}

Value builtin_stack(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  auto a = read(eval, call, {"count", "layer"}, 2);
  if (!a) return poison();
  std::optional<int64_t> count = ctx.integer_of((*a)[0]->value);
  if (!count || *count < 0 || *count > 10000) {
    ctx.error(Code::E0304, (*a)[0]->span,
              "the count of `stack` must be a whole number from 0 to 10000 that is known at compile time");
    return poison();
  }
  Value inner = (*a)[1]->value;
  if (inner.is(ValueKind::callable) && inner.overloads[0]->is_layer()) inner = eval.calls.make_template(inner, {}, (*a)[1]->span);
  if (!inner.is(ValueKind::layer) || inner.layer->is_instance) {
    std::string name = ctx.quote((*a)[1]->span, "this");
    if (inner.is(ValueKind::layer))
      ctx.error(Code::E0207, (*a)[1]->span, fmt::format("`stack` makes instances of its own, and {} is one already", name))
          .help.push_back("write the layer with its sizes instead: `stack(2, Dense(64))`");
    else
      ctx.error(Code::E0207, (*a)[1]->span, fmt::format("`stack` needs a layer, and {} is none", name));
    return poison();
  }
  auto layer = std::make_shared<LayerTemplate>();
  layer->span = call.span;
  layer->count = *count;
  layer->inner = inner.layer;
  Value v;
  v.kind = ValueKind::layer;
  v.layer = layer;
  return v;
}

Value builtin_distribution(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  bool is_uniform = call.name == "uniform", is_orthogonal = call.name == "orthogonal";
  auto a = is_uniform      ? read(eval, call, {"bound", "high"}, 1)
           : is_orthogonal ? read(eval, call, {"gain"}, 0)
                           : read(eval, call, {"deviation", "mean", "zero"}, 1);
  if (!a) return poison();
  double numbers[3] = {is_orthogonal ? 1.0 : 0.0, 0, -1};
  for (size_t i = 0; i < a->size(); ++i) {
    if (!(*a)[i]) continue;
    std::optional<double> x = ctx.number_of((*a)[i]->value);
    if (!x) {
      ctx.error(Code::E0212, (*a)[i]->span, fmt::format("`{}` needs numbers that are known at compile time", call.name));
      return poison();
    }
    if (!std::isfinite(*x)) {
      ctx.error(Code::E0304, (*a)[i]->span, fmt::format("`{}` needs finite numbers, found {}", call.name, *x));
      return poison();
    }
    numbers[i] = *x;
  }
  if (is_orthogonal) return Value::of_distribution({Initializer::Kind::orthogonal, numbers[0], 0});
  if (is_uniform) {
    double low = (*a)[1] ? numbers[0] : -numbers[0], high = (*a)[1] ? numbers[1] : numbers[0];
    if (low > high) {
      ctx.error(Code::E0304, (*a)[0]->span, fmt::format("`uniform` from {} to {} is empty", low, high))
          .help.push_back("write `uniform(0.1)` for -0.1 to 0.1, or `uniform(low, high)`");
      return poison();
    }
    return Value::of_distribution({Initializer::Kind::uniform, low, high});
  }
  if (numbers[0] < 0) {
    ctx.error(Code::E0304, (*a)[0]->span, "a standard deviation cannot be negative");
    return poison();
  }
  Initializer initializer{call.name == "normal" ? Initializer::Kind::normal : Initializer::Kind::truncated_normal, numbers[1], numbers[0]};
  if (a->size() > 2 && (*a)[2]) {
    std::optional<int64_t> row = ctx.integer_of((*a)[2]->value);
    if (!row || *row < 0) {
      ctx.error(Code::E0304, (*a)[2]->span, fmt::format("`zero` is the number of a row, counted from 0, found {}", numbers[2]));
      return poison();
    }
    initializer.zero_row = *row;
  }
  return Value::of_distribution(initializer);
}

Value builtin_gradient(SymbolicEvaluator& eval, const BuiltinCall& call) {
  if (eval.ctx.test) return eval.ctx.test->gradient(call);
  eval.ctx.error(Code::E0208, call.span, "`gradient` stands in tests only").help.push_back("training differentiates by itself");
  return poison();
}

}  // namespace

const std::unordered_map<std::string_view, Builtin>& builtins() {
  static const std::unordered_map<std::string_view, Builtin> table = [] {
    std::unordered_map<std::string_view, Builtin> t;
    for (const char* n : {"exp", "expm1", "log", "log1p", "sqrt", "abs", "sign", "floor", "ceil", "round", "sin", "cos", "tanh",
                          "sigmoid", "erf", "normal_cdf"})
      t[n] = builtin_unary;
    for (const char* n : {"maximum", "minimum", "pow", "copysign"}) t[n] = builtin_pairwise;
    for (const char* n : {"sum", "mean", "max", "min", "logsumexp", "argmax"}) t[n] = builtin_reduce;
    for (const char* n : {"softmax", "log_softmax"}) t[n] = builtin_softmax;
    for (const char* n : {"f32", "f64", "i32", "i64", "bool"}) t[n] = builtin_cast;
    for (const char* n : {"zeros", "ones"}) t[n] = builtin_fill;
    for (const char* n : {"normal", "uniform", "truncated_normal", "orthogonal"}) t[n] = builtin_distribution;
    t["concat"] = builtin_concat;
    t["split"] = builtin_split;
    t["pair"] = builtin_pair;
    t["where"] = builtin_where;
    t["index"] = builtin_index;
    t["spread"] = builtin_spread;
    t["stop_gradient"] = builtin_stop_gradient;
    t["uniform_like"] = builtin_uniform_like;
    t["moments"] = builtin_moments;
    t["classes"] = builtin_classes;
    t["shape"] = builtin_shape;
    t["count"] = builtin_count;
    t["rank"] = builtin_rank;
    t["known"] = builtin_known;
    t["stack"] = builtin_stack;
    t["gradient"] = builtin_gradient;
    return t;
  }();
  return table;
}

bool is_builtin_name(std::string_view name) { return std::binary_search(builtin_names().begin(), builtin_names().end(), name); }

const std::vector<std::string_view>& builtin_names() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> sorted;
    for (const auto& [name, f] : builtins()) sorted.push_back(name);
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  }();
  return names;
}

bool gives_distribution(std::string_view builtin) { return builtins().at(builtin) == &builtin_distribution; }

}  // namespace nnc
