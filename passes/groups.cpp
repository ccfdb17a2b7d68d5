// Which nodes need no kernel of their own, and which need one after all.
//
// Leaves, views and cheap arithmetic over leaves are computed by whoever uses them. What has to stand in memory (outputs, updates, operands read at other
// indices than the one being computed) gets a kernel of its own if fusion gave it none.
#include <algorithm>
#include <map>
#include <set>

#include "ir/window.h"
#include "passes/costs.h"
#include "passes/fuse.h"
#include "passes/fuse_internal.h"
#include "passes/joins.h"

namespace nnc {

std::vector<NodeId> stored_borders(const Graph& graph) {
  std::vector<NodeId> found;
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::window || leaves_operand(graph, node)) continue;
    NodeId at = node.operands[0];
    while (is_soft_view(graph[at].op) || (graph[at].op == Op::window && !leaves_operand(graph, graph[at]))) at = graph[at].operands[0];
    if (graph[at].op == Op::window) found.push_back(at);
  }
  return found;
}

static bool is_memory_leaf(Op op) { return op == Op::input || op == Op::parameter || op == Op::literal || is_made_elsewhere(op); }

/// Whether the reshape has its operand's indices, and these lead through views to a value that stands in memory whoever reads it so. `leaf_only`: made of leaves alone.
static bool is_renamed_memory(const Graph& graph, const Node& reshape, const std::vector<bool>& leaf_only) {
  if (!only_unit_axes(graph, reshape)) return false;
  NodeId at = reshape.operands[0];
  while (is_soft_view(graph[at].op) || graph[at].op == Op::slice || graph[at].op == Op::reshape) at = graph[at].operands[0];
  return is_memory_leaf(graph[at].op) || (!leaf_only[at.value] && !is_hard_view(graph[at].op));
}

/// A view of what stands in memory is read there, at indices of its own.
static bool is_read_in_place(Op op) { return is_soft_view(op) || op == Op::slice || op == Op::window || op == Op::reshape; }

/// Whether views lead from here to a lookup by an index that is computed: a kernel may compute the index and read what is looked up, so that who has to find this in memory needs a kernel between the two.
static bool leads_to_lookup(const Graph& graph, NodeId n, const std::vector<bool>& leaf_only) {
  while (is_read_in_place(graph[n].op)) n = graph[n].operands[0];
  return graph[n].op == Op::gather && !leaf_only[n.value];
}

std::vector<bool> transparent_nodes(const Graph& graph) { return transparent_nodes(graph, find_joins(graph)); }

std::vector<bool> transparent_nodes(const Graph& graph, const Joins& joins) {
  std::vector<int> cost(graph.size(), 0);
  std::vector<bool> leaf_only(graph.size(), false);
  // A new value that arithmetic makes has a kernel, which is that of who reads it, too. So what is made of it is not made of leaves alone.
  std::vector<bool> is_new_value(graph.size(), false);
  for (const Update& u : graph.updates) is_new_value[u.node.value] = is_elementwise(graph[u.node].op);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (is_new_value[i]) continue;
    const bool is_leaf = op_class(node.op) == OpClass::leaf || is_made_elsewhere(node.op), is_view = is_soft_view(node.op) || is_hard_view(node.op);
    if (!is_leaf && !is_view && (!is_elementwise(node.op) || is_expensive(node.op))) continue;
    leaf_only[i] = true;
    cost[i] = node.op == Op::random ? loose_draw_cost : is_leaf || is_view ? 0 : 1;
    if (is_leaf) continue;
    for (NodeId o : node.operands) {
      leaf_only[i] = leaf_only[i] && leaf_only[o.value];
      cost[i] += cost[o.value];
    }
    if (!is_view) leaf_only[i] = leaf_only[i] && cost[i] <= max_loose_cost;
  }
  // A view that has to stand in memory gets a kernel between the one that computes its operand and those that read it: were it transparent, these
  // could be one kernel, which would come before and after it.
  std::vector<bool> stored(graph.size(), false);
  for (const Output& o : graph.outputs) stored[o.node.value] = true;
  for (const Update& u : graph.updates) stored[u.node.value] = true;
  for (const Node& n : graph.nodes()) {
    if (n.op == Op::reshape && !is_renamed_memory(graph, n, leaf_only)) stored[n.operands[0].value] = true;
    const size_t read_elsewhere = n.op == Op::contract ? 2 : n.op == Op::gather || n.op == Op::pad || n.op == Op::window ? 1 : 0;  // operands, at other indices than those of the result
    for (size_t k = 0; k < read_elsewhere; ++k)
      if (leads_to_lookup(graph, n.operands[k], leaf_only)) stored[n.operands[k].value] = true;
  }
  for (NodeId border : stored_borders(graph)) stored[border.value] = true;
  std::vector<bool> transparent = leaf_only;
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (is_soft_view(graph[NodeId{i}].op) || is_hard_view(graph[NodeId{i}].op)) transparent[i] = leaf_only[i] || !stored[i];
  // A join is memory; who computes a part of it has a kernel, in which it is stored.
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (joins.inside[i]) transparent[i] = true;
  for (const Join& join : joins.all) {
    transparent[join.root.value] = false;
    for (const JoinedPart& part : join.parts)
      if (part.computed) transparent[part.value.value] = false;
  }
  return transparent;
}

