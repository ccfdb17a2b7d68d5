// Rules about sums: reductions and contractions take in the views of their operands, and sum as early and as little as possible.
#include <algorithm>

#include "passes/simplify_rules.h"

namespace nnc {

#define RULE(name) NodeId simplify_##name(Candidate& c)

namespace {

bool is_extreme_or_sum(Op op) { return op == Op::reduce_sum || op == Op::reduce_max || op == Op::reduce_min; }

std::vector<int> without(const std::vector<int>& list, const std::vector<int>& removed) {
  std::vector<int> rest;
  for (int x : list)
    if (!holds(removed, x)) rest.push_back(x);
  return rest;
}

// Sizes by label of an operand.
Extent size_of(const Candidate& c, const std::vector<int>& labels, NodeId operand, int label) {
  return c.type(operand).shape[size_t(position_of(labels, label))];
}

}  // namespace

RULE(reduce_broadcast) {
  if (!is_extreme_or_sum(c.op())) return {};
  std::optional<Repeated> r = as_repeated(c, c.x(0));
  if (!r) return {};
  const std::vector<int> reduced = c.node.attributes.axes;
  std::vector<Extent> repeated;
  for (int axis : reduced)
    if (!holds(r->axes, axis)) repeated.push_back(c.type(c.x(0)).shape[size_t(axis)]);
  for (const Extent& e : repeated)  // the largest of no elements is not x, and their sum is 0 even where x is inf
    if (e.size == 0 || (e.rows && c.op() != Op::reduce_sum)) return {};
  std::vector<int> in_source;
  for (size_t i = 0; i < r->axes.size(); ++i)
    if (holds(reduced, r->axes[i])) in_source.push_back(int(i));
  NodeId value = c.b.reduce(c.op(), source_of(c, *r, c.node.type.dtype), in_source);
  if (c.op() == Op::reduce_sum && !repeated.empty()) value = c.b.mul(value, extent_product(c, repeated, c.node.type.dtype));
  return align_labels(c.b, value, without(r->axes, reduced), without(identity_axes(c.type(c.x(0)).rank()), reduced),
                      c.node.type.shape);
}

RULE(reduce_twice) {
  if (!is_extreme_or_sum(c.op()) || c.op_of(0) != c.op() || c.uses(c.x(0)) > 1) return {};
  Node inner = c.def(0);
  int rank = c.type(inner.operands[0]).rank();
  std::vector<int> left = without(identity_axes(rank), inner.attributes.axes);
  std::vector<int> axes = inner.attributes.axes;
  for (int axis : c.node.attributes.axes) axes.push_back(left[size_t(axis)]);
  std::sort(axes.begin(), axes.end());
  return c.b.reduce(c.op(), inner.operands[0], axes);
}

RULE(reduce_transpose) {
  if (!is_extreme_or_sum(c.op()) || c.op_of(0) != Op::transpose) return {};
  Node inner = c.def(0);
  std::vector<int> axes;
  for (int axis : c.node.attributes.axes) axes.push_back(inner.attributes.axes[size_t(axis)]);
  std::sort(axes.begin(), axes.end());
  NodeId value = c.b.reduce(c.op(), inner.operands[0], axes);
  std::vector<int> have = without(identity_axes(inner.type.rank()), axes), want = without(inner.attributes.axes, axes);
  return align_labels(c.b, value, have, want, c.node.type.shape);
}

// Both factors smaller than their product, and a summed axis that both have: multiplying first would make a tensor that nobody
// needs.
RULE(sum_of_product) {
  if (c.op() != Op::reduce_sum || c.op_of(0) != Op::mul || c.uses(c.x(0)) > 1) return {};
  Node product = c.def(0);
  if (c.def(product.operands[0]).op != Op::broadcast || c.def(product.operands[1]).op != Op::broadcast) return {};
  Node left = c.def(product.operands[0]), right = c.def(product.operands[1]);
  const std::vector<int>&lhs = left.attributes.axes, &rhs = right.attributes.axes;
  bool shared = false;
  for (int axis = 0; axis < product.type.rank(); ++axis) {
    bool in_left = holds(lhs, axis), in_right = holds(rhs, axis);
    if (!in_left && !in_right) return {};
    shared |= in_left && in_right && holds(c.node.attributes.axes, axis);
  }
  if (!shared) return {};
  return c.b.contract(left.operands[0], right.operands[0], lhs, rhs,
                      without(identity_axes(product.type.rank()), c.node.attributes.axes));
}

RULE(contract_transpose) {
  if (c.op() == Op::transpose && c.op_of(0) == Op::contract && c.uses(c.x(0)) == 1) {
    Node inner = c.def(0);
    std::vector<int> out;
    for (int axis : c.node.attributes.axes) out.push_back(inner.attributes.out[size_t(axis)]);
    return c.b.contract(inner.operands[0], inner.operands[1], inner.attributes.lhs, inner.attributes.rhs, out);
  }
  if (c.op() != Op::contract) return {};
  Attributes a = c.node.attributes;
  std::vector<NodeId> operands = c.node.operands;
  bool found = false;
  for (int i = 0; i < 2; ++i) {
    if (c.op_of(i) != Op::transpose) continue;
    Node view = c.def(i);
    std::vector<int>& labels = i == 0 ? a.lhs : a.rhs;
    std::vector<int> source(labels.size());
    for (size_t k = 0; k < labels.size(); ++k) source[size_t(view.attributes.axes[k])] = labels[k];
    labels = source;
    operands[size_t(i)] = view.operands[0];
    found = true;
  }
  return found ? c.b.contract(operands[0], operands[1], a.lhs, a.rhs, a.out) : NodeId{};
}

RULE(contract_broadcast) {
  if (c.op() != Op::contract) return {};
  const Attributes a = c.node.attributes;
  for (int i = 0; i < 2; ++i) {
    std::optional<Repeated> r = as_repeated(c, c.x(i));
    if (!r) continue;
    const std::vector<int>&own = i == 0 ? a.lhs : a.rhs, &other = i == 0 ? a.rhs : a.lhs;
    std::vector<int> labels, out = a.out;
    for (int axis : r->axes) labels.push_back(own[size_t(axis)]);
    std::vector<Extent> multiples;
    for (int label : own) {
      if (holds(labels, label)) continue;
      if (size_of(c, own, c.x(i), label).size == 0) return {};  // a sum of nothing is 0 whatever is repeated
      if (holds(other, label)) continue;
      if (holds(a.out, label))
        out = without(out, {label});
      else
        multiples.push_back(size_of(c, own, c.x(i), label));
    }
    NodeId source = source_of(c, *r, c.node.type.dtype);
    NodeId value = i == 0 ? c.b.contract(source, c.x(1), labels, a.rhs, out) : c.b.contract(c.x(0), source, a.lhs, labels, out);
    if (!multiples.empty()) value = c.b.mul(value, extent_product(c, multiples, c.node.type.dtype));
    return align_labels(c.b, value, out, a.out, c.node.type.shape);
  }
  return {};
}

RULE(contract_lone_sum) {
  if (c.op() != Op::contract) return {};
  Attributes a = c.node.attributes;
  std::vector<NodeId> operands = c.node.operands;
  bool found = false;
  for (int i = 0; i < 2; ++i) {
    std::vector<int>& own = i == 0 ? a.lhs : a.rhs;
    const std::vector<int>& other = i == 0 ? a.rhs : a.lhs;
    std::vector<int> axes, rest;
    for (size_t k = 0; k < own.size(); ++k) {
      const bool is_single = c.type(c.x(i)).shape[k] == Extent{1, false};  // nothing is summed
      if (holds(other, own[k]) || holds(a.out, own[k]) || is_single)
        rest.push_back(own[k]);
      else
        axes.push_back(int(k));
    }
    if (axes.empty()) continue;
    operands[size_t(i)] = c.b.reduce(Op::reduce_sum, operands[size_t(i)], axes);
    own = rest;
    found = true;
  }
  return found ? c.b.contract(operands[0], operands[1], a.lhs, a.rhs, a.out) : NodeId{};
}

// The gradient of what a window reads is a window of a contraction's result, and with this a contraction itself, as the forward one is.
RULE(window_contract) {
  if (c.op() != Op::window || c.op_of(0) != Op::contract || c.node.attributes.number != 0 || c.uses(c.x(0)) > 1) return {};
  Node inner = c.def(0);
  Attributes labels = inner.attributes, window = c.node.attributes;
  const int along = labels.out[size_t(window.axes[0])];
  const int own = holds(labels.lhs, along) ? 0 : 1;
  std::vector<int> &mine = own == 0 ? labels.lhs : labels.rhs, &others = own == 0 ? labels.rhs : labels.lhs;
  if (holds(others, along)) return {};
  NodeId x = inner.operands[size_t(own)];
  if (window.axes.size() > 1) {
    const int by = labels.out[size_t(window.axes[1])];
    if (!holds(mine, by)) {
      Shape shape = c.type(x).shape;
      shape.push_back(c.node.type.shape[size_t(window.axes[1])]);
      x = c.b.broadcast(x, shape, identity_axes(int(mine.size())));
      mine.push_back(by);
    }
    window.axes[1] = position_of(mine, by);
  }
  window.axes[0] = position_of(mine, along);
  x = c.b.window(x, window);
  const NodeId other = inner.operands[size_t(1 - own)];
  return own == 0 ? c.b.contract(x, other, labels.lhs, labels.rhs, labels.out) : c.b.contract(other, x, labels.lhs, labels.rhs, labels.out);
}

// The gradient of windows that lie side by side, as in pooling: nothing is added up.
RULE(window_merge) {
  if (c.op() != Op::reduce_sum || c.op_of(0) != Op::window || c.uses(c.x(0)) > 1) return {};
  Node inner = c.def(0);
  const Attributes& w = inner.attributes;
  if (w.axes.size() < 2 || w.number != 0 || w.stride != 1 || w.dilation != -1 || w.begin != 0) return {};
  const int i = w.axes[0], j = w.axes[1];
  const NodeId x = inner.operands[0];
  const Shape from = c.type(x).shape;
  const int64_t count = from[size_t(i)].size, width = from[size_t(j)].size, length = inner.type.shape[size_t(i)].size;
  const std::vector<int>& reduced = c.node.attributes.axes;
  if (!holds(reduced, j) || holds(reduced, i) || width != w.divide || count * width > length) return {};
  std::vector<int> order;  // j behind i, then as one axis
  Shape beside, merged;
  for (int axis = 0; axis < int(from.size()); ++axis) {
    if (axis == j) continue;
    order.push_back(axis);
    beside.push_back(from[size_t(axis)]);
    merged.push_back(from[size_t(axis)]);
    if (axis != i) continue;
    order.push_back(j);
    beside.push_back(from[size_t(j)]);
    merged.set_size(merged.size() - 1, count * width);
  }
  NodeId value = align_labels(c.b, x, identity_axes(int(from.size())), order, beside);
  value = c.b.reshape(value, merged);
  const std::vector<int> left = without(identity_axes(int(from.size())), {j});
  value = c.b.pad(value, position_of(left, i), 0, Extent{length, false});
  std::vector<int> rest;
  for (int axis : reduced)
    if (axis != j) rest.push_back(position_of(left, axis));
  return c.b.reduce(Op::reduce_sum, value, rest);
}

// Of a window's gradient: the elements of the window are summed with the rest, and the product never stands in memory. Elsewhere what is summed may be smaller than its factors.
RULE(reduce_contract) {
  if (c.op() != Op::reduce_sum || c.op_of(0) != Op::contract || c.uses(c.x(0)) > 1) return {};
  Node inner = c.def(0);
  if (c.def(inner.operands[0]).op != Op::window && c.def(inner.operands[1]).op != Op::window) return {};
  std::vector<int> out;
  for (size_t i = 0; i < inner.attributes.out.size(); ++i)
    if (!holds(c.node.attributes.axes, int(i))) out.push_back(inner.attributes.out[i]);
  return c.b.contract(inner.operands[0], inner.operands[1], inner.attributes.lhs, inner.attributes.rhs, out);
}

RULE(contract_nothing) {
  if (c.op() != Op::contract) return {};
  const Attributes a = c.node.attributes;
  bool sums = false;
  for (const std::vector<int>* labels : {&a.lhs, &a.rhs})
    for (int label : *labels) sums |= !holds(a.out, label);
  if (sums && !a.lhs.empty() && !a.rhs.empty()) return {};  // a number times a sum is a product, too
  auto summed = [&](NodeId x, const std::vector<int>& labels) {
    std::vector<int> axes;
    for (size_t k = 0; k < labels.size(); ++k)
      if (!holds(a.out, labels[k])) axes.push_back(int(k));
    std::vector<int> rest;
    for (int label : labels)
      if (holds(a.out, label)) rest.push_back(label);
    return align_labels(c.b, c.b.reduce(Op::reduce_sum, x, axes), rest, a.out, c.node.type.shape);
  };
  NodeId x = summed(c.x(0), a.lhs), y = summed(c.x(1), a.rhs);
  return c.b.mul(x, y);
}

}  // namespace nnc
