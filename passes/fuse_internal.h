// Shared by the files of fusion.
#pragma once

#include <vector>

#include "ir/graph.h"
#include "passes/fusion_report.h"

namespace nnc {

/// Reads its operand at the same index.
inline bool is_soft_view(Op op) { return op == Op::broadcast || op == Op::transpose || op == Op::stop_gradient; }
/// Reads its operand at other indices than the one being computed.
inline bool is_hard_view(Op op) { return op == Op::reshape || op == Op::slice || op == Op::pad || op == Op::window || op == Op::gather; }

/// Computes nothing: a value that stands in memory, made by what the operand is (a scan) or comes to (an exchange).
inline bool is_made_elsewhere(Op op) { return op == Op::result || op == Op::exchange; }

/// A reshape that only adds and leaves out axes of one index: its indices are the operand's, so the operand need not stand in memory as a whole.
inline bool only_unit_axes(const Graph& graph, const Node& reshape) {
  auto others = [](const Shape& shape) {
    Shape kept;
    for (const Extent& e : shape)
      if (e != Extent{1, false}) kept.push_back(e);
    return kept;
  };
  return others(graph.type(reshape.operands[0]).shape) == others(reshape.type.shape);
}

/// Element-wise operations of the optimiser's rule: they lead to updates through element-wise operations alone.
std::vector<bool> optimizer_rule(const Graph&);

}  // namespace nnc
