// Names in definitions, whether anyone calls them or not: a walk over the tree with scopes of names alone.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "frontend/builtin_names.h"
#include "frontend/choices.h"
#include "frontend/conditions.h"
#include "frontend/program.h"
#include "frontend/syntax/ast_walk.h"
#include "frontend/syntax/familiar_names.h"

namespace nnc {

namespace {

constexpr size_t max_errors = 100;

/// The names in scope, the latest last; a long block has very many.
class NameStack {
 public:
  void push_back(std::string name) {
    ++counts_[name];
    names_.push_back(std::move(name));
  }
  void pop_back() {
    --counts_[names_.back()];
    names_.pop_back();
  }
  void resize(size_t size) {
    while (names_.size() > size) pop_back();
  }
  bool contains(const std::string& name) const {
    auto it = counts_.find(name);
    return it != counts_.end() && it->second > 0;
  }
  size_t size() const { return names_.size(); }
  auto begin() const { return names_.begin(); }
  auto end() const { return names_.end(); }

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, int> counts_;
};

class NameChecker {
 public:
  NameChecker(const Program& program, const SourceFile& file, Diagnostics& diagnostics)
      : program_(program), file_(file), diagnostics_(diagnostics) {}

  void check(const ast::Callable& c) {
    for (const ast::Parameter& p : c.static_arguments) names_.push_back(p.name.text);
    for (const ast::Parameter& p : c.arguments) {
      names_.push_back(p.name.text);
      // Names in a head are bound by the call.
      if (p.dims)
        for (const ast::ExprPtr& e : p.dims->entries) bind_names(*e);
      if (p.type && p.type->size) bind_names(*p.type->size);
    }
    if (c.kind == ast::CallableKind::optimizer) {
      names_.push_back("value");
      names_.push_back("grad");
    }
    for (const ast::Condition& condition : c.conditions) {
      visit(*condition.test);
      if (condition.reason) check_reason(*condition.reason);
    }
    for (const ast::Parameter& p : c.static_arguments)
      if (p.default_value) visit(*p.default_value);
    visit(c.body);
  }

 private:
  void bind_names(const ast::Expr& e) {
    if (e.kind == ast::ExprKind::name) names_.push_back(e.text);
    for (const ast::ExprPtr& o : e.operands) bind_names(*o);
  }

  void check_reason(const ast::Text& reason) {
    for (std::string_view name : names_in(reason.text)) {
      ast::Expr e;
      e.kind = ast::ExprKind::name;
      e.text = name;
      e.span = reason.span;
      check_name(e);
    }
  }

  static bool is_stored(const ast::Stmt& s) { return s.kind == ast::StmtKind::param || s.kind == ast::StmtKind::state; }

  void visit(const ast::Block& block) {
    size_t before = names_.size();
    for (const ast::StmtPtr& s : block.statements) visit(*s);
    for (const ast::ExprPtr& e : block.results) visit(*e);
    names_.resize(before);
  }

  void visit(const ast::Stmt& s) {
    for (const ast::DimDeclaration& d : s.dims_declared) {
      visit(*d.value);
      names_.push_back(d.name.text);
    }
    if (s.dims)
      for (const ast::ExprPtr& e : s.dims->entries) visit(*e);
    if (s.kind == ast::StmtKind::repeat) {
      if (s.value) visit(*s.value);
      names_.push_back(s.name.text);
      if (s.body) visit(*s.body);
      names_.pop_back();
      return;
    }
    if (is_stored(s) && s.text) check_reason(*s.text);
    if (s.value) visit(*s.value);
    for (const ast::ExprPtr& e : s.values) visit(*e);
    for (const ast::Binding& b : s.bindings) {
      for (const ast::ExprPtr& e : b.values) visit(*e);
      for (const ast::Name& n : b.names) names_.push_back(n.text);
    }
    if (is_stored(s) || s.kind == ast::StmtKind::instance)
      names_.push_back(s.name.text);
    if (s.body) visit(*s.body);
  }

  void visit(const ast::Expr& e) {
    if (e.kind == ast::ExprKind::name) check_name(e);
    if (e.kind == ast::ExprKind::call) return visit_call(e);
    ast::for_each_part(e, [&](const ast::Expr& part) { visit(part); });
    for (const ast::Branch& b : e.branches) {
      if (b.condition) visit(*b.condition);
      visit(b.body);
    }
    if (e.kind == ast::ExprKind::scan) visit_scan(e);
  }

