// What all harnesses share: the table of formats with the memory that each may take, files in memory, findings.
#include "tests/fuzz/readers/readers.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace nnc::fuzz {
namespace {

// The multiples, and why they are not smaller:
//   idx, npy, npz, safetensors: elements are widened (i8 to i32: 4) and copied once more by the harness; a member of a zip
//   unpacks
//     to 1032 times its size at most; a header's JSON takes some hundred bytes for an entry of a few.
//   csv: a cell of two bytes is a std::string_view, and a std::string where it names a column.
//   text: a character of one byte becomes a number of four; beside them stands a table of all code points.
//   nn, nnir: a sign of the language becomes a token and a node of the tree (350 bytes), then values of the graph.
constexpr size_t kilobyte = 1024, megabyte = 1024 * kilobyte;
constexpr Format table[] = {
    {"csv", read_csv, 160, 256 * kilobyte},  {"gz", read_gz, 2600, 256 * kilobyte},
    {"idx", read_idx, 32, 64 * kilobyte},    {"nn", read_nn, 8192, 16 * megabyte},
    {"nnir", read_nnir, 2048, megabyte},     {"npy", read_npy, 32, 64 * kilobyte},
    {"npz", read_npz, 5200, 256 * kilobyte}, {"safetensors", read_safetensors, 400, 256 * kilobyte},
    {"text", read_text, 400, 8 * megabyte},
};

}  // namespace

std::span<const Format> formats() { return table; }

const Format* find_format(std::string_view name) {
  auto it = std::find_if(std::begin(table), std::end(table), [&](const Format& f) { return f.name == name; });
  return it == std::end(table) ? nullptr : it;
}

void report_finding(const std::string& what) {
  std::fprintf(stderr, "finding: %s\n", what.c_str());
  std::abort();
}

void read_within_limits(const Format& format, Bytes bytes) {
  reset_peak();
  ptrdiff_t before = held_memory().now;
  format.read(bytes);
  // Every reader takes its format in gzip as well.
  const Format& gz = *find_format("gz");
  bool packed = bytes.size() >= 2 && bytes[0] == 0x1F && bytes[1] == 0x8B;
  size_t per_byte = packed ? std::max(format.per_byte, gz.per_byte) : format.per_byte;
  size_t constant = packed ? std::max(format.constant, gz.constant) : format.constant;
  size_t taken = static_cast<size_t>(held_memory().peak - before), allowed = bytes.size() * per_byte + constant;
  if (taken > allowed)
    report_finding(
        fmt::format("a {} file of {} bytes took {} bytes of memory; {} are allowed", format.name, bytes.size(), taken, allowed));
}

MemoryFile::MemoryFile(Bytes bytes) : fd_(memfd_create("file", MFD_CLOEXEC)) {
  require(fd_ >= 0, "no file in memory could be made");
  for (size_t done = 0; done < bytes.size();) {
    ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
    require(n > 0, "a file in memory could not be written");
    done += static_cast<size_t>(n);
  }
  path_ = fmt::format("/proc/self/fd/{}", fd_);
}

MemoryFile::~MemoryFile() { ::close(fd_); }

}  // namespace nnc::fuzz
