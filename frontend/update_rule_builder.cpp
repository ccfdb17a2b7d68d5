// The rule of one parameter: the optimizer's body evaluated over `value` and `grad`. A hyperparameter is a scalar of the run
// unless it must be known to build the body (fixed_names.h), so that changing a rate never compiles anything again.
#include "frontend/update_rule_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "frontend/argument_places.h"
#include "frontend/fixed_names.h"
#include "frontend/scan_body.h"
#include "frontend/signatures.h"

namespace nnc {

// A call of a fn among the hyperparameters is a schedule. Its numbers are scalars of the run too (`using.lr.total`), unless they are fixed:
// the fn asks for them at compile time, or whoever the schedule is for does.
Value UpdateRuleBuilder::evaluate_hyperparameter(const ast::Expr& e, const std::string& path, bool is_fixed) {
  if (const std::string* text = ctx_.program.override_of(path)) return override_value(*text);
  if (e.kind != ast::ExprKind::call || e.operands[0]->kind != ast::ExprKind::name) return eval_.evaluate(e);
  Value callee = eval_.lookup(e.operands[0]->text, e.operands[0]->span);
  const ast::Callable* called = callee.is(ValueKind::callable) ? callee.overloads[0]->ast : nullptr;
  if (!called || called->kind != ast::CallableKind::fn || called->has_static_list) return eval_.evaluate(e);
  std::vector<CallArgument> arguments = unevaluated(e.arguments);
  const Definition& d = *choose_overload(callee, arguments);
  if (d.is_broken) return poison();
  const std::vector<ast::Parameter>& parameters = d.ast->arguments;
  std::vector<size_t> places = argument_places(parameters, arguments);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string* text = ctx_.program.override_of(path + "." + parameters[i].name.text);
    if (!text || std::count(places.begin(), places.end(), i)) continue;
    CallArgument c;
    c.name = parameters[i].name.text;
    c.span = c.name_span = e.span;
    c.value = override_value(*text);
    arguments.push_back(std::move(c));
  }
  if (!sort_arguments(ctx_, parameters, d.name(), arguments, e.span, false, d)) {
    eval_.calls.evaluate_arguments(e.arguments);  // for the errors in them
    return poison();
  }
  std::set<std::string> fixed = fixed_names(ctx_.program, d);
  for (size_t i = 0; i < e.arguments.size(); ++i) {
    const ast::Expr& value = *e.arguments[i].value;
    const std::string &name = parameters[places[i]].name.text, own = path + "." + name;
    bool is_own_fixed = is_fixed || fixed.count(name) > 0;
    arguments[i].value = as_run_scalar(evaluate_hyperparameter(value, own, is_own_fixed), own, value.span, is_own_fixed);
  }
  return eval_.calls.apply(callee, std::move(arguments), e.span, e.operands[0]->span, nullptr, false);
}

Value UpdateRuleBuilder::as_run_scalar(Value v, const std::string& path, Span span, bool is_fixed) {
  std::optional<double> x = ctx_.number_of(v);
  if (!x || is_fixed) return v;
  TensorValue t;
  t.node = ctx_.builder(span).scalar(path);
  t.dtype = ctx_.graph.type(t.node).dtype;
  t.is_run_number = true;
  t.span = ctx_.place(span);
  if (scalars_) {
    auto known = std::find_if(scalars_->begin(), scalars_->end(), [&](const ScalarSpec& s) { return s.name == path; });
    if (known == scalars_->end())
      scalars_->push_back({path, *x});
    else
      NNC_CHECK(known->value == *x || (std::isnan(known->value) && std::isnan(*x)), path + " has two values");
  }
  return Value::of(t);
}

// The optimizer that a `using` clause calls, or null after an error.
const Definition* UpdateRuleBuilder::find_optimizer(const ast::Expr& e) {
  if (e.kind == ast::ExprKind::error) return nullptr;
  const ast::Expr& name = e.kind == ast::ExprKind::call ? *e.operands[0] : e;
  Value callee = name.kind == ast::ExprKind::name ? eval_.lookup(name.text, name.span) : poison();
  if (callee.is(ValueKind::poison) && name.kind == ast::ExprKind::name) return nullptr;
  if (!callee.is(ValueKind::callable) || callee.overloads[0]->ast->kind != ast::CallableKind::optimizer) {
    ctx_.error(Code::E0306, name.span, fmt::format("{} is not an optimizer", ctx_.quote(name.span, "this")))
        .help.push_back("write `using sgd(lr: 0.01)`");
    return nullptr;
  }
  return callee.overloads[0]->is_broken ? nullptr : callee.overloads[0];
}

void UpdateRuleBuilder::bind_value_and_gradient(Span span) {
  Builder b = ctx_.builder(span);
  for (size_t i = 0; i < parameter_.persistent.type.shape.size(); ++i) {
    const Extent& extent = parameter_.persistent.type.shape[i];
    std::string shown = i < parameter_.dimension_names.size() && !parameter_.dimension_names[i].empty()
                            ? parameter_.dimension_names[i]
                            : std::to_string(extent.size);
    optimized_.dims.push_back({ctx_.dims.make(shown, extent, {}, ctx_.frame->id), extent, {}});
  }
  for (std::string_view input : {std::string_view("value"), std::string_view("grad")}) {
    TensorValue t;
    t.node = b.input(std::string(input), parameter_.persistent.type);
    t.dims = optimized_.dims;
    t.span = span;
    ctx_.frame->bind(input, Value::of(t), span);
  }
}

