// Gradient rules and whole gradients of a graph against finite differences of the 64-bit interpreter.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/interpreter.h"
#include "verify/reduce.h"

namespace nnc {

/// What gives gradients: gradients_of, or in tests something that is wrong.
using GradientFunction = std::function<std::vector<NodeId>(Graph&, NodeId output, NodeId seed, const std::vector<NodeId>& wrt)>;

struct GradientCheckOptions {
  GradientFunction gradients;    ///< empty: gradients_of
  std::function<void()> poll;    ///< called between evaluations; may throw to leave
  double rule_tolerance = 1e-6;  ///< relative
  double loss_tolerance = 1e-5;
  int64_t elements_per_node = 512;  ///< of an element-wise operation, each with its own difference quotient
  int64_t single_elements = 4;      ///< of any other operand, and of a parameter, beside directions through all of them
  double work_per_node = 1e6;       ///< multiplications; a larger operation is cut to smaller sizes first
  double work = 4e9;                ///< of all evaluations of the loss together
};

/// The worst element of a check.
struct WorstGradient {
  double error = 0;  ///< |rule - difference| / (max(|rule|, |difference|) + what the difference itself may be off by)
  double rule = 0, difference = 0;
  NodeId node;       ///< of the checked graph
  std::string what;  ///< "operand 0 at [3, 1]", "`fc1.weight` at [0, 2]", "a direction through all parameters"
};

struct RuleReport {
  Op op{};
  int64_t nodes = 0;
  int64_t elements = 0;   ///< difference quotients compared
  int64_t cut_nodes = 0;  ///< checked at smaller sizes than the model's
  int64_t kinks = 0;      ///< elements where the two one-sided slopes differ: the rule has to lie between them
  int64_t undefined = 0;  ///< elements at or next to which the operation is not finite or jumps: skipped
  WorstGradient worst;
  Span at;                ///< of the node with the worst error
  bool failed = false;
};

/// Nodes whose gradient rule is used when `result` is differentiated with respect to `leaves`.
std::vector<bool> nodes_with_gradient(const Graph&, const std::vector<NodeId>& results, const std::vector<NodeId>& leaves);

/// Every rule at every node of `nodes`, on the values that the node's operands have there. By operation, in the order of ops.def.
std::vector<RuleReport> check_rules(const Graph&, const Bindings&, const std::vector<bool>& nodes, const GradientCheckOptions&);

/// What training could not go on from: a result that is not finite, or (`is_gradient`) the gradient by a leaf.
struct NotFinite {
  NodeId node;  ///< of the checked graph: the result, or the leaf
  size_t element = 0;
  double value = 0;   ///< of that element, the first
  int64_t count = 0;  ///< elements that are not finite
  bool is_gradient = false;
};

struct LossReport {
  int64_t directions = 0, elements = 0;
  int64_t kinks = 0;  ///< quotients across a decision (a kink, a jump): compared with the decisions held as they are at the point
  int64_t skipped = 0;  ///< quotients that no step size makes settle, or in whose direction no element of the gradient is finite
  int64_t parameters = 0;
  int64_t parameter_elements = 0;
  std::vector<NotFinite> not_finite;  ///< results first; if there is one, nothing is compared
  std::vector<NodeId> unchecked;      ///< leaves of finite gradient whose own directions and elements were all skipped
  WorstGradient worst;
  bool failed = false;

  bool is_loss_finite() const { return not_finite.empty() || not_finite[0].is_gradient; }
};

/// The gradient of one scalar result, or of the sum with random weights of all elements of float results, with respect to float
/// leaves (parameters, or inputs): random directions through all leaves and through each, and single elements.
LossReport check_loss(const Graph&, const Bindings&, const std::vector<NodeId>& results, const std::vector<NodeId>& leaves,
                      const GradientCheckOptions&);

/// What a graph that stands for itself is differentiated: its float outputs with respect to float inputs and parameters.
std::vector<NodeId> float_results(const Graph&);
std::vector<NodeId> float_leaves(const Graph&);

/// The node alone, with the values that its operands have, made as small as it can be while its rule is still wrong.
GraphCase reduce_rule_fault(const Graph&, const Bindings&, NodeId, const GradientCheckOptions&);

/// The smallest graph, in which every rule is right, whose gradients (float_results by float_leaves) are still wrong; the graph
/// with these results alone if it is not wrong as a graph for itself.
GraphCase reduce_loss_fault(const Graph&, const Bindings&, const std::vector<NodeId>& results, const GradientCheckOptions&,
                            const ReduceOptions& = {});

}  // namespace nnc
