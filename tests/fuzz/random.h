// Choices that follow from a seed alone: the same on every machine and standard library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "base/philox.h"

namespace nnc::fuzz {

class Random {
 public:
  Random(uint64_t seed, std::string_view site) : stream_(seed, stable_hash(site)) {}
  int below(int bound) { return int(stream_.next_below(uint64_t(bound))); }
  int between(int low, int high) { return low + below(high - low + 1); }  ///< both included
  bool chance(int percent) { return below(100) < percent; }
  double unit() { return stream_.next_unit(); }
  double normal() { return stream_.next_normal(); }
  uint64_t bits() { return stream_.next_u64(); }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[size_t(below(int(from.size())))];
  }
  template <class T>
  T pick(std::initializer_list<T> from) {
    return from.begin()[below(int(from.size()))];
  }
  template <class T>
  void shuffle(std::vector<T>& list) {
    for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[size_t(below(int(i)))]);
  }

 private:
  RandomStream stream_;
};

}  // namespace nnc::fuzz
