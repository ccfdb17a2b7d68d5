// An axis of the result has a border if the operand's axis is one along which a window leaves what it reads, by zeros: lowering makes a guard of it.
#include "passes/row_tiles.h"

#include "ir/window.h"
#include "passes/channelwise.h"
#include "passes/costs.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

bool has_border(const Graph& graph, NodeId n, int axis) {
  while (axis >= 0) {
    const Node& node = graph[n];
    if (node.op == Op::window) {
      if (node.attributes.axes[0] == axis && leaves_operand(graph, node)) return is_guardable(node) && node.attributes.axes.size() > 1;
    } else if (node.op == Op::transpose) {
      axis = node.attributes.axes[size_t(axis)];
    } else if (node.op == Op::broadcast) {
      axis = position_of(node.attributes.axes, axis);
    } else if (node.op != Op::slice) {
      return false;
    }
    n = node.operands[0];
  }
  return false;
}

/// The one operand that is not repeated along any axis; none, or several: invalid.
NodeId whole_operand(const Graph& graph, const Node& node) {
  NodeId whole;
  for (NodeId o : node.operands) {
    if (graph[o].op == Op::broadcast || graph[o].op == Op::constant) continue;
    if (whole.valid()) return {};
    whole = o;
  }
  return whole;
}

}  // namespace

bool has_row_tiles(const Graph& graph, const Node& node) {
  constexpr int64_t fewest_columns = 4;  // lanes of a register tile (lower_contract.cpp)
  if (node.op != Op::contract || node.type.dtype != contraction_type || !node.type.has_rows() || channel_label(graph, node) >= 0) return false;
  const Attributes& a = node.attributes;
  const int rows = a.out[0];
  const bool right = holds(a.rhs, rows);
  const std::vector<int>&own = right ? a.rhs : a.lhs, &other = right ? a.lhs : a.rhs;
  if (holds(other, rows)) return false;
  int lines = 0, columns = 0;
  for (size_t axis = 1; axis < a.out.size(); ++axis) {
    const int label = a.out[axis];
    if (holds(own, label)) {
      if (holds(other, label) || !has_border(graph, node.operands[right ? 1 : 0], position_of(own, label))) return false;
      ++lines;
    } else {
      if (node.type.shape[axis].size < fewest_columns) return false;
      ++columns;
    }
  }
  return lines > 0 && columns == 1;
}

bool follows_row_tiles(const Graph& graph, NodeId n) {
  constexpr int most_operations = 2;
  for (int operations = 0; n.valid() && operations <= most_operations; ++operations) {
    const Node& node = graph[n];
    if (node.op == Op::contract) return has_row_tiles(graph, node);
    if (!is_elementwise(node.op) || op_cost(node.op) != OpCost::light) return false;
    n = whole_operand(graph, node);
  }
  return false;
}

bool is_row_sum(const Graph& graph, const Node& node) {
  return node.op == Op::reduce_sum && node.type.dtype == contraction_type && node.attributes.axes == std::vector<int>{0} &&
         graph.type(node.operands[0]).has_rows() && follows_row_tiles(graph, node.operands[0]);
}

}  // namespace nnc
