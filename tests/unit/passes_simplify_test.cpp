// Every simplification rule: that it matches what it is for, and that values are kept as exactly as simplify_rules.def says. Then random graphs.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "ir/window.h"
#include "passes/cse.h"
#include "passes/dead_code.h"
#include "passes/differentiate.h"
#include "ir/interpreter_ops.h"
#include "passes/fold.h"
#include "passes/rewrite.h"
#include "passes/simplify.h"
#include "tests/unit/catch.h"
#include "tests/unit/ir_random_graph.h"

using namespace nnc;
using namespace nnc::test;

namespace {

Extent n(int64_t size) { return {size, false}; }
const Extent rows{1, true};
const DType f32 = DType::f32;

// A case gives the result; leaves are made with x() (random numbers, and special ones where the rule claims to keep them) and m() (bool).
struct Case {
  Graph graph;
  Builder b{graph};
  int leaves = 0;
  NodeId x(Shape shape = {rows, {12, false}}, DType dtype = DType::f32) { return b.input("x" + std::to_string(leaves++), {dtype, std::move(shape)}); }
  NodeId m(Shape shape = {rows, {12, false}}) { return x(std::move(shape), DType::boolean); }
  NodeId c(double value, NodeId like) { return b.constant_like(value, like); }
};
using MakeCase = std::function<NodeId(Case&)>;

std::multimap<std::string, MakeCase> rule_cases() {
  std::multimap<std::string, MakeCase> cases;
  auto add = [&](const char* rule, MakeCase make) { cases.emplace(rule, std::move(make)); };
  add("constants", [](Case& c) { NodeId x = c.x(); return c.b.mul(x, c.b.unary(Op::exp, c.c(0.5, x))); });
  add("constants", [](Case& c) { return c.b.mul(c.x({n(3)}), c.b.broadcast(c.b.constant(2, {f32, {}}), {n(3)}, {})); });
  add("constants", [](Case& c) { NodeId x = c.x(); return c.b.select(c.b.binary(Op::less, c.c(1, x), c.c(2, x)), x, c.b.neg(x)); });
  add("constants", [](Case& c) { return c.b.mul(c.x({n(3)}), c.b.cast(c.b.extent(n(7)), DType::f32)); });
  add("constant_right", [](Case& c) { NodeId x = c.x(); return c.b.add(c.c(3, x), x); });
  add("constant_right", [](Case& c) { NodeId x = c.x(); return c.b.mul(c.c(3, x), x); });
  add("add_zero", [](Case& c) { return c.b.add(c.x(), -0.0); });
  add("add_zero", [](Case& c) { NodeId i = c.b.cast(c.m(), DType::i32); return c.b.add(i, 0.0); });
  add("add_zero", [](Case& c) { NodeId x = c.x(); return c.b.sub(x, c.c(0, x)); });
  add("subtract_constant", [](Case& c) { NodeId x = c.x(); return c.b.sub(x, c.c(3, x)); });
  add("multiply_one", [](Case& c) { return c.b.mul(c.x(), 1.0); });
  add("multiply_one", [](Case& c) { NodeId x = c.x(); return c.b.div(x, c.c(1, x)); });
  add("multiply_minus_one", [](Case& c) { return c.b.mul(c.x(), -1.0); });
  add("divide_by_power_of_two", [](Case& c) { NodeId x = c.x(); return c.b.div(x, c.c(8, x)); });
  add("divide_by_power_of_two", [](Case& c) { NodeId x = c.x(); return c.b.div(x, c.c(-0.25, x)); });
  add("add_twice", [](Case& c) { NodeId x = c.x(); return c.b.add(x, x); });
  add("negate_twice", [](Case& c) { return c.b.neg(c.b.neg(c.x())); });
  add("negate_product", [](Case& c) { return c.b.neg(c.b.mul(c.x(), 3.0)); });
  add("negate_product", [](Case& c) { return c.b.mul(c.b.neg(c.x()), 3.0); });
  add("add_negated", [](Case& c) { return c.b.add(c.x(), c.b.neg(c.x())); });
  add("add_negated", [](Case& c) { return c.b.sub(c.x(), c.b.neg(c.x())); });
  add("add_negated", [](Case& c) { return c.b.add(c.b.neg(c.x()), c.x()); });
  add("multiply_negated", [](Case& c) { return c.b.mul(c.b.neg(c.x()), c.b.neg(c.x())); });
  add("multiply_negated", [](Case& c) { return c.b.mul(c.x(), c.b.neg(c.x())); });
  add("multiply_negated", [](Case& c) { return c.b.mul(c.b.neg(c.x()), c.x()); });
  add("absolute", [](Case& c) { return c.b.unary(Op::abs, c.b.neg(c.x())); });
  add("absolute", [](Case& c) { return c.b.unary(Op::abs, c.b.unary(Op::abs, c.x())); });
  for (double e : {0.0, 1.0, 2.0, 3.0, -1.0})
    add("power", [e](Case& c) { NodeId x = c.x(); return c.b.binary(Op::pow, x, c.c(e, x)); });
  for (double e : {0.5, -0.5, 1.5})
    add("power_root", [e](Case& c) { NodeId x = c.b.unary(Op::abs, c.x()); return c.b.binary(Op::pow, x, c.c(e, x)); });
  add("select_known", [](Case& c) { NodeId x = c.x(); return c.b.select(c.m(), x, x); });
  add("select_known", [](Case& c) { return c.b.select(c.b.constant(0, {DType::boolean, {rows, n(12)}}), c.x(), c.x()); });
  add("select_not", [](Case& c) { return c.b.select(c.b.unary(Op::logical_not, c.m()), c.x(), c.x()); });
  add("select_nested", [](Case& c) { NodeId m = c.m(), x = c.x(); return c.b.select(m, c.b.select(m, x, c.x()), c.x()); });
  add("select_nested", [](Case& c) { NodeId m = c.m(), x = c.x(); return c.b.select(m, x, c.b.select(m, c.x(), c.x())); });
  add("logic", [](Case& c) { return c.b.unary(Op::logical_not, c.b.unary(Op::logical_not, c.m())); });
  add("logic", [](Case& c) { return c.b.unary(Op::logical_not, c.b.binary(Op::equal, c.x(), c.x())); });
  add("logic", [](Case& c) { return c.b.unary(Op::logical_not, c.b.binary(Op::not_equal, c.x(), c.x())); });
  for (Op op : {Op::logical_and, Op::logical_or}) {
    add("logic", [op](Case& c) { NodeId m = c.m(); return c.b.binary(op, m, m); });
    for (double known : {0.0, 1.0}) {
      add("logic", [=](Case& c) { NodeId m = c.m(); return c.b.binary(op, m, c.c(known, m)); });
      add("logic", [=](Case& c) { NodeId m = c.m(); return c.b.binary(op, c.c(known, m), m); });
    }
  }
  add("extreme_of_same", [](Case& c) { NodeId x = c.x(); return c.b.binary(Op::maximum, x, x); });
  add("extreme_of_same", [](Case& c) { NodeId x = c.x(); return c.b.binary(Op::minimum, x, x); });
  add("cast_chain", [](Case& c) { return c.b.cast(c.b.cast(c.x({n(8)}, DType::u8), DType::i32), f32); });
  add("cast_chain", [](Case& c) { return c.b.cast(c.b.cast(c.m(), f32), DType::i32); });
  add("cast_chain", [](Case& c) { return c.b.cast(c.b.cast(c.x(), DType::f64), DType::i32); });
  add("nothing_moved", [](Case& c) {
    Attributes a;
    a.axes = {0, 1};
    return c.graph.add(Op::transpose, {c.x()}, a);
  });
  add("broadcast_twice", [](Case& c) { return c.b.broadcast(c.b.broadcast(c.x({n(3)}), {rows, n(3)}, {1}), {rows, n(2), n(3)}, {0, 2}); });
  add("transpose_twice", [](Case& c) { return c.b.transpose(c.b.transpose(c.x({n(2), n(3), n(4)}), {1, 2, 0}), {1, 0, 2}); });
  add("reshape_twice", [](Case& c) { return c.b.reshape(c.b.reshape(c.x(), {Extent{12, true}}), {rows, n(3), n(4)}); });
  add("reshape_spread", [](Case& c) { return c.b.reshape(c.x({rows, n(3), n(4)}), {rows, n(1), n(3), n(4), n(1)}); });
  add("reshape_spread", [](Case& c) { return c.b.reshape(c.x({n(3), n(1), n(4)}), {n(3), n(1), n(1), n(4), n(1)}); });
  add("reshape_of_spread", [](Case& c) { return c.b.reshape(c.b.broadcast(c.x({rows, n(12)}), {rows, n(1), n(12)}, {0, 2}), {rows, n(3), n(4)}); });
  add("reshape_number", [](Case& c) { return c.b.reshape(c.b.broadcast(c.x({}), {rows, n(4)}, {}), {Extent{4, true}}); });
  add("slice_twice", [](Case& c) { return c.b.slice(c.b.slice(c.x(), 1, 2, n(8)), 1, 3, n(4)); });
  add("slice_broadcast", [](Case& c) { return c.b.slice(c.b.broadcast(c.x({rows}), {rows, n(8)}, {0}), 1, 3, n(4)); });
  add("transpose_broadcast", [](Case& c) { return c.b.transpose(c.b.broadcast(c.x({n(2), n(3)}), {n(2), n(5), n(3)}, {0, 2}), {2, 0, 1}); });
  add("sink_into_broadcast", [](Case& c) {
    return c.b.mul(c.b.broadcast(c.x({n(12)}), {rows, n(12)}, {1}), c.b.broadcast(c.x({}), {rows, n(12)}, {}));
  });
  add("sink_into_broadcast", [](Case& c) { return c.b.unary(Op::abs, c.b.broadcast(c.x({n(12)}), {rows, n(12)}, {1})); });
  add("sink_into_broadcast", [](Case& c) {
    NodeId x = c.b.broadcast(c.x({rows}), {rows, n(3), n(2)}, {0}), y = c.b.broadcast(c.x({n(2)}), {rows, n(3), n(2)}, {2});
    return c.b.select(c.b.binary(Op::less, x, y), x, c.c(2, x));
  });
  add("sink_into_transpose", [](Case& c) {
    NodeId x = c.b.transpose(c.x({n(3), n(4)}), {1, 0}), y = c.b.transpose(c.x({n(3), n(4)}), {1, 0});
    return c.b.select(c.b.binary(Op::less, x, c.c(1, x)), c.c(0, x), y);
  });
  for (Op op : {Op::reduce_sum, Op::reduce_max, Op::reduce_min}) {
    add("reduce_broadcast", [op](Case& c) { return c.b.reduce(op, c.b.broadcast(c.x({n(3)}), {n(4), n(3)}, {1}), {0}); });
    add("reduce_broadcast", [op](Case& c) { return c.b.reduce(op, c.b.broadcast(c.x({rows, n(2)}), {rows, n(2), n(5)}, {0, 1}), {1, 2}); });
    add("reduce_broadcast", [op](Case& c) { return c.b.reduce(op, c.b.broadcast(c.x({n(3)}), {n(4), n(3)}, {1}), {1}); });
    add("reduce_twice", [op](Case& c) { return c.b.reduce(op, c.b.reduce(op, c.x({n(2), n(3), n(4), n(2)}), {1}), {0, 2}); });
    add("reduce_transpose", [op](Case& c) { return c.b.reduce(op, c.b.transpose(c.x({n(2), n(3), n(4)}), {2, 1, 0}), {1}); });
  }
  add("reduce_broadcast", [](Case& c) { return c.b.reduce(Op::reduce_sum, c.b.broadcast(c.x({n(3)}), {Extent{2, true}, n(3)}, {1}), {0}); });
  add("sum_of_product", [](Case& c) {
    Shape all = {rows, n(3), n(4)};
    return c.b.reduce(Op::reduce_sum, c.b.mul(c.b.broadcast(c.x({rows, n(4)}), all, {0, 2}), c.b.broadcast(c.x({n(3), n(4)}), all, {1, 2})), {2});
  });
  auto matrix_product = [](Case& c, NodeId x, NodeId y, std::vector<int> out) { return c.b.contract(x, y, {0, 1}, {1, 2}, out); };
  add("contract_transpose", [=](Case& c) { return matrix_product(c, c.b.transpose(c.x({n(4), n(3)}), {1, 0}), c.x({n(4), n(2)}), {0, 2}); });
  add("contract_transpose", [](Case& c) {
    return c.b.contract(c.x({n(5)}), c.b.transpose(c.x({n(2), n(3), n(5)}), {2, 0, 1}), {0}, {0, 1, 2}, {2, 1});
  });
  add("contract_transpose", [=](Case& c) { return c.b.transpose(matrix_product(c, c.x({n(3), n(4)}), c.x({n(4), n(2)}), {0, 2}), {1, 0}); });
  add("contract_broadcast", [=](Case& c) { return matrix_product(c, c.b.broadcast(c.x({n(4)}), {rows, n(4)}, {1}), c.x({n(4), n(2)}), {0, 2}); });
  add("contract_broadcast", [=](Case& c) { return matrix_product(c, c.x({rows, n(4)}), c.b.broadcast(c.x({n(2)}), {n(4), n(2)}, {1}), {0, 2}); });
  add("contract_broadcast", [=](Case& c) { return matrix_product(c, c.b.constant(0.5, {f32, {rows, n(4)}}), c.x({n(4), n(2)}), {2, }); });
  add("contract_broadcast", [](Case& c) {  // a repeated label that is summed and in no other operand
    return c.b.contract(c.b.broadcast(c.x({n(4)}), {rows, n(4)}, {1}), c.x({n(4), n(2)}), {0, 1}, {1, 2}, {2});
  });
  add("contract_lone_sum", [](Case& c) { return c.b.contract(c.x({rows, n(4), n(3)}), c.x({n(4), n(2), n(5)}), {0, 1, 2}, {1, 3, 4}, {0, 3}); });
  auto window_of = [](Case& c, NodeId x, Attributes a) { return c.b.window(x, std::move(a)); };
  add("nothing_moved", [=](Case& c) { return window_of(c, c.x(), make_window({1}, n(12), 1, 1, 0)); });
  add("nothing_moved", [=](Case& c) { return window_of(c, c.x({rows, n(4), n(1)}), make_window({1, 2}, n(4), 1, 3, 0)); });
  // The gradient of a convolution: y[b, o, t], w[o, c, k] -> x[b, c, t, k], read back along t by k.
  add("window_contract", [=](Case& c) {
    NodeId y = c.x({rows, n(3), n(5)}), w = c.x({n(3), n(2), n(4)});
    NodeId x = c.b.contract(y, w, {0, 1, 2}, {1, 3, 4}, {0, 3, 2, 4});
    return window_of(c, x, make_window({2, 3}, n(7), 1, -1, 1));
  });
  add("window_contract", [=](Case& c) {
    NodeId w = c.x({n(3), n(2), n(4)}), y = c.x({rows, n(3), n(5)});
    NodeId x = c.b.contract(w, y, {1, 3, 4}, {0, 1, 2}, {0, 4, 3, 2});
    return window_of(c, x, make_window({3, 1}, n(9), 1, -2, 1, 2));
  });
  add("window_contract", [=](Case& c) {
    NodeId x = c.x({rows, n(6)}), w = c.x({n(6), n(9)});
    return window_of(c, c.b.contract(x, w, {0, 1}, {1, 2}, {0, 2}), make_window({1}, n(4), 2, 1, -1));
  });
  add("window_merge", [=](Case& c) { return c.b.reduce(Op::reduce_sum, window_of(c, c.x({rows, n(4), n(2)}), make_window({1, 2}, n(8), 1, -1, 0, 2)), {2}); });
  add("window_merge", [=](Case& c) { return c.b.reduce(Op::reduce_sum, window_of(c, c.x({rows, n(3), n(5), n(4)}), make_window({3, 1}, n(14), 1, -1, 0, 3)), {1, 2}); });
  add("reduce_contract", [=](Case& c) {
    NodeId x = window_of(c, c.x({rows, n(6), n(3)}), make_window({1, 2}, n(6), 1, 1, -1)), w = c.x({n(3), n(2)});
    return c.b.reduce(Op::reduce_sum, c.b.contract(x, w, {0, 1, 2}, {2, 3}, {0, 1, 2, 3}), {2});
  });
  add("contract_nothing", [](Case& c) { return c.b.contract(c.x({n(4)}), c.x({n(3)}), {0}, {1}, {1, 0}); });
  add("contract_nothing", [](Case& c) { return c.b.contract(c.x({rows, n(3)}), c.x({n(3)}), {0, 1}, {1}, {0, 1}); });
  add("contract_nothing", [](Case& c) { return c.b.contract(c.x({}), c.x({rows, n(3)}), {}, {0, 1}, {1}); });
  return cases;
}

Bindings fill(const Graph& graph, uint64_t seed, bool specials) {
  Bindings bindings = random_bindings(graph, 7, seed);
  constexpr double inf = std::numeric_limits<double>::infinity();
  constexpr double list[] = {inf, -inf, std::numeric_limits<double>::quiet_NaN(), 0.0, -0.0, 1, -1, 1e300, 1e-300};
  RandomStream random(seed, stable_hash("specials"));
  for (auto& [name, tensor] : bindings.inputs)
    for (double& v : tensor.values) {
      if (tensor.dtype == DType::u8) v = double(random.next_below(256));
      if (specials && is_float(tensor.dtype) && random.next_below(2)) v = list[random.next_below(std::size(list))];
    }
  return bindings;
}

bool agree(double a, double b, Validity validity, DType dtype) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (validity == Validity::exact) return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
  // A rule that makes a constant of f32 rounds it, and what stands behind it is off by as much, once for each.
  const double relative = dtype == DType::f32 ? 8 * unit_roundoff(dtype) : 1e-11;
  return a == b || (validity >= Validity::rounding && std::fabs(a - b) <= relative * (std::fabs(a) + std::fabs(b) + (validity == Validity::range)));
}

