// Parameters and states. As instances do, what is declared inside `repeat` has the number of the round behind its name: each round has its own. A name of one's own choice,
// `as "weight_l{i}"`, stands for all of that; it has to tell rounds apart itself.
#include "frontend/stored_values.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "frontend/builtins.h"
#include "frontend/conditions.h"
#include "frontend/evaluator.h"

namespace nnc {

namespace {

// Whether a function, layer, ... that nobody calls cannot give a distribution, whatever its arguments are.
bool is_no_distribution(const Value& v) {
  if (v.is(ValueKind::builtin)) return !gives_distribution(v.text);
  if (!v.is(ValueKind::callable)) return false;
  const ast::Callable& c = *v.overloads[0]->ast;
  return c.kind != ast::CallableKind::fn ||
         std::any_of(c.arguments.begin(), c.arguments.end(), [](const ast::Parameter& p) { return p.dims.has_value(); });
}

const Definition* outermost_definition(const EvaluationContext& ctx) {
  const Definition* outermost = nullptr;
  for (const Frame* f = ctx.frame; f; f = f->caller)
    if (f->definition) outermost = f->definition;
  return outermost;
}

}  // namespace

StoredValues::StoredValues(SymbolicEvaluator& eval) : eval_(eval), ctx_(eval.ctx), tensors_(eval.tensors) {}

void StoredValues::set_current(const std::string& name, NodeId node) {
  if (auto known = known_.find(name); known != known_.end()) known->second.current = node;
}

void StoredValues::add_updates() {
  for (const auto& [name, known] : known_)
    if (known.current.valid() && known.current != known.node) ctx_.graph.updates.push_back({name, known.current});
}

std::string StoredValues::full_name(const ast::Stmt& s) const {
  std::string name = s.text ? fill_in(eval_, *s.text) : s.name.text;
  if (!s.text)
    for (int64_t i : ctx_.frame->iterations) name += fmt::format(".{}", i);
  if (ctx_.frame->is_optimizer()) return fmt::format("optimizer.{}.{}", name, ctx_.frame->optimized->parameter);
  return ctx_.frame->path.empty() ? name : ctx_.frame->path + "." + name;
}

std::optional<Initializer> StoredValues::evaluate_initializer(const ast::Expr& e, bool is_drawn) {
  Value v = eval_.evaluate(e);
  if (is_poison(v)) return std::nullopt;
  if (is_drawn && v.is(ValueKind::builtin) && (v.text == "zeros" || v.text == "ones"))
    return Initializer{Initializer::Kind::constant, v.text == "ones" ? 1.0 : 0.0, 0};
  const std::string_view distributions =
      "for a fixed value, write `=`; distributions are normal, uniform, truncated_normal, orthogonal, he, glorot, lecun, zeros, "
      "ones";
  if (is_drawn && is_no_distribution(v)) {
    std::string kind = v.is(ValueKind::builtin) ? "a function" : with_article(kind_of(*v.overloads[0]));
    ctx_.error(Code::E0206, e.span, fmt::format("`~` needs a distribution, and `{}` is {}", v.text, kind))
        .help.emplace_back(distributions);
    return std::nullopt;
  }
  if (is_drawn && (v.is(ValueKind::builtin) || v.is(ValueKind::callable))) v = eval_.calls.apply(v, {}, e.span, e.span, nullptr, false);
  if (is_poison(v)) return std::nullopt;
  if (v.is(ValueKind::distribution)) {
    if (is_drawn) return v.initializer;
    ctx_.error(Code::E0206, e.span, "this is a distribution").help.push_back("draw from it with `~` instead of `=`");
    return std::nullopt;
  }
  if (is_drawn) {
    ctx_.error(Code::E0206, e.span, "`~` needs a distribution").help.emplace_back(distributions);
    return std::nullopt;
  }
  if (std::optional<double> x = ctx_.number_of(v)) return Initializer{Initializer::Kind::constant, *x, 0};
  ctx_.error(Code::E0212, e.span, "an initial value must be a number that is known at compile time, or a distribution");
  return std::nullopt;
}

Value StoredValues::declare(const ast::Stmt& s, PersistentKind kind) {
  // Parameters train and optimizers compute with them, in f32; a layer may also count.
  const bool is_count = s.type && s.type->name.text == "i64" && kind == PersistentKind::state;
  if (s.type && s.type->name.text != "f32" && !is_count)
    return ctx_.not_in_this_version(s.type->span, fmt::format("a stored value of type `{}` is", s.type->name.text));
  std::optional<Dims> dims = s.dims                                    ? eval_.evaluate_dims(*s.dims, false)
                             : kind == PersistentKind::optimizer_state ? ctx_.frame->optimized->dims
                                                                       : Dims{};
  std::optional<Initializer> initializer = evaluate_initializer(*s.value, s.is_drawn);
  if (!dims || !initializer || !tensors_.check_rows(*dims, s.span)) return poison();
  if (is_count && (initializer->kind != Initializer::Kind::constant || !is_value_of(DType::i64, initializer->a))) {
    ctx_.error(Code::E0206, s.value->span, fmt::format("`{}` is i64, so it begins with a whole number", s.name.text));
    return poison();
  }
  if (s.text)
    for (std::string_view used : names_in(s.text->text))
      if (is_poison(eval_.lookup(used, s.text->span))) return poison();
  std::string name = full_name(s);
  auto is_plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; };
  if (s.text && (s.text->text.empty() || !std::ranges::all_of(fill_in(eval_, *s.text), is_plain))) {
    ctx_.error(Code::E0012, s.text->span, fmt::format("nothing can be stored under the name `{}`", fill_in(eval_, *s.text)))
        .help.push_back("it is made of letters, digits and `_`; `{i}` stands for the value of i");
    return poison();
  }
  if (initializer->kind == Initializer::Kind::orthogonal && dims->size() < 2) {
    ctx_.error(Code::E0206, s.span,
               fmt::format("an orthogonal start needs two dimensions, and `{}` is {}", s.name.text, ctx_.dims.show(*dims)));
    return poison();
  }
  if (initializer->zero_row >= 0 && (dims->empty() || initializer->zero_row >= (*dims)[0].extent.size)) {
    ctx_.error(Code::E0114, s.value->span, fmt::format("row {} is to begin as zero, and `{}` is {}", initializer->zero_row, s.name.text, ctx_.dims.show(*dims)));
    return poison();
  }
  ParameterSpec spec;
  spec.persistent = {name, Type{is_count ? DType::i64 : DType::f32, shape_of(*dims)}, kind, ctx_.place(s.name.span)};
  for (const Dim& d : *dims) spec.dimension_names.push_back(d.named() ? ctx_.dims.show(d) : "");
  spec.initializer = *initializer;
  auto known = known_.find(name);
  if (known != known_.end()) {
    const Known& k = known->second;
    if (k.span != s.name.span) {
      ctx_.error(Code::E0205, s.name.span, fmt::format("two values are stored under the name `{}`", name))
          .labels.push_back({ctx_.place(k.span), "the first"});
      return poison();
    }
    if (k.iterations != ctx_.frame->iterations) {
      ctx_.error(Code::E0205, s.text->span, fmt::format("two rounds of this `repeat` store a value under the name `{}`", name))
          .help.push_back("in `repeat N as i`, `{i}` in the name tells them apart");
      return poison();
    }
    // Names do not begin with the model's, so those of two models may be equal by accident; a test may give one instance to both.
    if (const Definition* model = outermost_definition(ctx_); model != k.model && !ctx_.test) {
      Diagnostic& d = ctx_.error(Code::E0205, ctx_.frame->call_span,
                                 fmt::format("`{}` and `{}` both store a value under the name `{}`", k.model->name(),
                                             model->name(), name));
      d.labels.push_back({k.use_span, "the first"});
      d.help.push_back("name the layers: `x |> encode: Dense(64)`");
      return poison();
    }
    if (ctx_.graph.type(k.node) != spec.persistent.type) {
      for (size_t i = 0; i < dims->size() && i < k.dims.size(); ++i) {
        if ((*dims)[i].extent == k.dims[i].extent) continue;
        std::string argument = "this call";
        for (const Local& l : ctx_.frame->locals)
          if (l.value.is(ValueKind::tensor) &&
              std::any_of(l.value.tensor.dims.begin(), l.value.tensor.dims.end(),
                          [&](const Dim& d) { return d.id == (*dims)[i].id; }) &&
              argument == "this call") {
            argument = fmt::format("`{}`", l.name);
            for (const Dim& d : l.value.tensor.dims)
              if (std::string origin = ctx_.describe_origin(d.origin); d.id == (*dims)[i].id && !origin.empty())
                argument += fmt::format(" ({})", origin);
          }
        Diagnostic& d = ctx_.error(
            Code::E0102, ctx_.frame->call_span,
            fmt::format("dimension `{}` has two sizes: {} in {}, {} in `{}` ({})", ctx_.dims.show((*dims)[i]), (*dims)[i].extent.size,
                        argument, k.dims[i].extent.size, s.name.text, ctx_.program.sources->describe_line(k.use_span)));
        d.labels.push_back({k.use_span, fmt::format("`{}` was made here", name)});
        d.notes.push_back("an instance that is called twice has one set of weights");
        return poison();
      }
      ctx_.error(Code::E0102, ctx_.frame->call_span,
                 fmt::format("`{}` has two shapes: {} in this call, {} in the first ({})", s.name.text, ctx_.dims.show(*dims),
                             ctx_.dims.show(k.dims), ctx_.program.sources->describe_line(k.use_span)))
          .notes.push_back("an instance that is called twice has one set of weights");
      return poison();
    }
    TensorValue t;
    t.node = k.current;
    t.dims = *dims;
    t.dtype = spec.persistent.type.dtype;
    t.span = ctx_.place(s.name.span);
    return Value::of(t);
  }
  NNC_CHECK(!ctx_.graph.find_persistent(name), name);
  TensorValue t;
  t.node = ctx_.builder(s.name.span).parameter(spec.persistent);
  t.dims = *dims;
  t.dtype = spec.persistent.type.dtype;
  t.span = ctx_.place(s.name.span);
  if (!ctx_.frame->file->is_std) ctx_.node_names.emplace(t.node.value, s.name.text);
  known_[name] = {t.node, *dims, s.name.span, t.node, ctx_.frame->call_span, outermost_definition(ctx_), ctx_.frame->iterations};
  parameters_.push_back(std::move(spec));
  return Value::of(t);
}

