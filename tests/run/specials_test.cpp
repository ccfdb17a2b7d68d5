// NaN, infinities and zeros through every operation: one case for each line of ir/ops.def (an operation without one does not
// link, by its name). Compiled code, with every operation a kernel of its own and fully fused, on every vector level (f64: on the
// best), gives the class of number that the interpreter gives: NaN, +inf, -inf, +0, -0 or finite, each at its own place, so that
// a special value neither gets lost nor spreads to its neighbours (vector tails, padded tiles).
//
// Fused: operands come multiplied and results are multiplied by a scalar that is 1 at run time, which changes no float, cannot be
// folded away and puts the operation into a kernel with others.
//
// The sign of a zero is held where IEEE 754 or C states it; not for maximum, minimum and their reductions of +0 and -0, nor where
// a sum starts with 0.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <set>

#include "ir/window.h"
#include "tests/run/graph_runner.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
constexpr double largest = std::numeric_limits<float>::max(), smallest = 0x1p-149;
const std::vector<double> values{nan,  inf, -inf, 0.0,  -0.0,    1,        -1,       2,         -2,      0.5,
                                 -2.5, 3,   1e4,  -1e4, largest, -largest, smallest, -smallest, 0x1p-126};
constexpr Extent rows{1, true};

/// Everything of a float that is not rounding.
std::string class_of(double v, bool signed_zero) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  if (v == 0) return signed_zero && std::signbit(v) ? "-0" : "0";
  return "finite";
}

/// A graph of one operation with operands of all special values.
struct Special {
  Special(bool fused, DType dtype) : fused(fused), dtype(dtype) {
    if (fused) one = b.scalar("one");
    bindings.scalars["one"] = 1;
  }
  Graph graph;
  Builder b{graph};
  Bindings bindings;
  bool fused;
  DType dtype;  ///< of the floats
  NodeId one;
  bool signed_zero = true;
  std::set<Op> made;

  NodeId times_one(NodeId x) {
    if (!fused || !is_float(graph.type(x).dtype)) return x;
    return b.mul(x, b.cast(one, graph.type(x).dtype));
  }
  /// An operand of a shape; element i is given by f.
  template <class F>
  NodeId operand(Shape shape, F f, DType type) {
    std::string name = fmt::format("x{}", bindings.inputs.size() + bindings.persistents.size());
    Tensor t = make_tensor(type, shape_at({type, shape}, 35));
    for (size_t i = 0; i < t.values.size(); ++i) t.values[i] = f(i);
    bindings.rows = 35;
    bool field = shape[0].rows;
    (field ? bindings.inputs : bindings.persistents)[name] = std::move(t);
    return times_one(field ? b.input(name, {type, std::move(shape)})
                           : b.parameter({name, {type, std::move(shape)}, PersistentKind::parameter, {}}));
  }
  template <class F>
  NodeId operand(Shape shape, F f) {
    return operand(std::move(shape), f, dtype);
  }
  void use(Op op, std::vector<NodeId> operands, Attributes attributes = {}) {
    NodeId node = graph.add(op, std::move(operands), std::move(attributes));
    made.insert(op);
    graph.outputs.push_back({fmt::format("{}.{}", op_name(op), graph.outputs.size()), times_one(node)});
  }
};

double every(size_t i) { return values[i % values.size()]; }
/// Finite but for a few places: in each run of `length` one value, at a place that wanders over all of them.
double lonely(size_t i, size_t length) {
  return (i / length * 7 + 3) % length == i % length ? every(i / length) : double(i % 5) - 1.5;
}

/// Sums of the largest and of the smallest numbers are a matter of rounding and order, not of class: others take their place.
double summable(double v) { return std::isfinite(v) && v != 0 && (std::fabs(v) > 1e5 || std::fabs(v) < 1e-5) ? 0.25 : v; }

Attributes shaped(std::vector<int> axes, Shape extents = {}, int64_t begin = 0) {
  Attributes a;
  a.axes = std::move(axes);
  a.extents = std::move(extents);
  a.begin = begin;
  return a;
}

