// Lowering: grouped tensor graph -> program of kernels. Mechanical: what is fused was decided by fusion (Node::group), orders of persistents by
// choose_layouts; tiles come from choose_tiles. Kernels leave here in group order; order_kernels, place_barriers and plan_memory follow.
//
// Requires:   finish_groups has run; every group is acyclic (verify_graph).
// Guarantees: every access is in bounds for the planned rows; each kernel's values are defined before use; buffers have no offsets yet (temporaries).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/target.h"
#include "ir/graph.h"
#include "ir/program.h"
#include "passes/fuse.h"

namespace nnc {

/// Memory order of persistents by full name; those not named are row-major.
using Layouts = std::map<std::string, std::vector<int>>;

/// Orders for the parameters of contractions: the contracted dimension outermost, so that the forward product and the weight gradient both run along
/// contiguous outputs; states that are updated together with a parameter follow it.
Layouts choose_layouts(const Graph&);

/// Likewise for what a body captures and multiplies with, by the names of its inputs; row-major orders are there, too.
Layouts layouts_of_captures(const Graph& body);

/// For each node the axis that lies innermost in memory, should its value stand there; -1: as the shape has it.
std::vector<int> choose_innermost(const Graph&);
/// The axis of shape `to` that is axis `axis` of shape `from`, of as many elements; -1: it is cut or joined with others.
int axis_of_view(const Shape& from, const Shape& to, int axis);
/// The axis of node `user` that is axis `axis` of its operand; -1: none.
int axis_in_user(const Graph&, NodeId user, int axis);
/// The memory order of so many axes with `axis` innermost; empty: row-major.
std::vector<int> order_with_innermost(int rank, int axis);
/// The memory order of a scan's sequence: steps outermost, behind them all as its shape has it, so that each step's slice is one stretch of memory.
std::vector<int> steps_first(const Type& sequence);
/// By node: the memory order of its value, should it stand in memory. That of sequences is steps_first where all who see them can read them so.
std::vector<std::vector<int>> memory_orders(const Graph&);
/// A value of shape `from` stands in memory in `order` (empty: row-major): in which order it stands for who sees it as `to`. Nothing if it cannot be seen so where it stands.
std::optional<std::vector<int>> order_of_view(const Shape& from, const std::vector<int>& order, const Shape& to);

struct LowerOptions {
  std::string name = "main";
  int64_t rows = 1;  ///< Program::rows
  Target target;
  Layouts layouts = {};
  /// What is evaluated once keeps its types: a scalar output that is not f64 is an output of rank 0. In a training step all scalar outputs are
  /// results, in f64, which holds an f32 (a loss, reports) as it is.
  bool typed_scalars = false;
  /// Of a body: the buffers that its inputs and outputs are, by their names; they come first in the program, in this order. Empty: no body.
  std::map<std::string, Buffer> places = {};
  int64_t whole_rows = 0, piece_rows = 0;  ///< of Program
};

/// Some leaves cannot be seen under another shape where they stand: a persistent in another order than row-major (another program chose it), and an input,
/// whose rows are looked up one by one, where rows and other axes become one; the sequences of a scan stand step by step. Where a reshape reads such a leaf, a copy is made
/// first. Nothing if there is no such reshape. Requires and keeps groups.
std::optional<Graph> copy_viewed_leaves(const Graph&, const LowerOptions&);

Program lower(const Graph&, const LowerOptions&);

/// Orders kernels: a persistent is overwritten after its last read; a copy breaks cycles.
void order_kernels(Program&);
/// Decides which kernels are split over threads and where barriers stand.
void place_barriers(Program&);
/// Instead of that: threads share all kernels that they can share, however small, and wait before each. Plans memory again. For tests: what is wrong about threads shows.
void share_all_kernels(Program&);
/// Gives every buffer its place: temporaries share the arena where their lifetimes do not meet.
void plan_memory(Program&);

}  // namespace nnc
