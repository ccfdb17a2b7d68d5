// Programs as text: what is printed, read and printed again is the same text, and what is read is the same code, instruction by instruction.
#include <random>

#include "codegen/codegen.h"
#include "engine/step.h"
#include "ir/program_interpreter.h"
#include "passes/fuse.h"
#include "passes/pipeline.h"
#include "tests/run/examples.h"
#include "tests/run/graph_runner.h"
#include "tests/run/guarded_step.h"
#include "tests/run/program_fixture.h"
#include "tests/run/random_graph.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

/// Reads what is printed, with places in source files.
Program read_again(const Program& program, SourceMap& sources) {
  std::string text = print_program(program, &sources);
  Diagnostics diagnostics;
  std::optional<Program> read = parse_program(sources, sources.add("again.nnir", text), diagnostics);
  for (const Diagnostic& d : diagnostics.sorted()) UNSCOPED_INFO(render_text(d, sources, false));
  REQUIRE(read);
  CHECK(print_program(*read, &sources) == text);
  return std::move(*read);
}

void check_same_program(const Program& a, const Program& b) {
  REQUIRE(a.buffers.size() == b.buffers.size());
  for (size_t i = 0; i < a.buffers.size(); ++i) {
    const Buffer &x = a.buffers[i], &y = b.buffers[i];
    INFO("buffer " << x.name);
    CHECK((x.name == y.name && x.kind == y.kind && x.dtype == y.dtype && x.shape == y.shape && x.order == y.order));
    CHECK((x.offset == y.offset && x.bytes == y.bytes && x.field == y.field && x.node == y.node && x.slot == y.slot));
  }
  REQUIRE(a.regions.size() == b.regions.size());
  for (size_t i = 0; i < a.regions.size(); ++i) {
    const Region &x = a.regions[i], &y = b.regions[i];
    CHECK((x.name == y.name && x.scope == y.scope));
    CHECK((x.first == y.first && x.count == y.count && x.rounds == y.rounds && x.reverse == y.reverse));
  }
  REQUIRE(a.persistents.size() == b.persistents.size());
  for (size_t i = 0; i < a.persistents.size(); ++i) {
    const PersistentPlace &x = a.persistents[i], &y = b.persistents[i];
    CHECK((x.buffer == y.buffer && x.persistent.name == y.persistent.name && x.persistent.type == y.persistent.type && x.persistent.kind == y.persistent.kind));
  }
  CHECK((a.fields == b.fields && a.scalars == b.scalars && a.results == b.results && a.outputs == b.outputs));
  CHECK((a.name == b.name && a.rows == b.rows && a.target == b.target && a.arena_bytes == b.arena_bytes && a.persistent_bytes == b.persistent_bytes));
}

/// The same text, the same program, and the same code: with it, the same bits.
void check_text(const Program& program, SourceMap& sources) {
  Program read = read_again(program, sources);
  check_same_program(program, read);
  REQUIRE(read.kernels.size() == program.kernels.size());
  for (size_t k = 0; k < read.kernels.size(); ++k) {  // three digits of them are written; they size the pieces of work
    read.kernels[k].flops = program.kernels[k].flops;
    read.kernels[k].bytes = program.kernels[k].bytes;
  }
  CHECK(emit_text(read, nullptr, CodeStage::llvm) == emit_text(program, nullptr, CodeStage::llvm));
}

}  // namespace

TEST_CASE("random graphs' programs are the same when printed and read", "[run][text]") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Graph graph = RandomGraph(seed).make();
    bool fuse = seed % 3 != 0;
    INFO("NNC_GRAPH_SEED=" << seed << ", fused " << fuse);
    if (fuse)
      optimize_graph(graph);
    else
      finish_groups(graph);
    SourceMap sources;
    VectorLevel level = seed % 4 == 0 ? VectorLevel::avx512 : seed % 4 == 1 ? VectorLevel::portable : VectorLevel::avx2;
    check_text(build_program(graph, {"random", int64_t(1 + seed % 40), level_target(level), {}}), sources);
  }
}

TEST_CASE("the examples' programs are the same when printed and read, for every vector level", "[run][text]") {
  int programs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(NNC_SOURCE_DIR "/examples")) {
    if (entry.path().extension() != ".nn") continue;
    for (VectorLevel level : {VectorLevel::portable, VectorLevel::avx2, VectorLevel::avx512}) {
      INFO(entry.path().string() << ", " << vector_level_name(level));
      Compilation example(level_target(level));
      example.load_file(entry.path().string());
      if (!example.module->has_train()) continue;
      check_text(make_program(make_training_graphs(example).backward, "train", 48, level_target(level)), example.sources);
      ++programs;
    }
  }
  CHECK(programs >= 9);
}

TEST_CASE("a step that was read from text computes the interpreter's numbers", "[run][text]") {
  Graph graph = RandomGraph(7).make();
  std::mt19937_64 random(7);
  Bindings bindings = random_bindings(graph, 5, random);
  optimize_graph(graph);
  Program program = build_program(graph, {"random", 8, host_target_with_cpu(), {}});
  SourceMap sources;
  Results expected = interpret_program(program, bindings), found = interpret_program(read_again(program, sources), bindings);
  CHECK(first_difference(found, expected) == "");
}
