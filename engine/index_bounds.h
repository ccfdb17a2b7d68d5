// Indices that come straight from data. Compiled code keeps an index inside of its table (the nearest entry is taken, so that no
// step reads elsewhere), which would make a wrong number in a file a wrong result: so what a graph takes an input for is looked
// up before it runs, and the input's values are checked once. What a model computes an index from is not known before it runs;
// `gradcheck` and the interpreter report those.
#pragma once

#include <string>
#include <vector>

#include "ir/interpreter.h"
#include "runtime/data/table.h"

namespace nnc {

/// UserError E0510 at the first value of an integer field that lies outside of a table it indexes in the graph: in its own
/// elements, whatever their order. `fields` in the order of `names`.
void check_indices(const Graph&, const std::vector<FieldData>& fields, const std::vector<std::string>& names);
/// The same for inputs of the interpreter's kind.
void check_indices(const Graph&, const Bindings&);

}  // namespace nnc
