// One forward walk. Which results of a scan are read is known beforehand, from the live `result` nodes.
#include "passes/rewrite_scans.h"

#include <algorithm>
#include <memory>

#include "base/check.h"
#include "passes/rewrite.h"

namespace nnc {

bool has_scan(const Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [](const Node& node) { return node.op == Op::scan; });
}

int OperandList::number_of(NodeId operand) {
  auto [known, fresh] = numbers_.try_emplace(operand, int(nodes_.size()));
  if (fresh) nodes_.push_back(operand);
  return known->second;
}

NodeId add_scan(Graph& graph, const Node& old, Graph body, const std::vector<NodeId>& carries, const OperandList& sequences, const OperandList& captures) {
  Attributes a = old.attributes;
  a.carried = int(carries.size());
  a.sliced = int(sequences.nodes().size());
  a.body = {std::make_shared<Graph>(std::move(body))};
  std::vector<NodeId> operands = carries;
  operands.insert(operands.end(), sequences.nodes().begin(), sequences.nodes().end());
  operands.insert(operands.end(), captures.nodes().begin(), captures.nodes().end());
  const NodeId scan = graph.add(Op::scan, std::move(operands), std::move(a), old.span, old.scope);
  graph[scan].group = old.group;
  return scan;
}

bool rewrite_scans(Graph& graph, const ScanRewrite& rewrite) {
  const std::vector<bool> live = live_nodes(graph);
  std::map<NodeId, std::vector<bool>> read;  // by scan
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (!live[i]) continue;
    if (node.op == Op::scan) read[{i}].resize(node.attributes.body->outputs.size());
    if (node.op == Op::result) read[node.operands[0]][size_t(node.attributes.begin)] = true;
  }
  Rebuild rebuild(graph);
  std::map<NodeId, std::vector<NodeId>> replaced;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const NodeId id{i};
    if (!live[i]) continue;
    const Node& node = graph[id];
    if (node.op == Op::scan) {
      std::optional<std::vector<NodeId>> results = rewrite(rebuild.result, rebuild.translated(id), read[id]);
      if (results) {
        replaced[id] = std::move(*results);
        continue;
      }
    }
    auto found = node.op == Op::result ? replaced.find(node.operands[0]) : replaced.end();
    if (found == replaced.end()) {
      rebuild.copy(id);
      continue;
    }
    const NodeId value = found->second[size_t(node.attributes.begin)];
    NNC_CHECK(value.valid() && rebuild.result.type(value) == node.type, "a rewritten scan gives other results");
    int& group = rebuild.result[value].group;
    if (group < 0) group = node.group;  // of a body that has its kernels already
    rebuild.to[i] = value;
  }
  graph = rebuild.finish();
  return !replaced.empty();
}

}  // namespace nnc
