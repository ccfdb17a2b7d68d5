// From the outputs back, each value is asked for at one axis (index t, size 1) or in full. Where a value in full depends on tokens it becomes a memory.
#include "passes/position_graph.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/check.h"
#include "ir/regions.h"
#include "ir/window.h"
#include "passes/axis_origin.h"
#include "passes/dead_code.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

class Maker {
 public:
  Maker(const Graph& graph, NodeId tokens) : graph_(graph), tokens_(tokens), causality_(graph, tokens), in_full_(graph.size()) {}

  std::optional<PositionGraph> make(PositionObstacle& obstacle) {
    if (causality_.obstacle()) {
      obstacle = *causality_.obstacle();
      return std::nullopt;
    }
    Graph& made = result_.graph;
    made.name = graph_.name + ".position";
    made.persistents = graph_.persistents;
    std::vector<Output> outputs;
    for (const Output& o : graph_.outputs) {
      if (const std::vector<int>& axes = causality_.positions(o.node); graph_.type(o.node).rank() < 2 || (!axes.empty() && axes != std::vector<int>{1})) {
        obstacle = {o.node, "the result has no positions of its own"};
        return std::nullopt;
      }
      outputs.push_back({o.name, at(o.node, 1)});
    }
    if (obstacle_) {
      obstacle = *obstacle_;
      return std::nullopt;
    }
    made.outputs.insert(made.outputs.begin(), outputs.begin(), outputs.end());
    return std::move(result_);
  }

 private:
  const Type& type(NodeId old) const { return graph_.type(old); }
  Builder builder(NodeId old) { return Builder(result_.graph, graph_[old].span, graph_[old].scope); }

  /// What stands for a value that cannot be made; nothing of the result is used then.
  NodeId refuse(NodeId old, std::string reason, Type stand_in) {
    if (!obstacle_) obstacle_ = {old, std::move(reason)};
    return builder(old).constant(0, std::move(stand_in));
  }

  static Type one_slot(Type type, int axis) {
    type.shape.set(size_t(axis), {1, false});
    return type;
  }

  /// The position, in i32, as every element of a shape.
  NodeId position(Builder& b, const Shape& shape) {
    if (!position_.valid()) position_ = Builder(result_.graph).cast(Builder(result_.graph).scalar(position_scalar), DType::i32);
    return b.broadcast(position_, shape, {});
  }

  /// The old node over new operands.
  NodeId copy(NodeId old, std::vector<NodeId> operands) {
    Node node = graph_[old];
    node.operands = std::move(operands);
    return add_node(result_.graph, node);
  }

  // --- in full ---

  NodeId in_full(NodeId old) {
    NodeId& made = in_full_[old.value];
    if (!made.valid()) made = make_in_full(old);
    return made;
  }

  NodeId make_in_full(NodeId old) {
    const Node& node = graph_[old];
    if (!causality_.depends_on_tokens(old)) {
      std::vector<NodeId> operands;
      for (NodeId o : node.operands) operands.push_back(in_full(o));
      return copy(old, std::move(operands));
    }
    const std::vector<int>& axes = causality_.positions(old);
    if (axes.size() != 1) return refuse(old, "what every pair of positions has together is read at later ones", node.type);
    // A view is made of its operand's memory, which is no larger.
    const bool is_view = is_linear_view(node.op) || node.op == Op::reshape || node.op == Op::cast;
    if (is_view && node.op != Op::window) return copy(old, {in_full(node.operands[0])});
    return memory_of(old, axes[0]);
  }

  NodeId memory_of(NodeId old, int axis) {
    const Type& whole = type(old);
    if (!whole.has_rows() || axis == 0) return refuse(old, "positions are read back whose values mix the rows", whole);
    const NodeId fresh = at(old, axis);
    Builder b = builder(old);
    const PositionMemory memory = add_memory(fresh, whole, axis);
    const NodeId slots = b.input(memory.name, whole);
    const NodeId place = b.iota(whole.shape, axis);
    const NodeId here = position(b, whole.shape);
    const NodeId is_new = b.binary(Op::equal, place, here);
    return b.select(is_new, spread(b, fresh, whole.shape, axis), slots);
  }

  PositionMemory add_memory(NodeId output, const Type& whole, int axis) {
    PositionMemory memory{fmt::format("memory.{}", result_.memories.size()), whole, axis};
    result_.graph.outputs.push_back({memory.name, output});
    result_.memories.push_back(memory);
    return memory;
  }

  /// A value of size 1 along an axis, repeated along it.
  NodeId spread(Builder& b, NodeId value, const Shape& shape, int axis) {
    Shape without = shape;
    without.erase(without.begin() + axis);
    std::vector<int> axes;
    for (int i = 0; i < int(shape.size()); ++i)
      if (i != axis) axes.push_back(i);
    return b.broadcast(b.reshape(value, without), shape, axes);
  }

