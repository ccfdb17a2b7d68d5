// A memfd has no name that could be left behind and no limit of its own such as that of /dev/shm; forks inherit it. A file that grows beyond a limit of the process (`ulimit -f`) raises
// SIGXFSZ, which is put off while it does so, for the error to be seen.
#include "runtime/workers/local_memory.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <new>

#include <fmt/format.h>

#include "base/diagnostics.h"
#include "base/system_error.h"

namespace nnc {
namespace {

uint64_t rounded_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

/// Runs the call without the signal that a file beyond its limit raises in this thread.
template <class Call>
bool without_file_signal(Call&& call) {
  sigset_t signal, before;
  sigemptyset(&signal);
  sigaddset(&signal, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &signal, &before);
  int error = call();
  if (error == EFBIG && !sigismember(&before, SIGXFSZ)) {
    timespec none{};
    sigtimedwait(&signal, nullptr, &none);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return error == 0;
}

}  // namespace

LocalMemory::LocalMemory(int workers) : workers_(workers) {
  const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE)), count = uint64_t(workers);
  // 64 KiB keep two workers busy; with many workers there are many rings.
  ring_capacity_ = size_t(std::clamp<uint64_t>((uint64_t(32) << 20) / (count * count) / 4096 * 4096, 4096, 65536));
  words_offset_ = rounded_up(count * sizeof(LocalWorker), page);
  rings_offset_ = words_offset_ + rounded_up(words * count * sizeof(LocalWord), page);
  control_bytes_ = rings_offset_ + rounded_up(count * count * (sizeof(LocalRing) + ring_capacity_), page);
  fd_ = memfd_create("nnc-workers", MFD_CLOEXEC);
  bool there = fd_ >= 0 && grow(control_bytes_) && (control_ = map(0, control_bytes_));
  if (!there) {
    int error = errno;
    if (fd_ >= 0) close(fd_);
    throw UserError(Code::E0546, fmt::format("no shared memory for {} workers: {}", workers, error_text(error)), "", "start fewer workers, or free memory");
  }
  // Zeros are what all of it begins with.
  workers_at_ = reinterpret_cast<LocalWorker*>(control_);
  words_at_ = reinterpret_cast<LocalWord*>(control_ + words_offset_);
}

LocalMemory::~LocalMemory() {
  for (const auto& [offset, range] : mapped_) munmap(range.first, range.second);
  close(fd_);
}

LocalRing& LocalMemory::ring(int from, int to) const {
  size_t number = size_t(from) * size_t(workers_) + size_t(to);
  return *reinterpret_cast<LocalRing*>(control_ + rings_offset_ + number * (sizeof(LocalRing) + ring_capacity_));
}

void LocalMemory::call(int rank) const {
  LocalWorker& sleeper = worker(rank);
  if (sleeper.sleeping.load(std::memory_order_seq_cst) == 0) return;
  sleeper.doorbell.fetch_add(1, std::memory_order_seq_cst);
  syscall(SYS_futex, &sleeper.doorbell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

bool LocalMemory::grow(uint64_t bytes) {
  return without_file_signal([&] { return ftruncate(fd_, off_t(bytes)) == 0 ? 0 : errno; });
}

bool LocalMemory::reserve(uint64_t offset, uint64_t bytes) {
  if (bytes == 0) return true;
  return without_file_signal([&] {
    int error;
    while ((error = fallocate(fd_, 0, off_t(offset), off_t(bytes)) == 0 ? 0 : errno) == EINTR) {
    }
    return error;
  });
}

std::byte* LocalMemory::map(uint64_t offset, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  auto found = mapped_.find(offset);
  if (found != mapped_.end()) return found->second.first;
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, off_t(offset));
  if (address == MAP_FAILED) return nullptr;
  mapped_[offset] = {static_cast<std::byte*>(address), bytes};
  return static_cast<std::byte*>(address);
}

}  // namespace nnc
