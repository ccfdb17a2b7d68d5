// What carries bytes between the workers of a run. Every worker makes the same calls in the same order; a wait for a worker that is gone ends with an exception that names it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"

namespace nnc {

/// Another worker has ended (E0540) or does not answer (E0541). Once thrown, every later call that waits throws it again.
class WorkerLost : public UserError {
 public:
  WorkerLost(Diagnostic d, int rank) : UserError(std::move(d)), rank_(rank) {}
  int rank() const { return rank_; }  ///< of the worker that was waited for, or that ended

 private:
  int rank_;
};

/// A place in a worker's shared memory, which means the same to all workers.
struct SharedPlace {
  int32_t block = -1;  ///< number of the call of `share`; -1: not in shared memory
  uint64_t offset = 0;
};

/// Memory that all workers of a run see, where the transport has such.
class SharedMemory {
 public:
  virtual ~SharedMemory() = default;
  /// Where [begin, begin + bytes) of this worker lies.
  virtual SharedPlace place_of(const void* begin, size_t bytes) const = 0;
  /// The address here of a place of another worker (or of this one).
  virtual std::byte* address(int rank, SharedPlace place) const = 0;

  /// Words: a number per worker that it alone sets, at first 0, and that others read; setting wakes who waits in wait_until. What was written before a word was set is seen by
  /// whoever has read the word. Claiming is collective; -1: none left.
  virtual int claim_word() = 0;
  virtual void release_word(int word) = 0;
  virtual void set_word(int word, uint32_t value) = 0;
  virtual uint32_t word_of(int word, int rank) const = 0;
};

class Transport {
 public:
  enum class Request : int32_t {};

  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  int rank() const { return rank_; }  ///< 0 prints, logs and writes
  int size() const { return size_; }
  virtual std::string_view name() const = 0;  ///< "one", "local", "openmpi", "mpich"
  const std::string& host_of(int rank) const { return hosts_[size_t(rank)]; }
  std::string describe(int rank) const;  ///< "worker 2 (on node7)"

  /// A message. Bytes stay the caller's and must live, unchanged if they are sent, until the request is done. Messages between two workers with the same tag arrive in the order in which they were
  /// started; the receiver knows the size. Tags: 0 to 16383.
  virtual Request start_send(int to, int tag, std::span<const std::byte> bytes) = 0;
  virtual Request start_receive(int from, int tag, std::span<std::byte> bytes) = 0;
  /// Whether it is finished; true once, then the request is forgotten. Never waits. Call progress() before.
  virtual bool done(Request request) = 0;
  /// Moves what can be moved, never waits.
  virtual void progress() = 0;
  /// Waits for one message to or from `other`.
  void wait(Request request, int other);
  void barrier();

  /// Collective: `bytes` (each worker its own number, 0 also) of zeros that every worker can read, on whole pages, until the transport ends; null where the transport has no such memory. UserError
  /// E0546 where there is not so much.
  virtual std::byte* share(size_t bytes);
  virtual SharedMemory* shared_memory() { return nullptr; }

  /// Waits until ready() is true, which something that other workers do must make it. awaited() names the worker on whom it depends, for the message.
  template <class Ready, class Awaited>
  void wait_until(Ready&& ready, Awaited&& awaited) {
    Patience patience;
    while (true) {
      progress();
      if (ready()) break;
      bool lost = rest(patience);
      if (patience.looked) lost = look_at(awaited(), patience) || lost;
      if (!lost) continue;
      // Somebody is lost; what was sent before counts.
      progress();
      if (ready()) break;
      fail(patience, awaited());
    }
    if (patience.announced) rise();
  }

