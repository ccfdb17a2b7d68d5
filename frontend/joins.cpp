// What joins values along a dimension, what cuts one, and what stands for two numbers. A join is a sum of its values, each with zeros in place of the others.
#include "frontend/joins.h"

#include <fmt/format.h>

#include <algorithm>

#include "frontend/evaluator.h"

namespace nnc {

namespace {

/// Index of the dimension in x, or an error.
std::optional<int> find_dimension(SymbolicEvaluator& eval, const BuiltinCall& call, const CallArgument& over, uint32_t id, const TensorValue& x, Span x_span) {
  CallArgument one = over;
  one.value = eval.ctx.dim_value(id);
  std::vector<int> indices;
  if (!read_over(eval, call, &one, x, x_span, indices)) return std::nullopt;
  if (x.dims[size_t(indices[0])].extent.rows) {
    eval.ctx.error(Code::E0113, over.span, fmt::format("`{}` cannot go along the rows of a batch: their number is known only at run time", call.name));
    return std::nullopt;
  }
  return indices[0];
}

/// x as the value of a join with `first`: the same dimensions in the same order but for the one that is joined.
std::optional<TensorValue> brought_beside(SymbolicEvaluator& eval, const TensorValue& first, int first_index, Span first_span, const TensorValue& x,
                                          int index, Span x_span, Span span) {
  TensorValue a = first, b = x;
  a.dims[size_t(first_index)].extent = {1, false};
  b.dims[size_t(index)] = a.dims[size_t(first_index)];
  std::optional<Alignment> alignment = eval.tensors.find_alignment(a, b, "`concat`", span, first_span, x_span);
  if (!alignment) return std::nullopt;
  if (alignment->dims.size() != a.dims.size() || a.dims.size() != b.dims.size()) {
    EvaluationContext& ctx = eval.ctx;
    Diagnostic& e = ctx.error(Code::E0102, x_span,
                              fmt::format("`concat` needs the same dimensions beside those that it joins: {} is {}, and {} is {}",
                                          ctx.quote(first_span, "the first"), ctx.dims.show(first.dims), ctx.quote(x_span, "this"), ctx.dims.show(x.dims)));
    e.help.push_back("operands align by name; `spread(x, over: D)` repeats one along a dimension that it lacks");
    return std::nullopt;
  }
  std::vector<int> order(b.dims.size());
  for (size_t i = 0; i < b.dims.size(); ++i)
    order[size_t(std::find(alignment->from_a.begin(), alignment->from_a.end(), alignment->from_b[i]) - alignment->from_a.begin())] = int(i);
  return eval.tensors.reorder(x, order, span);
}

bool are_of_the_same_classes(const std::vector<TensorValue>& values) {
  auto is_alike = [&](const TensorValue& t) { return t.is_class && t.classes.extent == values[0].classes.extent && t.dtype == values[0].dtype; };
  return std::all_of(values.begin(), values.end(), is_alike);
}

}  // namespace

Value builtin_concat(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  const CallArgument* over = nullptr;
  std::vector<const CallArgument*> given;
  for (const CallArgument& a : call.arguments) {
    if (is_poison(a.value)) return poison();
    if (a.name.empty()) {
      given.push_back(&a);
    } else if (a.name != "over" || over) {
      ctx.error(Code::E0204, a.name_span, over && a.name == "over" ? "`over` of `concat` is given twice" : fmt::format("`concat` has no option `{}`", a.name))
          .help.push_back("write `concat(a, b, over: C)`, or `over: (C, D)` where the joined dimensions have names of their own");
      return poison();
    } else {
      over = &a;
    }
  }
  if (given.size() == 1 && given[0]->value.is(ValueKind::tuple)) {
    ctx.error(Code::E0202, call.span, "`concat` takes its values one by one: `concat(a, b, over: C)`");
    return poison();
  }
  if (!over || given.size() < 2) {
    ctx.error(Code::E0202, call.span, over ? "`concat` needs two values or more" : "`concat` needs `over`")
        .help.push_back("write `concat(a, b, over: C)`, or `over: (C, D)` where the joined dimensions have names of their own");
    return poison();
  }
  std::optional<std::vector<uint32_t>> ids = over_ids(eval, call.name, over->value, over->span);
  if (!ids) return poison();
  if (ids->size() != 1 && ids->size() != given.size()) {
    ctx.error(Code::E0202, over->span, fmt::format("`over` names {} dimensions for {} values", ids->size(), given.size()))
        .help.push_back("name one that all have, or one for each");
    return poison();
  }
  std::vector<TensorValue> values;
  std::vector<int> indices;
  for (size_t i = 0; i < given.size(); ++i) {
    std::optional<TensorValue> t = eval.tensors.as_tensor(given[i]->value, given[i]->span);
    if (!t) return poison();
    std::optional<int> index = find_dimension(eval, call, *over, (*ids)[ids->size() == 1 ? 0 : i], *t, given[i]->span);
    if (!index) return poison();
    values.push_back(*t);
    indices.push_back(*index);
  }
  const bool is_class = are_of_the_same_classes(values);
  TensorValue result = values[0];
  for (const TensorValue& t : values)
    if (!is_class) {
      result.dtype = common_type(result, t, false);
      result.is_class = false;
    }
  DimSum length;
  for (size_t i = 0; i < values.size(); ++i) length = add(length, ctx.dims.to_sum(values[i].dims[size_t(indices[i])]));
  const size_t joined = size_t(indices[0]);
  result.dims[joined] = ctx.dims.to_dim(length, {ctx.place(call.span), "joined"});
  if (!eval.tensors.check_rows(result.dims, call.span)) return poison();
  const int axis = axis_of(result.dims, int(joined));
  Builder b = ctx.builder(call.span);
  int64_t begin = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    std::optional<TensorValue> t = brought_beside(eval, values[0], indices[0], given[0]->span, values[i], indices[i], given[i]->span, call.span);
    if (!t) return poison();
    *t = eval.tensors.cast(*t, result.dtype, call.span);
    const int64_t size = t->dims[joined].extent.size;
    NodeId padded = b.pad(t->node, axis, begin, result.dims[joined].extent);
    result.node = i == 0 ? padded : b.add(result.node, padded);
    begin += size;
  }
  result.free = result.is_run_number = false;
  result.span = ctx.place(call.span);
  return Value::of(result);
}

