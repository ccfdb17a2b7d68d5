// The bytes of an input file in memory, whatever the file's kind: read, mapped, or decompressed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace nnc {

/// Read-only bytes, shared. Owned bytes begin at a multiple of 64; at least `readable_past_end` bytes after the last may be read
/// (vector loads of a last row), whether the file is mapped or not.
struct FileBytes {
  static constexpr size_t readable_past_end = 64;
  const std::byte* data = nullptr;
  size_t size = 0;
  std::shared_ptr<const void> owner;  ///< keeps data alive
  bool mapped = false;
  std::string_view text() const { return {reinterpret_cast<const char*>(data), size}; }
};

/// A buffer to fill: 64-byte aligned, uninitialised but for the bytes past the end, which are zero.
struct OwnedBytes {
  std::shared_ptr<std::byte> data;
  size_t size = 0;
};
OwnedBytes allocate_bytes(size_t size);

/// Reads a regular file; gzip data (told by its first bytes, not by its name) is decompressed, large files are mapped once map_large_files() was called.
/// Throws UserError E0402 (missing, folder, pipe, unreadable), E0403 (empty), E0405 (compressed data cut short or damaged).
FileBytes load_file(const std::string& path);

/// What gives the bytes of the file at a path, and throws what load_file does: that function itself, or somebody who has them from elsewhere.
using FileLoader = std::function<FileBytes(const std::string& path)>;

/// From here on files of 32 MB and more are mapped, not copied. That needs a handler of SIGBUS, which the process keeps: a mapped file that is cut short while it is in use
/// would end it. So the host decides, once, before it reads data.
void map_large_files();

/// Told, from within a signal handler, that a mapped file lost its content while it was in use (it was cut short, or its disk
/// failed); zeros stand there from now on. Without a handler the process ends with status 1 and a message.
using LostFileHandler = void (*)(const char* path);
void set_lost_file_handler(LostFileHandler);

/// Compressed data may unpack to 64 MiB in any case, and beyond that to 200 times the size of its file. Numbers rarely compress
/// better than 50 to 1; what does is most likely made to fill the memory.
size_t largest_inflated(size_t compressed);
/// Throws UserError E0402: the file unpacks to more than largest_inflated.
[[noreturn]] void refuse_bomb(const std::string& path, std::string help);

/// Raw deflate (zip members) of exactly `size` bytes. False if the data is damaged or of another size.
bool inflate_raw(std::span<const std::byte> compressed, std::byte* out, size_t size);

/// "digits.csv" of "data/digits.csv": how messages name a file whose path stands in their place.
std::string file_name(const std::string& path);

}  // namespace nnc
