// Random leaves in generated code: what they draw is base/philox's number to the bit, whatever the vector level, the lane axis, the sizes around a block of 64
// elements and a vector, the threads, and the kind of kernel. And the numbers are as random as they have to be.
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "ir/program_interpreter.h"
#include "tests/program_text.h"
#include "tests/run/graph_runner.h"
#include "tests/run/guarded_step.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr Extent rows{1, true};

/// Along every level, compiled code gives the interpreter's outputs to the bit.
void check_bits(const Graph& graph, const Bindings& bindings, bool optimize, const std::vector<int>& threads = {1}) {
  Results expected = interpret(graph, bindings);
  for (VectorLevel level : host_levels())
    for (int n : threads) {
      GraphRunOptions options;
      options.level = level;
      options.threads = n;
      options.parallel_all = n > 1;
      options.optimize = optimize;
      INFO(vector_level_name(level) << ", " << n << " threads, optimized " << optimize << ", rows " << bindings.rows);
      CHECK(first_difference(run_compiled(graph, bindings, options), expected) == "");
    }
}

/// Draws of all forms of which kernels are made: as they are, of rows alone, without rows, spread, turned, reduced, gathered, and behind a product.
Graph all_uses(int64_t n) {
  Graph graph;
  Builder b(graph);
  Shape both{rows, Extent{n}};
  NodeId x = b.input("x", {DType::f32, both});
  auto out = [&](std::string name, NodeId node) { graph.outputs.push_back({std::move(name), node}); };
  NodeId u = b.random("a#0", both);
  NodeId half = b.constant(0.5, {DType::f32, both}), zero = b.constant(0, {DType::f32, both});
  NodeId mask = b.binary(Op::less, u, half);
  out("dropped", b.select(mask, zero, x));
  out("drawn", b.random("a#1", both));
  NodeId per_row = b.random("a#2", {rows});
  out("rows", per_row);
  out("rows spread", b.binary(Op::maximum, b.broadcast(per_row, both, {0}), x));
  NodeId columns = b.random("a#3", {Extent{n}});
  out("columns spread", b.binary(Op::maximum, b.broadcast(columns, both, {1}), x));
  NodeId matrix = b.random("a#4", {Extent{3}, Extent{n}});
  out("turned", b.transpose(matrix, {1, 0}));
  out("largest of a row", b.reduce(Op::reduce_max, b.random("a#5", both), {1}));
  out("largest of a column", b.reduce(Op::reduce_max, b.random("a#6", both), {0}));
  out("three", b.random("a#7", {rows, Extent{3}, Extent{n}}));
  out("view", b.reshape(b.random("a#8", {Extent{n}, Extent{6}}), {Extent{3}, Extent{2 * n}}));
  out("slice", b.slice(b.random("a#9", {rows, Extent{n + 5}}), 1, 5, Extent{n}));
  out("one", b.random("a#10", {}));
  // Behind a product, of which every element is a sum of one term: x times a matrix of zeros and ones.
  NodeId one = b.cast(b.binary(Op::equal, b.iota({Extent{n}, Extent{n}}, 0), b.iota({Extent{n}, Extent{n}}, 1)), DType::f32);
  NodeId product = b.contract(x, one, {0, 1}, {1, 2}, {0, 2});
  out("epilogue", b.select(b.binary(Op::less, b.random("a#11", both), half), zero, product));
  NodeId drawn = b.select(b.binary(Op::less, b.random("a#12", both), half), zero, x);
  out("prologue", b.contract(drawn, one, {0, 1}, {1, 2}, {0, 2}));
  return graph;
}

Bindings bind(int64_t row_count, int64_t n) {
  Bindings bindings;
  bindings.rows = row_count;
  bindings.draws = {12345678901234567ull, 0x1FFFFFFFFull, 0xFFFFFFFCu};  // the fifth row is row 0 of the counter
  Tensor x = make_tensor(DType::f32, {row_count, n});
  for (size_t i = 0; i < x.values.size(); ++i) x.values[i] = double(i % 97) - 40;
  bindings.inputs["x"] = std::move(x);
  return bindings;
}

}  // namespace

