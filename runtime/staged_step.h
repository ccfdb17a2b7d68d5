// Runs a step that consists of stages (step_program.h): share stages once for each share of the batch, with the parts of their sums joined in the order of one batch, then the last stage.
//
// The rows of a batch are cut into pieces, and a share is an aligned run of them, so that its sums are nodes of the tree over all pieces (workers/sum_tree.h). A part is joined with what waits as
// soon as the tree allows it: at most one part a level of the tree is kept beside the one that is being made.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/philox.h"
#include "runtime/aligned_memory.h"
#include "runtime/step_program.h"
#include "runtime/team.h"
#include "runtime/workers/sum_tree.h"

namespace nnc {

class StagedStep {
 public:
  /// `persistent`: the step's persistent block. Program, team and block outlive this.
  StagedStep(const StepProgram&, Team&, uint8_t* persistent);
  StagedStep(const StagedStep&) = delete;

  /// One step of `rows` rows: fields, scalars and results by the step's program, outputs of its sizes.
  void run(int64_t rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition&, std::span<const NncField> fields, std::span<uint8_t* const> outputs, bool alone);
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
  /// Of one share stage: parts that wait, the largest first, the parts of each one behind the other.
  struct Waiting {
    std::vector<SumNode> nodes;
    std::vector<AlignedMemory> parts;
  };
  struct Rows {
    int64_t first = 0, count = 0, whole = 0;
  };

  void run_stage(Stage&, const Rows&, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition&, std::span<const NncField> fields, std::span<uint8_t* const> outputs,
                 bool alone);
  void push(const StepProgram&, SumNode);
  void join_last(const StepProgram&);
  static int64_t bytes_of(const StepProgram&);

  const StepProgram& program_;
  Team& team_;
  uint8_t* persistent_;
  AlignedMemory arena_;  ///< of all stages: nothing in it goes from one to the next
  std::vector<Stage> stages_;
  Waiting waiting_;
  uint64_t* ticks_ = nullptr;
};

}  // namespace nnc
