// Kernels are not known yet, but how many sums over rows stand before a value is: what is behind one more of them is in another kernel. An operation qualifies if all of
// its operands but one repeat something smaller, and that one is known at least a sum earlier, so that it stands in memory.
#include "passes/recompute.h"

#include <algorithm>
#include <map>
#include <vector>

#include "passes/costs.h"
#include "passes/rewrite.h"
#include "passes/share_sums.h"

namespace nnc {

void recompute(Graph& graph) {
  const std::vector<int> before = row_sums_before(graph);
  std::vector<bool> stored(graph.size(), false);  // whatever is decided here
  for (const Output& o : graph.outputs) stored[o.node.value] = true;
  for (const Update& u : graph.updates) stored[u.node.value] = true;
  auto reads_in_place = [](const Node& user) { return is_elementwise(user.op) || op_class(user.op) == OpClass::reduce; };
  for (const Node& node : graph.nodes())
    if (!reads_in_place(node))
      for (NodeId o : node.operands) stored[o.value] = true;
  const Users users = graph.users();
  auto qualifies = [&](NodeId n) {
    const Node& node = graph[n];
    if (!is_elementwise(node.op) || op_cost(node.op) != OpCost::light || !node.type.has_rows() || stored[n.value] || users[n.value].size() < 2) return false;
    int whole = 0;
    bool earlier = true;
    for (NodeId o : node.operands) {
      if (graph[o].op == Op::broadcast || graph[o].op == Op::constant) continue;
      ++whole;
      earlier = earlier && before[o.value] < before[n.value];
    }
    return whole == 1 && earlier;
  };
  auto is_made_again = [&](NodeId reader, NodeId operand) {
    return before[reader.value] > before[operand.value] && reads_in_place(graph[reader]) && qualifies(operand);
  };
  bool changes = false;
  for (uint32_t i = 0; i < graph.size(); ++i)
    for (NodeId o : graph[NodeId{i}].operands) changes = changes || is_made_again({i}, o);
  if (!changes) return;
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    Node reader = rebuild.translated(NodeId{i});
    std::map<NodeId, NodeId> again;  // one for each reader: two of them may come into two kernels
    for (size_t k = 0; k < node.operands.size(); ++k) {
      const NodeId o = node.operands[k];
      if (!is_made_again({i}, o)) continue;
      NodeId& made = again[o];
      if (!made.valid()) made = rebuild.result.adopt(rebuild.translated(o));
      reader.operands[k] = made;
    }
    rebuild.to[i] = rebuild.result.adopt(std::move(reader));
  }
  graph = rebuild.finish();
}

}  // namespace nnc
