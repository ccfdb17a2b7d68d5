// The rule of one parameter: the optimizer's body evaluated over `value` and `grad`. A hyperparameter is a scalar of the run
// unless it must be known to build the body (fixed_names.h), so that changing a rate never compiles anything again.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "frontend/argument_places.h"
#include "frontend/fixed_names.h"
#include "frontend/lowering.h"

namespace nnc {

// A call of a fn among the hyperparameters is a schedule. Its numbers are scalars of the run too (`using.lr.total`), unless they are fixed:
// the fn asks for them at compile time, or whoever the schedule is for does.
Value Lowering::evaluate_hyperparameter(const ast::Expr& e, const std::string& path, bool is_fixed, std::vector<ScalarSpec>* scalars) {
  if (const std::string* text = program_.override_of(path)) return evaluate_override(*text, e.span);
  if (e.kind != ast::ExprKind::call || e.operands[0]->kind != ast::ExprKind::name) return evaluate(e);
  Value callee = lookup(e.operands[0]->text, e.operands[0]->span);
  if (!callee.is(ValueKind::callable) || callee.overloads[0]->ast->kind != ast::CallableKind::fn || callee.overloads[0]->ast->has_static_list) return evaluate(e);
  std::vector<CallArgument> arguments = unevaluated(e.arguments);
  const Definition& d = *choose_overload(callee, arguments);
  if (d.is_broken) return poison();
  const std::vector<ast::Parameter>& parameters = d.ast->arguments;
  std::vector<size_t> places = argument_places(parameters, arguments);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string* text = program_.override_of(path + "." + parameters[i].name.text);
    if (!text || std::count(places.begin(), places.end(), i)) continue;
    CallArgument c;
    c.name = parameters[i].name.text;
    c.span = c.name_span = e.span;
    c.value = evaluate_override(*text, e.span);
    arguments.push_back(std::move(c));
  }
  if (!sort_arguments(parameters, d.name(), arguments, e.span, false, d)) {
    evaluate_arguments(e.arguments);  // for the errors in them
    return poison();
  }
  std::set<std::string> fixed = fixed_names(program_, d);
  for (size_t i = 0; i < e.arguments.size(); ++i) {
    const ast::Expr& value = *e.arguments[i].value;
    const std::string &name = parameters[places[i]].name.text, own = path + "." + name;
    bool is_own_fixed = is_fixed || fixed.count(name) > 0;
    arguments[i].value = as_run_scalar(evaluate_hyperparameter(value, own, is_own_fixed, scalars), own, value.span, is_own_fixed, scalars);
  }
  return apply(callee, std::move(arguments), e.span, e.operands[0]->span, nullptr, false);
}

Value Lowering::as_run_scalar(Value v, const std::string& path, Span span, bool is_fixed, std::vector<ScalarSpec>* scalars) {
  std::optional<double> x = number_of(v);
  if (!x || is_fixed) return v;
  TensorValue t;
  t.node = builder(span).scalar(path);
  t.span = place(span);
  if (scalars) {
    auto known = std::find_if(scalars->begin(), scalars->end(), [&](const ScalarSpec& s) { return s.name == path; });
    if (known == scalars->end())
      scalars->push_back({path, *x});
    else
      NNC_CHECK(known->value == *x || (std::isnan(known->value) && std::isnan(*x)), path + " has two values");
  }
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
  static const std::vector<ast::Argument> none;
  const std::vector<ast::Argument>& written = e.kind == ast::ExprKind::call ? e.arguments : none;
  const std::vector<ast::Parameter>& parameters = d.ast->arguments;
  std::vector<CallArgument> arguments = unevaluated(written);
  auto sorted = sort_arguments(parameters, d.name(), arguments, e.span, false, d);
  if (!sorted) {
    evaluate_arguments(written);  // for the errors in them
    return std::nullopt;
  }
  std::set<std::string> fixed = fixed_names(program_, d);
  std::vector<size_t> places = argument_places(parameters, arguments);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& option = parameters[places[i]].name.text;
    arguments[i].value = evaluate_hyperparameter(*written[i].value, prefix + "." + option, fixed.count(option) > 0, scalars);
  }
  Frame frame;
  frame.file = d.file;
  frame.definition = &d;
  frame.id = next_frame_++;
  frame.call_span = e.span;
  frame.is_optimizer = true;
  FrameScope scope(*this, frame);
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
  // A default may look at the parameter: `scale = 1 / width(value)` is another number for each, so no scalar of the run.
  std::set<std::string> own{"value", "grad"};
  for (size_t i = 0; i < parameters.size(); ++i) {
    const ast::Parameter& p = parameters[i];
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
    if (!given && !overridden && mentions(*p.default_value, own)) own.insert(p.name.text);
    v = as_run_scalar(std::move(v), path, span, fixed.count(p.name.text) + own.count(p.name.text) > 0, scalars);
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
