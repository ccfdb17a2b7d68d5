// Runs compiled steps: owns their memory (persistents, arena, scratch, outputs), binds data fields, moves values in and out.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/philox.h"
#include "runtime/aligned_memory.h"
#include "runtime/staged_step.h"
#include "runtime/state_copy.h"
#include "runtime/step_program.h"
#include "runtime/team.h"

namespace nnc {

class StepRunner {
 public:
  /// The team outlives the runner; so do the workers, if the step is shared by several of them, who then make all calls below that say so together.
  StepRunner(StepProgram, Team&, Collectives* workers = nullptr);
  const StepProgram& program() const { return program_; }
  const Team& team() const { return team_; }

  // --- persistents, by index into program().persistents; values are row-major in the slot's own type ---
  int find_persistent(std::string_view name) const;  ///< -1: none of that name
  /// Whether each worker has a part of it alone.
  bool is_in_parts(size_t index) const { return program_.persistents[index].part.has_value(); }
  /// Of one in parts worker 0 alone gets the values, and the call is collective.
  void get_persistent(size_t index, std::byte* values) const;
  /// What is here is set; `values` are those of the whole.
  void set_persistent(size_t index, const std::byte* values);
  /// All elements become this one.
  void fill_persistent(size_t index, const std::byte* element);
  /// What lasts from step to step, as far as this worker has it.
  std::span<const std::byte> persistent_block() const { return {persistent_.data(), state_bytes()}; }
  void set_persistent_block(std::span<const std::byte>);
  /// Index of the first persistent that holds NaN or infinity, those apart whose place in `ignored` is set (empty: none is); -1: all are finite.
  /// Collective.
  int find_non_finite(const std::vector<bool>& ignored = {}) const;
  /// Of each persistent, whether it does. Collective.
  std::vector<bool> find_all_non_finite() const;
  /// Collective where the persistent is in parts.
  bool holds_nan(size_t index) const;
  /// Takes over the values of all persistents that both have.
  void copy_persistents(const StepRunner& from);

  // --- a copy of what lasts, which a run goes back to; the first is made when it is asked for ---
  /// As find_non_finite; if all is finite what lasts, `number` updates after the beginning, is copied in place of the copy before. Collective.
  int keep_state(int64_t number, const std::vector<bool>& ignored = {});
  /// Empty before the first copy.
  std::span<const std::byte> kept_state() const { return copy_ ? copy_->bytes() : std::span<const std::byte>(); }
  int64_t kept_number() const { return copy_ ? copy_->number() : -1; }
  /// After a fault of whichever worker, when no call is collective any more: sets worker 0's values to the last copy of all, parts of the others included, which get_persistent gives from then on. The number of
  /// its updates; nothing if there is none, with `missing` the worker whose part of it is lost (-1: there never was one). Of other workers, leaves their parts to worker 0, and gives nothing.
  std::optional<int64_t> recover_state(int& missing);

  // --- workers ---
  Collectives* workers() const { return workers_; }
  bool is_first() const { return !workers_ || workers_->rank() == 0; }
  /// What worker 0 says, for all. Collective.
  int64_t as_first_says(int64_t number) const;

  // --- running ---
  /// Row r of field `index` stands at base + r * row_stride; the memory outlives the runs.
  void bind_field(size_t index, const std::byte* base, int64_t row_stride);
  /// rows[s] rows of step s, their numbers at row_index[s * capacity]; scalars and results have their counts' values for each step. What the first step
  /// draws is at `first`, each other step's one update further.
  /// Returns the steps done: fewer if stopped. Collective; all workers stop after the same step, whichever was asked to.
  int64_t run(std::span<const int64_t> rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition& first);
  const std::byte* output(size_t index) const { return outputs_[index].data(); }
  /// Set from a signal handler or another thread: the current step is finished, then run returns.
  void request_stop();
  void clear_stop();
  bool stop_requested();
  /// [kernel_count] time stamp ticks are added up there; null: not measured.
  void measure_kernels(uint64_t* ticks) {
    context_.kernel_cycles = ticks;
    if (staged_) staged_->measure_kernels(ticks);
  }

 private:
  size_t state_bytes() const { return program_.stages.empty() ? persistent_.size() : size_t(program_.state_bytes); }
  void to_row_major(const PersistentSlot&, const std::byte* memory, std::byte* values) const;
  void gather_parts(size_t index, std::byte* memory) const;
  bool choose_alone();
  int find_own_non_finite(const std::vector<bool>& ignored) const;
  int64_t run_stages(std::span<const int64_t> rows, const int64_t* row_index, const NncScalar* scalars, double* results, const DrawPosition& first, bool alone);
  StepProgram program_;
  Team& team_;
  // Whether the team or one thread is faster is measured as steps are run: seconds per step, 0 while unknown.
  double team_seconds_ = 0, alone_seconds_ = 0;
  int64_t runs_ = 0;
  Collectives* workers_ = nullptr;
  bool all_stop_ = false;  ///< several workers: they have agreed
  AlignedMemory own_persistent_, arena_, scratch_;
  std::span<std::byte> persistent_;  ///< own, or where other workers see it
  std::vector<AlignedMemory> outputs_;
  std::vector<uint8_t*> output_pointers_;
  std::vector<NncField> fields_;
  std::vector<NncDraw> draws_;
  NncContext context_{};
  std::unique_ptr<StagedStep> staged_;  ///< of a step of stages
  std::unique_ptr<StateCopy> copy_;
  std::optional<StateCopy::Whole> recovered_;
};

}  // namespace nnc
