// The flow of gradients is a property of edges. Inside a region it goes around: what reaches the value that a body makes for the next step reaches what the
// next step makes of it, so that the carries are gone over until nothing is added.
#include "ir/gradient_flow.h"

#include <algorithm>

#include "ir/regions.h"

namespace nnc {
namespace {

/// Whether a gradient flows to a scan's operand from any of its results.
bool flows_through(const Node& scan, size_t operand) {
  std::vector<bool> wanted(scan.operands.size(), false);
  wanted[operand] = true;
  const std::vector<bool> varies = varying_operands(scan, wanted);
  if (std::any_of(varies.begin(), varies.begin() + scan.attributes.carried, [](bool v) { return v; })) return true;
  const Graph& body = *scan.attributes.body;
  std::vector<bool> inputs(body.size(), false);
  for (uint32_t i = 0; i < body.size(); ++i)
    if (const Node& n = body[NodeId{i}]; n.op == Op::input && is_float(n.type.dtype)) inputs[i] = varies[size_t(*operand_of_input(scan, n))];
  const std::vector<bool> reached = nodes_on_the_way(body, std::move(inputs));
  return std::any_of(body.outputs.begin(), body.outputs.end(), [&](const Output& o) { return reached[o.node.value]; });
}

}  // namespace

bool blocks_gradient(const Graph& graph, NodeId node, int operand) {
  const Node& n = graph[node];
  if (op_differentiable(n.op) != Differentiable::yes) return true;
  if (n.op == Op::result) return !is_float(n.type.dtype);
  if (!is_float(graph.type(n.operands[size_t(operand)]).dtype)) return true;
  return n.op == Op::scan ? !flows_through(n, size_t(operand)) : !is_float(n.type.dtype);
}

std::vector<bool> nodes_on_the_way(const Graph& graph, std::vector<bool> wanted) {
  wanted.resize(graph.size(), false);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    for (size_t k = 0; k < node.operands.size() && !wanted[i]; ++k) wanted[i] = wanted[node.operands[k].value] && !blocks_gradient(graph, {i}, int(k));
  }
  return wanted;
}

std::vector<bool> varying_operands(const Node& scan, const std::vector<bool>& wanted) {
  const Graph& body = *scan.attributes.body;
  std::vector<bool> varies = wanted;
  for (bool changed = true; changed;) {
    changed = false;
    std::vector<bool> inputs(body.size(), false);
    for (uint32_t i = 0; i < body.size(); ++i)
      if (const Node& n = body[NodeId{i}]; n.op == Op::input && is_float(n.type.dtype)) inputs[i] = varies[size_t(*operand_of_input(scan, n))];
    const std::vector<bool> reached = nodes_on_the_way(body, std::move(inputs));
    for (size_t k = 0; k < size_t(scan.attributes.carried); ++k)
      if (NodeId next = body.outputs[k].node; reached[next.value] && !varies[k]) varies[k] = changed = true;
  }
  return varies;
}

}  // namespace nnc
