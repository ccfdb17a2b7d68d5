// Every operation of the interpreter on cases small enough to work out by hand.
#include <cmath>
#include <limits>
#include <set>

#include "ir/window.h"
#include "base/diagnostics.h"
#include "ir/interpreter.h"
#include "tests/unit/catch.h"

using namespace nnc;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

Extent n(int64_t size) { return {size, false}; }
Tensor vec(std::vector<double> values, DType dtype = DType::f32) {
  int64_t size = int64_t(values.size());
  return {dtype, {size}, std::move(values)};
}
Type type_of(const Tensor& t) {
  Type type{t.dtype, {}};
  for (int64_t size : t.shape) type.shape.push_back(n(size));
  return type;
}

// Operations that a case below has evaluated.
std::set<Op>& tested() {
  static std::set<Op> ops;
  return ops;
}

// The one operation applied to tensors.
Tensor apply(Op op, const std::vector<Tensor>& operands, const Attributes& attributes = {}) {
  tested().insert(op);
  Graph g;
  Builder b(g);
  Bindings bindings;
  std::vector<NodeId> ids;
  for (const Tensor& t : operands) {
    std::string name = "x" + std::to_string(ids.size());
    ids.push_back(b.input(name, type_of(t)));
    bindings.inputs[name] = t;
  }
  g.outputs.push_back({"result", g.add(op, ids, attributes)});
  REQUIRE(verify_graph(g).empty());
  return interpret(g, bindings).outputs.at("result");
}

void check_values(const Tensor& actual, const std::vector<double>& expected) {
  REQUIRE(actual.values.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    INFO("element " << i);
    if (std::isnan(expected[i]))
      CHECK(std::isnan(actual.values[i]));
    else if (std::isinf(expected[i]))
      CHECK(actual.values[i] == expected[i]);
    else
      CHECK(actual.values[i] == Approx(expected[i]).epsilon(1e-14).margin(1e-300));
  }
}

Attributes axes(std::vector<int> list) {
  Attributes a;
  a.axes = std::move(list);
  return a;
}
Attributes shaped(Shape shape, std::vector<int> list = {}) {
  Attributes a = axes(std::move(list));
  a.extents = std::move(shape);
  return a;
}
Attributes labels(std::vector<int> lhs, std::vector<int> rhs, std::vector<int> out, std::vector<int> axis = {}) {
  Attributes a = axes(std::move(axis));
  a.lhs = std::move(lhs);
  a.rhs = std::move(rhs);
  a.out = std::move(out);
  return a;
}
Attributes to(DType dtype) {
  Attributes a;
  a.dtype = dtype;
  return a;
}

template <class F>
Diagnostic fault(F f) {
  try {
    f();
  } catch (const UserError& e) {
    return e.diagnostic();
  }
  FAIL("no UserError");
  return {};
}

}  // namespace

TEST_CASE("interpreter: element-wise, one operand", "[ir]") {
  check_values(apply(Op::neg, {vec({1, -2, 0})}), {-1, 2, 0});
  check_values(apply(Op::neg, {vec({-2147483648.0}, DType::i32)}), {-2147483648.0});
  check_values(apply(Op::abs, {vec({1, -2, -inf})}), {1, 2, inf});
  check_values(apply(Op::abs, {vec({-5, 5}, DType::i32)}), {5, 5});
  check_values(apply(Op::sign, {vec({3, -0.5, 0, not_a_number})}), {1, -1, 0, not_a_number});
  check_values(apply(Op::floor, {vec({1.5, -1.5})}), {1, -2});
  check_values(apply(Op::ceil, {vec({1.5, -1.5})}), {2, -1});
  check_values(apply(Op::round, {vec({0.5, 1.5, 2.5, -0.5, 2.6})}), {0, 2, 2, 0, 3});
  check_values(apply(Op::sqrt, {vec({9, 2, -1})}), {3, 1.4142135623730951, not_a_number});
  check_values(apply(Op::exp, {vec({0, 1, -inf})}), {1, 2.718281828459045, 0});
  check_values(apply(Op::expm1, {vec({0, 1e-20})}), {0, 1e-20});
  check_values(apply(Op::log, {vec({1, 10, 0, -1})}), {0, 2.302585092994046, -inf, not_a_number});
  check_values(apply(Op::log1p, {vec({0, 1e-20})}), {0, 1e-20});
  check_values(apply(Op::sin, {vec({0, 1.5707963267948966})}), {0, 1});
  check_values(apply(Op::cos, {vec({0, 1})}), {1, 0.5403023058681398});
  check_values(apply(Op::tanh, {vec({0, 1, inf})}), {0, 0.7615941559557649, 1});
  check_values(apply(Op::sigmoid, {vec({0, 1, -1000, 1000})}), {0.5, 0.7310585786300049, 0, 1});
  check_values(apply(Op::erf, {vec({0, 1})}), {0, 0.8427007929497149});
  check_values(apply(Op::normal_cdf, {vec({0, 1, -6})}), {0.5, 0.8413447460685429, 9.865876450376981e-10});
  check_values(apply(Op::logical_not, {vec({0, 1}, DType::boolean)}), {1, 0});
  check_values(apply(Op::stop_gradient, {vec({4, 5})}), {4, 5});
}

