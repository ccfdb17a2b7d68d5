// z is followed down through element-wise operations to the gradient, to constants and to values of one element; whatever else it finds may differ between entries.
#include "passes/touched_rows.h"

#include <algorithm>
#include <map>
#include <set>

#include "passes/fuse_internal.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

/// Whether a value is the same number for all elements once the gradient is 0 everywhere.
class UniformSearch {
 public:
  UniformSearch(const Graph& graph, NodeId gradient) : graph_(graph), gradient_(gradient) {}
  bool is_uniform(NodeId n) {
    auto [it, fresh] = known_.try_emplace(n, false);
    if (!fresh) return it->second;
    const Node& node = graph_[n];
    bool uniform = n == gradient_ || node.op == Op::constant || node.type.rank() == 0;
    if (!uniform && (is_elementwise(node.op) || is_soft_view(node.op)))
      uniform = std::all_of(node.operands.begin(), node.operands.end(), [&](NodeId o) { return is_uniform(o); });
    return known_[n] = uniform;
  }

 private:
  const Graph& graph_;
  NodeId gradient_;
  std::map<NodeId, bool> known_;
};

/// What a value is made of by element-wise operations, old values and numbers aside.
struct Parts {
  std::set<NodeId> scatters, seen;
  bool others = false;  ///< other values of more than one element

  void find(const Graph& graph, NodeId n) {
    const Node& node = graph[n];
    if (!seen.insert(n).second || node.type.rank() == 0 || node.op == Op::parameter || node.op == Op::constant) return;
    if (node.op == Op::scatter_add) {
      scatters.insert(n);
    } else if (is_elementwise(node.op) || is_soft_view(node.op)) {
      for (NodeId o : node.operands) find(graph, o);
    } else {
      others = true;
    }
  }
};

}  // namespace

bool sums_by_entry(const Graph& graph, const Node& node) {
  if (node.op != Op::scatter_add || !is_float(node.type.dtype) || node.type.has_rows() || node.type.elements(1) == 0) return false;
  const Attributes& a = node.attributes;
  if (a.rhs.empty() || graph.type(node.operands[1]).elements(1) == 0) return false;
  return std::none_of(a.rhs.begin(), a.rhs.end(), [&](int label) { return holds(a.out, label); });
}

std::optional<SteadyUpdate> find_steady_update(const Graph& graph, const Update& update, NodeId scatter) {
  const Node& node = graph[update.node];
  if (node.op != Op::sub && node.op != Op::add) return std::nullopt;
  const bool subtracts = node.op == Op::sub;
  for (size_t old = 0; old < (subtracts ? 1u : 2u); ++old) {
    const Node& value = graph[node.operands[old]];
    const NodeId step = node.operands[1 - old];
    if (value.op == Op::parameter && value.attributes.text == update.name && UniformSearch(graph, scatter).is_uniform(step)) return SteadyUpdate{step, subtracts};
  }
  return std::nullopt;
}

std::optional<TableUpdate> table_update(const Graph& graph, const Update& update, bool in_place) {
  Parts parts;
  parts.find(graph, update.node);
  if (parts.scatters.empty()) return std::nullopt;
  if (parts.scatters.size() > 1 || parts.others) return TableUpdate::other_gradient;
  const NodeId scatter = *parts.scatters.begin();
  if (!find_steady_update(graph, update, scatter)) return TableUpdate::moves_others;
  if (!sums_by_entry(graph, graph[scatter]) || graph[scatter].group != graph[update.node].group) return TableUpdate::kept_gradient;
  return in_place ? TableUpdate::touched_rows : TableUpdate::copied;
}

}  // namespace nnc
