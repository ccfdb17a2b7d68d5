// Whether a sum is split is asked of static sizes only, so that a batch of any number of rows is summed in the same order. A row needs terms enough for each number
// that it leaves, or the numbers of all rows would be as much to read as the terms were; more of them where less is left than a vector holds, whose lanes then run
// along the summed axes and meet once a row.
#include "passes/split_sums.h"

#include <algorithm>

#include "passes/channelwise.h"
#include "passes/rewrite.h"
#include "passes/row_tiles.h"

namespace nnc {
namespace {

bool is_split(const Graph& graph, const Node& node) {
  constexpr int64_t few_numbers = 4096, of_a_vector = 16;
  constexpr int64_t enough_terms = 16, enough_terms_across_lanes = 256;
  if (node.op != Op::reduce_sum || node.type.has_rows()) return false;
  const Shape& shape = graph.type(node.operands[0]).shape;
  if (shape.empty() || !shape[0].rows) return false;
  int64_t terms = 1;  // of a row, for each number that is left
  for (int axis : node.attributes.axes)
    if (axis > 0) terms *= shape[size_t(axis)].size;
  const int64_t left = node.type.elements(1);
  return left <= few_numbers && terms >= (left >= of_a_vector ? enough_terms : enough_terms_across_lanes);
}

/// The label of the rows over which a contraction by channels sums (the gradient of a depthwise convolution's weights), or -1. Within a row its operands are in the cache
/// for all taps.
int summed_rows(const Graph& graph, const Node& node) {
  if (channel_label(graph, node) < 0) return -1;
  const Attributes& a = node.attributes;
  const Shape& shape = graph.type(node.operands[0]).shape;
  for (size_t axis = 0; axis < shape.size(); ++axis)
    if (shape[axis].rows && holds(a.rhs, a.lhs[axis]) && !holds(a.out, a.lhs[axis])) return a.lhs[axis];
  return -1;
}

}  // namespace

void split_sums(Graph& graph) {
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    const int rows = summed_rows(graph, node);
    if (rows < 0 && !is_split(graph, node)) {
      rebuild.copy({i});
      continue;
    }
    Builder b(rebuild.result, node.span, node.scope);
    if (rows >= 0) {
      const Attributes& a = node.attributes;
      std::vector<int> out{rows};
      out.insert(out.end(), a.out.begin(), a.out.end());
      const NodeId of_rows = b.contract(rebuild.to[node.operands[0].value], rebuild.to[node.operands[1].value], a.lhs, a.rhs, out);
      rebuild.to[i] = b.reduce(Op::reduce_sum, of_rows, {0});
      continue;
    }
    std::vector<int> within;
    for (int axis : node.attributes.axes)
      if (axis > 0) within.push_back(axis);
    const NodeId terms = rebuild.to[node.operands[0].value];
    if (follows_row_tiles(graph, node.operands[0])) {
      const NodeId over_rows = b.reduce(Op::reduce_sum, terms, {0});
      for (int& axis : within) --axis;
      rebuild.to[i] = b.reduce(Op::reduce_sum, over_rows, within);
      continue;
    }
    const NodeId of_rows = b.reduce(Op::reduce_sum, terms, within);
    rebuild.to[i] = b.reduce(Op::reduce_sum, of_rows, {0});
  }
  graph = rebuild.finish();
}

}  // namespace nnc
