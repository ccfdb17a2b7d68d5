// Which scatters are sums by entries of a table (ir/chains.h), and which updates of a table may leave the entries alone that no place names.
//
// An update of the form value - z or value + z, where z is made of the gradient and of numbers that are the same for all elements, leaves an element as it is, to the bit, where
// its gradient is 0 and z is then +0 (for the sum: -0): value - (+0) and value + (-0) are the value, for zeros of both signs, infinities and NaN (one that signals aside: it
// stays as it is, where arithmetic would make it quiet). So the kernel computes z for a gradient of 0 once, by the same operations, and goes over all entries of the table
// when it is not that zero: a rate that is negative, infinite or NaN. Plain gradient descent is such an update; momentum, moments and decay move entries without a gradient.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace nnc {

/// A scatter of floats into a table without rows by an index that shares no axis with it: each entry's sum can be made by itself.
bool sums_by_entry(const Graph&, const Node&);

/// `update` = value -/+ z as above, with the old value of the persistent `name` and the gradient `scatter`.
struct SteadyUpdate {
  NodeId step;            ///< z
  bool subtracts = true;
};
std::optional<SteadyUpdate> find_steady_update(const Graph&, const Update&, NodeId scatter);

/// What becomes of the update of a parameter that a lookup's gradient takes part in.
enum class TableUpdate : uint8_t {
  touched_rows,    ///< entries that the batch does not name are left alone
  moves_others,    ///< the rule moves entries whose gradient is 0, or may
  other_gradient,  ///< the gradient has other parts than one lookup's, for all entries
  kept_gradient,   ///< something else reads the gradient
  copied,          ///< the new value cannot be made in place
};
/// Of a grouped graph, for a parameter whose gradient a scatter takes part in; nothing for others. `in_place`: what lowering decided.
std::optional<TableUpdate> table_update(const Graph& grouped, const Update&, bool in_place);

}  // namespace nnc
