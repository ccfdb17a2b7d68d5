// The walk forwards: axes of positions of every value that outputs need. What is known of masked elements is asked where a sum needs it (causality_later.cpp).
#include "passes/causality.h"

#include <algorithm>

#include <fmt/format.h>

#include "ir/regions.h"
#include "ir/window.h"
#include "passes/axis_origin.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

/// What an operation that brings indices of an axis together gives, in words.
const char* gathered_word(Op op) {
  switch (op) {
    case Op::reduce_sum: return "a sum";
    case Op::reduce_max: return "the largest";
    case Op::reduce_min: return "the smallest";
    case Op::argmax: return "the place of the largest";
    default: return "a sum of products";
  }
}

bool is_computable(const Graph& graph, const Node& node, const std::vector<bool>& computable) {
  switch (node.op) {
    case Op::constant:
    case Op::literal:
    case Op::iota: return true;
    case Op::scan:
    case Op::result: return false;
    default:
      return op_class(node.op) != OpClass::leaf && std::ranges::all_of(node.operands, [&](NodeId o) { return computable[o.value]; }) &&
             node.type.elements(1) <= int64_t(1) << 24 && graph[node.operands[0]].type.elements(1) <= int64_t(1) << 24;
  }
}

}  // namespace

Causality::Causality(const Graph& graph, NodeId tokens)
    : graph_(graph), tokens_(tokens), depends_(graph.size()), computable_(graph.size()), positions_(graph.size()) {
  const std::vector<bool> live = live_nodes(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    depends_[i] = NodeId{i} == tokens || std::ranges::any_of(node.operands, [&](NodeId o) { return depends_[o.value]; });
    computable_[i] = is_computable(graph, node, computable_);
  }
  for (uint32_t i = 0; i < graph.size() && !obstacle_; ++i)
    if (live[i] && depends_[i]) visit({i});
}

void Causality::fail(NodeId id, std::string reason) {
  if (!obstacle_) obstacle_ = {id, std::move(reason)};
}

bool Causality::has_position(NodeId id, int axis) const { return axis >= 0 && holds(positions_[id.value], axis); }

void Causality::visit(NodeId id) {
  const Node& node = graph_[id];
  switch (node.op) {
    case Op::input: positions_[id.value] = {1}; return;
    case Op::reduce_sum:
    case Op::reduce_max:
    case Op::reduce_min:
    case Op::argmax: return visit_reduction(id, {});
    case Op::contract: return visit_contraction(id);
    case Op::gather: return visit_gather(id);
    case Op::slice:
      if (has_position(node.operands[0], node.attributes.axes[0]) && node.attributes.begin > 0)
        fail(id, fmt::format("a slice reads {} position{} further on", node.attributes.begin, node.attributes.begin == 1 ? "" : "s"));
      return carry_axes(id);
    case Op::window: return visit_window(id);
    case Op::scatter_add: return fail(id, "values are added up at indices");
    case Op::scan: return visit_scan(id);
    case Op::result: return visit_result(id);
    default: return carry_axes(id);
  }
}

/// An operand's axes of positions are the result's, which has them all.
void Causality::carry_axes(NodeId id) {
  const Node& node = graph_[id];
  std::vector<int>& axes = positions_[id.value];
  for (int axis = 0; axis < node.type.rank(); ++axis)
    for (size_t k = 0; k < node.operands.size(); ++k)
      if (has_position(node.operands[k], axis_origin(graph_, node, k, axis)) && !holds(axes, axis)) axes.push_back(axis);
  for (size_t k = 0; k < node.operands.size(); ++k)
    for (int axis : positions_[node.operands[k].value]) {
      const auto is_origin = [&](int r) { return axis_origin(graph_, node, k, r) == axis; };
      const std::vector<int> all = identity_axes(node.type.rank());
      if (std::ranges::none_of(all, is_origin)) return fail(id, "a view joins positions with another dimension");
    }
}

