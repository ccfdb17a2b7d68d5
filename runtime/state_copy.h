// The last copy of what lasts from step to step: what a run goes back to after a fault or after divergence. Of several workers each copies what it has, and worker 0 can put together the whole of what
// they have in parts, also when others have died.
//
// A copy is taken between two steps by all workers alike. Two numbers say what a worker has meanwhile: `live`, the updates after which its state is as it stands until all have copied, and `copied`, the
// updates of its copy. A worker copies only when all have said that their states are finite, and goes on only when all have copied: so whoever ends when, either all copies are of one number, or some
// have begun the next, and then every worker's copy or state is of that.
//
// Where workers share memory, copies and numbers stand there, and worker 0 reads them. Else each that is left sends what it has (Transport::leave_behind), and with it the parts of the worker before it, of
// which it keeps a copy, too: of one that does not answer any longer.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/step_program.h"
#include "runtime/workers/collectives.h"

namespace nnc {

class StateCopy {
 public:
  /// `state`: what lasts, of this worker. Workers and state outlive this. Collective.
  StateCopy(const StepProgram&, std::span<std::byte> state, Collectives* workers);
  StateCopy(const StateCopy&) = delete;

  /// The state is the one after so many updates until take() or pass().
  void begin(int64_t number) { marks().live = number; }
  /// All are finite: copied. Collective.
  void take();
  /// Nothing is copied after all.
  void pass() { marks().live = none; }

  /// Updates of the copy; negative: there is none.
  int64_t number() const { return marks().copied; }
  std::span<const std::byte> bytes() const { return number() < 0 ? std::span<const std::byte>() : std::span<const std::byte>(copy_); }

  /// What all workers have of the states in parts, of one number: of part `p` (by the program's persistents in parts) and worker w, parts[p][w].
  struct Whole {
    int64_t number = 0;
    bool is_state = false;  ///< this worker's state is of that number, not its copy
    std::vector<std::vector<const std::byte*>> parts;
  };
  /// After a fault: at worker 0 what all have left; nothing where that cannot be put together, with the worker whose part is missing in `missing` (-1: no copy was taken yet). The others leave theirs behind,
  /// and get nothing. The run cannot go on. Memory is this object's.
  std::optional<Whole> recover(int& missing);

 private:
  static constexpr int64_t none = -1, begun = -2;
  struct Marks {
    std::atomic<int64_t> live{none}, copied{none};
  };
  static constexpr size_t head_bytes = 64;
  static_assert(sizeof(Marks) <= head_bytes && std::atomic<int64_t>::is_always_lock_free);
  /// What one worker has, wherever it stands.
  struct Left {
    int64_t live = none, copied = none;
    std::vector<const std::byte*> in_state, in_copy;  ///< by part
  };

  Marks& marks() const { return *reinterpret_cast<Marks*>(block_); }
  bool is_shared() const { return workers_ && workers_->size() > 1; }
  bool has_neighbour() const { return !own_memory_.empty() && !slots_.empty(); }
  size_t bytes_of(size_t part, int worker) const;
  size_t bytes_of_parts(int worker) const;
  Left own() const;
  Left read_shared(int worker) const;
  std::vector<std::byte> join(const std::vector<const std::byte*>& parts, int worker) const;
  std::vector<const std::byte*> cut(const std::byte* joined, int worker) const;
  void pass_to_neighbour();
  void leave_behind() const;
  std::optional<std::vector<Left>> collect(int& missing);

  Collectives* workers_;
  std::span<std::byte> state_, copy_;
  std::vector<std::byte> own_memory_;
  std::byte* block_ = nullptr;                ///< marks, then the copy
  std::vector<const PersistentSlot*> slots_;  ///< in parts
  std::vector<std::vector<int64_t>> offsets_; ///< by worker and part: bytes in its state
  SharedPlace state_place_, copy_place_;
  // Where no memory is shared:
  int64_t neighbour_number_ = none;
  std::vector<std::byte> neighbour_;             ///< the copy of the worker before, its parts one behind the other
  std::vector<std::vector<std::byte>> arrived_;  ///< what the others have left behind
};

}  // namespace nnc
