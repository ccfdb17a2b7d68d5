// Sums over rows and further axes, before and after they are split, in the graph interpreter; and which of them are.
#include "passes/split_sums.h"

#include "ir/interpreter.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;

namespace {

/// sum of x[shape] over axes, split.
Graph split_sum(const Shape& shape, const std::vector<int>& axes, DType dtype = DType::f32) {
  Graph graph;
  Builder b(graph);
  graph.outputs.push_back({"sum", b.reduce(Op::reduce_sum, b.input("x", {dtype, shape}), axes)});
  split_sums(graph);
  CHECK(verify_graph(graph).empty());
  return graph;
}

bool is_split(const Shape& shape, const std::vector<int>& axes) { return split_sum(shape, axes).size() == 3; }

}  // namespace

TEST_CASE("a sum within rows, then over rows, has the values of one over both", "[passes]") {
  const Extent rows{1, true};
  for (const Shape& shape : {Shape{rows, {16}, {4}, {5}}, Shape{rows, {4}, {20}, {5}}, Shape{rows, {300}}}) {
    const std::vector<int> axes = shape.size() == 4 ? (shape[1].size == 16 ? std::vector<int>{0, 2, 3} : std::vector<int>{0, 1, 3}) : std::vector<int>{0, 1};
    Graph whole;
    Builder b(whole);
    whole.outputs.push_back({"sum", b.reduce(Op::reduce_sum, b.input("x", {DType::f32, shape}), axes)});
    const Graph split = split_sum(shape, axes);
    CHECK(split.size() == 3);
    const Bindings bindings = test::random_bindings(whole, 3, 1);
    const auto expected = interpret(whole, bindings).outputs.at("sum").values, got = interpret(split, bindings).outputs.at("sum").values;
    REQUIRE(got.size() == expected.size());
    for (size_t i = 0; i < got.size(); ++i) CHECK(double(got[i]) == Approx(double(expected[i])).epsilon(1e-12));
  }
}

TEST_CASE("which sums are split follows from static sizes", "[passes]") {
  const Extent rows{1, true};
  CHECK(is_split({rows, {16}, {16}}, {0, 2}));
  CHECK(is_split({{2, true}, {16}, {16}}, {0, 2}));
  CHECK_FALSE(is_split({rows, {16}, {15}}, {0, 2}));  // few terms in a row
  CHECK(is_split({rows, {15}, {256}}, {0, 2}));
  CHECK_FALSE(is_split({rows, {15}, {255}}, {0, 2}));  // less than a vector is left
  CHECK(is_split({rows, {4096}, {16}}, {0, 2}));
  CHECK_FALSE(is_split({rows, {4097}, {16}}, {0, 2}));  // much is left
  CHECK_FALSE(is_split({rows, {64}}, {0}));
  CHECK_FALSE(is_split({rows, {16}, {16}}, {2}));
  CHECK_FALSE(is_split({{64}, {16}, {16}}, {0, 2}));  // no rows
}
