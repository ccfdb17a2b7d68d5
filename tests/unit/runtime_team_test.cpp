// Teams of threads with a step function written by hand: nothing lost, nothing stuck, however many threads, steps, starts and stops.
#include "runtime/team.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <numeric>

#include "runtime/cores.h"
#include "runtime/step_runner.h"
#include "tests/unit/catch.h"
#include "tests/unit/counting_step.h"
#include "tests/unit/temp_folder.h"

using namespace nnc;
using namespace nnc::test;

TEST_CASE("every piece of every step is done once, by any number of threads") {
  for (int threads : {1, 2, 3, 4, 7, 16}) {
    CAPTURE(threads);
    Team team(threads);
    REQUIRE(team.size() == threads);
    CountingRun run(team);
    for (int64_t steps : {1, 2, 250, 0, 400}) CHECK(run.run(steps) == steps);
    CHECK(run.steps_seen() == 653);
    CHECK(run.wrong() == 0);
  }
}

TEST_CASE("many short steps while others hold the cores") {
  BusyProcesses others(2);
  for (int threads : {2, 3, 4, 7}) {
    CAPTURE(threads);
    Team team(threads);
    CountingRun run(team);
    int64_t steps = stress_steps(threads <= 2 ? 2000 : 300);
    CHECK(run.run(steps) == steps);
    CHECK(run.wrong() == 0);
  }
}

TEST_CASE("teams come and go") {
  int64_t storms = stress_steps(500);
  for (int64_t i = 0; i < storms; ++i) {
    Team team(1 + int(i % 4));
    if (i % 3 == 0) continue;  // never asked for anything
    CountingRun run(team);
    REQUIRE(run.run(1 + i % 3) == 1 + i % 3);
    REQUIRE(run.wrong() == 0);
  }
}

TEST_CASE("an exception between runs leaves a team that can be used and destroyed") {
  Team team(3);
  for (int i = 0; i < 50; ++i) {
    try {
      CountingRun run(team);
      run.run(3);
      throw std::runtime_error("the observer's");
    } catch (const std::runtime_error&) {
    }
  }
  CountingRun run(team);
  CHECK(run.run(5) == 5);
}

namespace {
StepRunner* stopped_by_signal = nullptr;
}  // namespace

TEST_CASE("a stop from a signal handler ends the run after a whole step, at any moment") {
  for (int threads : {1, 2, 4}) {
    CAPTURE(threads);
    Team team(threads);
    StepRunner runner(counting_program(), team);
    stopped_by_signal = &runner;
    struct sigaction action{}, before{};
    action.sa_handler = [](int) { stopped_by_signal->request_stop(); };
    sigaction(SIGUSR1, &action, &before);
    struct sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    timer_t timer{};
    REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    std::vector<int64_t> rows(100000, 1), index(rows.size(), 0);
    std::vector<double> results(rows.size());
    int stops = 0;
    for (int i = 0; i < 40; ++i) {
      runner.clear_stop();
      itimerspec moment{{0, 0}, {0, 20000 + (i * 7919) % 977 * 1000}};
      timer_settime(timer, 0, &moment, nullptr);
      int64_t done = runner.run(rows, index.data(), nullptr, results.data(), {});
      stops += done < int64_t(rows.size());
      runner.clear_stop();
      moment = {};
      timer_settime(timer, 0, &moment, nullptr);
    }
    CHECK(stops > 0);
    runner.clear_stop();
    CHECK(runner.run(std::span(rows).subspan(0, 10), index.data(), nullptr, results.data(), {}) == 10);
    timer_delete(timer);
    sigaction(SIGUSR1, &before, nullptr);
    stopped_by_signal = nullptr;
  }
}

// Sanitizers reserve more addresses than the limit below leaves, and ThreadSanitizer follows no threads into a forked child.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NNC_FORKS_NO_TEAM
#endif
#endif
#else
#define NNC_FORKS_NO_TEAM
#endif

