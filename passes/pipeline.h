// The function to read first: every pass in order, from the frontend's forward graph to the program that codegen turns into machine code.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/diagnostics.h"
#include "ir/graph.h"
#include "ir/program.h"
#include "passes/form_regions.h"
#include "passes/lower.h"
#include "passes/pass_manager.h"
#include "passes/split_stages.h"

namespace nnc {

/// Forward graph -> with gradients of its output "loss" and updates: one rule graph per parameter (see apply_updates.h), in that order. Parameters that
/// cannot train are reported (E0203, E0302). With `hand_on` the updates read what partial sums hold of the gradients (split_stages.h), rather than these themselves.
void add_backward(Graph&, const std::vector<std::pair<std::string, const Graph*>>& rules, std::optional<double> clip_norm, Diagnostics&, bool hand_on = false);

/// The passes of optimize_graph by their names in passes.def, in order: what tools that run them one by one or in another order start from.
const std::vector<std::string_view>& default_passes();

/// Simplification and fusion: afterwards every node that needs one has a kernel (Node::group).
void optimize_graph(Graph&, const PassOptions& = {});

/// The same for a step of which a share of the rows is there at a time: the graph is cut once all is decided that orders its sums, and each stage is fused by itself. Nothing, and why, if it cannot be cut;
/// `obstacle.node` is then one of `whole`, the graph as it was to be cut.
std::optional<StepStages> optimize_in_stages(Graph, const PassOptions&, Shares, RowSplitObstacle& obstacle, Graph& whole);

/// Optimised graph -> program: layouts (those given win), kernels, schedule, parallel regions, memory plan; verified.
Program build_program(const Graph&, LowerOptions, const RegionOptions& = {});

}  // namespace nnc
