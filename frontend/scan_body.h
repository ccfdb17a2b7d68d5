// Cuts the body of a scan out of the graph into which it was evaluated.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// The trace of a scan's body: the nodes from `first` on.
struct ScanTrace {
  uint32_t first = 0;
  NodeId position;                      ///< stands for the step, i32[]
  std::vector<NodeId> carries, firsts;  ///< stand for what is carried; first values
  std::vector<NodeId> next, stacked;    ///< what the body makes
  int64_t steps = 1;
  bool reverse = false;
};

/// A value that the step selects from and that has too few entries: a lookup of the trace.
struct ShortSequence {
  NodeId lookup;
  int64_t entries;
};

/// Adds the scan. Nodes that belong to the body are entered in `traced` (by node; true: nothing outside of a body refers to it).
NodeId cut_scan(Builder, const ScanTrace&, std::vector<bool>& traced, std::optional<ShortSequence>& too_short);

/// Without nodes that nothing refers to: `erased`, with outputs and updates moved.
Graph without_nodes(const Graph&, const std::vector<bool>& erased);

}  // namespace nnc
