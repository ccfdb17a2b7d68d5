// What every part of the lowering needs: errors at the user's place, names and what they mean, values brought into the graph.
#include "frontend/lowering.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace nnc {

Lowering::Lowering(const Program& program, Diagnostics& diagnostics, LoweringOptions options)
    : program_(program), diagnostics_(&diagnostics), options_(options) {
  rows_ = dims_.make("B", {1, true}, {}, 0);
}

// --- errors ---

Span Lowering::place(Span span) const {
  bool in_std = span.file == program_.files[0].id;
  return in_std && frame_ && frame_->call_span.valid() ? frame_->call_span : span;
}

Diagnostic& Lowering::error(Code code, Span span, std::string message) {
  Span at = place(span);
  discarded_ = {};
  if (!reported_.insert(fmt::format("{}:{}:{}:{}", code_name(code), at.file.value, at.begin, message)).second) return discarded_;
  Diagnostic& d = diagnostics_->report(code, at, std::move(message));
  if (frame_ && frame_->definition) {
    const std::string& name = frame_->definition->name();
    bool is_inside = at.file == frame_->call_span.file && at.begin >= frame_->call_span.begin && at.end <= frame_->call_span.end;
    if (at != span)
      d.notes.push_back(fmt::format("found inside `{}` of the standard library", name));
    else if (code >= Code::E0101 && code < Code::E0201 && frame_->call_span.valid() && !is_inside && !trial_)
      d.labels.push_back({frame_->call_span, fmt::format("in this call of `{}`", name)});
  }
  return d;
}

/// On trial: what an error of shapes is about, sizes or numbers of dimensions. Where other made-up sizes give the same facts,
/// these do not depend on them.
void Lowering::settle(const Diagnostic& d, std::vector<int64_t> facts) {
  if (trial_ && !is_open_) settled_.emplace(d.code, d.span.file.value, d.span.begin, std::move(facts));
}

Value Lowering::not_in_this_version(Span span, std::string_view what) {
  error(Code::E0210, span, fmt::format("{} not part of this version of nnc", what));
  return poison();
}

std::string Lowering::quote(Span span, std::string_view otherwise) const {
  if (!span.valid()) return std::string(otherwise);
  std::string_view text = program_.sources->text(span);
  if (text.empty() || text.size() > 40 || text.find('\n') != std::string_view::npos) return std::string(otherwise);
  return fmt::format("`{}`", text);
}

std::string Lowering::describe_origin(const Origin& origin) const {
  if (!origin.span.valid() || origin.span.file == program_.files[0].id) return "";
  return fmt::format("{} at {}", origin.text, program_.sources->describe_line(origin.span));
}

std::string Lowering::describe_dims_with_origin(const TensorValue& t) const {
  std::string text = dims_.show(t.dims);
  for (auto d = t.dims.rbegin(); d != t.dims.rend(); ++d)
    if (std::string origin = describe_origin(d->origin); !origin.empty()) return text + ", " + origin;
  return text;
}

// --- scopes ---

Local* Lowering::find_local(std::string_view name) {
  auto known = frame_->places.find(name);
  if (known == frame_->places.end()) return nullptr;
  std::vector<Local>& locals = frame_->locals;
  std::vector<size_t>& at = known->second;
  while (!at.empty() && (at.back() >= locals.size() || locals[at.back()].name != name)) at.pop_back();
  return at.empty() ? nullptr : &locals[at.back()];
}

void Lowering::bind(std::string_view name, Value value, Span span, Local::Kind kind) {
  std::vector<size_t>& at = frame_->places[name];
  while (!at.empty() && at.back() >= frame_->locals.size()) at.pop_back();
  at.push_back(frame_->locals.size());
  frame_->locals.push_back({name, std::move(value), span, kind, {}, false});
}

Value Lowering::dim_value(uint32_t id) const {
  Value v = Value::of_number(double(dims_.extent(id).size));
  v.is_size = true;
  v.sum = dims_.to_sum({id, dims_.extent(id), {}});
  return v;
}

void Lowering::bind_dimension(std::string_view name, uint32_t id, Span span) {
  bind(name, dim_value(id), span, Local::Kind::dimension);
}

