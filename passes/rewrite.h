// Helpers shared by the passes that rebuild a graph: liveness, constants seen through views, and copying into a fresh graph.
// Node ids of the old graph mean nothing in the new one; Rebuild::to translates them, and outputs and updates are carried over.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// live[n]: node n is needed by an output or an update.
std::vector<bool> live_nodes(const Graph&);
/// Marks what marked nodes need as well, but for what stands behind a node for which stops(number) holds.
template <class Stops>
void mark_needed(const Graph& graph, std::vector<bool>& marked, Stops stops) {
  for (uint32_t i = graph.size(); i-- > 0;)
    if (marked[i] && !stops(i))
      for (NodeId operand : graph[NodeId{i}].operands) marked[operand.value] = true;
}
inline void mark_needed(const Graph& graph, std::vector<bool>& marked) {
  mark_needed(graph, marked, [](uint32_t) { return false; });
}

/// The number that every element of the node holds, if it is a constant seen through broadcast, transpose, reshape and slice.
std::optional<Number> splat_value(const Graph&, NodeId);

/// 0, 1, ..., n-1
std::vector<int> identity_axes(int n);
/// The permutation p with p[axes[i]] = i.
std::vector<int> inverse_axes(const std::vector<int>& axes);
/// Position of `value` in `list`, or -1.
int position_of(const std::vector<int>& list, int value);
inline bool holds(const std::vector<int>& list, int value) { return position_of(list, value) >= 0; }

/// Views whose element stands at the operand's indices shifted, repeated, permuted or added up: no data decides which.
inline bool is_linear_view(Op op) { return op == Op::broadcast || op == Op::transpose || op == Op::window || op == Op::slice; }

/// Adds `broadcast`ed and transposed versions so that a value with axis labels `have` becomes one with labels `want` and shape
/// `shape`; labels missing in `have` repeat the value, `have` must be a subset of `want`.
NodeId align_labels(Builder&, NodeId, const std::vector<int>& have, const std::vector<int>& want, const Shape& shape);

/// Copies a graph node by node into a new one, in order; the caller decides per node what takes its place.
class Rebuild {
 public:
  explicit Rebuild(const Graph& old);
  const Graph& old;
  Graph result;            ///< begins with the old name and persistents
  std::vector<NodeId> to;  ///< by old id: the new node, invalid if there is none (yet)

  /// The old node over the new operands, added to `result` and entered in `to`.
  NodeId copy(NodeId old_id);
  /// The old node over the new operands, not added anywhere.
  Node translated(NodeId old_id) const;
  /// Carries outputs and updates over and gives the finished graph.
  Graph finish();
};

/// Adds a node as it stands (type inferred again, group kept).
NodeId add_node(Graph&, const Node&);
/// Takes all updates away but those of partial sums, which exchanges read.
void drop_updates(Graph&);
NodeId move_node(Graph&, Node&&);

}  // namespace nnc