void round_to_type(InterpreterCall& call) {
  for (double& v : call.result.values) v = rounded_to(call.result.dtype, v);
}

void check_agreement(const Graph& before, const Graph& after, const Bindings& bindings, Validity validity, const ValueHook& hook = {}) {
  Results x = interpret(before, bindings, false, hook), y = interpret(after, bindings, false, hook);
  auto compare = [&](const std::map<std::string, Tensor>& p, const std::map<std::string, Tensor>& q) {
    REQUIRE(p.size() == q.size());
    for (const auto& [name, tensor] : p) {
      const Tensor& other = q.at(name);
      REQUIRE(other.shape == tensor.shape);
      REQUIRE(other.dtype == tensor.dtype);
      int different = 0;
      for (size_t i = 0; i < tensor.values.size(); ++i)
        if (!agree(tensor.values[i], other.values[i], validity, is_float(tensor.dtype) ? tensor.dtype : DType::f64) && !different++)
          FAIL_CHECK(name << "[" << i << "]: " << tensor.values[i] << " became " << other.values[i] << "\n"
                          << print_graph(before, nullptr) << print_graph(after, nullptr));
    }
  };
  compare(x.outputs, y.outputs);
  compare(x.updates, y.updates);
}

}  // namespace

TEST_CASE("every simplification rule applies and keeps values as it says", "[simplify]") {
  std::multimap<std::string, MakeCase> cases = rule_cases();
  for (size_t rule = 0; rule < simplify_rules().size(); ++rule) {
    const SimplifyRule& r = simplify_rules()[rule];
    INFO("rule " << r.name << ": " << r.meaning);
    auto [first, last] = cases.equal_range(std::string(r.name));
    REQUIRE(first != last);
    int number = 0;
    for (auto it = first; it != last; ++it) {
      INFO("case " << number++);
      Case c;
      NodeId result = it->second(c);
      c.graph.outputs.push_back({"result", result});
      REQUIRE(verify_graph(c.graph).empty());
      Graph alone = c.graph, all = c.graph;
      CHECK(simplify_with(alone, r.name)[rule] > 0);
      CHECK(verify_graph(alone).empty());
      simplify(all);
      CHECK(verify_graph(all).empty());
      for (uint64_t seed = 1; seed <= 10; ++seed) {
        // What is exact has the bits of compiled code, where every value is one of its type, as a folded constant is.
        const ValueHook hook = r.validity == Validity::exact ? ValueHook(round_to_type) : ValueHook();
        check_agreement(c.graph, alone, fill(c.graph, seed, false), r.validity, hook);
        if (r.validity != Validity::range) check_agreement(c.graph, alone, fill(c.graph, seed, true), r.validity, hook);
        check_agreement(c.graph, all, fill(c.graph, seed, false), Validity::range);
      }
    }
  }
  for (const auto& [name, make] : cases) {
    bool known = false;
    for (const SimplifyRule& r : simplify_rules()) known |= r.name == name;
    CHECK(known);
  }
}

