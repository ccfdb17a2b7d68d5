// The passes of optimize_graph over the bodies of scans, which become kernels of regions.
//
// Requires:   a verified graph.
// Guarantees: the same values; in bodies every node that needs one has a kernel (Node::group). Numbers and indices that a body captured stand in it.
#pragma once

#include <cstdint>

#include "ir/graph.h"

namespace nnc {

/// `rows` of the batch that the graph will be compiled for; 0: not known.
void optimize_bodies(Graph&, int64_t rows);

}  // namespace nnc