TEST_CASE("draws have the interpreter's bits on every vector level, with remainders", "[run][random]") {
  for (int64_t n : {1, 3, 15, 16, 17, 63, 64, 65, 130})
    for (int64_t row_count : {1, 6}) {
      INFO("n " << n);
      check_bits(all_uses(n), bind(row_count, n), n % 2 == 1);
    }
}

TEST_CASE("draws do not depend on threads", "[run][random]") {
  check_bits(all_uses(70), bind(37, 70), true, {1, 2, 3, 7});
  check_bits(all_uses(33), bind(19, 33), false, {2, 7});
}

TEST_CASE("an epilogue keeps the draws of each row of its blocks", "[run][random]") {
  // Columns of tiles that begin within 64 elements, more rows than words are kept for, and the rows of another piece in their places.
  check_bits(all_uses(200), bind(300, 200), true, {1, 3});
  // Sums of many chains, of which each has a term.
  Graph graph;
  Builder b(graph);
  const int64_t terms = 2600;
  const NodeId x = b.input("x", {DType::f32, {rows, Extent{terms}}});
  const Shape pick{Extent{terms}, Extent{21}};
  const NodeId one = b.cast(b.binary(Op::equal, b.iota(pick, 0), b.mul(b.iota(pick, 1), b.constant(120, {DType::i32, pick}))), DType::f32);
  const NodeId product = b.contract(x, one, {0, 1}, {1, 2}, {0, 2});
  const Type type = graph.type(product);
  graph.outputs.push_back({"dropped", b.select(b.binary(Op::less, b.random("a#0", type.shape), b.constant(0.5, type)), b.constant(0, type), product)});
  check_bits(graph, bind(13, terms), true, {1, 2});
}

TEST_CASE("lanes run along any axis of a draw, in map kernels and in operands and epilogues of products", "[run][random]") {
  const char* text = R"(program @draws {{
  target any {}, 21 rows planned
  arena 0 bytes, persistent 0 bytes

  output "along rows" : f32[B, 70] slot 0
  output "along columns" : f32[B, 70] slot 1
  output "strided" : f32[B, 70] slot 2
  output "backwards" : f32[B, 70] slot 3
  output "a" : f32[B, 40] slot 4
  output "b" : f32[24, 40] slot 5

  kernel rows  # one thread
    for j < 70, i < B  (vector along i):
      v0 = random "d#0" [row(i), j] : f32
      "along rows"[70*i + j] <- v0 : f32

  kernel columns  # one thread
    for i < B, j < 70  (vector along j):
      v0 = random "d#0" [row(i), j] : f32
      "along columns"[70*i + j] <- v0 : f32

  kernel strided  # one thread
    for i < B, j < 70  (vector along j):
      v0 = random "d#1" [row(i), 1000*j + 4294967296] : f32
      strided[70*i + j] <- v0 : f32

  kernel backwards  # one thread
    for i < B, j < 70  (vector along j):
      v0 = random "d#2" [row(i), -1*j + 69] : f32
      backwards[70*i + j] <- v0 : f32

  kernel left  # one thread
    contract m < B; n < 40; k < 40: tile 4 x 1 vectors, blocks 8 x 16 x 8
      a[m, k] = v0, packed:
        v0 = random "a#0" [row(m), k] : f32
      b[k, n] = v4, packed:
        v1 = index of k : i32
        v2 = index of n : i32
        v3 = equal(v1, v2) : bool
        v4 = cast(v3) : f32
      for each m, n:
        v5 = sum over k of a * b : f32
        v6 = random "a#1" [row(m), n + 7] : f32
        v7 = maximum(v5, v6) : f32
        a[40*m + n] <- v7 : f32

  kernel right  # one thread
    contract m < 24; n < 40; k < 24: tile 4 x 1 vectors, blocks 8 x 16 x 8
      a[m, k] = v3, packed:
        v0 = index of m : i32
        v1 = index of k : i32
        v2 = equal(v0, v1) : bool
        v3 = cast(v2) : f32
      b[k, n] = v4, packed:
        v4 = random "b#0" [40*k + n] : f32
      for each m, n:
        v5 = sum over k of a * b : f32
        b[40*m + n] <- v5 : f32
}}
)";
  for (VectorLevel level : host_levels()) {
    INFO(vector_level_name(level));
    Program program = program_of(fmt::format(fmt::runtime(text), vector_level_name(level)));
    for (int64_t row_count : {1, 7, 21}) {
      Bindings bindings;
      bindings.rows = row_count;
      bindings.draws = {3, 1, 2};
      std::optional<Results> found = GuardedStep(program, Placement::planned).run(bindings, {1, 2, 0, 0});
      REQUIRE(found);
      Results expected = interpret_program(program, bindings);
      CHECK(first_difference(*found, expected) == "");
      CHECK(expected.outputs.at("along rows") == expected.outputs.at("along columns"));
    }
  }
}

