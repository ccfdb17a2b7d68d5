// Fusion by merging parts of a partition.
//
// Every operation that computes starts as a part of its own; parts are merged along soft edges (element-wise use at the same index) as long as the
// quotient graph stays acyclic. Acyclicity is kept by levels that grow strictly along edges: a node may join the operand part of highest level,
// since no other operand part can then be reached from it. A hard edge (gather, slice, reshape, contraction operand) reads other indices than the
// one being computed and never lies inside a part.
#include "passes/fuse.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/check.h"
#include "passes/costs.h"
#include "passes/fuse_internal.h"

namespace nnc {
namespace {

constexpr size_t max_group_nodes = 256;
constexpr int released_part = -2;  // computed by its consumer

struct Source {
  NodeId node;  // computes (not transparent)
  bool hard;
  auto operator<=>(const Source&) const = default;
};

class Fuser {
 public:
  explicit Fuser(Graph& graph, FusionLog* log = nullptr)
      : graph_(graph), log_(log), transparent_(transparent_nodes(graph)), users_(graph.users()) {
    build();
  }

  /// Tries to merge every node for which `wanted` holds into the part of one of its operands.
  template <class Wanted>
  void merge_all(Wanted wanted) {
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      NodeId u{i};
      if (part_[i] < 0) continue;
      if (wanted(u)) try_merge(u);
      else if (log_) note_refusals(u, false);
    }
  }
  void release_cheap_sinks();
  void write_groups();
  std::vector<GroupSpace> spaces() const;
  bool in_contract_part(NodeId u) const { return parts_[part_[u.value]].contract; }
  /// The operand part that `u` would join.
  int candidate(NodeId u) const;
  const std::vector<bool>& transparent() const { return transparent_; }
  bool part_is_contract(int p) const { return parts_[p].contract; }

 private:
  struct Part {
    std::vector<NodeId> members;
    Shape space;                 // kernel axes
    std::vector<bool> reduced;   // which of them are reduced
    bool contract = false;
    bool open = true;            // may take up others (scatter_add may not)
    bool has_reduction() const { return std::find(reduced.begin(), reduced.end(), true) != reduced.end(); }
    int level = 0;
    std::set<int> successors;
  };

  Graph& graph_;
  FusionLog* log_;  // told of every refusal; asks nothing and decides nothing
  std::vector<bool> transparent_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<int> part_;                      // of a node; -1: transparent
  std::vector<std::vector<int>> axes_;         // node axis -> axis of its part's space
  std::vector<Part> parts_;
  mutable std::vector<std::optional<std::vector<Source>>> sources_;

  // What a value is made of: computing nodes reached through transparent ones.
  const std::vector<Source>& sources(NodeId n) const {
    auto& cached = sources_[n.value];
    if (cached) return *cached;
    std::set<Source> found;
    const Node& node = graph_[n];
    for (size_t i = 0; i < node.operands.size(); ++i) {
      NodeId o = node.operands[i];
      bool hard = is_hard_view(node.op) && !(node.op == Op::gather && i == 1);
      if (transparent_[o.value]) {
        for (const Source& s : sources(o)) found.insert({s.node, s.hard || hard});
      } else {
        found.insert({o, hard});
      }
    }
    cached.emplace(found.begin(), found.end());
    return *cached;
  }
  // Operand parts of a computing node.
  std::vector<Source> inputs(NodeId u) const {
    std::vector<Source> all = sources(u);
    Op op = graph_[u].op;
    if (op == Op::contract || op == Op::scatter_add)
      for (Source& s : all) s.hard = true;
    return all;
  }

