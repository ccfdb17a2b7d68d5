// Definitions on their own: for `nnc run` and prediction, where inputs have given shapes, and on trial, where nobody calls a
// definition and sizes are made up so that at least what does not depend on them is checked.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "frontend/fixed_names.h"
#include "frontend/lowering.h"

namespace nnc {

std::optional<BuiltGraph> Lowering::build_predict(const TrainSpec& spec) {
  // The model is the first that `train` calls and no other model does; a forward walk over the train block finds it and what it
  // was called with.
  Diagnostics ignored;
  Lowering scout(program_, ignored, options_);
  scout.build_train(spec);
  auto call = std::ranges::find(scout.model_calls_, true, &ModelCall::is_outermost);
  if (call == scout.model_calls_.end()) {
    error(Code::E0307, spec.span, "`train` calls no model, so there is nothing to predict with")
        .help.push_back("put the network into a `model`");
    return std::nullopt;
  }
  // Tensors are the inputs; all else is as `train` has it.
  bool is_good = true;
  auto constants = [&](std::vector<CallArgument>& arguments) {
    std::vector<CallArgument> kept;
    for (CallArgument& a : arguments) {
      if (a.value.is(ValueKind::tensor)) continue;
      if (std::optional<Value> value = constant_value(a.value, scout.dims_)) {
        a.value = std::move(*value);
        kept.push_back(std::move(a));
        continue;
      }
      is_good = false;
      error(Code::E0307, a.span,
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

const Global* Lowering::find_evaluated(const std::string& name) {
  const Global* g = program_.find(*program_.main, name);
  auto is_evaluated = [](const Global& global) {  // an optimizer is not: it is a rule for changing parameters
    return !global.definitions.empty() && global.definitions[0]->ast->kind != ast::CallableKind::optimizer;
  };
  if (g && !is_evaluated(*g)) {
    std::string kind = with_article(global_kind(*g));
    Diagnostic& e = error(Code::E0207, {}, fmt::format("`{}` is {} and cannot be evaluated by itself", name, kind));
    e.place = program_.main->path;
    e.help.push_back("name a layer, fn or model");
    return nullptr;
  }
  if (!g) {
    std::vector<std::string> names;
    for (const SourceFile* file : std::initializer_list<const SourceFile*>{program_.main, &program_.files[0]})
      for (const auto& [n, global] : file->globals)
        if (is_evaluated(global)) names.push_back(n);
    std::string similar = nearest(name, names);
    error(Code::E0201, {},
          fmt::format("unknown name `{}`{}", name, similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)))
        .place = program_.main->path;
  }
  return g;
}

std::optional<BuiltGraph> Lowering::build_definition(const std::string& name, const std::vector<ArgumentSpec>& actual,
                                                     const std::map<std::string, int64_t>& dims) {
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
  return check_given_sizes(*d, dims) && check_sizes_agree(*d, actual, dims) ? build_call(*d, actual, dims) : std::nullopt;
}

std::optional<BuiltGraph> Lowering::build_call(const Definition& d, const std::vector<ArgumentSpec>& actual,
                                               const std::map<std::string, int64_t>& dims, std::vector<CallArgument> statics,
                                               const std::vector<CallArgument>& others, const std::string& path) {
  size_t errors_before = diagnostics_->items().size();
  Frame frame;
  frame.file = program_.main;
  frame.id = next_frame_++;
  frame.owns_parameters = true;
  FrameScope scope(*this, frame);
  graph_.name = d.name();
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
        report_missing_size(d, p);
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
      error(Code::E0204, d.ast->head_span,
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
        t.dims.push_back({rows_, type.shape[i], {}});
      } else if (const Global* g = name.empty() ? nullptr : program_.find(*d.file, name); g && g->dim) {
        bool found = false;
        Value v = global_value(*d.file, name, p->span, found);
        if (v.is(ValueKind::number) && dims_.evaluate(v.sum) == type.shape[i])
          t.dims.push_back(dims_.to_dim(v.sum));
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
      if (classes > 0)
        t.classes = {0, {classes, false}, {}};
      else if (size && size->kind == ast::ExprKind::name)
        t.classes = class_size_from_others(d, size->text, actual);
      if (classes == 0 && t.classes.extent.size <= 1 && size && size->kind == ast::ExprKind::name) {
        error(Code::E0202, p->span, fmt::format("`{}` needs `{}`, the number of classes of `{}`", d.name(), size->text, a.name))
            .help.push_back(fmt::format("add `--dim {}=10`", size->text));
        continue;
      }
      if (t.classes.extent.size <= 1 && classes == 0) t.is_class = false;
    }
    t.span = p->span;
    if (!check_rows(t.dims, p->span)) continue;
    type.shape = shape_of(t.dims);  // the rows of a batch come first
    t.node = builder(p->span).input(a.name, type);
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
    if (!is_given && !n && !p.dims && !p.default_value) report_missing_size(d, p);
    if (is_given || !n) continue;
    CallArgument c;
    c.name = p.name.text;
    c.span = c.name_span = p.span;
    c.value = Value::of_size(*n);
    arguments.push_back(std::move(c));
  }
  if (diagnostics_->items().size() != errors_before) return std::nullopt;
  arguments.insert(arguments.end(), others.begin(), others.end());
  Value result = call_definition(d, statics, std::move(arguments), span, path, false);
  if (is_poison(result)) {
    if (diagnostics_->items().size() == errors_before)
      error(Code::E0213, span, fmt::format("`{}` gives no result for these inputs", d.name()));
    return std::nullopt;
  }
  std::vector<Value> values = result.is(ValueKind::tuple) ? result.items : std::vector<Value>{result};
  for (size_t i = 0; i < values.size(); ++i) {
    std::optional<TensorValue> t = as_tensor(values[i], span);
    if (!t) return std::nullopt;
    graph_.outputs.push_back({values.size() == 1 ? "result" : fmt::format("result.{}", i), t->node});
  }
  finish_graph();
  if (diagnostics_->items().size() != errors_before) return std::nullopt;
  BuiltGraph graph = take_built();
  graph.inputs = std::move(built.inputs);
  return graph;
}

// class(C) where another argument's dimensions bind C: its size is read off that argument.
Dim Lowering::class_size_from_others(const Definition& d, const std::string& name, const std::vector<ArgumentSpec>& actual) {
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
        if (at < a.type.shape.size()) return {0, a.type.shape[at], {}};
      }
    }
  }
  for (const ast::Parameter& p : d.ast->static_arguments)
    if (p.name.text == name) return {0, {int64_t(1) << 31, false}, {}};
  if (const Global* g = program_.find(*d.file, name); g && g->dim) {
    bool found = false;
    Value v = global_value(*d.file, name, d.ast->name.span, found);
    if (v.is(ValueKind::number)) return dims_.to_dim(v.sum);
  }
  return {};
}

