// What a simplification rule sees, and the declarations of the rules from simplify_rules.def.
#pragma once

#include <optional>

#include "passes/rewrite.h"

namespace nnc {

/// A node about to be added to the graph under construction. Its operands are there already, simplified. A rule returns the node
/// to take its place, made with `b`, or an invalid id where it does not match.
struct Candidate {
  Builder b;
  Node node;
  const std::vector<uint32_t>& uses_by_id;

  Op op() const { return node.op; }
  NodeId x(int i) const { return node.operands[size_t(i)]; }
  const Node& def(NodeId id) const { return b.graph[id]; }
  const Node& def(int i) const { return b.graph[x(i)]; }
  Op op_of(int i) const { return def(i).op; }
  const Type& type(NodeId id) const { return b.graph.type(id); }
  /// The node's users when the round began; a node made by a rule since has one.
  uint32_t uses(NodeId id) const { return id.value < uses_by_id.size() && uses_by_id[id.value] ? uses_by_id[id.value] : 1; }
  /// The number a constant holds (constants under views have become constants themselves).
  std::optional<Number> number(NodeId id) const;
  bool is_float_node() const { return is_float(node.type.dtype); }
  /// The same operation and attributes over other operands.
  NodeId same_op(std::vector<NodeId> operands) {
    return b.graph.add(node.op, std::move(operands), node.attributes, b.span, b.scope);
  }
};

/// A value that repeats a smaller one: a broadcast, or a constant of rank above 0 (which repeats a number).
struct Repeated {
  std::vector<int> axes;  ///< the smaller value's axis i is axis axes[i]
  NodeId source;          ///< invalid for a constant
  Number number;
};
std::optional<Repeated> as_repeated(const Candidate&, NodeId);
/// The smaller value; makes the number if it is a constant.
NodeId source_of(Candidate&, const Repeated&, DType);

/// Product of extents as a value of the given rank-0 type.
NodeId extent_product(Candidate&, const std::vector<Extent>&, DType);

#define NNC_SIMPLIFY(name, validity, meaning) NodeId simplify_##name(Candidate&);
#include "passes/simplify_rules.def"
#undef NNC_SIMPLIFY

}  // namespace nnc
