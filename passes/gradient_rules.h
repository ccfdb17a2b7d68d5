// One gradient rule per differentiable operation, declared from ops.def: an operation without its rule does not link, and the
// linker's message names it.
#pragma once

#include <map>

#include "ir/graph.h"

namespace nnc {

/// Gradients of the results of scans, by scan and number; invalid where none has arrived.
using ResultGradients = std::map<uint32_t, std::vector<NodeId>>;

/// Quotients that the walk has come past, by dividend: each has a gradient.
using Quotients = std::map<uint32_t, std::vector<NodeId>>;

/// What a rule sees: the node y = op(x0, x1, ...), the gradient g of y, and a builder with the node's span and scope.
/// A rule calls give(i, gradient of operand i) for the operands that `wants` one.
class Adjoint {
 public:
  Adjoint(Graph& graph, NodeId y, NodeId g, const std::vector<bool>& wanted, ResultGradients& results, const Quotients& quotients);
  Builder b;
  const NodeId y, g;  ///< g is invalid for a scan, whose gradients are those of its results
  const Node node;  ///< a copy: references into the graph do not survive additions

  NodeId x(int i) const { return node.operands[size_t(i)]; }
  const Type& type(NodeId id) const { return b.graph.type(id); }
  bool wants(int i) const { return wanted_[x(i).value]; }
  void give(int i, NodeId gradient);
  ResultGradients& results;
  /// A gradient times a value of the forward pass. Where the gradient is n / d and value / d is one of the quotients, it is n * (value / d), which is there: nothing is divided, and of the
  /// value and its quotient one is kept.
  NodeId times(NodeId gradient, NodeId value);
  /// Gradients given, by operand; invalid where none.
  const std::vector<NodeId>& given() const { return given_; }

 private:
  const std::vector<bool>& wanted_;
  const Quotients& quotients_;
  std::vector<NodeId> given_;
};

#define NNC_GRADIENT_yes(name) void gradient_##name(Adjoint&);
#define NNC_GRADIENT_none(name)
#define NNC_GRADIENT_leaf(name)
#define NNC_OP(name, arity, op_class, differentiable, summary) NNC_GRADIENT_##differentiable(name)
#include "ir/ops.def"
#undef NNC_OP
#undef NNC_GRADIENT_yes
#undef NNC_GRADIENT_none
#undef NNC_GRADIENT_leaf

}  // namespace nnc
