// Input files as memory. Small files are read, large ones mapped with a page of zeros after them, so that a kernel may load a
// whole vector at the last row. gzip data is inflated into memory: the size that the trailer promises is only a hint, not
// believed beyond what data usually comes to, so a forged trailer costs little; what unpacks to more grows its buffer.
#include "runtime/data/file_bytes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>

#include "base/diagnostics.h"
#include "base/system_error.h"
#include "runtime/data/atomic_file.h"

namespace nnc {
namespace {

constexpr size_t map_from =
    size_t{32} << 20;  // below, reading is as fast as faulting pages in, and a later truncation does no harm
constexpr size_t usual_ratio = 16;  // data in gzip is rarely packed better

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void cannot_read(const std::string& path, const std::string& why, std::string help = {}) {
  throw UserError(Code::E0402, fmt::format("cannot read `{}`: {}", file_name(path), why), path, std::move(help));
}

// A mapped file can lose pages while it is in use: somebody cuts it short, or its disk fails. The system then sends SIGBUS to
// whoever reads there. The handler (map_large_files installs it) finds the mapping by the address, puts zeros in the place of what is gone, so that the reader
// can go on, and tells whoever asked to be told; without one the process ends with a message. The table holds all that it needs.
struct Mapping {
  std::atomic<uintptr_t> begin{0};  ///< 0: vacant
  size_t length = 0;
  char path[PATH_MAX];
};
Mapping mappings[64];
std::mutex mappings_mutex;  // of those who add and remove; the handler only reads
std::atomic<LostFileHandler> lost_file_handler{nullptr};
std::atomic<bool> maps_large_files{false};

void end_with_message(const char* path) {
  const char* parts[] = {"error[E0402]: `", path, "` lost its content while it was read: it was cut short, or its disk failed\n"};
  for (const char* part : parts) (void)!write(STDERR_FILENO, part, std::strlen(part));
  remove_unfinished_files();
  _exit(1);
}

void on_bus_error(int, siginfo_t* info, void*) {
  int error = errno;
  uintptr_t at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Mapping& m : mappings) {
    uintptr_t begin = m.begin;
    if (begin == 0 || at < begin || at >= begin + m.length) continue;
    uintptr_t page = at - (at - begin) % uintptr_t(sysconf(_SC_PAGESIZE));
    void* zeros = mmap(reinterpret_cast<void*>(page), begin + m.length - page, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (zeros == MAP_FAILED) end_with_message(m.path);
    LostFileHandler handler = lost_file_handler;
    (handler ? handler : end_with_message)(m.path);
    errno = error;
    return;
  }
  std::signal(SIGBUS, SIG_DFL);  // not a file of ours: the instruction is run again, and ends the process as it always did
}

/// Null if the table is full.
Mapping* add_mapping(void* base, size_t length, const std::string& path) {
  std::lock_guard lock(mappings_mutex);
  for (Mapping& m : mappings) {
    if (m.begin != 0 || path.size() >= sizeof m.path) continue;
    m.length = length;
    std::memcpy(m.path, path.c_str(), path.size() + 1);
    m.begin = reinterpret_cast<uintptr_t>(base);
    return &m;
  }
  return nullptr;
}

/// Nothing if the file is better read: no address space, a file system that cannot map, too many files mapped.
std::optional<FileBytes> map_file(int fd, size_t size, const std::string& path) {
  size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t length = (size + page - 1) / page * page + page;
  void* base = mmap(nullptr, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return std::nullopt;
  Mapping* entry = add_mapping(base, length, path);
  std::shared_ptr<const void> owner(base, [length, entry](const void* p) {
    if (entry) entry->begin = 0;
    munmap(const_cast<void*>(p), length);
  });
  if (!entry || mmap(base, size, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED) return std::nullopt;
  return FileBytes{static_cast<const std::byte*>(base), size, owner, true};
}

FileBytes read_whole(int fd, size_t size, const std::string& path) {
  OwnedBytes bytes = allocate_bytes(size);
  size_t done = 0;
  while (done < size) {
    ssize_t n = ::read(fd, bytes.data.get() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) cannot_read(path, error_text(errno));
    if (n == 0) cannot_read(path, "the file became shorter while it was read");
    done += static_cast<size_t>(n);
  }
  return {bytes.data.get(), size, bytes.data, false};
}

/// Ends zlib's state however the function that uses it is left.
struct InflateState {
  z_stream stream{};
  ~InflateState() { inflateEnd(&stream); }
};

FileBytes decompress(const FileBytes& file, const std::string& path) {
  auto damaged = [&](const char* how) { throw UserError(Code::E0405, fmt::format("`{}` {}", file_name(path), how), path); };
  // The trailer's size modulo 2^32 sizes the first buffer; wrong or forged ones are mended by growing.
  uint32_t promised = 0;
  if (file.size >= 18) std::memcpy(&promised, file.data + file.size - 4, 4);
  size_t limit = largest_inflated(file.size);
  size_t capacity = std::clamp<size_t>(promised, 1 << 12, std::min(limit, file.size * usual_ratio) + (1 << 12));
  OwnedBytes out = allocate_bytes(capacity);
  size_t done = 0, at = 0;
  while (true) {
    InflateState state;
    if (inflateInit2(&state.stream, 15 + 16) != Z_OK) throw std::bad_alloc();
    int result = Z_OK;
    while (result != Z_STREAM_END) {
      if (done == capacity) {
        // A member that fills the buffer exactly still has its trailer to check, so growing is by need of output alone.
        OwnedBytes larger = allocate_bytes(capacity + capacity / 2);
        std::memcpy(larger.data.get(), out.data.get(), done);
        out = larger;
        capacity += capacity / 2;
      }
      size_t in_now = std::min<size_t>(file.size - at, 1 << 30), out_now = std::min<size_t>(capacity - done, 1 << 30);
      state.stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(file.data + at));
      state.stream.avail_in = static_cast<uInt>(in_now);
      state.stream.next_out = reinterpret_cast<Bytef*>(out.data.get() + done);
      state.stream.avail_out = static_cast<uInt>(out_now);
      result = inflate(&state.stream, Z_NO_FLUSH);
      if (result == Z_MEM_ERROR) throw std::bad_alloc();
      if (result == Z_DATA_ERROR || result == Z_NEED_DICT || result == Z_STREAM_ERROR) damaged("holds damaged gzip data");
      size_t consumed = in_now - state.stream.avail_in, produced = out_now - state.stream.avail_out;
      at += consumed;
      done += produced;
      if (done > limit) refuse_bomb(path, "unpack it with gunzip if it is what you want");
      if (result != Z_STREAM_END && at == file.size && done < capacity)
        damaged("ends in the middle of its gzip data: it was cut short");
    }
    while (at < file.size && file.data[at] == std::byte{0}) ++at;  // padding, which tapes and some tools add
    if (at == file.size) break;
    if (file.size - at < 2 || file.data[at] != std::byte{0x1F} || file.data[at + 1] != std::byte{0x8B})
      damaged("holds other bytes after its gzip data");
  }
  if (done == 0) throw UserError(Code::E0403, fmt::format("`{}` is empty once decompressed", file_name(path)), path);
  std::memset(out.data.get() + done, 0, std::min(FileBytes::readable_past_end, capacity - done));
  return {out.data.get(), done, out.data, false};
}

}  // namespace

size_t largest_inflated(size_t compressed) {
  constexpr size_t always = size_t{64} << 20, ratio = 200;
  return compressed > SIZE_MAX / ratio ? SIZE_MAX : std::max(always, compressed * ratio);
}

void refuse_bomb(const std::string& path, std::string help) {
  cannot_read(path, "it unpacks to more than 64 MB and to more than 200 times its size, as files do that are made to fill the memory",
              std::move(help));
}

OwnedBytes allocate_bytes(size_t size) {
  constexpr std::align_val_t alignment{64};
  if (size > PTRDIFF_MAX - FileBytes::readable_past_end) throw std::bad_alloc();
  auto* raw = static_cast<std::byte*>(::operator new(size + FileBytes::readable_past_end, alignment));
  std::memset(raw + size, 0, FileBytes::readable_past_end);
  return {std::shared_ptr<std::byte>(raw, [](std::byte* p) { ::operator delete(p, std::align_val_t{64}); }), size};
}

FileBytes load_file(const std::string& path) {
  // O_NONBLOCK: a pipe without a writer must be refused, not waited for.
  int opened;
  do opened = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  while (opened < 0 && errno == EINTR);
  FileDescriptor fd(opened);
  if (fd.get() < 0) cannot_read(path, error_text(errno));
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) cannot_read(path, error_text(errno));
  if (S_ISDIR(status.st_mode)) cannot_read(path, "it is a folder, not a file");
  if (S_ISFIFO(status.st_mode))
    cannot_read(path, "it is a pipe; data is read more than once", "write it to a file first");
  if (!S_ISREG(status.st_mode)) cannot_read(path, "it is a device, not a file");
  size_t size = static_cast<size_t>(status.st_size);
  if (size == 0) {
    std::byte first;
    if (::read(fd.get(), &first, 1) == 1) cannot_read(path, "it has no size of its own, as files of the system have", "copy it first");
    throw UserError(Code::E0403, fmt::format("`{}` is empty", file_name(path)), path);
  }
  std::optional<FileBytes> mapped = maps_large_files && size >= map_from ? map_file(fd.get(), size, path) : std::nullopt;
  FileBytes file = mapped ? *mapped : read_whole(fd.get(), size, path);
  bool gzip = size >= 2 && file.data[0] == std::byte{0x1F} && file.data[1] == std::byte{0x8B};
  return gzip ? decompress(file, path) : file;
}

bool inflate_raw(std::span<const std::byte> compressed, std::byte* out, size_t size) {
  InflateState state;
  if (inflateInit2(&state.stream, -15) != Z_OK) throw std::bad_alloc();
  size_t at = 0, done = 0;
  std::byte beyond{};  // a byte too many is seen by giving it room
  int result = Z_OK;
  while (result != Z_STREAM_END) {
    size_t in_now = std::min<size_t>(compressed.size() - at, 1 << 30), out_now = std::min<size_t>(size - done, 1 << 30);
    bool full = done == size;
    state.stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(compressed.data() + at));
    state.stream.avail_in = static_cast<uInt>(in_now);
    state.stream.next_out = reinterpret_cast<Bytef*>(full ? &beyond : out + done);
    state.stream.avail_out = static_cast<uInt>(full ? 1 : out_now);
    result = inflate(&state.stream, Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END) return false;
    if (full && state.stream.avail_out == 0) return false;
    at += in_now - state.stream.avail_in;
    if (!full) done += out_now - state.stream.avail_out;
    if (result == Z_OK && at == compressed.size() && (full || done < size)) return false;
  }
  return done == size;
}

void map_large_files() {
  if (maps_large_files.exchange(true)) return;
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGBUS, &action, nullptr);
}

void set_lost_file_handler(LostFileHandler handler) { lost_file_handler = handler; }

std::string file_name(const std::string& path) {
  size_t slash = path.find_last_of('/');
  return slash == std::string::npos || slash + 1 == path.size() ? path : path.substr(slash + 1);
}

}  // namespace nnc
