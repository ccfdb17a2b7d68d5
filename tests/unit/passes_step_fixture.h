// Whole training steps from programs in text: what the tests of passes over steps share.
#pragma once

#include "passes/pipeline.h"
#include "tests/unit/frontend_fixture.h"

namespace nnc::test {

/// A program whose forward graph and rules can be made into a step.
struct StepSource {
  frontend_tests::Loaded loaded;
  BuiltGraph forward;
  std::vector<UpdateRule> rules;

  explicit StepSource(const std::string& text) : loaded(frontend_tests::load(text)) {
    INFO(text << loaded.errors());
    REQUIRE(loaded.module);
    std::optional<BuiltGraph> built = loaded.module->build_train_graph(loaded.diagnostics);
    INFO(loaded.errors());
    REQUIRE(built);
    forward = *std::move(built);
    rules = loaded.module->build_update_rules(forward.parameters, loaded.diagnostics);
    REQUIRE(loaded.errors() == "");
  }

  /// With gradients and updates.
  Graph step(Graph graph, bool hand_on = false) {
    std::vector<std::pair<std::string, const Graph*>> views;
    for (const UpdateRule& r : rules) views.push_back({r.parameter, &r.rule});
    add_backward(graph, views, loaded.module->train().clip_norm, loaded.diagnostics, hand_on);
    REQUIRE(loaded.errors() == "");
    return graph;
  }
  Graph step() { return step(forward.graph); }
};

/// Rows of 6 numbers, a class and a target; `model` defines `Net`, `clauses` stand in the train block.
inline std::string step_text(const std::string& model, const std::string& clauses) {
  return "data rows {\n  x[6] = csv(\"rows.csv\", columns: 0..6)\n  label : class(3) = csv(\"rows.csv\", columns: 6)\n  target = csv(\"rows.csv\", columns: 7)\n}\n" + model +
         "\ntrain {\n  data rows, batch: 8\n" + clauses + "\n  epochs 1\n}\n";
}

}  // namespace nnc::test
