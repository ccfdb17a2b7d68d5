// The bounds that vector_math.cpp states, measured through compiled code on every vector level of this machine: f32 against
// double precision on a million arguments spread over all bit patterns plus dense ones where the functions bend; f64 against the
// C library's long double.
#include <algorithm>
#include <random>

#include "tests/run/program_fixture.h"
#include "tests/unit/catch.h"

using namespace nnc;
using namespace nnc::test;

namespace {

struct Function {
  Op op;
  double ulp_f32, ulp_f64;
  double low, high;  ///< dense sample
  double limit;      ///< largest |x| for which the bound holds
  long double (*exact)(long double);
  double (*exact_double)(double);
};

template <class T>
T sign_of(T x) {
  return x > 0 ? 1 : x < 0 ? -1 : x;
}
template <class T>
T sigmoid_of(T x) {
  return 1 / (1 + std::exp(-x));
}
template <class T>
T even(T x) {
  return std::nearbyint(x);
}

constexpr double all = std::numeric_limits<double>::infinity();
const std::vector<Function> functions{
    {Op::exp, 1.1, 1, -110, 95, all, [](long double x) { return std::exp(x); }, [](double x) { return std::exp(x); }},
    {Op::expm1, 2, 2, -20, 20, all, [](long double x) { return std::expm1(x); }, [](double x) { return std::expm1(x); }},
    {Op::log, 1, 1, 0, 4, all, [](long double x) { return std::log(x); }, [](double x) { return std::log(x); }},
    {Op::log1p, 1, 1, -1, 4, all, [](long double x) { return std::log1p(x); }, [](double x) { return std::log1p(x); }},
    {Op::sin, 1.5, 1, -30, 30, 0x1p20, [](long double x) { return std::sin(x); }, [](double x) { return std::sin(x); }},
    {Op::cos, 1.5, 1, -30, 30, 0x1p20, [](long double x) { return std::cos(x); }, [](double x) { return std::cos(x); }},
    {Op::tanh, 2.5, 2.5, -10, 10, all, [](long double x) { return std::tanh(x); }, [](double x) { return std::tanh(x); }},
    {Op::sigmoid, 2.5, 2, -100, 100, all, sigmoid_of<long double>, sigmoid_of<double>},
    {Op::erf, 2.2, 1.5, -5, 5, all, [](long double x) { return std::erf(x); }, [](double x) { return std::erf(x); }},
    {Op::sqrt, 0.5001, 0.5001, 0, 4, all, [](long double x) { return std::sqrt(x); }, [](double x) { return std::sqrt(x); }},
    {Op::floor, 0, 0, -20, 20, all, [](long double x) { return std::floor(x); }, [](double x) { return std::floor(x); }},
    {Op::ceil, 0, 0, -20, 20, all, [](long double x) { return std::ceil(x); }, [](double x) { return std::ceil(x); }},
    {Op::round, 0, 0, -20, 20, all, even<long double>, even<double>},
    {Op::abs, 0, 0, -20, 20, all, [](long double x) { return std::fabs(x); }, [](double x) { return std::fabs(x); }},
    {Op::sign, 0, 0, -20, 20, all, sign_of<long double>, sign_of<double>},
};

/// Distance in units in the last place of T at the exact value; 0 for equal specials, infinity for a wrong one.
template <class T>
double ulps(T got, long double exact) {
  constexpr double wrong = std::numeric_limits<double>::infinity();
  if (std::isnan(exact) || std::isnan(got)) return std::isnan(exact) && std::isnan(got) ? 0 : wrong;
  T rounded = T(exact);
  if (got == rounded)
    return got == 0 && std::signbit(got) != std::signbit(rounded) && exact == 0 ? wrong
           : got == exact || std::isinf(got)                                    ? 0
                                                                                : 0.5;
  if (std::isinf(rounded) != std::isinf(got)) {
    // Around the overflow threshold either is right by one unit.
    T largest = std::numeric_limits<T>::max();
    return std::fabs(got) == largest || std::fabs(rounded) == largest ? 1 : wrong;
  }
  if (std::isinf(rounded)) return wrong;
  int exponent = 0;
  std::frexp(double(std::fabs(rounded)), &exponent);
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

ProgramFixture unary_program(VectorLevel level, Op op, DType type, int64_t n) {
  ProgramFixture f(level);
  BufferId x = f.buffer("x", BufferKind::temporary, type, {{n}}), y = f.buffer("y", BufferKind::output, type, {{n}});
  MapKernel map{{{"i", {n}}}, 1, 0, {{false, {}}}, false};
  int next = 0;
  BlockCode code(map.blocks[0].code, next);
  code.store({y, 0, {1}}, type, code.compute(op, type, {code.load({x, 0, {1}}, type)}));
  f.kernel("f", map);
  return f;
}

template <class T>
void check_function(const Function& function, VectorLevel level, const std::vector<T>& arguments,
                    const std::vector<long double>& exact) {
  DType type = sizeof(T) == 4 ? DType::f32 : DType::f64;
  ProgramFixture f = unary_program(level, function.op, type, int64_t(arguments.size()));
  StepMemory memory(f.program);
  BufferId x{0}, y{1};
  std::memcpy(memory.data(x), arguments.data(), arguments.size() * sizeof(T));
  CompiledRunner(f.program).run(memory);
  double worst = 0, worst_at = 0, bound = sizeof(T) == 4 ? function.ulp_f32 : function.ulp_f64;
  const auto* got = reinterpret_cast<const T*>(memory.data(y));
  for (size_t i = 0; i < arguments.size(); ++i) {
    double a = double(arguments[i]);
    if (std::fabs(a) > function.limit && !std::isinf(a)) continue;
    double error = ulps(got[i], exact[i]);
    if (error > worst) worst = error, worst_at = a;
  }
  INFO(op_name(function.op) << " " << dtype_name(type) << " on " << vector_level_name(level) << ": " << worst << " ulp at "
                            << worst_at);
  if (std::getenv("NNC_SHOW_ULPS"))
    WARN(op_name(function.op) << " " << dtype_name(type) << " " << vector_level_name(level) << " " << worst);
  CHECK(worst <= bound);
}

template <class T, class Bits>
std::vector<T> sample(const Function& function, size_t count) {
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
std::vector<long double> exact_values(const Function& function, const std::vector<T>& arguments) {
  std::vector<long double> values;
  for (T x : arguments)
    values.push_back(sizeof(T) == 4 ? (long double)(function.exact_double(double(x))) : function.exact((long double)(x)));
  return values;
}

}  // namespace

TEST_CASE("f32 functions keep their bounds on a million arguments") {
  for (const Function& function : functions) {
    auto x = sample<float, uint32_t>(function, 1'000'000);
    auto exact = exact_values(function, x);
    for (VectorLevel level : host_levels()) check_function<float>(function, level, x, exact);
  }
}

TEST_CASE("f64 functions keep their bounds") {
  for (const Function& function : functions) {
    auto x = sample<double, uint64_t>(function, 60'000);
    auto exact = exact_values(function, x);
    for (VectorLevel level : host_levels()) check_function<double>(function, level, x, exact);
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
      MapKernel map{{{"i", {n}}}, 1, 0, {{false, {}}}, false};
      int next = 0;
      BlockCode code(map.blocks[0].code, next);
      int a = code.load({bx, 0, {1}}, type), b = code.load({by, 0, {1}}, type);
      code.store({bz, 0, {1}}, type, code.compute(Op::pow, type, {a, b}));
      f.kernel("pow", map);
      StepMemory memory(f.program);
      memory.fill(bx, [&](int64_t i) { return double(x[size_t(i)]); });
      memory.fill(by, [&](int64_t i) { return double(y[size_t(i)]); });
      CompiledRunner(f.program).run(memory);
      size_t bad = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        long double exact = std::pow((long double)(x[i]), (long double)(y[i]));
        double error = 0, bound = 1;
        if (type == DType::f32) {
          error = ulps(reinterpret_cast<const float*>(memory.data(bz))[i], exact);
        } else {
          error = ulps(reinterpret_cast<const double*>(memory.data(bz))[i], exact);
          long double t = std::fabs(y[i] * std::log(std::fabs((long double)(x[i]))));
          bound = std::isfinite(t) ? 4 * (1 + double(t)) : 1;
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
      MapKernel map{{{"i", {n}}}, 1, 0, {{false, {}}}, false};
      int next = 0;
      BlockCode code(map.blocks[0].code, next);
      int v = code.load({x, 0, {1}}, DType::f32);
      code.store({y, 0, {1}}, DType::f32, code.compute(Op::pow, DType::f32, {v, code.constant(exponent)}));
      f.kernel("pow", map);
      StepMemory memory(f.program);
      memory.fill(x, [](int64_t i) { return double(i) / 7; });
      CompiledRunner(f.program).run(memory);
      for (int64_t i = 0; i < n; ++i) CHECK(close(memory.get(y, i), std::pow(memory.get(x, i), exponent), 4e-7));
    }
}
