// A scan in the language: its dimension, what it carries, what its body makes of that, and what it gives.
#include "frontend/scans.h"

#include <fmt/format.h>

#include <algorithm>

#include "frontend/evaluator.h"
#include "frontend/scan_body.h"
#include "ir/regions.h"

namespace nnc {
namespace {

/// How many scans stand one in the other in a body.
size_t depth_of(const Graph& body) {
  size_t depth = 0;
  for (const Node& node : body.nodes())
    if (node.op == Op::scan) depth = std::max(depth, 1 + depth_of(*node.attributes.body));
  return depth;
}

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

bool check_names(EvaluationContext& ctx, const ast::Expr& scan) {
  std::vector<const ast::Name*> names{&scan.variable};
  for (const ast::Carried& c : scan.carried) names.push_back(&c.name);
  for (auto name = names.begin(); name != names.end(); ++name) {
    if ((*name)->is_capitalised()) {
      ctx.error(Code::E0208, (*name)->span, fmt::format("`{}` begins with a capital, as dimensions do", (*name)->text));
      return false;
    }
    auto first = std::find_if(names.begin(), name, [&](const ast::Name* other) { return other->text == (*name)->text; });
    if (first == name || (*name)->text == "_") continue;
    ctx.error(Code::E0205, (*name)->span, fmt::format("two values of this scan are called `{}`", (*name)->text)).labels.push_back({ctx.place((*first)->span), "the first"});
    return false;
  }
  return true;
}

bool check_depth(EvaluationContext& ctx, const ast::Expr& e, NodeId scan) {
  const size_t depth = 1 + depth_of(*ctx.graph[scan].attributes.body);
  if (depth <= max_region_depth) return true;
  Diagnostic& d = ctx.error(Code::E0209, e.span, fmt::format("scans stand in one another {} deep, and {} is the most", depth, max_region_depth));
  d.help.push_back("what does not depend on the step before belongs in front of the scan, where it is computed for all steps at once");
  return false;
}

Value of_list(std::vector<Value> values) { return values.size() == 1 ? std::move(values[0]) : Value::of_items(ValueKind::tuple, std::move(values)); }

}  // namespace

Value evaluate_scan(SymbolicEvaluator& eval, const ast::Expr& e) {
  EvaluationContext& ctx = eval.ctx;
  const size_t errors_before = ctx.error_count();
  const Value length = eval.evaluate(*e.operands[0]);
  if (length.is(ValueKind::tensor)) {
    const Span span = e.operands[0]->span;
    Diagnostic& d = ctx.error(Code::E0206, span, fmt::format("a scan goes along a dimension, and {} is known only while a step runs", ctx.quote(span, "this")));
    d.help.push_back("all rows take the same steps; what a row has come to by its own length stays with `update h = where(t < length, ..., h)`");
    return poison();
  }
  std::optional<Dim> along = is_poison(length) ? std::nullopt : eval.evaluate_dim(*e.operands[0]);
  if (!along) return poison();
  if (along->extent.rows) {
    Diagnostic& d = ctx.error(Code::E0113, e.operands[0]->span, "a scan cannot go along the rows of a batch: they have no order, and their number is known only at run time");
    d.help.push_back("the steps of a sequence are a dimension of their own, `x[B, T, C]`");
    return poison();
  }
  if (!check_names(ctx, e)) return poison();
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
  scan.head = e.operands[0]->span;
  scan.head.begin = e.span.begin;
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
        ctx.error(Code::E0208, result->span, "the last line of a `scan` is not its result")
            .help.push_back("`yield` before it stacks it over the steps; without a `yield` a scan gives what it carries, as it is at the end");
    }
    for (const ScanScope::Carry& carry : scan.carries) {
      const Value& last = ctx.frame->locals[carry.local].value;
      if (is_poison(last)) return poison();
      trace.next.push_back(last.tensor.node);
    }
    if (scan.yielded)
      for (size_t i = 0; i < scan.yielded->size(); ++i) {
        const Value& v = (*scan.yielded)[i];
        const Span at = i < scan.yield_spans.size() ? scan.yield_spans[i] : scan.yield_span;
        std::optional<TensorValue> t = is_poison(v) ? std::nullopt : eval.tensors.as_tensor(v, at);
        if (!t) return poison();
        if (t->is_run_number) t = eval.tensors.as_stored(*t, DType::f32, at);
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
  if (!check_depth(ctx, e, node)) return poison();
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
  } else if (scan->yielded && scan->yield_span == s.span) {
    ctx.error(Code::E0208, s.span, "a scan yields once, and this is written out several times").notes.push_back("`repeat` unrolls its body");
  } else if (scan->yielded) {
    Diagnostic& d = ctx.error(Code::E0208, s.span, "a scan yields once");
    d.labels.push_back({ctx.place(scan->yield_span), "the first"});
    d.help.push_back("`yield a, b` stacks several values");
  } else {
    scan->yielded = std::move(values);
    scan->yield_span = s.span;
    if (s.values.size() == scan->yielded->size())
      for (const ast::ExprPtr& e : s.values) scan->yield_spans.push_back(e->span);
  }
}

