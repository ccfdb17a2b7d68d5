// Fisher-Yates shuffles by streams that depend on seed, purpose and epoch only: any epoch's order can be had without those before it, so a
// resumed run needs no saved generator.
#include "runtime/row_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/philox.h"

namespace nnc {
namespace {

void shuffle_rows(std::vector<int64_t>& rows, RandomStream random) {
  for (size_t i = rows.size(); i > 1; --i) std::swap(rows[i - 1], rows[size_t(random.next_below(i))]);
}

// Takes a part out of `rows` (ascending) by the declared split.
std::vector<int64_t> set_aside(std::vector<int64_t>& rows, const SplitSpec& split, int64_t total, uint64_t seed, const char* purpose) {
  size_t count = std::min(rows.size(), size_t(rows_of_share(split.fraction, total)));
  if (split.kind == SplitSpec::Kind::none || split.kind == SplitSpec::Kind::from || count == 0) return {};
  std::vector<int64_t> part;
  if (split.kind == SplitSpec::Kind::last) {
    part.assign(rows.end() - long(count), rows.end());
    rows.resize(rows.size() - count);
    return part;
  }
  shuffle_rows(rows, RandomStream(seed, stable_hash(purpose)));
  part.assign(rows.begin(), rows.begin() + long(count));
  rows.erase(rows.begin(), rows.begin() + long(count));
  std::sort(rows.begin(), rows.end());
  std::sort(part.begin(), part.end());
  return part;
}

}  // namespace

DataSplit split_rows_of_data(int64_t rows, const SplitSpec& test, const SplitSpec& valid, uint64_t seed) {
  DataSplit split;
  split.train.resize(size_t(rows));
  std::iota(split.train.begin(), split.train.end(), int64_t{0});
  split.test = set_aside(split.train, test, rows, seed, "split.test");
  split.valid = set_aside(split.train, valid, rows, seed, "split.valid");
  return split;
}

std::vector<int64_t> rows_of_text(int64_t begin, int64_t end, int64_t step, int64_t reach) {
  std::vector<int64_t> rows;
  for (int64_t at = begin; at + reach <= end; at += step) rows.push_back(at);
  return rows;
}

DataSplit split_rows_of_text(int64_t characters, int64_t context, int64_t reach, const SplitSpec& test, const SplitSpec& valid) {
  int64_t end = characters;
  auto take = [&](const SplitSpec& split) {
    const bool is_share = split.kind == SplitSpec::Kind::random || split.kind == SplitSpec::Kind::last;
    const int64_t begin = end - (is_share ? std::min(end, rows_of_share(split.fraction, characters)) : 0);
    std::vector<int64_t> rows = rows_of_text(begin, end, context, reach);
    end = begin;
    return is_share ? rows : std::vector<int64_t>{};
  };
  DataSplit split;
  split.test = take(test);
  split.valid = take(valid);
  split.train = rows_of_text(0, end, 1, reach);
  return split;
}

int64_t rows_of_share(double fraction, int64_t rows) { return std::llround(fraction * double(rows)); }

std::vector<int64_t> epoch_order(std::span<const int64_t> rows, uint64_t seed, int64_t epoch, bool shuffle) {
  std::vector<int64_t> order(rows.begin(), rows.end());
  if (shuffle) shuffle_rows(order, RandomStream(seed, stable_hash("shuffle." + std::to_string(epoch))));
  return order;
}

}  // namespace nnc
