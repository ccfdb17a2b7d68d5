// What the two roads of an exchange know alike (exchange.cpp).
#pragma once

#include <vector>

#include "runtime/workers/collectives.h"

namespace nnc {

/// Bytes of an item up to which everybody adds it, if it is wanted whole.
inline constexpr size_t small_item = 2048;

struct ExchangePlan {
  Collectives& all;
  std::vector<ExchangeItem> items;
  SumTree tree;
  std::vector<int> node_counts;  ///< by rank

  Transport& transport() const { return all.transport(); }
  int rank() const { return all.rank(); }
  int size() const { return all.size(); }
  size_t element_bytes(int item) const { return byte_size(items[size_t(item)].type); }
  bool is_small(const ExchangeItem& item) const { return item.whole && size_t(item.elements) * byte_size(item.type) <= small_item; }
  std::byte* total(int item, int64_t element) const { return static_cast<std::byte*>(items[size_t(item)].total) + size_t(element) * element_bytes(item); }
};

}  // namespace nnc
