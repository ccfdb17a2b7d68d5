// An index such as `2*index(OH) + index(KH) - 1` is a tensor like any other; that it counts is read off the graph that it was made into, so it does not matter how it is
// written or whether it has a name of its own. The selected dimension gives way to those of the index: one of them is what the window moves along, the other counts the
// elements of each window and is brought in by repetition.
#include "frontend/windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "frontend/evaluator.h"
#include "ir/window.h"

namespace nnc {

namespace {

constexpr int64_t most = INT32_MAX;  // what an index holds

bool fits(const AffineIndex& a) {
  auto small = [](int64_t v) { return v >= -most && v <= most; };
  return std::all_of(a.factors.begin(), a.factors.end(), small) && small(a.constant) && small(a.divide);
}

/// The whole number that every element holds.
std::optional<int64_t> whole_splat(const Graph& graph, NodeId id) {
  while (graph[id].op == Op::cast || graph[id].op == Op::broadcast) id = graph[id].operands[0];
  if (graph[id].op != Op::constant) return std::nullopt;
  const double number = graph[id].attributes.number;
  if (number != std::nearbyint(number) || std::fabs(number) > double(most)) return std::nullopt;
  return int64_t(number);
}

}  // namespace

std::optional<AffineIndex> read_affine(const Graph& graph, NodeId id) {
  const Node& node = graph[id];
  const size_t rank = node.type.shape.size();
  AffineIndex result;
  result.factors.assign(rank, 0);
  if (std::optional<int64_t> number = whole_splat(graph, id)) {
    result.constant = *number;
    return result;
  }
  auto operand = [&](size_t i) { return read_affine(graph, node.operands[i]); };
  auto times = [](AffineIndex a, int64_t factor) {
    for (int64_t& f : a.factors) f *= factor;
    a.constant *= factor;
    return a;
  };
  std::optional<AffineIndex> a, b;
  switch (node.op) {
    case Op::iota:
      if (node.attributes.extents[size_t(node.attributes.axes[0])].rows) return std::nullopt;
      result.factors[size_t(node.attributes.axes[0])] = 1;
      return result;
    case Op::broadcast:
      if (!(a = operand(0))) return std::nullopt;
      for (size_t i = 0; i < node.attributes.axes.size(); ++i) result.factors[size_t(node.attributes.axes[i])] = a->factors[i];
      result.constant = a->constant;
      result.divide = a->divide;
      return result;
    case Op::transpose:
      if (!(a = operand(0))) return std::nullopt;
      for (size_t i = 0; i < rank; ++i) result.factors[i] = a->factors[size_t(node.attributes.axes[i])];
      result.constant = a->constant;
      result.divide = a->divide;
      return result;
    case Op::cast:
      if (!is_integer(graph.type(node.operands[0]).dtype)) return std::nullopt;
      return operand(0);
    case Op::neg:
      if (!(a = operand(0)) || a->divide != 1) return std::nullopt;
      return times(*a, -1);
    case Op::add:
    case Op::sub:
      if (!(a = operand(0)) || !(b = operand(1)) || a->divide != 1 || b->divide != 1) return std::nullopt;
      *b = times(*b, node.op == Op::sub ? -1 : 1);
      for (size_t i = 0; i < rank; ++i) result.factors[i] = a->factors[i] + b->factors[i];
      result.constant = a->constant + b->constant;
      break;
    case Op::mul:
      for (size_t i : {0u, 1u}) {
        std::optional<int64_t> factor = whole_splat(graph, node.operands[i]);
        if (!factor || !(a = operand(1 - i)) || a->divide != 1) continue;
        result = times(*a, *factor);
        return fits(result) ? std::optional(result) : std::nullopt;
      }
      return std::nullopt;
    case Op::div: {
      std::optional<int64_t> divisor = whole_splat(graph, node.operands[1]);
      if (!divisor || *divisor < 1 || !(a = operand(0)) || a->divide != 1) return std::nullopt;
      a->divide = *divisor;
      return a;
    }
    default:
      return std::nullopt;
  }
  return fits(result) ? std::optional(result) : std::nullopt;
}

std::optional<WindowPlan> plan_window(const TensorValue& t, int index, const TensorValue& by, const AffineIndex& affine) {
  WindowPlan plan;
  std::vector<size_t> counting;
  for (size_t j = 0; j < by.dims.size(); ++j)
    if (affine.factors[size_t(axis_of(by.dims, int(j)))] != 0) counting.push_back(j);
  if (counting.empty() || counting.size() > 2 || counting.size() != by.dims.size()) return std::nullopt;
  auto is_present = [&](size_t j) {
    return by.dims[j].named() && std::any_of(t.dims.begin(), t.dims.end(), [&](const Dim& d) { return &d != &t.dims[size_t(index)] && d.id == by.dims[j].id; });
  };
  // What grows moves the window, if the value does not have it already.
  for (bool rising : {true, false})
    for (size_t j : counting)
      if (!plan.along && !is_present(j) && (affine.factors[size_t(axis_of(by.dims, int(j)))] > 0) == rising) plan.along = j;
  for (size_t j : counting) {
    if (plan.along && *plan.along == j) continue;
    if (plan.by) return std::nullopt;
    plan.by = j;
  }
  return plan;
}

// What the dimension lacks: places from lowest to highest, before a division; `divided` is said of an index that divides, else empty.
static Diagnostic& report_outside(EvaluationContext& ctx, const Dim& d, int64_t lowest, int64_t highest, const std::string& divided, Span span) {
  const std::string reads = fmt::format("this reads {} to {} of `{}`, which has {} entries", lowest, highest, ctx.dims.show(d), d.extent.size);
  Diagnostic& e = ctx.error(Code::E0114, span, divided.empty() ? reads : divided);
  ctx.settle(e, {lowest, highest, d.extent.size});
  return e;
}

bool check_inside(SymbolicEvaluator& eval, const Dim& d, const TensorValue& by, const AffineIndex& affine, Span selector_span) {
  int64_t lowest = affine.constant, highest = affine.constant;
  for (size_t j = 0; j < by.dims.size(); ++j) {
    const int64_t reach = affine.factors[size_t(axis_of(by.dims, int(j)))] * (by.dims[j].extent.size - 1);
    (reach < 0 ? lowest : highest) += reach;
  }
  if (affine.divide == 1 && lowest >= 0 && highest < d.extent.size) return true;
  const std::string divided = affine.divide != 1 ? "this index divides, and is no window" : "";
  Diagnostic& e = report_outside(eval.ctx, d, lowest, highest, divided, selector_span);
  e.help.push_back("a window's index counts along at most two dimensions, one of them new: any other index is a lookup, which has no `outside`");
  return false;
}

std::optional<TensorValue> make_window(SymbolicEvaluator& eval, const TensorValue& t, int index, const TensorValue& by, const AffineIndex& affine, const WindowPlan& plan,
                                       std::optional<Number> outside, Span span, Span selector_span) {
  EvaluationContext& ctx = eval.ctx;
  if (!eval.tensors.check_distinct(t, "selection", span)) return std::nullopt;
  const Dim d = t.dims[size_t(index)];
  auto factor_of = [&](size_t j) { return affine.factors[size_t(axis_of(by.dims, int(j)))]; };
  TensorValue result = t;
  result.free = false;
  Builder b = ctx.builder(span);
  // The element's dimension: one that the value has, or one by which it is repeated, right behind the selected one.
  int elements = -1;
  if (plan.by) {
    const Dim e = by.dims[*plan.by];
    for (size_t i = 0; i < t.dims.size(); ++i)
      if (int(i) != index && e.named() && t.dims[i].id == e.id) elements = int(i);
    if (elements < 0) {
      elements = index + 1;
      result.dims.insert(result.dims.begin() + elements, e);
      if (!eval.tensors.check_rows(result.dims, span)) return std::nullopt;
      std::vector<int> axes(t.dims.size());
      for (size_t i = 0; i < t.dims.size(); ++i) axes[size_t(axis_of(t.dims, int(i)))] = axis_of(result.dims, int(i) < elements ? int(i) : int(i) + 1);
      result.node = b.broadcast(t.node, shape_of(result.dims), axes);
    }
  }
  Attributes a;
  a.axes = {axis_of(result.dims, index)};
  if (elements >= 0) a.axes.push_back(axis_of(result.dims, elements));
  a.extents = {plan.along ? by.dims[*plan.along].extent : Extent{1, false}};
  a.stride = plan.along ? factor_of(*plan.along) : 1;
  a.dilation = plan.by ? factor_of(*plan.by) : 1;
  a.begin = affine.constant;
  a.divide = affine.divide;
  if (outside) a.number = *outside;
  const int64_t count = elements >= 0 ? result.dims[size_t(elements)].extent.size : 1;
  if (!outside && leaves_operand(a, d.extent.size, a.extents[0].size, count)) {
    const auto [lowest, highest] = window_reach(a, a.extents[0].size, count);
    const std::string divided = a.divide != 1 ? fmt::format("not every place of `{}` that this selects is a whole number", ctx.dims.show(d)) : "";
    Diagnostic& e = report_outside(ctx, d, lowest, highest, divided, selector_span);
    e.help.push_back("say what stands outside of it: `, outside: 0` behind the index");
    return std::nullopt;
  }
  result.dims[size_t(index)] = plan.along ? by.dims[*plan.along] : Dim{0, {1, false}, d.origin};
  if (!eval.tensors.check_rows(result.dims, span)) return std::nullopt;
  std::string misfit;
  if (!infer_type(Op::window, {ctx.graph.type(result.node)}, a, misfit)) {
    ctx.error(Code::E0114, selector_span, fmt::format("this index {}", misfit));
    return std::nullopt;
  }
  result.node = b.window(result.node, a);
  // In the order of the index, and without the dimension of one element where nothing moves.
  if (!plan.along) {
    result.dims.erase(result.dims.begin() + index);
    result.node = b.reshape(result.node, shape_of(result.dims));
  } else if (plan.by && elements == index + 1 && *plan.by < *plan.along && result.dims.size() > t.dims.size()) {
    std::vector<int> order(result.dims.size());
    std::iota(order.begin(), order.end(), 0);
    std::swap(order[size_t(index)], order[size_t(elements)]);
    result = eval.tensors.reorder(result, order, span);
  }
  return result;
}

}  // namespace nnc