#define SPECIAL(name) void special_##name([[maybe_unused]] Special& s)

// --- leaves: stored as they are ---
SPECIAL(input) {
  s.graph.outputs.push_back({"input", s.operand({rows, {19}}, every)});
  s.made.insert(Op::input);
}
SPECIAL(parameter) {
  NodeId p = s.b.parameter({"p", {s.dtype, {{19}}}, PersistentKind::parameter, {}});
  s.bindings.persistents["p"] = Tensor{s.dtype, {19}, values};
  s.graph.outputs.push_back({"parameter", p});
  s.made.insert(Op::parameter);
}
SPECIAL(scalar) {
  // One of each, as a kernel reads them.
  for (size_t i = 0; i < 5; ++i) {
    std::string name = fmt::format("s{}", i);
    s.bindings.scalars[name] = values[i];
    s.graph.outputs.push_back({name, s.b.broadcast(s.b.scalar(name), {{19}}, {})});
  }
  s.made.insert(Op::scalar);
}
SPECIAL(constant) {
  for (double v : values)
    s.graph.outputs.push_back({fmt::format("c{}", s.graph.outputs.size()), s.b.constant(v, {s.dtype, {{19}}})});
  s.made.insert(Op::constant);
}
SPECIAL(literal) {
  std::vector<Number> numbers(19);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = every(i);
  s.graph.outputs.push_back({"literal", s.b.literal(numbers, {s.dtype, {{19}}})});
  s.made.insert(Op::literal);
}
SPECIAL(iota) { s.use(Op::iota, {}, shaped({1}, {rows, {19}})); }
SPECIAL(random) {
  Attributes a = shaped({}, {rows, {19}});
  a.text = "draw#0";
  s.use(Op::random, {}, a);
}
SPECIAL(extent) { s.use(Op::extent, {}, shaped({}, {rows})); }

// --- element-wise: all values, all pairs of values ---
void one_operand(Special& s, Op op) {
  s.use(op, {s.operand({rows, {19}}, every)});
  s.use(op, {s.operand({{19}}, every)});
}
void two_operands(Special& s, Op op) {
  auto second = [](size_t i) { return values[i / values.size() % values.size()]; };
  NodeId x = s.operand({{19}, {19}}, every), y = s.operand({{19}, {19}}, second);
  s.use(op, {x, y});
  // The other operand a number: other forms of the same (reciprocals, dropped terms, comparisons of constants).
  NodeId row = s.operand({{19}}, every);
  for (double v : {nan, -inf, 0.0, -0.0, 3.0, -2.0}) {
    s.use(op, {row, s.b.constant_like(v, row)});
    s.use(op, {s.b.constant_like(v, row), row});
  }
  // Repeated along an axis, on either side; and with itself.
  NodeId wide = s.b.broadcast(row, {{19}, {19}}, {0});
  s.use(op, {x, wide});
  s.use(op, {wide, x});
  s.use(op, {x, x});
}
#define ONE(name) \
  SPECIAL(name) { one_operand(s, Op::name); }
#define TWO(name) \
  SPECIAL(name) { two_operands(s, Op::name); }
ONE(neg)
ONE(abs) ONE(sign) ONE(floor) ONE(ceil) ONE(round) ONE(sqrt) ONE(exp) ONE(expm1) ONE(log) ONE(log1p) ONE(sin) ONE(cos) ONE(tanh)
    ONE(sigmoid) ONE(erf) ONE(normal_cdf) ONE(stop_gradient) TWO(mul) TWO(div) TWO(floor_div) TWO(floor_mod) TWO(pow) TWO(copysign) TWO(equal) TWO(not_equal) TWO(less) TWO(less_equal)
        TWO(greater) TWO(greater_equal) TWO(add) TWO(sub)
SPECIAL(maximum) { s.signed_zero = false, two_operands(s, Op::maximum); }
SPECIAL(minimum) { s.signed_zero = false, two_operands(s, Op::minimum); }

