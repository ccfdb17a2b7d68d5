// Definitions on their own: for `nnc run` and prediction, where inputs have given shapes.
#include "frontend/definition_builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "frontend/builtin_names.h"
#include "frontend/builtins.h"
#include "frontend/declared_inputs.h"
#include "frontend/syntax/familiar_names.h"
#include "frontend/train_builder.h"

namespace nnc {

std::optional<BuiltGraph> DefinitionBuilder::build_predict(const TrainSpec& spec) {
  // The model is the first that `train` calls and no other model does; a forward walk over the train block finds it and what it
  // was called with.
  Diagnostics ignored;
  TrainBuilder scout(ctx_.program, ignored, ctx_.training);
  scout.build(spec);
  const std::vector<ModelCall>& calls = scout.evaluator().calls.model_calls();
  auto call = std::ranges::find(calls, true, &ModelCall::is_outermost);
  if (call == calls.end()) {
    ctx_.error(Code::E0307, spec.span, "`train` calls no model, so there is nothing to predict with")
        .help.push_back("put the network into a `model`");
    return std::nullopt;
  }
  // Tensors are the inputs; all else is as `train` has it.
  bool is_good = true;
  auto constants = [&](std::vector<CallArgument> arguments) {
    std::vector<CallArgument> kept;
    for (CallArgument& a : arguments) {
      if (a.value.is(ValueKind::tensor)) continue;
      if (std::optional<Value> value = constant_value(a.value, scout.evaluator().ctx.dims)) {
        a.value = std::move(*value);
        kept.push_back(std::move(a));
        continue;
      }
      is_good = false;
      ctx_.error(Code::E0307, a.span,
                 fmt::format("`{}` of `{}` is known only in training, so there is nothing to predict with", a.name,
                             call->definition->name()))
          .help.push_back("give the model a number, or compute it inside of the model");
    }
    return kept;
  };
  std::vector<CallArgument> statics = constants(call->statics), others = constants(call->arguments);
  if (!is_good) return std::nullopt;
  return build_call(*call->definition, call->inputs, {}, std::move(statics), others, call->path);
}

// A function of the compiler by itself: its arguments are what is given, in its own words for them.
std::optional<BuiltGraph> DefinitionBuilder::build_builtin(const std::string& name, const std::vector<ArgumentSpec>& actual) {
  Frame frame;
  frame.file = ctx_.program.main;
  frame.id = ctx_.next_frame();
  FrameScope scope(ctx_, frame);
  ctx_.graph.name = name;
  size_t errors_before = ctx_.error_count();
  BuiltinCall call{name, {}, {}, {}};
  for (const ArgumentSpec& a : actual) {
    TensorValue t;
    t.dtype = a.type.dtype;
    for (const Extent& e : a.type.shape) t.dims.push_back({e.rows ? ctx_.rows : 0, e, {}});
    t.node = ctx_.builder({}).input(a.name, a.type);
    CallArgument& c = call.arguments.emplace_back();
    c.name = a.name;
    c.value = Value::of(t);
  }
  Value result = builtins().at(name)(eval_, call);
  if (is_poison(result) || ctx_.error_count() != errors_before) return std::nullopt;
  std::vector<Value> values = result.is(ValueKind::tuple) ? result.items : std::vector<Value>{result};
  for (size_t i = 0; i < values.size(); ++i) {
    std::optional<TensorValue> t = tensors_.as_tensor(values[i], {});
    if (!t) return std::nullopt;
    ctx_.graph.outputs.push_back({values.size() == 1 ? "result" : fmt::format("result.{}", i), t->node});
  }
  BuiltGraph graph = eval_.built();
  graph.inputs = actual;
  return graph;
}

// Said of the command line, where a program has no place: those of a builtin's faults get the name of the file.
std::optional<BuiltGraph> DefinitionBuilder::build_if_builtin(const std::string& name, const std::vector<ArgumentSpec>& actual) {
  Diagnostics found;
  std::optional<BuiltGraph> graph;
  {
    ReportTo elsewhere(ctx_, found, true);
    graph = build_builtin(name, actual);
  }
  for (Diagnostic d : found.items()) {
    Diagnostic& e = ctx_.error(d.code, {}, d.message);
    e.help = d.help;
    e.place = "`" + name + "`, a function of the compiler";
  }
  return graph;
}

bool DefinitionBuilder::is_builtin(const std::string& name) const {
  return !ctx_.program.find(*ctx_.program.main, name) && is_builtin_name(name) && !gives_distribution(name) && name != "gradient";
}

const Global* DefinitionBuilder::find_evaluated(const std::string& name) {
  const Global* g = ctx_.program.find(*ctx_.program.main, name);
  auto is_evaluated = [](const Global& global) {  // an optimizer is not: it is a rule for changing parameters
    return !global.definitions.empty() && global.definitions[0]->ast->kind != ast::CallableKind::optimizer;
  };
  if (g && !is_evaluated(*g)) {
    std::string kind = with_article(global_kind(*g));
    Diagnostic& e = ctx_.error(Code::E0207, {}, fmt::format("`{}` is {} and cannot be evaluated by itself", name, kind));
    e.place = ctx_.program.main->path;
    e.help.push_back("name a layer, fn or model");
    return nullptr;
  }
  if (!g) {
    std::vector<std::string> names;
    for (const SourceFile* file : std::initializer_list<const SourceFile*>{ctx_.program.main, &ctx_.program.files[0]})
      for (const auto& [n, global] : file->globals)
        if (is_evaluated(global)) names.push_back(n);
    const std::string familiar = familiar_name_help(name);
    std::string similar = familiar.empty() ? nearest(name, names) : "";
    Diagnostic& e = ctx_.error(Code::E0201, {},
                               fmt::format("unknown name `{}`{}", name, similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)));
    e.place = ctx_.program.main->path;
    if (!familiar.empty()) e.help.push_back(familiar);
  }
  return g;
}