TEST_CASE("interpreter: element-wise, two and three operands", "[ir]") {
  Tensor x = vec({6, -7, 0.5}), y = vec({3, 2, -2});
  check_values(apply(Op::add, {x, y}), {9, -5, -1.5});
  check_values(apply(Op::add, {vec({2147483647}, DType::i32), vec({1}, DType::i32)}), {-2147483648.0});
  check_values(apply(Op::sub, {x, y}), {3, -9, 2.5});
  check_values(apply(Op::mul, {x, y}), {18, -14, -1});
  check_values(apply(Op::mul, {vec({65537, -3}, DType::i32), vec({65537, 4}, DType::i32)}), {131073, -12});
  check_values(apply(Op::div, {vec({1, -1, 0}), vec({4, 0, 0})}), {0.25, -inf, not_a_number});
  check_values(apply(Op::floor_div, {vec({7, -7, 7, -7, 41, 1}), vec({2, 2, -2, -2, 41, 0})}), {3, -4, -4, 3, 1, inf});
  check_values(apply(Op::floor_mod, {vec({7, -7, 7, -7, 1e8, 1}), vec({2, 2, -2, -2, 3, 0})}), {1, 1, -1, -1, 1, not_a_number});
  for (DType dtype : {DType::i32, DType::i64}) {
    double lowest = traits(dtype).lowest;
    check_values(apply(Op::floor_div, {vec({7, -7, 7, -7, 16777217, 5, lowest}, dtype), vec({2, 2, -2, -2, 3, 0, -1}, dtype)}), {3, -4, -4, 3, 5592405, 0, lowest});
    check_values(apply(Op::floor_mod, {vec({7, -7, 7, -7, 16777217, 5, lowest}, dtype), vec({2, 2, -2, -2, 3, 0, -1}, dtype)}), {1, 1, -1, -1, 2, 0, 0});
  }
  check_values(apply(Op::pow, {vec({2, 9, 0}), vec({10, 0.5, 0})}), {1024, 3, 1});
  check_values(apply(Op::maximum, {vec({1, not_a_number, 3}), vec({2, 1, not_a_number})}), {2, not_a_number, not_a_number});
  check_values(apply(Op::minimum, {vec({1, not_a_number, 3}), vec({2, 1, not_a_number})}), {1, not_a_number, not_a_number});
  check_values(apply(Op::copysign, {vec({-1, 2, -0.0, not_a_number, 3}), vec({2, -0.0, 1, 1, not_a_number})}), {1, -2, 0, not_a_number, not_a_number});
  Tensor p = vec({1, 2, not_a_number}), q = vec({1, 3, not_a_number});
  check_values(apply(Op::equal, {p, q}), {1, 0, 0});
  check_values(apply(Op::not_equal, {p, q}), {0, 1, 1});
  check_values(apply(Op::less, {p, q}), {0, 1, 0});
  check_values(apply(Op::less_equal, {p, q}), {1, 1, 0});
  check_values(apply(Op::greater, {q, p}), {0, 1, 0});
  check_values(apply(Op::greater_equal, {p, q}), {1, 0, 0});
  Tensor s = vec({0, 0, 1, 1}, DType::boolean), t = vec({0, 1, 0, 1}, DType::boolean);
  check_values(apply(Op::logical_and, {s, t}), {0, 0, 0, 1});
  check_values(apply(Op::logical_or, {s, t}), {0, 1, 1, 1});
  check_values(apply(Op::select, {vec({1, 0}, DType::boolean), vec({1, 2}), vec({3, 4})}), {1, 4});
}

