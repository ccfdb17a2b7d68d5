// A definition where nothing calls it and nobody gives it arrays: what its inputs look like is said by its own head,
// `model Mlp(image[B, 784]: u8)`. The sizes there are evaluated as everywhere, in a frame that knows what a call would bind:
// static arguments, the sizes given on the command line, those of inputs that were described, and `B`, the rows of a batch. What
// is open even then is asked for.
#include "frontend/declared_inputs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace nnc {

namespace {

const ArgumentSpec* find_input(const std::vector<ArgumentSpec>& inputs, const std::string& name) {
  auto it = std::find_if(inputs.begin(), inputs.end(), [&](const ArgumentSpec& a) { return a.name == name; });
  return it == inputs.end() ? nullptr : &*it;
}

/// The names in a size: those that arithmetic is made of.
void collect_names(const ast::Expr& e, std::vector<const ast::Expr*>& names) {
  if (e.kind == ast::ExprKind::name) names.push_back(&e);
  if (e.kind != ast::ExprKind::binary && e.kind != ast::ExprKind::unary) return;
  for (const ast::ExprPtr& o : e.operands) collect_names(*o, names);
}

/// A plain argument, without a shape and a type: a number that the definition computes with, or, by its capital, a size.
bool is_plain(const ast::Parameter& p) { return !p.dims && !p.type; }

/// Where entry `i` of a head's list stands in a value of `rank` dimensions: in front of `...` entries count from the left, behind
/// it from the right. Nothing where the value has no such place.
std::optional<size_t> place_of_entry(const ast::Dims& list, size_t i, size_t rank) {
  bool is_behind = false;
  for (size_t k = 0; k < i; ++k) is_behind = is_behind || list.entries[k]->kind == ast::ExprKind::ellipsis;
  size_t from_right = list.entries.size() - i;
  if (is_behind && from_right > rank) return std::nullopt;
  size_t at = is_behind ? rank - from_right : i;
  return at < rank ? std::optional(at) : std::nullopt;
}

/// How the input may be described: `--input "label=i32[B, 64]"`.
std::string description(const ast::Parameter& p) {
  std::vector<std::string> sizes;
  if (p.dims)
    for (const ast::ExprPtr& e : p.dims->entries) {
      bool is_rows = e->kind == ast::ExprKind::ellipsis || (e->kind == ast::ExprKind::name && e->text == "B");
      bool is_number = e->kind == ast::ExprKind::number && e->is_integer;
      sizes.push_back(is_rows ? "B" : is_number ? std::to_string(e->integer) : "64");
    }
  std::optional<DType> dtype = p.type ? parse_dtype(p.type->name.text) : DType::f32;
  return fmt::format("--input \"{}={}[{}]\"", p.name.text, dtype_name(dtype.value_or(DType::i32)), fmt::join(sizes, ", "));
}

}  // namespace

void report_missing_size(EvaluationContext& ctx, const Definition& d, const ast::Parameter& p) {
  ctx.error(Code::E0202, p.span, fmt::format("`{}` needs `{}`", d.name(), p.name.text))
      .help.push_back(fmt::format("add `--dim {}=64`", p.name.text));
}

// A size given for a name that is no size of the definition would change nothing.
bool check_given_sizes(EvaluationContext& ctx, const Definition& d, const std::map<std::string, int64_t>& dims) {
  std::vector<const ast::Expr*> in_head;
  std::vector<std::string> names;
  auto add = [&](const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const ast::Parameter& p : d.ast->static_arguments) add(p.name.text);
  for (const ast::Parameter& p : d.ast->arguments) {
    if (is_plain(p)) add(p.name.text);
    if (p.dims)
      for (const ast::ExprPtr& e : p.dims->entries) collect_names(*e, in_head);
    if (p.type && p.type->size) collect_names(*p.type->size, in_head);
  }
  for (const ast::Expr* e : in_head)
    if (!ctx.program.find(*d.file, e->text)) add(e->text);
  bool is_good = true;
  for (const auto& [name, size] : dims) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    is_good = false;
    if (const Global* g = ctx.program.find(*ctx.program.main, name); g && g->dim) {
      Diagnostic& e = ctx.error(Code::E0204, g->span, fmt::format("`--dim {}={}`: `{}` is a dim of the file", name, size, name));
      if (std::vector<const Global*> meant = ctx.program.settable_dims(name); meant.size() == 1 && meant[0]->dim == g->dim)
        e.help.push_back(fmt::format("`--set {}={}` changes it", name, size));
      continue;
    }
    std::string similar = nearest(name, names);
    ctx.error(Code::E0204, d.ast->head_span,
              fmt::format("`{}` has no size `{}`{}", d.name(), name,
                          similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)))
        .help.push_back(names.empty() ? "all its sizes are known" : fmt::format("its sizes are {}", fmt::join(names, ", ")));
  }
  return is_good;
}

