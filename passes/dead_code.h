// Removes nodes that no output and no update needs.
//
// Requires:   a verified graph.
// Guarantees: every node is live; order, outputs, updates and persistents are kept. Node ids change.
#pragma once

#include "ir/graph.h"

namespace nnc {

void remove_dead_code(Graph&);

}  // namespace nnc
