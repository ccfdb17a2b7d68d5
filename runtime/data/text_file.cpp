// Reads until the end, whatever the size that the system tells: files in /proc have none, files may grow or shrink meanwhile. A
// pipe is opened without waiting for a writer, and polled, so that nothing here can wait for ever.
#include "runtime/data/text_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/diagnostics.h"
#include "base/system_error.h"
#include "runtime/data/file_bytes.h"

namespace nnc {
namespace {

constexpr int patience_ms = 10'000;

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

[[noreturn]] void cannot_read(const std::string& path, const std::string& why, std::string help = {}) {
  throw UserError(Code::E0402, fmt::format("cannot read `{}`: {}", path, why), path, std::move(help));
}

}  // namespace

std::string read_text(const std::string& path) {
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (file.fd < 0) cannot_read(path, error_text(errno));
  struct stat status{};
  if (fstat(file.fd, &status) != 0) cannot_read(path, error_text(errno));
  if (S_ISDIR(status.st_mode)) cannot_read(path, "it is a folder, not a file", "name the file in it");
  bool pipe = S_ISFIFO(status.st_mode), terminal = isatty(file.fd);
  if (!S_ISREG(status.st_mode) && !pipe && !terminal) cannot_read(path, "it is a device, not a file");
  std::string text;
  for (char block[1 << 16];;) {
    pollfd wait{file.fd, POLLIN, 0};
    if (pipe) {
      int ready = poll(&wait, 1, patience_ms);
      if (ready < 0 && errno == EINTR) continue;
      if (ready == 0) cannot_read(path, "it is a pipe through which nothing has come for ten seconds");
    } else if (terminal && poll(&wait, 1, -1) < 0 && errno != EINTR) {
      cannot_read(path, error_text(errno));
    }
    ssize_t n = ::read(file.fd, block, sizeof block);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) cannot_read(path, error_text(errno));
    if (n == 0) break;
    text.append(block, static_cast<size_t>(n));
    if (text.size() > largest_text)
      cannot_read(path, fmt::format("it is larger than {} MB, which no program is", largest_text >> 20));
  }
  return text;
}

}  // namespace nnc
