// Order of kernels. Dependencies follow from what kernels load and store: a temporary is read after it was written, a persistent is overwritten after
// everybody else has read it, a partial sum that shares exchange is read after that. Among kernels that may run, the one that comes first in group order does, which puts a layer's update
// right beside its gradient. If overwriting in place would need a cycle, the new value goes to a temporary and is copied at the end.
#include <algorithm>
#include <map>
#include <queue>
#include <set>

#include "base/check.h"
#include "ir/kernel_code.h"
#include "ir/program_regions.h"
#include "ir/store_places.h"
#include "passes/costs.h"
#include "passes/lower.h"

namespace nnc {
namespace {

// Below this much work, waking other threads costs more than it saves.
constexpr double parallel_flops = 400e3;  // light operations: functions count several
constexpr double parallel_bytes = 512e3;

/// What kernels that are put in order as one touch: a kernel, or all of a region.
struct Unit {
  size_t first = 0, count = 1;  ///< kernels, as they stand before they are put in order
  size_t region = SIZE_MAX;     ///< the region that it is
};

/// Kernels to come, and regions around them, in the order that is found.
class Scheduler {
 public:
  explicit Scheduler(Program& program) : program_(program) {}

  void run() {
    put_in_order(0, program_.kernels.size(), 0, 0);
    std::vector<Kernel> kernels;
    for (size_t k : order_) kernels.push_back(std::move(program_.kernels[k]));
    program_.kernels = std::move(kernels);
    program_.regions = std::move(regions_);
  }

 private:
  struct Use {
    size_t unit;
    BufferId buffer;
    SlotRange range;  ///< of the buffer's memory, in one round of the regions around all units
    bool reads, writes;
  };

  /// Units from kernel `begin` to `end`, in `depth` regions; `next`: the first region that may begin there.
  void put_in_order(size_t begin, size_t end, size_t next, size_t depth) {
    std::vector<Unit> units;
    for (size_t k = begin; k < end;) {
      while (next < program_.regions.size() && program_.regions[next].first < k) ++next;
      Unit unit{k};
      if (next < program_.regions.size() && program_.regions[next].first == k) unit = {k, program_.regions[next].count, next};
      k += unit.count;
      units.push_back(unit);
      next = unit.region == SIZE_MAX ? next : unit.region + 1;
    }
    for (size_t u : sorted(units, depth)) {
      const Unit& unit = units[u];
      if (unit.region == SIZE_MAX) {
        order_.push_back(unit.first);
        continue;
      }
      const size_t number = regions_.size();
      regions_.push_back(program_.regions[unit.region]);
      regions_[number].first = order_.size();
      put_in_order(unit.first, unit.first + unit.count, unit.region + 1, depth + 1);
    }
  }

  std::vector<size_t> sorted(const std::vector<Unit>& units, size_t depth) const {
    std::vector<std::set<size_t>> after(units.size()), exchanged(units.size());  // units that must come later; of these: that wait for other shares
    for (auto& [memory, uses] : uses_of(units, depth)) {
      const bool is_sum = is_partial(program_, memory);
      add_dependencies(is_sum ? BufferKind::temporary : program_[memory].kind, units, uses, is_sum ? exchanged : after);
    }
    std::vector<int> waiting(units.size(), 0);
    std::vector<size_t> segment(units.size(), 0);  // what waits for no more exchanges comes first, so that there are as few as can be
    for (size_t i = 0; i < units.size(); ++i) {
      after[i].insert(exchanged[i].begin(), exchanged[i].end());
      for (size_t j : after[i]) ++waiting[j];
    }
    using Place = std::pair<size_t, size_t>;
    std::priority_queue<Place, std::vector<Place>, std::greater<>> ready;
    for (size_t i = 0; i < units.size(); ++i)
      if (waiting[i] == 0) ready.emplace(0, i);
    std::vector<size_t> order;
    while (!ready.empty()) {
      const size_t i = ready.top().second;
      ready.pop();
      order.push_back(i);
      for (size_t j : after[i]) {
        segment[j] = std::max(segment[j], segment[i] + exchanged[i].count(j));
        if (--waiting[j] == 0) ready.emplace(segment[j], j);
      }
    }
    NNC_CHECK(order.size() == units.size(), "the kernels' dependencies have a cycle");
    return order;
  }

  std::map<BufferId, std::vector<Use>> uses_of(const std::vector<Unit>& units, size_t depth) const {
    std::map<BufferId, std::vector<Use>> uses;
    for (size_t u = 0; u < units.size(); ++u)
      for (size_t k = units[u].first; k < units[u].first + units[u].count; ++k) {
        const std::vector<size_t> around = program_.regions.empty() ? std::vector<size_t>{} : regions_around(program_, k);
        std::map<BufferId, Use> own;
        for_each_access(program_.kernels[k], [&](const Instruction& i) {
          Use& use = own.try_emplace(i.access.buffer, Use{u, i.access.buffer, {}, false, false}).first->second;
          use.reads = use.reads || reads_memory(i);
          use.writes = use.writes || writes_memory(i);
        });
        for (auto& [buffer, use] : own) {
          use.range = slot_range(program_, buffer, around, depth);
          uses[memory_of(program_, buffer)].push_back(use);
        }
      }
    return uses;
  }

