// `using sgd(...)`, `using adam(...) for "*.bias"`: the most specific pattern that matches a parameter's full name wins, that is
// the one with the most letters beside its stars; the later of two equals.
#include "frontend/update_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "frontend/lowering.h"

namespace nnc {

bool matches_pattern(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] == '*') {
    for (size_t skip = 0; skip <= name.size(); ++skip)
      if (matches_pattern(pattern.substr(1), name.substr(skip))) return true;
    return false;
  }
  return !name.empty() && name[0] == pattern[0] && matches_pattern(pattern.substr(1), name.substr(1));
}

std::vector<UpdateRule> make_update_rules(const Program& program, const std::vector<ParameterSpec>& parameters,
                                          Diagnostics& diagnostics, std::vector<ScalarSpec>* scalars) {
  struct Group {
    const ast::Argument* item;
    std::string prefix;
    int letters;  // of the pattern, -1 without
    bool is_used = false;
  };
  std::vector<Group> groups;
  for (const ast::StmtPtr& s : program.main->train->statements) {
    if (s->kind != ast::StmtKind::clause || s->name.text != "using") continue;
    for (const ast::Argument& a : s->arguments) {
      int letters = -1;
      if (a.pattern)
        letters = int(std::count_if(a.pattern->text.begin(), a.pattern->text.end(), [](char c) { return c != '*'; }));
      groups.push_back({&a, groups.empty() ? "using" : fmt::format("using{}", groups.size() + 1), letters, false});
    }
  }
  std::vector<UpdateRule> rules;
  auto build = [&](Group& g, const ParameterSpec& p) {
    g.is_used = true;
    Diagnostics found;
    std::optional<UpdateRule> rule = Lowering(program, found, {true}).build_update_rule(*g.item, g.prefix, p, scalars);
    for (const Diagnostic& d : found.items()) {
      bool is_known = std::any_of(diagnostics.items().begin(), diagnostics.items().end(),
                                  [&](const Diagnostic& k) { return k.code == d.code && k.span == d.span; });
      if (!is_known) diagnostics.add(d);
    }
    return rule;
  };
  if (parameters.empty()) {
    ParameterSpec probe;
    probe.persistent.name = "weight";
    probe.persistent.type.shape = {{2, false}, {3, false}};
    for (Group& g : groups) build(g, probe);
    return rules;
  }
  for (const ParameterSpec& p : parameters) {
    if (p.persistent.kind != PersistentKind::parameter) continue;
    Group* best = nullptr;
    for (Group& g : groups) {
      if (g.letters >= 0 && !matches_pattern(g.item->pattern->text, p.persistent.name)) continue;
      if (!best || g.letters >= best->letters) best = &g;
    }
    if (!best) {
      if (!groups.empty())
        diagnostics
            .report(Code::E0306, groups[0].item->span, fmt::format("no optimizer is responsible for `{}`", p.persistent.name))
            .help.push_back("add one without `for`, or freeze the parameter");
      return {};
    }
    if (std::optional<UpdateRule> rule = build(*best, p)) rules.push_back(std::move(*rule));
  }
  for (const Group& g : groups)
    if (!g.is_used && g.item->pattern)
      diagnostics.report(Code::E0306, g.item->pattern->span,
                         fmt::format("no trainable parameter matches \"{}\"", g.item->pattern->text));
  return rules;
}

}  // namespace nnc
