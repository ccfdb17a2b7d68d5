// A buffer may be stored in parts: by kernels that make parts of one value, by rounds of a region. So of each load it is asked whether its elements have been stored, by somebody who comes
// earlier, or in an earlier round. Three answers are tried, from cheap to dear: one store has all of them; the stores, which have no element in common, are as many as the buffer's
// elements; each element is looked at.
#include "ir/verify_stored.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/program_regions.h"
#include "ir/store_places.h"

namespace nnc {
namespace {

constexpr size_t max_stores = 256;  // of one buffer
constexpr int64_t max_enumerated = int64_t(1) << 24, max_enumerated_in_all = int64_t(1) << 28;

/// Whether all of `inner` are places of `outer`, told by the digits of a number: along each step of `outer` what `inner` takes in multiples of its stride.
bool contains(const Places& outer, const Places& inner) {
  if (inner.nothing) return true;
  if (outer.nothing) return false;
  std::vector<std::pair<int64_t, int64_t>> steps = outer.steps, digits;  // stride, what is left of its indices
  std::sort(steps.begin(), steps.end());
  for (auto [stride, size] : steps) {
    if (stride < 0) return false;
    if (!digits.empty() && digits.back().first * (digits.back().second + 1) == stride) digits.back().second = (digits.back().second + 1) * size - 1;  // they run on
    else digits.emplace_back(stride, size - 1);
  }
  std::reverse(digits.begin(), digits.end());
  for (auto [stride, size] : inner.steps) {
    const auto digit = std::find_if(digits.begin(), digits.end(), [&](const auto& d) { return d.first <= stride; });
    if (digit == digits.end() || stride % digit->first != 0 || stride / digit->first > digit->second / (size - 1)) return false;
    digit->second -= stride / digit->first * (size - 1);
  }
  int64_t rest = inner.offset - outer.offset;
  if (rest < 0) return false;
  for (auto& [stride, left] : digits) {
    const int64_t taken = std::min(rest / stride, left);
    rest -= taken * stride;
  }
  return rest == 0;
}

template <class Visit>
void for_each_place(const Places& places, Visit visit) {
  if (places.nothing) return;
  std::vector<int64_t> index(places.steps.size(), 0);
  for (int64_t at = places.offset;;) {
    visit(at);
    size_t axis = index.size();
    for (; axis > 0; --axis) {
      auto [stride, size] = places.steps[axis - 1];
      at += stride;
      if (++index[axis - 1] < size) break;
      at -= stride * size;
      index[axis - 1] = 0;
    }
    if (axis == 0) return;
  }
}

class StoredChecker {
 public:
  StoredChecker(const Program& program, const BufferTouches& touches, FaultList& faults) : program_(program), faults_(faults), nesting_(program), all_(touches.size()) {
    for (uint32_t b = 0; b < touches.size(); ++b)
      for (const Touch& t : touches[b]) all_[memory_of(program, BufferId{b}).value].push_back(&t);
  }

  void run() {
    for (uint32_t b = 0; b < all_.size() && !faults_.full(); ++b) {
      const BufferKind kind = program_.buffers[b].kind;
      if (all_[b].empty() || (kind != BufferKind::temporary && kind != BufferKind::local && kind != BufferKind::output)) continue;
      std::stable_sort(all_[b].begin(), all_[b].end(), [](const Touch* x, const Touch* y) { return std::pair(x->kernel, x->instruction) < std::pair(y->kernel, y->instruction); });
      check_buffer(program_.buffers[b], all_[b]);
    }
  }

 private:
  struct Store {
    const Touch* touch;
    Places places;
  };

