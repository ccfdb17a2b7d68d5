// Two accesses meet where the difference of their offsets is a sum of strides, each times a number from a range. Strides are taken from the largest to the smallest: what is left
// after one of them must be within what all smaller ones reach, which leaves few numbers to try, one or two where strides are those of a layout.
#include "ir/store_places.h"

#include <algorithm>
#include <map>

#include "ir/kernel_code.h"

namespace nnc {
namespace {

struct Range {
  int64_t stride, low, high;
};

int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

class Search {
 public:
  explicit Search(std::vector<Range> ranges) : ranges_(std::move(ranges)), low_(ranges_.size() + 1, 0), high_(ranges_.size() + 1, 0) {
    for (size_t i = ranges_.size(); i-- > 0;) {
      low_[i] = low_[i + 1] + ranges_[i].stride * ranges_[i].low;
      high_[i] = high_[i + 1] + ranges_[i].stride * ranges_[i].high;
    }
  }

  /// Is `sum` one of the ranges from number `at` on?
  Meeting find(int64_t sum, size_t at = 0) {
    if (sum < low_[at] || sum > high_[at]) return Meeting::apart;
    if (at == ranges_.size()) return Meeting::meet;
    const Range& range = ranges_[at];
    const int64_t first = std::max(range.low, -floor_divide(high_[at + 1] - sum, range.stride)), last = std::min(range.high, floor_divide(sum - low_[at + 1], range.stride));
    for (int64_t k = first; k <= last; ++k) {
      if (++tried_ > most) return Meeting::unknown;
      if (const Meeting found = find(sum - range.stride * k, at + 1); found != Meeting::apart) return found;
    }
    return Meeting::apart;
  }

 private:
  static constexpr int most = 1000;
  std::vector<Range> ranges_;
  std::vector<int64_t> low_, high_;  // what the ranges from one on reach
  int tried_ = 0;
};

}  // namespace

void Places::add(int64_t stride, int64_t size) {
  nothing = nothing || size == 0;
  if (size > 1) steps.emplace_back(stride, size);
}

int64_t Places::points() const {
  int64_t product = nothing ? 0 : 1;
  for (auto [stride, size] : steps) product *= size;
  return product;
}

Places places_of(const Access& access, const std::vector<Axis>& axes, int64_t rows, size_t first) {
  Places places;
  places.offset = access.offset;
  for (size_t i = first; i < axes.size(); ++i)
    if (access.strides[i] != 0) places.add(access.strides[i], axes[i].extent.at(rows));
  return places;
}

Meeting meeting(const Places& a, const Places& b) {
  if (a.nothing || b.nothing) return Meeting::apart;
  std::map<int64_t, Range, std::greater<>> by_stride;
  int64_t difference = b.offset - a.offset;
  auto take = [&](const Places& places, int64_t sign) {
    for (auto [stride, size] : places.steps) {
      // Counted from its other end, an axis that goes down goes up.
      if (stride < 0) difference -= sign * stride * (size - 1);
      Range& range = by_stride.try_emplace(std::abs(stride), Range{std::abs(stride), 0, 0}).first->second;
      (sign > 0 ? range.high : range.low) += sign * (size - 1);
    }
  };
  take(a, 1);
  take(b, -1);
  std::vector<Range> ranges;
  for (const auto& [stride, range] : by_stride) ranges.push_back(range);
  return Search(std::move(ranges)).find(difference);
}

bool store_apart(const Program& program, const Kernel& x, const Kernel& y, BufferId buffer) {
  auto stores = [&](const Kernel& kernel, std::vector<Places>& places) {
    bool alone = true;
    for_each_access(kernel, [&](const Instruction& i) {
      if (i.access.buffer != buffer) return;
      alone = alone && i.kind == Instruction::Kind::store && i.access.index_value < 0;
      if (alone) places.push_back(places_of(i.access, axes_of(kernel), program.rows));
    });
    return alone;
  };
  std::vector<Places> first, second;
  if (!stores(x, first) || !stores(y, second)) return false;
  for (const Places& a : first)
    for (const Places& b : second)
      if (meeting(a, b) != Meeting::apart) return false;
  return true;
}

}  // namespace nnc
