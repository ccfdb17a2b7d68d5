// Fusion: which tensor operations share a kernel. Decides by setting Node::group; lowering follows mechanically.
//
// Requires:   a verified graph, simplified (views and constants propagated) for good results; groups that earlier fusion passes set are kept.
// Guarantees: the kernels form a DAG (no group depends on itself through another one); every node that must stand in memory has a group
//             after finish_groups; members of one group share one iteration space.
#pragma once

#include "ir/graph.h"

namespace nnc {

class FusionLog;
struct Joins;

// What these passes refuse to merge is noted in the log, if there is one. With and without it they decide alike.

/// Contractions take up the element-wise operations that follow them (bias, activation, activation's derivative) as epilogue.
void fuse_contractions(Graph&, FusionLog* = nullptr);
/// Operations that lead to updates only (optimiser rules) join the kernel that makes the gradient: a weight gradient is then never stored.
void sink_updates(Graph&, FusionLog* = nullptr);
/// Element-wise chains and reductions over the same axes become one row-wise kernel (softmax and the loss); so do sums over the same axes that read one value.
void fuse_rows(Graph&, FusionLog* = nullptr);
/// Gives a group to everything that still needs one: lone operations, operands that have to stand in memory. Renumbers groups in
/// topological order of their first member.
void finish_groups(Graph&);

/// The iteration space that the members of one group share.
struct GroupSpace {
  std::vector<NodeId> members;            ///< ascending
  Shape space;                            ///< kernel axes
  std::vector<bool> reduced;              ///< which of them the group's reductions run over
  std::vector<std::vector<int>> axes;     ///< for each member: its axes -> axes of space (a reduction's: those of its result)
  bool contract = false;
  bool scatter = false;
};
/// By group number.
std::vector<GroupSpace> group_spaces(const Graph&);
std::vector<GroupSpace> group_spaces(const Graph&, const Joins&);  ///< whose joins are known

/// True for nodes that never own a kernel unless somebody needs them in memory: leaves, views, indexed reads, and cheap element-wise code over leaves,
/// which every consumer computes for itself.
std::vector<bool> transparent_nodes(const Graph&);
std::vector<bool> transparent_nodes(const Graph&, const Joins&);  ///< whose joins are known

}  // namespace nnc
