// From a NaN back to where it began, element by element. Going by whole tensors would blame what is harmless: the branch that a `where` did not take, a
// row of a table that was not looked up, an exp that overflowed and was divided by. So each operation says which elements of its operands an element of
// its result was computed from: a walk over the operand with those indices fixed that the result's index decides.
#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/divergence.h"
#include "engine/tensors.h"
#include "ir/window.h"

namespace nnc {
namespace {

constexpr int64_t free_axis = -1;

/// For every axis of operand k the index that goes into this element of the result, or free_axis; nothing: the operand does not go into it.
std::optional<std::vector<int64_t>> fixed_axes(const Node& n, const std::vector<int64_t>& at, size_t k, size_t operand_rank) {
  const Attributes& a = n.attributes;
  std::vector<int64_t> fixed(operand_rank, free_axis);
  auto fix_labels = [&](const std::vector<int>& labels) {
    for (size_t i = 0; i < labels.size(); ++i)
      for (size_t o = 0; o < a.out.size(); ++o)
        if (a.out[o] == labels[i]) fixed[i] = at[o];
  };
  switch (n.op) {
    case Op::broadcast:
      for (size_t i = 0; i < operand_rank; ++i) fixed[i] = at[size_t(a.axes[i])];
      return fixed;
    case Op::transpose:
      for (size_t i = 0; i < operand_rank; ++i) fixed[size_t(a.axes[i])] = at[i];
      return fixed;
    case Op::slice:
    case Op::pad:
      fixed.assign(at.begin(), at.end());
      fixed[size_t(a.axes[0])] += n.op == Op::slice ? a.begin : -a.begin;
      return fixed;
    case Op::window: {
      fixed.assign(at.begin(), at.end());
      const int64_t place = window_place(a, at[size_t(a.axes[0])], a.axes.size() > 1 ? at[size_t(a.axes[1])] : 0);
      if (place % a.divide != 0) return std::nullopt;
      fixed[size_t(a.axes[0])] = place / a.divide;
      return fixed;
    }
    case Op::reduce_sum:
    case Op::reduce_max:
    case Op::reduce_min: {
      size_t next = 0;
      for (size_t i = 0; i < operand_rank; ++i)
        if (!std::binary_search(a.axes.begin(), a.axes.end(), int(i))) fixed[i] = at[next++];
      return fixed;
    }
    case Op::contract:
      fix_labels(k == 0 ? a.lhs : a.rhs);
      return fixed;
    default:
      return std::nullopt;
  }
}

size_t offset_of(const std::vector<int64_t>& index, const std::vector<int64_t>& shape) {
  int64_t offset = 0;
  for (size_t i = 0; i < shape.size(); ++i) offset = offset * shape[i] + index[i];
  return size_t(offset);
}

/// Calls visit(element) for the elements of `shape` whose index agrees with `fixed`, in row-major order, until it returns true.
template <class Visit>
void walk_elements(const std::vector<int64_t>& shape, const std::vector<int64_t>& fixed, Visit visit) {
  std::vector<int64_t> index(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    if (fixed[i] != free_axis && (fixed[i] < 0 || fixed[i] >= shape[i])) return;  // the zeros around a pad
    if (shape[i] == 0) return;
    index[i] = fixed[i] == free_axis ? 0 : fixed[i];
  }
  while (!visit(offset_of(index, shape))) {
    size_t i = shape.size();
    while (i-- > 0) {
      if (fixed[i] != free_axis) continue;
      if (++index[i] < shape[i]) break;
      index[i] = 0;
    }
    if (i == size_t(-1)) return;
  }
}

class OriginSearch {
 public:
  OriginSearch(const Graph& graph, const std::vector<Tensor>& values) : graph_(graph), values_(values) {}

  ValuePlace search(ValuePlace at) const {
    std::optional<ValuePlace> made_nan, computed;  // the last on the way that made NaN of infinities; that computed anything
    while (true) {
      const Node& n = graph_[at.node];
      if (n.op == Op::constant || n.op == Op::literal) return made_nan ? *made_nan : computed ? *computed : at;
      if (op_class(n.op) != OpClass::shape) computed = at;
      std::optional<ValuePlace> next = find_operand(at, true);
      if (!next) {
        next = find_operand(at, false);
        if (next && std::isnan(value(at))) made_nan = at;
      }
      if (!next) return at;
      at = *next;
    }
  }

 private:
  double value(ValuePlace p) const { return values_[p.node.value].values[p.element]; }

