// Tables, types, builder, shape rules and the verifier of the tensor graph.
#include <fmt/format.h>

#include "ir/window.h"
#include "base/check.h"
#include "ir/graph.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

constexpr Extent rows{1, true};

Type f32(Shape shape) { return {DType::f32, std::move(shape)}; }
Type i32(Shape shape) { return {DType::i32, std::move(shape)}; }
Type boolean(Shape shape) { return {DType::boolean, std::move(shape)}; }
Extent n(int64_t size) { return {size, false}; }

std::string misfit(Op op, const std::vector<Type>& operands, const Attributes& attributes = {}) {
  std::string error;
  std::optional<Type> type = infer_type(op, operands, attributes, error);
  return type ? "fits: " + to_string(*type) : error;
}

std::string gives(Op op, const std::vector<Type>& operands, const Attributes& attributes = {}) {
  std::string error;
  std::optional<Type> type = infer_type(op, operands, attributes, error);
  return type ? to_string(*type) : "error: " + error;
}

Attributes axes(std::vector<int> list) {
  Attributes a;
  a.axes = std::move(list);
  return a;
}

Attributes window(int axis, int64_t begin, Extent extent) {
  Attributes a = axes({axis});
  a.begin = begin;
  a.extents = {extent};
  return a;
}

Attributes labels(std::vector<int> lhs, std::vector<int> rhs, std::vector<int> out, std::vector<int> axis = {}) {
  Attributes a = axes(std::move(axis));
  a.lhs = std::move(lhs);
  a.rhs = std::move(rhs);
  a.out = std::move(out);
  return a;
}

Attributes shaped(Shape shape, std::vector<int> axis_list = {}) {
  Attributes a = axes(std::move(axis_list));
  a.extents = std::move(shape);
  return a;
}

// A small sound graph with one of everything the verifier looks at.
Graph sound_graph() {
  Graph g;
  Builder b(g);
  Persistent w{"w", f32({n(3), n(2)}), PersistentKind::parameter, {}};
  NodeId x = b.input("x", f32({rows, n(3)}));
  NodeId y = b.contract(x, b.parameter(w), {0, 1}, {1, 2}, {0, 2});
  NodeId loss = b.mean(b.mul(y, y), {0, 1});
  NodeId step = b.mul(b.cast(b.scalar("lr"), DType::f32), b.parameter(w));
  g.outputs.push_back({"loss", loss});
  g.updates.push_back({"w", step});
  return g;
}

void check_broken(const Graph& g, const std::string& invariant) {
  std::vector<std::string> problems = verify_graph(g);
  INFO("expected a violation of " << invariant);
  REQUIRE_FALSE(problems.empty());
  bool found = false;
  for (const std::string& p : problems) found |= p.rfind(invariant + ":", 0) == 0;
  if (!found) INFO("first problem: " << problems[0]);
  CHECK(found);
}

}  // namespace

TEST_CASE("every operation has a name that parses back, a summary and an arity", "[ir]") {
  for (int i = 0; i < op_count; ++i) {
    Op op = Op(i);
    REQUIRE(parse_op(op_name(op)) == op);
    CHECK_FALSE(op_summary(op).empty());
    CHECK(op_arity(op) >= (op == Op::scan ? -1 : 0));
    CHECK(op_arity(op) <= 3);
    CHECK((op_class(op) == OpClass::leaf) == (op_arity(op) == 0));
    CHECK((op_differentiable(op) == Differentiable::leaf) == (op_arity(op) == 0));
  }
  CHECK_FALSE(parse_op("relu").has_value());
  CHECK(is_elementwise(Op::add));
  CHECK(is_elementwise(Op::cast));
  CHECK(is_elementwise(Op::select));
  CHECK_FALSE(is_elementwise(Op::reduce_sum));
  CHECK_FALSE(is_elementwise(Op::constant));
}

