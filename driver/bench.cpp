// nnc bench: time of one training step, data gather included, against the machine's own fp32 FMA peak. Peak and steps are
// measured in turns, so that both see the same clock and the same neighbours; the median over the turns is printed with the
// quartiles.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include "codegen/peak.h"
#include "driver/commands.h"
#include "engine/bindings.h"
#include "engine/data.h"
#include "driver/outputs.h"
#include "engine/weights.h"
#include "passes/pipeline.h"

namespace nnc {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct BenchOptions {
  CommonOptions common;
  int turns = 25;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  double at = q * double(values.size() - 1);
  size_t low = size_t(at);
  size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - double(low));
}

uint64_t read_ticks() {
#ifdef __x86_64__
  return __rdtsc();
#else
  return uint64_t(Clock::now().time_since_epoch().count());
#endif
}

/// Steps over shuffled epochs of the training rows, as training takes them.
class StepSource {
 public:
  StepSource(StepRunner& runner, const TrainSpec& spec, const std::vector<int64_t>& rows, int64_t batch)
      : runner_(runner), rows_(rows), batch_(batch), seed_(spec.seed), scalars_(step_scalars(runner.program(), with_hyperparameters({}, spec))) {}
  void prepare(int64_t steps) {
    size_t capacity = size_t(runner_.program().rows_capacity);
    counts_.assign(size_t(steps), batch_);
    index_.assign(size_t(steps) * capacity, 0);
    for (size_t s = 0; s < size_t(steps); ++s) {
      if (next_ + size_t(batch_) > order_.size()) {
        order_ = epoch_order(rows_, seed_, epoch_++, true);
        next_ = 0;
      }
      std::copy_n(order_.begin() + std::ptrdiff_t(next_), batch_, index_.begin() + std::ptrdiff_t(s * capacity));
      next_ += size_t(batch_);
    }
    all_scalars_.clear();
    for (int64_t s = 0; s < steps; ++s) all_scalars_.insert(all_scalars_.end(), scalars_.begin(), scalars_.end());
    results_.assign(size_t(steps) * runner_.program().results.size(), 0);
  }
  /// Seconds that the prepared steps take.
  double run() {
    auto start = Clock::now();
    runner_.run(counts_, index_.data(), all_scalars_.data(), results_.data());
    return seconds_since(start);
  }

 private:
  StepRunner& runner_;
  const std::vector<int64_t>& rows_;
  int64_t batch_;
  uint64_t seed_;
  std::vector<float> scalars_, all_scalars_, results_;
  std::vector<int64_t> order_, counts_, index_;
  size_t next_ = 0;
  int64_t epoch_ = 0;
};

std::string in_units(double value, const char* unit) {
  const char* prefixes[] = {"", "K", "M", "G", "T"};
  size_t p = 0;
  while (value >= 1000 && p + 1 < std::size(prefixes)) {
    value /= 1000;
    ++p;
  }
  return fmt::format("{:.{}f} {}{}", value, value < 10 ? 2 : value < 100 ? 1 : 0, prefixes[p], unit);
}

