// Calls: a definition's body is evaluated anew at every call, in a frame of its own. A layer called with its static arguments
// alone waits as a template; with its tensor arguments it becomes an instance, whose path names its parameters.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "frontend/argument_places.h"
#include "frontend/lowering.h"
#include "frontend/signatures.h"

namespace nnc {

namespace {

constexpr int max_call_depth = 120;
constexpr int64_t max_calls = 200000;

std::string lower_case(std::string text) {
  for (char& c : text) c = char(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

bool Lowering::takes_statics(const Value& callee) {
  if (callee.is(ValueKind::builtin)) return callee.text == "stack";
  return callee.is(ValueKind::callable) && callee.overloads[0]->ast->has_static_list;
}

std::vector<CallArgument> Lowering::evaluate_arguments(const std::vector<ast::Argument>& arguments) {
  std::vector<CallArgument> result = unevaluated(arguments);
  for (CallArgument& a : result) a.value = evaluate(*a.expr);
  return result;
}

Value Lowering::evaluate_call(const ast::Expr& e) {
  const ast::Expr& callee_expr = *e.operands[0];
  if (callee_expr.kind == ast::ExprKind::call && callee_expr.operands[0]->kind == ast::ExprKind::name &&
      callee_expr.operands[0]->text == "gradient" && in_test_ && callee_expr.arguments.size() == 1) {
    BuiltinCall call{"gradient", e.span, callee_expr.span, evaluate_arguments(callee_expr.arguments)};
    for (CallArgument& a : evaluate_arguments(e.arguments)) call.arguments.push_back(std::move(a));
    return builtin_gradient(call);
  }
  Value callee = evaluate(callee_expr);
  if (callee.is(ValueKind::builtin) && callee.text == "sum" && !e.arguments.empty() && !e.arguments[0].name) {
    // A product directly under a sum may be a contraction, whose factors need not align.
    const ast::Expr& x = *e.arguments[0].value;
    bool is_product = x.kind == ast::ExprKind::binary && x.binary_op == ast::BinaryOp::multiply;
    if (is_product && e.arguments.size() == 2 && e.arguments[1].name && e.arguments[1].name->text == "over")
      return sum_of_product(e, callee_expr.span);
  }
  std::vector<CallArgument> arguments = evaluate_arguments(e.arguments);
  if (is_poison(callee)) return poison();
  if (takes_statics(callee)) return make_template(callee, std::move(arguments), e.span);
  return apply(callee, std::move(arguments), e.span, callee_expr.span, nullptr, false);
}

Value Lowering::evaluate_stage(const ast::Stage& stage, Value piped, Span piped_span) {
  const ast::Expr& e = *stage.callee;
  if (e.kind == ast::ExprKind::error) return poison();
  std::vector<CallArgument> arguments;
  CallArgument first;
  first.value = std::move(piped);
  first.span = piped_span;
  arguments.push_back(std::move(first));
  const ast::Name* instance = stage.instance ? &*stage.instance : nullptr;
  if (e.kind != ast::ExprKind::call) {
    Value callee = evaluate(e);
    if (is_poison(callee)) return poison();
    if (takes_statics(callee)) callee = make_template(callee, {}, e.span);
    return apply(callee, std::move(arguments), e.span, e.span, instance, stage.frozen);
  }
  Value callee = evaluate(*e.operands[0]);
  std::vector<CallArgument> written = evaluate_arguments(e.arguments);
  if (is_poison(callee)) return poison();
  if (takes_statics(callee)) {
    callee = make_template(callee, std::move(written), e.span);
  } else {
    for (CallArgument& a : written) arguments.push_back(std::move(a));
  }
  return apply(callee, std::move(arguments), e.span, e.operands[0]->span, instance, stage.frozen);
}

// What tells definitions of one name apart: an argument declared class(N) takes class values and no others, and each has the names of its own
// arguments. Where none fits, the one that misfits least, and of such the first, says what is wrong.
const Definition* Lowering::choose_overload(const Value& callee, const std::vector<CallArgument>& arguments) const {
  const Definition* best = nullptr;
  int least = 0;
  for (const Definition* d : callee.overloads) {
    const std::vector<ast::Parameter>& parameters = d->ast->arguments;
    std::vector<size_t> places = argument_places(parameters, arguments);
    int misfits = 0;
    for (size_t i = 0; i < arguments.size(); ++i) {
      const Value& v = arguments[i].value;
      if (places[i] == parameters.size()) {
        ++misfits;
        continue;
      }
      const ast::Parameter& p = parameters[places[i]];
      if (!p.dims || !(v.is(ValueKind::tensor) || v.is(ValueKind::array))) continue;
      bool wants_class = p.type && p.type->name.text == "class";
      misfits += wants_class != (v.is(ValueKind::tensor) && v.tensor.is_class);
    }
    if (best && misfits >= least) continue;
    best = d;
    least = misfits;
  }
  return best;
}

Value Lowering::make_template(const Value& callee, std::vector<CallArgument> arguments, Span span) {
  for (const CallArgument& a : arguments)
    if (is_poison(a.value)) return poison();
  auto layer = std::make_shared<LayerTemplate>();
  layer->span = span;
  if (callee.is(ValueKind::builtin)) {
    BuiltinCall call{callee.text, span, span, std::move(arguments)};
    return builtin_stack(call);
  }
  layer->definition = callee.overloads[0];
  layer->statics = std::move(arguments);
  Value v;
  v.kind = ValueKind::layer;
  v.layer = layer;
  return v;
}

std::string Lowering::instance_path(const LayerTemplate& layer, const ast::Name* name, Span span) {
  std::string own;
  if (name) {
    own = name->text;
    for (int64_t i : frame_->iterations) own += fmt::format(".{}", i);
    auto [it, is_new] = frame_->instance_names.emplace(own, name->span);
    if (!is_new) {
      error(Code::E0205, name->span, fmt::format("two layers are called `{}`", own))
          .labels.push_back({place(it->second), "the first"});
    }
  } else {
    std::string kind = lower_case(layer.definition ? layer.definition->name() : "stack");
    own = fmt::format("{}{}", kind, ++frame_->instance_counts[kind]);
  }
  (void)span;
  return frame_->path.empty() ? own : frame_->path + "." + own;
}

Value Lowering::evaluate_template(const ast::Expr& e, const ast::Name& name, bool frozen) {
  Value v = evaluate(e);
  if (is_poison(v)) return poison();
  if (v.is(ValueKind::callable) && v.overloads[0]->is_layer()) v = make_template(v, {}, e.span);
  if (v.is(ValueKind::layer) && v.layer->is_instance) {
    error(Code::E0205, e.span, fmt::format("this layer is an instance already, called `{}`", v.layer->path));
    return poison();
  }
  if (!v.is(ValueKind::layer) || (v.layer->definition && !v.layer->definition->is_layer())) {
    error(Code::E0207, e.span,
          fmt::format("{} is not a layer, so `{}` cannot name an instance of it", quote(e.span, "this"), name.text));
    return poison();
  }
  auto instance = std::make_shared<LayerTemplate>(*v.layer);
  instance->path = instance_path(*instance, &name, e.span);
  instance->is_instance = true;
  instance->frozen = frozen;
  v.layer = instance;
  return v;
}

Value Lowering::apply(const Value& callee, std::vector<CallArgument> arguments, Span span, Span callee_span,
                      const ast::Name* instance, bool frozen) {
  auto no_instance = [&] {
    if (instance)
      error(Code::E0207, instance->span,
            fmt::format("{} is a function and has no parameters, so `{}` names nothing", quote(callee_span, "this"),
                        instance->text));
  };
  switch (callee.kind) {
    case ValueKind::poison:
      return poison();
    case ValueKind::builtin: {
      auto f = builtins().find(callee.text);
      NNC_CHECK(f != builtins().end(), callee.text);
      if (f->second != &Lowering::builtin_later) no_instance();
      return (this->*f->second)(BuiltinCall{callee.text, span, callee_span, std::move(arguments)});
    }
    case ValueKind::callable: {
      const Definition& d = *choose_overload(callee, arguments);
      if (d.ast->kind == ast::CallableKind::optimizer) {
        error(Code::E0207, callee_span, fmt::format("`{}` is an optimizer: it stands after `using` in `train`", d.name()));
        return poison();
      }
      if (!d.is_layer()) {
        no_instance();
        return call_definition(d, {}, std::move(arguments), span, frame_->path, false);
      }
      LayerTemplate layer;
      layer.definition = &d;
      layer.span = span;
      bool at_top = d.ast->kind == ast::CallableKind::model && !frame_->definition && !instance;
      return instantiate(layer, std::move(arguments), span, at_top ? frame_->path : instance_path(layer, instance, span), frozen);
    }
    case ValueKind::layer: {
      const LayerTemplate& layer = *callee.layer;
      if (layer.definition && !layer.definition->is_layer()) {
        no_instance();
        return call_definition(*layer.definition, layer.statics, std::move(arguments), span, frame_->path, false);
      }
      if (layer.is_instance) {
        if (instance)
          error(Code::E0205, instance->span, fmt::format("this layer is an instance already, called `{}`", layer.path));
        return instantiate(layer, std::move(arguments), span, layer.path, layer.frozen || frozen);
      }
      bool at_top =
          layer.definition && layer.definition->ast->kind == ast::CallableKind::model && !frame_->definition && !instance;
      return instantiate(layer, std::move(arguments), span, at_top ? frame_->path : instance_path(layer, instance, span), frozen);
    }
    default:
      error(Code::E0207, callee_span, fmt::format("{} cannot be called: it is a value", quote(callee_span, "this")));
      return poison();
  }
}

Value Lowering::instantiate(const LayerTemplate& layer, std::vector<CallArgument> arguments, Span span, const std::string& path,
                            bool frozen) {
  if (frame_->definition && !frame_->definition->is_layer()) {
    Diagnostic& d = error(Code::E0208, span,
                          fmt::format("`{}` is {}, which owns no parameters, so it cannot hold a layer", frame_->definition->name(),
                                      frame_->is_optimizer ? "an optimizer" : "a fn"));
    if (!frame_->is_optimizer) d.help.push_back("make it a `layer`");
    return poison();
  }
  size_t first_parameter = parameters_.size();
  Value result;
  if (layer.inner) {
    if (arguments.empty()) {
      error(Code::E0202, span, "this stack needs an input").help.push_back("write `x |> stack(4, Layer)`");
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
  if (!path.empty()) add_layer_summary(path, layer.definition->name(), span, result, first_parameter);
  return result;
}

void Lowering::add_layer_summary(const std::string& path, const std::string& kind, Span call, const Value& result, size_t first_parameter) {
  if (layer_index_.count(path)) return;
  LayerSummary summary;
  summary.path = path;
  summary.kind = kind;
  summary.call = call;
  const Value& shown = result.is(ValueKind::tuple) && !result.items.empty() ? result.items[0] : result;
  if (shown.is(ValueKind::tensor)) {
    summary.output = graph_.type(shown.tensor.node);
    for (const Dim& d : graph_order(shown.tensor.dims)) summary.output_names.push_back(d.named() ? dims_.show(d) : "");
  }
  for (size_t i = first_parameter; i < parameters_.size(); ++i)
    if (parameters_[i].persistent.kind != PersistentKind::state) summary.parameters += parameters_[i].persistent.type.elements(1);
  layer_index_[path] = layers_.size();
  layers_.push_back(std::move(summary));
}

namespace {

void collect_names(const ast::Expr& e, std::vector<const ast::Expr*>& names) {
  if (e.kind == ast::ExprKind::name) names.push_back(&e);
  for (const ast::ExprPtr& o : e.operands) collect_names(*o, names);
}

}  // namespace

bool Lowering::check_condition(const Definition& d, const ast::Expr& condition) {
  // With arguments that were made up, what the condition says of them is nothing to report.
  Diagnostics unreported;
  Diagnostics* outer = std::exchange(diagnostics_, trial_ ? &unreported : diagnostics_);
  Value v = evaluate(condition);
  diagnostics_ = outer;
  if (is_poison(v)) return false;
  if (v.is(ValueKind::boolean) && v.boolean) return true;
  if (trial_) return false;
  std::string text(program_.sources->text(condition.span));
  if (!v.is(ValueKind::boolean)) {
    error(Code::E0113, condition.span, fmt::format("`{}` cannot be decided at compile time", text));
    return false;
  }
  std::vector<const ast::Expr*> names;
  collect_names(condition, names);
  std::string values;
  std::vector<Label> labels;
  for (const ast::Expr* name : names) {
    Value n = lookup(name->text, name->span);
    std::string shown = n.is(ValueKind::number) ? fmt::format("{:g}", n.number) : n.boolean ? "true" : "false";
    if (!n.is(ValueKind::number) && !n.is(ValueKind::boolean)) continue;
    std::string at;
    if (n.is_size && !is_constant(n.sum)) {
      const Origin origin = dims_.to_dim(n.sum).origin;
      if (origin.span.valid() && origin.text != "given" && origin.span.file != program_.files[0].id) {
        at = fmt::format(" ({})", program_.sources->describe_line(origin.span));
        if (origin.span != frame_->call_span) labels.push_back({origin.span, fmt::format("{} = {:g}", name->text, n.number)});
      }
    }
    std::string one = fmt::format("{} = {}{}", name->text, shown, at);
    if (values.find(one) == std::string::npos) values += (values.empty() ? "" : ", ") + one;
  }
  Diagnostic& e = error(Code::E0104, frame_->call_span, fmt::format("`{}` does not hold{}{}", text, values.empty() ? "" : ": ", values));
  e.span_text = fmt::format("`{}` needs it", d.name());
  e.labels.insert(e.labels.end(), labels.begin(), labels.end());
  if (!d.file->is_std) e.labels.push_back({condition.span, "stated here"});
  bool is_zero = condition.kind == ast::ExprKind::binary && condition.binary_op == ast::BinaryOp::equal &&
                 integer_of(evaluate(*condition.operands[1])) == 0;
  const ast::Expr* remainder = is_zero ? condition.operands[0].get() : nullptr;
  if (remainder && remainder->kind == ast::ExprKind::binary && remainder->binary_op == ast::BinaryOp::remainder &&
      remainder->operands[0]->kind == ast::ExprKind::name) {
    std::optional<int64_t> x = integer_of(evaluate(*remainder->operands[0])), y = integer_of(evaluate(*remainder->operands[1]));
    if (x && y && *y > 0) {
      int64_t below = *x / *y * *y;
      std::string_view name = remainder->operands[0]->text;
      e.help.push_back(below > 0 ? fmt::format("the nearest sizes for {} are {} and {}", name, below, below + *y)
                                 : fmt::format("the nearest size for {} is {}", name, *y));
    }
  }
  return false;
}

bool Lowering::bind_plain(const ast::Parameter& p, const CallArgument* given) {
  Value v = given ? given->value : evaluate(*p.default_value);
  Span span = given ? given->span : p.default_value->span;
  if (is_poison(v)) return false;
  if (p.name.is_capitalised()) {
    std::optional<DimSum> sum = size_sum(v, span, program_.sources->text(span));
    if (!sum) return false;
    Origin origin{place(span), "given"};
    uint32_t id = dims_.make(p.name.text, *dims_.evaluate(*sum), origin, frame_->id, *sum);
    bind_dimension(p.name.text, id, p.name.span);
    return true;
  }
  if (v.is(ValueKind::tensor) && !v.tensor.dims.empty()) {
    Diagnostic& d = error(Code::E0108, span,
                          fmt::format("`{}` of `{}` is a single number, and {} is {}", p.name.text, frame_->definition->name(),
                                      quote(span, "the argument"), dims_.show(v.tensor.dims)));
    if (!frame_->file->is_std) d.help.push_back(fmt::format("declare it as `{}[...]` to take any shape", p.name.text));
    return false;
  }
  bind(p.name.text, std::move(v), p.name.span);
  return true;
}

Value Lowering::call_definition(const Definition& d, const std::vector<CallArgument>& statics,
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
  if (gave_up_) return poison();
  if (depth_ >= max_call_depth || ++calls_ > max_calls) {
    gave_up_ = true;
    // The one that goes round is the innermost that stands in the chain of calls many times.
    const Definition* culprit = nullptr;
    Span at = span;
    for (const Frame* f = frame_; f && depth_ >= max_call_depth; f = f->caller) {
      int times = 0;
      for (const Frame* g = f; g; g = g->caller) times += g->definition == f->definition;
      if (!f->definition || times < 10) continue;
      culprit = f->definition;
      at = f->call_span;
      break;
    }
    std::string message = culprit                    ? fmt::format("`{}` calls itself without end", culprit->name())
                          : depth_ >= max_call_depth ? fmt::format("more than {} calls stand inside one another", max_call_depth)
                                                     : fmt::format("this program expands to more than {} calls", max_calls);
    too_large_ = !culprit;
    error(Code::E0209, at, std::move(message)).notes.push_back("definitions are expanded where they are called");
    return poison();
  }
  std::optional<ModelCall> model_call;
  if (d.ast->kind == ast::CallableKind::model) {
    model_call = begin_model_call(d, path, statics, arguments, span);
    if (!model_call) return poison();
    auto same = [](const CallArgument& a, const CallArgument& b) { return a.name == b.name && same_value(a.value, b.value); };
    for (const ModelCall& c : model_calls_)
      if (c.definition == &d && c.path == path && std::ranges::equal(c.statics, model_call->statics, same) &&
          std::ranges::equal(c.arguments, model_call->arguments, same))
        return c.result;
  }
  Frame frame;
  frame.file = d.file;
  frame.definition = &d;
  frame.id = next_frame_++;
  frame.path = path;
  frame.call_span = place(span);
  frame.frozen = frozen || frame_->frozen;
  frame.owns_parameters = d.is_layer();
  FrameScope scope(*this, frame);
  ++depth_;
  struct Depth {
    int& depth;
    ~Depth() { --depth; }
  } restore{depth_};
  const ast::Callable& ast = *d.ast;
  // Static arguments.
  if (ast.has_static_list || !statics.empty()) {
    auto sorted = sort_arguments(ast.static_arguments, d.name(), statics, span, true, d);
    if (!sorted) return poison();
    for (size_t i = 0; i < ast.static_arguments.size(); ++i)
      if (!bind_plain(ast.static_arguments[i], (*sorted)[i])) return poison();
  }
  // Tensor arguments.
  auto sorted = sort_arguments(ast.arguments, d.name(), arguments, span, false, d);
  if (!sorted) return poison();
  Binding binding;
  bool is_good = true;
  std::string detail;
  for (size_t i = 0; i < ast.arguments.size(); ++i) {
    const ast::Parameter& p = ast.arguments[i];
    const CallArgument* given = (*sorted)[i];
    if (!p.dims && !p.type) {
      is_good = bind_plain(p, given) && is_good;
      continue;
    }
    Value v = given ? given->value : evaluate(*p.default_value);
    Span at = given ? given->span : p.default_value->span;
    std::optional<DType> declared = p.type ? parse_dtype(p.type->name.text) : std::nullopt;
    std::optional<TensorValue> t = as_tensor(v, at, declared.value_or(DType::f32));
    if (!t) {
      is_good = false;
      continue;
    }
    if (i == 0 && !t->dims.empty()) detail = dims_.show(t->dims);
    CallArgument argument;
    if (given) argument = *given;
    argument.span = at;
    is_good = bind_tensor(p, argument, *t, binding) && is_good;
  }
  if (!is_good) return poison();
  for (const ast::ExprPtr& condition : ast.conditions)
    if (!check_condition(d, *condition)) return poison();
  if (model_call) model_call->inputs = model_inputs(model_call->arguments);
  Value body = evaluate_block(ast.body);
  Value result = poison();
  if (!is_poison(body)) {
    Span body_span = ast.body.results.empty() ? ast.body.span : ast.body.results[0]->span;
    if (ast.body.results.size() == 1) body_span = ast.body.results[0]->span;
    if (std::optional<Value> finished = finish_results(d, std::move(body), body_span, frame.call_span, detail))
      result = std::move(*finished);
  }
  if (!is_poison(result)) finished_.insert(&d);
  if (model_call) {
    model_call->result = result;
    model_calls_.push_back(std::move(*model_call));
  }
  return result;
}

std::optional<Value> Lowering::finish_results(const Definition& d, Value body, Span body_span, Span call_span,
                                              const std::string& detail) {
  std::vector<Value> values = body.is(ValueKind::tuple) ? body.items : std::vector<Value>{body};
  const ast::Callable& ast = *d.ast;
  if (values.empty()) {
    const auto& statements = ast.body.statements;  // after a `yield` that stood where the result should, nothing is missing
    if (std::any_of(statements.begin(), statements.end(), [](const ast::StmtPtr& s) { return s->kind == ast::StmtKind::yield; }))
      return std::nullopt;
    error(Code::E0213, ast.body.span, fmt::format("`{}` gives no result", d.name()))
        .help.push_back("end its body with the value it should give");
    return std::nullopt;
  }
  if (ast.has_results) {
    if (values.size() != ast.results.size()) {
      Diagnostic& e = error(Code::E0213, body_span,
                            fmt::format("`{}` declares {} result{}, and its body gives {}", d.name(), ast.results.size(),
                                        ast.results.size() == 1 ? "" : "s", values.size()));
      e.labels.push_back({ast.head_span, "declared here"});
      return std::nullopt;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      Span span = ast.body.results.size() == values.size() ? ast.body.results[i]->span : body_span;
      std::optional<TensorValue> t = as_tensor(values[i], span);
      if (!t) return std::nullopt;
      std::optional<TensorValue> matched = match_result(d, ast.results[i], *t, span);
      if (!matched) return std::nullopt;
      values[i] = Value::of(*matched);
    }
  }
  std::string text(program_.sources->text(call_span));
  Origin origin;
  if (call_span.valid() && text.size() <= 60 && text.find('\n') == std::string::npos) {
    bool is_fn = !d.is_layer() && text.find('(') == std::string::npos;
    origin = {call_span, fmt::format("from `{}`{}", text, is_fn && !detail.empty() ? " of " + detail : "")};
  }
  for (Value& v : values) {
    v = leave(std::move(v), frame_->id, origin);
    if (v.is(ValueKind::tensor)) v.tensor.span = call_span;
  }
  if (values.size() == 1) return values[0];
  return Value::of_items(ValueKind::tuple, std::move(values));
}

// A call of a model as far as it is known before its body: what makes two calls the same, whatever way they are written.
std::optional<Lowering::ModelCall> Lowering::begin_model_call(const Definition& d, const std::string& path,
                                                              const std::vector<CallArgument>& statics,
                                                              const std::vector<CallArgument>& arguments, Span span) {
  ModelCall call{&d, path, {}, {}, true, {}, {}};
  auto sort = [&](const std::vector<ast::Parameter>& parameters, const std::vector<CallArgument>& given, bool is_static,
                  std::vector<CallArgument>& into) {
    auto sorted = sort_arguments(parameters, d.name(), given, span, is_static, d);
    if (!sorted) return false;
    for (size_t i = 0; i < parameters.size(); ++i)
      if ((*sorted)[i]) {
        into.push_back(*(*sorted)[i]);
        into.back().name = parameters[i].name.text;
      }
    return true;
  };
  bool takes_statics = d.ast->has_static_list || !statics.empty();
  if (takes_statics && !sort(d.ast->static_arguments, statics, true, call.statics)) return std::nullopt;
  if (!sort(d.ast->arguments, arguments, false, call.arguments)) return std::nullopt;
  for (const Frame* f = frame_; f; f = f->caller)
    if (f->definition && f->definition->ast->kind == ast::CallableKind::model) call.is_outermost = false;
  return call;
}

// What a model takes, as it sees it: the inputs of prediction.
std::vector<ArgumentSpec> Lowering::model_inputs(const std::vector<CallArgument>& arguments) const {
  std::vector<ArgumentSpec> inputs;
  for (const CallArgument& a : arguments)
    for (const Local& l : frame_->locals) {
      if (l.name != a.name || !a.value.is(ValueKind::tensor) || !l.value.is(ValueKind::tensor)) continue;
      const TensorValue& t = l.value.tensor;
      ArgumentSpec spec;
      spec.name = a.name;
      if (const Node& given = graph_[a.value.tensor.node]; given.op == Op::input) spec.field = given.attributes.text;
      spec.type.dtype = graph_.type(t.node).dtype;
      if (t.is_class) spec.classes = t.classes.extent.size;
      for (const Dim& d : t.dims) {
        spec.type.shape.push_back(d.extent);
        spec.dimension_names.push_back(d.named() ? dims_.show(d) : "");
      }
      inputs.push_back(std::move(spec));
    }
  return inputs;
}

}  // namespace nnc
