// Waiting, and what becomes of a wait when somebody is lost: the same for every transport.
#include "runtime/workers/transport.h"

#include <time.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/check.h"

namespace nnc {
namespace {

constexpr int barrier_tag = 16383;

double now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

std::string seconds_text(double seconds) { return seconds < 10 ? fmt::format("{:.1f} s", seconds) : fmt::format("{:.0f} s", seconds); }

}  // namespace

std::string Transport::describe(int rank) const { return fmt::format("worker {} (on {})", rank, host_of(rank)); }

std::byte* Transport::share(size_t) { return nullptr; }

void Transport::leave(std::string_view) noexcept {}

void Transport::wait(Request request, int other) {
  wait_until([&] { return done(request); }, [&] { return other; });
}

// Dissemination (D. Hensgen, R. Finkel, U. Manber, "Two algorithms for barrier synchronization", 1988): in round k everybody tells the one 2^k further.
void Transport::barrier() {
  for (int distance = 1; distance < size_; distance *= 2) {
    int to = (rank_ + distance) % size_, from = (rank_ + size_ - distance) % size_;
    Request sent = start_send(to, barrier_tag, {});
    wait(start_receive(from, barrier_tag, {}), from);
    wait(sent, to);
  }
}

void Transport::abandon() {
  if (!loss_) loss_ = Loss{rank_, Fate::left, "an error of this worker cut an exchange short"};
}

bool Transport::rest(Patience& patience) {
  patience.looked = false;
  if (loss_) return true;
  if (patience.looks < spins()) {
    spin(patience.looks++);
    return false;
  }
  double time = now();
  if (!patience.announced) {
    // One more look follows before this worker sleeps: what is done from now on wakes it.
    lie_down();
    patience.announced = true;
    if (patience.last == 0) patience.last = time;
    return false;
  }
  sleep();
  double woken = now();
  patience.looked = woken - time > 0.02 || int64_t(patience.waited * 20) != int64_t((patience.waited + woken - patience.last) * 20);
  patience.waited += std::min(woken - patience.last, 1.0);
  patience.last = woken;
  loss_ = find_loss(patience.looked);
  return loss_ || patience.waited > stall_seconds_;
}

void Transport::fail(const Patience& patience, int awaited) {
  if (patience.announced) rise();
  if (!loss_ && awaited >= 0 && awaited < size_ && has_finished(awaited))
    loss_ = Loss{awaited, Fate::left, "it has finished, and this worker has not"};
  if (!loss_) {
    awaited = std::clamp(awaited, 0, size_ - 1);
    loss_ = Loss{awaited, Fate::present, seconds_text(patience.waited)};
  }
  const Loss& loss = *loss_;
  Diagnostic d;
  std::string waiting = patience.waited > 0 ? fmt::format("worker {} had waited for {} for {}", rank_, awaited >= 0 && awaited < size_ ? describe(awaited) : "others", seconds_text(patience.waited)) : "";
  if (loss.fate == Fate::present) {
    d.code = Code::E0541;
    d.message = fmt::format("{} does not answer: worker {} (on {}) has waited for it for {}", describe(loss.rank), rank_, host_of(rank_), loss.reason);
    d.help.push_back("look whether that process is stopped, and whether its host and the network are up; go on from the last checkpoint with --resume, with any number of workers");
  } else {
    d.code = Code::E0540;
    d.message = loss.fate == Fate::died ? fmt::format("{} has died, and the others cannot go on without it", describe(loss.rank))
                                        : fmt::format("{} has left this run: {}", describe(loss.rank), loss.reason);
    if (!waiting.empty()) d.notes.push_back(waiting);
    d.help.push_back(loss.fate == Fate::died ? "it was killed, or ran out of memory; go on from the last checkpoint with --resume, with any number of workers"
                                             : "go on from the last checkpoint with --resume, with any number of workers");
  }
  throw WorkerLost(std::move(d), loss.rank);
}

}  // namespace nnc
