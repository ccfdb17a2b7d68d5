// A kernel counts for the layer that its operations come from, and for all layers around that one.
#include "engine/model_summary.h"

#include <algorithm>

#include "engine/data.h"
#include "ir/program_regions.h"
#include "engine/step.h"
#include "passes/pipeline.h"

namespace nnc {

bool inside_layer(const std::string& scope, const std::string& path) {
  return scope == path || (scope.size() > path.size() && scope.compare(0, path.size(), path) == 0 && scope[path.size()] == '.');
}

namespace {

bool is_in_no_layer(const std::string& scope, const std::vector<LayerSummary>& layers) {
  return std::ranges::none_of(layers, [&](const LayerSummary& l) { return !l.path.empty() && inside_layer(scope, l.path); });
}

/// The rows of a step. `batch: all` takes all that train, which only the data tells.
BatchPlan plan_rows(const Compilation& compilation, ModelSummary& s) {
  const TrainSpec& train = compilation.module->train();
  if (train.batch > 0) return planned_batch(compilation);
  try {
    return planned_batch(compilation, std::max<int64_t>(1, int64_t(load_data(train, {}, train.seed).rows_of(Part::train).size())));
  } catch (const UserError& e) {
    s.batch_is_assumed = e.diagnostic().message;
    return planned_batch(compilation);
  }
}

ModelSummary::Workers summarize_workers(const Compilation& compilation, const TrainingGraphs& graphs, const BatchPlan& plan) {
  const int workers = compilation.workers, busiest = busiest_worker(plan, workers);
  const StepPrograms programs = build_step(graphs.optimized, graphs.stages, graphs.couples_rows, plan, compilation.target, {busiest, workers});
  ModelSummary::Workers w{find_exchanges(graphs, programs, workers), {}, 0};
  w.memory = worker_memory(programs, w.exchanges);
  const PieceRun run = run_of(busiest, workers, plan.pieces());
  w.pieces = run.end - run.begin;
  return w;
}

}  // namespace

ModelSummary summarize_model(Compilation& compilation) {
  ModelSummary s;
  const BatchPlan plan = plan_rows(compilation, s);
  require_pieces(compilation, plan);
  TrainingGraphs graphs = make_training_graphs(compilation);
  s.batch = plan.batch;
  s.accumulate = plan.accumulate;
  s.pieces = plan.pieces();
  LowerOptions options = lower_options("train", plan, compilation.target);
  options.rows = plan.batch;
  Program program = build_program(graphs.optimized, options);
  for (const Persistent& p : graphs.optimized.persistents)
    (p.kind == PersistentKind::parameter         ? s.trainable
     : p.kind == PersistentKind::optimizer_state ? s.optimizer
                                                 : s.other) += p.type.elements(1);
  // What a step computes: a kernel of a region once for each round.
  auto add = [&](size_t k, auto& to) {
    const double rounds = double(rounds_of(program, k));
    to.flops += rounds * program.kernels[k].flops, to.bytes += rounds * program.kernels[k].bytes;
  };
  for (size_t k = 0; k < program.kernels.size(); ++k) add(k, s);
  for (const LayerSummary& layer : graphs.forward.layers) {
    ModelSummary::Layer row{layer};
    for (size_t k = 0; k < program.kernels.size(); ++k) {
      const std::string& scope = program.kernels[k].scope;
      if (layer.path.empty() ? is_in_no_layer(scope, graphs.forward.layers) : inside_layer(scope, layer.path)) add(k, row);
    }
    s.layers.push_back(std::move(row));
  }
  s.arena_bytes = program.arena_bytes, s.persistent_bytes = program.persistent_bytes, s.local_bytes = program.local_bytes;
  s.kernels = program.kernels.size();
  if (compilation.workers > 1) s.workers = summarize_workers(compilation, graphs, plan);
  return s;
}

}  // namespace nnc
