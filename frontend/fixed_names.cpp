// A walk over the tree against the flow of values: an expression is `fixed` where its value must be known at compile time, and
// then all the names in it are. Names reach others through `let`, `update` and the arguments of fns, so the walk is repeated over
// all definitions that it came to until it finds nothing more.
#include "frontend/fixed_names.h"

#include <algorithm>
#include <functional>
#include <map>

#include "frontend/argument_places.h"
#include "frontend/builtin_names.h"
#include "frontend/syntax/ast_walk.h"

namespace nnc {

namespace {

constexpr size_t max_definitions = 128;  // what is called beyond asks for all that it is given; calls go no deeper than 120

class FixedNames {
 public:
  explicit FixedNames(const Program& program) : program_(program) {}

  std::set<std::string> find(const Definition& d) {
    names_[&d];
    order_ = {&d};
    for (size_t i = 0; i < order_.size(); ++i) visit(*order_[i]);  // finds what is called
    do {
      has_changed_ = false;
      for (size_t i = order_.size(); i-- > 0;) visit(*order_[i]);  // the called before their callers: few rounds
    } while (has_changed_);
    return names_[&d];
  }

 private:
  void add(const std::string& name) { has_changed_ = names_[current_].insert(name).second || has_changed_; }

  bool is_fixed(const std::string& name) { return names_[current_].count(name) > 0; }

  void visit(const Definition& d) {
    current_ = &d;
    locals_.clear();
    for (const auto* parameters : {&d.ast->static_arguments, &d.ast->arguments})
      for (const ast::Parameter& p : *parameters) {
        locals_.insert(p.name.text);
        if (p.name.is_capitalised() && !p.dims) add(p.name.text);  // a size
        if (p.default_value) visit(*p.default_value, is_fixed(p.name.text));
      }
    for (const ast::Condition& c : d.ast->conditions) visit(*c.test, true);
    visit(d.ast->body, false);
  }

  void visit(const ast::Block& block, bool fixed) {
    for (const ast::StmtPtr& s : block.statements) visit(*s);
    for (const ast::ExprPtr& e : block.results) visit(*e, fixed);
  }

  void visit(const ast::Stmt& s) {
    using K = ast::StmtKind;
    for (const ast::DimDeclaration& d : s.dims_declared) visit(*d.value, true);
    if (s.dims)
      for (const ast::ExprPtr& e : s.dims->entries) visit(*e, true);
    for (const ast::Binding& b : s.bindings) {
      bool fixed = std::any_of(b.names.begin(), b.names.end(), [&](const ast::Name& n) { return is_fixed(n.text); });
      for (const ast::ExprPtr& e : b.values) visit(*e, fixed);
      for (const ast::Name& n : b.names) locals_.insert(n.text);
    }
    if (s.value)
      visit(*s.value,
            s.kind == K::repeat || s.kind == K::state || s.kind == K::param || (s.kind == K::update && is_fixed(s.name.text)));
    if (s.body) visit(*s.body, false);
  }

  void visit(const ast::Expr& e, bool fixed) {
    using K = ast::ExprKind;
    if (e.kind == K::name && fixed) add(e.text);
    for (const ast::Branch& b : e.branches) {
      if (b.condition) visit(*b.condition, true);
      visit(b.body, fixed);
    }
    if (e.kind == K::call) return visit_call(e, nullptr, fixed);
    if (e.kind == K::pipe) {
      for (auto stage = e.stages.rbegin(); stage != e.stages.rend(); ++stage) visit_call(*stage->callee, &fixed, fixed);
      return visit(*e.operands[0], fixed);
    }
    bool holds_sizes = e.kind == K::select || e.kind == K::view;  // beside the value that they are for
    ast::for_each_part(e, [&](const ast::Expr& part) { visit(part, fixed || (holds_sizes && &part != e.operands[0].get())); });
  }

