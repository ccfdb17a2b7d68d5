// Barriers between kernels: where threads would meet a value that is not there yet, or overwrite one that others still read.
#include "base/diagnostics.h"
#include "ir/graph.h"
#include "ir/kernel_code.h"
#include "ir/program.h"
#include "ir/program_regions.h"
#include "passes/fuse.h"
#include "passes/pipeline.h"
#include "tests/program_text.h"
#include "tests/unit/catch.h"

using namespace nnc;

TEST_CASE("a kernel on one thread waits before it overwrites what a team reads", "[schedule]") {
  Graph graph;
  Builder b(graph);
  NodeId bias = b.parameter({"bias", {DType::f32, {Extent{512}}}, PersistentKind::parameter, {}});
  graph.outputs.push_back({"y", b.unary(Op::tanh, b.broadcast(bias, {Extent{256}, Extent{512}}, {1}))});
  graph.updates.push_back({"bias", b.mul(bias, 0.5)});
  finish_groups(graph);
  Program program = build_program(graph, {"overwrites", 4, target_with_level(VectorLevel::portable), {}});
  auto writes_bias = [&](const Kernel& k) {
    const auto* map = std::get_if<MapKernel>(&k.body);
    for (const auto& block : map->blocks)
      for (const Instruction& i : block.code)
        if (i.kind == Instruction::Kind::store && program[i.access.buffer].name == "bias") return true;
    return false;
  };
  size_t reader = program.kernels.size(), writer = 0;
  for (size_t k = 0; k < program.kernels.size(); ++k) {
    if (program.kernels[k].parallel) reader = std::min(reader, k);
    if (writes_bias(program.kernels[k])) writer = k;
  }
  INFO(print_program(program, nullptr));
  REQUIRE(reader < writer);
  REQUIRE_FALSE(program.kernels[writer].parallel);
  bool waits = false;
  for (size_t k = reader + 1; k <= writer; ++k) waits = waits || program.kernels[k].barrier_before;
  CHECK(waits);
}

TEST_CASE("a state without elements is read before it is overwritten, too", "[schedule]") {
  Graph graph;
  Builder b(graph);
  const Type none{DType::i32, {Extent{9}, Extent{0}}};
  const NodeId values = b.parameter({"values", none, PersistentKind::state, {}}), places = b.parameter({"places", none, PersistentKind::state, {}});
  const NodeId three = b.constant(3, none);  // the update stands before what reads the state
  Attributes labels;
  labels.axes = {0};
  labels.extents = {Extent{12}};
  labels.lhs = labels.rhs = {0, 1};
  labels.out = {2};
  graph.outputs.push_back({"sums", graph.add(Op::scatter_add, {values, places}, labels)});
  graph.updates.push_back({"values", three});
  finish_groups(graph);
  const Program program = build_program(graph, {"nothing", 1, target_with_level(VectorLevel::portable), {}});  // which is verified
  CHECK(program.kernels.size() >= 3);
}

TEST_CASE("a team waits for the last kernels of a round before the first of the next", "[schedule][regions]") {
  // The first kernel of a round reads slices alone, so that nothing before the region makes it wait; but the last of the round before still reads what it overwrites.
  Diagnostics diagnostics;
  SourceMap sources;
  std::optional<Graph> graph = parse_graph(sources, sources.add("scan.nnir", R"(graph @main {
  %0 = input @x : f32[B, 3, 512]
  %1 = constant 0 : f32[B]
  %2 = scan(%1, %0) carried 1 sliced 1 steps 3 {
    %0 = input @carry.0 : f32[B]
    %1 = input @slice.0 : f32[B, 512]
    %2 = tanh(%1) : f32[B, 512] group 0
    %3 = reduce_sum(%2) axes [1] : f32[B] group 1
    %4 = add(%0, %3) : f32[B] group 2
    output "carry.0" %4
  } : bool[]
  %3 = result(%2) 0 : f32[B]
  output "last" %3
}
)"), diagnostics);
  REQUIRE(graph);
  finish_groups(*graph);
  const Program program = build_program(*graph, {"rounds", 256, target_with_level(VectorLevel::portable), {}});
  INFO(print_program(program, nullptr));
  REQUIRE(program.regions.size() == 1);
  const Kernel& first = program.kernels[program.regions[0].first];
  CHECK(first.parallel);
  CHECK(first.barrier_before);
}

