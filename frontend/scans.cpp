// A scan in the language: its dimension, what it carries, what its body makes of that, and what it gives.
#include "frontend/scans.h"

#include <fmt/format.h>

#include <algorithm>

#include "frontend/evaluator.h"
#include "frontend/scan_body.h"

namespace nnc {
namespace {

/// The names of a frame are as they were at the end of the scope, and so is the scan around.
class ScanFrame {
 public:
  ScanFrame(Frame& frame, ScanScope& scan) : frame_(frame), outer_(std::exchange(frame.scan, &scan)), names_(frame.locals.size()) { scan.first_local = names_; }
  ~ScanFrame() {
    frame_.scan = outer_;
    frame_.locals.resize(names_);
  }
  ScanFrame(const ScanFrame&) = delete;
  ScanFrame& operator=(const ScanFrame&) = delete;

 private:
  Frame& frame_;
  ScanScope* outer_;
  size_t names_;
};

/// The first value of what is carried, as each step keeps it.
std::optional<TensorValue> first_value(SymbolicEvaluator& eval, const ast::Carried& c) {
  EvaluationContext& ctx = eval.ctx;
  std::optional<Dims> dims = c.dims ? eval.evaluate_dims(*c.dims, true) : std::nullopt;
  Value v = eval.evaluate(*c.first);
  if (is_poison(v) || (c.dims && !dims)) return std::nullopt;
  std::optional<DType> declared = c.type ? ctx.declared_type(*c.type) : std::nullopt;
  if (c.type && !declared) return std::nullopt;
  std::optional<TensorValue> t = eval.tensors.as_tensor(v, c.first->span, declared.value_or(DType::f32));
  if (!t) return std::nullopt;
  TensorValue like;
  like.dtype = declared.value_or(t->is_run_number ? DType::f32 : arithmetic_type(*t));
  like.dims = dims.value_or(t->dims);
  like.span = ctx.place(c.name.span);
  if (!eval.tensors.check_rows(like.dims, c.span)) return std::nullopt;
  std::optional<TensorValue> fitted = eval.fit(like, *t, c.name.text, c.name.span, c.first->span);
  if (fitted) fitted->span = like.span;
  return fitted;
}

TensorValue placeholder(EvaluationContext& ctx, const TensorValue& like, Span span) {
  TensorValue t = like;
  t.is_class = t.free = t.is_run_number = false;
  t.node = ctx.builder(span).input("scan", Type{like.dtype, shape_of(like.dims)});
  return t;
}

/// The value of all steps: T stands behind the rows, or first.
TensorValue stacked(const TensorValue& step, const Dim& steps, NodeId node, Span span) {
  TensorValue t = step;
  t.free = t.is_run_number = false;
  t.dims.insert(t.dims.begin() + (!t.dims.empty() && t.dims[0].extent.rows ? 1 : 0), steps);
  t.node = node;
  t.span = span;
  return t;
}

Value of_list(std::vector<Value> values) { return values.size() == 1 ? std::move(values[0]) : Value::of_items(ValueKind::tuple, std::move(values)); }

}  // namespace

Value evaluate_scan(SymbolicEvaluator& eval, const ast::Expr& e) {
  EvaluationContext& ctx = eval.ctx;
  const size_t errors_before = ctx.error_count();
  std::optional<Dim> along = eval.evaluate_dim(*e.operands[0]);
  if (!along) return poison();
  if (along->extent.rows) {
    ctx.error(Code::E0113, e.operands[0]->span, "a scan cannot go along the rows of a batch: they have no order, and their number is known only at run time");
    return poison();
  }
  std::vector<TensorValue> firsts;
  for (const ast::Carried& c : e.carried) {
    std::optional<TensorValue> first = first_value(eval, c);
    if (first) firsts.push_back(*first);
  }
  if (firsts.size() != e.carried.size()) return poison();

  ScanTrace trace;
  trace.first = ctx.graph.size();
  trace.steps = along->extent.size;
  trace.reverse = e.is_reverse;
  ScanScope scan;
  std::vector<TensorValue> yields;
  {
    ScanFrame frame(*ctx.frame, scan);
    TensorValue position;
    position.dtype = DType::i32;
    position.span = ctx.place(e.variable.span);
    position = placeholder(ctx, position, e.variable.span);
    trace.position = position.node;
    ctx.frame->bind(e.variable.text, Value::of(position), e.variable.span);
    for (size_t i = 0; i < firsts.size(); ++i) {
      const TensorValue inside = placeholder(ctx, firsts[i], e.carried[i].name.span);
      trace.carries.push_back(inside.node);
      trace.firsts.push_back(firsts[i].node);
      scan.carries.push_back({ctx.frame->locals.size(), inside});
      ctx.frame->bind(e.carried[i].name.text, Value::of(inside), e.carried[i].name.span);
    }
    eval.execute_all(e.body->statements);
    for (const ast::ExprPtr& result : e.body->results) {
      if (!is_poison(eval.evaluate(*result)))
        ctx.error(Code::E0208, result->span, "a scan gives what it yields").help.push_back("write `yield` before it, to stack it over the steps");
    }
    for (const ScanScope::Carry& carry : scan.carries) {
      const Value& last = ctx.frame->locals[carry.local].value;
      if (is_poison(last)) return poison();
      trace.next.push_back(last.tensor.node);
    }
    if (scan.yielded)
      for (const Value& v : *scan.yielded) {
        std::optional<TensorValue> t = is_poison(v) ? std::nullopt : eval.tensors.as_tensor(v, scan.yield_span);
        if (!t) return poison();
        if (t->is_run_number) t = eval.tensors.as_stored(*t, DType::f32, scan.yield_span);
        trace.stacked.push_back(t->node);
        yields.push_back(*t);
      }
  }
  if (ctx.error_count() != errors_before || eval.budget.gave_up) return poison();
  if (trace.next.empty() && trace.stacked.empty()) {
    ctx.error(Code::E0213, e.span, "this scan gives nothing").help.push_back("`yield` stacks a value over the steps; `with h[B, H] = 0` carries one from step to step");
    return poison();
  }
  std::optional<ShortSequence> too_short;
  const NodeId node = cut_scan(ctx.builder(e.span), trace, ctx.traced, too_short);
  if (too_short) {
    Diagnostic& d = ctx.error(Code::E0114, {}, fmt::format("`{}` goes from 0 to {}, and what it selects from has {} entries", e.variable.text, trace.steps - 1, too_short->entries));
    d.span = ctx.graph[too_short->lookup].span;
    d.labels.push_back({ctx.place(e.operands[0]->span), fmt::format("{} steps", trace.steps)});
    ctx.settle(d, {trace.steps, too_short->entries});
    return poison();
  }
  const Span span = ctx.place(e.span);
  std::vector<Value> values;
  Builder b = ctx.builder(e.span);
  if (scan.yielded) {
    for (size_t i = 0; i < yields.size(); ++i) {
      values.push_back(Value::of(stacked(yields[i], *along, b.result(node, int(trace.next.size() + i)), span)));
      if (!eval.tensors.check_rows(values.back().tensor.dims, e.span)) return poison();
    }
  } else {
    for (size_t i = 0; i < firsts.size(); ++i) {
      TensorValue last = scan.carries[i].like;
      last.node = b.result(node, int(i));
      last.span = span;
      values.push_back(Value::of(last));
    }
  }
  return of_list(std::move(values));
}

void execute_yield(SymbolicEvaluator& eval, const ast::Stmt& s) {
  EvaluationContext& ctx = eval.ctx;
  ScanScope* scan = ctx.frame->scan;
  std::vector<Value> values;
  for (const ast::ExprPtr& e : s.values) values.push_back(eval.evaluate(*e));
  if (values.size() == 1 && values[0].is(ValueKind::tuple)) values = std::vector<Value>(values[0].items);
  if (!scan) {
    ctx.error(Code::E0208, s.span, "`yield` belongs into a `scan`").help.push_back("the result of a definition is the last expression of its body");
  } else if (scan->yielded) {
    ctx.error(Code::E0208, s.span, "a scan yields once").labels.push_back({ctx.place(scan->yield_span), "the first"});
  } else {
    scan->yielded = std::move(values);
    scan->yield_span = s.span;
  }
}

}  // namespace nnc
