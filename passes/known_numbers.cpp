// What a known number makes of others.
#include "passes/known_numbers.h"

#include <cmath>
#include <limits>

#include "ir/interpreter.h"
#include "ir/interpreter_ops.h"

namespace nnc {

std::optional<Number> deciding(Op op, size_t operand, Number number) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  auto is = [&](double x) { return double(number) == x; };
  const bool is_infinite = std::isinf(double(number));
  switch (op) {
    case Op::mul:
      if (is(0)) return number;
      break;
    case Op::div:
      if (operand == 0 && is(0)) return number;
      if (operand == 1 && is_infinite) return Number(0);
      break;
    case Op::add:
      if (is_infinite) return number;
      break;
    case Op::sub:
      if (is_infinite) return operand == 0 ? number : Number(-double(number));
      break;
    case Op::maximum:
      if (is(infinity)) return number;
      break;
    case Op::minimum:
      if (is(-infinity)) return number;
      break;
    case Op::logical_and:
      if (is(0)) return number;
      break;
    case Op::logical_or:
      if (is(1)) return number;
      break;
    default: break;
  }
  return std::nullopt;
}

std::optional<Number> number_everywhere(Op op, DType from, DType to, const std::vector<Number>& operands) {
  Element element;
  element.from = from;
  element.to = to;
  element.x = operands[0];
  if (operands.size() > 1) element.y = operands[1];
  const ElementFunction function = element_function(op);
  if (!function) return std::nullopt;
  const Number number = function(element);
  if (!same_bits(rounded_to(to, number), number)) return std::nullopt;
  return number;
}

}  // namespace nnc