// Sizes that divide evenly in many ways and differ from each other, so that one made-up size is not mistaken for another.
void Lowering::try_call(const Definition& d) {
  trial_ = true;
  std::map<std::string, int64_t> sizes;
  int64_t next = trial_step_;
  auto size_of = [&](const std::string& name) {
    auto [it, is_new] = sizes.emplace(name, next);
    if (is_new) next += trial_step_;
    return it->second;
  };
  Frame frame;
  frame.file = d.file;
  frame.id = next_frame_++;
  frame.owns_parameters = true;
  FrameScope scope(*this, frame);
  std::vector<CallArgument> statics, arguments;
  std::map<std::string, uint32_t> ids;
  std::optional<std::set<std::string>> fixed;
  auto add = [&](const ast::Parameter& p, bool is_static) {
    if (!p.dims && !p.type && !p.name.is_capitalised()) is_open_ = true;  // a caller may give anything
    if (p.default_value && !p.dims) return true;
    CallArgument c;
    c.name = p.name.text;
    c.span = c.name_span = p.span;
    if (p.name.is_capitalised() && !p.dims) {
      c.value = Value::of_size(is_static ? trial_static_ : size_of(p.name.text));
      sizes[p.name.text] = trial_static_;
    } else if (!p.dims && (is_static || !p.type)) {
      if (!is_static && !fixed) fixed = fixed_names(program_, d);
      if (is_static || fixed->count(p.name.text)) return false;  // nothing is known of it
      c.value = Value::of(constant(0.5, DType::f32, {}, p.span));
    } else {
      TensorValue t;
      static const std::vector<ast::ExprPtr> nothing;  // a single number of a type
      for (const ast::ExprPtr& e : p.dims ? p.dims->entries : nothing) {
        if (e->kind == ast::ExprKind::ellipsis) {
          is_open_ = true;
          if (!ids.count("...")) ids["..."] = dims_.make("...", {size_of("..."), false}, {}, frame.id);
          t.dims.push_back({ids["..."], dims_.extent(ids["..."]), {}});
        } else if (e->kind == ast::ExprKind::number && e->is_integer) {
          t.dims.push_back({0, {e->integer, false}, {}});
        } else if (e->kind == ast::ExprKind::name) {
          const Global* g = program_.find(*d.file, e->text);
          bool found = false;
          Value v = g && g->dim && !sizes.count(e->text) ? global_value(*d.file, e->text, e->span, found) : poison();
          if (v.is(ValueKind::number)) {
            t.dims.push_back(dims_.to_dim(v.sum));
          } else {
            int64_t n = size_of(e->text);
            if (!ids.count(e->text)) ids[e->text] = dims_.make(e->text, {n, false}, {}, frame.id);
            t.dims.push_back(n == trial_static_ ? Dim{0, {n, false}, {}} : Dim{ids[e->text], {n, false}, {}});
          }
        } else {
          return false;
        }
      }
      if (p.type && p.type->name.text == "class") {
        t.dtype = DType::i32;
        t.is_class = true;
        if (p.type->size && p.type->size->kind == ast::ExprKind::number)
          t.classes = {0, {p.type->size->integer, false}, {}};
        else if (p.type->size && p.type->size->kind == ast::ExprKind::name) {
          const Global* g = program_.find(*d.file, p.type->size->text);
          bool found = false;
          Value v = g && g->dim && !sizes.count(p.type->size->text) ? global_value(*d.file, p.type->size->text, p.span, found)
                                                                    : poison();
          t.classes = v.is(ValueKind::number) ? dims_.to_dim(v.sum) : Dim{0, {size_of(p.type->size->text), false}, {}};
        } else {
          return false;
        }
      } else if (p.type) {
        std::optional<DType> dtype = parse_dtype(p.type->name.text);
        if (dtype) t.dtype = *dtype;
      }
      if (!check_rows(t.dims, p.span)) return false;  // with other sizes it may be small enough
      t.node = builder(p.span).input(p.name.text, Type{t.dtype, shape_of(t.dims)});
      t.span = p.span;
      c.value = Value::of(t);
    }
    (is_static ? statics : arguments).push_back(std::move(c));
    return true;
  };
  for (const ast::Parameter& p : d.ast->static_arguments)
    if (!add(p, true)) return;
  for (const ast::Parameter& p : d.ast->arguments)
    if (!add(p, false)) return;
  call_definition(d, statics, std::move(arguments), d.ast->name.span, "", false);
}

