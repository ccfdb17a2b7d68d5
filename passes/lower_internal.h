// Shared by the files of lowering.
#pragma once

#include <algorithm>
#include <vector>

#include "passes/fuse.h"
#include "passes/joins.h"
#include "passes/kernel_builder.h"
#include "passes/lower.h"

namespace nnc {

/// Where a value is stored as a part of a join.
struct PartTarget {
  BufferId target;  ///< holds the join
  IndexMap place;   ///< for each axis of the join: its index by those along the value's axes
  NodeId join;
};

/// Where members of a group have to be stored beside being used inside their kernel.
struct StorePlan {
  std::vector<std::vector<BufferId>> targets;  ///< by node: buffers that its value goes to
  std::vector<std::vector<PartTarget>> parts;  ///< by node: those of which it is a part
  bool stores(NodeId n) const { return !targets[n.value].empty() || !parts[n.value].empty(); }
  bool stores_part(NodeId n, NodeId join) const {
    return std::any_of(parts[n.value].begin(), parts[n.value].end(), [&](const PartTarget& part) { return part.join == join; });
  }
};

/// What is stored of a value that stands at `map`.
struct ValueStore {
  BufferId target;
  IndexMap map;
  int value;
  NodeId node;
};
/// All that is stored of node `n`, whose value it emits where it has to be another one than `value`. A join is a sum: what is stored of a part is the part plus zeros.
std::vector<ValueStore> stores_of(const LoweringContext&, const StorePlan&, KernelBuilder&, NodeId n, const IndexMap& map, int value);

/// What lowering one group needs.
struct GroupContext {
  LoweringContext& lowering;
  const GroupSpace& space;
  int group;
  const StorePlan& stores;
};

void lower_map_group(const GroupContext&, Kernel&);
/// What of a join no kernel makes: memory that is copied to its place. A kernel for all parts that have the same loops.
void lower_copied_parts(const GroupContext&, const Join&, std::vector<Kernel>&);
void lower_contract_group(const GroupContext&, Kernel&);
/// A scatter that sums by entries, with the updates that have joined it: the chains of places, then the sums with what is made of them.
void lower_entry_sums(const GroupContext&, std::vector<Kernel>&);
/// Any other. Zeros, the additions and, where they are made in a wider type, the rounding: a kernel each.
void lower_scatter_group(const GroupContext&, std::vector<Kernel>&);

/// Nodes that compute (have a group), reached from a node's operands through views and released operations; the node's own group included.
NodeList computing_operands(const Graph&, NodeId);

/// Joins neighbouring axes that every access walks as one; `may_join(i)`: axes i and i + 1 play the same role. Returns for each old axis the new one.
struct KernelCode {
  std::vector<Axis>* axes;
  std::vector<std::vector<Instruction>*> code;
};
std::vector<int> join_axes(KernelCode, const std::vector<bool>& may_join);
/// New position of each axis: axis a goes to position `position[a]`.
void permute_axes(KernelCode, const std::vector<int>& position);
/// Takes out the axes from `first` on that have one index, of which no code asks for the number; which ones, the last first.
std::vector<size_t> drop_single_axes(KernelCode, size_t first);
/// Outer axes first, each part by falling stride, so that the innermost loops walk memory; then neighbours are joined. Of the inner axes rows come first:
/// along them sums are cut into pieces (ir/sum_order.h). `terms`, if there are any, are the inner axes in the order of the kernel's sums, which they keep, each one for itself.
void settle_axes(const Program&, MapKernel&, const std::vector<int>& terms = {});
/// Accesses of the code: of loads and stores, and places of draws, which have no buffer.
std::vector<Access*> accesses_of(const KernelCode&);

}  // namespace nnc
