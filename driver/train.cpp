// nnc train: compile, train, report, save.
#include <unistd.h>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <future>
#include <optional>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/data.h"
#include "driver/divergence.h"
#include "driver/evaluate.h"
#include "driver/progress.h"
#include "driver/weights.h"
#include "passes/pipeline.h"
#include "runtime/atomic_file.h"
#include "runtime/file_bytes.h"
#include "runtime/trainer.h"

namespace nnc {
namespace {

struct TrainOptions {
  CommonOptions common;
  std::string init, out, resume, log;
  bool no_shuffle = false;
};

// The one thing a signal handler may touch: the runner whose step is to be the last.
StepRunner* running = nullptr;
volatile std::sig_atomic_t interrupted = 0;

void on_signal(int) {
  if (interrupted) _exit(exit_interrupted);
  interrupted = 1;
  if (running) running->request_stop();
}

class SignalScope {
 public:
  explicit SignalScope(StepRunner& runner) {
    running = &runner;
    struct sigaction action{};
    action.sa_handler = on_signal;
    for (int s : {SIGINT, SIGTERM, SIGHUP}) sigaction(s, &action, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // a reader of --json that goes away must not cost the weights
  }
  ~SignalScope() {
    for (int s : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(s, SIG_DFL);
    running = nullptr;
  }
};

using Json = nlohmann::ordered_json;

/// A device or pipe takes the weights, but has no folder of the run's own for checkpoints beside it.
bool is_device(const std::string& path) {
  std::error_code error;
  std::filesystem::file_status status = std::filesystem::status(path, error);
  return std::filesystem::exists(status) && !std::filesystem::is_regular_file(status) && !std::filesystem::is_directory(status);
}

Json json_number(double v) { return std::isfinite(v) ? Json(v) : Json(fmt::format("{}", v)); }

class TrainRun : public TrainObserver {
 public:
  TrainRun(Session& session, const TrainOptions& options, StepRunner& runner, Evaluator* evaluator, const RunData& data,
           const TrainPlan& plan)
      : session_(session),
        options_(options),
        runner_(runner),
        evaluator_(evaluator),
        data_(data),
        plan_(plan),
        progress_(runner.program().results, (plan.total_steps + plan.steps_per_epoch() - 1) / plan.steps_per_epoch(),
                  plan.steps_per_epoch(), options.common.quiet || options.common.json) {
    if (!options.log.empty()) {
      log_ = std::fopen(options.log.c_str(), plan.first_step > 0 ? "a" : "w");
      if (!log_) throw UserError(Code::E0413, fmt::format("cannot write `{}`: {}", options.log, error_text(errno)), options.log);
    }
    start_ = std::chrono::steady_clock::now();
  }
  ~TrainRun() override {
    if (log_) std::fclose(log_);
  }

  void on_step(const StepRecord& r) override {
    if (!log_) return;
    Json line;
    line["step"] = r.step;
    line["epoch"] = r.epoch;
    for (size_t i = 0; i < r.results.size(); ++i) line[runner_.program().results[i]] = json_number(double(r.results[i]));
    for (size_t i = 0; i < r.scalars.size(); ++i)
      if (runner_.program().scalars[i] == "using.lr") line["rate"] = json_number(double(r.scalars[i]));
    line["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    if (std::fprintf(log_, "%s\n", line.dump().c_str()) < 0) log_failed();
  }

  void on_progress(const StepRecord& last, std::span<const double> means, bool finished) override {
    if (log_ && std::fflush(log_) != 0) log_failed();  // not in every step, which may take a microsecond
    progress_.show(last.epoch, last.step_in_epoch, means, finished);
    if (!finished) return;
    std::string more;
    Json line;
    line["epoch"] = last.epoch + 1;
    for (size_t i = 0; i < means.size(); ++i) line[runner_.program().results[i]] = json_number(means[i]);
    if (evaluator_) {
      std::map<std::string, double> scalars{{"step", double(last.step)}, {"epoch", double(last.epoch)}};
      for (const ScalarSpec& s : session_.module->train().scalars) scalars.try_emplace(s.name, s.value);
      auto test = evaluator_->evaluate(data_, data_.split.test, true, runner_, scalars);
      Json inner;
      for (const std::string& name : evaluator_->names()) {
        const Tensor& t = test.at(name);
        if (t.values.size() != 1 || !t.shape.empty()) continue;
        more += fmt::format(" - test {}: {}", name, format_metric(t.values[0]));
        inner[name] = json_number(t.values[0]);
        last_test_[name] = t.values[0];
      }
      line["test"] = inner;
    }
    progress_.finish_epoch(more);
    if (options_.common.json) {
      std::printf("%s\n", line.dump().c_str());
      std::fflush(stdout);
    }
  }

  void on_save(int64_t steps) override { save(steps); }

  void save(int64_t steps) {
    save_tensors(options_.out, runner_, false, {{"nnc.seed", std::to_string(plan_.seed)}});
    if (!is_device(options_.out)) save_checkpoint(beside(options_.out, "checkpoint"), steps);
  }

  void save_checkpoint(const std::string& path, int64_t steps) {
    save_tensors(path, runner_, true,
                 {{"nnc.seed", std::to_string(plan_.seed)},
                  {"nnc.step", std::to_string(steps)},
                  {"nnc.rows", std::to_string(plan_.rows.size())},
                  {"nnc.batch", std::to_string(plan_.batch)},
                  {"nnc.shuffle", plan_.shuffle ? "true" : "false"}});
  }

  /// A log that cannot be written costs neither the run nor its weights; that it is not whole is said at the end.
  void finish_log() {
    if (log_ && std::fflush(log_) != 0) log_failed();
    if (log_error_)
      throw UserError(Code::E0413, fmt::format("cannot write `{}`: {}", options_.log, error_text(log_error_)), options_.log,
                      "the weights are saved; the log ends early");
  }

  Progress& progress() { return progress_; }
  const std::map<std::string, double>& last_test() const { return last_test_; }

 private:
  void log_failed() {
    log_error_ = errno;
    std::fclose(log_);
    log_ = nullptr;
  }

  Session& session_;
  const TrainOptions& options_;
  StepRunner& runner_;
  Evaluator* evaluator_;
  const RunData& data_;
  const TrainPlan& plan_;
  Progress progress_;
  std::FILE* log_ = nullptr;
  int log_error_ = 0;
  std::chrono::steady_clock::time_point start_;
  std::map<std::string, double> last_test_;
};

void resume(const TrainOptions& options, StepRunner& runner, TrainPlan& plan) {
  std::map<std::string, std::string> metadata = load_tensors(options.resume, runner, true);
  Diagnostic problem;
  problem.code = Code::E0504;
  problem.place = options.resume;
  problem.message = fmt::format("{} does not continue this run", options.resume);
  auto expect = [&](const char* key, const std::string& now, const char* what) {
    auto it = metadata.find(key);
    std::string then = it == metadata.end() ? "not recorded" : it->second;
    if (then != now) problem.notes.push_back(fmt::format("{}: {} in the checkpoint, {} now", what, then, now));
  };
  expect("nnc.seed", std::to_string(plan.seed), "seed");
  expect("nnc.rows", std::to_string(plan.rows.size()), "training rows");
  expect("nnc.batch", std::to_string(plan.batch), "batch");
  expect("nnc.shuffle", plan.shuffle ? "true" : "false", "shuffle");
  if (!metadata.count("nnc.step"))
    problem.notes.push_back("the file records no step: these are weights, not a checkpoint (use --init)");
  if (!problem.notes.empty()) throw UserError(problem);
  const std::string& step = metadata.at("nnc.step");
  auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), plan.first_step);
  if (error != std::errc() || end != step.data() + step.size() || plan.first_step < 0)
    throw UserError(Code::E0405, fmt::format("{} is damaged: it records step `{}`", options.resume, step), options.resume);
}

int train(const TrainOptions& given) {
  TrainOptions options = given;
  Session session(options.common);
  session.load();
  session.require_train();
  const TrainSpec& spec = session.module->train();
  if (options.out.empty()) options.out = std::filesystem::path(options.common.file).stem().string() + ".safetensors";
  check_output_writable(options.out);
  const bool to_device = is_device(options.out);
  if (!to_device) check_output_writable(beside(options.out, "checkpoint"));
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
  Team team(session.thread_count());
  if (!team.shortage().empty()) std::fprintf(stderr, "nnc: %s; training goes on with these\n", team.shortage().c_str());
  Program program = build_program(graphs.optimized, {"train", plan.batch, session.target, {}});
  Layouts layouts;
  for (const PersistentPlace& p : program.persistents) layouts[p.persistent.name] = program[p.buffer].order;
  CompiledStep compiled = compile_step(std::move(program), session.sources, compile_options(session.options));
  if (reading.valid()) data = reading.get();
  plan.rows = data.split.train;
  if (plan.rows.empty())
    throw UserError(Code::E0502, fmt::format("no rows are left to train on: `{}` has {} rows, and {} are set aside",
                                             spec.data.name, data.rows, data.rows));
  if (plan.batch > int64_t(plan.rows.size()))
    throw UserError(Code::E0503, fmt::format("a batch takes {} rows, but only {} train", plan.batch, plan.rows.size()),
                    options.common.file,
                    fmt::format("`--set data.batch={}`, or `batch: all` in the data clause", plan.rows.size()));
  plan.total_steps = spec.steps > 0 ? spec.steps : spec.epochs * plan.steps_per_epoch();
  if (plan.total_steps <= 0)
    throw UserError(Code::E0502,
                    fmt::format("zero {} were asked for, so nothing would train", options.common.steps ? "steps" : "epochs"),
                    options.common.file, "write `epochs 10` or `steps 1000`, or give `--epochs 10`");

  StepRunner runner(compiled.step, team);
  std::vector<ParameterSpec> specs = graphs.forward.parameters;
  for (const UpdateRule& rule : graphs.rules) specs.insert(specs.end(), rule.states.begin(), rule.states.end());
  initialize(runner, specs, plan.seed);
  if (!options.init.empty()) load_tensors(options.init, runner, false);
  if (!options.resume.empty()) resume(options, runner, plan);
  if (plan.first_step >= plan.total_steps)
    throw UserError(Code::E0502,
                    fmt::format("{} has done {} steps already, and {} are asked for in total, so nothing would train",
                                options.resume, plan.first_step, plan.total_steps),
                    options.resume,
                    fmt::format("`--epochs` and `--steps` are totals: `--epochs {}` trains one more epoch",
                                plan.first_step / plan.steps_per_epoch() + 1));
  data.bind(runner, false);
  for (const std::string& name : runner.program().scalars) {
    double value = 0;
    for (const ScalarSpec& s : spec.scalars)
      if (s.name == name) value = s.value;
    plan.scalars.push_back(float(value));
  }
  std::unique_ptr<Evaluator> evaluator;
  if (!data.split.test.empty()) {
    BuiltGraph eval = session.require(session.module->build_eval_graph(session.diagnostics));
    evaluator =
        std::make_unique<Evaluator>(session, eval, std::min<int64_t>(256, int64_t(data.split.test.size())), layouts, team);
  }
  int loss = -1;
  for (size_t i = 0; i < runner.program().results.size(); ++i)
    if (runner.program().results[i] == "loss") loss = int(i);

  TrainRun run(session, options, runner, evaluator.get(), data, plan);
  Trainer trainer(runner, plan, loss);
  TrainOutcome outcome;
  {
    SignalScope signals(runner);
    outcome = trainer.run(run);
    run.progress().interrupt();
    if (outcome == TrainOutcome::diverged) {
      runner.set_persistent_block(trainer.last_finite_state());
      std::string good = to_device ? "" : beside(options.out, "last-good");
      int64_t good_step = trainer.last_finite_step();
      if (!to_device) run.save_checkpoint(good, good_step);  // at once, for the search may take a while
      std::optional<Divergence> found;
      if (!interrupted) found = find_divergence(session, runner, plan, loss, graphs, data, trainer);
      if (interrupted) found.reset();
      if (found) {
        runner.set_persistent_block(found->state);
        good_step = found->step;
        if (!to_device) run.save_checkpoint(good, good_step);
      }
      Diagnostic d = describe_divergence(runner, trainer, found ? &*found : nullptr, good_step, good, spec.span);
      session.print(d);
      return interrupted ? exit_interrupted : exit_user_error;
    }
    run.save(trainer.steps_done());
    run.finish_log();
  }
  if (outcome == TrainOutcome::stopped) {
    if (!options.common.quiet && to_device)
      std::fprintf(stderr, "interrupted after step %lld; wrote %s\n", static_cast<long long>(trainer.steps_done()),
                   options.out.c_str());
    else if (!options.common.quiet)
      std::fprintf(stderr, "interrupted after step %lld; saved %s and %s\n  go on with the same command and: --resume %s\n",
                   static_cast<long long>(trainer.steps_done()), options.out.c_str(), beside(options.out, "checkpoint").c_str(),
                   beside(options.out, "checkpoint").c_str());
    return exit_interrupted;
  }
  if (!options.common.quiet && !options.common.json && to_device)
    std::fprintf(stderr, "wrote %s\n", options.out.c_str());
  else if (!options.common.quiet && !options.common.json)
    std::fprintf(stderr, "saved %s and %s\n", options.out.c_str(), beside(options.out, "checkpoint").c_str());
  if (!options.common.json)
    for (const auto& [name, value] : run.last_test()) std::printf("test %s: %s\n", name.c_str(), format_metric(value).c_str());
  return exit_done;
}

}  // namespace

void add_train(CLI::App& app, Action& action) {
  auto o = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train",
                                         "compile and train\n\n"
                                         "  nnc train digits.nn\n"
                                         "  nnc train digits.nn --epochs 5 --set using.lr=0.02 --out net.safetensors\n"
                                         "  nnc train digits.nn --epochs 20 --resume net.checkpoint.safetensors\n");
  add_common(*command, o->common, true, true);
  command->add_flag("--perf-map", o->common.perf_map, "name the kernels for perf (/tmp/perf-PID.map) and gdb");
  command->add_option("--epochs", o->common.epochs, "passes over the training rows (with --resume: the total)");
  command->add_option("--steps", o->common.steps, "updates (with --resume: the total)");
  command->add_option("--init", o->init, "start from these weights (.safetensors)");
  command->add_option("--out", o->out, "weights are written here (default: FILE.safetensors in the current folder)");
  command->add_option("--resume", o->resume, "go on from this checkpoint, bit for bit");
  command->add_flag("--no-shuffle", o->no_shuffle, "rows in file order");
  command->add_option("--log", o->log, "write one JSON line per step to this file");
  command->add_flag("--quiet", o->common.quiet, "no progress");
  command->callback([o, &action] { action = [o] { return train(*o); }; });
}

}  // namespace nnc
