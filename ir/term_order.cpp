// The order of a sum's terms by its shape: the one that suits a value that stands in memory row by row.
#include "ir/term_order.h"

#include <algorithm>
#include <tuple>

namespace nnc {

bool has_term_order(const Node& node) { return node.op == Op::reduce_sum && is_float(node.type.dtype); }

TermOrder term_order_of_shape(const Shape& summed, const std::vector<int>& axes) {
  TermOrder order{axes, false};
  std::sort(order.axes.begin(), order.axes.end(), [&](int a, int b) {
    auto place = [&](int axis) {
      const Extent extent = summed[size_t(axis)];
      return std::tuple(!extent.rows, extent != Extent{1, false}, axis);
    };
    return place(a) < place(b);
  });
  int innermost = int(summed.size()) - 1;
  while (innermost > 0 && summed[size_t(innermost)] == Extent{1, false}) --innermost;
  order.lanes = !order.axes.empty() && (order.axes.back() == innermost || order.axes.size() == summed.size());
  return order;
}

TermOrder term_order(const Graph& graph, const Node& node) {
  if (!node.attributes.terms.axes.empty()) return node.attributes.terms;
  return term_order_of_shape(graph.type(node.operands[0]).shape, node.attributes.axes);
}

}  // namespace nnc
