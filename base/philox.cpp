// Philox4x32-10: a counter is encrypted by ten rounds of two 32x32 -> 64 bit products, so that any draw can be made without
// those before it. Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11, section 3.3.
#include "base/philox.h"

#include <cmath>
#include <numbers>

#include "base/check.h"

namespace nnc {
namespace {

constexpr uint32_t multiplier_0 = 0xD2511F53, multiplier_1 = 0xCD9E8D57;
constexpr uint32_t weyl_0 = 0x9E3779B9, weyl_1 = 0xBB67AE85;  // golden ratio, sqrt(3) - 1: the key schedule

/// Finaliser of Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA'14: every input bit reaches every
/// output bit.
constexpr uint64_t mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = uint64_t{multiplier_0} * c[0], p1 = uint64_t{multiplier_1} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1), static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1],
         static_cast<uint32_t>(p0)};
    k[0] += weyl_0;
    k[1] += weyl_1;
  }
  return c;
}

uint64_t stable_hash(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a, 64 bits
  for (unsigned char c : name) hash = (hash ^ c) * 0x100000001B3;
  return hash;
}

namespace {

uint64_t mix_key(uint64_t seed, uint64_t site) { return mix64(mix64(seed) ^ site); }

}  // namespace

uint64_t make_draw_key(uint64_t seed, std::string_view site) { return mix_key(seed, stable_hash(site)); }

// Sixteen neighbours stand in the same word of sixteen neighbouring blocks, so that a vector of them is a vector of counters, whatever its width up to 16.
float draw_unit(uint64_t key, uint64_t update, uint32_t row, uint64_t element) {
  const uint32_t block = uint32_t(element / 64 * 16 + element % 16);
  std::array<uint32_t, 4> words = philox4x32({block, row, uint32_t(update), uint32_t(update >> 32)}, {uint32_t(key), uint32_t(key >> 32)});
  return float(words[element / 16 % 4] >> 8) * 0x1p-24f;
}

RandomStream::RandomStream(uint64_t seed, uint64_t site) {
  uint64_t key = mix_key(seed, site);
  key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

uint32_t RandomStream::next_u32() {
  if (used_ == 4) {
    block_ = philox4x32(counter_, key_);
    used_ = 0;
    for (uint32_t& word : counter_)
      if (++word != 0) break;
  }
  return block_[used_++];
}

uint64_t RandomStream::next_u64() {
  uint64_t low = next_u32();
  return low | uint64_t{next_u32()} << 32;
}

double RandomStream::next_unit() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }

double RandomStream::next_normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  double radius = std::sqrt(-2 * std::log(1 - next_unit()));  // 1 - u lies in (0, 1], where log is finite
  double angle = 2 * std::numbers::pi * next_unit();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

uint64_t RandomStream::next_below(uint64_t bound) {
  NNC_CHECK(bound > 0, "next_below(0)");
  uint64_t draw = next_u64();
  if (draw < bound) {  // else it is above the threshold anyway, which is dear to compute
    const uint64_t threshold = -bound % bound;  // 2^64 mod bound: the draws below it would make small results likelier
    while (draw < threshold) draw = next_u64();
  }
  return draw % bound;
}

}  // namespace nnc
