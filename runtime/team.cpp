// Threads wait for work on a condition variable (a run is many steps, so its cost does not matter) and for one another, inside a step, on a futex at
// the barrier's phase: the kernel compares the phase before it puts a thread to sleep, so that no wake-up is lost.
#include "runtime/team.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <system_error>

#include <fmt/format.h>

namespace nnc {
namespace {

// Sleepers at any barrier of any team: the last to arrive makes the system call only if there may be one.
std::atomic<int> sleepers{0};

void wait_at_barrier(NncContext* context, int32_t phase) {
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  std::atomic_ref<int32_t> current(context->team->phase);
  while (current.load(std::memory_order_seq_cst) == phase)
    syscall(SYS_futex, &context->team->phase, FUTEX_WAIT_PRIVATE, phase, nullptr, nullptr, 0);
  sleepers.fetch_sub(1, std::memory_order_relaxed);
}

void wake_sleepers(NncContext* context) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst) > 0) syscall(SYS_futex, &context->team->phase, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

Team::Team(int size) {
  threads_.reserve(size_t(std::max(size - 1, 0)));
  try {
    for (int i = 1; i < size; ++i) threads_.emplace_back([this, i] { serve(i); });
  } catch (const std::system_error& e) {
    shortage_ = fmt::format("the system started only {} of {} threads: {}", this->size(), size, e.code().message());
  }
}

Team::~Team() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  start_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Team::run(NncRun entry, NncContext& context, int64_t steps, bool alone) {
  meeting_ = NncTeam{};
  meeting_.size = alone ? 1 : size();
  context.team = &meeting_;
  context.wait = wait_at_barrier;
  context.wake = wake_sleepers;
  if (meeting_.size == 1) {
    entry(&context, 0, steps);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    entry_ = entry;
    context_ = &context;
    steps_ = steps;
    running_ = int(threads_.size());
    ++job_;
  }
  start_.notify_all();
  entry(&context, 0, steps);
  std::unique_lock lock(mutex_);
  finish_.wait(lock, [this] { return running_ == 0; });
}

void Team::serve(int thread) {
  uint64_t done = 0;
  while (true) {
    std::unique_lock lock(mutex_);
    start_.wait(lock, [&] { return closing_ || job_ != done; });
    if (closing_) return;
    done = job_;
    NncRun entry = entry_;
    NncContext* context = context_;
    int64_t steps = steps_;
    lock.unlock();
    entry(context, thread, steps);
    lock.lock();
    if (--running_ == 0) finish_.notify_one();
  }
}

}  // namespace nnc