/// x < y of all pairs: what logic gets.
NodeId comparison(Special& s, Op op) {
  auto second = [](size_t i) { return values[i / values.size() % values.size()]; };
  NodeId x = s.operand({{19}, {19}}, every), y = s.operand({{19}, {19}}, second);
  return s.b.binary(op, x, y);
}
SPECIAL(logical_not) {
  // not (x < y) is true of NaN, x >= y is not.
  for (Op op : {Op::less, Op::less_equal, Op::greater, Op::greater_equal, Op::equal, Op::not_equal})
    s.use(Op::logical_not, {comparison(s, op)});
}
SPECIAL(logical_and) { s.use(Op::logical_and, {comparison(s, Op::less_equal), comparison(s, Op::greater_equal)}); }
SPECIAL(logical_or) { s.use(Op::logical_or, {comparison(s, Op::less), comparison(s, Op::greater)}); }
SPECIAL(select) {
  // The branch that is not taken leaves nothing behind.
  NodeId condition = s.operand({{19}, {19}}, [](size_t i) { return double(i / 19 % 2); }, DType::boolean);
  NodeId x = s.operand({{19}, {19}}, every), y = s.operand({{19}, {19}}, [](size_t i) { return values[i / 19]; });
  s.use(Op::select, {condition, x, y});
  s.use(Op::select, {comparison(s, Op::less), x, y});
  s.use(Op::select, {condition, x, s.b.constant_like(0, x)});
  s.use(Op::select, {condition, s.b.constant_like(nan, x), x});
}
SPECIAL(cast) {
  for (DType to : {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean}) {
    Attributes a;
    a.dtype = to;
    s.use(Op::cast, {s.operand({rows, {19}}, every)}, a);
  }
}

// --- shape: every value at its place ---
SPECIAL(broadcast) { s.use(Op::broadcast, {s.operand({{19}}, every)}, shaped({1}, {rows, {19}})); }
SPECIAL(transpose) { s.use(Op::transpose, {s.operand({{3}, {19}}, every)}, shaped({1, 0})); }
SPECIAL(reshape) { s.use(Op::reshape, {s.operand({{3}, {19}}, every)}, shaped({}, {{19}, {3}})); }
SPECIAL(slice) { s.use(Op::slice, {s.operand({rows, {21}}, every)}, shaped({1}, {{17}}, 3)); }
SPECIAL(window) {
  const NodeId x = s.operand({rows, {19}, {3}}, every);
  s.use(Op::window, {x}, make_window({1, 2}, {33}, 1, 2, -4, 2));
  s.use(Op::window, {s.operand({rows, {19}}, every)}, make_window({1}, {15}, 2, 1, -3));
}
SPECIAL(pad) { s.use(Op::pad, {s.operand({rows, {19}}, every)}, shaped({1}, {{33}}, 5)); }

// --- reductions: one special value among others, at every place; pairs of them; nothing else ---
void reduction(Special& s, Op op) {
  bool sum = op == Op::reduce_sum;
  auto value = [=](double v) { return sum ? summable(v) : v; };
  for (int64_t n : {1, 7, 17, 33}) {
    size_t length = size_t(n);
    s.use(op, {s.operand({{57}, {n}}, [=](size_t i) { return value(lonely(i, length)); })}, shaped({1}));
    s.use(op, {s.operand({{n}, {57}}, [=](size_t i) { return value(lonely(i % 57 * length + i / 57, length)); })}, shaped({0}));
    s.use(op, {s.operand({{19}, {n}}, [=](size_t i) { return value(values[i / length]); })}, shaped({1}));
    // Two different ones in a run: inf with -inf, NaN with inf, ...
    s.use(op,
          {s.operand(
              {{361}, {n}},
              [=](size_t i) {
                size_t row = i / length, place = i % length;
                return value(place == row % length ? values[row % 19] : place == (row * 5 + 1) % length ? values[row / 19] : 0.5);
              })},
          shaped({1}));
  }
  if (op != Op::argmax) s.use(op, {s.operand({{5}, {7}}, [](size_t i) { return i == 34 ? nan : double(i); })}, shaped({0, 1}));
}
SPECIAL(reduce_sum) { s.signed_zero = false, reduction(s, Op::reduce_sum); }
SPECIAL(reduce_max) { s.signed_zero = false, reduction(s, Op::reduce_max); }
SPECIAL(reduce_min) { s.signed_zero = false, reduction(s, Op::reduce_min); }
SPECIAL(argmax) { reduction(s, Op::argmax); }