TEST_CASE("interpreter: integers of 64 bits are exact in every operation", "[ir]") {
  const int64_t big = (int64_t(1) << 53) + 1, most = INT64_MAX, least = INT64_MIN;
  auto whole = [](std::vector<int64_t> values, std::vector<int64_t> shape = {}) {
    Tensor t = make_tensor(DType::i64, shape.empty() ? std::vector<int64_t>{int64_t(values.size())} : std::move(shape));
    for (size_t i = 0; i < values.size(); ++i) t.set(i, values[i]);
    return t;
  };
  auto check = [](const Tensor& t, const std::vector<int64_t>& expected) {
    REQUIRE(t.values.size() == expected.size());
    for (size_t i = 0; i < expected.size(); ++i) CHECK(int64_t(t.at(i)) == expected[i]);
  };
  check(apply(Op::neg, {whole({big, most, least})}), {-big, -most, least});
  check(apply(Op::abs, {whole({-big, most, least})}), {big, most, least});  // as in C++20: there is no 2^63
  check(apply(Op::sign, {whole({-big, most, 0})}), {-1, 1, 0});
  check(apply(Op::add, {whole({big, most, most}), whole({1, 1, most})}), {big + 1, least, -2});
  check(apply(Op::sub, {whole({big, least, 0}), whole({1, 1, least})}), {big - 1, most, least});
  check(apply(Op::mul, {whole({big, most, 3037000500}), whole({3, most, 3037000500})}), {3 * big, 1, int64_t(uint64_t(3037000500) * 3037000500)});
  check(apply(Op::maximum, {whole({big, least}), whole({big - 1, most})}), {big, most});
  check(apply(Op::minimum, {whole({big, least}), whole({big - 1, most})}), {big - 1, least});
  const Tensor a = whole({big, most, least}), b = whole({big - 1, most - 1, least + 1});
  check_values(apply(Op::equal, {a, b}), {0, 0, 0});
  check_values(apply(Op::not_equal, {a, b}), {1, 1, 1});
  check_values(apply(Op::less, {a, b}), {0, 0, 1});
  check_values(apply(Op::less_equal, {a, b}), {0, 0, 1});
  check_values(apply(Op::greater, {a, b}), {1, 1, 0});
  check_values(apply(Op::greater_equal, {a, b}), {1, 1, 0});
  check(apply(Op::select, {vec({1, 0, 1}, DType::boolean), a, b}), {big, most - 1, least});
  check_values(apply(Op::cast, {whole({big, most, least})}, to(DType::i32)), {1, -1, 0});
  check(apply(Op::cast, {vec({0x1p63, -0x1p63, 0x1p53}, DType::f64)}, to(DType::i64)), {most, least, big - 1});
  check(apply(Op::stop_gradient, {a}), {big, most, least});

  Attributes rows;
  rows.extents = {n(2), n(3)};
  rows.axes = {1};
  const Tensor table = apply(Op::broadcast, {a}, rows);
  check(table, {big, most, least, big, most, least});
  Attributes shape;
  shape.extents = {n(3), n(2)};
  check(apply(Op::reshape, {table}, shape), {big, most, least, big, most, least});
  check(apply(Op::transpose, {table}, axes({1, 0})), {big, big, most, most, least, least});
  Attributes part;
  part.axes = {1};
  part.begin = 1;
  part.extents = {n(2)};
  check(apply(Op::slice, {table}, part), {most, least, most, least});
  part.extents = {n(5)};
  check(apply(Op::pad, {whole({big, most}, {1, 2})}, part), {0, big, most, 0, 0});
  const Attributes all = axes({0});
  check(apply(Op::reduce_sum, {whole({most, big, 1})}, all), {int64_t(uint64_t(most) + uint64_t(big) + 1)});
  check(apply(Op::reduce_max, {whole({big - 1, big, 0})}, all), {big});
  check(apply(Op::reduce_min, {whole({-big, 1 - big, 0})}, all), {-big});
  check_values(apply(Op::argmax, {whole({big - 1, big, big - 2})}, all), {1});
  check(apply(Op::contract, {whole({big, 2}, {1, 2}), whole({3, most}, {2, 1})}, labels({0, 1}, {1, 2}, {0, 2})), {int64_t(uint64_t(3) * uint64_t(big) + 2 * uint64_t(most))});
  check(apply(Op::gather, {whole({big, most, least}), vec({2, 0}, DType::i64)}, labels({0}, {1}, {1}, {0})), {least, big});
  Attributes sums = labels({0}, {0}, {1}, {0});
  sums.extents = {n(2)};
  check(apply(Op::scatter_add, {whole({big, 1, most}), vec({1, 1, 0}, DType::i64)}, sums), {most, big + 1});
}

