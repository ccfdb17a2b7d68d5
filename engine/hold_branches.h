// The function that differentiation differentiates at one point. It depends on values, so that it is no pass: finite differences of it are what gradient
// rules must give also where the graph itself has a kink.
#pragma once

#include <vector>

#include "engine/graph_case.h"

namespace nnc {

/// What does not follow the leaves: values of stop_gradient; decisions (comparisons, roundings, the winners of max and abs).
struct Held {
  bool stopped = false, branches = false;
};

/// The graph with what is held as further inputs, whose values are those that it has at `bindings`. Outputs "0", "1", ... for
/// `results`.
GraphCase hold(const Graph&, const Bindings&, const std::vector<NodeId>& results, Held);
/// Whether it makes decisions.
bool has_branches(const Graph&);

}  // namespace nnc
