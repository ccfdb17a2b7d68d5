// Removes nodes that no output and no update needs.
//
// Requires:   a verified graph.
// Guarantees: every node is live; order, outputs, updates and persistents are kept. Node ids change.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace nnc {

void remove_dead_code(Graph&);

/// Takes nodes out of a graph: node i stays where to[i] is i, gives way to the earlier node to[i] where that is another, and goes where it is invalid, if nothing that stays uses it. In the
/// end `to` holds the new numbers. What stays is moved, not copied.
void replace_nodes(Graph&, std::vector<NodeId>& to);

}  // namespace nnc
