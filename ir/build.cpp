// Builder: nodes with a fixed span and scope. What would change nothing (a broadcast to the own shape, a transpose in order, a reduction
// over no axis) adds no node, so that gradient rules need no special cases.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "ir/graph.h"
#include "ir/regions.h"

namespace nnc {

NodeId Builder::input(std::string name, Type type) {
  Attributes a;
  a.text = std::move(name);
  a.extents = std::move(type.shape);
  a.dtype = type.dtype;
  return graph.add(Op::input, {}, std::move(a), span, scope);
}

NodeId Builder::parameter(const Persistent& p) {
  graph.add_persistent(p);
  Attributes a;
  a.text = p.name;
  a.extents = p.type.shape;
  a.dtype = p.type.dtype;
  return graph.add(Op::parameter, {}, std::move(a), span, scope);
}

NodeId Builder::scalar(std::string name) {
  Attributes a;
  a.text = std::move(name);
  return graph.add(Op::scalar, {}, std::move(a), span, scope);
}

NodeId Builder::constant(Number value, Type type) {
  Attributes a;
  a.number = value;
  a.extents = std::move(type.shape);
  a.dtype = type.dtype;
  return graph.add(Op::constant, {}, std::move(a), span, scope);
}

NodeId Builder::constant_like(Number value, NodeId other) { return constant(value, graph.type(other)); }

NodeId Builder::literal(std::vector<Number> values, Type type) {
  Attributes a;
  a.values = std::move(values);
  a.dtype = type.dtype;
  a.extents = std::move(type.shape);
  return graph.add(Op::literal, {}, std::move(a), span, scope);
}

NodeId Builder::iota(Shape shape, int axis) {
  Attributes a;
  a.extents = std::move(shape);
  a.axes = {axis};
  return graph.add(Op::iota, {}, std::move(a), span, scope);
}

NodeId Builder::extent(Extent e) {
  Attributes a;
  a.extents = {e};
  return graph.add(Op::extent, {}, std::move(a), span, scope);
}

NodeId Builder::random(std::string site, Shape shape) {
  Attributes a;
  a.text = std::move(site);
  a.extents = std::move(shape);
  return graph.add(Op::random, {}, std::move(a), span, scope);
}

NodeId Builder::result(NodeId scan, int number) {
  Type type = result_type(graph[scan], number);
  Attributes a;
  a.begin = number;
  a.extents = std::move(type.shape);
  a.dtype = type.dtype;
  return graph.add(Op::result, {scan}, std::move(a), span, scope);
}

NodeId Builder::unary(Op op, NodeId x) { return graph.add(op, {x}, {}, span, scope); }

NodeId Builder::binary(Op op, NodeId x, NodeId y) {
  if (graph.type(x).rank() == 0 && graph.type(y).rank() != 0) x = broadcast(x, graph.type(y).shape, {});
  if (graph.type(y).rank() == 0 && graph.type(x).rank() != 0) y = broadcast(y, graph.type(x).shape, {});
  return graph.add(op, {x, y}, {}, span, scope);
}

NodeId Builder::select(NodeId condition, NodeId x, NodeId y) {
  Shape shape;
  for (NodeId id : {condition, x, y})
    if (graph.type(id).rank() != 0) shape = graph.type(id).shape;
  auto fit = [&](NodeId id) { return graph.type(id).rank() == 0 ? broadcast(id, shape, {}) : id; };
  condition = fit(condition);
  x = fit(x);
  y = fit(y);
  return graph.add(Op::select, {condition, x, y}, {}, span, scope);
}

NodeId Builder::cast(NodeId x, DType dtype) {
  if (graph.type(x).dtype == dtype) return x;
  Attributes a;
  a.dtype = dtype;
  return graph.add(Op::cast, {x}, std::move(a), span, scope);
}

NodeId Builder::broadcast(NodeId x, Shape shape, std::vector<int> axes) {
  if (graph.type(x).shape == shape && axes.size() == shape.size()) return x;
  Attributes a;
  a.extents = std::move(shape);
  a.axes = std::move(axes);
  return graph.add(Op::broadcast, {x}, std::move(a), span, scope);
}

NodeId Builder::transpose(NodeId x, std::vector<int> axes) {
  std::vector<int> in_order(graph.type(x).shape.size());
  std::iota(in_order.begin(), in_order.end(), 0);
  if (axes == in_order) return x;
  Attributes a;
  a.axes = std::move(axes);
  return graph.add(Op::transpose, {x}, std::move(a), span, scope);
}

NodeId Builder::reshape(NodeId x, Shape shape) {
  if (graph.type(x).shape == shape) return x;
  Attributes a;
  a.extents = std::move(shape);
  return graph.add(Op::reshape, {x}, std::move(a), span, scope);
}

NodeId Builder::slice(NodeId x, int axis, int64_t begin, Extent length) {
  NNC_CHECK(axis >= 0 && axis < graph.type(x).rank(), fmt::format("slice of {} along axis {}", to_string(graph.type(x)), axis));
  if (begin == 0 && graph.type(x).shape[size_t(axis)] == length) return x;
  Attributes a;
  a.axes = {axis};
  a.begin = begin;
  a.extents = {length};
  return graph.add(Op::slice, {x}, std::move(a), span, scope);
}

NodeId Builder::pad(NodeId x, int axis, int64_t begin, Extent total) {
  NNC_CHECK(axis >= 0 && axis < graph.type(x).rank(), fmt::format("pad of {} along axis {}", to_string(graph.type(x)), axis));
  if (begin == 0 && graph.type(x).shape[size_t(axis)] == total) return x;
  Attributes a;
  a.axes = {axis};
  a.begin = begin;
  a.extents = {total};
  return graph.add(Op::pad, {x}, std::move(a), span, scope);
}

NodeId Builder::window(NodeId x, Attributes attributes) { return graph.add(Op::window, {x}, std::move(attributes), span, scope); }

NodeId Builder::reduce(Op op, NodeId x, std::vector<int> axes) {
  if (axes.empty()) return x;
  Attributes a;
  a.axes = std::move(axes);
  return graph.add(op, {x}, std::move(a), span, scope);
}

NodeId Builder::mean(NodeId x, std::vector<int> axes) {
  Extent count;
  for (int axis : axes) {
    NNC_CHECK(axis >= 0 && axis < graph.type(x).rank(), fmt::format("mean of {} over axis {}", to_string(graph.type(x)), axis));
    const Extent& e = graph.type(x).shape[size_t(axis)];
    count.size *= e.size;
    count.rows |= e.rows;
  }
  if (axes.empty()) return x;
  NodeId sum = reduce(Op::reduce_sum, x, std::move(axes));
  NodeId divisor = count.rows ? cast(extent(count), graph.type(sum).dtype) : constant_like(double(count.size), sum);
  return div(sum, divisor);
}

NodeId Builder::contract(NodeId x, NodeId y, std::vector<int> lhs, std::vector<int> rhs, std::vector<int> out) {
  Attributes a;
  a.lhs = std::move(lhs);
  a.rhs = std::move(rhs);
  a.out = std::move(out);
  return graph.add(Op::contract, {x, y}, std::move(a), span, scope);
}

NodeId Builder::expand(NodeId reduced, const std::vector<int>& axes, NodeId like) {
  Shape shape = graph.type(like).shape;
  std::vector<int> kept;
  for (int i = 0; i < int(shape.size()); ++i)
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) kept.push_back(i);
  return broadcast(reduced, std::move(shape), std::move(kept));
}

}  // namespace nnc
