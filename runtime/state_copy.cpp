// Copies in shared memory, or in this process's own.
#include "runtime/state_copy.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "base/check.h"

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
  if (is_shared()) workers_->barrier();
  marks().live = none;
}

size_t StateCopy::bytes_of(size_t part, int worker) const {
  const PersistentSlot& slot = *slots_[part];
  return size_t(slot.parts[size_t(worker) + 1] - slot.parts[size_t(worker)]) * byte_size(slot.dtype);
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

/// Numbers, then each part's bytes, in the copy and in the state.
std::vector<std::byte> StateCopy::pack(const Left& left) const {
  std::vector<std::byte> bytes;
  auto add = [&](const void* from, size_t size) {
    const auto* begin = static_cast<const std::byte*>(from);
    bytes.insert(bytes.end(), begin, begin + size);
  };
  add(&left.live, sizeof left.live);
  add(&left.copied, sizeof left.copied);
  for (size_t p = 0; p < slots_.size(); ++p) {
    add(left.in_copy[p], bytes_of(p, workers_->rank()));
    add(left.in_state[p], bytes_of(p, workers_->rank()));
  }
  return bytes;
}

StateCopy::Left StateCopy::unpack(std::span<const std::byte> bytes, int worker) const {
  Left left;
  std::memcpy(&left.live, bytes.data(), sizeof left.live);
  std::memcpy(&left.copied, bytes.data() + sizeof left.live, sizeof left.copied);
  const std::byte* at = bytes.data() + 2 * sizeof(int64_t);
  for (size_t p = 0; p < slots_.size(); ++p) {
    left.in_copy.push_back(at);
    left.in_state.push_back(at + bytes_of(p, worker));
    at += 2 * bytes_of(p, worker);
  }
  return left;
}

std::optional<StateCopy::Whole> StateCopy::recover(int& missing) {
  missing = -1;
  const Left mine = own();
  std::vector<Left> all{mine};
  if (!slots_.empty()) {
    Transport& transport = workers_->transport();
    if (!own_memory_.empty() && transport.rank() != 0) transport.leave_behind(pack(mine));
    if (transport.rank() != 0) return std::nullopt;
    if (!own_memory_.empty()) {
      std::vector<size_t> sizes;
      for (int w = 0; w < transport.size(); ++w) {
        sizes.push_back(2 * sizeof(int64_t));
        for (size_t p = 0; p < slots_.size(); ++p) sizes.back() += 2 * bytes_of(p, w);
      }
      arrived_ = transport.collect_left_behind(sizes);
    }
    for (int w = 1; w < transport.size(); ++w) {
      if (own_memory_.empty()) {
        all.push_back(read_shared(w));
      } else if (arrived_[size_t(w)].empty()) {
        missing = w;
        return std::nullopt;
      } else {
        all.push_back(unpack(arrived_[size_t(w)], w));
      }
    }
  }
  int64_t number = mine.copied;
  if (!std::ranges::all_of(all, [&](const Left& l) { return l.copied == number; })) {
    // Some have begun a copy, so all are finite at what is copied.
    for (const Left& left : all) number = std::max(number, left.live);
    NNC_CHECK(std::ranges::all_of(all, [&](const Left& l) { return l.copied == number || l.live == number; }), "copies of states that no step has had");
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
