// Where on its way from graph to machine code a value changes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "verify/rounding.h"
#include "verify/route.h"
#include "passes/pass_manager.h"
#include "verify/reduce.h"

namespace nnc {

/// What is looked at: the product's own passes and the ways to carry out their result, or in tests some that are wrong.
struct CompilerUnderTest {
  std::vector<NamedPass> passes;  ///< in order
  VectorLevel level = host_target().level;
  int threads = 1;
  /// Carries out a graph after passes; run_route by default.
  std::function<Results(const Graph&, const Bindings&, Executor)> execute;

  static CompilerUnderTest product(VectorLevel, int threads);
  /// Results after the first `count` passes.
  Results run(const Graph&, const Bindings&, size_t count, Executor) const;
};

/// The first stage that changes a value, everything before it being right.
struct Culprit {
  Executor executor = Executor::compiled;  ///< graph_interpreter: a pass; program_interpreter: lowering; compiled: code generation
  size_t passes = 0;                    ///< run before or up to it, among CompilerUnderTest::passes
  std::string pass;                     ///< the last of these; "" for none
  Difference difference;                ///< error is |found - expected|
  double allowed = 0;
  std::string crash;         ///< not "": the stage did not get as far as a value; what it said
  std::string text() const;  ///< "the pass `simplify` (2nd of the pipeline)", "code generation with no pass run", ...
};

struct BisectOptions {
  std::function<void()> poll;  ///< called between runs; may throw to leave
};

/// What the whole way gives, held against the graph interpreter; empty if it agrees.
std::optional<Culprit> find_culprit(const CompilerUnderTest&, const GraphCase&, const BisectOptions& = {});

/// The smallest case that this stage gets wrong.
GraphCase reduce_culprit(const CompilerUnderTest&, const GraphCase&, const Culprit&, const BisectOptions& = {},
                         const ReduceOptions& = {});

/// Whether this very stage, alone, goes wrong on the case: for reduction and for looking at what is left.
std::optional<Culprit> check_stage(const CompilerUnderTest&, const GraphCase&, const Culprit&);

}  // namespace nnc