TEST_CASE("interpreter: cast truncates, saturates and wraps as defined", "[ir]") {
  check_values(apply(Op::cast, {vec({2.9, -2.9, 1e20, -1e20, not_a_number})}, to(DType::i32)), {2, -2, 2147483647, -2147483648.0, 0});
  check_values(apply(Op::cast, {vec({2.9, -2.9, 300})}, to(DType::u8)), {2, 0, 255});
  check_values(apply(Op::cast, {vec({300, -1}, DType::i32)}, to(DType::u8)), {44, 255});
  check_values(apply(Op::cast, {vec({4294967297.0, 2147483648.0}, DType::i64)}, to(DType::i32)), {1, -2147483648.0});
  check_values(apply(Op::cast, {vec({0, 0.1, not_a_number, -3})}, to(DType::boolean)), {0, 1, 1, 1});
  check_values(apply(Op::cast, {vec({0, 255}, DType::u8)}, to(DType::f32)), {0, 255});
  Tensor whole = apply(Op::cast, {vec({-0.5})}, to(DType::i32));
  CHECK_FALSE(std::signbit(whole.values[0]));
}

TEST_CASE("interpreter: shape operations", "[ir]") {
  Tensor m{DType::f32, {2, 3}, {1, 2, 3, 4, 5, 6}};
  check_values(apply(Op::broadcast, {vec({1, 2})}, shaped({n(2), n(3)}, {0})), {1, 1, 1, 2, 2, 2});
  check_values(apply(Op::broadcast, {vec({1, 2, 3})}, shaped({n(2), n(3)}, {1})), {1, 2, 3, 1, 2, 3});
  check_values(apply(Op::broadcast, {Tensor{DType::f32, {}, {7}}}, shaped({n(3)})), {7, 7, 7});
  check_values(apply(Op::transpose, {m}, axes({1, 0})), {1, 4, 2, 5, 3, 6});
  Tensor cube{DType::f32, {2, 1, 3}, {1, 2, 3, 4, 5, 6}};
  check_values(apply(Op::transpose, {cube}, axes({2, 0, 1})), {1, 4, 2, 5, 3, 6});
  check_values(apply(Op::reshape, {m}, shaped({n(3), n(2)})), {1, 2, 3, 4, 5, 6});
  Attributes window = axes({1});
  window.begin = 1;
  window.extents = {n(2)};
  check_values(apply(Op::slice, {m}, window), {2, 3, 5, 6});
  window.extents = {n(5)};
  check_values(apply(Op::pad, {m}, window), {0, 1, 2, 3, 0, 0, 4, 5, 6, 0});
  window = axes({0});
  window.extents = {n(3)};
  check_values(apply(Op::pad, {m}, window), {1, 2, 3, 4, 5, 6, 0, 0, 0});
}

TEST_CASE("interpreter: windows", "[ir]") {
  Tensor row{DType::f32, {4}, {1, 2, 3, 4}};
  check_values(apply(Op::window, {row}, make_window({0}, n(2), 2, 1, 1)), {2, 4});
  check_values(apply(Op::window, {row}, make_window({0}, n(4), 2, 1, -1, 1, 9)), {9, 2, 4, 9});
  check_values(apply(Op::window, {row}, make_window({0}, n(7), 1, 1, 0, 2)), {1, 0, 2, 0, 3, 0, 4});
  check_values(apply(Op::window, {row}, make_window({0}, n(4), -1, 1, 3)), {4, 3, 2, 1});
  check_values(apply(Op::window, {row}, make_window({0}, n(5), -1, 1, 4, 2, 9)), {3, 9, 2, 9, 1});
  // Two copies of a row: the second axis counts the elements of each window.
  Tensor twice{DType::f32, {4, 2}, {1, 1, 2, 2, 3, 3, 4, 4}};
  check_values(apply(Op::window, {twice}, make_window({0, 1}, n(4), 1, 1, 0)), {1, 2, 2, 3, 3, 4, 4, 0});
  check_values(apply(Op::window, {twice}, make_window({0, 1}, n(2), 2, 2, -1)), {0, 2, 2, 4});
  // The transpose takes each of them back to where it was read.
  check_values(apply(Op::window, {twice}, make_window({0, 1}, n(5), 1, -1, 0)), {1, 0, 2, 1, 3, 2, 4, 3, 0, 4});
  // (2 i - j) / 3
  check_values(apply(Op::window, {twice}, make_window({0, 1}, n(5), 2, -1, 0, 3)), {1, 0, 0, 0, 0, 2, 3, 0, 0, 0});
  Tensor cube{DType::f32, {2, 1, 3}, {1, 2, 3, 4, 5, 6}};
  check_values(apply(Op::window, {cube}, make_window({2, 0}, n(3), 1, 1, -1)), {0, 1, 2, 4, 5, 6});
  check_values(apply(Op::window, {Tensor{DType::f32, {0}, {}}}, make_window({0}, n(2), 1, 1, 0, 1, 7)), {7, 7});
}

