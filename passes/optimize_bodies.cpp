// Bodies of scans on their way to kernels: what costs nothing to make is made in the body (prune_scans), then the passes run over it as over a whole graph.
#include "passes/optimize_bodies.h"

#include <algorithm>
#include <memory>

#include "passes/pipeline.h"
#include "passes/prune_scans.h"

namespace nnc {

void optimize_bodies(Graph& graph, int64_t rows) {
  prune_scans(graph);  // the passes have made numbers of what is captured
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& scan = graph[NodeId{i}];
    if (scan.op != Op::scan) continue;
    Graph body = *scan.attributes.body;
    optimize_graph(body, {.rows = rows});
    scan.attributes.body = {std::make_shared<const Graph>(std::move(body))};
  }
}

bool has_grouped_bodies(const Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [](const Node& n) {
    return n.op == Op::scan && std::ranges::any_of(n.attributes.body->nodes(), [](const Node& inner) { return inner.group >= 0; });
  });
}

}  // namespace nnc
