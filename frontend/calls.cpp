// Calls. Each body is evaluated anew, so how much is expanded is bounded: depth, number, and what stands inside one another.
#include "frontend/calls.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "frontend/argument_places.h"
#include "frontend/builtins.h"
#include "frontend/choices.h"
#include "frontend/conditions.h"
#include "frontend/contraction.h"
#include "frontend/evaluator.h"
#include "frontend/operators.h"
#include "frontend/signatures.h"
#include "frontend/syntax/familiar_names.h"
#include "frontend/test_scope.h"

namespace nnc {

namespace {

constexpr int max_call_depth = 120;

constexpr int64_t max_calls = 200000;

std::string lower_case(std::string text) {
  for (char& c : text) c = char(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool takes_statics(const Value& callee) {
  if (callee.is(ValueKind::builtin)) return callee.text == "stack";
  return callee.is(ValueKind::callable) && callee.overloads[0]->ast->has_static_list;
}

}  // namespace

Calls::Calls(SymbolicEvaluator& eval) : eval_(eval), ctx_(eval.ctx), tensors_(eval.tensors) {}

std::vector<CallArgument> Calls::evaluate_arguments(const std::vector<ast::Argument>& arguments, const ast::Expr* callee) {
  std::vector<CallArgument> result = unevaluated(arguments);
  for (CallArgument& a : result) {
    const size_t errors_before = ctx_.error_count();
    a.value = eval_.evaluate(*a.expr);
    if (!callee || ctx_.error_count() == errors_before || a.name.empty() || a.expr->kind != ast::ExprKind::name) continue;
    if (std::string words = choices_help(ctx_.program, *ctx_.frame->file, *callee, a.name); !words.empty()) ctx_.help_latest(std::move(words));
  }
  return result;
}

Value Calls::evaluate_call(const ast::Expr& e) {
  const ast::Expr& callee_expr = *e.operands[0];
  if (callee_expr.kind == ast::ExprKind::call && callee_expr.operands[0]->kind == ast::ExprKind::name &&
      callee_expr.operands[0]->text == "gradient" && ctx_.test && callee_expr.arguments.size() == 1) {
    BuiltinCall call{"gradient", e.span, callee_expr.span, evaluate_arguments(callee_expr.arguments)};
    for (CallArgument& a : evaluate_arguments(e.arguments)) call.arguments.push_back(std::move(a));
    return ctx_.test->gradient(call);
  }
  Value callee = eval_.evaluate(callee_expr);
  if (callee.is(ValueKind::builtin) && callee.text == "sum" && !e.arguments.empty() && !e.arguments[0].name) {
    // A product directly under a sum may be a contraction, whose factors need not align.
    const ast::Expr& x = *e.arguments[0].value;
    bool is_product = x.kind == ast::ExprKind::binary && x.binary_op == ast::BinaryOp::multiply;
    if (is_product && e.arguments.size() == 2 && e.arguments[1].name && e.arguments[1].name->text == "over")
      return sum_of_product(eval_, e, callee_expr.span);
  }
  std::vector<CallArgument> arguments = evaluate_arguments(e.arguments, e.operands[0].get());
  if (is_poison(callee)) return poison();
  if (takes_statics(callee)) return make_template(callee, std::move(arguments), e.span);
  return apply(callee, std::move(arguments), e.span, callee_expr.span, nullptr, false);
}

Value Calls::evaluate_stage(const ast::Stage& stage, Value piped, Span piped_span) {
  const ast::Expr& e = *stage.callee;
  if (e.kind == ast::ExprKind::error) return poison();
  std::vector<CallArgument> arguments;
  CallArgument first;
  first.value = std::move(piped);
  first.span = piped_span;
  arguments.push_back(std::move(first));
  const ast::Name* instance = stage.instance ? &*stage.instance : nullptr;
  if (e.kind != ast::ExprKind::call) {
    Value callee = eval_.evaluate(e);
    if (is_poison(callee)) return poison();
    if (takes_statics(callee)) callee = make_template(callee, {}, e.span);
    return apply(callee, std::move(arguments), e.span, e.span, instance, stage.frozen);
  }
  Value callee = eval_.evaluate(*e.operands[0]);
  std::vector<CallArgument> written = evaluate_arguments(e.arguments, e.operands[0].get());
  if (is_poison(callee)) return poison();
  if (takes_statics(callee)) {
    callee = make_template(callee, std::move(written), e.span);
  } else {
    for (CallArgument& a : written) arguments.push_back(std::move(a));
  }
  return apply(callee, std::move(arguments), e.span, e.operands[0]->span, instance, stage.frozen);
}

namespace {

bool is_class_argument(const ast::Parameter& p) { return p.type && p.type->name.text == "class"; }

/// How many of a value's dimensions `...` stands for; nothing if the parameter has no `...`.
std::optional<int64_t> leading_dimensions(const ast::Parameter& p, const Value& v) {
  if (!p.dims || !v.is(ValueKind::tensor)) return std::nullopt;
  const auto& entries = p.dims->entries;
  auto is_ellipsis = [](const ast::ExprPtr& e) { return e->kind == ast::ExprKind::ellipsis; };
  if (std::ranges::none_of(entries, is_ellipsis)) return std::nullopt;
  return int64_t(v.tensor.dims.size()) - int64_t(entries.size()) + 1;
}

/// How badly the arguments fit a definition; 0: well. An argument that it does not have is worst; then class numbers where none are taken, since they
/// cannot be meant as anything else; then dimensions that cannot be those of `...`; least a class that somebody forgot to declare.
int misfit_of(const Definition& d, const std::vector<CallArgument>& arguments) {
  const std::vector<ast::Parameter>& parameters = d.ast->arguments;
  std::vector<size_t> places = argument_places(parameters, arguments);
  int misfit = 0;
  std::optional<int64_t> leading;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Value& v = arguments[i].value;
    if (places[i] == parameters.size()) {
      misfit += 4;
      continue;
    }
    const ast::Parameter& p = parameters[places[i]];
    if (!p.dims || !(v.is(ValueKind::tensor) || v.is(ValueKind::array))) continue;
    bool wants_class = is_class_argument(p), is_class = v.is(ValueKind::tensor) && v.tensor.is_class;
    if (wants_class != is_class) misfit += wants_class ? 1 : 3;
    std::optional<int64_t> own = leading_dimensions(p, v);
    if (own && leading && *own != *leading) misfit += 2;
    if (own && !leading) leading = own;
  }
  return misfit;
}

}  // namespace

// What tells definitions of one name apart: an argument declared class(N) takes class values and no others, and each has the names of its own
// arguments. Where none fits, the one that misfits least, and of such the first, says what is wrong.
const Definition* choose_overload(const Value& callee, const std::vector<CallArgument>& arguments) {
  const Definition* best = nullptr;
  int least = 0;
  for (const Definition* d : callee.overloads) {
    int misfit = callee.overloads.size() > 1 ? misfit_of(*d, arguments) : 0;
    if (best && misfit >= least) continue;
    best = d;
    least = misfit;
  }
  return best;
}

// Of several definitions one takes class numbers where whole numbers are given that nobody declared as such: it would take them as
// places, but the caller has to say what they are, or another definition may be meant.
bool Calls::check_classes_declared(const Value& callee, const Definition& d, const std::vector<CallArgument>& arguments) {
  if (callee.overloads.size() < 2) return true;
  std::vector<size_t> places = argument_places(d.ast->arguments, arguments);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Value& v = arguments[i].value;
    if (places[i] == d.ast->arguments.size() || !v.is(ValueKind::tensor) || v.tensor.is_class) continue;
    const ast::Parameter& p = d.ast->arguments[places[i]];
    if (!is_class_argument(p) || is_float(v.tensor.dtype) || v.tensor.dtype == DType::boolean) continue;
    ctx_.error(Code::E0206, arguments[i].span,
               fmt::format("`{}` needs class numbers for `{}`, and {} holds {}, of which the classes are not known", d.name(), p.name.text,
                           ctx_.quote(arguments[i].span, "this"), dtype_name(v.tensor.dtype)))
        .help.push_back("declare the field as `class(N)`, where N is the number of classes");
    return false;
  }
  return true;
}

Value Calls::make_template(const Value& callee, std::vector<CallArgument> arguments, Span span) {
  for (const CallArgument& a : arguments)
    if (is_poison(a.value)) return poison();
  auto layer = std::make_shared<LayerTemplate>();
  layer->span = span;
  if (callee.is(ValueKind::builtin)) {
    BuiltinCall call{callee.text, span, span, std::move(arguments)};
    return builtins().at(call.name)(eval_, call);
  }
  layer->definition = callee.overloads[0];
  layer->statics = std::move(arguments);
  Value v;
  v.kind = ValueKind::layer;
  v.layer = layer;
  return v;
}

std::string Calls::instance_path(const LayerTemplate& layer, const ast::Name* name) {
  std::string own;
  if (name) {
    own = name->text;
    for (int64_t i : ctx_.frame->iterations) own += fmt::format(".{}", i);
    auto [it, is_new] = ctx_.frame->instance_names.emplace(own, name->span);
    if (!is_new) {
      ctx_.error(Code::E0205, name->span, fmt::format("two layers are called `{}`", own))
          .labels.push_back({ctx_.place(it->second), "the first"});
      own += fmt::format(" ({})", ++ctx_.frame->instance_counts[own]);  // no weights in common: that would be the same fault once more
    }
  } else {
    std::string kind = lower_case(layer.definition ? layer.definition->name() : "stack");
    own = fmt::format("{}{}", kind, ++ctx_.frame->instance_counts[kind]);
  }
  return ctx_.frame->path.empty() ? own : ctx_.frame->path + "." + own;
}

Value Calls::make_instance(const ast::Expr& e, const ast::Name& name, bool frozen) {
  Value v = eval_.evaluate(e);
  if (is_poison(v)) return poison();
  if (v.is(ValueKind::callable) && v.overloads[0]->is_layer()) v = make_template(v, {}, e.span);
  if (v.is(ValueKind::layer) && v.layer->is_instance) {
    ctx_.error(Code::E0205, e.span, fmt::format("this layer is an instance already, called `{}`", v.layer->path));
    return poison();
  }
  if (!v.is(ValueKind::layer) || (v.layer->definition && !v.layer->definition->is_layer())) {
    ctx_.error(Code::E0207, e.span,
               fmt::format("{} is not a layer, so `{}` cannot name an instance of it", ctx_.quote(e.span, "this"), name.text));
    return poison();
  }
  auto instance = std::make_shared<LayerTemplate>(*v.layer);
  instance->path = instance_path(*instance, &name);
  instance->is_instance = true;
  instance->frozen = frozen;
  v.layer = instance;
  return v;
}

Value Calls::apply(const Value& callee, std::vector<CallArgument> arguments, Span span, Span callee_span,
                   const ast::Name* instance, bool frozen) {
  auto no_instance = [&] {
    if (instance)
      ctx_.error(Code::E0207, instance->span,
                 fmt::format("{} is a function and has no parameters, so `{}` names nothing", ctx_.quote(callee_span, "this"),
                             instance->text));
  };
  switch (callee.kind) {
    case ValueKind::poison:
      return poison();
    case ValueKind::builtin: {
      auto f = builtins().find(callee.text);
      NNC_CHECK(f != builtins().end(), callee.text);
      no_instance();
      return f->second(eval_, BuiltinCall{callee.text, span, callee_span, std::move(arguments)});
    }
    case ValueKind::callable: {
      const Definition& d = *choose_overload(callee, arguments);
      if (!check_classes_declared(callee, d, arguments)) return poison();
      if (d.ast->kind == ast::CallableKind::optimizer) {
        ctx_.error(Code::E0207, callee_span, fmt::format("`{}` is an optimizer: it stands after `using` in `train`", d.name()));
        return poison();
      }
      if (!d.is_layer()) {
        no_instance();
        return call_definition(d, {}, std::move(arguments), span, ctx_.frame->path, false);
      }
      LayerTemplate layer;
      layer.definition = &d;
      layer.span = span;
      bool at_top = d.ast->kind == ast::CallableKind::model && !ctx_.frame->definition && !instance;
      return instantiate(layer, std::move(arguments), span, at_top ? ctx_.frame->path : instance_path(layer, instance), frozen);
    }
    case ValueKind::layer: {
      const LayerTemplate& layer = *callee.layer;
      if (layer.definition && !layer.definition->is_layer()) {
        no_instance();
        return call_definition(*layer.definition, layer.statics, std::move(arguments), span, ctx_.frame->path, false);
      }
      if (layer.is_instance) {
        if (instance)
          ctx_.error(Code::E0205, instance->span, fmt::format("this layer is an instance already, called `{}`", layer.path));
        return instantiate(layer, std::move(arguments), span, layer.path, layer.frozen || frozen);
      }
      bool at_top =
          layer.definition && layer.definition->ast->kind == ast::CallableKind::model && !ctx_.frame->definition && !instance;
      return instantiate(layer, std::move(arguments), span, at_top ? ctx_.frame->path : instance_path(layer, instance), frozen);
    }
    default: {
      Diagnostic& d = ctx_.error(Code::E0207, callee_span, fmt::format("{} cannot be called: it is a value", ctx_.quote(callee_span, "this")));
      if (const std::string help = callee.is(ValueKind::symbol) ? familiar_name_help(callee.text) : ""; !help.empty()) d.help.push_back(help);
      return poison();
    }
  }
}

Value Calls::instantiate(const LayerTemplate& layer, std::vector<CallArgument> arguments, Span span, const std::string& path,
                         bool frozen) {
  if (ctx_.frame->definition && !ctx_.frame->definition->is_layer()) {
    Diagnostic& d = ctx_.error(Code::E0208, span,
                               fmt::format("`{}` is {}, which owns no parameters, so it cannot hold a layer", ctx_.frame->definition->name(),
                                           ctx_.frame->is_optimizer() ? "an optimizer" : "a fn"));
    if (!ctx_.frame->is_optimizer()) d.help.push_back("make it a `layer`");
    return poison();
  }
  size_t first_parameter = eval_.stored.parameters().size();
  Value result;
  if (layer.inner) {
    if (arguments.empty()) {
      ctx_.error(Code::E0202, span, "this stack needs an input").help.push_back("write `x |> stack(4, Layer)`");
      return poison();
    }
    result = arguments[0].value;
    for (int64_t i = 0; i < layer.count && !is_poison(result); ++i) {
      std::vector<CallArgument> next = arguments;
      next[0].value = result;
      result = instantiate(*layer.inner, std::move(next), span, fmt::format("{}.{}", path, i), frozen);
    }
    return result;
  }
  result = call_definition(*layer.definition, layer.statics, std::move(arguments), span, path, frozen);
  add_layer_summary(path, layer.definition->name(), span, result, first_parameter);
  return result;
}

void Calls::add_layer_summary(const std::string& path, const std::string& kind, Span call, const Value& result, size_t first_parameter) {
  if (layer_index_.count(path)) return;
  LayerSummary summary;
  summary.path = path;
  summary.kind = kind;
  summary.call = call;
  const Value& shown = result.is(ValueKind::tuple) && !result.items.empty() ? result.items[0] : result;
  if (shown.is(ValueKind::tensor)) {
    summary.output = ctx_.graph.type(shown.tensor.node);
    for (const Dim& d : graph_order(shown.tensor.dims)) summary.output_names.push_back(d.named() ? ctx_.dims.show(d) : "");
  }
  const std::vector<ParameterSpec>& parameters = eval_.stored.parameters();
  for (size_t i = first_parameter; i < parameters.size(); ++i) {
    // The model itself counts what it declares, not what its layers do, which have rows of their own.
    bool is_counted = parameters[i].persistent.kind != PersistentKind::state &&
                      (!path.empty() || parameters[i].persistent.name.find('.') == std::string::npos);
    if (is_counted) summary.parameters += parameters[i].persistent.type.elements(1);
  }
  if (path.empty() && summary.parameters == 0) return;
  layer_index_[path] = layers_.size();
  layers_.push_back(std::move(summary));
}

bool Calls::bind_plain(const ast::Parameter& p, const CallArgument* given) {
  Value v = given ? given->value : eval_.evaluate(*p.default_value);
  Span span = given ? given->span : p.default_value->span;
  if (is_poison(v)) return false;
  if (p.name.is_capitalised()) {
    std::optional<DimSum> sum = ctx_.size_sum(v, span, ctx_.program.sources->text(span));
    if (!sum) return false;
    Origin origin{ctx_.place(span), "given"};
    uint32_t id = ctx_.dims.make(p.name.text, *ctx_.dims.evaluate(*sum), origin, ctx_.frame->id, *sum);
    eval_.bind_dimension(p.name.text, id, p.name.span);
    return true;
  }
  if (v.is(ValueKind::tensor) && !v.tensor.dims.empty()) {
    Diagnostic& d = ctx_.error(Code::E0108, span,
                               fmt::format("`{}` of `{}` is a single number, and {} is {}", p.name.text, ctx_.frame->definition->name(),
                                           ctx_.quote(span, "the argument"), ctx_.dims.show(v.tensor.dims)));
    if (!ctx_.frame->file->is_std) d.help.push_back(fmt::format("declare it as `{}[...]` to take any shape", p.name.text));
    return false;
  }
  ctx_.frame->bind(p.name.text, std::move(v), p.name.span);
  return true;
}

Value Calls::call_definition(const Definition& d, const std::vector<CallArgument>& statics,
                             std::vector<CallArgument> arguments, Span span, const std::string& path, bool frozen) {
  if (d.is_broken) return poison();
  for (const CallArgument& a : arguments)
    if (is_poison(a.value)) return poison();
  // A pipe may carry several values into a definition that takes several.
  if (arguments.size() == 1 && arguments[0].value.is(ValueKind::tuple) &&
      arguments[0].value.items.size() == d.ast->arguments.size()) {
    std::vector<CallArgument> spread;
    for (Value& item : arguments[0].value.items) {
      CallArgument a = arguments[0];
      a.value = item;
      spread.push_back(std::move(a));
    }
    arguments = std::move(spread);
  }
  // After one of these errors nothing more is expanded: unwinding through every other call could take for ever.
  if (eval_.budget.gave_up) return poison();
  if (eval_.budget.depth >= max_call_depth || ++eval_.budget.calls > max_calls) {
    eval_.budget.gave_up = true;
    // The one that goes round is the innermost that stands in the chain of calls many times.
    const Definition* culprit = nullptr;
    Span at = span;
    for (const Frame* f = ctx_.frame; f && eval_.budget.depth >= max_call_depth; f = f->caller) {
      int times = 0;
      for (const Frame* g = f; g; g = g->caller) times += g->definition == f->definition;
      if (!f->definition || times < 10) continue;
      culprit = f->definition;
      at = f->call_span;
      break;
    }
    bool is_deep = eval_.budget.depth >= max_call_depth;
    std::string message = culprit   ? fmt::format("`{}` calls itself without end", culprit->name())
                          : is_deep ? fmt::format("more than {} calls stand inside one another", max_call_depth)
                                    : fmt::format("this program expands to more than {} calls", max_calls);
    eval_.budget.too_large = !culprit;
    ctx_.error(Code::E0209, at, std::move(message)).notes.push_back("definitions are expanded where they are called");
    return poison();
  }
  std::optional<ModelCall> model_call;
  if (d.ast->kind == ast::CallableKind::model) {
    model_call = begin_model_call(ctx_, d, path, statics, arguments, span);
    if (!model_call) return poison();
    for (const ModelCall& c : model_calls_)
      if (is_same_call(c, *model_call)) return c.result;
  }
  Frame frame;
  frame.file = d.file;
  frame.definition = &d;
  frame.id = ctx_.next_frame();
  frame.path = path;
  frame.call_span = ctx_.place(span);
  frame.frozen = frozen || ctx_.frame->frozen;
  frame.owns_parameters = d.is_layer();
  FrameScope scope(ctx_, frame);
  ++eval_.budget.depth;
  struct Depth {
    int& depth;
    ~Depth() { --depth; }
  } restore{eval_.budget.depth};
  const ast::Callable& ast = *d.ast;
  // Static arguments.
  if (ast.has_static_list || !statics.empty()) {
    auto sorted = sort_arguments(ctx_, ast.static_arguments, d.name(), statics, span, true, d);
    if (!sorted) return poison();
    for (size_t i = 0; i < ast.static_arguments.size(); ++i)
      if (!bind_plain(ast.static_arguments[i], (*sorted)[i])) return poison();
  }
  // Tensor arguments.
  auto sorted = sort_arguments(ctx_, ast.arguments, d.name(), arguments, span, false, d);
  if (!sorted) return poison();
  ArgumentBinder binder(eval_);
  bool is_good = true;
  std::string detail;
  for (size_t i = 0; i < ast.arguments.size(); ++i) {
    const ast::Parameter& p = ast.arguments[i];
    const CallArgument* given = (*sorted)[i];
    if (!p.dims && !p.type) {
      is_good = bind_plain(p, given) && is_good;
      continue;
    }
    Value v = given ? given->value : eval_.evaluate(*p.default_value);
    Span at = given ? given->span : p.default_value->span;
    if (is_none(v) && p.default_value && p.default_value->kind == ast::ExprKind::name && p.default_value->text == "none") {
      ctx_.frame->bind(p.name.text, std::move(v), p.name.span);  // left out: the body asks `weight == none`
      continue;
    }
    std::optional<DType> declared = p.type ? parse_dtype(p.type->name.text) : std::nullopt;
    std::optional<TensorValue> t = tensors_.as_tensor(v, at, declared.value_or(DType::f32));
    if (!t) {
      is_good = false;
      continue;
    }
    if (i == 0 && !t->dims.empty()) detail = ctx_.dims.show(t->dims);
    CallArgument argument;
    if (given) argument = *given;
    argument.span = at;
    is_good = binder.bind(p, argument, *t) && is_good;
  }
  if (!is_good) return poison();
  for (const ast::Condition& condition : ast.conditions)
    if (!check_condition(eval_, d, condition)) return poison();
  if (model_call) model_call->inputs = model_inputs(ctx_, model_call->arguments);
  Value body = eval_.evaluate_block(ast.body);
  Value result = poison();
  if (!is_poison(body)) {
    Span body_span = ast.body.results.empty() ? ast.body.span : ast.body.results[0]->span;
    if (ast.body.results.size() == 1) body_span = ast.body.results[0]->span;
    if (std::optional<Value> finished = finish_results(eval_, d, std::move(body), body_span, frame.call_span, detail))
      result = std::move(*finished);
  }
  if (!is_poison(result)) finished_.insert(&d);
  if (model_call) {
    model_call->result = result;
    model_calls_.push_back(std::move(*model_call));
  }
  return result;
}

}  // namespace nnc
