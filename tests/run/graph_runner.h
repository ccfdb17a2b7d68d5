// Runs a graph the way a program would run it, through every pass and generated code, and in the 64-bit interpreter, on the same values: verify/route.h
// with Catch2's assertions.
#pragma once

#include "verify/route.h"

namespace nnc::test {

struct GraphRunOptions {
  int64_t capacity = 0;   ///< planned rows; 0: as many as the bindings have
  int threads = 1;
  VectorLevel level = host_target().level;
  bool optimize = true;   ///< false: every operation a kernel of its own
  bool parallel_all = false;  ///< split every kernel that can be, however small
  Route route() const;
};

/// Outputs and updates as compiled code gives them.
Results run_compiled(Graph, const Bindings&, GraphRunOptions = {});

/// CHECKs that every output and update agrees within `tolerance`, relative to the larger of 1 and the tensor's largest magnitude.
void check_same(const Results& compiled, const Results& interpreted, double tolerance);

}  // namespace nnc::test
