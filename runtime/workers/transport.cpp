// Waiting, and what becomes of a wait when somebody is lost: the same for every transport.
#include "runtime/workers/transport.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"

namespace nnc {
namespace {

constexpr int barrier_tag = 16383;
constexpr double told_after = 0.3;  // seconds from a request to stop on; who ends a run by force waits a second or more

double now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

std::string seconds_text(double seconds) { return seconds < 10 ? fmt::format("{:.1f} s", seconds) : fmt::format("{:.0f} s", seconds); }

}  // namespace

std::string Transport::describe(int rank) const { return fmt::format("worker {} (on {})", rank, host_of(rank)); }

std::byte* Transport::share(size_t) { return nullptr; }

// One that leaves because another does not answer says so in a form that the others understand: "!RANK:" before the message. Theirs is then the same.
void Transport::leave(std::string_view reason) noexcept {
  try {
    if (loss_ && loss_->fate == Fate::silent) {
      tell_leaving(fmt::format("!{}:{}", loss_->rank, loss_->reason), true);
    } else {
      tell_leaving(reason, !loss_ || loss_->rank == rank_);
    }
  } catch (const std::exception&) {
    // They will see that this worker does not answer.
  }
}

Transport::Loss Transport::understand(int rank, std::string_view text) {
  int silent = 0;
  if (text.starts_with('!')) {
    auto [end, error] = std::from_chars(text.data() + 1, text.data() + text.size(), silent);
    if (error == std::errc() && end < text.data() + text.size() && *end == ':') return {silent, Fate::silent, std::string(end + 1, text.data() + text.size())};
  }
  return {rank, Fate::left, std::string(text)};
}

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

bool Transport::look_at(int awaited, Patience& patience) {
  if (awaited < 0 || awaited >= size_) return false;
  if (tell_stopped_ && stopped_()) {
    if (patience.stopped < 0) patience.stopped = patience.waited;
    if (patience.waited - patience.stopped > told_after) std::exchange(tell_stopped_, nullptr)(awaited, patience.waited);
  }
  note_waiting(awaited);
  return has_finished(awaited);
}

void Transport::abandon() {
  broken_ = true;
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
  if (const uint64_t given = signs(); given != patience.signs) patience.signs = given, patience.waited = 0, patience.stopped = -1;
  return loss_ || patience.waited > stall_seconds_;
}

void Transport::fail(const Patience& patience, int awaited) {
  if (patience.announced) rise();
  broken_ = true;
  if (!loss_ && awaited >= 0 && awaited < size_ && has_finished(awaited))
    loss_ = Loss{awaited, Fate::left, "it has finished, and this worker has not"};
  if (!loss_) {
    awaited = std::clamp(awaited, 0, size_ - 1);
    // One that is waited for may itself wait for another.
    for (int i = 0, next; i < size_ && (next = waits_for(awaited)) >= 0 && next != rank_; ++i) awaited = next;
    loss_ = Loss{awaited, Fate::silent, fmt::format("{} does not answer: {} has waited for it for {}", describe(awaited), describe(rank_), seconds_text(patience.waited))};
  }
  Diagnostic d;
  if (loss_->fate == Fate::silent) {
    d.code = Code::E0541;
    d.message = loss_->reason;
    d.help.push_back("look whether that process is stopped, and whether its host and the network are up; go on from the last checkpoint with --resume, with any number of workers");
  } else {
    const bool died = loss_->fate == Fate::died;
    d.code = Code::E0540;
    d.message = died ? fmt::format("{} has died, and the others cannot go on without it", describe(loss_->rank)) : fmt::format("{} has left this run: {}", describe(loss_->rank), loss_->reason);
    if (patience.waited > 0 && awaited >= 0 && awaited < size_) d.notes.push_back(fmt::format("{} had waited for {} for {}", describe(rank_), describe(awaited), seconds_text(patience.waited)));
    d.help.push_back(std::string(died ? "it was killed, or ran out of memory; " : "") + "go on from the last checkpoint with --resume, with any number of workers");
  }
  const int rank = loss_->rank;
  throw WorkerLost(std::move(d), rank);
}

}  // namespace nnc
