// Writing files so that a crash at any moment leaves the old file or the new one, never half of one.
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

/// Writes a temporary file in the target's folder, syncs it, renames it to `path` (links are followed) and syncs the folder. An
/// existing file keeps its permissions. If anything fails, also the callback, the temporary file is removed and the old file
/// stays. A path that names a device or a pipe (/dev/stdout) is written to directly. Throws UserError E0413.
void write_file_atomically(const std::string& path, const std::function<void(FileSink&)>& write_content);
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

/// Whether write_file_atomically could begin to write `path`, found by creating and removing a temporary file beside it: called
/// before training, so that an hour's work is not lost to a missing folder. Throws UserError E0413.
void check_output_writable(const std::string& path);

}  // namespace nnc
