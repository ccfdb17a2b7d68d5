// Inlining is copying with two leaves replaced. The rule's spans are kept, so that a kernel that contains an update can name the
// optimiser's line.
#include "passes/apply_updates.h"

#include <fmt/format.h>

#include "base/check.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

NodeId read_parameter(Graph& graph, const std::string& name) {
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (graph[NodeId{i}].op == Op::parameter && graph[NodeId{i}].attributes.text == name) return {i};
  const Persistent* persistent = graph.find_persistent(name);
  NNC_CHECK(persistent, "no parameter of the name " + name);
  Persistent copy = *persistent;
  return Builder(graph, copy.span).parameter(copy);
}

}  // namespace

void apply_updates(Graph& graph, const std::vector<UpdateRuleView>& rules) {
  for (const UpdateRuleView& view : rules) {
    const Graph& rule = *view.rule;
    for (const Persistent& p : rule.persistents) graph.add_persistent(p);
    NodeId value = read_parameter(graph, view.parameter);
    std::string scope = graph[value].scope;
    std::vector<NodeId> to(rule.size());
    for (uint32_t i = 0; i < rule.size(); ++i) {
      Node node = rule[NodeId{i}];
      if (node.op == Op::input) {
        const std::string& name = node.attributes.text;
        NNC_CHECK(name == "value" || name == "grad", fmt::format("the rule of {} reads {}", view.parameter, name));
        to[i] = name == "value" ? value : view.grad;
        NNC_CHECK(graph.type(to[i]) == node.type, fmt::format("the rule of {} takes {} of {}, not {}", view.parameter, name,
                                                              to_string(node.type), to_string(graph.type(to[i]))));
        continue;
      }
      for (NodeId& operand : node.operands) operand = to[operand.value];
      if (node.scope.empty()) node.scope = scope;
      to[i] = add_node(graph, node);
    }
    for (const Update& u : rule.updates) graph.updates.push_back({u.name == "value" ? view.parameter : u.name, to[u.node.value]});
  }
}

std::vector<NodeId> clip_norm(Graph& graph, const std::vector<NodeId>& grads, NodeId max_norm) {
  if (grads.empty()) return {};
  Builder b(graph, graph[max_norm].span);
  NodeId squares;
  for (NodeId g : grads) {
    NodeId sum = b.cast(b.reduce(Op::reduce_sum, b.mul(g, g), identity_axes(graph.type(g).rank())), DType::f32);
    squares = squares.valid() ? b.add(squares, sum) : sum;
  }
  NodeId norm = b.unary(Op::sqrt, squares);
  NodeId one = b.constant_like(1, norm);
  NodeId limit = b.cast(max_norm, DType::f32);
  NodeId shifted = b.add(norm, 1e-6);
  NodeId factor = b.binary(Op::minimum, b.div(limit, shifted), one);
  std::vector<NodeId> clipped;
  for (NodeId g : grads) {
    Builder at(graph, graph[g].span, graph[g].scope);
    clipped.push_back(at.mul(g, at.cast(factor, graph.type(g).dtype)));
  }
  return clipped;
}

void descend(Graph& graph) {
  std::vector<Output> kept, gradients;
  for (const Output& o : graph.outputs) (o.name.starts_with("grad.") ? gradients : kept).push_back(o);
  graph.outputs = kept;
  for (const Output& o : gradients) {
    Type type = graph.type(o.node);
    Graph rule;
    Builder b(rule, graph[o.node].span);
    NodeId value = b.input("value", type), grad = b.input("grad", type);
    rule.updates.push_back({"value", b.sub(value, b.mul(b.cast(b.scalar("lr"), type.dtype), grad))});
    apply_updates(graph, {{o.name.substr(5), &rule, o.node}});
  }
}

}  // namespace nnc
