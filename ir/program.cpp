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

}  // namespace nnc