TEST_CASE("powers that become roots keep what IEEE says of zeros, infinity and NaN", "[simplify]") {
  constexpr double inf = std::numeric_limits<double>::infinity();
  for (double exponent : {0.5, -0.5, 1.5})
    for (double value : {-0.0, 0.0, inf, -inf, std::nan(""), 0x1p-1074, -1.0}) {
      INFO(value << " ^ " << exponent);
      Case c;
      NodeId x = c.x({});
      NodeId power = c.b.binary(Op::pow, x, c.c(exponent, x));
      c.graph.outputs.push_back({"result", power});
      Bindings bindings = fill(c.graph, 1, false);
      bindings.inputs.begin()->second.values = {value};
      Graph after = c.graph;
      REQUIRE(std::ranges::any_of(simplify_with(after, "power_root"), [](int count) { return count > 0; }));
      double before = std::pow(value, exponent), root = interpret(after, bindings).outputs.at("result").values[0];
      CHECK((std::isnan(before) ? std::isnan(root) : std::fabs(root - before) <= 1e-15 * before || root == before));
      CHECK((std::isnan(before) || std::signbit(root) == std::signbit(before)));
    }
}

TEST_CASE("rules leave alone what others still need, and what would lose something", "[simplify]") {
  auto counts = [](const char* rule, std::function<std::vector<NodeId>(Case&)> make) {
    Case c;
    std::vector<NodeId> outputs = make(c);
    for (size_t i = 0; i < outputs.size(); ++i) c.graph.outputs.push_back({"out" + std::to_string(i), outputs[i]});
    int total = 0;
    for (int count : simplify_with(c.graph, rule)) total += count;
    return total;
  };
  Shape all = {rows, n(3), n(4)};
  // The product, the inner sum or the contraction is computed anyway: doing it again in another form would be more work.
  CHECK(counts("sum_of_product", [&](Case& c) {
          NodeId product = c.b.mul(c.b.broadcast(c.x({rows, n(4)}), all, {0, 2}), c.b.broadcast(c.x({n(3), n(4)}), all, {1, 2}));
          return std::vector{c.b.reduce(Op::reduce_sum, product, {2}), product};
        }) == 0);
  CHECK(counts("sum_of_product", [&](Case& c) {  // one factor is as large as the product: a reduction, fused with what makes the factor
          return std::vector{c.b.reduce(Op::reduce_sum, c.b.mul(c.x(all), c.b.broadcast(c.x({n(4)}), all, {2})), {2})};
        }) == 0);
  CHECK(counts("reduce_twice", [&](Case& c) {
          NodeId inner = c.b.reduce(Op::reduce_sum, c.x(all), {2});
          return std::vector{c.b.reduce(Op::reduce_sum, inner, {1}), inner};
        }) == 0);
  CHECK(counts("contract_transpose", [&](Case& c) {
          NodeId product = c.b.contract(c.x({n(3), n(4)}), c.x({n(4), n(2)}), {0, 1}, {1, 2}, {0, 2});
          return std::vector{c.b.transpose(product, {1, 0}), product};
        }) == 0);
  for (auto [from, over, to] : {std::tuple{DType::i32, DType::f32, DType::i32}, {DType::f64, f32, DType::f64}, {f32, DType::i32, f32}, {f32, DType::u8, f32}})
    CHECK(counts("cast_chain", [&, from = from, over = over, to = to](Case& c) { return std::vector{c.b.cast(c.b.cast(c.x({n(4)}, from), over), to)}; }) ==
          0);
  // The largest of no rows is not the repeated value.
  CHECK(counts("reduce_broadcast", [&](Case& c) { return std::vector{c.b.reduce(Op::reduce_max, c.b.broadcast(c.x({n(3)}), {rows, n(3)}, {1}), {0})}; }) == 0);
  // The axes of a repeated vector have nothing to do with those of another shape, and two turns of a cube may differ.
  CHECK(counts("reshape_number", [&](Case& c) {
          return std::vector{c.b.reshape(c.b.broadcast(c.x({n(4)}), {n(3), n(4)}, {1}), {n(12)})};
        }) == 0);
  CHECK(counts("sink_into_transpose", [&](Case& c) {
          Shape cube = {n(3), n(3), n(3)};
          return std::vector{c.b.add(c.b.transpose(c.x(cube), {1, 2, 0}), c.b.transpose(c.x(cube), {2, 0, 1}))};
        }) == 0);
  // Reciprocals that round, that overflow in f32, or that are denormal there.
  for (double divisor : {3.0, 41.0, 0x1p-128, 0x1p127, 0x1p200})
    CHECK(counts("divide_by_power_of_two", [&](Case& c) { NodeId x = c.x(); return std::vector{c.b.div(x, c.c(divisor, x))}; }) == 0);
  // -0 + 0 is 0.
  CHECK(counts("add_zero", [&](Case& c) { return std::vector{c.b.add(c.x(), 0.0)}; }) == 0);
  CHECK(counts("add_zero", [&](Case& c) { NodeId x = c.x(); return std::vector{c.b.sub(x, c.c(-0.0, x))}; }) == 0);
}

