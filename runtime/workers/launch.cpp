// Who takes part. What a launcher says (mpirun by OMPI_COMM_WORLD_SIZE or PMI_SIZE, srun by what Slurm sets in a step) is held against what the MPI library says once it has begun: a launcher and a
// library that do not know one another give N processes each of which takes itself for the whole run.
#include "runtime/workers/launch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/system_error.h"
#include "runtime/workers/local_transport.h"
#include "runtime/workers/mpi_transport.h"

namespace nnc {
namespace {

/// A run of one worker: nobody to talk to.
class OneWorker final : public Transport {
 public:
  OneWorker() : Transport(0, 1) { hosts_[0] = host_name(); }
  std::string_view name() const override { return "one"; }
  Request start_send(int, int, std::span<const std::byte>) override { NNC_UNREACHABLE("a message of the only worker"); }
  Request start_receive(int, int, std::span<std::byte>) override { NNC_UNREACHABLE("a message to the only worker"); }
  bool done(Request) override { return true; }
  void progress() override {}

 protected:
  int spins() const override { return 1; }
  void spin(int) override {}
  void sleep() override { NNC_UNREACHABLE("the only worker waits"); }
  std::optional<Loss> find_loss(bool) override { return std::nullopt; }
};

/// What started this process, as far as the environment says.
struct Launcher {
  std::string name;     ///< for messages; empty: nothing that starts several
  std::string library;  ///< the MPI that it belongs to; empty: unknown
  int tasks = 0;
  int slurm_tasks = 0;  ///< that Slurm speaks of, also where mpirun came after it
  bool in_step = false;  ///< started by srun, not in the shell or script of a job
};

int number_in(const WorkerOptions& options, const char* variable) {
  std::optional<std::string> text = options.environment ? options.environment(variable) : std::nullopt;
  int number = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc()) return 0;
  return std::max(number, 0);
}

Launcher find_launcher(const WorkerOptions& options) {
  auto is_set = [&](const char* variable) { return options.environment && options.environment(variable).has_value(); };
  Launcher launcher;
  launcher.in_step = is_set("SLURM_STEP_ID");
  if (launcher.in_step) launcher.slurm_tasks = number_in(options, "SLURM_STEP_NUM_TASKS");
  if (launcher.slurm_tasks == 0) launcher.slurm_tasks = number_in(options, "SLURM_NTASKS");
  if (int tasks = number_in(options, "OMPI_COMM_WORLD_SIZE")) {
    launcher.name = "mpirun", launcher.library = "openmpi", launcher.tasks = tasks;
  } else if (int tasks = number_in(options, "PMI_SIZE")) {
    launcher.name = launcher.in_step ? "srun" : "mpirun", launcher.library = "mpich", launcher.tasks = tasks;
  } else if (launcher.in_step && launcher.slurm_tasks > 0) {
    launcher.name = "srun", launcher.tasks = launcher.slurm_tasks;
    if (is_set("PMIX_NAMESPACE")) launcher.library = "openmpi";
    if (is_set("PMI_FD")) launcher.library = "mpich";
  }
  return launcher;
}

[[noreturn]] void refuse_apart(const std::string& who, int tasks, const std::string& but) {
  throw UserError(Code::E0543, fmt::format("{} says that this run has {} processes, {}", who, tasks, but), "",
                  "start nnc with the mpirun of the library that --transport names, or with srun and the --mpi= that it needs; workers of one machine need neither: --workers N");
}

std::unique_ptr<Transport> join_mpi(const WorkerOptions& options, const std::string& library, const Launcher& launcher) {
  std::unique_ptr<Transport> transport = make_mpi_transport(library, options.stall_seconds);
  auto said = [&] { return fmt::format("and {} that it has {}", library, transport->size()); };
  if (launcher.tasks > 0 && transport->size() != launcher.tasks) refuse_apart(launcher.name, launcher.tasks, said());
  if (transport->size() == 1 && launcher.slurm_tasks > 1) refuse_apart("Slurm", launcher.slurm_tasks, said());
  return transport;
}

std::unique_ptr<Transport> fork_workers(const WorkerOptions& options, int workers) {
  auto memory = std::make_shared<LocalMemory>(workers);
  const pid_t parent = getpid();
  std::vector<pid_t> children;
  std::fflush(nullptr);  // or each would write it again
  for (int rank = 1; rank < workers; ++rank) {
    pid_t child = fork();
    if (child < 0) {
      int error = errno;
      for (pid_t started : children) {
        kill(started, SIGKILL);
        while (waitpid(started, nullptr, 0) < 0 && errno == EINTR) {
        }
      }
      throw UserError(Code::E0547, fmt::format("{} workers cannot be started: {}", workers, error_text(error)), "", "start fewer workers");
    }
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);  // it has died before that
      int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
      if (nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0) _exit(1);
      close(nowhere);
      return make_local_transport(memory, rank, options.cores);
    }
    children.push_back(child);
  }
  return make_local_parent(memory, options.cores, std::move(children));
}

}  // namespace

