// Every report counts its own rows, so that one which joins in the middle of an epoch is still the mean of what it saw.
#include "engine/epoch_means.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace nnc {

size_t EpochMeans::add_report(std::string name, size_t numbers) {
  reports_.push_back({std::move(name), std::vector<double>(numbers), 0});
  return reports_.size() - 1;
}

std::vector<double> EpochMeans::mean(size_t report) const {
  const Report& r = reports_[report];
  std::vector<double> means = r.sums;
  for (double& v : means) v = r.rows > 0 ? v / r.rows : std::numeric_limits<double>::quiet_NaN();
  return means;
}

void EpochMeans::clear() {
  for (Report& r : reports_) {
    std::fill(r.sums.begin(), r.sums.end(), 0);
    r.rows = 0;
  }
}

std::string EpochMeans::to_text() const {
  std::string text;
  for (const Report& r : reports_)
    if (r.rows > 0) text += fmt::format("{}{}:{},{}", text.empty() ? "" : " ", r.name, r.rows, fmt::join(r.sums, ","));
  return text;
}

bool EpochMeans::go_on_from(const std::string& text) {
  clear();
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    size_t colon = word.rfind(':');
    if (colon == std::string::npos) return false;
    std::vector<double> numbers;  // rows, then sums
    const char *at = word.data() + colon + 1, *end = word.data() + word.size();
    for (bool more = true; more; ++at) {
      auto [after, error] = std::from_chars(at, end, numbers.emplace_back());
      if (error != std::errc() || (after != end && *after != ',')) return false;
      more = after != end;
      at = after;
    }
    if (!(numbers[0] > 0)) return false;
    auto r = std::find_if(reports_.begin(), reports_.end(), [&](const Report& x) { return word.compare(0, colon, x.name) == 0; });
    if (r == reports_.end() || r->sums.size() + 1 != numbers.size()) continue;
    r->rows = numbers[0];
    r->sums.assign(numbers.begin() + 1, numbers.end());
  }
  return true;
}

}  // namespace nnc
