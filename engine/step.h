// From graphs to steps that run in this process.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/source.h"
#include "base/target.h"
#include "codegen/codegen.h"
#include "frontend/batch_plan.h"
#include "ir/graph.h"
#include "ir/program.h"
#include "passes/lower.h"
#include "passes/shard_states.h"
#include "passes/shard_updates.h"
#include "passes/split_stages.h"
#include "runtime/step_program.h"

namespace nnc {

/// Threads that run a step where nobody asks for others: the cores that this process may use.
int default_threads();

/// What a training step is lowered for: as many rows as are computed at once, sums as the whole batch has them.
LowerOptions lower_options(const std::string& name, const BatchPlan&, const Target&);

/// Graph (not yet simplified) -> program for `rows` rows, whose scalar results keep their types.
Program make_program(Graph, const std::string& name, int64_t rows, const Target&, const Layouts& = {});

/// Program -> running code in this process.
struct CompiledStep {
  Program program;
  std::unique_ptr<CompiledProgram> code;
  StepProgram step;  ///< for a StepRunner
  std::vector<size_t> segments;      ///< of a stage: the first kernel of each
  std::vector<CompiledStep> stages;  ///< of a step of stages, which has no program and no code of its own
};
/// UserError E0620 if this machine cannot run code for the program's target.
CompiledStep compile_step(Program, const SourceMap&, const CompileOptions& = {});

/// A training step: one program, or one for each of its stages (passes/split_stages.h).
struct StepPrograms {
  std::vector<Program> stages;
  std::vector<StageSum> sums;  ///< of all share stages; empty: the step is one program
  std::vector<std::string> results, outputs;  ///< of the step: its outputs that are single numbers, and all others
  BatchPlan plan;
  bool couples_rows = false;
  std::vector<OwnedRange> owned;  ///< of several workers
  int workers = 1;
  std::vector<HandedRows> handed; ///< from the last share stage to the last one
  bool is_staged() const { return stages.size() > 1; }
  const Program& last() const { return stages.back(); }
};
/// Who shares a step.
struct WorkerPlace {
  int rank = 0, size = 1;
};
/// `whole`: the fused graph of the step; its stages, if it has some, as several workers need; whether each share is a batch by itself, since its rows are coupled.
StepPrograms build_step(const Graph& whole, const std::optional<StepStages>& stages, bool couples_rows, const BatchPlan&, const Target&, WorkerPlace = {});
CompiledStep compile_step(StepPrograms, const SourceMap&, const CompileOptions& = {});

}  // namespace nnc