std::unique_ptr<Transport> start_workers(const WorkerOptions& options) {
  const std::string& wanted = options.transport;
  if (!wanted.empty() && wanted != "local" && wanted != "openmpi" && wanted != "mpich")
    throw UserError(Code::E0601, fmt::format("there is no transport `{}`", wanted), "", "`--transport local`, `openmpi` or `mpich`");
  if (options.workers && (*options.workers < 1 || *options.workers > most_local_workers))
    throw UserError(Code::E0544, fmt::format("`--workers {}`: a run has 1 to {} workers on one machine", *options.workers, most_local_workers));
  const Launcher launcher = find_launcher(options);
  std::unique_ptr<Transport> transport;
  if (launcher.tasks > 0) {
    if (options.workers && launcher.tasks > 1)
      throw UserError(Code::E0544, fmt::format("`--workers {}` in a run that {} has started with {} processes", *options.workers, launcher.name, launcher.tasks), "",
                      "leave out --workers: the processes are the workers");
    if (launcher.tasks > 1 && wanted == "local")
      throw UserError(Code::E0543, fmt::format("{} has started {} processes, and `--transport local` would make each a run of its own", launcher.name, launcher.tasks), "",
                      "leave out --transport, or start nnc once, with --workers N");
    const std::string& library = wanted.empty() ? launcher.library : wanted;
    if (launcher.tasks > 1 && library.empty()) refuse_apart(launcher.name, launcher.tasks, "and offers no way for them to meet");
    if (launcher.tasks > 1 || wanted == "openmpi" || wanted == "mpich") transport = join_mpi(options, library, launcher);
  } else if (wanted == "openmpi" || wanted == "mpich") {
    if (options.workers)
      throw UserError(Code::E0544, fmt::format("`--workers {}` starts processes that meet in shared memory, not through {}", *options.workers, wanted), "",
                      fmt::format("`mpirun -np {} nnc train ...`, or leave out --transport", *options.workers));
    transport = join_mpi(options, wanted, launcher);
  }
  if (!transport) {
    if (launcher.slurm_tasks > 1 && !options.workers && wanted.empty())
      refuse_apart("Slurm", launcher.slurm_tasks, launcher.tasks == 1 ? "and mpirun that it has 1" : "and nnc was started once, by itself");
    const int workers = options.workers.value_or(1);
    transport = workers > 1 ? fork_workers(options, workers) : std::make_unique<OneWorker>();
  }
  transport->set_stall_seconds(options.stall_seconds);
  return transport;
}

void compare_at_start(Collectives& all, const std::vector<StartFact>& facts) {
  if (all.size() == 1) return;
  nlohmann::json mine = nlohmann::json::array();
  for (const auto& [name, value] : facts) mine.push_back({name, value});
  std::vector<std::string> texts = all.gather(mine.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  const auto first = nlohmann::json::parse(texts[0]).get<std::vector<StartFact>>();
  Diagnostic d;
  d.code = Code::E0542;
  Transport& transport = all.transport();
  for (int rank = 1; rank < all.size(); ++rank) {
    if (texts[size_t(rank)] == texts[0]) continue;
    const auto theirs = nlohmann::json::parse(texts[size_t(rank)]).get<std::vector<StartFact>>();
    for (size_t i = 0; i < std::max(first.size(), theirs.size()); ++i) {
      if (i < first.size() && i < theirs.size() && first[i] == theirs[i]) continue;
      auto value = [i](const std::vector<StartFact>& facts) { return i < facts.size() ? facts[i].second : std::string("nothing"); };
      const std::string& name = i < first.size() ? first[i].first : theirs[i].first;
      std::string text = fmt::format("{} has another {} than {}: {} instead of {}", transport.describe(rank), name, transport.describe(0), value(theirs), value(first));
      if (d.message.empty()) {
        d.message = text;
      } else {
        d.notes.push_back(text);
      }
      break;
    }
  }
  if (d.message.empty()) return;
  d.help.push_back("all workers need the same nnc, program, settings and data");
  throw UserError(std::move(d));
}

}  // namespace nnc
