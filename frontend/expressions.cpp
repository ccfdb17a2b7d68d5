// Expressions: every node of the tree gives a value, or an error and poison.
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "frontend/contraction.h"
#include "frontend/evaluator.h"
#include "frontend/scans.h"
#include "frontend/selection.h"

namespace nnc {

namespace {

constexpr int max_levels = ast::max_tree_depth + 100;  // the stack of 8 MB must hold them in sanitized builds too

constexpr int64_t max_evaluations = 1'000'000;

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
bool SymbolicEvaluator::has_budget(Span span) {
  if (budget.gave_up) return false;
  if (++budget.evaluations <= max_evaluations) return true;
  budget.gave_up = budget.too_large = true;
  ctx.error(Code::E0209, span, fmt::format("this program expands to more than {} operations", max_evaluations))
      .notes.push_back("definitions are expanded where they are called, and `repeat` unrolls its body");
  return false;
}

/// Trees are bounded and so are chains of calls, but not calls that stand deep in trees: together they must fit the stack.
Value SymbolicEvaluator::evaluate(const ast::Expr& e) {
  if (!has_budget(e.span)) return poison();
  if (budget.levels >= max_levels) {
    budget.gave_up = true;
    ctx.error(Code::E0009, e.span, fmt::format("expressions are more than {} deep, those around the calls that lead here included", max_levels))
        .help.push_back("give parts of them names with `let`, and call definitions by those");
    return poison();
  }
  ++budget.levels;
  struct Level {
    int& levels;
    ~Level() { --levels; }
  } leave{budget.levels};
  return evaluate_kind(e);
}

Value SymbolicEvaluator::evaluate_kind(const ast::Expr& e) {
  using K = ast::ExprKind;
  switch (e.kind) {
    case K::error:
      return poison();
    case K::number:
      return e.is_integer ? Value::of_size(e.integer) : Value::of_number(e.number);
    case K::percent:
      ctx.error(Code::E0206, e.span, "a percentage stands only where a share of the data is expected")
          .help.push_back(fmt::format("write {}", e.number / 100));
      return poison();
    case K::string:
      return Value::of_text(ValueKind::string, e.text);
    case K::name:
      return lookup(e.text, e.span);
    case K::ellipsis: {
      if (!ctx.frame->ellipsis) {
        ctx.error(Code::E0201, e.span, "`...` stands for nothing here: no argument of this definition has it");
        return poison();
      }
      std::vector<Value> sizes;
      for (const Dim& d : *ctx.frame->ellipsis) sizes.push_back(ctx.dim_value(d.id));
      return Value::of_items(ValueKind::tuple, std::move(sizes));
    }
    case K::underscore:
      NNC_UNREACHABLE("`_` stands in lists of dimensions alone");
    case K::unary: {
      Value v = evaluate(*e.operands[0]);
      if (is_poison(v)) return poison();
      if (e.unary_op == ast::UnaryOp::negate) return operators.negate(v, e.span);
      if (!operators.check_truth(v, "`not`", e.operands[0]->span)) return poison();
      if (v.is(ValueKind::boolean)) return Value::of_bool(!v.boolean);
      return Value::of(tensors.unary(Op::logical_not, v.tensor, e.span));
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
      return calls.evaluate_call(e);
    case K::select: {
      Value v = evaluate(*e.operands[0]);
      std::optional<TensorValue> t = tensors.as_tensor(v, e.operands[0]->span);
      return t ? select(*this, *t, e) : poison();
    }
    case K::view: {
      Value v = evaluate(*e.operands[0]);
      std::optional<TensorValue> t = tensors.as_tensor(v, e.operands[0]->span);
      return t ? view(*this, *t, e) : poison();
    }
    case K::pipe:
      return evaluate_pipe(e);
    case K::if_:
      return evaluate_if(e);
    case K::scan:
      return evaluate_scan(*this, e);
  }
  return poison();
}

Value SymbolicEvaluator::evaluate_array(const ast::Expr& e) {
  std::vector<Value> items;
  for (const ast::ExprPtr& o : e.operands) items.push_back(evaluate(*o));
  Value v = Value::of_items(ValueKind::array, std::move(items));
  return is_poison(v) ? poison() : v;
}

namespace {

/// `weight == none`, where `weight` is a tensor that the definition at hand lets its callers leave out, and one was given. Any other tensor cannot be `none`, and to ask is a mistake.
bool asks_for_given(const EvaluationContext& ctx, const ast::Expr& e, const Value& a, const Value& b) {
  if (e.binary_op != ast::BinaryOp::equal && e.binary_op != ast::BinaryOp::not_equal) return false;
  const bool is_left = a.is(ValueKind::tensor) && is_none(b);
  if (!is_left && !(is_none(a) && b.is(ValueKind::tensor))) return false;
  const ast::Expr& asked = *e.operands[is_left ? 0 : 1];
  if (asked.kind != ast::ExprKind::name || !ctx.frame->definition) return false;
  return std::ranges::any_of(ctx.frame->definition->ast->arguments, [&](const ast::Parameter& p) {
    return p.dims && p.name.text == asked.text && p.default_value && p.default_value->kind == ast::ExprKind::name && p.default_value->text == "none";
  });
}

}  // namespace

Value SymbolicEvaluator::evaluate_operator(const ast::Expr& e) {
  const ast::Expr &left = *e.operands[0], &right = *e.operands[1];
  Value a = evaluate(left);
  if (is_logical(e.binary_op) && a.is(ValueKind::boolean) && a.boolean == (e.binary_op == ast::BinaryOp::or_)) return a;
  const size_t errors_before = ctx.error_count();
  Value b = evaluate(right);
  if (asks_for_given(ctx, e, a, b)) return Value::of_bool(e.binary_op == ast::BinaryOp::not_equal);
  Value result = is_poison(a) || is_poison(b) ? poison() : operators.combine(e.binary_op, a, b, e.span, left.span, right.span);
  // `x - y as [...]` views `y` alone, which its author may not have meant.
  std::string_view before = ctx.program.sources->text({right.span.file, left.span.end, right.span.begin});
  if (right.kind == ast::ExprKind::view && ctx.error_count() > errors_before && !before.ends_with('(')) {
    auto text = [&](const ast::Expr& part) {
      return part.kind == ast::ExprKind::name || part.kind == ast::ExprKind::number ? ctx.program.sources->text(part.span) : "...";
    };
    const std::string_view sign = ctx.program.sources->text(e.op_span);
    ctx.help_latest(fmt::format("`as` binds before `{}`: to view the whole, write `({} {} {}) as {}`", sign, text(left), sign,
                                text(*right.operands[0]), ctx.program.sources->text(right.dims.span)));
  }
  return result;
}

std::optional<bool> SymbolicEvaluator::evaluate_condition(const ast::Expr& e) {
  Value v = evaluate(e);
  if (is_poison(v)) return std::nullopt;
  if (v.is(ValueKind::boolean)) return v.boolean;
  if (v.is(ValueKind::tensor)) {
    Diagnostic& d = ctx.error(Code::E0212, e.span, "`if` chooses at compile time, and this is known only at run time");
    d.help.push_back("use `where(condition, a, b)` to choose per element");
  } else if (e.kind == ast::ExprKind::name) {
    ctx.error(Code::E0206, e.span, fmt::format("`{}` must be `true` or `false`{}", e.text, describe_found(v)));
  } else {
    ctx.error(Code::E0206, e.span, "a condition must be true or false");
  }
  return std::nullopt;
}

Value SymbolicEvaluator::evaluate_block(const ast::Block& block) {
  size_t names = ctx.frame->locals.size();
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
  ctx.frame->locals.resize(names);
  if (results.size() == 1) return results[0];
  return Value::of_items(ValueKind::tuple, std::move(results));
}

Value SymbolicEvaluator::evaluate_if(const ast::Expr& e) {
  if (!ctx.frame->file->is_std) ctx.note_open();  // with other sizes another branch may be taken
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
    ctx.error(Code::E0206, e.span, "no branch of this `if` is taken, so it has no value").help.push_back("add an `else`");
    return poison();
  }
  std::string list;
  for (size_t i = 0; i < choices.size(); ++i)
    list += fmt::format("{}`{}`", i == 0 ? "" : i + 1 < choices.size() ? ", " : " or ", ctx.program.sources->text(choices[i]->span));
  Span at = ctx.place(name->span), call = ctx.frame->call_span;
  Diagnostic& d = ctx.error(Code::E0206, name->span,
                            fmt::format("`{}` must be {}{}", name->text, list, describe_found(lookup(name->text, name->span))));
  if (ctx.frame->definition && call.valid() && at != call)
    d.labels.push_back({call, fmt::format("in this call of `{}`", ctx.frame->definition->name())});
  return poison();
}

Value SymbolicEvaluator::evaluate_pipe(const ast::Expr& e) {
  Value v = evaluate(*e.operands[0]);
  Span span = e.operands[0]->span;
  for (const ast::Stage& stage : e.stages) {
    v = calls.evaluate_stage(stage, std::move(v), span);
    span = join(e.operands[0]->span, stage.span);
  }
  return v;
}

std::optional<int64_t> SymbolicEvaluator::evaluate_integer(const ast::Expr& e, std::string_view what, int64_t least) {
  Value v = evaluate(e);
  if (is_poison(v)) return std::nullopt;
  std::optional<int64_t> n = ctx.integer_of(v);
  if (n && *n >= least) return n;
  ctx.error(Code::E0304, e.span, fmt::format("{} must be a whole number, at least {}, and known at compile time", what, least));
  return std::nullopt;
}

std::optional<Dim> SymbolicEvaluator::evaluate_dim(const ast::Expr& e) {
  Value v = evaluate(e);
  std::optional<DimSum> sum = ctx.size_sum(v, e.span, ctx.program.sources->text(e.span));
  if (!sum) return std::nullopt;
  return ctx.dims.to_dim(*sum, {ctx.place(e.span), "declared"});
}

std::optional<Dims> SymbolicEvaluator::evaluate_dims(const ast::Dims& list, bool allow_rows) {
  Dims result;
  bool is_good = true;
  for (const ast::ExprPtr& e : list.entries) {
    if (e->kind == ast::ExprKind::ellipsis && ctx.frame->ellipsis) {
      result.insert(result.end(), ctx.frame->ellipsis->begin(), ctx.frame->ellipsis->end());
    } else if (e->kind == ast::ExprKind::ellipsis) {
      ctx.error(Code::E0201, e->span, "`...` stands for nothing here: no argument of this definition has it");
      is_good = false;
    } else if (e->kind == ast::ExprKind::underscore) {
      ctx.error(Code::E0206, e->span, "a size is needed here");
      is_good = false;
    } else if (std::optional<Dim> d = evaluate_dim(*e)) {
      if (d->extent.rows && !allow_rows) {
        ctx.error(Code::E0113, e->span,
                  fmt::format("`{}` counts the rows of a batch, so no stored value can have it", ctx.dims.show(*d)));
        is_good = false;
      }
      result.push_back(*d);
    } else {
      is_good = false;
    }
  }
  if (!is_good) return std::nullopt;
  return result;
}

}  // namespace nnc
