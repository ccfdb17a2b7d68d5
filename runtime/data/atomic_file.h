// Writing files so that a crash at any moment leaves the old file or the new one, never half of one; and who may write where.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace nnc {

/// Where a file's content goes; given to the callback of write_file_atomically. Writing throws UserError E0413.
class FileSink {
 public:
  virtual void write(std::span<const std::byte>) = 0;
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

 protected:
  ~FileSink() = default;
};

/// Writes a temporary file in the target's folder, syncs it, renames it to `path` (links are followed, also to where nothing is
/// yet) and syncs the folder. An existing file keeps its permissions. If anything fails, also the callback, the temporary file is
/// removed and the old file stays. A path that names a device or a pipe (/dev/stdout) is written to directly; a named pipe waits
/// some seconds for its reader. Throws UserError E0413; memory that is not there counts as a file that cannot be written.
void write_file_atomically(const std::string& path, const std::function<void(FileSink&)>& write_content);
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

/// Whether write_file_atomically could begin to write `path`, found by creating and removing a temporary file beside it: called
/// before training, so that an hour's work is not lost to a missing folder. Removes what killed processes have left in that
/// folder. Throws UserError E0413.
void check_output_writable(const std::string& path);

/// Held while a run will write `path` again and again: a second run that wants the same path (by whatever links, with or without
/// the ending .safetensors) gets UserError E0414. A file beside the target, which the system unlocks when its process dies; where
/// the file system knows no locks, nothing is held. Devices and pipes are not locked.
class OutputLock {
 public:
  explicit OutputLock(const std::string& path);
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;
  ~OutputLock();

 private:
  int fd_ = -1;
  int slot_ = -1;
  std::string lock_path_;
};

/// For a signal handler that is about to end the process: removes temporary files and locks of this process.
void remove_unfinished_files() noexcept;

}  // namespace nnc