std::optional<BuiltGraph> DefinitionBuilder::build(const std::string& name, const std::vector<ArgumentSpec>& actual,
                                                   const std::map<std::string, int64_t>& dims) {
  if (is_builtin(name)) return build_if_builtin(name, actual);
  const Global* g = find_evaluated(name);
  if (!g) return std::nullopt;
  const Definition* d = g->definitions[0];
  for (const Definition* candidate : g->definitions) {
    bool fits = true;
    for (const ast::Parameter& p : candidate->ast->arguments) {
      bool wants_class = p.type && p.type->name.text == "class";
      for (const ArgumentSpec& a : actual)
        if (a.name == p.name.text) fits = fits && wants_class == (a.classes > 0 || !is_float(a.type.dtype));
      if (std::none_of(actual.begin(), actual.end(), [&](const ArgumentSpec& a) { return a.name == p.name.text; }) &&
          !p.default_value)
        fits = false;
    }
    if (fits) {
      d = candidate;
      break;
    }
  }
  return check_given_sizes(ctx_, *d, dims) && check_sizes_agree(ctx_, *d, actual, dims) ? build_call(*d, actual, dims) : std::nullopt;
}

std::optional<BuiltGraph> DefinitionBuilder::build_declared(const std::string& name, const std::vector<ArgumentSpec>& described,
                                                            const std::map<std::string, int64_t>& dims) {
  if (is_builtin(name)) return build_if_builtin(name, described);
  const Global* g = find_evaluated(name);
  const Definition* d = g ? choose_declared(ctx_, *g, described) : nullptr;
  if (!d || !check_given_sizes(ctx_, *d, dims) || !check_sizes_agree(ctx_, *d, described, dims)) return std::nullopt;
  std::optional<std::vector<ArgumentSpec>> inputs = declared_inputs(eval_, *d, described, dims);
  return inputs ? build_call(*d, *inputs, dims) : std::nullopt;
}

