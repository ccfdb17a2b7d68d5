// A definition that nobody calls is called with made-up arguments. Of the errors those that another call could mend are dropped: errors of shapes
// count where two trials with other sizes report them about the same facts, so that they do not depend on sizes.
#include "frontend/trial.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "frontend/fixed_names.h"

namespace nnc {

/// What has been made up for the arguments of one call.
struct Trial::Arguments {
  const Definition& definition;
  uint32_t frame;
  int64_t next, step;                                  ///< the next size, and how far the one behind it is
  std::vector<CallArgument> statics{}, tensors{};
  std::map<std::string, int64_t> sizes{};              ///< by dimension name
  std::map<std::string, uint32_t> ids{};               ///< likewise
  std::optional<std::set<std::string>> fixed{};        ///< fixed_names, once they are asked for

  int64_t size_of(const std::string& name) {
    auto [it, is_new] = sizes.emplace(name, next);
    if (is_new) next += step;
    return it->second;
  }
};

Trial::Trial(SymbolicEvaluator& eval, MadeUpSizes made_up)
    : eval_(eval), ctx_(eval.ctx), tensors_(eval.tensors), made_up_(made_up), outer_(std::exchange(eval.ctx.trial, &notes_)) {}

Trial::~Trial() { ctx_.trial = outer_; }

// The size that a name in a head stands for: that of a dim of the file, else a made-up one.
Dim Trial::size_by_name(const ast::Expr& name, Span span, Arguments& made) {
  const Definition& d = made.definition;
  const Global* g = ctx_.program.find(*d.file, name.text);
  bool found = false;
  Value v = g && g->dim && !made.sizes.count(name.text) ? eval_.global_value(*d.file, name.text, span, found) : poison();
  return v.is(ValueKind::number) ? ctx_.dims.to_dim(v.sum) : Dim{0, {made.size_of(name.text), false}, {}};
}

std::optional<TensorValue> Trial::make_up_tensor(const ast::Parameter& p, Arguments& made) {
  TensorValue t;
  static const std::vector<ast::ExprPtr> nothing;  // a single number of a type
  for (const ast::ExprPtr& e : p.dims ? p.dims->entries : nothing) {
    if (e->kind == ast::ExprKind::ellipsis) {
      ctx_.note_open();
      if (!made.ids.count("...")) made.ids["..."] = ctx_.dims.make("...", {made.size_of("..."), false}, {}, made.frame);
      t.dims.push_back({made.ids["..."], ctx_.dims.extent(made.ids["..."]), {}});
    } else if (e->kind == ast::ExprKind::number && e->is_integer) {
      t.dims.push_back({0, {e->integer, false}, {}});
    } else if (e->kind == ast::ExprKind::name) {
      const Global* g = ctx_.program.find(*made.definition.file, e->text);
      bool found = false;
      Value v = g && g->dim && !made.sizes.count(e->text) ? eval_.global_value(*made.definition.file, e->text, e->span, found) : poison();
      if (v.is(ValueKind::number)) {
        t.dims.push_back(ctx_.dims.to_dim(v.sum));
      } else {
        int64_t n = made.size_of(e->text);
        if (!made.ids.count(e->text)) made.ids[e->text] = ctx_.dims.make(e->text, {n, false}, {}, made.frame);
        t.dims.push_back(n == made_up_.of_static ? Dim{0, {n, false}, {}} : Dim{made.ids[e->text], {n, false}, {}});
      }
    } else {
      return std::nullopt;
    }
  }
  if (p.type && p.type->name.text == "class") {
    t.dtype = DType::i32;
    t.is_class = true;
    const ast::Expr* size = p.type->size.get();
    if (size && size->kind == ast::ExprKind::number)
      t.classes = {0, {size->integer, false}, {}};
    else if (size && size->kind == ast::ExprKind::name)
      t.classes = size_by_name(*size, p.span, made);
    else
      return std::nullopt;
  } else if (p.type) {
    t.dtype = parse_dtype(p.type->name.text).value_or(t.dtype);
  }
  if (!tensors_.check_rows(t.dims, p.span)) return std::nullopt;  // with other sizes it may be small enough
  t.node = ctx_.builder(p.span).input(p.name.text, Type{t.dtype, shape_of(t.dims)});
  t.span = p.span;
  return t;
}

// False where nothing is known of an argument, so that there is no call.
bool Trial::make_up(const ast::Parameter& p, bool is_static, Arguments& made) {
  if (!p.dims && !p.type && !p.name.is_capitalised()) ctx_.note_open();  // a caller may give anything
  if (p.default_value && !p.dims) return true;
  CallArgument c;
  c.name = p.name.text;
  c.span = c.name_span = p.span;
  if (p.name.is_capitalised() && !p.dims) {
    c.value = Value::of_size(is_static ? made_up_.of_static : made.size_of(p.name.text));
    made.sizes[p.name.text] = made_up_.of_static;
  } else if (!p.dims && (is_static || !p.type)) {
    if (!is_static && !made.fixed) made.fixed = fixed_names(ctx_.program, made.definition);
    if (is_static || made.fixed->count(p.name.text)) return false;
    c.value = Value::of(tensors_.constant(0.5, DType::f32, {}, p.span));
  } else {
    std::optional<TensorValue> t = make_up_tensor(p, made);
    if (!t) return false;
    c.value = Value::of(*t);
  }
  (is_static ? made.statics : made.tensors).push_back(std::move(c));
  return true;
}

void Trial::call(const Definition& d) {
  Frame frame;
  frame.file = d.file;
  frame.id = ctx_.next_frame();
  frame.owns_parameters = true;
  FrameScope scope(ctx_, frame);
  Arguments made{d, frame.id, made_up_.step, made_up_.step};
  for (const ast::Parameter& p : d.ast->static_arguments)
    if (!make_up(p, true, made)) return;
  for (const ast::Parameter& p : d.ast->arguments)
    if (!make_up(p, false, made)) return;
  eval_.calls.call_definition(d, made.statics, std::move(made.tensors), d.ast->name.span, "", false);
}

bool try_definition(const Program& program, const Definition& d, Diagnostics& diagnostics) {
  Diagnostics found;
  SymbolicEvaluator eval(program, found, true);
  Trial first(eval);
  first.call(d);
  std::set<std::tuple<Code, uint32_t, uint32_t>> settled;
  if (!first.notes().settled.empty()) {
    Diagnostics ignored;
    SymbolicEvaluator again(program, ignored, true);
    Trial second(again, {84, 42});
    second.call(d);
    for (const auto& [code, file, begin, facts] : first.notes().settled)
      if (second.notes().settled.count({code, file, begin, facts})) settled.emplace(code, file, begin);
  }
  static const std::set<Code> independent{Code::E0009, Code::E0012, Code::E0103, Code::E0106, Code::E0107, Code::E0109, Code::E0110, Code::E0201,
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
      diagnostics.add(x);
  return !eval.budget.too_large;
}

}  // namespace nnc
