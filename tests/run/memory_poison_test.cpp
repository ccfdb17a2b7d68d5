// The memory plan under poison: every temporary is overwritten once it has been read for the last time (passes/poison.h), so that whoever reads it after all,
// or shares memory with it while it lives, computes from NaN. Two steps are run: in the second one everything that a step must store before it reads it
// is poison as well. A sound program gives the same bits as without; a broken plan does not, which the last tests prove.

#include <fmt/format.h>

#include "engine/step.h"
#include "ir/program_interpreter.h"
#include "passes/fuse.h"
#include "passes/pipeline.h"
#include "passes/poison.h"
#include "tests/run/examples.h"
#include "tests/run/graph_runner.h"
#include "tests/run/guarded_step.h"
#include "tests/run/random_graph.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

bool has_temporaries(const Program& program) {
  return std::any_of(program.buffers.begin(), program.buffers.end(), [](const Buffer& b) { return b.kind == BufferKind::temporary && b.bytes > 0; });
}

/// Two steps, plain and poisoned: the same bits.
void check_poisoned(const Program& program, const Bindings& bindings, int threads) {
  Program poisoned = program;
  poison_dead(poisoned);
  REQUIRE(verify_program(poisoned) == std::vector<std::string>{});
  CHECK(poisoned.arena_bytes == program.arena_bytes);
  CHECK((poisoned.kernels.size() > program.kernels.size()) == has_temporaries(program));
  std::optional<Results> expected = GuardedStep(program, Placement::planned).run(bindings, {threads, 2, 0, 0});
  std::optional<Results> found = GuardedStep(poisoned, Placement::planned).run(bindings, {threads, 2, 0, 0});
  REQUIRE((expected && found));
  CHECK(first_difference(*found, *expected) == "");
}

/// A chain whose values die one after the other, so that the plan reuses their memory: y = tanh(tanh(... x)), each a kernel.
Graph chain(int length) {
  Graph g;
  Builder b(g);
  NodeId v = b.input("x", {DType::f32, {Extent{1, true}, Extent{19}}});
  std::vector<NodeId> values;
  for (int i = 0; i < length; ++i) values.push_back(v = b.unary(Op::tanh, i >= 2 ? b.add(v, values[size_t(i) - 2]) : v));
  g.outputs.push_back({"y", v});
  return g;
}

Program chain_program() {
  Graph graph = chain(6);
  finish_groups(graph);
  return build_program(graph, {"chain", 9, host_target_with_cpu(), {}});
}

/// Pairs of temporaries that are alive at the same time.
std::vector<std::pair<size_t, size_t>> conflicts(const Program& program) {
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t i = 0; i < program.buffers.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      if (program.buffers[i].kind != BufferKind::temporary || program.buffers[j].kind != BufferKind::temporary) continue;
      Program broken = program;
      broken.buffers[i].offset = broken.buffers[j].offset;
      if (!verify_program(broken).empty()) pairs.emplace_back(i, j);
    }
  return pairs;
}

}  // namespace

TEST_CASE("random training steps read nothing that is dead or not yet stored", "[run][poison]") {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    Graph graph = RandomGraph(seed).make();
    int64_t rows = int64_t(1 + seed % 11);
    std::mt19937_64 random(seed * 977);
    Bindings bindings = random_bindings(graph, rows, random);
    bool fuse = seed % 2 == 0, split = seed % 4 >= 2;
    INFO("NNC_GRAPH_SEED=" << seed << ", rows " << rows << ", fused " << fuse << ", split " << split);
    if (fuse)
      optimize_graph(graph);
    else
      finish_groups(graph);
    Program program = build_program(graph, {"random", rows + int64_t(seed % 3), host_target_with_cpu(), {}});
    if (split) share_all_kernels(program);
    check_poisoned(program, bindings, split ? 3 : 1);
  }
}

TEST_CASE("the examples' training steps read nothing that is dead or not yet stored", "[run][poison]") {
  for_each_example([&](const std::string& file, const Graph& graph) {
    INFO(file);
    std::mt19937_64 random(5);
    Bindings bindings = random_bindings(graph, 23, random);
    check_poisoned(make_program(graph, "train", 23, host_target_with_cpu()), bindings, 2);
  });
}

TEST_CASE("poison changes nothing for the interpreter of programs", "[run][poison]") {
  Program program = chain_program(), poisoned = program;
  poison_dead(poisoned);
  std::mt19937_64 random(3);
  Bindings bindings = random_bindings(chain(6), 7, random);
  CHECK(first_difference(interpret_program(poisoned, bindings), interpret_program(program, bindings)) == "");
}

TEST_CASE("poison shows every pair of temporaries that the plan lets overlap while both live", "[run][poison]") {
  Program program = chain_program();
  std::mt19937_64 random(3);
  Bindings bindings = random_bindings(chain(6), 7, random);
  Results expected = *GuardedStep(program, Placement::planned).run(bindings, {1, 2, 0, 0});
  auto pairs = conflicts(program);
  REQUIRE(pairs.size() >= 4);
  int shown = 0;
  for (auto [i, j] : pairs) {
    Program broken = program;
    broken.buffers[i].offset = broken.buffers[j].offset;
    poison_dead(broken);
    std::optional<Results> found = GuardedStep(broken, Placement::planned).run(bindings, {1, 2, 0, 0});
    REQUIRE(found.has_value());
    INFO(program.buffers[i].name << " over " << program.buffers[j].name);
    CHECK(first_difference(*found, expected) != "");
    ++shown;
  }
  CHECK(shown == int(pairs.size()));
}

TEST_CASE("poison shows a temporary that is read before a step has stored it", "[run][poison]") {
  // The first kernel moved to the end: in the second step the others would still find what it left in the first, were it not poison.
  Program program = chain_program();
  REQUIRE(program.kernels.size() > 2);
  std::rotate(program.kernels.begin(), program.kernels.begin() + 1, program.kernels.end());
  CHECK(!verify_program(program).empty());
  poison_dead(program);
  std::mt19937_64 random(3);
  std::optional<Results> found = GuardedStep(program, Placement::planned).run(random_bindings(chain(6), 7, random), {1, 2, 0, 0});
  REQUIRE(found.has_value());
  CHECK(std::isnan(found->outputs.at("y").values[0]));
}
