// One more road: a step that several workers share, or that takes several batches, must leave the bits that one worker leaves which takes all rows at once, sums cut into the same pieces.
//
// Workers are threads of this process that meet in shared memory as processes would (runtime/workers/local_transport.h), each with code and a team of its own. What they compute is held against one
// worker's compiled code alone: whether that is right is what all other roads ask. A step that cannot be shared is refused by nnc with a reason; how many are, and why, stands in the coverage, so
// that a road which nobody goes any longer is seen.
#pragma once

#include <optional>
#include <string>

#include "engine/tensors.h"
#include "runtime/step_runner.h"
#include "tests/fuzz/coverage.h"
#include "tests/fuzz/random.h"
#include "verify/reduce.h"

namespace nnc::fuzz {

struct Failure;

struct Sharing {
  int workers = 0;     ///< 0: the step is not shared
  int accumulate = 1;  ///< so many batches make up the whole one
  int pieces = 1;      ///< of the whole batch, at least as many as workers and batches
  int more_rows = 0;   ///< that the whole batch may have beyond those there are
  int threads = 1;     ///< of each worker
  std::string encode() const;  ///< "workers=3 accumulate=2 pieces=6 more_rows=1 threads=2"
  /// Takes `key=value` if it is a part of what encode writes.
  bool take(const std::string& key, const std::string& value);
};

/// Of a step that is computed in shares: several workers, or one that takes several batches.
Sharing random_sharing(Random&);

/// A persistent's values with every worker. Collective where it is in parts.
Tensor read_for_all(const StepRunner&, size_t index);

/// A graph with its updates on the values of the case, twice: all rows, then fewer of them. Nothing wrong, or what.
std::optional<Failure> run_shared_graph(const GraphCase&, const Sharing&, VectorLevel, Coverage*);

/// A program trained for some steps on data drawn from `seed`: weights and states, what each step and each epoch reported, how the run ended.
std::optional<Failure> train_shared(const std::string& text, uint64_t seed, const Sharing&, VectorLevel, Coverage*);

}  // namespace nnc::fuzz