  void visit_scan(const ast::Expr& e) {
    for (const ast::Carried& c : e.carried) {
      if (c.dims)
        for (const ast::ExprPtr& d : c.dims->entries) visit(*d);
      visit(*c.first);
    }
    const size_t before = names_.size();
    names_.push_back(e.variable.text);
    for (const ast::Carried& c : e.carried) names_.push_back(c.name.text);
    visit(*e.body);
    names_.resize(before);
  }

  void visit_call(const ast::Expr& e) {
    const ast::Expr& callee = *e.operands[0];
    visit(callee);
    for (const ast::Argument& a : e.arguments) {
      if (a.name && a.value->kind == ast::ExprKind::name)
        check_name(*a.value, names_.contains(callee.text) ? nullptr : &callee, a.name->text);
      else
        visit(*a.value);
    }
  }

  /// `callee` is whom it is given to, as that option, if it is.
  void check_name(const ast::Expr& e, const ast::Expr* callee = nullptr, std::string_view option = "") {
    static const std::set<std::string, std::less<>> plain{"true", "false", "inf",  "pi",   "training", "step", "epoch"};
    const std::string& name = e.text;
    if (names_.contains(name)) return;
    if (program_.find(file_, name) || is_builtin_name(name) || is_option_word(name) || plain.count(name)) return;
    if ((file_.tree->has_errors || file_.lacks_imports) && may_be_lost(name)) return;
    if (file_.lost_names.count(name)) return;
    if (diagnostics_.items().size() >= max_errors) return;  // and looking for what was meant takes a while
    std::vector<std::string> candidates(names_.begin(), names_.end());
    for (const SourceFile* f : {&file_, &program_.files[0]})
      for (const auto& [n, g] : f->globals) candidates.push_back(n);
    for (std::string_view n : builtin_names()) candidates.emplace_back(n);
    std::sort(candidates.begin(), candidates.end());
    const std::string familiar = familiar_name_help(name);
    std::string similar = familiar.empty() ? nearest(name, candidates) : "";
    std::string message = fmt::format("unknown name `{}`", name);
    if (!similar.empty()) {
      std::string_view kind = is_builtin_name(similar) ? "function" : "value";
      if (const Global* g = program_.find(file_, similar)) kind = global_kind(*g);
      if (names_.contains(similar))
        kind = similar[0] >= 'A' && similar[0] <= 'Z' ? "dimension" : "value";
      message += fmt::format("; {} with a similar name exists: `{}`", with_article(kind), similar);
    }
    Diagnostic& d = diagnostics_.report(Code::E0201, e.span, message);
    if (name == "B") d.help.emplace_back(how_rows_are_named);
    if (!familiar.empty()) d.help.push_back(familiar);
    if (std::string words = callee ? choices_help(program_, file_, *callee, option) : ""; !words.empty()) d.help.push_back(std::move(words));
  }

  // Whether the name may be defined in what could not be read: in a file that is used, or where its letters stand once more.
  bool may_be_lost(const std::string& name) const {
    if (file_.lacks_imports) return true;
    std::string_view text = program_.sources->text(file_.id);
    auto continues = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
    int times = 0;
    for (size_t at = text.find(name); at != std::string_view::npos && times < 2; at = text.find(name, at + 1)) {
      size_t end = at + name.size();
      times += (at == 0 || !continues(text[at - 1])) && (end == text.size() || !continues(text[end]));
    }
    return times > 1;
  }

  const Program& program_;
  const SourceFile& file_;
  Diagnostics& diagnostics_;
  NameStack names_;
};

}  // namespace

std::string_view global_kind(const Global& g) {
  if (g.dim) return "dimension";
  if (g.data) return "data block";
  NNC_CHECK(!g.definitions.empty(), "a name that stands for nothing");
  return kind_of(*g.definitions[0]);
}

std::string_view kind_of(const Definition& d) {
  switch (d.ast->kind) {
    case ast::CallableKind::layer:
      return "layer";
    case ast::CallableKind::model:
      return "model";
    case ast::CallableKind::optimizer:
      return "optimizer";
    case ast::CallableKind::fn:
      return "function";
  }
  NNC_UNREACHABLE("kind of definition");
}

std::string with_article(std::string_view noun) {
  bool is_vowel = std::string_view("aeiou").find(noun[0]) != std::string_view::npos;
  return fmt::format("{} {}", is_vowel ? "an" : "a", noun);
}

void check_names(const Program& program, Diagnostics& diagnostics) {
  for (const SourceFile& file : program.files) {
    if (file.is_std) continue;
    for (const Definition* d : file.definitions)
      if (!d->is_broken) NameChecker(program, file, diagnostics).check(*d->ast);
  }
}

}  // namespace nnc