namespace {

// A chain of views that ends in memory.
bool reads_memory(const Graph& graph, NodeId n) {
  const Node& node = graph[n];
  if (node.group >= 0 || is_memory_leaf(node.op)) return true;
  return is_read_in_place(node.op) && reads_memory(graph, node.operands[0]);
}

// Whether a contraction's operand can be computed while it is packed, which may be more than once: cheap arithmetic over one value that stands in memory.
bool fits_prologue(const Graph& graph, NodeId n) {
  const Node& node = graph[n];
  if (node.group >= 0) return true;
  if (op_class(node.op) == OpClass::leaf) return node.op != Op::iota && !is_expensive(node.op);
  if (is_made_elsewhere(node.op)) return true;
  if (is_soft_view(node.op) || node.op == Op::slice) return fits_prologue(graph, node.operands[0]);
  if (node.op == Op::reshape || node.op == Op::window) return reads_memory(graph, node.operands[0]);
  if (!is_elementwise(node.op) || is_expensive(node.op)) return false;
  return std::all_of(node.operands.begin(), node.operands.end(), [&](NodeId o) { return fits_prologue(graph, o); });
}

}  // namespace

void finish_groups(Graph& graph) {
  const Joins joins = find_joins(graph);
  std::vector<bool> transparent = transparent_nodes(graph, joins);
  Users users = graph.users();
  int next = 0;
  for (const Node& node : graph.nodes()) next = std::max(next, node.group + 1);
  std::vector<bool> live(graph.size(), false);
  for (const Output& o : graph.outputs) live[o.node.value] = true;
  for (const Update& u : graph.updates) live[u.node.value] = true;
  for (uint32_t i = graph.size(); i-- > 0;)
    if (live[i])
      for (NodeId o : graph[NodeId{i}].operands) live[o.value] = true;
  // What nothing needs is not computed, whatever fusion put it into: its operands would have to stand somewhere.
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (!live[i]) graph[NodeId{i}].group = -1;

  auto own_group = [&](NodeId n) {
    if (graph[n].group < 0) graph[n].group = next++;
  };
  // Lone operations. Cheap ones that only one kernel uses at the same index are left to it, be it through others that are left to it.
  std::vector<int> home(graph.size());  // the kernel that computes a node
  for (uint32_t i = 0; i < graph.size(); ++i) home[i] = graph[NodeId{i}].group;
  for (uint32_t i = graph.size(); i-- > 0;) {
    NodeId n{i};
    const Node& node = graph[n];
    if (!live[i] || node.group >= 0 || transparent[i]) continue;
    bool inlined = is_elementwise(node.op) && !is_expensive(node.op) && !users[i].empty() && joins.number[i] < 0;
    std::set<int> where;
    for (NodeId u : users[i]) {
      const Node& user = graph[u];
      inlined = inlined && (is_elementwise(user.op) || op_class(user.op) == OpClass::reduce) && home[u.value] >= 0;
      where.insert(home[u.value]);
    }
    if (!inlined || where.size() != 1) own_group(n);
    home[i] = node.group >= 0 ? node.group : *where.begin();
  }
  // Values that must stand in memory: outputs, updates, operands read at other indices.
  for (const Output& o : graph.outputs) own_group(o.node);
  for (const Update& u : graph.updates) own_group(u.node);
  for (NodeId border : stored_borders(graph))
    if (live[border.value]) own_group(border);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (!live[i]) continue;
    const Node& node = graph[NodeId{i}];
    if (node.op == Op::contract) {
      for (NodeId o : node.operands)
        if (!fits_prologue(graph, o)) own_group(o);
    } else if (node.op == Op::reshape) {
      NodeId o = node.operands[0];
      const bool is_renamed = only_unit_axes(graph, node) && reads_memory(graph, o);
      if (!is_memory_leaf(graph[o].op) && graph[o].op != Op::reshape && !is_renamed) own_group(o);
    } else if (joins.inside[i]) {  // its kernel is that of the part
    } else if (node.op == Op::gather || node.op == Op::pad || node.op == Op::window) {
      if (!reads_memory(graph, node.operands[0])) own_group(node.operands[0]);
    } else if (node.op == Op::scatter_add) {
      own_group(NodeId{i});
    }
  }
  // Numbers in topological order of each group's first member.
  std::map<int, int> number;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    int& group = graph[NodeId{i}].group;
    if (group >= 0) group = number.try_emplace(group, int(number.size())).first->second;
  }
}

}  // namespace nnc
