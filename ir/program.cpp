// Layouts of a program's buffers: strides follow from logical shape, memory order and the planned number of rows.
#include "ir/program.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace nnc {

std::vector<int64_t> buffer_strides(const Buffer& buffer, int64_t rows) {
  size_t rank = buffer.shape.size();
  NNC_CHECK(buffer.order.empty() || buffer.order.size() == rank,
            fmt::format("buffer {} of rank {} has {} axes in its memory order", buffer.name, rank, buffer.order.size()));
  std::vector<int64_t> strides(rank, 0);
  int64_t step = 1;
  for (size_t i = rank; i-- > 0;) {
    size_t axis = buffer.order.empty() ? i : size_t(buffer.order[i]);
    NNC_CHECK(axis < rank, fmt::format("buffer {} of rank {} has axis {} in its memory order", buffer.name, rank, axis));
    strides[axis] = step;
    step *= std::max<int64_t>(buffer.shape[axis].at(rows), 1);
  }
  if (buffer.kind == BufferKind::field && rank > 0) strides[0] = 0;
  return strides;
}

int64_t buffer_bytes(const Buffer& buffer, int64_t rows) {
  return Type{buffer.dtype, buffer.shape}.elements(rows) * int64_t(byte_size(buffer.dtype));
}

int64_t offset_of_slot(const Program& program, const Buffer& slot) {
  const bool placed = slot.kind == BufferKind::temporary || slot.kind == BufferKind::persistent;
  int64_t bytes = 0;
  // A text may say anything: what does not fit is no place of the buffer, which verify_program looks at.
  if (!placed || __builtin_mul_overflow(slot.slot.first, int64_t(byte_size(slot.dtype)), &bytes)) bytes = 0;
  const int64_t base = program[slot.slot.of].offset;
  return __builtin_add_overflow(base, bytes, &bytes) ? base : bytes;
}

void place_slots(Program& program) {
  for (Buffer& b : program.buffers) {
    if (!b.slot.valid()) continue;
    b.field = program[b.slot.of].field;
    b.offset = offset_of_slot(program, b);
  }
}

Extent joint_extent(const std::vector<Axis>& axes, size_t begin, size_t end) {
  Extent joint{1, false};
  for (size_t i = begin; i < end; ++i) {
    NNC_CHECK(!joint.rows || !axes[i].extent.rows, "two axes of rows as one");
    joint.size *= axes[i].extent.size;
    joint.rows = joint.rows || axes[i].extent.rows;
  }
  return joint;
}

SumOrder sum_order_of(const ContractKernel& kernel, PlannedRows rows) {
  // A short last axis is not cut: what reads memory in place goes over whole runs of it.
  constexpr int64_t longest_step = 64;
  const Extent last = kernel.axes.back().extent;
  const bool several = kernel.axes.size() > kernel.first_k() + 1;
  const int64_t step = several && !last.rows && last.size <= longest_step ? std::max<int64_t>(1, last.size) : 1;
  return sum_order(joint_extent(kernel.axes, kernel.first_k(), kernel.axes.size()), rows, contraction_chain / step * step, step);
}

}  // namespace nnc