Attributes labelled(std::vector<int> lhs, std::vector<int> rhs, std::vector<int> out, Attributes a = {}) {
  a.lhs = std::move(lhs);
  a.rhs = std::move(rhs);
  a.out = std::move(out);
  return a;
}

// One row and one column of the result each for a special value, whatever the shape of the tiles; and 0 times infinity.
SPECIAL(contract) {
  s.signed_zero = false;
  struct {
    int64_t m, n, k;
  } sizes[] = {{1, 1, 1}, {3, 5, 7}, {19, 33, 17}, {39, 49, 65}};
  for (auto [m, n, k] : sizes) {
    auto number = [](size_t i) { return double(i * 7 % 5) - 2; };
    auto one_in_row = [=](size_t i) {
      return i % size_t(k) == i / size_t(k) % size_t(k) && i / size_t(k) % 2 ? summable(every(i / size_t(k) / 2)) : number(i);
    };
    NodeId special = s.operand({{m}, {k}}, one_in_row), ordinary = s.operand({{m}, {k}}, number);
    NodeId last = s.operand({{n}, {k}}, [=](size_t i) { return i + 1 == size_t(n * k) ? inf : number(i); });
    NodeId other = s.operand({{n}, {k}}, number), other_turned = s.operand({{k}, {n}}, number);
    s.use(Op::contract, {special, other}, labelled({0, 1}, {2, 1}, {0, 2}));
    s.use(Op::contract, {special, other_turned}, labelled({0, 1}, {1, 2}, {0, 2}));
    s.use(Op::contract, {ordinary, last}, labelled({0, 1}, {2, 1}, {0, 2}));
    s.use(Op::contract, {special, last}, labelled({0, 1}, {2, 1}, {0, 2}));
    s.use(Op::contract, {special, ordinary}, labelled({0, 1}, {0, 2}, {1, 2}));
    s.use(Op::contract, {special, ordinary}, labelled({0, 1}, {0, 1}, {0}));
  }
}

// --- indexing: what is read or added to is reached, its neighbours are not ---
SPECIAL(gather) {
  NodeId table = s.operand({{19}, {5}}, every), line = s.operand({rows, {19}}, every);
  NodeId index = s.operand({rows}, [](size_t i) { return double(i * 7 % 19); }, DType::i32);
  s.use(Op::gather, {table, index}, labelled({0, 1}, {2}, {2, 1}, shaped({0})));
  s.use(Op::gather, {line, index}, labelled({0, 1}, {0}, {0}, shaped({1})));
}
SPECIAL(scatter_add) {
  s.signed_zero = false;
  NodeId index = s.operand({rows}, [](size_t i) { return double(i * 7 % 23); }, DType::i32);
  s.use(Op::scatter_add, {s.operand({rows, {5}}, [](size_t i) { return summable(every(i)); }), index},
        labelled({0, 1}, {0}, {2, 1}, shaped({0}, {{23}, {5}})));
  s.use(Op::scatter_add, {s.operand({rows}, [](size_t i) { return summable(every(i)); }), index},
        labelled({0}, {0}, {0, 1}, shaped({1}, {rows, {23}})));
}

