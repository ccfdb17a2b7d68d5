// Reverse-mode differentiation over the graph. Gradients are ordinary nodes, appended to the graph; each carries the span and
// scope of the forward node it was made for.
//
// Requires:   a verified graph.
// Guarantees: no existing node, output or update is changed, but for scans, which give more results (gradient_scan.cpp); the graph stays verified. Conventions at the corners are PyTorch's
// (gradient_rules*.cpp).
//             Only f32 and f64 values have gradients.
#pragma once

#include <string>
#include <vector>

#include "ir/gradient_flow.h"

namespace nnc {

/// What a gradient begins with: d/d(output), of output's type.
struct Seed {
  NodeId output, gradient;
};

/// d(sum of output . gradient over the seeds)/d(wrt[i]) for every i: nodes of the types of wrt[i]. An invalid id stands where no
/// path of differentiable operations leads from wrt[i] to an output.
std::vector<NodeId> gradients_of(Graph&, const std::vector<Seed>& seeds, const std::vector<NodeId>& wrt);
inline std::vector<NodeId> gradients_of(Graph& graph, NodeId output, NodeId seed, const std::vector<NodeId>& wrt) {
  return gradients_of(graph, {{output, seed}}, wrt);
}

struct ParameterGradient {
  std::string parameter;
  NodeId node;          ///< of the parameter's type; a zero constant if nothing reaches the loss
  bool reached = true;  ///< false: report E0203 or E0302 (explain_missing_gradient says which)
};

/// Gradients of a scalar loss with respect to persistents by name. Every node that reads the parameter counts; gradients of
/// several reads add up.
std::vector<ParameterGradient> differentiate(Graph&, NodeId loss, const std::vector<std::string>& parameters);

/// Why a parameter has no gradient.
struct MissingGradient {
  bool connected = false;    ///< false: no path at all leads from the parameter to the loss (E0203)
  NodeId blocker;            ///< if connected: the first operation on the shortest path that lets no gradient through (E0302)
  std::vector<NodeId> path;  ///< if connected: from the parameter to the loss, both included
};
MissingGradient explain_missing_gradient(const Graph&, NodeId loss, const std::string& parameter);

/// The pass of this name: differentiates the output "loss" (else the first) and adds an output "grad.NAME" per trainable
/// parameter.
void differentiate_loss(Graph&);

}  // namespace nnc
