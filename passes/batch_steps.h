// Operations of a scan's body for all of its steps at once: the batching rules.
//
// Outside of the loop a value of the body is a sequence of what the steps have of it (sequence_type in ir/regions.h: steps are axis 0, or axis 1 behind the rows), or, where it is the
// same at each step, that value itself. An operation with a rule gives over such operands the sequence of what the steps would give. Element-wise operations and reductions have theirs
// by their class; one without a rule stays in the loop.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace nnc {

struct StepsValue {
  NodeId node;
  bool is_sequence = false;  ///< else the same at each step
};

/// Whether this node of a body can be made for so many steps at once, whichever of its operands are sequences.
bool has_batching_rule(const Graph& body, NodeId, int64_t steps);

/// The node of the body over its operands' values, which are in `graph` as what is added; the node has a rule, or no operand is a sequence.
StepsValue batch_steps(Graph& graph, const Graph& body, NodeId, const std::vector<StepsValue>& operands, int64_t steps);

/// The value as a sequence: one that is the same at each step is repeated.
NodeId as_sequence(Builder&, StepsValue, int64_t steps);

}  // namespace nnc
