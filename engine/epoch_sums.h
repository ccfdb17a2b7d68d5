// What the steps of an epoch gave, combined: sums, largest values and kept rows. It is a value: a snapshot is a copy, a checkpoint its text and its rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "passes/split_rows.h"

namespace nnc {

class EpochSums {
 public:
  /// Of so many numbers under a name, which has no spaces; gives its index.
  size_t add_value(std::string name, size_t numbers, Combine);
  /// Room for one row of so many bytes for each row of the data; gives its index.
  size_t add_rows(int64_t rows, int64_t row_bytes);

  /// What a step of so many rows gave.
  void add(size_t value, std::span<const double> numbers, double rows);
  /// The bytes of these rows of the data, one row after the other.
  void keep(size_t kept, std::span<const int64_t> rows, const std::byte* bytes);

  /// NaN before the first step.
  std::vector<double> combined(size_t value) const;
  /// Of the steps that gave it.
  double rows(size_t value) const { return values_[value].rows; }
  std::byte* kept(size_t kept) const { return kept_->at(kept).bytes.data(); }
  int64_t row_bytes(size_t kept) const { return kept_->at(kept).row_bytes; }
  void clear();               ///< an epoch begins
  void clear(size_t value);   ///< the value begins anew

  /// All values, exact: "loss:32,41.5 sum.hits:32,7" (rows, then each number, behind how it is combined unless that is a mean); "" before the first step.
  std::string to_text() const;
  /// Goes on from a text; what it lacks, or has in another size, begins anew. False if it is none.
  [[nodiscard]] bool go_on_from(const std::string& text);

 private:
  struct Value {
    std::string name;
    Combine combine;
    std::vector<double> numbers;
    double rows = 0;
  };
  struct Kept {
    int64_t row_bytes;
    std::vector<std::byte> bytes;
  };
  std::vector<Value> values_;
  std::shared_ptr<std::vector<Kept>> kept_ = std::make_shared<std::vector<Kept>>();  ///< shared by copies within an epoch, which ask for the rows of their steps alone
};

}  // namespace nnc
