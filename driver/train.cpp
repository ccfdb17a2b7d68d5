// nnc train: compile, train, report, save.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "driver/commands.h"
#include "driver/outputs.h"
#include "driver/signals.h"
#include "driver/train_view.h"
#include "base/philox.h"
#include "engine/common_target.h"
#include "engine/host.h"
#include "engine/weights.h"
#include "runtime/workers/launch.h"

namespace nnc {
namespace {

struct TrainOptions {
  CommonOptions common;
  std::string init, out, resume, log;
  bool no_shuffle = false;
  std::optional<int> workers, data_from;
  std::string transport;
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

/// Folders for a checkpoint that cannot be written beside the weights.
std::vector<std::string> rescue_folders() {
  auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  std::string temporary = variable("TMPDIR"), home = variable("HOME");
  std::vector<std::string> folders{".", temporary.empty() ? "/tmp" : temporary};
  if (!home.empty()) folders.push_back(home);
  return folders;
}

TrainingOptions to_training_options(const TrainOptions& o, const Session& session, const TrainView& view) {
  TrainingOptions options;
  options.weights = o.out;
  options.initial_weights = o.init;
  options.resume = o.resume;
  options.data.files = o.common.data;
  options.rescue = rescue_folders();
  options.shuffle = !o.no_shuffle;
  options.threads = session.thread_count();
  options.keep_outputs = view.shows_outputs();
  return options;
}

/// When there is no memory left, not even for saving: nothing is allocated here.
void say_what_is_kept(const RunFiles& files, const std::string& file, int64_t done) {
  const auto steps = static_cast<long long>(done), saved = static_cast<long long>(files.saved_steps());
  if (saved < 0)
    std::fprintf(stderr, "the state after step %lld is lost: nothing was written\n", steps);
  else if (saved == steps)
    std::fprintf(stderr, "all is saved: %s holds the state after step %lld\n", file.c_str(), saved);
  else
    std::fprintf(stderr, "the state after step %lld is lost, that after step %lld is in %s\n", steps, saved, file.c_str());
}

/// Trains and saves; whatever ends it early, standard error says what is kept.
TrainingResult train_and_save(TrainingRun& run, TrainView& view) {
  const std::string file = run.files().to_device() ? run.files().weights_path() : run.files().checkpoint_path();
  try {
    TrainingResult result = run.train();
    if (result.outcome != TrainOutcome::diverged && result.any_step) view.finish();
    return result;
  } catch (const UserError&) {  // its notes say it
    view.leave_line();
    throw;
  } catch (const std::bad_alloc&) {
    if (run.kept().empty())
      say_what_is_kept(run.files(), file, run.steps_done());
    else
      std::fprintf(stderr, "%s\n", run.kept().c_str());
    throw;
  } catch (...) {
    if (!run.kept().empty()) std::fprintf(stderr, "%s\n", run.kept().c_str());
    throw;
  }
}

/// What is said when a signal has ended the run.
int report_interruption(const TrainingRun& run, const TrainingResult& result, bool quiet) {
  if (quiet) return exit_interrupted;
  const std::string &out = run.files().weights_path(), checkpoint = run.files().checkpoint_path();
  const bool to_device = run.files().to_device();
  std::string saved = to_device ? "wrote " + out : fmt::format("saved {} and {}", out, checkpoint);
  std::string go_on = result.outcome == TrainOutcome::finished ? ", and all is done\n"
                      : to_device                              ? "\n"
                                  : fmt::format("\n  go on with the same command and: --resume {}\n", checkpoint);
  std::fprintf(stderr, "interrupted after step %lld; %s%s", static_cast<long long>(result.steps), saved.c_str(), go_on.c_str());
  return exit_interrupted;
}

/// A signal has come, and the step under way does not end: whoever sent it may end this process next, and did so perhaps because another worker has died. mpirun does, and says less.
class StopWatch {
 public:
  StopWatch(Transport& transport, const TrainingRun& run, TrainView& view) : transport_(transport) {
    transport_.watch_stops(stop_requested, [&](int awaited, double seconds) {
      view.leave_line();
      const auto saved = static_cast<long long>(run.files().saved_steps());
      const std::string kept = saved < 0 ? "nothing was saved in this run so far" : fmt::format("the state after step {} is saved: --resume {}", saved, run.files().checkpoint_path());
      std::fprintf(stderr, "asked to stop, but %s has not answered for %.1f s: it may have died, and this process may be ended because of that\n  %s\n", transport_.describe(awaited).c_str(), seconds,
                   kept.c_str());
    });
  }
  StopWatch(const StopWatch&) = delete;
  StopWatch& operator=(const StopWatch&) = delete;
  ~StopWatch() { transport_.watch_stops({}, {}); }

