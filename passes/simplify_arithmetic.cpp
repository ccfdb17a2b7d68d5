// Rules about numbers: constants, signs, powers, choices, conversions. References: IEEE 754-2019, 6.3 (signs of zeros), 9.2
// (pow).
#include <cfloat>
#include <cmath>

#include "passes/fold.h"
#include "passes/simplify_rules.h"

namespace nnc {

#define RULE(name) NodeId simplify_##name(Candidate& c)

namespace {

bool is_number(std::optional<double> value, double wanted) { return value && *value == wanted; }

// A number that stays what it is when rounded to f32, aside from rounding.
bool normal(double v) { return std::fabs(v) <= FLT_MAX && std::fabs(v) >= FLT_MIN; }

bool both_constant(const Candidate& c) { return c.number(c.x(0)) && c.number(c.x(1)); }

}  // namespace

RULE(constants) {
  std::optional<Number> value = fold_node(c.b.graph, c.node);
  return value ? c.b.constant(*value, c.node.type) : NodeId{};
}

RULE(constant_right) {
  if ((c.op() != Op::add && c.op() != Op::mul) || !c.number(c.x(0)) || c.number(c.x(1))) return {};
  return c.same_op({c.x(1), c.x(0)});
}

RULE(add_zero) {
  if (c.op() != Op::add && c.op() != Op::sub) return {};
  std::optional<double> addend = c.number(c.x(1));
  if (!is_number(addend, 0)) return {};
  // -0 + 0 is 0: only the zero that adds to every float without a trace may go.
  return !c.is_float_node() || std::signbit(*addend) == (c.op() == Op::add) ? c.x(0) : NodeId{};
}

RULE(subtract_constant) {
  if (c.op() != Op::sub || !c.is_float_node() || !c.number(c.x(1)) || c.number(c.x(0))) return {};
  return c.b.add(c.x(0), -*c.number(c.x(1)));
}

RULE(multiply_one) {
  if (c.op() != Op::mul && c.op() != Op::div) return {};
  return is_number(c.number(c.x(1)), 1) ? c.x(0) : NodeId{};
}

RULE(multiply_minus_one) { return c.op() == Op::mul && is_number(c.number(c.x(1)), -1) ? c.b.neg(c.x(0)) : NodeId{}; }

RULE(divide_by_power_of_two) {
  if (c.op() != Op::div || !c.number(c.x(1)) || c.number(c.x(0))) return {};
  double divisor = *c.number(c.x(1));
  int exponent;
  if (!normal(divisor) || !normal(1 / divisor) || std::fabs(std::frexp(divisor, &exponent)) != 0.5) return {};
  return c.b.mul(c.x(0), 1 / divisor);
}

RULE(add_twice) {
  return c.op() == Op::add && c.is_float_node() && c.x(0) == c.x(1) && !c.number(c.x(0)) ? c.b.mul(c.x(0), 2.0) : NodeId{};
}

RULE(negate_twice) { return c.op() == Op::neg && c.op_of(0) == Op::neg ? c.def(0).operands[0] : NodeId{}; }

RULE(negate_product) {
  if (c.op() == Op::neg && c.op_of(0) == Op::mul && c.is_float_node() && c.uses(c.x(0)) == 1) {
    NodeId x = c.def(0).operands[0];
    std::optional<double> factor = c.number(c.def(0).operands[1]);
    if (factor && !c.number(x)) return c.b.mul(x, -*factor);
  }
  if (c.op() == Op::mul && c.is_float_node() && c.op_of(0) == Op::neg && c.number(c.x(1)))
    return c.b.mul(c.def(0).operands[0], -*c.number(c.x(1)));
  return {};
}

RULE(add_negated) {
  if (c.op() == Op::add && c.op_of(1) == Op::neg) return c.b.sub(c.x(0), c.def(1).operands[0]);
  if (c.op() == Op::sub && c.op_of(1) == Op::neg) return c.b.add(c.x(0), c.def(1).operands[0]);
  if (c.op() == Op::add && c.op_of(0) == Op::neg && !c.number(c.x(1))) return c.b.sub(c.x(1), c.def(0).operands[0]);
  return {};
}

RULE(multiply_negated) {
  if (c.op() != Op::mul || both_constant(c)) return {};
  bool left = c.op_of(0) == Op::neg, right = c.op_of(1) == Op::neg;
  if (left && right) return c.b.mul(c.def(0).operands[0], c.def(1).operands[0]);
  if (left && !c.number(c.x(1))) return c.b.neg(c.b.mul(c.def(0).operands[0], c.x(1)));
  if (right) return c.b.neg(c.b.mul(c.x(0), c.def(1).operands[0]));
  return {};
}

RULE(absolute) {
  if (c.op() != Op::abs || !c.is_float_node()) return {};
  if (c.op_of(0) == Op::abs) return c.x(0);
  return c.op_of(0) == Op::neg ? c.b.unary(Op::abs, c.def(0).operands[0]) : NodeId{};
}

RULE(power) {
  if (c.op() != Op::pow || !c.number(c.x(1))) return {};
  double exponent = *c.number(c.x(1));
  NodeId x = c.x(0);
  if (exponent == 0) return c.b.constant_like(1, x);
  if (exponent == 1) return x;
  if (exponent == 2) return c.b.mul(x, x);
  if (exponent == 3) return c.b.mul(c.b.mul(x, x), x);
  if (exponent == -1) return c.b.div(c.b.constant_like(1, x), x);
  return {};
}

RULE(power_root) {
  if (c.op() != Op::pow || !c.number(c.x(1))) return {};
  double exponent = *c.number(c.x(1));
  if (exponent != 0.5 && exponent != -0.5 && exponent != 1.5) return {};
  NodeId x = c.x(0), root = c.b.unary(Op::sqrt, x);
  NodeId positive = c.b.unary(Op::abs, root);  // the root of -0 is -0, its power +0
  NodeId power = exponent == 1.5 ? c.b.mul(x, root) : exponent == 0.5 ? positive : c.b.div(c.b.constant_like(1, x), positive);
  NodeId lowest = c.b.constant_like(-HUGE_VAL, x), of_lowest = c.b.constant_like(exponent < 0 ? 0 : HUGE_VAL, x);
  return c.b.select(c.b.binary(Op::equal, x, lowest), of_lowest, power);
}

RULE(select_known) {
  if (c.op() != Op::select) return {};
  if (c.x(1) == c.x(2)) return c.x(1);
  std::optional<double> condition = c.number(c.x(0));
  return condition ? c.x(*condition != 0 ? 1 : 2) : NodeId{};
}

RULE(select_not) {
  if (c.op() != Op::select || c.op_of(0) != Op::logical_not) return {};
  return c.b.select(c.def(0).operands[0], c.x(2), c.x(1));
}

RULE(select_nested) {
  if (c.op() != Op::select) return {};
  for (int branch = 1; branch <= 2; ++branch) {
    Node inner = c.def(branch);
    if (inner.op != Op::select || inner.operands[0] != c.x(0)) continue;
    NodeId taken = inner.operands[size_t(branch)];
    return branch == 1 ? c.b.select(c.x(0), taken, c.x(2)) : c.b.select(c.x(0), c.x(1), taken);
  }
  return {};
}

RULE(logic) {
  if (c.op() == Op::logical_not) {
    Node inner = c.def(0);
    if (inner.op == Op::logical_not) return inner.operands[0];
    if (inner.op == Op::equal) return c.b.binary(Op::not_equal, inner.operands[0], inner.operands[1]);
    if (inner.op == Op::not_equal) return c.b.binary(Op::equal, inner.operands[0], inner.operands[1]);
    return {};
  }
  if (c.op() != Op::logical_and && c.op() != Op::logical_or) return {};
  if (c.x(0) == c.x(1)) return c.x(0);
  bool neutral = c.op() == Op::logical_and;
  for (int side = 0; side < 2; ++side)
    if (std::optional<double> known = c.number(c.x(side))) return (*known != 0) == neutral ? c.x(1 - side) : c.x(side);
  return {};
}

RULE(extreme_of_same) { return (c.op() == Op::maximum || c.op() == Op::minimum) && c.x(0) == c.x(1) ? c.x(0) : NodeId{}; }

RULE(cast_chain) {
  if (c.op() != Op::cast) return {};
  if (c.type(c.x(0)) == c.node.type) return c.x(0);
  Node inner = c.def(0);
  if (inner.op != Op::cast || !holds_every(inner.type.dtype, c.type(inner.operands[0]).dtype)) return {};
  return c.b.cast(inner.operands[0], c.node.type.dtype);
}

}  // namespace nnc
