// Runs a step that consists of stages (step_program.h): share stages once for each share of the batch, with the parts of their sums joined in the order of one batch, then the last stage.
//
// The rows of a batch are cut into pieces, and a share is an aligned run of them, so that its sums are nodes of the tree over all pieces (workers/sum_tree.h). A part is joined with what waits as
// soon as the tree allows it: at most one part a level of the tree is kept beside the one that is being made.
//
// Where a stage stops for what all shares give, its shares stand side by side, each with an arena of its own, and go through each segment before any goes through the next. Segments serve to send early, too: what
// one leaves is on its way while the next is computed, of the last of a worker's shares.
//
// Of several workers each has a contiguous run of the pieces (workers/README.md). What its nodes come to is exchanged, the owners of ranges run the last stage for these, and publish what they have
// updated. A wish to stop goes along with the last exchange, so that all workers stop after the same step.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "base/philox.h"
#include "runtime/aligned_memory.h"
#include "runtime/step_program.h"
#include "runtime/team.h"
#include "runtime/workers/collectives.h"
#include "runtime/workers/sum_tree.h"

namespace nnc {

class StagedStep {
 public:
  /// `persistent`: the step's persistent block. Program, team, block and workers (null: one alone) outlive this. Collective.
  StagedStep(const StepProgram&, Team&, uint8_t* persistent, Collectives* workers);
  StagedStep(const StagedStep&) = delete;

  /// One step of `rows` rows: fields, scalars and results by the step's program, outputs of its sizes, of several workers at the same places each time. `stop`: this worker wishes to stop; returns whether any does. Collective.
  bool run(int64_t rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition&, std::span<const NncField> fields, std::span<uint8_t* const> outputs, bool alone,
           bool stop);
  /// Ticks of all stages' kernels, one stage behind the other; null: not measured.
  void measure_kernels(uint64_t* ticks) { ticks_ = ticks; }

 private:
  /// Of one segment: nodes that wait, the largest first, and memory for the parts of each, one behind the other; the last node's are in the persistent block.
  struct Waiting {
    std::vector<SumNode> nodes;
    std::vector<std::byte*> parts;
    int64_t part_bytes = 0;
  };
  struct Stage {
    const StepProgram* program = nullptr;
    AlignedMemory scratch;
    NncContext context{};
    std::vector<NncField> fields;
    std::vector<uint8_t*> outputs;
    std::vector<NncScalar> scalars;
    std::vector<double> results;
    std::vector<size_t> field_of, scalar_of, result_of, output_of;  ///< by the stage's own number: that of the step; of fields and outputs behind these: rows that are handed on
    size_t first_kernel = 0;
    std::vector<Waiting> waiting;  ///< by segment
    bool exchanges = false;        ///< in between: its shares stand side by side
  };
  struct Rows {
    int64_t first = 0, count = 0, whole = 0;
  };

  void run_stage(Stage&, NncRun, const AlignedMemory& arena, const Rows&, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition&, std::span<const NncField> fields, std::span<uint8_t* const> outputs,
                 bool alone);
  void set_aside(Stage&, size_t segment);
  void take_up(Stage&, size_t segment, SumNode);
  static void take_up(Waiting&, SumNode, const std::function<void(size_t)>& join);
  void join_parts_at(const StepSegment&, const Waiting&, size_t place);
  /// The sums of a segment that the next one reads, or its others.
  Exchange& exchange_of(Stage&, size_t segment, bool read_next, int64_t pieces);
  void reserve_handed();
  struct RowMemory {
    uint8_t* base;
    int64_t row_bytes;
  };
  /// What gives everybody the rows that others have computed, by number of rows.
  using RowPublishes = std::map<int64_t, Publish>;
  Publish& publish_of(RowPublishes&, int64_t rows, const std::vector<RowMemory>&);
  void publish_rows(int64_t rows, std::span<uint8_t* const> outputs);
  void reserve_parts();
  void reserve_arenas();
  std::vector<SumNode> shares(int64_t pieces, int64_t most) const;

  const StepProgram& program_;
  Team& team_;
  uint8_t* persistent_;
  std::vector<AlignedMemory> arenas_;  ///< nothing in them goes from one stage to the next; the first is for all stages, the others for further shares of what has several segments
  std::vector<Stage> stages_;
  std::vector<AlignedMemory> blocks_;
  uint64_t* ticks_ = nullptr;
  Collectives* workers_;
  std::map<std::tuple<const StepSegment*, bool, int64_t>, Exchange> exchanges_;  ///< by what exchange_of is asked for
  std::optional<Publish> publish_;
  std::vector<RowMemory> handed_;
  std::vector<int64_t> row_numbers_;  ///< 0, 1, ...: where the rows stand that are handed on
  RowPublishes row_outputs_, row_handed_;
  static constexpr size_t most_nodes = 128;
  std::array<int32_t, most_nodes> wishes_{};  ///< to stop, one for each node; then whether any worker has it
  int32_t any_wish_ = 0;
};

}  // namespace nnc
