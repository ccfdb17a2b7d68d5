// Which rows a run uses, and in which order: splits and shuffles, drawn from the run's seed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/split.h"

namespace nnc {

/// Row numbers, ascending in each part. Parts are disjoint and cover all rows.
struct DataSplit {
  std::vector<int64_t> train, test, valid;
};

/// Test rows are set aside first, validation rows from what remains (both fractions are of all rows, rounded to nearest).
DataSplit split_rows_of_data(int64_t rows, const SplitSpec& test, const SplitSpec& valid, uint64_t seed);

/// Where the rows of a text begin. A row is `context` characters, and reads `reach` (with those that it is to predict). Test takes the last characters, validation those before
/// them (shares are of all characters), and rows begin every `context` characters there; what is left trains, from every character on. No row reads a character of another part.
DataSplit split_rows_of_text(int64_t characters, int64_t context, int64_t reach, const SplitSpec& test, const SplitSpec& valid);

/// Beginnings of rows within characters begin .. end - 1, every `step` characters.
std::vector<int64_t> rows_of_text(int64_t begin, int64_t end, int64_t step, int64_t reach);

/// Rows that a share of `rows` is, as far as so many remain.
int64_t rows_of_share(double fraction, int64_t rows);

/// The rows of one epoch in order: a permutation drawn from seed and epoch, or the rows as they are.
std::vector<int64_t> epoch_order(std::span<const int64_t> rows, uint64_t seed, int64_t epoch, bool shuffle);

}  // namespace nnc