// A size given by hand and the same size of an input must be one.
bool check_sizes_agree(EvaluationContext& ctx, const Definition& d, const std::vector<ArgumentSpec>& inputs,
                       const std::map<std::string, int64_t>& dims) {
  bool is_good = true;
  std::set<std::string> reported;
  for (const ast::Parameter& p : d.ast->arguments) {
    const ArgumentSpec* a = find_input(inputs, p.name.text);
    if (!a || !p.dims) continue;
    const auto& entries = p.dims->entries;
    for (size_t i = 0; i < entries.size(); ++i) {
      std::optional<size_t> at = place_of_entry(*p.dims, i, a->type.shape.size());
      auto given = dims.find(entries[i]->text);
      if (entries[i]->kind != ast::ExprKind::name || !at || given == dims.end()) continue;
      const Extent& actual = a->type.shape[*at];
      if (actual == Extent{given->second, false} || !reported.insert(given->first).second) continue;
      is_good = false;
      std::string option = fmt::format("--dim {}={}", given->first, given->second);
      Diagnostic& e = ctx.error(Code::E0102, entries[i]->span,
                                fmt::format("dimension `{}` has two sizes: {} by `{}`, {} in `{}`", given->first, given->second,
                                            option, actual.rows ? "the rows of a batch" : std::to_string(actual.size), a->name));
      e.help.push_back(fmt::format("leave `{}` out: `{}` gives this size", option, a->name));
    }
  }
  return is_good;
}

// Of several definitions of one name, described inputs decide, as arguments do at a call.
const Definition* choose_declared(EvaluationContext& ctx, const Global& g, const std::vector<ArgumentSpec>& described) {
  std::vector<const Definition*> possible;
  for (const Definition* d : g.definitions)
    if (std::all_of(d->ast->arguments.begin(), d->ast->arguments.end(), [&](const ast::Parameter& p) {
          const ArgumentSpec* a = find_input(described, p.name.text);
          return !a || (p.type && p.type->name.text == "class") == (a->classes > 0 || !is_float(a->type.dtype));
        }))
      possible.push_back(d);
  if (g.definitions.size() == 1 || possible.empty()) return g.definitions.front();
  if (possible.size() == 1) return possible.front();
  const Definition& first = *possible.front();
  std::vector<std::string> inputs;
  for (const ast::Parameter& p : first.ast->arguments)
    if (!is_plain(p) && !find_input(described, p.name.text)) inputs.push_back(description(p));
  Diagnostic& e =
      ctx.error(Code::E0202, first.ast->head_span,
                fmt::format("`{}` is defined {} times, and its inputs decide which is meant", first.name(), possible.size()));
  e.labels.push_back({possible[1]->ast->head_span, "the other"});
  e.help.push_back(fmt::format("describe them: `{}`", fmt::join(inputs, " ")));
  return nullptr;
}

