// One run, step by step: the constructor is the list of what comes before training, train() of what may end it. Bits depend on the program, its data, the options
// that a checkpoint records and the CPU; never on observers, chunks or when something is saved.
#include "engine/training_run.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "engine/bindings.h"
#include "engine/checkpoint.h"
#include "engine/divergence.h"
#include "engine/row_conditions.h"
#include "engine/sent_files.h"
#include "engine/tensors.h"
#include "engine/text_data.h"
#include "engine/weights_file.h"
#include "passes/dead_code.h"
#include "passes/pipeline.h"
#include "runtime/data/file_bytes.h"
#include "runtime/row_order.h"
#include "runtime/workers/launch.h"

namespace nnc {
namespace {

/// A mapped data file lost its content: what was computed since the last snapshot means nothing.
struct DataLost {};

/// The `lr` of the first optimizer as a graph of the run's scalars; without outputs if it has none, or one that is compiled in.
Graph rate_of(const std::vector<UpdateRule>& rules) {
  for (const UpdateRule& rule : rules)
    for (const Output& o : rule.rule.outputs) {
      if (o.name != "using.lr") continue;
      Graph rate = rule.rule;
      rate.outputs = {o};
      rate.updates.clear();
      remove_dead_code(rate);
      rate.persistents.clear();
      return rate;
    }
  return {};
}

int64_t count_steps(const TrainSpec& spec, const TrainPlan& plan) {
  if (spec.steps > 0) return spec.steps;
  int64_t total = 0;
  return __builtin_mul_overflow(spec.epochs, plan.steps_per_epoch(), &total) ? INT64_MAX : total;
}

/// What of a run's length was asked for beside the program.
std::string_view length_asked_for(const Compilation& compilation) {
  auto given = [&](std::string_view path) { return std::ranges::count(compilation.overrides, path, &Override::path) > 0; };
  return given("--steps") ? "steps" : given("--epochs") ? "epochs" : "epochs or steps";
}

}  // namespace

TrainingRun::TrainingRun(Compilation& compilation, TrainingOptions options, TrainingObserver& observer)
    : compilation_(compilation), options_(std::move(options)), observer_(observer) {
  NNC_CHECK(compilation_.module && compilation_.module->has_train(), "a run of a program without a train block");
  NNC_CHECK(options_.initial_weights.empty() || options_.resume.empty(), "a run begins with weights or a checkpoint, not both");
  agree();
  begin_reading();
  plan_steps();
  compile();
  take_data();
  require_rows();
  choose_first_values();
  bind_data();
  prepare_evaluation();
  prepare_training();
}

/// What one worker alone decides or may fail at, before anything is read.
void TrainingRun::agree() {
  for_all_workers([this] {
    if (!options_.weights.empty()) lock_.emplace(options_.weights);
  });
  if (is_shared()) options_.keep_outputs = options_.workers->agree_any(options_.keep_outputs);  // they are computed together
}

/// Where one of them fails all do, with its diagnostic.
void TrainingRun::for_all_workers(const std::function<void()>& work) {
  if (is_shared())
    options_.workers->together(work);
  else
    work();
}

/// Files are read, and the first epoch's rows put in order, while the program is compiled; by this thread afterwards if they are sent.
void TrainingRun::begin_reading() {
  const bool sent = is_shared() && options_.data_from;
  reading_ = std::async(sent ? std::launch::deferred : std::launch::async | std::launch::deferred, [this, sent] {
    const TrainSpec& spec = compilation_.module->train();
    RunData data = load_data(spec, options_.data, spec.seed, nullptr, sent ? load_on(*options_.workers, *options_.data_from) : FileLoader(load_file));
    if (options_.resume.empty()) first_order_ = epoch_order(data.split.train, spec.seed, 0, options_.shuffle);
    return data;
  });
  if (compilation_.module->train().batch == 0) finish_reading();  // `batch: all` is as large as the data
}

/// What is wrong with the data of one worker ends all.
void TrainingRun::finish_reading() {
  if (!is_shared() || options_.data_from) {
    data_ = reading_.get();
    return;
  }
  for_all_workers([this] {
    try {
      options_.workers->while_others_wait([this] { data_ = reading_.get(); });
    } catch (const UserError& e) {
      if (e.diagnostic().code != Code::E0402 || options_.workers->rank() == 0) throw;
      Diagnostic d = e.diagnostic();
      d.help.emplace_back("copy the data to every host, or give `--data-from 0`: worker 0 then reads it and sends it to the others");
      throw UserError(std::move(d));
    }
  });
}

void TrainingRun::plan_steps() {
  const TrainSpec& spec = compilation_.module->train();
  plan_.seed = spec.seed;
  plan_.shuffle = options_.shuffle;
  plan_.save_every = spec.save_every;
  batch_ = planned_batch(compilation_, std::max<int64_t>(1, int64_t(data_.split.train.size())));
  require_pieces(compilation_, batch_);
  plan_.batch = batch_.whole();
}

void TrainingRun::compile() {
  graphs_ = make_training_graphs(compilation_);
  warn_if_nothing_trains(compilation_, graphs_.forward);
  rate_ = rate_of(graphs_.rules);
  team_.emplace(options_.threads > 0 ? options_.threads : default_threads());
  if (!team_->shortage().empty()) observer_.on_fewer_threads(team_->shortage());
  StepPrograms programs = build_step(graphs_.optimized, graphs_.stages, graphs_.couples_rows, batch_, compilation_.target, options_.workers ? WorkerPlace{options_.workers->rank(), options_.workers->size()} : WorkerPlace{});
  for (const PersistentPlace& p : programs.last().persistents)
    if (p.persistent.kind != PersistentKind::partial) layouts_[p.persistent.name] = memory_order(programs.last(), p);
  compiled_ = compile_step(std::move(programs), compilation_.sources, compilation_.code);
}

void TrainingRun::take_data() {
  if (reading_.valid()) finish_reading();
  for_all_workers([this] { data_.check(graphs_.forward.graph); });
  plan_.rows = data_.split.train;
}

void TrainingRun::require_rows() {
  const TrainSpec& spec = compilation_.module->train();
  if (plan_.rows.empty())
    throw UserError(Code::E0502, fmt::format("no rows are left to train on: `{}` has {} rows, and {} are set aside", spec.data.name, data_.rows, data_.rows));
  require_rows_of_batch(batch_, int64_t(plan_.rows.size()), compilation_.name);
  plan_.total_steps = count_steps(spec, plan_);
  if (plan_.total_steps <= 0)
    throw UserError(Code::E0502, fmt::format("zero {} were asked for, so nothing would train", length_asked_for(compilation_)), compilation_.name,
                    "write `epochs 10` or `steps 1000`, or give `--epochs 10`");
  // Coupled rows are those of one of the batches that make up a whole one.
  const int64_t alone = graphs_.couples_rows ? batch_.batch : plan_.batch;
  require_batches(graphs_.forward.row_conditions, int64_t(plan_.rows.size()), alone, std::max(plan_.total_steps, plan_.total_steps * (plan_.batch / alone)));
}

void TrainingRun::choose_first_values() {
  runner_.emplace(compiled_.step, *team_, options_.workers);
  initialize(*runner_, step_persistents(graphs_), plan_.seed);
  if (!options_.initial_weights.empty())
    require_vocabulary(load_tensors(options_.initial_weights, *runner_, false, options_.workers), options_.initial_weights, data_.vocabulary);
  description_ = describe_run(compilation_, plan_, graphs_, data_);
  if (options_.workers) compare_at_start(*options_.workers, {description_.begin(), description_.end()});
  EpochRecord recorded;
  if (!options_.resume.empty()) recorded = resume_from(compilation_, options_.resume, description_, *runner_, plan_, options_.workers);
  if (plan_.first_step >= plan_.total_steps)
    throw UserError(Code::E0502,
                    fmt::format("{} has done {} steps already, and {} are asked for in total, so nothing would train", options_.resume, plan_.first_step,
                                plan_.total_steps),
                    options_.resume,
                    fmt::format("`--epochs` and `--steps` are totals: `--epochs {}` trains one more epoch", plan_.first_step / plan_.steps_per_epoch() + 1));
  epoch_.emplace(compilation_, graphs_.reports, data_, *runner_, plan_, layouts_, *team_,
                 EpochReports::Options{compilation_.module->train().report_every, options_.keep_outputs, options_.workers});
  std::optional<EpochSums> begun = epoch_->begin(recorded, plan_.first_step);
  if (!begun) throw UserError(Code::E0405, fmt::format("the checkpoint is damaged: it records the sums `{}`", recorded.sums), "--resume");
  sums_ = std::move(*begun);
  sums_step_ = plan_.first_step;
  shown_.assign(reports().size(), std::nullopt);
  for (size_t i = 0; options_.keep_outputs && i < output_names().size(); ++i) {
    const OutputSlot& o = runner_->program().outputs[i];
    outputs_.push_back({o.dtype, o.shape, std::vector<double>(size_t(o.bytes) / byte_size(o.dtype))});
  }
  warn_of_obstacles();
}

/// What has no value over an epoch is said once.
void TrainingRun::warn_of_obstacles() {
  for (size_t i = 0; i < reports().size(); ++i) {
    if (report_obstacle(i).empty()) continue;
    Diagnostic d;
    d.code = Code::E0517;
    d.severity = Severity::warning;
    for (const Output& o : graphs_.forward.graph.outputs)
      if (o.name == reports()[i]) d.span = graphs_.forward.graph[o.node].span;
    d.message = fmt::format("`{}` has no value over an epoch of training: {}", reports()[i], report_obstacle(i));
    d.help.emplace_back("it is reported of single steps (`--log`) and of the rows that `test` and `valid` set aside");
    compilation_.warn(d);
  }
}

void TrainingRun::bind_data() {
  data_.bind(*runner_, Part::train);
  plan_.scalars = step_scalars(runner_->program(), with_hyperparameters({}, compilation_.module->train()));
  for (size_t i = 0; i < reports().size(); ++i)
    if (reports()[i] == "loss") loss_ = int(i);
  // What a step leaves beside its numbers is there until the next one: who wants all of it takes steps one by one.
  if (options_.single_steps || !outputs_.empty() || epoch_->needs_single_steps()) plan_.longest_chunk = 1;
}

void TrainingRun::prepare_evaluation() {
  if (!data_.split.test.empty() || !data_.split.valid.empty()) {
    BuiltGraph graph = compilation_.require(compilation_.module->build_eval_graph(compilation_.diagnostics));
    evaluator_ = std::make_unique<Evaluator>(compilation_, graph, data_, layouts_, *team_, options_.workers);
    evaluator_->stop_if([this] { return stop_requested() || lost_file_; });
  }
}

void TrainingRun::prepare_training() {
  files_.emplace(options_.weights, options_.rescue, *runner_,
                 RunFiles::Description{description_, [this](int64_t steps) { return epoch_record(steps); }, plan_.seed, plan_.steps_per_epoch()});
  trainer_.emplace(*runner_, plan_, loss_);
  if (!first_order_.empty()) trainer_->take_order(0, std::move(first_order_));
#ifdef __GLIBC__
  malloc_trim(0);  // what compiling and drawing took goes back to the system
#endif
}

TrainingResult TrainingRun::train() {
  TrainingResult result;
  keep_after_faults([&] {
    result.outcome = trainer_->run(*this);
    require_files();
  });
  result.steps = trainer_->steps_done();
  if (result.outcome == TrainOutcome::diverged) {
    result.divergence = explain_divergence();
    return result;
  }
  result.any_step = result.steps != plan_.first_step;
  if (result.any_step) save_meanwhile([&](const PersistentReader& read) { files_->save(result.steps, read); });
  return result;
}

/// Worker 0 writes what it has, and asks the others for their parts of what is in parts; they wait, however long its disk takes. One that is lost meanwhile costs what it costs in the middle of a run.
void TrainingRun::save_meanwhile(const std::function<void(const PersistentReader&)>& save) {
  if (!is_shared()) return save(nullptr);
  std::byte* values = nullptr;
  auto serve = [&](int64_t index) { runner_->get_persistent(size_t(index), values); };
  auto lead = [&](const std::function<void(int64_t)>& ask) {
    save([&](size_t index, std::byte* to) {
      values = to;
      ask(int64_t(index));
    });
  };
  try {
    options_.workers->lead(lead, serve);
  } catch (const WorkerLost& e) {
    if (is_training_) throw;
    Diagnostic d = e.diagnostic();
    d.notes.push_back(keep_snapshot());
    throw UserError(std::move(d));
  }
}

/// Whatever happens on the way costs at most what was done since the last snapshot.
void TrainingRun::keep_after_faults(const std::function<void()>& work) {
  auto with_note = [this](Diagnostic d) {
    if (is_shared()) options_.workers->transport().leave(d.message);  // the others are to leave their parts now
    d.notes.push_back(keep_snapshot());
    return UserError(std::move(d));
  };
  try {
    is_training_ = true;
    work();
    is_training_ = false;
  } catch (const DataLost&) {
    const std::string path = lost_file_.load();
    UserError error(Code::E0402, fmt::format("`{}` lost its content while the run was reading it: it was cut short, or its disk failed", file_name(path)), path);
    throw with_note(error.diagnostic());
  } catch (const UserError& e) {
    throw with_note(e.diagnostic());
  } catch (...) {  // memory, a host's exception, or a bug of ours
    if (is_shared()) options_.workers->transport().leave("it met an error");
    kept_ = keep_snapshot();
    throw;
  }
}

void TrainingRun::require_files() const {
  if (lost_file_) throw DataLost{};
}

void TrainingRun::request_stop() {
  stop_ = true;
  runner_->request_stop();
}

void TrainingRun::on_file_lost(const char* path) {
  lost_file_ = path;
  runner_->request_stop();
}

std::optional<double> TrainingRun::learning_rate(const StepRecord& r) const {
  if (rate_.outputs.empty()) return std::nullopt;
  Bindings bindings;
  for (size_t i = 0; i < r.scalars.size(); ++i) {
    const std::string& name = runner_->program().scalars[i];
    bindings.scalars[name] = number_of(name, r.scalars[i]);
  }
  return interpret(rate_, bindings).outputs.begin()->second.values.at(0);
}

/// The plan's chunks are single steps if outputs are read.
void TrainingRun::add_to_sums(const StepRecord& r) {
  if (r.step_in_epoch == 1) sums_.clear();
  epoch_->add(sums_, r);
  for (size_t o = 0; o < outputs_.size(); ++o) outputs_[o] = to_tensor(outputs_[o].dtype, outputs_[o].shape, runner_->output(o));
  sums_step_ = r.step;
}

EpochRecord TrainingRun::epoch_record(int64_t steps) const {
  const EpochSums* sums = steps == sums_step_ ? &sums_ : steps == snapshot_step_ ? &snapshot_sums_ : nullptr;
  return sums ? epoch_->record(*sums, steps) : EpochRecord{};
}

void TrainingRun::on_step(const StepRecord& r) {
  require_files();
  add_to_sums(r);
  observer_.on_step(r);
}

void TrainingRun::on_snapshot(int64_t steps) {
  snapshot_sums_ = sums_;
  snapshot_step_ = steps;
}

std::vector<std::pair<std::string, Tensor>> TrainingRun::evaluate(Part part, const StepRecord& last) {
  std::vector<std::pair<std::string, Tensor>> reports;
  if (data_.rows_of(part).empty()) return reports;
  const ScalarValues scalars = with_hyperparameters({{"step", double(last.step)}, {"epoch", double(last.epoch)}}, compilation_.module->train());
  std::map<std::string, Tensor> values = evaluator_->evaluate(part, *runner_, scalars, {plan_.seed, uint64_t(last.step), 0});
  require_files();
  if (values.empty() && options_.workers) request_stop();  // it was stopped, be it by another worker's wish
  for (const std::string& name : evaluator_->names())
    if (auto it = values.find(name); it != values.end()) reports.emplace_back(name, std::move(it->second));  // none of them: the evaluation was stopped
  return reports;
}

void TrainingRun::on_progress(const StepRecord& last, bool ended) {
  EpochReport report;
  report.epoch = last.epoch;
  report.step_in_epoch = last.step_in_epoch;
  auto stop = [this] { return stop_requested(); };
  auto seconds = [] { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); };
  // In mid-epoch, evaluations take a twentieth of the time at most.
  const double begin = seconds();
  bool looks = ended || begin >= next_look_;
  if (is_shared() && !epoch_->are_direct()) looks = runner_->as_first_says(looks);
  for (size_t i = 0; i < reports().size(); ++i) {
    if (looks || epoch_->is_direct(i)) shown_[i] = epoch_->number(i, sums_, last, stop);
    report.values.push_back(shown_[i]);
  }
  if (looks) next_look_ = seconds() + std::max(0.1, 20 * (seconds() - begin));
  if (ended) {
    for (size_t o = 0; o < outputs_.size(); ++o) report.outputs.push_back(epoch_->output(o, sums_, last, stop));
    shown_.assign(shown_.size(), std::nullopt);
  }
  observer_.on_progress(report, ended);
  if (!ended) return;
  report.valid = evaluate(Part::valid, last);
  report.test = evaluate(Part::test, last);
  observer_.on_epoch(report);
}

