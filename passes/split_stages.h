// A training step of which only some rows of a batch are there at a time: of the shares that several workers compute, or of the batches that make up a larger one.
//
// The graph is cut at its sums (largest, smallest values) over rows. What needs rows is a *share stage*, evaluated for each share; it leaves a part of each sum, and whoever runs it joins the parts
// of all shares, by the tree of ir/sum_order.h. What is made of whole sums and has no rows, the updates and the loss, is the last stage, evaluated once. Where rows read a whole sum (a loss that is
// divided by the number of targets that count), it is made by a share stage of its own before: each stage computes again what it needs of rows, so that nothing with rows goes from one to the next.
//
//   share stage 0   part of sum(weight)                            for each share, joined
//   share stage 1   part of x^T dy, of sum(weight * loss)          for each share, joined
//   last stage      weight - lr * gradient; loss                   once
//
// **Sums that rows read, of values that parameters have a part in** (the moments of batch norm). To compute a layer's activations a second time would cost a step's work for each layer. Where all shares are
// there at once, each with memory of its own, as several workers have them, such a sum is *exchanged* within the stage: the share stores its part in the persistent and reads it again, through the operation
// `exchange`, when the parts of all shares have been joined there. The program of the stage is cut there (segments_of in ir/program_regions.h): what stands in the arena stays. Layer states are
// updated by the last stage.
//
// Sums have the bits that they have in the whole graph: what decides their order (PlannedRows) is asked of the whole batch, and a share is whole pieces of it.
//
// **Tables of which few entries are named.** The part of such a table's gradient is as large as the table. Where the update leaves entries alone that no row names (touched_rows.h), and the rows are less to send than
// the table, these are handed on instead: the index and what is added there are outputs of the share stage, and inputs of the last stage, which has the rows of the whole batch and makes the sum as one worker does.
//
// **Batches that follow one another** (`accumulate`). There such a sum cannot be waited for. Where rows of the forward pass read sums over the rows of their batch, each share is a batch by itself: it is normalised by its own sums, and updates the
// layers' states in its turn. What is joined then are the gradients that each share has made, not the sums within it. `hand_on_gradients` and `count_whole_batch` prepare the graph for that.
//
// Requires:   a verified graph without rows in its updates, on which all passes that change the order of sums have run; groups count for nothing.
// Guarantees: all graphs are verified, free of dead code and without groups. All have the same persistents in the same order: those of the graph, and behind them one of kind `partial` for each sum,
//             which share stages update and later stages read. The scalar `rows` is the number of rows of the whole batch, `first_row` the place of the share's first row in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/combine.h"
#include "passes/split_rows.h"

namespace nnc {

struct StageSum {
  std::string name;  ///< of the persistent: "partial.0"
  Combine combine;   ///< sum, max or min
  Type type;         ///< without rows
  NodeId node;       ///< in the graph that was cut
  bool exchanged = false;  ///< rows of the stage that makes it read what it comes to
};

struct ShareStage {
  Graph graph;                 ///< its updates are the sums; outputs that have rows are those of the last of these stages
  std::vector<StageSum> sums;  ///< first of the updates; behind them stand layer states, where each share updates them
};

/// What the last stage reads of all rows: an output of the last share stage, [B, ...], and an input of the last stage.
struct HandedRows {
  std::string name;  ///< "rows.0"
  Type type;
};

struct StepStages {
  std::vector<ShareStage> shares;  ///< at least one
  Graph last;                      ///< all outputs without rows, all updates
  std::vector<HandedRows> handed;
};

/// Whether a value with rows that the loss or a layer state is made of depends on a sum (largest, smallest value) over rows.
bool couples_rows(const Graph& forward);
/// The first such sum; invalid if there is none.
NodeId find_coupling_sum(const Graph& forward);

/// Where rows are coupled: the loss, and all else that no row depends on, counts the rows of the whole batch, by the scalar `rows`; what rows and layer states depend on counts those of its share. False, and where, if the
/// loss is more than a sum of what shares make of their rows: then nothing that a share does alone is its part of the gradient.
bool count_whole_batch(Graph& forward, RowSplitObstacle&);

/// Each of these nodes becomes the update of a persistent of kind `partial`, "partial.gradient.NAME", and in its place stands what the persistent holds.
std::vector<NodeId> hand_on_gradients(Graph&, const std::vector<std::pair<std::string, NodeId>>& gradients);

/// Whether all shares of a batch are there at once, or one after the other in the same memory.
enum class Shares : uint8_t { at_once, in_turn };

/// Nothing if an operation mixes rows in another way than by sums, or if shares come in turn and rows need what the rows of all others give, of values that parameters have a part in (batch statistics).
/// A graph that hands on gradients is cut there, and at the sums that its outputs are made of; sums that rows read stay within a share.
/// `rows`: of the whole batch, for what is less to send; 0: no rows are handed on.
std::optional<StepStages> split_stages(const Graph&, Shares, RowSplitObstacle&, int64_t rows = 0);

}  // namespace nnc
