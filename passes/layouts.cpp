// Memory order of parameters. Both the product with a parameter and the parameter's gradient should run along contiguous outputs, so the contracted axes
// go outermost: a dense layer's weight[Out, In] lies as [In][Out]. A parameter that is also read by index or under another shape stays row-major.
#include <algorithm>
#include <map>
#include <set>

#include "passes/lower.h"

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

}  // namespace nnc
