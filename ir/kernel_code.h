// The instructions of a kernel, whatever its shape, for who asks what a kernel computes or touches and not where.
#pragma once

#include "ir/program.h"

namespace nnc {

inline std::vector<Axis>& axes_of(Kernel& kernel) {
  auto* map = std::get_if<MapKernel>(&kernel.body);
  return map ? map->axes : std::get<ContractKernel>(kernel.body).axes;
}
inline const std::vector<Axis>& axes_of(const Kernel& kernel) { return axes_of(const_cast<Kernel&>(kernel)); }

/// visit(instruction) for every instruction: of a map kernel's blocks, or of a contraction's operands, its epilogue and what follows it, in this order.
template <class AnyKernel, class Visit>
void for_each_instruction(AnyKernel& kernel, Visit visit) {
  auto walk = [&](auto& code) {
    for (auto& i : code) visit(i);
  };
  if (auto* map = std::get_if<MapKernel>(&kernel.body)) {
    for (auto& b : map->blocks) walk(b.code);
  } else {
    auto& c = std::get<ContractKernel>(kernel.body);
    walk(c.a.code);
    walk(c.b.code);
    walk(c.epilogue);
    walk(c.after_rows);
  }
}

/// The same for those that touch memory.
template <class Visit>
void for_each_access(const Kernel& kernel, Visit visit) {
  for_each_instruction(kernel, [&](const Instruction& i) {
    if (i.access.buffer.valid()) visit(i);
  });
}

}  // namespace nnc
