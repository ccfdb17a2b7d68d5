// A walk over the bodies that an option comes to. It has other names there: those of a `let` that is made of it (`let ph, pw = pair(pad)`), and those of the arguments
// that it is given to as it is. Each comparison of one of them with a word is a choice.
#include "frontend/choices.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "frontend/argument_places.h"
#include "frontend/builtin_names.h"
#include "frontend/fixed_names.h"
#include "frontend/syntax/ast_walk.h"

namespace nnc {

namespace {

class Choices {
 public:
  explicit Choices(const Program& program) : program_(program) {}

  void find(const Definition& d, std::string_view option) {
    if (!seen_.emplace(&d, option).second) return;
    auto outer_names = std::exchange(names_, {std::string(option)});
    auto outer_file = std::exchange(file_, d.file);
    for (const ast::Condition& c : d.ast->conditions) visit(*c.test);
    visit(d.ast->body);
    names_ = std::move(outer_names);
    file_ = outer_file;
  }

  std::vector<std::string> words{};

 private:
  void visit(const ast::Block& block) {
    for (const ast::StmtPtr& s : block.statements) visit(*s);
    for (const ast::ExprPtr& e : block.results) visit(*e);
  }

  void visit(const ast::Stmt& s) {
    for (const ast::DimDeclaration& d : s.dims_declared) visit(*d.value);
    for (const ast::Binding& b : s.bindings) {
      for (const ast::ExprPtr& e : b.values) visit(*e);
      if (std::ranges::any_of(b.values, [&](const ast::ExprPtr& e) { return mentions(*e, names_); }))
        for (const ast::Name& n : b.names) names_.insert(n.text);
    }
    if (s.value) visit(*s.value);
    if (s.body) visit(*s.body);
  }

  void visit(const ast::Expr& e) {
    if (e.kind == ast::ExprKind::binary && (e.binary_op == ast::BinaryOp::equal || e.binary_op == ast::BinaryOp::not_equal)) {
      note(*e.operands[0], *e.operands[1]);
      note(*e.operands[1], *e.operands[0]);
    }
    if (e.kind == ast::ExprKind::call) visit_call(e, 0);
    for (const ast::Stage& stage : e.stages)
      if (stage.callee->kind == ast::ExprKind::call) visit_call(*stage.callee, 1);
    ast::for_each_part(e, [&](const ast::Expr& part) { visit(part); });
    for (const ast::Branch& b : e.branches) {
      if (b.condition) visit(*b.condition);
      visit(b.body);
    }
  }

  void note(const ast::Expr& name, const ast::Expr& word) {
    if (name.kind != ast::ExprKind::name || !names_.count(name.text) || word.kind != ast::ExprKind::name) return;
    const std::string& text = word.text;
    const bool is_word = is_option_word(text) || is_builtin_name(text) || text == "true" || text == "false";
    if (is_word && !names_.count(text) && std::ranges::find(words, text) == words.end()) words.push_back(text);
  }

  /// What the option is handed to. `piped` values come before the arguments that are written.
  void visit_call(const ast::Expr& e, size_t piped) {
    const ast::Expr& callee = *e.operands[0];
    const Global* g = callee.kind == ast::ExprKind::name ? program_.find(*file_, callee.text) : nullptr;
    if (!g) return;
    for (const Definition* d : g->definitions) {
      const bool has_statics = d->ast->has_static_list;
      std::vector<CallArgument> given(has_statics ? 0 : piped);
      for (const ast::Argument& a : e.arguments) given.emplace_back().name = written_name(a);
      const std::vector<ast::Parameter>& parameters = has_statics ? d->ast->static_arguments : d->ast->arguments;
      const std::vector<size_t> places = argument_places(parameters, given);
      for (size_t i = 0; i < e.arguments.size(); ++i) {
        const size_t place = places[given.size() - e.arguments.size() + i];
        const ast::Expr& value = *e.arguments[i].value;
        if (place < parameters.size() && value.kind == ast::ExprKind::name && names_.count(value.text)) find(*d, parameters[place].name.text);
      }
    }
  }

  const Program& program_;
  std::set<std::pair<const Definition*, std::string>> seen_;  // looked up, never iterated
  std::set<std::string> names_;                               // of the option, in the body at hand
  const SourceFile* file_ = nullptr;
};

}  // namespace

std::vector<std::string> choices_of(const Program& program, const Definition& definition, std::string_view option) {
  Choices choices(program);
  choices.find(definition, option);
  return std::move(choices.words);
}

std::string choices_help(const Program& program, const SourceFile& file, const ast::Expr& callee, std::string_view option) {
  const Global* g = callee.kind == ast::ExprKind::name ? program.find(file, callee.text) : nullptr;
  std::string list;
  for (const Definition* d : g ? g->definitions : std::vector<const Definition*>{}) {
    for (const std::string& word : choices_of(program, *d, option)) list += fmt::format("{}`{}`", list.empty() ? "" : ", ", word);
    if (!list.empty()) return fmt::format("words that `{}` of `{}` goes by: {}", option, callee.text, list);
  }
  return "";
}

}  // namespace nnc
