// The order of a sum's terms that loops decide: which of its axes lies outside which, and where the vector lanes run.
#pragma once

#include "ir/graph.h"

namespace nnc {

/// Whether rounding makes the order of a reduction's terms visible: sums of floats.
bool has_term_order(const Node&);

/// Which axes stand outside of others whatever is summed: rows, behind them axes of one index, then all others.
int term_rank(Extent);

/// What the shape of the summed value says: rows outermost, behind them axes of one index, then the others as they stand; lanes along the last one if nothing but axes of one index lies
/// further in.
TermOrder term_order_of_shape(const Shape& summed, const std::vector<int>& axes);

/// That of a reduce_sum of the graph: Attributes::terms, or else what its shape says.
TermOrder term_order(const Graph&, const Node&);

}  // namespace nnc
