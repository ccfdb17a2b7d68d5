// What the rounding model must never forgive (verify/rounding.h), each as a result that a wrong compiler would give; and the right one, which it must accept.
#include "verify/rounding.h"

#include <cmath>
#include <functional>

#include "tests/unit/catch.h"

using namespace nnc;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

struct Judgement {
  Judgement(DType dtype, std::vector<double> x, std::vector<double> y, const std::function<NodeId(Builder&, NodeId, NodeId)>& make) {
    Builder b(graph);
    int64_t size = int64_t(x.size());
    NodeId p = b.input("x", {dtype, {{size}}}), q = b.input("y", {dtype, {{size}}});
    bindings.inputs["x"] = Tensor{dtype, {size}, std::move(x)};
    bindings.inputs["y"] = Tensor{dtype, {size}, std::move(y)};
    graph.outputs = {{"result", make(b, p, q)}};
  }
  bool accepts(std::vector<double> values) {
    RoundingModel model(graph, bindings);
    Results found = model.expected();
    found.outputs["result"].values = std::move(values);
    return !model.compare(found, Precision::f32).difference;
  }
  Graph graph;
  Bindings bindings;
};

NodeId quotient(Builder& b, NodeId x, NodeId y) { return b.div(x, y); }

}  // namespace

TEST_CASE("a wrong quotient is not forgiven where it shows", "[rounding]") {
  for (Op op : {Op::floor, Op::round, Op::ceil}) {
    Judgement j(DType::f32, {41}, {41}, [op](Builder& b, NodeId x, NodeId y) { return b.unary(op, b.sub(b.div(x, y), b.constant_like(op == Op::round ? 0.5 : 0, x))); });
    INFO(op_name(op));
    double right = op == Op::round ? 0 : 1;
    CHECK(j.accepts({right}));
    CHECK_FALSE(j.accepts({right - 1}));
    CHECK_FALSE(j.accepts({right + 1}));
  }
  Judgement reaches(DType::f32, {41}, {41}, [](Builder& b, NodeId x, NodeId y) { return b.binary(Op::greater_equal, b.div(x, y), b.constant_like(1, x)); });
  CHECK(reaches.accepts({1}));
  CHECK_FALSE(reaches.accepts({0}));
  Judgement index(DType::f32, {41}, {41}, [](Builder& b, NodeId x, NodeId y) { return b.cast(b.div(x, y), DType::i32); });
  CHECK(index.accepts({1}));
  CHECK_FALSE(index.accepts({0}));
  double tiny = 0x1p-130;
  CHECK(Judgement(DType::f32, {tiny}, {tiny}, quotient).accepts({1}));
  CHECK_FALSE(Judgement(DType::f32, {tiny}, {tiny}, quotient).accepts({inf}));
  CHECK_FALSE(Judgement(DType::f32, {0}, {tiny}, quotient).accepts({std::nan("")}));
  CHECK_FALSE(Judgement(DType::f32, {0x1p127}, {0x1p127}, quotient).accepts({0}));
  // But a quotient is rounded to f32.
  CHECK(Judgement(DType::f32, {1}, {3}, quotient).accepts({double(1.0f / 3.0f)}));
}

TEST_CASE("an error in an integer, in // or in % is not forgiven", "[rounding]") {
  for (DType dtype : {DType::i32, DType::f32, DType::f64}) {
    Judgement whole(dtype, {41, 82}, {41, 41}, [](Builder& b, NodeId x, NodeId y) { return b.binary(Op::floor_div, x, y); });
    Judgement rest(dtype, {41, 82}, {41, 41}, [](Builder& b, NodeId x, NodeId y) { return b.binary(Op::floor_mod, x, y); });
    CHECK(whole.accepts({1, 2}));
    CHECK_FALSE(whole.accepts({0, 2}));
    CHECK(rest.accepts({0, 0}));
    CHECK_FALSE(rest.accepts({0, 41}));
  }
  using Make = NodeId (*)(Builder&, NodeId, NodeId);
  const Make same[] = {[](Builder& b, NodeId x, NodeId y) { return b.binary(Op::maximum, x, y); }, [](Builder& b, NodeId x, NodeId y) { return b.add(x, y); },
                       [](Builder& b, NodeId x, NodeId) { return b.unary(Op::abs, x); }};
  for (Make make : same) {
    Judgement j(DType::i32, {16777217}, {0}, make);
    CHECK(j.accepts({16777217}));
    CHECK_FALSE(j.accepts({16777216}));
  }
}

TEST_CASE("a difference of equal values is 0", "[rounding]") {
  double a = double(0.1f), square = double(float(a * a));
  Judgement squares(DType::f32, {a}, {a}, [](Builder& b, NodeId x, NodeId y) { return b.sub(b.mul(x, x), b.mul(y, y)); });
  CHECK(squares.accepts({0}));
  CHECK_FALSE(squares.accepts({a * a - square}));  // one product unrounded, as an FMA takes it up
  const size_t count = 41;
  Judgement mean(DType::f32, std::vector<double>(count, 7), std::vector<double>(count, 7), [](Builder& b, NodeId x, NodeId) { return b.sub(x, b.mean(x, {0})); });
  CHECK(mean.accepts(std::vector<double>(count, 0)));
  float by_reciprocal = 7.0f * float(count) * (1.0f / float(count));
  REQUIRE(by_reciprocal != 7);
  CHECK_FALSE(mean.accepts(std::vector<double>(count, double(7 - by_reciprocal))));
}

