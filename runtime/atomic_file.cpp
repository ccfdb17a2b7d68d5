// Temporary file in the same folder (rename is atomic within a file system only), fsync, rename, fsync of the folder: the order
// that POSIX and Linux file systems need for "old or new" to hold across a power failure.
#include "runtime/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/diagnostics.h"
#include "runtime/file_bytes.h"

namespace nnc {
namespace {

[[noreturn]] void cannot_write(const std::string& path, const std::string& why, std::string help = {}) {
  throw UserError(Code::E0413, fmt::format("cannot write `{}`: {}", path, why), path, std::move(help));
}

/// The file that a path means, and the folder that holds it.
struct Target {
  std::string path, folder;
  mode_t mode = 0;                ///< of an existing file, 0 if there is none
  bool written_directly = false;  ///< a device or pipe
};

Target find_target(const std::string& path) {
  if (path.empty()) cannot_write(path, "the name is empty");
  Target target{path, {}, 0, false};
  struct stat status{};
  if (stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) cannot_write(path, "it is a folder", "name a file in it");
    target.written_directly = !S_ISREG(status.st_mode);
    target.mode = status.st_mode & 07777;
    std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr), &std::free);
    if (real) target.path = real.get();
  } else if (errno != ENOENT && errno != ENOTDIR) {
    cannot_write(path, error_text(errno));
  }
  size_t slash = target.path.find_last_of('/');
  target.folder = slash == std::string::npos ? "." : slash == 0 ? "/" : target.path.substr(0, slash);
  if (!target.written_directly) {
    if (slash != std::string::npos && slash + 1 == target.path.size())
      cannot_write(path, "it names a folder that does not exist", "name a file");
    if (target.path.size() - (slash == std::string::npos ? 0 : slash + 1) > NAME_MAX)
      cannot_write(path, error_text(ENAMETOOLONG));
    if (stat(target.folder.c_str(), &status) != 0)
      cannot_write(path, errno == ENOENT ? fmt::format("there is no folder `{}`", target.folder) : error_text(errno),
                   errno == ENOENT ? fmt::format("create it: mkdir -p {}", target.folder) : std::string());
    if (!S_ISDIR(status.st_mode)) cannot_write(path, fmt::format("`{}` is not a folder", target.folder));
  }
  return target;
}

/// An open file that takes content; a temporary one disappears with this object unless it was kept.
class OutputFile final : public FileSink {
 public:
  OutputFile(const Target& target, const std::string& shown) : shown_(shown) {
    if (target.written_directly) {
      fd_ = open(target.path.c_str(), O_WRONLY | O_CLOEXEC);
    } else {
      static std::atomic<unsigned> counter{0};  // two threads of one process must not share a name
      do {
        temporary_ = fmt::format("{}/.nnc-{}-{}.tmp", target.folder, getpid(), counter++);
        fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      } while (fd_ < 0 && errno == EEXIST);
    }
    if (fd_ < 0) {
      temporary_.clear();
      cannot_write(shown_, error_text(errno));
    }
    if (target.mode != 0 && !target.written_directly && fchmod(fd_, target.mode) != 0) fail();
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile() {
    if (fd_ >= 0) close(fd_);
    if (!temporary_.empty()) unlink(temporary_.c_str());
  }

  using FileSink::write;
  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail();
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  }

  void move_to(const Target& target) {
    if (fsync(fd_) != 0) fail();
    int fd = fd_;
    fd_ = -1;
    if (close(fd) != 0) fail();
    if (rename(temporary_.c_str(), target.path.c_str()) != 0) fail();
    temporary_.clear();
    int folder = open(target.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return;  // a folder may allow entering but not listing; the file is in place
    int result = fsync(folder), error = errno;
    close(folder);
    if (result != 0 && error != EINVAL && error != EROFS) cannot_write(shown_, error_text(error));
  }

 private:
  [[noreturn]] void fail() const { cannot_write(shown_, error_text(errno)); }

  std::string shown_, temporary_;
  int fd_ = -1;
};

}  // namespace

void write_file_atomically(const std::string& path, const std::function<void(FileSink&)>& write_content) {
  Target target = find_target(path);
  OutputFile file(target, path);
  write_content(file);
  if (!target.written_directly) file.move_to(target);
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, [&](FileSink& sink) { sink.write(bytes); });
}

void check_output_writable(const std::string& path) { OutputFile(find_target(path), path); }

}  // namespace nnc
