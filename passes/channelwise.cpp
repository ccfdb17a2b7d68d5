// Which contractions have lanes along an axis of both operands.
#include "passes/channelwise.h"

#include <algorithm>

#include "passes/rewrite.h"

namespace nnc {
namespace {

bool has_window(const Graph& graph, NodeId n) {
  for (;; n = graph[n].operands[0]) {
    const Op op = graph[n].op;
    if (op == Op::window && graph[n].attributes.axes.size() == 2) return true;
    if (!is_linear_view(op)) return false;
  }
}

}  // namespace

int channel_label(const Graph& graph, const Node& contract) {
  constexpr int64_t fewest_channels = 4, fewest_columns = 16;
  const Attributes& a = contract.attributes;
  if (contract.op != Op::contract || (!has_window(graph, contract.operands[0]) && !has_window(graph, contract.operands[1]))) return -1;
  int64_t own[2] = {1, 1}, most = 0;  // indices of the result's axes that one operand gives
  int channels = -1;
  for (size_t axis = 0; axis < a.out.size(); ++axis) {
    const int label = a.out[axis];
    const Extent extent = contract.type.shape[axis];
    const bool left = holds(a.lhs, label), right = holds(a.rhs, label);
    if (left != right) own[left ? 0 : 1] *= extent.rows ? fewest_columns : extent.size;
    if (!left || !right || extent.rows || extent.size < fewest_channels || extent.size <= most) continue;
    channels = label;
    most = extent.size;
  }
  return std::min(own[0], own[1]) < fewest_columns ? channels : -1;
}

}  // namespace nnc
