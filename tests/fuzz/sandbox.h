// Work done in a forked child, so that a crash, a hang or memory without end of the compiler is a result and not the end of the fuzzer.
#pragma once

#include <functional>
#include <string>

namespace nnc::fuzz {

struct Limits {
  double seconds = 900;        ///< by the clock: machines are busy
  double cpu_seconds = 60;
  int64_t bytes = int64_t(4) << 30;
};

struct SandboxResult {
  enum class End { done, signalled, timed_out, exited } end = End::done;
  int number = 0;      ///< signal or exit status
  std::string output;  ///< what the work gave, complete only if done
  std::string message; ///< what it wrote to standard error, the beginning
  std::string end_text() const;  ///< "SIGSEGV", "no end after 60 s"
};

/// Runs `work` in a child and gives what it returned. An exception in it is written to its standard error and ends it with status 3.
SandboxResult in_sandbox(const std::function<std::string()>& work, const Limits& = {});

}  // namespace nnc::fuzz
