// `lower` is no pass of the graph, but it is asked for like one.
#include "engine/graph_passes.h"

#include "engine/graph_runner.h"
#include "passes/optimize_bodies.h"
#include "passes/pipeline.h"

namespace nnc {

std::vector<PassDescription> pass_descriptions() {
  std::vector<PassDescription> result;
  for (const GraphPassInfo& pass : graph_passes()) result.push_back({pass.name, pass.summary});
  result.push_back({"lower", "the program of kernels; the last pass, it ends the graph"});
  return result;
}

std::vector<PassTiming> run_passes_by_name(const Compilation& compilation, Graph& graph, const PassRequest& request) {
  if (request.lowers()) graph = runnable_graph(std::move(graph), request.rows);
  std::vector<NamedPass> passes;
  for (const std::string& name : request.passes)
    if (name != "lower") passes.push_back(named_pass(name));
  std::vector<PassTiming> timings;
  PassOptions options;
  options.verify = request.verify;
  options.rows = request.rows;
  options.time = &timings;
  options.print_after = request.print_after;
  if (request.print) options.print = [&](std::string_view pass, const Graph& g) { request.print(pass, print_graph(g, &compilation.sources)); };
  run_passes(graph, passes, options);
  return timings;
}

std::string text_after_passes(const Compilation& compilation, Graph graph, const PassRequest& request) {
  if (!request.lowers()) return print_graph(graph, &compilation.sources);
  std::vector<NamedPass> last{named_pass("finish_groups")};
  if (!has_grouped_bodies(graph)) last.insert(last.begin(), named_pass("unroll"));
  run_passes(graph, last, {.verify = request.verify});
  LowerOptions lowering{graph.name, request.rows, compilation.target};
  lowering.typed_scalars = true;
  return print_program(build_program(graph, lowering), &compilation.sources);
}

}  // namespace nnc
