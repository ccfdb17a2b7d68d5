// Attention, wherever a user writes it: batched products with rows of scores between them become parallel regions (ir/program.h), in which the scores of one head and a block of queries
// live in a thread's own memory.
//
// Requires:   kernels in order (order_kernels); no barriers, no places in memory yet. Chosen tiles, and packing, may change.
// Guarantees: the same values; kernels of a region stand next to each other. A kernel that is in no region and reads no scores is what it was.
#pragma once

#include "ir/program.h"

namespace nnc {

struct RegionOptions {
  int64_t kept_bytes = int64_t(256) << 20;  ///< scores that later kernels need are kept up to so many bytes in all, beyond that computed again where they are needed
  double round_flops = 5e4;                 ///< a round with less work is not worth the calls of its kernels
  int64_t queries = 64;                     ///< most rows of scores in a round
};

void form_parallel_regions(Program&, const RegionOptions& = {});

}  // namespace nnc