std::optional<BuiltGraph> DefinitionBuilder::build_call(const Definition& d, const std::vector<ArgumentSpec>& actual,
                                                        const std::map<std::string, int64_t>& dims, std::vector<CallArgument> statics,
                                                        const std::vector<CallArgument>& others, const std::string& path) {
  size_t errors_before = ctx_.error_count();
  Frame frame;
  frame.file = ctx_.program.main;
  frame.id = ctx_.next_frame();
  frame.owns_parameters = true;
  FrameScope scope(ctx_, frame);
  ctx_.graph.name = d.name();
  Span span = d.ast->name.span;
  auto given_dim = [&](const std::string& name) -> std::optional<int64_t> {
    auto it = dims.find(name);
    return it == dims.end() ? std::nullopt : std::optional(it->second);
  };
  if (statics.empty())
    for (const ast::Parameter& p : d.ast->static_arguments) {
      std::optional<int64_t> n = given_dim(p.name.text);
      if (!n && p.default_value) continue;
      if (!n) {
        report_missing_size(ctx_, d, p);
        continue;
      }
      CallArgument a;
      a.name = p.name.text;
      a.value = Value::of_size(*n);
      a.span = a.name_span = p.span;
      statics.push_back(std::move(a));
    }
  std::vector<CallArgument> arguments;
  BuiltGraph built;
  std::map<std::string, uint32_t> named;
  for (const ArgumentSpec& a : actual) {
    auto p = std::find_if(d.ast->arguments.begin(), d.ast->arguments.end(),
                          [&](const ast::Parameter& candidate) { return candidate.name.text == a.name; });
    if (p == d.ast->arguments.end()) {
      std::vector<std::string> names;
      for (const ast::Parameter& candidate : d.ast->arguments) names.push_back(candidate.name.text);
      std::string similar = nearest(a.name, names);
      ctx_.error(Code::E0204, d.ast->head_span,
                 fmt::format("`{}` has no input `{}`{}", d.name(), a.name,
                             similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)))
          .help.push_back(names.empty() ? "it takes none" : fmt::format("its inputs are {}", fmt::join(names, ", ")));
      continue;
    }
    CallArgument c;
    c.name = a.name;
    c.span = c.name_span = p->span;
    TensorValue t;
    Type type = a.type;
    type.dtype = DType::f32;
    if (p->type) {
      if (p->type->name.text == "class")
        type.dtype = DType::i32;
      else if (std::optional<DType> declared = parse_dtype(p->type->name.text))
        type.dtype = *declared;
    }
    for (size_t i = 0; i < type.shape.size(); ++i) {
      std::string name = i < a.dimension_names.size() ? a.dimension_names[i] : "";
      if (type.shape[i].rows) {
        t.dims.push_back({ctx_.rows, type.shape[i], {}});
      } else if (const Global* g = name.empty() ? nullptr : ctx_.program.find(*d.file, name); g && g->dim) {
        bool found = false;
        Value v = eval_.global_value(*d.file, name, p->span, found);
        if (v.is(ValueKind::number) && ctx_.dims.evaluate(v.sum) == type.shape[i])
          t.dims.push_back(ctx_.dims.to_dim(v.sum));
        else
          t.dims.push_back({0, type.shape[i], {}});
      } else {
        t.dims.push_back({0, type.shape[i], {}});
      }
    }
    t.dtype = type.dtype;
    t.is_class = p->type && p->type->name.text == "class";
    if (t.is_class) {
      int64_t classes = a.classes;
      const ast::Expr* size = p->type->size.get();
      if (classes == 0 && size && size->kind == ast::ExprKind::number && size->is_integer) classes = size->integer;
      if (classes == 0 && size && size->kind == ast::ExprKind::name) classes = given_dim(size->text).value_or(0);
      const bool is_named = size && size->kind == ast::ExprKind::name;
      std::optional<Dim> known;
      if (classes > 0)
        known = Dim{0, {classes, false}, {}};
      else if (is_named)
        known = class_size_from_others(d, size->text, actual);
      if (known) t.classes = *known;
      if (!known && is_named) {
        ctx_.error(Code::E0202, p->span, fmt::format("`{}` needs `{}`, the number of classes of `{}`", d.name(), size->text, a.name))
            .help.push_back(fmt::format("add `--dim {}=10`", size->text));
        continue;
      }
      t.is_class = known.has_value();
    }
    t.span = p->span;
    if (std::ranges::any_of(type.shape, [](const Extent& e) { return e.size == 0; })) {
      ctx_.error(Code::E0111, p->span, fmt::format("`{}` is given as {}, and a size must be at least 1", a.name, ctx_.dims.show(t.dims)));
      continue;
    }
    if (!tensors_.check_rows(t.dims, p->span)) continue;
    type.shape = shape_of(t.dims);  // the rows of a batch come first
    t.node = ctx_.builder(p->span).input(a.name, type);
    c.value = Value::of(t);
    arguments.push_back(std::move(c));
    ArgumentSpec used = a;
    used.type = type;
    used.classes = t.is_class ? t.classes.extent.size : 0;
    used.dimension_names.resize(type.shape.size());
    if (int row = row_axis(t.dims); row > 0)
      std::rotate(used.dimension_names.begin(), used.dimension_names.begin() + row, used.dimension_names.begin() + row + 1);
    built.inputs.push_back(std::move(used));
  }
  for (const ast::Parameter& p : d.ast->arguments) {
    bool is_given = std::ranges::count(actual, p.name.text, &ArgumentSpec::name) +
                        std::ranges::count(others, p.name.text, &CallArgument::name) >
                    0;
    std::optional<int64_t> n = given_dim(p.name.text);
    if (!is_given && !n && !p.dims && !p.default_value) report_missing_size(ctx_, d, p);
    if (is_given || !n) continue;
    CallArgument c;
    c.name = p.name.text;
    c.span = c.name_span = p.span;
    c.value = Value::of_size(*n);
    arguments.push_back(std::move(c));
  }
  if (ctx_.error_count() != errors_before) return std::nullopt;
  arguments.insert(arguments.end(), others.begin(), others.end());
  Value result = eval_.calls.call_definition(d, statics, std::move(arguments), span, path, false);
  if (is_poison(result)) {
    if (ctx_.error_count() == errors_before)
      ctx_.error(Code::E0213, span, fmt::format("`{}` gives no result for these inputs", d.name()));
    return std::nullopt;
  }
  std::vector<Value> values = result.is(ValueKind::tuple) ? result.items : std::vector<Value>{result};
  for (size_t i = 0; i < values.size(); ++i) {
    std::optional<TensorValue> t = tensors_.as_tensor(values[i], span);
    if (!t) return std::nullopt;
    ctx_.graph.outputs.push_back({values.size() == 1 ? "result" : fmt::format("result.{}", i), t->node});
  }
  if (ctx_.training) eval_.stored.add_updates();
  if (ctx_.error_count() != errors_before) return std::nullopt;
  BuiltGraph graph = eval_.built();
  graph.inputs = std::move(built.inputs);
  return graph;
}

