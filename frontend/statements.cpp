// Statements of a body: names, dimensions, parameters and states, updates, loops that are unrolled, choices made at compile time.
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "frontend/lowering.h"

namespace nnc {

void Lowering::execute_all(const std::vector<ast::StmtPtr>& statements) {
  for (const ast::StmtPtr& s : statements) {
    if (gave_up_) return;
    execute(*s);
  }
}

void Lowering::execute(const ast::Stmt& s) {
  using K = ast::StmtKind;
  switch (s.kind) {
    case K::dim:
      for (const ast::DimDeclaration& d : s.dims_declared) {
        uint32_t id = declare_dim(d, frame_->id, nullptr);
        bind(d.name.text, id ? dim_value(id) : poison(), d.name.span, Local::Kind::dimension);
      }
      break;
    case K::param:
      execute_parameter(s);
      break;
    case K::state:
      execute_state(s);
      break;
    case K::let:
      execute_let(s);
      break;
    case K::instance: {
      Value v = evaluate_template(*s.value, s.name, s.frozen);
      bind(s.name.text, std::move(v), s.name.span);
      break;
    }
    case K::update:
      execute_update(s);
      break;
    case K::yield:
      not_in_this_version(s.span, "`yield` and `scan` are");
      break;
    case K::repeat:
      execute_repeat(s);
      break;
    case K::if_:
      execute_if(*s.value);
      break;
    case K::expression:
      if (s.value) evaluate(*s.value);  // the parser has reported it
      break;
    case K::definition:
      break;  // local definitions of tests were put in scope before
    case K::clause:
    case K::expect:
    case K::expect_error:
    case K::check_gradients:
      error(Code::E0208, s.span, "this statement does not belong here");
      break;
  }
}

void Lowering::execute_let(const ast::Stmt& s) {
  for (const ast::Binding& b : s.bindings) {
    std::vector<Value> values;
    for (const ast::ExprPtr& e : b.values) values.push_back(evaluate(*e));
    Span span = b.values.size() == 1 ? b.values[0]->span : b.span;
    if (values.size() == 1 && b.names.size() > 1) {
      if (values[0].is(ValueKind::tuple))
        values = values[0].items;
      else if (is_poison(values[0]))
        values.assign(b.names.size(), poison());
    }
    if (values.size() != b.names.size()) {
      bool any_poison = std::any_of(values.begin(), values.end(), [&](const Value& v) { return is_poison(v); });
      if (!any_poison)
        error(Code::E0213, span,
              fmt::format("{} name{} for {} value{}", b.names.size(), b.names.size() == 1 ? "" : "s", values.size(),
                          values.size() == 1 ? "" : "s"));
      values.assign(b.names.size(), poison());
    }
    for (size_t i = 0; i < b.names.size(); ++i) {
      const ast::Name& name = b.names[i];
      if (name.text == "_" || name.empty()) continue;
      if (name.is_capitalised()) {
        error(Code::E0208, name.span, fmt::format("`{}` begins with a capital, as dimensions do", name.text))
            .help.push_back(fmt::format("for a size, write `dim {} = ...`", name.text));
        values[i] = poison();
      }
      if (values[i].is(ValueKind::tuple) && !is_poison(values[i])) {
        error(Code::E0213, span, fmt::format("one name for {} values", values[i].items.size()))
            .help.push_back("take it apart with `let a, b = ...`");
        values[i] = poison();
      }
      if (values[i].is(ValueKind::tensor) && !frame_->file->is_std) node_names_.emplace(values[i].tensor.node.value, name.text);
      bind(name.text, values[i], name.span);
    }
  }
}

// As instances do, what is declared inside `repeat` has the number of the round behind its name: each round has its own.
std::string Lowering::full_name(std::string name) const {
  for (int64_t i : frame_->iterations) name += fmt::format(".{}", i);
  if (frame_->is_optimizer) return fmt::format("optimizer.{}.{}", name, optimized_->persistent.name);
  return frame_->path.empty() ? name : frame_->path + "." + name;
}

// Whether a function, layer, ... that nobody calls cannot give a distribution, whatever its arguments are.
bool Lowering::is_no_distribution(const Value& v) {
  if (v.is(ValueKind::builtin)) return builtins().at(v.text) != &Lowering::builtin_distribution;
  if (!v.is(ValueKind::callable)) return false;
  const ast::Callable& c = *v.overloads[0]->ast;
  return c.kind != ast::CallableKind::fn ||
         std::any_of(c.arguments.begin(), c.arguments.end(), [](const ast::Parameter& p) { return p.dims.has_value(); });
}

std::optional<Initializer> Lowering::evaluate_initializer(const ast::Expr& e, bool is_drawn) {
  Value v = evaluate(e);
  if (is_poison(v)) return std::nullopt;
  if (is_drawn && v.is(ValueKind::builtin) && (v.text == "zeros" || v.text == "ones"))
    return Initializer{Initializer::Kind::constant, v.text == "ones" ? 1.0 : 0.0, 0};
  const std::string_view distributions =
      "for a fixed value, write `=`; distributions are normal, uniform, truncated_normal, orthogonal, he, glorot, lecun, zeros, "
      "ones";
  if (is_drawn && is_no_distribution(v)) {
    std::string kind = v.is(ValueKind::builtin) ? "a function" : with_article(kind_of(*v.overloads[0]));
    error(Code::E0206, e.span, fmt::format("`~` needs a distribution, and `{}` is {}", v.text, kind))
        .help.emplace_back(distributions);
    return std::nullopt;
  }
  if (is_drawn && (v.is(ValueKind::builtin) || v.is(ValueKind::callable))) v = apply(v, {}, e.span, e.span, nullptr, false);
  if (is_poison(v)) return std::nullopt;
  if (v.is(ValueKind::distribution)) {
    if (is_drawn) return v.initializer;
    error(Code::E0206, e.span, "this is a distribution").help.push_back("draw from it with `~` instead of `=`");
    return std::nullopt;
  }
  if (is_drawn) {
    error(Code::E0206, e.span, "`~` needs a distribution").help.emplace_back(distributions);
    return std::nullopt;
  }
  if (std::optional<double> x = number_of(v)) return Initializer{Initializer::Kind::constant, *x, 0};
  error(Code::E0212, e.span, "an initial value must be a number that is known at compile time, or a distribution");
  return std::nullopt;
}

const Definition* Lowering::outermost_definition() const {
  const Definition* outermost = nullptr;
  for (const Frame* f = frame_; f; f = f->caller)
    if (f->definition) outermost = f->definition;
  return outermost;
}

Value Lowering::declare_persistent(const ast::Stmt& s, PersistentKind kind) {
  if (s.type && s.type->name.text != "f32")
    return not_in_this_version(s.type->span, fmt::format("a stored value of type `{}` is", s.type->name.text));
  std::optional<Dims> dims = s.dims                                    ? evaluate_dims(*s.dims, false)
                             : kind == PersistentKind::optimizer_state ? value_dims_
                                                                       : Dims{};
  std::optional<Initializer> initializer = evaluate_initializer(*s.value, s.is_drawn);
  if (!dims || !initializer || !check_rows(*dims, s.span)) return poison();
  std::string name = full_name(s.name.text);
  if (initializer->kind == Initializer::Kind::orthogonal && dims->size() < 2) {
    error(Code::E0206, s.span,
          fmt::format("an orthogonal start needs two dimensions, and `{}` is {}", s.name.text, dims_.show(*dims)));
    return poison();
  }
  ParameterSpec spec;
  spec.persistent = {name, Type{DType::f32, shape_of(*dims)}, kind, place(s.name.span)};
  for (const Dim& d : *dims) spec.dimension_names.push_back(d.named() ? dims_.show(d) : "");
  spec.initializer = *initializer;
  auto known = known_.find(name);
  if (known != known_.end()) {
    const Known& k = known->second;
    if (k.span != s.name.span) {
      error(Code::E0205, s.name.span, fmt::format("two values are stored under the name `{}`", name))
          .labels.push_back({place(k.span), "the first"});
      return poison();
    }
    // Names do not begin with the model's, so those of two models may be equal by accident; a test may give one instance to both.
    if (const Definition* model = outermost_definition(); model != k.model && !in_test_) {
      Diagnostic& d = error(Code::E0205, frame_->call_span,
                            fmt::format("`{}` and `{}` both store a value under the name `{}`", k.model->name(),
                                        model->name(), name));
      d.labels.push_back({k.use_span, "the first"});
      d.help.push_back("name the layers: `x |> encode: Dense(64)`");
      return poison();
    }
    if (graph_.type(k.node) != spec.persistent.type) {
      for (size_t i = 0; i < dims->size() && i < k.dims.size(); ++i) {
        if ((*dims)[i].extent == k.dims[i].extent) continue;
        std::string argument = "this call";
        for (const Local& l : frame_->locals)
          if (l.value.is(ValueKind::tensor) &&
              std::any_of(l.value.tensor.dims.begin(), l.value.tensor.dims.end(),
                          [&](const Dim& d) { return d.id == (*dims)[i].id; }) &&
              argument == "this call") {
            argument = fmt::format("`{}`", l.name);
            for (const Dim& d : l.value.tensor.dims)
              if (std::string origin = describe_origin(d.origin); d.id == (*dims)[i].id && !origin.empty())
                argument += fmt::format(" ({})", origin);
          }
        Diagnostic& d = error(
            Code::E0102, frame_->call_span,
            fmt::format("dimension `{}` has two sizes: {} in {}, {} in `{}` ({})", dims_.show((*dims)[i]), (*dims)[i].extent.size,
                        argument, k.dims[i].extent.size, s.name.text, program_.sources->describe_line(k.use_span)));
        d.labels.push_back({k.use_span, fmt::format("`{}` was made here", name)});
        d.notes.push_back("an instance that is called twice has one set of weights");
        return poison();
      }
      error(Code::E0102, frame_->call_span,
            fmt::format("`{}` has two shapes: {} in this call, {} in the first ({})", s.name.text, dims_.show(*dims),
                        dims_.show(k.dims), program_.sources->describe_line(k.use_span)))
          .notes.push_back("an instance that is called twice has one set of weights");
      return poison();
    }
    TensorValue t;
    t.node = k.current;
    t.dims = *dims;
    t.span = place(s.name.span);
    return Value::of(t);
  }
  NNC_CHECK(!graph_.find_persistent(name), name);
  TensorValue t;
  t.node = builder(s.name.span).parameter(spec.persistent);
  t.dims = *dims;
  t.span = place(s.name.span);
  if (!frame_->file->is_std) node_names_.emplace(t.node.value, s.name.text);
  known_[name] = {parameters_.size(), t.node, *dims, s.name.span, t.node, frame_->call_span, outermost_definition()};
  parameters_.push_back(std::move(spec));
  return Value::of(t);
}

void Lowering::execute_parameter(const ast::Stmt& s) {
  Value v = poison();
  if (!frame_->owns_parameters) {
    bool is_fn = frame_->definition && !frame_->is_optimizer;
    std::string_view what = frame_->is_optimizer ? "an optimizer" : is_fn ? "a fn" : "a test";
    std::string_view help = frame_->is_optimizer ? "use `state`" : is_fn ? "make it a `layer`" : "put it into a `layer`";
    error(Code::E0208, s.span, fmt::format("{} owns no parameters", what)).help.emplace_back(help);
  } else {
    v = declare_persistent(s, s.frozen || frame_->frozen ? PersistentKind::frozen : PersistentKind::parameter);
  }
  bind(s.name.text, std::move(v), s.name.span, Local::Kind::parameter);
}

void Lowering::execute_state(const ast::Stmt& s) {
  Value v = poison();
  if (!frame_->owns_parameters && !frame_->is_optimizer)
    error(Code::E0208, s.span, "only a layer, a model or an optimizer can have a state");
  else
    v = declare_persistent(s, frame_->is_optimizer ? PersistentKind::optimizer_state : PersistentKind::state);
  bind(s.name.text, std::move(v), s.name.span, Local::Kind::state);
  frame_->locals.back().persistent = full_name(s.name.text);
}

void Lowering::execute_update(const ast::Stmt& s) {
  Value v = evaluate(*s.value);
  Local* local = find_local(s.name.text);
  if (const Global* global = local ? nullptr : program_.find(*frame_->file, s.name.text)) {
    std::string kind = with_article(global_kind(*global));
    error(Code::E0208, s.name.span, fmt::format("`{}` is {} and cannot be updated here", s.name.text, kind));
    return;
  }
  if (!local) {
    std::vector<std::string> names;
    for (const Local& l : frame_->locals) names.emplace_back(l.name);
    std::string similar = nearest(s.name.text, names);
    error(Code::E0201, s.name.span,
          fmt::format("unknown name `{}`{}", s.name.text,
                      similar.empty() ? "" : fmt::format("; a value with a similar name exists: `{}`", similar)));
    return;
  }
  if (local->kind == Local::Kind::parameter || local->kind == Local::Kind::dimension) {
    error(Code::E0208, s.name.span,
          fmt::format("`{}` is a {} and cannot be updated here", s.name.text,
                      local->kind == Local::Kind::parameter ? "parameter" : "dimension"))
        .help.push_back(local->kind == Local::Kind::parameter
                            ? "parameters are changed by the optimizer; a value that the layer changes itself is a `state`"
                            : "sizes are fixed");
    return;
  }
  bool is_value = frame_->is_optimizer && s.name.text == "value";
  if (local->kind != Local::Kind::state && !is_value) {
    if (frame_->is_optimizer && s.name.text == "grad")
      error(Code::E0208, s.name.span, "`grad` cannot be updated");
    else
      local->value = std::move(v);
    return;
  }
  if (is_poison(v) || is_poison(local->value)) {
    local->value = poison();
    return;
  }
  std::optional<TensorValue> t = as_tensor(v, s.value->span);
  if (!t) return;
  TensorValue next = to_float(*t, s.value->span);
  TensorValue like = local->value.tensor;
  std::optional<Aligned> aligned = align(like, next, "`update`", s.value->span, s.name.span, s.value->span);
  if (!aligned) return;
  if (aligned->dims.size() != like.dims.size()) {
    error(Code::E0112, s.value->span,
          fmt::format("`{}` is {}, and its new value is {}", s.name.text, dims_.show(like.dims), dims_.show(next.dims)));
    return;
  }
  next.node = aligned->b;
  if (next.dims.empty() && !like.dims.empty()) next.node = builder(s.value->span).broadcast(aligned->b, shape_of(like.dims), {});
  next.dims = like.dims;
  local = find_local(s.name.text);
  local->value = Value::of(next);
  if (is_value)
    new_value_ = next.node;
  else if (auto known = known_.find(local->persistent); known != known_.end())
    known->second.current = next.node;
}

void Lowering::execute_repeat(const ast::Stmt& s) {
  std::optional<int64_t> count = evaluate_integer(*s.value, "the count of a `repeat`", 0);
  if (!count) return;
  if (*count > 10000) {
    error(Code::E0304, s.value->span, "`repeat` unrolls its body, at most 10000 times");
    return;
  }
  if (s.value->kind != ast::ExprKind::number) is_open_ = true;
  size_t names = frame_->locals.size();
  for (int64_t i = 0; i < *count && has_budget(s.span); ++i) {
    frame_->iterations.push_back(i);
    if (!s.name.empty()) bind(s.name.text, Value::of_size(i), s.name.span);
    execute_all(s.body->statements);
    frame_->locals.resize(names);
    frame_->iterations.pop_back();
  }
}

void Lowering::execute_if(const ast::Expr& e) {
  if (!frame_->file->is_std) is_open_ = true;  // with other sizes another branch may be taken
  for (const ast::Branch& branch : e.branches) {
    std::optional<bool> condition = branch.condition ? evaluate_condition(*branch.condition) : true;
    if (!condition) return;
    if (*condition) {
      size_t names = frame_->locals.size();
      execute_all(branch.body.statements);
      frame_->locals.resize(names);
      return;
    }
  }
}

}  // namespace nnc
