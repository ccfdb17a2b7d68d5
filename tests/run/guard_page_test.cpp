// Kernels between guard pages: no kernel may touch a byte outside its buffers, be it only to read it, at either end, on any vector level, at any number
// of rows from 1 to the capacity. Buffers that end at a guard are aligned to their elements and no more, which is the worst that fields may be
// and worse than the ABI allows for the rest, so that a wrongly claimed alignment shows as well. Data fields get no slack here although readers
// provide some (FileBytes::readable_past_end): kernels do without.
//
// NNC_GUARD_ALL=1 runs every element type at every size at both ends.
#include <cstdlib>

#include <fmt/format.h>

#include "engine/step.h"
#include "passes/fuse.h"
#include "passes/pipeline.h"
#include "passes/unroll.h"
#include "runtime/data/file_bytes.h"
#include "tests/run/examples.h"
#include "tests/run/graph_runner.h"
#include "tests/run/guarded_step.h"
#include "tests/run/op_sweep.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

/// Every operation a kernel of its own.
Program plain_program(Graph graph, int64_t capacity, VectorLevel level) {
  unroll_scans(graph);
  finish_groups(graph);
  return build_program(graph, {"guarded", capacity, level_target(level), {}});
}

void check_sweep(VectorLevel level, DType dtype, int64_t n, Placement placement) {
  constexpr int64_t capacity = 35;
  int64_t lanes = level_target(level).f32_lanes();
  Sweep sweep(dtype, n);
  for (const OpSweep& s : sweeps) s.add(sweep);
  GuardedStep step(plain_program(sweep.graph, capacity, level), placement);
  for (int64_t rows : {int64_t(1), int64_t(3), lanes - 1, lanes, lanes + 1, capacity - 2, capacity}) {
    INFO(dtype_name(dtype) << ", n " << n << ", rows " << rows << ", " << vector_level_name(level) << ", placement " << int(placement));
    std::mt19937_64 random(uint64_t(n * 1000 + rows));
    Bindings bindings = sweep.bind(rows, random);
    std::optional<Results> found = step.run(bindings);
    INFO(step.fault());
    REQUIRE(found.has_value());
    // What is computed is op_sweep_test.cpp's business; that it was computed from these rows, found backwards, is seen here.
    Results expected = interpret(sweep.graph, bindings);
    for (const Output& o : sweep.graph.outputs) {
      if (sweep.graph[o.node].op != Op::maximum && sweep.graph[o.node].op != Op::broadcast && sweep.graph[o.node].op != Op::gather) continue;
      Results one, other;
      one.outputs[o.name] = found->outputs.at(o.name);
      other.outputs[o.name] = expected.outputs.at(o.name);
      std::optional<Difference> d = find_difference(one, other, 1e-6);
      INFO(o.name);
      CHECK(!d.has_value());
    }
  }
}

/// A program whose only kernel reads (or writes) `past` elements beyond its buffer's end, before its beginning if negative.
Program stray_program(VectorLevel level, BufferKind kind, int64_t past, bool write) {
  ProgramFixture f(level, 4);
  Shape shape{Extent{37}};
  if (kind == BufferKind::field) shape = {Extent{1, true}, Extent{37}};
  BufferId from = f.buffer("from", kind, DType::f32, shape);
  f.buffer("to", BufferKind::output, DType::f32, {Extent{37}});
  bool field = kind == BufferKind::field;
  std::string stray = fmt::format("from[{}i + {}]", field ? "row(b), " : "", past);
  f.kernels(fmt::format(R"(
  kernel stray  # one thread, after a barrier
    for {}i < 37  (vector along i):
      v0 = {} : f32
      {} <- v0 : f32
)", field ? "b < B, " : "", write ? "constant 1" : "load " + stray, write ? stray : "to[i]"));
  if (kind == BufferKind::persistent) f.program.persistents.push_back({{"from", {DType::f32, shape}, PersistentKind::parameter, {}}, from});
  return f.program;
}

Bindings stray_bindings() {
  Bindings b;
  b.rows = 4;
  b.inputs["from"] = make_tensor(DType::f32, {4, 37});
  b.persistents["from"] = make_tensor(DType::f32, {37});
  return b;
}

/// x[i] times w[i, j] for all of them: matrices of one program, which share the functions of their tiles where they may.
Graph products(const std::vector<int64_t>& rows, int64_t inner, const std::vector<int64_t>& columns) {
  Graph g;
  Builder b(g);
  for (size_t i = 0; i < rows.size(); ++i) {
    NodeId x = b.parameter({fmt::format("x{}", i), {DType::f32, {Extent{rows[i]}, Extent{inner}}}, PersistentKind::parameter, {}});
    for (size_t j = 0; j < columns.size(); ++j) {
      NodeId w =
          b.parameter({fmt::format("w{}_{}", i, j), {DType::f32, {Extent{inner}, Extent{columns[j]}}}, PersistentKind::parameter, {}});
      g.outputs.push_back({fmt::format("y{}_{}", i, j), b.contract(x, w, {0, 1}, {1, 2}, {0, 2})});
    }
  }
  return g;
}

bool everything() { return std::getenv("NNC_GUARD_ALL") != nullptr; }

}  // namespace

TEST_CASE("no operation touches a byte outside its buffers", "[run][guard]") {
  for (VectorLevel level : host_levels()) {
    int64_t lanes = level_target(level).f32_lanes();
    for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean}) {
      if (everything()) {
        for (int64_t n : {int64_t(0), int64_t(1), lanes - 1, lanes, lanes + 1, int64_t(33), int64_t(257)})
          for (Placement placement : {Placement::each_at_end, Placement::each_at_begin}) check_sweep(level, dtype, n, placement);
        continue;
      }
      check_sweep(level, dtype, lanes + 1, Placement::each_at_end);
      if (dtype != DType::f32) continue;
      check_sweep(level, dtype, 2 * lanes - 1, Placement::each_at_end);
      check_sweep(level, dtype, lanes + 1, Placement::each_at_begin);
    }
  }
}

