// Which contractions have lanes along an axis of both operands, and what their kernels keep in registers. A sum over few taps is made for some neighbouring results at once,
// which read the same columns; sums over whole images (a weight's gradient) for as many taps as there are registers, so that the images are read once.
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

bool can_bound_loops(const MapKernel& map) {
  if (map.vector_axis != map.outer - 1) return false;
  for (size_t axis = size_t(map.outer); axis < map.axes.size(); ++axis)
    if (map.axes[axis].extent.rows) return false;
  for (const Block& block : map.blocks)
    for (const Instruction& i : block.code) {
      if (i.kind != Instruction::Kind::guard) continue;
      const std::vector<int64_t>& factors = i.access.strides;
      const auto inner = std::count_if(factors.begin() + map.outer, factors.end(), [](int64_t factor) { return factor != 0; });
      if (!block.inner || inner != 1 || factors[size_t(map.vector_axis)] != 0) return false;
    }
  return true;
}

void choose_blocks(const Program& program, MapKernel& map) {
  constexpr int64_t longest_taps = 8, most_taps = 64;
  if (map.vector_axis != map.outer - 1) return;
  bool sums_taps = true;
  int64_t terms = 1, sums = 1;  // of each sum; of each channel of a row
  for (size_t axis = 0; axis < map.axes.size(); ++axis) {
    const bool inner = int(axis) >= map.outer;
    const Extent extent = map.axes[axis].extent;
    if (inner && extent.rows) return;
    if (inner) sums_taps = sums_taps && extent.size <= longest_taps;
    if (!extent.rows && int(axis) != map.vector_axis) (inner ? terms : sums) *= extent.size;
  }
  sums_taps = sums_taps && terms <= std::min(most_taps, sums);
  std::vector<bool> alone(map.axes.size(), false);  // axes that a guard is about together with another outer one
  for (const Block& block : map.blocks)
    for (const Instruction& i : block.code) {
      if (i.access.index_value >= 0 || i.kind == Instruction::Kind::random) return;  // each point would take registers for more than its sum
      const std::vector<int64_t>& factors = i.access.strides;
      if (i.kind != Instruction::Kind::guard || std::count_if(factors.begin(), factors.begin() + map.outer, [](int64_t factor) { return factor != 0; }) < 2) continue;
      for (size_t axis = 0; axis < factors.size(); ++axis) alone[axis] = alone[axis] || factors[axis] != 0;
    }
  // Beside the sums a tap's operands need some registers. Of neighbouring pixels three suffice: more of them load little less each, and touch memory in more places at once.
  constexpr int64_t pixels = 3;
  const int64_t registers = program.target.vector_registers;
  int64_t left = sums_taps ? registers / 4 : registers - 6;
  for (int axis = map.outer - 2; axis >= 0 && left > 1; --axis) {
    const Extent extent = map.axes[size_t(axis)].extent;
    if (extent.rows || alone[size_t(axis)]) continue;
    const int64_t most = sums_taps ? std::min(left, pixels) : left;
    const int64_t blocks = (extent.size + most - 1) / most;
    const int64_t together = (extent.size + blocks - 1) / blocks;
    map.axes[size_t(axis)].together = together;
    if (sums_taps && blocks > 1) break;
    left /= together;
  }
}

}  // namespace nnc
