// The machine's own fp32 FMA peak, measured: the yardstick of every throughput that nnc prints.
#pragma once

#include "base/target.h"

namespace nnc {

/// GFLOP/s (a multiply-add counts two) of one thread at a vector level, the best of several runs of about a millisecond each. The
/// level must be one that this machine can run; portable multiplies and adds in separate SSE2 instructions.
double measure_fma_peak_gflops(VectorLevel);
/// At the host's own level.
double measure_fma_peak_gflops();

}  // namespace nnc
