// From each sum that may be one the pads are collected, through sums that nobody else reads; what a pad holds is followed through views that only rename indices. Of two sums within
// each other the outer one is a join if it can be. Boxes are compared in pairs, so a join has a limit of parts.
#include "passes/joins.h"

#include <algorithm>
#include <optional>

#include "passes/fuse_internal.h"

namespace nnc {
namespace {

constexpr size_t max_parts = 256;
constexpr int max_nesting = 512;  // of sums and pads; more than parts, since pads may be padded again

/// What a part covers of the join.
struct Box {
  std::vector<int64_t> begin;
  Shape size;

  bool meets(const Box& other) const {
    for (size_t i = 0; i < size.size(); ++i)
      if (begin[i] >= other.begin[i] + other.size[i].size || other.begin[i] >= begin[i] + size[i].size) return false;
    return true;
  }
};

struct PlacedPart {
  JoinedPart part;
  Box box;
};
using PlacedParts = std::vector<PlacedPart>;

/// By axis of a reshape's result: which axes of the operand it is, and their factors. Nothing if an axis of the operand is cut.
std::optional<IndexMap> merged_axes(const Shape& from, const Shape& to) {
  IndexMap map;
  size_t next = 0;
  const Extent one{1, false};
  for (const Extent& e : to) {
    IndexTerm term;
    Extent joint = one;
    for (; next < from.size() && (joint != e || from[next] == one); ++next) {
      if (from[next] == one) continue;
      if (from[next].rows && joint != one) return std::nullopt;
      for (auto& [axis, factor] : term.axes) factor *= from[next].size;
      term.axes.push_back({int(next), 1});
      joint = {joint.size * from[next].size, joint.rows || from[next].rows};
    }
    if (joint != e) return std::nullopt;
    map.push_back(std::move(term));
  }
  while (next < from.size() && from[next] == one) ++next;
  return next == from.size() ? std::optional(map) : std::nullopt;
}

class JoinFinder {
 public:
  explicit JoinFinder(const Graph& graph) : graph_(graph), users_(graph.users()), kept_(graph.size(), false), updates_(graph.size(), false), none_(graph.size(), false) {
    for (const Output& o : graph.outputs) kept_[o.node.value] = true;
    for (const Update& u : graph.updates) kept_[u.node.value] = updates_[u.node.value] = true;
  }

  Joins run() {
    Joins joins;
    joins.inside.assign(graph_.size(), false);
    joins.number.assign(graph_.size(), -1);
    std::vector<bool> taken(graph_.size(), false);  // sums and pads of joins
    for (uint32_t i = graph_.size(); i-- > 0;) {
      const NodeId n{i};
      if (graph_[n].op != Op::add || taken[i] || updates_[i] || none_[i]) continue;
      std::vector<NodeId> within;
      too_deep_ = false;
      std::optional<PlacedParts> parts = collect(n, within, 0);
      if (!parts || !covers(*parts, graph_[n].type.shape)) continue;
      Join join{n, {}};
      for (PlacedPart& p : *parts) join.parts.push_back(std::move(p.part));
      if (!stands_in_memory(join)) continue;
      for (NodeId w : within) taken[w.value] = true;
      joins.all.push_back(std::move(join));
    }
    std::reverse(joins.all.begin(), joins.all.end());
    for (size_t j = 0; j < joins.all.size(); ++j) joins.number[joins.all[j].root.value] = int(j);
    for (Join& join : joins.all)
      for (JoinedPart& part : join.parts) part.computed = part.computed && joins.number[part.value.value] < 0;
    // A pad that someone else reads, too, is there for that reader.
    for (uint32_t i = graph_.size(); i-- > 0;) {
      if (!taken[i] || kept_[i] || joins.number[i] >= 0) continue;
      joins.inside[i] = std::all_of(users_[i].begin(), users_[i].end(), [&](NodeId u) { return joins.number[u.value] >= 0 || joins.inside[u.value]; });
    }
    return joins;
  }

