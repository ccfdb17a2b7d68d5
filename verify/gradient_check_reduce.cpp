// What is left of a graph whose gradients are wrong: by rule, where one operation shows it, else by what several operations do
// together (the sum over ways, what is taken for constant, the order in which gradients are complete).
#include <algorithm>
#include <map>

#include "verify/gradient_check.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

std::vector<RuleReport> check_all_rules(const GraphCase& c, const GradientCheckOptions& options) {
  return check_rules(c.graph, c.bindings, nodes_with_gradient(c.graph, float_results(c.graph), float_leaves(c.graph)), options);
}

/// The node over leaves with the values of its operands.
GraphCase single_node(const Graph& graph, const Bindings& bindings, NodeId id) {
  GraphCase c{Graph{}, {}};
  c.bindings.rows = bindings.rows;
  const Node& n = graph[id];
  std::vector<Tensor> values = interpret(graph, bindings, true).values;
  Builder b(c.graph, n.span, n.scope);
  std::map<NodeId, NodeId> leaves;
  std::vector<NodeId> operands;
  for (NodeId operand : n.operands) {
    auto [it, fresh] = leaves.emplace(operand, NodeId{});
    std::string name = "x" + std::to_string(leaves.size() - 1);
    if (fresh) {
      const Type& type = graph.type(operand);
      if (type.has_rows()) {
        it->second = b.input(name, type);
        c.bindings.inputs[name] = values[operand.value];
      } else {
        it->second = b.parameter({name, type, PersistentKind::parameter, n.span});
        c.bindings.persistents[name] = values[operand.value];
      }
    }
    operands.push_back(it->second);
  }
  c.graph.outputs = {{"result", c.graph.add(n.op, operands, n.attributes, n.span, n.scope)}};
  return c;
}

}  // namespace

std::vector<NodeId> float_results(const Graph& graph) {
  std::vector<NodeId> results;
  for (const Output& out : graph.outputs)
    if (is_float(graph.type(out.node).dtype)) results.push_back(out.node);
  return results;
}

std::vector<NodeId> float_leaves(const Graph& graph) {
  std::vector<NodeId> leaves;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& n = graph[NodeId{i}];
    if ((n.op == Op::input || n.op == Op::parameter) && is_float(n.type.dtype)) leaves.push_back(NodeId{i});
  }
  return leaves;
}

GraphCase reduce_rule_fault(const Graph& graph, const Bindings& bindings, NodeId node, const GradientCheckOptions& options) {
  Op op = graph[node].op;
  auto fails = [&](const GraphCase& candidate) {
    std::vector<RuleReport> reports = check_all_rules(candidate, options);
    return std::any_of(reports.begin(), reports.end(), [&](const RuleReport& r) { return r.op == op && r.failed; });
  };
  return reduce_case(single_node(graph, bindings, node), fails, {400, 10});
}

GraphCase reduce_loss_fault(const Graph& graph, const Bindings& bindings, const std::vector<NodeId>& results,
                            const GradientCheckOptions& options, const ReduceOptions& reduce) {
  GraphCase c{graph, bindings};
  drop_updates(c.graph);
  c.graph.outputs.clear();
  for (size_t k = 0; k < results.size(); ++k) c.graph.outputs.push_back({"result" + std::to_string(k), results[k]});
  // Many checks: each of a large graph looks at fewer elements.
  GradientCheckOptions quick = options;
  quick.work = options.work / 10;
  auto fails = [&](const GraphCase& candidate) {
    if (!check_loss(candidate.graph, candidate.bindings, float_results(candidate.graph), float_leaves(candidate.graph), quick)
             .failed)
      return false;
    std::vector<RuleReport> rules = check_all_rules(candidate, quick);
    return std::none_of(rules.begin(), rules.end(), [](const RuleReport& r) { return r.failed; });
  };
  return reduce_case(std::move(c), fails, reduce);
}

}  // namespace nnc