uint32_t Lowering::declare_dim(const ast::DimDeclaration& declaration, uint32_t frame, const std::string* overridden) {
  Value v = overridden ? evaluate_override(*overridden, declaration.value->span) : evaluate(*declaration.value);
  Origin origin{declaration.span, "declared"};
  if (!is_poison(v)) {
    if (std::optional<DimSum> sum = size_sum(v, declaration.value->span, program_.sources->text(declaration.value->span)))
      if (std::optional<Extent> extent = dims_.evaluate(*sum))
        return dims_.make(declaration.name.text, *extent, origin, frame, frame ? std::optional(*sum) : std::nullopt);
  }
  return 0;
}

Value Lowering::global_value(const SourceFile& file, std::string_view name, Span span, bool& found) {
  const Global* g = program_.find(file, name);
  found = g != nullptr;
  if (!g) return poison();
  if (!g->definitions.empty()) {
    Value v = Value::of_text(ValueKind::callable, std::string(name));
    v.overloads = g->definitions;
    return v;
  }
  if (g->dim) {
    auto [it, is_new] = globals_.try_emplace(g->dim, Value{});
    if (!is_new && evaluating_.count(g->dim)) {
      error(Code::E0209, g->span, fmt::format("`{}` depends on itself", name));
      return poison();
    }
    if (is_new) {
      evaluating_.insert(g->dim);
      Frame top;
      top.file = g->file;
      FrameScope scope(*this, top);
      const std::string* overridden = program_.override_of(name);
      if (overridden) {
        std::vector<const Global*> meant = program_.settable_dims(name);
        if (meant.size() != 1 || meant[0]->dim != g->dim) overridden = nullptr;
      }
      uint32_t id = declare_dim(*g->dim, 0, overridden);
      globals_[g->dim] = id ? dim_value(id) : poison();
      evaluating_.erase(g->dim);
    }
    return globals_[g->dim];
  }
  if (g->data) {
    error(Code::E0206, span, fmt::format("`{}` is a data block, not a value", name))
        .help.push_back("inside `train`, use its fields by their names");
    return poison();
  }
  return poison();
}

