// Writes scans out: the body once for each step.
//
// Requires:   a verified graph without groups.
// Guarantees: the same values, and no scan is left. A sequence that a scan stacks and another one reads is handed on slice by slice; what else reads it gets it joined.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace nnc {

void unroll_scans(Graph&);
/// A graph with its scans written out, and of each node the steps it belongs to, of the outermost scan first; none: it stands in no scan.
struct WrittenOut {
  Graph graph;
  std::vector<std::vector<int64_t>> steps;
};
WrittenOut write_out_scans(const Graph&);
/// Steps that are worth a loop.
inline constexpr int64_t fewest_rolled = 2;
/// The same for scans of fewer steps, and for those in which more stand one in the other than a program has regions for (max_region_depth). Others stay as they are.
void unroll_short(Graph&);
/// The same, and `nodes`, none of them a scan, become those that have their values.
void unroll_and_follow(Graph&, std::vector<NodeId>& nodes);

}  // namespace nnc
