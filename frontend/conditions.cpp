// A condition is decided part by part: `and`, `or` and `not` of comparisons. One side of a comparison may be a multiple of the rows, `B * L > 1`; then nothing is wrong
// with the program, and the condition is kept for each number of rows that a step is given.
#include "frontend/conditions.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <optional>

#include "base/check.h"
#include "frontend/syntax/ast_walk.h"

namespace nnc {

namespace {

struct Decision {
  enum class Kind : uint8_t { poison, holds, fails, of_rows, unknown } kind = Kind::poison;
  std::vector<RowCondition> conditions{};  ///< of_rows: all of them have to hold
};
using Kind = Decision::Kind;

/// The sizes that are compared, if the rows have a part in one of them.
std::optional<Decision> compare_rows(SymbolicEvaluator& eval, const ast::Expr& e, const Value& left, const Value& right) {
  EvaluationContext& ctx = eval.ctx;
  if (!left.is(ValueKind::number) || !right.is(ValueKind::number) || !left.is_size || !right.is_size) return std::nullopt;
  if (!ctx.varies(left) && !ctx.varies(right)) return std::nullopt;
  std::optional<Extent> a = ctx.dims.evaluate(left.sum), b = ctx.dims.evaluate(right.sum);
  if (!a || !b) return Decision{Kind::unknown};
  if (left.sum == right.sum) return std::nullopt;
  RowCondition condition;
  condition.left = *a;
  condition.right = *b;
  condition.comparison = RowCondition::Comparison(int(e.binary_op) - int(ast::BinaryOp::equal));
  condition.text = ctx.program.sources->text(e.span);
  condition.left_text = ctx.program.sources->text(e.operands[0]->span);
  condition.right_text = ctx.program.sources->text(e.operands[1]->span);
  return Decision{Kind::of_rows, {std::move(condition)}};
}

Decision decided(const Value& v) {
  if (is_poison(v)) return {};
  if (!v.is(ValueKind::boolean)) return {Kind::unknown};
  return {v.boolean ? Kind::holds : Kind::fails};
}

Decision decide(SymbolicEvaluator& eval, const ast::Expr& e) {
  const bool is_binary = e.kind == ast::ExprKind::binary;
  if (is_binary && is_logical(e.binary_op)) {
    const bool is_and = e.binary_op == ast::BinaryOp::and_;
    const Kind decisive = is_and ? Kind::fails : Kind::holds, neutral = is_and ? Kind::holds : Kind::fails;
    Decision left = decide(eval, *e.operands[0]);
    if (left.kind == decisive) return left;  // what follows may speak of what is not there: `mask == none or S == T`
    Decision right = decide(eval, *e.operands[1]);
    if (left.kind == Kind::poison || right.kind == Kind::poison) return {};
    if (right.kind == decisive) return {decisive};
    if (left.kind == neutral) return right;
    if (right.kind == neutral) return left;
    if (!is_and || left.kind == Kind::unknown || right.kind == Kind::unknown) return {Kind::unknown};
    left.conditions.insert(left.conditions.end(), right.conditions.begin(), right.conditions.end());
    return left;
  }
  const bool is_comparison = is_binary && e.binary_op >= ast::BinaryOp::equal && e.binary_op <= ast::BinaryOp::greater_equal;
  if (!is_comparison) return decided(eval.evaluate(e));
  const ast::Expr &a = *e.operands[0], &b = *e.operands[1];
  Value left = eval.evaluate(a);
  Value right = eval.evaluate(b);
  if (is_poison(left) || is_poison(right)) return {};
  if (is_none(left) || is_none(right)) return decided(eval.evaluate(e));  // `mask == none`, of a tensor that may be left out
  if (std::optional<Decision> of_rows = compare_rows(eval, e, left, right)) return *of_rows;
  return decided(eval.operators.combine(e.binary_op, left, right, e.span, a.span, b.span));
}

/// Of `a and b` where `a` fails that alone: what follows was not asked, and may speak of what is not there.
const ast::Expr& decisive_part(SymbolicEvaluator& eval, const ast::Expr& condition) {
  const ast::Expr* e = &condition;
  while (e->kind == ast::ExprKind::binary && e->binary_op == ast::BinaryOp::and_ && decide(eval, *e->operands[0]).kind == Kind::fails) e = e->operands[0].get();
  return *e;
}

/// Names in it, and calls, whose values say why it does not hold.
void collect_parts(const ast::Expr& e, std::vector<const ast::Expr*>& parts) {
  if (e.kind == ast::ExprKind::name || e.kind == ast::ExprKind::call) parts.push_back(&e);
  if (e.kind == ast::ExprKind::call) return;
  for (const ast::ExprPtr& o : e.operands) collect_parts(*o, parts);
}

/// `C % Heads == 0`: the sizes of C that would do.
void suggest_sizes(SymbolicEvaluator& eval, const ast::Expr& condition, Diagnostic& e) {
  EvaluationContext& ctx = eval.ctx;
  bool is_zero = condition.kind == ast::ExprKind::binary && condition.binary_op == ast::BinaryOp::equal &&
                 ctx.integer_of(eval.evaluate(*condition.operands[1])) == 0;
  const ast::Expr* remainder = is_zero ? condition.operands[0].get() : nullptr;
  if (!remainder || remainder->kind != ast::ExprKind::binary || remainder->binary_op != ast::BinaryOp::remainder ||
      remainder->operands[0]->kind != ast::ExprKind::name)
    return;
  std::optional<int64_t> x = ctx.integer_of(eval.evaluate(*remainder->operands[0])), y = ctx.integer_of(eval.evaluate(*remainder->operands[1]));
  if (!x || !y || *y <= 0) return;
  int64_t below = *x / *y * *y;
  std::string_view name = remainder->operands[0]->text;
  e.help.push_back(below > 0 ? fmt::format("the nearest sizes for {} are {} and {}", name, below, below + *y)
                             : fmt::format("the nearest size for {} is {}", name, *y));
}

/// Whole numbers with all their digits, others with a few.
std::string show_number(double x) { return std::floor(x) == x && std::abs(x) < 0x1p53 ? fmt::format("{}", int64_t(x)) : fmt::format("{:g}", x); }

/// What a name of a reason stands for, as one would write it.
std::string shown_in_reason(SymbolicEvaluator& eval, std::string_view name, Span span) {
  Value v = eval.lookup(name, span);
  switch (v.kind) {
    case ValueKind::number:
      return eval.ctx.varies(v) ? eval.ctx.dims.show(v.sum) : show_number(v.number);
    case ValueKind::boolean:
      return v.boolean ? "true" : "false";
    case ValueKind::tensor: {
      Dims outside;
      for (const Dim& d : v.tensor.dims) outside.push_back(eval.ctx.dims.leave(d, eval.ctx.frame->id));
      return eval.ctx.dims.show(outside);
    }
    case ValueKind::symbol:
    case ValueKind::string:
    case ValueKind::builtin:
    case ValueKind::callable:
      return v.text;
    default:
      return "...";
  }
}

/// Who stated it, in the user's words: a function inside the standard library speaks for the definition of it that was called from outside.
const Definition& called_from_outside(const EvaluationContext& ctx, const Definition& d) {
  const Definition* outermost = &d;
  for (const Frame* f = ctx.frame; f && f->definition && f->file->is_std; f = f->caller) outermost = f->definition;
  return *outermost;
}

/// The numbers and sizes that a condition's names stand for.
void collect_facts(SymbolicEvaluator& eval, const ast::Expr& e, std::vector<int64_t>& facts) {
  if (e.kind == ast::ExprKind::name) {
    const Value v = eval.lookup(e.text, e.span);
    if (v.is(ValueKind::number)) facts.push_back(std::bit_cast<int64_t>(v.number));
    if (v.is(ValueKind::tensor))
      for (const Dim& d : v.tensor.dims) facts.push_back(d.extent.rows ? -d.extent.size : d.extent.size);
  }
  ast::for_each_part(e, [&](const ast::Expr& part) { collect_facts(eval, part, facts); });
}

const Diagnostic& report_failure(SymbolicEvaluator& eval, const Definition& d, const ast::Condition& stated) {
  EvaluationContext& ctx = eval.ctx;
  const ast::Expr& condition = *stated.test;
  if (stated.reason) {
    Diagnostic& e = ctx.error(Code::E0104, ctx.frame->call_span, fill_in(eval, *stated.reason));
    e.span_text = fmt::format("`{}` needs `{}`", d.name(), ctx.program.sources->text(condition.span));
    if (d.file->is_std) e.span_text = fmt::format("in this call of `{}`", called_from_outside(ctx, d).name());
    if (!d.file->is_std) e.labels.push_back({condition.span, "stated here"});
    suggest_sizes(eval, condition, e);
    return e;
  }
  std::vector<const ast::Expr*> parts;
  collect_parts(decisive_part(eval, condition), parts);
  std::string values;
  std::vector<Label> labels;
  for (const ast::Expr* part : parts) {
    Value n = eval.evaluate(*part);
    if ((!n.is(ValueKind::number) || ctx.varies(n)) && !n.is(ValueKind::boolean)) continue;
    std::string shown = n.is(ValueKind::number) ? show_number(n.number) : n.boolean ? "true" : "false";
    std::string at, text(ctx.program.sources->text(part->span));
    if (part->kind == ast::ExprKind::name && n.is_size && !is_constant(n.sum)) {
      const Origin origin = ctx.dims.to_dim(n.sum).origin;
      if (origin.span.valid() && origin.text != "given" && origin.span.file != ctx.program.files[0].id) {
        at = fmt::format(" ({})", ctx.program.sources->describe_line(origin.span));
        if (origin.span != ctx.frame->call_span) labels.push_back({origin.span, fmt::format("{} = {}", part->text, show_number(n.number))});
      }
    }
    std::string one = fmt::format("{} = {}{}", text, shown, at);
    if (values.find(one) == std::string::npos) values += (values.empty() ? "" : ", ") + one;
  }
  Diagnostic& e = ctx.error(Code::E0104, ctx.frame->call_span,
                            fmt::format("`{}` does not hold{}{}", ctx.program.sources->text(condition.span), values.empty() ? "" : ": ", values));
  e.span_text = fmt::format("`{}` needs it", called_from_outside(ctx, d).name());
  e.labels.insert(e.labels.end(), labels.begin(), labels.end());
  if (!d.file->is_std) e.labels.push_back({condition.span, "stated here"});
  suggest_sizes(eval, condition, e);
  return e;
}

/// On trial: a condition of what the definition calls, which counts if it fails for the same reasons whatever is made up.
void settle_failure(SymbolicEvaluator& eval, const Definition& d, const ast::Condition& stated) {
  std::vector<int64_t> facts;
  collect_facts(eval, decisive_part(eval, *stated.test), facts);
  eval.ctx.settle(report_failure(eval, d, stated), std::move(facts));
}

}  // namespace

bool RowCondition::holds(int64_t rows) const {
  const int64_t a = left.at(rows), b = right.at(rows);
  switch (comparison) {
    case RowCondition::Comparison::equal:
      return a == b;
    case RowCondition::Comparison::not_equal:
      return a != b;
    case RowCondition::Comparison::less:
      return a < b;
    case RowCondition::Comparison::less_equal:
      return a <= b;
    case RowCondition::Comparison::greater:
      return a > b;
    case RowCondition::Comparison::greater_equal:
      return a >= b;
  }
  NNC_UNREACHABLE("comparison");
}

std::optional<Diagnostic> find_unmet(const std::vector<RowCondition>& conditions, int64_t rows, std::string_view circumstance) {
  std::optional<Diagnostic> d;
  for (const RowCondition& c : conditions) {
    if (c.holds(rows)) continue;
    if (d) {  // one cause, one error
      if (c.call != d->span) d->labels.push_back({c.call, fmt::format("`{}` as well", c.definition)});
      continue;
    }
    d.emplace();
    d->code = Code::E0310;
    d->span = c.call;
    d->message = c.reason.empty() ? fmt::format("`{}` needs `{}`, and {}", c.definition, c.text, circumstance) : fmt::format("{}, and {}", c.reason, circumstance);
    const auto& [varying, text] = c.left.rows ? std::pair(c.left, c.left_text) : std::pair(c.right, c.right_text);
    d->span_text = fmt::format("`{}` is {} there", text, varying.at(rows));
    if (c.stated) d->labels.push_back({*c.stated, "stated here"});
  }
  return d;
}

std::string fill_in(SymbolicEvaluator& eval, const ast::Text& reason) {
  std::string text = reason.text;
  for (std::string_view name : names_in(reason.text)) {
    const std::string braced = fmt::format("{{{}}}", name);
    text.replace(text.find(braced), braced.size(), shown_in_reason(eval, name, reason.span));
  }
  return text;
}

std::vector<std::string_view> names_in(std::string_view reason) {
  std::vector<std::string_view> names;
  for (size_t at = reason.find('{'); at != std::string_view::npos; at = reason.find('{', at + 1)) {
    const size_t end = reason.find('}', at);
    if (end == std::string_view::npos) break;
    const std::string_view name = reason.substr(at + 1, end - at - 1);
    auto continues = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
    if (!name.empty() && std::all_of(name.begin(), name.end(), continues) && !std::isdigit(static_cast<unsigned char>(name[0]))) names.push_back(name);
  }
  return names;
}

bool check_condition(SymbolicEvaluator& eval, const Definition& d, const ast::Condition& stated) {
  EvaluationContext& ctx = eval.ctx;
  const ast::Expr& condition = *stated.test;
  // With arguments that were made up, what it takes to decide the condition is nothing to report.
  Diagnostics unreported;
  Decision decision;
  {
    std::optional<ReportTo> unheard;
    if (ctx.trial) unheard.emplace(ctx, unreported, true);
    decision = decide(eval, condition);
  }
  switch (decision.kind) {
    case Kind::poison:
      return false;
    case Kind::holds:
      return true;
    case Kind::of_rows:
      for (RowCondition& c : decision.conditions) {
        c.definition = called_from_outside(ctx, d).name();
        if (stated.reason) c.reason = fill_in(eval, *stated.reason);
        c.call = ctx.frame->call_span;
        if (!d.file->is_std) c.stated = condition.span;
        ctx.row_conditions.push_back(std::move(c));
      }
      return true;
    case Kind::fails:
      if (!ctx.trial) report_failure(eval, d, stated);
      else if (!ctx.trial->is_open && ctx.frame->caller && ctx.frame->caller->definition) settle_failure(eval, d, stated);
      return false;
    case Kind::unknown:
      if (!ctx.trial)
        ctx.error(Code::E0113, condition.span, fmt::format("`{}` cannot be decided at compile time", ctx.program.sources->text(condition.span)));
      return false;
  }
  return false;
}

}  // namespace nnc
