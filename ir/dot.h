// Graphs and programs as text for Graphviz.
#pragma once

#include <string>

#include "ir/graph.h"
#include "ir/program.h"

namespace nnc {

/// One node per operation; operations of one kernel stand in one box once fusion has decided.
std::string dot_graph(const Graph&);
/// One node per kernel, an edge for each buffer that one kernel writes and another reads.
std::string dot_program(const Program&);

}  // namespace nnc