// class(C) where another argument's dimensions bind C: its size is read off that argument.
std::optional<Dim> DefinitionBuilder::class_size_from_others(const Definition& d, const std::string& name, const std::vector<ArgumentSpec>& actual) {
  for (const ast::Parameter& p : d.ast->arguments) {
    if (!p.dims) continue;
    for (const ArgumentSpec& a : actual) {
      if (a.name != p.name.text) continue;
      const auto& entries = p.dims->entries;
      bool after_ellipsis = false;
      for (size_t i = 0; i < entries.size(); ++i) {
        after_ellipsis = after_ellipsis || entries[i]->kind == ast::ExprKind::ellipsis;
        if (entries[i]->kind != ast::ExprKind::name || entries[i]->text != name) continue;
        size_t from_right = entries.size() - i;
        size_t at = after_ellipsis ? a.type.shape.size() - from_right : i;
        if (at < a.type.shape.size()) return Dim{0, a.type.shape[at], {}};
      }
    }
  }
  for (const ast::Parameter& p : d.ast->static_arguments)
    if (p.name.text == name) return Dim{0, {int64_t(1) << 31, false}, {}};
  if (const Global* g = ctx_.program.find(*d.file, name); g && g->dim) {
    bool found = false;
    Value v = eval_.global_value(*d.file, name, d.ast->name.span, found);
    if (v.is(ValueKind::number)) return ctx_.dims.to_dim(v.sum);
  }
  return std::nullopt;
}

}  // namespace nnc
