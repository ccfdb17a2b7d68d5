// The module: everything is lowered once when it is loaded, which is also the check; what later requests ask for is made from the
// same tree.
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "frontend/data_blocks.h"
#include "frontend/definition_builder.h"
#include "frontend/frontend.h"
#include "frontend/test_builder.h"
#include "frontend/train_builder.h"
#include "frontend/trial.h"
#include "frontend/update_rules.h"

namespace nnc {

namespace {

constexpr size_t max_shown = 100;  // of one program, as of one file: more are never read

// Errors of several passes over one program, each cause once.
class Merged {
 public:
  explicit Merged(Diagnostics& target) : target_(target) {}
  void take(const Diagnostics& found) {
    auto before = seen_;  // one pass may have several things to say about one place
    for (const Diagnostic& d : found.items()) {
      if (target_.items().size() >= max_shown) return;
      std::pair key{d.code, std::pair{d.span.file.value, d.span.begin}};
      if (!before.count(key)) target_.add(d);
      seen_.insert(key);
    }
  }

 private:
  Diagnostics& target_;
  std::set<std::pair<Code, std::pair<uint32_t, uint32_t>>> seen_;
};

/// Evaluation reads what training has: all else would be neither initialised nor saved.
void check_trained(const BuiltGraph& eval, const BuiltGraph& train, Diagnostics& diagnostics) {
  for (const ParameterSpec& p : eval.parameters) {
    const std::string& name = p.persistent.name;
    if (std::ranges::any_of(train.parameters, [&](const ParameterSpec& q) { return q.persistent.name == name; })) continue;
    auto node = std::ranges::find_if(eval.graph.nodes(),
                                     [&](const Node& n) { return n.op == Op::parameter && n.attributes.text == name; });
    Span span = node == eval.graph.nodes().end() ? Span{} : node->span;
    diagnostics
        .report(Code::E0203, span, fmt::format("`{}` exists only where `training` is false, so no run trains or saves it", name))
        .help.push_back("declare it before the `if`");
  }
}

class ProgramModule : public Module {
 public:
  Program program;
  TrainSpec spec;
  std::optional<BuiltGraph> train_graph;

  bool has_train() const override { return program.main->train != nullptr; }
  const TrainSpec& train() const override { return spec; }
  std::optional<BuiltGraph> build_train_graph(Diagnostics&) const override { return train_graph; }
  std::vector<UpdateRule> build_update_rules(const std::vector<ParameterSpec>& parameters,
                                             Diagnostics& diagnostics) const override {
    return make_update_rules(program, parameters, diagnostics, nullptr);
  }
  std::optional<BuiltGraph> build_eval_graph(Diagnostics& diagnostics) const override {
    if (!has_train()) return std::nullopt;
    return TrainBuilder(program, diagnostics, false).build(spec);
  }
  std::optional<BuiltGraph> build_predict_graph(Diagnostics& diagnostics) const override {
    if (!has_train()) return std::nullopt;
    return DefinitionBuilder(program, diagnostics).build_predict(spec);
  }
  std::optional<BuiltGraph> build_definition(const std::string& name, const std::vector<ArgumentSpec>& actual,
                                             const std::map<std::string, int64_t>& dims,
                                             Diagnostics& diagnostics) const override {
    return DefinitionBuilder(program, diagnostics).build(name, actual, dims);
  }
  std::optional<BuiltGraph> build_declared(const std::string& name, const std::vector<ArgumentSpec>& described,
                                           const std::map<std::string, int64_t>& dims, Diagnostics& diagnostics) const override {
    return DefinitionBuilder(program, diagnostics).build_declared(name, described, dims);
  }
  std::vector<std::string> model_names() const override {
    std::vector<std::string> names;
    for (const Definition* d : program.main->definitions)
      if (d->ast->kind == ast::CallableKind::model) names.push_back(d->name());
    return names;
  }
  std::vector<std::string> definition_names() const override {
    std::vector<std::string> names;
    for (const Definition* d : program.main->definitions)
      if (d->ast->kind != ast::CallableKind::optimizer) names.push_back(d->name());
    return names;
  }
  std::vector<Test> build_tests(Diagnostics& diagnostics) const override {
    std::vector<Test> tests;
    for (const ast::Test* t : program.main->tests) tests.push_back(TestBuilder(program, diagnostics).build(*t));
    return tests;
  }
};

}  // namespace

std::unique_ptr<Module> load_module(SourceMap& sources, FileId file, const LoadOptions& options, Diagnostics& diagnostics) {
  auto module = std::make_unique<ProgramModule>();
  Program& program = module->program;
  program.sources = &sources;
  Diagnostics syntax;
  load_program(program, file, options, syntax);
  Merged merged(diagnostics);
  merged.take(syntax);
  auto check = [&](auto&& body) {
    Diagnostics found;
    body(found);
    merged.take(found);
    return !found.has_errors();
  };
  // With other values than those asked for, what the file's own lines say would be about another program.
  if (!check([&](Diagnostics& d) { check_overrides(program, d); })) return nullptr;
  check([&](Diagnostics& d) { check_names(program, d); });
  program.loses_values = !check([&](Diagnostics& d) { check_lost_values(program, d); });
  check([&](Diagnostics& d) { check_globals(program, d); });
  std::set<const Definition*> finished;
  if (module->has_train()) {
    check([&](Diagnostics& d) { module->spec = TrainBuilder(program, d, true).evaluate_spec(); });
    check([&](Diagnostics& d) {
      TrainBuilder builder(program, d, true);
      module->train_graph = builder.build(module->spec);
      finished = builder.evaluator().calls.finished();
    });
    std::vector<ParameterSpec> none;
    check([&](Diagnostics& d) {
      make_update_rules(program, module->train_graph ? module->train_graph->parameters : none, d, &module->spec.scalars);
    });
    if (module->train_graph) {
      for (const Output& o : module->train_graph->graph.outputs)
        if (o.name != "loss") module->spec.reports.push_back({o.name, module->spec.report_every});
      check([&](Diagnostics& d) {
        if (std::optional<BuiltGraph> eval = module->build_eval_graph(d)) check_trained(*eval, *module->train_graph, d);
      });
    }
  }
  check([&](Diagnostics& d) {
    for (const ast::Test* t : program.main->tests) {
      TestBuilder test(program, d);
      test.build(*t);
      finished.insert(test.finished().begin(), test.finished().end());
    }
  });
  for (const Definition* d : program.main->definitions)
    if (d->ast->kind != ast::CallableKind::optimizer && !finished.count(d)) {
      bool too_large = false;
      check([&](Diagnostics& found) { too_large = !try_definition(program, *d, found); });
      if (too_large) break;  // each of the others may take as long before it is given up
    }
  if (diagnostics.has_errors()) {
    module->train_graph.reset();
    return nullptr;
  }
  for (const SourceFile& f : program.files)
    NNC_CHECK(!f.tree->has_errors, "an error of syntax that nobody was told of in " + f.path);
  return module;
}

}  // namespace nnc
