// The graph under construction, with the value of every node: what the parts of the generator share.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/interpreter.h"
#include "tests/fuzz/random.h"

namespace nnc::fuzz {

class GraphBuilder {
 public:
  GraphBuilder(uint64_t seed);
  /// For the body of a region in `around`.
  explicit GraphBuilder(GraphBuilder& around);

  Random random;
  Graph graph;
  Builder build{graph};
  Bindings bindings;
  std::vector<NodeId> pool;  ///< what later nodes may read
  std::vector<int64_t> sizes;  ///< of dimensions, few, so that operands fit each other
  bool wild = false;           ///< NaN, infinities and large numbers are welcome
  bool closed = false;         ///< the graph is the body of a region: new leaves are numbers
  int64_t most_elements = 3000;
  /// Element type that the next operation is to work on, and find() is to look at first; for reaching every operation in every type.
  std::optional<DType> wanted;

  const Type& type(NodeId n) const { return graph.type(n); }
  const Shape& shape(NodeId n) const { return graph.type(n).shape; }
  int64_t elements(NodeId n) const { return type(n).elements(bindings.rows); }
  const Tensor& value(NodeId n);  ///< as interpreted

  /// Puts the operation into the graph and the pool, if its types fit, it is not too large and its numbers are tame enough.
  NodeId make(Op, std::vector<NodeId> operands, Attributes = {});
  /// For nodes that Builder made: judged like those of make, and taken out of the pool's reach if too wild.
  NodeId keep(NodeId);

  Shape random_shape(int most_rank, bool rows_allowed);
  Extent random_extent() { return {random.pick(sizes)}; }
  NodeId leaf(DType, Shape, bool persistent, int64_t limit = 0);

  template <class Fits>
  NodeId find(Fits fits) {
    std::vector<NodeId> found;
    for (NodeId n : pool)
      if ((!first_ || type(n).dtype == *first_) && fits(n)) found.push_back(n);
    first_.reset();
    if (found.empty()) return {};
    // Late ones more often: graphs get deep.
    if (random.chance(50)) return found[found.size() - 1 - size_t(random.below(int(std::min<size_t>(found.size(), 4))))];
    return random.pick(found);
  }
  NodeId find_dtype(DType d) {
    return find([&](NodeId n) { return type(n).dtype == d; });
  }
  NodeId any() {
    return find([](NodeId) { return true; });
  }
  /// The operation on the wanted element type, with a leaf of that type in the pool.
  void force(Op, DType);
  /// A value of exactly this type: an existing one, one brought to the shape by a broadcast, a cast or a constant.
  NodeId like(Type);
  NodeId number(Type);  ///< a constant

 private:
  bool tame(const Tensor&) const;
  std::map<NodeId, Tensor> values_;
  uint32_t evaluated_ = 0;
  std::optional<DType> first_;
  int leaves_ = 0;
};

/// One more node made by the given operation; invalid if nothing in the pool fits it. graph_generator_ops.cpp
NodeId add_operation(GraphBuilder&, Op);

/// From the set that divisors and constants are drawn from: see there.
double awkward_number(Random&, DType);
double random_number(Random&, DType, int64_t limit, bool wild);

}  // namespace nnc::fuzz
