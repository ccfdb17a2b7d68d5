// Rounds of a parallel region run in any order and at the same time. That is sound if no round sees what another one stores, which is told by the accesses' strides: along the
// region's axes they are equal, and what an access covers in a round is the same for all who touch the buffer and small enough that the next round lies behind it.
#include "ir/verify_parallel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "ir/kernel_code.h"
#include "ir/program_regions.h"
#include "ir/store_places.h"

namespace nnc {
namespace {

using Steps = std::vector<std::pair<int64_t, int64_t>>;  // stride and size of axes of more than one index

class ParallelChecker {
 public:
  ParallelChecker(const Program& program, FaultList& faults) : program_(program), faults_(faults) {}

  void check_ranges() {
    std::vector<size_t> open;  // ends of the parallel regions around
    size_t last_first = 0;
    for (size_t r = 0; r < program_.parallel_regions.size(); ++r) {
      const ParallelRegion& region = program_.parallel_regions[r];
      at_region(r);
      const size_t kernels = program_.kernels.size();
      if (region.count == 0 || region.first >= kernels || region.count > kernels - region.first || region.axes < 1) return fail("P17: {} has no kernels or no axes", region.name);
      const size_t end = region.first + region.count;
      if (region.first < last_first) return fail("P17: {} begins before the region that stands before it", region.name);
      last_first = region.first;
      while (!open.empty() && open.back() <= region.first) open.pop_back();
      if (!open.empty() && open.back() < end) return fail("P17: {} is neither in the region around its first kernel nor apart from it", region.name);
      open.push_back(end);
      if (open.size() > max_region_depth) return fail("P17: more than {} regions are around {}", max_region_depth, program_.kernels[region.first].name);
      for (const Region& other : program_.regions) {
        const size_t other_end = other.first + other.count;
        const bool apart = other_end <= region.first || end <= other.first, around = other.first <= region.first && end <= other_end;
        if (!apart && !around) return fail("P17: rounds of {} are in {}", other.name, region.name);
      }
    }
  }

  void check_rounds(const BufferTouches& touches) {
    for (size_t r = 0; r < program_.parallel_regions.size(); ++r) check_kernels(r);
    if (!faults_.empty()) return;
    const ParallelNesting nesting(program_);
    nesting_ = &nesting;
    for (uint32_t b = 0; b < touches.size() && !faults_.full(); ++b) {
      if (touches[b].empty()) continue;
      if (program_.buffers[b].kind == BufferKind::local) check_local(b, touches[b]);
    }
    if (!faults_.empty()) return;
    // By memory: slots of one buffer are told apart by nobody here.
    std::vector<std::vector<const Touch*>> all(touches.size());
    for (uint32_t b = 0; b < touches.size(); ++b)
      for (const Touch& t : touches[b]) all[memory_of(program_, BufferId{b}).value].push_back(&t);
    for (uint32_t b = 0; b < all.size() && !faults_.full(); ++b) check_buffer(b, std::move(all[b]));
  }

 private:
  template <class... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    faults_.add(fmt::format(format, std::forward<Args>(args)...));
  }
  void at_region(size_t region) {
    faults_.where = {};
    faults_.where.parallel = region;
  }
  void at_kernel(size_t kernel) {
    faults_.where = {};
    faults_.where.kernel = kernel;
  }
  void at_touch(const Touch& t) {
    at_kernel(t.kernel);
    faults_.where.instruction = t.instruction;
  }

