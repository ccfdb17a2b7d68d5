// fork, two pipes, limits, waitpid.
#include "tests/fuzz/sandbox.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>

#include <fmt/format.h>

#include "base/check.h"
#include "codegen/codegen.h"

namespace nnc::fuzz {
namespace {

void write_all(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    done += size_t(n);
  }
}

[[noreturn]] void work_in_child(const std::function<std::string()>& work, const Limits& limits, int out, int err) {
  signal(SIGINT, SIG_IGN);  // the parent decides
  dup2(err, 2);
  auto limit = [](int what, uint64_t value) {
    rlimit l{value, value};
    setrlimit(what, &l);
  };
  const bool sanitized = code_sanitizer() != Sanitizer::none;  // they reserve terabytes of addresses, and take their time
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, uint64_t(limits.cpu_seconds * (sanitized ? 10 : 1)));
  if (!sanitized) limit(RLIMIT_AS, uint64_t(limits.bytes));
  int status = 0;
  try {
    write_all(out, work());
  } catch (const std::exception& e) {
    write_all(2, e.what());
    status = 3;
  }
  _exit(status);
}

}  // namespace

SandboxResult in_sandbox(const std::function<std::string()>& work, const Limits& limits) {
  int out[2], err[2];
  NNC_CHECK(pipe(out) == 0 && pipe(err) == 0, "no pipe");
  std::fflush(nullptr);
  pid_t child = fork();
  NNC_CHECK(child >= 0, "no process");
  if (child == 0) {
    close(out[0]);
    close(err[0]);
    work_in_child(work, limits, out[1], err[1]);
  }
  close(out[1]);
  close(err[1]);
  SandboxResult result;
  auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limits.seconds);
  pollfd fds[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
  int open = 2;
  bool timed_out = false;
  while (open > 0) {
    double left = std::chrono::duration<double>(end - std::chrono::steady_clock::now()).count();
    if (left <= 0) {
      timed_out = true;
      break;
    }
    int ready = poll(fds, 2, int(left * 1000) + 1);
    if (ready < 0 && errno == EINTR) continue;
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || !(fds[i].revents & (POLLIN | POLLHUP))) continue;
      char buffer[65536];
      ssize_t n = read(fds[i].fd, buffer, sizeof buffer);
      if (n <= 0) {
        fds[i].fd = -1;
        --open;
      } else if (i == 0) {
        result.output.append(buffer, size_t(n));
      } else if (result.message.size() < 20000) {
        result.message.append(buffer, size_t(n));
      }
    }
  }
  if (timed_out) kill(child, SIGKILL);
  close(out[0]);
  close(err[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (timed_out || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)) {
    result.end = SandboxResult::End::timed_out;
  } else if (WIFSIGNALED(status)) {
    result.end = SandboxResult::End::signalled;
    result.number = WTERMSIG(status);
  } else if (WEXITSTATUS(status) != 0) {
    result.end = SandboxResult::End::exited;
    result.number = WEXITSTATUS(status);
  }
  return result;
}

std::string SandboxResult::end_text() const {
  switch (end) {
    case End::done: return "done";
    case End::signalled: return fmt::format("signal {} ({})", number, strsignal(number));
    case End::timed_out: return "no end in time";
    case End::exited: return fmt::format("exit status {}", number);
  }
  return "";
}

}  // namespace nnc::fuzz
