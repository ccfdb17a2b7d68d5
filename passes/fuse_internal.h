// Shared by the files of fusion.
#pragma once

#include <vector>

#include "ir/graph.h"
#include "passes/fusion_report.h"

namespace nnc {

/// The most arithmetic that each consumer repeats for itself instead of sharing one kernel's result.
inline constexpr int max_loose_cost = 6;

/// Costs tens of instructions: computed once and kept.
bool is_expensive(Op);
/// Reads its operand at the same index.
inline bool is_soft_view(Op op) { return op == Op::broadcast || op == Op::transpose || op == Op::stop_gradient; }
/// Reads its operand at other indices than the one being computed.
inline bool is_hard_view(Op op) { return op == Op::reshape || op == Op::slice || op == Op::pad || op == Op::gather; }

/// Element-wise operations of the optimiser's rule: they lead to updates through element-wise operations alone.
std::vector<bool> optimizer_rule(const Graph&);

/// The passes of fuse.h; what they refuse to merge is noted in the log, if there is one.
void fuse_contractions(Graph&, FusionLog*);
void sink_updates(Graph&, FusionLog*);
void fuse_rows(Graph&, FusionLog*);

}  // namespace nnc