TEST_CASE("a computed index that leaves its table touches the table alone", "[run][guard]") {
  Graph graph;
  Builder b(graph);
  NodeId rows = b.input("rows", {DType::f32, {Extent{1, true}, Extent{5}}}), index = b.input("index", {DType::i32, {Extent{1, true}}});
  NodeId table = b.parameter({"table", {DType::f32, {Extent{9}, Extent{5}}}, PersistentKind::parameter, {}});
  Attributes gather, scatter;
  gather.axes = scatter.axes = {0};
  gather.lhs = scatter.out = {0, 1};
  gather.rhs = scatter.rhs = {2};
  gather.out = scatter.lhs = {2, 1};
  scatter.extents = graph.type(table).shape;
  graph.outputs.push_back({"read", graph.add(Op::gather, {table, index}, gather)});
  graph.updates.push_back({"table", graph.add(Op::scatter_add, {rows, index}, scatter)});
  std::mt19937_64 random(13);
  Bindings bindings = random_bindings(graph, 6, random);
  bindings.inputs.at("index").values = {0, 8, -1, 9, -2147483647, 2147483647};
  for (VectorLevel level : host_levels())
    for (Placement placement : {Placement::each_at_end, Placement::each_at_begin}) {
      INFO(vector_level_name(level) << ", placement " << int(placement));
      GuardedStep step(plain_program(graph, 6, level), placement);
      std::optional<Results> found = step.run(bindings);
      INFO(step.fault());
      REQUIRE(found.has_value());
    }
}

TEST_CASE("products whose edges differ in stride or mask share no tile", "[run][guard]") {
  for (VectorLevel level : host_levels()) {
    int64_t lanes = level_target(level).f32_lanes();
    // Rows and columns left over by tiles of every width, beside tiles of the same size that are whole.
    Graph graph = products({37, 13}, 8, {lanes + 1, lanes + 2, 2 * lanes + 1, 3 * lanes - 1, 4 * lanes - 1, 5 * lanes - 1, 6 * lanes - 1, 7 * lanes - 3});
    std::mt19937_64 random(11);
    Bindings bindings = random_bindings(graph, 1, random);
    Results expected = interpret(graph, bindings);
    for (Placement placement : {Placement::each_at_end, Placement::each_at_begin}) {
      INFO(vector_level_name(level) << ", placement " << int(placement));
      GuardedStep step(plain_program(graph, 1, level), placement);
      std::optional<Results> found = step.run(bindings);
      INFO(step.fault());
      REQUIRE(found.has_value());
      check_same(*found, expected, 1e-6);
    }
  }
}

TEST_CASE("the training steps of the examples touch no byte outside their buffers", "[run][guard]") {
  int examples = for_each_example([&](const std::string& file, const Graph& graph) {
    for (VectorLevel level : host_levels()) {
      constexpr int64_t capacity = 37;
      Program program = make_program(graph, "train", capacity, level_target(level));
      GuardedStep at_end(program, Placement::each_at_end), at_begin(program, Placement::each_at_begin), planned(program, Placement::planned);
      for (int64_t rows : {1, 7, 16, 33, 37}) {
        INFO(file << ", rows " << rows << ", " << vector_level_name(level));
        std::mt19937_64 random(static_cast<uint64_t>(rows));
        Bindings bindings = random_bindings(graph, rows, random);
        std::optional<Results> first = at_end.run(bindings), second = at_begin.run(bindings), third = planned.run(bindings, {1, 1, 64, 0});
        INFO(at_end.fault() << at_begin.fault() << planned.fault());
        REQUIRE((first && second && third));
        // Where memory stands changes no bit.
        CHECK(first_difference(*second, *first) == "");
        CHECK(first_difference(*third, *first) == "");
      }
    }
  });
  CHECK(examples >= 4);
}

TEST_CASE("guards notice one element too many, read or written, at either end", "[run][guard]") {
  if (code_sanitizer() != Sanitizer::none) return;  // it reports these itself and ends the process: see sanitizer_test.cpp
  for (VectorLevel level : host_levels())
    for (BufferKind kind : {BufferKind::field, BufferKind::persistent, BufferKind::temporary})
      for (int64_t past : {-1, 0, 1})
        for (bool write : {false, true}) {
          if (write && kind == BufferKind::field) continue;
          INFO(vector_level_name(level) << ", kind " << int(kind) << ", " << past << " past, write " << write);
          Placement placement = past < 0 ? Placement::each_at_begin : Placement::each_at_end;
          GuardedStep step(stray_program(level, kind, past, write), placement);
          bool clean = step.run(stray_bindings()).has_value();
          CHECK(clean == (past == 0));
          if (past == 0) continue;
          CHECK(step.fault().find("from") != std::string::npos);
        }
}

TEST_CASE("the slack of a field is as long as it says and no longer", "[run][guard]") {
  if (code_sanitizer() != Sanitizer::none) return;
  constexpr int64_t slack = FileBytes::readable_past_end;
  GuardedStep inside(stray_program(host_target().level, BufferKind::field, slack / 4, false), Placement::each_at_end);
  GuardedStep beyond(stray_program(host_target().level, BufferKind::field, slack / 4 + 1, false), Placement::each_at_end);
  CHECK(inside.run(stray_bindings(), {1, 1, 0, slack}).has_value());
  CHECK(!beyond.run(stray_bindings(), {1, 1, 0, slack}).has_value());
}
