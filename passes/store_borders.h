// Windows that may read outside of their operand: where they feed a contraction, or only step out of it, the operand is copied with what lies outside around it
// (and between its elements, where the index is divided), so that the window itself is a plain view with strides. A window that neither divides nor feeds a
// contraction needs no copy where all it reads lies inside. A contraction needs none where the rows of its register tiles are those of the batch: all of a tile then stands
// at one pixel, and what lies outside is left out of the sum by bounds of loops (guards, ir/program.h). One by channels (channelwise.h) is a row-wise kernel, which chooses.
//
// Requires:   simplify has run. `rows`: of the batch; 0 stands for many.
// Guarantees: a window over two axes leaves its operand only if it divides and feeds no contraction, or if its zeros outside feed contractions that leave them out. What copies make is a window over one axis, or several of them on
//             each other; finish_groups gives these a kernel. Values of finite weights do not change by a bit.
#pragma once

#include "ir/graph.h"

namespace nnc {

void store_borders(Graph&, int64_t rows = 0);

}  // namespace nnc