  void check_buffer(const Buffer& buffer, const std::vector<const Touch*>& touches) {
    if (std::any_of(touches.begin(), touches.end(), [](const Touch* t) { return t->of_chains; })) return;  // chains.h says what matters of them
    elements_ = Type{buffer.dtype, buffer.shape}.elements(program_.rows);
    first_axis_ = 0;
    if (buffer.kind == BufferKind::local)
      if (const size_t home = nesting_.innermost(touches.front()->kernel, touches.back()->kernel); home != ParallelNesting::none) first_axis_ = size_t(program_.parallel_regions[home].axes);
    std::vector<Store> stores;
    for (const Touch* t : touches)
      if (!t->load && !t->add && t->access->index_value < 0) stores.push_back({t, places(*t)});
    if (stores.size() > max_stores) return;
    for (const Touch* t : touches) {
      if (!t->load || faults_.full()) continue;
      Places wanted = t->access->index_value < 0 ? places(*t) : whole();
      if (t->access->index_value >= 0 && program_[t->access->buffer].slot.valid()) continue;  // an entry of a slot: of which, is data
      std::vector<const Store*> before;
      for (const Store& s : stores)
        if (comes_before(*s.touch, *t)) before.push_back(&s);
      if (are_stored(before, wanted)) continue;
      faults_.where = {{}, ProgramFault::none, t->kernel, t->instruction};
      faults_.add(fmt::format("P20: {} reads elements of {} that nothing has stored", program_.kernels[t->kernel].name, program_[t->access->buffer].name));
    }
    if (buffer.kind != BufferKind::output) return;
    std::vector<const Store*> every;
    for (const Store& s : stores) every.push_back(&s);
    if (stores.size() != touches.size() || are_stored(every, whole())) return;
    faults_.where = {{}, size_t(&buffer - program_.buffers.data()), ProgramFault::none, ProgramFault::none};
    faults_.add(fmt::format("P20: {} has elements that nothing stores", buffer.name));
  }

  Places whole() const {
    Places all;
    all.add(1, elements_);
    return all;
  }

  /// Over all rounds of the regions around.
  Places places(const Touch& t) const {
    Places places = places_of(*t.access, *t.axes, program_.rows, first_axis_);
    for (size_t i = first_axis_; i < t.loops.size(); ++i) places.nothing = places.nothing || (t.loops[i] && (*t.axes)[i].extent.at(program_.rows) == 0);
    const Slot& slot = program_[t.access->buffer].slot;
    if (!slot.valid()) return places;
    places.offset += slot.first;
    const std::vector<size_t> around = regions_around(program_, t.kernel);
    for (size_t d = 0; d < slot.per_round.size(); ++d)
      if (slot.per_round[d] != 0) places.add(slot.per_round[d], program_.regions[around[d]].rounds);
    return places;
  }

  /// What is stored through another slot in a region around both may be what an earlier round has stored; which round P15 says.
  bool comes_before(const Touch& store, const Touch& load) const {
    if (std::pair(store.kernel, store.instruction) < std::pair(load.kernel, load.instruction)) return true;
    if (store.access->buffer == load.access->buffer) return false;
    for (const size_t r : regions_around(program_, load.kernel))
      if (store.kernel >= program_.regions[r].first && store.kernel < program_.regions[r].first + program_.regions[r].count) return true;
    return false;
  }

  bool are_stored(const std::vector<const Store*>& stores, const Places& wanted) {
    if (std::any_of(stores.begin(), stores.end(), [&](const Store* s) { return contains(s->places, wanted); })) return true;
    if (cover_all(stores)) return true;
    if (elements_ > max_enumerated || enumerated_ > max_enumerated_in_all) return true;
    enumerated_ += elements_;
    std::vector<bool> seen(static_cast<size_t>(elements_), false);
    for (const Store* s : stores) {
      enumerated_ += s->places.points();
      if (enumerated_ > max_enumerated_in_all) return true;
      for_each_place(s->places, [&](int64_t at) { seen[size_t(at)] = true; });
    }
    enumerated_ += wanted.points();
    if (enumerated_ > max_enumerated_in_all) return true;
    bool all = true;
    for_each_place(wanted, [&](int64_t at) { all = all && seen[size_t(at)]; });
    return all;
  }

  bool cover_all(const std::vector<const Store*>& stores) const {
    int64_t covered = 0;
    for (const Store* s : stores) covered += s->places.points();
    if (covered != elements_) return false;
    for (size_t x = 0; x < stores.size(); ++x)
      for (size_t y = 0; y < x; ++y)
        if (meeting(stores[x]->places, stores[y]->places) != Meeting::apart) return false;
    return true;
  }

  const Program& program_;
  FaultList& faults_;
  const ParallelNesting nesting_;
  std::vector<std::vector<const Touch*>> all_;  ///< by buffer with memory of its own: what touches it and its slots
  int64_t elements_ = 0;                        ///< of the buffer at hand
  size_t first_axis_ = 0;                       ///< behind those that rounds of a local buffer go over
  int64_t enumerated_ = 0;                      ///< elements that were looked at one by one
};

}  // namespace

void check_stored(const Program& program, const BufferTouches& touches, FaultList& faults) { StoredChecker(program, touches, faults).run(); }

}  // namespace nnc
