// What is one cheap operation on a value in memory, and is needed again after a later sum over rows, is computed again there. A sum over rows ends every kernel before it, so
// the value would be written for those behind it, though what it is made of stands in memory as well and is as much to read: x - mean, of which batch norm takes the
// variance, then the result, then two gradients. Each of these gets an operation of its own, which fusion puts into the kernel that needs it.
//
// Requires:   cse has run for the last time (it would make them one again), and nothing is fused.
// Guarantees: values do not change by a bit. Operations that nothing needs any more are left to dead_code.
#pragma once

#include "ir/graph.h"

namespace nnc {

void recompute(Graph&);

}  // namespace nnc
