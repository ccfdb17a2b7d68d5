// nnc train: compile, train, report, save.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <future>
#include <optional>

#include <fmt/format.h>

#include "engine/bindings.h"
#include "engine/checkpoint.h"
#include "driver/commands.h"
#include "engine/data.h"
#include "engine/divergence.h"
#include "engine/evaluate.h"
#include "driver/outputs.h"
#include "driver/signals.h"
#include "driver/train_run.h"
#include "engine/weights.h"
#include "passes/dead_code.h"
#include "passes/pipeline.h"
#include "runtime/data/atomic_file.h"
#include "runtime/data/file_bytes.h"
#include "runtime/trainer.h"

namespace nnc {
namespace {

struct TrainOptions {
  CommonOptions common;
  std::string init, out, resume, log;
  bool no_shuffle = false;
};

/// Every path that the run will write, found out before the work starts. It may replace what --init and --resume name.
void check_outputs(const Session& session, const TrainOptions& options) {
  const std::vector<std::string> inputs = files_read(session);
  std::vector<std::string> outputs{options.out};
  if (!is_device(options.out)) outputs.push_back(beside(options.out, "checkpoint"));
  for (const std::string& output : outputs) {
    check_not_an_input(output, inputs, "give another name: --out NAME.safetensors");
    check_output_writable(output);
  }
  if (options.log.empty() || is_device(options.log)) return;
  auto place = [](const std::string& path) {
    std::error_code error;
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error);
  };
  for (const std::string& output : outputs)
    if (place(output) == place(options.log))
      throw UserError(Code::E0413, fmt::format("cannot write `{}`: it is to hold both the log and the weights", options.log), options.log,
                      "give the log a file of its own");
  check_not_an_input(options.log, inputs, "give another name: --log NAME.jsonl");
}

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

/// NaN or infinity: the last finite state is kept beside the weights, and what made it so is searched for.
int report_divergence(Session& session, StepRunner& runner, TrainRun& run, const Trainer& trainer, const std::string& out,
                      const std::function<Divergence()>& find) {
  runner.set_persistent_block(trainer.last_finite_state());
  std::string good = run.to_device() ? "" : beside(out, "last-good"), elsewhere;
  auto keep = [&](int64_t step) {
    if (!run.to_device()) elsewhere = run.keep_state(good, step);
  };
  int64_t good_step = trainer.last_finite_step();
  keep(good_step);  // at once, for the search may take a while
  std::optional<Divergence> found;
  if (!stop_requested()) found = find();
  if (stop_requested()) found.reset();
  if (found) {
    runner.set_persistent_block(found->state);
    good_step = found->step;
    keep(good_step);
  }
  Diagnostic d = describe_divergence(runner, trainer, found ? &*found : nullptr, good_step, elsewhere.empty() ? good : "",
                                     session.module->train().span);
  if (!elsewhere.empty()) d.notes.push_back(elsewhere);
  session.print(d);
  return stop_requested() ? exit_interrupted : exit_user_error;
}

/// After a fault in the middle of a run, which may have left the runner between two steps: back to the last snapshot, and that is
/// kept. A sentence for the user.
std::string keep_snapshot(StepRunner& runner, TrainRun& run, const Trainer& trainer, const TrainPlan& plan) {
  int64_t step = trainer.last_finite_step();
  if (trainer.last_finite_state().size() != runner.persistent_block().size() || step <= plan.first_step)
    return "that was before the first step that could be kept; nothing was written";
  runner.set_persistent_block(trainer.last_finite_state());
  std::string elsewhere = run.keep_state(run.checkpoint_path(), step);
  if (!elsewhere.empty()) return elsewhere;
  return fmt::format("the state after step {} is saved: go on with --resume {}", step, run.checkpoint_path());
}

/// Trains, and whatever happens on the way costs at most what was done since the last snapshot. `told`: standard error has said what is kept.
TrainOutcome run_steps(StepRunner& runner, TrainRun& run, Trainer& trainer, const TrainPlan& plan, bool& told) {
  try {
    return trainer.run(run);
  } catch (const DataLost&) {
    UserError error(Code::E0402,
                    fmt::format("`{}` lost its content while the run was reading it: it was cut short, or its disk failed",
                                file_name(lost_data_file())),
                    lost_data_file());
    Diagnostic d = error.diagnostic();
    d.notes.push_back(keep_snapshot(runner, run, trainer, plan));
    throw UserError(d);
  } catch (const UserError& e) {
    Diagnostic d = e.diagnostic();
    d.notes.push_back(keep_snapshot(runner, run, trainer, plan));
    throw UserError(d);
  } catch (...) {  // memory, a diagnostic that has been printed, or a bug of ours
    std::fprintf(stderr, "%s\n", keep_snapshot(runner, run, trainer, plan).c_str());
    told = true;
    throw;
  }
}

/// When there is no memory left, not even for saving: nothing is allocated here.
void say_what_is_kept(const TrainRun& run, const std::string& file, int64_t done) {
  const auto steps = static_cast<long long>(done), saved = static_cast<long long>(run.saved_steps());
  if (saved < 0)
    std::fprintf(stderr, "the state after step %lld is lost: nothing was written\n", steps);
  else if (saved == steps)
    std::fprintf(stderr, "all is saved: %s holds the state after step %lld\n", file.c_str(), saved);
  else
    std::fprintf(stderr, "the state after step %lld is lost, that after step %lld is in %s\n", steps, saved, file.c_str());
}

int train(Session& session, const TrainOptions& given) {
  TrainOptions options = given;
  if (!options.init.empty() && !options.resume.empty())
    throw UserError(Code::E0601, "`--init` and `--resume` contradict each other: both say what the run begins with",
                    "the command line", "`--resume` goes on with a run, `--init` begins another with its weights");
  SignalScope signals;
  session.load();
  session.require_train();
  const TrainSpec& spec = session.module->train();
  if (options.out.empty()) options.out = std::filesystem::path(options.common.file).stem().string() + ".safetensors";
  check_outputs(session, options);
  OutputLock lock(options.out);
  // Files are read while the program is compiled.
  std::future<RunData> reading = std::async(std::launch::async | std::launch::deferred, [&] { return load_data(spec, options.common.data, spec.seed); });
  RunData data;
  if (spec.batch == 0) data = reading.get();  // `batch: all` is as large as the data

  TrainPlan plan;
  plan.seed = spec.seed;
  plan.shuffle = !options.no_shuffle;
  plan.save_every = spec.save_every;
  plan.batch = spec.batch == 0 ? std::max<int64_t>(1, int64_t(data.split.train.size())) : spec.batch;

  TrainingGraphs graphs = make_training_graphs(session);
  warn_if_nothing_trains(session, graphs.forward);
  Team team(session.thread_count());
  if (!team.shortage().empty()) std::fprintf(stderr, "nnc: %s; training goes on with these\n", team.shortage().c_str());
  Program program = build_program(graphs.optimized, {"train", plan.batch, session.target, {}});
  Layouts layouts;
  for (const PersistentPlace& p : program.persistents) layouts[p.persistent.name] = program[p.buffer].order;
  CompiledStep compiled = compile_step(std::move(program), session.sources, session.code);
  if (reading.valid()) data = reading.get();
  data.check(graphs.forward.graph);
  plan.rows = data.split.train;
  if (plan.rows.empty())
    throw UserError(Code::E0502, fmt::format("no rows are left to train on: `{}` has {} rows, and {} are set aside",
                                             spec.data.name, data.rows, data.rows));
  if (plan.batch > int64_t(plan.rows.size()))
    throw UserError(Code::E0503, fmt::format("a batch takes {} rows, but only {} train", plan.batch, plan.rows.size()),
                    options.common.file,
                    fmt::format("`--set data.batch={}`, or `batch: all` in the data clause", plan.rows.size()));
  plan.total_steps = count_steps(spec, plan);
  if (plan.total_steps <= 0)
    throw UserError(Code::E0502,
                    fmt::format("zero {} were asked for, so nothing would train",
                                options.common.steps    ? "steps"
                                : options.common.epochs ? "epochs"
                                                        : "epochs or steps"),
                    options.common.file, "write `epochs 10` or `steps 1000`, or give `--epochs 10`");

  StepRunner runner(compiled.step, team);
  std::vector<ParameterSpec> specs = graphs.forward.parameters;
  for (const UpdateRule& rule : graphs.rules) specs.insert(specs.end(), rule.states.begin(), rule.states.end());
  initialize(runner, specs, plan.seed);
  if (!options.init.empty()) load_tensors(options.init, runner, false);
  std::map<std::string, std::string> description = describe_run(session, plan, graphs, data);
  std::string sums;
  if (!options.resume.empty()) sums = resume_from(session, options.resume, description, runner, plan);
  if (plan.first_step >= plan.total_steps)
    throw UserError(Code::E0502,
                    fmt::format("{} has done {} steps already, and {} are asked for in total, so nothing would train",
                                options.resume, plan.first_step, plan.total_steps),
                    options.resume,
                    fmt::format("`--epochs` and `--steps` are totals: `--epochs {}` trains one more epoch",
                                plan.first_step / plan.steps_per_epoch() + 1));
  data.bind(runner, Part::train);
  plan.scalars = step_scalars(runner.program(), with_hyperparameters({}, spec));
  std::unique_ptr<Evaluator> evaluator;
  if (!data.split.test.empty() || !data.split.valid.empty()) {
    BuiltGraph eval = session.require(session.module->build_eval_graph(session.diagnostics));
    evaluator = std::make_unique<Evaluator>(session, eval, data, layouts, team);
  }
  int loss = -1;
  for (size_t i = 0; i < runner.program().results.size(); ++i)
    if (runner.program().results[i] == "loss") loss = int(i);

  // What a step leaves beside its numbers is there until the next one: a log of it takes them one by one.
  if (!runner.program().outputs.empty() && (options.common.json || !options.log.empty())) plan.longest_chunk = 1;
  TrainRun run(session, {options.out, options.log, options.common.json, options.common.quiet, rate_of(graphs.rules), sums}, runner,
               evaluator.get(), data, plan, description);
  Trainer trainer(runner, plan, loss);
  std::optional<SignalScope::Watch> watch(std::in_place, signals, runner);
  const std::string checkpoint = run.checkpoint_path();
  TrainOutcome outcome{};
  bool told = false;
  try {
    outcome = run_steps(runner, run, trainer, plan, told);
    run.progress().interrupt();
    if (outcome == TrainOutcome::diverged)
      return report_divergence(session, runner, run, trainer, options.out,
                               [&] {
                                 run.return_to_snapshot();
                                 return find_divergence(session, runner, plan, loss, graphs, data, trainer,
                                                        [&](const StepRecord& r) { run.add_to_means(r); });
                               });
    if (trainer.steps_done() == plan.first_step) {
      std::fprintf(stderr, "interrupted before the first step; nothing was written\n");
      return exit_interrupted;
    }
    run.save(trainer.steps_done());
    run.finish();
  } catch (const std::bad_alloc&) {
    if (!told) say_what_is_kept(run, run.to_device() ? options.out : checkpoint, trainer.steps_done());
    throw;
  }
  const int64_t done = trainer.steps_done();
  const bool to_device = run.to_device();
  watch.reset();  // all is saved: a signal that comes from here on ends the process, with the same status
  if (stop_requested()) {
    std::string go_on = outcome == TrainOutcome::finished ? std::string()
                        : to_device                       ? "\n"
                                    : fmt::format("\n  go on with the same command and: --resume {}\n", checkpoint);
    std::string saved = to_device ? "wrote " + options.out : fmt::format("saved {} and {}", options.out, checkpoint);
    if (go_on.empty()) go_on = ", and all is done\n";
    if (!options.common.quiet) std::fprintf(stderr, "interrupted after step %lld; %s%s", static_cast<long long>(done), saved.c_str(), go_on.c_str());
    return exit_interrupted;
  }
  if (!options.common.quiet && !options.common.json && to_device)
    std::fprintf(stderr, "wrote %s\n", options.out.c_str());
  else if (!options.common.quiet && !options.common.json)
    std::fprintf(stderr, "saved %s and %s\n", options.out.c_str(), checkpoint.c_str());
  if (!options.common.json)
    for (const auto& [name, value] : run.last_reports()) print_report(name, value);
  return exit_done;
}

}  // namespace