void Causality::visit_reduction(NodeId id, std::vector<int> kept) {
  const Node& node = graph_[id];
  const NodeId from = node.operands[0];
  std::vector<int> lost;
  for (int axis : positions_[from.value]) (holds(node.attributes.axes, axis) ? lost : kept).push_back(axis);
  const char* what = gathered_word(node.op);
  if (lost.size() > 1) return fail(id, fmt::format("{} is taken over positions twice", what));
  if (lost.size() == 1) {
    // Axes of positions are tried first: a new one would say less.
    std::vector<int> candidates = kept;
    for (int axis = 0; axis < graph_.type(from).rank(); ++axis)
      if (!holds(node.attributes.axes, axis) && !holds(kept, axis) && !graph_.type(from).shape[size_t(axis)].rows) candidates.push_back(axis);
    const auto masked = std::ranges::find_if(candidates, [&](int t) { return later(from, t, lost[0]).kind != Later::Kind::unknown; });
    if (masked == candidates.end()) return fail(id, fmt::format("{} over positions reads later ones", what));
    if (!holds(kept, *masked)) kept.push_back(*masked);
  }
  for (int axis = 0; axis < node.type.rank(); ++axis)
    if (holds(kept, axis_origin(graph_, node, 0, axis))) positions_[id.value].push_back(axis);
}

void Causality::visit_contraction(NodeId id) {
  const Node& node = graph_[id];
  const Attributes& a = node.attributes;
  std::vector<int> kept, lost;  // labels
  for (size_t k = 0; k < 2; ++k)
    for (int axis : positions_[node.operands[k].value]) {
      const int label = (k == 0 ? a.lhs : a.rhs)[size_t(axis)];
      std::vector<int>& list = holds(a.out, label) ? kept : lost;
      if (!holds(list, label)) list.push_back(label);
    }
  if (lost.size() > 1) return fail(id, "a sum of products is taken over positions twice");
  if (lost.size() == 1) {
    std::vector<int> candidates = kept;
    for (size_t i = 0; i < a.out.size(); ++i)
      if (!holds(kept, a.out[i]) && !node.type.shape[i].rows) candidates.push_back(a.out[i]);
    const auto masked = std::ranges::find_if(candidates, [&](int t) { return product_later(id, t, lost[0]).kind != Later::Kind::unknown; });
    if (masked == candidates.end()) {
      const auto weighs = [&](int t) {
        return later_by_labels(node.operands[0], a.lhs, t, lost[0]).kind != Later::Kind::unknown || later_by_labels(node.operands[1], a.rhs, t, lost[0]).kind != Later::Kind::unknown;
      };
      return fail(id, std::ranges::any_of(candidates, weighs) ? "a sum of products over positions gives later ones a weight that is not known to be 0" : "a sum of products over positions reads later ones");
    }
    if (!holds(kept, *masked)) kept.push_back(*masked);
  }
  for (size_t i = 0; i < a.out.size(); ++i)
    if (holds(kept, a.out[i])) positions_[id.value].push_back(int(i));
}

void Causality::visit_gather(NodeId id) {
  const Node& node = graph_[id];
  if (has_position(node.operands[0], node.attributes.axes[0])) return fail(id, "a position is chosen by an index");
  carry_axes(id);
}

void Causality::visit_window(NodeId id) {
  const Node& node = graph_[id];
  const Attributes& a = node.attributes;
  const NodeId from = node.operands[0];
  if (a.axes.size() == 2 && has_position(from, a.axes[1])) return fail(id, "a window's own elements are positions");
  if (has_position(from, a.axes[0])) {
    const int64_t elements = a.axes.size() == 2 ? node.type.shape[size_t(a.axes[1])].size : 1;
    if (a.stride != 1 || a.divide != 1) return fail(id, "a window goes along positions by another step than 1");
    const int64_t ahead = window_reach(a, 1, elements).highest;
    if (ahead > 0) return fail(id, fmt::format("a window reads {} position{} further on", ahead, ahead == 1 ? "" : "s"));
  }
  carry_axes(id);
}

/// Steps are positions.
void Causality::visit_scan(NodeId id) {
  const Node& node = graph_[id];
  for (size_t k = 0; k < node.operands.size(); ++k) {
    const NodeId operand = node.operands[k];
    if (!depends_[operand.value]) continue;
    switch (place_of_operand(node.attributes, int(k)).kind) {
      case BodyInput::carry: return fail(id, "a recurrence begins with what comes of all positions");
      case BodyInput::capture: return fail(id, "each step of a recurrence reads positions from outside of it");
      case BodyInput::slice:
        if (positions_[operand.value] != std::vector<int>{step_axis(graph_.type(operand))}) return fail(id, "a recurrence goes along another dimension than the positions");
    }
  }
  if (node.attributes.reverse) fail(id, "a recurrence runs from the last position to the first");
}

void Causality::visit_result(NodeId id) {
  const Node &node = graph_[id], &scan = graph_[node.operands[0]];
  if (node.attributes.begin < scan.attributes.carried) return fail(id, "the last state of a recurrence comes of all positions");
  positions_[id.value] = {step_axis(node.type)};
}

}  // namespace nnc