 private:
  /// The parts of a sum or a pad, in its own indices; nothing of another node, or of a sum that is none of a join.
  std::optional<PlacedParts> collect(NodeId n, std::vector<NodeId>& within, int depth) {
    const Node& node = graph_[n];
    too_deep_ = too_deep_ || depth > max_nesting;
    if (depth > max_nesting || (node.op != Op::add && node.op != Op::pad)) return std::nullopt;
    if (node.op == Op::add && depth > 0 && (kept_[n.value] || users_[n.value].size() != 1)) return std::nullopt;
    if (node.op == Op::add && !(may_be_part(node.operands[0]) && may_be_part(node.operands[1]))) {  // a chain of sums is not walked for its last term
      none_[n.value] = true;
      return std::nullopt;
    }
    const size_t known = within.size();
    within.push_back(n);
    if (node.op == Op::pad) {
      std::optional<PlacedParts> parts = collect(node.operands[0], within, depth + 1);
      if (!parts) {
        within.resize(known + 1);
        parts = PlacedParts{whole(node.operands[0])};
      }
      const size_t axis = size_t(node.attributes.axes[0]);
      for (PlacedPart& p : *parts) {
        p.part.place[axis].offset += node.attributes.begin;
        p.box.begin[axis] += node.attributes.begin;
      }
      return parts;
    }
    std::optional<PlacedParts> parts = collect(node.operands[0], within, depth + 1);
    std::optional<PlacedParts> more = parts ? collect(node.operands[1], within, depth + 1) : std::nullopt;
    if (!more) {
      none_[n.value] = !too_deep_;
      return std::nullopt;
    }
    if (parts->size() + more->size() > max_parts) return std::nullopt;
    for (const PlacedPart& x : *parts)
      for (const PlacedPart& y : *more)
        if (x.box.meets(y.box)) return std::nullopt;
    std::move(more->begin(), more->end(), std::back_inserter(*parts));
    return parts;
  }

  bool may_be_part(NodeId n) const { return graph_[n].op == Op::add || graph_[n].op == Op::pad; }

  PlacedPart whole(NodeId n) const {
    PlacedPart part;
    part.box.size = graph_.type(n).shape;
    part.box.begin.assign(part.box.size.size(), 0);
    IndexMap place;
    for (int axis = 0; axis < graph_.type(n).rank(); ++axis) place.push_back({axis, 0, -1});
    // Down through views that rename indices.
    while (std::optional<IndexMap> down = renamed(n)) {
      for (IndexTerm& term : place) term = composed(term, *down);
      n = graph_[n].operands[0];
    }
    const Op op = graph_[n].op;
    part.part = {n, std::move(place), is_elementwise(op) || op == Op::contract || op_class(op) == OpClass::reduce};
    return part;
  }

  /// By axis of a view: its index by those of the operand. Nothing if an element of the operand is seen more than once or not at all, or indices are cut.
  std::optional<IndexMap> renamed(NodeId n) const {
    const Node& node = graph_[n];
    if (kept_[n.value] || node.operands.empty()) return std::nullopt;
    const Shape &from = graph_.type(node.operands[0]).shape, &to = node.type.shape;
    IndexMap map(to.size());
    switch (node.op) {
      case Op::stop_gradient:
        for (size_t i = 0; i < to.size(); ++i) map[i] = {int(i), 0, -1};
        return map;
      case Op::transpose:
        for (size_t i = 0; i < to.size(); ++i) map[i] = {node.attributes.axes[i], 0, -1};
        return map;
      case Op::broadcast:
        for (size_t i = 0; i < from.size(); ++i) map[size_t(node.attributes.axes[i])] = {int(i), 0, -1};
        for (size_t i = 0; i < to.size(); ++i)
          if (map[i].axes.empty() && to[i] != Extent{1, false}) return std::nullopt;
        return map;
      case Op::reshape: return merged_axes(from, to);
      default: return std::nullopt;
    }
  }

  /// Parts that have nothing in common cover all of a shape if they have as many elements.
  static bool covers(const PlacedParts& parts, const Shape& shape) {
    auto elements = [](const Shape& of) {
      int64_t product = 1;
      for (const Extent& e : of) product *= e.size;
      return product;
    };
    int64_t covered = 0;
    for (const PlacedPart& p : parts) covered += elements(p.box.size);
    return parts.size() > 1 && covered == elements(shape);
  }

  bool stands_in_memory(const Join& join) const {
    if (std::all_of(join.parts.begin(), join.parts.end(), [](const JoinedPart& p) { return p.computed; })) return true;
    return is_read_elsewhere(join.root);
  }

  bool is_read_elsewhere(NodeId root) const {
    std::vector<NodeId> pending{root};
    while (!pending.empty()) {
      const NodeId at = pending.back();
      pending.pop_back();
      if (kept_[at.value]) return true;
      for (NodeId u : users_[at.value]) {
        const Node& user = graph_[u];
        const bool renames = is_soft_view(user.op) || (user.op == Op::reshape && only_unit_axes(graph_, user));
        if (renames) pending.push_back(u);
        else if (user.op == Op::gather ? user.operands[0] == at : is_hard_view(user.op)) return true;
        else if (user.op == Op::contract || user.op == Op::scatter_add || user.op == Op::scan) return true;
      }
    }
    return false;
  }

  const Graph& graph_;
  Users users_;
  std::vector<bool> kept_, updates_;  ///< outputs and updates; updates
  std::vector<bool> none_;            ///< sums that are none of joins, seen as parts of others: so a chain of sums is walked once
  bool too_deep_ = false;             ///< the nesting is why there is no join
};

}  // namespace

Joins find_joins(const Graph& graph) { return JoinFinder(graph).run(); }

}  // namespace nnc