#ifndef NNC_FORKS_NO_TEAM
TEST_CASE("where no more threads can be started the team is smaller and says so") {
  pid_t child = fork();
  if (child == 0) {  // a limit of address space that holds for this process alone: stacks of 1 GiB, room for a few
    rlimit stack{1 << 30, RLIM_INFINITY}, space{5ull << 30, 5ull << 30};
    setrlimit(RLIMIT_STACK, &stack);
    setrlimit(RLIMIT_AS, &space);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 30);
    pthread_setattr_default_np(&attributes);
    bool good = true;
    {
      Team team(16);
      CountingRun run(team);
      good = team.size() >= 1 && team.size() < 16 && run.run(20) == 20 && run.wrong() == 0 &&
             team.shortage().find("of 16 threads") != std::string::npos;
    }
    _exit(good ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a team in a forked child is the child's own to make") {
  Team team(2);
  CountingRun run(team);
  CHECK(run.run(3) == 3);
  pid_t child = fork();
  if (child == 0) {
    Team own(2);
    CountingRun inner(own);
    bool good = inner.run(10) == 10 && inner.wrong() == 0;
    _exit(good ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  CHECK(run.run(3) == 3);
}

#endif

// --- cores ---

namespace {

/// A folder that looks like the root of a system whose process is in the groups `membership`, with mounts "ROOT POINT TYPE OPTIONS".
class FakeSystem {
 public:
  FakeSystem(const std::string& membership, const std::vector<std::string>& mounts) {
    put("/proc/self/cgroup", membership);
    std::string text = "22 1 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n";
    for (const std::string& m : mounts) {
      std::istringstream in(m);
      std::string root, point, type, options;
      in >> root >> point >> type >> options;
      text += "31 23 0:28 " + root + " " + point + " rw,relatime shared:4 master:1 - " + type + " " + type + " rw," + options + "\n";
    }
    put("/proc/self/mountinfo", text);
  }
  void put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root() + path).parent_path());
    folder_.write(path.substr(1), text);
  }
  std::string root() const { return folder_.path(); }
  double quota() const { return cpu_quota(root()); }

 private:
  TempFolder folder_;
};

}  // namespace

TEST_CASE("version 2: the quota of the group, of those above it, and none") {
  FakeSystem system("0::/user.slice/run\n", {"/ /sys/fs/cgroup cgroup2 nsdelegate"});
  CHECK(std::isinf(system.quota()));
  system.put("/sys/fs/cgroup/user.slice/run/cpu.max", "max 100000\n");
  CHECK(std::isinf(system.quota()));
  system.put("/sys/fs/cgroup/user.slice/cpu.max", "350000 100000\n");
  CHECK(system.quota() == 3.5);
  system.put("/sys/fs/cgroup/user.slice/run/cpu.max", "50000 25000\n");
  CHECK(system.quota() == 2);
  system.put("/sys/fs/cgroup/user.slice/cpu.max", "25000 100000\n");
  CHECK(system.quota() == 0.25);
  system.put("/sys/fs/cgroup/cpu.max", "10000 100000\n");
  CHECK(system.quota() == 0.1);
}

TEST_CASE("version 2 in a container shows the container's group as the root") {
  FakeSystem system("0::/\n", {"/ /sys/fs/cgroup cgroup2 nsdelegate"});
  system.put("/sys/fs/cgroup/cpu.max", "150000 100000");
  CHECK(system.quota() == 1.5);
  FakeSystem outside("0::/../other\n", {"/ /sys/fs/cgroup cgroup2 nsdelegate"});
  outside.put("/sys/fs/cgroup/cpu.max", "400000 100000");
  CHECK(outside.quota() == 4);
  FakeSystem bound("0::/system.slice/docker-1.scope\n", {"/system.slice/docker-1.scope /sys/fs/cgroup cgroup2 nsdelegate"});
  bound.put("/sys/fs/cgroup/cpu.max", "300000 100000");
  CHECK(bound.quota() == 3);
  FakeSystem below("0::/pod/run\n", {"/pod /sys/fs/cgroup cgroup2 nsdelegate"});
  below.put("/sys/fs/cgroup/cpu.max", "300000 100000");
  below.put("/sys/fs/cgroup/run/cpu.max", "200000 100000");
  CHECK(below.quota() == 2);
  FakeSystem elsewhere("0::/pod2/run\n", {"/pod /sys/fs/cgroup cgroup2 nsdelegate"});  // of what is mounted only the root concerns this process
  elsewhere.put("/sys/fs/cgroup/cpu.max", "300000 100000");
  elsewhere.put("/sys/fs/cgroup/run/cpu.max", "200000 100000");
  CHECK(elsewhere.quota() == 3);
}

