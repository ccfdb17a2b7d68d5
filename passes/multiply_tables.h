// Products with rows that are looked up in a table become products with the table, where the table has fewer rows than are looked up: an embedding of 65 characters before a
// dense layer is one product of 65 rows, whatever the number of tokens. Three forms of the same step, of which training has all:
//
//   forward             contract(gather(E, t), W)        -> gather(contract(E, W), t)
//   the table's gradient    scatter_add(contract(g, W), t)   -> contract(scatter_add(g, t), W)
//   the weights' gradient   contract(g, gather(E, t))        -> contract(scatter_add(g, t), E)   where it sums over the places looked up
//
// The last two scatter the same gradient by the same index, so that cse leaves one scatter and two products with as many rows as the table has. Between the scatter and the
// contraction of the second form may stand the mask of a padding entry, select(t == entry, 0, contract): it then masks the table's row. Who else reads a gathered value
// keeps it; whatever else stands between the two operations keeps them as they are.
//
// The forward form has the bits of before: each element's sum has the same terms in the same order. The gradients sum by entries of the table first. An entry that no place
// names takes part with 0, so that one that is inf or NaN, which nothing would have read, shows in the weights' gradient.
//
// Requires:   simplify has run (contractions take in transposes and broadcasts).
// Guarantees: values are those of before but for the order of sums, which follows from shapes and the planned number of rows alone.
#pragma once

#include <cstdint>

#include "ir/graph.h"

namespace nnc {

/// For a batch of so many rows; 0: not known, and taken for many.
void multiply_tables(Graph&, int64_t rows);

}  // namespace nnc
