// Makes a graph that shows a fault as small as it can: what is left is what the fault needs.
//
// Requires:   a verified graph, and bindings for everything it reads.
// Guarantees: the result's graph is verified, its bindings fit and name nothing that it does not read; surviving nodes keep their
//             spans, and a leaf that took the place of a node has that node's span. The same case and the same answers of `fails`
//             give the same result, unless the time runs out first.
#pragma once

#include <functional>

#include "engine/graph_case.h"

namespace nnc {

struct ReduceOptions {
  int evaluations = 2000;  ///< calls of `fails`, at most
  double seconds = 30;     ///< no further call after so long
};

/// The smallest case found for which `fails` still holds; the case itself if it does not hold for that. `fails` is asked about
/// verified graphs whose indices lie within their tables; what it throws means no. New leaves are named OP.N: inputs where a
/// value has the rows of the batch, else persistents (floats as parameters, so that gradients still reach them).
GraphCase reduce_case(GraphCase, const std::function<bool(const GraphCase&)>& fails, const ReduceOptions& = {});

}  // namespace nnc
