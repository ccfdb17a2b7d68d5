// Every value counts its own rows, so that one which joins in the middle of an epoch is still right for what it saw. Kept rows stand where the row stands in
// the data: a copy of the sums (a snapshot) shares them, for what its steps kept is not touched again before the next epoch, which begins with memory of its own.
#include "engine/epoch_sums.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/row_levels.h"

namespace nnc {
namespace {

std::string_view prefix_of(Combine how) {
  switch (how) {
    case Combine::mean: return "";
    case Combine::sum: return "sum.";
    case Combine::max: return "max.";
    case Combine::min: return "min.";
    case Combine::last: return "last.";
  }
  return "";
}

}  // namespace

size_t EpochSums::add_value(std::string name, size_t numbers, Combine how) {
  values_.push_back({std::string(prefix_of(how)) + std::move(name), how, std::vector<double>(numbers, start_of(how)), 0});
  return values_.size() - 1;
}

size_t EpochSums::add_rows(int64_t rows, int64_t row_bytes) {
  kept_->push_back({row_bytes, std::vector<std::byte>(size_t(rows * row_bytes))});
  return kept_->size() - 1;
}

void EpochSums::add(size_t value, std::span<const double> numbers, double rows) {
  Value& v = values_[value];
  const double weight = v.combine == Combine::mean ? rows : 1;
  for (size_t i = 0; i < v.numbers.size(); ++i) combine(v.combine, v.numbers[i], numbers[i] * weight);
  v.rows += rows;
}

void EpochSums::keep(size_t kept, std::span<const int64_t> rows, const std::byte* bytes) {
  Kept& k = (*kept_)[kept];
  for (size_t r = 0; r < rows.size(); ++r) std::copy_n(bytes + int64_t(r) * k.row_bytes, k.row_bytes, k.bytes.begin() + rows[r] * k.row_bytes);
}

std::vector<double> EpochSums::combined(size_t value) const {
  const Value& v = values_[value];
  std::vector<double> numbers = v.numbers;
  if (v.rows <= 0) std::ranges::fill(numbers, std::numeric_limits<double>::quiet_NaN());
  if (v.combine == Combine::mean && v.rows > 0)
    for (double& x : numbers) x /= v.rows;
  return numbers;
}

void EpochSums::clear() {
  for (size_t i = 0; i < values_.size(); ++i) clear(i);
  if (kept_.use_count() > 1) kept_ = std::make_shared<std::vector<Kept>>(*kept_);
}

void EpochSums::clear(size_t value) {
  Value& v = values_[value];
  std::ranges::fill(v.numbers, start_of(v.combine));
  v.rows = 0;
}

std::string EpochSums::to_text() const {
  std::string text;
  for (const Value& v : values_)
    if (v.rows > 0) text += fmt::format("{}{}:{},{}", text.empty() ? "" : " ", v.name, v.rows, fmt::join(v.numbers, ","));
  return text;
}

bool EpochSums::go_on_from(const std::string& text) {
  clear();
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    size_t colon = word.rfind(':');
    if (colon == std::string::npos) return false;
    std::vector<double> numbers;  // rows, then the numbers
    const char *at = word.data() + colon + 1, *end = word.data() + word.size();
    for (bool more = true; more; ++at) {
      auto [after, error] = std::from_chars(at, end, numbers.emplace_back());
      if (error != std::errc() || (after != end && *after != ',')) return false;
      more = after != end;
      at = after;
    }
    if (!(numbers[0] > 0)) return false;
    auto v = std::ranges::find_if(values_, [&](const Value& x) { return word.compare(0, colon, x.name) == 0; });
    if (v == values_.end() || v->numbers.size() + 1 != numbers.size()) continue;
    v->rows = numbers[0];
    v->numbers.assign(numbers.begin() + 1, numbers.end());
  }
  return true;
}

}  // namespace nnc