TEST_CASE("extents and types are printed as they are written", "[ir]") {
  CHECK(to_string(n(64)) == "64");
  CHECK(to_string(rows) == "B");
  CHECK(to_string(Extent{64, true}) == "64*B");
  CHECK(to_string(f32({})) == "f32[]");
  CHECK(to_string(Type{DType::u8, {rows, n(784)}}) == "u8[B, 784]");
  CHECK(f32({Extent{2, true}, n(3)}).elements(5) == 30);
  CHECK(f32({rows}).has_rows());
  CHECK_FALSE(f32({n(1)}).has_rows());
}

TEST_CASE("shape rules give the right type", "[ir]") {
  Type x = f32({rows, n(4)});
  CHECK(gives(Op::exp, {x}) == "f32[B, 4]");
  CHECK(gives(Op::add, {x, x}) == "f32[B, 4]");
  CHECK(gives(Op::less, {x, x}) == "bool[B, 4]");
  CHECK(gives(Op::select, {boolean({rows, n(4)}), x, x}) == "f32[B, 4]");
  Attributes to_u8;
  to_u8.dtype = DType::u8;
  CHECK(gives(Op::cast, {x}, to_u8) == "u8[B, 4]");
  CHECK(gives(Op::broadcast, {f32({n(4)})}, shaped({rows, n(4)}, {1})) == "f32[B, 4]");
  CHECK(gives(Op::transpose, {f32({n(2), n(3), n(4)})}, axes({2, 0, 1})) == "f32[4, 2, 3]");
  CHECK(gives(Op::reshape, {f32({rows, n(4), n(3)})}, shaped({Extent{12, true}})) == "f32[12*B]");
  CHECK(gives(Op::slice, {x}, window(1, 1, n(3))) == "f32[B, 3]");
  CHECK(gives(Op::pad, {x}, window(1, 2, n(6))) == "f32[B, 6]");
  CHECK(gives(Op::reduce_sum, {f32({n(2), n(3), n(4)})}, axes({0, 2})) == "f32[3]");
  CHECK(gives(Op::argmax, {x}, axes({1})) == "i32[B]");
  CHECK(gives(Op::contract, {x, f32({n(4), n(7)})}, labels({0, 1}, {1, 2}, {0, 2})) == "f32[B, 7]");
  CHECK(gives(Op::contract, {x, x}, labels({0, 1}, {0, 2}, {1, 2})) == "f32[4, 4]");
  CHECK(gives(Op::gather, {f32({n(10), n(4)}), i32({rows, n(5)})}, labels({0, 1}, {2, 3}, {2, 3, 1}, {0})) == "f32[B, 5, 4]");
  CHECK(gives(Op::gather, {x, i32({rows})}, labels({0, 1}, {0}, {0}, {1})) == "f32[B]");
  Attributes scatter = labels({2, 3, 1}, {2, 3}, {0, 1}, {0});
  scatter.extents = {n(10), n(4)};
  CHECK(gives(Op::scatter_add, {f32({rows, n(5), n(4)}), i32({rows, n(5)})}, scatter) == "f32[10, 4]");
  Attributes written = shaped({n(2), n(1)});
  written.values = {1, std::numeric_limits<double>::quiet_NaN()};
  CHECK(gives(Op::literal, {}, written) == "f32[2, 1]");
  CHECK(gives(Op::literal, {}, shaped({n(0), n(3)})) == "f32[0, 3]");
  CHECK(gives(Op::iota, {}, shaped({rows, n(4)}, {0})) == "i32[B, 4]");
  CHECK(gives(Op::extent, {}, shaped({rows})) == "f64[]");
  Attributes drawn = shaped({rows, n(4)});
  drawn.text = "d#0";
  CHECK(gives(Op::random, {}, drawn) == "f32[B, 4]");
  drawn.extents = {};
  CHECK(gives(Op::random, {}, drawn) == "f32[]");
  drawn.extents = {n(int64_t(1) << 17), n(int64_t(1) << 17)};
  CHECK(gives(Op::random, {}, drawn) == "f32[131072, 131072]");
}

