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
#include "engine/timed_steps.h"
#include "engine/weights.h"
#include "ir/program_regions.h"
#include "passes/pipeline.h"

namespace nnc {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

uint64_t read_ticks() {
#ifdef __x86_64__
  return __rdtsc();
#else
  return uint64_t(Clock::now().time_since_epoch().count());
#endif
}

/// Seconds of each kernel in one step, by the kernels' own clock.
std::vector<double> time_kernels(StepRunner& runner, TimedSteps& steps, int64_t steps_per_turn) {
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

  TimedSteps steps(runner, spec, rows, m.batch);
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
