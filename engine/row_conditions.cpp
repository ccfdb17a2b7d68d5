// A batch size that would do is looked for near the one that is asked for, so that the help can name it.
#include "engine/row_conditions.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

namespace nnc {
namespace {

std::string rows_text(int64_t rows) { return fmt::format("{} row{}", rows, rows == 1 ? "" : "s"); }

bool all_hold(const std::vector<RowCondition>& conditions, int64_t rows) {
  return std::ranges::all_of(conditions, [&](const RowCondition& c) { return c.holds(rows); });
}

/// The nearest batch size with which all batches of an epoch meet the conditions, or 0.
int64_t find_batch(const std::vector<RowCondition>& conditions, int64_t rows, int64_t batch) {
  auto fits = [&](int64_t b) { return b >= 1 && b <= rows && all_hold(conditions, b) && (rows % b == 0 || all_hold(conditions, rows % b)); };
  for (int64_t distance = 0; distance < 1000; ++distance)
    for (int64_t b : {batch + distance, batch - distance})
      if (fits(b)) return b;
  return 0;
}

[[noreturn]] void refuse(Diagnostic d) { throw ProgramErrors({std::move(d)}); }

}  // namespace

void require_batches(const std::vector<RowCondition>& conditions, int64_t rows, int64_t batch, int64_t steps) {
  const int64_t rest = rows % batch;
  const bool takes_rest = rest != 0 && steps > rows / batch;
  std::optional<Diagnostic> d = find_unmet(conditions, batch, fmt::format("a batch has {}", rows_text(batch)));
  if (!d && takes_rest)
    d = find_unmet(conditions, rest, fmt::format("the last batch of an epoch has {}: {} train, {} at a time", rows_text(rest), rows_text(rows), batch));
  if (!d) return;
  if (int64_t other = find_batch(conditions, rows, batch))
    d->help.push_back(fmt::format("with `--set data.batch={}` every batch has enough", other));
  refuse(std::move(*d));
}

void require_rows(const std::vector<RowCondition>& conditions, int64_t rows, std::string_view whose) {
  if (std::optional<Diagnostic> d = find_unmet(conditions, rows, fmt::format("{} has {}", whose, rows_text(rows)))) refuse(std::move(*d));
}

}  // namespace nnc
