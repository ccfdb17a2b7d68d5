// The layers of a model, what they hold, and what a training step costs: what `nnc summary` shows. Work and memory are those of the kernels as planned, so that a layer's
// share is what remains after fusion.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/compilation.h"
#include "engine/step_exchanges.h"

namespace nnc {

struct ModelSummary {
  struct Layer {
    LayerSummary layer;
    double flops = 0, bytes = 0;  ///< of the kernels of this layer and of those inside it, in one step; of a model's own row those in no layer, the loss's among them
  };
  std::vector<Layer> layers;  ///< in the order in which they are first called
  int64_t batch = 0;              ///< rows that are computed at once
  int64_t accumulate = 1;         ///< so many of these make up the whole batch of an update
  int64_t pieces = 1;             ///< of the whole batch
  std::string batch_is_assumed;   ///< of `batch: all`: why the number of rows is not that of the data; "" if it is known
  int64_t trainable = 0, other = 0, optimizer = 0;  ///< values of parameters that train, of frozen ones and states, of the optimiser's states
  double flops = 0, bytes = 0;  ///< of one step: work and traffic
  int64_t arena_bytes = 0, persistent_bytes = 0;
  int64_t local_bytes = 0;  ///< of each thread, for what lives within a round of a parallel region
  size_t kernels = 0;
  /// Of a step that several workers share.
  struct Workers {
    StepExchanges exchanges;
    WorkerMemory memory;
    int64_t pieces = 0;               ///< of that worker
  };
  std::optional<Workers> workers;
};

/// The module has a train block. Of compilation.workers, where these are several, what each exchanges with the others. ProgramErrors for parameters that cannot train, and E0315 for too many workers.
ModelSummary summarize_model(Compilation&);

/// The scope (a layer's path) is the layer `path` or one inside it.
bool inside_layer(const std::string& scope, const std::string& path);

}  // namespace nnc
