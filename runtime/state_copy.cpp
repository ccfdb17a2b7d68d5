// Copies in shared memory, or in this process's own.
#include "runtime/state_copy.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>


namespace nnc {

StateCopy::StateCopy(const StepProgram& program, std::span<std::byte> state, Collectives* workers) : workers_(workers), state_(state) {
  if (is_shared()) {
    block_ = workers_->transport().share(head_bytes + state.size());
    for (const PersistentSlot& slot : program.persistents)
      if (slot.part) slots_.push_back(&slot);
    std::vector<int64_t> own;
    for (const PersistentSlot* slot : slots_) own.push_back(slot->offset);
    for (const std::vector<std::byte>& told : workers_->gather(std::as_bytes(std::span(own)))) {
      offsets_.emplace_back(told.size() / sizeof(int64_t));
      std::memcpy(offsets_.back().data(), told.data(), told.size());
    }
  }
  if (SharedMemory* memory = block_ ? workers_->transport().shared_memory() : nullptr) {
    copy_place_ = memory->place_of(block_, head_bytes);
    state_place_ = memory->place_of(state_.data(), state_.size());
  } else {
    own_memory_.resize(2 * head_bytes + state.size());
    void* at = own_memory_.data();
    size_t room = own_memory_.size();
    block_ = static_cast<std::byte*>(std::align(head_bytes, head_bytes + state.size(), at, room));
  }
  new (block_) Marks;
  copy_ = {block_ + head_bytes, state.size()};
  if (is_shared()) workers_->barrier();  // before anybody reads the others' numbers
}

void StateCopy::take() {
  marks().copied = begun;
  if (!state_.empty()) std::memcpy(copy_.data(), state_.data(), state_.size());
  marks().copied = marks().live.load();
  if (has_neighbour()) pass_to_neighbour();
  if (is_shared()) workers_->barrier();
  marks().live = none;
}

size_t StateCopy::bytes_of(size_t part, int worker) const {
  const PersistentSlot& slot = *slots_[part];
  return size_t(slot.parts[size_t(worker) + 1] - slot.parts[size_t(worker)]) * byte_size(slot.dtype);
}

size_t StateCopy::bytes_of_parts(int worker) const {
  size_t bytes = 0;
  for (size_t p = 0; p < slots_.size(); ++p) bytes += bytes_of(p, worker);
  return bytes;
}

StateCopy::Left StateCopy::own() const {
  Left left{marks().live, marks().copied, {}, {}};
  for (const PersistentSlot* slot : slots_) {
    left.in_state.push_back(state_.data() + slot->offset);
    left.in_copy.push_back(copy_.data() + slot->offset);
  }
  return left;
}

StateCopy::Left StateCopy::read_shared(int worker) const {
  SharedMemory& memory = *workers_->transport().shared_memory();
  const std::byte *block = memory.address(worker, copy_place_), *state = memory.address(worker, state_place_);
  const Marks& its = *reinterpret_cast<const Marks*>(block);
  Left left{its.live, its.copied, {}, {}};
  for (size_t p = 0; p < slots_.size(); ++p) {
    left.in_state.push_back(state + offsets_[size_t(worker)][p]);
    left.in_copy.push_back(block + head_bytes + offsets_[size_t(worker)][p]);
  }
  return left;
}

std::vector<std::byte> StateCopy::join(const std::vector<const std::byte*>& parts, int worker) const {
  std::vector<std::byte> bytes;
  for (size_t p = 0; p < parts.size(); ++p) bytes.insert(bytes.end(), parts[p], parts[p] + bytes_of(p, worker));
  return bytes;
}

std::vector<const std::byte*> StateCopy::cut(const std::byte* joined, int worker) const {
  std::vector<const std::byte*> parts;
  for (size_t p = 0; p < slots_.size(); ++p) {
    parts.push_back(joined);
    joined += bytes_of(p, worker);
  }
  return parts;
}

void StateCopy::pass_to_neighbour() {
  const int before = (workers_->rank() + workers_->size() - 1) % workers_->size();
  neighbour_number_ = begun;
  neighbour_.resize(bytes_of_parts(before));
  workers_->pass_on(join(own().in_copy, workers_->rank()), neighbour_);
  neighbour_number_ = marks().copied;
}

namespace {

/// What is left behind begins with this; behind it the parts in the copy, in the state, and of the worker before.
struct LeftHead {
  int64_t live, copied, neighbour;
};

}  // namespace

void StateCopy::leave_behind() const {
  const Left mine = own();
  const LeftHead head{mine.live, mine.copied, neighbour_number_};
  std::vector<std::byte> bytes(sizeof head);
  std::memcpy(bytes.data(), &head, sizeof head);
  auto add = [&](const std::vector<std::byte>& more) { bytes.insert(bytes.end(), more.begin(), more.end()); };
  const int rank = workers_->rank();
  add(join(mine.in_copy, rank));
  add(join(mine.in_state, rank));
  std::vector<std::byte> neighbour = neighbour_;
  neighbour.resize(bytes_of_parts((rank + workers_->size() - 1) % workers_->size()));
  add(neighbour);
  workers_->transport().leave_behind(std::move(bytes));
}

/// What all have, of those that are lost what their neighbours have.
std::optional<std::vector<StateCopy::Left>> StateCopy::collect(int& missing) {
  const int size = workers_->size();
  std::vector<Left> all{own()};
  if (own_memory_.empty()) {
    for (int w = 1; w < size; ++w) all.push_back(read_shared(w));
    return all;
  }
  std::vector<size_t> sizes;
  for (int w = 0; w < size; ++w) sizes.push_back(sizeof(LeftHead) + 2 * bytes_of_parts(w) + bytes_of_parts((w + size - 1) % size));
  arrived_ = workers_->transport().collect_left_behind(sizes);
  auto head_of = [&](int w) {
    LeftHead head;
    std::memcpy(&head, arrived_[size_t(w)].data(), sizeof head);
    return head;
  };
  for (int w = 1; w < size; ++w) {
    const int next = (w + 1) % size;
    if (!arrived_[size_t(w)].empty()) {
      const std::byte* at = arrived_[size_t(w)].data() + sizeof(LeftHead);
      all.push_back({head_of(w).live, head_of(w).copied, cut(at + bytes_of_parts(w), w), cut(at, w)});
    } else if (next == 0 && neighbour_number_ >= 0) {
      all.push_back({none, neighbour_number_, cut(neighbour_.data(), w), cut(neighbour_.data(), w)});
    } else if (next != 0 && !arrived_[size_t(next)].empty() && head_of(next).neighbour >= 0) {
      const std::byte* at = arrived_[size_t(next)].data() + sizeof(LeftHead) + 2 * bytes_of_parts(next);
      all.push_back({none, head_of(next).neighbour, cut(at, w), cut(at, w)});
    } else {
      missing = w;
      return std::nullopt;
    }
  }
  return all;
}

std::optional<StateCopy::Whole> StateCopy::recover(int& missing) {
  missing = -1;
  if (is_shared() && workers_->rank() != 0) {
    if (has_neighbour()) leave_behind();
    return std::nullopt;
  }
  const Left mine = own();
  std::vector<Left> all{mine};
  if (!slots_.empty()) {
    std::optional<std::vector<Left>> found = collect(missing);
    if (!found) return std::nullopt;
    all = std::move(*found);
  }
  int64_t number = mine.copied;
  if (!std::ranges::all_of(all, [&](const Left& l) { return l.copied == number; })) {
    // Some have begun a copy, so all are finite at what is copied.
    for (const Left& left : all) number = std::max(number, left.live);
    for (int w = 0; w < int(all.size()); ++w) {
      if (all[size_t(w)].copied == number || all[size_t(w)].live == number) continue;
      missing = w;  // its neighbour's copy is of the number before
      return std::nullopt;
    }
  } else if (number == begun) {
    number = mine.live;
  }
  if (number == none) return std::nullopt;
  Whole whole{number, mine.copied != number, std::vector<std::vector<const std::byte*>>(slots_.size())};
  for (size_t p = 0; p < slots_.size(); ++p)
    for (const Left& left : all) whole.parts[p].push_back((left.copied == number ? left.in_copy : left.in_state)[p]);
  return whole;
}

}  // namespace nnc