bool may_change_state(SymbolicEvaluator& eval, const ast::Name& name) {
  EvaluationContext& ctx = eval.ctx;
  const Frame* around = ctx.frame;
  while (around && !around->scan) around = around->caller;
  if (!around) return true;
  // Of a layer of std it is the call that is wrong, whatever it keeps.
  const Definition* of_std = ctx.frame->file->is_std ? ctx.frame->definition : nullptr;
  Diagnostic& d = of_std ? ctx.error(Code::E0208, name.span, fmt::format("`{}` updates what it keeps from batch to batch, which does not change inside a `scan`", of_std->name()))
                         : ctx.error(Code::E0208, name.span, fmt::format("`{}` is a state, and no state changes inside a `scan`", name.text));
  d.labels.push_back({around->scan->head, "in this scan"});
  d.help.push_back(of_std ? "call it before or behind the scan, on all steps at once; inside, `LayerNorm` normalises without anything to keep"
                          : "a value that changes from step to step is carried: `scan t in T with h[B, H] = 0 { ... update h = ... }`");
  return false;
}

bool update_in_scan(SymbolicEvaluator& eval, const ast::Stmt& s, const Value& v, size_t local) {
  EvaluationContext& ctx = eval.ctx;
  ScanScope& scan = *ctx.frame->scan;
  auto carry = std::ranges::find(scan.carries, local, &ScanScope::Carry::local);
  if (carry != scan.carries.end()) {
    const size_t errors_before = ctx.error_count();
    std::optional<TensorValue> t = is_poison(v) ? std::nullopt : eval.tensors.as_tensor(v, s.value->span, carry->like.dtype);
    std::optional<TensorValue> next = t ? eval.fit(carry->like, *t, s.name.text, s.name.span, s.value->span) : std::nullopt;
    if (t && !next && ctx.error_count() != errors_before && (is_float(carry->like.dtype) || carry->like.dtype == t->dtype))
      ctx.help_latest(fmt::format("each step keeps the dimensions of what is carried: `with {}{} = ...` has them from the beginning", s.name.text, ctx.dims.show(t->dims)));
    ctx.frame->locals[local].value = next ? Value::of(*next) : poison();
    return true;
  }
  if (local >= scan.first_local) return false;
  Diagnostic& d = ctx.error(Code::E0208, s.name.span, fmt::format("`{}` stands outside of this `scan`, whose steps cannot change it", s.name.text));
  d.labels.push_back({ctx.place(ctx.frame->locals[local].span), "made here"});
  d.help.push_back(fmt::format("carry it: `scan ... with {0} = {0} {{ ... update {0} = ... }}`", s.name.text));
  return true;
}

}  // namespace nnc
