// What code generation relies on where it keeps several points in registers: blocks of a size that can be written out, and guards that become bounds of one loop each.
#include "ir/verify_blocks.h"

#include <fmt/format.h>

#include <algorithm>

namespace nnc {
namespace {

bool has_inner_rows(const MapKernel& map) {
  return std::any_of(map.axes.begin() + map.outer, map.axes.end(), [](const Axis& axis) { return axis.extent.rows; });
}

bool is_argmax(const Instruction& i) { return i.kind == Instruction::Kind::reduce && i.op == Op::argmax; }

}  // namespace

void check_together(const Kernel& kernel, const MapKernel& map, FaultList& faults) {
  int64_t points = 1;
  for (size_t i = 0; i < map.axes.size(); ++i) {
    const Axis& axis = map.axes[i];
    if (axis.together == 1) continue;
    if (axis.together < 1 || axis.together > max_together || int(i) + 1 >= map.outer || axis.extent.rows || map.vector_axis != map.outer - 1)
      return faults.add(fmt::format("P3: {} takes {} indices of axis {} together", kernel.name, axis.together, axis.name));
    points *= axis.together;
    if (points > max_together) return faults.add(fmt::format("P3: {} takes {} points together, more than {}", kernel.name, points, max_together));
  }
  if (points == 1) return;
  if (has_inner_rows(map)) faults.add(fmt::format("P3: {} takes points together over inner rows", kernel.name));
  for (const Block& block : map.blocks)
    if (std::any_of(block.code.begin(), block.code.end(), is_argmax)) faults.add(fmt::format("P3: {} takes points of an argmax together", kernel.name));
}

void check_block_guards(const Kernel& kernel, const MapKernel& map, const Block& block, const std::vector<const Instruction*>& guards, FaultList& faults) {
  if (guards.empty()) return;
  auto fail = [&](std::string_view what) { faults.add(fmt::format("P5: {} {}", kernel.name, what)); };
  auto fail_guard = [&](const std::string& what) { faults.add(fmt::format("P5: a guard of {} {}", kernel.name, what)); };
  if (map.vector_axis != map.outer - 1 || map.vector_axis < 0) fail("has guards, but lanes are not its last outer axis");
  if (has_inner_rows(map)) fail("has guards over inner rows");
  for (const Instruction& i : block.code) {
    if (i.kind == Instruction::Kind::store || i.kind == Instruction::Kind::store_add) fail("stores in a block with guards");
    if (is_argmax(i)) fail("has an argmax in a block with guards");
  }
  for (const Instruction* guard : guards) {
    const std::vector<int64_t>& factors = guard->access.strides;
    if (factors.size() != map.axes.size()) return;
    size_t inner = 0, outer = 0;
    bool together = false;
    for (size_t axis = 0; axis < factors.size(); ++axis) {
      if (factors[axis] == 0) continue;
      ++(int(axis) < map.outer ? outer : inner);
      if (int(axis) == map.vector_axis) fail_guard("depends on its vector axis");
      together = together || map.axes[axis].together > 1;
    }
    if (inner != 1) fail_guard(fmt::format("is about {} inner axes, not one", inner));
    if (together && outer > 1) fail_guard("is about an axis of which indices are taken together, and another one");
  }
}

}  // namespace nnc