void Lowering::try_definition(const Definition& d) {
  Diagnostics found;
  Diagnostics* outer = diagnostics_;
  diagnostics_ = &found;
  try_call(d);
  diagnostics_ = outer;
  // Only what no choice of sizes can mend: errors that are not about sizes, and those about sizes that stay when others are made
  // up.
  std::set<std::tuple<Code, uint32_t, uint32_t>> settled;
  if (!settled_.empty()) {
    Diagnostics ignored;
    Lowering second(program_, ignored, options_);
    second.trial_step_ = 84;
    second.trial_static_ = 42;
    second.try_call(d);
    for (const auto& [code, file, begin, facts] : settled_)
      if (second.settled_.count({code, file, begin, facts})) settled.emplace(code, file, begin);
  }
  static const std::set<Code> independent{Code::E0009, Code::E0103, Code::E0106, Code::E0107, Code::E0109, Code::E0110, Code::E0201,
                                          Code::E0202, Code::E0204, Code::E0205, Code::E0206, Code::E0207, Code::E0208,
                                          Code::E0209, Code::E0210, Code::E0212, Code::E0213};
  // What `...` stands for may be what another argument has.
  bool has_ellipsis = false;
  for (const ast::Parameter& p : d.ast->arguments)
    if (p.dims)
      for (const ast::ExprPtr& e : p.dims->entries) has_ellipsis = has_ellipsis || e->kind == ast::ExprKind::ellipsis;
  for (const Diagnostic& x : found.items())
    if ((independent.count(x.code) && !(has_ellipsis && x.code == Code::E0106)) ||
        settled.count({x.code, x.span.file.value, x.span.begin}))
      diagnostics_->add(x);
}

}  // namespace nnc
