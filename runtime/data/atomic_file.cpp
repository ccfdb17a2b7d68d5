// Temporary file in the same folder (rename is atomic within a file system only), fsync, rename, fsync of the folder: the order
// that POSIX and Linux file systems need for "old or new" to hold across a power failure.
//
// What a killed process leaves behind must be told from what a living one is writing, also across containers, where process
// numbers mean nothing: every temporary file is locked (flock) by its writer, and the system lets go of the lock when the process
// is gone. Whoever gets the lock of a file named .nnc-* may remove it.
#include "runtime/data/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <thread>

#include "base/diagnostics.h"
#include "base/philox.h"
#include "base/system_error.h"
#include "runtime/data/file_bytes.h"

namespace nnc {
namespace {

[[noreturn]] void cannot_write(const std::string& path, const std::string& why, std::string help = {}) {
  throw UserError(Code::E0413, fmt::format("cannot write `{}`: {}", path, why), path, std::move(help));
}

/// A system call again as long as signals interrupt it. Not for close, after which the descriptor is gone in any case.
template <class Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// --- what a dying process has to remove: paths in memory that a signal handler may read ---

struct Unfinished {
  enum State : int { vacant, filling, in_use };
  std::atomic<int> state{vacant};
  char path[PATH_MAX];
};
Unfinished unfinished[8];

/// -1 if the table is full or the path too long: then the file is left for the next run to remove.
int remember(const std::string& path) {
  if (path.size() >= PATH_MAX) return -1;
  for (int i = 0; i < int(std::size(unfinished)); ++i) {
    int expected = Unfinished::vacant;
    if (!unfinished[i].state.compare_exchange_strong(expected, Unfinished::filling)) continue;
    std::memcpy(unfinished[i].path, path.c_str(), path.size() + 1);
    unfinished[i].state = Unfinished::in_use;
    return i;
  }
  return -1;
}

void forget(int slot) {
  if (slot >= 0) unfinished[slot].state = Unfinished::vacant;
}

/// Removes a file of ours; one failure (a signal, a busy server) is not the last word.
void remove_file(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) unlink(path.c_str());
}

/// The file that a path means, and the folder that holds it.
struct Target {
  std::string path, folder;
  mode_t mode = 0;                ///< of an existing file, 0 if there is none
  bool written_directly = false;  ///< a device or pipe
  bool pipe = false;
};

size_t name_begin(const std::string& path) {
  size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? 0 : slash + 1;
}

std::string folder_of(const std::string& path) {
  size_t begin = name_begin(path);
  return begin == 0 ? "." : begin == 1 ? "/" : path.substr(0, begin - 1);
}

/// Where a link leads that leads to nothing: the file is to appear there, and the link to stay.
std::string follow_links(std::string path) {
  constexpr int most_links = 40;  // as the kernel has it
  for (int i = 0; i < most_links; ++i) {
    char to[PATH_MAX];
    ssize_t length = readlink(path.c_str(), to, sizeof to - 1);
    if (length <= 0) return path;
    std::string next(to, size_t(length));
    path = next[0] == '/' ? next : path.substr(0, name_begin(path)) + next;
  }
  return path;
}

Target find_target(const std::string& path) {
  if (path.empty()) cannot_write(path, "the name is empty");
  Target target{path, {}, 0, false, false};
  struct stat status{};
  if (stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) cannot_write(path, "it is a folder", "name a file in it");
    target.written_directly = !S_ISREG(status.st_mode);
    target.pipe = S_ISFIFO(status.st_mode);
    target.mode = status.st_mode & 07777;
    char real[PATH_MAX];
    if (realpath(path.c_str(), real)) target.path = real;
  } else if (errno == ELOOP) {
    cannot_write(path, "its links lead in a circle");
  } else if (errno != ENOENT && errno != ENOTDIR) {
    cannot_write(path, error_text(errno));
  } else {
    target.path = follow_links(path);
  }
  target.folder = folder_of(target.path);
  if (!target.written_directly) {
    size_t begin = name_begin(target.path);
    if (begin == target.path.size()) cannot_write(path, "it names a folder that does not exist", "name a file");
    if (target.path.size() - begin > NAME_MAX) cannot_write(path, error_text(ENAMETOOLONG));
    if (stat(target.folder.c_str(), &status) != 0)
      cannot_write(path, errno == ENOENT ? fmt::format("there is no folder `{}`", target.folder) : error_text(errno),
                   errno == ENOENT ? fmt::format("create it: mkdir -p {}", target.folder) : std::string());
    if (!S_ISDIR(status.st_mode)) cannot_write(path, fmt::format("`{}` is not a folder", target.folder));
  }
  return target;
}

