// A handler may touch little: flags, the stop flag of the runner, and calls that POSIX allows there (write, unlink, _exit).
#include "driver/signals.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

#include "driver/session.h"
#include "runtime/data/atomic_file.h"
#include "runtime/data/file_bytes.h"

namespace nnc {
namespace {

constexpr int stopping[] = {SIGINT, SIGTERM, SIGHUP};

std::atomic<StepRunner*> running{nullptr};
std::atomic<bool> has_run{false};  ///< there was a runner to watch
std::atomic<int> requested{0};
std::atomic<const char*> lost_file{nullptr};

void on_signal(int) {
  int error = errno;
  StepRunner* runner = running;
  if (runner && requested++ == 0) {
    runner->request_stop();
    errno = error;
    return;
  }
  remove_unfinished_files();
  constexpr char message[] = "interrupted before the first step; nothing was written\n";
  if (!has_run) (void)!write(STDERR_FILENO, message, sizeof message - 1);
  _exit(exit_interrupted);
}

void on_lost_file(const char* path) {
  lost_file = path;
  if (StepRunner* runner = running) runner->request_stop();
}

}  // namespace

SignalScope::SignalScope() {
  requested = 0;
  has_run = false;
  lost_file = nullptr;
  struct sigaction action{};
  action.sa_flags = SA_RESTART;
  action.sa_handler = on_signal;
  for (int number : stopping) {
    struct sigaction before{};
    sigaction(number, nullptr, &before);
    if (number != SIGTERM && before.sa_handler == SIG_IGN) continue;
    sigaction(number, &action, nullptr);
  }
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

SignalScope::~SignalScope() {
  set_lost_file_handler(nullptr);
  running = nullptr;
}

void SignalScope::watch(StepRunner* runner) {
  running = runner;
  if (runner) has_run = true;
  set_lost_file_handler(runner ? on_lost_file : nullptr);
}

bool stop_requested() { return requested != 0; }

std::string lost_data_file() {
  const char* path = lost_file;
  return path ? path : "";
}

}  // namespace nnc
