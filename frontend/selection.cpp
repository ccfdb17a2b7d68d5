// Selection by name (`x[T: 3]`, `x[T: 0..16]`, `table[Vocab: tokens]`) and views (`x as [B, T, Heads, D]`).
#include "frontend/selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "frontend/evaluator.h"
#include "frontend/windows.h"

namespace nnc {

namespace {

std::optional<TensorValue> drop_unit(SymbolicEvaluator& eval, const TensorValue& t, int index, Span span) {
  EvaluationContext& ctx = eval.ctx;
  TensorValue result = t;
  result.dims.erase(result.dims.begin() + index);
  result.node = ctx.builder(span).reshape(t.node, shape_of(result.dims));
  return result;
}

// The index's own dimensions take the place of the selected one; names that both have are aligned.
std::optional<TensorValue> gather(SymbolicEvaluator& eval, const TensorValue& t, int index, const TensorValue& by, Span span,
                                  Span selector_span) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  const Dim d = t.dims[size_t(index)];
  if (is_float(by.dtype) || by.dtype == DType::boolean) {
    ctx.error(Code::E0206, selector_span, fmt::format("an index must be integers, found {}", dtype_name(by.dtype)))
        .help.push_back(by.free ? "a window counts in whole steps: factors and offsets are whole numbers, and `/` divides by one of at least 1"
                                : "declare it as `class(N)` or `i32`");
    return std::nullopt;
  }
  if (d.extent.rows) {
    ctx.error(Code::E0113, selector_span, "rows of a batch cannot be selected: their number is known only at run time");
    return std::nullopt;
  }
  if (by.is_class && by.classes.extent.size > d.extent.size) {
    Diagnostic& e = ctx.error(Code::E0101, selector_span,
                              fmt::format("{} has {} classes, but `{}` has {} entries", ctx.quote(selector_span, "the index"),
                                          by.classes.extent.size, ctx.dims.show(d), d.extent.size));
    if (std::string origin = ctx.describe_origin(by.classes.origin); !origin.empty())
      e.notes.push_back(fmt::format("class({}), {}", by.classes.extent.size, origin));
    if (std::string origin = ctx.describe_origin(d.origin); !origin.empty())
      e.notes.push_back(fmt::format("{} = {}, {}", ctx.dims.show(d), d.extent.size, origin));
    return std::nullopt;
  }
  if (!tensors.check_distinct(t, "selection", span) || !tensors.check_distinct(by, "selection", selector_span)) return std::nullopt;
  std::vector<int> lhs(t.dims.size()), rhs(by.dims.size());
  for (size_t i = 0; i < t.dims.size(); ++i) lhs[size_t(axis_of(t.dims, int(i)))] = int(i);
  std::vector<int> labels(by.dims.size());
  TensorValue result;
  std::vector<int> result_labels;
  for (size_t j = 0; j < by.dims.size(); ++j) {
    labels[j] = int(t.dims.size() + j);
    for (size_t i = 0; i < t.dims.size(); ++i)
      if (by.dims[j].named() && t.dims[i].id == by.dims[j].id) labels[j] = int(i);
    if (labels[j] == index) {
      ctx.error(Code::E0103, selector_span, fmt::format("the index has the selected dimension `{}` itself", ctx.dims.show(d)))
          .help.push_back(fmt::format("give one its own name: `dim S = {}`", ctx.dims.show(d)));
      return std::nullopt;
    }
    rhs[size_t(axis_of(by.dims, int(j)))] = labels[j];
  }
  for (size_t i = 0; i < t.dims.size(); ++i) {
    if (int(i) != index) {
      result.dims.push_back(t.dims[i]);
      result_labels.push_back(int(i));
      continue;
    }
    for (size_t j = 0; j < by.dims.size(); ++j)
      if (labels[j] >= int(t.dims.size())) {
        result.dims.push_back(by.dims[j]);
        result_labels.push_back(labels[j]);
      }
  }
  if (!tensors.check_rows(result.dims, span)) return std::nullopt;
  Attributes a;
  a.axes = {axis_of(t.dims, index)};
  a.lhs = lhs;
  a.rhs = rhs;
  a.out.resize(result.dims.size());
  for (size_t k = 0; k < result.dims.size(); ++k) a.out[size_t(axis_of(result.dims, int(k)))] = result_labels[k];
  result.dtype = t.dtype;
  result.node = ctx.graph.add(Op::gather, {t.node, by.node}, std::move(a), ctx.place(span), ctx.frame->path);
  return result;
}

/// What windows read outside of the selected dimension, and whether one did.
struct Outside {
  std::optional<Number> number;
  bool is_used = false;
};

std::optional<TensorValue> select_one(SymbolicEvaluator& eval, const TensorValue& t, const ast::Selector& s, Span span, Span value_span, Outside& outside) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  std::optional<Dim> dim = eval.evaluate_dim(*s.dim);
  Value by = eval.evaluate(*s.value);
  if (!dim || is_poison(by)) return std::nullopt;
  std::string name(ctx.program.sources->text(s.dim->span));
  if (!dim->named()) {
    ctx.error(Code::E0110, s.dim->span, fmt::format("selection is by name, and `{}` is a number", name))
        .help.push_back(fmt::format("give the dimension a name: `dim Classes = {}`", name));
    return std::nullopt;
  }
  int index = -1;
  for (size_t i = 0; i < t.dims.size(); ++i) {
    if (t.dims[i].id != dim->id) continue;
    if (index >= 0) {
      tensors.check_distinct(t, "selection", value_span);
      return std::nullopt;
    }
    index = int(i);
  }
  if (index < 0) {
    ctx.error(Code::E0107, s.dim->span, fmt::format("{} has no dimension `{}`", ctx.dims.show(t.dims), name))
        .labels.push_back({ctx.place(value_span), ctx.describe_dims_with_origin(t)});
    return std::nullopt;
  }
  const Dim d = t.dims[size_t(index)];
  if (by.is(ValueKind::tensor)) {
    std::optional<AffineIndex> affine = d.extent.rows || by.tensor.is_class ? std::nullopt : read_affine(ctx.graph, by.tensor.node);
    std::optional<WindowPlan> plan = affine ? plan_window(t, index, by.tensor, *affine) : std::nullopt;
    if (!plan) {
      if (affine && !check_inside(eval, d, by.tensor, *affine, s.value->span)) return std::nullopt;
      return gather(eval, t, index, by.tensor, span, s.value->span);
    }
    outside.is_used = true;
    return make_window(eval, t, index, by.tensor, *affine, *plan, outside.number, span, s.value->span);
  }
  Span at = s.value->span;
  if (d.extent.rows) {
    ctx.error(Code::E0113, at,
              fmt::format("`{}` counts the rows of a batch, whose number is known only at run time: it has no fixed places", name));
    return std::nullopt;
  }
  auto out_of_range = [&](int64_t first, int64_t end) {
    Diagnostic& e =
        ctx.error(Code::E0114, at,
                  fmt::format("{} lies outside of `{}`, which has {} entries",
                              end == first + 1 ? std::to_string(first) : fmt::format("{}..{}", first, end), name, d.extent.size));
    if (by.is(ValueKind::range) && by.items[1].is_size && !is_constant(by.items[1].sum)) {  // `position[Ctx: 0..T]`, of a longer sequence than there are positions
      e.span_text = fmt::format("{} = {}", ctx.dims.show(by.items[1].sum), end);
      if (first == 0) e.help.push_back(fmt::format("`{}` has to be at least {} for it, or {} at most {}", name, end, ctx.dims.show(by.items[1].sum), d.extent.size));
    }
    ctx.settle(e, {first, end, d.extent.size});
    return std::nullopt;
  };
  TensorValue result = t;
  if (by.is(ValueKind::range)) {
    std::optional<int64_t> first = ctx.integer_of(by.items[0]), end = ctx.integer_of(by.items[1]);
    if (!first || !end) {
      ctx.error(Code::E0212, at, "the bounds of a range must be whole numbers that are known at compile time");
      return std::nullopt;
    }
    if (*first >= *end) {
      ctx.settle(ctx.error(Code::E0114, at, fmt::format("{}..{} selects nothing: a range ends before its end", *first, *end)),
                 {*first, *end});
      return std::nullopt;
    }
    if (*first < 0 || *end > d.extent.size) return out_of_range(*first, *end);
    result.node = ctx.builder(span).slice(t.node, axis_of(t.dims, index), *first, {*end - *first, false});
    DimSum length =
        by.items[0].is_size && by.items[1].is_size ? add(by.items[1].sum, by.items[0].sum, -1) : number_sum(*end - *first);
    result.dims[size_t(index)] = ctx.dims.to_dim(length, {ctx.place(at), "selected"});
    return result;
  }
  std::optional<int64_t> at_index = ctx.integer_of(by);
  if (!at_index) {
    ctx.error(Code::E0206, at, "a place is selected by a whole number, a range or a tensor of integers");
    return std::nullopt;
  }
  if (*at_index < 0 || *at_index >= d.extent.size) return out_of_range(*at_index, *at_index + 1);
  result.node = ctx.builder(span).slice(t.node, axis_of(t.dims, index), *at_index, {1, false});
  result.dims[size_t(index)].extent = {1, false};
  return drop_unit(eval, result, index, span);
}

