// A window along a and j reads (o * stride + j * dilation + begin) / divide. The numbers above the line go from `lowest` to `highest`: the copy holds, for each, what the
// window reads there, so that the window over the copy has no division and no outside. The copy is made below what repeats the operand (a window's second axis is
// mostly a broadcast) and below windows along other axes, whose copies then are one kernel with it.
#include "passes/store_borders.h"

#include "ir/window.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

/// `copy`, a window over one axis, below views of x that leave `axis` alone. Not below another copy with another number: where both are outside, the one above decides.
NodeId insert_copy(Builder& b, NodeId x, int axis, Attributes copy) {
  const Node node = b.graph[x];
  const Attributes& a = node.attributes;
  auto with_size = [&](Shape shape) {
    shape[size_t(axis)] = copy.extents[0];
    return shape;
  };
  if (node.op == Op::broadcast && holds(a.axes, axis)) {
    NodeId source = insert_copy(b, node.operands[0], position_of(a.axes, axis), copy);
    return b.broadcast(source, with_size(node.type.shape), a.axes);
  }
  if (node.op == Op::transpose) {
    NodeId source = insert_copy(b, node.operands[0], a.axes[size_t(axis)], copy);
    return b.transpose(source, a.axes);
  }
  if (node.op == Op::window && !holds(a.axes, axis) && (same_bits(a.number, copy.number) || !leaves_operand(b.graph, node))) {
    NodeId source = insert_copy(b, node.operands[0], axis, copy);
    return b.window(source, a);
  }
  copy.axes = {axis};
  return b.window(x, copy);
}

/// Nodes that a contraction reads, through views alone.
std::vector<bool> feeds_contraction(const Graph& graph) {
  std::vector<bool> feeds(graph.size(), false);
  for (uint32_t i = graph.size(); i-- > 0;) {
    const Node& node = graph[NodeId{i}];
    const bool view = node.op == Op::broadcast || node.op == Op::transpose || node.op == Op::window;
    if (node.op == Op::contract || (view && feeds[i]))
      for (NodeId o : node.operands) feeds[o.value] = true;
  }
  return feeds;
}

}  // namespace

void store_borders(Graph& graph) {
  const std::vector<bool> feeds = feeds_contraction(graph);
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    const Attributes& a = node.attributes;
    auto size_along = [&](const Type& type, size_t k) { return type.shape[size_t(a.axes[k])].size; };
    if (node.op != Op::window || a.axes.size() != 2 || !leaves_operand(graph, node) || (a.divide != 1 && !feeds[i])) {
      rebuild.copy({i});
      continue;
    }
    Builder b(rebuild.result, node.span, node.scope);
    const auto [lowest, highest] = window_reach(a, size_along(node.type, 0), size_along(node.type, 1));
    Attributes copy, window = a;
    copy.extents = {Extent{highest - lowest + 1, false}};
    copy.begin = lowest;
    copy.divide = a.divide;
    copy.number = a.number;
    window.begin = a.begin - lowest;
    window.divide = 1;
    window.number = 0;
    NodeId operand = insert_copy(b, rebuild.to[node.operands[0].value], a.axes[0], copy);
    rebuild.to[i] = b.window(operand, window);
  }
  graph = rebuild.finish();
}

}  // namespace nnc
