// The two reductions exchange their axes where they stand, so that what fusion has noted about them still holds.
#include "passes/turn_sums.h"

#include "passes/rewrite.h"
#include "passes/row_tiles.h"

namespace nnc {

void turn_sums(Graph& graph) {
  const Users users = graph.users();
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& first = graph[NodeId{i}];
    if (first.group >= 0 || !is_row_sum(graph, first) || users[i].size() != 1) continue;
    Node& second = graph[users[i][0]];
    if (second.op != Op::reduce_sum || second.group >= 0) continue;
    std::vector<int> within;
    for (int axis : second.attributes.axes) within.push_back(axis + 1);
    const Shape& shape = graph.type(first.operands[0]).shape;
    first.type.shape.clear();
    for (int axis = 0; axis < int(shape.size()); ++axis)
      if (!holds(within, axis)) first.type.shape.push_back(shape[size_t(axis)]);
    first.attributes.axes = std::move(within);
    second.attributes.axes = {0};
  }
}

}  // namespace nnc
