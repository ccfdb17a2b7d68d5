// The independent checker of stores, order and memory plan (P8 to P12 of verify_program.cpp).
//
// A store is one-to-one over its axes if, with the axes sorted by stride, each stride is larger than everything the smaller ones can reach: a
// mixed-radix number has one reading. The test is sufficient, not necessary, and every layout the compiler makes passes it.
#include "ir/verify_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <utility>

namespace nnc {

bool buffers_overlap(const Buffer& a, const Buffer& b) {
  return a.bytes > 0 && b.bytes > 0 && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

namespace {

constexpr int64_t max_enumerated = int64_t(1) << 24;

class MemoryChecker {
 public:
  MemoryChecker(const Program& program, const BufferTouches& touches, std::vector<std::string>& problems)
      : program_(program), touches_(touches), problems_(problems) {}

  void run() {
    for (uint32_t b = 0; b < touches_.size(); ++b) {
      check_stores(BufferId{b});
      check_order(BufferId{b});
    }
    check_arena();
    check_barriers();
  }

 private:
  template <class... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    problems_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  const std::string& kernel_name(size_t k) const { return program_.kernels[k].name; }

  // --- P8 ---

  // Sizes and strides of the axes a touch runs over.
  std::vector<std::pair<int64_t, int64_t>> steps(const Touch& t) const {
    std::vector<std::pair<int64_t, int64_t>> out;  // stride, size
    for (size_t i = 0; i < t.axes->size(); ++i)
      if (t.loops[i]) out.emplace_back(t.access->strides[i], (*t.axes)[i].extent.at(program_.rows));
    return out;
  }

  bool is_one_to_one(const Touch& t) const {
    int64_t reach = 0;
    std::vector<std::pair<int64_t, int64_t>> axes;
    for (auto [stride, size] : steps(t)) {
      if (size == 0) return true;
      if (size > 1) axes.emplace_back(std::abs(stride), size);
    }
    std::sort(axes.begin(), axes.end());
    for (auto [stride, size] : axes) {
      if (stride <= reach) return false;
      reach += stride * (size - 1);
    }
    return true;
  }

  std::pair<int64_t, int64_t> range(const Touch& t) const {
    int64_t low = t.access->offset, high = low;
    for (auto [stride, size] : steps(t)) {
      if (size == 0) return {0, -1};
      (stride < 0 ? low : high) += stride * (size - 1);
    }
    return {low, high};
  }

  // Marks the elements of a touch; false if one was marked already.
  bool mark(const Touch& t, std::vector<bool>& seen) const {
    std::vector<std::pair<int64_t, int64_t>> axes = steps(t);
    std::vector<int64_t> index(axes.size(), 0);
    for (auto [stride, size] : axes)
      if (size == 0) return true;
    int64_t at = t.access->offset;
    while (true) {
      if (seen[size_t(at)]) return false;
      seen[size_t(at)] = true;
      size_t axis = axes.size();
      while (axis > 0) {
        --axis;
        at += axes[axis].first;
        if (++index[axis] < axes[axis].second) break;
        at -= axes[axis].first * axes[axis].second;
        index[axis] = 0;
        if (axis == 0) return true;
      }
      if (axes.empty()) return true;
    }
  }

  void check_stores(BufferId id) {
    std::vector<const Touch*> stores;
    for (const Touch& t : touches_[id.value])
      if (!t.load && !t.add && t.access->index_value < 0) stores.push_back(&t);
    const std::string& name = program_[id].name;
    for (size_t i = 0; i < stores.size(); ++i) {
      const Touch& t = *stores[i];
      if (!is_one_to_one(t)) {
        fail("P8: {} stores elements of {} more than once", kernel_name(t.kernel), name);
        continue;
      }
      for (size_t k = 0; k < i; ++k)
        if (stores[k]->kernel == t.kernel && stores_meet(*stores[k], t, program_[id]))
          fail("P8: two stores of {} to {} meet", kernel_name(t.kernel), name);
    }
  }

  bool stores_meet(const Touch& a, const Touch& b, const Buffer& buffer) const {
    auto [a_low, a_high] = range(a);
    auto [b_low, b_high] = range(b);
    if (a_high < b_low || b_high < a_low) return false;
    int64_t elements = Type{buffer.dtype, buffer.shape}.elements(program_.rows);
    if (elements > max_enumerated) return false;
    std::vector<bool> seen(static_cast<size_t>(elements), false);
    mark(a, seen);
    return !mark(b, seen);
  }

  // --- P9, P10 ---

  void check_order(BufferId id) {
    const Buffer& buffer = program_[id];
    const std::vector<Touch>& touches = touches_[id.value];
    bool written = std::any_of(touches.begin(), touches.end(), [](const Touch& t) { return !t.load; });
    if ((buffer.kind == BufferKind::results || buffer.kind == BufferKind::output) && !written) fail("P10: {} is never stored", buffer.name);
    if (buffer.kind == BufferKind::temporary && !touches.empty() && (touches.front().load || touches.front().add))
      fail("P10: {} is read by {} before it is stored", buffer.name, kernel_name(touches.front().kernel));
    if (buffer.kind != BufferKind::temporary && buffer.kind != BufferKind::persistent) return;
    for (size_t i = 0; i < touches.size(); ++i)
      for (size_t k = i + 1; k < touches.size(); ++k) check_pair(buffer, touches[i], touches[k]);
  }

  // Two accesses of one buffer, in program order.
  void check_pair(const Buffer& buffer, const Touch& first, const Touch& second) {
    if (buffer.kind == BufferKind::persistent && !first.load && second.load)
      fail("P9: {} reads {} after {} has updated it", kernel_name(second.kernel), buffer.name, kernel_name(first.kernel));
    if (first.kernel != second.kernel || first.load == second.load) return;
    bool same_element = first.loops == second.loops && *first.access == *second.access && first.place != CodePlace::operand_a &&
                        first.place != CodePlace::operand_b;
    bool single_iteration = false;
    if (const MapKernel* map = std::get_if<MapKernel>(&program_.kernels[first.kernel].body)) {
      single_iteration = map->serial;
      for (int axis = 0; axis < map->outer; ++axis) single_iteration &= map->axes[size_t(axis)].extent == Extent{1, false};
      // Within one block of a loop, another iteration's store may come between.
      single_iteration &= first.place == CodePlace::outer_block || second.block != first.block;
    }
    if (!same_element && !single_iteration)
      fail("P9: {} stores {} and loads it at other places", kernel_name(first.kernel), buffer.name);
  }

  // --- P11 ---

  struct Life {
    uint32_t buffer;
    size_t first, last;
  };

  // In the order of kernels, a buffer enters the set of those alive, ordered by their places, and leaves it after its last kernel. The set holds no two that
  // overlap, so that only the neighbours of a new one can. One that does overlap is reported and kept out.
  void check_arena() {
    std::vector<Life> lives;
    for (uint32_t b = 0; b < touches_.size(); ++b) {
      const Buffer& buffer = program_.buffers[b];
      if (buffer.kind == BufferKind::temporary && buffer.bytes > 0 && !touches_[b].empty())
        lives.push_back({b, touches_[b].front().kernel, touches_[b].back().kernel});
    }
    std::vector<size_t> by_last(lives.size());
    for (size_t i = 0; i < lives.size(); ++i) by_last[i] = i;
    std::stable_sort(lives.begin(), lives.end(), [](const Life& x, const Life& y) { return x.first < y.first; });
    std::stable_sort(by_last.begin(), by_last.end(), [&](size_t x, size_t y) { return lives[x].last < lives[y].last; });
    std::map<int64_t, size_t> alive;  // by offset
    std::vector<bool> entered(lives.size(), false);
    size_t ended = 0;
    for (size_t i = 0; i < lives.size(); ++i) {
      const Buffer& buffer = program_.buffers[lives[i].buffer];
      for (; ended < by_last.size() && lives[by_last[ended]].last < lives[i].first; ++ended)
        if (entered[by_last[ended]]) alive.erase(program_.buffers[lives[by_last[ended]].buffer].offset);
      auto next = alive.lower_bound(buffer.offset);
      bool clean = true;
      if (next != alive.end()) clean = check_apart(lives[next->second], lives[i]);
      if (next != alive.begin()) clean = check_apart(lives[std::prev(next)->second], lives[i]) && clean;
      if (!clean) continue;
      alive[buffer.offset] = i;
      entered[i] = true;
    }
  }

  bool check_apart(const Life& x, const Life& y) {
    const Buffer &a = program_.buffers[x.buffer], &b = program_.buffers[y.buffer];
    if (!buffers_overlap(a, b)) return true;
    fail("P11: {} ({} bytes at {}, kernels {} to {}) and {} ({} bytes at {}, kernels {} to {}) overlap", a.name, a.bytes, a.offset, x.first, x.last,
         b.name, b.bytes, b.offset, y.first, y.last);
    return false;
  }

  // --- P12 ---

  struct Region {
    const Buffer* buffer;
    bool store;
  };

  static bool share_memory(const Buffer& a, const Buffer& b) {
    if (&a == &b) return true;
    if (a.kind != b.kind) return false;
    if (a.kind == BufferKind::temporary || a.kind == BufferKind::persistent) return buffers_overlap(a, b);
    return (a.kind == BufferKind::results || a.kind == BufferKind::output) && a.offset == b.offset;
  }

  void check_barriers() {
    std::vector<std::vector<Region>> regions(program_.kernels.size());
    for (uint32_t b = 0; b < touches_.size(); ++b)
      for (const Touch& t : touches_[b]) regions[t.kernel].push_back({&program_.buffers[b], !t.load});
    size_t phase = 0;  // first kernel after the last barrier
    for (size_t k = 0; k < program_.kernels.size(); ++k) {
      if (program_.kernels[k].barrier_before) phase = k;
      for (size_t earlier = phase; earlier < k; ++earlier) {
        if (!program_.kernels[earlier].parallel && !program_.kernels[k].parallel) continue;
        if (const Buffer* shared = find_conflict(regions[earlier], regions[k]))
          fail("P12: {} and {} meet at {} without a barrier", kernel_name(earlier), kernel_name(k), shared->name);
      }
    }
  }

  static const Buffer* find_conflict(const std::vector<Region>& first, const std::vector<Region>& second) {
    for (const Region& a : first)
      for (const Region& b : second)
        if ((a.store || b.store) && share_memory(*a.buffer, *b.buffer)) return b.buffer;
    return nullptr;
  }

  const Program& program_;
  const BufferTouches& touches_;
  std::vector<std::string>& problems_;
};

}  // namespace

void check_memory(const Program& program, const BufferTouches& touches, std::vector<std::string>& problems) {
  MemoryChecker(program, touches, problems).run();
}

}  // namespace nnc