TEST_CASE("shape rules say what does not fit", "[ir]") {
  using nnc::test::contains;
  Type x = f32({rows, n(4)}), y = f32({rows, n(5)}), mask = boolean({rows, n(4)});
  CHECK_THAT(misfit(Op::random, {}, shaped({n(4)})), contains("a draw needs the name of its site"));
  Attributes drawn = shaped({{2, true}});
  drawn.text = "d#0";
  CHECK_THAT(misfit(Op::random, {}, drawn), contains("the rows of a draw are B, not 2*B"));
  drawn.extents = {rows, n(int64_t(1) << 17), n((int64_t(1) << 17) + 1)};
  CHECK_THAT(misfit(Op::random, {}, drawn), contains("at most 2^34 elements in each row"));
  drawn.extents = {n(-1)};
  CHECK_THAT(misfit(Op::random, {}, drawn), contains("negative size -1"));
  CHECK_THAT(misfit(Op::add, {x}), contains("takes 2 operands, got 1"));
  CHECK_THAT(misfit(Op::add, {x, y}), contains("operands must have one type, got f32[B, 4] and f32[B, 5]"));
  CHECK_THAT(misfit(Op::add, {mask, mask}), contains("takes f32, f64, i32 or i64, not bool"));
  CHECK_THAT(misfit(Op::add, {Type{DType::u8, {}}, Type{DType::u8, {}}}), contains("not u8"));
  CHECK_THAT(misfit(Op::exp, {i32({})}), contains("takes f32 or f64, not i32"));
  CHECK_THAT(misfit(Op::div, {i32({}), i32({})}), contains("takes f32 or f64"));
  CHECK_THAT(misfit(Op::less, {mask, mask}), contains("takes a number"));
  CHECK_THAT(misfit(Op::logical_not, {x}), contains("takes bool"));
  CHECK_THAT(misfit(Op::select, {x, x, x}), contains("condition must be bool"));
  CHECK_THAT(misfit(Op::select, {mask, x, y}), contains("branches must have one type"));
  CHECK_THAT(misfit(Op::select, {boolean({n(4)}), x, x}), contains("differ in shape"));
  CHECK_THAT(misfit(Op::input, {}), contains("needs a name"));
  Attributes named = shaped({rows});
  named.text = "w";
  CHECK_THAT(misfit(Op::parameter, {}, named), contains("no row dimension"));
  Attributes half;
  half.number = 0.5;
  half.dtype = DType::i32;
  CHECK_THAT(misfit(Op::constant, {}, half), contains("0.5 is not a value of i32"));
  half.number = std::numeric_limits<double>::quiet_NaN();
  CHECK_THAT(misfit(Op::constant, {}, half), contains("nan is not a value of i32"));
  half.number = 256;
  half.dtype = DType::u8;
  CHECK_THAT(misfit(Op::constant, {}, half), contains("256 is not a value of u8"));
  CHECK_THAT(misfit(Op::constant, {}, shaped({n(4), rows})), contains("row dimension must be outermost"));
  CHECK_THAT(misfit(Op::constant, {}, shaped({n(-1)})), contains("negative size"));
  CHECK_THAT(misfit(Op::constant, {}, shaped({n(1 << 30), n(1 << 30)})), contains("more than 2^40"));
  CHECK_THAT(misfit(Op::constant, {}, shaped({n(0), n(INT64_MAX), n(INT64_MAX)})), contains("more than 2^40"));
  Attributes written = shaped({n(3)});
  written.values = {1, 2};
  CHECK_THAT(misfit(Op::literal, {}, written), contains("f32[3] needs 3 numbers, got 2"));
  written.values = {1, 2, 0.5};
  written.dtype = DType::i64;
  CHECK_THAT(misfit(Op::literal, {}, written), contains("0.5 is not a value of i64"));
  CHECK_THAT(misfit(Op::literal, {}, shaped({rows})), contains("no row dimension, got f32[B]"));
  CHECK_THAT(misfit(Op::literal, {}, shaped({n(1 << 30), n(1 << 30)})), contains("more than 2^40"));
  CHECK_THAT(misfit(Op::iota, {}, shaped({n(4)}, {1})), contains("axis 1 of a tensor of rank 1"));
  CHECK_THAT(misfit(Op::iota, {}, shaped({n(4)})), contains("exactly one axis"));
  CHECK_THAT(misfit(Op::extent, {}), contains("exactly one extent"));
  CHECK_THAT(misfit(Op::broadcast, {f32({n(3)})}, shaped({rows, n(4)}, {1})), contains("the sizes differ"));
  CHECK_THAT(misfit(Op::broadcast, {f32({n(4)})}, shaped({rows, n(4)}, {})), contains("rank 1 but 0 axes"));
  CHECK_THAT(misfit(Op::broadcast, {f32({n(4), n(4)})}, shaped({n(4), n(4)}, {1, 0})), contains("axes must ascend"));
  CHECK_THAT(misfit(Op::transpose, {x}, axes({1, 0})), contains("row dimension must be outermost"));
  CHECK_THAT(misfit(Op::transpose, {x}, axes({0, 0})), contains("given twice"));
  CHECK_THAT(misfit(Op::transpose, {x}, axes({0, 2})), contains("axis 2 of a tensor of rank 2"));
  CHECK_THAT(misfit(Op::reshape, {x}, shaped({rows, n(5)})), contains("differ in their number of elements"));
  CHECK_THAT(misfit(Op::reshape, {x}, shaped({n(4)})), contains("differ in their number of elements"));
  CHECK_THAT(misfit(Op::slice, {x}, window(0, 0, n(1))), contains("row dimension"));
  CHECK_THAT(misfit(Op::slice, {x}, window(1, 2, n(3))), contains("3 elements from 2 do not lie within 4"));
  CHECK_THAT(misfit(Op::slice, {x}, window(1, -1, n(3))), contains("do not lie within"));
  CHECK_THAT(misfit(Op::slice, {x}, window(1, INT64_MAX, n(1))), contains("do not lie within"));
  CHECK_THAT(misfit(Op::pad, {x}, window(1, 1, n(4))), contains("4 elements from 1 do not lie within 4"));
  const Type cube{DType::f32, {rows, n(7), n(3)}};
  CHECK(gives(Op::window, {cube}, make_window({1, 2}, n(4), 2, 1, -1)) == "f32[B, 4, 3]");
  CHECK(gives(Op::window, {cube}, make_window({2}, n(9), 1, 1, 0, 4)) == "f32[B, 7, 9]");
  CHECK(gives(Op::window, {mask}, make_window({1}, n(9), 1, 1, 0, 4)) == "bool[B, 9]");
  CHECK_THAT(misfit(Op::window, {cube}, make_window({}, n(4), 1, 1, 0)), contains("needs one axis, or one and that of its elements, got 0"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1, 3}, n(4), 1, 1, 0)), contains("axis 3 does not exist"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1, 1}, n(4), 1, 1, 0)), contains("cannot run along itself"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({0}, n(4), 1, 1, 0)), contains("row dimension"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1, 0}, n(4), 1, 1, 0)), contains("row dimension"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1}, rows, 1, 1, 0)), contains("row dimension"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1}, n(-1), 1, 1, 0)), contains("negative size -1"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1}, n(4), 0, 1, 0)), contains("a stride of"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1}, n(4), 1, 1, 0, 0)), contains("a stride of"));
  CHECK_THAT(misfit(Op::window, {mask}, make_window({1}, n(4), 1, 1, 0, 1, 2)), contains("2 is not a value of bool"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1}, n(4), 1 << 30, 1, 0)), contains("do not fit i32"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1, 2}, n(4), 1, INT64_MIN, 0)), contains("do not fit i32"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1}, n(4), 1, 1, INT64_MIN)), contains("do not fit i32"));
  CHECK_THAT(misfit(Op::window, {cube}, make_window({1}, n(4), 1, 1, 0, 1 << 30)), contains("do not fit i32"));
  CHECK_THAT(misfit(Op::pad, {mask}, window(1, 0, n(5))), contains("not bool"));
  CHECK_THAT(misfit(Op::reduce_sum, {x}, axes({})), contains("no axis"));
  CHECK_THAT(misfit(Op::reduce_sum, {x}, axes({1, 0})), contains("axes must ascend"));
  CHECK_THAT(misfit(Op::reduce_max, {mask}, axes({0})), contains("not bool"));
  CHECK_THAT(misfit(Op::argmax, {x}, axes({0, 1})), contains("exactly one axis, got 2"));
  CHECK_THAT(misfit(Op::argmax, {f32({n(0)})}, axes({0})), contains("no largest"));
  CHECK_THAT(misfit(Op::contract, {x, y}, labels({0, 1}, {0, 1}, {0})), contains("label b is 4 and 5"));
  CHECK_THAT(misfit(Op::contract, {x, i32({n(4)})}, labels({0, 1}, {1}, {0})), contains("one element type"));
  CHECK_THAT(misfit(Op::contract, {x, x}, labels({0, 0}, {0, 1}, {0})), contains("occurs twice in the left operand"));
  CHECK_THAT(misfit(Op::contract, {x, x}, labels({0, 1}, {0, 1}, {2})), contains("label c of the result is in no operand"));
  CHECK_THAT(misfit(Op::contract, {x, x}, labels({0}, {0, 1}, {0})), contains("rank 2 but 1 labels"));
  CHECK_THAT(misfit(Op::contract, {x, x}, labels({0, 1}, {0, 1}, {99})), contains("not in 0..51"));
  CHECK_THAT(misfit(Op::contract, {x, x}, labels({0, 1}, {2, 1}, {0, 2})), contains("row dimension must be outermost"));
  Type table = f32({n(10), n(4)}), index = i32({rows});
  CHECK_THAT(misfit(Op::gather, {table, f32({rows})}, labels({0, 1}, {2}, {2, 1}, {0})), contains("takes i32, i64 or u8"));
  CHECK_THAT(misfit(Op::gather, {table, index}, labels({0, 1}, {0}, {0, 1}, {0})), contains("label a is 10 and B"));
  CHECK_THAT(misfit(Op::gather, {table, i32({n(10)})}, labels({0, 1}, {0}, {1}, {0})), contains("also a label of the index"));
  CHECK_THAT(misfit(Op::gather, {table, index}, labels({0, 1}, {2}, {0, 1}, {0})), contains("also a label of the result"));
  CHECK_THAT(misfit(Op::gather, {table, index}, labels({0, 1}, {2}, {2}, {0})), contains("label b is missing in the result"));
  CHECK_THAT(misfit(Op::gather, {f32({n(0), n(4)}), index}, labels({0, 1}, {2}, {2, 1}, {0})),
             contains("the table f32[0, 4] has no entries along axis 0, so no index fits"));
  CHECK(gives(Op::gather, {f32({n(0), n(4)}), i32({n(0)})}, labels({0, 1}, {2}, {2, 1}, {0})) == "f32[0, 4]");
  CHECK_THAT(misfit(Op::gather, {table, index}, labels({0, 1}, {2}, {2, 1, 3}, {0})), contains("label d of the result is in no operand"));
  auto scatter = [&](std::vector<int> lhs, std::vector<int> rhs, std::vector<int> out, Shape extents) {
    Attributes a = labels(std::move(lhs), std::move(rhs), std::move(out), {0});
    a.extents = std::move(extents);
    return misfit(Op::scatter_add, {x, index}, a);
  };
  CHECK_THAT(scatter({0, 1}, {2}, {3, 1}, {n(10), n(4)}), contains("label c of the index is not a label of the updates"));
  CHECK_THAT(scatter({0, 1}, {0}, {0, 1}, {rows, n(4)}), contains("also a label of the updates"));
  CHECK_THAT(scatter({0, 1}, {0}, {3, 1}, {n(10), n(5)}), contains("label b is 4 and 5"));
  CHECK_THAT(scatter({0, 1}, {0}, {3}, {n(10)}), contains("in neither index nor result"));
  CHECK_THAT(scatter({0, 1}, {0}, {3, 1, 4}, {n(10), n(4), n(2)}), contains("not a label of the updates"));
  CHECK_THAT(scatter({0, 1}, {0}, {3, 1}, {n(10)}), contains("rank 1 but 2 labels"));
}

