// Memory of steps: arenas, persistents, scratch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nnc {

/// Zeroed memory, 64-byte aligned.
class AlignedMemory {
 public:
  AlignedMemory() = default;
  explicit AlignedMemory(int64_t bytes);
  ~AlignedMemory();
  AlignedMemory(AlignedMemory&&) noexcept;
  AlignedMemory& operator=(AlignedMemory&&) noexcept;
  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace nnc
