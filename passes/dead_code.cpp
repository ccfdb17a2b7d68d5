// Liveness runs backwards from outputs and updates (no operation has another effect); the live nodes move to the graph that remains.
#include "passes/dead_code.h"

#include <algorithm>

#include "base/check.h"
#include "passes/rewrite.h"

namespace nnc {

void replace_nodes(Graph& graph, std::vector<NodeId>& to) {
  NNC_CHECK(to.size() == graph.size(), "one entry for each node");
  Graph result;
  result.name = std::move(graph.name);
  result.persistents = std::move(graph.persistents);
  result.reserve(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (to[i] != NodeId{i}) {
      NNC_CHECK(!to[i].valid() || to[i].value < i, "a node gives way to one that does not precede it");
      if (to[i].valid()) to[i] = to[to[i].value];
      continue;
    }
    Node& node = graph[NodeId{i}];
    for (NodeId& operand : node.operands) operand = to[operand.value];
    to[i] = result.adopt(std::move(node));
  }
  for (Output& o : graph.outputs) result.outputs.push_back({std::move(o.name), to[o.node.value]});
  for (Update& u : graph.updates) result.updates.push_back({std::move(u.name), to[u.node.value]});
  graph = std::move(result);
}

void remove_dead_code(Graph& graph) {
  std::vector<bool> live = live_nodes(graph);
  if (std::find(live.begin(), live.end(), false) == live.end()) return;
  std::vector<NodeId> to(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (live[i]) to[i] = {i};
  replace_nodes(graph, to);
}

}  // namespace nnc