  void build() {
    uint32_t n = graph_.size();
    part_.assign(n, -1);
    axes_.resize(n);
    sources_.resize(n);
    std::map<int, int> part_of_group;
    for (uint32_t i = 0; i < n; ++i) {
      const Node& node = graph_[NodeId{i}];
      if (node.group < 0 && transparent_[i]) continue;
      transparent_[i] = false;
      auto [it, fresh] = node.group >= 0 ? part_of_group.try_emplace(node.group, int(parts_.size()))
                                         : std::pair{part_of_group.end(), true};
      if (fresh) {
        part_[i] = int(parts_.size());
        parts_.push_back(start_part(NodeId{i}));
      } else {
        int p = it->second;
        part_[i] = p;
        parts_[p].members.push_back(NodeId{i});
      }
    }
    // Groups set earlier: replay their axis maps.
    for (uint32_t i = 0; i < n; ++i) {
      int p = part_[i];
      if (p < 0) continue;
      if (parts_[p].members.front().value != i) {
        Fit fit;
        bool fits = fit_into(NodeId{i}, p, fit);
        NNC_CHECK(fits, "a group of the input graph has members that do not share an iteration space");
        apply_fit(NodeId{i}, p, fit);
      }
      int level = parts_[p].level;
      for (const Source& s : inputs(NodeId{i})) {
        int q = part_[s.node.value];
        if (q == p) continue;
        parts_[q].successors.insert(p);
        level = std::max(level, parts_[q].level + 1);
      }
      raise_level(p, level);
    }
  }

  Part start_part(NodeId u) {
    Part part;
    const Node& node = graph_[u];
    part.members.push_back(u);
    part.contract = node.op == Op::contract;
    part.open = node.op != Op::scatter_add;
    if (op_class(node.op) == OpClass::reduce) {
      const Shape& shape = graph_.type(node.operands[0]).shape;
      part.space = shape;
      part.reduced.assign(shape.size(), false);
      for (int a : node.attributes.axes) part.reduced[a] = true;
      for (int a = 0; a < int(shape.size()); ++a)
        if (!part.reduced[a]) axes_[u.value].push_back(a);
    } else {
      part.space = node.type.shape;
      part.reduced.assign(part.space.size(), false);
      for (int a = 0; a < int(part.space.size()); ++a) axes_[u.value].push_back(a);
    }
    return part;
  }

  void raise_level(int p, int level) {
    if (level <= parts_[p].level) return;
    parts_[p].level = level;
    for (int s : parts_[p].successors)
      if (s != p) raise_level(s, level + 1);
  }

  struct Fit {
    std::vector<int> axes;         // of the node (reduce: of its result)
    std::vector<bool> reduced;     // the part's reduced axes afterwards
  };

  // Follows soft views from `o` down to a member of part p; gives for each axis of `o` the part's axis or -1.
  bool view_axes(NodeId o, int p, std::vector<int>& result) const {
    const Node& node = graph_[o];
    if (!transparent_[o.value]) {
      if (part_[o.value] != p || axes_[o.value].size() != node.type.shape.size()) return false;
      result = axes_[o.value];
      return true;
    }
    if (!is_soft_view(node.op)) return false;
    std::vector<int> inner;
    if (!view_axes(node.operands[0], p, inner)) return false;
    result.assign(node.type.shape.size(), -1);
    if (node.op == Op::stop_gradient) result = inner;
    if (node.op == Op::transpose)
      for (size_t i = 0; i < result.size(); ++i) result[i] = inner[node.attributes.axes[i]];
    if (node.op == Op::broadcast)
      for (size_t i = 0; i < inner.size(); ++i) result[node.attributes.axes[i]] = inner[i];
    return true;
  }

