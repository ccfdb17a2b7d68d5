// Gradients of quotients: what divides a whole sum divides it once, and a softmax's gradient is made of its shares alone.
#include <algorithm>
#include <limits>

#include "passes/quotients.h"
#include "tests/unit/passes_gradient_check.h"

using namespace nnc;
using namespace nnc::test;

namespace {

Extent n(int64_t size) { return {size, false}; }
const Extent rows{1, true};

void check_against_differences(const Graph& g, NodeId y, const std::vector<NodeId>& leaves) {
  Bindings bindings;
  bindings.rows = 3;
  RandomStream random(7, stable_hash("quotients"));
  for (const Node& node : g.nodes()) {
    if (node.op != Op::input) continue;
    Tensor t = make_tensor(node.type.dtype, shape_at(node.type, bindings.rows));
    for (double& v : t.values) v = 0.5 + random.next_unit();  // away from zero: some of them divide
    bindings.inputs[node.attributes.text] = t;
  }
  GradientCheck check = check_gradients(g, y, leaves, bindings);
  INFO(check.first_fault);
  CHECK(check.wrong == 0);
  CHECK(check.skipped == 0);
  CHECK(check.compared > 0);
}

/// What `value` is computed from, itself included; `end` is not looked behind.
std::vector<NodeId> all_behind(const Graph& g, NodeId value, NodeId end) {
  std::vector<NodeId> found{value};
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i] == end) continue;
    for (NodeId o : g[found[i]].operands)
      if (std::find(found.begin(), found.end(), o) == found.end()) found.push_back(o);
  }
  return found;
}

/// Types of the divisions behind `value`, in the order of the graph.
std::vector<Type> divisions_behind(const Graph& g, NodeId value, NodeId end) {
  std::vector<NodeId> behind = all_behind(g, value, end);
  std::sort(behind.begin(), behind.end());
  std::vector<Type> types;
  for (NodeId node : behind)
    if (g[node].op == Op::div && node != end) types.push_back(g.type(node));
  return types;
}

struct Softmax {
  NodeId exponentials, shares;
};
Softmax softmax(Builder& b, NodeId x, int axis) {
  NodeId largest = b.unary(Op::stop_gradient, b.reduce(Op::reduce_max, x, {axis}));
  NodeId e = b.unary(Op::exp, b.sub(x, b.expand(largest, {axis}, x)));
  return {e, b.div(e, b.expand(b.reduce(Op::reduce_sum, e, {axis}), {axis}, x))};
}

}  // namespace

TEST_CASE("a softmax's gradient reads its shares alone and divides nothing", "[differentiate]") {
  for (int axis : {0, 1, 2}) {
    Graph g;
    Builder b(g);
    NodeId x = b.input("x", {DType::f32, {n(2), n(3), n(4)}}), given = b.input("given", g.type(x));
    const Softmax y = softmax(b, x, axis);
    check_against_differences(g, y.shares, {x});
    const NodeId gradient = gradients_of(g, y.shares, given, {x})[0];
    const std::vector<NodeId> behind = all_behind(g, gradient, y.shares);
    CHECK(std::find(behind.begin(), behind.end(), y.shares) != behind.end());
    CHECK(std::find(behind.begin(), behind.end(), y.exponentials) == behind.end());
    CHECK(divisions_behind(g, gradient, y.shares).empty());
  }
}

TEST_CASE("a softmax's gradient is finite where shares are nothing", "[differentiate]") {
  constexpr double inf = std::numeric_limits<double>::infinity();
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {n(3)}}), given = b.input("given", g.type(x));
  const NodeId gradient = gradients_of(g, softmax(b, x, 0).shares, given, {x})[0];
  Bindings bindings;
  bindings.inputs["given"] = {DType::f32, {3}, {2, 3, 5}};
  bindings.inputs["x"] = {DType::f32, {3}, {1e4, -inf, -1e4}};
  CHECK(interpret(g, bindings, true).values[gradient.value].values == std::vector<double>{0, 0, 0});
  bindings.inputs["x"] = {DType::f32, {3}, {1e4, -inf, 1e4}};
  CHECK(interpret(g, bindings, true).values[gradient.value].values == std::vector<double>{-0.75, 0, 0.75});
}

TEST_CASE("a product with the dividend of another quotient is one with the quotient", "[differentiate]") {
  Graph g;
  Builder b(g);
  NodeId u = b.input("u", {DType::f32, {n(4)}}), v = b.input("v", g.type(u)), d = b.input("d", g.type(u)), given = b.input("given", g.type(u));
  NodeId other = b.div(b.mul(u, v), d), share = b.div(v, d);
  NodeId y = b.add(share, other);
  check_against_differences(g, y, {u, v, d});
  const NodeId gradient = gradients_of(g, y, given, {u, v})[0];
  REQUIRE(g[gradient].op == Op::mul);
  CHECK(g[gradient].operands == std::vector<NodeId>{given, share});
  // A quotient that the result does not need is not brought back.
  const NodeId alone = gradients_of(g, other, given, {u, v})[0];
  CHECK(g[alone].operands[1] == v);
  // Nor is one of another divisor.
  NodeId elsewhere = b.add(b.div(v, u), other);
  check_against_differences(g, elsewhere, {u, v, d});
}

