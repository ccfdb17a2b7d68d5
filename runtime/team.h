// A persistent team of threads that run step functions together.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/step_abi.h"

namespace nnc {

/// `size` threads, the caller being number 0. Inside a step threads meet at barriers in generated code: they spin a while, then sleep on a futex, so that
/// an oversubscribed machine is not slowed by spinning. Not copyable; one run at a time.
class Team {
 public:
  /// Of fewer threads where the system starts no more of them, which changes no result; `shortage` says so.
  explicit Team(int size);
  ~Team();
  Team(const Team&) = delete;
  int size() const { return int(threads_.size()) + 1; }
  /// "" or "the system started only 3 of 16 threads: ...".
  const std::string& shortage() const { return shortage_; }
  /// Fills in the context's team, wait and wake, runs `steps` steps on all threads and returns when all have finished.
  /// `alone`: on the calling thread only, for the same result to the bit.
  void run(NncRun, NncContext&, int64_t steps, bool alone = false);

 private:
  void serve(int thread);
  std::vector<std::thread> threads_;
  std::string shortage_;
  std::mutex mutex_;
  std::condition_variable start_, finish_;
  uint64_t job_ = 0;
  int running_ = 0;
  bool closing_ = false;
  NncRun entry_ = nullptr;
  NncContext* context_ = nullptr;
  int64_t steps_ = 0;
  NncTeam meeting_{};
};

}  // namespace nnc
