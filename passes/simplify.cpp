// The driver of simplification: rounds of one forward walk each. A node is offered to the rules with its operands already
// simplified; the first rule that matches gives its replacement. What a rule builds is looked at in the next round. Every rule
// makes the graph smaller, cheaper or moves an operation in one fixed direction (broadcasts, transposes and signs towards
// results, constants to the right), so that rounds come to an end.
#include "passes/simplify.h"

#include <cfloat>
#include <cmath>

#include "base/check.h"
#include "passes/cse.h"
#include "passes/dead_code.h"
#include "passes/simplify_rules.h"

namespace nnc {
namespace {

using RuleFunction = NodeId (*)(Candidate&);

constexpr RuleFunction rule_functions[] = {
#define NNC_SIMPLIFY(name, validity, meaning) simplify_##name,
#include "passes/simplify_rules.def"
#undef NNC_SIMPLIFY
};

constexpr int max_rounds = 64;

std::vector<uint32_t> count_uses(const Graph& graph) {
  std::vector<uint32_t> uses(graph.size(), 0);
  for (const Node& node : graph.nodes())
    for (NodeId operand : node.operands) ++uses[operand.value];
  for (const Output& o : graph.outputs) ++uses[o.node.value];
  for (const Update& u : graph.updates) ++uses[u.node.value];
  return uses;
}

/// Nodes move to a new graph, each by way of the rules; the graph has no dead nodes.
bool simplify_once(Graph& graph, const std::vector<size_t>& rules, SimplifyCounts& counts) {
  std::vector<uint32_t> old_uses = count_uses(graph), uses;
  Graph result;
  result.name = std::move(graph.name);
  result.persistents = std::move(graph.persistents);
  result.reserve(graph.size());
  std::vector<NodeId> to(graph.size());
  bool changed = false;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node node = std::move(graph[NodeId{i}]);
    for (NodeId& operand : node.operands) operand = to[operand.value];
    Builder builder(result, node.span, node.scope);
    Candidate c{std::move(builder), std::move(node), uses};
    NodeId found;
    for (size_t rule : rules) {
      found = rule_functions[rule](c);
      if (!found.valid()) continue;
      ++counts[rule];
      changed = true;
      NNC_CHECK(result.type(found) == c.node.type, "simplification rule " + std::string(simplify_rules()[rule].name) + " changes " + to_string(c.node.type) + " to " +
                                                       to_string(result.type(found)));
      break;
    }
    if (!found.valid()) found = result.adopt(std::move(c.node));
    to[i] = found;
    if (uses.size() < result.size()) uses.resize(result.size(), 0);
    uses[found.value] += old_uses[i];
  }
  for (Output& o : graph.outputs) result.outputs.push_back({std::move(o.name), to[o.node.value]});
  for (Update& u : graph.updates) result.updates.push_back({std::move(u.name), to[u.node.value]});
  graph = std::move(result);
  return changed;
}

SimplifyCounts run(Graph& graph, const std::vector<size_t>& rules) {
  SimplifyCounts counts(simplify_rules().size(), 0);
  remove_dead_code(graph);
  merge_common_subexpressions(graph);
  for (int round = 0; round < max_rounds && simplify_once(graph, rules, counts); ++round) {
    merge_common_subexpressions(graph);
    remove_dead_code(graph);
  }
  return counts;
}

}  // namespace

const std::vector<SimplifyRule>& simplify_rules() {
  static const std::vector<SimplifyRule> rules = {
#define NNC_SIMPLIFY(name, validity, meaning) {#name, Validity::validity, meaning},
#include "passes/simplify_rules.def"
#undef NNC_SIMPLIFY
  };
  return rules;
}

SimplifyCounts simplify(Graph& graph) {
  std::vector<size_t> all(simplify_rules().size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  return run(graph, all);
}

SimplifyCounts simplify_with(Graph& graph, std::string_view rule) {
  for (size_t i = 0; i < simplify_rules().size(); ++i)
    if (simplify_rules()[i].name == rule) return run(graph, {i});
  NNC_UNREACHABLE("no simplification rule of the name " + std::string(rule));
}

void erase_stop_gradient(Graph& graph) {
  std::vector<NodeId> to(graph.size());
  bool found = false;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    to[i] = node.op == Op::stop_gradient ? node.operands[0] : NodeId{i};
    found = found || node.op == Op::stop_gradient;
  }
  if (found) replace_nodes(graph, to);
}

// --- what rules share ---

std::optional<Number> Candidate::number(NodeId id) const {
  if (def(id).op != Op::constant) return std::nullopt;
  return def(id).attributes.number;
}

std::optional<Repeated> as_repeated(const Candidate& c, NodeId id) {
  const Node& node = c.def(id);
  if (node.op == Op::broadcast) return Repeated{node.attributes.axes, node.operands[0], 0};
  if (node.op == Op::constant && node.type.rank() > 0) return Repeated{{}, {}, node.attributes.number};
  return std::nullopt;
}

NodeId source_of(Candidate& c, const Repeated& r, DType dtype) {
  return r.source.valid() ? r.source : c.b.constant(r.number, {dtype, {}});
}

NodeId extent_product(Candidate& c, const std::vector<Extent>& extents, DType dtype) {
  Extent total;
  for (const Extent& e : extents) {
    total.size *= e.size;
    total.rows |= e.rows;
  }
  if (!total.rows) return c.b.constant(double(total.size), {dtype, {}});
  return c.b.cast(c.b.extent(total), dtype);
}

}  // namespace nnc
