// The passes of fusion: in which order parts are merged (fuser.cpp), which values are computed again by who reads them, and groups as the result.
#include "passes/fuse.h"

#include <algorithm>
#include <map>
#include <set>

#include "passes/costs.h"
#include "passes/fuser.h"

namespace nnc {

// A cheap last operation whose operands stand in memory anyway is better computed where it is used: it would only add a buffer.
void Fuser::release_cheap_sinks() {
  std::vector<bool> kept(graph_.size(), false);
  for (const Output& o : graph_.outputs) kept[o.node.value] = true;
  for (const Update& o : graph_.updates) kept[o.node.value] = true;
  // Users through transparent nodes.
  std::vector<std::vector<NodeId>> consumers(graph_.size());
  std::vector<bool> hard(graph_.size(), false);
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    if (part_[i] < 0) continue;
    for (const Source& s : inputs(NodeId{i})) {
      consumers[s.node.value].push_back(NodeId{i});
      if (s.hard) hard[s.node.value] = true;
    }
  }
  auto cheap = [&](NodeId m) { return !kept[m.value] && !hard[m.value] && is_elementwise(graph_[m].op) && !is_expensive(graph_[m].op); };
  for (uint32_t i = graph_.size(); i-- > 0;) {
    int p = part_[i];
    NodeId u{i};
    if (p < 0 || parts_[p].members.size() < 2 || !cheap(u)) continue;
    bool sink = !consumers[i].empty();
    std::set<int> where;
    for (NodeId c : consumers[i]) {
      sink = sink && part_[c.value] != p;
      where.insert(part_[c.value]);
    }
    if (!sink || where.size() != 1) continue;
    // The sink and whatever only it needs, down to values that stand in memory for others.
    std::set<NodeId> released{u};
    std::vector<NodeId> pending{u};
    bool worthwhile = true;
    while (worthwhile && !pending.empty()) {
      NodeId at = pending.back();
      pending.pop_back();
      for (const Source& s : inputs(at)) {
        NodeId m = s.node;
        if (part_[m.value] != p || released.count(m)) continue;
        bool stored = kept[m.value] || hard[m.value];
        bool only_here = true;
        for (NodeId c : consumers[m.value]) {
          stored = stored || part_[c.value] != p;
          only_here = only_here && released.count(c);
        }
        if (stored) continue;
        worthwhile = worthwhile && only_here && cheap(m) && released.size() < size_t(max_loose_cost);
        released.insert(m);
        pending.push_back(m);
      }
    }
    if (!worthwhile || released.size() >= parts_[p].members.size()) continue;
    for (NodeId m : released) {
      for (const Source& s : inputs(m))
        if (!s.hard && part_[s.node.value] == p) note(s.node, m, FusionRefusal::released, u, true);
      std::erase(parts_[p].members, m);
      part_[m.value] = released_part;
    }
  }
}

void Fuser::write_groups(Graph& graph) const {
  int next = 0;
  std::map<int, int> number;
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    int p = part_[i];
    graph[NodeId{i}].group = -1;
    if (p < 0 || parts_[p].members.size() < 2) {
      if (p >= 0 && graph[NodeId{i}].op == Op::contract) graph[NodeId{i}].group = next++;
      continue;
    }
    auto [it, fresh] = number.try_emplace(p, next);
    if (fresh) ++next;
    graph[NodeId{i}].group = it->second;
  }
}

std::vector<GroupSpace> Fuser::spaces() const {
  std::vector<GroupSpace> result;
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    int group = graph_[NodeId{i}].group;
    if (group < 0) continue;
    if (size_t(group) >= result.size()) result.resize(size_t(group) + 1);
    GroupSpace& space = result[size_t(group)];
    const Part& part = parts_[part_[i]];
    space.space = part.space;
    space.reduced = part.reduced;
    space.contract = part.contract;
    space.scatter = part.scatter;
    space.members.push_back(NodeId{i});
    space.axes.push_back(axes_[i]);
  }
  return result;
}

namespace {

// Nodes that no output needs.
std::vector<bool> update_only(const Graph& graph) {
  std::vector<bool> other(graph.size(), false);
  for (const Output& o : graph.outputs) other[o.node.value] = true;
  for (uint32_t i = graph.size(); i-- > 0;)
    if (other[i])
      for (NodeId o : graph[NodeId{i}].operands) other[o.value] = true;
  std::vector<bool> result(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) result[i] = !other[i];
  return result;
}

}  // namespace

std::vector<bool> optimizer_rule(const Graph& graph) {
  std::vector<bool> rule = update_only(graph);
  Users users = graph.users();
  for (uint32_t i = graph.size(); i-- > 0;) {
    if (!rule[i]) continue;
    for (NodeId u : users[i]) {
      Op op = graph[u].op;
      if (!rule[u.value] || !(is_elementwise(op) || is_soft_view(op))) rule[i] = false;
    }
    if (op_class(graph[NodeId{i}].op) == OpClass::reduce || graph[NodeId{i}].op == Op::contract) rule[i] = false;
  }
  return rule;
}

void fuse_contractions(Graph& graph, FusionLog* log) {
  Fuser fuser(graph, log);
  fuser.merge_all([&](NodeId u) {
    int p = fuser.candidate(u);
    return !fuser.is_rule(u) && p >= 0 && fuser.part_is_contract(p);
  });
  fuser.release_cheap_sinks();
  fuser.write_groups(graph);
}

void sink_updates(Graph& graph, FusionLog* log) {
  Fuser fuser(graph, log);
  fuser.merge_all([&](NodeId u) { return fuser.is_rule(u); });
  fuser.write_groups(graph);
}

void fuse_rows(Graph& graph, FusionLog* log) {
  Fuser fuser(graph, log);
  fuser.merge_all([&](NodeId u) {
    int p = fuser.candidate(u);
    return p >= 0 && !fuser.part_is_contract(p);
  });
  fuser.merge_sums_of_same_values();
  fuser.merge_joined_parts();
  fuser.release_cheap_sinks();
  fuser.write_groups(graph);
}

std::vector<GroupSpace> group_spaces(const Graph& graph) { return Fuser(graph).spaces(); }

std::vector<GroupSpace> group_spaces(const Graph& graph, const Joins& joins) { return Fuser(graph, joins).spaces(); }

}  // namespace nnc
