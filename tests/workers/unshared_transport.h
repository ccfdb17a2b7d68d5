// Workers that are threads of this process and share no memory, as those of MPI do not: messages go as those of one machine's workers do, and what one leaves behind waits for worker 0.
#pragma once

#include <time.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/workers/local_transport.h"

namespace nnc::test {

/// What all of them know.
struct Unshared {
  explicit Unshared(size_t workers) : behind(workers) {}
  std::atomic<int> lost{-1};  ///< the rank of the worker that is
  std::mutex mutex;
  std::vector<std::optional<std::vector<std::byte>>> behind;  ///< by rank
};

class UnsharedTransport final : public Transport {
 public:
  UnsharedTransport(Transport& messages, Unshared& all) : Transport(messages.rank(), messages.size()), messages_(messages), all_(all) { std::fill(hosts_.begin(), hosts_.end(), host_name()); }
  std::string_view name() const override { return "unshared"; }
  Request start_send(int to, int tag, std::span<const std::byte> bytes) override { return broken() ? Request(-1) : messages_.start_send(to, tag, bytes); }
  Request start_receive(int from, int tag, std::span<std::byte> bytes) override { return broken() ? Request(-1) : messages_.start_receive(from, tag, bytes); }
  bool done(Request request) override { return !broken() && messages_.done(request); }
  void progress() override {
    if (!broken()) messages_.progress();
  }
  void leave_behind(std::vector<std::byte> bytes) override {
    std::lock_guard lock(all_.mutex);
    all_.behind[size_t(rank())] = std::move(bytes);
  }
  /// Waits for all but one that is lost and has left nothing.
  std::vector<std::vector<std::byte>> collect_left_behind(const std::vector<size_t>& sizes) override {
    std::vector<std::vector<std::byte>> all(sizes.size());
    for (int look = 0; look < 500; ++look) {
      size_t missing = 0;
      {
        std::lock_guard lock(all_.mutex);
        for (size_t from = 1; from < sizes.size(); ++from) {
          if (!all_.behind[from])
            ++missing;
          else if (all_.behind[from]->size() == sizes[from])
            all[from] = *all_.behind[from];
        }
      }
      if (missing == 0) break;
      nap();
    }
    return all;
  }

 protected:
  int spins() const override { return 0; }
  void spin(int) override {}
  void sleep() override { nap(); }
  std::optional<Loss> find_loss(bool) override {
    if (const int lost = all_.lost; lost >= 0 && lost != rank()) return Loss{lost, Fate::died, ""};
    return std::nullopt;
  }

 private:
  static void nap() {
    timespec nap{0, 1'000'000};
    nanosleep(&nap, nullptr);
  }
  Transport& messages_;
  Unshared& all_;
};

}  // namespace nnc::test