TEST_CASE("simplification comes to an end and keeps the values of random graphs", "[simplify][random]") {
  int applied = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    INFO("seed " << seed);
    Graph before = random_graph(seed, {.nodes = 40});
    Graph after = before;
    for (int count : simplify(after)) applied += count;
    CHECK(verify_graph(after).empty());
    check_agreement(before, after, random_bindings(before, 3, seed), Validity::range);
    Graph again = after;
    for (int count : simplify(again)) CHECK(count == 0);
    CHECK(print_graph(again, nullptr) == print_graph(after, nullptr));
  }
  CHECK(applied > 300);
}

TEST_CASE("simplified gradients of random graphs keep their values", "[simplify][random]") {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    INFO("seed " << seed);
    Graph before = random_graph(seed, {.nodes = 25});
    Builder b(before);
    NodeId last = before.outputs.back().node;
    std::vector<int> all;
    for (int i = 0; i < before.type(last).rank(); ++i) all.push_back(i);
    before.outputs = {{"loss", b.reduce(Op::reduce_sum, last, all)}};
    before.updates.clear();
    differentiate_loss(before);
    REQUIRE(before.outputs.size() >= 2);
    REQUIRE(verify_graph(before).empty());
    Graph after = before;
    simplify(after);
    CHECK(verify_graph(after).empty());
    check_agreement(before, after, random_bindings(before, 3, seed), Validity::range);
  }
}

