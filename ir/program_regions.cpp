// Regions of a program: nesting follows from the ranges of kernels alone.
#include "ir/program_regions.h"

#include <algorithm>
#include <utility>

#include "ir/kernel_code.h"

namespace nnc {
namespace {

/// visit_kernel(k) and visit_region(number, repeat) for what stands from kernel `begin` to `end`, regions from number `next` on: `repeat()` does what is in the region.
class Walk {
 public:
  explicit Walk(const Program& program) : program_(program) {}

  template <class Kernels, class Inside>
  void run(size_t begin, size_t end, size_t next, Kernels& kernel, Inside& inside) {
    for (size_t k = begin; k < end;) {
      while (next < program_.regions.size() && program_.regions[next].first < k) ++next;
      if (next < program_.regions.size() && program_.regions[next].first == k && program_.regions[next].count > 0) {
        const Region& region = program_.regions[next];
        const size_t number = next++;
        inside(number, [&] { run(region.first, region.first + region.count, number + 1, kernel, inside); });
        k = region.first + region.count;
        continue;
      }
      kernel(k++);
    }
  }

 private:
  const Program& program_;
};

}  // namespace

std::vector<size_t> regions_around(const Program& program, size_t kernel) {
  std::vector<size_t> found;
  for (size_t r = 0; r < program.regions.size(); ++r)
    if (kernel >= program.regions[r].first && kernel - program.regions[r].first < program.regions[r].count) found.push_back(r);
  return found;
}

int64_t rounds_of(const Program& program, size_t kernel) {
  int64_t rounds = 1;
  for (size_t r : regions_around(program, kernel)) rounds *= program.regions[r].rounds;
  return rounds;
}

ParallelNesting::ParallelNesting(const Program& program) : program_(program), innermost_(program.kernels.size(), none) {
  for (size_t r = 0; r < program.parallel_regions.size(); ++r) {  // an inner one stands behind the one around it
    const ParallelRegion& region = program.parallel_regions[r];
    around_.push_back(innermost_[region.first]);
    std::fill_n(innermost_.begin() + std::ptrdiff_t(region.first), region.count, r);
  }
}

size_t ParallelNesting::innermost(size_t first, size_t last) const {
  size_t found = innermost_[first];
  while (found != none && last >= program_.parallel_regions[found].first + program_.parallel_regions[found].count) found = around_[found];
  return found;
}

std::optional<size_t> innermost_parallel_region(const Program& program, size_t first, size_t last) {
  std::optional<size_t> found;
  for (size_t r = 0; r < program.parallel_regions.size(); ++r) {
    const ParallelRegion& region = program.parallel_regions[r];
    if (region.first <= first && last < region.first + region.count) found = r;
  }
  return found;
}

bool continues_round(const Program& program, size_t kernel) {
  return std::any_of(program.parallel_regions.begin(), program.parallel_regions.end(), [&](const ParallelRegion& r) { return r.first < kernel && kernel < r.first + r.count; });
}

int round_axes(const Program& program, size_t kernel) {
  const auto region = innermost_parallel_region(program, kernel, kernel);
  return region ? program.parallel_regions[*region].axes : 0;
}

namespace {

class Turns {
 public:
  Turns(const Program& program, int64_t rows, const std::function<void(const Turn&)>& visit) : program_(program), rows_(rows), visit_(visit) {}

  void run() {
    auto kernel = [&](size_t k) {
      if (k < done_) return;  // with its parallel region
      done_ = k + 1;
      const std::vector<ParallelRegion>& parallel = program_.parallel_regions;
      auto region = std::lower_bound(parallel.begin(), parallel.end(), k, [](const ParallelRegion& r, size_t at) { return r.first < at; });
      if (region == parallel.end() || region->first != k) return visit_({k, rounds_, point_, false});
      done_ = k + region->count;
      run_parallel(size_t(region - parallel.begin()), 0);
    };
    auto inside = [&](size_t number, const auto& repeat) {
      const Region& region = program_.regions[number];
      for (int64_t round = 0; round < region.rounds; ++round) {
        rounds_.push_back(region.reverse ? region.rounds - 1 - round : round);
        done_ = region.first;
        repeat();
        rounds_.pop_back();
      }
    };
    Walk(program_).run(0, program_.kernels.size(), 0, kernel, inside);
  }

