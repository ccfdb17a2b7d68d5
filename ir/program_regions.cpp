// Regions of a program: nesting follows from the ranges of kernels alone.
#include "ir/program_regions.h"

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

void for_each_round(const Program& program, const std::function<void(size_t, const std::vector<int64_t>&)>& visit) {
  std::vector<int64_t> rounds;
  auto kernel = [&](size_t k) { visit(k, rounds); };
  auto inside = [&](size_t number, const auto& repeat) {
    const Region& region = program.regions[number];
    for (int64_t round = 0; round < region.rounds; ++round) {
      rounds.push_back(region.reverse ? region.rounds - 1 - round : round);
      repeat();
      rounds.pop_back();
    }
  };
  Walk(program).run(0, program.kernels.size(), 0, kernel, inside);
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

SlotRange slot_range(const Program& program, BufferId id, const std::vector<size_t>& regions, size_t from) {
  const Buffer& buffer = program[id];
  int64_t elements = 1;
  for (size_t i = buffer.kind == BufferKind::field ? 1 : 0; i < buffer.shape.size(); ++i) elements *= buffer.shape[i].at(program.rows);
  SlotRange range{buffer.slot.first, buffer.slot.first + elements};
  for (size_t depth = from; depth < regions.size() && depth < buffer.slot.per_round.size(); ++depth) {
    const int64_t way = buffer.slot.per_round[depth] * (program.regions[regions[depth]].rounds - 1);
    (way < 0 ? range.begin : range.end) += way;
  }
  return range;
}

}  // namespace nnc
