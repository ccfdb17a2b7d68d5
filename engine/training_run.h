// A training run as a library has it: what a host wants goes in as options, what happens comes out as events and values.
//
//     Compilation compilation(host_target_with_cpu());
//     compilation.load_file("digits.nn");              // ProgramErrors if something is wrong with it
//     TrainingRun run(compilation, {.weights = "digits.safetensors"}, observer);
//     TrainingResult result = run.train();             // the observer is told of steps, epochs and warnings
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/compilation.h"
#include "engine/data.h"
#include "engine/epoch_reports.h"
#include "engine/evaluate.h"
#include "engine/run_files.h"
#include "engine/step.h"
#include "runtime/data/atomic_file.h"
#include "runtime/step_runner.h"
#include "runtime/team.h"
#include "runtime/trainer.h"
#include "runtime/workers/collectives.h"

namespace nnc {

struct TrainingOptions {
  std::string weights;                ///< file that the weights are written to, with a checkpoint beside it; "": nothing is written
  std::string initial_weights;        ///< file that a new run begins with; "": drawn from the seed
  std::string resume;                 ///< checkpoint that the run goes on from, bit for bit; excludes the other
  DataReplacements data;              ///< files and arrays in the place of those that the program names
  std::vector<std::string> rescue;    ///< folders for a checkpoint that cannot be written beside the weights
  bool shuffle = true;                ///< false: rows in the order of their files
  int threads = 0;                    ///< 0: as many as this process has cores
  bool keep_outputs = false;          ///< reports that are no single numbers are read after every step (step_outputs()): each step is a run of its own then
  Collectives* workers = nullptr;     ///< that share this run, all of which make it alike; null: there are no others. Worker 0 alone reports, writes, and reads weights and checkpoints
  std::optional<int> data_from;       ///< the worker that reads the data's files and sends them to the others; nothing: each reads its own
  bool single_steps = false;          ///< the observer is told of a step before the next one begins; else steps run in chunks of some tens of milliseconds
};

/// Where an epoch stands, or how it ended.
struct EpochReport {
  int64_t epoch = 0;          ///< 0-based
  int64_t step_in_epoch = 0;  ///< 1-based
  /// Each single-number report over the rows of the epoch so far, by TrainingRun::reports(). Nothing where there is none: no step that counts (`every`) has
  /// been done, or there is a report_obstacle. Before the epoch has ended, one that is no mean, sum or extreme may be as it was a moment ago.
  std::vector<std::optional<double>> values;
  std::vector<std::optional<Tensor>> outputs;  ///< likewise of the other reports, by TrainingRun::output_names(); f64, empty unless outputs are kept
  /// Loss and reports over the rows set aside, in the order of the program; empty before the epoch has ended, and where there are no such rows.
  std::vector<std::pair<std::string, Tensor>> valid, test;
};

/// Told of what happens, by the thread that trains, between runs of the step function. It may call TrainingRun::request_stop; exceptions pass through, with the
/// state kept as after any fault.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  virtual void on_fewer_threads(const std::string& /*shortage*/) {}  ///< a sentence; training goes on with those there are
  virtual void on_step(const StepRecord&) {}                         ///< every step, in order
  virtual void on_progress(const EpochReport&, bool /*ended*/) {}    ///< after some steps; `ended`: the epoch or the run is complete, its evaluation follows
  virtual void on_epoch(const EpochReport&) {}                       ///< an epoch, or the run in the middle of one, is complete and evaluated
  virtual void on_warning(const Diagnostic&) {}                      ///< a save on the way that failed; the run goes on
};

struct TrainingResult {
  TrainOutcome outcome = TrainOutcome::finished;
  int64_t steps = 0;                      ///< updates done, those of the run that it went on from included
  bool any_step = true;                   ///< false: stopped before the first step; nothing was written
  std::optional<Diagnostic> divergence;   ///< E0501 with what became NaN or infinite, and where that began
};

class TrainingRun : private TrainObserver {
 public:
  /// All that comes before the first step: data is read while the program is compiled, values are drawn or loaded. Throws ProgramErrors or UserError; warnings
  /// go to the compilation's on_warning. Compilation and observer outlive this.
  TrainingRun(Compilation&, TrainingOptions, TrainingObserver&);
  TrainingRun(const TrainingRun&) = delete;
  TrainingRun& operator=(const TrainingRun&) = delete;