  /// A temporary is read after it was written, a persistent is overwritten after everybody else has read it; what a round of the regions around does in one part of a
  /// buffer has nothing to do with other parts.
  void add_dependencies(BufferKind kind, const std::vector<Unit>& units, std::vector<Use>& uses, std::vector<std::set<size_t>>& after) const {
    std::stable_sort(uses.begin(), uses.end(), [](const Use& x, const Use& y) { return x.range.begin < y.range.begin; });
    for (size_t begin = 0, end = 0; begin < uses.size(); begin = end) {
      int64_t reach = uses[begin].range.end;
      for (end = begin; end < uses.size() && uses[end].range.begin < reach; ++end) reach = std::max(reach, uses[end].range.end);
      std::set<size_t> readers, writing;
      for (size_t i = begin; i < end; ++i) {
        if (uses[i].reads) readers.insert(uses[i].unit);
        if (uses[i].writes) writing.insert(uses[i].unit);
      }
      const std::vector<size_t> writers(writing.begin(), writing.end());
      if (!make_parts(units, {uses.begin() + std::ptrdiff_t(begin), uses.begin() + std::ptrdiff_t(end)}, writers))
        for (size_t w = 0; w + 1 < writers.size(); ++w) after[writers[w]].insert(writers[w + 1]);
      for (size_t r : readers) {
        if (writing.count(r)) continue;
        for (size_t w : writers) {
          if (kind == BufferKind::persistent) after[r].insert(w);
          else after[w].insert(r);
        }
      }
    }
  }

  /// Whether these units are kernels that store elements of their own in one buffer, in any order.
  bool make_parts(const std::vector<Unit>& units, const std::vector<Use>& uses, const std::vector<size_t>& writers) const {
    if (writers.size() < 2) return true;
    BufferId buffer;
    for (const Use& use : uses) {
      if (!use.writes) continue;
      if (use.reads || units[use.unit].region != SIZE_MAX || (buffer.valid() && use.buffer != buffer)) return false;
      buffer = use.buffer;
    }
    for (size_t x = 0; x < writers.size(); ++x)
      for (size_t y = 0; y < x; ++y)
        if (!store_apart(program_, program_.kernels[units[writers[y]].first], program_.kernels[units[writers[x]].first], buffer)) return false;
    return true;
  }

  Program& program_;
  std::vector<size_t> order_;
  std::vector<Region> regions_;
};

struct Footprint {
  std::set<BufferId> reads, writes;
};

Footprint footprint(const Program& program, const Kernel& kernel) {
  Footprint result;
  for_each_access(kernel, [&](const Instruction& i) {
    const BufferId memory = memory_of(program, i.access.buffer);
    if (program[memory].kind == BufferKind::local) return;
    if (reads_memory(i)) result.reads.insert(memory);
    if (writes_memory(i)) result.writes.insert(memory);
  });
  return result;
}

}  // namespace

void order_kernels(Program& program) { Scheduler(program).run(); }

void place_barriers(Program& program) {
  std::vector<Footprint> prints;
  for (const Kernel& k : program.kernels) prints.push_back(footprint(program, k));
  // A parallel region is one kernel to all others: its first one touches what all of them do.
  for (const ParallelRegion& region : program.parallel_regions)
    for (size_t k = region.first + 1; k < region.first + region.count; ++k) {
      prints[region.first].reads.merge(std::set(prints[k].reads));
      prints[region.first].writes.merge(std::set(prints[k].writes));
    }

  // Threads and barriers. Regions are gone through twice, so that a round follows another; where threads share a region's kernels, it begins with a barrier.
  for (Kernel& kernel : program.kernels) {
    auto* map = std::get_if<MapKernel>(&kernel.body);
    const double work = map ? kernel_work(kernel, program.rows) : kernel.flops;
    bool enough = (map && kernel.bytes >= parallel_bytes) || work >= parallel_flops;
    kernel.parallel = enough && !(map && map->serial);
    kernel.barrier_before = false;
  }
  for (const ParallelRegion& region : program.parallel_regions)
    for (size_t k = region.first; k < region.first + region.count; ++k) program.kernels[k].parallel = true;
  for (const Region& region : program.regions) {
    const auto first = program.kernels.begin() + std::ptrdiff_t(region.first);
    first->barrier_before = first->barrier_before || std::any_of(first, first + std::ptrdiff_t(region.count), [](const Kernel& k) { return k.parallel; });
  }
  std::set<BufferId> read, written;  // since the last barrier
  bool parallel_before = false;
  for (size_t k : kernels_in_two_rounds(program)) {
    if (continues_round(program, k)) continue;
    Kernel& kernel = program.kernels[k];
    const Footprint& print = prints[k];
    bool conflict = false;
    for (BufferId b : print.reads) conflict = conflict || written.count(b);
    for (BufferId b : print.writes) conflict = conflict || written.count(b) || read.count(b);
    // Thread 0 does serial kernels in order by itself; two parallel kernels share the ticket.
    kernel.barrier_before = kernel.barrier_before || (kernel.parallel && parallel_before) || (conflict && (kernel.parallel || parallel_before));
    if (kernel.barrier_before) {
      read.clear();
      written.clear();
      parallel_before = false;
    }
    read.insert(print.reads.begin(), print.reads.end());
    written.insert(print.writes.begin(), print.writes.end());
    parallel_before = parallel_before || kernel.parallel;
  }
}

void share_all_kernels(Program& program) {
  for (size_t k = 0; k < program.kernels.size(); ++k) {
    Kernel& kernel = program.kernels[k];
    const auto* map = std::get_if<MapKernel>(&kernel.body);
    kernel.parallel = !(map && map->serial);
    kernel.barrier_before = !continues_round(program, k);
  }
  plan_memory(program);
}

}  // namespace nnc
