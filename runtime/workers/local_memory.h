// The memory in which workers of one machine meet: a file without a name (memfd) that all of them map. It begins with what the transport itself needs, whose layout is here; blocks of
// Transport::share follow. Everything that two workers touch at the same time is atomic; the rest is ordered by it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

namespace nnc {

enum class LocalState : uint32_t { starting, running, finished, failed, bereft };  ///< bereft: it has left because of another's fate

/// What the others know of a worker.
struct alignas(64) LocalWorker {
  std::atomic<uint32_t> doorbell;  ///< counts calls to somebody asleep; a futex
  std::atomic<uint32_t> sleeping;  ///< whether it may be asleep at its doorbell
  std::atomic<int32_t> process;
  std::atomic<LocalState> state;
  std::atomic<int32_t> waits_for;  ///< rank + 1; 0: it does not wait, or not for long
  std::atomic<uint32_t> signs;     ///< of life that it has given
  char reason[1000];  ///< why it failed; written before the state
};

struct alignas(64) LocalWord {
  std::atomic<uint32_t> value;
};

/// A ring of bytes from one worker to another. Both ends count all bytes that ever went through.
struct LocalRing {
  alignas(64) std::atomic<uint64_t> written;
  alignas(64) std::atomic<uint64_t> read;
};

class LocalMemory {
 public:
  /// Throws UserError E0546.
  explicit LocalMemory(int workers);
  LocalMemory(const LocalMemory&) = delete;
  LocalMemory& operator=(const LocalMemory&) = delete;
  ~LocalMemory();

  static constexpr int words = 1024;

  int workers() const { return workers_; }
  LocalWorker& worker(int rank) const { return workers_at_[rank]; }
  LocalWord& word(int number, int rank) const { return words_at_[size_t(number) * size_t(workers_) + size_t(rank)]; }
  LocalRing& ring(int from, int to) const;
  std::byte* ring_bytes(int from, int to) const { return reinterpret_cast<std::byte*>(&ring(from, to) + 1); }
  size_t ring_capacity() const { return ring_capacity_; }
  uint64_t control_bytes() const { return control_bytes_; }  ///< a whole number of pages; blocks begin there

  /// Wakes the worker if it sleeps, after something was done for it by a sequentially consistent write.
  void call(int rank) const;

  /// Makes the file so long. False with errno where the system refuses.
  bool grow(uint64_t bytes);
  /// Takes memory for a range, so that no later touch of it can fail. False with errno.
  bool reserve(uint64_t offset, uint64_t bytes);
  /// The range in this process: the same address for all who ask in it. Null with errno.
  std::byte* map(uint64_t offset, uint64_t bytes);

 private:
  int workers_, fd_ = -1;
  size_t ring_capacity_ = 0;
  uint64_t control_bytes_ = 0, words_offset_ = 0, rings_offset_ = 0;
  std::byte* control_ = nullptr;
  LocalWorker* workers_at_ = nullptr;
  LocalWord* words_at_ = nullptr;
  std::mutex mutex_;
  std::map<uint64_t, std::pair<std::byte*, uint64_t>> mapped_;  ///< offset -> address, bytes
};

}  // namespace nnc
