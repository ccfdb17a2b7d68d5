// Sums over rows that differ by factors which are constant along the summed axes are one sum: sum(-(d * gamma * inv)) is -(sum(d) * gamma * inv), where gamma and inv
// have one number a channel and the sum leaves one number a channel. The gradients of batch norm are full of them. A sum over rows is a pass over memory that
// all threads wait for, so fewer passes are worth a rounding elsewhere; within a row, and where nothing is gained, arithmetic stays as it is written.
//
// A sum gives up its factors where
//   a. another sum over the same axes then has the same terms, or
//   b. a factor waits for more sums over rows than the other terms do: sum(t * (x - m)), t from a later sum, becomes sum(x - m) * t, which is known before t is.
//
// Requires:   simplify has run, and nothing is fused.
// Guarantees: values are those of before but for rounding; a partial sum may overflow or become NaN where the original's does not, or the reverse. Sums that share their
//             terms are equal nodes (cse makes them one).
#pragma once

#include <vector>

#include "ir/graph.h"

namespace nnc {

void share_sums(Graph&);

/// By node: how many sums over rows stand before it, on the longest way.
std::vector<int> row_sums_before(const Graph&);

}  // namespace nnc