// Those that are given, set or have defaults; false after an error.
bool UpdateRuleBuilder::bind_hyperparameters(const Definition& d, const std::vector<const CallArgument*>& arguments,
                                             const std::set<std::string>& fixed, const std::string& prefix, Span call) {
  // A default may look at the parameter: `scale = 1 / width(value)` is another number for each, so no scalar of the run.
  std::set<std::string> own{"value", "grad"};
  for (size_t i = 0; i < d.ast->arguments.size(); ++i) {
    const ast::Parameter& p = d.ast->arguments[i];
    const CallArgument* given = arguments[i];
    std::string path = prefix + "." + p.name.text;
    const std::string* overridden = given ? nullptr : ctx_.program.override_of(path);
    Value v = given ? given->value : overridden ? override_value(*overridden) : eval_.evaluate(*p.default_value);
    Span span = given ? given->span : call;
    if (is_poison(v)) return false;
    bool is_plain = v.is(ValueKind::number) || v.is(ValueKind::boolean) || v.is(ValueKind::symbol);
    if (!is_plain) {
      std::optional<TensorValue> t = tensors_.as_tensor(v, span);
      if (t && !t->dims.empty())
        ctx_.error(Code::E0306, span, fmt::format("`{}` must be a single number, found {}", p.name.text, ctx_.dims.show(t->dims)));
      if (!t || !t->dims.empty()) return false;
    }
    if (!given && !overridden && mentions(*p.default_value, own)) own.insert(p.name.text);
    v = as_run_scalar(std::move(v), path, span, fixed.count(p.name.text) + own.count(p.name.text) > 0);
    if (v.is(ValueKind::tensor)) ctx_.graph.outputs.push_back({path, tensors_.as_tensor(v, span)->node});
    ctx_.frame->bind(p.name.text, std::move(v), p.name.span);
  }
  return true;
}

UpdateRuleBuilder::UpdateRuleBuilder(const Program& program, Diagnostics& diagnostics, const ParameterSpec& parameter,
                                     std::vector<ScalarSpec>* scalars)
    : eval_(program, diagnostics, true), parameter_(parameter), scalars_(scalars), optimized_{parameter.persistent.name, {}, {}} {
  ctx_.may_draw = false;
}

std::optional<UpdateRule> UpdateRuleBuilder::build(const ast::Argument& item, const std::string& prefix) {
  size_t errors_before = ctx_.error_count();
  Frame train;
  train.file = ctx_.program.main;
  train.id = ctx_.next_frame();
  FrameScope train_scope(ctx_, train);
  eval_.bind_dimension("B", ctx_.rows, ctx_.program.main->train->keyword_span);
  for (const ast::StmtPtr& s : ctx_.program.main->train->statements)
    if (s->kind == ast::StmtKind::dim) eval_.execute(*s);
  ctx_.graph.name = "update";
  const ast::Expr& e = *item.value;
  const Definition* optimizer = find_optimizer(e);
  if (!optimizer) return std::nullopt;
  const Definition& d = *optimizer;
  static const std::vector<ast::Argument> none;
  const std::vector<ast::Argument>& written = e.kind == ast::ExprKind::call ? e.arguments : none;
  const std::vector<ast::Parameter>& parameters = d.ast->arguments;
  std::vector<CallArgument> arguments = unevaluated(written);
  auto sorted = sort_arguments(ctx_, parameters, d.name(), arguments, e.span, false, d);
  if (!sorted) {
    eval_.calls.evaluate_arguments(written);  // for the errors in them
    return std::nullopt;
  }
  std::set<std::string> fixed = fixed_names(ctx_.program, d);
  std::vector<size_t> places = argument_places(parameters, arguments);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& option = parameters[places[i]].name.text;
    arguments[i].value = evaluate_hyperparameter(*written[i].value, prefix + "." + option, fixed.count(option) > 0);
  }
  Frame frame;
  frame.file = d.file;
  frame.definition = &d;
  frame.id = ctx_.next_frame();
  frame.call_span = e.span;
  frame.optimized = &optimized_;
  FrameScope scope(ctx_, frame);
  bind_value_and_gradient(e.span);
  if (!bind_hyperparameters(d, *sorted, fixed, prefix, e.span)) return std::nullopt;
  eval_.execute_all(d.ast->body.statements);
  if (!d.ast->body.results.empty())
    ctx_.error(Code::E0208, d.ast->body.results[0]->span, "an optimizer gives no result; it updates `value`");
  if (!optimized_.updated.valid() && ctx_.error_count() == errors_before) {
    ctx_.error(Code::E0306, d.ast->name.span, fmt::format("optimizer `{}` never updates `value`", d.name()))
        .help.push_back("end it with `update value = ...`");
    return std::nullopt;
  }
  if (ctx_.error_count() != errors_before) return std::nullopt;
  ctx_.graph.updates.push_back({"value", optimized_.updated});
  eval_.stored.add_updates();
  return UpdateRule{parameter_.persistent.name, without_nodes(ctx_.graph, ctx_.traced), eval_.stored.parameters()};
}

}  // namespace nnc
