// The last axis is the fastest digit of a joint index. A run ends where the next axis outwards does not continue it in memory, and at rows, which are looked up.
#include "codegen/joint_axes.h"

#include <algorithm>

namespace nnc {

void JointAxes::set(Emitter& e, llvm::Value* at, std::vector<llvm::Value*>& index) const {
  for (size_t axis = end; axis-- > begin;) {
    if (axis == begin) {
      index[axis] = at;
      break;
    }
    const Extent extent = (*axes)[axis].extent;
    llvm::Value* size = extent.rows ? e.extent(extent) : e.i64(std::max<int64_t>(extent.size, 1));
    index[axis] = e.ir.CreateURem(at, size);
    at = e.ir.CreateUDiv(at, size);
  }
}

AxisRun run_of(const Access& access, const JointAxes& joint, int64_t rows) {
  AxisRun run;
  if (joint.begin == joint.end || access.row_axis == int(joint.end) - 1) return run;
  run.first = joint.end - 1;
  run.length = (*joint.axes)[run.first].extent.at(rows);
  run.stride = access.strides[run.first];
  while (run.first > joint.begin) {
    const size_t next = run.first - 1;
    if (access.row_axis == int(next) || access.strides[next] != run.stride * run.length || (*joint.axes)[run.first].extent.rows) break;
    run.length *= (*joint.axes)[next].extent.at(rows);
    run.first = next;
  }
  return run;
}

}  // namespace nnc