  /// Says why this worker ends before its time, so that the others need not wait: call it before leaving with an error. Never throws.
  void leave(std::string_view reason) noexcept;
  /// Tells the others, who wait for this worker, that it lives and is busy with something of its own: their patience begins anew. Call it about every second.
  virtual void give_sign() {}
  /// Asked while this worker waits: if `stopped` has been true for some tenths of a second and the wait goes on, `tell` is called, once, with the worker that is waited for and for how long.
  void watch_stops(std::function<bool()> stopped, std::function<void(int awaited, double seconds)> tell) { stopped_ = std::move(stopped), tell_stopped_ = std::move(tell); }
  /// After an error, when nothing else is carried any more, and where there is no shared memory: leaves bytes for worker 0, who may come for them within some seconds. Returns at once.
  virtual void leave_behind(std::vector<std::byte>) {}
  /// What the others have left behind, by rank, of these sizes; empty of those who have not. Waits some seconds at most: who is silent is not always the one that was waited for. At worker 0.
  virtual std::vector<std::vector<std::byte>> collect_left_behind(const std::vector<size_t>& sizes) { return std::vector<std::vector<std::byte>>(sizes.size()); }
  /// Nothing more can be carried, since memory of requests on their way is about to go.
  void abandon();
  /// How long others may keep this worker waiting; 60 at first.
  void set_stall_seconds(double seconds) { stall_seconds_ = seconds; }

 protected:
  Transport(int rank, int size) : rank_(rank), size_(size), hosts_(size_t(size)) {}

  /// One wait so far.
  struct Patience {
    int looks = 0;
    bool announced = false;  ///< that this worker is about to sleep
    bool looked = false;     ///< after the others, just now
    double waited = 0;       ///< seconds, without those in which this process was stopped
    double last = 0;         ///< time of the last look at the clock
    uint64_t signs = 0;      ///< of life that others had given then
    double stopped = -1;     ///< what `waited` was when this process was seen to be asked to stop
  };
  enum class Fate : uint8_t { silent, died, left };
  struct Loss {
    int rank;  ///< of the worker that is lost
    Fate fate;
    std::string reason;  ///< left: why; silent: all that is to be said of it
  };

  /// Spins or sleeps a little. True if somebody is lost, or the wait has taken too long.
  bool rest(Patience&);
  const std::optional<Loss>& loss() const { return loss_; }
  /// Whether a wait has failed: memory of requests may be gone, and is not to be touched.
  bool broken() const { return broken_; }
  /// Notes for whom this worker waits. True if that one has finished in good order, and so will never come.
  bool look_at(int awaited, Patience&);
  [[noreturn]] void fail(const Patience&, int awaited);

  virtual int spins() const = 0;      ///< looks before sleeping
  virtual void spin(int look) = 0;    ///< some nanoseconds
  virtual void lie_down() {}          ///< from now on, what is done for this worker wakes it
  virtual void sleep() = 0;           ///< until woken, at most some milliseconds
  virtual void rise() {}
  /// Tells the others `text`. `of_its_own`: it leaves for a reason of its own, not because another is lost.
  virtual void tell_leaving(std::string_view text, bool of_its_own) {
    (void)text, (void)of_its_own;
  }
  /// What the text of one that has left means.
  static Loss understand(int rank, std::string_view text);
  /// A worker that has died, or left with an error, if one has. `thorough`: look where that costs a system call.
  virtual std::optional<Loss> find_loss(bool thorough) = 0;
  /// How often others have given a sign of life.
  virtual uint64_t signs() const { return 0; }
  /// Whether the worker has finished in good order.
  virtual bool has_finished(int) { return false; }
  /// Lets others know for whom this worker waits, and says for whom another does (-1: nobody, or unknown), so that the one that is at fault is named.
  virtual void note_waiting(int awaited) { (void)awaited; }
  virtual int waits_for(int) { return -1; }

  int rank_, size_;
  std::vector<std::string> hosts_;
  double stall_seconds_ = 60;

 private:
  std::optional<Loss> loss_;
  bool broken_ = false;
  std::function<bool()> stopped_;
  std::function<void(int, double)> tell_stopped_;
};

}  // namespace nnc
