// The table of graph passes from passes.def, and the one place that surrounds a pass with verification, timing and printing.
#include "passes/pass_manager.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <type_traits>

#include "base/check.h"
#include "passes/apply_updates.h"
#include "passes/cse.h"
#include "passes/dead_code.h"
#include "passes/differentiate.h"
#include "passes/fold.h"
#include "passes/fuse.h"
#include "passes/multiply_tables.h"
#include "passes/optimize_bodies.h"
#include "passes/order_sums.h"
#include "passes/prune_scans.h"
#include "passes/recompute.h"
#include "passes/share_sums.h"
#include "passes/simplify.h"
#include "passes/split_phases.h"
#include "passes/split_scans.h"
#include "passes/split_sums.h"
#include "passes/store_borders.h"
#include "passes/turn_sums.h"
#include "passes/unroll.h"

namespace nnc {
namespace {

void simplify_graph(Graph& graph) { simplify(graph); }
void merge_equal_nodes(Graph& graph) { merge_common_subexpressions(graph); }

/// Passes of the table take a graph, and of the context what they need: the log, or the rows.
template <auto function>
void run_listed(Graph& graph, const PassContext& context) {
  if constexpr (std::is_invocable_v<decltype(function), Graph&, FusionLog*>)
    function(graph, context.log);
  else if constexpr (std::is_invocable_v<decltype(function), Graph&, int64_t>)
    function(graph, context.rows);
  else
    function(graph);
}

void verify(const Graph& graph, std::string_view when, std::string_view pass) {
  std::vector<std::string> faults = verify_graph(graph);
  if (faults.empty()) return;
  NNC_CHECK(false, fmt::format("graph {} is broken {} the pass {}:\n{}", graph.name, when, pass, fmt::join(faults, "\n")));
}

}  // namespace

void run_passes(Graph& graph, const std::vector<NamedPass>& passes, const PassOptions& options) {
  auto is_printed = [&](const std::string& name) {
    return options.print && std::any_of(options.print_after.begin(), options.print_after.end(),
                                        [&](const std::string& p) { return p == name || p == "all"; });
  };
  if (options.verify && !passes.empty()) verify(graph, "before", passes.front().name);
  for (const NamedPass& pass : passes) {
    PassTiming timing{pass.name, 0, graph.size(), 0};
    auto start = std::chrono::steady_clock::now();
    pass.run(graph, {options.log, options.rows});
    timing.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    timing.nodes_after = graph.size();
    if (options.time) options.time->push_back(std::move(timing));
    if (options.verify) verify(graph, "after", pass.name);
    if (is_printed(pass.name)) options.print(pass.name, graph);
  }
}

const std::vector<GraphPassInfo>& graph_passes() {
  static const std::vector<GraphPassInfo> passes = {
#define NNC_GRAPH_PASS(name, function, summary) {#name, run_listed<&function>, summary},
#include "passes/passes.def"
#undef NNC_GRAPH_PASS
  };
  return passes;
}

const GraphPassInfo* find_graph_pass(std::string_view name) {
  for (const GraphPassInfo& pass : graph_passes())
    if (pass.name == name) return &pass;
  return nullptr;
}

NamedPass named_pass(std::string_view name) {
  const GraphPassInfo* pass = find_graph_pass(name);
  NNC_CHECK(pass, fmt::format("no pass is called {}", name));
  return {std::string(name), pass->run};
}

}  // namespace nnc