  // --- at the position ---

  NodeId at(NodeId old, int axis) {
    const auto key = std::make_pair(old, axis);
    if (auto it = at_.find(key); it != at_.end()) return it->second;
    const NodeId made = make_at(old, axis);
    const Type expected = one_slot(type(old), axis);
    NNC_CHECK(result_.graph.type(made) == expected, fmt::format("position: {} of %{} is {}", op_name(graph_[old].op), old.value, to_string(result_.graph.type(made))));
    return at_[key] = made;
  }

  NodeId make_at(NodeId old, int axis) {
    const Node& node = graph_[old];
    const Attributes& a = node.attributes;
    const Type expected = one_slot(node.type, axis);
    Builder b = builder(old);
    if (old == tokens_) return b.input(a.text, expected);
    switch (node.op) {
      case Op::constant: return b.constant(a.number, expected);
      case Op::iota: return a.axes[0] == axis ? position(b, expected.shape) : b.iota(expected.shape, a.axes[0]);
      case Op::broadcast:
      case Op::reshape: {
        const NodeId operand = node.operands[0];
        const int origin = axis_origin(graph_, node, 0, axis);
        if (origin < 0 && node.op == Op::reshape) return otherwise(old, axis);
        const NodeId from = origin < 0 ? in_full(operand) : at(operand, origin);
        return node.op == Op::reshape ? b.reshape(from, expected.shape) : b.broadcast(from, expected.shape, a.axes);
      }
      case Op::slice:
        if (a.axes[0] != axis) return copy(old, {at(node.operands[0], axis)});
        return a.begin == 0 ? at(node.operands[0], axis) : otherwise(old, axis);
      case Op::pad:
      case Op::window:
        if (holds(a.axes, axis)) return read_back(old, axis);
        return copy(old, {at(node.operands[0], axis)});
      case Op::result: return result_of_scan(old, axis);
      case Op::transpose:
      case Op::reduce_sum:
      case Op::reduce_max:
      case Op::reduce_min:
      case Op::argmax:
      case Op::contract:
      case Op::gather: break;
      default:
        if (!is_elementwise(node.op)) return otherwise(old, axis);
    }
    std::vector<NodeId> operands;
    for (size_t k = 0; k < node.operands.size(); ++k) {
      const int origin = axis_origin(graph_, node, k, axis);
      operands.push_back(origin < 0 ? in_full(node.operands[k]) : at(node.operands[k], origin));
    }
    return copy(old, std::move(operands));
  }

  /// What does not depend on tokens is there for all positions.
  NodeId otherwise(NodeId old, int axis) {
    if (causality_.depends_on_tokens(old)) return refuse(old, "positions are read in a way that is not understood", one_slot(type(old), axis));
    Builder b = builder(old);
    return gather(b, in_full(old), axis, position(b, {{1}}), -1);
  }

  /// Slots of a value by an index [N], which stands in the place of the axis; with `aligned`, an axis of N, index n is for n along it, and the axis has size 1.
  NodeId gather(Builder& b, NodeId value, int axis, NodeId index, int aligned) {
    const Shape shape = b.graph.type(value).shape;
    Attributes a;
    a.axes = {axis};
    a.lhs = identity_axes(int(shape.size()));
    a.out = a.lhs;
    const int free = int(shape.size());
    a.rhs = {aligned < 0 ? free : aligned};
    if (aligned < 0)
      a.out[size_t(axis)] = free;
    else
      a.out.erase(a.out.begin() + axis);
    const NodeId read = b.graph.add(Op::gather, {value, index}, std::move(a), b.span, b.scope);
    if (aligned < 0) return read;
    Shape with_slot = shape;
    with_slot.set(size_t(axis), {1, false});
    return b.reshape(read, with_slot);
  }

  /// A pad or a window at the position: slots of its operand that do not lie behind it.
  NodeId read_back(NodeId old, int axis) {
    const Node& node = graph_[old];
    const Attributes& a = node.attributes;
    const NodeId operand = node.operands[0];
    const bool is_window = node.op == Op::window;
    if (is_window && (a.axes[0] != axis || a.stride != 1 || a.divide != 1)) return otherwise(old, axis);
    const Type expected = one_slot(node.type, axis);
    const int aligned = is_window && a.axes.size() == 2 ? a.axes[1] : -1;
    const int64_t count = aligned < 0 ? 1 : node.type.shape[size_t(aligned)].size, slots = type(operand).shape[size_t(axis)].size;
    Builder b = builder(old);
    const Shape row{{count}};
    if (slots == 0) return b.constant(is_window ? a.number : Number(0), expected);
    NodeId index = position(b, row);
    if (aligned >= 0) {
      const NodeId element = b.mul(b.iota(row, 0), a.dilation);
      index = b.add(index, element);
    }
    index = b.add(index, is_window ? a.begin : -a.begin);
    const NodeId first = b.constant_like(0, index), last = b.constant_like(slots - 1, index);
    const NodeId reaches_first = b.binary(Op::greater_equal, index, first), reaches_last = b.binary(Op::less_equal, index, last);
    const NodeId is_inside = b.binary(Op::logical_and, reaches_first, reaches_last);
    const NodeId clamped = b.binary(Op::minimum, b.binary(Op::maximum, index, first), last);
    const NodeId read = gather(b, in_full(operand), axis, clamped, aligned);
    const NodeId outside = b.constant(is_window ? a.number : Number(0), expected);
    const NodeId inside = aligned < 0 ? b.broadcast(b.reshape(is_inside, {}), expected.shape, {}) : b.broadcast(is_inside, expected.shape, {aligned});
    return b.select(inside, read, outside);
  }

