// What the runtime knows of compiled code: its entry, its memory, and where values stand. Filled in by engine/step.cpp from the program that was compiled.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/types.h"
#include "runtime/step_abi.h"

namespace nnc {

/// A parameter or state inside the persistent block.
struct PersistentSlot {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  ///< logical
  std::vector<int> order;      ///< memory order, order[0] slowest; empty: row-major
  int64_t offset = 0;          ///< bytes
  bool trained = true;         ///< false: optimiser state, which is kept out of weight files
  int64_t elements() const;
};

/// A tensor that a step writes to the caller's memory, row-major.
struct OutputSlot {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  ///< at the planned number of rows
  int row_axis = -1;           ///< which axis is the rows of the batch; -1: none
  int64_t bytes = 0;
};

struct StepProgram {
  NncRun run = nullptr;
  int64_t rows_capacity = 1;
  int64_t arena_bytes = 0, persistent_bytes = 0, scratch_bytes = 0;
  std::vector<std::string> fields, scalars, results;
  std::vector<OutputSlot> outputs;
  std::vector<PersistentSlot> persistents;
  size_t kernel_count = 0;
  bool parallel = true;  ///< false: no kernel is split, so that more than one thread has nothing to do
};

}  // namespace nnc
