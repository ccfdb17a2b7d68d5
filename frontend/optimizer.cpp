// The rule of one parameter: the optimizer's body evaluated over `value` and `grad`. A hyperparameter is a scalar of the run
// unless an `if` or a state's first value asks for it, so that changing a rate never compiles anything again.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/lowering.h"

namespace nnc {

namespace {

void collect_condition_names(const ast::Expr& e, bool in_condition, std::set<std::string>& names);

void collect_condition_names(const ast::Block& block, std::set<std::string>& names) {
  for (const ast::StmtPtr& s : block.statements) {
    if (s->value) collect_condition_names(*s->value, s->kind == ast::StmtKind::repeat || s->kind == ast::StmtKind::state, names);
    for (const ast::Binding& b : s->bindings)
      for (const ast::ExprPtr& e : b.values) collect_condition_names(*e, false, names);
    if (s->body) collect_condition_names(*s->body, names);
  }
  for (const ast::ExprPtr& e : block.results) collect_condition_names(*e, false, names);
}

void collect_condition_names(const ast::Expr& e, bool in_condition, std::set<std::string>& names) {
  if (e.kind == ast::ExprKind::name && in_condition) names.insert(e.text);
  for (const ast::ExprPtr& o : e.operands) collect_condition_names(*o, in_condition, names);
  for (const ast::Argument& a : e.arguments) collect_condition_names(*a.value, in_condition, names);
  for (const ast::Branch& b : e.branches) {
    if (b.condition) collect_condition_names(*b.condition, true, names);
    collect_condition_names(b.body, names);
  }
}

}  // namespace

// A call of a fn among the hyperparameters is a schedule. Its numbers are scalars of the run too (`using.lr.total`), unless an `if` in the
// fn asks for them.
Value Lowering::evaluate_hyperparameter(const ast::Expr& e, const std::string& path, std::vector<ScalarSpec>* scalars) {
  if (const std::string* text = program_.override_of(path)) return evaluate_override(*text, e.span);
  if (e.kind != ast::ExprKind::call || e.operands[0]->kind != ast::ExprKind::name) return evaluate(e);
  Value callee = lookup(e.operands[0]->text, e.operands[0]->span);
  if (!callee.is(ValueKind::callable) || callee.overloads[0]->ast->kind != ast::CallableKind::fn || callee.overloads[0]->ast->has_static_list) return evaluate(e);
  const Definition& d = *callee.overloads[0];
  std::set<std::string> tested;
  collect_condition_names(d.ast->body, tested);
  std::vector<CallArgument> arguments;
  std::set<std::string> given;
  size_t position = 0;
  for (const ast::Argument& a : e.arguments) {
    CallArgument c;
    std::string name = a.name ? a.name->text : position < d.ast->arguments.size() ? d.ast->arguments[position++].name.text : "";
    c.name = a.name ? a.name->text : "";
    c.name_span = a.name ? a.name->span : Span{};
    c.value = as_run_scalar(evaluate_hyperparameter(*a.value, path + "." + name, scalars), path + "." + name, a.value->span, tested.count(name) > 0, scalars);
    c.expr = a.value.get();
    c.span = a.value->span;
    given.insert(name);
    arguments.push_back(std::move(c));
  }
  for (const ast::Parameter& p : d.ast->arguments) {
    const std::string* text = given.count(p.name.text) ? nullptr : program_.override_of(path + "." + p.name.text);
    if (!text) continue;
    CallArgument c;
    c.name = p.name.text;
    c.span = c.name_span = e.span;
    c.value = evaluate_override(*text, e.span);
    arguments.push_back(std::move(c));
  }
  return apply(callee, std::move(arguments), e.span, e.operands[0]->span, nullptr, false);
}

Value Lowering::as_run_scalar(Value v, const std::string& path, Span span, bool is_tested, std::vector<ScalarSpec>* scalars) {
  std::optional<double> x = number_of(v);
  if (!x || is_tested) return v;
  TensorValue t;
  t.node = builder(span).scalar(path);
  t.span = place(span);
  if (scalars && std::none_of(scalars->begin(), scalars->end(), [&](const ScalarSpec& s) { return s.name == path; })) scalars->push_back({path, *x});
  return Value::of(t);
}

std::optional<UpdateRule> Lowering::build_update_rule(const ast::Argument& item, const std::string& prefix,
                                                      const ParameterSpec& parameter, std::vector<ScalarSpec>* scalars) {
  size_t errors_before = diagnostics_->items().size();
  Frame train;
  train.file = program_.main;
  train.id = next_frame_++;
  FrameScope train_scope(*this, train);
  bind_dimension("B", rows_, program_.main->train->keyword_span);
  for (const ast::StmtPtr& s : program_.main->train->statements)
    if (s->kind == ast::StmtKind::dim) execute(*s);
  graph_.name = "update";
  const ast::Expr& e = *item.value;
  if (e.kind == ast::ExprKind::error) return std::nullopt;
  const ast::Expr& name = e.kind == ast::ExprKind::call ? *e.operands[0] : e;
  Value callee = name.kind == ast::ExprKind::name ? lookup(name.text, name.span) : poison();
  if (callee.is(ValueKind::poison) && name.kind == ast::ExprKind::name) return std::nullopt;
  if (!callee.is(ValueKind::callable) || callee.overloads[0]->ast->kind != ast::CallableKind::optimizer) {
    error(Code::E0306, name.span, fmt::format("{} is not an optimizer", quote(name.span, "this")))
        .help.push_back("write `using sgd(lr: 0.01)`");
    return std::nullopt;
  }
  const Definition& d = *callee.overloads[0];
  if (d.is_broken) return std::nullopt;
  std::vector<CallArgument> arguments;
  std::vector<std::string> positions;
  if (e.kind == ast::ExprKind::call) {
    size_t position = 0;
    for (const ast::Argument& a : e.arguments) {
      CallArgument c;
      std::string option = a.name ? a.name->text : position < d.ast->arguments.size() ? d.ast->arguments[position].name.text : "";
      if (a.name) {
        c.name = a.name->text;
        c.name_span = a.name->span;
      } else {
        ++position;
      }
      c.value = evaluate_hyperparameter(*a.value, prefix + "." + option, scalars);
      c.expr = a.value.get();
      c.span = a.value->span;
      arguments.push_back(std::move(c));
    }
  }
  std::set<std::string> tested;
  collect_condition_names(d.ast->body, tested);
  Frame frame;
  frame.file = d.file;
  frame.definition = &d;
  frame.id = next_frame_++;
  frame.call_span = e.span;
  frame.is_optimizer = true;
  FrameScope scope(*this, frame);
  auto sorted = sort_arguments(d.ast->arguments, d.name(), arguments, e.span, false, d);
  if (!sorted) return std::nullopt;
  optimized_ = &parameter;
  Builder b = builder(e.span);
  for (size_t i = 0; i < parameter.persistent.type.shape.size(); ++i) {
    const Extent& extent = parameter.persistent.type.shape[i];
    std::string shown = i < parameter.dimension_names.size() && !parameter.dimension_names[i].empty()
                            ? parameter.dimension_names[i]
                            : std::to_string(extent.size);
    value_dims_.push_back({dims_.make(shown, extent, {}, frame.id), extent, {}});
  }
  for (std::string_view input : {std::string_view("value"), std::string_view("grad")}) {
    TensorValue t;
    t.node = b.input(std::string(input), parameter.persistent.type);
    t.dims = value_dims_;
    t.span = e.span;
    bind(input, Value::of(t), e.span);
  }
  for (size_t i = 0; i < d.ast->arguments.size(); ++i) {
    const ast::Parameter& p = d.ast->arguments[i];
    const CallArgument* given = (*sorted)[i];
    std::string path = prefix + "." + p.name.text;
    const std::string* overridden = given ? nullptr : program_.override_of(path);
    Value v = given ? given->value : overridden ? evaluate_override(*overridden, e.span) : evaluate(*p.default_value);
    Span span = given ? given->span : e.span;
    if (is_poison(v)) return std::nullopt;
    bool is_plain = v.is(ValueKind::number) || v.is(ValueKind::boolean) || v.is(ValueKind::symbol);
    if (!is_plain) {
      std::optional<TensorValue> t = as_tensor(v, span);
      if (t && !t->dims.empty())
        error(Code::E0306, span, fmt::format("`{}` must be a single number, found {}", p.name.text, dims_.show(t->dims)));
      if (!t || !t->dims.empty()) return std::nullopt;
    }
    v = as_run_scalar(std::move(v), path, span, tested.count(p.name.text) > 0, scalars);
    if (v.is(ValueKind::tensor)) graph_.outputs.push_back({path, as_tensor(v, span)->node});
    bind(p.name.text, std::move(v), p.name.span);
  }
  execute_all(d.ast->body.statements);
  if (!d.ast->body.results.empty())
    error(Code::E0208, d.ast->body.results[0]->span, "an optimizer gives no result; it updates `value`");
  if (!new_value_.valid() && diagnostics_->items().size() == errors_before) {
    error(Code::E0306, d.ast->name.span, fmt::format("optimizer `{}` never updates `value`", d.name()))
        .help.push_back("end it with `update value = ...`");
    return std::nullopt;
  }
  if (diagnostics_->items().size() != errors_before) return std::nullopt;
  UpdateRule rule;
  rule.parameter = parameter.persistent.name;
  graph_.updates.push_back({"value", new_value_});
  for (const auto& [state, known] : known_)
    if (known.current != known.node) graph_.updates.push_back({state, known.current});
  rule.rule = std::move(graph_);
  rule.states = parameters_;
  return rule;
}

}  // namespace nnc
