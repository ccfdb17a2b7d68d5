// Limits of axes (ir/axis_limits.h) as the begin and end of a loop.
#pragma once

#include <utility>

#include "codegen/emitter.h"

namespace nnc {

/// i64: the indices [first, end) of an axis that are there, `by`: the index of the axis that its limit names. All, and no code for it, if it has none.
inline std::pair<llvm::Value*, llvm::Value*> emit_indices(Emitter& e, const Axis& axis, llvm::Value* by) {
  llvm::Value *first = e.i64(0), *end = e.extent(axis.extent);
  if (axis.limit.axis < 0) return {first, end};
  llvm::Value* multiple = e.ir.CreateMul(by, e.i64(axis.limit.step));
  if (axis.limit.from) return {multiple, end};
  return {first, e.minimum_index(end, e.ir.CreateAdd(multiple, e.i64(axis.limit.step)))};
}

}  // namespace nnc
