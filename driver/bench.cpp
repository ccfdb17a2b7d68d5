// nnc bench: time of one training step, data gather included, against the machine's own fp32 FMA peak (engine/measure.h): the median over the turns with the quartiles.
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/outputs.h"
#include "engine/measure.h"

namespace nnc {
namespace {

struct BenchOptions {
  CommonOptions common;
  int turns = 25;
};

void print_as_json(const StepMeasurement& m, const SourceMap& sources) {
  using Json = nlohmann::ordered_json;
  Json kernels = Json::array();
  for (const KernelMeasurement& k : m.kernels)
    kernels.push_back({{"name", k.name},
                       {"place", sources.describe_line(k.span)},
                       {"us", k.seconds * 1e6},
                       {"flops", k.flops},
                       {"bytes", k.bytes},
                       {"gflops", k.flops_per_second * 1e-9},
                       {"gbytes_per_second", k.bytes_per_second * 1e-9},
                       {"share_of_peak", k.share_of_peak}});
  Json line{{"step_us", m.seconds * 1e6},
            {"step_us_quartiles", {m.lower_quartile * 1e6, m.upper_quartile * 1e6}},
            {"gflops", m.flops_per_second * 1e-9},
            {"peak_gflops", m.peak_flops_per_second * 1e-9},
            {"share_of_peak", m.share_of_peak},
            {"flops", m.contraction_flops},
            {"bytes", m.bytes},
            {"arena_bytes", m.arena_bytes},
            {"local_bytes", m.local_bytes},
            {"persistent_bytes", m.persistent_bytes},
            {"compile_ms", m.compile_seconds * 1e3},
            {"passes_ms", m.passes_seconds * 1e3},
            {"functions", m.functions},
            {"threads", m.threads},
            {"batch", m.batch},
            {"kernels", kernels}};
  print_json_line(line);
}

void print_as_text(const StepMeasurement& m, int turns, const std::string& cpu) {
  std::printf("step            %.2f us (quartiles %.2f to %.2f, %d turns of %lld steps), batch %lld, %d thread%s\n", m.seconds * 1e6,
              m.lower_quartile * 1e6, m.upper_quartile * 1e6, turns, static_cast<long long>(m.steps_per_turn),
              static_cast<long long>(m.batch), m.threads, m.threads == 1 ? "" : "s");
  std::printf("contractions    %s, %.1f GFLOP/s, %.1f %% of the measured peak of %.1f GFLOP/s\n", in_units(m.contraction_flops, "FLOP").c_str(),
              m.flops_per_second * 1e-9, m.share_of_peak * 100, m.peak_flops_per_second * 1e-9);
  std::printf("memory          arena %s, parameters and states %s, touched in a step %s", in_units(double(m.arena_bytes), "B").c_str(), in_units(double(m.persistent_bytes), "B").c_str(),
              in_units(m.bytes, "B").c_str());
  if (m.local_bytes) std::printf(", for each thread %s", in_units(double(m.local_bytes), "B").c_str());
  std::printf("\n");
  std::printf("compiled in     %.1f ms for %s, %.1f ms of it before code; %zu kernels, %lld functions\n\n", m.compile_seconds * 1e3, cpu.c_str(),
              m.passes_seconds * 1e3, m.kernels.size(), static_cast<long long>(m.functions));
  size_t width = 6;
  for (const KernelMeasurement& k : m.kernels) width = std::max(width, k.name.size());
  std::printf("%-*s %9s %6s %12s %12s %14s %14s %6s\n", int(width), "kernel", "us", "time", "work", "memory", "FLOP/s", "B/s", "peak");
  double total = 0;
  for (const KernelMeasurement& k : m.kernels) total += k.seconds;
  for (const KernelMeasurement& k : m.kernels)
    std::printf("%-*s %9.2f %5.1f%% %12s %12s %14s %14s %5.1f%%\n", int(width), k.name.c_str(), k.seconds * 1e6,
                total > 0 ? k.seconds / total * 100 : 0, in_units(k.flops, "FLOP").c_str(), in_units(k.bytes, "B").c_str(),
                in_units(k.flops_per_second, "FLOP/s").c_str(), in_units(k.bytes_per_second, "B/s").c_str(), k.share_of_peak * 100);
}

int bench(Session& session, const BenchOptions& o) {
  session.load();
  session.require_train();
  const TrainSpec& spec = session.module->train();
  RunData data = load_data(spec, o.common.data, spec.seed);
  StepMeasurement m = measure_step(session, data, session.thread_count(), o.turns);
  if (o.common.json)
    print_as_json(m, session.sources);
  else
    print_as_text(m, o.turns, session.target.cpu);
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