 private:
  Transport& transport_;
};

std::optional<std::string> environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

int train(Session& session, TrainOptions options, Collectives* workers);

/// What all workers must have been asked alike; whatever else they have been asked concerns worker 0 alone, or each by itself (threads, the CPU).
std::vector<StartFact> facts_of(const Session& session, const TrainOptions& o, const std::string& text) {
  const CommonOptions& c = o.common;
  auto number = [](const auto& n) { return n ? fmt::format("{}", *n) : std::string("none"); };
  auto word = [](const std::string& text) { return text.empty() ? std::string("none") : text; };
  return {{"version of nnc", NNC_VERSION},
          {fmt::format("text of {}", session.options.file), fmt::format("{:016x}", stable_hash(text))},
          {"`--set`", fmt::format("[{}]", fmt::join(c.set, " "))},
          {"`--data`", fmt::format("[{}]", fmt::join(c.data, " "))},
          {"`--data-from`", number(o.data_from)},
          {"`--seed`", number(c.seed)},
          {"`--epochs`", number(c.epochs)},
          {"`--steps`", number(c.steps)},
          {"`--no-shuffle`", o.no_shuffle ? "given" : "none"},
          {"`--init`", word(o.init)},
          {"`--resume`", word(o.resume)}};
}

/// What differs between the hosts of the workers, before the program is compiled: its text, what was asked, the CPU. The program is loaded.
void begin_together(Session& session, const TrainOptions& options, Collectives& workers) {
  CommonTarget common = agree_on_target(workers, session.target);
  session.target = std::move(common.target);
  std::string text;
  workers.together([&] { text = read_text_file(options.common.file); });
  compare_at_start(workers, facts_of(session, options, text));
  session.load(std::move(text));
  if (common.difference) session.warn(*common.difference);
}

/// The part of one of several workers, which all do the same; the first alone shows and writes anything. Others need not wait for who ends with an error.
int train_together(Session& session, TrainOptions options) {
  std::unique_ptr<Transport> transport = start_workers({.workers = options.workers, .transport = options.transport, .cores = default_threads(), .environment = environment_variable});
  if (transport->size() == 1) return train(session, std::move(options), nullptr);
  session.workers = transport->size();
  if (!options.common.threads) session.options.threads = std::max(1, default_threads() / (transport->name() == "local" ? transport->size() : 1));
  const bool is_first = transport->rank() == 0;
  if (!is_first) {
    session.options.quiet = options.common.quiet = true;
    session.options.json = options.common.json = false;
    session.on_warning = {};
    options.log.clear();
  }
  try {
    Collectives workers(*transport);
    const int status = train(session, std::move(options), &workers);
    workers.barrier();
    return status;
  } catch (const UserError& e) {
    transport->leave(e.diagnostic().message);
    if (is_first) throw;
  } catch (const ProgramErrors& e) {
    transport->leave(e.what());
    if (is_first) throw;
  } catch (const std::exception& e) {
    transport->leave(e.what());
    throw;
  }
  return exit_user_error;
}

int train(Session& session, TrainOptions options, Collectives* workers) {
  if (!options.init.empty() && !options.resume.empty())
    throw UserError(Code::E0601, "`--init` and `--resume` contradict each other: both say what the run begins with",
                    "the command line", "`--resume` goes on with a run, `--init` begins another with its weights");
  SignalScope signals("interrupted before the first step; nothing was written\n");
  const int size = workers ? workers->size() : 1;
  if (options.data_from && *options.data_from >= size)
    throw UserError(Code::E0601, fmt::format("`--data-from {}`: there is no such worker, they are numbered from 0 to {}", *options.data_from, size - 1), "the command line");
  if (workers)
    begin_together(session, options, *workers);
  else
    session.load();
  session.require_train();
  if (options.out.empty()) options.out = std::filesystem::path(options.common.file).stem().string() + ".safetensors";
  const bool is_first = !workers || workers->rank() == 0;
  auto check = [&] {
    if (is_first) check_outputs(session, options);
  };
  if (workers)
    workers->together(check);
  else
    check();
  TrainView view(session, options.log);
  TrainingOptions training = to_training_options(options, session, view);
  training.workers = workers;
  training.data_from = options.data_from;
  if (!is_first) training.weights.clear();
  TrainingRun run(session, training, view);
  view.begin(run);
  std::optional<SignalScope::Watch> watch(std::in_place, signals, run);
  std::optional<StopWatch> stop_watch;
  if (workers && is_first) stop_watch.emplace(workers->transport(), run, view);
  TrainingResult result = train_and_save(run, view);
  if (result.divergence) {
    view.leave_line();
    if (is_first) session.print(*result.divergence);
    return stop_requested() ? exit_interrupted : exit_user_error;
  }
  // A signal that another worker was sent first stops this one as well.
  const bool is_stopped = stop_requested() || result.outcome == TrainOutcome::stopped || run.stop_requested();
  if (!is_first) return is_stopped ? exit_interrupted : exit_done;
  if (!result.any_step) {
    view.leave_line();
    std::fprintf(stderr, "interrupted before the first step; nothing was written\n");
    return exit_interrupted;
  }
  watch.reset();  // all is saved: a signal that comes from here on ends the process, with the same status
  if (is_stopped || stop_requested()) return report_interruption(run, result, options.common.quiet);
  if (!options.common.quiet && !options.common.json) {
    std::string wrote = run.files().to_device() ? "wrote " + options.out : fmt::format("saved {} and {}", options.out, run.files().checkpoint_path());
    std::fprintf(stderr, "%s\n", wrote.c_str());
  }
  if (!options.common.json)
    for (const auto& [name, value] : view.last_reports()) print_report(name, value);
  return exit_done;
}

}  // namespace

Command train_command() {
  auto o = std::make_shared<TrainOptions>();
  Command command("train",
                  "compile and train\n\n"
                  "  nnc train digits.nn\n"
                  "  nnc train digits.nn --epochs 5 --set using.lr=0.02 --out net.safetensors\n"
                  "  nnc train digits.nn --epochs 20 --resume net.checkpoint.safetensors\n"
                  "  nnc train digits.nn --set data.pieces=4 --workers 4\n");
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
  command.option("--workers", o->workers, "so many processes of this machine share each step: the time changes, the result does not").in_range(1, most_local_workers);
  command.option("--transport", o->transport, "how workers meet: local, openmpi or mpich (default: as mpirun or srun say, else local)");
  command.option("--data-from", o->data_from, "the worker that reads the data and sends it to the others, 0 as a rule (default: each reads its own)").in_range(0, 65535);
  command.flag("--quiet", o->common.quiet, "no progress");
  command.when_memory_is_short = smaller_batch;
  command.run = [o] { return with_session(o->common, [&](Session& session) { return train_together(session, *o); }); };
  return command;
}

}  // namespace nnc
