// The partition of a graph's nodes that fusion merges, for the files of fusion: fuser.cpp holds its rules, fuse.cpp the passes that decide by it.
#pragma once

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "ir/term_order.h"
#include "passes/fuse.h"
#include "passes/fuse_internal.h"
#include "passes/joins.h"

namespace nnc {

class Fuser {
 public:
  explicit Fuser(const Graph& graph, FusionLog* log = nullptr) : Fuser(graph, find_joins(graph), log) {}
  Fuser(const Graph& graph, Joins joins, FusionLog* log = nullptr)
      : graph_(graph), log_(log), joins_(std::move(joins)), transparent_(transparent_nodes(graph, joins_)), rule_(optimizer_rule(graph)) {
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
  void merge_sums_of_same_values();
  void merge_joined_parts();
  void release_cheap_sinks();
  void write_groups(Graph&) const;  ///< of the graph that was looked at
  std::vector<GroupSpace> spaces() const;
  /// The operand part that `u` would join.
  int candidate(NodeId u) const;
  bool is_rule(NodeId u) const { return rule_[u.value]; }  ///< optimizer_rule
  bool part_is_contract(int p) const { return parts_[p].contract; }

 private:
  static constexpr size_t max_group_nodes = 256;
  static constexpr int released_part = -2;  // computed by its consumer

  struct Source {
    NodeId node;  // computes (not transparent)
    bool hard;
    auto operator<=>(const Source&) const = default;
  };

  /// Numbers of parts, ascending: few of most.
  class PartSet {
   public:
    void insert(int part) {
      if (auto at = std::lower_bound(parts_.begin(), parts_.end(), part); at == parts_.end() || *at != part) parts_.insert(at, part);
    }
    void erase(int part) {
      if (auto at = std::lower_bound(parts_.begin(), parts_.end(), part); at != parts_.end() && *at == part) parts_.erase(at);
    }
    void clear() { parts_.clear(); }
    auto begin() const { return parts_.begin(); }
    auto end() const { return parts_.end(); }

   private:
    std::vector<int> parts_;
  };

  struct Part {
    std::vector<NodeId> members;
    Shape space;                 // kernel axes
    std::vector<bool> reduced;   // which of them are reduced
    bool contract = false;
    bool scatter = false;        // of scatter_add, which takes up updates alone, and these only if it sums entry by entry
    bool join = false;           // of a join alone, which nobody computes
    TermOrder terms;             // of the sums of floats: axes of the space; empty without such a sum
    bool has_reduction() const { return std::find(reduced.begin(), reduced.end(), true) != reduced.end(); }
    int level = 0;
    PartSet successors;
  };

  struct Fit {
    std::vector<int> axes;         // of the node (reduce: of its result)
    std::vector<bool> reduced;     // the part's reduced axes afterwards
    TermOrder terms;               // and the order of its sums
  };

  const Graph& graph_;
  FusionLog* log_;  // told of every refusal; asks nothing and decides nothing
  Joins joins_;
  std::vector<bool> transparent_, rule_;       // optimizer_rule
  std::vector<int> part_;                      // of a node; -1: transparent
  std::vector<std::vector<int>> axes_;         // node axis -> axis of its part's space
  std::vector<Part> parts_;
  mutable std::vector<std::optional<std::vector<Source>>> sources_;

  const std::vector<Source>& sources(NodeId n) const;
  const std::vector<Source>& inputs(NodeId u) const { return sources(u); }
  void build();
  Part start_part(NodeId u);
  void raise_level(int p, int level);
  bool view_axes(NodeId o, int p, std::vector<int>& result) const;
  bool fit_into(NodeId u, int p, Fit& fit, FusionRefusal* why = nullptr) const;
  TermOrder terms_in(NodeId u, const std::vector<int>& map) const;
  void apply_fit(NodeId u, int p, const Fit& fit);
  std::optional<FusionRefusal> join_refusal(NodeId u, int p) const;
  bool can_join(NodeId u, int p) const { return !join_refusal(u, p); }

  void note(NodeId value, NodeId reader, FusionRefusal reason, NodeId witness, bool tried);
  void note_refusals(NodeId u, bool tried);

  void try_merge(NodeId u);
  void try_merge_siblings(NodeId u);
  int move_member(NodeId m, int into, int level);
  void merge_parts(int from, int into);
  std::vector<NodeId> loose_operands(NodeId) const;
  void merge_beside(NodeId, NodeId);
  static bool share_loops(const Part&, const Part&);  ///< the same axes, of which the same are summed over in one order
  bool only_sums(int p) const;
  bool sums_all_for_rule(NodeId u, const Part&) const;
  int host_of_rule(NodeId u, Fit&) const;
  bool reaches(int from, int to, int skip_direct) const;
};

}  // namespace nnc
