// Gradient rules of operations that move or sum elements. Each is the transpose of a linear map: a repetition's gradient is a
// sum, a sum's a repetition, a slice's a pad, a gather's a scatter; a contraction's gradients are contractions with the labels
// swapped.
#include <algorithm>

#include "base/check.h"
#include "ir/window.h"
#include "passes/gradient_rules.h"
#include "passes/quotients.h"
#include "passes/rewrite.h"

namespace nnc {

#define RULE(name) void gradient_##name(Adjoint& a)

RULE(broadcast) {
  std::vector<int> repeated;
  for (int i = 0; i < a.node.type.rank(); ++i)
    if (!holds(a.node.attributes.axes, i)) repeated.push_back(i);
  a.give(0, sum_before_division(a.b, a.g, repeated));
}
RULE(transpose) { a.give(0, a.b.transpose(a.g, inverse_axes(a.node.attributes.axes))); }
RULE(reshape) { a.give(0, a.b.reshape(a.g, a.type(a.x(0)).shape)); }
RULE(slice) {
  int axis = a.node.attributes.axes[0];
  a.give(0, a.b.pad(a.g, axis, a.node.attributes.begin, a.type(a.x(0)).shape[size_t(axis)]));
}
RULE(pad) {
  int axis = a.node.attributes.axes[0];
  a.give(0, a.b.slice(a.g, axis, a.node.attributes.begin, a.type(a.x(0)).shape[size_t(axis)]));
}

// What reads one element of the operand is, seen from there, a window of the result (ir/window.h).
RULE(window) {
  const Extent size = a.type(a.x(0)).shape[size_t(a.node.attributes.axes[0])];
  a.give(0, a.b.window(a.g, transposed_window(a.node.attributes, size)));
}

RULE(reduce_sum) { a.give(0, a.b.expand(a.g, a.node.attributes.axes, a.x(0))); }

// The elements equal to the extreme share its gradient. The division comes before the repetition: it is done once per result.
static void share_among_extremes(Adjoint& a) {
  const std::vector<int>& axes = a.node.attributes.axes;
  NodeId extreme = a.b.binary(Op::equal, a.x(0), a.b.expand(a.y, axes, a.x(0)));
  NodeId count = a.b.reduce(Op::reduce_sum, a.b.cast(extreme, a.node.type.dtype), axes);
  NodeId share = a.b.expand(a.b.div(a.g, count), axes, a.x(0));
  a.give(0, a.b.select(extreme, share, a.b.constant_like(0, share)));
}
RULE(reduce_max) { share_among_extremes(a); }
RULE(reduce_min) { share_among_extremes(a); }

// d/dx0 of sum(x0[lhs] * x1[rhs]) is sum(g[out] * x1[rhs]) over what x0 lacks; labels that only x0 has were summed there alone,
// so that the gradient repeats along them.
static void contract_operand(Adjoint& a, int which) {
  const Attributes& n = a.node.attributes;
  const std::vector<int>& own = which == 0 ? n.lhs : n.rhs;
  const std::vector<int>& other = which == 0 ? n.rhs : n.lhs;
  std::vector<int> found;
  for (int label : own)
    if (holds(n.out, label) || holds(other, label)) found.push_back(label);
  NodeId g = which == 0 ? a.b.contract(a.g, a.x(1), n.out, other, found) : a.b.contract(a.x(0), a.g, other, n.out, found);
  a.give(which, align_labels(a.b, g, found, own, Shape(a.type(a.x(which)).shape)));
}
RULE(contract) {
  if (a.wants(0)) contract_operand(a, 0);
  if (a.wants(1)) contract_operand(a, 1);
}

// One index per entry of the table's other axes picks one element each, so that nothing can collide: a comparison with the index
// fuses with what follows, a scatter does not. An index with axes of its own may repeat an entry, and the gradients add up.
RULE(gather) {
  if (!a.wants(0)) return;
  const Attributes& n = a.node.attributes;
  NodeId index = a.x(1);
  Shape table = a.type(a.x(0)).shape;
  bool aligned = std::all_of(n.rhs.begin(), n.rhs.end(), [&](int label) { return holds(n.lhs, label); });
  if (!aligned) {
    Attributes scatter;
    scatter.axes = n.axes;
    scatter.extents = table;
    scatter.lhs = n.out;
    scatter.rhs = n.rhs;
    scatter.out = n.lhs;
    a.give(0, a.b.graph.add(Op::scatter_add, {a.g, index}, std::move(scatter), a.b.span, a.b.scope));
    return;
  }
  NodeId here = a.b.iota(table, n.axes[0]);
  NodeId there = align_labels(a.b, a.b.cast(index, index_type), n.rhs, n.lhs, table);
  NodeId g = align_labels(a.b, a.g, n.out, n.lhs, table);
  NodeId zero = a.b.constant_like(0, g);
  a.give(0, a.b.select(a.b.binary(Op::equal, here, there), g, zero));
}

RULE(scatter_add) {
  if (!a.wants(0)) return;
  const Attributes& n = a.node.attributes;
  Attributes gather;
  gather.axes = n.axes;
  gather.lhs = n.out;
  gather.rhs = n.rhs;
  gather.out = n.lhs;
  a.give(0, a.b.graph.add(Op::gather, {a.g, a.x(1)}, std::move(gather), a.b.span, a.b.scope));
}

}  // namespace nnc