Value builtin_split(SymbolicEvaluator& eval, const BuiltinCall& call) {
  EvaluationContext& ctx = eval.ctx;
  auto a = read(eval, call, {"x", "parts", "over"}, 3);
  if (!a) return poison();
  const CallArgument &parts = *(*a)[1], &over = *(*a)[2];
  std::optional<TensorValue> x = eval.tensors.as_tensor((*a)[0]->value, (*a)[0]->span);
  if (!x) return poison();
  std::optional<std::vector<uint32_t>> ids = over_ids(eval, call.name, over.value, over.span);
  if (!ids) return poison();
  if (ids->size() != 1) {
    ctx.error(Code::E0206, over.span, fmt::format("`split` cuts one dimension, not {}", ids->size()));
    return poison();
  }
  std::optional<int> index = find_dimension(eval, call, over, (*ids)[0], *x, (*a)[0]->span);
  if (!index) return poison();
  const Dim d = x->dims[size_t(*index)];
  std::vector<DimSum> sizes;
  if (parts.value.is(ValueKind::tuple)) {
    DimSum total;
    for (const Value& v : parts.value.items) {
      std::optional<DimSum> size = ctx.size_sum(v, parts.span, "a part's size");
      if (!size) return poison();
      total = add(total, *size);
      sizes.push_back(*size);
    }
    std::optional<Extent> all = ctx.dims.evaluate(total);
    if (!all || *all != d.extent) {
      Diagnostic& e = ctx.error(Code::E0102, parts.span,
                                fmt::format("the parts have {} entries together, and `{}` has {}", all ? to_string(*all) : "too many",
                                            ctx.dims.show(d), d.extent.size));
      if (all) ctx.settle(e, {all->size, d.extent.size});
      return poison();
    }
  } else {
    std::optional<int64_t> count = ctx.integer_of(parts.value);
    std::optional<DimSum> size = count && *count > 0 ? ctx.dims.divide(ctx.dims.to_sum(d), number_sum(*count), false) : std::nullopt;
    if (!count || *count < 1) {
      ctx.error(Code::E0206, parts.span,
                "`parts` is how many equal parts there are, or the size of each: `split(x, 2, over: C)`, `split(x, (16, 48), over: C)`");
      return poison();
    }
    if (!size) {
      Diagnostic& e = ctx.error(Code::E0105, parts.span,
                                fmt::format("{} entries of `{}` do not come out even in {} parts", d.extent.size, ctx.dims.show(d), *count));
      ctx.settle(e, {d.extent.size, *count});
      e.help.push_back(fmt::format("give each part its size: `split(x, ({}, {}), over: {})`", d.extent.size - d.extent.size / 2, d.extent.size / 2, ctx.dims.show(d)));
      return poison();
    }
    sizes.assign(size_t(*count), *size);
  }
  std::vector<Value> cut;
  int64_t begin = 0;
  for (const DimSum& size : sizes) {
    TensorValue part = *x;
    part.dims[size_t(*index)] = ctx.dims.to_dim(size, {ctx.place(call.span), "split"});
    const int64_t length = part.dims[size_t(*index)].extent.size;
    part.node = ctx.builder(call.span).slice(x->node, axis_of(x->dims, *index), begin, {length, false});
    part.free = false;
    part.span = ctx.place(call.span);
    cut.push_back(Value::of(part));
    begin += length;
  }
  return Value::of_items(ValueKind::tuple, std::move(cut));
}

Value builtin_pair(SymbolicEvaluator& eval, const BuiltinCall& call) {
  auto a = read(eval, call, {"x"}, 1);
  if (!a) return poison();
  const Value& v = (*a)[0]->value;
  if (!v.is(ValueKind::tuple)) return Value::of_items(ValueKind::tuple, {v, v});
  if (v.items.size() == 2) return v;
  EvaluationContext& ctx = eval.ctx;
  Diagnostic& e = ctx.error(Code::E0206, (*a)[0]->span, fmt::format("one number or two are needed, as in `3` and `(3, 5)`, found {}", v.items.size()));
  if (ctx.frame->file->is_std && (*a)[0]->expr) e.span_text = fmt::format("`{}` of this call", ctx.program.sources->text((*a)[0]->span));
  return poison();
}

}  // namespace nnc