  /// Of every kernel the first axes, which all have.
  void check_kernels(size_t number) {
    const ParallelRegion& region = program_.parallel_regions[number];
    const std::vector<Axis>& first = axes_of(program_.kernels[region.first]);
    for (size_t k = region.first; k < region.first + region.count; ++k) {
      const Kernel& kernel = program_.kernels[k];
      at_kernel(k);
      const MapKernel* map = std::get_if<MapKernel>(&kernel.body);
      const std::vector<Axis>& axes = axes_of(kernel);
      const int may = map ? map->outer - (map->vector_axis == map->outer - 1 ? 1 : 0) : std::get<ContractKernel>(kernel.body).batch;
      if (!kernel.parallel || (map && map->serial)) fail("P17: {} is in {}, whose rounds are shared out to threads, but is done by one", kernel.name, region.name);
      if (kernel.barrier_before && k > region.first) fail("P17: {} waits for other threads in a round of {}", kernel.name, region.name);
      if (region.axes > may) {
        fail("P17: {} has {} axes that {} may go over, not {}", kernel.name, may, region.name, region.axes);
        continue;
      }
      for (size_t axis = 0; axis < size_t(region.axes); ++axis) {
        if (axis < first.size() && axes[axis].extent != first[axis].extent) fail("P17: axis {} of {} is not that of the first kernel of {}", axes[axis].name, kernel.name, region.name);
        if (axes[axis].together != 1) fail("P17: {} takes {} indices of axis {} together, which {} goes over", kernel.name, axes[axis].together, axes[axis].name, region.name);
      }
      for_each_piece_fault(kernel, region);
    }
  }

  /// What has pieces of work of its own.
  void for_each_piece_fault(const Kernel& kernel, const ParallelRegion& region) {
    const MapKernel* map = std::get_if<MapKernel>(&kernel.body);
    if (!map) return;
    bool chained = false, guarded = false;
    for (const Block& block : map->blocks)
      for (const Instruction& i : block.code) {
        chained = chained || i.kind == Instruction::Kind::link || i.kind == Instruction::Kind::linked || i.kind == Instruction::Kind::touched;
        guarded = guarded || i.kind == Instruction::Kind::guard;
      }
    const bool together = std::any_of(map->axes.begin(), map->axes.end(), [](const Axis& a) { return a.together != 1; });
    if (chained || guarded || together) fail("P17: {} shares out its work by itself, and cannot stand in {}", kernel.name, region.name);
  }

  void check_local(uint32_t b, const std::vector<Touch>& touches) {
    const Buffer& buffer = program_.buffers[b];
    const size_t home = nesting_->innermost(touches.front().kernel, touches.back().kernel);
    at_touch(touches.front());
    if (home == ParallelNesting::none) return fail("P18: {} is local, but touched in no one parallel region", buffer.name);
    const ParallelRegion& region = program_.parallel_regions[home];
    for (const Touch& t : touches)
      for (size_t axis = 0; axis < size_t(region.axes); ++axis) {
        if (t.access->strides[axis] == 0) continue;
        at_touch(t);
        return fail("P18: {} is local to a round of {}, but its place depends on the round", buffer.name, region.name);
      }
  }

  Steps steps(const Touch& t, size_t from, size_t to) const {
    Steps out;
    for (size_t i = from; i < to; ++i) {
      if (!t.loops[i] || t.access->strides[i] == 0) continue;
      const int64_t size = (*t.axes)[i].extent.at(program_.rows);
      if (size > 1) out.emplace_back(t.access->strides[i], size);
    }
    return out;
  }

  /// Sorted by stride; neighbours that are one run of places are one.
  static Steps merged(Steps steps) {
    std::sort(steps.begin(), steps.end());
    Steps out;
    for (auto [stride, size] : steps) {
      if (!out.empty() && out.back().first * out.back().second == stride)
        out.back().second *= size;
      else
        out.emplace_back(stride, size);
    }
    return out;
  }

  static bool is_one_to_one(Steps steps) {
    for (auto& [stride, size] : steps) stride = std::abs(stride);
    std::sort(steps.begin(), steps.end());
    int64_t reach = 0;
    for (auto [stride, size] : steps) {
      if (stride <= reach) return false;
      reach += stride * (size - 1);
    }
    return true;
  }

