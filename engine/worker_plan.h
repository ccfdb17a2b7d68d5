// What several workers would make of a training step: time, what each sends, memory of each. Kernels are timed here, on made-up rows; what goes over a network follows from the model of runtime/workers/traffic.h.
//
//   step = what a worker does by itself          measured: its share of the rows, the sums of parts that it owns, its share of the updates, by the very code that trains, beside as many others of its kind as
//                                                share its cores; the others' messages come at once and are empty (silent_transport.h)
//        + what it waits for                     modelled: (N - 1) x latency for each round of messages, and the bytes of the worker with most of them at the bandwidth of the network
//
// What it knows nothing of stands in docs/workers.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/compilation.h"
#include "engine/step_exchanges.h"
#include "runtime/workers/collectives.h"

namespace nnc {

/// Where workers run.
struct WorkerHosts {
  int cores = 1;       ///< of a host
  int per_host = 1;    ///< workers of a host
  int threads = 1;     ///< of a worker
  int here = 1;        ///< cores of this machine
  /// So many workers at once ask of this machine's cores what those of a host ask of its own; at most twice as many threads as cores.
  int copies() const;
  /// Where it takes more than that: how many times as long everything takes.
  double crowding() const;
};

struct PlannedStep {
  int workers = 1;
  WorkerHosts hosts;
  int64_t rows = 0, pieces = 0;        ///< of the busiest worker
  double own_seconds = 0;              ///< measured
  double exchange_seconds = 0, publish_seconds = 0;  ///< modelled
  double ring_seconds = 0, tree_seconds = 0;  ///< modelled: one all-reduce of the same sums, in the place of both
  Traffic traffic;                     ///< of the busiest worker
  WorkerMemory memory;
  Network network;
  double seconds() const { return own_seconds + exchange_seconds + publish_seconds; }
};

/// The step shared by compilation.workers, as its busiest worker sees it. `beside`: workers of this machine that make the same call, hosts.copies() of them; null: it is alone. `network`: nothing means
/// the memory of this machine, measured among those of `beside`. UserError, ProgramErrors.
PlannedStep plan_step(Compilation&, const WorkerHosts&, const std::optional<Network>&, Collectives* beside, int turns);

/// Which share of what the cores do is left: the speed for each core in use, beside that of one worker.
double efficiency(const PlannedStep& one, const PlannedStep& several);

}  // namespace nnc
