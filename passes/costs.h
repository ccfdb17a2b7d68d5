// What operations cost: the one table from which fusion, lowering and verification read, so that "cheap" means one thing wherever it is asked.
#pragma once

#include <cstdint>

#include "ir/graph.h"
#include "ir/program.h"

namespace nnc {

/// Time of one element in a kernel, in classes that decisions need.
enum class OpCost : uint8_t {
  light,  ///< an instruction or two
  slow,   ///< one instruction that takes long (division, square root): a trip to the nearest cache is cheaper, a kernel of its own is not
  heavy,  ///< tens of instructions (a polynomial, a draw): computed once and kept
};
OpCost op_cost(Op);

/// Computed once and kept: neither repeated by consumers nor made while a contraction packs its operand.
inline bool is_expensive(Op op) { return op_cost(op) == OpCost::heavy; }
/// Worth a trip to memory rather than a second evaluation in the same kernel.
inline bool costs_much(Op op) { return op_cost(op) != OpCost::light; }

/// The most arithmetic (operations of one element) that each consumer repeats for itself instead of sharing one kernel's result.
inline constexpr int max_loose_cost = 6;

/// What a draw counts among them. It is dear, but a leaf: drawn again it costs no memory, while kept it is a float for every element. So a comparison
/// with it (a dropout's mask) is repeated by the forward and the backward kernel, and what takes more arithmetic is kept.
inline constexpr int loose_draw_cost = 4;

/// Floating point operations of a kernel for so many rows: each operation and each step of a reduction counts one, a contraction its products and sums
/// alone, which is what is held against the machine's peak.
double kernel_flops(const Kernel&, int64_t rows);

/// What a kernel's operations take, in operations that are light: by this is decided whether threads share it. Of a contraction its flops.
double kernel_work(const Kernel&, int64_t rows);

/// Elements that the graph interpreter visits for so many rows, over all nodes: the measure by which verification cuts what would take too long.
double work_of(const Graph&, int64_t rows);

}  // namespace nnc