// The inputs of type f32 become constants, so that there is something to fold.
static Graph with_constant_inputs(const Graph& graph) {
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op == Op::input && node.type.dtype == f32)
      rebuild.to[i] = Builder(rebuild.result).constant(0.25 * double(i), node.type);
    else
      rebuild.copy({i});
  }
  return rebuild.finish();
}

TEST_CASE("folding, merging and removing keep the values of random graphs", "[simplify][random]") {
  int merged = 0, removed = 0, folded = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    INFO("seed " << seed);
    Graph before = random_graph(seed, {.nodes = 40, .tame = false, .decorate = true});
    Bindings bindings = random_bindings(before, 3, seed);
    Graph cse = before, dead = before, fold = with_constant_inputs(before);
    const Graph constant = fold;
    merged += merge_common_subexpressions(cse);
    remove_dead_code(dead);
    fold_constants(fold);
    removed += dead.size() < before.size();
    folded += fold.size() < dead.size();
    for (const Graph* after : {&cse, &dead}) {
      CHECK(verify_graph(*after).empty());
      check_agreement(before, *after, bindings, Validity::exact);
    }
    CHECK(verify_graph(fold).empty());
    // A folded value is a constant, and so a number of its type: every other value is rounded likewise. A sum of n equal numbers is a product.
    check_agreement(constant, fold, bindings, Validity::rounding, round_to_type);
    CHECK_FALSE(merge_common_subexpressions(cse));
  }
  CHECK(merged > 5);
  CHECK(removed > 5);
  CHECK(folded > 5);
}

