// The bounds that codegen/vector_math_bounds.h states, measured through compiled code on every vector level of this machine: f32
// against double precision on a fixed sample of a million arguments, half spread over all bit patterns and half where the
// functions bend (all 2^32 of them: tests/exhaustive/vector_math_sweep.cpp); f64 against the C library's long double.
#include <algorithm>
#include <random>
#include <set>

#include "tests/run/vector_math_reference.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

/// Distance in units in the last place of T at the exact value; 0 for equal specials, infinity for a wrong one.
template <class T>
double ulps(T got, long double exact) {
  constexpr double wrong = std::numeric_limits<double>::infinity();
  if (std::isnan(exact) || std::isnan(got)) return std::isnan(exact) && std::isnan(got) ? 0 : wrong;
  T rounded = T(exact);
  if (got == 0 && rounded == 0) return std::signbit(got) == std::signbit(rounded) ? 0 : wrong;
  if (got == rounded && (got == exact || std::isinf(got))) return 0;
  if (std::isinf(rounded) != std::isinf(got)) {
    // Around the overflow threshold either is right by one unit.
    T largest = std::numeric_limits<T>::max();
    return std::fabs(got) == largest || std::fabs(rounded) == largest ? 1 : wrong;
  }
  if (std::isinf(rounded)) return wrong;
  int exponent = 0;
  std::frexp(double(std::fabs(rounded)), &exponent);
  if (rounded == 0) exponent = std::numeric_limits<T>::min_exponent;
  exponent = std::max(exponent, std::numeric_limits<T>::min_exponent);
  return double(std::fabs((long double)(got)-exact) / std::ldexp(1.0L, exponent - std::numeric_limits<T>::digits));
}

template <class T>
std::vector<T> specials() {
  using L = std::numeric_limits<T>;
  std::vector<T> x{0,
                   T(0.25),
                   T(0.5),
                   1,
                   T(1.5),
                   2,
                   T(2.5),
                   3,
                   10,
                   88,
                   89,
                   104,
                   710,
                   746,
                   1e10,
                   L::min(),
                   L::denorm_min(),
                   L::min() / 3,
                   L::max(),
                   L::epsilon(),
                   L::epsilon() / 4,
                   L::infinity(),
                   L::quiet_NaN()};
  size_t n = x.size();
  for (size_t i = 0; i < n; ++i) x.push_back(-x[i]);
  return x;
}

template <class T>
void check_function(const MathReference& function, VectorLevel level, const std::vector<T>& arguments,
                    const std::vector<long double>& exact) {
  DType type = sizeof(T) == 4 ? DType::f32 : DType::f64;
  ProgramFixture f = math_program(level, function.op, type, int64_t(arguments.size()));
  StepMemory memory(f.program);
  BufferId x{0}, y{1};
  std::memcpy(memory.data(x), arguments.data(), arguments.size() * sizeof(T));
  CompiledRunner(f.program).run(memory);
  const MathBound& bounds = math_bound(function.op);
  // The f32 reference is a rounded double itself.
  double worst = 0, worst_at = 0, bound = sizeof(T) == 4 ? bounds.f32 + 0x1p-28 : bounds.f64 + 0x1p-10;
  const auto* got = reinterpret_cast<const T*>(memory.data(y));
  for (size_t i = 0; i < arguments.size(); ++i) {
    double error = ulps(got[i], exact[i]);
    if (error > worst) worst = error, worst_at = double(arguments[i]);
  }
  INFO(op_name(function.op) << " " << dtype_name(type) << " on " << vector_level_name(level) << ": " << worst << " ulp at "
                            << worst_at);
  if (std::getenv("NNC_SHOW_ULPS"))
    WARN(op_name(function.op) << " " << dtype_name(type) << " " << vector_level_name(level) << " " << worst);
  CHECK(worst <= bound);
}

template <class T, class Bits>
std::vector<T> sample(const MathReference& function, size_t count) {
  std::vector<T> x = specials<T>();
  std::mt19937_64 random(12345);
  while (x.size() < count / 2) {
    Bits bits = Bits(random());
    T v;
    std::memcpy(&v, &bits, sizeof v);
    x.push_back(v);
  }
  while (x.size() < count) x.push_back(T(function.low + (function.high - function.low) * double(random() >> 11) * 0x1p-53));
  return x;
}

/// f32: from double, which is exact enough and cheap; f64: from long double.
template <class T>
std::vector<long double> exact_values(const MathReference& function, const std::vector<T>& arguments) {
  std::vector<long double> values;
  for (T x : arguments)
    values.push_back(sizeof(T) == 4 ? (long double)(function.exact_double(double(x))) : function.exact((long double)(x)));
  return values;
}

}  // namespace

