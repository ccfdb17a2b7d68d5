// A kernel counts for the layer that its operations come from, and for all layers around that one.
#include "engine/model_summary.h"

#include <algorithm>

#include "engine/data.h"
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
void count_rows(const TrainSpec& train, ModelSummary& s) {
  s.batch = planned_rows(train);
  if (train.batch > 0) return;
  try {
    s.batch = std::max<int64_t>(1, int64_t(load_data(train, {}, train.seed).rows_of(Part::train).size()));
  } catch (const UserError& e) {
    s.batch_is_assumed = e.diagnostic().message;
  }
}

}  // namespace

ModelSummary summarize_model(Compilation& compilation) {
  TrainingGraphs graphs = make_training_graphs(compilation);
  ModelSummary s;
  count_rows(compilation.module->train(), s);
  Program program = build_program(graphs.optimized, {"train", s.batch, compilation.target, {}});
  for (const Persistent& p : graphs.optimized.persistents)
    (p.kind == PersistentKind::parameter         ? s.trainable
     : p.kind == PersistentKind::optimizer_state ? s.optimizer
                                                 : s.other) += p.type.elements(1);
  for (const Kernel& k : program.kernels) s.flops += k.flops, s.bytes += k.bytes;
  for (const LayerSummary& layer : graphs.forward.layers) {
    ModelSummary::Layer row{layer};
    for (const Kernel& k : program.kernels)
      if (layer.path.empty() ? is_in_no_layer(k.scope, graphs.forward.layers) : inside_layer(k.scope, layer.path)) row.flops += k.flops, row.bytes += k.bytes;
    s.layers.push_back(std::move(row));
  }
  s.arena_bytes = program.arena_bytes, s.persistent_bytes = program.persistent_bytes;
  s.kernels = program.kernels.size();
  return s;
}

}  // namespace nnc