TEST_CASE("common subexpressions: operands in any order, constants by their bits", "[cse]") {
  Graph g;
  Builder b(g, {}, "first");
  NodeId x = b.input("x", {f32, {n(3)}}), y = b.input("y", {f32, {n(3)}});
  NodeId one = b.add(x, y), two = Builder(g, {}, "second").add(y, x);
  g.outputs = {{"sum", b.mul(one, two)},
               {"difference", b.sub(b.sub(x, y), b.sub(y, x))},
               {"zeros", b.sub(b.unary(Op::abs, b.constant(0, {f32, {n(3)}})), b.div(x, b.constant(-0.0, {f32, {n(3)}})))}};
  uint32_t before = g.size();
  CHECK(merge_common_subexpressions(g));
  CHECK(g.size() == before - 1);
  CHECK(g[one].scope == "first");
  const Node& product = g[g.outputs[0].node];
  CHECK(product.operands[0] == product.operands[1]);
}

TEST_CASE("dead code: outputs and updates live, persistents stay", "[dead_code]") {
  Graph g;
  Builder b(g);
  NodeId w = b.parameter({"w", {f32, {n(3)}}, PersistentKind::parameter, {}});
  NodeId unread = b.parameter({"unread", {f32, {n(3)}}, PersistentKind::state, {}});
  NodeId next = b.mul(w, 0.5);
  b.mul(unread, next);
  g.outputs = {{"result", b.neg(w)}};
  g.updates = {{"w", next}};
  remove_dead_code(g);
  CHECK(g.size() == 4);
  CHECK(g.persistents.size() == 2);
  CHECK(g[g.updates[0].node].op == Op::mul);
  CHECK(g[g.outputs[0].node].op == Op::neg);
}

