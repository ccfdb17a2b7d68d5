// The independent checker of stores, order and memory plan (P8 to P12 and P15 of verify_program.cpp).
//
// A store is one-to-one over its axes if, with the axes sorted by stride, each stride is larger than everything the smaller ones can reach: a
// mixed-radix number has one reading. The test is sufficient, not necessary, and every layout the compiler makes passes it.
//
// Who wrote the program may have meant harm: the work grows with the number of accesses (times a logarithm) and, where it grows with the number of
// elements, has a limit. Pairs are walked only where a fault is certain and the one thing left is to name it.
#include "ir/verify_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <set>
#include <utility>

#include "ir/program_regions.h"
#include "ir/store_places.h"

namespace nnc {

bool buffers_overlap(const Buffer& a, const Buffer& b) {
  return a.bytes > 0 && b.bytes > 0 && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

namespace {

constexpr size_t max_slots = 256;  // of one buffer, in a kernel or a region
constexpr int64_t max_enumerated = int64_t(1) << 24, max_enumerated_in_all = int64_t(1) << 28;

/// A set of bytes, as ranges that do not touch.
class ByteSet {
 public:
  bool meets(int64_t begin, int64_t end) const {
    auto next = ends_.upper_bound(begin);  // the first that ends after `begin`
    return begin < end && next != ends_.end() && next->second < end;
  }
  void add(int64_t begin, int64_t end) {
    if (begin >= end) return;
    auto next = ends_.lower_bound(begin);
    for (; next != ends_.end() && next->second <= end; next = ends_.erase(next)) {
      begin = std::min(begin, next->second);
      end = std::max(end, next->first);
    }
    ends_.emplace(end, begin);
  }
  void clear() { ends_.clear(); }

 private:
  std::map<int64_t, int64_t> ends_;  ///< end -> begin
};

class MemoryChecker {
 public:
  MemoryChecker(const Program& program, const BufferTouches& touches, FaultList& faults)
      : program_(program), touches_(touches), faults_(faults), merged_(merge_slots()), memory_(merged_.empty() ? touches : merged_), nesting_(program) {}

  void run() {
    for (uint32_t b = 0; b < touches_.size() && !faults_.full(); ++b) {
      for_each_run(touches_[b], [&](TouchRun run) { check_stores(BufferId{b}, run); });
      check_first_and_last(BufferId{b});
      for_each_run(touches_[b], [&](TouchRun run) { check_places(BufferId{b}, run); });
      for_each_run(memory_[b], [&](TouchRun run) { check_slots_apart(run); });
    }
    for (size_t r = 0; r < program_.regions.size(); ++r)
      for (uint32_t b = 0; b < memory_.size() && !faults_.full(); ++b) check_rounds(r, BufferId{b});
    check_block(BufferKind::temporary);
    check_block(BufferKind::local);
    check_barriers();
  }

 private:
  /// By buffer with memory of its own: what touches it and its slots. Empty if there are no slots.
  BufferTouches merge_slots() const {
    if (std::none_of(program_.buffers.begin(), program_.buffers.end(), [](const Buffer& b) { return b.slot.valid(); })) return {};
    BufferTouches all(touches_.size());
    for (uint32_t b = 0; b < touches_.size(); ++b) {
      std::vector<Touch>& whole = all[nnc::memory_of(program_, BufferId{b}).value];
      whole.insert(whole.end(), touches_[b].begin(), touches_[b].end());
    }
    for (std::vector<Touch>& list : all)
      std::stable_sort(list.begin(), list.end(), [](const Touch& x, const Touch& y) { return std::pair(x.kernel, x.instruction) < std::pair(y.kernel, y.instruction); });
    return all;
  }

  template <class... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    faults_.add(fmt::format(format, std::forward<Args>(args)...));
  }

  void at_buffer(size_t buffer) { faults_.where = {{}, buffer, ProgramFault::none, ProgramFault::none}; }
  void at_kernel(size_t kernel) { faults_.where = {{}, ProgramFault::none, kernel, ProgramFault::none}; }
  void at_touch(const Touch& t) { faults_.where = {{}, ProgramFault::none, t.kernel, t.instruction}; }

  const std::string& kernel_name(size_t k) const { return program_.kernels[k].name; }

  // The accesses of one kernel to one buffer, in program order.
  using TouchRun = std::span<const Touch>;

  template <class Visit>
  static void for_each_run(const std::vector<Touch>& touches, Visit visit) {
    for (size_t begin = 0, end = 0; begin < touches.size(); begin = end) {
      while (end < touches.size() && touches[end].kernel == touches[begin].kernel) ++end;
      visit(TouchRun(touches).subspan(begin, end - begin));
    }
  }

  // --- P8 ---

  // Strides and sizes of the axes that a touch runs over, but for those of one index; `nothing` if one has none.
  struct Steps {
    std::vector<std::pair<int64_t, int64_t>> axes;  // stride, size
    bool nothing = false;
  };

  Steps steps(const Touch& t) const {
    Steps out;
    const size_t rounds = rounds_of_local(t);
    for (size_t i = 0; i < t.axes->size(); ++i) {
      if (!t.loops[i] || i < rounds) continue;
      int64_t size = (*t.axes)[i].extent.at(program_.rows);
      out.nothing = out.nothing || size == 0;
      if (size > 1) out.axes.emplace_back(t.access->strides[i], size);
    }
    return out;
  }

  /// Of what lives within a round of a parallel region: how many axes the region has.
  size_t rounds_of_local(const Touch& t) const {
    if (program_[t.access->buffer].kind != BufferKind::local) return 0;
    const std::vector<Touch>& all = touches_[t.access->buffer.value];
    const size_t home = nesting_.innermost(all.front().kernel, all.back().kernel);
    return home == ParallelNesting::none ? 0 : size_t(program_.parallel_regions[home].axes);
  }

  static bool is_one_to_one(const Steps& steps) {
    int64_t reach = 0;
    std::vector<std::pair<int64_t, int64_t>> axes;
    for (auto [stride, size] : steps.axes) axes.emplace_back(std::abs(stride), size);
    std::sort(axes.begin(), axes.end());
    for (auto [stride, size] : axes) {
      if (stride <= reach) return false;
      reach += stride * (size - 1);
    }
    return true;
  }

  struct Store {
    const Touch* touch;
    Steps steps;
    int64_t low, high;  ///< first and last element
    Places places() const { return {touch->access->offset, steps.axes, false}; }
  };

  /// Of a few stores each with each other; `unknown` where there are many.
  static Meeting meeting_of(const std::vector<Store>& stores) {
    constexpr size_t few = 64;
    Meeting found = stores.size() > few ? Meeting::unknown : Meeting::apart;
    for (size_t x = 0; x < stores.size() && found == Meeting::apart; ++x)
      for (size_t y = 0; y < x && found == Meeting::apart; ++y) found = meeting(stores[x].places(), stores[y].places());
    return found;
  }

  static void find_range(Store& store) {
    store.low = store.high = store.touch->access->offset;
    for (auto [stride, size] : store.steps.axes) (stride < 0 ? store.low : store.high) += stride * (size - 1);
  }

  // Marks the elements of a store; false if one was marked already.
  static bool mark(const Store& store, std::vector<bool>& seen) {
    const std::vector<std::pair<int64_t, int64_t>>& axes = store.steps.axes;
    std::vector<int64_t> index(axes.size(), 0);
    int64_t at = store.touch->access->offset;
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

  void check_stores(BufferId id, TouchRun run) {
    const Buffer& buffer = program_[id];
    std::vector<Store> stores;
    for (const Touch& t : run) {
      if (t.load || t.add || t.access->index_value >= 0) continue;
      Store store{&t, steps(t), 0, 0};
      if (store.steps.nothing) continue;
      at_touch(t);
      if (!is_one_to_one(store.steps)) {
        fail("P8: {} stores elements of {} more than once", kernel_name(t.kernel), buffer.name);
        continue;
      }
      find_range(store);
      stores.push_back(std::move(store));
    }
    if (stores.size() < 2) return;
    std::vector<std::pair<int64_t, int64_t>> ranges;
    for (const Store& store : stores) ranges.emplace_back(store.low, store.high);
    std::sort(ranges.begin(), ranges.end());
    bool apart = true;
    int64_t last = -1;
    for (auto [low, high] : ranges) {
      apart = apart && low > last;
      last = std::max(last, high);
    }
    if (apart) return;
    const Meeting known = meeting_of(stores);
    if (known == Meeting::meet) {
      at_kernel(stores.front().touch->kernel);
      fail("P8: two stores of {} to {} meet", kernel_name(stores.front().touch->kernel), buffer.name);
    }
    int64_t elements = Type{buffer.dtype, buffer.shape}.elements(program_.rows);
    if (known != Meeting::unknown || elements > max_enumerated || enumerated_ > max_enumerated_in_all) return;
    enumerated_ += elements;  // each store but the ones that meet another marks elements of its own
    std::vector<bool> seen(static_cast<size_t>(elements), false);
    for (const Store& store : stores) {
      at_touch(*store.touch);
      if (!mark(store, seen)) fail("P8: two stores of {} to {} meet", kernel_name(store.touch->kernel), buffer.name);
    }
  }

  // --- P9, P10 ---

  void check_first_and_last(BufferId id) {
    const Buffer& buffer = program_[id];
    if (buffer.slot.valid()) return;
    const std::vector<Touch>& touches = memory_[id.value];
    auto first_store = std::find_if(touches.begin(), touches.end(), [](const Touch& t) { return !t.load; });
    at_buffer(id.value);
    if ((buffer.kind == BufferKind::results || buffer.kind == BufferKind::output) && first_store == touches.end())
      fail("P10: {} is never stored", buffer.name);
    if ((buffer.kind == BufferKind::temporary || buffer.kind == BufferKind::local) && !touches.empty() && (touches.front().load || touches.front().add)) {
      at_touch(touches.front());
      fail("P10: {} is read by {} before it is stored", buffer.name, kernel_name(touches.front().kernel));
    }
    if (buffer.kind != BufferKind::persistent) return;
    if (is_partial(program_, id)) return check_exchange(buffer, touches);
    for (auto t = first_store; t != touches.end(); ++t) {
      if (!t->load && !regions_around(program_, t->kernel).empty()) {
        at_touch(*t);
        fail("P15: {} updates {} in a region", kernel_name(t->kernel), buffer.name);
      }
      if (!t->load) continue;
      at_touch(*t);
      fail("P9: {} reads {} after {} has updated it", kernel_name(t->kernel), buffer.name, kernel_name(first_store->kernel));
    }
  }

  /// Of a partial sum: who reads what it comes to stands behind all that store a part of it.
  void check_exchange(const Buffer& buffer, const std::vector<Touch>& touches) {
    std::set<size_t> storing;
    for (const Touch& t : touches)
      if (!t.load) storing.insert(t.kernel);
    for (const Touch& t : touches) {
      if (!t.load && !regions_around(program_, t.kernel).empty()) {
        at_touch(t);
        fail("P15: {} updates {} in a region", kernel_name(t.kernel), buffer.name);
      }
      if (!t.load || storing.empty() || storing.count(t.kernel) || t.kernel > *storing.rbegin()) continue;
      at_touch(t);
      fail("P9: {} reads {} before {} has stored a part of it", kernel_name(t.kernel), buffer.name, kernel_name(*storing.rbegin()));
    }
  }

  // What one kernel both loads and stores is touched at one and the same place, and loaded in its epilogue if it is a contraction, whose operands are read
  // while others store. In a kernel of one serial iteration that goes for each inner loop alone: within it, another iteration's store may come between.
  void check_places(BufferId id, TouchRun run) {
    const Buffer& buffer = program_[id];
    if (buffer.kind != BufferKind::temporary && buffer.kind != BufferKind::persistent && buffer.kind != BufferKind::local) return;
    const MapKernel* map = std::get_if<MapKernel>(&program_.kernels[run.front().kernel].body);
    bool single_iteration = map && map->serial;
    for (int axis = 0; single_iteration && axis < map->outer; ++axis) single_iteration = map->axes[size_t(axis)].extent == Extent{1, false};
    if (!single_iteration) return check_one_place(buffer, run);
    for (size_t begin = 0, end = 0; begin < run.size(); begin = end) {
      while (end < run.size() && run[end].block == run[begin].block) ++end;
      if (run[begin].place == CodePlace::inner_block) check_one_place(buffer, run.subspan(begin, end - begin));
    }
  }

  void check_one_place(const Buffer& buffer, TouchRun run) {
    auto loads = [](const Touch& t) { return t.load; };
    if (std::all_of(run.begin(), run.end(), loads) || std::none_of(run.begin(), run.end(), loads)) return;
    bool operand_loads = false, operand_stores = false;
    for (const Touch& t : run) {
      bool other_place = t.loops != run.front().loops || *t.access != *run.front().access || (t.load ? operand_stores : operand_loads);
      if (other_place) {
        at_touch(t);
        return fail("P9: {} stores {} and loads it at other places", kernel_name(t.kernel), buffer.name);
      }
      if (t.place == CodePlace::operand_a || t.place == CodePlace::operand_b) (t.load ? operand_loads : operand_stores) = true;
    }
  }

  // --- P15 ---

  // Two slots of a buffer that one kernel touches do not meet if it stores one of them.
  void check_slots_apart(TouchRun run) {
    std::map<BufferId, const Touch*> slots;  // of each a store, if there is one
    for (const Touch& t : run) {
      const Touch*& known = slots[t.access->buffer];
      if (!known || known->load) known = &t;
    }
    if (slots.size() < 2) return;
    if (slots.size() > max_slots) {
      at_kernel(run.front().kernel);
      return fail("P15: {} touches more than {} slots of a buffer", kernel_name(run.front().kernel), max_slots);
    }
    const std::vector<size_t> regions = regions_around(program_, run.front().kernel);
    for (auto x = slots.begin(); x != slots.end(); ++x)
      for (auto y = std::next(x); y != slots.end(); ++y) {
        if (x->second->load && y->second->load) continue;
        const bool together = program_[x->first].slot.per_round == program_[y->first].slot.per_round;
        const size_t from = together ? regions.size() : 0;
        if (!slot_range(program_, x->first, regions, from).meets(slot_range(program_, y->first, regions, from))) continue;
        at_touch(x->second->load ? *y->second : *x->second);
        fail("P15: {} touches {} and {}, which meet, and stores one of them", kernel_name(run.front().kernel), program_[x->first].name, program_[y->first].name);
      }
  }

  static int64_t step_of(const Buffer& buffer, size_t depth) { return depth < buffer.slot.per_round.size() ? buffer.slot.per_round[depth] : 0; }

  void check_rounds(size_t number, BufferId memory) {
    const Region& region = program_.regions[number];
    const std::vector<Touch>& touches = memory_[memory.value];
    auto begin = std::lower_bound(touches.begin(), touches.end(), region.first, [](const Touch& t, size_t k) { return t.kernel < k; });
    auto end = std::lower_bound(begin, touches.end(), region.first + region.count, [](const Touch& t, size_t k) { return t.kernel < k; });
    if (std::all_of(begin, end, [](const Touch& t) { return t.load; })) return;
    const bool stored_before = std::any_of(touches.begin(), begin, [](const Touch& t) { return !t.load; });
    std::map<BufferId, const Touch*> loads, stores;  // the first of each slot
    for (auto t = begin; t != end; ++t) {
      if (t->load || t->add) loads.try_emplace(t->access->buffer, &*t);
      if (!t->load) stores.try_emplace(t->access->buffer, &*t);
    }
    if (loads.size() > max_slots || stores.size() > max_slots) {
      at_kernel(region.first);
      return fail("P15: {} touches more than {} slots of a buffer", region.name, max_slots);
    }
    for (const auto& [load, reader] : loads) {
      const std::vector<size_t> around = regions_around(program_, reader->kernel);
      const size_t depth = size_t(std::find(around.begin(), around.end(), number) - around.begin());
      const SlotRange read = slot_range(program_, load, around, depth + 1), read_ever = slot_range(program_, load, around, 0);
      bool sound = false, meets = false;
      for (const auto& [store, writer] : stores) {
        const std::vector<size_t> there = regions_around(program_, writer->kernel);
        meets = meets || read_ever.meets(slot_range(program_, store, there, 0));
        const Buffer &a = program_[load], &b = program_[store];
        bool together = true;
        for (size_t d = 0; d <= depth; ++d) together = together && step_of(a, d) == step_of(b, d);
        if (!together) continue;
        SlotRange written = slot_range(program_, store, there, depth + 1);
        const bool earlier = std::pair(writer->kernel, writer->instruction) < std::pair(reader->kernel, reader->instruction);
        if (earlier && read.meets(written)) sound = true;
        const int64_t back = region.reverse ? step_of(b, depth) : -step_of(b, depth);
        written.begin += back;
        written.end += back;
        if (back != 0 && stored_before && read.meets(written)) sound = true;
      }
      if (sound || !meets) continue;
      at_touch(*reader);
      fail("P15: {} reads {} in a round of {} that has not stored it, nor has the one before", kernel_name(reader->kernel), program_[load].name, region.name);
    }
  }

  // --- P11 ---

  struct Life {
    uint32_t buffer;
    size_t first, last;
  };

  // What is touched outside of a region, too, or moves with it, lives in all of its rounds.
  std::pair<size_t, size_t> life_over_regions(const std::vector<Touch>& touches) const {
    size_t first = touches.front().kernel, last = touches.back().kernel;
    for (const Touch& t : touches) {
      const std::vector<size_t> around = program_.regions.empty() ? std::vector<size_t>{} : regions_around(program_, t.kernel);
      for (size_t depth = 0; depth < around.size(); ++depth) {
        const Region& region = program_.regions[around[depth]];
        const size_t end = region.first + region.count - 1;
        const bool inside = touches.front().kernel >= region.first && touches.back().kernel <= end;
        if (inside && step_of(program_[t.access->buffer], depth) == 0) continue;
        first = std::min(first, region.first);
        last = std::max(last, end);
        break;
      }
    }
    // What a parallel region's rounds share, or what lives in rounds of a region around it, lives in all of them.
    const auto home = program_[touches.front().access->buffer].kind == BufferKind::local ? innermost_parallel_region(program_, first, last) : std::nullopt;
    for (size_t r = 0; r < program_.parallel_regions.size(); ++r) {
      const ParallelRegion& region = program_.parallel_regions[r];
      if (home && r <= *home) continue;
      const bool touched = std::any_of(touches.begin(), touches.end(), [&](const Touch& t) { return t.kernel >= region.first && t.kernel < region.first + region.count; });
      if (!touched) continue;
      first = std::min(first, region.first);
      last = std::max(last, region.first + region.count - 1);
    }
    return {first, last};
  }

  // In the order of kernels, a buffer enters the set of those alive, ordered by their places, and leaves it after its last kernel. The set holds no two that
  // overlap, so that only the neighbours of a new one can. One that does overlap is reported and kept out.
  void check_block(BufferKind kind) {
    std::vector<Life> lives;
    for (uint32_t b = 0; b < touches_.size(); ++b) {
      const Buffer& buffer = program_.buffers[b];
      if (buffer.kind != kind || buffer.bytes == 0 || memory_[b].empty()) continue;
      auto [first, last] = life_over_regions(memory_[b]);
      lives.push_back({b, first, last});
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
    at_buffer(y.buffer);
    fail("P11: {} ({} bytes at {}, kernels {} to {}) and {} ({} bytes at {}, kernels {} to {}) overlap", a.name, a.bytes, a.offset, x.first, x.last,
         b.name, b.bytes, b.offset, y.first, y.last);
    return false;
  }

  // --- P12 ---

  struct TouchedMemory {
    const Buffer* buffer;
    bool store;
  };

  static bool share_memory(const Buffer& a, const Buffer& b) {
    if (&a == &b) return true;
    if (a.kind != b.kind) return false;
    if (a.kind == BufferKind::temporary || a.kind == BufferKind::persistent) return buffers_overlap(a, b);
    return (a.kind == BufferKind::results || a.kind == BufferKind::output) && a.offset == b.offset;
  }

  // Where a buffer's bytes lie in the memory of its kind: results and outputs by slot.
  static std::pair<int64_t, int64_t> bytes_of(const Buffer& b) {
    bool placed = b.kind == BufferKind::temporary || b.kind == BufferKind::persistent;
    return {b.offset, b.offset + (placed ? b.bytes : 1)};
  }

  // What kernels since the last barrier have touched, by kind of buffer.
  static constexpr size_t kinds = size_t(BufferKind::local) + 1;  // the last one
  struct Phase {
    ByteSet touched[kinds], stored[kinds];

    bool conflicts(const TouchedMemory& r) const {
      auto [begin, end] = bytes_of(*r.buffer);
      return (r.store ? touched : stored)[size_t(r.buffer->kind)].meets(begin, end);
    }
    void add(const TouchedMemory& r) {
      auto [begin, end] = bytes_of(*r.buffer);
      touched[size_t(r.buffer->kind)].add(begin, end);
      if (r.store) stored[size_t(r.buffer->kind)].add(begin, end);
    }
  };

  void check_barriers() {
    std::vector<std::vector<TouchedMemory>> touched(program_.kernels.size());
    std::vector<size_t> first(program_.kernels.size()), end(program_.kernels.size());  // of the outermost parallel region around it, or of itself
    for (size_t k = 0; k < first.size(); ++k) first[k] = k, end[k] = k + 1;
    for (const ParallelRegion& region : program_.parallel_regions)
      for (size_t k = region.first; k < region.first + region.count; ++k) first[k] = std::min(first[k], region.first), end[k] = std::max(end[k], region.first + region.count);
    for (uint32_t b = 0; b < memory_.size(); ++b) {
      if (program_.buffers[b].kind == BufferKind::local) continue;
      for_each_run(memory_[b], [&](TouchRun run) {
        bool store = std::any_of(run.begin(), run.end(), [](const Touch& t) { return !t.load; });
        touched[run.front().kernel].push_back({&program_.buffers[b], store});
      });
    }
    Phase parallel, serial;
    const std::vector<size_t> order = kernels_in_two_rounds(program_);
    size_t begin = 0;  // first kernel after the last barrier, in that order
    for (size_t at = 0; at < order.size() && !faults_.full(); ++at) {
      const size_t k = order[at];
      const Kernel& kernel = program_.kernels[k];
      if (kernel.barrier_before) {
        begin = at;
        parallel = serial = {};
      }
      if (std::any_of(touched[k].begin(), touched[k].end(),
                      [&](const TouchedMemory& r) { return parallel.conflicts(r) || (kernel.parallel && serial.conflicts(r)); }))
        name_conflicts(touched, std::span(order).subspan(begin, at - begin), k);
      if (k + 1 < end[k]) continue;  // within a parallel region nobody waits for anybody
      for (size_t done = first[k]; done <= k; ++done)
        for (const TouchedMemory& r : touched[done])
          if (!is_read_only(r.buffer->kind)) (kernel.parallel ? parallel : serial).add(r);
    }
  }

  void name_conflicts(const std::vector<std::vector<TouchedMemory>>& touched, std::span<const size_t> before, size_t k) {
    at_kernel(k);
    for (size_t earlier : before) {
      if (!program_.kernels[earlier].parallel && !program_.kernels[k].parallel) continue;
      if (const Buffer* shared = find_conflict(touched[earlier], touched[k]))
        fail("P12: {} and {} meet at {} without a barrier", kernel_name(earlier), kernel_name(k), shared->name);
    }
  }

  static const Buffer* find_conflict(const std::vector<TouchedMemory>& first, const std::vector<TouchedMemory>& second) {
    for (const TouchedMemory& a : first)
      for (const TouchedMemory& b : second)
        if ((a.store || b.store) && share_memory(*a.buffer, *b.buffer)) return b.buffer;
    return nullptr;
  }

  const Program& program_;
  const BufferTouches& touches_;
  FaultList& faults_;
  const BufferTouches merged_;
  const BufferTouches& memory_;  ///< by buffer with memory of its own: what touches it and its slots
  const ParallelNesting nesting_;
  int64_t enumerated_ = 0;  ///< elements that were looked at one by one
};

}  // namespace

void check_memory(const Program& program, const BufferTouches& touches, FaultList& faults) { MemoryChecker(program, touches, faults).run(); }

}  // namespace nnc
