// Sums over the pieces of a batch, made by several workers with the bits of one.
//
// One worker adds pieces 0..n-1 by a binary counter (ir/sum_order.h): what is finished as number u takes up the partial sum of every trailing one bit of u and waits at the level of u's
// lowest zero bit; the last takes up what still waits, lowest level first. So the partial sums that ever exist are those of aligned runs of 2^k pieces, and the runs left over at the end of the batch
// are joined from the right. A worker that has a contiguous run of pieces makes the sums of the maximal aligned runs within it, its nodes; with those of all others the tree is finished.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/combine.h"
#include "base/types.h"

namespace nnc {

/// The aligned run of pieces [first, first + 2^level); 2^level divides first.
struct SumNode {
  int64_t first = 0;
  int level = 0;
  int64_t count() const { return int64_t(1) << level; }
  int64_t end() const { return first + count(); }
  friend bool operator==(const SumNode&, const SumNode&) = default;
};

/// A contiguous run of pieces, [begin, end).
struct PieceRun {
  int64_t begin = 0, end = 0;
  friend bool operator==(const PieceRun&, const PieceRun&) = default;
};

/// The maximal aligned runs of which [begin, end) consists, in order; none where it is empty.
std::vector<SumNode> nodes_of(int64_t begin, int64_t end);

/// The pieces of one worker: contiguous, in the order of ranks, their numbers differ by at most one. Empty for some where there are fewer pieces than workers.
PieceRun run_of(int worker, int workers, int64_t pieces);

/// The nodes of every worker, by rank, where each has the pieces of run_of.
std::vector<std::vector<SumNode>> nodes_of_workers(int workers, int64_t pieces);

/// result[i] = left[i] and right[i] as one, by sum, max or min; `elements` numbers of f32, f64, i32 or i64 (integers wrap around). The earlier pieces stand on the left. NaN wins in max and min
/// (ir/README.md); of two equal numbers the right one is taken, as compiled code does. `result` may be one of the operands.
void join_parts(DType, Combine, const std::byte* left, const std::byte* right, int64_t elements, std::byte* result);

/// The order in which the parts of a total are joined.
class SumTree {
 public:
  /// The nodes of all workers, by rank; all together are each piece of [0, n) exactly once, n at least 1 (in any order, whatever their sizes).
  explicit SumTree(const std::vector<std::vector<SumNode>>& nodes);

  /// Where a part comes from: parts are numbered in the order of their pieces.
  struct Source {
    int rank;
    int node;  ///< place in the worker's list
  };
  const std::vector<Source>& sources() const { return sources_; }
  int64_t pieces() const { return pieces_; }

  /// total[i] = parts[0][i], parts[1][i], ... joined in order; `elements` numbers of `type` (f32, f64, i32 or i64; integers wrap around, f32 is added in f32). `total` may be one of the parts, else
  /// it overlaps none.
  void join(DType type, Combine combine, std::span<const std::byte* const> parts, int64_t elements, std::byte* total) const;

 private:
  /// Operand and result: a part where not negative, else partial result number -1 - operand.
  struct Step {
    int left, right, to;
  };
  std::vector<Source> sources_;
  std::vector<Step> steps_;  ///< the last one's result is the total
  int temporaries_ = 0;
  int64_t pieces_ = 0;
};

}  // namespace nnc