// --- shares: of one alone ---
SPECIAL(exchange) {
  const NodeId part = s.operand({{19}}, every);
  Attributes a;
  a.text = "part";
  s.graph.add_persistent({a.text, s.graph.type(part), PersistentKind::partial, {}});
  s.bindings.persistents[a.text] = make_tensor(s.dtype, {19});
  s.graph.updates.push_back({a.text, part});
  s.use(Op::exchange, {part}, a);
}

// --- regions: what is handed on and stacked stays what it is ---
SPECIAL(scan) {
  const NodeId sequence = s.operand({{19}, {3}}, every), first = s.operand({{3}}, every);
  Graph body;
  Builder b(body);
  const Type slice = s.graph.type(first);
  const NodeId carry = b.input("carry.0", slice), next = b.input("slice.0", slice);
  body.outputs = {{"carry.0", next}, {"stack.0", carry}};
  Attributes a;
  a.carried = a.sliced = 1;
  a.extents = {{19}};
  a.body = {std::make_shared<Graph>(std::move(body))};
  const NodeId scan = s.graph.add(Op::scan, {first, sequence}, std::move(a));
  s.made.insert(Op::scan);
  for (int k = 0; k < 2; ++k) {
    Attributes which;
    which.begin = k;
    which.extents = k == 0 ? slice.shape : Shape{{19}, {3}};
    which.dtype = slice.dtype;
    s.use(Op::result, {scan}, which);
  }
}
SPECIAL(result) { special_scan(s); }

struct SpecialCase {
  Op op;
  void (*add)(Special&);
};
constexpr SpecialCase special_cases[] = {
#define NNC_OP(name, arity, op_class, differentiable, summary) {Op::name, special_##name},
#include "ir/ops.def"
#undef NNC_OP
};

/// "" or the first element of another class.
std::string difference(const Tensor& found, const Tensor& expected, DType dtype, bool signed_zero) {
  if (found.shape != expected.shape) return "another shape";
  for (size_t i = 0; i < expected.values.size(); ++i) {
    double x = found.values[i], y = expected.values[i];
    if (!is_float(expected.dtype)) {
      // 2^63 - 1 is no double: what saturates there is told by rounding.
      if (x != y && !(expected.dtype == DType::i64 && float(x) == float(y)))
        return fmt::format("element {} is {} instead of {}", i, x, y);
      continue;
    }
    if (dtype == DType::f32 || expected.shape.empty()) y = double(float(y));  // the interpreter has 64 bits
    std::string a = class_of(x, signed_zero), b = class_of(y, signed_zero);
    if (a != b) return fmt::format("element {} is {} instead of {}", i, x, y);
    if (a == "finite" && std::fabs(x - y) > 1e-5 * std::fabs(y) + 2 * smallest)
      return fmt::format("element {} is {} instead of {}", i, x, y);
  }
  return "";
}

}  // namespace

TEST_CASE("NaN, infinities and zeros go through every operation as IEEE says", "[run][specials]") {
  for (const SpecialCase& special : special_cases)
    for (DType dtype : {DType::f32, DType::f64})
      for (bool fused : {false, true}) {
        Special s(fused, dtype);
        special.add(s);
        INFO(op_name(special.op) << " of " << dtype_name(dtype));
        REQUIRE(s.made.count(special.op) == 1);
        REQUIRE(verify_graph(s.graph).empty());
        Results expected = interpret(s.graph, s.bindings);
        for (VectorLevel level : host_levels()) {
          if (dtype == DType::f64 && level != host_levels().back()) continue;
          GraphRunOptions options;
          options.level = level;
          options.optimize = fused;
          Results found = run_compiled(s.graph, s.bindings, options);
          for (const auto& [name, tensor] : expected.outputs) {
            REQUIRE(found.outputs.count(name));
            std::string wrong = difference(found.outputs.at(name), tensor, dtype, s.signed_zero);
            if (wrong.empty()) continue;
            INFO(name << (fused ? ", fused, " : ", alone, ") << vector_level_name(level) << ": " << wrong);
            CHECK(wrong.empty());
          }
        }
      }
}