  /// Trains to the end, a stop or divergence, and saves. Call once. After a fault in the middle, the state goes back to the last snapshot, which is saved: a
  /// UserError says so in a note, for anything else that is thrown kept() does.
  TrainingResult train();

  /// The step under way is finished, then the run ends and is saved. May be called from any thread and from a signal handler.
  void request_stop();
  bool stop_requested() const { return stop_; }
  /// For a host's handler of lost files (runtime/data/file_bytes.h), from within it: the run ends with UserError E0402. `path` outlives the run.
  void on_file_lost(const char* path);

  const TrainPlan& plan() const { return plan_; }
  const std::vector<std::string>& reports() const { return epoch_->numbers(); }       ///< "loss" and every report that is one number: the first results of a step
  const std::vector<std::string>& output_names() const { return epoch_->outputs(); }  ///< of the other reports
  const std::string& report_obstacle(size_t report) const { return epoch_->obstacle(report); }  ///< by reports(): "", or why there is no value of it over an epoch
  const std::vector<Tensor>& step_outputs() const { return outputs_; }  ///< after the last step, by output_names(); empty unless they are kept
  std::optional<double> learning_rate(const StepRecord&) const;         ///< `lr` of the first optimizer; none if it has none, or a fixed one
  const StepRunner& runner() const { return *runner_; }                 ///< holds the values of all parameters and states; of several workers, the states that each one updates
  const RunFiles& files() const { return *files_; }
  int64_t steps_done() const { return trainer_ ? trainer_->steps_done() : plan_.first_step; }
  const std::string& kept() const { return kept_; }  ///< after a fault: a sentence that says what of the state is kept

 private:
  // The steps of the constructor, in order.
  void agree();
  void begin_reading();
  void plan_steps();
  void compile();
  void take_data();
  void require_rows();
  void choose_first_values();
  void bind_data();
  void prepare_evaluation();
  void prepare_training();

  // TrainObserver: what the trainer tells.
  void on_step(const StepRecord&) override;
  void on_snapshot(int64_t steps) override;
  void on_progress(const StepRecord& last, bool finished) override;
  void on_save(int64_t steps) override;

  void keep_after_faults(const std::function<void()>& work);
  void require_files() const;
  void add_to_sums(const StepRecord&);
  EpochRecord epoch_record(int64_t steps) const;
  void warn_of_obstacles();
  std::vector<std::pair<std::string, Tensor>> evaluate(Part, const StepRecord& last);
  Diagnostic explain_divergence();
  std::string keep_snapshot();
  void finish_reading();
  void for_all_workers(const std::function<void()>& work);
  bool is_shared() const { return options_.workers && options_.workers->size() > 1; }
  void save_meanwhile(const std::function<void(const PersistentReader&)>& save);

  Compilation& compilation_;
  TrainingOptions options_;
  TrainingObserver& observer_;
  std::optional<OutputLock> lock_;
  std::future<RunData> reading_;
  std::vector<int64_t> first_order_;  ///< of epoch 0, with the data; empty: not made
  RunData data_;
  BatchPlan batch_;
  TrainPlan plan_;
  TrainingGraphs graphs_;
  std::optional<Team> team_;
  Layouts layouts_;  ///< orders of the persistents in memory
  CompiledStep compiled_;
  std::optional<StepRunner> runner_;
  std::map<std::string, std::string> description_;
  Graph rate_;  ///< the learning rate, of the run's scalars; without outputs if there is none
  std::unique_ptr<Evaluator> evaluator_;
  std::optional<RunFiles> files_;
  int loss_ = -1;  ///< its index among the results
  std::vector<Tensor> outputs_;
  std::optional<EpochReports> epoch_;
  // After the last step, and at the trainer's last snapshot.
  EpochSums sums_, snapshot_sums_;
  int64_t sums_step_ = 0, snapshot_step_ = -1;
  std::vector<std::optional<double>> shown_;  ///< reports that take work, as they were last evaluated
  double next_look_ = 0;           ///< when they are evaluated again in mid-epoch
  std::optional<Trainer> trainer_;
  std::atomic<bool> stop_{false};
  std::atomic<const char*> lost_file_{nullptr};  ///< a mapped data file that was cut short
  bool is_training_ = false;  ///< a fault is the business of keep_after_faults
  std::string kept_;
};

}  // namespace nnc
