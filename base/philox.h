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

// --- what a random leaf draws; the numbers are a promise (docs/numbers.md, "Random numbers") ---

/// Which draws a step makes, beside the site of each.
struct DrawPosition {
  uint64_t seed = 0;
  uint64_t update = 0;     ///< updates finished before the step
  uint32_t first_row = 0;  ///< place of the step's first row within the whole batch of the update
  bool operator==(const DrawPosition&) const = default;
};

/// The most elements of one row (of all, where there are no rows): their blocks of four words have numbers of 32 bits.
inline constexpr int64_t max_drawn_elements = int64_t(1) << 34;

/// The key of a site's draws. Whatever else will tell draws of one site apart is to be mixed in here.
uint64_t make_draw_key(uint64_t seed, std::string_view site);
/// Element `element` (row-major over the dimensions other than rows) of a row of a draw, in [0, 1): a multiple of 2^-24. Pure function.
float draw_unit(uint64_t key, uint64_t update, uint32_t row, uint64_t element);

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
