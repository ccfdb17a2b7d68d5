// Gradient rules of element-wise operations. Where mathematics leaves a choice the rules follow PyTorch: |x| has slope 0 at 0,
// ties of maximum and minimum share the gradient in halves, x^0 has slope 0 even at x = 0, sqrt has slope inf at 0. The branch
// that a select does not take gets a zero chosen by select, never a product with zero, so that its own inf or NaN cannot leak
// through g.
#include <numbers>

#include "passes/gradient_rules.h"
#include "passes/rewrite.h"

namespace nnc {

#define RULE(name) void gradient_##name(Adjoint& a)

RULE(neg) { a.give(0, a.b.neg(a.g)); }
RULE(abs) { a.give(0, a.b.mul(a.g, a.b.unary(Op::sign, a.x(0)))); }

// Piecewise constant: no gradient anywhere.

RULE(sqrt) { a.give(0, a.b.div(a.g, a.b.mul(a.y, 2.0))); }
RULE(exp) { a.give(0, a.times(a.g, a.y)); }
RULE(expm1) { a.give(0, a.b.mul(a.g, a.b.add(a.y, 1.0))); }
RULE(log) { a.give(0, a.b.div(a.g, a.x(0))); }
RULE(log1p) { a.give(0, a.b.div(a.g, a.b.add(a.x(0), 1.0))); }
RULE(sin) { a.give(0, a.b.mul(a.g, a.b.unary(Op::cos, a.x(0)))); }
RULE(cos) { a.give(0, a.b.neg(a.b.mul(a.g, a.b.unary(Op::sin, a.x(0))))); }
RULE(tanh) {
  NodeId square = a.b.mul(a.y, a.y);
  a.give(0, a.b.mul(a.g, a.b.sub(a.b.constant_like(1, a.y), square)));
}
RULE(sigmoid) { a.give(0, a.b.mul(a.g, a.b.mul(a.b.sub(a.b.constant_like(1, a.y), a.y), a.y))); }

RULE(erf) {  // 2/sqrt(pi) * e^(-x^2)
  NodeId bell = a.b.unary(Op::exp, a.b.neg(a.b.mul(a.x(0), a.x(0))));
  a.give(0, a.b.mul(a.g, a.b.mul(bell, 2.0 * std::numbers::inv_sqrtpi)));
}

RULE(normal_cdf) {  // e^(-x^2 / 2) / sqrt(2 pi)
  NodeId bell = a.b.unary(Op::exp, a.b.mul(a.b.mul(a.x(0), a.x(0)), -0.5));
  a.give(0, a.b.mul(a.g, a.b.mul(bell, std::numbers::inv_sqrtpi / std::numbers::sqrt2)));
}

RULE(add) {
  a.give(0, a.g);
  a.give(1, a.g);
}
RULE(sub) {
  a.give(0, a.g);
  if (a.wants(1)) a.give(1, a.b.neg(a.g));
}
RULE(mul) {
  if (a.wants(0)) a.give(0, a.times(a.g, a.x(1)));
  if (a.wants(1)) a.give(1, a.times(a.g, a.x(0)));
}
RULE(div) {  // one division serves both; a divisor that is repeated divides the sum that its gradient becomes (`sum_before_division`)
  const NodeId quotient = a.b.div(a.g, a.x(1));
  const bool repeated = a.b.graph[a.x(1)].op == Op::broadcast;
  if (a.wants(0)) a.give(0, quotient);
  if (a.wants(1)) a.give(1, a.b.neg(repeated ? a.b.div(a.b.mul(a.g, a.y), a.x(1)) : a.b.mul(quotient, a.y)));
}

RULE(floor_mod) {  // the quotient steps from integer to integer: between the steps x - quotient * y
  a.give(0, a.g);
  if (a.wants(1)) a.give(1, a.b.neg(a.b.mul(a.g, a.b.binary(Op::floor_div, a.x(0), a.x(1)))));
}

RULE(copysign) {  // of |x|, flat at 0
  NodeId sign = a.b.binary(Op::copysign, a.b.constant_like(1, a.x(1)), a.x(1));
  a.give(0, a.b.mul(a.g, a.b.mul(a.b.unary(Op::sign, a.x(0)), sign)));
}

RULE(pow) {
  NodeId base = a.x(0), exponent = a.x(1);
  NodeId zero = a.b.constant_like(0, a.g);
  if (a.wants(0)) {
    std::optional<double> fixed = splat_value(a.b.graph, exponent);
    NodeId slope = a.b.mul(exponent, a.b.binary(Op::pow, base, a.b.add(exponent, -1.0)));
    NodeId gradient = a.b.mul(a.g, slope);
    if (!fixed) gradient = a.b.select(a.b.binary(Op::equal, exponent, zero), zero, gradient);
    a.give(0, fixed == 0.0 ? zero : gradient);
  }
  if (a.wants(1)) {  // 0^e is flat for e >= 0, where y * log(0) would be NaN
    NodeId not_negative = a.b.binary(Op::greater_equal, exponent, zero);
    NodeId flat = a.b.binary(Op::logical_and, a.b.binary(Op::equal, base, zero), not_negative);
    a.give(1, a.b.select(flat, zero, a.b.mul(a.g, a.b.mul(a.y, a.b.unary(Op::log, base)))));
  }
}

// The operand that `loses` gets nothing, a tie half, otherwise everything (a NaN operand counts as neither).
static void choose(Adjoint& a, Op first_loses, Op second_loses) {
  NodeId zero = a.b.constant_like(0, a.g);
  NodeId half = a.b.mul(a.g, 0.5);
  NodeId shared = a.b.select(a.b.binary(Op::equal, a.x(0), a.x(1)), half, a.g);
  if (a.wants(0)) a.give(0, a.b.select(a.b.binary(first_loses, a.x(0), a.x(1)), zero, shared));
  if (a.wants(1)) a.give(1, a.b.select(a.b.binary(second_loses, a.x(0), a.x(1)), zero, shared));
}
RULE(maximum) { choose(a, Op::less, Op::greater); }
RULE(minimum) { choose(a, Op::greater, Op::less); }

RULE(select) {
  NodeId zero = a.b.constant_like(0, a.g);
  if (a.wants(1)) a.give(1, a.b.select(a.x(0), a.g, zero));
  if (a.wants(2)) a.give(2, a.b.select(a.x(0), zero, a.g));
}

RULE(cast) {
  if (a.wants(0)) a.give(0, a.b.cast(a.g, a.type(a.x(0)).dtype));
}

}  // namespace nnc
