// Guards (ir/program.h) as bounds of loops.
#pragma once

#include <cstdlib>
#include <utility>

#include "codegen/emitter.h"

namespace nnc {

/// The indices, none below 0, at which 0 <= rest + factor * index < size: the first, and the one behind the last. The first may lie behind it.
inline std::pair<llvm::Value*, llvm::Value*> guard_bounds(Emitter& e, llvm::Value* rest, int64_t factor, int64_t size) {
  llvm::Value *limit = e.i64(size), *after = e.ir.CreateAdd(rest, e.i64(1));
  const int64_t step = std::abs(factor);
  // The first index, from 0, of which `step` times is not below `value`.
  auto reaches = [&](llvm::Value* value) { return e.ir.CreateUDiv(e.ir.CreateAdd(e.maximum_index(value, e.i64(0)), e.i64(step - 1)), e.i64(step)); };
  if (factor > 0) return {reaches(e.ir.CreateNeg(rest)), reaches(e.ir.CreateSub(limit, rest))};
  return {reaches(e.ir.CreateSub(after, limit)), reaches(after)};
}

}  // namespace nnc