TEST_CASE("Graph::add checks, users lists each user once", "[ir]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", f32({n(2)}));
  NodeId square = b.mul(x, x);
  NodeId y = b.add(square, x);
  Users users = g.users();
  auto users_of = [&](NodeId node) { return std::vector<NodeId>(users[node.value].begin(), users[node.value].end()); };
  CHECK(users.size() == g.size());
  CHECK(users_of(x) == std::vector<NodeId>{square, y});
  CHECK(users_of(square) == std::vector<NodeId>{y});
  CHECK(users_of(y).empty());
  CHECK_THROWS_AS(g.add(Op::neg, {NodeId{17}}), InternalError);
  CHECK_THROWS_AS(g.add(Op::neg, {}), InternalError);
  // A node of another graph is taken as it is: its type is the adopter's promise, which the verifier holds it to.
  Graph other;
  CHECK_THROWS_AS(other.adopt(Node(g[square])), InternalError);
  NodeId wide = Builder(other).input("x", f32({n(3)}));
  Node taken = g[square];
  taken.operands = {wide, wide};
  taken.group = 7;
  NodeId adopted = other.adopt(std::move(taken));
  CHECK(other.type(adopted) == f32({n(2)}));
  CHECK(other[adopted].group == 7);
  CHECK_FALSE(verify_graph(other).empty());
  other[wide] = g[x];
  CHECK(verify_graph(other).empty());
  g.add_persistent({"w", f32({n(2)}), PersistentKind::parameter, {}});
  CHECK(g.add_persistent({"w", f32({n(2)}), PersistentKind::parameter, {}}) == 0);
  CHECK(g.find_persistent("w") == &g.persistents[0]);
  CHECK(g.find_persistent("v") == nullptr);
  CHECK_THROWS_AS(g.add_persistent({"w", f32({n(3)}), PersistentKind::parameter, {}}), InternalError);
}