TEST_CASE("a number that would overflow f32 is not folded", "[fold]") {
  Graph g;
  Builder b(g);
  NodeId x = b.constant(1e30, {f32, {}});
  g.outputs = {{"huge", b.mul(x, x)}, {"nan", b.sub(b.constant(INFINITY, {f32, {}}), b.constant(INFINITY, {f32, {}}))}, {"fine", b.mul(x, 1e-30)}};
  fold_constants(g);
  CHECK(g[g.outputs[0].node].op == Op::mul);
  CHECK(g[g.outputs[1].node].op == Op::sub);
  REQUIRE(g[g.outputs[2].node].op == Op::constant);
  CHECK(g[g.outputs[2].node].attributes.number == Approx(1));
}

TEST_CASE("the largest of no elements is no element", "[fold]") {
  Graph g;
  Builder b(g);
  NodeId nothing = b.constant(3, {f32, {n(0), n(2)}}), something = b.constant(3, {f32, {n(4), n(2)}});
  g.outputs = {{"nothing", b.reduce(Op::reduce_max, nothing, {0})}, {"something", b.reduce(Op::reduce_max, something, {0})}};
  fold_constants(g);
  CHECK(g[g.outputs[0].node].op == Op::reduce_max);
  CHECK(g[g.outputs[1].node].op == Op::constant);
}

TEST_CASE("erase_stop_gradient leaves the operand", "[simplify]") {
  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {f32, {n(2)}});
  g.outputs = {{"result", b.neg(b.unary(Op::stop_gradient, x))}};
  erase_stop_gradient(g);
  CHECK(verify_graph(g).empty());
  CHECK(g[g.outputs[0].node].operands[0] == x);
  for (const Node& node : g.nodes()) CHECK(node.op != Op::stop_gradient);
}
