// Joins: values put side by side. The graph has no operation for it; a join is a sum of pads whose operands lie beside each other and cover all of the sum, as the frontend
// writes `concat` and as the gradients of slices add up. Who makes a part stores it in its place, and the sum needs no kernel (README.md, Joins).
//
// Requires:   a verified graph. Groups are not asked: what is a join before fusion is one when kernels are made.
// Guarantees: parts have no element in common, and each element of the join is one part's.
#pragma once

#include <vector>

#include "ir/graph.h"
#include "passes/index_map.h"

namespace nnc {

struct JoinedPart {
  NodeId value;
  IndexMap place;         ///< for each axis of the join: its index by those along the axes of `value`
  bool computed = false;  ///< a kernel makes it, which can store it in its place; else it is memory seen through views, or a leaf: copied
};

struct Join {
  NodeId root;                    ///< the sum
  std::vector<JoinedPart> parts;  ///< two or more
};

struct Joins {
  std::vector<Join> all;      ///< ascending
  std::vector<bool> inside;   ///< by node: a sum or a pad that joins alone read, and that is computed by nobody
  std::vector<int> number;    ///< by node: the join of which it is the root, or -1
};

/// Those that stand in memory: something reads them at other indices than their own, they are an output, or all parts are computed and would stand there one by one.
Joins find_joins(const Graph&);

}  // namespace nnc
