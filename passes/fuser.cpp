// Fusion by merging parts of a partition.
//
// Every operation that computes starts as a part of its own; parts are merged along soft edges (element-wise use at the same index) as long as the
// quotient graph stays acyclic. Acyclicity is kept by levels that grow strictly along edges: a node may join the operand part of highest level,
// since no other operand part can then be reached from it. A hard edge (gather, slice, reshape, contraction operand) reads other indices than the
// one being computed and never lies inside a part.
#include "passes/fuser.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "base/check.h"
#include "passes/rewrite.h"
#include "passes/row_tiles.h"
#include "passes/touched_rows.h"

namespace nnc {

// What a value is made of: computing nodes reached through transparent ones.
const std::vector<Fuser::Source>& Fuser::sources(NodeId n) const {
  auto& cached = sources_[n.value];
  if (cached) return *cached;
  std::vector<Source> found;
  const Node& node = graph_[n];
  const bool all_hard = is_made_elsewhere(node.op) || node.op == Op::contract || node.op == Op::scatter_add || node.op == Op::scan;
  for (size_t i = 0; i < node.operands.size(); ++i) {
    NodeId o = node.operands[i];
    bool hard = all_hard || (is_hard_view(node.op) && !(node.op == Op::gather && i == 1));
    if (transparent_[o.value]) {
      for (const Source& s : sources(o)) found.push_back({s.node, s.hard || hard});
    } else {
      found.push_back({o, hard});
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  cached.emplace(std::move(found));
  return *cached;
}

void Fuser::build() {
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

Fuser::Part Fuser::start_part(NodeId u) {
  Part part;
  const Node& node = graph_[u];
  part.members.push_back(u);
  part.contract = node.op == Op::contract;
  part.scatter = node.op == Op::scatter_add;
  part.join = joins_.number[u.value] >= 0;
  if (op_class(node.op) == OpClass::reduce) {
    const Shape& shape = graph_.type(node.operands[0]).shape;
    part.space = shape;
    part.reduced.assign(shape.size(), false);
    axes_[u.value].reserve(shape.size());
    for (int a : node.attributes.axes) part.reduced[a] = true;
    for (int a = 0; a < int(shape.size()); ++a)
      if (!part.reduced[a]) axes_[u.value].push_back(a);
    part.terms = terms_in(u, identity_axes(int(shape.size())));
  } else {
    part.space = node.type.shape;
    part.reduced.assign(part.space.size(), false);
    axes_[u.value] = identity_axes(int(part.space.size()));
  }
  return part;
}

void Fuser::raise_level(int p, int level) {
  if (level <= parts_[p].level) return;
  parts_[p].level = level;
  for (int s : parts_[p].successors)
    if (s != p) raise_level(s, level + 1);
}

// Follows soft views from `o` down to a member of part p; gives for each axis of `o` the part's axis or -1.
bool Fuser::view_axes(NodeId o, int p, std::vector<int>& result) const {
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

/// The order of a sum of floats, by the axes of the space that those of its operand are.
TermOrder Fuser::terms_in(NodeId u, const std::vector<int>& map) const {
  if (!has_term_order(graph_[u])) return {};
  TermOrder order = term_order(graph_, graph_[u]);
  for (int& axis : order.axes) axis = map[size_t(axis)];
  return order;
}

/// Whether sums of both orders can be made by one kernel.
static bool agree(const TermOrder& a, const TermOrder& b) { return a.axes.empty() || b.axes.empty() || a == b; }

// Maps the index space in which `u` is computed into part p's space, led by the operands that p computes.
bool Fuser::fit_into(NodeId u, int p, Fit& fit, FusionRefusal* why) const {
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
  fit.terms = part.terms;
  if (reduce) {
    std::vector<bool> reduced(part.space.size(), false);
    for (int a : node.attributes.axes) reduced[map[a]] = true;
    if (!full) return refuse(FusionRefusal::other_space);
    if (part.has_reduction() && reduced != part.reduced) return refuse(FusionRefusal::other_reduction);
    if (node.op == Op::argmax && node.attributes.axes.size() != 1) return refuse(FusionRefusal::other_reduction);
    const TermOrder terms = terms_in(u, map);
    if (!part.contract) {  // whose sums over rows have its own order
      if (!agree(part.terms, terms)) return refuse(FusionRefusal::other_terms);
      if (fit.terms.axes.empty()) fit.terms = terms;
    }
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

void Fuser::apply_fit(NodeId u, int p, const Fit& fit) {
  axes_[u.value] = fit.axes;
  parts_[p].reduced = fit.reduced;
  parts_[p].terms = fit.terms;
}

/// Whether the part sums over all of a tensor and `u` is what an optimiser's rule does with each element of one.
bool Fuser::sums_all_for_rule(NodeId u, const Part& part) const {
  return rule_[u.value] && graph_.type(u).rank() > 0 && part.has_reduction() && std::ranges::all_of(part.reduced, std::identity());
}

std::optional<FusionRefusal> Fuser::join_refusal(NodeId u, int p) const {
  const Part& part = parts_[p];
  const Node& node = graph_[u];
  if (part.scatter && !(rule_[u.value] && is_elementwise(node.op) && sums_by_entry(graph_, graph_[part.members.front()]))) return FusionRefusal::scatter;
  if (part.join) return FusionRefusal::joined;
  if (part.members.size() >= max_group_nodes) return FusionRefusal::too_large;
  bool reduce = op_class(node.op) == OpClass::reduce;
  if (!reduce && !is_elementwise(node.op)) return FusionRefusal::own_loops;
  if (!reduce && sums_all_for_rule(u, part)) return FusionRefusal::whole_sum;
  if (!part.contract) return std::nullopt;
  if (reduce && !is_row_sum(graph_, node)) return FusionRefusal::reduction_of_contraction;
  // A sum over the rows of tiles is whole when all of the others are done.
  for (const Source& s : inputs(u))
    if (part_[s.node.value] == p && op_class(graph_[s.node].op) == OpClass::reduce) return FusionRefusal::row_sum;
  return std::nullopt;
}

int Fuser::candidate(NodeId u) const {
  int best = -1, top = -1;
  const std::vector<Source>& in = inputs(u);
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

/// An optimiser's rule reads numbers that are made for all tensors (a learning rate by a schedule, a power of the step), wherever these stand: of the parts that it fits and from which no way leads to what
/// else it reads the one that comes last; -1: there is none.
int Fuser::host_of_rule(NodeId u, Fit& fit) const {
  int best = -1;
  const std::vector<Source>& in = inputs(u);
  for (const Source& s : in) {
    const int p = part_[s.node.value];
    if (s.hard || p == part_[u.value] || p == best || (best >= 0 && parts_[p].level <= parts_[best].level)) continue;
    Fit found;
    const bool stands_apart = std::ranges::all_of(in, [&](const Source& t) { return part_[t.node.value] == p ? !t.hard : !reaches(p, part_[t.node.value], false); });
    if (!stands_apart || !can_join(u, p) || !fit_into(u, p, found)) continue;
    best = p;
    fit = std::move(found);
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
  const std::vector<Source>& in = inputs(u);
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
  if (p < 0 || !can_join(u, p) || !fit_into(u, p, fit)) p = rule_[u.value] ? host_of_rule(u, fit) : -1;
  if (p < 0) return;
  // The quotient stays acyclic: operand parts have at most p's level, or no way leads from p to them. They must now come before p.
  const int level = move_member(u, p, parts_[p].level);
  for (int s : parts_[own].successors) parts_[p].successors.insert(s);
  parts_[p].successors.erase(p);
  parts_[own].members.clear();
  parts_[own].successors.clear();
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
  if (parts_[p].contract || parts_[p].scatter) return;
  for (const Source& s : inputs(u)) {
    int q = part_[s.node.value];
    if (q == p || s.hard) continue;
    auto keep_apart = [&](FusionRefusal reason) { note(s.node, u, reason, {}, true); };
    if (parts_[q].contract || parts_[q].scatter || parts_[q].join) {
      keep_apart(parts_[q].contract ? FusionRefusal::contraction_beside : parts_[q].join ? FusionRefusal::joined : FusionRefusal::scatter);
      continue;
    }
    Part& from = parts_[q];
    Part& into = parts_[p];
    if (from.space != into.space || from.members.size() + into.members.size() > max_group_nodes) {
      keep_apart(from.space != into.space ? FusionRefusal::other_space : FusionRefusal::too_large);
      continue;
    }
    if (sums_all_for_rule(u, from) || sums_all_for_rule(u, into)) {
      keep_apart(FusionRefusal::whole_sum);
      continue;
    }
    bool both = from.has_reduction() && into.has_reduction();
    if (both && from.reduced != into.reduced) {
      keep_apart(FusionRefusal::other_reduction);
      continue;
    }
    if (!agree(from.terms, into.terms)) {
      keep_apart(FusionRefusal::other_terms);
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
    into.reduced = reduced;
    merge_parts(q, p);
  }
}

// Into part p, with the edges from its inputs. Of the level p has to have by these and of `level` the higher.
int Fuser::move_member(NodeId m, int p, int level) {
  const int own = std::exchange(part_[m.value], p);
  parts_[p].members.push_back(m);
  for (const Source& s : inputs(m)) {
    const int q = part_[s.node.value];
    parts_[q].successors.erase(own);
    if (q == p) continue;
    parts_[q].successors.insert(p);
    level = std::max(level, parts_[q].level + 1);
  }
  return level;
}

// The quotient must stay acyclic: no way leads from one part to the other but a direct edge between them.
void Fuser::merge_parts(int q, int p) {
  Part& from = parts_[q];
  Part& into = parts_[p];
  int level = std::max(from.level, into.level);
  NNC_CHECK(agree(from.terms, into.terms), "kernels whose sums have different orders become one");
  if (into.terms.axes.empty()) into.terms = from.terms;
  for (NodeId m : from.members) level = move_member(m, p, level);
  for (int s : from.successors) into.successors.insert(s);
  into.successors.erase(p);
  into.successors.erase(q);
  from.members.clear();
  from.successors.clear();
  raise_level(p, level);
  for (int t : parts_[p].successors) raise_level(t, parts_[p].level + 1);
}

bool Fuser::share_loops(const Part& a, const Part& b) { return a.space == b.space && a.reduced == b.reduced && agree(a.terms, b.terms); }

bool Fuser::only_sums(int p) const {
  const Part& part = parts_[p];
  auto fits = [&](NodeId m) { return op_class(graph_[m].op) != OpClass::reduce || graph_[m].op == Op::reduce_sum; };
  return !part.contract && !part.scatter && part.has_reduction() && std::all_of(part.members.begin(), part.members.end(), fits);
}

// Sums over the same axes that read one value become one kernel, which reads it once. No reader would bring them together: what they leave lies in another space. A
// value that one of them makes has done so already; this is for what stands in memory, as the gradient does that a contraction gives to two sums of batch norm.
void Fuser::merge_sums_of_same_values() {
  struct Reader {
    NodeId member;
    std::vector<int> axes;  // of the value -> of the part's space
  };
  std::map<NodeId, std::vector<Reader>> readers;
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const int p = part_[i];
    if (p < 0 || !only_sums(p)) continue;
    const bool reduces = op_class(graph_[NodeId{i}].op) == OpClass::reduce;
    if (reduces && parts_[p].members.front().value != i) continue;  // the space of the one that began the part is its operand's
    for (NodeId o : graph_[NodeId{i}].operands) {
      if (transparent_[o.value] || part_[o.value] == p || graph_.type(o).shape.size() != parts_[p].space.size()) continue;
      std::vector<int> axes = axes_[i];
      if (reduces) {
        axes.clear();
        for (int a = 0; a < graph_.type(o).rank(); ++a) axes.push_back(a);
      }
      readers[o].push_back({NodeId{i}, std::move(axes)});
    }
  }
  for (const auto& [value, all] : readers)
    for (size_t later = 1; later < all.size(); ++later)
      for (size_t first = 0; first < later; ++first) {
        const int p = part_[all[first].member.value], q = part_[all[later].member.value];
        if (p == q || all[first].axes != all[later].axes) continue;
        if (!share_loops(parts_[p], parts_[q])) continue;
        if (parts_[p].members.size() + parts_[q].members.size() > max_group_nodes) continue;
        if (reaches(p, q, false) || reaches(q, p, false)) continue;
        merge_parts(q, p);
      }
}

// Who makes parts of one join in the same loops is one kernel, which computes what they share once. As with sums, no reader would bring them together: it sees the join at other
// indices than theirs.
void Fuser::merge_joined_parts() {
  std::vector<bool> makes_parts(parts_.size(), false);
  for (const Join& join : joins_.all) {
    for (const JoinedPart& part : join.parts)
      if (part.computed) makes_parts[size_t(part_[part.value.value])] = true;
    for (size_t later = 1; later < join.parts.size(); ++later)
      for (size_t first = 0; first < later; ++first)
        if (join.parts[first].computed && join.parts[later].computed) merge_beside(join.parts[first].value, join.parts[later].value);
  }
  // So is who would compute again what such a kernel computes for itself.
  std::vector<NodeId> sharing(graph_.size());  // by loose value: one who needs it and makes a part
  for (const bool gather : {true, false})
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      const NodeId u{i};
      if (part_[i] < 0 || !is_elementwise(graph_[u].op) || makes_parts[size_t(part_[i])] != gather) continue;
      for (NodeId loose : loose_operands(u)) {
        NodeId& known = sharing[loose.value];
        if (gather) known = known.valid() ? known : u;
        else if (known.valid()) merge_beside(known, u);
      }
    }
}

/// Cheap arithmetic that whoever computes `u` computes for itself, at the same index.
std::vector<NodeId> Fuser::loose_operands(NodeId u) const {
  std::vector<NodeId> found, pending{u};
  while (!pending.empty()) {
    const NodeId at = pending.back();
    pending.pop_back();
    for (NodeId o : graph_[at].operands) {
      if (!transparent_[o.value] || !is_elementwise(graph_[o].op) || graph_.type(o).rank() == 0 || std::find(found.begin(), found.end(), o) != found.end()) continue;
      found.push_back(o);
      pending.push_back(o);
    }
  }
  return found;
}

/// The kernels of two values become one if they run over the same loops, neither needs what the other makes, and none is of a kind of its own.
void Fuser::merge_beside(NodeId x, NodeId y) {
  const int p = part_[x.value], q = part_[y.value];
  if (p == q || p < 0 || q < 0 || axes_[x.value] != axes_[y.value]) return;
  const Part &into = parts_[p], &from = parts_[q];
  auto of_its_own = [](const Part& part) { return part.contract || part.scatter || part.join; };
  if (of_its_own(into) || of_its_own(from) || !share_loops(into, from)) return;
  if (into.members.size() + from.members.size() > max_group_nodes) return;
  if (reaches(p, q, false) || reaches(q, p, false)) return;
  merge_parts(q, p);
}

}  // namespace nnc
