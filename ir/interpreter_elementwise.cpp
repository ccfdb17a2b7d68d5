// Element-wise operations, each one scalar expression: the graph interpreter maps it over tensors, the program interpreter calls
// it for every instruction.
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/floor_division.h"
#include "ir/interpreter_ops.h"

namespace nnc {
namespace {

Number larger(Number x, Number y) { return std::isnan(x) || std::isnan(y) ? Number(std::numeric_limits<double>::quiet_NaN()) : x < y ? y : x; }
Number smaller(Number x, Number y) { return std::isnan(x) || std::isnan(y) ? Number(std::numeric_limits<double>::quiet_NaN()) : y < x ? y : x; }
Number negated(Number x, DType type) { return is_float(type) ? Number(-double(x)) : wrap_integer(0 - x.bits(), type); }

template <int64_t (*function)(int64_t, int64_t)>
Number of_integers(Number x, Number y, DType dtype) {
  return wrap_integer(uint64_t(function(int64_t(x.bits()), int64_t(y.bits()))), dtype);
}

double stable_sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  double e = std::exp(x);
  return e / (1 + e);
}

// In long double: far below zero a rounding of the argument costs hundreds of last places.
double normal_cdf(double x) { return double(std::erfc(-static_cast<long double>(x) * (std::numbers::sqrt2_v<long double> / 2)) / 2); }

template <class F>
void map_elements(InterpreterCall& call, F f) {
  Element e;
  e.from = call.operand(0).dtype;
  e.to = call.result.dtype;
  size_t arity = call.operands.size();
  for (size_t i = 0; i < call.result.values.size(); ++i) {
    e.x = call.operand(0).at(i);
    if (arity > 1) e.y = call.operand(1).at(i);
    if (arity > 2) e.z = call.operand(2).at(i);
    call.result.set(i, f(e));
  }
}

}  // namespace

// element_NAME and interpret_NAME from one expression in x, y, z as doubles, and e for the types and the exact numbers.
#define ELEMENTWISE(name, expression)                                                 \
  static Number element_##name(const Element& e) {                                    \
    [[maybe_unused]] double x = e.x, y = e.y, z = e.z;                                \
    return expression;                                                                \
  }                                                                                   \
  void interpret_##name(InterpreterCall& call) { map_elements(call, [](const Element& e) { return element_##name(e); }); }

ELEMENTWISE(neg, negated(e.x, e.to))
ELEMENTWISE(abs, is_float(e.to) ? Number(std::fabs(x)) : x < 0 ? negated(e.x, e.to) : e.x)
ELEMENTWISE(sign, x > 0 ? 1.0 : x < 0 ? -1.0 : x)  // NaN and zeros stay, with their sign
ELEMENTWISE(floor, is_float(e.to) ? Number(std::floor(x)) : e.x)
ELEMENTWISE(ceil, is_float(e.to) ? Number(std::ceil(x)) : e.x)
ELEMENTWISE(round, is_float(e.to) ? Number(std::nearbyint(x)) : e.x)
ELEMENTWISE(sqrt, std::sqrt(x))
ELEMENTWISE(exp, std::exp(x))
ELEMENTWISE(expm1, std::expm1(x))
ELEMENTWISE(log, std::log(x))
ELEMENTWISE(log1p, std::log1p(x))
ELEMENTWISE(sin, std::sin(x))
ELEMENTWISE(cos, std::cos(x))
ELEMENTWISE(tanh, std::tanh(x))
ELEMENTWISE(sigmoid, stable_sigmoid(x))
ELEMENTWISE(erf, std::erf(x))
ELEMENTWISE(normal_cdf, normal_cdf(x))
ELEMENTWISE(logical_not, x == 0)
ELEMENTWISE(stop_gradient, e.x)
ELEMENTWISE(add, add_numbers(e.x, e.y, e.to))
ELEMENTWISE(sub, is_float(e.to) ? Number(x - y) : wrap_integer(e.x.bits() - e.y.bits(), e.to))
ELEMENTWISE(mul, multiply_numbers(e.x, e.y, e.to))
ELEMENTWISE(div, x / y)
ELEMENTWISE(floor_div, is_float(e.to) ? Number(floor_quotient(x, y)) : of_integers<floor_quotient>(e.x, e.y, e.to))
ELEMENTWISE(floor_mod, is_float(e.to) ? Number(floor_remainder(x, y)) : of_integers<floor_remainder>(e.x, e.y, e.to))
ELEMENTWISE(pow, std::pow(x, y))
ELEMENTWISE(maximum, larger(e.x, e.y))
ELEMENTWISE(minimum, smaller(e.x, e.y))
ELEMENTWISE(copysign, std::isnan(y) ? y : std::copysign(x, y))
ELEMENTWISE(equal, e.x == e.y)
ELEMENTWISE(not_equal, e.x != e.y)
ELEMENTWISE(less, e.x < e.y)
ELEMENTWISE(less_equal, e.x <= e.y)
ELEMENTWISE(greater, e.x > e.y)
ELEMENTWISE(greater_equal, e.x >= e.y)
ELEMENTWISE(logical_and, x != 0 && y != 0)
ELEMENTWISE(logical_or, x != 0 || y != 0)
ELEMENTWISE(select, x != 0 ? e.y : e.z)
ELEMENTWISE(cast, convert_number(e.x, e.from, e.to))

ElementFunction element_function(Op op) {
#define FUNCTION_leaf(name) nullptr
#define FUNCTION_unary(name) element_##name
#define FUNCTION_binary(name) element_##name
#define FUNCTION_compare(name) element_##name
#define FUNCTION_select(name) element_##name
#define FUNCTION_shape(name) nullptr
#define FUNCTION_reduce(name) nullptr
#define FUNCTION_contract(name) nullptr
#define FUNCTION_indexing(name) nullptr
#define FUNCTION_region(name) nullptr
  static constexpr std::array<ElementFunction, op_count> functions{{
#define NNC_OP(name, arity, op_class, differentiable, summary) FUNCTION_##op_class(name),
#include "ir/ops.def"
#undef NNC_OP
  }};
  return functions[size_t(op)];
}

}  // namespace nnc