  /// An element of an operand that went into `at` and is NaN, or not finite.
  std::optional<ValuePlace> find_operand(ValuePlace at, bool nan) const {
    const Node& n = graph_[at.node];
    std::optional<ValuePlace> found;
    auto visit = [&](NodeId operand, size_t element) {
      double v = values_[operand.value].values[element];
      if (nan ? std::isnan(v) : !std::isfinite(v)) found = ValuePlace{operand, element};
      return found.has_value();
    };
    for (size_t k = 0; k < n.operands.size() && !found; ++k) {
      NodeId operand = n.operands[k];
      if (!is_float(graph_.type(operand).dtype)) continue;
      const std::vector<int64_t>& shape = values_[operand.value].shape;
      std::vector<int64_t> index = index_of(at.element, values_[at.node.value].shape);
      if (is_elementwise(n.op) || n.op == Op::reshape) {
        if (n.op == Op::select && (values_[n.operands[0].value].values[at.element] != 0) != (k == 1)) continue;
        visit(operand, at.element);
      } else if (n.op == Op::gather) {
        visit(operand, gathered_element(n, index));
      } else if (n.op == Op::scatter_add) {
        visit_scattered(n, index, visit);
      } else if (auto fixed = fixed_axes(n, index, k, shape.size())) {
        walk_elements(shape, *fixed, [&](size_t element) { return visit(operand, element); });
      }
    }
    return found;
  }

  static int64_t at_label(const std::vector<int>& labels, const std::vector<int64_t>& index, int label) {
    return index[size_t(std::find(labels.begin(), labels.end(), label) - labels.begin())];
  }

  /// Of the table, for an index of the result.
  size_t gathered_element(const Node& n, const std::vector<int64_t>& result) const {
    const Attributes& a = n.attributes;
    const Tensor &table = values_[n.operands[0].value], &index = values_[n.operands[1].value];
    std::vector<int64_t> place;
    for (int label : a.rhs) place.push_back(at_label(a.out, result, label));
    double entry = index.values[offset_of(place, index.shape)];
    std::vector<int64_t> in_table;
    for (size_t i = 0; i < a.lhs.size(); ++i) in_table.push_back(int(i) == a.axes[0] ? int64_t(entry) : at_label(a.out, result, a.lhs[i]));
    return offset_of(in_table, table.shape);
  }

  /// The updates that were added to an index of the result.
  template <class Visit>
  void visit_scattered(const Node& n, const std::vector<int64_t>& result, Visit visit) const {
    const Attributes& a = n.attributes;
    const Tensor &updates = values_[n.operands[0].value], &index = values_[n.operands[1].value];
    std::vector<int64_t> fixed(updates.shape.size(), free_axis);
    for (size_t i = 0; i < a.lhs.size(); ++i)
      for (size_t o = 0; o < a.out.size(); ++o)
        if (a.out[o] == a.lhs[i] && int(o) != a.axes[0]) fixed[i] = result[o];
    walk_elements(updates.shape, fixed, [&](size_t element) {
      std::vector<int64_t> at = index_of(element, updates.shape), place;
      for (int label : a.rhs) place.push_back(at_label(a.lhs, at, label));
      return int64_t(index.values[offset_of(place, index.shape)]) == result[size_t(a.axes[0])] && visit(n.operands[0], element);
    });
  }

  const Graph& graph_;
  const std::vector<Tensor>& values_;
};

}  // namespace

ValuePlace find_origin(const Graph& graph, const std::vector<Tensor>& values, ValuePlace from) { return OriginSearch(graph, values).search(from); }

std::string describe_origin(const Graph& graph, const std::vector<Tensor>& values, ValuePlace at, const SourceMap& sources, const std::string& part) {
  const Node& n = graph[at.node];
  const Tensor& value = values[at.node.value];
  std::string where = value.shape.empty() ? "" : " at " + shape_text(index_of(at.element, value.shape));
  if (n.operands.empty())
    return fmt::format("`{}` is {:g}{}{}", n.attributes.text, value.values[at.element], where, n.op == Op::parameter ? " before the step" : "");
  std::string place = fmt::format("`{}`{}{}", op_name(n.op), part, n.span.valid() ? " at " + sources.describe_line(n.span) : "");
  if (!is_elementwise(n.op)) return fmt::format("{} gave {:g}{}", place, value.values[at.element], where);
  std::vector<std::string> received;
  for (NodeId o : n.operands) received.push_back(fmt::format("{:g}", values[o.value].values[at.element]));
  return fmt::format("{} received {}{}", place, fmt::join(received, " and "), where);
}

}  // namespace nnc
