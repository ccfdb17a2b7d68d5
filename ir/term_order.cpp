// The order of a sum's terms by its shape: the one that suits a value that stands in memory row by row.
#include "ir/term_order.h"

#include <algorithm>
#include <utility>

namespace nnc {

bool has_term_order(const Node& node) { return node.op == Op::reduce_sum && is_float(node.type.dtype); }

int term_rank(Extent extent) { return extent.rows ? 0 : extent == Extent{1, false} ? 1 : 2; }

TermOrder term_order_of_shape(const Shape& summed, const std::vector<int>& axes) {
  TermOrder order{axes, false};
  auto place = [&](int axis) { return std::pair(term_rank(summed[size_t(axis)]), axis); };
  std::sort(order.axes.begin(), order.axes.end(), [&](int a, int b) { return place(a) < place(b); });
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
