// Memory in large pages where it is large.
#include "runtime/aligned_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace nnc {
namespace {

constexpr size_t large_page = size_t(2) << 20;
size_t alignment_of(int64_t bytes) { return size_t(bytes) >= large_page ? large_page : 64; }
size_t rounded_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

AlignedMemory::AlignedMemory(int64_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  const size_t rounded = rounded_up(size_t(bytes), alignment_of(bytes));
  data_ = static_cast<std::byte*>(std::aligned_alloc(alignment_of(bytes), rounded));
  if (!data_) throw std::bad_alloc();
  // Large pages: each is one fault instead of 512 when it is first touched, and one entry of the TLB afterwards. Where the system has none, nothing is lost.
  if (alignment_of(bytes) == large_page) madvise(data_, rounded, MADV_HUGEPAGE);
  std::memset(data_, 0, rounded);
}
AlignedMemory::~AlignedMemory() { std::free(data_); }
AlignedMemory::AlignedMemory(AlignedMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
AlignedMemory& AlignedMemory::operator=(AlignedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace nnc
