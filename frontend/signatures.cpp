// Signatures: how the dimensions of arguments get the names of a definition's head, and how results get back the caller's names.
// A name in the head that is visible outside means that dimension; any other is bound by the first argument that has it, and
// every further one must agree. Inside, every bound name is a dimension of its own, so that `weight[Out, In]` works where both
// are the caller's C.
#include "frontend/signatures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "frontend/argument_places.h"

namespace nnc {

std::optional<DimSum> Lowering::size_sum(const Value& v, Span span, std::string_view text) {
  if (v.is(ValueKind::poison)) return std::nullopt;
  if (!v.is(ValueKind::number)) {
    Diagnostic& d = error(Code::E0206, span,
                          fmt::format("a size is needed here, and `{}` is {}", text,
                                      v.is(ValueKind::tensor) ? "known only while a step runs" : "none"));
    if (v.is(ValueKind::tensor))
      d.help.push_back("a size is made of numbers and dims; one that depends on the rows is a multiple of them, as in `2 * B`");
    return std::nullopt;
  }
  if (!v.is_size && std::isfinite(v.number) && v.number >= double(int64_t(1) << 40)) {
    error(Code::E0111, span, fmt::format("`{}` is {:g}, which is more than memory can hold", text, v.number));
    return std::nullopt;
  }
  if (!v.is_size) {
    Diagnostic& d = error(Code::E0111, span, fmt::format("`{}` is {:g}, and a size must be a whole number", text, v.number));
    if (text.find('/') != std::string_view::npos) d.help.push_back("`/` must come out even; `//` rounds down");
    return std::nullopt;
  }
  std::optional<Extent> extent = dims_.evaluate(v.sum);
  if (!extent) {
    error(Code::E0113, span, fmt::format("`{}` does not grow in proportion to the number of rows", text));
    return std::nullopt;
  }
  if (extent->size < 1) {
    error(Code::E0111, span, fmt::format("`{}` is {}, and a size must be at least 1", text, extent->size));
    return std::nullopt;
  }
  if (extent->size >= int64_t(1) << 40) {
    error(Code::E0111, span, fmt::format("`{}` is {:g}, which is more than memory can hold", text, v.number));
    return std::nullopt;
  }
  return v.sum;
}

std::optional<Dim> Lowering::evaluate_dim(const ast::Expr& e) {
  Value v = evaluate(e);
  std::optional<DimSum> sum = size_sum(v, e.span, program_.sources->text(e.span));
  if (!sum) return std::nullopt;
  return dims_.to_dim(*sum, {place(e.span), "declared"});
}

std::optional<Dims> Lowering::evaluate_dims(const ast::Dims& list, bool allow_rows) {
  Dims result;
  bool is_good = true;
  for (const ast::ExprPtr& e : list.entries) {
    if (e->kind == ast::ExprKind::ellipsis && frame_->ellipsis) {
      result.insert(result.end(), frame_->ellipsis->begin(), frame_->ellipsis->end());
    } else if (e->kind == ast::ExprKind::ellipsis) {
      error(Code::E0201, e->span, "`...` stands for nothing here: no argument of this definition has it");
      is_good = false;
    } else if (e->kind == ast::ExprKind::underscore) {
      error(Code::E0206, e->span, "a size is needed here");
      is_good = false;
    } else if (std::optional<Dim> d = evaluate_dim(*e)) {
      if (d->extent.rows && !allow_rows) {
        error(Code::E0113, e->span,
              fmt::format("`{}` counts the rows of a batch, so no stored value can have it", dims_.show(*d)));
        is_good = false;
      }
      result.push_back(*d);
    } else {
      is_good = false;
    }
  }
  if (!is_good) return std::nullopt;
  return result;
}

std::optional<std::vector<const CallArgument*>> Lowering::sort_arguments(const std::vector<ast::Parameter>& parameters,
                                                                         std::string_view callee,
                                                                         const std::vector<CallArgument>& arguments, Span span,
                                                                         bool is_static, const Definition& definition) {
  std::vector<const CallArgument*> sorted(parameters.size(), nullptr);
  std::vector<size_t> places = argument_places(parameters, arguments);
  bool is_good = true;
  for (size_t k = 0; k < arguments.size(); ++k) {
    const CallArgument& a = arguments[k];
    size_t i = places[k];
    if (i == parameters.size() && a.name.empty()) {
      Diagnostic& d = error(Code::E0204, a.span,
                            fmt::format("`{}` takes {} argument{}, not {}", callee, parameters.size(),
                                        parameters.size() == 1 ? "" : "s", arguments.size()));
      d.labels.push_back({definition.ast->head_span, "declared here"});
      if (definition.file->is_std) d.labels.clear();
      return std::nullopt;
    }
    if (i == parameters.size()) {
      std::vector<std::string> names;
      for (const ast::Parameter& p : parameters) names.push_back(p.name.text);
      std::string similar = nearest(a.name, names), all;
      for (const std::string& n : names) all += (all.empty() ? "`" : ", `") + n + "`";
      Diagnostic& d = error(Code::E0204, a.name_span,
                            fmt::format("`{}` has no option `{}`{}", callee, a.name,
                                        similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)));
      if (similar.empty() && !all.empty()) d.help.push_back("it has " + all);
      is_good = false;
    } else if (sorted[i]) {
      error(Code::E0204, a.span, fmt::format("`{}` of `{}` is given twice", a.name, callee));
      is_good = false;
    } else {
      sorted[i] = &a;
    }
  }
  for (size_t i = 0; i < parameters.size() && is_good; ++i) {
    if (sorted[i] || parameters[i].default_value) continue;
    const std::string& name = parameters[i].name.text;
    if (is_static && name == "Out") {
      error(Code::E0202, span, fmt::format("`{}` needs an output size", callee))
          .help.push_back(fmt::format("write `{}(64)`", callee));
    } else {
      Diagnostic& d = error(Code::E0202, span,
                            fmt::format("`{}` needs {}`{}`", callee,
                                        parameters[i].name.is_capitalised() && !parameters[i].dims ? "a size " : "", name));
      if (!definition.file->is_std) d.labels.push_back({parameters[i].span, "declared here"});
    }
    is_good = false;
  }
  if (!is_good) return std::nullopt;
  return sorted;
}