std::optional<std::vector<ArgumentSpec>> declared_inputs(SymbolicEvaluator& eval, const Definition& d, std::vector<ArgumentSpec> described,
                                                         const std::map<std::string, int64_t>& dims) {
  EvaluationContext& ctx = eval.ctx;
  TensorBuilder& tensors = eval.tensors;
  size_t errors_before = ctx.error_count();
  Frame head;
  head.file = d.file;
  head.id = ctx.next_frame();
  FrameScope scope(ctx, head);
  auto is_open = [&](const std::string& name) { return !ctx.frame->find(name) && !ctx.program.find(*d.file, name); };
  auto bind_size = [&](const std::string& name, Extent extent, Span span) {
    Value v = Value::of_size(extent.size);
    if (extent.rows) v.sum = multiply(number_sum(extent.size), atom_sum(ctx.rows));
    ctx.frame->bind(name, std::move(v), span, Local::Kind::dimension);
  };
  auto bind_argument = [&](const ast::Parameter& p) {  // one that a number stands for
    auto given = dims.find(p.name.text);
    if (given != dims.end()) {
      bind_size(p.name.text, {given->second, false}, p.span);
    } else if (p.default_value) {
      ctx.frame->bind(p.name.text, eval.evaluate(*p.default_value), p.name.span);
    } else {
      report_missing_size(ctx, d, p);
      ctx.frame->bind(p.name.text, poison(), p.name.span);
    }
  };
  for (const ast::Parameter& p : d.ast->static_arguments) bind_argument(p);
  for (const ast::Parameter& p : d.ast->arguments)
    if (is_plain(p) && p.name.is_capitalised()) bind_argument(p);
  for (const auto& [name, size] : dims)
    if (is_open(name)) bind_size(name, {size, false}, d.ast->head_span);
  for (const ast::Parameter& p : d.ast->arguments) {
    const ArgumentSpec* a = find_input(described, p.name.text);
    if (!a || !p.dims) continue;
    const auto& entries = p.dims->entries;
    for (size_t i = 0; i < entries.size(); ++i)
      if (std::optional<size_t> at = place_of_entry(*p.dims, i, a->type.shape.size());
          at && entries[i]->kind == ast::ExprKind::name && is_open(entries[i]->text))
        bind_size(entries[i]->text, a->type.shape[*at], entries[i]->span);
  }
  if (is_open("B")) eval.bind_dimension("B", ctx.rows, d.ast->head_span);

  std::vector<ArgumentSpec> inputs = described;
  for (const ast::Parameter& p : d.ast->arguments) {
    bool is_given = find_input(described, p.name.text) || (is_plain(p) && (p.name.is_capitalised() || dims.count(p.name.text)));
    if (is_given || p.default_value) continue;
    // The size of an entry, once the names in it are known; what is asked for once is not asked for again.
    auto size_of = [&](const ast::Expr& e, std::string_view what, const std::string& help) -> std::optional<Dim> {
      std::vector<const ast::Expr*> names;
      collect_names(e, names);
      for (const ast::Expr* n : names) {
        if (!is_open(n->text)) continue;
        ctx.error(Code::E0202, n->span, fmt::format("`{}` needs `{}`, {} `{}`", d.name(), n->text, what, p.name.text))
            .help.push_back(fmt::format("add `--dim {}={}", n->text, help));
        ctx.frame->bind(n->text, poison(), n->span);
      }
      return eval.evaluate_dim(e);
    };
    ArgumentSpec spec;
    spec.name = p.name.text;
    if (p.type && p.type->name.text == "class") {
      spec.type.dtype = DType::i32;
      if (const ast::Expr* size = p.type->size.get(); size && size->kind != ast::ExprKind::underscore)
        if (std::optional<Dim> classes = size_of(*size, "the number of classes of", "10`")) spec.classes = classes->extent.size;
    } else if (p.type) {
      spec.type.dtype = ctx.declared_type(*p.type).value_or(DType::f32);
    }
    Dims shape;
    if (p.dims)
      for (const ast::ExprPtr& e : p.dims->entries) {
        if (e->kind == ast::ExprKind::ellipsis || e->kind == ast::ExprKind::underscore) {
          bool is_one = e->kind == ast::ExprKind::underscore;
          ctx.error(Code::E0202, e->span,
                    fmt::format("`{}` needs the size{} that `{}` stands for in `{}`", d.name(), is_one ? "" : "s",
                                is_one ? "_" : "...", p.name.text))
              .help.push_back(fmt::format("describe the input: `{}`", description(p)));
          break;  // its description says the other sizes as well
        }
        if (std::optional<Dim> size = size_of(*e, "a size of", fmt::format("64`, or describe the input: `{}`", description(p))))
          shape.push_back(*size);
      }
    tensors.check_rows(shape, p.span);
    for (const Dim& dim : shape) spec.type.shape.push_back(dim.extent);
    spec.dimension_names.resize(shape.size());
    inputs.push_back(std::move(spec));
  }
  if (ctx.error_count() != errors_before) return std::nullopt;
  return inputs;
}

}  // namespace nnc