/// Opens a pipe for writing, which needs a reader; one that does not come must not hold a finished run for ever.
int open_pipe(const std::string& path) {
  constexpr std::chrono::milliseconds patience{5000}, pause{20};
  auto give_up = std::chrono::steady_clock::now() + patience;
  int fd = -1;
  while ((fd = open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK)) < 0 && (errno == ENXIO || errno == EINTR) &&
         std::chrono::steady_clock::now() < give_up)
    std::this_thread::sleep_for(pause);
  if (fd >= 0) fcntl(fd, F_SETFL, O_WRONLY);
  return fd;
}

/// An open file that takes content; a temporary one disappears with this object unless it was kept.
class OutputFile final : public FileSink {
 public:
  OutputFile(const Target& target, const std::string& shown) : shown_(shown) {
    if (target.written_directly) {
      fd_ = target.pipe ? open_pipe(target.path) : uninterrupted([&] { return open(target.path.c_str(), O_WRONLY | O_CLOEXEC); });
      if (fd_ < 0 && target.pipe && errno == ENXIO) cannot_write(shown_, "nobody reads from this pipe");
      if (fd_ < 0) cannot_write(shown_, error_text(errno));
      return;
    }
    create(target);
    if (target.mode != 0 && uninterrupted([&] { return fchmod(fd_, target.mode); }) != 0) {
      int error = errno;
      discard();
      cannot_write(shown_, error_text(error));
    }
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile() { discard(); }

  using FileSink::write;
  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      ssize_t n = uninterrupted([&] { return ::write(fd_, bytes.data(), bytes.size()); });
      if (n < 0) fail();
      if (n == 0) cannot_write(shown_, error_text(ENOSPC));
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  }