// `x[B, H, W, C]` passed for `x[B, C, H, W]`: names that both sides have must stand in the same order.
bool Lowering::check_spelling(const ast::Parameter& p, const CallArgument& argument, const TensorValue& t) {
  if (!p.dims) return true;
  std::vector<std::string> wanted, given;
  for (const ast::ExprPtr& e : p.dims->entries)
    if (e->kind == ast::ExprKind::name) wanted.push_back(e->text);
  for (const Dim& d : t.dims)
    if (d.named() && std::find(wanted.begin(), wanted.end(), dims_.show(d)) != wanted.end()) given.push_back(dims_.show(d));
  std::erase_if(wanted, [&](const std::string& w) { return std::find(given.begin(), given.end(), w) == given.end(); });
  if (given.size() < 2 || given == wanted || given.size() != wanted.size()) return true;
  std::string head(program_.sources->text(p.dims->span));
  error(Code::E0109, argument.span,
        fmt::format("{} is {}, and `{}` expects {}: the same names in another order", quote(argument.span, "the argument"),
                    dims_.show(t.dims), p.name.text, head))
      .help.push_back(fmt::format("bring it into that order: `... as {}`", head));
  return false;
}

bool Lowering::bind_dim_name(std::string_view name, Span name_span, const Dim& actual, const CallArgument& argument,
                             const ast::Parameter& p, bool is_class, bool is_last, const TensorValue& t, Binding& binding) {
  Conflict here{&t, argument.span, is_class, is_last, actual.origin, {}};
  Local* known = nullptr;
  for (auto it = frame_->locals.rbegin(); it != frame_->locals.rend() && !known; ++it)
    if (it->name == name && it->kind == Local::Kind::dimension) known = &*it;
  Value outside = poison();
  bool found = false;
  if (!known && program_.find(*frame_->file, name)) outside = global_value(*frame_->file, name, name_span, found);
  if (!known && !outside.is(ValueKind::number)) {  // bound by this argument
    uint32_t id = dims_.make(std::string(name), actual.extent, actual.origin, frame_->id, dims_.to_sum(actual));
    bind_dimension(name, id, name_span);
    here.text = quote(argument.span, fmt::format("`{}`", p.name.text));
    binding.bound_by[std::string(name)] = here;
    return true;
  }
  const Value& expected = known ? known->value : outside;
  if (!expected.is(ValueKind::number) || !expected.is_size) return true;
  Dim want = dims_.to_dim(expected.sum);
  std::string subject = quote(argument.span, fmt::format("`{}`", p.name.text));
  if (want.extent == actual.extent) {
    if (!known) {
      if (actual.named() && actual.id != want.id) {
        error(Code::E0102, argument.span,
              fmt::format("`{}` of `{}` is dimension `{}`, and {} has `{}` in its place", p.name.text, frame_->definition->name(),
                          name, subject, dims_.show(actual)))
            .help.push_back(fmt::format("equal sizes are not enough: view it as `... as {}`",
                                        program_.sources->text(p.dims ? p.dims->span : p.span)));
        return false;
      }
      return true;
    }
    DimSum outer = dims_.outer(want.id).value_or(dims_.to_sum(want));
    if (is_constant(outer) && actual.named()) {
      dims_.set_outer(want.id, dims_.to_sum(actual));  // the name is taken over
      return true;
    }
    if (!actual.named() || is_class || outer == dims_.to_sum(actual)) return true;
    Diagnostic& d = error(Code::E0102, argument.span,
                          fmt::format("dimension `{}` is both `{}` and `{}`", name, dims_.show(outer), dims_.show(actual)));
    d.span_text = describe_dims_with_origin(t);
    auto before = binding.bound_by.find(std::string(name));
    if (before != binding.bound_by.end())
      d.labels.push_back({before->second.span, describe_dims_with_origin(*before->second.value)});
    d.notes.push_back("equal sizes are not enough: the names must be the same");
    return false;
  }
  auto before = binding.bound_by.find(std::string(name));
  bool has_before = before != binding.bound_by.end();
  auto size_text = [&](const Dim& d) {
    return d.extent.rows ? fmt::format("{} rows", dims_.show(dims_.leave(d, frame_->id))) : std::to_string(d.extent.size);
  };
  auto label_text = [&](const Conflict& c, const Dim& d) {
    if (!c.is_class) return describe_dims_with_origin(*c.value);
    std::string origin = describe_origin(c.origin);
    return fmt::format("class({}){}", size_text(d), origin.empty() ? "" : ", " + origin);
  };
  if (has_before && (is_class || before->second.is_class)) {
    const Conflict& other = before->second;
    auto noun = [&](const Conflict& c) {
      return c.is_class ? std::string("classes") : c.is_last ? std::string("columns") : fmt::format("entries in `{}`", name);
    };
    Dim first = want, second = actual;
    Diagnostic& d = error(Code::E0101, other.span,
                          fmt::format("{} has {} {}, but {} has {} {}", other.text, size_text(first), noun(other), subject,
                                      size_text(second), noun(here)));
    d.span_text = label_text(other, first);
    d.labels.push_back({place(argument.span), label_text(here, second)});
    settle(d, {first.extent.size, second.extent.size});
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
    Diagnostic& d = error(Code::E0102, argument.span,
                          fmt::format("dimension `{}` has two sizes: {} in {}, {} in {}", name, size_text(want), other.text,
                                      size_text(actual), subject));
    d.span_text = describe_dims_with_origin(t);
    d.labels.push_back({place(other.span), label_text(other, want)});
    settle(d, {want.extent.size, actual.extent.size});
    return false;
  }
  Diagnostic& d = error(
      Code::E0102, argument.span,
      fmt::format(
          "dimension `{}` has two sizes: {} in {}{}, {} declared{}", name, size_text(actual), subject,
          describe_origin(actual.origin).empty() ? "" : fmt::format(" ({})", describe_origin(actual.origin)), size_text(want),
          dims_.origin(want.id).span.valid() ? fmt::format(" ({})", program_.sources->describe_line(dims_.origin(want.id).span))
                                             : ""));
  d.span_text = is_class ? fmt::format("class({})", size_text(actual)) : describe_dims_with_origin(t);
  if (dims_.origin(want.id).span.valid())
    d.labels.push_back({dims_.origin(want.id).span, fmt::format("{} = {}", name, size_text(want))});
  settle(d, {want.extent.size, actual.extent.size});
  return false;
}