TEST_CASE("interpreter: reductions", "[ir]") {
  Tensor m{DType::f32, {2, 3}, {1, 5, 3, 4, 2, 6}};
  check_values(apply(Op::reduce_sum, {m}, axes({0})), {5, 7, 9});
  check_values(apply(Op::reduce_sum, {m}, axes({1})), {9, 12});
  check_values(apply(Op::reduce_sum, {m}, axes({0, 1})), {21});
  check_values(apply(Op::reduce_sum, {vec({2147483647, 1}, DType::i32)}, axes({0})), {-2147483648.0});
  check_values(apply(Op::reduce_max, {m}, axes({1})), {5, 6});
  check_values(apply(Op::reduce_max, {vec({1, not_a_number, 3})}, axes({0})), {not_a_number});
  check_values(apply(Op::reduce_max, {vec({-3, -2}, DType::i32)}, axes({0})), {-2});
  check_values(apply(Op::reduce_min, {m}, axes({0})), {1, 2, 3});
  check_values(apply(Op::reduce_min, {vec({not_a_number, 1, 3})}, axes({0})), {not_a_number});
  Tensor cube{DType::f32, {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}};
  check_values(apply(Op::reduce_sum, {cube}, axes({0, 2})), {14, 22});
  Tensor none{DType::f32, {0, 2}, {}};
  check_values(apply(Op::reduce_sum, {none}, axes({0})), {0, 0});
  check_values(apply(Op::reduce_max, {none}, axes({0})), {-inf, -inf});
  check_values(apply(Op::reduce_min, {none}, axes({0})), {inf, inf});
  check_values(apply(Op::argmax, {m}, axes({1})), {1, 2});
  check_values(apply(Op::argmax, {m}, axes({0})), {1, 0, 1});
  check_values(apply(Op::argmax, {vec({2, 7, 7})}, axes({0})), {1});
  check_values(apply(Op::argmax, {vec({2, not_a_number, 9, not_a_number})}, axes({0})), {1});
  check_values(apply(Op::argmax, {vec({not_a_number, inf})}, axes({0})), {0});
}

TEST_CASE("interpreter: contraction in every order", "[ir]") {
  Tensor a{DType::f32, {2, 3}, {1, 2, 3, 4, 5, 6}}, b{DType::f32, {3, 2}, {7, 8, 9, 10, 11, 12}};
  check_values(apply(Op::contract, {a, b}, labels({0, 1}, {1, 2}, {0, 2})), {58, 64, 139, 154});
  check_values(apply(Op::contract, {a, b}, labels({0, 1}, {1, 2}, {2, 0})), {58, 139, 64, 154});
  Tensor bt{DType::f32, {2, 3}, {7, 9, 11, 8, 10, 12}};
  check_values(apply(Op::contract, {a, bt}, labels({0, 1}, {2, 1}, {0, 2})), {58, 64, 139, 154});
  check_values(apply(Op::contract, {a, a}, labels({0, 1}, {0, 2}, {1, 2})), {17, 22, 27, 22, 29, 36, 27, 36, 45});
  check_values(apply(Op::contract, {vec({1, 2}), vec({3, 4, 5})}, labels({0}, {1}, {0, 1})), {3, 4, 5, 6, 8, 10});
  check_values(apply(Op::contract, {vec({1, 2}), vec({3, 4})}, labels({0}, {0}, {})), {11});
  check_values(apply(Op::contract, {vec({1, 2}), vec({3, 4})}, labels({0}, {1}, {1})), {9, 12});
  check_values(apply(Op::contract, {vec({1, 2}), vec({3, 4})}, labels({0}, {0}, {0})), {3, 8});
  Tensor batched{DType::f32, {2, 1, 2}, {1, 2, 3, 4}}, other{DType::f32, {2, 2, 1}, {5, 6, 7, 8}};
  check_values(apply(Op::contract, {batched, other}, labels({0, 1, 2}, {0, 2, 3}, {0, 1, 3})), {17, 53});
  check_values(apply(Op::contract, {vec({65537}, DType::i32), vec({65537}, DType::i32)}, labels({0}, {0}, {})), {131073});
  check_values(apply(Op::contract, {Tensor{DType::f32, {2, 0}, {}}, Tensor{DType::f32, {0, 2}, {}}}, labels({0, 1}, {1, 2}, {0, 2})), {0, 0, 0, 0});
}

