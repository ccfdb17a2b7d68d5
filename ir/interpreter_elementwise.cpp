// Element-wise operations, each one scalar expression: the graph interpreter maps it over tensors, the program interpreter calls
// it for every instruction.
#include <array>
#include <cmath>
#include <limits>

#include "ir/interpreter_ops.h"

namespace nnc {
namespace {

// Float to integer: towards zero, saturating.
double truncate_to(double value, double low, double high) {
  if (std::isnan(value)) return 0;
  return std::trunc(std::fmin(std::fmax(value, low), high)) + 0.0;  // + 0.0: no negative zero among integers
}

double larger(double x, double y) { return std::isnan(x) || std::isnan(y) ? std::numeric_limits<double>::quiet_NaN() : x < y ? y : x; }
double smaller(double x, double y) { return std::isnan(x) || std::isnan(y) ? std::numeric_limits<double>::quiet_NaN() : y < x ? y : x; }

double stable_sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  double e = std::exp(x);
  return e / (1 + e);
}

template <class F>
void map_elements(InterpreterCall& call, F f) {
  Element e;
  e.from = call.operand(0).dtype;
  e.to = call.result.dtype;
  size_t arity = call.operands.size();
  for (size_t i = 0; i < call.result.values.size(); ++i) {
    e.x = call.operand(0).values[i];
    if (arity > 1) e.y = call.operand(1).values[i];
    if (arity > 2) e.z = call.operand(2).values[i];
    call.result.values[i] = f(e);
  }
}

}  // namespace

double convert_number(double value, DType from, DType to) {
  if (to == DType::boolean) return value != 0 ? 1 : 0;
  if (is_float(to)) return value;
  if (!is_float(from)) return wrap_integer(integer_bits(value), to);
  return truncate_to(value, traits(to).lowest, traits(to).highest);
}

// element_NAME and interpret_NAME from one expression in x, y, z (and e for the types).
#define ELEMENTWISE(name, expression)                                                 \
  static double element_##name(const Element& e) {                                    \
    [[maybe_unused]] double x = e.x, y = e.y, z = e.z;                                \
    return expression;                                                                \
  }                                                                                   \
  void interpret_##name(InterpreterCall& call) { map_elements(call, [](const Element& e) { return element_##name(e); }); }

ELEMENTWISE(neg, is_float(e.to) ? -x : wrap_integer(0 - integer_bits(x), e.to))
ELEMENTWISE(abs, is_float(e.to) ? std::fabs(x) : x < 0 ? wrap_integer(0 - integer_bits(x), e.to) : x)
ELEMENTWISE(sign, x > 0 ? 1 : x < 0 ? -1 : x)  // NaN and zeros stay, with their sign
ELEMENTWISE(floor, std::floor(x))
ELEMENTWISE(ceil, std::ceil(x))
ELEMENTWISE(round, std::nearbyint(x))
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
ELEMENTWISE(logical_not, x == 0)
ELEMENTWISE(stop_gradient, x)
ELEMENTWISE(add, add_numbers(x, y, e.to))
ELEMENTWISE(sub, is_float(e.to) ? x - y : wrap_integer(integer_bits(x) - integer_bits(y), e.to))
ELEMENTWISE(mul, multiply_numbers(x, y, e.to))
ELEMENTWISE(div, x / y)
ELEMENTWISE(pow, std::pow(x, y))
ELEMENTWISE(maximum, larger(x, y))
ELEMENTWISE(minimum, smaller(x, y))
ELEMENTWISE(equal, x == y)
ELEMENTWISE(not_equal, x != y)
ELEMENTWISE(less, x < y)
ELEMENTWISE(less_equal, x <= y)
ELEMENTWISE(greater, x > y)
ELEMENTWISE(greater_equal, x >= y)
ELEMENTWISE(logical_and, x != 0 && y != 0)
ELEMENTWISE(logical_or, x != 0 || y != 0)
ELEMENTWISE(select, x != 0 ? y : z)
ELEMENTWISE(cast, convert_number(x, e.from, e.to))

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
  static constexpr std::array<ElementFunction, op_count> functions{{
#define NNC_OP(name, arity, op_class, differentiable, summary) FUNCTION_##op_class(name),
#include "ir/ops.def"
#undef NNC_OP
  }};
  return functions[size_t(op)];
}

}  // namespace nnc
