// Philox4x32-10, the counter-based random number generator behind every random choice in nnc.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace nnc {

/// Ten rounds of Philox4x32: 128 random bits for a 128-bit counter and a 64-bit key. Pure function.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// Stable 64-bit hash of a name (FNV-1a), so that a draw depends on the seed and a parameter's path only.
uint64_t stable_hash(std::string_view);

/// A stream of random numbers: key = seed mixed with a site (stable_hash of a name), counter = position. Copying copies the position.
class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t site);
  uint32_t next_u32();
  uint64_t next_u64();
  double next_unit();                        ///< uniform in [0, 1), 53 bits
  double next_normal();                      ///< standard normal (Box-Muller)
  uint64_t next_below(uint64_t bound);       ///< uniform in [0, bound), unbiased; bound > 0

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_{};
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace nnc
