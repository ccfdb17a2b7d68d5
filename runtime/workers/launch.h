// The beginning of a run with several workers: who takes part, and whether all are about to do the same.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/workers/collectives.h"
#include "runtime/workers/transport.h"

namespace nnc {

/// Of one machine.
inline constexpr int most_local_workers = 256;

struct WorkerOptions {
  std::optional<int> workers;  ///< --workers N
  std::string transport;       ///< --transport: "local", "openmpi", "mpich"; empty: as the launcher says, else local
  double stall_seconds = 60;
  int cores = 1;  ///< that this process may use: with more workers than that, waits give way early
  /// A variable of the environment, or nothing: what mpirun and Slurm say of the run.
  std::function<std::optional<std::string>(const char*)> environment;
};

/// The transport of this run. Without `workers` and launcher: a transport of one worker. With `workers` N: this process forks N - 1 others, and the call returns in each of them; it must come before any
/// thread is started and any file opened or locked. Workers other than 0 have no standard output; they end when worker 0 does. Under mpirun or srun: joins the others.
/// Throws UserError E0543 to E0547, before any file is touched.
std::unique_ptr<Transport> start_workers(const WorkerOptions&);

/// Something that all workers must have alike: ("the program's text", hash).
using StartFact = std::pair<std::string, std::string>;

/// Throws UserError E0542, the same on every worker, where a fact differs from that of worker 0: it names fact, values, rank and host. Collective.
void compare_at_start(Collectives&, const std::vector<StartFact>& facts);

}  // namespace nnc
