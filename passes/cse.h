// Common subexpression elimination: equal operations over equal operands become one node.
//
// Requires:   a verified graph.
// Guarantees: no two nodes of equal operation, operands (in any order where operands commute) and attributes; the first one's
// place, span
//             and scope stay. Values do not change by a bit. Node ids change.
#pragma once

#include "ir/graph.h"

namespace nnc {

/// True if something was merged.
bool merge_common_subexpressions(Graph&);

}  // namespace nnc
