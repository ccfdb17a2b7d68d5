// A literal of one number is a constant. An element-wise operation over constants gives one number in every element, which the interpreter computes on a graph of that
// single operation: folding cannot disagree with evaluation. Repeating or moving equal elements changes none of them.
#include "passes/fold.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>

#include "ir/interpreter_ops.h"
#include "ir/window.h"
#include "passes/dead_code.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

// The value in f32 is the value in f64 but for rounding: neither overflowed nor denormal.
bool keeps_as_f32(double v) { return v == 0 || (std::fabs(v) <= FLT_MAX && std::fabs(v) >= FLT_MIN); }

std::optional<Number> evaluate(const Graph& graph, const Node& node, const std::vector<Number>& values) {
  Graph single;
  std::vector<NodeId> operands;
  for (size_t i = 0; i < values.size(); ++i)
    operands.push_back(Builder(single).constant(values[i], {graph.type(node.operands[i]).dtype, {}}));
  NodeId result = single.add(node.op, operands, node.attributes);
  single.outputs.push_back({"result", result});
  Number value = interpret(single, {}).outputs.at("result").at(0);
  if (std::isnan(value)) return std::nullopt;
  // A quotient of more than 53 digits is rounded already, and would be once more.
  if (node.op == Op::floor_div && single.type(result).dtype == DType::f32 && std::fabs(value) >= 0x1p53) return std::nullopt;
  if (single.type(result).dtype == DType::f32 && !keeps_as_f32(value)) {
    for (Number v : values)
      if (keeps_as_f32(v)) return std::nullopt;
  }
  return value;
}

}  // namespace

std::optional<Number> fold_node(const Graph& graph, const Node& node) {
  if (node.op == Op::extent && !node.attributes.extents[0].rows) return Number(double(node.attributes.extents[0].size));
  if (node.op == Op::literal) {
    const std::vector<Number>& v = node.attributes.values;
    auto is_first = [&](Number x) { return same_bits(x, v[0]); };
    return !v.empty() && std::ranges::all_of(v, is_first) ? std::optional(v[0]) : std::nullopt;
  }
  if (node.operands.empty() || node.op == Op::stop_gradient) return std::nullopt;
  std::vector<Number> values;
  auto read_operands = [&] {
    for (NodeId operand : node.operands) {
      if (graph[operand].op != Op::constant) return false;
      values.push_back(graph[operand].attributes.number);
    }
    return true;
  };
  switch (node.op) {
    case Op::broadcast:
    case Op::transpose:
    case Op::reshape:
    case Op::slice:
      return read_operands() ? std::optional(values[0]) : std::nullopt;
    case Op::pad:
      return read_operands() && values[0] == 0 && !std::signbit(values[0]) ? std::optional(Number(0)) : std::nullopt;
    case Op::window: {
      if (!read_operands()) return std::nullopt;
      const bool one_number = same_bits(values[0], node.attributes.number) || !leaves_operand(graph, node);
      return one_number ? std::optional(values[0]) : std::nullopt;
    }
    case Op::reduce_max:
    case Op::reduce_min:
    case Op::reduce_sum: {
      if (!read_operands()) return std::nullopt;
      int64_t count = 1;
      for (int axis : node.attributes.axes) {
        Extent e = graph.type(node.operands[0]).shape[size_t(axis)];
        if (e.rows || e.size == 0) return std::nullopt;
        count *= e.size;
      }
      if (node.op != Op::reduce_sum) return values[0];
      if (!is_float(node.type.dtype)) return multiply_numbers(values[0], count, node.type.dtype);
      double sum = values[0] * double(count);
      return keeps_as_f32(sum) ? std::optional(Number(sum)) : std::nullopt;
    }
    default:
      return is_elementwise(node.op) && read_operands() ? evaluate(graph, node, values) : std::nullopt;
  }
}

void fold_constants(Graph& graph) {
  remove_dead_code(graph);
  if (std::none_of(graph.nodes().begin(), graph.nodes().end(), [&](const Node& node) { return fold_node(graph, node).has_value(); })) return;
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node node = rebuild.translated({i});
    if (std::optional<Number> value = fold_node(rebuild.result, node)) {
      rebuild.to[i] = Builder(rebuild.result, node.span, node.scope).constant(*value, node.type);
    } else {
      rebuild.to[i] = rebuild.result.adopt(std::move(node));
    }
  }
  graph = rebuild.finish();
  remove_dead_code(graph);
}

}  // namespace nnc
