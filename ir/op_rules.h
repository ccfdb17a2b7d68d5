// Declarations of the rules that belong to ir/, one function per operation, generated from ops.def: an operation without its rule does not
// link, and the linker's message names it. Gradient rules and lowerings are declared the same way in their own folders.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// Types of an operation's operands, seen where they are: of a list of types, or of nodes of a graph. Valid as long as these are, and unchanged.
class OperandTypes {
 public:
  explicit OperandTypes(const std::vector<Type>& types) : types_(types.data()), size_(types.size()) {}
  OperandTypes(const Graph& graph, const NodeList& operands) : graph_(&graph), operands_(operands.data()), size_(operands.size()) {}
  size_t size() const { return size_; }
  const Type& operator[](size_t i) const { return graph_ ? graph_->type(operands_[i]) : types_[i]; }

 private:
  const Type* types_ = nullptr;
  const Graph* graph_ = nullptr;
  const NodeId* operands_ = nullptr;
  size_t size_;
};

/// infer_type of operands wherever they are: nothing is copied.
std::optional<Type> infer_operation(Op op, const OperandTypes& operands, const Attributes& attributes, std::string& error);

// infer_NAME: the result's type; the number of operands has been checked. On a misfit nothing, and `error` says what does not fit.
#define NNC_OP(name, arity, op_class, differentiable, summary) \
  std::optional<Type> infer_##name(const OperandTypes& operands, const Attributes& attributes, std::string& error);
#include "ir/ops.def"
#undef NNC_OP

/// Labels are printed as one letter each: a..z, A..Z.
inline constexpr int label_count = 52;
/// No tensor holds more elements than this (for one row of the batch): keeps every product of sizes far from overflow.
inline constexpr int64_t max_elements = int64_t(1) << 40;

}  // namespace nnc
