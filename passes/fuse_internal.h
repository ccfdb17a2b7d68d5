// Shared by the files of fusion.
#pragma once

#include "ir/graph.h"

namespace nnc {

/// The most arithmetic that each consumer repeats for itself instead of sharing one kernel's result.
inline constexpr int max_loose_cost = 6;

/// Costs tens of instructions: computed once and kept.
bool is_expensive(Op);
/// Reads its operand at the same index.
inline bool is_soft_view(Op op) { return op == Op::broadcast || op == Op::transpose || op == Op::stop_gradient; }
/// Reads its operand at other indices than the one being computed.
inline bool is_hard_view(Op op) { return op == Op::reshape || op == Op::slice || op == Op::pad || op == Op::gather; }

}  // namespace nnc