  // Maps the index space in which `u` is computed into part p's space, led by the operands that p computes.
  bool fit_into(NodeId u, int p, Fit& fit, FusionRefusal* why = nullptr) const {
    auto refuse = [&](FusionRefusal reason) {
      if (why) *why = reason;
      return false;
    };
    const Part& part = parts_[p];
    const Node& node = graph_[u];
    bool reduce = op_class(node.op) == OpClass::reduce;
    const Shape& shape = reduce ? graph_.type(node.operands[0]).shape : node.type.shape;
    std::vector<int> map(shape.size(), -1);
    for (NodeId o : node.operands) {
      std::vector<int> axes;
      if (graph_.type(o).shape.size() != shape.size() || !view_axes(o, p, axes)) continue;
      for (size_t i = 0; i < axes.size(); ++i) {
        if (axes[i] < 0) continue;
        if (map[i] >= 0 && map[i] != axes[i]) return refuse(FusionRefusal::crossed_axes);
        map[i] = axes[i];
      }
    }
    std::vector<bool> used(part.space.size(), false);
    for (int a : map)
      if (a >= 0) {
        if (used[a]) return refuse(FusionRefusal::crossed_axes);
        used[a] = true;
      }
    size_t next = 0;
    for (size_t i = 0; i < map.size(); ++i) {
      if (map[i] >= 0) continue;
      while (next < used.size() && (used[next] || part.space[next] != shape[i])) ++next;
      if (next == used.size()) return refuse(FusionRefusal::other_space);
      map[i] = int(next);
      used[next] = true;
    }
    for (size_t i = 0; i < map.size(); ++i)
      if (part.space[map[i]] != shape[i]) return refuse(FusionRefusal::other_space);
    bool full = std::find(used.begin(), used.end(), false) == used.end();
    fit.reduced = part.reduced;
    if (reduce) {
      std::vector<bool> reduced(part.space.size(), false);
      for (int a : node.attributes.axes) reduced[map[a]] = true;
      if (!full) return refuse(FusionRefusal::other_space);
      if (part.has_reduction() && reduced != part.reduced) return refuse(FusionRefusal::other_reduction);
      if (node.op == Op::argmax && node.attributes.axes.size() != 1) return refuse(FusionRefusal::other_reduction);
      fit.reduced = reduced;
      fit.axes.clear();
      for (size_t i = 0; i < map.size(); ++i)
        if (!reduced[map[i]]) fit.axes.push_back(map[i]);
      return true;
    }
    fit.axes = map;
    if (full) return true;
    for (size_t a = 0; a < used.size(); ++a)
      if (used[a] == part.reduced[a]) return refuse(FusionRefusal::other_space);  // exactly the outer axes otherwise
    return true;
  }

  void apply_fit(NodeId u, int p, const Fit& fit) {
    axes_[u.value] = fit.axes;
    parts_[p].reduced = fit.reduced;
  }

  std::optional<FusionRefusal> join_refusal(NodeId u, int p) const {
    const Part& part = parts_[p];
    const Node& node = graph_[u];
    if (!part.open) return FusionRefusal::scatter;
    if (part.members.size() >= max_group_nodes) return FusionRefusal::too_large;
    bool reduce = op_class(node.op) == OpClass::reduce;
    if (!reduce && !is_elementwise(node.op)) return FusionRefusal::own_loops;
    if (part.contract && reduce) return FusionRefusal::reduction_of_contraction;
    return std::nullopt;
  }
  bool can_join(NodeId u, int p) const { return !join_refusal(u, p); }

  void note(NodeId value, NodeId reader, FusionRefusal reason, NodeId witness, bool tried);
  void note_refusals(NodeId u, bool tried);

