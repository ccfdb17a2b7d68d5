// Reports over an epoch of training: what their expressions give for all rows of the epoch taken as one batch, where each row has the values that its
// step gave it, computed from what the steps leave behind.
//
// Most reports need nothing more than what a step reports anyway: a mean over rows is averaged, a sum added up, a largest value compared. Any other is cut at
// its reductions over rows, as an evaluation is (split_rows.h): the steps' graph gives the partial results of its first level as outputs of its own, the
// host combines them in 64 bits, and a final graph makes the report of them. What has no rows (a weight, a hyperparameter) counts as a value of each row of
// its step and is averaged. Where a later level reads rows again (the variance of a target needs its mean first), rows that follow from the data alone are read again
// at the epoch's end, and those that weights have a part in are kept, each as its step made it.
//
// Values of rows that the loss or a layer state is made of, and weights have a part in, are taken as their step made them, also where the step has combined its own rows for
// them (batch statistics).
//
// Requires:   a verified forward graph of a training step.
// Guarantees: outputs "accumulated.N" and "kept.N" are added to the graph behind those it has, and nothing else is changed; each value is there once.
//             Graphs of levels and final graphs are verified and free of dead code; the number of rows that count is their scalar "rows".
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"
#include "passes/split_rows.h"

namespace nnc {

/// A value that each step gives and the host combines.
struct StepValue {
  std::string output;  ///< of the step's graph; a persistent of that name in graphs that read what became of it
  Combine combine;
  Type type;           ///< without rows
};

/// Rows that each step gives and that are kept for the epoch.
struct KeptRows {
  std::string output;  ///< of the step's graph, an input of that name in graphs of levels
  Type type;           ///< [B, ...]
};

struct EpochSplit {
  std::string name;
  std::vector<StepValue> values;  ///< the report itself, alone, if there is no final graph
  std::vector<KeptRows> kept;
  std::vector<RowLevel> levels;   ///< evaluated at the end of an epoch, one after the other, over its rows
  Graph final_graph;              ///< its one output has the report's name; without outputs: the combined value is the report
  std::string obstacle;           ///< why it cannot be had over an epoch, lower case, no full stop; "" if it can. Then all else is empty
  bool is_direct() const { return obstacle.empty() && final_graph.outputs.empty(); }
};

/// For every output that the graph has, in their order.
std::vector<EpochSplit> split_epoch(Graph& forward);

}  // namespace nnc
