// With D = dilation (1 or -1), a result at d * i' + r and tap j read the operand at i' + q where d * q = r + j * D + begin. Given r and q, j = D * (d * q - r - begin):
// affine in both, so the taps by (r, q) are a window of the taps. The offsets q are those that some tap of some r has.
#include "passes/split_phases.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/floor_division.h"
#include "ir/window.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

/// The window along `axis` by `by` that a value is a view of, through views that leave both alone, if it divides; and how a copy of the view with other sizes is made.
class PhasedView {
 public:
  PhasedView(Builder& b, int64_t offsets, int64_t first, int64_t length) : b_(b), offsets_(offsets), first_(first), length_(length) {}

  static std::optional<Attributes> find(const Graph& graph, NodeId n, int axis, int by) {
    const Node& node = graph[n];
    const std::vector<int>& axes = node.attributes.axes;
    switch (node.op) {
      case Op::window: {
        const bool here = axes.size() == 2 && axes[0] == axis && axes[1] == by;
        if (here) return node.attributes.divide > 1 && can_resize(graph, node.operands[0], by) ? std::optional(node.attributes) : std::nullopt;
        if (holds(axes, axis) || holds(axes, by)) return std::nullopt;
        return find(graph, node.operands[0], axis, by);
      }
      case Op::transpose: return find(graph, node.operands[0], axes[size_t(axis)], axes[size_t(by)]);
      case Op::broadcast:
        if (!holds(axes, axis) || !holds(axes, by)) return std::nullopt;
        return find(graph, node.operands[0], position_of(axes, axis), position_of(axes, by));
      default: return std::nullopt;
    }
  }

  /// Whether the value only repeats itself along the axis.
  static bool can_resize(const Graph& graph, NodeId n, int axis) {
    const Node& node = graph[n];
    const std::vector<int>& axes = node.attributes.axes;
    if (node.op == Op::broadcast) return !holds(axes, axis) || can_resize(graph, node.operands[0], position_of(axes, axis));
    if (node.op == Op::transpose) return can_resize(graph, node.operands[0], axes[size_t(axis)]);
    return node.op == Op::window && !holds(axes, axis) && can_resize(graph, node.operands[0], axis);
  }

  NodeId rebuilt(NodeId n, int axis, int by) {
    const Node node = b_.graph[n];
    const Attributes& a = node.attributes;
    auto sized = [&] {
      Shape shape = node.type.shape;
      shape.set_size(size_t(axis), length_);
      shape.set_size(size_t(by), offsets_);
      return shape;
    };
    switch (node.op) {
      case Op::transpose: return b_.transpose(rebuilt(node.operands[0], a.axes[size_t(axis)], a.axes[size_t(by)]), a.axes);
      case Op::broadcast: return b_.broadcast(rebuilt(node.operands[0], position_of(a.axes, axis), position_of(a.axes, by)), sized(), a.axes);
      default: break;
    }
    if (a.axes[0] != axis) return b_.window(rebuilt(node.operands[0], axis, by), a);
    return b_.window(resized(node.operands[0], by), make_window({axis, by}, Extent{length_, false}, 1, 1, first_));
  }

 private:
  NodeId resized(NodeId n, int axis) {
    const Node node = b_.graph[n];
    const Attributes& a = node.attributes;
    if (node.op == Op::transpose) return b_.transpose(resized(node.operands[0], a.axes[size_t(axis)]), a.axes);
    if (node.op == Op::window) return b_.window(resized(node.operands[0], axis), a);
    Shape shape = node.type.shape;
    shape.set_size(size_t(axis), offsets_);
    const NodeId source = holds(a.axes, axis) ? resized(node.operands[0], position_of(a.axes, axis)) : node.operands[0];
    return b_.broadcast(source, shape, a.axes);
  }

  Builder& b_;
  int64_t offsets_, first_, length_;
};

/// A contraction whose windows are split one after the other.
struct Product {
  std::array<NodeId, 2> operands;
  std::array<std::vector<int>, 2> labels;
  std::vector<int> out;
  struct Phase {
    int label, of_phase;  ///< i' and r
    int64_t size;         ///< of the axis they came from
  };
  std::vector<Phase> phases;
};

