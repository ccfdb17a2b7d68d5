// N workers of this machine for the unit tests: threads of this process, which ThreadSanitizer sees, or processes.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "runtime/workers/local_transport.h"

namespace nnc::test {

using Work = std::function<std::string(Transport&)>;  ///< gives what is wrong, or ""

/// As threads. All that is wrong, exceptions among it.
inline std::string run_threads(int workers, const Work& work) {
  auto memory = std::make_shared<LocalMemory>(workers);
  std::vector<std::string> wrong(static_cast<size_t>(workers));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < workers; ++rank)
    threads.emplace_back([&, rank] {
      try {
        auto transport = make_local_transport(memory, rank, 2);
        wrong[size_t(rank)] = work(*transport);
      } catch (const std::exception& e) {
        wrong[size_t(rank)] = e.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  std::string all;
  for (const std::string& text : wrong) all += text;
  return all;
}

/// As processes, all of them children of this one. What each said, by rank; "killed by signal N" of one that was.
inline std::vector<std::string> run_processes(int workers, const Work& work) {
  auto memory = std::make_shared<LocalMemory>(workers);
  std::vector<pid_t> children;
  std::vector<int> pipes;
  std::fflush(nullptr);  // or each child would write it again
  for (int rank = 0; rank < workers; ++rank) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    pid_t child = fork();
    if (child == 0) {
      close(ends[0]);
      std::string said;
      {
        std::unique_ptr<Transport> transport = make_local_transport(memory, rank, 2);
        try {
          said = work(*transport);
        } catch (const UserError& e) {
          said = std::string(code_name(e.diagnostic().code)) + ": " + e.what();
          transport->leave(e.what());
        } catch (const std::exception& e) {
          said = e.what();
        }
      }
      size_t done = 0;
      while (done < said.size()) {
        ssize_t written = write(ends[1], said.data() + done, said.size() - done);
        if (written <= 0) break;
        done += size_t(written);
      }
      _exit(0);
    }
    close(ends[1]);
    pipes.push_back(ends[0]);
    children.push_back(child);
  }
  std::vector<std::string> said;
  for (size_t i = 0; i < children.size(); ++i) {
    std::string text;
    char buffer[4096];
    for (ssize_t count; (count = read(pipes[i], buffer, sizeof buffer)) > 0;) text.append(buffer, size_t(count));
    close(pipes[i]);
    int status = 0;
    waitpid(children[i], &status, 0);
    if (WIFSIGNALED(status)) text += "killed by signal " + std::to_string(WTERMSIG(status));
    said.push_back(text);
  }
  return said;
}

}  // namespace nnc::test