TEST_CASE("a divisor that is the same along a sum divides the sum", "[differentiate]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {rows, n(2), n(4)}}), s = b.input("s", {DType::f32, {n(2)}}), given = b.input("given", g.type(x));
  SECTION("its own gradient") {
    NodeId y = b.div(x, b.broadcast(s, g.type(x).shape, {1}));
    check_against_differences(g, y, {x, s});
    const NodeId gradient = gradients_of(g, y, given, {s})[0];
    CHECK(divisions_behind(g, gradient, y) == std::vector<Type>{g.type(s)});
  }
  SECTION("the gradient of what is divided, repeated along more axes than the divisor") {
    NodeId small = b.input("small", {DType::f32, {rows, n(2)}});
    NodeId y = b.div(b.broadcast(small, g.type(x).shape, {0, 1}), b.broadcast(s, g.type(x).shape, {1}));
    check_against_differences(g, y, {small, s});
    CHECK(divisions_behind(g, gradients_of(g, y, given, {small})[0], y) == std::vector<Type>{g.type(small)});
  }
  SECTION("negative") {
    NodeId y = b.neg(b.div(b.neg(x), b.broadcast(s, g.type(x).shape, {1})));
    check_against_differences(g, y, {x, s});
    NodeId minus = b.div(b.neg(b.broadcast(s, g.type(x).shape, {1})), b.broadcast(b.mul(s, s), g.type(x).shape, {1}));
    check_against_differences(g, minus, {s});
    CHECK(divisions_behind(g, gradients_of(g, minus, given, {s})[0], minus) == std::vector<Type>{g.type(s), g.type(s)});
  }
  SECTION("not one that differs along it") {
    NodeId small = b.input("small", {DType::f32, {n(4)}});
    NodeId y = b.div(b.broadcast(small, g.type(x).shape, {2}), b.broadcast(s, g.type(x).shape, {1}));
    check_against_differences(g, y, {small, s});
    NodeId z = b.div(b.broadcast(small, g.type(x).shape, {2}), x);
    check_against_differences(g, z, {small, x});
  }
}

TEST_CASE("quotients of one divisor are added up before they are divided", "[differentiate]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {n(3), n(2)}}), s = b.input("s", {DType::f32, {n(2)}}), one = b.input("one", g.type(x)), two = b.input("two", g.type(x));
  auto repeated = [&](NodeId v) { return b.broadcast(v, g.type(x).shape, {1}); };
  const NodeId divisor = repeated(s);
  auto gradient_of_both = [&](NodeId first, NodeId second) {
    NodeId y = b.add(b.mul(first, one), b.mul(second, two));
    check_against_differences(g, y, {x, s, one, two});
    return gradients_of(g, y, b.constant_like(1, y), {x})[0];
  };
  CHECK(divisions_behind(g, gradient_of_both(b.div(x, divisor), b.div(x, divisor)), divisor).size() == 1);
  CHECK(divisions_behind(g, gradient_of_both(b.div(x, divisor), b.neg(b.div(x, divisor))), divisor).size() == 1);
  CHECK(divisions_behind(g, gradient_of_both(b.div(x, divisor), b.div(x, one)), divisor).size() == 2);
  CHECK(divisions_behind(g, gradient_of_both(b.div(x, divisor), repeated(b.div(b.reduce(Op::reduce_sum, x, {0}), s))), divisor).size() == 1);
}

TEST_CASE("a quotient is known by its divisor through signs and repetitions", "[differentiate]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {n(2)}}), s = b.input("s", g.type(x));
  const Shape square{n(2), n(2)};
  NodeId quotient = b.neg(b.div(x, s));
  CHECK(is_divided_by(g, quotient, s));
  CHECK_FALSE(is_divided_by(g, quotient, x));
  CHECK(divisor_of(g, quotient) == s);
  CHECK_FALSE(divisor_of(g, x).valid());
  NodeId down = b.broadcast(quotient, square, {0});
  CHECK(is_divided_by(g, down, b.broadcast(s, square, {0})));
  CHECK_FALSE(is_divided_by(g, down, b.broadcast(s, square, {1})));
  CHECK_FALSE(divisor_of(g, down).valid());
  const Node minus = g[g[dividend(b, down)].operands[0]];
  CHECK(minus.op == Op::neg);
  CHECK(minus.operands[0] == x);
  NodeId whole = b.input("whole", {DType::i32, {n(2)}});
  CHECK_FALSE(divisor_of(g, b.binary(Op::floor_div, whole, whole)).valid());
}
