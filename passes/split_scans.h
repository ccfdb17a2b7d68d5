// What needs no carry leaves the loop: what can be made before it, or behind it, is made there for all steps at once, and a carry that only adds up becomes a sum over the steps.
// passes/README.md, "Loops in time", says what moves.
//
// Requires:   a verified graph, gradients taken.
// Guarantees: the same values, but that sums may add their terms in another order. Bodies are simplified, and nothing in them is left that prune_scans or this pass would take. A scan of
//             which nothing is left is gone. Scans in bodies likewise, first.
#pragma once

#include <cstdint>

#include "ir/graph.h"

namespace nnc {

/// `rows`: of the batch that is planned, by which sizes are compared; 0: not known, and taken for many.
void split_scans(Graph&, int64_t rows);

}  // namespace nnc
