// What workers on hosts with different CPUs compile for: kernels that all of them can run, so that the bits do not depend on who computes what.
#pragma once

#include <optional>

#include "base/diagnostics.h"
#include "base/target.h"
#include "runtime/workers/collectives.h"

namespace nnc {

struct CommonTarget {
  Target target;
  std::optional<Diagnostic> difference;  ///< warning E0548 if the CPUs are not the same
};

/// `own`: what this worker would compile for by itself. Where all have the same CPU and level, that; else the lowest level among them, as `--cpu` with its name gives it. Of each cache the least,
/// for it decides how arrays lie in memory, which workers hand one another. Collective.
CommonTarget agree_on_target(Collectives&, const Target& own);

}  // namespace nnc
