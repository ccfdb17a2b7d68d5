// Errors at the user's place, and what every part of an evaluation asks of values.
#include "frontend/context.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace nnc {

EvaluationContext::EvaluationContext(const Program& p, Diagnostics& diagnostics, bool is_training)
    : program(p), training(is_training), rows(dims.make("B", {1, true}, {}, 0)), diagnostics_(&diagnostics) {}

// --- frames ---

Local* Frame::find(std::string_view name) {
  auto known = places.find(name);
  if (known == places.end()) return nullptr;
  std::vector<size_t>& at = known->second;
  while (!at.empty() && (at.back() >= locals.size() || locals[at.back()].name != name)) at.pop_back();
  return at.empty() ? nullptr : &locals[at.back()];
}

void Frame::bind(std::string_view name, Value value, Span span, Local::Kind kind) {
  std::vector<size_t>& at = places[name];
  while (!at.empty() && at.back() >= locals.size()) at.pop_back();
  at.push_back(locals.size());
  locals.push_back({name, std::move(value), span, kind, {}, false});
}

// --- errors ---

Span EvaluationContext::place(Span span) const {
  bool in_std = span.file == program.files[0].id;
  return in_std && frame && frame->call_span.valid() ? frame->call_span : span;
}

Diagnostic& EvaluationContext::error(Code code, Span span, std::string message) {
  Span at = place(span);
  discarded_ = {};
  latest_ = &discarded_;
  if (!reported_.insert(fmt::format("{}:{}:{}:{}", code_name(code), at.file.value, at.begin, message)).second) return discarded_;
  Diagnostic& d = diagnostics_->report(code, at, std::move(message));
  latest_ = &d;
  if (frame && frame->definition) {
    const std::string& name = frame->definition->name();
    bool is_inside = at.file == frame->call_span.file && at.begin >= frame->call_span.begin && at.end <= frame->call_span.end;
    if (at != span)
      d.notes.push_back(fmt::format("found inside `{}` of the standard library", name));
    else if (code >= Code::E0101 && code < Code::E0201 && frame->call_span.valid() && !is_inside && !trial)
      d.labels.push_back({frame->call_span, fmt::format("in this call of `{}`", name)});
  }
  return d;
}

void EvaluationContext::help_latest(std::string help) { latest_->help.push_back(std::move(help)); }

void EvaluationContext::settle(const Diagnostic& d, std::vector<int64_t> facts) {
  if (trial && !trial->is_open) trial->settled.emplace(d.code, d.span.file.value, d.span.begin, std::move(facts));
}

Value EvaluationContext::not_in_this_version(Span span, std::string_view what) {
  error(Code::E0210, span, fmt::format("{} not part of this version of nnc", what));
  return poison();
}

std::string EvaluationContext::quote(Span span, std::string_view otherwise) const {
  if (!span.valid()) return std::string(otherwise);
  std::string_view text = program.sources->text(span);
  if (text.empty() || text.size() > 40 || text.find('\n') != std::string_view::npos) return std::string(otherwise);
  return fmt::format("`{}`", text);
}

std::string EvaluationContext::describe_origin(const Origin& origin) const {
  if (!origin.span.valid() || origin.span.file == program.files[0].id) return "";
  return fmt::format("{} at {}", origin.text, program.sources->describe_line(origin.span));
}

std::string EvaluationContext::describe_dims_with_origin(const TensorValue& t) const {
  std::string text = dims.show(t.dims);
  for (auto d = t.dims.rbegin(); d != t.dims.rend(); ++d)
    if (std::string origin = describe_origin(d->origin); !origin.empty()) return text + ", " + origin;
  return text;
}

ReportTo::ReportTo(EvaluationContext& ctx, Diagnostics& elsewhere, bool afresh)
    : ctx_(ctx), outer_(std::exchange(ctx.diagnostics_, &elsewhere)), is_afresh_(afresh) {
  if (is_afresh_) reported_.swap(ctx_.reported_);
}

ReportTo::~ReportTo() {
  ctx_.diagnostics_ = outer_;
  ctx_.latest_ = &ctx_.discarded_;
  if (is_afresh_) ctx_.reported_.swap(reported_);
}

// --- values ---

Builder EvaluationContext::builder(Span span) { return Builder(graph, place(span), frame ? frame->path : ""); }

std::string EvaluationContext::next_site() {
  const std::string path = frame ? frame->path : "";
  return fmt::format("{}#{}", path, draws_[path]++);
}

Value EvaluationContext::dim_value(uint32_t id) const {
  Value v = Value::of_number(double(dims.extent(id).size));
  v.is_size = true;
  v.sum = dims.to_sum({id, dims.extent(id), {}});
  return v;
}

bool EvaluationContext::varies(const Value& v) const {
  if (!v.is(ValueKind::number) || !v.is_size) return false;
  std::optional<Extent> extent = dims.evaluate(v.sum);
  return !extent || extent->rows;
}

std::optional<double> EvaluationContext::number_of(const Value& v) const {
  if (!v.is(ValueKind::number) || varies(v)) return std::nullopt;
  return v.number;
}

std::optional<int64_t> EvaluationContext::integer_of(const Value& v) const {
  std::optional<double> x = number_of(v);
  if (!x || std::floor(*x) != *x || std::abs(*x) > 1e15) return std::nullopt;
  return int64_t(*x);
}

std::optional<DimSum> EvaluationContext::size_sum(const Value& v, Span span, std::string_view text) {
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
  std::optional<Extent> extent = dims.evaluate(v.sum);
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

std::optional<DType> EvaluationContext::declared_type(const ast::Type& type) {
  std::optional<DType> known = parse_dtype(type.name.text);
  if (!known && type.name.text == "bf16")
    not_in_this_version(type.span, "the type `bf16` is");
  else if (!known)
    error(Code::E0201, type.name.span, fmt::format("unknown type `{}`", type.name.text))
        .help.push_back("types are f32, f64, i32, i64, u8, bool and class(N)");
  return known;
}

}  // namespace nnc
