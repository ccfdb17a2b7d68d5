// What names mean: locals of the frame, then those of the file, then those of the language.
#include "frontend/builtin_names.h"
#include "frontend/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "frontend/builtins.h"
#include "frontend/scan_body.h"
#include "frontend/syntax/familiar_names.h"

namespace nnc {

SymbolicEvaluator::SymbolicEvaluator(const Program& program, Diagnostics& diagnostics, bool training) : ctx(program, diagnostics, training) {}

BuiltGraph SymbolicEvaluator::built() const {
  BuiltGraph built;
  built.graph = without_nodes(ctx.graph, ctx.traced);
  built.parameters = stored.parameters();
  built.layers = calls.layers();
  built.row_conditions = ctx.row_conditions;
  return built;
}

void SymbolicEvaluator::bind_dimension(std::string_view name, uint32_t id, Span span) {
  ctx.frame->bind(name, ctx.dim_value(id), span, Local::Kind::dimension);
}

uint32_t SymbolicEvaluator::declare_dim(const ast::DimDeclaration& declaration, uint32_t frame, const std::string* overridden) {
  Value v = overridden ? override_value(*overridden) : evaluate(*declaration.value);
  Origin origin{declaration.span, "declared"};
  if (!is_poison(v)) {
    if (std::optional<DimSum> sum = ctx.size_sum(v, declaration.value->span, ctx.program.sources->text(declaration.value->span)))
      if (std::optional<Extent> extent = ctx.dims.evaluate(*sum))
        return ctx.dims.make(declaration.name.text, *extent, origin, frame, frame ? std::optional(*sum) : std::nullopt);
  }
  return 0;
}

void SymbolicEvaluator::declare_dims(const std::vector<ast::DimDeclaration>& declarations) {
  for (const ast::DimDeclaration& d : declarations) {
    uint32_t id = declare_dim(d, ctx.frame->id, nullptr);
    ctx.frame->bind(d.name.text, id ? ctx.dim_value(id) : poison(), d.name.span, Local::Kind::dimension);
  }
}

Value SymbolicEvaluator::global_value(const SourceFile& file, std::string_view name, Span span, bool& found) {
  const Global* g = ctx.program.find(file, name);
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
      ctx.error(Code::E0209, g->span, fmt::format("`{}` depends on itself", name));
      return poison();
    }
    if (is_new) {
      evaluating_.insert(g->dim);
      Frame top;
      top.file = g->file;
      FrameScope scope(ctx, top);
      const std::string* overridden = ctx.program.override_of(name);
      if (overridden) {
        std::vector<const Global*> meant = ctx.program.settable_dims(name);
        if (meant.size() != 1 || meant[0]->dim != g->dim) overridden = nullptr;
      }
      uint32_t id = declare_dim(*g->dim, 0, overridden);
      globals_[g->dim] = id ? ctx.dim_value(id) : poison();
      evaluating_.erase(g->dim);
    }
    return globals_[g->dim];
  }
  if (g->data) {
    ctx.error(Code::E0206, span, fmt::format("`{}` is a data block, not a value", name))
        .help.push_back("inside `train`, use its fields by their names");
    return poison();
  }
  return poison();
}

std::vector<std::string> SymbolicEvaluator::visible_names() const {
  std::vector<std::string> names;
  for (const Local& l : ctx.frame->locals) names.emplace_back(l.name);
  for (const auto& [name, g] : ctx.frame->file->globals) names.push_back(name);
  for (const auto& [name, g] : ctx.program.files[0].globals) names.push_back(name);
  for (const auto& [name, f] : builtins()) names.emplace_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Value SymbolicEvaluator::lookup(std::string_view name, Span span) {
  if (Local* local = ctx.frame->find(name)) {
    local->used = true;
    return local->value;
  }
  bool found = false;
  Value v = global_value(*ctx.frame->file, name, span, found);
  if (found) return v;
  if (name == "true" || name == "false") return Value::of_bool(name == "true");
  if (name == "inf") return Value::of_number(std::numeric_limits<double>::infinity());
  if (name == "pi") return Value::of_number(3.14159265358979323846);
  if (name == "training") return Value::of_bool(ctx.training);
  if (is_option_word(name)) return Value::of_text(ValueKind::symbol, std::string(name));
  if (name == "step" || name == "epoch") {
    TensorValue t;
    t.node = ctx.builder(span).scalar(std::string(name));
    t.dtype = ctx.graph.type(t.node).dtype;
    t.is_run_number = true;
    t.span = ctx.place(span);
    return Value::of(t);
  }
  if (builtins().count(name)) return Value::of_text(ValueKind::builtin, std::string(name));
  if (ctx.frame->file->lost_names.count(std::string(name))) return poison();
  if (ctx.frame->file->tree->has_errors || ctx.frame->file->lacks_imports) return poison();  // it may stand in what could not be read
  if (name == "B" && !ctx.frame->definition) {
    ctx.error(Code::E0113, span, "`B` counts the rows of a batch, and there is no batch here")
        .help.push_back("a size is made of numbers and dims; in `train`, `dim S = B` is the number of rows");
    return poison();
  }
  const std::string familiar = familiar_name_help(name);
  std::string similar = familiar.empty() ? nearest(name, visible_names()) : "";
  std::string message = fmt::format("unknown name `{}`", name);
  if (!similar.empty()) {
    std::string_view kind = "value";
    if (builtins().count(similar)) kind = "function";
    if (const Global* g = ctx.program.find(*ctx.frame->file, similar)) kind = global_kind(*g);
    if (Local* l = ctx.frame->find(similar)) kind = l->kind == Local::Kind::dimension ? "dimension" : "value";
    message += fmt::format("; {} with a similar name exists: `{}`", with_article(kind), similar);
  }
  Diagnostic& d = ctx.error(Code::E0201, span, message);
  if (name == "B") d.help.emplace_back(how_rows_are_named);
  if (!familiar.empty()) d.help.push_back(familiar);
  return poison();
}

}  // namespace nnc
