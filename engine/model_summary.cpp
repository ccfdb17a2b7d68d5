// A kernel counts for the layer that its operations come from, and for all layers around that one.
#include "engine/model_summary.h"

#include "passes/pipeline.h"

namespace nnc {

bool inside_layer(const std::string& scope, const std::string& path) {
  return scope == path || (scope.size() > path.size() && scope.compare(0, path.size(), path) == 0 && scope[path.size()] == '.');
}

ModelSummary summarize_model(Compilation& compilation) {
  TrainingGraphs graphs = make_training_graphs(compilation);
  ModelSummary s;
  s.batch = planned_rows(compilation.module->train());
  Program program = build_program(graphs.optimized, {"train", s.batch, compilation.target, {}});
  for (const Persistent& p : graphs.optimized.persistents)
    (p.kind == PersistentKind::parameter         ? s.trainable
     : p.kind == PersistentKind::optimizer_state ? s.optimizer
                                                 : s.other) += p.type.elements(1);
  for (const Kernel& k : program.kernels) s.flops += k.flops, s.bytes += k.bytes;
  for (const LayerSummary& layer : graphs.forward.layers) {
    ModelSummary::Layer row{layer};
    for (const Kernel& k : program.kernels)
      if (!layer.path.empty() && inside_layer(k.scope, layer.path)) row.flops += k.flops, row.bytes += k.bytes;
    s.layers.push_back(std::move(row));
  }
  s.arena_bytes = program.arena_bytes, s.persistent_bytes = program.persistent_bytes;
  s.kernels = program.kernels.size();
  return s;
}

}  // namespace nnc
