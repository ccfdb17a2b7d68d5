// Smaller dimensions and fewer rows for a graph and the values it is run on, as a whole: sizes that must agree shrink together.
#pragma once

#include <optional>
#include <vector>

#include "verify/reduce.h"

namespace nnc {

/// Which axes of which nodes must have one size, as the operations demand it.
class DimensionClasses {
 public:
  explicit DimensionClasses(const Graph&);
  /// Classes with their size, each once, in order of first appearance; the rows of the batch are not among them.
  struct Class {
    int id = 0;
    int64_t size = 0;
  };
  const std::vector<Class>& classes() const { return classes_; }

  /// The case with one class at a smaller size and whatever follows from that; values keep their first elements along a shrunk
  /// axis, or with `tail` their last. Empty if the operations do not allow it.
  std::optional<GraphCase> shrink(const GraphCase&, int id, int64_t size, bool tail) const;

 private:
  struct ReshapeGroup {
    std::vector<int> from, to;  ///< neighbouring axes with equal products
  };
  static std::vector<ReshapeGroup> reshape_groups(const Shape& from, const Shape& to);
  int find(int id) const;
  void unite(int a, int b);
  int of(NodeId id, size_t axis) const { return find(node_axes_[id.value] + int(axis)); }
  int of_persistent(size_t index, size_t axis) const { return find(persistent_axes_[index] + int(axis)); }
  void unite_labels(const Graph&, NodeId);
  bool propagate(const Graph&, std::vector<int64_t>& sizes) const;

  std::vector<int> node_axes_, persistent_axes_;  ///< number of the first axis of each
  mutable std::vector<int> parent_;
  std::vector<int64_t> sizes_;  ///< by axis number
  std::vector<Class> classes_;
};

/// The case with fewer rows: the first ones, or with `tail` the last.
GraphCase take_rows(const GraphCase&, int64_t rows, bool tail);

}  // namespace nnc