std::optional<DType> Lowering::declared_type(const ast::Type& type) {
  std::optional<DType> known = parse_dtype(type.name.text);
  if (!known && type.name.text == "bf16")
    not_in_this_version(type.span, "the type `bf16` is");
  else if (!known)
    error(Code::E0201, type.name.span, fmt::format("unknown type `{}`", type.name.text))
        .help.push_back("types are f32, f64, i32, i64, u8, bool and class(N)");
  return known;
}

// The element type: what arithmetic would convert is converted, anything else must be as declared.
bool Lowering::match_type(const ast::Parameter& p, const CallArgument& argument, TensorValue& t, bool& bind_class) {
  bind_class = false;
  std::string subject = quote(argument.span, fmt::format("`{}`", p.name.text));
  if (!p.type) {
    if (t.dtype != DType::f64) t = to_float(t, argument.span);
    return true;
  }
  const std::string& type = p.type->name.text;
  if (type == "class") {
    if (is_float(t.dtype) || t.dtype == DType::boolean) {
      error(Code::E0206, argument.span,
            fmt::format("`{}` needs class numbers for `{}`, and {} holds {}", frame_->definition->name(), p.name.text, subject,
                        dtype_name(t.dtype)))
          .help.push_back("declare the field as `class(N)`");
      return false;
    }
    bind_class = t.is_class;
    return true;
  }
  std::optional<DType> wanted = declared_type(*p.type);
  if (!wanted) return false;
  if (t.dtype == *wanted && !(t.is_class && is_float(*wanted))) return true;
  bool widens = is_float(*wanted) || (*wanted == DType::i32 && t.dtype == DType::u8) ||
                (*wanted == DType::i64 && !is_float(t.dtype) && t.dtype != DType::boolean);
  if (!widens) {
    error(Code::E0206, argument.span,
          fmt::format("`{}` of `{}` is {}, and {} holds {}", p.name.text, frame_->definition->name(), type, subject,
                      dtype_name(t.dtype)));
    return false;
  }
  t = cast(t, *wanted, argument.span);
  t.is_class = false;
  return true;
}

