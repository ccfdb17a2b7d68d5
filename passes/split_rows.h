// Evaluation over a split of data that is larger than a batch: what the outputs are for the whole split taken as one batch,
// computed batch by batch.
//
// The graph is cut at the reductions over rows. Level 0 is evaluated for every batch and gives partial results, which the host
// combines into accumulators (sums in 64 bits); level 1 reads those of level 0 and is evaluated for every batch again (a variance
// needs the mean first), and so on; the final graph computes the outputs from the accumulators, once.
//
// Requires:   a verified graph without updates, no output with a row dimension, and no operation that mixes rows other than sum,
//             max, min, a contraction that sums rows, and scatter_add from rows into a table without; otherwise split_rows says
//             what stands in the way.
// Guarantees: batch and final graphs are verified and free of dead code. In all of them the number of rows of the whole split is
//             the scalar "rows". Accumulators are persistents "accumulated.N" of kind state, read by later levels and the final graph.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/combine.h"
#include "ir/graph.h"

namespace nnc {

/// What an operation does with rows: computes row by row, combines them into something without, or neither, for a reason (lower case, no full stop).
enum class RowUse : uint8_t { along, reduces, impossible };
RowUse row_use(const Graph&, const Node&, std::string& reason);
Combine combine_of(Op reduction);
/// Of a graph that sees a share of the rows: an `extent` of rows as it is of all of them, by the scalar `rows`.
NodeId count_all_rows(Builder&, const Node& extent);

struct Accumulator {
  std::string name;  ///< "accumulated.0": an output of its level's batch graph, a persistent of later graphs
  Combine combine;   ///< sum, max or min: begins at 0, -inf or inf; max and min keep NaN
  Type type;
};

struct RowLevel {
  Graph batch;
  std::vector<Accumulator> accumulators;
};

struct RowSplit {
  std::vector<RowLevel> levels;
  Graph final_graph;
};

/// Where and why a graph cannot be split.
struct RowSplitObstacle {
  NodeId node;
  std::string reason;  ///< lower case, no full stop: "`argmax` over the rows"
};

std::optional<RowSplit> split_rows(const Graph&, RowSplitObstacle& obstacle);

}  // namespace nnc