bool split_one(Builder& b, Product& p) {
  for (size_t side = 0; side < 2; ++side) {
    const std::vector<int>&own = p.labels[side], &others = p.labels[1 - side];
    for (int axis = 0; axis < int(own.size()); ++axis)
      for (int by = 0; by < int(own.size()); ++by) {
        const int along = own[size_t(axis)], tap = own[size_t(by)];
        if (axis == by || !holds(p.out, along) || holds(others, along) || holds(p.out, tap) || !holds(others, tap)) continue;
        const NodeId x = p.operands[side], other = p.operands[1 - side];
        const std::optional<Attributes> window = PhasedView::find(b.graph, x, axis, by);
        if (!window || window->stride != 1 || std::abs(window->dilation) != 1 || window->number != 0) continue;
        const int64_t divide = window->divide, turn = window->dilation;
        const int64_t length = b.graph.type(x).shape[size_t(axis)].size, taps = b.graph.type(x).shape[size_t(by)].size;
        // Places r + j * D + begin from which whole numbers of d are read.
        const WindowReach reach = window_reach(*window, divide, taps);
        const int64_t first = -floor_quotient(-reach.lowest, divide), offsets = floor_quotient(reach.highest, divide) - first + 1;
        // With as many offsets as taps no product is saved, but zeros between elements are not stored, and phases without a tap can be left out.
        if (offsets < 1 || offsets > taps || (offsets == taps && taps >= divide) || length < divide) continue;
        const int64_t places = (length + divide - 1) / divide;
        p.operands[side] = PhasedView(b, offsets, first, places).rebuilt(x, axis, by);
        // The other operand: its taps become phases, and a last axis has the offsets.
        const int rank = int(others.size()), taps_axis = position_of(others, tap);
        Shape repeated = b.graph.type(other).shape;
        repeated.push_back(Extent{offsets, false});
        const NodeId spread = b.broadcast(other, repeated, identity_axes(rank));
        p.operands[1 - side] = b.window(spread, make_window({taps_axis, rank}, Extent{divide, false}, -turn, turn * divide, turn * (divide * first - window->begin)));
        int phase = 0;
        for (const std::vector<int>* list : {&p.labels[0], &p.labels[1], &p.out})
          for (int label : *list) phase = std::max(phase, label + 1);
        std::vector<int>& turned = p.labels[1 - side];
        turned[size_t(taps_axis)] = phase;
        turned.push_back(tap);
        p.out.insert(p.out.begin() + position_of(p.out, along) + 1, phase);
        p.phases.push_back({along, phase, length});
        return true;
      }
  }
  return false;
}

}  // namespace

void split_phases(Graph& graph) {
  if (std::none_of(graph.nodes().begin(), graph.nodes().end(), [](const Node& node) { return node.op == Op::window; })) return;
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op != Op::contract) {
      rebuild.copy({i});
      continue;
    }
    Builder b(rebuild.result, node.span, node.scope);
    auto operand = [&](size_t k) { return rebuild.to[node.operands[k].value]; };
    const Attributes& a = node.attributes;
    Product p{{operand(0), operand(1)}, {a.lhs, a.rhs}, a.out, {}};
    while (split_one(b, p)) {
    }
    if (p.phases.empty()) {
      rebuild.copy({i});
      continue;
    }
    NodeId value = b.contract(p.operands[0], p.operands[1], p.labels[0], p.labels[1], p.out);
    // i' and r as one axis, of which the result has the first.
    Shape joined;
    for (size_t axis = 0; axis < p.out.size(); ++axis) {
      const Extent extent = b.graph.type(value).shape[axis];
      const bool is_phase = std::any_of(p.phases.begin(), p.phases.end(), [&](const Product::Phase& f) { return f.of_phase == p.out[axis]; });
      if (is_phase)
        joined.set_size(joined.size() - 1, joined.back().size * extent.size);
      else
        joined.push_back(extent);
    }
    value = b.reshape(value, joined);
    for (const Product::Phase& phase : p.phases) {
      const int axis = position_of(a.out, phase.label);
      if (joined[size_t(axis)].size != phase.size) value = b.slice(value, axis, 0, Extent{phase.size, false});
    }
    rebuild.to[i] = value;
  }
  graph = rebuild.finish();
}

}  // namespace nnc
