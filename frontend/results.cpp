// Results: matched with those that the head declares, by name where both have names, and given back under the caller's names.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/evaluator.h"
#include "frontend/signatures.h"

namespace nnc {

namespace {

std::optional<TensorValue> match_result(SymbolicEvaluator& eval, const Definition& d, const ast::ResultType& declared, const TensorValue& t,
                                        Span span) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  struct Entry {
    const ast::Expr* expr;
    std::optional<Dim> dim;  // nothing: `_`
    int source = -1;
  };
  std::vector<Entry> entries;
  for (const ast::ExprPtr& e : declared.dims.entries) {
    if (e->kind == ast::ExprKind::ellipsis) {
      if (!ctx.frame->ellipsis) {
        ctx.error(Code::E0201, e->span, "`...` stands for nothing here: no argument of this definition has it");
        return std::nullopt;
      }
      for (const Dim& dim : *ctx.frame->ellipsis) entries.push_back({e.get(), dim, -1});
    } else if (e->kind == ast::ExprKind::underscore) {
      entries.push_back({e.get(), std::nullopt, -1});
    } else {
      std::optional<Dim> dim = eval.evaluate_dim(*e);
      if (!dim) return std::nullopt;
      entries.push_back({e.get(), dim, -1});
    }
  }
  auto misfit = [&](std::vector<int64_t> facts) -> std::optional<TensorValue> {
    Dims wanted;
    std::string text = "[";
    for (const Entry& e : entries) text += (text.size() > 1 ? ", " : "") + (e.dim ? ctx.dims.show(*e.dim) : "_");
    Diagnostic& e = ctx.error(Code::E0112, span,
                              fmt::format("`{}` declares the result {}], and its body gives {}", d.name(), text, ctx.dims.show(t.dims)));
    e.span_text = ctx.describe_dims_with_origin(t);
    if (!d.file->is_std) e.labels.push_back({declared.span, "declared here"});
    for (const Dim& dim : t.dims)
      for (const Entry& entry : entries)
        if (entry.dim && entry.dim->named() && dim.named() && entry.dim->id != dim.id && entry.dim->extent == dim.extent)
          e.notes.push_back(
              fmt::format("`{}` and `{}` have one size, but are two dimensions", ctx.dims.show(*entry.dim), ctx.dims.show(dim)));
    ctx.settle(e, std::move(facts));
    return std::nullopt;
  };
  if (entries.size() != t.dims.size()) return misfit({int64_t(entries.size()), int64_t(t.dims.size())});
  std::vector<bool> taken(t.dims.size(), false);
  for (Entry& e : entries)
    for (size_t i = 0; i < t.dims.size(); ++i)
      if (e.dim && e.dim->named() && e.source < 0 && !taken[i] && t.dims[i].id == e.dim->id) {
        e.source = int(i);
        taken[i] = true;
      }
  Dims dims;
  for (Entry& e : entries) {
    if (e.source < 0) {
      size_t i = 0;
      while (i < taken.size() && taken[i]) ++i;
      const Dim& actual = t.dims[i];
      taken[i] = true;
      e.source = int(i);
      bool fits = !e.dim || (e.dim->extent == actual.extent && !(e.dim->named() && actual.named()));
      if (!fits) return misfit({int64_t(i), e.dim->extent.size, actual.extent.size});
    }
    Dim dim = t.dims[size_t(e.source)];
    if (e.dim && e.dim->named() && !dim.named()) {
      Origin origin = dim.origin;
      dim = *e.dim;
      dim.origin = origin;
    }
    dims.push_back(dim);
  }
  std::vector<int> order;
  for (const Entry& e : entries) order.push_back(e.source);
  TensorValue result = tensors.reorder(t, order, span);
  result.dims = dims;
  if (declared.type && declared.type->name.text != "class") {
    std::optional<DType> wanted = ctx.declared_type(*declared.type);
    if (!wanted) return std::nullopt;
    if (is_float(*wanted) || *wanted == result.dtype) result = eval.tensors.as_stored(std::move(result), *wanted, span);
    if (*wanted != result.dtype) {
      ctx.error(Code::E0206, span,
                fmt::format("`{}` declares a result of {}, and its body gives {}", d.name(), dtype_name(*wanted),
                            dtype_name(result.dtype)))
          .labels.push_back({declared.span, "declared here"});
      return std::nullopt;
    }
  }
  return result;
}

// Out of a frame: dimensions get back the caller's names, and sizes without a name remember the call that made them.
Value leave(EvaluationContext& ctx, Value v, uint32_t frame, const Origin& origin) {
  if (v.is(ValueKind::tensor)) {
    for (Dim& d : v.tensor.dims) {
      bool is_own = d.named();
      Origin before = d.origin;
      d = ctx.dims.leave(d, frame);
      if (!d.named() && origin.span.valid() && (!before.span.valid() || before.text != "declared" || is_own)) {
        bool passed_through = before.span.valid() && before.span.file != ctx.program.files[0].id && before.text != "declared" &&
                              before.text != "worked out" && before.text != "given";
        if (!passed_through) d.origin = origin;
      }
    }
    if (v.tensor.is_class) v.tensor.classes = ctx.dims.leave(v.tensor.classes, frame);
  } else if (v.is(ValueKind::number) && v.is_size) {
    v.sum = ctx.dims.leave(v.sum, frame);
  }
  for (Value& item : v.items) item = leave(ctx, std::move(item), frame, origin);
  return v;
}

}  // namespace

