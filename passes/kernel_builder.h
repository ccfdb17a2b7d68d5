// Builds a kernel's scalar code from graph nodes, on demand: value(node, index map) gives the id of the value of `node` at the element that the map
// names in terms of the kernel's axes. Views vanish into index maps, values in memory become loads, leaves and released cheap operations are
// computed in place. Internal to lowering.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "ir/program.h"
#include "passes/index_map.h"

namespace nnc {

/// What lowering knows of the whole graph.
struct LoweringContext {
  const Graph& graph;
  Program& program;
  std::vector<BufferId> buffer_of;  ///< by node: where its value stands in memory; invalid if nowhere
  std::vector<std::vector<int>> order_of;  ///< by node: the memory order of its value, should it stand in memory
  /// A buffer for a node's value, not yet in the program.
  Buffer temporary_of(NodeId) const;
  /// The buffer that a value read as memory comes from: through reshapes, which only rename indices.
  BufferId memory_of(NodeId) const;
};

class KernelBuilder {
 public:
  KernelBuilder(const LoweringContext& lowering, int group, std::vector<bool> inner_axes)
      : lowering_(lowering), group_(group), inner_axes_(std::move(inner_axes)) {}

  /// Code lists; values that depend on an inner axis go to `inner`, others to `outer`.
  std::vector<Instruction> outer, inner;
  /// Forgets values of the inner loop just finished.
  void begin_inner();
  int value(NodeId, const IndexMap&);
  /// From now on what windows read outside of their operand is absent, by a guard: for a contraction's operand that is memory seen through views. With `chosen` the
  /// value is right without the guard, too.
  void guard_outside(bool chosen) {
    guards_outside_ = true;
    chooses_outside_ = chosen;
  }
  /// Fixes the value of a node (a contraction's sum, a reduction's result).
  void define(NodeId node, int id) { fixed_[node] = id; }
  /// From now on a member's value is loaded from its buffer.
  void spill(NodeId node) { spilled_[node] = true; }
  void store(BufferId, const std::vector<IndexTerm>&, int value, NodeId node, bool add = false);
  int emit(Instruction, bool is_inner);
  bool is_inner(int id) const { return inner_values_[id]; }
  int load(BufferId, const Shape& shape, const IndexMap&, NodeId node);
  int constant(Number number, DType);
  int compute(Op, DType, std::vector<int> operands, NodeId node);
  /// An index into so many entries, as i32, held within them: indices were checked where they came in, a clamp keeps computed ones inside memory.
  int entry(NodeId index, const IndexMap&, int64_t entries, NodeId node);
  Access access(BufferId, const Shape& shape, const IndexMap&) const;

 private:
  /// The order of values at indices; one may be looked up by an index that is not copied.
  struct AtIndex {
    using is_transparent = void;
    template <class X, class Y>
    bool operator()(const X& x, const Y& y) const { return std::tie(x.first, x.second) < std::tie(y.first, y.second); }
  };
  int evaluate(NodeId, const IndexMap&);
  int index_of(const IndexTerm&);
  Buffer viewed(BufferId, const Shape& shape) const;
  IndexTerm scaled(IndexTerm, int64_t factor);
  IndexTerm sum(IndexTerm, const IndexTerm&);
  /// `index` held within 0 .. size - 1, and whether that changes it (bool).
  std::pair<int, int> clamp(int index, int64_t size, NodeId);
  int select_inside(int inside, NodeId operand, const IndexMap&, Number outside, NodeId);
  IndexMap one_computed_index(BufferId, const Shape& shape, IndexMap);
  int draw(NodeId, const IndexMap&);
  const LoweringContext& lowering_;
  int group_;
  bool guards_outside_ = false, chooses_outside_ = false;
  std::vector<bool> inner_axes_;
  std::vector<bool> inner_values_;
  std::map<NodeId, int> fixed_;
  std::map<NodeId, bool> spilled_;
  std::map<std::pair<NodeId, IndexMap>, int, AtIndex> memo_;
  std::map<std::tuple<uint64_t, int64_t, DType>, int> constants_;  // by their bits: NaN has no place in an order, and -0 is not 0
};

}  // namespace nnc
