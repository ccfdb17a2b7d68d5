// Arguments. A name in the head that is visible outside means that dimension; any other is bound by the first argument that has it, and every
// further one must agree. Inside, every bound name is a dimension of its own, so that `weight[Out, In]` works where both are the caller's C.
#include "frontend/signatures.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "frontend/argument_places.h"
#include "frontend/evaluator.h"
#include "frontend/syntax/familiar_names.h"

namespace nnc {

void refuse_option(EvaluationContext& ctx, std::string_view callee, const CallArgument& a, const std::vector<std::string>& names) {
  const std::string familiar = familiar_option(a.name, names), similar = familiar.empty() ? nearest(a.name, names) : "";
  const std::string meant = !familiar.empty() ? fmt::format("; here it is `{}`", familiar) : !similar.empty() ? fmt::format("; a similar one is `{}`", similar) : "";
  Diagnostic& d = ctx.error(Code::E0204, a.name_span, fmt::format("`{}` has no option `{}`{}", callee, a.name, meant));
  if (!meant.empty()) return;
  std::string help = familiar_option_help(a.name);
  if (help.empty() && !names.empty()) help = fmt::format("it has `{}`", fmt::join(names, "`, `"));
  if (!help.empty()) d.help.push_back(help);
}

std::optional<std::vector<const CallArgument*>> sort_arguments(EvaluationContext& ctx, const std::vector<ast::Parameter>& parameters,
                                                               std::string_view callee,
                                                               const std::vector<CallArgument>& arguments, Span span,
                                                               bool is_static, const Definition& definition) {
  std::vector<const CallArgument*> sorted(parameters.size(), nullptr);
  std::vector<size_t> places = argument_places(parameters, arguments);
  const auto options = std::ranges::count_if(parameters, [](const ast::Parameter& p) { return p.default_value != nullptr; });
  for (size_t k = 0; k < arguments.size(); ++k) {
    if (places[k] < parameters.size() || !arguments[k].name.empty()) continue;
    Diagnostic& d = ctx.error(Code::E0204, arguments[k].span,
                              fmt::format("`{}` takes {} argument{}, not {}", callee, parameters.size(), parameters.size() == 1 ? "" : "s",
                                          arguments.size()));
    d.labels.push_back({definition.ast->head_span, "declared here"});
    if (definition.file->is_std) d.labels.clear();
    return std::nullopt;
  }
  bool is_good = true, is_misplaced = false;
  for (size_t k = 0; k < arguments.size(); ++k) {
    const CallArgument& a = arguments[k];
    const size_t i = places[k];
    if (i == parameters.size()) {
      std::vector<std::string> names;
      for (const ast::Parameter& p : parameters) names.push_back(p.name.text);
      refuse_option(ctx, callee, a, names);
      is_good = false;
    } else if (sorted[i]) {
      ctx.error(Code::E0204, a.span, fmt::format("`{}` of `{}` is given twice", a.name, callee));
      is_good = false;
    } else if (a.name.empty() && parameters[i].default_value && options > 1 && is_misplaced) {
      continue;  // the first says it
    } else if (a.name.empty() && parameters[i].default_value && options > 1) {
      // By its place it would be taken for what stands there: `Conv2d(3, 16, 5)` for a stride of 5, `BatchNorm2d(6)` for a momentum.
      Diagnostic& d = ctx.error(Code::E0204, a.span, fmt::format("`{}` of `{}` is one of several options, and they go by their names", parameters[i].name.text, callee));
      d.help.push_back(fmt::format("write `{}: {}`", parameters[i].name.text, ctx.quote(a.span, "...").find('`') == 0 ? ctx.program.sources->text(a.span) : "..."));
      if (is_static) d.help.push_back("the sizes of the input are not among the arguments of a layer, which takes them from its input");
      is_good = false;
      is_misplaced = true;
    } else {
      sorted[i] = &a;
    }
  }
  for (size_t i = 0; i < parameters.size() && is_good; ++i) {
    if (sorted[i] || parameters[i].default_value) continue;
    const std::string& name = parameters[i].name.text;
    if (is_static && name == "Out") {
      ctx.error(Code::E0202, span, fmt::format("`{}` needs an output size", callee))
          .help.push_back(fmt::format("write `{}(64)`", callee));
    } else {
      Diagnostic& d = ctx.error(Code::E0202, span,
                                fmt::format("`{}` needs {}`{}`", callee,
                                            parameters[i].name.is_capitalised() && !parameters[i].dims ? "a size " : "", name));
      if (!definition.file->is_std) d.labels.push_back({parameters[i].span, "declared here"});
    }
    is_good = false;
  }
  if (!is_good) return std::nullopt;
  return sorted;
}

ArgumentBinder::ArgumentBinder(SymbolicEvaluator& eval) : eval_(eval), ctx_(eval.ctx), tensors_(eval.tensors) {}

// `x[B, H, W, C]` passed for `x[B, C, H, W]`: names that both sides have must stand in the same order.
bool ArgumentBinder::check_spelling(const ast::Parameter& p, const CallArgument& argument, const TensorValue& t) {
  if (!p.dims) return true;
  std::vector<std::string> wanted, given;
  for (const ast::ExprPtr& e : p.dims->entries)
    if (e->kind == ast::ExprKind::name) wanted.push_back(e->text);
  for (const Dim& d : t.dims)
    if (d.named() && std::find(wanted.begin(), wanted.end(), ctx_.dims.show(d)) != wanted.end()) given.push_back(ctx_.dims.show(d));
  std::erase_if(wanted, [&](const std::string& w) { return std::find(given.begin(), given.end(), w) == given.end(); });
  if (given.size() < 2 || given == wanted || given.size() != wanted.size()) return true;
  std::string head(ctx_.program.sources->text(p.dims->span));
  ctx_.error(Code::E0109, argument.span,
             fmt::format("{} is {}, and `{}` expects {}: the same names in another order", ctx_.quote(argument.span, "the argument"),
                         ctx_.dims.show(t.dims), p.name.text, head))
      .help.push_back(fmt::format("bring it into that order: `... as {}`", head));
  return false;
}

bool ArgumentBinder::bind_dim_name(std::string_view name, Span name_span, const Dim& actual, const CallArgument& argument,
                                   const ast::Parameter& p, bool is_class, bool is_last, const TensorValue& t) {
  Conflict here{&t, argument.span, is_class, is_last, actual.origin, {}};
  Local* known = nullptr;
  for (auto it = ctx_.frame->locals.rbegin(); it != ctx_.frame->locals.rend() && !known; ++it)
    if (it->name == name && it->kind == Local::Kind::dimension) known = &*it;
  Value outside = poison();
  bool found = false;
  if (!known && ctx_.program.find(*ctx_.frame->file, name)) outside = eval_.global_value(*ctx_.frame->file, name, name_span, found);
  if (!known && !outside.is(ValueKind::number)) {  // bound by this argument
    uint32_t id = ctx_.dims.make(std::string(name), actual.extent, actual.origin, ctx_.frame->id, ctx_.dims.to_sum(actual));
    eval_.bind_dimension(name, id, name_span);
    here.text = ctx_.quote(argument.span, fmt::format("`{}`", p.name.text));
    bound_by_[std::string(name)] = here;
    return true;
  }
  const Value& expected = known ? known->value : outside;
  if (!expected.is(ValueKind::number) || !expected.is_size) return true;
  Dim want = ctx_.dims.to_dim(expected.sum);
  std::string subject = ctx_.quote(argument.span, fmt::format("`{}`", p.name.text));
  if (want.extent == actual.extent) {
    if (!known) {
      if (actual.named() && actual.id != want.id) {
        ctx_.error(Code::E0102, argument.span,
                   fmt::format("`{}` of `{}` is dimension `{}`, and {} has `{}` in its place", p.name.text, ctx_.frame->definition->name(),
                               name, subject, ctx_.dims.show(actual)))
            .help.push_back(fmt::format("equal sizes are not enough: view it as `... as {}`",
                                        ctx_.program.sources->text(p.dims ? p.dims->span : p.span)));
        return false;
      }
      return true;
    }
    DimSum outer = ctx_.dims.outer(want.id).value_or(ctx_.dims.to_sum(want));
    if (is_constant(outer) && actual.named()) {
      ctx_.dims.set_outer(want.id, ctx_.dims.to_sum(actual));  // the name is taken over
      return true;
    }
    if (!actual.named() || is_class || outer == ctx_.dims.to_sum(actual)) return true;
    Diagnostic& d = ctx_.error(Code::E0102, argument.span,
                               fmt::format("dimension `{}` is both `{}` and `{}`", name, ctx_.dims.show(outer), ctx_.dims.show(actual)));
    d.span_text = ctx_.describe_dims_with_origin(t);
    auto before = bound_by_.find(std::string(name));
    if (before != bound_by_.end())
      d.labels.push_back({before->second.span, ctx_.describe_dims_with_origin(*before->second.value)});
    d.notes.push_back("equal sizes are not enough: the names must be the same");
    return false;
  }
  auto before = bound_by_.find(std::string(name));
  bool has_before = before != bound_by_.end();
  auto size_text = [&](const Dim& d) {
    return d.extent.rows ? fmt::format("{} rows", ctx_.dims.show(ctx_.dims.leave(d, ctx_.frame->id))) : std::to_string(d.extent.size);
  };
  auto label_text = [&](const Conflict& c, const Dim& d) {
    if (!c.is_class) return ctx_.describe_dims_with_origin(*c.value);
    std::string origin = ctx_.describe_origin(c.origin);
    return fmt::format("class({}){}", size_text(d), origin.empty() ? "" : ", " + origin);
  };
  if (has_before && (is_class || before->second.is_class)) {
    const Conflict& other = before->second;
    auto noun = [&](const Conflict& c) {
      return c.is_class ? std::string("classes") : c.is_last ? std::string("columns") : fmt::format("entries in `{}`", name);
    };
    Dim first = want, second = actual;
    Diagnostic& d = ctx_.error(Code::E0101, other.span,
                               fmt::format("{} has {} {}, but {} has {} {}", other.text, size_text(first), noun(other), subject,
                                           size_text(second), noun(here)));
    d.span_text = label_text(other, first);
    d.labels.push_back({ctx_.place(argument.span), label_text(here, second)});
    ctx_.settle(d, {first.extent.size, second.extent.size});
    const Conflict& columns = other.is_class ? here : other;
    const Dim& wrong = other.is_class ? second : first;
    const Dim& classes = other.is_class ? first : second;
    if (columns.origin.text.starts_with("from `")) {
      std::string call = columns.origin.text.substr(6, columns.origin.text.find('`', 6) - 6);
      std::string old = fmt::format("({}", wrong.extent.size);
      if (size_t at = call.find(old); at != std::string::npos && (call[at + old.size()] == ')' || call[at + old.size()] == ',')) {
        std::string fixed = call;
        fixed.replace(at + 1, old.size() - 1, std::to_string(classes.extent.size));
        d.help.push_back(fmt::format("change `{}` to `{}`", call, fixed));
      }
    }
    return false;
  }
  if (has_before) {
    const Conflict& other = before->second;
    Diagnostic& d = ctx_.error(Code::E0102, argument.span,
                               fmt::format("dimension `{}` has two sizes: {} in {}, {} in {}", name, size_text(want), other.text,
                                           size_text(actual), subject));
    d.span_text = ctx_.describe_dims_with_origin(t);
    d.labels.push_back({ctx_.place(other.span), label_text(other, want)});
    ctx_.settle(d, {want.extent.size, actual.extent.size});
    return false;
  }
  Diagnostic& d = ctx_.error(
      Code::E0102, argument.span,
      fmt::format(
          "dimension `{}` has two sizes: {} in {}{}, {} declared{}", name, size_text(actual), subject,
          ctx_.describe_origin(actual.origin).empty() ? "" : fmt::format(" ({})", ctx_.describe_origin(actual.origin)), size_text(want),
          ctx_.dims.origin(want.id).span.valid() ? fmt::format(" ({})", ctx_.program.sources->describe_line(ctx_.dims.origin(want.id).span))
                                             : ""));
  d.span_text = is_class ? fmt::format("class({})", size_text(actual)) : ctx_.describe_dims_with_origin(t);
  if (ctx_.dims.origin(want.id).span.valid())
    d.labels.push_back({ctx_.dims.origin(want.id).span, fmt::format("{} = {}", name, size_text(want))});
  ctx_.settle(d, {want.extent.size, actual.extent.size});
  return false;
}

// The element type: what arithmetic would convert is converted, anything else must be as declared.
bool ArgumentBinder::match_type(const ast::Parameter& p, const CallArgument& argument, TensorValue& t, bool& bind_class) {
  bind_class = false;
  std::string subject = ctx_.quote(argument.span, fmt::format("`{}`", p.name.text));
  if (!p.type) {
    if (t.dtype != DType::f64) t = tensors_.to_float(t, argument.span);
    return true;
  }
  const std::string& type = p.type->name.text;
  if (type == "class") {
    if (is_float(t.dtype) || t.dtype == DType::boolean) {
      ctx_.error(Code::E0206, argument.span,
                 fmt::format("`{}` needs class numbers for `{}`, and {} holds {}", ctx_.frame->definition->name(), p.name.text, subject,
                             dtype_name(t.dtype)))
          .help.push_back("declare the field as `class(N)`");
      return false;
    }
    bind_class = t.is_class;
    t.is_run_number = false;
    return true;
  }
  std::optional<DType> wanted = ctx_.declared_type(*p.type);
  if (!wanted) return false;
  if (t.is_run_number && (is_float(*wanted) || t.dtype == *wanted)) {
    t = tensors_.as_stored(std::move(t), *wanted, argument.span);
    return true;
  }
  if (t.dtype == *wanted && !(t.is_class && is_float(*wanted))) return true;
  bool widens = is_float(*wanted) || (*wanted == DType::i32 && t.dtype == DType::u8) ||
                (*wanted == DType::i64 && !is_float(t.dtype) && t.dtype != DType::boolean);
  if (!widens) {
    Diagnostic& d = ctx_.error(Code::E0206, argument.span,
                               fmt::format("`{}` of `{}` is {}, and {} holds {}", p.name.text, ctx_.frame->definition->name(), type, subject, dtype_name(t.dtype)));
    if (*wanted == DType::boolean) d.help.push_back("a comparison gives bool: `... != 0`");
    return false;
  }
  t = tensors_.cast(t, *wanted, argument.span);
  t.is_class = t.is_run_number = false;
  return true;
}

namespace {

/// Functions of the standard library that take scores of several classes, and those that take one score for two classes.
constexpr std::pair<std::string_view, std::string_view> of_two_classes[] = {{"cross_entropy", "binary_cross_entropy"}, {"accuracy", "binary_accuracy"}};

/// "`C`": the dimensions that a parameter has beside `...`; "" if none.
std::string own_dimensions(const ast::Dims& dims, const SourceMap& sources) {
  std::string names;
  int count = 0;
  for (const ast::ExprPtr& e : dims.entries) {
    if (e->kind == ast::ExprKind::ellipsis) continue;
    names += fmt::format("{}`{}`", count++ ? ", " : "", sources.text(e->span));
  }
  return names;
}

}  // namespace

// What `...` stands for in two arguments differs: each is shown as a whole, with what it gives to names of its own.
void ArgumentBinder::refuse_leading(const ast::Parameter& p, const CallArgument& argument, const TensorValue& given, const Dims& passed,
                                    const std::string& subject) {
  const SourceMap& sources = *ctx_.program.sources;
  const Dims before = outside_dims(*ctx_.frame->ellipsis);
  auto own_of = [&](const ast::Parameter* parameter) { return parameter && parameter->dims ? own_dimensions(*parameter->dims, sources) : std::string(); };
  const std::string first_own = own_of(ellipsis_parameter_), second_own = own_of(&p);
  auto describe = [&](const std::string& text, const TensorValue& whole, const Dims& leading, const std::string& own) {
    const std::string shown = ctx_.dims.show(whole.dims);
    if (own.empty()) return fmt::format("{} is {}", text, shown);
    return fmt::format("{} is {}, which has {} before {}", text, shown, leading.empty() ? "none" : ctx_.dims.show(leading), own);
  };
  const std::string difference = first_own.empty() && second_own.empty()
                                     ? fmt::format("{} against {}", ctx_.dims.show(before), ctx_.dims.show(passed))
                                     : fmt::format("{}, and {}", describe(ellipsis_by_.text, *ellipsis_by_.value, before, first_own),
                                                   describe(subject, given, passed, second_own));
  Diagnostic& d = ctx_.error(Code::E0102, argument.span,
                             fmt::format("`{}` needs the same leading dimensions in {} and {}: {}", ctx_.frame->definition->name(),
                                         ellipsis_by_.text, subject, difference));
  d.span_text = ctx_.describe_dims_with_origin(given);
  d.labels.push_back({ctx_.place(ellipsis_by_.span), ctx_.describe_dims_with_origin(*ellipsis_by_.value)});
  if (!ctx_.frame->definition->file->is_std || before.size() + 1 != passed.size()) return;
  for (auto [several, two] : of_two_classes)
    if (ctx_.frame->definition->name() == several)
      d.help.push_back(fmt::format("`{}` takes a score for each class; of one score for two classes it is `{}`", several, two));
}

bool ArgumentBinder::bind(const ast::Parameter& p, const CallArgument& argument, TensorValue t) {
  bool bind_class = false;
  TensorValue given = t;
  if (!match_type(p, argument, t, bind_class)) return false;
  if (!check_spelling(p, argument, given)) return false;
  static const std::vector<ast::ExprPtr> nothing;
  const std::vector<ast::ExprPtr>& entries = p.dims ? p.dims->entries : nothing;  // `n : i32` is a single number
  size_t ellipsis = entries.size();
  for (size_t i = 0; i < entries.size(); ++i)
    if (entries[i]->kind == ast::ExprKind::ellipsis) ellipsis = i;
  bool has_ellipsis = ellipsis < entries.size();
  size_t fixed = entries.size() - (has_ellipsis ? 1 : 0);
  std::string subject = ctx_.quote(argument.span, fmt::format("`{}`", p.name.text));
  if (!p.dims && !given.dims.empty()) {
    ctx_.error(Code::E0108, argument.span,
               fmt::format("`{}` of `{}` is a single number, and {} is {}", p.name.text, ctx_.frame->definition->name(), subject,
                           ctx_.dims.show(given.dims)))
        .help.push_back(fmt::format("declare it as `{}[...]` to take any shape", p.name.text));
    return false;
  }
  if (given.dims.size() < fixed || (!has_ellipsis && given.dims.size() != fixed)) {
    Diagnostic& d = ctx_.error(Code::E0108, argument.span,
                               fmt::format("`{}` of `{}` is {}, and {} is {}", p.name.text, ctx_.frame->definition->name(),
                                           ctx_.program.sources->text(p.dims->span), subject, ctx_.dims.show(given.dims)));
    d.span_text = fmt::format("{} dimension{}, {}{} needed", given.dims.size(), given.dims.size() == 1 ? "" : "s",
                              has_ellipsis ? "at least " : "", fixed);
    ctx_.settle(d, {int64_t(given.dims.size()), int64_t(fixed)});
    return false;
  }
  size_t through = given.dims.size() - fixed;
  Dims inner;
  const auto [held, is_new] = values_.emplace(&p, given);
  (void)is_new;
  const TensorValue& kept = held->second;
  for (size_t i = 0, at = 0; i < entries.size(); ++i) {
    const ast::Expr& e = *entries[i];
    if (i == ellipsis) {
      Dims passed;
      for (size_t k = 0; k < through; ++k) passed.push_back(given.dims[at + k]);
      at += through;
      if (!ctx_.frame->ellipsis) {
        Dims names;
        for (const Dim& d : passed) {
          if (d.named()) {
            names.push_back(d);
            continue;
          }
          uint32_t id = ctx_.dims.make(ctx_.dims.show(d), d.extent, d.origin, ctx_.frame->id, ctx_.dims.to_sum(d));
          names.push_back({id, d.extent, d.origin});
          nameless_.insert(id);
        }
        ctx_.frame->ellipsis = names;
        ellipsis_by_ = {&kept, argument.span, false, false, {}, subject};
        ellipsis_parameter_ = &p;
      } else {
        bool fits = passed.size() == ctx_.frame->ellipsis->size();
        for (size_t k = 0; fits && k < passed.size(); ++k) {
          const Dim& d = (*ctx_.frame->ellipsis)[k];
          // A nameless one goes by the name that a later argument gives it, and from then on by no other.
          bool is_own = nameless_.count(d.id) > 0;
          const DimSum name = is_own ? *ctx_.dims.outer(d.id) : ctx_.dims.to_sum(d);
          bool takes_name = is_own && is_constant(name) && passed[k].named();
          fits = d.extent == passed[k].extent && (takes_name || !passed[k].named() || name == ctx_.dims.to_sum(passed[k]));
          if (fits && takes_name) ctx_.dims.set_outer(d.id, ctx_.dims.to_sum(passed[k]));
        }
        if (!fits) {
          refuse_leading(p, argument, given, passed, subject);
          return false;
        }
      }
      inner.insert(inner.end(), ctx_.frame->ellipsis->begin(), ctx_.frame->ellipsis->end());
      continue;
    }
    const Dim actual = given.dims[at++];
    if (e.kind == ast::ExprKind::underscore) {
      uint32_t id = ctx_.dims.make(ctx_.dims.show(actual), actual.extent, actual.origin, ctx_.frame->id, ctx_.dims.to_sum(actual));
      inner.push_back({id, actual.extent, actual.origin});
    } else if (Local* local = nullptr;
               e.kind == ast::ExprKind::name && (!(local = ctx_.frame->find(e.text)) || local->kind == Local::Kind::dimension)) {
      bool is_last = at == given.dims.size();
      if (!bind_dim_name(e.text, e.span, actual, argument, p, false, is_last, kept)) return false;
      Value v = eval_.lookup(e.text, e.span);
      if (!v.is(ValueKind::number)) return false;
      inner.push_back(ctx_.dims.to_dim(v.sum, actual.origin));
    } else {
      std::optional<Dim> want = eval_.evaluate_dim(e);
      if (!want) return false;
      if (want->extent != actual.extent) {
        std::string_view noun = given.dims.size() == 1 ? "entries" : at == given.dims.size() ? "columns" : "entries there";
        Diagnostic& d =
            ctx_.error(Code::E0101, argument.span,
                       fmt::format("{} has {} {}, but `{}` takes {} for `{}`", subject, ctx_.dims.show(Dim{0, actual.extent, {}}), noun,
                                   ctx_.frame->definition->name(), want->extent.size, p.name.text));
        ctx_.settle(d, {want->extent.size, actual.extent.size});
        d.span_text = ctx_.describe_dims_with_origin(given);
        if (!ctx_.frame->file->is_std) d.labels.push_back({p.span, fmt::format("declared {}", ctx_.program.sources->text(p.dims->span))});
        return false;
      }
      inner.push_back(want->named() ? *want : Dim{0, actual.extent, actual.origin});
    }
  }
  if (p.type && p.type->size) {
    const ast::Expr& size = *p.type->size;
    if (bind_class) {
      if (size.kind == ast::ExprKind::name) {
        if (!bind_dim_name(size.text, size.span, given.classes, argument, p, true, false, kept)) return false;
      } else if (size.kind != ast::ExprKind::underscore) {
        std::optional<Dim> want = eval_.evaluate_dim(size);
        if (!want) return false;
        if (want->extent != given.classes.extent) {
          ctx_.error(Code::E0101, argument.span,
                     fmt::format("{} has {} classes, but `{}` takes class({}) for `{}`", subject, given.classes.extent.size,
                                 ctx_.frame->definition->name(), want->extent.size, p.name.text));
          return false;
        }
      }
    }
    if (size.kind == ast::ExprKind::name) {
      if (!bind_class && !ctx_.frame->find(size.text) && !ctx_.program.find(*ctx_.frame->file, size.text)) {
        ctx_.error(Code::E0206, argument.span,
                   fmt::format("`{}` takes `{}` from the classes of `{}`, and {} holds plain {}", ctx_.frame->definition->name(),
                               size.text, p.name.text, subject, dtype_name(given.dtype)))
            .help.push_back("declare the field as `class(N)`");
        return false;
      }
      Value v = eval_.lookup(size.text, size.span);
      if (v.is(ValueKind::number)) t.classes = ctx_.dims.to_dim(v.sum, given.classes.origin);
    }
  }
  t.dims = inner;
  t.free = false;
  ctx_.frame->bind(p.name.text, Value::of(t), p.name.span);
  return true;
}

Dims ArgumentBinder::outside_dims(const Dims& dims) {
  Dims result;
  for (const Dim& d : dims) result.push_back(ctx_.dims.leave(d, ctx_.frame->id));
  return result;
}

}  // namespace nnc