bool Lowering::bind_tensor(const ast::Parameter& p, const CallArgument& argument, TensorValue t, Binding& binding) {
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
  std::string subject = quote(argument.span, fmt::format("`{}`", p.name.text));
  if (!p.dims && !given.dims.empty()) {
    error(Code::E0108, argument.span,
          fmt::format("`{}` of `{}` is a single number, and {} is {}", p.name.text, frame_->definition->name(), subject,
                      dims_.show(given.dims)))
        .help.push_back(fmt::format("declare it as `{}[...]` to take any shape", p.name.text));
    return false;
  }
  if (given.dims.size() < fixed || (!has_ellipsis && given.dims.size() != fixed)) {
    Diagnostic& d = error(Code::E0108, argument.span,
                          fmt::format("`{}` of `{}` is {}, and {} is {}", p.name.text, frame_->definition->name(),
                                      program_.sources->text(p.dims->span), subject, dims_.show(given.dims)));
    d.span_text = fmt::format("{} dimension{}, {}{} needed", given.dims.size(), given.dims.size() == 1 ? "" : "s",
                              has_ellipsis ? "at least " : "", fixed);
    settle(d, {int64_t(given.dims.size()), int64_t(fixed)});
    return false;
  }
  size_t through = given.dims.size() - fixed;
  Dims inner;
  const auto [held, is_new] = binding.values.emplace(&p, given);
  (void)is_new;
  const TensorValue& kept = held->second;
  for (size_t i = 0, at = 0; i < entries.size(); ++i) {
    const ast::Expr& e = *entries[i];
    if (i == ellipsis) {
      Dims passed;
      for (size_t k = 0; k < through; ++k) passed.push_back(given.dims[at + k]);
      at += through;
      if (!frame_->ellipsis) {
        Dims names;
        for (const Dim& d : passed) {
          if (d.named()) {
            names.push_back(d);
            continue;
          }
          uint32_t id = dims_.make(dims_.show(d), d.extent, d.origin, frame_->id, dims_.to_sum(d));
          names.push_back({id, d.extent, d.origin});
          binding.nameless.insert(id);
        }
        frame_->ellipsis = names;
        binding.ellipsis_by = {&kept, argument.span, false, false, {}, subject};
      } else {
        bool fits = passed.size() == frame_->ellipsis->size();
        for (size_t k = 0; fits && k < passed.size(); ++k) {
          const Dim& d = (*frame_->ellipsis)[k];
          // A nameless one goes by the name that a later argument gives it, and from then on by no other.
          bool is_own = binding.nameless.count(d.id) > 0;
          const DimSum name = is_own ? *dims_.outer(d.id) : dims_.to_sum(d);
          bool takes_name = is_own && is_constant(name) && passed[k].named();
          fits = d.extent == passed[k].extent && (takes_name || !passed[k].named() || name == dims_.to_sum(passed[k]));
          if (fits && takes_name) dims_.set_outer(d.id, dims_.to_sum(passed[k]));
        }
        if (!fits) {
          Diagnostic& d = error(
              Code::E0102, argument.span,
              fmt::format("`{}` needs the same leading dimensions in {} and {}: {} against {}", frame_->definition->name(),
                          binding.ellipsis_by.text, subject, dims_.show(outside_dims(*frame_->ellipsis)), dims_.show(passed)));
          d.span_text = describe_dims_with_origin(given);
          d.labels.push_back({place(binding.ellipsis_by.span), describe_dims_with_origin(*binding.ellipsis_by.value)});
          return false;
        }
      }
      inner.insert(inner.end(), frame_->ellipsis->begin(), frame_->ellipsis->end());
      continue;
    }
    const Dim actual = given.dims[at++];
    if (e.kind == ast::ExprKind::underscore) {
      uint32_t id = dims_.make(dims_.show(actual), actual.extent, actual.origin, frame_->id, dims_.to_sum(actual));
      inner.push_back({id, actual.extent, actual.origin});
    } else if (Local* local = nullptr;
               e.kind == ast::ExprKind::name && (!(local = find_local(e.text)) || local->kind == Local::Kind::dimension)) {
      bool is_last = at == given.dims.size();
      if (!bind_dim_name(e.text, e.span, actual, argument, p, false, is_last, kept, binding)) return false;
      Value v = lookup(e.text, e.span);
      if (!v.is(ValueKind::number)) return false;
      inner.push_back(dims_.to_dim(v.sum, actual.origin));
    } else {
      std::optional<Dim> want = evaluate_dim(e);
      if (!want) return false;
      if (want->extent != actual.extent) {
        std::string_view noun = given.dims.size() == 1 ? "entries" : at == given.dims.size() ? "columns" : "entries there";
        Diagnostic& d =
            error(Code::E0101, argument.span,
                  fmt::format("{} has {} {}, but `{}` takes {} for `{}`", subject, dims_.show(Dim{0, actual.extent, {}}), noun,
                              frame_->definition->name(), want->extent.size, p.name.text));
        settle(d, {want->extent.size, actual.extent.size});
        d.span_text = describe_dims_with_origin(given);
        if (!frame_->file->is_std) d.labels.push_back({p.span, fmt::format("declared {}", program_.sources->text(p.dims->span))});
        return false;
      }
      inner.push_back(want->named() ? *want : Dim{0, actual.extent, actual.origin});
    }
  }
  if (p.type && p.type->size) {
    const ast::Expr& size = *p.type->size;
    if (bind_class) {
      if (size.kind == ast::ExprKind::name) {
        if (!bind_dim_name(size.text, size.span, given.classes, argument, p, true, false, kept, binding)) return false;
      } else if (size.kind != ast::ExprKind::underscore) {
        std::optional<Dim> want = evaluate_dim(size);
        if (!want) return false;
        if (want->extent != given.classes.extent) {
          error(Code::E0101, argument.span,
                fmt::format("{} has {} classes, but `{}` takes class({}) for `{}`", subject, given.classes.extent.size,
                            frame_->definition->name(), want->extent.size, p.name.text));
          return false;
        }
      }
    }
    if (size.kind == ast::ExprKind::name) {
      if (!bind_class && !find_local(size.text) && !program_.find(*frame_->file, size.text)) {
        error(Code::E0206, argument.span,
              fmt::format("`{}` takes `{}` from the classes of `{}`, and {} holds plain {}", frame_->definition->name(),
                          size.text, p.name.text, subject, dtype_name(given.dtype)))
            .help.push_back("declare the field as `class(N)`");
        return false;
      }
      Value v = lookup(size.text, size.span);
      if (v.is(ValueKind::number)) t.classes = dims_.to_dim(v.sum, given.classes.origin);
    }
  }
  t.dims = inner;
  t.free = false;
  bind(p.name.text, Value::of(t), p.name.span);
  return true;
}

