// The table of graph passes from passes.def, and the one place that surrounds a pass with verification, timing and printing.
#include "passes/pass_manager.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "passes/apply_updates.h"
#include "passes/cse.h"
#include "passes/dead_code.h"
#include "passes/differentiate.h"
#include "passes/fold.h"
#include "passes/fuse.h"
#include "passes/simplify.h"

namespace nnc {
namespace {

void simplify_graph(Graph& graph) { simplify(graph); }
void merge_equal_nodes(Graph& graph) { merge_common_subexpressions(graph); }

void verify(const Graph& graph, std::string_view when, std::string_view pass) {
  std::vector<std::string> faults = verify_graph(graph);
  NNC_CHECK(faults.empty(),
            fmt::format("graph {} is broken {} the pass {}:\n{}", graph.name, when, pass, fmt::join(faults, "\n")));
}

}  // namespace

void run_pass(PassContext& context, std::string_view name, Graph& graph, const GraphPass& pass) {
  if (context.verify) verify(graph, "before", name);
  PassTiming timing{std::string(name), 0, graph.size(), 0};
  auto start = std::chrono::steady_clock::now();
  pass(graph);
  timing.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  timing.nodes_after = graph.size();
  context.timings.push_back(std::move(timing));
  if (context.verify) verify(graph, "after", name);
  bool wanted = std::any_of(context.print_after.begin(), context.print_after.end(),
                            [&](const std::string& p) { return p == name || p == "all"; });
  if (wanted && context.print) context.print(name, graph);
}

const std::vector<GraphPassInfo>& graph_passes() {
  static const std::vector<GraphPassInfo> passes = {
#define NNC_GRAPH_PASS(name, function, summary) {#name, function, summary},
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

}  // namespace nnc
