// The terms of a sum are a tree of products, quotients and signs. Its leaves are sorted into factors that are constant along the summed axes (they repeat a smaller
// value) and terms that vary; the varying ones, by their ids, are the key by which sums are found that share them.
#include "passes/share_sums.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "passes/rewrite.h"

namespace nnc {
namespace {

/// What a sum adds up, as a product: varying * over / under, negated or not.
struct Terms {
  bool negative = false;
  std::vector<NodeId> varying;
  std::vector<NodeId> over, under;  ///< constant along the summed axes
};

bool sums_rows(const Graph& graph, const Node& node) {
  if (op_class(node.op) != OpClass::reduce) return false;
  const Shape& shape = graph.type(node.operands[0]).shape;
  return std::any_of(node.attributes.axes.begin(), node.attributes.axes.end(), [&](int axis) { return shape[size_t(axis)].rows; });
}

class TermReader {
 public:
  TermReader(const Graph& graph, const Node& sum) : graph_(graph), axes_(sum.attributes.axes) {
    whole_ = read(sum.operands[0]);
    std::sort(terms.varying.begin(), terms.varying.end());
    std::sort(terms.over.begin(), terms.over.end());
    std::sort(terms.under.begin(), terms.under.end());
  }
  Terms terms;
  /// False where the tree is too large to be looked at: the same value may stand in it any number of times.
  bool is_whole() const { return whole_; }

 private:
  bool repeats(NodeId n) const {
    const Node& node = graph_[n];
    if (node.op == Op::constant) return true;
    return node.op == Op::broadcast && std::none_of(axes_.begin(), axes_.end(), [&](int axis) { return holds(node.attributes.axes, axis); });
  }
  bool read(NodeId n) {
    constexpr int most_nodes = 32;
    if (++nodes_ > most_nodes) return false;
    const Node& node = graph_[n];
    if (repeats(n)) {
      terms.over.push_back(n);
      return true;
    }
    if (node.op == Op::neg) {
      terms.negative = !terms.negative;
      return read(node.operands[0]);
    }
    if (node.op == Op::mul) return read(node.operands[0]) && read(node.operands[1]);
    if (node.op == Op::div && repeats(node.operands[1])) {
      terms.under.push_back(node.operands[1]);
      return read(node.operands[0]);
    }
    terms.varying.push_back(n);
    return true;
  }

  const Graph& graph_;
  const std::vector<int>& axes_;
  bool whole_ = false;
  int nodes_ = 0;
};

/// The sum of the varying terms, then the factors at the result's shape. Terms and factors stand in the order of their ids, so that equal ones are equal nodes.
NodeId with_factors_outside(Rebuild& rebuild, NodeId sum, const Terms& terms) {
  const Node& node = rebuild.old[sum];
  Builder b(rebuild.result, node.span, node.scope);
  auto rebuilt = [&](NodeId n) { return rebuild.to[n.value]; };
  NodeId product = rebuilt(terms.varying.front());
  for (size_t i = 1; i < terms.varying.size(); ++i) product = b.mul(product, rebuilt(terms.varying[i]));
  NodeId value = b.reduce(Op::reduce_sum, product, node.attributes.axes);
  std::vector<int> kept;
  for (int axis = 0; axis < rebuild.old.type(node.operands[0]).rank(); ++axis)
    if (!holds(node.attributes.axes, axis)) kept.push_back(axis);
  auto factor = [&](NodeId n) {
    const Node& f = rebuild.old[n];
    if (f.op == Op::constant) return b.constant(f.attributes.number, node.type);
    return align_labels(b, rebuilt(f.operands[0]), f.attributes.axes, kept, node.type.shape);
  };
  for (NodeId n : terms.over) {
    NodeId f = factor(n);
    value = b.mul(value, f);
  }
  for (NodeId n : terms.under) {
    NodeId f = factor(n);
    value = b.div(value, f);
  }
  return terms.negative ? b.neg(value) : value;
}

}  // namespace

std::vector<int> row_sums_before(const Graph& graph) {
  std::vector<int> before(graph.size(), 0);
  for (uint32_t i = 0; i < graph.size(); ++i)
    for (NodeId o : graph[NodeId{i}].operands) before[i] = std::max(before[i], before[o.value] + (sums_rows(graph, graph[o]) ? 1 : 0));
  return before;
}

void share_sums(Graph& graph) {
  const std::vector<int> waits = row_sums_before(graph);
  std::map<uint32_t, Terms> sums;
  using Key = std::pair<std::vector<int>, std::vector<NodeId>>;  // axes, varying terms
  std::map<Key, int> sharing;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op != Op::reduce_sum || !is_float(node.type.dtype) || !sums_rows(graph, node)) continue;
    TermReader reader(graph, node);
    if (!reader.is_whole() || reader.terms.varying.empty()) continue;
    ++sharing[{node.attributes.axes, reader.terms.varying}];
    sums.emplace(i, std::move(reader.terms));
  }
  auto gains = [&](uint32_t sum, const Terms& terms) {
    if (terms.over.empty() && terms.under.empty() && !terms.negative && terms.varying.size() == 1) return false;  // as it should be
    if (sharing.at({graph[NodeId{sum}].attributes.axes, terms.varying}) > 1) return true;
    auto latest = [&](const std::vector<NodeId>& nodes) {
      int latest = 0;
      for (NodeId n : nodes) latest = std::max(latest, waits[n.value]);
      return latest;
    };
    return std::max(latest(terms.over), latest(terms.under)) > latest(terms.varying);
  };
  std::erase_if(sums, [&](const auto& entry) { return !gains(entry.first, entry.second); });
  if (sums.empty()) return;
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (auto it = sums.find(i); it != sums.end())
      rebuild.to[i] = with_factors_outside(rebuild, NodeId{i}, it->second);
    else
      rebuild.copy({i});
  }
  graph = rebuild.finish();
}

}  // namespace nnc
