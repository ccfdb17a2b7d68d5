// The data of a run: files read as the data block declares, rows split.
#pragma once

#include <string>
#include <vector>

#include "frontend/frontend.h"
#include "runtime/row_order.h"
#include "runtime/step_runner.h"
#include "runtime/table.h"

namespace nnc {

struct RunData {
  std::vector<FieldData> fields;       ///< in the order of `names`
  std::vector<std::string> names;
  int64_t rows = 0;
  std::vector<FieldData> test_fields;  ///< only with `test from`: other files, whose rows are all test rows
  DataSplit split;

  /// Binds the program's fields to training rows' memory (`test`: to the memory that split.test counts in).
  void bind(StepRunner&, bool test) const;
};

/// Reads the fields (`replacements`: FIELD=PATH), checks them, draws the split from `seed`.
RunData load_data(const TrainSpec&, const std::vector<std::string>& replacements, uint64_t seed);

}  // namespace nnc
