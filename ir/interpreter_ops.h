// What the interpreters' operations see of a run, and their declarations, one per line of ops.def (a missing one does not link).
#pragma once

#include <array>
#include <cmath>

#include "ir/interpreter.h"

namespace nnc {

struct InterpreterCall {
  const Graph& graph;
  NodeId id;
  const Node& node;
  const Bindings& bindings;
  std::vector<const Tensor*> operands;
  Tensor result;  ///< of the right type and shape, zeros: to be filled in
  const ValueHook* hook = nullptr;

  const Tensor& operand(size_t i) const { return *operands[i]; }
};

#define NNC_OP(name, arity, op_class, differentiable, summary) void interpret_##name(InterpreterCall& call);
#include "ir/ops.def"
#undef NNC_OP

/// One element's operands and types, for element-wise operations.
struct Element {
  Number x, y, z;
  DType from = DType::f32;  ///< of operand 0
  DType to = DType::f32;    ///< of the result
};
using ElementFunction = Number (*)(const Element&);
/// The scalar function of an element-wise operation; null for all others.
ElementFunction element_function(Op);

/// Integers are computed in two's complement through uint64_t and wrapped to their width.
inline Number wrap_integer(uint64_t bits, DType dtype) {
  switch (dtype) {
    case DType::i32: return int32_t(uint32_t(bits));
    case DType::u8: return uint8_t(bits);
    default: return int64_t(bits);
  }
}
/// x + y and x * y of a type.
inline Number add_numbers(Number x, Number y, DType dtype) {
  return is_float(dtype) ? Number(double(x) + double(y)) : wrap_integer(x.bits() + y.bits(), dtype);
}
inline Number multiply_numbers(Number x, Number y, DType dtype) {
  return is_float(dtype) ? Number(double(x) * double(y)) : wrap_integer(x.bits() * y.bits(), dtype);
}

/// A sum that loses no digits with the number of its terms: what each addition rounds away is added up beside it (D. Knuth, "Seminumerical algorithms", 4.2.2;
/// A. Neumaier, 1974). One that is infinite or NaN is so as without that.
struct CompensatedSum {
  double sum = 0, rest = 0;
  void add(double x) {
    double next = sum + x, part = next - sum;
    rest += (sum - (next - part)) + (x - part);
    sum = next;
  }
  double value() const { return std::isfinite(sum) ? sum + rest : sum; }
};

/// Elements between neighbours along each axis, row-major.
std::vector<int64_t> row_major_strides(const std::vector<int64_t>& shape);

/// Visits every index of `sizes` in row-major order, one innermost run at a time: visit(offsets, steps, count), where offsets[k] is where the
/// run begins in operand k and steps[k] the distance between its elements.
template <size_t N, class Visit>
void for_each_run(const std::vector<int64_t>& sizes, const std::array<std::vector<int64_t>, N>& strides, Visit visit) {
  std::array<int64_t, N> offsets{}, steps{};
  if (sizes.empty()) return visit(offsets, steps, int64_t(1));
  for (int64_t size : sizes)
    if (size == 0) return;
  size_t last = sizes.size() - 1;
  for (size_t k = 0; k < N; ++k) steps[k] = strides[k][last];
  std::vector<int64_t> index(last, 0);
  while (true) {
    visit(offsets, steps, sizes[last]);
    size_t axis = last;
    while (axis > 0) {
      --axis;
      for (size_t k = 0; k < N; ++k) offsets[k] += strides[k][axis];
      if (++index[axis] < sizes[axis]) break;
      for (size_t k = 0; k < N; ++k) offsets[k] -= strides[k][axis] * sizes[axis];
      index[axis] = 0;
      if (axis == 0) return;
    }
    if (last == 0) return;
  }
}

}  // namespace nnc
