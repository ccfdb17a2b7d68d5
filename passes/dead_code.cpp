// Liveness runs backwards from outputs and updates (no operation has another effect); the live nodes are copied forwards.
#include "passes/dead_code.h"

#include <algorithm>

#include "passes/rewrite.h"

namespace nnc {

void remove_dead_code(Graph& graph) {
  std::vector<bool> live = live_nodes(graph);
  if (std::find(live.begin(), live.end(), false) == live.end()) return;
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (live[i]) rebuild.copy({i});
  graph = rebuild.finish();
}

}  // namespace nnc