  /// Each parallel region by itself: rounds of an inner one run one after the other, but what a later one stores is not there yet.
  void check_buffer(uint32_t b, std::vector<const Touch*> touches) {
    if (touches.empty()) return;
    std::stable_sort(touches.begin(), touches.end(), [](const Touch* x, const Touch* y) { return x->kernel < y->kernel; });
    const Buffer& buffer = program_.buffers[b];
    // The rounds that a local buffer lives in are told apart by nothing but time.
    const size_t home = buffer.kind == BufferKind::local ? nesting_->innermost(touches.front()->kernel, touches.back()->kernel) : ParallelNesting::none;
    std::map<size_t, std::vector<const Touch*>> inside;  // by region, an outer one first
    for (const Touch* t : touches)
      for (size_t r = nesting_->innermost(t->kernel); r != home && r != ParallelNesting::none; r = nesting_->around(r)) inside[r].push_back(t);
    const size_t first_axis = home == ParallelNesting::none ? 0 : size_t(program_.parallel_regions[home].axes);
    for (const auto& [region, those] : inside)
      if (!check_rounds_apart(buffer, region, first_axis, those)) return;
  }

  /// Whether kernels only store elements that they do not have in common: then no round sees another one's, nor has to keep it. Each store is one-to-one by itself.
  bool makes_parts(const Buffer& buffer, size_t first_axis, const std::vector<const Touch*>& touches) const {
    constexpr size_t most = 64;
    if (touches.size() > most) return false;
    std::vector<Places> places;
    for (const Touch* t : touches) {
      if (t->load || t->add || t->access->index_value >= 0 || &program_[t->access->buffer] != &buffer) return false;
      places.push_back(places_of(*t->access, *t->axes, program_.rows, first_axis));
    }
    for (size_t x = 0; x < places.size(); ++x)
      for (size_t y = 0; y < x; ++y)
        if (meeting(places[x], places[y]) != Meeting::apart) return false;
    return true;
  }

  bool several(const Touch& t, size_t axis) const { return (*t.axes)[axis].extent.at(program_.rows) > 1; }

  /// What touches a buffer in a region, of which the axes from `first_axis` on take its rounds apart. False: a fault.
  bool check_rounds_apart(const Buffer& buffer, size_t number, size_t first_axis, const std::vector<const Touch*>& touches) {
    auto store = std::find_if(touches.begin(), touches.end(), [](const Touch* t) { return !t->load; });
    if (store == touches.end()) return true;
    const ParallelRegion& region = program_.parallel_regions[number];
    auto found = [&](const Touch& t) {
      at_touch(t);
      fail("P17: a round of {} may see what another one stores in {}", region.name, buffer.name);
      return false;
    };
    if (buffer.kind == BufferKind::persistent || buffer.kind == BufferKind::results) {
      at_touch(**store);
      fail("P17: {} is stored by rounds that run at the same time", buffer.name);
      return false;
    }
    const Touch& first = *touches.front();
    if (nesting_->innermost(first.kernel, touches.back()->kernel) != number) return true;  // all are in a region within it
    if (touches.back()->kernel == first.kernel) return true;                                // stores are one-to-one, and loads at the same place
    if (makes_parts(buffer, first_axis, touches)) return true;
    const size_t axes = size_t(region.axes);
    const Steps rounds = steps(first, first_axis, axes), covered = merged(steps(first, axes, first.axes->size()));
    Steps both = rounds;
    both.insert(both.end(), covered.begin(), covered.end());
    if (!is_one_to_one(both)) return found(**store);
    for (const Touch* t : touches) {
      bool sound = t->access->buffer == first.access->buffer && t->access->offset == first.access->offset && t->access->index_value < 0;
      for (size_t axis = first_axis; axis < axes; ++axis) sound = sound && (t->access->strides[axis] == first.access->strides[axis] || !several(*t, axis));
      sound = sound && merged(steps(*t, axes, t->axes->size())) == covered;
      if (!sound) return found(*t);
    }
    for (size_t axis = first_axis; axis < axes; ++axis)
      if (first.access->strides[axis] == 0 && several(first, axis)) return found(**store);
    return true;
  }

  const Program& program_;
  const ParallelNesting* nesting_ = nullptr;  ///< once ranges are sound
  FaultList& faults_;
};

}  // namespace

void check_parallel_ranges(const Program& program, FaultList& faults) { ParallelChecker(program, faults).check_ranges(); }
void check_parallel_rounds(const Program& program, const BufferTouches& touches, FaultList& faults) { ParallelChecker(program, faults).check_rounds(touches); }

}  // namespace nnc
