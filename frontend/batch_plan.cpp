// A whole batch of so many pieces has the same sums however many batches make it up, if each of these has whole pieces. So the numbers of pieces that serve are those
// that cut each batch evenly: a batch's share of the pieces divides its rows.
#include "frontend/batch_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

namespace nnc {
namespace {

/// The smallest divisor of `rows` that is at least `least` (at most `rows`).
int64_t divisor_from(int64_t rows, int64_t least) {
  int64_t best = rows;
  for (int64_t d = 1; d * d <= rows; ++d) {
    if (rows % d != 0) continue;
    for (int64_t divisor : {d, rows / d})
      if (divisor >= least) best = std::min(best, divisor);
  }
  return best;
}

/// Numbers of pieces near `wanted` that serve, ascending.
std::vector<int64_t> pieces_near(int64_t batch, int64_t accumulate, int64_t wanted) {
  const int64_t above = divisor_from(batch, std::clamp<int64_t>((wanted + accumulate - 1) / accumulate, 1, batch));
  int64_t below = 1;
  for (int64_t d = 1; d < above; d = divisor_from(batch, d + 1)) below = d;
  std::vector<int64_t> result{below * accumulate, above * accumulate};
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

}  // namespace

BatchPlan plan_batch(const TrainSpec& spec, int64_t batch) {
  const int64_t whole = batch * spec.accumulate;
  int64_t pieces = spec.pieces;
  if (pieces == 0) {
    pieces = pieces_of(whole);
    if (spec.accumulate > 1) pieces = spec.accumulate * divisor_from(batch, std::min(batch, (pieces + spec.accumulate - 1) / spec.accumulate));
  }
  return {batch, spec.accumulate, piece_rows(whole, pieces)};
}

std::optional<Diagnostic> find_batch_fault(const TrainSpec& spec, int64_t batch) {
  constexpr int64_t most_rows = int64_t(1) << 32;  // rows are counted by 32 bits where numbers are drawn
  Diagnostic d;
  d.code = Code::E0311;
  d.span = spec.batch_span.valid() ? spec.batch_span : spec.span;
  if (batch > most_rows / spec.accumulate) {
    d.message = fmt::format("{} batches of {} rows are too many for one update", spec.accumulate, batch);
    d.help.push_back(fmt::format("at most {} rows make one", most_rows));
    return d;
  }
  const int64_t whole = batch * spec.accumulate;
  if (spec.pieces > whole) {
    d.message = spec.accumulate > 1 ? fmt::format("{} batches of {} rows cannot be cut into {} pieces", spec.accumulate, batch, spec.pieces)
                                    : fmt::format("a batch of {} row{} cannot be cut into {} pieces", batch, batch == 1 ? "" : "s", spec.pieces);
    d.help.push_back(fmt::format("a piece has a row at least: `pieces: {}`, or fewer", whole));
    return d;
  }
  const BatchPlan plan = plan_batch(spec, batch);
  if (spec.accumulate > 1 && batch % plan.piece != 0) {
    d.message = spec.pieces == 1 ? fmt::format("1 piece of {} batches of {} rows has {} rows, and a batch would end within it", spec.accumulate, batch, plan.piece)
                                 : fmt::format("{} pieces of {} batches of {} rows have {} rows each, and a batch would end within one", spec.pieces, spec.accumulate, batch, plan.piece);
    std::vector<std::string> choices;
    for (int64_t pieces : pieces_near(batch, spec.accumulate, spec.pieces)) choices.push_back(fmt::format("`pieces: {}`", pieces));
    d.help.push_back(fmt::format("each batch needs whole pieces: {}", fmt::join(choices, " or ")));
    return d;
  }
  return std::nullopt;
}

}  // namespace nnc