void StoredValues::declare_parameter(const ast::Stmt& s) {
  Value v = poison();
  if (!ctx_.frame->owns_parameters) {
    bool is_fn = ctx_.frame->definition && !ctx_.frame->is_optimizer();
    std::string_view what = ctx_.frame->is_optimizer() ? "an optimizer" : is_fn ? "a fn" : "a test";
    std::string_view help = ctx_.frame->is_optimizer() ? "use `state`" : is_fn ? "make it a `layer`" : "put it into a `layer`";
    ctx_.error(Code::E0208, s.span, fmt::format("{} owns no parameters", what)).help.emplace_back(help);
  } else {
    v = declare(s, s.frozen || ctx_.frame->frozen ? PersistentKind::frozen : PersistentKind::parameter);
  }
  ctx_.frame->bind(s.name.text, std::move(v), s.name.span, Local::Kind::parameter);
}

void StoredValues::declare_state(const ast::Stmt& s) {
  Value v = poison();
  if (!ctx_.frame->owns_parameters && !ctx_.frame->is_optimizer())
    ctx_.error(Code::E0208, s.span, "only a layer, a model or an optimizer can have a state");
  else
    v = declare(s, ctx_.frame->is_optimizer() ? PersistentKind::optimizer_state : PersistentKind::state);
  ctx_.frame->bind(s.name.text, std::move(v), s.name.span, Local::Kind::state);
  ctx_.frame->locals.back().persistent = full_name(s);
}

}  // namespace nnc
