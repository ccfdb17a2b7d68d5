// Runs a graph the way a program would run it, through every pass and generated code, and in the 64-bit interpreter, on the same values.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>

#include "base/target.h"
#include "ir/graph.h"
#include "ir/interpreter.h"

namespace nnc::test {

struct GraphRunOptions {
  int64_t capacity = 0;   ///< planned rows; 0: as many as the bindings have
  int threads = 1;
  VectorLevel level = host_target().level;
  bool optimize = true;   ///< false: every operation a kernel of its own
  bool parallel_all = false;  ///< split every kernel that can be, however small
};

/// A graph compiled once, to be run on any number of rows up to `options.capacity`.
class CompiledGraph {
 public:
  CompiledGraph(Graph, GraphRunOptions);
  ~CompiledGraph();
  Results run(const Bindings&);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Outputs and updates as compiled code gives them.
Results run_compiled(Graph, const Bindings&, GraphRunOptions = {});

/// Random bindings for a graph's inputs, persistents and scalars: floats in [low, high], integers in [0, 3).
Bindings random_bindings(const Graph&, int64_t rows, std::mt19937_64&, double low = -1, double high = 1);

/// CHECKs that every output and update agrees within `tolerance`, relative to the larger of 1 and the tensor's largest magnitude.
void check_same(const Results& compiled, const Results& interpreted, double tolerance);

}  // namespace nnc::test