std::vector<std::string> Lowering::visible_names() const {
  std::vector<std::string> names;
  for (const Local& l : frame_->locals) names.emplace_back(l.name);
  for (const auto& [name, g] : frame_->file->globals) names.push_back(name);
  for (const auto& [name, g] : program_.files[0].globals) names.push_back(name);
  for (const auto& [name, f] : builtins()) names.emplace_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Value Lowering::lookup(std::string_view name, Span span) {
  if (Local* local = find_local(name)) {
    local->used = true;
    return local->value;
  }
  bool found = false;
  Value v = global_value(*frame_->file, name, span, found);
  if (found) return v;
  if (name == "true" || name == "false") return Value::of_bool(name == "true");
  if (name == "inf") return Value::of_number(std::numeric_limits<double>::infinity());
  if (name == "pi") return Value::of_number(3.14159265358979323846);
  if (name == "training") return Value::of_bool(options_.training);
  if (name == "none" || name == "all" || name == "same") return Value::of_text(ValueKind::symbol, std::string(name));
  if (name == "step" || name == "epoch") {
    TensorValue t;
    t.node = builder(span).scalar(std::string(name));
    t.span = place(span);
    return Value::of(t);
  }
  if (builtins().count(name)) return Value::of_text(ValueKind::builtin, std::string(name));
  if (frame_->file->lost_names.count(std::string(name))) return poison();
  if (frame_->file->tree->has_errors || frame_->file->lacks_imports) return poison();  // it may stand in what could not be read
  if (name == "B" && !frame_->definition) {
    error(Code::E0113, span, "`B` counts the rows of a batch, and there is no batch here")
        .help.push_back("a size is made of numbers and dims; in `train`, `dim S = B` is the number of rows");
    return poison();
  }
  std::string similar = nearest(name, visible_names());
  std::string message = fmt::format("unknown name `{}`", name);
  if (!similar.empty()) {
    std::string_view kind = "value";
    if (builtins().count(similar)) kind = "function";
    if (const Global* g = program_.find(*frame_->file, similar)) kind = global_kind(*g);
    if (Local* l = find_local(similar)) kind = l->kind == Local::Kind::dimension ? "dimension" : "value";
    message += fmt::format("; {} with a similar name exists: `{}`", with_article(kind), similar);
  }
  Diagnostic& d = error(Code::E0201, span, message);
  if (name == "B") d.help.emplace_back(how_rows_are_named);
  return poison();
}

// --- values and the graph ---

bool Lowering::is_poison(const Value& v) const {
  if (v.is(ValueKind::poison)) return true;
  if (v.is(ValueKind::tuple) || v.is(ValueKind::array) || v.is(ValueKind::range))
    return std::any_of(v.items.begin(), v.items.end(), [&](const Value& i) { return is_poison(i); });
  return false;
}

bool Lowering::varies(const Value& v) const {
  if (!v.is(ValueKind::number) || !v.is_size) return false;
  std::optional<Extent> extent = dims_.evaluate(v.sum);
  return !extent || extent->rows;
}

std::optional<double> Lowering::number_of(const Value& v) const {
  if (!v.is(ValueKind::number) || varies(v)) return std::nullopt;
  return v.number;
}

std::optional<int64_t> Lowering::integer_of(const Value& v) const {
  std::optional<double> x = number_of(v);
  if (!x || std::floor(*x) != *x || std::abs(*x) > 1e15) return std::nullopt;
  return int64_t(*x);
}

Builder Lowering::builder(Span span) { return Builder(graph_, place(span), frame_ ? frame_->path : ""); }

TensorValue Lowering::constant(double value, DType dtype, Dims dims, Span span) {
  TensorValue t;
  t.node = builder(span).constant(value, Type{dtype, shape_of(dims)});
  t.dims = std::move(dims);
  t.dtype = dtype;
  t.span = place(span);
  return t;
}

std::optional<TensorValue> Lowering::as_tensor(const Value& v, Span span, DType number_type) {
  switch (v.kind) {
    case ValueKind::tensor:
      return v.tensor;
    case ValueKind::number: {
      if (varies(v)) {
        std::optional<Extent> extent = dims_.evaluate(v.sum);
        if (!extent) {
          error(Code::E0113, span, fmt::format("`{}` does not grow in proportion to the number of rows", dims_.show(v.sum)));
          return std::nullopt;
        }
        TensorValue t;
        t.node = builder(span).extent(*extent);
        t.span = place(span);
        return t;
      }
      bool is_whole = std::floor(v.number) == v.number && std::abs(v.number) <= std::numeric_limits<int32_t>::max();
      if (!is_float(number_type) && !is_whole) number_type = DType::f32;
      return constant(v.number, number_type, {}, span);
    }
    case ValueKind::boolean:
      return constant(v.boolean, DType::boolean, {}, span);
    case ValueKind::array: {
      std::vector<double> values;
      std::vector<int64_t> shape;
      size_t innermost = 0;  // where the numbers stand: the depth of the first
      bool is_regular = true;
      std::function<void(const Value&, size_t)> visit = [&](const Value& item, size_t depth) {
        if (item.is(ValueKind::array)) {
          if (!values.empty() && depth >= innermost) is_regular = false;
          if (shape.size() == depth) shape.push_back(int64_t(item.items.size()));
          is_regular = is_regular && shape[depth] == int64_t(item.items.size());
          for (const Value& inner : item.items) visit(inner, depth + 1);
        } else if (std::optional<double> x = number_of(item); x && (values.empty() || depth == innermost)) {
          innermost = depth;
          values.push_back(*x);
        } else {
          is_regular = false;
        }
      };
      visit(v, 0);
      int64_t count = 1;
      for (int64_t n : shape) count *= n;
      if (!is_regular || count != int64_t(values.size())) {
        error(Code::E0115, span, "an array needs numbers that are known at compile time, in rows of equal length");
        return std::nullopt;
      }
      return constant_array(values, shape, span);
    }
    case ValueKind::poison:
      return std::nullopt;
    case ValueKind::tuple:
      if (!is_poison(v))
        error(Code::E0213, span, fmt::format("one value is needed here, found {}", v.items.size()))
            .help.push_back("take it apart with `let a, b = ...`");
      return std::nullopt;
    default:
      break;
  }
  static const char* const names[] = {"",
                                      "a tensor",
                                      "a number",
                                      "true or false",
                                      "a text",
                                      "a choice",
                                      "a function",
                                      "a definition",
                                      "a layer without an input",
                                      "several values",
                                      "an array",
                                      "a range",
                                      "a distribution"};
  error(Code::E0206, span, fmt::format("a tensor is needed here, found {}", names[size_t(v.kind)]));
  return std::nullopt;
}

// Numbers of an array, as a graph: every distinct value is put at its places by comparing the index.
TensorValue Lowering::constant_array(const std::vector<double>& values, std::vector<int64_t> shape, Span span) {
  Dims dims;
  for (int64_t n : shape) dims.push_back({0, {n, false}, {place(span), "written"}});
  if (in_test_) {
    TensorValue t;
    std::string name = fmt::format("x{}", test_inputs_.size());
    t.node = builder(span).input(name, Type{DType::f32, shape_of(dims)});
    t.dims = std::move(dims);
    t.span = place(span);
    test_inputs_.push_back({name, values});
    return t;
  }
  if (values.empty() || std::all_of(values.begin(), values.end(), [&](double x) { return x == values[0]; }))
    return constant(values.empty() ? 0 : values[0], DType::f32, dims, span);
  Builder b = builder(span);
  Shape flat{{int64_t(values.size()), false}};
  NodeId index = b.iota(flat, 0), result = b.constant(values[0], Type{DType::f32, flat});
  for (size_t i = 1; i < values.size(); ++i) {
    if (values[i] == values[0]) continue;
    NodeId here = b.binary(Op::equal, index, b.constant(double(i), Type{DType::i32, flat}));
    result = b.select(here, b.constant(values[i], Type{DType::f32, flat}), result);
  }
  TensorValue t;
  t.node = b.reshape(result, shape_of(dims));
  t.dims = std::move(dims);
  t.span = place(span);
  return t;
}

TensorValue Lowering::cast(TensorValue t, DType dtype, Span span) {
  if (t.dtype != dtype) t.node = builder(span).cast(t.node, dtype);
  t.dtype = dtype;
  t.is_class = t.is_class && dtype == DType::i32;
  return t;
}

TensorValue Lowering::to_float(TensorValue t, Span span) {
  DType dtype = t.dtype == DType::f64 ? DType::f64 : DType::f32;
  t = cast(std::move(t), dtype, span);
  t.is_class = false;
  return t;
}

DType Lowering::arithmetic_type(const TensorValue& t) const {
  return t.is_class || t.dtype == DType::u8 || t.dtype == DType::boolean ? DType::f32 : t.dtype;
}

DType Lowering::common_type(const TensorValue& a, const TensorValue& b, bool compare) const {
  auto is_integer = [](DType t) { return t == DType::i32 || t == DType::i64 || t == DType::u8; };
  if (compare && is_integer(a.dtype) && is_integer(b.dtype))
    return a.dtype == b.dtype ? a.dtype : a.dtype == DType::i64 || b.dtype == DType::i64 ? DType::i64 : DType::i32;
  DType x = arithmetic_type(a), y = arithmetic_type(b);
  if (x == DType::f64 || y == DType::f64) return DType::f64;
  if (x == DType::f32 || y == DType::f32) return DType::f32;
  return x == DType::i64 || y == DType::i64 ? DType::i64 : DType::i32;
}

TensorValue Lowering::unary(Op op, const TensorValue& x, Span span) {
  TensorValue t = x;
  t.node = builder(span).unary(op, x.node);
  t.dtype = graph_.type(t.node).dtype;
  t.is_class = false;
  t.span = place(span);
  return t;
}

TensorValue Lowering::binary(Op op, const TensorValue& a, const TensorValue& b, Span span) {
  TensorValue t = a.dims.empty() ? b : a;
  t.node = builder(span).binary(op, a.node, b.node);
  t.dtype = graph_.type(t.node).dtype;
  t.is_class = false;
  t.free = false;
  t.span = place(span);
  return t;
}

void Lowering::check_globals() {
  Frame top;
  top.file = program_.main;
  FrameScope scope(*this, top);
  for (const auto& [name, g] : program_.main->globals) {
    if (g.file != program_.main) continue;
    bool found = false;
    if (g.dim) global_value(*program_.main, name, g.span, found);
    if (g.data) evaluate_data(g);
  }
}

// States change in training alone: what is evaluated in batches must not depend on which batch a row is in.
void Lowering::finish_graph() {
  if (!options_.training) return;
  for (const auto& [name, known] : known_)
    if (known.current.valid() && known.current != known.node) graph_.updates.push_back({name, known.current});
}

}  // namespace nnc
