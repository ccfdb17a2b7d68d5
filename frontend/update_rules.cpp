// `using sgd(...)`, `using adam(...) for "*.bias"`: the most specific pattern that matches a parameter's full name wins, that is
// the one with the most letters beside its stars; the later of two equals. Two that could never both be used are an error.
#include "frontend/update_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "frontend/update_rule_builder.h"

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

namespace {

/// The rule of a parameter that differs from the rule's own in its name alone, which only the names of states hold: "optimizer.m.fc1.weight" (stored_values.cpp).
UpdateRule rule_of_twin(UpdateRule rule, const std::string& parameter) {
  const std::string ending = "." + rule.parameter;
  auto rename = [&](std::string& name) {
    NNC_CHECK(name.ends_with(ending), name + " is no state of " + rule.parameter);
    name.replace(name.size() - rule.parameter.size(), rule.parameter.size(), parameter);
  };
  for (Persistent& p : rule.rule.persistents) rename(p.name);
  for (uint32_t i = 0; i < rule.rule.size(); ++i)
    if (Node& node = rule.rule[NodeId{i}]; node.op == Op::parameter) rename(node.attributes.text);
  for (Update& u : rule.rule.updates)
    if (u.name != "value") rename(u.name);
  for (ParameterSpec& state : rule.states) rename(state.persistent.name);
  rule.parameter = parameter;
  return rule;
}

/// One optimizer of a `using` clause.
struct Group {
  const ast::Argument* item;
  std::string prefix;
  int letters;                     // of the pattern, -1 without
  std::vector<std::string> names;  // of the parameters that it updates
  std::vector<std::pair<const ParameterSpec*, UpdateRule>> built = {};  // the rules of parameters no two of which are alike
  bool covers(std::string_view name) const { return !item->pattern || matches_pattern(item->pattern->text, name); }
};

// Two optimizers for the same parameters: one of them would do nothing, whatever the model is.
bool report_twins(const std::vector<Group>& groups, Diagnostics& diagnostics) {
  bool found = false;
  for (size_t i = 1; i < groups.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const ast::Argument &first = *groups[j].item, &second = *groups[i].item;
      if (first.pattern.has_value() != second.pattern.has_value() ||
          (first.pattern && first.pattern->text != second.pattern->text))
        continue;
      Diagnostic& d = diagnostics.report(Code::E0306, first.pattern ? second.pattern->span : second.span,
                                         first.pattern ? fmt::format("two optimizers are for \"{}\"", first.pattern->text)
                                                       : "two optimizers are for all parameters");
      d.labels.push_back({first.pattern ? first.pattern->span : first.span, "the first"});
      d.help.push_back(first.pattern ? "remove one of them"
                                     : "remove one, or say what it is for: `sgd(lr: 0.01) for \"*.bias\"`");
      found = true;
      break;
    }
  return found;
}

// An optimizer without work: nothing matches its pattern, or others take what does.
void report_idle(const Group& idle, const std::vector<Group>& groups, const std::vector<ParameterSpec>& parameters,
                 Diagnostics& diagnostics) {
  const ast::Text& pattern = *idle.item->pattern;
  std::vector<std::pair<const Group*, std::string>> takers;  // with the first name that each takes
  for (const ParameterSpec& p : parameters) {
    const std::string& name = p.persistent.name;
    if (p.persistent.kind != PersistentKind::parameter || !idle.covers(name)) continue;
    for (const Group& g : groups)
      if (std::find(g.names.begin(), g.names.end(), name) != g.names.end() &&
          std::none_of(takers.begin(), takers.end(), [&](const auto& t) { return t.first == &g; }))
        takers.emplace_back(&g, name);
  }
  if (takers.empty()) {
    diagnostics.report(Code::E0306, pattern.span, fmt::format("no trainable parameter matches \"{}\"", pattern.text));
    return;
  }
  Diagnostic& d =
      diagnostics.report(Code::E0306, pattern.span,
                         fmt::format("no parameter is left for \"{}\": other patterns take all that match it", pattern.text));
  for (const auto& [g, name] : takers) d.labels.push_back({g->item->pattern->span, fmt::format("takes `{}`", name)});
  d.notes.push_back("the pattern with the most letters wins, of two with as many the later");
}

}  // namespace

std::vector<UpdateRule> make_update_rules(const Program& program, const std::vector<ParameterSpec>& parameters,
                                          Diagnostics& diagnostics, std::vector<ScalarSpec>* scalars) {
  std::vector<Group> groups;
  for (const ast::StmtPtr& s : program.main->train->statements) {
    if (s->kind != ast::StmtKind::clause || s->name.text != "using") continue;
    for (const ast::Argument& a : s->arguments) {
      int letters = -1;
      if (a.pattern)
        letters = int(std::count_if(a.pattern->text.begin(), a.pattern->text.end(), [](char c) { return c != '*'; }));
      groups.push_back({&a, groups.empty() ? "using" : fmt::format("using{}", groups.size() + 1), letters, {}});
    }
  }
  bool has_twins = report_twins(groups, diagnostics);
  std::vector<UpdateRule> rules;
  auto build = [&](Group& g, const ParameterSpec& p) {
    g.names.push_back(p.persistent.name);
    for (const auto& [twin, rule] : g.built)  // layers repeat: a rule is evaluated once for all parameters of one type
      if (twin->persistent.type == p.persistent.type && twin->dimension_names == p.dimension_names)
        return scalars ? std::nullopt : std::optional(rule_of_twin(rule, p.persistent.name));  // whoever asks for scalars looks at no rule
    Diagnostics found;
    std::optional<UpdateRule> rule = UpdateRuleBuilder(program, found, p, scalars).build(*g.item, g.prefix);
    for (const Diagnostic& d : found.items()) {
      bool is_known = std::any_of(diagnostics.items().begin(), diagnostics.items().end(),
                                  [&](const Diagnostic& k) { return k.code == d.code && k.span == d.span; });
      if (!is_known) diagnostics.add(d);
    }
    if (rule) g.built.emplace_back(&p, *rule);
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
      if (!g.covers(p.persistent.name)) continue;
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
    if (g.names.empty() && g.item->pattern && !has_twins) report_idle(g, groups, parameters, diagnostics);
  return rules;
}

}  // namespace nnc
