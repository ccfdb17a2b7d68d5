// Statements of a body: names, dimensions, updates, loops that are unrolled, choices made at compile time.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/evaluator.h"
#include "frontend/scans.h"

namespace nnc {

void SymbolicEvaluator::execute_all(const std::vector<ast::StmtPtr>& statements) {
  for (const ast::StmtPtr& s : statements) {
    if (budget.gave_up) return;
    execute(*s);
  }
}

void SymbolicEvaluator::execute(const ast::Stmt& s) {
  using K = ast::StmtKind;
  switch (s.kind) {
    case K::dim:
      declare_dims(s.dims_declared);
      break;
    case K::param:
      stored.declare_parameter(s);
      break;
    case K::state:
      stored.declare_state(s);
      break;
    case K::let:
      execute_let(s);
      break;
    case K::instance: {
      Value v = calls.make_instance(*s.value, s.name, s.frozen);
      ctx.frame->bind(s.name.text, std::move(v), s.name.span);
      break;
    }
    case K::update:
      execute_update(s);
      break;
    case K::yield:
      execute_yield(*this, s);
      break;
    case K::repeat:
      execute_repeat(s);
      break;
    case K::if_:
      execute_if(*s.value);
      break;
    case K::expression:
      if (s.value) evaluate(*s.value);  // the parser has reported it
      break;
    case K::definition:
      break;  // local definitions of tests were put in scope before
    case K::clause:
    case K::expect:
    case K::expect_error:
    case K::check_gradients:
      ctx.error(Code::E0208, s.span, "this statement does not belong here");
      break;
  }
}

void SymbolicEvaluator::execute_let(const ast::Stmt& s) {
  for (const ast::Binding& b : s.bindings) {
    std::vector<Value> values;
    for (const ast::ExprPtr& e : b.values) values.push_back(evaluate(*e));
    Span span = b.values.size() == 1 ? b.values[0]->span : b.span;
    bool is_apart = false;  // a tuple of tuples gives tuples
    if (values.size() == 1 && b.names.size() > 1) {
      if (values[0].is(ValueKind::tuple)) {
        is_apart = true;
        values = std::vector<Value>(values[0].items);
      } else if (is_poison(values[0])) {
        values.assign(b.names.size(), poison());
      }
    }
    if (values.size() != b.names.size()) {
      bool any_poison = std::any_of(values.begin(), values.end(), [&](const Value& v) { return is_poison(v); });
      if (!any_poison)
        ctx.error(Code::E0213, span,
                  fmt::format("{} name{} for {} value{}", b.names.size(), b.names.size() == 1 ? "" : "s", values.size(),
                              values.size() == 1 ? "" : "s"));
      values.assign(b.names.size(), poison());
    }
    for (size_t i = 0; i < b.names.size(); ++i) {
      const ast::Name& name = b.names[i];
      if (name.text == "_" || name.empty()) continue;
      if (name.is_capitalised()) {
        ctx.error(Code::E0208, name.span, fmt::format("`{}` begins with a capital, as dimensions do", name.text))
            .help.push_back(fmt::format("for a size, write `dim {} = ...`", name.text));
        values[i] = poison();
      }
      if (values[i].is(ValueKind::tuple) && !is_apart && !is_poison(values[i])) {
        ctx.error(Code::E0213, span, fmt::format("one name for {} values", values[i].items.size()))
            .help.push_back("take it apart with `let a, b = ...`");
        values[i] = poison();
      }
      if (values[i].is(ValueKind::tensor) && !ctx.frame->file->is_std) ctx.node_names.emplace(values[i].tensor.node.value, name.text);
      ctx.frame->bind(name.text, values[i], name.span);
    }
  }
}

void SymbolicEvaluator::execute_update(const ast::Stmt& s) {
  Value v = evaluate(*s.value);
  Local* local = ctx.frame->find(s.name.text);
  if (const Global* global = local ? nullptr : ctx.program.find(*ctx.frame->file, s.name.text)) {
    std::string kind = with_article(global_kind(*global));
    ctx.error(Code::E0208, s.name.span, fmt::format("`{}` is {} and cannot be updated here", s.name.text, kind));
    return;
  }
  if (!local) {
    std::vector<std::string> names;
    for (const Local& l : ctx.frame->locals) names.emplace_back(l.name);
    std::string similar = nearest(s.name.text, names);
    ctx.error(Code::E0201, s.name.span,
              fmt::format("unknown name `{}`{}", s.name.text,
                          similar.empty() ? "" : fmt::format("; a value with a similar name exists: `{}`", similar)));
    return;
  }
  if (local->kind == Local::Kind::parameter || local->kind == Local::Kind::dimension) {
    ctx.error(Code::E0208, s.name.span,
              fmt::format("`{}` is a {} and cannot be updated here", s.name.text,
                          local->kind == Local::Kind::parameter ? "parameter" : "dimension"))
        .help.push_back(local->kind == Local::Kind::parameter
                            ? "parameters are changed by the optimizer; a value that the layer changes itself is a `state`"
                            : "sizes are fixed");
    return;
  }
  bool is_value = ctx.frame->is_optimizer() && s.name.text == "value";
  const bool is_stored = local->kind == Local::Kind::state || is_value;
  if (is_stored && !may_change_state(*this, s.name)) return;
  if (!is_stored && ctx.frame->scan && update_in_scan(*this, s, v, size_t(local - ctx.frame->locals.data()))) return;
  if (!is_stored) {
    if (ctx.frame->is_optimizer() && s.name.text == "grad")
      ctx.error(Code::E0208, s.name.span, "`grad` cannot be updated");
    else
      local->value = std::move(v);
    return;
  }
  if (is_poison(v) || is_poison(local->value)) {
    local->value = poison();
    return;
  }
  const TensorValue like = local->value.tensor;
  std::optional<TensorValue> t = tensors.as_tensor(v, s.value->span, like.dtype);
  std::optional<TensorValue> next = t ? fit(like, *t, s.name.text, s.name.span, s.value->span) : std::nullopt;
  if (!next) return;
  local = ctx.frame->find(s.name.text);
  local->value = Value::of(*next);
  if (is_value)
    ctx.frame->optimized->updated = next->node;
  else
    stored.set_current(local->persistent, next->node);
}

std::optional<TensorValue> SymbolicEvaluator::fit(const TensorValue& like, const TensorValue& t, std::string_view name, Span name_span, Span value_span) {
  TensorValue next = t;
  if (is_float(like.dtype)) {
    next = tensors.cast(tensors.to_float(t, value_span), like.dtype, value_span);  // f64 data moves a state of f32
    next.is_run_number = false;
  } else if (like.dtype == t.dtype) {
    next.is_class = next.is_run_number = false;
  } else if (is_integer(like.dtype) && is_integer(arithmetic_type(t))) {
    next = tensors.cast(t, like.dtype, value_span);
    next.is_class = next.is_run_number = false;
  } else {
    ctx.error(Code::E0206, value_span, fmt::format("`{}` is {}, and its new value is {}", name, dtype_name(like.dtype), dtype_name(arithmetic_type(t))))
        .help.push_back(fmt::format("convert it: `{}(...)` takes the fraction away", dtype_name(like.dtype)));
    return std::nullopt;
  }
  std::optional<Alignment> alignment = tensors.find_alignment(like, next, "`update`", value_span, name_span, value_span, true);
  if (!alignment) return std::nullopt;
  if (alignment->dims.size() != like.dims.size()) {
    const Diagnostic& d = ctx.error(Code::E0112, value_span, fmt::format("`{}` is {}, and its new value is {}", name, ctx.dims.show(like.dims), ctx.dims.show(next.dims)));
    ctx.settle(d, {int64_t(like.dims.size()), int64_t(next.dims.size())});
    return std::nullopt;
  }
  next.node = tensors.expand(next, alignment->from_b, like.dims, value_span);
  next.dims = like.dims;
  return next;
}

void SymbolicEvaluator::execute_repeat(const ast::Stmt& s) {
  std::optional<int64_t> count = evaluate_integer(*s.value, "the count of a `repeat`", 0);
  if (!count) return;
  if (*count > 10000) {
    ctx.error(Code::E0304, s.value->span, "`repeat` unrolls its body, at most 10000 times");
    return;
  }
  if (s.value->kind != ast::ExprKind::number) ctx.note_open();
  size_t names = ctx.frame->locals.size();
  for (int64_t i = 0; i < *count && has_budget(s.span); ++i) {
    ctx.frame->iterations.push_back(i);
    if (!s.name.empty()) ctx.frame->bind(s.name.text, Value::of_size(i), s.name.span);
    execute_all(s.body->statements);
    ctx.frame->locals.resize(names);
    ctx.frame->iterations.pop_back();
  }
}

void SymbolicEvaluator::execute_if(const ast::Expr& e) {
  if (!ctx.frame->file->is_std) ctx.note_open();  // with other sizes another branch may be taken
  for (const ast::Branch& branch : e.branches) {
    std::optional<bool> condition = branch.condition ? evaluate_condition(*branch.condition) : true;
    if (!condition) return;
    if (*condition) {
      size_t names = ctx.frame->locals.size();
      execute_all(branch.body.statements);
      ctx.frame->locals.resize(names);
      return;
    }
  }
}

}  // namespace nnc
