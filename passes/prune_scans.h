// Scans lose what nobody needs, and what is there twice.
//
// Requires:   a verified graph.
// Guarantees: the same values, bit for bit. Every result of a scan is read, every carry is read by a result or another carry's way to one, no two operands of a kind are one node, no
//             two stacked results one value; what a carry keeps from the first step to the last is captured, and what a sequence or a captured value repeats the body repeats. Scans in bodies likewise.
#pragma once

#include "ir/graph.h"

namespace nnc {

/// Whether anything went.
bool prune_scans_of(Graph&);
void prune_scans(Graph&);

}  // namespace nnc