TEST_CASE("version 1: quota and period in files of their own, the controller by its name") {
  FakeSystem system("9:name=systemd:/x\n4:cpu,cpuacct:/docker/ab\n3:cpuset:/docker/ab\n", {"/docker/ab /sys/fs/cgroup/cpuset cgroup cpuset",
                                                                                           "/docker/ab /sys/fs/cgroup/cpu,cpuacct cgroup cpu,cpuacct"});
  system.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  system.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  CHECK(std::isinf(system.quota()));
  system.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
  CHECK(system.quota() == 2);
  FakeSystem host("4:cpu:/a/b c\n", {"/ /mnt/with\\040space cgroup cpu"});
  host.put("/mnt/with space/a/b c/cpu.cfs_quota_us", "800000\n");
  host.put("/mnt/with space/a/b c/cpu.cfs_period_us", "100000\n");
  CHECK(host.quota() == 8);
  host.put("/mnt/with space/a/cpu.cfs_quota_us", "100000\n");
  host.put("/mnt/with space/a/cpu.cfs_period_us", "100000\n");
  CHECK(host.quota() == 1);
  for (const char* point : {"/odd\\", "/odd\\04", "/odd\\08x", "/odd\\0x0", "/odd\\x00"}) {  // no escapes: the name is meant as it is written
    CAPTURE(point);
    FakeSystem odd("4:cpu:/\n", {std::string("/ ") + point + " cgroup cpu"});
    odd.put(std::string(point) + "/cpu.cfs_quota_us", "500000\n");
    odd.put(std::string(point) + "/cpu.cfs_period_us", "100000\n");
    CHECK(odd.quota() == 5);
  }
}

TEST_CASE("both versions at once, and files that are damaged or absent") {
  FakeSystem both("4:cpu:/\n0::/s\n", {"/ /sys/fs/cgroup/cpu cgroup cpu", "/ /sys/fs/cgroup/unified cgroup2 x"});
  both.put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000");
  both.put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  CHECK(both.quota() == 3);
  both.put("/sys/fs/cgroup/unified/s/cpu.max", "250000 100000");
  CHECK(both.quota() == 2.5);
  for (const char* damaged : {"", "x 100000", "100000", "100000 0", "0 100000", "-5 100000", "nan 100000", "1e400 1", "100000 x", "100000u 100000", "100000 100000u",
                              "100000 inf"}) {
    CAPTURE(damaged);
    FakeSystem system("0::/\n", {"/ /sys/fs/cgroup cgroup2 x"});
    system.put("/sys/fs/cgroup/cpu.max", damaged);
    CHECK(std::isinf(system.quota()));
  }
  FakeSystem senseless("\n::\nabc\n4:cpu\n0::\n", {});
  senseless.put("/proc/self/mountinfo", "1 2 3\n- - -\n1 2 3 4 5 6 - cgroup2\n");
  CHECK(std::isinf(senseless.quota()));
  CHECK(std::isinf(cpu_quota("/no/such/root")));
}

TEST_CASE("this process may use at least one core and no more than its mask") {
  CHECK(affinity_cores() >= 1);
  CHECK(usable_cores() >= 1);
  CHECK(usable_cores() <= affinity_cores());
}