 private:
  /// Its axes from number `axis` on.
  void run_parallel(size_t number, size_t axis) {
    const ParallelRegion& region = program_.parallel_regions[number];
    if (axis < size_t(region.axes)) {
      const int64_t size = axes_of(program_.kernels[region.first])[axis].extent.at(rows_);
      for (int64_t i = 0; i < size; ++i) {
        point_.push_back(i);
        run_parallel(number, axis + 1);
        point_.pop_back();
      }
      return;
    }
    const size_t end = region.first + region.count;
    size_t next = number + 1;
    const bool outermost = !innermost_around(number);
    for (size_t k = region.first; k < end;) {
      while (next < program_.parallel_regions.size() && program_.parallel_regions[next].first < k) ++next;
      if (next < program_.parallel_regions.size() && program_.parallel_regions[next].first == k) {
        begins_ = begins_ || (outermost && k == region.first);
        const size_t inner = next++;
        run_parallel(inner, point_.size());
        k += program_.parallel_regions[inner].count;
        continue;
      }
      const bool begins = std::exchange(begins_, false) || (outermost && k == region.first);
      visit_({k++, rounds_, point_, begins});
    }
  }

  bool innermost_around(size_t number) const {
    const ParallelRegion& region = program_.parallel_regions[number];
    return std::any_of(program_.parallel_regions.begin(), program_.parallel_regions.begin() + std::ptrdiff_t(number),
                       [&](const ParallelRegion& other) { return other.first <= region.first && region.first < other.first + other.count; });
  }

  const Program& program_;
  const int64_t rows_;
  const std::function<void(const Turn&)>& visit_;
  std::vector<int64_t> rounds_, point_;
  size_t done_ = 0;  ///< kernels before it have run in this round
  bool begins_ = false;
};

}  // namespace

void for_each_turn(const Program& program, int64_t rows, const std::function<void(const Turn&)>& visit) { Turns(program, rows, visit).run(); }

bool is_partial(const Program& program, BufferId id) {
  return program[id].kind == BufferKind::persistent &&
         std::ranges::any_of(program.persistents, [&](const PersistentPlace& p) { return p.buffer == id && p.persistent.kind == PersistentKind::partial; });
}

std::vector<size_t> segments_of(const Program& program) {
  std::vector<size_t> segments{0};
  std::vector<bool> partial(program.buffers.size(), false), stored(program.buffers.size(), false);
  for (const PersistentPlace& p : program.persistents) partial[p.buffer.value] = p.persistent.kind == PersistentKind::partial;
  for (size_t k = 0; k < program.kernels.size(); ++k) {
    std::vector<BufferId> own;
    bool waits = false;
    for_each_access(program.kernels[k], [&](const Instruction& i) {
      if (const BufferId memory = memory_of(program, i.access.buffer); partial[memory.value] && writes_memory(i)) own.push_back(memory);
    });
    for_each_access(program.kernels[k], [&](const Instruction& i) {
      const BufferId memory = memory_of(program, i.access.buffer);
      waits = waits || (stored[memory.value] && !writes_memory(i) && std::ranges::find(own, memory) == own.end());
    });
    if (waits) {
      size_t first = k;
      if (const std::vector<size_t> around = regions_around(program, k); !around.empty()) first = program.regions[around.front()].first;
      for (const ParallelRegion& region : program.parallel_regions)
        if (region.first < first && first < region.first + region.count) first = region.first;
      segments.push_back(first);
      stored.assign(stored.size(), false);
    }
    for (BufferId memory : own) stored[memory.value] = true;
  }
  return segments;
}

std::vector<size_t> kernels_in_two_rounds(const Program& program) {
  std::vector<size_t> order;
  auto kernel = [&](size_t k) { order.push_back(k); };
  auto inside = [&](size_t, const auto& repeat) {
    repeat();
    repeat();
  };
  Walk(program).run(0, program.kernels.size(), 0, kernel, inside);
  return order;
}

int64_t stretch_of(const Buffer& buffer, int64_t rows) {
  int64_t stretch = 1;
  for (size_t i = buffer.kind == BufferKind::field ? 1 : 0; i < buffer.shape.size(); ++i) stretch *= std::max<int64_t>(buffer.shape[i].at(rows), 1);
  return stretch;
}

SlotRange slot_range(const Program& program, BufferId id, const std::vector<size_t>& regions, size_t from) {
  const Buffer& buffer = program[id];
  SlotRange range{buffer.slot.first, buffer.slot.first + stretch_of(buffer, program.rows)};
  for (size_t depth = from; depth < regions.size() && depth < buffer.slot.per_round.size(); ++depth) {
    const int64_t way = buffer.slot.per_round[depth] * (program.regions[regions[depth]].rounds - 1);
    (way < 0 ? range.begin : range.end) += way;
  }
  return range;
}

}  // namespace nnc
