// Rebuilding a graph. Nodes stand in topological order, so that one pass forwards translates every operand before its user; what
// is dead, merged or simplified is simply not copied.
#include "passes/rewrite.h"

#include <algorithm>

#include "base/check.h"

namespace nnc {

std::vector<bool> live_nodes(const Graph& graph) {
  std::vector<bool> live(graph.size(), false);
  for (const Output& o : graph.outputs) live[o.node.value] = true;
  for (const Update& u : graph.updates) live[u.node.value] = true;
  mark_needed(graph, live);
  return live;
}

std::optional<Number> splat_value(const Graph& graph, NodeId id) {
  while (true) {
    const Node& node = graph[id];
    switch (node.op) {
      case Op::constant:
        return node.attributes.number;
      case Op::broadcast:
      case Op::transpose:
      case Op::reshape:
      case Op::slice:
        id = node.operands[0];
        break;
      default:
        return std::nullopt;
    }
  }
}

std::vector<int> identity_axes(int n) {
  std::vector<int> axes(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) axes[size_t(i)] = i;
  return axes;
}

std::vector<int> inverse_axes(const std::vector<int>& axes) {
  std::vector<int> inverse(axes.size());
  for (size_t i = 0; i < axes.size(); ++i) inverse[size_t(axes[i])] = int(i);
  return inverse;
}

int position_of(const std::vector<int>& list, int value) {
  auto it = std::find(list.begin(), list.end(), value);
  return it == list.end() ? -1 : int(it - list.begin());
}

NodeId align_labels(Builder& b, NodeId x, const std::vector<int>& have, const std::vector<int>& want, const Shape& shape) {
  std::vector<int> order, places;
  for (size_t i = 0; i < want.size(); ++i) {
    int at = position_of(have, want[i]);
    if (at < 0) continue;
    order.push_back(at);
    places.push_back(int(i));
  }
  NNC_CHECK(order.size() == have.size(), "align_labels: a label is not wanted");
  return b.broadcast(b.transpose(x, order), shape, places);
}

NodeId add_node(Graph& graph, const Node& node) { return move_node(graph, Node(node)); }

NodeId move_node(Graph& graph, Node&& node) {
  NodeId id = graph.add(node.op, std::move(node.operands), std::move(node.attributes), node.span, std::move(node.scope));
  graph[id].group = node.group;
  return id;
}

Rebuild::Rebuild(const Graph& old) : old(old), to(old.size()) {
  result.name = old.name;
  result.persistents = old.persistents;
  result.reserve(old.size());
}

Node Rebuild::translated(NodeId old_id) const {
  Node node = old[old_id];
  for (NodeId& operand : node.operands) {
    operand = to[operand.value];
    NNC_CHECK(operand.valid(), "an operand has not been rebuilt");
  }
  return node;
}

NodeId Rebuild::copy(NodeId old_id) { return to[old_id.value] = result.adopt(translated(old_id)); }

Graph Rebuild::finish() {
  auto translate = [&](NodeId id) {
    NNC_CHECK(to[id.value].valid(), "an output has not been rebuilt");
    return to[id.value];
  };
  for (const Output& o : old.outputs) result.outputs.push_back({o.name, translate(o.node)});
  for (const Update& u : old.updates) result.updates.push_back({u.name, translate(u.node)});
  return std::move(result);
}

void drop_updates(Graph& graph) {
  std::erase_if(graph.updates, [&](const Update& u) { return graph.find_persistent(u.name)->kind != PersistentKind::partial; });
}

}  // namespace nnc