int bench(Session& session, const BenchOptions& o) {
  session.load();
  session.require_train();
  const TrainSpec& spec = session.module->train();
  RunData data = load_data(spec, o.common.data, spec.seed);
  const std::vector<int64_t>& rows = data.split.train;
  int64_t batch = spec.batch == 0 ? int64_t(rows.size()) : spec.batch;
  if (batch > int64_t(rows.size()) || rows.empty())
    throw UserError(Code::E0503, fmt::format("a batch takes {} rows, but only {} train", batch, rows.size()), o.common.file,
                    "`--set data.batch=N`, or `batch: all` in the data clause");
  auto compile_start = Clock::now();
  TrainingGraphs graphs = make_training_graphs(session);
  CompiledStep compiled = compile_step(build_program(graphs.optimized, {"train", batch, session.target, {}}), session.sources, session.code);
  double compile_ms = seconds_since(compile_start) * 1e3;
  Team team(session.thread_count());
  StepRunner runner(compiled.step, team);
  std::vector<ParameterSpec> specs = graphs.forward.parameters;
  for (const UpdateRule& rule : graphs.rules) specs.insert(specs.end(), rule.states.begin(), rule.states.end());
  initialize(runner, specs, spec.seed);
  data.bind(runner, Part::train);

  // A turn takes about ten milliseconds; the first steps warm caches, pages and the clock.
  StepSource steps(runner, spec, rows, batch);
  int64_t count = 1;
  steps.prepare(count);
  steps.run();
  for (double took = steps.run(); took < 0.01 && count < 10000; took = steps.run()) {
    count = std::min<int64_t>(
        10000, std::max<int64_t>(count + 1, int64_t(double(count) * std::min(10.0, 0.012 / std::max(took, 1e-7)))));
    steps.prepare(count);
  }
  std::vector<double> step_times, peaks;
  for (int t = 0; t < o.turns; ++t) {
    peaks.push_back(measure_fma_peak_gflops(session.target.level) * team.size());
    steps.prepare(count);
    step_times.push_back(steps.run() / double(count));
  }
  // Kernels by their own clock, in further turns: reading it costs a little in every kernel.
  std::vector<uint64_t> ticks(compiled.program.kernels.size());
  runner.measure_kernels(ticks.data());
  uint64_t first_tick = read_ticks();
  auto first_time = Clock::now();
  int64_t measured = 0;
  while (measured == 0 || (seconds_since(first_time) < 0.15 && measured < 100000)) {
    steps.prepare(count);
    steps.run();
    measured += count;
  }
  double tick_seconds = seconds_since(first_time) / double(read_ticks() - first_tick);
  runner.measure_kernels(nullptr);

  double step = quantile(step_times, 0.5), peak = quantile(peaks, 0.5);
  double flops = 0, bytes = 0;
  for (const Kernel& k : compiled.program.kernels) {
    bytes += k.bytes;
    if (std::holds_alternative<ContractKernel>(k.body)) flops += k.flops;
  }
  double gflops = flops / step * 1e-9;
  Json kernels = Json::array();
  for (size_t k = 0; k < ticks.size(); ++k) {
    const Kernel& kernel = compiled.program.kernels[k];
    double us = double(ticks[k]) * tick_seconds / double(measured) * 1e6;
    double rate = us > 0 ? kernel.flops / us * 1e-3 : 0, traffic = us > 0 ? kernel.bytes / us * 1e-3 : 0;
    kernels.push_back({{"name", kernel.name},
                       {"place", session.sources.describe_line(kernel.span)},
                       {"us", us},
                       {"flops", kernel.flops},
                       {"bytes", kernel.bytes},
                       {"gflops", rate},
                       {"gbytes_per_second", traffic},
                       {"share_of_peak", rate / peak}});
  }
  if (o.common.json) {
    Json line{{"step_us", step * 1e6},
              {"step_us_quartiles", {quantile(step_times, 0.25) * 1e6, quantile(step_times, 0.75) * 1e6}},
              {"gflops", gflops},
              {"peak_gflops", peak},
              {"share_of_peak", gflops / peak},
              {"flops", flops},
              {"bytes", bytes},
              {"arena_bytes", compiled.program.arena_bytes},
              {"persistent_bytes", compiled.program.persistent_bytes},
              {"compile_ms", compile_ms},
              {"threads", team.size()},
              {"batch", batch},
              {"kernels", kernels}};
    print_json_line(line);
    return exit_done;
  }
  std::printf("step            %.2f us (quartiles %.2f to %.2f, %d turns of %lld steps), batch %lld, %d thread%s\n", step * 1e6,
              quantile(step_times, 0.25) * 1e6, quantile(step_times, 0.75) * 1e6, o.turns, static_cast<long long>(count),
              static_cast<long long>(batch), team.size(), team.size() == 1 ? "" : "s");
  std::printf("contractions    %s, %.1f GFLOP/s, %.1f %% of the measured peak of %.1f GFLOP/s\n", in_units(flops, "FLOP").c_str(),
              gflops, gflops / peak * 100, peak);
  std::printf("memory          arena %s, parameters and states %s, touched in a step %s\n",
              in_units(double(compiled.program.arena_bytes), "B").c_str(),
              in_units(double(compiled.program.persistent_bytes), "B").c_str(), in_units(bytes, "B").c_str());
  std::printf("compiled in     %.1f ms for %s\n\n", compile_ms, session.target.cpu.c_str());
  size_t width = 6;
  for (const Json& k : kernels) width = std::max(width, k["name"].get<std::string>().size());
  std::printf("%-*s %9s %6s %12s %12s %14s %14s %6s\n", int(width), "kernel", "us", "time", "work", "memory", "FLOP/s", "B/s",
              "peak");
  double total = 0;
  for (const Json& k : kernels) total += k["us"].get<double>();
  for (const Json& k : kernels)
    std::printf("%-*s %9.2f %5.1f%% %12s %12s %14s %14s %5.1f%%\n", int(width), k["name"].get<std::string>().c_str(),
                k["us"].get<double>(), total > 0 ? k["us"].get<double>() / total * 100 : 0,
                in_units(k["flops"].get<double>(), "FLOP").c_str(), in_units(k["bytes"].get<double>(), "B").c_str(),
                in_units(k["gflops"].get<double>() * 1e9, "FLOP/s").c_str(),
                in_units(k["gbytes_per_second"].get<double>() * 1e9, "B/s").c_str(), k["share_of_peak"].get<double>() * 100);
  return exit_done;
}

}  // namespace

Command bench_command() {
  auto o = std::make_shared<BenchOptions>();
  Command command("bench",
                  "time of one training step, share of the machine's measured peak, time of each kernel\n\n"
                  "  nnc bench mnist_mlp.nn --threads 1\n"
                  "  nnc bench mnist_mlp.nn --set data.batch=256 --json\n");
  add_common(command, o->common);
  add_data(command, o->common);
  add_threads(command, o->common);
  add_perf_map(command, o->common);
  command.option("--turns", o->turns, "how often steps and peak are measured in turns (25)").in_range(1, 10000);
  command.when_memory_is_short = smaller_batch;
  command.run = [o] { return with_session(o->common, [&](Session& session) { return bench(session, *o); }); };
  return command;
}

}  // namespace nnc
