// Static memory plan: each temporary lives from its first store to its last load, in kernels of one step; kernels between two barriers may run at the same
// time, so lifetimes are widened to whole stretches between barriers. Buffers are placed largest first at the lowest offset where no buffer that
// lives at the same time stands (first fit by decreasing size: Gergov, "Algorithms for compile-time memory optimization", 1999).
#include <algorithm>
#include <climits>

#include "ir/kernel_code.h"
#include "ir/program_regions.h"
#include "passes/lower.h"

namespace nnc {
namespace {

constexpr int64_t alignment = 64;
int64_t aligned(int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

struct Life {
  int first = INT_MAX, last = -1;
};

/// What moves with a region's rounds, or is touched outside of the region, too, lives in all of its rounds.
void extend_over_regions(const Program& program, std::vector<Life>& lives) {
  for (auto region = program.regions.rbegin(); region != program.regions.rend(); ++region) {  // inner ones first
    const int first = int(region->first), last = int(region->first + region->count) - 1;
    const size_t depth = [&] {
      const std::vector<size_t> around = regions_around(program, region->first);
      return size_t(std::find(around.begin(), around.end(), size_t(program.regions.rend() - region) - 1) - around.begin());
    }();
    std::vector<bool> moves(lives.size(), false);
    for (size_t k = region->first; k < region->first + region->count; ++k)
      for_each_access(program.kernels[k], [&](const Instruction& i) {
        const Slot& slot = program[i.access.buffer].slot;
        if (depth < slot.per_round.size() && slot.per_round[depth] != 0) moves[slot.of.value] = true;
      });
    for (size_t b = 0; b < lives.size(); ++b) {
      Life& life = lives[b];
      const bool touched = life.last >= first && life.first <= last;
      if (!touched || (life.first >= first && life.last <= last && !moves[b])) continue;
      life.first = std::min(life.first, first);
      life.last = std::max(life.last, last);
    }
  }
}

/// What rounds of a parallel region share lives in all of them; so does what lives in a round of a region around it.
void extend_over_parallel_regions(const Program& program, std::vector<Life>& lives) {
  for (size_t b = 0; b < lives.size(); ++b) {
    Life& life = lives[b];
    if (life.last < 0) continue;
    const auto home = program.buffers[b].kind == BufferKind::local ? innermost_parallel_region(program, size_t(life.first), size_t(life.last)) : std::nullopt;
    for (size_t r = home ? *home + 1 : 0; r < program.parallel_regions.size(); ++r) {
      const ParallelRegion& region = program.parallel_regions[r];
      const int first = int(region.first), last = int(region.first + region.count) - 1;
      if (life.last < first || last < life.first) continue;
      life.first = std::min(life.first, first);
      life.last = std::max(life.last, last);
    }
  }
}

/// Gives these buffers places in one block, of which it returns the size.
int64_t place_in_block(Program& program, const std::vector<Life>& lives, std::vector<uint32_t> order) {
  int64_t bytes = 0;
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return program.buffers[a].bytes > program.buffers[b].bytes; });
  std::vector<uint32_t> placed;  // by offset
  for (uint32_t i : order) {
    Buffer& b = program.buffers[i];
    int64_t need = aligned(std::max<int64_t>(b.bytes, 1)), at = 0;
    for (uint32_t j : placed) {
      if (lives[j].last < lives[i].first || lives[i].last < lives[j].first) continue;
      const Buffer& other = program.buffers[j];
      if (at + need <= other.offset) break;
      at = std::max(at, other.offset + aligned(std::max<int64_t>(other.bytes, 1)));
    }
    b.offset = at;
    bytes = std::max(bytes, at + need);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), at, [&](int64_t v, uint32_t j) { return v < program.buffers[j].offset; }), i);
  }
  return bytes;
}

}  // namespace

void plan_memory(Program& program) {
  std::vector<Life> lives(program.buffers.size());
  std::vector<int> stretch_begin(program.kernels.size()), stretch_end(program.kernels.size());
  int begin = 0;
  bool any_parallel = false;
  for (const Kernel& k : program.kernels) any_parallel = any_parallel || k.parallel;
  for (int k = 0; k < int(program.kernels.size()); ++k) {
    // No stretch goes from a region's end around to its beginning: where threads share its kernels, it begins with a barrier (schedule).
    if (!any_parallel || program.kernels[size_t(k)].barrier_before) begin = k;
    stretch_begin[size_t(k)] = begin;
    for (int i = begin; i <= k; ++i) stretch_end[size_t(i)] = k;
  }
  for (size_t k = 0; k < program.kernels.size(); ++k)
    for_each_access(program.kernels[k], [&](const Instruction& i) {
      Life& life = lives[memory_of(program, i.access.buffer).value];
      life.first = std::min(life.first, int(k));
      life.last = std::max(life.last, int(k));
    });
  extend_over_parallel_regions(program, lives);
  extend_over_regions(program, lives);
  for (size_t b = 0; b < lives.size(); ++b) {
    Life& life = lives[b];
    if (life.last < 0 || program.buffers[b].kind == BufferKind::local) continue;
    life.first = stretch_begin[size_t(life.first)];
    life.last = stretch_end[size_t(life.last)];
  }
  program.persistent_bytes = 0;
  std::vector<uint32_t> temporaries, locals;
  for (uint32_t i = 0; i < program.buffers.size(); ++i) {
    Buffer& b = program.buffers[i];
    b.bytes = buffer_bytes(b, program.rows);
    if (b.slot.valid()) continue;
    if (b.kind == BufferKind::persistent) {
      b.offset = program.persistent_bytes;
      program.persistent_bytes += aligned(b.bytes);
    } else if (lives[i].last >= 0) {
      if (b.kind == BufferKind::temporary) temporaries.push_back(i);
      if (b.kind == BufferKind::local) locals.push_back(i);
    }
  }
  program.arena_bytes = place_in_block(program, lives, std::move(temporaries));
  program.local_bytes = place_in_block(program, lives, std::move(locals));
  place_slots(program);
}

}  // namespace nnc
