// A temporary dies at the end of the stretch of kernels between two barriers in which it is read last: no other kernel of that stretch may have been given
// its memory. The fills of a stretch stand at its end, after a barrier of their own, and whatever comes next begins with one. What is read and when is
// seen from the kernels' accesses alone, not from the lifetimes that plan_memory computed: those are on trial.
#include "passes/poison.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "base/check.h"
#include "ir/kernel_code.h"
#include "ir/program_regions.h"

namespace nnc {
namespace {

double poison_of(DType type) {
  switch (type) {
    case DType::f32:
    case DType::f64: return std::numeric_limits<double>::quiet_NaN();
    case DType::i32:
    case DType::i64: return 0x5A5A5A5A;
    case DType::u8: return 0xA5;
    case DType::boolean: return 1;
  }
  NNC_UNREACHABLE("element type");
}

/// Every byte of the buffer for the planned rows, whatever its shape.
Kernel make_fill(const Program& program, BufferId id) {
  const Buffer& buffer = program[id];
  int64_t elements = Type{buffer.dtype, buffer.shape}.elements(program.rows);
  Instruction number, store;
  number.kind = Instruction::Kind::constant;
  number.id = 0;
  number.dtype = buffer.dtype;
  number.number = poison_of(buffer.dtype);
  store.kind = Instruction::Kind::store;
  store.dtype = buffer.dtype;
  store.operands = {0};
  store.access.buffer = id;
  store.access.strides = {1};
  MapKernel map;
  map.axes = {Axis{"i", Extent{elements}}};
  map.outer = 1;
  map.vector_axis = 0;
  map.blocks.push_back({false, {std::move(number), std::move(store)}});
  Kernel kernel;
  kernel.name = fmt::format("poison.{}", id.value);
  kernel.body = std::move(map);
  kernel.bytes = double(buffer.bytes);
  return kernel;
}

/// Rounds of a parallel region run at the same time: what one of its kernels touches last dies behind all of them.
size_t last_in_parallel_region(const Program& program, size_t kernel) {
  for (const ParallelRegion& region : program.parallel_regions)  // an outer one stands first
    if (kernel >= region.first && kernel < region.first + region.count) return region.first + region.count - 1;
  return kernel;
}

}  // namespace

void poison_dead(Program& program) {
  constexpr size_t never = SIZE_MAX;
  struct Death {
    size_t kernel = never;  ///< the last that touches it
    size_t region = never;  ///< or the outermost region that it outlives: it dies behind it
  };
  // Of memory, slots and all: in a region it lives in all rounds if it is touched outside, too, or through a slot that moves.
  std::vector<Death> deaths(program.buffers.size());
  std::vector<std::vector<size_t>> touching(program.buffers.size());  // kernels
  for (size_t k = 0; k < program.kernels.size(); ++k)
    for_each_access(program.kernels[k], [&](const Instruction& i) {
      std::vector<size_t>& all = touching[memory_of(program, i.access.buffer).value];
      if (all.empty() || all.back() != k) all.push_back(k);
    });
  std::vector<std::set<size_t>> moved_by(program.buffers.size());  // regions
  for (size_t k = 0; k < program.kernels.size() && !program.regions.empty(); ++k) {
    const std::vector<size_t> around = regions_around(program, k);
    for_each_access(program.kernels[k], [&](const Instruction& i) {
      const Slot& slot = program[i.access.buffer].slot;
      for (size_t d = 0; d < slot.per_round.size(); ++d)
        if (slot.per_round[d] != 0) moved_by[slot.of.value].insert(around[d]);
    });
  }
  for (uint32_t b = 0; b < program.buffers.size(); ++b) {
    if (program.buffers[b].kind != BufferKind::temporary || touching[b].empty()) continue;
    deaths[b].kernel = last_in_parallel_region(program, touching[b].back());
    for (size_t r : regions_around(program, touching[b].back())) {
      if (touching[b].front() >= program.regions[r].first && !moved_by[b].count(r)) continue;
      deaths[b].region = r;
      break;
    }
  }
  std::vector<std::vector<BufferId>> dying(program.kernels.size()), dying_behind(program.regions.size());
  for (uint32_t b = 0; b < program.buffers.size(); ++b) {
    if (deaths[b].region != never) dying_behind[deaths[b].region].push_back(BufferId{b});
    else if (deaths[b].kernel != never) dying[deaths[b].kernel].push_back(BufferId{b});
  }

  bool parallel = std::any_of(program.kernels.begin(), program.kernels.end(), [](const Kernel& k) { return k.parallel; });
  std::vector<Kernel> kernels;
  std::vector<BufferId> waiting;
  bool filled = false;
  auto fill = [&] {
    for (size_t i = 0; i < waiting.size(); ++i) {
      kernels.push_back(make_fill(program, waiting[i]));
      kernels.back().barrier_before = i == 0;
    }
    filled = filled || !waiting.empty();
    waiting.clear();
  };
  std::vector<ParallelRegion> shifted = program.parallel_regions;  // within them nothing is filled
  std::vector<size_t> ends, open;  // where regions end; those around
  for (const Region& region : program.regions) ends.push_back(region.first + region.count);
  size_t next = 0;
  for (size_t k = 0; k < program.kernels.size(); ++k) {
    const bool begins = next < program.regions.size() && program.regions[next].first == k;
    if (k > 0 && (!parallel || begins || program.kernels[k].barrier_before)) fill();
    for (size_t r = 0; r < shifted.size(); ++r)
      if (program.parallel_regions[r].first == k) shifted[r].first = kernels.size();
    for (; next < program.regions.size() && program.regions[next].first == k; ++next) {
      open.push_back(next);
      program.regions[next].first = kernels.size();
    }
    kernels.push_back(std::move(program.kernels[k]));
    if (std::exchange(filled, false)) kernels.back().barrier_before = true;
    waiting.insert(waiting.end(), dying[k].begin(), dying[k].end());
    for (; !open.empty() && ends[open.back()] == k + 1; open.pop_back()) {
      Region& region = program.regions[open.back()];
      fill();  // what dies in each round
      if (filled) kernels[region.first].barrier_before = true;
      region.count = kernels.size() - region.first;
      waiting.insert(waiting.end(), dying_behind[open.back()].begin(), dying_behind[open.back()].end());
    }
  }
  fill();
  program.parallel_regions = std::move(shifted);
  program.kernels = std::move(kernels);
}

void spread_memory(Program& program, int64_t gap) {
  NNC_CHECK(gap > 0 && gap % 64 == 0, "the gap between buffers keeps their alignment");
  program.arena_bytes = program.persistent_bytes = program.local_bytes = 0;
  for (Buffer& b : program.buffers) {
    const bool placed = b.kind == BufferKind::temporary || b.kind == BufferKind::persistent || b.kind == BufferKind::local;
    if (!placed || b.slot.valid()) continue;
    int64_t& end = b.kind == BufferKind::temporary ? program.arena_bytes : b.kind == BufferKind::local ? program.local_bytes : program.persistent_bytes;
    b.offset = end + gap;
    end = (b.offset + b.bytes + 63) / 64 * 64 + gap;
  }
  place_slots(program);
}

}  // namespace nnc
