// What of attention's scores stands in memory from the forward pass to the backward pass, and what is made a second time. Internal to form_regions.
#pragma once

#include <cstdint>
#include <vector>

#include "passes/attention_groups.h"

namespace nnc {

/// Of a draw that kernels of groups compare with a number, as a dropout's, the first one keeps the answer, a byte for each element; the others read it rather than draw again. What a kernel draws otherwise it goes
/// on drawing. Returns whether it changed anything; then groups are no longer what they were.
bool keep_draws(Program&, const AttentionGroups&, const std::vector<Group>&);

/// Where scores that others need would take more memory than that in all, they are made again in front of who reads them. Returns as much.
bool make_scores_again(Program&, const AttentionGroups&, const std::vector<Group>&, int64_t kept_bytes);

}  // namespace nnc
