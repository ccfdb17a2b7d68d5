// Inlining is copying with two leaves replaced. The rule's spans are kept, so that a kernel that contains an update can name the
// optimiser's line. What a rule computes of scalars alone (schedules, corrections of moments) is the same for most parameters, and two thirds of a rule: it is made once,
// for the first of them.
#include "passes/apply_updates.h"

#include <fmt/format.h>

#include <string>
#include <unordered_map>

#include "base/check.h"
#include "passes/cse.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

/// Persistents and the first node that reads each, by name: a graph of many layers has thousands.
class Names {
 public:
  explicit Names(Graph& graph) : graph_(graph) {
    for (uint32_t i = 0; i < graph.size(); ++i)
      if (const Node& node = graph[NodeId{i}]; node.op == Op::parameter) reads_.try_emplace(node.attributes.text, NodeId{i});
    for (size_t i = 0; i < graph.persistents.size(); ++i) persistents_.emplace(graph.persistents[i].name, i);
  }

  void declare(const Persistent& p) {
    auto [known, fresh] = persistents_.try_emplace(p.name, graph_.persistents.size());
    if (fresh) graph_.persistents.push_back(p);
    const Type& type = graph_.persistents[known->second].type;
    NNC_CHECK(type == p.type, fmt::format("persistent {} is both {} and {}", p.name, to_string(type), to_string(p.type)));
  }

  NodeId read(const std::string& name) {
    NodeId& node = reads_[name];
    if (node.valid()) return node;
    auto known = persistents_.find(name);
    NNC_CHECK(known != persistents_.end(), "no parameter of the name " + name);
    const Persistent copy = graph_.persistents[known->second];
    return node = Builder(graph_, copy.span).parameter(copy);
  }

 private:
  Graph& graph_;
  std::unordered_map<std::string, NodeId> reads_;
  std::unordered_map<std::string, size_t> persistents_;
};

}  // namespace

void apply_updates(Graph& graph, const std::vector<UpdateRuleView>& rules) {
  Names names(graph);
  KnownNodes of_scalars(graph);
  for (const UpdateRuleView& view : rules) {
    const Graph& rule = *view.rule;
    for (const Persistent& p : rule.persistents) names.declare(p);
    NodeId value = names.read(view.parameter);
    std::string scope = graph[value].scope;
    std::vector<NodeId> to(rule.size());
    for (uint32_t i = 0; i < rule.size(); ++i) {
      const Node& node = rule[NodeId{i}];
      if (node.op == Op::input) {
        const std::string& name = node.attributes.text;
        NNC_CHECK(name == "value" || name == "grad", fmt::format("the rule of {} reads {}", view.parameter, name));
        to[i] = name == "value" ? value : view.grad;
        NNC_CHECK(graph.type(to[i]) == node.type, fmt::format("the rule of {} takes {} of {}, not {}", view.parameter, name,
                                                              to_string(node.type), to_string(graph.type(to[i]))));
        continue;
      }
      NodeList operands = node.operands;
      for (NodeId& operand : operands) operand = to[operand.value];
      const NodeId fresh{graph.size()};
      to[i] = node.type.rank() == 0 ? of_scalars.find_or_enter(node, operands, fresh) : fresh;
      if (to[i] != fresh) continue;
      Node copy = node;
      copy.operands = std::move(operands);
      if (copy.scope.empty()) copy.scope = scope;
      graph.adopt(std::move(copy));
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
