// Memory order of parameters. Both the product with a parameter and the parameter's gradient should run along contiguous outputs, so the contracted axes
// go outermost: a dense layer's weight[Out, In] lies as [In][Out]. A parameter that is also read by index or under another shape stays row-major.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "passes/lower.h"
#include "passes/rewrite.h"

namespace nnc {

Layouts choose_layouts(const Graph& graph) {
  std::set<std::string> fixed;
  Layouts layouts;
  std::vector<std::vector<NodeId>> users = graph.users();
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op != Op::parameter) continue;
    for (NodeId u : users[i])
      if (graph[u].op == Op::reshape || graph[u].op == Op::gather || graph[u].op == Op::slice) fixed.insert(node.attributes.text);
  }
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::contract) continue;
    for (int side = 0; side < 2; ++side) {
      const Node& operand = graph[node.operands[size_t(side)]];
      if (operand.op != Op::parameter || operand.type.rank() < 2 || fixed.count(operand.attributes.text)) continue;
      fixed.insert(operand.attributes.text);
      const std::vector<int>& labels = side == 0 ? node.attributes.lhs : node.attributes.rhs;
      std::vector<int> summed, kept;
      for (int a = 0; a < int(labels.size()); ++a) {
        bool in_out = std::find(node.attributes.out.begin(), node.attributes.out.end(), labels[size_t(a)]) != node.attributes.out.end();
        (in_out ? kept : summed).push_back(a);
      }
      std::vector<int> order = summed;
      order.insert(order.end(), kept.begin(), kept.end());
      if (!std::is_sorted(order.begin(), order.end())) layouts[operand.attributes.text] = order;
    }
  }
  // States follow the parameter whose update they share a kernel with.
  std::map<int, std::string> leader;
  for (const Update& u : graph.updates)
    if (int group = graph[u.node].group; group >= 0 && layouts.count(u.name)) leader.try_emplace(group, u.name);
  for (const Update& u : graph.updates) {
    auto it = leader.find(graph[u.node].group);
    if (it == leader.end() || fixed.count(u.name) || layouts.count(u.name)) continue;
    if (graph.find_persistent(it->second)->type.shape == graph.find_persistent(u.name)->type.shape) layouts[u.name] = layouts.at(it->second);
  }
  return layouts;
}

std::optional<Graph> copy_viewed_leaves(const Graph& graph, const Layouts& layouts) {
  // The leaf that a node sees under another shape and cannot read where it stands.
  auto viewed = [&](NodeId n) -> const Node* {
    if (graph[n].op != Op::reshape) return nullptr;
    NodeId base = graph[n].operands[0];
    while (graph[base].op == Op::reshape) base = graph[base].operands[0];
    const Node& leaf = graph[base];
    bool permuted = leaf.op == Op::parameter && layouts.count(leaf.attributes.text);
    bool rows_apart = leaf.op == Op::input && (graph.type(n).rank() == 0 || graph.type(n).shape[0] != leaf.type.shape[0]);
    return permuted || rows_apart ? &leaf : nullptr;
  };
  std::map<std::pair<Op, std::string>, NodeId> copies;
  auto key_of = [](const Node& leaf) { return std::pair{leaf.op, leaf.attributes.text}; };
  // First of all kernels, so that groups stay in topological order.
  Rebuild rebuild(graph);
  int groups = 0;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node* leaf = viewed(NodeId{i});
    if (!leaf) continue;
    NodeId& copy = copies[key_of(*leaf)];
    if (copy.valid()) continue;
    Node read = *leaf;
    read.group = -1;  // where the leaf is what an update stores, it is in a group: that stays with the node itself
    copy = rebuild.result.add(Op::stop_gradient, {add_node(rebuild.result, read)});
    rebuild.result[copy].group = groups++;
  }
  if (copies.empty()) return std::nullopt;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node node = rebuild.translated(NodeId{i});
    if (const Node* leaf = viewed(NodeId{i})) node.operands[0] = copies.at(key_of(*leaf));
    if (node.group >= 0) node.group += groups;
    rebuild.to[i] = add_node(rebuild.result, node);
  }
  return rebuild.finish();
}

}  // namespace nnc