TEST_CASE("interpreter: gather and scatter_add", "[ir]") {
  Tensor table{DType::f32, {3, 2}, {1, 2, 3, 4, 5, 6}};
  check_values(apply(Op::gather, {table, vec({2, 0, 2}, DType::i32)}, labels({0, 1}, {2}, {2, 1}, {0})), {5, 6, 1, 2, 5, 6});
  check_values(apply(Op::gather, {table, vec({1, 0, 1}, DType::u8)}, labels({0, 1}, {0}, {0}, {1})), {2, 3, 6});
  check_values(apply(Op::gather, {table, vec({1, 0}, DType::i64)}, labels({0, 1}, {2}, {0, 2}, {1})), {2, 1, 4, 3, 6, 5});
  Attributes scatter = labels({2, 1}, {2}, {0, 1}, {0});
  scatter.extents = {n(3), n(2)};
  Tensor updates{DType::f32, {3, 2}, {1, 2, 3, 4, 5, 6}};
  check_values(apply(Op::scatter_add, {updates, vec({2, 0, 2}, DType::i32)}, scatter), {3, 4, 0, 0, 6, 8});
  Attributes aligned = labels({0}, {0}, {0, 1}, {1});
  aligned.extents = {n(3), n(2)};
  check_values(apply(Op::scatter_add, {vec({7, 8, 9}), vec({1, 0, 1}, DType::i32)}, aligned), {0, 7, 8, 0, 0, 9});
}

// By tests/oracle/draws.py.
TEST_CASE("interpreter: a draw depends on seed, update, site, row and element alone", "[ir]") {
  Graph g;
  Builder b(g);
  Extent rows{1, true};
  g.outputs.push_back({"rows", b.random("d#0", {rows, n(2)})});
  g.outputs.push_back({"same", b.random("d#0", {rows, n(2)})});
  g.outputs.push_back({"other", b.random("d#1", {rows, n(2)})});
  g.outputs.push_back({"none", b.random("w#0", {n(2), n(2)})});
  g.outputs.push_back({"number", b.random("s#0", {})});
  REQUIRE(verify_graph(g).empty());
  Bindings bindings;
  bindings.rows = 3;
  bindings.draws = {7, 3, 5};
  Results r = interpret(g, bindings);
  check_values(r.outputs.at("rows"), {0.5815577507019043, 0.9129058718681335, 0.6300442814826965, 0.6886416077613831, 0.42432522773742676, 0.8076274991035461});
  CHECK(r.outputs.at("same") == r.outputs.at("rows"));
  check_values(r.outputs.at("other"), {0.1784016489982605, 0.6242207884788513, 0.5065575838088989, 0.07381868362426758, 0.9388087391853333, 0.9680920243263245});
  check_values(r.outputs.at("none"), {0.288446843624115, 0.9396214485168457, 0.12491905689239502, 0.6623122096061707});
  check_values(r.outputs.at("number"), {0.08195239305496216});
  bindings.rows = 0;
  CHECK(interpret(g, bindings).outputs.at("rows").values.empty());
}

