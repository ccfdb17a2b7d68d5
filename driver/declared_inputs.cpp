// A training step is called with the fields of its data block, and `nnc run` has arrays; here there is the definition's head
// alone: `model Mlp(image[B, 784]: u8)`. Its sizes are arithmetic on numbers, the file's dims and what `--dim` gives. What cannot
// be known is asked for.
#include "driver/declared_inputs.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "driver/graph_file.h"
#include "frontend/parser.h"

namespace nnc {
namespace {

/// Sizes that names stand for.
class Sizes {
 public:
  explicit Sizes(const Session& session, std::map<std::string, int64_t> given) : known_(std::move(given)) {
    for (const std::string& text : session.options.set) {
      auto [name, value] = split_option("--set", text, "PATH=VALUE");
      if (value.empty() || value.size() > 18 || value.find_first_not_of("0123456789") != std::string::npos) continue;
      known_.try_emplace(name, std::stoll(value));
    }
  }
  void declare(const ast::DimDeclaration& dim) { declared_[dim.name.text] = dim.value.get(); }
  void declare(const ast::Parameter& p) {
    if (p.default_value) declared_[p.name.text] = p.default_value.get();
  }

  std::optional<int64_t> value(const ast::Expr& e) const { return value(e, 0); }

 private:
  std::optional<int64_t> value(const ast::Expr& e, int depth) const {
    using K = ast::ExprKind;
    constexpr int deepest = 200;  // a parameter's default may be its own name
    if (depth > deepest) return std::nullopt;
    if (e.kind == K::number) return e.is_integer ? std::optional(e.integer) : std::nullopt;
    if (e.kind == K::name) {
      if (auto it = known_.find(e.text); it != known_.end()) return it->second;
      auto it = declared_.find(e.text);
      return it == declared_.end() ? std::nullopt : value(*it->second, depth + 1);
    }
    if (e.kind != K::binary) return std::nullopt;
    std::optional<int64_t> a = value(*e.operands[0], depth + 1), b = value(*e.operands[1], depth + 1);
    int64_t result = 0;
    if (!a || !b) return std::nullopt;
    switch (e.binary_op) {
      case ast::BinaryOp::add:
        return __builtin_add_overflow(*a, *b, &result) ? std::nullopt : std::optional(result);
      case ast::BinaryOp::subtract:
        return __builtin_sub_overflow(*a, *b, &result) ? std::nullopt : std::optional(result);
      case ast::BinaryOp::multiply:
        return __builtin_mul_overflow(*a, *b, &result) ? std::nullopt : std::optional(result);
      case ast::BinaryOp::divide:
        return *b <= 0 || *a % *b != 0 ? std::nullopt : std::optional(*a / *b);
      default:
        return std::nullopt;
    }
  }

  std::map<std::string, int64_t> known_;  ///< by the command line
  std::map<std::string, const ast::Expr*> declared_;
};

UserError unknown_size(const ast::Parameter& p, const std::string& what, const std::string& size, const std::string& file) {
  bool name = !size.empty() &&
              size.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == std::string::npos;
  return UserError(Code::E0601, fmt::format("{} of the input `{}` is not known", what, p.name.text), file,
                   fmt::format("{}describe it: `--input \"{}=f32[B, 64]\"`",
                               name ? fmt::format("give the size, `--dim {}=64`, or ", size) : "", p.name.text));
}

ArgumentSpec declared_input(const Session& session, const ast::Parameter& p, const Sizes& sizes) {
  const std::string& file = session.options.file;
  auto text = [&](const ast::Expr& e) { return std::string(session.sources.text(e.span)); };
  ArgumentSpec spec;
  spec.name = p.name.text;
  if (p.type && p.type->name.text == "class") {
    std::optional<int64_t> classes = sizes.value(*p.type->size);
    if (!classes) throw unknown_size(p, fmt::format("`class({})`", text(*p.type->size)), text(*p.type->size), file);
    spec.type.dtype = DType::i32;
    spec.classes = *classes;
  } else if (p.type) {
    std::optional<DType> dtype = parse_dtype(p.type->name.text);
    if (!dtype) throw unknown_size(p, fmt::format("`{}`", p.type->name.text), "", file);
    spec.type.dtype = *dtype;
  }
  if (p.dims)
    for (const ast::ExprPtr& e : p.dims->entries) {
      std::optional<int64_t> size = sizes.value(*e);
      if (size && *size >= 1)
        spec.type.shape.push_back({*size, false});
      else if (e->kind == ast::ExprKind::name && e->text == "B")
        spec.type.shape.push_back({1, true});
      else
        throw unknown_size(p, fmt::format("`{}` in `{}{}`", text(*e), p.name.text, session.sources.text(p.dims->span)), text(*e),
                           file);
    }
  spec.dimension_names.resize(spec.type.shape.size());
  return spec;
}

}  // namespace

BuiltGraph build_declared(Session& session, const DefinitionOptions& o) {
  std::map<std::string, int64_t> dims = parse_dims(o.dims);
  Sizes sizes(session, dims);
  Diagnostics ignored;  // the file was read without errors before
  std::unique_ptr<ast::File> file = parse(session.sources, FileId{1}, ignored);  // the session's own file is its first
  std::vector<const ast::Callable*> found;
  std::vector<std::string> models;
  for (const ast::Item& item : file->items) {
    if (auto* list = std::get_if<ast::DimList>(&item.node))
      for (const ast::DimDeclaration& dim : list->dims) sizes.declare(dim);
    auto* callable = std::get_if<ast::Callable>(&item.node);
    if (!callable) continue;
    if (callable->kind == ast::CallableKind::model) models.push_back(callable->name.text);
    if (o.fn.empty() ? callable->kind == ast::CallableKind::model : callable->name.text == o.fn) found.push_back(callable);
  }
  if (o.fn.empty() && found.size() != 1) {
    if (found.empty()) require_definition(*session.module, o.fn, session.options.file);
    throw UserError(Code::E0601, fmt::format("{} has no train block and {} models", session.options.file, models.size()),
                    session.options.file,
                    fmt::format("name one: `--fn {}`; there are {}", models.front(), fmt::join(models, ", ")));
  }
  std::vector<ArgumentSpec> inputs;
  for (const std::string& text : o.inputs) inputs.push_back(parse_described_input(text));
  // Of several definitions of one name (`fn f(x)` and `fn f(x: class(N))`) the described inputs choose; declarations fill in for
  // a lone one.
  if (found.size() == 1) {
    for (const ast::Parameter& p : found[0]->static_arguments) sizes.declare(p);
    for (const ast::Parameter& p : found[0]->arguments) {
      bool described = std::any_of(inputs.begin(), inputs.end(), [&](const ArgumentSpec& a) { return a.name == p.name.text; });
      if (!described && !p.default_value) inputs.push_back(declared_input(session, p, sizes));
    }
  }
  const std::string& name = o.fn.empty() ? found[0]->name.text : o.fn;
  return session.require(session.module->build_definition(name, inputs, dims, session.diagnostics));
}

}  // namespace nnc