bool is_outside(const ast::Selector& s) { return !s.dim; }

}  // namespace

Value select(SymbolicEvaluator& eval, const TensorValue& t, const ast::Expr& e) {
  EvaluationContext& ctx = eval.ctx;
  TensorValue result = t;
  Outside outside;
  const ast::Selector* outside_selector = nullptr;
  for (const ast::Selector& s : e.selectors) {
    if (!is_outside(s)) continue;
    outside_selector = &s;
    Value v = eval.evaluate(*s.value);
    if (is_poison(v)) return poison();
    outside.number = ctx.number_of(v) ? std::optional(exact_number(v)) : std::nullopt;
    if (!outside.number) {
      ctx.error(Code::E0212, s.value->span, "what stands outside must be a number that is known at compile time");
      return poison();
    }
    if (!is_value_of(t.dtype, rounded_to(t.dtype, *outside.number))) {
      ctx.error(Code::E0116, s.value->span, fmt::format("{} is not a number of {}", number_text(*outside.number), dtype_name(t.dtype)));
      return poison();
    }
    outside.number = rounded_to(t.dtype, *outside.number);
    if (const double number = *outside.number; t.is_class && (number < 0 || number >= double(t.classes.extent.size))) {
      ctx.error(Code::E0116, s.value->span, fmt::format("{} is none of the {} classes", number_text(*outside.number), t.classes.extent.size));
      return poison();
    }
  }
  for (const ast::Selector& s : e.selectors) {
    if (is_outside(s)) continue;
    std::optional<TensorValue> next = select_one(eval, result, s, e.span, e.operands[0]->span, outside);
    if (!next) return poison();
    result = *next;
    result.span = ctx.place(e.span);
  }
  if (outside_selector && !outside.is_used) {
    ctx.error(Code::E0114, outside_selector->span, "`outside` is for windows, and nothing here selects one")
        .help.push_back("the index of a window counts along dimensions: `x[T: index(S) - 1, outside: 0]`");
    return poison();
  }
  return Value::of(result);
}

