// Runs a step that consists of stages (step_program.h): share stages once for each share of the batch, with the parts of their sums joined in the order of one batch, then the last stage.
//
// The rows of a batch are cut into pieces, and a share is an aligned run of them, so that its sums are nodes of the tree over all pieces (workers/sum_tree.h). A part is joined with what waits as
// soon as the tree allows it: at most one part a level of the tree is kept beside the one that is being made.
//
// A stage of several segments stops after each for what all shares give: its shares stand side by side, each with an arena of its own, and go through each segment before any goes through the next.
//
// Of several workers each has a contiguous run of the pieces (workers/README.md). What its nodes come to is exchanged, the owners of ranges run the last stage for these, and publish what they have
// updated. A wish to stop goes along with the last exchange, so that all workers stop after the same step.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
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
  /// Everybody gets what its owners alone have. Collective.
  void gather_owned();
  /// Ticks of all stages' kernels, one stage behind the other; null: not measured.
  void measure_kernels(uint64_t* ticks) { ticks_ = ticks; }

 private:
  struct Stage {
    const StepProgram* program = nullptr;
    AlignedMemory scratch;
    NncContext context{};
    std::vector<NncField> fields;
    std::vector<uint8_t*> outputs;
    std::vector<NncScalar> scalars;
    std::vector<double> results;
    std::vector<size_t> field_of, scalar_of, result_of, output_of;  ///< by the stage's own number: that of the step
    size_t first_kernel = 0;
  };
  /// Of one share stage: parts that wait, the largest first, the parts of each one behind the other; the last node's are in the persistent block.
  struct Waiting {
    std::vector<SumNode> nodes;
    std::vector<std::byte*> parts;
  };
  struct Rows {
    int64_t first = 0, count = 0, whole = 0;
  };

  void run_stage(Stage&, NncRun, const AlignedMemory& arena, const Rows&, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition&, std::span<const NncField> fields, std::span<uint8_t* const> outputs,
                 bool alone);
  void set_aside(const StepSegment&);
  void take_up(SumNode, const std::function<void(size_t)>& join);
  void join_parts_at(const StepSegment&, size_t place);
  void exchange(const StepSegment&, int64_t pieces, bool is_last, bool stop);
  Publish* publish_rows(int64_t rows, std::span<uint8_t* const> outputs);
  void reserve_parts();
  void reserve_arenas();
  std::vector<SumNode> shares(int64_t pieces, int64_t most) const;

  const StepProgram& program_;
  Team& team_;
  uint8_t* persistent_;
  std::vector<AlignedMemory> arenas_;  ///< nothing in them goes from one stage to the next; the first is for all stages, the others for further shares of what has several segments
  std::vector<Stage> stages_;
  Waiting waiting_;
  int64_t part_bytes_ = 0;  ///< of the parts of any stage
  std::vector<AlignedMemory> blocks_;
  uint64_t* ticks_ = nullptr;
  Collectives* workers_;
  std::map<std::pair<const StepSegment*, int64_t>, Exchange> exchanges_;  ///< by number of pieces
  std::optional<Publish> publish_, gather_;
  std::map<int64_t, Publish> row_outputs_;  ///< by number of rows
  std::vector<int32_t> wishes_;  ///< to stop, one for each node; then whether any worker has it
  int32_t any_wish_ = 0;
};

}  // namespace nnc
