// A sum over rows and further axes that leaves few numbers (one a channel of a batch of images) is two sums: first within each row, then over the rows. Only the axes that
// a sum leaves can be shared out to threads, and sixteen channels are one vector; of a sum within rows all rows can be, and it joins the kernel that makes the
// row's terms. What the rows leave is small and summed at once. The same goes for contractions by channels (channelwise.h). Where a convolution may make the terms
// (row_tiles.h), the rows come first, for its kernel to sum over; what it does not take is turned afterwards (turn_sums.h).
//
// Requires:   simplify has run for the last time (it would put the two together again), and nothing is fused.
// Guarantees: values are those of before but for the order of sums, which follows from shapes alone.
#pragma once

#include "ir/graph.h"

namespace nnc {

void split_sums(Graph&);

}  // namespace nnc