TEST_CASE("Builder adds no node for what changes nothing", "[ir]") {
  Graph g;
  Builder b(g, Span{}, "here");
  NodeId x = b.input("x", f32({rows, n(4)}));
  CHECK(b.cast(x, DType::f32) == x);
  CHECK(b.broadcast(x, {rows, n(4)}, {0, 1}) == x);
  CHECK(b.transpose(x, {0, 1}) == x);
  CHECK(b.reshape(x, {rows, n(4)}) == x);
  CHECK(b.slice(x, 1, 0, n(4)) == x);
  CHECK(b.pad(x, 1, 0, n(4)) == x);
  CHECK(b.reduce(Op::reduce_sum, x, {}) == x);
  CHECK(b.mean(x, {}) == x);
  CHECK(g.size() == 1);
  NodeId row_sums = b.reduce(Op::reduce_sum, x, {1});
  NodeId back = b.expand(row_sums, {1}, x);
  CHECK(to_string(g.type(back)) == "f32[B, 4]");
  CHECK(g[back].attributes.axes == std::vector<int>{0});
  CHECK(g[back].scope == "here");
  NodeId scaled = b.mul(x, b.cast(b.scalar("lr"), DType::f32));
  CHECK(to_string(g.type(scaled)) == "f32[B, 4]");
  NodeId chosen = b.select(b.constant(1, boolean({})), x, b.constant(0, f32({})));
  CHECK(to_string(g.type(chosen)) == "f32[B, 4]");
  CHECK(to_string(g.type(b.mean(x, {0}))) == "f32[4]");
  CHECK(verify_graph(g).empty());
}

