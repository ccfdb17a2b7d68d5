// A sum over rows and further axes that split_sums began with the rows, for a convolution's kernel to make (row_tiles.h), begins within the rows if no contraction took
// it: a kernel of its own then has rows to share out to threads, and joins what makes the terms.
//
// Requires:   fuse_contractions has run, fuse_rows has not.
// Guarantees: nodes keep their ids and groups; values are those of before but for the order of sums, which follows from shapes alone.
#pragma once

#include "ir/graph.h"

namespace nnc {

void turn_sums(Graph&);

}  // namespace nnc
