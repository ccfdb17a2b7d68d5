// Several axes of a kernel as one: its index counts through their points, the last axis fastest.
#pragma once

#include <optional>
#include <vector>

#include "codegen/emitter.h"

namespace nnc {

struct JointAxes {
  const std::vector<Axis>* axes = nullptr;  ///< of the kernel
  size_t begin = 0, end = 0;
  Extent extent() const { return joint_extent(*axes, begin, end); }
  /// Sets the indices of the axes for index `at` (i64, at least 0 and below the extent) along them as one.
  void set(Emitter&, llvm::Value* at, std::vector<llvm::Value*>& index) const;
};

/// How many of the last axes an access walks as one, counted as points of them: it moves by `stride` elements from each to the next. At least the last axis,
/// if the access is affine in it; 0 if it is not.
struct AxisRun {
  int64_t length = 0, stride = 0;
  size_t first = 0;  ///< the first axis of the run
};
AxisRun run_of(const Access&, const JointAxes&, int64_t rows);

}  // namespace nnc
