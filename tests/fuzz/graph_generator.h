// Random sound graphs with a loss, gradients and updates, and values to run them on.
//
// Each node is evaluated as it is made, so that a graph's numbers stay of moderate size (but for one graph in ten, which may have
// NaN and infinities anywhere), indices stay within their tables, and nothing has to be thrown away afterwards. Operations are
// drawn from ops.def: a new one that graph_generator_ops.cpp does not know how to make fails the suite's run by name, since every operation must be reached.
#pragma once

#include <cstdint>

#include "verify/reduce.h"

namespace nnc::fuzz {

/// Everything follows from the seed.
GraphCase generate_graph(uint64_t seed);

/// Other numbers for the same graph, of the same kinds (indices within their tables), for another number of rows.
Bindings rebind(const GraphCase&, int64_t rows, uint64_t seed);

}  // namespace nnc::fuzz