TEST_CASE("each lane goes along elements of its own", "[run][random]") {
  // Lanes as far apart as whole blocks of 64 elements, as lines of 16, or at odd places of them, in loops that begin anywhere, jump, or go along the rows.
  const char* text = R"(program @columns {{
  target any {}, 21 rows planned
  arena 0 bytes, persistent 0 bytes

  output "blocks" : f32[B, 23, 150] slot 0
  output "lines" : f32[B, 23, 150] slot 1
  output "odd" : f32[B, 23, 150] slot 2
  output "rows" : f32[B, 150] slot 3
  output "both" : f32[B, 70, 70] slot 4
  output "wide" : f32[B, 64, 130] slot 5
  output "jumps" : f32[B, 23, 9] slot 6
  output "along rows" : f32[B, 23] slot 7

  kernel blocks  # one thread
    for i < B, j < 23  (vector along j):
      for l < 150:
        v0 = random "d#0" [row(i), 192*j + l + 31] : f32
        blocks[3450*i + 150*j + l] <- v0 : f32

  kernel lines  # one thread
    for i < B, j < 23  (vector along j):
      for l < 150:
        v0 = random "d#0" [row(i), 176*j + l + 4294967296] : f32
        lines[3450*i + 150*j + l] <- v0 : f32

  kernel odd  # one thread
    for i < B, j < 23  (vector along j):
      for l < 150:
        v0 = random "d#0" [row(i), 151*j + l + 3] : f32
        odd[3450*i + 150*j + l] <- v0 : f32

  kernel rows  # one thread
    for i < B  (vector along i):
      for l < 150:
        v0 = random "d#0" [row(i), l + 7] : f32
        rows[150*i + l] <- v0 : f32

  kernel both  # one thread
    for i < B, j < 70  (vector along j):
      for l < 70:
        v0 = random "d#0" [row(i), 70*j + l] : f32
        v1 = random "d#0" [row(i), j + 70*l] : f32
        v2 = sub(v0, v1) : f32
        both[4900*i + 70*j + l] <- v2 : f32

  kernel wide  # one thread
    for i < B, j < 64  (vector along j):
      for l < 130:
        v0 = random "d#0" [row(i), 130*j + l] : f32
        v1 = random "d#0" [row(i), 131*j + l] : f32
        v2 = maximum(v0, v1) : f32
        wide[8320*i + 130*j + l] <- v2 : f32

  kernel jumps  # one thread
    for i < B, j < 23  (vector along j):
      for l < 9:
        v0 = random "d#0" [row(i), 151*j + 16*l] : f32
        jumps[207*i + 9*j + l] <- v0 : f32

  kernel along_rows  # one thread
    for j < 23  (vector along j):
      for l < B:
        v0 = random "d#0" [row(l), 3*j] : f32
        "along rows"[j + 23*l] <- v0 : f32
}}
)";
  for (VectorLevel level : host_levels()) {
    INFO(vector_level_name(level));
    const Program program = program_of(fmt::format(fmt::runtime(text), vector_level_name(level)));
    for (int64_t row_count : {21, 1}) {
      Bindings bindings;
      bindings.rows = row_count;
      bindings.draws = {7, 5, 0xFFFFFFF0u};
      const std::optional<Results> found = GuardedStep(program, Placement::planned).run(bindings, {1, 1, 0, 0});
      REQUIRE(found);
      CHECK(first_difference(*found, interpret_program(program, bindings)) == "");
    }
  }
}

