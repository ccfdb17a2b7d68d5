// System calls that fail on purpose, in one thread and for as long as one function runs: a filter of the kernel (seccomp,
// Documentation/ userspace-api/seccomp_filter.rst) answers them with an error before they are tried. The real calls fail, so the
// code under test needs no seam.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <exception>
#include <thread>
#include <vector>

namespace nnc::test {

/// Calls of this number fail; with a mask, only those whose argument number `argument`, as far as the mask goes, is `value`.
/// Error 0: the call does nothing and gives 0.
struct FailingCall {
  int number;
  int error;
  int argument = 0;
  uint32_t mask = 0, value = 0;
};

/// Runs the function in a thread of its own, where these calls fail. What it throws is thrown again here. False, and nothing was
/// run, where the system allows no filters.
template <class F>
bool with_failing_calls(const std::vector<FailingCall>& calls, F&& function) {
  auto statement = [](int code, uint32_t k, uint8_t yes = 0, uint8_t no = 0) { return sock_filter{uint16_t(code), yes, no, k}; };
  std::vector<sock_filter> program;
  for (const FailingCall& call : calls) {
    uint8_t skip = call.mask ? 4 : 1;  // statements between the number's test and the next call's
    program.push_back(statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
    program.push_back(statement(BPF_JMP | BPF_JEQ | BPF_K, uint32_t(call.number), 0, skip));
    if (call.mask) {
      program.push_back(statement(BPF_LD | BPF_W | BPF_ABS, uint32_t(offsetof(seccomp_data, args) + 8 * size_t(call.argument))));
      program.push_back(statement(BPF_ALU | BPF_AND | BPF_K, call.mask));
      program.push_back(statement(BPF_JMP | BPF_JEQ | BPF_K, call.value, 0, 1));
    }
    program.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | uint32_t(call.error)));
  }
  program.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  bool installed = false;
  std::exception_ptr thrown;
  std::thread([&] {
    installed = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
    if (!installed) return;
    try {
      function();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
  return installed;
}

}  // namespace nnc::test
