// The graph of one position of a sequence: what a graph over tokens [B, T] gives for position t, from the token at t and what earlier positions have left in memories. README.md, "One position at a time".
//
// Whoever runs it begins at position 0 and goes on one by one. Before a run the inputs `memory.N` hold what was kept (at position 0 anything finite, such as zeros), the scalar `position` is t, and the tokens are those of
// the position, [B, 1]. After it, each memory with an axis gets the output of its name, one slot long, at index t along that axis (nothing where t is beyond its slots); a memory without one is replaced by it. Memories that have no
// rows are states, which the graph's own updates replace.
//
// Requires:   a verified graph; `tokens` is an input, integers [B, T]; each output has its positions as axis 1; the batch has one row (B = 1).
// Guarantees: for all t the outputs, whose axis 1 has size 1, are the graph's own at index t along it, bit for bit where arithmetic is exact, if values are finite (causality.h). The graph has as many nodes as the given one, up to a
//             few for each memory. Nothing if there is an obstacle, which is then told.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "passes/causality.h"

namespace nnc {

/// Name of the scalar.
inline constexpr const char* position_scalar = "position";

/// What later positions read of earlier ones.
struct PositionMemory {
  std::string name;  ///< of the input and of the output: "memory.0"
  Type type;         ///< of the input; the rows of the batch are axis 0
  int axis = -1;     ///< along which positions are slots; -1: a carry, replaced as a whole
};

struct PositionGraph {
  Graph graph;
  std::vector<PositionMemory> memories;
};

std::optional<PositionGraph> make_position_graph(const Graph&, NodeId tokens, PositionObstacle&);

}  // namespace nnc