TEST_CASE("a finite number stays finite, and a denormal is not 0", "[rounding]") {
  auto half = [](Builder& b, NodeId x, NodeId) { return b.mul(x, 0.5); };
  double largest = double(std::numeric_limits<float>::max()), denormal = 0x1p-140;
  CHECK(Judgement(DType::f32, {largest}, {0}, half).accepts({largest / 2}));
  CHECK_FALSE(Judgement(DType::f32, {largest}, {0}, half).accepts({inf}));
  CHECK(Judgement(DType::f32, {denormal}, {0}, half).accepts({denormal / 2}));
  CHECK_FALSE(Judgement(DType::f32, {denormal}, {0}, half).accepts({0}));
  auto one = [](Builder& b, NodeId x, NodeId) { return b.mul(x, 1.0); };
  CHECK_FALSE(Judgement(DType::f32, {largest}, {0}, one).accepts({inf}));
  CHECK_FALSE(Judgement(DType::f32, {inf}, {0}, one).accepts({largest}));
}

TEST_CASE("what sums and functions may round is forgiven, and no more", "[rounding]") {
  std::vector<double> x;
  for (int i = 0; i < 100; ++i) x.push_back(double(float(0.1 + i * 0.37)));
  double exact = 0;
  float in_order = 0;
  for (double v : x) exact += v, in_order += float(v);
  Judgement sum(DType::f32, x, x, [](Builder& b, NodeId p, NodeId) { return b.reduce(Op::reduce_sum, p, {0}); });
  CHECK(sum.accepts({double(in_order)}));
  CHECK_FALSE(sum.accepts({exact * (1 + 1e-4)}));
  Judgement function(DType::f32, {1}, {1}, [](Builder& b, NodeId p, NodeId) { return b.unary(Op::exp, p); });
  CHECK(function.accepts({double(float(std::exp(1.0)) * (1 + 0x1p-23f))}));
  CHECK_FALSE(function.accepts({std::exp(1.0) * (1 + 0x1p-17)}));
}

TEST_CASE("a factor that all terms of a sum of products share may be taken out, so that the rest overflows", "[rounding]") {
  auto judge = [](std::vector<double> x, std::vector<double> y) {
    return Judgement(DType::f32, x, y, [](Builder& b, NodeId p, NodeId q) { return b.contract(p, q, {0}, {0}, {}); });
  };
  const double nan = std::nan(""), huge = 3e38;
  CHECK(judge({huge, huge}, {0, 0}).accepts({nan}));          // 0 * (huge + huge)
  CHECK(judge({huge, huge}, {0.5, 0.5}).accepts({INFINITY}));
  CHECK_FALSE(judge({huge, huge}, {0, 0.25}).accepts({nan}));  // the factors differ
  CHECK_FALSE(judge({1e38, 1e38}, {0, 0}).accepts({nan}));     // their sum does not overflow
  CHECK_FALSE(judge({huge}, {0}).accepts({nan}));
}

TEST_CASE("terms of a sum of products that overflow may do so to either side, or to both", "[rounding]") {
  auto judge = [](std::vector<double> x, std::vector<double> y) {
    return Judgement(DType::f32, x, y, [](Builder& b, NodeId p, NodeId q) { return b.binary(Op::less_equal, b.contract(p, q, {0}, {0}, {}), b.constant(0.0, Type{DType::f32, {}})); });
  };
  CHECK(judge({1e30, 2e30}, {-1e10, 1e10}).accepts({1}));  // -inf + inf, or -inf + 2e40 in one operation
  CHECK(judge({1e30, 2e30}, {-1e10, 1e10}).accepts({0}));
  CHECK_FALSE(judge({1e30, 2e30}, {-1, 1}).accepts({1}));
}

TEST_CASE("products of a sum may lose half of the smallest number each, and no more", "[rounding]") {
  auto judge = [](std::vector<double> x, std::vector<double> y) {
    return Judgement(DType::f32, x, y, [](Builder& b, NodeId p, NodeId q) { return b.contract(p, q, {0}, {0}, {}); });
  };
  const double smallest = 0x1p-149;
  const std::vector<double> small(40, 1000 * smallest), third(40, double(1 / 3.0f));
  const double exact = 40 * 1000 * double(1 / 3.0f) * smallest;
  CHECK(judge(small, third).accepts({std::round(exact / smallest - 13) * smallest}));
  CHECK_FALSE(judge(small, third).accepts({std::round(exact / smallest - 1000) * smallest}));
  std::vector<double> one(40, 0), factor(40, 0.25);
  one[3] = 1000 * smallest;  // the others are 0, and lose nothing
  CHECK_FALSE(judge(one, factor).accepts({200 * smallest}));
  CHECK_FALSE(judge(one, factor).accepts({0}));
}