TEST_CASE("the verifier accepts a sound graph and names each broken invariant", "[ir]") {
  Graph g = sound_graph();
  REQUIRE(verify_graph(g).empty());
  uint32_t last = g.size() - 1;
  SECTION("G1 operand does not precede") {
    g[NodeId{last}].operands[0] = NodeId{last};
    check_broken(g, "G1");
  }
  SECTION("G2 type") {
    g[NodeId{last}].type.dtype = DType::f64;
    check_broken(g, "G2");
  }
  SECTION("G2 arity") {
    g[NodeId{last}].operands.pop_back();
    check_broken(g, "G2");
  }
  SECTION("G3 parameter without persistent") {
    g.persistents.clear();
    check_broken(g, "G3");
  }
  SECTION("G3 persistent of another type") {
    g.persistents[0].type.dtype = DType::f64;
    check_broken(g, "G3");
  }
  SECTION("G3 persistent twice") {
    g.persistents.push_back(g.persistents[0]);
    check_broken(g, "G3");
  }
  SECTION("G3 persistent with rows") {
    g.persistents.push_back({"v", f32({rows}), PersistentKind::state, {}});
    check_broken(g, "G3");
  }
  SECTION("G3 output twice") {
    g.outputs.push_back(g.outputs[0]);
    check_broken(g, "G3");
  }
  SECTION("G3 output of nothing") {
    g.outputs.push_back({"more", NodeId{}});
    check_broken(g, "G3");
  }
  SECTION("G3 update twice") {
    g.updates.push_back(g.updates[0]);
    check_broken(g, "G3");
  }
  SECTION("G3 update of another type") {
    g.updates[0].node = g.outputs[0].node;
    check_broken(g, "G3");
  }
  SECTION("G3 update of nothing declared") {
    g.updates[0].name = "v";
    check_broken(g, "G3");
  }
  SECTION("G3 update of a frozen persistent") {
    g.persistents[0].kind = PersistentKind::frozen;
    check_broken(g, "G3");
  }
  SECTION("G4 rows inside") {
    g[NodeId{0}].type.shape = {n(3), rows};
    check_broken(g, "G4");
  }
  SECTION("G5 stray attribute") {
    g[NodeId{last}].attributes.begin = 3;
    check_broken(g, "G5");
  }
  SECTION("G6 one input of two types") {
    Builder(g).input("x", f32({n(3)}));
    check_broken(g, "G6");
  }
  SECTION("G8 one site of two shapes") {
    Builder(g).random("d#0", {n(3)});
    REQUIRE(verify_graph(g).empty());
    Builder(g).random("d#0", {n(3)});
    REQUIRE(verify_graph(g).empty());
    Builder(g).random("d#0", {n(4)});
    check_broken(g, "G8");
  }
  SECTION("G7 group") {
    g[NodeId{last}].group = -2;
    check_broken(g, "G7");
  }
}

TEST_CASE("an exchange is of a partial sum that its operand updates and nothing else reads", "[ir]") {
  Graph g;
  Builder b(g);
  const NodeId part = b.reduce(Op::reduce_sum, b.input("x", f32({rows, n(3)})), {0});
  g.add_persistent({"partial.0", f32({n(3)}), PersistentKind::partial, {}});
  Attributes a;
  a.text = "partial.0";
  const NodeId whole = g.add(Op::exchange, {part}, a);
  g.outputs = {{"result", b.neg(whole)}};
  g.updates = {{"partial.0", part}};
  REQUIRE(verify_graph(g).empty());
  SECTION("of another kind") {
    for (PersistentKind kind : {PersistentKind::parameter, PersistentKind::state, PersistentKind::optimizer_state}) {
      g.persistents[0].kind = kind;
      check_broken(g, "G10");
    }
  }
  SECTION("updated with something else") {
    g.updates[0].node = g.outputs[0].node;
    check_broken(g, "G10");
  }
  SECTION("updated with nothing") {
    g.updates.clear();
    check_broken(g, "G10");
  }
  SECTION("read as it was") {
    g.outputs.push_back({"before", b.parameter(g.persistents[0])});
    check_broken(g, "G10");
  }
}