TEST_CASE("who stores parts of a buffer does so in any order, who stores the same element in the order of the kernels", "[schedule]") {
  // The first kernel waits for the last one; the second need not wait for the first, unless they meet.
  auto order = [](const std::string& place) {
    Program program = test::program_of(R"(program @parts {
  target any portable, 4 rows planned
  arena 128 bytes, persistent 0 bytes

  field "x" : f32[B, 6] field 0
  temporary "t" : f32[B, 6] at 0, 96 bytes
  output "y" : f32[B, 6] slot 0

  kernel first  # one thread
    for i < B, j < 3:
      v0 = load t[6*i + j] : f32
      y[6*i + j] <- v0 : f32

  kernel second  # one thread
    for i < B, j < 3:
      v0 = constant 1 : f32
      )" + place + R"( <- v0 : f32

  kernel last  # one thread
    for i < B, j < 6:
      v0 = load x[row(i), j] : f32
      t[6*i + j] <- v0 : f32
}
)", false);
    order_kernels(program);
    std::string names;
    for (const Kernel& kernel : program.kernels) names += kernel.name + " ";
    return names;
  };
  CHECK(order("y[6*i + j + 3]") == "second last first ");
  CHECK(order("y[6*i + j + 2]") == "last first second ");
}

TEST_CASE("who reads the part of a share does not read what all shares come to", "[schedule]") {
  for (const bool both : {false, true}) {
    Graph graph;
    Builder b(graph);
    const NodeId part = b.reduce(Op::reduce_sum, b.input("x", {DType::f32, {{1, true}, {4}}}), {0});
    graph.add_persistent({"partial.0", {DType::f32, {{4}}}, PersistentKind::partial, {}});
    Attributes a;
    a.text = "partial.0";
    const NodeId whole = graph.add(Op::exchange, {part}, a);
    const NodeId w = b.parameter({"w", {DType::f32, {{4}, {4}}}, PersistentKind::parameter, {}});
    graph.outputs.push_back({"of_all", b.contract(whole, w, {0}, {0, 1}, {1})});
    if (both) graph.outputs.push_back({"of_share", b.contract(part, w, {0}, {1, 0}, {1})});
    graph.updates = {{"partial.0", part}};
    optimize_graph(graph);
    const Program program = build_program(graph, {"part", 4, target_with_level(VectorLevel::portable), {}});
    INFO(print_program(program, nullptr));
    std::vector<size_t> readers;
    for (size_t k = 0; k < program.kernels.size(); ++k) {
      bool reads = false;
      for_each_access(program.kernels[k], [&](const Instruction& i) { reads = reads || (reads_memory(i) && program[i.access.buffer].name == "partial.0"); });
      if (reads) readers.push_back(k);
    }
    CHECK(readers.size() == 1);
    CHECK(segments_of(program) == std::vector<size_t>{0, readers.front()});
  }
}

TEST_CASE("a step stops before the region in which a sum is read", "[schedule][regions]") {
  const Program program = nnc::test::program_of(R"(program @share {
  target any portable, 4 rows planned
  arena 0 bytes, persistent 128 bytes

  persistent "partial.0" : f32[4] at 0, 16 bytes, partial
  output "first" : f32[4] slot 0
  output "y" : f32[4] slot 1
  output "z" : f32[4] slot 2

  kernel part  # one thread
    for i < 4:
      v0 = constant 1 : f32
      partial.0[i] <- v0 : f32

  kernel before  # one thread
    for i < 4:
      v0 = constant 1 : f32
      first[i] <- v0 : f32

  region turns 3 rounds

    kernel one  # one thread
      for i < 4:
        v0 = constant 1 : f32
        y[i] <- v0 : f32

    kernel reads  # one thread
      for i < 4:
        v0 = load partial.0[i] : f32
        z[i] <- v0 : f32
}
)", false);
  CHECK(segments_of(program) == std::vector<size_t>{0, 2});
}
