// In which order each sum of floats adds its terms, and whether vector lanes run along them or along its results: decided by what the sum reads of memory, before anything is said of kernels. Were it
// decided for a kernel, by all that the kernel reads, a step that is fused in another way, as that of one of several workers is, would have sums of other bits.
//
// The sum's terms are followed through element-wise operations and views to what stands in memory. Of the axes that are summed over, those along which these values lie furthest apart are the
// outermost; lanes run where most of the bytes are contiguous. Kernels obey: fusion keeps sums of different orders apart (fuser.cpp), lowering takes the order over (lower_map.cpp).
//
// Requires:   all passes that change the values or shapes of sums have run, fuse_rows has not. The rows of a batch have no part in it.
// Guarantees: nodes keep their ids, groups and values, but for the order of sums. Attributes::terms is set where the order is another one than that of term_order_of_shape.
#pragma once

#include "ir/graph.h"

namespace nnc {

void order_sums(Graph&);

}  // namespace nnc
