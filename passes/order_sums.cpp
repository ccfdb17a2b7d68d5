// What stands in memory is a leaf, or what a contraction, a reduction or another operation with loops of its own has made; its order there is that of choose_layouts and memory_orders. A batch counts for
// so many rows, however many it has: else the order would depend on them.
#include "passes/order_sums.h"

#include <algorithm>
#include <set>
#include <utility>

#include "ir/term_order.h"
#include "passes/fuse_internal.h"
#include "passes/lower.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

constexpr int64_t counted_rows = 256;
constexpr size_t most_values = 64;  ///< operations that are followed; what lies beyond is taken as it comes

class Chooser {
 public:
  explicit Chooser(const Graph& graph) : graph_(graph), orders_(memory_orders(graph)), layouts_(choose_layouts(graph)) { layouts_.merge(layouts_of_captures(graph)); }

  TermOrder choose(const Node& sum) {
    const Shape& summed = graph_.type(sum.operands[0]).shape;
    apart_.assign(summed.size(), 0);
    contiguous_.assign(summed.size(), 0);
    is_summed_.assign(summed.size(), false);
    for (int axis : sum.attributes.axes) is_summed_[size_t(axis)] = true;
    seen_.clear();
    follow(sum.operands[0], identity_axes(int(summed.size())));
    TermOrder order = term_order_of_shape(summed, sum.attributes.axes);
    auto place = [&](int axis) { return std::pair(term_rank(summed[size_t(axis)]), -apart_[size_t(axis)]); };
    std::stable_sort(order.axes.begin(), order.axes.end(), [&](int a, int b) { return place(a) < place(b); });
    double along_results = 0;
    bool is_total = true;
    for (int axis = 0; axis < int(summed.size()); ++axis) {
      if (is_summed_[size_t(axis)]) continue;
      along_results += contiguous_[size_t(axis)];
      is_total = is_total && summed[size_t(axis)] == Extent{1, false};
    }
    const double along_terms = contiguous_[size_t(order.axes.back())];
    if (is_total || along_results != along_terms) order.lanes = is_total || along_results < along_terms;
    return order;
  }

 private:
  /// Whether each axis of a reshape's operand is one of the result; else what stands in memory is seen as another shape.
  bool keeps_axes(NodeId reshape) const {
    const Shape& from = graph_.type(graph_[reshape].operands[0]).shape;
    for (int axis = 0; axis < int(from.size()); ++axis)
      if (from[size_t(axis)] != Extent{1, false} && axis_in_user(graph_, reshape, axis) < 0) return false;
    return true;
  }

  /// In memory; empty: row-major.
  std::vector<int> order_of(NodeId n) const {
    const Node& node = graph_[n];
    if (node.op == Op::reshape) return order_of_view(graph_.type(node.operands[0]).shape, order_of(node.operands[0]), node.type.shape).value_or(std::vector<int>{});
    if (node.op == Op::parameter || node.op == Op::input)
      if (auto it = layouts_.find(node.attributes.text); it != layouts_.end()) return it->second;
    return orders_[n.value];
  }

  /// Numbers that stand nowhere, and draws, which may be made in any order.
  static bool is_made_anywhere(Op op) { return op == Op::constant || op == Op::iota || op == Op::extent || op == Op::random; }

  /// `axes`: for each axis of the value that of the sum's operand, or -1. `in_window`: the sum goes along the places of a window on it, too.
  void follow(NodeId n, const std::vector<int>& axes, bool in_window = false) {
    if (!seen_.insert(n).second) return;
    const Node& node = graph_[n];
    const bool is_view = is_soft_view(node.op) || node.op == Op::slice || node.op == Op::pad || node.op == Op::window || (node.op == Op::reshape && keeps_axes(n));
    if ((is_elementwise(node.op) || is_view) && seen_.size() < most_values) {
      if (node.op == Op::window && node.attributes.axes.size() > 1) {
        const int place = axes[size_t(node.attributes.axes[1])];
        in_window = in_window || (place >= 0 && is_summed_[size_t(place)]);
      }
      for (NodeId o : node.operands) {
        std::vector<int> below;
        for (int axis = 0; axis < graph_.type(o).rank(); ++axis) {
          const int above = axis_in_user(graph_, n, axis);
          below.push_back(above < 0 ? -1 : axes[size_t(above)]);
        }
        follow(o, below, in_window);
      }
      return;
    }
    if (is_made_anywhere(node.op)) return;
    // What is the same for all terms is read once.
    if (!in_window && std::none_of(axes.begin(), axes.end(), [&](int axis) { return axis >= 0 && is_summed_[size_t(axis)]; })) return;
    std::vector<int> order = order_of(n);
    if (order.empty()) order = identity_axes(node.type.rank());
    const double bytes = double(node.type.elements(counted_rows) * byte_size(node.type.dtype));
    double stride = 1;
    for (size_t k = order.size(); k-- > 0;) {
      const Extent extent = node.type.shape[size_t(order[k])];
      if (extent == Extent{1, false}) continue;
      if (const int axis = axes[size_t(order[k])]; axis >= 0) {
        apart_[size_t(axis)] += stride * (bytes + 1);
        if (stride == 1) contiguous_[size_t(axis)] += bytes;
      }
      stride *= double(extent.at(counted_rows));
    }
  }

  const Graph& graph_;
  std::vector<std::vector<int>> orders_;
  Layouts layouts_;
  std::set<NodeId> seen_;
  std::vector<bool> is_summed_;     ///< by axis of the sum's operand, as what follows
  std::vector<double> apart_;       ///< by axis: how far apart neighbours stand in memory, by bytes of what is read
  std::vector<double> contiguous_;  ///< by axis: bytes of what is contiguous along it
};

}  // namespace

void order_sums(Graph& graph) {
  Chooser chooser(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& node = graph[NodeId{i}];
    if (!has_term_order(node)) continue;
    TermOrder order = chooser.choose(node);
    const bool is_of_shape = order == term_order_of_shape(graph.type(node.operands[0]).shape, node.attributes.axes);
    node.attributes.terms = is_of_shape ? TermOrder{} : std::move(order);
  }
}

}  // namespace nnc
