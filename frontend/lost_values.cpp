// A `let` inside `repeat` or `if` makes a new name, which ends with the block. One that hides a name from outside and is not read
// there was surely meant to change the outer value, which `update` does (E0214); so was one that hides what a `scan` carries. The walk looks at the text alone: what a call
// makes of an `if` plays no part, so a value that is read in one case is read.
#include <fmt/format.h>

#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "frontend/conditions.h"
#include "frontend/program.h"
#include "frontend/syntax/ast_walk.h"

namespace nnc {

namespace {

class LostValueFinder {
 public:
  explicit LostValueFinder(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}

  void check(const ast::Callable& c) {
    for (const auto* parameters : {&c.static_arguments, &c.arguments})
      for (const ast::Parameter& p : *parameters) add(p.name, true, false);
    visit(c.body);
    names_.clear();
    places_.clear();
  }

 private:
  struct Known {
    std::string_view name;
    Span span;
    size_t block;           // how many are around it
    bool is_value = false;  // `update` can change it
    bool is_let = false;
    bool is_read = false;
    bool is_carried = false;  // by a `scan`
  };

  void add(const ast::Name& name, bool is_value, bool is_let) {
    if (name.empty() || name.text == "_") return;
    if (const Known* old = is_let ? find(name.text) : nullptr; old && old->is_carried) {
      Diagnostic& d = diagnostics_.report(
          Code::E0214, name.span, fmt::format("this `let {0}` makes a new `{0}`, which the next step does not see", name.text));
      d.labels.push_back({old->span, fmt::format("this `{}` is carried", name.text)});
      d.help.push_back(fmt::format("for the next step, write `update {} = ...`", name.text));
      return;
    }
    places_[name.text].push_back(names_.size());
    names_.push_back({name.text, name.span, blocks_, is_value, is_let, false, false});
  }

  Known* find(std::string_view name) {
    auto at = places_.find(name);
    return at == places_.end() || at->second.empty() ? nullptr : &names_[at->second.back()];
  }

  void leave(size_t outside) {
    std::vector<Known> ended(names_.begin() + long(outside), names_.end());
    for (; names_.size() > outside; names_.pop_back()) places_[names_.back().name].pop_back();
    for (const Known& lost : ended) {
      const Known* outer = find(lost.name);
      if (!lost.is_let || lost.is_read || !outer || !outer->is_value) continue;
      Diagnostic& d = diagnostics_.report(
          Code::E0214, lost.span,
          fmt::format("this `let {}` makes a new `{}`, which is lost where its block ends", lost.name, lost.name));
      d.labels.push_back({outer->span, fmt::format("this `{}` stays as it is", lost.name)});
      d.help.push_back(fmt::format("to change the outer one, write `update {} = ...`", lost.name));
    }
  }

  // A block of a `repeat`, an `if` or a `scan`.
  void visit_inner(const ast::Block& block, const ast::Name* variable, const std::vector<ast::Carried>* carried = nullptr) {
    size_t outside = names_.size();
    ++blocks_;
    if (variable) add(*variable, false, false);
    if (carried)
      for (const ast::Carried& c : *carried) {
        add(c.name, true, false);
        if (!c.name.empty() && c.name.text != "_") names_.back().is_carried = true;
      }
    visit(block);
    --blocks_;
    leave(outside);
  }

  void visit(const ast::Block& block) {
    for (const ast::StmtPtr& s : block.statements) visit(*s);
    for (const ast::ExprPtr& e : block.results) visit(*e);
  }

  // The new value of a name: that it is made from the old one is no use of that.
  void visit_new_value(const ast::Expr& e, Known* old) {
    size_t at = old ? size_t(old - names_.data()) : 0;
    bool was_read = old && old->is_read;
    visit(e);
    if (old) names_[at].is_read = was_read;
  }

  void visit(const ast::Stmt& s) {
    using K = ast::StmtKind;
    for (const ast::DimDeclaration& d : s.dims_declared) visit(*d.value);
    if (s.dims)
      for (const ast::ExprPtr& e : s.dims->entries) visit(*e);
    for (const ast::Binding& b : s.bindings) {
      if (b.names.size() == 1 && b.values.size() == 1) {
        Known* old = find(b.names[0].text);
        bool is_same = old && old->is_let && old->block == blocks_ && blocks_ > 0;
        visit_new_value(*b.values[0], is_same ? old : nullptr);
        if (is_same) continue;  // one story: read or lost together
      } else {
        for (const ast::ExprPtr& e : b.values) visit(*e);
      }
      for (const ast::Name& n : b.names) add(n, true, true);
    }
    if (s.kind == K::update) return visit_new_value(*s.value, find(s.name.text));
    if (s.text && (s.kind == K::param || s.kind == K::state))
      for (std::string_view name : names_in(s.text->text))
        if (Known* known = find(name)) known->is_read = true;
    if (s.value) visit(*s.value);
    for (const ast::ExprPtr& e : s.values) visit(*e);
    if (s.kind == K::param || s.kind == K::instance) add(s.name, false, false);
    if (s.kind == K::state) add(s.name, true, false);
    if (s.body) visit_inner(*s.body, s.kind == K::repeat ? &s.name : nullptr);
  }

  void visit(const ast::Expr& e) {
    if (e.kind == ast::ExprKind::name)
      if (Known* known = find(e.text)) known->is_read = true;
    ast::for_each_part(e, [&](const ast::Expr& part) { visit(part); });
    for (const ast::Branch& b : e.branches) {
      if (b.condition) visit(*b.condition);
      visit_inner(b.body, nullptr);
    }
    for (const ast::Carried& c : e.carried) visit(*c.first);
    if (e.body) visit_inner(*e.body, &e.variable, &e.carried);
  }

  Diagnostics& diagnostics_;
  std::vector<Known> names_;
  std::unordered_map<std::string_view, std::vector<size_t>> places_;  // of a name in names_, the latest last
  size_t blocks_ = 0;
};

}  // namespace

void check_lost_values(const Program& program, Diagnostics& diagnostics) {
  LostValueFinder finder(diagnostics);
  for (const SourceFile& file : program.files) {
    if (file.is_std) continue;
    for (const Definition* d : file.definitions)
      if (!d->is_broken) finder.check(*d->ast);
    for (const ast::Test* t : file.tests)
      for (const ast::StmtPtr& s : t->body.statements)
        if (s->item && !s->item->has_errors)
          if (const auto* c = std::get_if<ast::Callable>(&s->item->node)) finder.check(*c);
  }
}

}  // namespace nnc
