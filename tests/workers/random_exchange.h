// Random exchanges and publications, the same on all workers of a run whatever carries them, held against sums that each worker makes alone: for the unit tests (processes and threads of this
// machine) and for worker_program.cpp (MPI).
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "runtime/workers/collectives.h"

namespace nnc::test {

/// A sum over pieces [begin, end) as one worker makes it: a binary counter, as ir/sum_order.h defines it. join(a, b), a the earlier.
template <class T, class Join>
T counted(const std::vector<T>& pieces, size_t begin, size_t end, Join&& join) {
  T waiting[64];
  uint64_t taken = 0;  // levels at which something waits
  for (size_t u = begin; u < end; ++u) {
    T sum = pieces[u];
    size_t level = 0;
    for (size_t bits = u - begin; bits & 1; bits >>= 1, ++level) {
      sum = join(waiting[level], sum);
      taken &= ~(uint64_t(1) << level);
    }
    if (u + 1 < end) {
      waiting[level] = sum;
      taken |= uint64_t(1) << level;
      continue;
    }
    for (; level < 64; ++level)
      if (taken >> level & 1) sum = join(waiting[level], sum);
    return sum;
  }
  return T{};
}

/// Two numbers joined, one at a time.
template <class T>
T join_two(Combine combine, T a, T b) {
  if (combine == Combine::sum) {
    if constexpr (std::is_integral_v<T>) {
      return T(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
    } else {
      return a + b;
    }
  }
  if (a != a) return a;
  if (b != b) return b;
  return combine == Combine::max ? (a > b ? a : b) : (a < b ? a : b);
}

/// One exchange of several items, or one publication, made from a seed.
class RandomExchange {
 public:
  RandomExchange(Collectives& all, uint32_t seed) : all_(all), random_(seed) {
    const int size = all.size();
    pieces_ = 1 + int64_t(random_() % 20);
    nodes_ = random_() % 4 ? nodes_of_workers(size, pieces_) : dealt_nodes();
    const int count = 1 + int(random_() % 6);
    std::vector<ExchangeItem> items;
    for (int i = 0; i < count; ++i) add_item(items);
    exchange_ = std::make_unique<Exchange>(all, items, nodes_, Exchange::Options{random_() % 2 ? size_t(2000) : size_t(256 << 10)});
  }

  void start() {
    for (Item& item : items_) fill(item);
    exchange_->start();
  }
  /// What is wrong; nothing if all is as it should be.
  std::string finish() {
    exchange_->finish();
    std::string wrong;
    for (Item& item : items_) wrong += check(item);
    return wrong;
  }

 private:
  struct Item {
    ExchangeItem item;
    std::vector<std::vector<std::byte>> own;   ///< memory of parts and total that is not shared
    std::vector<std::byte*> parts;
    std::byte* total;
    bool alias;                 ///< the total lies in the first part
    std::vector<std::byte> expected;
  };

  std::vector<std::vector<SumNode>> dealt_nodes() {
    std::vector<std::vector<SumNode>> nodes(size_t(all_.size()));
    std::vector<SumNode> open = nodes_of(0, pieces_);
    while (!open.empty()) {
      SumNode node = open.back();
      open.pop_back();
      if (node.level > 0 && random_() % 2) {
        open.push_back({node.first, node.level - 1});
        open.push_back({node.first + node.count() / 2, node.level - 1});
      } else {
        nodes[random_() % nodes.size()].push_back(node);
      }
    }
    return nodes;
  }

  /// Draws that all workers make alike: `random_` is never asked for something that depends on the rank.
  void add_item(std::vector<ExchangeItem>& items) {
    constexpr DType types[] = {DType::f32, DType::f32, DType::f64, DType::i32, DType::i64};
    Item it;
    it.item.type = types[random_() % 5];
    constexpr int64_t sizes[] = {0, 1, 2, 17, 301, 4003, 30001};
    it.item.elements = sizes[random_() % 7];
    it.item.combine = Combine(random_() % 3);
    it.item.whole = random_() % 2;
    it.item.begins.push_back(0);
    for (int w = 1; w < all_.size(); ++w) it.item.begins.push_back(random_() % 8 ? it.item.elements * w / all_.size() : int64_t(random_() % uint64_t(it.item.elements + 1)));
    it.item.begins.push_back(it.item.elements);
    std::sort(it.item.begins.begin(), it.item.begins.end());
    const size_t bytes = size_t(it.item.elements) * byte_size(it.item.type);
    const size_t mine = nodes_[size_t(all_.rank())].size(), most = 64;
    // In shared memory on all workers, on none, or on some: all take part in `share`.
    const uint64_t where = random_() % 4, which = random_();
    const bool alias = random_() % 3 == 0;
    std::byte* block = where < 3 ? all_.transport().share((std::min(mine, most) + 1) * (bytes + 64)) : nullptr;
    if (where == 2 && (which >> all_.rank() & 1)) block = nullptr;
    auto place = [&](size_t number) {
      if (block) return block + number * ((bytes + 63) / 64 * 64);
      it.own.emplace_back(bytes + 8);
      return it.own.back().data();
    };
    for (size_t i = 0; i < mine; ++i) it.parts.push_back(place(i));
    it.alias = alias && mine > 0;
    it.total = it.alias ? it.parts[0] : place(mine);
    for (std::byte* part : it.parts) it.item.parts.push_back(part);
    it.item.total = it.total;
    it.expected.resize(bytes);
    items.push_back(it.item);
    items_.push_back(std::move(it));
    // Vectors that moved keep their memory.
  }

  void fill(Item& it) {
    with_element(it.item.type, [&]<class T>(T) {
      auto join = [&](T a, T b) { return join_two(it.item.combine, a, b); };
      const auto& mine = nodes_[size_t(all_.rank())];
      std::vector<T> pieces(static_cast<size_t>(pieces_));
      if (!it.alias)
        for (size_t i = 0; i < it.expected.size(); ++i) it.total[i] = std::byte{0xa5};
      for (int64_t e = 0; e < it.item.elements; ++e) {
        const bool nan = random_() % 50 == 0;
        const uint64_t nan_at = random_() % uint64_t(pieces_);
        for (T& piece : pieces) piece = number<T>();
        if constexpr (std::is_floating_point_v<T>)
          if (nan) pieces[nan_at] = std::numeric_limits<T>::quiet_NaN();
        T total = counted(pieces, 0, pieces.size(), join);
        std::memcpy(it.expected.data() + size_t(e) * sizeof(T), &total, sizeof(T));
        for (size_t i = 0; i < mine.size(); ++i) {
          T part = counted(pieces, size_t(mine[i].first), size_t(mine[i].end()), join);
          std::memcpy(it.parts[i] + size_t(e) * sizeof(T), &part, sizeof(T));
        }
      }
    });
  }

  template <class T>
  T number() {
    if constexpr (std::is_integral_v<T>) {
      return T(random_() % 2 ? random_() << 1 : uint64_t(std::numeric_limits<T>::max()) - random_() % 3);
    } else {
      return random_() % 20 == 0 ? T(random_() % 2 ? 0.0 : -0.0) : T(std::ldexp(double(random_()) / 4294967296.0 - 0.5, int(random_() % 24)));
    }
  }

  std::string check(const Item& it) const {
    const size_t size = byte_size(it.item.type), r = size_t(all_.rank());
    std::string wrong;
    for (int64_t e = 0; e < it.item.elements && wrong.empty(); ++e) {
      const bool due = it.item.whole || (e >= it.item.begins[r] && e < it.item.begins[r + 1]);
      const std::byte* found = it.total + size_t(e) * size;
      if (due && std::memcmp(found, it.expected.data() + size_t(e) * size, size) != 0)
        wrong = fmt::format("worker {} of {}: element {} of {} ({}, {} pieces, combine {}, whole {}) is wrong\n", r, all_.size(), e, it.item.elements, dtype_name(it.item.type), pieces_,
                            int(it.item.combine), it.item.whole);
      if (!due && !it.alias && std::any_of(found, found + size, [](std::byte b) { return b != std::byte{0xa5}; }))
        wrong = fmt::format("worker {}: element {} is another's, and was written\n", r, e);
    }
    return wrong;
  }

  Collectives& all_;
  std::mt19937 random_;
  int64_t pieces_ = 1;
  std::vector<std::vector<SumNode>> nodes_;
  std::vector<Item> items_;
  std::unique_ptr<Exchange> exchange_;
};

class RandomPublish {
 public:
  RandomPublish(Collectives& all, uint32_t seed) : all_(all), random_(seed) {
    const int count = 1 + int(random_() % 5);
    std::vector<PublishRange> ranges;
    for (int i = 0; i < count; ++i) {
      constexpr int64_t sizes[] = {0, 1, 3, 50, 2001, 20003};
      constexpr int64_t widths[] = {1, 4, 8, 12};
      PublishRange range{nullptr, widths[random_() % 4], {}};
      const int64_t elements = sizes[random_() % 6];
      for (int w = 1; w < all.size(); ++w) range.begins.push_back(elements * w / all.size());
      range.begins.insert(range.begins.begin(), 0);
      range.begins.push_back(elements);
      const size_t bytes = size_t(elements * range.element_bytes);
      const bool shared = random_() % 2;
      std::byte* block = shared ? all.transport().share(bytes + 64) : nullptr;
      own_.emplace_back(block ? 0 : bytes + 8);
      range.base = block ? block : own_.back().data();
      ranges.push_back(range);
    }
    ranges_ = ranges;
    publish_ = std::make_unique<Publish>(all, std::move(ranges), Publish::Options{random_() % 2 ? size_t(3000) : size_t(256 << 10)});
  }
  void start() {
    expected_.clear();
    for (const PublishRange& range : ranges_) {
      const size_t r = size_t(all_.rank());
      std::vector<uint8_t> bytes(size_t(range.begins.back() * range.element_bytes));
      for (uint8_t& byte : bytes) byte = uint8_t(random_());
      std::memcpy(static_cast<uint8_t*>(range.base) + range.begins[r] * range.element_bytes, bytes.data() + range.begins[r] * range.element_bytes,
                  size_t((range.begins[r + 1] - range.begins[r]) * range.element_bytes));
      expected_.push_back(std::move(bytes));
    }
    publish_->start();
  }
  std::string finish() {
    publish_->finish();
    for (size_t i = 0; i < ranges_.size(); ++i)
      if (std::memcmp(ranges_[i].base, expected_[i].data(), expected_[i].size()) != 0) {
        size_t at = 0;
        while (static_cast<const uint8_t*>(ranges_[i].base)[at] == expected_[i][at]) ++at;
        return fmt::format("worker {}: range {} of {} ({} elements of {} bytes) is wrong from byte {} on\n", all_.rank(), i, ranges_.size(), ranges_[i].begins.back(), ranges_[i].element_bytes, at);
      }
    return "";
  }

 private:
  Collectives& all_;
  std::mt19937 random_;
  std::vector<PublishRange> ranges_;
  std::vector<std::vector<std::byte>> own_;
  std::vector<std::vector<uint8_t>> expected_;
  std::unique_ptr<Publish> publish_;
};

/// Several of both, some of them on their way at the same time. What is wrong, by this worker.
inline std::string exchange_at_random(Transport& transport, uint32_t seed, int turns) {
  Collectives all(transport);
  std::string wrong;
  for (int turn = 0; turn < turns && wrong.empty(); ++turn) {
    RandomExchange a(all, seed + uint32_t(turn) * 3), b(all, seed + uint32_t(turn) * 3 + 1);
    RandomPublish c(all, seed + uint32_t(turn) * 3 + 2);
    std::mt19937 random(seed + uint32_t(turn));
    for (int round = 0; round < 3; ++round) {
      a.start();
      if (random() % 2) {
        c.start();
        b.start();
        if (random() % 2) all.progress();
        wrong += b.finish();
        wrong += c.finish();
        wrong += a.finish();
      } else {
        wrong += a.finish();
        b.start();
        wrong += b.finish();
        c.start();
        wrong += c.finish();
      }
    }
    // Everybody goes on, or nobody.
    if (all.agree_any(!wrong.empty()) && wrong.empty()) wrong = fmt::format("another worker found something at turn {}\n", turn);
  }
  return wrong;
}

}  // namespace nnc::test