std::optional<Value> finish_results(SymbolicEvaluator& eval, const Definition& d, Value body, Span body_span, Span call_span,
                                    const std::string& detail) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  std::vector<Value> values = body.is(ValueKind::tuple) ? body.items : std::vector<Value>{body};
  const ast::Callable& ast = *d.ast;
  if (values.empty()) {
    const auto& statements = ast.body.statements;  // after a `yield` that stood where the result should, nothing is missing
    if (std::any_of(statements.begin(), statements.end(), [](const ast::StmtPtr& s) { return s->kind == ast::StmtKind::yield; }))
      return std::nullopt;
    ctx.error(Code::E0213, ast.body.span, fmt::format("`{}` gives no result", d.name()))
        .help.push_back("end its body with the value it should give");
    return std::nullopt;
  }
  if (ast.has_results) {
    if (values.size() != ast.results.size()) {
      Diagnostic& e = ctx.error(Code::E0213, body_span,
                                fmt::format("`{}` declares {} result{}, and its body gives {}", d.name(), ast.results.size(),
                                            ast.results.size() == 1 ? "" : "s", values.size()));
      e.labels.push_back({ast.head_span, "declared here"});
      return std::nullopt;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      Span span = ast.body.results.size() == values.size() ? ast.body.results[i]->span : body_span;
      std::optional<DType> declared = ast.results[i].type ? parse_dtype(ast.results[i].type->name.text) : std::nullopt;
      std::optional<TensorValue> t = tensors.as_tensor(values[i], span, declared.value_or(DType::f32));
      if (!t) return std::nullopt;
      std::optional<TensorValue> matched = match_result(eval, d, ast.results[i], *t, span);
      if (!matched) return std::nullopt;
      values[i] = Value::of(*matched);
    }
  }
  std::string text(ctx.program.sources->text(call_span));
  Origin origin;
  if (call_span.valid() && text.size() <= 60 && text.find('\n') == std::string::npos) {
    bool is_fn = !d.is_layer() && text.find('(') == std::string::npos;
    origin = {call_span, fmt::format("from `{}`{}", text, is_fn && !detail.empty() ? " of " + detail : "")};
  }
  for (Value& v : values) {
    v = leave(ctx, std::move(v), ctx.frame->id, origin);
    if (v.is(ValueKind::tensor)) v.tensor.span = call_span;
  }
  if (values.size() == 1) return values[0];
  return Value::of_items(ValueKind::tuple, std::move(values));
}

}  // namespace nnc
