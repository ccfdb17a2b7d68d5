// Quotients under signs and repetitions. A value of the graph is followed through `neg` and `broadcast` down to its `div`; a divisor is followed through the same repetitions beside it.
#include "passes/quotients.h"

#include <algorithm>

#include "passes/rewrite.h"

namespace nnc {

bool is_divided_by(const Graph& graph, NodeId value, NodeId divisor) {
  const Node& node = graph[value];
  if (node.op == Op::neg) return is_divided_by(graph, node.operands[0], divisor);
  if (node.op == Op::div) return is_float(node.type.dtype) && node.operands[1] == divisor;
  const Node& by = graph[divisor];
  return node.op == Op::broadcast && by.op == Op::broadcast && node.type == by.type && node.attributes.axes == by.attributes.axes &&
         is_divided_by(graph, node.operands[0], by.operands[0]);
}

NodeId dividend(Builder& b, NodeId value) {
  const Node node = b.graph[value];  // a copy: nodes move when one is added
  if (node.op == Op::neg) return b.neg(dividend(b, node.operands[0]));
  if (node.op == Op::broadcast) return b.broadcast(dividend(b, node.operands[0]), node.type.shape, node.attributes.axes);
  return node.operands[0];
}

NodeId divisor_of(const Graph& graph, NodeId value) {
  const Node& node = graph[value];
  if (node.op == Op::neg) return divisor_of(graph, node.operands[0]);
  return node.op == Op::div && is_float(node.type.dtype) ? node.operands[1] : NodeId{};
}

NodeId sum_before_division(Builder& b, NodeId value, const std::vector<int>& axes) {
  const NodeId divisor = divisor_of(b.graph, value);
  const bool same = divisor.valid() && !axes.empty() && b.graph[divisor].op == Op::broadcast &&
                    std::none_of(axes.begin(), axes.end(), [&](int axis) { return holds(b.graph[divisor].attributes.axes, axis); });
  if (!same) return b.reduce(Op::reduce_sum, value, axes);
  if (b.graph[value].op == Op::neg) return b.neg(sum_before_division(b, b.graph[value].operands[0], axes));
  const Node repeated = b.graph[divisor];
  std::vector<int> kept;
  for (int axis = 0; axis < repeated.type.rank(); ++axis)
    if (!holds(axes, axis)) kept.push_back(axis);
  const NodeId sum = b.reduce(Op::reduce_sum, dividend(b, value), axes);
  return b.div(sum, align_labels(b, repeated.operands[0], repeated.attributes.axes, kept, b.graph.type(sum).shape));
}

}  // namespace nnc
