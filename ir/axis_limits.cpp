// What limits of axes leave of a kernel, and where they may stand.
#include "ir/axis_limits.h"

#include <fmt/format.h>

#include <string>

#include "ir/kernel_code.h"

namespace nnc {
namespace {

using Kind = Instruction::Kind;

/// What stands in the way of a limit on axis `number`; "" if nothing does.
std::string misplaced(const MapKernel& map, size_t number, const Limit& limit) {
  if (int(number) < map.outer) return "is an outer one";
  if (limit.axis >= map.outer || limit.axis == map.vector_axis) return "depends on an inner axis or on the lanes";
  if (limit.from) return "begins late, which inner axes cannot";
  for (const Axis& axis : map.axes)
    if (axis.together != 1) return "is in a kernel that takes indices together";
  for (const Block& block : map.blocks)
    for (const Instruction& i : block.code) {
      if (i.kind == Kind::guard || i.kind == Kind::linked) return "is in a kernel with guards or chains";
      if (i.kind == Kind::reduce && i.op == Op::argmax) return "is in a kernel with an argmax";
    }
  return "";
}

std::string misplaced(const ContractKernel& contract, size_t number, const Limit& limit) {
  const bool lone_k = number == contract.first_k() && contract.axes.size() == contract.first_k() + 1;
  if (number != contract.row_axis() && number != contract.n_axis() && !lone_k) return "is neither the last of m, nor n, nor the only one of k";
  if (limit.axis >= contract.batch) return "depends on an axis that is none of the batch";
  for (const Instruction& i : contract.epilogue)
    if (i.kind == Kind::reduce) return "is in a kernel that sums over its rows";
  for (const Operand* operand : {&contract.a, &contract.b})
    for (const Instruction& i : operand->code)
      if (i.kind == Kind::guard) return "is in a contraction with guards";
  return "";
}

}  // namespace

double share_of_points(const Kernel& kernel) {
  const std::vector<Axis>& axes = axes_of(kernel);
  double share = 1;
  for (size_t by = 0; by < axes.size(); ++by) {
    // Several axes may have limits by one.
    const bool limits = std::any_of(axes.begin(), axes.end(), [&](const Axis& axis) { return axis.limit.axis == int(by); });
    if (!limits || axes[by].extent.size == 0) continue;
    double sum = 0;
    for (int64_t i = 0; i < axes[by].extent.size; ++i) {
      double part = 1;
      for (const Axis& axis : axes) {
        if (axis.limit.axis != int(by)) continue;
        const IndexRange range = indices_at(axis, i);
        part *= double(range.end - range.begin) / double(std::max<int64_t>(axis.extent.size, 1));
      }
      sum += part;
    }
    share *= sum / double(axes[by].extent.size);
  }
  return share;
}

void check_limits(const Kernel& kernel, FaultList& faults) {
  const std::vector<Axis>& axes = axes_of(kernel);
  for (size_t number = 0; number < axes.size(); ++number) {
    const Axis& axis = axes[number];
    const Limit& limit = axis.limit;
    if (limit == Limit{}) continue;
    auto fail = [&](const std::string& what) { faults.add(fmt::format("P19: axis {} of {}, which has a limit, {}", axis.name, kernel.name, what)); };
    if (limit.axis < 0 || size_t(limit.axis) >= number) {
      fail("does not say by which axis before it");
      continue;
    }
    const Axis& by = axes[size_t(limit.axis)];
    const std::string obstacle = std::visit([&](const auto& body) { return misplaced(body, number, limit); }, kernel.body);
    if (!obstacle.empty()) fail(obstacle);
    if (axis.extent.rows || by.extent.rows) fail("has to do with rows");
    else if (limit.step < 1 || limit.step > max_limit_step / std::max<int64_t>(by.extent.size, 1)) fail(fmt::format("has the step {}", limit.step));
    else if (axis.extent.size < 1 || (limit.from && by.extent.size > 0 && limit.step * (by.extent.size - 1) >= axis.extent.size)) fail("has no index somewhere");
  }
}

}  // namespace nnc
