// How long a training step takes, and each of its kernels, held against what the machine's own arithmetic can do: what `nnc bench` shows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/compilation.h"
#include "engine/data.h"

namespace nnc {

struct KernelMeasurement {
  std::string name;
  Span span;  ///< the source it came from
  double seconds = 0;  ///< of one step
  double flops = 0, bytes = 0;  ///< work and traffic of one step
  double flops_per_second = 0, bytes_per_second = 0;  ///< 0 where no time was seen
  double share_of_peak = 0;
};

struct StepMeasurement {
  double seconds = 0, lower_quartile = 0, upper_quartile = 0;  ///< of one step: the median of the turns, and their quartiles
  int64_t steps_per_turn = 0;
  double contraction_flops = 0;  ///< of one step, by contractions alone, which the next three are about
  double flops_per_second = 0;
  double peak_flops_per_second = 0;  ///< fp32 multiply-adds of all threads, measured between the turns; the median
  double share_of_peak = 0;
  double bytes = 0;  ///< traffic of one step
  int64_t arena_bytes = 0, persistent_bytes = 0;
  int64_t local_bytes = 0;  ///< of each thread, for what lives within a round of a parallel region
  double compile_seconds = 0;  ///< from the module to machine code
  double passes_seconds = 0;   ///< of that, up to the program
  int64_t functions = 0;       ///< that the kernels came to: equal ones are one
  int threads = 0;  ///< that ran
  int64_t batch = 0;  ///< rows
  std::vector<KernelMeasurement> kernels;  ///< in the order in which they run
};

/// Compiles the training step of the module's train block and runs it, data gather included, on shuffled epochs of the rows that train, `turns` times about ten
/// milliseconds. UserError E0503 if fewer rows train than a batch takes, E0620 if this machine cannot run the target's code; ProgramErrors.
StepMeasurement measure_step(Compilation&, const RunData&, int threads, int turns);

}  // namespace nnc