Dims Lowering::outside_dims(const Dims& dims) {
  Dims result;
  for (const Dim& d : dims) result.push_back(dims_.leave(d, frame_->id));
  return result;
}

std::optional<TensorValue> Lowering::match_result(const Definition& d, const ast::ResultType& declared, const TensorValue& t,
                                                  Span span) {
  struct Entry {
    const ast::Expr* expr;
    std::optional<Dim> dim;  // nothing: `_`
    int source = -1;
  };
  std::vector<Entry> entries;
  for (const ast::ExprPtr& e : declared.dims.entries) {
    if (e->kind == ast::ExprKind::ellipsis) {
      if (!frame_->ellipsis) {
        error(Code::E0201, e->span, "`...` stands for nothing here: no argument of this definition has it");
        return std::nullopt;
      }
      for (const Dim& dim : *frame_->ellipsis) entries.push_back({e.get(), dim, -1});
    } else if (e->kind == ast::ExprKind::underscore) {
      entries.push_back({e.get(), std::nullopt, -1});
    } else {
      std::optional<Dim> dim = evaluate_dim(*e);
      if (!dim) return std::nullopt;
      entries.push_back({e.get(), dim, -1});
    }
  }
  auto misfit = [&](std::vector<int64_t> facts) -> std::optional<TensorValue> {
    Dims wanted;
    std::string text = "[";
    for (const Entry& e : entries) text += (text.size() > 1 ? ", " : "") + (e.dim ? dims_.show(*e.dim) : "_");
    Diagnostic& e = error(Code::E0112, span,
                          fmt::format("`{}` declares the result {}], and its body gives {}", d.name(), text, dims_.show(t.dims)));
    e.span_text = describe_dims_with_origin(t);
    if (!d.file->is_std) e.labels.push_back({declared.span, "declared here"});
    for (const Dim& dim : t.dims)
      for (const Entry& entry : entries)
        if (entry.dim && entry.dim->named() && dim.named() && entry.dim->id != dim.id && entry.dim->extent == dim.extent)
          e.notes.push_back(
              fmt::format("`{}` and `{}` have one size, but are two dimensions", dims_.show(*entry.dim), dims_.show(dim)));
    settle(e, std::move(facts));
    return std::nullopt;
  };
  if (entries.size() != t.dims.size()) return misfit({int64_t(entries.size()), int64_t(t.dims.size())});
  std::vector<bool> taken(t.dims.size(), false);
  for (Entry& e : entries)
    for (size_t i = 0; i < t.dims.size(); ++i)
      if (e.dim && e.dim->named() && e.source < 0 && !taken[i] && t.dims[i].id == e.dim->id) {
        e.source = int(i);
        taken[i] = true;
      }
  Dims dims;
  for (Entry& e : entries) {
    if (e.source < 0) {
      size_t i = 0;
      while (i < taken.size() && taken[i]) ++i;
      const Dim& actual = t.dims[i];
      taken[i] = true;
      e.source = int(i);
      bool fits = !e.dim || (e.dim->extent == actual.extent && !(e.dim->named() && actual.named()));
      if (!fits) return misfit({int64_t(i), e.dim->extent.size, actual.extent.size});
    }
    Dim dim = t.dims[size_t(e.source)];
    if (e.dim && e.dim->named() && !dim.named()) {
      Origin origin = dim.origin;
      dim = *e.dim;
      dim.origin = origin;
    }
    dims.push_back(dim);
  }
  std::vector<int> order;
  for (const Entry& e : entries) order.push_back(e.source);
  TensorValue result = reorder(t, order, span);
  result.dims = dims;
  if (declared.type && declared.type->name.text != "class") {
    std::optional<DType> wanted = declared_type(*declared.type);
    if (!wanted) return std::nullopt;
    if (*wanted != result.dtype) {
      error(Code::E0206, span,
            fmt::format("`{}` declares a result of {}, and its body gives {}", d.name(), dtype_name(*wanted),
                        dtype_name(result.dtype)))
          .labels.push_back({declared.span, "declared here"});
      return std::nullopt;
    }
  }
  return result;
}

// Out of a frame: dimensions get back the caller's names, and sizes without a name remember the call that made them.
Value Lowering::leave(Value v, uint32_t frame, const Origin& origin) {
  if (v.is(ValueKind::tensor)) {
    for (Dim& d : v.tensor.dims) {
      bool is_own = d.named();
      Origin before = d.origin;
      d = dims_.leave(d, frame);
      if (!d.named() && origin.span.valid() && (!before.span.valid() || before.text != "declared" || is_own)) {
        bool passed_through = before.span.valid() && before.span.file != program_.files[0].id && before.text != "declared" &&
                              before.text != "worked out" && before.text != "given";
        if (!passed_through) d.origin = origin;
      }
    }
    if (v.tensor.is_class) v.tensor.classes = dims_.leave(v.tensor.classes, frame);
  } else if (v.is(ValueKind::number) && v.is_size) {
    v.sum = dims_.leave(v.sum, frame);
  }
  for (Value& item : v.items) item = leave(std::move(item), frame, origin);
  return v;
}

}  // namespace nnc
