// The graph of one position, compiled, against the whole graph in the 64-bit interpreter.
#include <cmath>

#include "tests/position_stepper.h"
#include "tests/random_sequence.h"
#include "tests/run/graph_runner.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

TEST_CASE("compiled code of one position gives what the whole graph gives there", "[run][position]") {
  for (uint64_t seed = 0; seed < 25; ++seed) {
    const RandomSequence made = random_sequence(seed, true);
    PositionObstacle obstacle;
    const std::optional<PositionGraph> position = make_position_graph(made.graph, made.tokens, obstacle);
    INFO("seed " << seed << ":" << made.layers << "\n" << print_graph(made.graph, nullptr));
    REQUIRE(position);
    const Tensor whole = interpret(made.graph, made.bindings).outputs.at("result");
    PositionStepper stepper(*position, made.bindings, [](const Graph& graph, const Bindings& bindings) { return run_compiled(graph, bindings); });
    const int64_t width = whole.shape[2];
    for (int64_t t = 0; t < made.positions; ++t) {
      const Tensor found = stepper.step(t, made.bindings.inputs.at("tokens").values[size_t(t)]);
      for (int64_t i = 0; i < width; ++i) {
        const double expected = whole.values[size_t(t * width + i)];
        INFO("position " << t << ", element " << i);
        CHECK(std::abs(found.values[size_t(i)] - expected) <= 2e-5 * (1 + std::abs(expected)));
      }
    }
  }
}
