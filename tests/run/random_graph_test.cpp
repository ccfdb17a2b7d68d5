// Random well-typed graphs with a loss: values, gradients and updated parameters as compiled code gives them, against the 64-bit interpreter. Each graph
// is run unfused and fused, at several numbers of rows, with one and with several threads. The seed is printed with any failure; NNC_GRAPH_SEED and
// NNC_GRAPH_COUNT choose others.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "base/source.h"
#include "passes/differentiate.h"
#include "passes/pipeline.h"
#include "tests/run/graph_runner.h"
#include "tests/run/random_graph.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

bool well_conditioned(const Results& r) {
  auto fine = [](const Tensor& t) {
    for (double v : t.values)
      if (!std::isfinite(v) || std::fabs(v) > 1e3) return false;
    return true;
  };
  for (const auto& [name, t] : r.outputs)
    if (!fine(t)) return false;
  for (const auto& [name, t] : r.updates)
    if (!fine(t)) return false;
  return true;
}

}  // namespace

TEST_CASE("random graphs with gradients and updates: compiled equals interpreted", "[run][random]") {
  uint64_t first = setting("NNC_GRAPH_SEED", 1), count = setting("NNC_GRAPH_COUNT", 60);
  int checked = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    std::mt19937_64 random(seed * 977);
    Graph graph = RandomGraph(seed).make();
    REQUIRE(verify_graph(graph).empty());
    int64_t rows = int64_t(1 + seed % 19);
    Bindings bindings = random_bindings(graph, rows, random);
    Results expected = interpret(graph, bindings);
    if (!well_conditioned(expected)) continue;
    ++checked;
    for (int variant = 0; variant < 3; ++variant) {
      INFO("NNC_GRAPH_SEED=" << seed << " NNC_GRAPH_COUNT=1, variant " << variant << ", rows " << rows);
      GraphRunOptions options;
      options.optimize = variant > 0;
      options.capacity = rows + int64_t(seed % 5);
      options.threads = variant == 2 ? 3 : 1;
      options.parallel_all = variant == 2;
      check_same(run_compiled(graph, bindings, options), expected, 1e-4);
    }
  }
  CHECK(checked * 2 > int(count));
}
