// `//` and `%` in compiled code, on every vector level: floats against integers of 128 bits, integers against C++'s, special numbers against the interpreter.
#include <cstdint>
#include <random>

#include "base/floor_division.h"
#include "tests/floor_division_reference.h"
#include "tests/run/graph_runner.h"
#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

bool same(double a, double b) { return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b); }

struct Division {
  Results found;
  const std::vector<double>& quotients() const { return found.outputs.at("quotient").values; }
  const std::vector<double>& remainders() const { return found.outputs.at("remainder").values; }
};

/// x[i] by y[i]; by a constant where there is one.
Division divide(DType dtype, const std::vector<double>& x, const std::vector<double>& y, VectorLevel level, std::optional<double> divisor = {}) {
  Graph g;
  Builder b(g);
  Type type{dtype, {Extent{1, true}}};
  NodeId p = b.input("x", type), q = divisor ? b.constant(*divisor, type) : b.input("y", type);
  g.outputs = {{"quotient", b.binary(Op::floor_div, p, q)}, {"remainder", b.binary(Op::floor_mod, p, q)}};
  Bindings bindings;
  bindings.rows = int64_t(x.size());
  for (auto [name, values] : {std::pair{"x", &x}, {"y", &y}}) {
    Tensor t = make_tensor(dtype, {bindings.rows});
    t.values = *values;
    bindings.inputs[name] = std::move(t);
  }
  if (divisor) bindings.inputs.erase("y");
  GraphRunOptions options;
  options.level = level;
  return {run_compiled(g, bindings, options)};
}

template <class Float>
void check_floats(DType dtype) {
  std::vector<double> x, y;
  for (Float p : awkward_operands<Float>())
    for (Float q : awkward_operands<Float>()) x.push_back(double(p)), y.push_back(double(q));
  std::mt19937_64 random(3);
  for (int i = 0; i < 3000; ++i) {
    auto draw = [&] { return double(Float(std::ldexp(double(int64_t(random()) >> (random() % 62)), int(random() % 60) - 30))); };
    double p = draw(), q = draw();
    if (p != 0 && q != 0) x.push_back(p), y.push_back(q);
  }
  for (double divisor : {41.0, 3.0, double(Float(0.1)), -7.0})
    for (double k = 1; k < 60; ++k)
      for (double p : {double(Float(k * divisor)), double(std::nextafter(Float(k * divisor), Float(1e30))), double(std::nextafter(Float(k * divisor), Float(-1e30)))})
        x.push_back(p), y.push_back(divisor);
  for (VectorLevel level : host_levels()) {
    Division d = divide(dtype, x, y, level);
    int wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      FloorDivision exact = exact_floor_division(Float(x[i]), Float(y[i]));
      double quotient = d.quotients()[i];
      bool quotient_right = exact.quotient ? same(quotient, *exact.quotient)
                                           : std::fabs(quotient - x[i] / y[i]) <= std::fabs(quotient) * 0x1p-23 || quotient == double(Float(x[i] / y[i]));
      if ((quotient_right && same(d.remainders()[i], exact.remainder)) || wrong++ > 5) continue;
      FAIL_CHECK(dtype_name(dtype) << " at level " << int(level) << ": " << x[i] << " by " << y[i] << " gives " << quotient << " and " << d.remainders()[i]
                                   << " instead of " << exact.quotient.value_or(x[i] / y[i]) << " and " << exact.remainder);
    }
  }
}

}  // namespace

TEST_CASE("compiled floor division of f32 and f64 is exact on every level", "[run][floor]") {
  check_floats<float>(DType::f32);
  check_floats<double>(DType::f64);
}

TEST_CASE("compiled floor division of special floats is the interpreter's", "[run][floor]") {
  constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const double specials[] = {nan, inf, -inf, 0.0, -0.0, 3, -3, 0x1p-149, -0x1p-149};
  std::vector<double> x, y;
  for (double p : specials)
    for (double q : specials) x.push_back(p), y.push_back(q);
  for (DType dtype : {DType::f32, DType::f64})
    for (VectorLevel level : host_levels()) {
      Division d = divide(dtype, x, y, level);
      for (size_t i = 0; i < x.size(); ++i) {
        INFO(dtype_name(dtype) << " at level " << int(level) << ": " << x[i] << " by " << y[i]);
        double quotient = floor_quotient(x[i], y[i]);
        CHECK(same(d.quotients()[i], dtype == DType::f32 ? double(float(quotient)) : quotient));
        CHECK(same(d.remainders()[i], dtype == DType::f32 ? double(float(floor_remainder(x[i], y[i]))) : floor_remainder(x[i], y[i])));
      }
    }
}

TEST_CASE("compiled floor division of integers is exact on every level and by any constant", "[run][floor]") {
  for (DType dtype : {DType::i32, DType::i64}) {
    std::vector<double> numbers{0, 1, -1, 2, -2, 3, -3, 7, -7, 40, 41, -41, 82, 16777217, -16777217, 0x1p31 - 1, -0x1p31};
    if (dtype == DType::i64) numbers.insert(numbers.end(), {0x1p53 - 1, -0x1p53, 0x1p62, -0x1p63});
    std::vector<double> x, y;
    for (double p : numbers)
      for (double q : numbers) x.push_back(p), y.push_back(q);
    auto as_stored = [&](int64_t v) { return dtype == DType::i32 ? double(int32_t(v)) : double(v); };
    for (VectorLevel level : host_levels()) {
      Division d = divide(dtype, x, y, level);
      for (size_t i = 0; i < x.size(); ++i) {
        INFO(dtype_name(dtype) << " at level " << int(level) << ": " << x[i] << " by " << y[i]);
        CHECK(d.quotients()[i] == as_stored(floor_quotient(int64_t(x[i]), int64_t(y[i]))));
        CHECK(d.remainders()[i] == as_stored(floor_remainder(int64_t(x[i]), int64_t(y[i]))));
      }
      for (double divisor : {41.0, -41.0, 0.0, 1.0, -1.0, 8.0, -0x1p31}) {
        Division by = divide(dtype, numbers, {}, level, divisor);
        for (size_t i = 0; i < numbers.size(); ++i) {
          INFO(dtype_name(dtype) << " at level " << int(level) << ": " << numbers[i] << " by the constant " << divisor);
          CHECK(by.quotients()[i] == as_stored(floor_quotient(int64_t(numbers[i]), int64_t(divisor))));
          CHECK(by.remainders()[i] == as_stored(floor_remainder(int64_t(numbers[i]), int64_t(divisor))));
        }
      }
    }
  }
}
