// Why a value that one kernel makes and another reads was stored between them, for `nnc explain`.
//
// The fuser itself says why: each test that keeps an operation out of a kernel notes its reason in a log (fuser.cpp). Nothing is worked out again
// afterwards, so a stated reason is the rule that was applied. Reads at other indices need no log: they are never fused, whatever else holds.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "ir/program.h"

namespace nnc {

enum class FusionRefusal : uint8_t {
  settled,                   ///< the reader had joined another operation, `witness`, before: only lone operations move
  contraction_operand,       ///< read at other indices than it is made at: by a contraction, which sums over one of them
  gather,                    ///< ... by a read through an index
  reshape,                   ///< ... under another shape
  slice,                     ///< ... at shifted indices
  pad,                       ///< ... at shifted indices
  window,                    ///< ... at indices made of two
  scatter_operand,           ///< ... by an addition at indices that are values themselves
  chains,                    ///< chains of places: the sums of a scatter begin when all places are linked
  scatter,                   ///< made by such an addition: whole only when all of it is done
  later_operand,             ///< the reader also needs a value that comes from a kernel further down; `witness`
  other_host,                ///< the reader joined another kernel that feeds it; `witness` is that kernel's first operation
  read_twice,                ///< the same kernel also feeds the reader at other indices; `witness` is the value read so
  reduction_of_contraction,  ///< the reader reduces what a contraction gives; a tile holds a part of each sum only, unless its rows are the batch's (row_tiles.h)
  row_sum,                   ///< the reader needs a sum that a contraction makes over the rows of its tiles: whole only when all of them are done
  whole_sum,                 ///< an optimiser's rule needs a sum over all of a tensor (a norm): whole only when all of it is done, which threads and workers cannot share with what follows
  other_reduction,           ///< both reduce, along different axes
  other_terms,               ///< both are sums over the same axes that add their terms in different orders (order_sums.h)
  other_space,               ///< they run over different index spaces
  crossed_axes,              ///< the reader's operands lie along different axes of the kernel
  contraction_beside,        ///< the reader has a kernel already, and a contraction cannot be moved into another kernel
  own_loops,                 ///< the reader is an operation with loops of its own
  too_large,                 ///< the kernel has all the operations it may have
  cycle,                     ///< each would need a value of the other
  released,                  ///< recomputed by the reader on purpose: cheap, and its operands stand in memory for others anyway
  old_value_needed,          ///< a new value of a persistent, kept apart until everything has read the old one
  scan,                      ///< it goes into a scan's steps or comes out of them
  joined,                    ///< the value is put together of parts that are stored where they are made: whole only when all of them are
  later_stage,               ///< the kernel's own: a later loop needs it, and computing it again would cost more
};

struct FusionNote {
  FusionRefusal reason{};
  NodeId witness;      ///< where the reason names another operation
  bool tried = false;  ///< false: noted by a pass that leaves the reader to another one
};

/// By value and the operation that reads it, in the order of the graph; what was tried last counts.
class FusionLog {
 public:
  void add(NodeId value, NodeId reader, FusionNote);
  const FusionNote* find(NodeId value, NodeId reader) const;

 private:
  std::map<std::pair<NodeId, NodeId>, FusionNote> notes_;
};

/// One kernel reads a value that stands in the arena.
struct StoredRead {
  size_t kernel = 0;  ///< index into Program::kernels
  NodeId reader;      ///< the operation in it; invalid for a copy
  FusionRefusal reason{};
  NodeId witness;
};

/// A temporary of the program: who writes it, who reads it, and why the readers are not fused with the writer.
struct StoredValue {
  BufferId buffer;
  NodeId node;
  std::vector<size_t> writers;
  std::vector<StoredRead> reads;
};

/// Every temporary buffer of the program that was built from the graph, in the order of the buffers.
std::vector<StoredValue> stored_values(const Graph& grouped, const Program&, const FusionLog&);

/// forward: what the loss and the reports need; update: the optimiser's arithmetic on finished gradients; gradient: the rest.
enum class NodeRole : uint8_t { forward, gradient, update };
std::vector<NodeRole> node_roles(const Graph&);

/// The nodes that a kernel computes: those of its group, and those without a group that it computes for itself (views, conversions, cheap arithmetic;
/// several kernels may repeat one). Leaves are not among them. Ascending.
std::vector<std::vector<NodeId>> kernel_nodes(const Graph& grouped, const Program&);

}  // namespace nnc