TEST_CASE("a number known when compiling is one of f32 in every stage", "[rounding]") {
  // The folded constant is tanh(1) rounded to f32, held against a stage in 64 bits; anything farther off is not forgiven.
  using Known = std::function<NodeId(Builder&, NodeId)>;
  const std::vector<Known> ones{
      [](Builder& b, NodeId x) { return b.constant_like(1, x); },
      [](Builder& b, NodeId x) {
        NodeId zero = b.constant_like(0, x);
        return b.binary(Op::pow, x, zero);
      },
      [](Builder& b, NodeId x) {
        NodeId never = b.constant(0, Type{DType::boolean, b.graph.type(x).shape}), one = b.constant_like(1, x);
        return b.select(never, x, one);
      },
      [](Builder& b, NodeId x) {
        NodeId positive = b.binary(Op::greater, x, b.constant_like(0, x)), one = b.constant_like(1, x);
        return b.select(positive, one, one);
      },
  };
  for (const Known& one : ones) {
    Judgement j(DType::f32, {3}, {3}, [&](Builder& b, NodeId x, NodeId) { return b.unary(Op::tanh, one(b, x)); });
    RoundingModel model(j.graph, j.bindings);
    auto accepts = [&](double value) {
      Results found = model.expected();
      found.outputs["result"].values = {value};
      return !model.compare(found, Precision::f64).difference;
    };
    CHECK(accepts(double(float(std::tanh(1.0)))));
    CHECK_FALSE(accepts(std::tanh(1.0) + 1e-4));
  }
  Judgement unknown(DType::f32, {1}, {1}, [](Builder& b, NodeId x, NodeId) { return b.unary(Op::tanh, x); });
  RoundingModel model(unknown.graph, unknown.bindings);
  Results found = model.expected();
  found.outputs["result"].values = {double(float(std::tanh(1.0)))};
  CHECK(model.compare(found, Precision::f64).difference);
}

TEST_CASE("what is known when compiling may be folded node by node", "[rounding]") {
  // 1 / 72 + 1 / 9 is 0.125: of numbers of f32 it is not, in 64 bits, and is again once the sum is one of f32 too. `of` gives what is divided.
  using Dividend = std::function<NodeId(Builder&, NodeId)>;
  auto sum = [](const Dividend& of) {
    return Judgement(DType::f32, {1}, {1}, [&of](Builder& b, NodeId x, NodeId) {
      NodeId first = b.constant(0, Type{DType::i32, b.graph.type(x).shape});
      Attributes by_index;
      by_index.axes = {0};
      by_index.lhs = {0}, by_index.rhs = {1}, by_index.out = {1};
      NodeId small = b.graph.add(Op::gather, {b.div(of(b, x), b.constant_like(72, x)), first}, by_index);
      return b.add(small, b.div(of(b, x), b.constant_like(9, x)));
    });
  };
  const double terms = double(float(1.0 / 72)) + double(float(1.0 / 9));
  REQUIRE(terms != 0.125);
  REQUIRE(double(float(terms)) == 0.125);
  auto accepts = [](RoundingModel& model, double value) {
    Results found = model.expected();
    found.outputs["result"].values = {value};
    return !model.compare(found, Precision::f64).difference;
  };
  Judgement known = sum([](Builder& b, NodeId x) { return b.constant_like(1, x); });
  RoundingModel model(known.graph, known.bindings);
  for (const std::vector<std::string>& passes : {std::vector<std::string>{}, {"simplify"}, {"fold"}, {"simplify", "fold", "simplify"}}) {
    Route route = Route::plain();
    route.passes = passes;
    route.executor = Executor::graph_interpreter;
    INFO(route.text());
    CHECK_FALSE(model.compare(run_route(known.graph, known.bindings, route), Precision::f64).difference);
  }
  CHECK(accepts(model, terms));
  CHECK(accepts(model, double(float(1.0 / 72)) + 1.0 / 9));
  CHECK(accepts(model, 0.125));
  CHECK_FALSE(accepts(model, 0.125 + 1e-6));
  // Of an input nothing is folded, beside nodes that are known when compiling no more than alone.
  Judgement unknown = sum([](Builder&, NodeId x) { return x; });
  Builder b(unknown.graph);
  unknown.graph.outputs.push_back({"known", b.div(b.constant(1, {DType::f32, {}}), b.constant(9, {DType::f32, {}}))});
  RoundingModel both(unknown.graph, unknown.bindings);
  CHECK(accepts(both, 0.125));
  CHECK_FALSE(accepts(both, terms));
  CHECK_FALSE(accepts(both, double(float(1.0 / 72)) + 1.0 / 9));
  Results found = both.expected();
  found.outputs["known"].values = {double(float(1.0 / 9))};
  CHECK_FALSE(both.compare(found, Precision::f64).difference);
}
