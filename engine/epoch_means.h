// Means over the rows of an epoch of what its steps reported, also where the epoch is continued by another process.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace nnc {

class EpochMeans {
 public:
  /// Of so many numbers under a name, which has no spaces; gives its index.
  size_t add_report(std::string name, size_t numbers);
  /// What a step of so many rows reported.
  template <class Number>
  void add(size_t report, std::span<const Number> values, double rows) {
    Report& r = reports_[report];
    for (size_t i = 0; i < r.sums.size(); ++i) r.sums[i] += double(values[i]) * rows;
    r.rows += rows;
  }
  /// NaN before the first step.
  std::vector<double> mean(size_t report) const;
  void clear();

  /// The sums, exact: "loss:32,41.5" (rows, then the sum of each number); "" before the first step.
  std::string to_text() const;
  /// Goes on from a text; what it lacks, or has in another size, begins anew. False if it is none.
  [[nodiscard]] bool go_on_from(const std::string& text);

 private:
  struct Report {
    std::string name;
    std::vector<double> sums;
    double rows = 0;
  };
  std::vector<Report> reports_;
};

}  // namespace nnc