  // A call, or a stage to which a value flows: *piped then says whether that value must be known.
  void visit_call(const ast::Expr& e, bool* piped, bool fixed) {
    const ast::Expr* callee = &e;
    const std::vector<ast::Argument>*statics = nullptr, *arguments = nullptr;
    static const std::vector<ast::Argument> none;
    if (callee->kind == ast::ExprKind::call) {
      arguments = &callee->arguments;
      callee = callee->operands[0].get();
    }
    if (callee->kind == ast::ExprKind::call) {
      statics = &callee->arguments;
      callee = callee->operands[0].get();
    }
    bool is_global = callee->kind == ast::ExprKind::name && !locals_.count(callee->text);
    const Global* g = is_global ? program_.find(*current_->file, callee->text) : nullptr;
    if (callee->kind != ast::ExprKind::name) visit(*callee, true);
    if (callee->kind == ast::ExprKind::name && locals_.count(callee->text)) add(callee->text);
    if (g && !g->definitions.empty()) {
      if (g->definitions[0]->ast->has_static_list && !statics) std::swap(statics, arguments);
      for (const Definition* d : g->definitions) {
        visit_arguments(*d, d->ast->static_arguments, statics ? *statics : none, nullptr, fixed);
        visit_arguments(*d, d->ast->arguments, arguments ? *arguments : none, piped, fixed);
      }
      return;
    }
    static const std::set<std::string, std::less<>> that_ask_for_sizes{"classes", "ones", "stack", "zeros"};
    bool is_plain = is_global && is_builtin_name(callee->text) && !that_ask_for_sizes.count(callee->text);
    for (const auto* list : {statics, arguments})
      for (const ast::Argument& a : list ? *list : none) visit(*a.value, fixed || !is_plain);
    if (piped) *piped = fixed || !is_plain;
  }

  void visit_arguments(const Definition& d, const std::vector<ast::Parameter>& parameters,
                       const std::vector<ast::Argument>& arguments, bool* piped, bool fixed) {
    bool is_known = names_.count(&d) > 0, is_beyond = !is_known && order_.size() >= max_definitions;
    if (!is_known && !is_beyond) {
      order_.push_back(&d);
      has_changed_ = true;
    }
    const std::set<std::string> names = is_beyond ? std::set<std::string>{} : names_[&d];  // a copy: the walk may add to it
    auto is_parameter_fixed = [&](size_t place) {
      return is_beyond || place >= parameters.size() || names.count(parameters[place].name.text) > 0;
    };
    std::vector<CallArgument> given(piped ? 1 : 0);  // what arrives is the first by place
    for (const ast::Argument& a : arguments) given.emplace_back().name = written_name(a);
    std::vector<size_t> places = argument_places(parameters, given);
    if (piped) *piped = *piped || fixed || is_parameter_fixed(places[0]);
    for (size_t i = 0; i < arguments.size(); ++i)
      visit(*arguments[i].value, fixed || is_parameter_fixed(places[piped ? i + 1 : i]));
  }

  const Program& program_;
  std::map<const Definition*, std::set<std::string>> names_;  // of the definitions come to; looked up, never iterated
  std::vector<const Definition*> order_;                      // as they were come to
  const Definition* current_ = nullptr;
  std::set<std::string> locals_;
  bool has_changed_ = false;
};

}  // namespace

std::set<std::string> fixed_names(const Program& program, const Definition& definition) {
  return FixedNames(program).find(definition);
}

bool mentions(const ast::Expr& e, const std::set<std::string>& names) {
  bool found = e.kind == ast::ExprKind::name && names.count(e.text);
  ast::for_each_part(e, [&](const ast::Expr& part) { found = found || mentions(part, names); });
  return found || std::ranges::any_of(e.branches, [&](const ast::Branch& b) {
           return (b.condition && mentions(*b.condition, names)) || mentions(b.body, names);
         });
}

bool mentions(const ast::Block& block, const std::set<std::string>& names) {
  auto in_value = [&](const ast::ExprPtr& part) { return part && mentions(*part, names); };
  return std::ranges::any_of(block.results, in_value) || std::ranges::any_of(block.statements, [&](const ast::StmtPtr& s) {
           return in_value(s->value) || (s->body && mentions(*s->body, names)) ||
                  std::ranges::any_of(s->bindings, [&](const ast::Binding& b) { return std::ranges::any_of(b.values, in_value); });
         });
}

}  // namespace nnc
