// Peak and steps are measured in turns, so that both see the same clock and the same neighbours. Kernels are timed afterwards, in turns of their own: reading the clock
// costs a little in each of them.
#include "engine/measure.h"

#include <algorithm>
#include <chrono>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include <fmt/format.h>

#include "codegen/peak.h"
#include "engine/bindings.h"
#include "engine/row_conditions.h"
#include "engine/step.h"
#include "engine/weights.h"
#include "ir/program_regions.h"
#include "passes/pipeline.h"

namespace nnc {
namespace {

using Clock = std::chrono::steady_clock;

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
    runner_.run(counts_, index_.data(), all_scalars_.data(), results_.data(), {.seed = seed_});
    return seconds_since(start);
  }

 private:
  StepRunner& runner_;
  const std::vector<int64_t>& rows_;
  int64_t batch_;
  uint64_t seed_;
  std::vector<NncScalar> scalars_, all_scalars_;
  std::vector<double> results_;
  std::vector<int64_t> order_, counts_, index_;
  size_t next_ = 0;
  int64_t epoch_ = 0;
};

/// How many steps make a turn of about ten milliseconds. The first steps warm caches, pages and the clock.
int64_t find_steps_per_turn(StepSource& steps) {
  int64_t count = 1;
  steps.prepare(count);
  steps.run();
  for (double took = steps.run(); took < 0.01 && count < 10000; took = steps.run()) {
    count = std::min<int64_t>(
        10000, std::max<int64_t>(count + 1, int64_t(double(count) * std::min(10.0, 0.012 / std::max(took, 1e-7)))));
    steps.prepare(count);
  }
  return count;
}

/// Seconds of each kernel in one step, by the kernels' own clock.
std::vector<double> time_kernels(StepRunner& runner, StepSource& steps, int64_t steps_per_turn) {
  std::vector<uint64_t> ticks(runner.program().kernel_count);
  runner.measure_kernels(ticks.data());
  uint64_t first_tick = read_ticks();
  auto first_time = Clock::now();
  int64_t measured = 0;
  while (measured == 0 || (seconds_since(first_time) < 0.15 && measured < 100000)) {
    steps.prepare(steps_per_turn);
    steps.run();
    measured += steps_per_turn;
  }
  double tick_seconds = seconds_since(first_time) / double(read_ticks() - first_tick);
  runner.measure_kernels(nullptr);
  std::vector<double> seconds;
  for (uint64_t t : ticks) seconds.push_back(double(t) * tick_seconds / double(measured));
  return seconds;
}

}  // namespace

StepMeasurement measure_step(Compilation& compilation, const RunData& data, int threads, int turns) {
  const TrainSpec& spec = compilation.module->train();
  const std::vector<int64_t>& rows = data.split.train;
  StepMeasurement m;
  const BatchPlan plan = planned_batch(compilation, std::max<int64_t>(1, int64_t(rows.size())));
  m.batch = plan.whole();
  require_rows_of_batch(plan, int64_t(rows.size()), compilation.name);
  auto compile_start = Clock::now();
  TrainingGraphs graphs = make_training_graphs(compilation);
  StepPrograms programs = build_step(graphs.optimized, graphs.stages, graphs.couples_rows, plan, compilation.target);
  m.passes_seconds = seconds_since(compile_start);
  CompiledStep compiled = compile_step(std::move(programs), compilation.sources, compilation.code);
  std::vector<const CompiledStep*> stages;
  for (const CompiledStep& stage : compiled.stages) stages.push_back(&stage);
  if (stages.empty()) stages.push_back(&compiled);
  for (const CompiledStep* stage : stages) m.functions += stage->code->statistics().functions;
  require_batches(graphs.forward.row_conditions, int64_t(rows.size()), m.batch, 1);
  m.compile_seconds = seconds_since(compile_start);
  Team team(threads);
  m.threads = team.size();
  StepRunner runner(compiled.step, team);
  initialize(runner, step_persistents(graphs), spec.seed);
  data.bind(runner, Part::train);

  StepSource steps(runner, spec, rows, m.batch);
  m.steps_per_turn = find_steps_per_turn(steps);
  std::vector<double> times, peaks;
  for (int t = 0; t < turns; ++t) {
    peaks.push_back(measure_fma_peak_gflops(compilation.target.level) * team.size() * 1e9);
    steps.prepare(m.steps_per_turn);
    times.push_back(steps.run() / double(m.steps_per_turn));
  }
  std::vector<double> kernel_seconds = time_kernels(runner, steps, m.steps_per_turn);

  m.seconds = quantile(times, 0.5), m.lower_quartile = quantile(times, 0.25), m.upper_quartile = quantile(times, 0.75);
  m.peak_flops_per_second = quantile(peaks, 0.5);
  size_t k = 0;
  for (const CompiledStep* stage : stages) {
    const Program& program = stage->program;
    m.arena_bytes = std::max(m.arena_bytes, program.arena_bytes);
    m.local_bytes = std::max(m.local_bytes, program.local_bytes);
    m.persistent_bytes = program.persistent_bytes;
    const double times = stage != stages.back() ? double(plan.accumulate) : 1;  // a share stage runs for each of the batches
    for (size_t own = 0; own < program.kernels.size(); ++own, ++k) {
      const Kernel& kernel = program.kernels[own];
      const double rounds = times * double(rounds_of(program, own)), flops = rounds * kernel.flops, bytes = rounds * kernel.bytes;
      m.bytes += bytes;
      if (std::holds_alternative<ContractKernel>(kernel.body)) m.contraction_flops += flops;
      double seconds = kernel_seconds[k], rate = seconds > 0 ? flops / seconds : 0, traffic = seconds > 0 ? bytes / seconds : 0;
      m.kernels.push_back({kernel.name, kernel.span, seconds, flops, bytes, rate, traffic, rate / m.peak_flops_per_second});
    }
  }
  m.flops_per_second = m.contraction_flops / m.seconds;
  m.share_of_peak = m.flops_per_second / m.peak_flops_per_second;
  return m;
}

}  // namespace nnc