Command train_command() {
  auto o = std::make_shared<TrainOptions>();
  Command command("train",
                  "compile and train\n\n"
                  "  nnc train digits.nn\n"
                  "  nnc train digits.nn --epochs 5 --set using.lr=0.02 --out net.safetensors\n"
                  "  nnc train digits.nn --epochs 20 --resume net.checkpoint.safetensors\n");
  add_common(command, o->common);
  add_data(command, o->common);
  add_threads(command, o->common);
  add_perf_map(command, o->common);
  command.option("--epochs", o->common.epochs, "passes over the training rows (with --resume: the total)");
  command.option("--steps", o->common.steps, "updates (with --resume: the total)");
  command.option("--init", o->init, "start a new run from these weights (.safetensors)");
  command.option("--out", o->out, "weights are written here (default: FILE.safetensors in the current folder)");
  command.option("--resume", o->resume, "go on from this checkpoint, bit for bit");
  command.flag("--no-shuffle", o->no_shuffle, "rows in file order");
  command.option("--log", o->log, "write one JSON line per step to this file");
  command.flag("--quiet", o->common.quiet, "no progress");
  command.when_memory_is_short = smaller_batch;
  command.run = [o] { return with_session(o->common, [&](Session& session) { return train(session, *o); }); };
  return command;
}

}  // namespace nnc