TEST_CASE("f32 functions keep their bounds on a million arguments") {
  for (const MathReference& function : math_references) {
    auto x = sample<float, uint32_t>(function, 1'000'000);
    auto exact = exact_values(function, x);
    for (VectorLevel level : host_levels()) check_function<float>(function, level, x, exact);
  }
}

TEST_CASE("f64 functions keep their bounds") {
  for (const MathReference& function : math_references) {
    auto x = sample<double, uint64_t>(function, 60'000);
    auto exact = exact_values(function, x);
    for (VectorLevel level : host_levels()) check_function<double>(function, level, x, exact);
  }
}

TEST_CASE("every floating-point function of one operand has a bound and a reference") {
  std::set<Op> with_bound, with_reference;
  for (const MathBound& b : math_bounds) CHECK(with_bound.insert(b.op).second);
  for (const MathReference& r : math_references) CHECK(with_reference.insert(r.op).second);
  for (int i = 0; i < op_count; ++i) {
    Op op = Op(i);
    if (op_class(op) != OpClass::unary || op == Op::cast || op == Op::logical_not || op == Op::stop_gradient) continue;
    INFO(op_name(op));
    CHECK(with_bound.count(op) == 1);
    CHECK(with_reference.count(op) == 1);
  }
}

TEST_CASE("pow: all combinations of special arguments, and a sample") {
  std::vector<float> bases = specials<float>(), exponents = specials<float>();
  std::mt19937 random(7);
  std::vector<float> x, y;
  for (float a : bases)
    for (float b : exponents) x.push_back(a), y.push_back(b);
  for (int i = 0; i < 100'000; ++i) {
    x.push_back(float(random() >> 8) * 0x1p-20f);
    y.push_back((float(random() >> 8) * 0x1p-24f - 0.5f) * 60);
  }
  for (int i = -20; i <= 20; ++i) x.push_back(-1.25f), y.push_back(float(i));
  for (VectorLevel level : host_levels())
    for (DType type : {DType::f32, DType::f64}) {
      ProgramFixture f(level);
      int64_t n = int64_t(x.size());
      BufferId bx = f.buffer("x", BufferKind::temporary, type, {{n}}), by = f.buffer("y", BufferKind::temporary, type, {{n}});
      BufferId bz = f.buffer("z", BufferKind::output, type, {{n}});
      f.kernels(fmt::format(R"(
  kernel pow  # parallel, after a barrier
    for i < {0}  (vector along i):
      v0 = load x[i] : {1}
      v1 = load y[i] : {1}
      v2 = pow(v0, v1) : {1}
      z[i] <- v2 : {1}
)", n, dtype_name(type)));
      StepMemory memory(f.program);
      memory.fill(bx, [&](int64_t i) { return double(x[size_t(i)]); });
      memory.fill(by, [&](int64_t i) { return double(y[size_t(i)]); });
      CompiledRunner(f.program).run(memory);
      size_t bad = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        long double exact = std::pow((long double)(x[i]), (long double)(y[i]));
        double error = 0, bound = pow_bound_f32;
        if (type == DType::f32) {
          error = ulps(reinterpret_cast<const float*>(memory.data(bz))[i], exact);
        } else {
          error = ulps(reinterpret_cast<const double*>(memory.data(bz))[i], exact);
          long double t = std::fabs(y[i] * std::log(std::fabs((long double)(x[i]))));
          bound = pow_bound_f64(std::isfinite(t) ? double(t) : 0);
        }
        if (error > bound && bad++ < 8) {
          WARN(vector_level_name(level) << " " << dtype_name(type) << ": " << x[i] << " ^ " << y[i] << " = "
                                        << memory.get(bz, int64_t(i)) << ", not " << double(exact) << " (" << error << " ulp)");
        }
      }
      CHECK(bad == 0);
    }
}

TEST_CASE("constant exponents that become products agree with pow") {
  for (VectorLevel level : host_levels())
    for (double exponent : {-1.0, 1.0, 2.0, 3.0, 0.5, -2.0}) {
      ProgramFixture f(level);
      int64_t n = 100;
      BufferId x = f.buffer("x", BufferKind::temporary, DType::f32, {{n}}),
               y = f.buffer("y", BufferKind::output, DType::f32, {{n}});
      f.kernels(fmt::format(R"(
  kernel pow  # parallel, after a barrier
    for i < {}  (vector along i):
      v0 = load x[i] : f32
      v1 = constant {} : f32
      v2 = pow(v0, v1) : f32
      y[i] <- v2 : f32
)", n, exponent));
      StepMemory memory(f.program);
      memory.fill(x, [](int64_t i) { return double(i) / 7; });
      CompiledRunner(f.program).run(memory);
      for (int64_t i = 0; i < n; ++i) CHECK(close(memory.get(y, i), std::pow(memory.get(x, i), exponent), 4e-7));
    }
}
