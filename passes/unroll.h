// Writes scans out: the body once for each step.
//
// Requires:   a verified graph.
// Guarantees: the same values, and no scan is left. A sequence that a scan stacks and another one reads is handed on slice by slice; what else reads it gets it joined.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace nnc {

void unroll_scans(Graph&);
/// The same, and `nodes`, none of them a scan, become those that have their values.
void unroll_and_follow(Graph&, std::vector<NodeId>& nodes);

}  // namespace nnc
