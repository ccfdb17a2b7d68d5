// A step function written by hand, with the barrier and the tickets of generated code (codegen/step.cpp), that counts what was done: for teams without a
// compiler. A step is three parallel kernels in a row, each reads what the one before it wrote.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <span>
#include <vector>

#include "runtime/step_runner.h"
#include "runtime/team.h"

namespace nnc::test {

constexpr int64_t counting_pieces = 5;

/// What stands in the persistent block: plain memory, so that a data race is one.
struct Counts {
  int64_t steps = 0;
  int64_t wrong = 0;
  int64_t first[counting_pieces] = {}, second[counting_pieces] = {}, third[counting_pieces] = {};
};

/// True: the run is to end. As in generated code the last to arrive decides, and the ticket carries it.
inline bool meet(NncContext* c, bool start) {
  constexpr int64_t stopped = int64_t{1} << 62;
  NncTeam& team = *c->team;
  std::atomic_ref<int32_t> phase(team.phase), arrived(team.arrived), stop(c->stop);
  std::atomic_ref<int64_t> ticket(team.ticket);
  int32_t now = phase.load(std::memory_order_acquire);
  if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == team.size) {
    bool leave = start && stop.load(std::memory_order_relaxed) != 0;
    arrived.store(0, std::memory_order_relaxed);
    ticket.store(leave ? stopped : 0, std::memory_order_relaxed);
    phase.store(now + 1, std::memory_order_seq_cst);
    if (c->wake) c->wake(c);
  } else {
    int spins = 0;
    while (phase.load(std::memory_order_acquire) == now)
      if (++spins == 200) {
        c->wait(c, now);
        break;
      }
    std::atomic_thread_fence(std::memory_order_acquire);
  }
  return ticket.load(std::memory_order_relaxed) >= stopped;
}

inline void counting_step(NncContext* c, int32_t thread, int64_t steps) {
  Counts& counts = *reinterpret_cast<Counts*>(c->persistent);
  std::atomic_ref<int64_t> ticket(c->team->ticket);
  auto pieces = [&](auto work) {
    for (int64_t p = ticket.fetch_add(1, std::memory_order_relaxed); p < counting_pieces; p = ticket.fetch_add(1, std::memory_order_relaxed)) work(p);
  };
  if (thread == 0) c->steps_done = 0;
  for (int64_t s = 0; s < steps; ++s) {
    if (meet(c, true)) break;
    pieces([&](int64_t p) { ++counts.first[p]; });
    meet(c, false);
    pieces([&](int64_t p) { counts.second[p] = counts.first[counting_pieces - 1 - p]; });
    meet(c, false);
    pieces([&](int64_t p) { counts.third[p] += counts.second[(p + 1) % counting_pieces] == counts.first[p]; });
    meet(c, false);
    if (thread == 0) {
      ++counts.steps;
      for (int64_t p = 0; p < counting_pieces; ++p) counts.wrong += counts.first[p] != counts.steps || counts.third[p] != counts.steps;
      c->results[s] = double(counts.steps);
      c->steps_done = s + 1;
    }
  }
  meet(c, false);
}

inline StepProgram counting_program() {
  StepProgram program;
  program.run = counting_step;
  program.persistent_bytes = sizeof(Counts);
  program.results = {"loss"};
  return program;
}

class CountingRun {
 public:
  explicit CountingRun(Team& team) : team_(team) { context_.persistent = reinterpret_cast<uint8_t*>(&counts_); }
  /// Steps done.
  int64_t run(int64_t steps) {
    results_.resize(size_t(steps) + 1);
    context_.results = results_.data();
    context_.steps_done = 0;
    team_.run(counting_step, context_, steps);
    return context_.steps_done;
  }
  int64_t steps_seen() const { return counts_.steps; }
  int64_t wrong() const { return counts_.wrong; }

 private:
  Team& team_;
  Counts counts_;
  std::vector<double> results_;
  NncContext context_{};
};

/// Processes that do nothing but hold a core each.
class BusyProcesses {
 public:
  explicit BusyProcesses(int count) {
    for (int i = 0; i < count; ++i) {
      pid_t child = fork();
      if (child == 0)
        while (true) {
          std::atomic_signal_fence(std::memory_order_seq_cst);
          if (getppid() == 1) _exit(0);
        }
      children_.push_back(child);
    }
  }
  BusyProcesses(const BusyProcesses&) = delete;
  ~BusyProcesses() {
    for (pid_t child : children_) kill(child, SIGKILL);
    for (pid_t child : children_) waitpid(child, nullptr, 0);
  }

 private:
  std::vector<pid_t> children_;
};

/// So many in the suite; NNC_STRESS=100000 asks for that many instead.
inline int64_t stress_steps(int64_t in_the_suite) {
  const char* asked = std::getenv("NNC_STRESS");
  return asked && std::atoll(asked) > 0 ? std::atoll(asked) : in_the_suite;
}

}  // namespace nnc::test
