// Ranges that fill a good part of a segment by themselves travel from where they lie; smaller ones are packed.
#include "runtime/workers/lane.h"

#include <algorithm>

namespace nnc {

void SegmentCutter::add(int array, int64_t begin, int64_t end, size_t element_bytes) {
  if (begin >= end) return;
  const size_t bytes = size_t(end - begin) * element_bytes;
  if (bytes >= limit_ / 4) {
    const int64_t most = std::max<int64_t>(1, int64_t(limit_ / element_bytes));
    for (int64_t at = begin; at < end; at += most) {
      int64_t stop = std::min(end, at + most);
      done_.push_back({{{array, at, stop, 0}}, size_t(stop - at) * element_bytes});
    }
    return;
  }
  if (open_.bytes + bytes > limit_ && !open_.pieces.empty()) {
    done_.push_back(std::move(open_));
    open_ = {};
  }
  const size_t offset = (open_.bytes + 7) / 8 * 8;
  open_.pieces.push_back({array, begin, end, offset});
  open_.bytes = offset + bytes;
}

std::vector<Segment> SegmentCutter::take() {
  if (!open_.pieces.empty()) done_.push_back(std::move(open_));
  open_ = {};
  return std::move(done_);
}

}  // namespace nnc