  void try_merge(NodeId u);
  void try_merge_siblings(NodeId u);
  bool reaches(int from, int to, int skip_direct) const;
};

int Fuser::candidate(NodeId u) const {
  int best = -1, top = -1;
  std::vector<Source> in = inputs(u);
  for (const Source& s : in) top = std::max(top, parts_[part_[s.node.value]].level);
  for (const Source& s : in) {
    int p = part_[s.node.value];
    if (s.hard || parts_[p].level != top || p == part_[u.value]) continue;
    bool hard_too = std::any_of(in.begin(), in.end(), [&](const Source& t) { return t.hard && part_[t.node.value] == p; });
    if (hard_too) continue;
    // A contraction is the better host: its result then stays in registers.
    if (best < 0 || (parts_[p].contract && !parts_[best].contract)) best = p;
  }
  return best;
}

void Fuser::note(NodeId value, NodeId reader, FusionRefusal reason, NodeId witness, bool tried) {
  if (log_) log_->add(value, reader, {reason, witness, tried});
}

// What keeps `u` out of the part of each of its operands, by the tests that try_merge makes, in their order. One that shares a part already
// stays there: what would keep it out if it stood alone is noted, and if nothing would, whom it shares with.
void Fuser::note_refusals(NodeId u, bool tried) {
  int own = part_[u.value];
  std::vector<Source> in = inputs(u);
  if (parts_[own].members.size() != 1) {
    for (const Source& s : in) {
      int p = part_[s.node.value];
      if (p == own || s.hard) continue;
      FusionRefusal why{};
      Fit fit;
      const std::vector<NodeId>& members = parts_[own].members;
      if (std::optional<FusionRefusal> refusal = join_refusal(u, p))
        note(s.node, u, *refusal, {}, false);
      else if (!fit_into(u, p, fit, &why))
        note(s.node, u, why, {}, false);
      else
        note(s.node, u, FusionRefusal::settled, members.front() == u ? members[1] : members.front(), false);
    }
    return;
  }
  int best = candidate(u), top = -1;
  NodeId last;
  for (const Source& s : in)
    if (int level = parts_[part_[s.node.value]].level; level > top) top = level, last = s.node;
  for (const Source& s : in) {
    int p = part_[s.node.value];
    if (s.hard) continue;  // never within a kernel, whatever else holds
    auto also_hard = std::find_if(in.begin(), in.end(), [&](const Source& t) { return t.hard && part_[t.node.value] == p; });
    FusionRefusal why{};
    Fit fit;
    if (parts_[p].level != top) {
      note(s.node, u, FusionRefusal::later_operand, last, tried);
    } else if (also_hard != in.end()) {
      note(s.node, u, FusionRefusal::read_twice, also_hard->node, tried);
    } else if (p != best) {
      note(s.node, u, FusionRefusal::other_host, best >= 0 ? parts_[best].members.front() : NodeId{}, tried);
    } else if (std::optional<FusionRefusal> refusal = join_refusal(u, p)) {
      note(s.node, u, *refusal, {}, tried);
    } else if (!fit_into(u, p, fit, &why)) {
      note(s.node, u, why, {}, tried);
    }
  }
}

void Fuser::try_merge(NodeId u) {
  int own = part_[u.value];
  if (log_) note_refusals(u, true);
  if (parts_[own].members.size() != 1) return;
  int p = candidate(u);
  Fit fit;
  if (p < 0 || !can_join(u, p) || !fit_into(u, p, fit)) return;
  // The quotient stays acyclic: operand parts have at most p's level. One of equal level must now come before p.
  int level = parts_[p].level;
  for (const Source& s : inputs(u)) {
    int q = part_[s.node.value];
    parts_[q].successors.erase(own);
    if (q != p) {
      parts_[q].successors.insert(p);
      level = std::max(level, parts_[q].level + 1);
    }
  }
  for (int s : parts_[own].successors) parts_[p].successors.insert(s);
  parts_[p].successors.erase(p);
  parts_[p].members.push_back(u);
  parts_[own].members.clear();
  parts_[own].successors.clear();
  part_[u.value] = p;
  apply_fit(u, p, fit);
  raise_level(p, level);
  try_merge_siblings(u);
}

bool Fuser::reaches(int from, int to, int skip_direct) const {
  std::vector<int> stack{from};
  std::set<int> seen;
  while (!stack.empty()) {
    int at = stack.back();
    stack.pop_back();
    for (int s : parts_[at].successors) {
      if (s == to && !(at == from && skip_direct)) return true;
      if (s != to && parts_[s].level < parts_[to].level && seen.insert(s).second) stack.push_back(s);
    }
  }
  return false;
}

// Other row-wise parts that feed `u` softly and run over the same space join as well, so that a chain with several strands is one kernel.
void Fuser::try_merge_siblings(NodeId u) {
  int p = part_[u.value];
  if (parts_[p].contract) return;
  for (const Source& s : inputs(u)) {
    int q = part_[s.node.value];
    if (q == p || s.hard) continue;
    auto keep_apart = [&](FusionRefusal reason) { note(s.node, u, reason, {}, true); };
    if (parts_[q].contract || !parts_[q].open) {
      keep_apart(parts_[q].contract ? FusionRefusal::contraction_beside : FusionRefusal::scatter);
      continue;
    }
    Part& from = parts_[q];
    Part& into = parts_[p];
    if (from.space != into.space || from.members.size() + into.members.size() > max_group_nodes) {
      keep_apart(from.space != into.space ? FusionRefusal::other_space : FusionRefusal::too_large);
      continue;
    }
    bool both = from.has_reduction() && into.has_reduction();
    if (both && from.reduced != into.reduced) {
      keep_apart(FusionRefusal::other_reduction);
      continue;
    }
    // Same axis order on both sides is required; members that lack an axis must lack the reduced ones only.
    std::vector<bool> reduced = from.has_reduction() ? from.reduced : into.reduced;
    auto covers = [&](NodeId m) {
      std::vector<bool> used(into.space.size(), false);
      for (int a : axes_[m.value]) used[a] = true;
      bool full = std::find(used.begin(), used.end(), false) == used.end();
      bool outer = true;
      for (size_t a = 0; a < used.size(); ++a) outer = outer && used[a] != reduced[a];
      return full || outer;
    };
    bool all = std::all_of(from.members.begin(), from.members.end(), covers) &&
               std::all_of(into.members.begin(), into.members.end(), covers);
    // Every member that reads q's values, `u` first of all, must do so at its own index.
    bool read_by_u = false, aligned = true;
    for (NodeId m : into.members) {
      for (NodeId o : graph_[m].operands) {
        std::vector<int> axes;
        if (!view_axes(o, q, axes)) continue;
        const std::vector<int>& own = axes_[m.value];
        bool same = axes.size() == own.size() && op_class(graph_[m].op) != OpClass::reduce;
        for (size_t i = 0; same && i < axes.size(); ++i) same = axes[i] < 0 || axes[i] == own[i];
        aligned = aligned && same;
        read_by_u = read_by_u || m == u;
      }
    }
    if (!all || !read_by_u || !aligned || reaches(q, p, true)) {
      keep_apart(!all ? FusionRefusal::other_space : !read_by_u || !aligned ? FusionRefusal::crossed_axes : FusionRefusal::cycle);
      continue;
    }
    bool hard_between = false;
    for (NodeId m : into.members)
      for (const Source& t : inputs(m)) hard_between = hard_between || (t.hard && part_[t.node.value] == q);
    for (NodeId m : from.members)
      for (const Source& t : inputs(m)) hard_between = hard_between || (t.hard && part_[t.node.value] == p);
    if (hard_between) {
      keep_apart(FusionRefusal::read_twice);
      continue;
    }
    int level = std::max(from.level, into.level);
    for (NodeId m : from.members) {
      part_[m.value] = p;
      into.members.push_back(m);
      for (const Source& t : inputs(m)) {
        int r = part_[t.node.value];
        parts_[r].successors.erase(q);
        if (r != p) {
          parts_[r].successors.insert(p);
          level = std::max(level, parts_[r].level + 1);
        }
      }
    }
    std::set<int> successors = from.successors;
    into.successors.insert(successors.begin(), successors.end());
    into.successors.erase(p);
    into.successors.erase(q);
    into.reduced = reduced;
    from.members.clear();
    from.successors.clear();
    raise_level(p, level);
    for (int t : parts_[p].successors) raise_level(t, parts_[p].level + 1);
  }
}

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

void Fuser::write_groups() {
  int next = 0;
  std::map<int, int> number;
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    int p = part_[i];
    graph_[NodeId{i}].group = -1;
    if (p < 0 || parts_[p].members.size() < 2) {
      if (p >= 0 && graph_[NodeId{i}].op == Op::contract) graph_[NodeId{i}].group = next++;
      continue;
    }
    auto [it, fresh] = number.try_emplace(p, next);
    if (fresh) ++next;
    graph_[NodeId{i}].group = it->second;
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
    space.scatter = !part.open;
    space.members.push_back(NodeId{i});
    space.axes.push_back(axes_[i]);
  }
  return result;
}

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
  std::vector<std::vector<NodeId>> users = graph.users();
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
  std::vector<bool> rule = optimizer_rule(graph);
  fuser.merge_all([&](NodeId u) {
    int p = fuser.candidate(u);
    return !rule[u.value] && p >= 0 && fuser.part_is_contract(p);
  });
  fuser.release_cheap_sinks();
  fuser.write_groups();
}

void sink_updates(Graph& graph, FusionLog* log) {
  Fuser fuser(graph, log);
  std::vector<bool> rule = optimizer_rule(graph);
  fuser.merge_all([&](NodeId u) { return rule[u.value]; });
  fuser.write_groups();
}

void fuse_rows(Graph& graph, FusionLog* log) {
  Fuser fuser(graph, log);
  fuser.merge_all([&](NodeId u) {
    int p = fuser.candidate(u);
    return p >= 0 && !fuser.part_is_contract(p);
  });
  fuser.release_cheap_sinks();
  fuser.write_groups();
}

std::vector<GroupSpace> group_spaces(const Graph& graph) {
  Graph copy = graph;
  return Fuser(copy).spaces();
}

}  // namespace nnc
