// How a run with several workers begins: what launchers say, what is refused, forks, and the comparison of what workers are about to do. What needs mpirun stands in check_workers.py.
#include "runtime/workers/launch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <map>

#include "tests/unit/catch.h"
#include "tests/unit/failing_calls.h"
#include "tests/workers/local_run.h"

using namespace nnc;
using namespace nnc::test;

namespace {

using Environment = std::map<std::string, std::string>;

WorkerOptions options_in(const Environment& environment, std::optional<int> workers = std::nullopt, std::string transport = "") {
  WorkerOptions options;
  options.workers = workers;
  options.transport = std::move(transport);
  options.cores = 2;
  options.environment = [environment](const char* name) {
    auto found = environment.find(name);
    return found == environment.end() ? std::nullopt : std::optional<std::string>(found->second);
  };
  return options;
}

/// Code and message of the refusal; "" if there is none.
std::string refusal(const WorkerOptions& options) {
  try {
    auto transport = start_workers(options);
    return "";
  } catch (const UserError& e) {
    return std::string(code_name(e.diagnostic().code)) + ": " + e.what();
  }
}

/// What a run with --workers does, in a process of its own: its exit status, or -signal.
template <class Body>
int in_child(Body&& body) {
  std::fflush(nullptr);
  pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// Numbers that forks share.
struct Tally {
  std::atomic<int> values[8];
};
Tally* make_tally() { return new (mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Tally{}; }

void nap(int milliseconds) {
  timespec pause{milliseconds / 1000, milliseconds % 1000 * 1'000'000L};
  nanosleep(&pause, nullptr);
}

}  // namespace

TEST_CASE("without options and launcher there is one worker") {
  auto transport = start_workers(options_in({}));
  CHECK(transport->size() == 1);
  CHECK(transport->rank() == 0);
  CHECK(transport->name() == "one");
  CHECK(transport->host_of(0) == host_name());
  CHECK(transport->share(100) == nullptr);
  Collectives all(*transport);
  CHECK_FALSE(all.agree_any(false));
  CHECK(all.agree_any(true));
  CHECK(all.gather(std::string("x")) == std::vector<std::string>{"x"});
  compare_at_start(all, {{"version", "1"}});
  CHECK(start_workers(options_in({}, 1))->size() == 1);
  // One process of a launcher is a run of one.
  CHECK(start_workers(options_in({{"OMPI_COMM_WORLD_SIZE", "1"}}))->size() == 1);
  CHECK(start_workers(options_in({{"PMI_SIZE", "1"}}, 1))->size() == 1);
  CHECK(start_workers(options_in({{"SLURM_NTASKS", "1"}}))->size() == 1);
}

TEST_CASE("what cannot be one run is refused before anything is started") {
  CHECK_THAT(refusal(options_in({}, 0)), starts_with("E0544: `--workers 0`"));
  CHECK_THAT(refusal(options_in({}, 257)), starts_with("E0544: `--workers 257`: a run has 1 to 256 workers on one machine"));
  CHECK_THAT(refusal(options_in({}, 2, "tcp")), starts_with("E0601: there is no transport `tcp`"));
  CHECK(refusal(options_in({{"OMPI_COMM_WORLD_SIZE", "4"}}, 2)) == "E0544: `--workers 2` in a run that mpirun has started with 4 processes");
  CHECK(refusal(options_in({{"PMI_SIZE", "3"}}, 3)) == "E0544: `--workers 3` in a run that mpirun has started with 3 processes");
  CHECK_THAT(refusal(options_in({}, 2, "openmpi")), starts_with("E0544: `--workers 2` starts processes that meet in shared memory, not through openmpi"));
  CHECK_THAT(refusal(options_in({{"OMPI_COMM_WORLD_SIZE", "4"}}, std::nullopt, "local")), starts_with("E0543: mpirun has started 4 processes, and `--transport local`"));
  // Slurm speaks of several, and this process is alone.
  CHECK_THAT(refusal(options_in({{"SLURM_NTASKS", "4"}})), starts_with("E0543: Slurm says that this run has 4 processes"));
  CHECK_THAT(refusal(options_in({{"SLURM_NTASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "1"}})), starts_with("E0543: Slurm says that this run has 4 processes, and mpirun that it has 1"));
  CHECK_THAT(refusal(options_in({{"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "0"}})), starts_with("E0543: srun says that this run has 4 processes, and offers no way for them to meet"));
  CHECK_THAT(refusal(options_in({{"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "0"}}, 2)), starts_with("E0544: `--workers 2` in a run that srun has started with 4 processes"));
  // A job of several tasks whose script starts nnc once and says so.
  CHECK(refusal(options_in({{"SLURM_NTASKS", "4"}}, 1)) == "");
  CHECK(refusal(options_in({{"SLURM_NTASKS", "4"}}, std::nullopt, "local")) == "");
}

TEST_CASE("--workers N is N processes, of which the first prints") {
  Tally* tally = make_tally();
  char path[] = "/tmp/nnc-workers-XXXXXX";
  int file = mkstemp(path);
  int status = in_child([&] {
    dup2(file, STDOUT_FILENO);
    auto transport = start_workers(options_in({}, 3));
    tally->values[0] += 1 << (4 * transport->rank());
    std::printf("rank %d\n", transport->rank());
    std::fflush(stdout);
    Collectives all(*transport);
    std::vector<std::string> processes = all.gather(std::to_string(getpid()));
    tally->values[1] += processes[0] != processes[1] && processes[1] != processes[2] && transport->name() == "local";
    return transport->rank() == 0 ? 5 : 0;
  });
  CHECK(status == 5);
  CHECK(tally->values[0] == 0x111);
  CHECK(tally->values[1] == 3);
  char text[100] = "";
  CHECK(pread(file, text, sizeof text - 1, 0) == 7);
  CHECK(std::string(text) == "rank 0\n");
  close(file);
  unlink(path);
}

TEST_CASE("workers end when the first is killed") {
  Tally* tally = make_tally();
  int status = in_child([&] {
    auto transport = start_workers(options_in({}, 3));
    tally->values[transport->rank()] = getpid();
    transport->barrier();
    if (transport->rank() == 0) raise(SIGKILL);
    nap(20'000);
    return 0;
  });
  CHECK(status == -SIGKILL);
  for (int rank : {1, 2}) {
    bool gone = false;
    for (int i = 0; i < 1000 && !gone; ++i, nap(10)) {
      // Nobody may have reaped it where this process is not the system's first.
      char path[64], text[256] = "";
      std::snprintf(path, sizeof path, "/proc/%d/stat", int(tally->values[rank]));
      int stat = open(path, O_RDONLY);
      gone = stat < 0 || read(stat, text, sizeof text - 1) <= 0 || std::string(text).find(") Z") != std::string::npos;
      if (stat >= 0) close(stat);
    }
    CHECK(gone);
  }
}

TEST_CASE("the first does not leave before the others have, and ends those that do not") {
  Tally* tally = make_tally();
  int status = in_child([&] {
    auto transport = start_workers(options_in({}, 2));
    transport->barrier();
    if (transport->rank() == 1) nap(300), tally->values[1] = 1;
    return 0;
  });
  CHECK(status == 0);
  CHECK(tally->values[1] == 1);
}

TEST_CASE("a process that cannot be started is an error, and leaves none behind") {
  bool filters = true;
  int status = in_child([&] {
    std::string text;
    filters = with_failing_calls({{SYS_clone, EAGAIN}, {SYS_fork, EAGAIN}, {SYS_clone3, EAGAIN}}, [&] { text = refusal(options_in({}, 3)); });
    if (!filters) return 77;
    return text == "E0547: 3 workers cannot be started: resource temporarily unavailable" && waitpid(-1, nullptr, WNOHANG) == -1 ? 3 : 4;
  });
  CHECK((status == 3 || status == 77));
}

TEST_CASE("workers that are about to do different things say so, all alike") {
  std::vector<std::string> said = run_processes(3, [&](Transport& t) -> std::string {
    Collectives all(t);
    compare_at_start(all, {{"version", "1"}, {"seed", "7"}});
    try {
      compare_at_start(all, {{"version", "1"}, {"program", t.rank() == 2 ? "5d" : "3f"}, {"seed", t.rank() == 1 ? "8" : "7"}});
    } catch (const UserError& e) {
      const Diagnostic& d = e.diagnostic();
      return std::string(code_name(d.code)) + " " + d.message + " | " + d.notes.at(0);
    }
    return "nothing";
  });
  std::string host = " (on " + host_name() + ")";
  for (const std::string& text : said)
    CHECK(text == "E0542 worker 1" + host + " has another seed than worker 0" + host + ": 8 instead of 7 | worker 2" + host + " has another program than worker 0" + host + ": 5d instead of 3f");
}
