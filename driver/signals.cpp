// A handler may touch little: flags, the stop flags of the run, and calls that POSIX allows there (write, unlink, _exit).
#include "driver/signals.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "driver/session.h"
#include "engine/host.h"

namespace nnc {
namespace {

constexpr int stopping[] = {SIGINT, SIGTERM, SIGHUP};

std::atomic<TrainingRun*> running{nullptr};
std::atomic<bool> has_run{false};  ///< there was a run to watch
std::atomic<bool> is_asked{false};  ///< somebody calls stop_requested() between small steps
std::atomic<int> requested{0};
std::atomic<const char*> early_words{""};

void on_signal(int) {
  int error = errno;
  TrainingRun* run = running;
  if (run && requested++ == 0) {
    run->request_stop();
    errno = error;
    return;
  }
  if (is_asked && requested++ == 0) return;
  remove_unfinished_files();
  const char* const words = early_words;
  if (!has_run && !is_asked) (void)!write(STDERR_FILENO, words, std::strlen(words));
  _exit(exit_interrupted);
}

void on_lost_file(const char* path) {
  if (TrainingRun* run = running) run->on_file_lost(path);
}

}  // namespace

SignalScope::SignalScope(const char* early) {
  early_words = early;
  requested = 0;
  has_run = is_asked = false;
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

void SignalScope::only_count_first() { is_asked = true; }

SignalScope::~SignalScope() {
  set_lost_file_handler(nullptr);
  running = nullptr;
}

void SignalScope::watch(TrainingRun* run) {
  running = run;
  if (run) has_run = true;
  set_lost_file_handler(run ? on_lost_file : nullptr);
}

bool stop_requested() { return requested != 0; }

}  // namespace nnc
