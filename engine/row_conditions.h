// Conditions of definitions that the number of rows decides (`where B > 1`), asked where that number is known and before anything runs.
#pragma once

#include <string_view>
#include <vector>

#include "engine/compilation.h"

namespace nnc {

/// Of a run that takes `rows` in batches of `batch` for so many steps in all: full batches, and the last one of an epoch if it is smaller and the run comes so far.
/// ProgramErrors (E0310).
void require_batches(const std::vector<RowCondition>&, int64_t rows, int64_t batch, int64_t steps);

/// Of one evaluation: `whose` rows they are, as in "the split `test`". ProgramErrors (E0310).
void require_rows(const std::vector<RowCondition>&, int64_t rows, std::string_view whose);

}  // namespace nnc
