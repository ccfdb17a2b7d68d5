// The readers of every file format as functions from any bytes to nothing: a file that is refused throws UserError inside and is
// no matter; whatever else happens is a finding. libFuzzer drives them one by one (fuzz_main.cpp), and the suite runs the corpus
// through them without it (replay.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace nnc::fuzz {

using Bytes = std::span<const uint8_t>;

/// What a reader may allocate, at its peak, for a file of n bytes: n * per_byte + constant.
struct Format {
  std::string_view name;
  void (*read)(Bytes);
  size_t per_byte, constant;
};

void read_nn(Bytes);
void read_nnir(Bytes);
void read_csv(Bytes);
void read_idx(Bytes);
void read_npy(Bytes);
void read_npz(Bytes);
void read_gz(Bytes);
void read_safetensors(Bytes);
void read_text(Bytes);

std::span<const Format> formats();
const Format* find_format(std::string_view name);

/// Reads the bytes as a file of that format and ends the process, with a message, if that took more memory than the format
/// allows.
void read_within_limits(const Format&, Bytes);

/// Ends the process with a message: how a harness reports that a reader broke a promise.
[[noreturn]] void report_finding(const std::string& what);
inline void require(bool holds, const char* what) {
  if (!holds) report_finding(what);
}

/// A file that lives in memory and has a path, for readers that open files themselves.
class MemoryFile {
 public:
  explicit MemoryFile(Bytes);
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();
  const std::string& path() const { return path_; }

 private:
  int fd_;
  std::string path_;
};

/// Bytes that are allocated now, and the most there were since reset_peak (allocations.cpp). Only differences mean something.
struct HeldMemory {
  ptrdiff_t now, peak;
};
HeldMemory held_memory();
void reset_peak();

}  // namespace nnc::fuzz
