// A window along a and j reads (o * stride + j * dilation + begin) / divide. The numbers above the line go from `lowest` to `highest`: the copy holds, for each, what the
// window reads there, so that the window over the copy has no division and no outside. The copy is made below what repeats the operand (a window's second axis is
// mostly a broadcast) and below windows along other axes, whose copies then are one kernel with it.
#include "passes/store_borders.h"

#include <algorithm>
#include <optional>

#include "ir/window.h"
#include "passes/channelwise.h"
#include "passes/lower.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

/// `copy`, a window over one axis, below views of x that leave `axis` alone. Not below another copy with another number: where both are outside, the one above decides.
NodeId insert_copy(Builder& b, NodeId x, int axis, Attributes copy) {
  const Node node = b.graph[x];
  const Attributes& a = node.attributes;
  auto with_size = [&](Shape shape) {
    shape.set(size_t(axis), copy.extents[0]);
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

/// An operand of a contraction as memory seen through views: whether windows of them leave their operand, and along which of its dimensions these run.
struct ViewedOperand {
  NodeId memory;
  bool leaves = false;
  std::vector<bool> windowed;
};

std::optional<ViewedOperand> view_of(const Graph& graph, NodeId operand) {
  ViewedOperand view;
  const size_t rank = size_t(graph.type(operand).rank());
  view.windowed.resize(rank, false);
  std::vector<int> place(rank);  // of each dimension in the node at hand; -1: it has none there
  for (size_t d = 0; d < rank; ++d) place[d] = int(d);
  NodeId at = operand;
  for (;; at = graph[at].operands[0]) {
    const Node& node = graph[at];
    const Attributes& a = node.attributes;
    if (node.op == Op::window) {
      if (!leaves_operand(graph, node)) continue;
      if (!is_guardable(node)) return std::nullopt;
      view.leaves = true;
      for (size_t d = 0; d < rank; ++d) view.windowed[d] = view.windowed[d] || (place[d] >= 0 && holds(a.axes, place[d]));
    } else if (node.op == Op::broadcast) {
      for (int& p : place)
        if (p >= 0) p = holds(a.axes, p) ? position_of(a.axes, p) : -1;
    } else if (node.op == Op::transpose) {
      for (int& p : place)
        if (p >= 0) p = a.axes[size_t(p)];
    } else if (node.op != Op::slice) {
      break;
    }
  }
  view.memory = at;
  return view;
}

/// Whether operand `k` has no rows, or rows that can be those of register tiles while lanes and the innermost loop run over channels of one group. `lanes`: the label along
/// which the result is contiguous, or -1. A tile reads one line of memory from each of its rows at a time: rows far apart by a multiple of a large power of two would meet
/// in few sets of the first-level cache.
bool suits_tiles(const Graph& graph, const Node& contract, size_t k, const ViewedOperand& view, int lanes) {
  constexpr int64_t fewest_channels = 8, fewest_columns = 4, widest_step = 1024;
  const Attributes& a = contract.attributes;
  const std::vector<int>&own = k == 0 ? a.lhs : a.rhs, &other = k == 0 ? a.rhs : a.lhs;
  const Shape &shape = graph.type(contract.operands[k]).shape, &other_shape = graph.type(contract.operands[1 - k]).shape;
  int64_t channels = 1, columns = 1;
  bool has_rows = false, grouped = false;
  for (size_t d = 0; d < own.size(); ++d) {
    const bool batch = holds(other, own[d]) && holds(a.out, own[d]);
    if (shape[d].rows && batch) return false;
    has_rows = has_rows || shape[d].rows;
    grouped = grouped || batch;
    if (!shape[d].rows && !view.windowed[d] && !batch) channels *= shape[d].size;
  }
  if (!has_rows) return true;
  if (grouped || (view.leaves && (lanes < 0 || holds(own, lanes)))) return false;
  for (size_t d = 0; d < other.size(); ++d)
    if (!holds(own, other[d]) && !other_shape[d].rows) columns *= other_shape[d].size;
  const Type& memory = graph.type(view.memory);
  if (graph[view.memory].op == Op::input) return false;  // whose rows stand where a list says
  const int64_t row_bytes = memory.elements(1) * contraction_bytes;
  return channels >= fewest_channels && columns >= fewest_columns && memory.shape.size() > 0 && memory.shape[0].rows && (row_bytes & -row_bytes) <= widest_step;
}

/// By node: the axis that is innermost in it and in all that is computed from it element by element, which may be what its kernel stores; -1 if there is none. Outputs are
/// row-major.
std::vector<int> settled_innermost(const Graph& graph) {
  std::vector<int> innermost = choose_innermost(graph);
  for (const Output& output : graph.outputs) innermost[output.node.value] = -1;
  const Users users = graph.users();
  for (uint32_t i = graph.size(); i-- > 0;)
    for (NodeId user : users[i])
      if (is_elementwise(graph[user].op) && innermost[user.value] != innermost[i]) innermost[i] = -1;
  return innermost;
}

/// Windows over two axes that leave their operand and need no copy, since the contractions that they feed leave out what is outside.
std::vector<bool> left_out(const Graph& graph, int64_t rows) {
  constexpr int64_t fewest_rows = 8;
  std::vector<bool> some(graph.size(), false), all(graph.size(), true);
  const std::vector<int> innermost = settled_innermost(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op != Op::contract) continue;
    const int lanes = innermost[i] < 0 ? -1 : node.attributes.out[size_t(innermost[i])];
    bool can = rows == 0 || rows >= fewest_rows;
    for (size_t k = 0; k < 2 && can; ++k) {
      const std::optional<ViewedOperand> view = view_of(graph, node.operands[k]);
      can = view && suits_tiles(graph, node, k, *view, lanes);
    }
    can = can || (lanes >= 0 && lanes == channel_label(graph, node));
    for (NodeId operand : node.operands)
      for (NodeId at = operand; is_linear_view(graph[at].op); at = graph[at].operands[0]) (can ? some : all)[at.value] = can;
  }
  for (size_t i = 0; i < some.size(); ++i) some[i] = some[i] && all[i];
  return some;
}

}  // namespace

void store_borders(Graph& graph, int64_t rows) {
  if (std::none_of(graph.nodes().begin(), graph.nodes().end(), [](const Node& node) { return node.op == Op::window; })) return;
  const std::vector<bool> feeds = feeds_contraction(graph), outside = left_out(graph, rows);
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    const Attributes& a = node.attributes;
    auto size_along = [&](const Type& type, size_t k) { return type.shape[size_t(a.axes[k])].size; };
    if (node.op != Op::window || a.axes.size() != 2 || !leaves_operand(graph, node) || (a.divide != 1 && !feeds[i]) || outside[i]) {
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
