// The optimiser enters the graph: its rule, a small graph per parameter, is inlined with the parameter's value and gradient, and
// the results become updates.
//
// Requires:   gradients as nodes of the graph (passes/differentiate.h).
// Guarantees: one update per parameter given and one per state of its rule; nothing else changes. Equal nodes without dimensions that several rules have are made once.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// A rule reads inputs "value" and "grad" (both of the parameter's type), scalars, and persistents of its own under their full
/// names; its update "value" is the parameter's new value, every other update is of one of its persistents.
struct UpdateRuleView {
  std::string parameter;
  const Graph* rule;  ///< not owned
  NodeId grad;
};
void apply_updates(Graph&, const std::vector<UpdateRuleView>& rules);

/// Scales all gradients by min(1, max_norm / (norm + 1e-6)), norm being that of all of them together
/// (torch.nn.utils.clip_grad_norm_). `max_norm` is an f32 scalar node. Gives the scaled gradients in the same order.
std::vector<NodeId> clip_norm(Graph&, const std::vector<NodeId>& grads, NodeId max_norm);

/// The pass of this name: every output "grad.NAME" becomes the update NAME - lr * gradient, with the run-time scalar "lr".
void descend(Graph&);

}  // namespace nnc
