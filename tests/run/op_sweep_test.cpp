// Every operation of ops.def, compiled as a kernel of its own, against the 64-bit interpreter: in every element type it takes, over sizes around the
// vector width (0, 1, width - 1, width, width + 1, odd, large), on every vector level of this machine, at several numbers of rows.
//
// Each operation has a function that adds its uses to a graph, listed from ops.def: an operation without one does not compile, and one whose function
// never makes it fails by name. Sizes of 0 are legal for every axis but the rows (a step has at least one) and what an argmax or an
// index runs over. All operations of one element type and size share a program, since compiling is what takes the time.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include <fmt/format.h>

#include "codegen/codegen.h"
#include "tests/run/graph_runner.h"
#include "tests/run/op_sweep.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

/// Held to each result's own magnitude; what adds up does so exactly (Domain::summed), and so does what only moves.
double tolerance_of(Op op, DType dtype) {
  if (dtype == DType::i64) return 0x1p-52;  // the interpreter's own limit (interpreter.h): exact below 2^52
  bool exact = !is_elementwise(op) || !is_float(dtype);
  return exact ? 0 : dtype == DType::f32 ? 1e-6 : 1e-14;
}

std::string difference(Op op, const Tensor& compiled, const Tensor& expected) {
  if (compiled.dtype != expected.dtype || compiled.shape != expected.shape) return "another type";
  double tolerance = tolerance_of(op, expected.dtype);
  for (size_t i = 0; i < expected.values.size(); ++i) {
    double x = compiled.values[i], y = expected.values[i];
    if (x == y || (std::isnan(x) && std::isnan(y)) || std::fabs(x - y) <= tolerance * std::fabs(y)) continue;
    return fmt::format("element {} is {} instead of {}", i, x, y);
  }
  return "";
}

}  // namespace

TEST_CASE("every operation, compiled alone, computes what the interpreter computes", "[run][sweep]") {
  constexpr int64_t capacity = 35;
  std::set<Op> made;
  for (VectorLevel level : host_levels()) {
    int64_t lanes = level_target(level).f32_lanes();
    for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean}) {
      std::vector<int64_t> sizes{0, lanes - 1, lanes + 1};
      if (dtype == DType::f32) sizes = {0, 1, lanes - 1, lanes, lanes + 1, 33, 257};
      for (int64_t n : sizes) {
        Sweep s(dtype, n);
        for (const OpSweep& sweep : sweeps) sweep.add(s);
        REQUIRE(verify_graph(s.graph).empty());
        std::map<std::string, Op> op_of;
        for (const Output& o : s.graph.outputs) {
          op_of[o.name] = s.graph[o.node].op;
          made.insert(s.graph[o.node].op);
          if (s.graph[o.node].op == Op::result) made.insert(Op::scan);
        }
        GraphRunOptions options;
        options.capacity = capacity;
        options.level = level;
        options.optimize = false;
        RoutedGraph compiled(s.graph, options.route(), capacity);
        for (int64_t row_count : {int64_t(1), lanes - 1, lanes, lanes + 1, capacity}) {
          std::mt19937_64 random(uint64_t(n * 1000 + row_count));
          Bindings bindings = s.bind(row_count, random);
          Results expected = interpret(s.graph, bindings), found = compiled.run(bindings);
          for (const auto& [name, tensor] : expected.outputs) {
            REQUIRE(found.outputs.count(name));
            std::string wrong = difference(op_of[name], found.outputs.at(name), tensor);
            if (wrong.empty()) continue;
            INFO(name << " in " << dtype_name(dtype) << ", n " << n << ", rows " << row_count << ", " << vector_level_name(level) << ": " << wrong);
            CHECK(wrong.empty());
          }
        }
      }
    }
  }
  for (const OpSweep& sweep : sweeps) {
    INFO(op_name(sweep.op) << " is never made");
    CHECK(made.count(sweep.op) == 1);
  }
}

TEST_CASE("an update in place happens once where the pieces of threads meet inside a line", "[run][sweep]") {
  Graph graph;
  Builder b(graph);
  Type matrix{DType::f32, {Extent{5}, Extent{4099}}};
  NodeId w = b.parameter({"w", matrix, PersistentKind::parameter, {}});
  NodeId s = b.parameter({"s", {DType::f32, {Extent{5}}}, PersistentKind::frozen, {}});
  graph.updates.push_back({"w", b.add(w, b.broadcast(s, matrix.shape, {0}))});
  std::mt19937_64 random(3);
  Bindings bindings = random_bindings(graph, 1, random);
  Results expected = interpret(graph, bindings);
  for (VectorLevel level : host_levels())
    for (int threads : {1, 2, 3, 7}) {
      INFO(vector_level_name(level) << ", threads " << threads);
      GraphRunOptions options;
      options.level = level;
      options.threads = threads;
      options.parallel_all = true;
      check_same(run_compiled(graph, bindings, options), expected, 1e-6);
    }
}

TEST_CASE("a state of another shape keeps its order beside a parameter that changes its own", "[run][sweep]") {
  // The product wants w as [in][out]; its update shares a kernel with the sum over a row that r keeps.
  Graph graph;
  Builder b(graph);
  NodeId x = b.input("x", {DType::f32, {Extent{1, true}, Extent{16}}});
  NodeId w = b.parameter({"w", {DType::f32, {Extent{8}, Extent{16}}}, PersistentKind::parameter, {}});
  NodeId r = b.parameter({"r", {DType::f32, {Extent{8}}}, PersistentKind::optimizer_state, {}});
  graph.outputs.push_back({"y", b.contract(x, w, {0, 1}, {2, 1}, {0, 2})});
  NodeId squares = b.add(b.mul(r, 0.5), b.reduce(Op::reduce_sum, b.mul(w, w), {1}));
  graph.updates.push_back({"r", squares});
  graph.updates.push_back({"w", b.sub(w, b.broadcast(squares, graph.type(w).shape, {0}))});
  std::mt19937_64 random(7);
  Bindings bindings = random_bindings(graph, 5, random);
  Results expected = interpret(graph, bindings);
  for (VectorLevel level : host_levels()) {
    INFO(vector_level_name(level));
    GraphRunOptions options;
    options.level = level;
    check_same(run_compiled(graph, bindings, options), expected, 1e-5);
  }
}

TEST_CASE("a kernel that stores a persistent still reads what it was, through another node as well", "[run][sweep]") {
  Graph graph;
  Builder b(graph);
  Persistent r{"r", {DType::f32, {Extent{37}}}, PersistentKind::parameter, {}};
  NodeId first = b.parameter(r), second = b.parameter(r);
  NodeId next = b.unary(Op::tanh, first);
  graph.updates.push_back({"r", next});
  graph.outputs.push_back({"y", b.add(b.unary(Op::exp, second), next)});
  std::mt19937_64 random(9);
  Bindings bindings = random_bindings(graph, 1, random);
  Route route;
  route.passes = {"fuse_rows", "finish_groups"};  // no pass that makes one node of the two
  check_same(run_route(graph, bindings, route), interpret(graph, bindings), 1e-6);
}
