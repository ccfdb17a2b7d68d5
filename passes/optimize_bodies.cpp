// Bodies of scans on their way to kernels: what costs nothing to make is made in the body, then the passes run over it as over a whole graph.
#include "passes/optimize_bodies.h"

#include <algorithm>
#include <map>
#include <memory>

#include "ir/regions.h"
#include "passes/pipeline.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

/// Captured constants and indices stand in the body instead; a capture that it does not read goes.
void sink_leaves(const Graph& graph, Node& scan) {
  Graph body = *scan.attributes.body;
  const size_t first = size_t(scan.attributes.carried + scan.attributes.sliced);
  std::vector<bool> captured(scan.operands.size(), false);
  for (uint32_t i = 0; i < body.size(); ++i) {
    Node& node = body[NodeId{i}];
    if (node.op != Op::input) continue;
    const size_t operand = size_t(*operand_of_input(scan, node));
    const Node& outside = graph[scan.operands[operand]];
    const bool is_made = operand >= first && (outside.op == Op::constant || outside.op == Op::iota);
    if (!is_made) {
      captured[operand] = true;
      continue;
    }
    node.op = outside.op;
    node.attributes = outside.attributes;
  }
  std::map<size_t, int> number;  // of the captures that stay
  std::vector<NodeId> operands(scan.operands.begin(), scan.operands.begin() + std::ptrdiff_t(first));
  for (size_t k = first; k < scan.operands.size(); ++k) {
    if (!captured[k]) continue;
    number[k] = int(operands.size() - first);
    operands.push_back(scan.operands[k]);
  }
  for (uint32_t i = 0; i < body.size(); ++i) {
    Node& node = body[NodeId{i}];
    if (node.op != Op::input) continue;
    const size_t operand = size_t(*operand_of_input(scan, node));
    if (operand >= first) node.attributes.text = body_input_name(BodyInput::capture, number.at(operand));
  }
  scan.operands = std::move(operands);
  scan.attributes.body = {std::make_shared<const Graph>(std::move(body))};
}

}  // namespace

void optimize_bodies(Graph& graph, int64_t rows) {
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (graph[NodeId{i}].op != Op::scan) continue;
    Node& scan = graph[NodeId{i}];
    sink_leaves(graph, scan);
    Graph body = *scan.attributes.body;
    optimize_graph(body, {.rows = rows});
    scan.attributes.body = {std::make_shared<const Graph>(std::move(body))};
  }
}

bool has_grouped_bodies(const Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [](const Node& n) {
    return n.op == Op::scan && std::ranges::any_of(n.attributes.body->nodes(), [](const Node& inner) { return inner.group >= 0; });
  });
}

}  // namespace nnc
