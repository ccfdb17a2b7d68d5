// Through which operand a gradient flows: by the table of operations and by element types, and as the gradient rules do it.
#include "ir/gradient_flow.h"

#include <algorithm>

#include "passes/differentiate.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

std::vector<bool> blocked(const Graph& g, NodeId node) {
  std::vector<bool> result;
  for (int k = 0; k < int(g[node].operands.size()); ++k) result.push_back(blocks_gradient(g, node, k));
  return result;
}

}  // namespace

TEST_CASE("a gradient flows between floats, and through operations that have one", "[differentiate]") {
  Graph g;
  Builder b(g);
  const Shape three{{3, false}};
  NodeId x = b.input("x", {DType::f32, three}), y = b.input("y", {DType::f32, three}),
         mask = b.input("mask", {DType::boolean, three}), index = b.input("index", {DType::i32, three}),
         bytes = b.input("bytes", {DType::u8, three});
  Attributes row;
  row.axes = {0};
  row.lhs = {0};
  row.rhs = row.out = {1};
  NodeId gathered = g.add(Op::gather, {x, index}, row);
  Attributes at = row;
  at.lhs = at.rhs = {1};
  at.out = {0};
  at.extents = three;
  NodeId scattered = g.add(Op::scatter_add, {y, index}, at);
  CHECK(blocked(g, x).empty());
  CHECK(blocked(g, b.mul(x, y)) == std::vector{false, false});
  CHECK(blocked(g, b.select(mask, x, y)) == std::vector{true, false, false});
  CHECK(blocked(g, gathered) == std::vector{false, true});
  CHECK(blocked(g, scattered) == std::vector{false, true});
  CHECK(blocked(g, b.cast(bytes, DType::f32)) == std::vector{true});
  CHECK(blocked(g, b.cast(x, DType::i32)) == std::vector{true});
  CHECK(blocked(g, b.cast(x, DType::f64)) == std::vector{false});
  CHECK(blocked(g, b.reduce(Op::argmax, x, {0})) == std::vector{true});
  CHECK(blocked(g, b.binary(Op::less, x, y)) == std::vector{true, true});
  CHECK(blocked(g, b.binary(Op::add, index, index)) == std::vector{true, true});
  for (Op op : {Op::sign, Op::floor, Op::ceil, Op::round, Op::stop_gradient})
    CHECK(blocked(g, b.unary(op, x)) == std::vector{true});

  // What is said here is what differentiation does: where it blocks, no gradient arrives, and where it does not, one does.
  const uint32_t made = g.size();
  for (uint32_t i = 0; i < made; ++i) {
    const std::vector<NodeId> operands = g[NodeId{i}].operands;
    if (!is_float(g.type({i}).dtype)) continue;
    for (size_t k = 0; k < operands.size(); ++k) {
      INFO("operand " << k << " of " << op_name(g[NodeId{i}].op));
      if (std::count(operands.begin(), operands.end(), operands[k]) > 1) continue;
      CHECK(gradients_of(g, {i}, b.constant_like(1, {i}), {operands[k]})[0].valid() == !blocks_gradient(g, {i}, int(k)));
    }
  }
}