// Names on both sides stay; the rest of the value, in order, is read row-major as the rest of the target.
Value view(SymbolicEvaluator& eval, const TensorValue& t, const ast::Expr& e) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  if (!tensors.check_distinct(t, "`as`", e.operands[0]->span)) return poison();
  struct Entry {
    Dim dim;
    bool is_unknown = false;
    int source = -1;  // index in t.dims of a name that stays
  };
  std::vector<Entry> entries;
  for (const ast::ExprPtr& entry : e.dims.entries) {
    if (entry->kind == ast::ExprKind::underscore) {
      entries.push_back({{}, true, -1});
    } else if (entry->kind == ast::ExprKind::ellipsis) {
      if (!ctx.frame->ellipsis) {
        ctx.error(Code::E0201, entry->span, "`...` stands for nothing here: no argument of this definition has it");
        return poison();
      }
      for (const Dim& d : *ctx.frame->ellipsis) entries.push_back({d, false, -1});
    } else if (std::optional<Dim> d = eval.evaluate_dim(*entry)) {
      entries.push_back({*d, false, -1});
    } else {
      return poison();
    }
  }
  std::vector<bool> stays(t.dims.size(), false);
  for (Entry& entry : entries)
    for (size_t i = 0; i < t.dims.size(); ++i)
      if (!entry.is_unknown && entry.dim.named() && t.dims[i].id == entry.dim.id) {
        if (stays[i]) {
          ctx.error(Code::E0103, e.dims.span, fmt::format("dimension `{}` appears twice", ctx.dims.show(entry.dim)));
          return poison();
        }
        entry.source = int(i);
        stays[i] = true;
      }
  DimSum before = number_sum(1), after = number_sum(1);
  Dims rest;
  std::vector<int> rest_indices;
  for (size_t i = 0; i < t.dims.size(); ++i)
    if (!stays[i]) {
      rest.push_back(t.dims[i]);
      rest_indices.push_back(int(i));
      before = multiply(before, ctx.dims.to_sum(t.dims[i]));
    }
  Entry* unknown = nullptr;
  for (Entry& entry : entries) {
    if (entry.is_unknown) {
      if (unknown) {
        ctx.error(Code::E0105, e.dims.span, "only one `_` can be worked out");
        return poison();
      }
      unknown = &entry;
    } else if (entry.source < 0) {
      after = multiply(after, ctx.dims.to_sum(entry.dim));
    }
  }
  auto target_text = [&] { return std::string(ctx.program.sources->text(e.dims.span)); };
  std::optional<Extent> have = ctx.dims.evaluate(before), want = ctx.dims.evaluate(after);
  if (!have || !want) {
    ctx.error(Code::E0113, e.dims.span, "a view may have the number of rows in one dimension only");
    return poison();
  }
  if (unknown) {
    // A fixed size has no name unless the quotient is one name.
    std::optional<DimSum> quotient = ctx.dims.divide(before, after, false);
    bool is_name = quotient && quotient->size() == 1 && (*quotient)[0].atoms.size() == 1 && (*quotient)[0].factor == 1;
    if (quotient && (is_name || have->rows != want->rows))
      unknown->dim = ctx.dims.to_dim(*quotient, {ctx.place(e.span), "worked out"});
    else if (want->size > 0 && have->size % want->size == 0 && have->rows == want->rows)
      unknown->dim = {0, {have->size / want->size, false}, {ctx.place(e.span), "worked out"}};
    else {
      ctx.error(Code::E0105, e.span,
                fmt::format("cannot view {} as {}: {} values do not divide into groups of {}", ctx.dims.show(t.dims), target_text(),
                            have->size, want->size));
      return poison();
    }
  } else if (*have != *want) {
    bool by_row =
        std::any_of(t.dims.begin(), t.dims.end(), [](const Dim& d) { return d.extent.rows; }) && !have->rows && !want->rows;
    Dims target;
    for (const Entry& entry : entries) target.push_back(entry.dim);
    Dims sizes = t.dims, target_sizes = target;
    for (size_t i = 0; i < sizes.size(); ++i)
      if (!stays[i]) sizes[i].id = 0;
    for (size_t i = 0; i < target_sizes.size(); ++i)
      if (entries[i].source < 0) target_sizes[i].id = 0;
    std::string each = by_row ? " per row" : "";
    if (!by_row && rest.size() < t.dims.size()) {
      Dims staying;
      for (size_t i = 0; i < stays.size(); ++i)
        if (stays[i]) staying.push_back(t.dims[i]);
      each = fmt::format(" for each {}", staying.size() == 1 ? ctx.dims.show(staying[0]) : ctx.dims.show(staying));
    }
    Diagnostic& d = ctx.error(Code::E0105, e.span,
                              fmt::format("cannot view {} as {}: {} value{}{}, {} requested", ctx.dims.show(sizes),
                                          ctx.dims.show(target_sizes), to_string(*have), *have == Extent{1, false} ? "" : "s", each,
                                          to_string(*want)));
    ctx.settle(d, {have->size, want->size});
    if (ctx.dims.show(sizes) != ctx.dims.show(t.dims)) d.notes.push_back(fmt::format("the value is {}", ctx.describe_dims_with_origin(t)));
    return poison();
  }
  TensorValue result = t;
  result.dims.clear();
  for (const Entry& entry : entries) result.dims.push_back(entry.dim);
  result.span = ctx.place(e.span);
  if (!tensors.check_rows(result.dims, e.span)) return poison();
  if (rest.empty()) {  // a permutation
    if (entries.size() == t.dims.size()) {
      std::vector<int> order;
      for (const Entry& entry : entries) order.push_back(entry.source);
      TensorValue moved = tensors.reorder(t, order, e.span);
      moved.span = result.span;
      return Value::of(moved);
    }
  }
  // Bring the value into an order in which the rest is one run at the place where the target has its run; reshape; restore the
  // target's order.
  bool rows_in_rest = row_axis(rest) >= 0;
  std::vector<int> order;  // of t.dims
  Dims middle;             // after the reshape
  std::vector<int> final_order(entries.size());
  auto run_starts_at = [&]() -> int {  // names before the run in the target, if its rest is one run; else -1
    int first = -1, kept_before = 0;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].source >= 0) {
        if (first < 0) ++kept_before;
      } else {
        if (first >= 0 && entries[i - 1].source >= 0) return -1;
        if (first < 0) first = int(i);
      }
    }
    return first < 0 ? -1 : kept_before;
  };
  int start = run_starts_at();
  if (rows_in_rest) start = start == 0 ? 0 : -1;
  std::vector<int> kept;  // entries that stay, in the order they will have around the run
  for (size_t i = 0; i < entries.size(); ++i)
    if (entries[i].source >= 0) kept.push_back(int(i));
  if (start < 0) {
    start = rows_in_rest ? 0 : int(kept.size());
  }
  if (!rows_in_rest) {  // rows outermost
    auto row = std::find_if(kept.begin(), kept.end(), [&](int i) { return entries[size_t(i)].dim.extent.rows; });
    if (row != kept.end()) {
      if (row - kept.begin() >= start) ++start;
      start = std::min(start, int(kept.size()));
      std::rotate(kept.begin(), row, row + 1);
    }
  }
  auto put_kept = [&](int from, int to) {
    for (int k = from; k < to; ++k) {
      order.push_back(entries[size_t(kept[size_t(k)])].source);
      final_order[size_t(kept[size_t(k)])] = int(middle.size());
      middle.push_back(entries[size_t(kept[size_t(k)])].dim);
    }
  };
  put_kept(0, start);
  order.insert(order.end(), rest_indices.begin(), rest_indices.end());
  for (size_t i = 0; i < entries.size(); ++i)
    if (entries[i].source < 0) {
      final_order[i] = int(middle.size());
      middle.push_back(entries[i].dim);
    }
  put_kept(start, int(kept.size()));
  TensorValue moved = tensors.reorder(t, order, e.span);
  Dims new_rest;
  for (const Entry& entry : entries)
    if (entry.source < 0) new_rest.push_back(entry.dim);
  if (rows_in_rest && (row_axis(rest) > 0 || row_axis(new_rest) > 0)) {
    ctx.error(Code::E0113, e.span,
              fmt::format("the row dimension must come first among the dimensions that {} merges", target_text()));
    return poison();
  }
  moved.node = ctx.builder(e.span).reshape(moved.node, shape_of(middle));
  moved.dims = middle;
  TensorValue final_value = tensors.reorder(moved, final_order, e.span);
  final_value.span = result.span;
  return Value::of(final_value);
}

}  // namespace nnc
