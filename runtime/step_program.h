// What the runtime knows of compiled code: its entry, its memory, and where values stand. Filled in by engine/step.cpp from the program that was compiled.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/combine.h"
#include "base/types.h"
#include "runtime/step_abi.h"

namespace nnc {

/// A range of elements in the order of memory.
struct ElementRange {
  int64_t begin = 0, end = 0;
  int64_t count() const { return end - begin; }
};

/// A parameter or state inside the persistent block.
struct PersistentSlot {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  ///< logical
  std::vector<int> order;      ///< memory order, order[0] slowest; empty: row-major
  int64_t offset = 0;          ///< bytes, of the first element that is here
  bool trained = true;         ///< false: optimiser state, which is kept out of weight files
  std::optional<ElementRange> part = std::nullopt;  ///< these elements alone are here; nothing: all are
  std::vector<int64_t> parts = {};   ///< then: elements [parts[w], parts[w + 1]) are with worker w
  int64_t elements() const;          ///< of all of it
  ElementRange here() const { return part ? *part : ElementRange{0, elements()}; }
};

/// A tensor that a step writes to the caller's memory, row-major.
struct OutputSlot {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  ///< at the planned number of rows
  int row_axis = -1;           ///< which axis is the rows of the batch; -1: none
  int64_t bytes = 0;
};

/// A sum over the rows of a batch, of which each share gives a part: where it stands in the persistent block.
struct PartialSlot {
  std::string name;
  DType dtype = DType::f32;
  int64_t elements = 0;
  int64_t offset = 0;  ///< bytes
  Combine combine = Combine::sum;
  std::vector<int64_t> begins;  ///< of several workers each needs its own range alone, elements [begins[w], begins[w + 1]); empty: all of it
  bool exchanged = false;       ///< the next segment reads it
};

/// A persistent that several workers update, each its own range of elements in the order of memory, [begins[w], begins[w + 1]). After each step everybody has all of it.
struct PublishedSlot {
  std::string name;
  int64_t offset = 0, element_bytes = 0;
  std::vector<int64_t> begins;
};

/// A part of a stage of a step: when it has run, the parts of these sums are there.
struct StepSegment {
  NncRun run = nullptr;
  std::vector<PartialSlot> partials;
};

/// What the last stage of a step reads of each row, as one of its fields; an output of a stage before, row-major.
struct HandedSlot {
  std::string name;
  int64_t row_bytes = 0;
};

/// A step, or a stage of one. A step of stages has no code of its own: all of them but the last are run for each share of the batch (StepRunner), then the last one once. Fields, scalars, results and
/// outputs of a stage are some of the step's, by their names, or rows that are handed on, and two scalars more: `rows`, of the whole batch, and `first_row`, the place of a share's first row in it. Persistents stand at the
/// same places in all of them.
struct StepProgram {
  NncRun run = nullptr;  ///< all of it
  int64_t rows_capacity = 1;
  int64_t arena_bytes = 0, persistent_bytes = 0, scratch_bytes = 0;
  std::vector<std::string> fields, scalars, results;
  std::vector<OutputSlot> outputs;
  std::vector<PersistentSlot> persistents;
  size_t kernel_count = 0;
  bool parallel = true;  ///< false: no kernel is split, so that more than one thread has nothing to do
  std::vector<StepProgram> stages;    ///< empty: the step is one
  int64_t piece_rows = 0;             ///< of a step of stages: shares are whole pieces of so many rows
  std::vector<StepSegment> segments;  ///< of a stage: what it consists of. Where partial sums are exchanged, all shares go through one before any goes through the next
  int64_t state_bytes = 0;            ///< of the persistent block, without partial sums
  std::vector<HandedSlot> handed;     ///< of a step of stages
  std::vector<PublishedSlot> published;  ///< of a step that several workers share
};

}  // namespace nnc
