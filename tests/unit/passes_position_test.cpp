// One position at a time: the proof of causality against what changed tokens change, and the graph of one position against the whole graph.
#include <algorithm>
#include <cmath>

#include "passes/causality.h"
#include "passes/position_graph.h"
#include "tests/position_stepper.h"
#include "tests/random_sequence.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

std::vector<double> at_position(const Tensor& result, int64_t t) {
  const auto v = result.shape[2];
  return {result.values.begin() + t * v, result.values.begin() + (t + 1) * v};
}

/// The first position that sees a token behind it; -1 if none does.
int64_t first_that_looks_ahead(const RandomSequence& made) {
  const Tensor before = interpret(made.graph, made.bindings).outputs.at("result");
  RandomStream random(7, stable_hash("changed tokens"));
  for (int64_t t = 0; t + 1 < made.positions; ++t) {
    Bindings changed = made.bindings;
    Tensor& tokens = changed.inputs.at("tokens");
    for (int64_t s = t + 1; s < made.positions; ++s) tokens.values[size_t(s)] = double((int64_t(tokens.values[size_t(s)]) + 1 + int64_t(random.next_below(uint64_t(made.characters - 1)))) % made.characters);
    const Tensor after = interpret(made.graph, changed).outputs.at("result");
    for (int64_t u = 0; u <= t; ++u)
      if (at_position(before, u) != at_position(after, u)) return u;
  }
  return -1;
}

void check_every_position(const RandomSequence& made, uint64_t seed) {
  PositionObstacle obstacle;
  const std::optional<PositionGraph> position = make_position_graph(made.graph, made.tokens, obstacle);
  INFO("seed " << seed << ":" << made.layers << "\n" << obstacle.reason << "\n" << print_graph(made.graph, nullptr));
  REQUIRE(position);
  CHECK(verify_graph(position->graph).empty());
  const Tensor whole = interpret(made.graph, made.bindings).outputs.at("result");
  PositionStepper stepper(*position, made.bindings, [](const Graph& g, const Bindings& b) { return interpret(g, b); });
  for (int round = 0; round < 2; ++round)  // and again, with what the first round left
    for (int64_t t = 0; t < made.positions; ++t) {
      const Tensor found = stepper.step(t, made.bindings.inputs.at("tokens").values[size_t(t)]);
      const std::vector<double> expected = at_position(whole, t);
      for (size_t i = 0; i < expected.size(); ++i) {
        INFO("position " << t << ", element " << i);
        CHECK(std::abs(found.values[i] - expected[i]) <= 1e-12 * (1 + std::abs(expected[i])));
      }
    }
}

}  // namespace

TEST_CASE("a graph is proved causal exactly where later tokens change nothing", "[passes][position]") {
  int causal = 0, others = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const RandomSequence made = random_sequence(seed, false);
    const Causality causality(made.graph, made.tokens);
    INFO("seed " << seed << ":" << made.layers << (causality.obstacle() ? "\n" + causality.obstacle()->reason : "") << "\n" << print_graph(made.graph, nullptr));
    CHECK(!causality.obstacle() == made.causal);
    CHECK((first_that_looks_ahead(made) < 0) == made.causal);
    (made.causal ? causal : others)++;
  }
  CHECK(causal > 250);
  CHECK(others > 250);
}

TEST_CASE("the graph of one position gives what the whole graph gives there", "[passes][position]") {
  for (uint64_t seed = 0; seed < 600; ++seed) check_every_position(random_sequence(seed, true), seed);
}