void TrainingRun::on_save(int64_t steps) {
  std::optional<Diagnostic> warning;
  save_meanwhile([&](const PersistentReader& read) { warning = files_->save_on_the_way(steps, read); });
  if (warning) observer_.on_warning(*warning);
}

/// The last finite state is kept beside the weights, and what made it so is searched for.
Diagnostic TrainingRun::explain_divergence() {
  runner_->set_persistent_block(trainer_->last_finite_state());
  const bool keeps = files_->are_wanted() && !files_->to_device();
  std::string good = keeps ? beside(files_->weights_path(), "last-good") : "", elsewhere;
  int64_t good_step = trainer_->last_finite_step();
  auto keep = [&] {
    save_meanwhile([&](const PersistentReader& read) {
      if (keeps) elsewhere = files_->keep_state(good, good_step, read);
    });
  };
  keep();  // at once, for the search may take a while
  std::optional<Divergence> found;
  // Several workers search together, or not at all.
  auto is_stopped = [&] { return options_.workers ? options_.workers->agree_any(stop_requested()) : stop_requested(); };
  if (!is_stopped()) {
    sums_ = snapshot_sums_;  // the steps since are run again
    sums_step_ = snapshot_step_;
    found = find_divergence(compilation_, *runner_, plan_, loss_, graphs_, data_, *trainer_, [&](const StepRecord& r) { add_to_sums(r); });
  }
  if (is_stopped()) found.reset();
  if (found) {
    runner_->set_persistent_block(found->state);
    good_step = found->step;
    keep();
  }
  Diagnostic d = describe_divergence(*runner_, *trainer_, found ? &*found : nullptr, good_step, elsewhere.empty() ? good : "", compilation_.module->train().span);
  if (!elsewhere.empty()) d.notes.push_back(elsewhere);
  return d;
}

/// After a fault in the middle of a run, which may have left the runner between two steps: back to the last snapshot, and that is kept. A sentence for the user.
std::string TrainingRun::keep_snapshot() {
  int missing = -1;
  const std::optional<int64_t> step = runner_->recover_state(missing);
  if (!runner_->is_first()) return "worker 0 keeps what can be kept";
  const std::string saved = files_->saved_steps() < 0 ? "nothing was saved in this run so far" : fmt::format("the state after step {} is saved: go on with --resume {}", files_->saved_steps(), files_->checkpoint_path());
  if (missing >= 0) return fmt::format("the optimiser's states that {} had are lost with it; {}", options_.workers->transport().describe(missing), saved);
  if (!step || *step <= plan_.first_step) return "that was before the first step that could be kept; nothing was written";
  if (!files_->are_wanted()) return fmt::format("the run's values are those after step {}", *step);
  std::string elsewhere = files_->keep_state(files_->checkpoint_path(), *step, [this](size_t index, std::byte* values) { runner_->get_persistent(index, values); });
  if (!elsewhere.empty()) return elsewhere;
  return fmt::format("the state after step {} is saved: go on with --resume {}", *step, files_->checkpoint_path());
}

}  // namespace nnc