TEST_CASE("interpreter: leaves, rows, updates and kept values", "[ir]") {
  for (Op op : {Op::input, Op::parameter, Op::scalar, Op::constant, Op::literal, Op::iota, Op::random, Op::extent}) tested().insert(op);
  Graph g;
  Builder b(g);
  Extent rows{1, true};
  NodeId x = b.input("x", {DType::f32, {rows, n(2)}});
  NodeId w = b.parameter({"w", {DType::f32, {n(2)}}, PersistentKind::parameter, {}});
  NodeId mean = b.mean(x, {0});
  g.outputs.push_back({"mean", mean});
  g.outputs.push_back({"all", b.mean(x, {0, 1})});
  g.outputs.push_back({"iota", b.iota({rows, n(2)}, 0)});
  g.outputs.push_back({"iota1", b.iota({rows, n(2)}, 1)});
  g.outputs.push_back({"rows", b.extent({2, true})});
  g.outputs.push_back({"literal", b.literal({1, -2, 0.5, 4}, {DType::f32, {n(2), n(2)}})});
  g.updates.push_back({"w", b.sub(w, b.mul(b.cast(b.scalar("lr"), DType::f32), mean))});
  REQUIRE(verify_graph(g).empty());
  Bindings bindings;
  bindings.rows = 3;
  bindings.inputs["x"] = {DType::f32, {3, 2}, {1, 2, 3, 4, 5, 6}};
  bindings.persistents["w"] = vec({10, 20});
  bindings.scalars["lr"] = 0.5;
  Results r = interpret(g, bindings, true);
  check_values(r.outputs.at("mean"), {3, 4});
  check_values(r.outputs.at("all"), {3.5});
  check_values(r.outputs.at("iota"), {0, 0, 1, 1, 2, 2});
  check_values(r.outputs.at("iota1"), {0, 1, 0, 1, 0, 1});
  check_values(r.outputs.at("rows"), {6});
  check_values(r.outputs.at("literal"), {1, -2, 0.5, 4});
  check_values(r.updates.at("w"), {8.5, 18});
  REQUIRE(r.values.size() == g.size());
  check_values(r.values[x.value], {1, 2, 3, 4, 5, 6});
  CHECK(interpret(g, bindings).values.empty());

  bindings.rows = 0;
  bindings.inputs["x"] = {DType::f32, {0, 2}, {}};
  check_values(interpret(g, bindings).outputs.at("mean"), {not_a_number, not_a_number});
}

TEST_CASE("interpreter: faults of data are the user's and say where", "[ir]") {
  using nnc::test::contains;
  Tensor table{DType::f32, {3, 2}, {1, 2, 3, 4, 5, 6}};
  auto gather = [&](Tensor index) { return fault([&] { apply(Op::gather, {table, index}, labels({0, 1}, {2}, {2, 1}, {0})); }); };
  Diagnostic d = gather(vec({0, 3}, DType::i32));
  CHECK(d.code == Code::E0510);
  CHECK(d.message == "index 3 at [1] is out of range: the table has 3 entries (0..2)");
  CHECK_THAT(gather(vec({-1}, DType::i32)).message, contains("index -1 at [0]"));
  Attributes scatter = labels({2, 1}, {2}, {0, 1}, {0});
  scatter.extents = {n(3), n(2)};
  CHECK(fault([&] { apply(Op::scatter_add, {table, vec({0, 1, 9}, DType::i32)}, scatter); }).code == Code::E0510);

  Graph g;
  Builder b(g);
  NodeId x = b.input("x", {DType::f32, {n(2)}});
  g.outputs.push_back({"r", b.add(x, b.cast(b.scalar("s"), DType::f32))});
  Bindings bindings;
  CHECK_THAT(fault([&] { interpret(g, bindings); }).message, contains("no value is given for input `x`"));
  bindings.inputs["x"] = vec({1, 2, 3});
  Diagnostic shape = fault([&] { interpret(g, bindings); });
  CHECK(shape.code == Code::E0511);
  CHECK(shape.message == "input `x` is f32[2], but the value given is f32[3]");
  bindings.inputs["x"] = vec({1, 2}, DType::i32);
  CHECK_THAT(fault([&] { interpret(g, bindings); }).message, contains("i32[2]"));
  bindings.inputs["x"] = vec({1, 2});
  CHECK_THAT(fault([&] { interpret(g, bindings); }).message, contains("no value is given for scalar `s`"));
}

TEST_CASE("interpreter: the cases above cover every operation", "[ir][ir-coverage]") {
  // Meaningful after the other cases of this file, which Catch2 runs first unless a filter or another order was asked for.
  if (tested().size() < 20) return;
  for (int i = 0; i < op_count; ++i) {
    if (op_class(Op(i)) == OpClass::region) continue;  // ir_regions_test.cpp
    INFO(op_name(Op(i)));
    CHECK(tested().count(Op(i)) == 1);
  }
}