  // --- recurrences ---

  NodeId result_of_scan(NodeId old, int axis) {
    const Node& node = graph_[old];
    const NodeId scan = node.operands[0];
    if (!causality_.depends_on_tokens(scan) || node.attributes.begin < graph_[scan].attributes.carried || axis != step_axis(node.type)) return otherwise(old, axis);
    auto it = scans_.find(scan);
    if (it == scans_.end()) it = scans_.emplace(scan, run_once(scan)).first;
    Builder b = builder(old);
    return b.reshape(it->second[size_t(node.attributes.begin)], one_slot(node.type, axis).shape);
  }

  /// The body once; what its outputs are.
  std::vector<NodeId> run_once(NodeId scan) {
    const Node& node = graph_[scan];
    const Attributes& a = node.attributes;
    const Graph& body = *a.body;
    std::vector<NodeId> to(body.size());
    std::vector<NodeId> carries;
    Builder b = builder(scan);
    for (int k = 0; k < a.carried; ++k) carries.push_back(carry(b, scan, k));
    for (uint32_t i = 0; i < body.size(); ++i) {
      Node inside = body[NodeId{i}];
      if (inside.op == Op::input) {
        const size_t k = size_t(*operand_of_input(node, inside));
        const NodeId operand = node.operands[k];
        switch (place_of_operand(a, int(k)).kind) {
          case BodyInput::carry: to[i] = carries[k]; break;
          case BodyInput::slice: to[i] = b.reshape(at(operand, step_axis(type(operand))), inside.type.shape); break;
          case BodyInput::capture: to[i] = in_full(operand); break;
        }
        continue;
      }
      for (NodeId& o : inside.operands) o = to[o.value];
      to[i] = add_node(result_.graph, inside);
    }
    std::vector<NodeId> made;
    for (const Output& o : body.outputs) made.push_back(to[o.node.value]);
    for (int k = 0; k < a.carried; ++k) {
      const std::string& name = carry_names_.at({scan, k});
      if (type(node.operands[size_t(k)]).has_rows())
        result_.graph.outputs.push_back({name, made[size_t(k)]});
      else
        result_.graph.updates.push_back({name, made[size_t(k)]});
    }
    return made;
  }

  /// A carry before the position: at position 0 its first value.
  NodeId carry(Builder& b, NodeId scan, int k) {
    const NodeId operand = graph_[scan].operands[size_t(k)];
    const Type& carried = type(operand);
    const bool has_rows = carried.has_rows();
    std::string& name = carry_names_[{scan, k}];
    name = has_rows ? fmt::format("memory.{}", result_.memories.size()) : fmt::format("memory.state.{}", states_++);
    if (has_rows) result_.memories.push_back({name, carried, -1});
    const NodeId kept = has_rows ? b.input(name, carried) : b.parameter({name, carried, PersistentKind::state, b.span});
    const NodeId here = position(b, {});
    const NodeId is_first = b.binary(Op::equal, here, b.constant_like(0, here));
    const NodeId begins = b.broadcast(is_first, carried.shape, {});
    return b.select(begins, in_full(operand), kept);
  }

  const Graph& graph_;
  NodeId tokens_;
  Causality causality_;
  PositionGraph result_;
  std::optional<PositionObstacle> obstacle_;
  NodeId position_;
  std::vector<NodeId> in_full_;                      ///< by old id
  std::map<std::pair<NodeId, int>, NodeId> at_;
  std::map<NodeId, std::vector<NodeId>> scans_;
  std::map<std::pair<NodeId, int>, std::string> carry_names_;
  int states_ = 0;
};

}  // namespace

std::optional<PositionGraph> make_position_graph(const Graph& graph, NodeId tokens, PositionObstacle& obstacle) {
  std::optional<PositionGraph> made = Maker(graph, tokens).make(obstacle);
  if (made) remove_dead_code(made->graph);
  return made;
}

}  // namespace nnc