  /// The lock on the temporary file is held until it has its name, so the file is closed last; what closing could report, a
  /// successful fsync has excluded.
  void move_to(const Target& target) {
    if (uninterrupted([&] { return fsync(fd_); }) != 0) fail();
    if (uninterrupted([&] { return rename(temporary_.c_str(), target.path.c_str()); }) != 0) fail();
    forget(slot_);
    slot_ = -1;
    temporary_.clear();
    int folder = uninterrupted([&] { return open(target.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (folder < 0) return;  // a folder may allow entering but not listing; the file is in place
    int result = uninterrupted([&] { return fsync(folder); }), error = errno;
    close(folder);
    if (result != 0 && error != EINVAL && error != EROFS)
      cannot_write(shown_, error_text(error), "the file is in place, but a power failure could bring the old one back");
  }

 private:
  void create(const Target& target) {
    static std::atomic<unsigned> counter{0};  // two threads of one process must not share a name
    struct stat status{};
    while (true) {
      temporary_ = fmt::format("{}/.nnc-{}-{}.tmp", target.folder, getpid(), counter++);
      slot_ = remember(temporary_);
      fd_ = uninterrupted([&] { return open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
      if (fd_ < 0) {
        int error = errno;
        forget(slot_);
        slot_ = -1;
        temporary_.clear();
        if (error == EEXIST) continue;
        cannot_write(shown_, error_text(error));
      }
      flock(fd_, LOCK_EX | LOCK_NB);  // where there are no locks, nobody can remove the file by one either
      if (fstat(fd_, &status) != 0 || status.st_nlink > 0) return;
      discard();  // somebody cleaned up between the two calls
    }
  }

  void discard() {
    if (!temporary_.empty()) remove_file(temporary_);
    close(fd_);
    forget(slot_);
    temporary_.clear();
    fd_ = slot_ = -1;
  }

  [[noreturn]] void fail() const { cannot_write(shown_, error_text(errno)); }

  std::string shown_, temporary_;
  int fd_ = -1, slot_ = -1;
};

/// Removes temporary files and locks whose process is gone.
void remove_stale_files(const std::string& folder) {
  DIR* list = opendir(folder.c_str());
  if (!list) return;
  while (const dirent* entry = readdir(list)) {
    std::string_view name = entry->d_name;
    if (!name.starts_with(".nnc-") || !(name.ends_with(".tmp") || name.ends_with(".lock"))) continue;
    int fd = openat(dirfd(list), entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    struct stat status{};
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0)
      unlinkat(dirfd(list), entry->d_name, 0);
    close(fd);
  }
  closedir(list);
}

/// "w.safetensors" and "w" have one checkpoint, so they have one lock.
std::string lock_path(const Target& target) {
  constexpr std::string_view ending = ".safetensors";
  std::string name = target.path.substr(name_begin(target.path));
  if (name.size() > ending.size() && name.ends_with(ending)) name.resize(name.size() - ending.size());
  constexpr size_t longest = NAME_MAX - 16;
  if (name.size() > longest) name = fmt::format("{:016x}", stable_hash(name));
  return fmt::format("{}/.nnc-{}.lock", target.folder, name);
}

}  // namespace

void write_file_atomically(const std::string& path, const std::function<void(FileSink&)>& write_content) {
  try {
    Target target = find_target(path);
    OutputFile file(target, path);
    write_content(file);
    if (!target.written_directly) file.move_to(target);
  } catch (const std::bad_alloc&) {
    cannot_write(path, error_text(ENOMEM));
  }
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, [&](FileSink& sink) { sink.write(bytes); });
}

void check_output_writable(const std::string& path) {
  Target target = find_target(path);
  if (target.pipe) {  // opened and closed, it would tell its reader that all has been said
    if (access(target.path.c_str(), W_OK) != 0) cannot_write(path, error_text(errno));
    return;
  }
  if (!target.written_directly) remove_stale_files(target.folder);
  OutputFile(target, path);
}

OutputLock::OutputLock(const std::string& path) {
  Target target = find_target(path);
  if (target.written_directly) return;
  lock_path_ = lock_path(target);
  struct stat held{}, named{};
  for (int attempt = 0;; ++attempt) {
    constexpr int most_attempts = 100;
    if (attempt == most_attempts) return;
    fd_ = uninterrupted([&] { return open(lock_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666); });
    if (fd_ < 0) return;  // the lock of another user's run that was killed, or no room for it: it is a help, not a need
    if (uninterrupted([&] { return flock(fd_, LOCK_EX | LOCK_NB); }) != 0) {
      bool taken = errno == EWOULDBLOCK;
      char text[32] = {};
      ssize_t length = taken ? pread(fd_, text, sizeof text - 1, 0) : 0;
      close(fd_);
      fd_ = -1;
      if (!taken) return;
      text[strcspn(text, "\n")] = 0;
      std::string process = length > 0 ? fmt::format(" (process {})", text) : "";
      throw UserError(Code::E0414, fmt::format("another run{} is writing `{}`", process, path), path,
                      "give this one another name, `--out NAME.safetensors`, or wait for the other to end");
    }
    // Whoever held it before may have removed it since it was opened: then the name is free again, and this lock locks nothing.
    if (fstat(fd_, &held) == 0 && stat(lock_path_.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev)
      break;
    close(fd_);
    fd_ = -1;
  }
  slot_ = remember(lock_path_);
  std::string process = fmt::format("{}\n", getpid());
  if (ftruncate(fd_, 0) != 0 || pwrite(fd_, process.data(), process.size(), 0) < 0) return;  // only the message is poorer
}

OutputLock::~OutputLock() {
  if (fd_ < 0) return;
  remove_file(lock_path_);
  close(fd_);
  forget(slot_);
}

void remove_unfinished_files() noexcept {
  for (const Unfinished& u : unfinished)
    if (u.state == Unfinished::in_use) unlink(u.path);
}

}  // namespace nnc