TEST_CASE("both readers of a draw see the same numbers, kept or drawn again", "[run][random]") {
  // The mask of a dropout in the forward and the backward kernel: where y is 0, so is the gradient.
  Graph graph;
  Builder b(graph);
  Shape both{rows, Extent{50}};
  NodeId x = b.input("x", {DType::f32, both});
  NodeId u = b.random("d#0", both), limit = b.constant(0.3, {DType::f32, both}), zero = b.constant(0, {DType::f32, both});
  NodeId dropped = b.binary(Op::less, u, limit);
  NodeId y = b.select(dropped, zero, b.unary(Op::exp, x));
  NodeId total = b.broadcast(b.reduce(Op::reduce_sum, y, {1}), both, {0});
  graph.outputs.push_back({"y", y});
  graph.outputs.push_back({"gradient", b.select(dropped, zero, b.div(y, total))});
  for (bool optimize : {false, true}) {
    GraphRunOptions options;
    options.optimize = optimize;
    Results found = run_compiled(graph, bind(20, 50), options);
    const Tensor &values = found.outputs.at("y"), &gradient = found.outputs.at("gradient");
    int zeros = 0;
    for (size_t i = 0; i < values.values.size(); ++i) {
      CHECK((values.values[i] == 0) == (gradient.values[i] == 0));
      zeros += values.values[i] == 0;
    }
    CHECK((zeros > 200 && zeros < 400));
  }
}

TEST_CASE("draws are uniform, and independent of their neighbours in every direction", "[run][random]") {
  // A million numbers of compiled code: 1000 rows of 1000. For a uniform number the mean is 1/2 and the variance 1/12; the product of two centred
  // independent ones has mean 0 and variance 1/144. Means over N of them are off by 5 standard deviations once in two million seeds; this seed is fixed.
  constexpr int64_t side = 1000;
  constexpr double count = double(side) * side;
  Graph graph;
  Builder b(graph);
  for (const char* site : {"d#0", "d#1", "e#0"}) graph.outputs.push_back({site, b.random(site, {rows, Extent{side}})});
  Bindings bindings;
  bindings.rows = side;
  bindings.draws = {2024, 10, 0};
  std::map<std::string, Tensor> now = run_compiled(graph, bindings).outputs;
  ++bindings.draws.update;
  std::map<std::string, Tensor> next = run_compiled(graph, bindings).outputs;
  const std::vector<double>& u = now.at("d#0").values;

  double sum = 0, squares = 0;
  std::vector<int> bins(64);
  for (double v : u) {
    REQUIRE((v >= 0 && v < 1 && v * 0x1p24 == std::floor(v * 0x1p24)));
    sum += v - 0.5;
    squares += (v - 0.5) * (v - 0.5);
    ++bins[size_t(v * 64)];
  }
  CHECK(std::fabs(sum / count) < 5 * std::sqrt(1 / 12.0 / count));
  CHECK(std::fabs(squares / count - 1 / 12.0) < 5 * std::sqrt((1 / 80.0 - 1 / 144.0) / count));
  for (int n : bins) CHECK(std::fabs(n - count / 64) < 5 * std::sqrt(count / 64));

  auto correlation = [&](auto partner) {
    double total = 0, pairs = 0;
    for (size_t i = 0; i < u.size(); ++i)
      if (std::optional<double> other = partner(i)) {
        total += (u[i] - 0.5) * (*other - 0.5);
        ++pairs;
      }
    return std::fabs(total / pairs) * std::sqrt(pairs * 144);
  };
  auto at_distance = [&](size_t d) {
    return correlation([&, d](size_t i) { return i + d < u.size() ? std::optional(u[i + d]) : std::nullopt; });
  };
  auto with = [&](const Tensor& other) {
    return correlation([&](size_t i) { return std::optional(other.values[i]); });
  };
  for (size_t d : {1, 2, 15, 16, 32, 48, 64, int(side), int(side) + 1}) {  // neighbours, words and blocks of one counter, rows
    INFO("distance " << d);
    CHECK(at_distance(d) < 5);
  }
  CHECK(with(now.at("d#1")) < 5);
  CHECK(with(now.at("e#0")) < 5);
  CHECK(with(next.at("d#0")) < 5);
  CHECK(std::set<double>(u.begin(), u.begin() + 1000).size() > 990);
}
