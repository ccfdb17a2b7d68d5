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

/// Whether a body has kernels, as all have when optimize_bodies has run: then the graph can be lowered as it is, else its scans are to be written out.
bool has_grouped_bodies(const Graph&);

}  // namespace nnc
