// Runs files through the readers without libFuzzer: `nnc_replay FOLDER...`, where FOLDER/FORMAT/* are files of that format. Every
// file has its own ten seconds. Prints how many were read; a finding ends it with the file's name above the message.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "tests/fuzz/readers/readers.h"

namespace {

constexpr unsigned seconds_per_file = 10;
char current[4096];

void say_current(int signal) {
  const char* what = signal == SIGALRM ? ": took too long\n" : ": broke its reader\n";
  (void)!write(STDERR_FILENO, current, std::strlen(current));
  (void)!write(STDERR_FILENO, what, std::strlen(what));
  _exit(1);
}

std::vector<uint8_t> content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int argc, char** argv) {
  for (int signal : {SIGALRM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) ::signal(signal, say_current);
  size_t files = 0;
  for (int i = 1; i < argc; ++i)
    for (const nnc::fuzz::Format& format : nnc::fuzz::formats()) {
      std::filesystem::path folder = std::filesystem::path(argv[i]) / format.name;
      if (!std::filesystem::is_directory(folder)) continue;
      std::vector<std::filesystem::path> paths;
      for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
      std::sort(paths.begin(), paths.end());
      for (const auto& path : paths) {
        std::snprintf(current, sizeof current, "%s", path.c_str());
        alarm(seconds_per_file);
        nnc::fuzz::read_within_limits(format, content(path));
        ++files;
      }
    }
  fmt::print("{} files read\n", files);
  return files == 0;
}
