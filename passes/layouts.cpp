// Memory order of parameters. Both the product with a parameter and the parameter's gradient should run along contiguous outputs, so the contracted axes
// go outermost, in the order in which the other operand walks memory: a dense layer's weight[Out, In] lies as [In][Out]. A parameter that is also read by index or
// under another shape stays row-major.
//
// Memory order of what a step computes. Lanes should be full in every contraction that makes or reads a value: where one operand gives the result one axis (the
// channels of a convolution, by its weights) and the other several (images, lines, pixels), that one axis goes innermost. In all three products of a convolution
// the lanes are then channels, however small the image is, and the taps of a line and its channels lie one after the other. So do the channels of a depthwise convolution, which both operands have (channelwise.h). What is computed element by element
// from such a value, and windows, borders and sums of it, follow it, so that a whole network has one order. A value that is seen under another shape follows only if
// the axis is one of that shape too.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "ir/regions.h"
#include "passes/channelwise.h"
#include "passes/fuse_internal.h"
#include "passes/lower.h"
#include "passes/rewrite.h"

namespace nnc {

int axis_of_view(const Shape& from, const Shape& to, int axis) {
  auto times = [](Extent product, Extent e) { return Extent{product.size * e.size, product.rows || e.rows}; };
  Extent before{1, false};
  for (int a = 0; a < axis; ++a) before = times(before, from[size_t(a)]);
  Extent at{1, false};
  for (int a = 0; a < int(to.size()); ++a) {
    if (at == before && to[size_t(a)] == from[size_t(axis)]) return a;
    at = times(at, to[size_t(a)]);
  }
  return -1;
}

int axis_in_user(const Graph& graph, NodeId user, int axis) {
  const Node& node = graph[user];
  const std::vector<int>& axes = node.attributes.axes;
  switch (node.op) {
    case Op::broadcast: return axes[size_t(axis)];
    case Op::transpose: return position_of(axes, axis);
    case Op::reshape: return axis_of_view(graph.type(node.operands[0]).shape, node.type.shape, axis);
    case Op::window:
    case Op::slice:
    case Op::pad:
    case Op::stop_gradient: return axis;
    default: break;
  }
  if (op_class(node.op) == OpClass::reduce)
    return holds(axes, axis) ? -1 : axis - int(std::count_if(axes.begin(), axes.end(), [&](int a) { return a < axis; }));
  return is_elementwise(node.op) ? axis : -1;
}

namespace {

/// The axis of the operand that is axis `axis` of `user`.
int axis_in_operand(const Graph& graph, NodeId user, NodeId operand, int axis) {
  for (int a = 0; a < graph.type(operand).rank(); ++a)
    if (axis_in_user(graph, user, a) == axis) return a;
  return -1;
}

bool is_summed(const Attributes& labels, int label) { return !holds(labels.out, label); }

}  // namespace

std::vector<int> choose_innermost(const Graph& graph) {
  constexpr int64_t fewest = 4;  // elements: fewer are no reason to turn a value round
  std::vector<int> innermost(graph.size(), -1);
  std::vector<bool> fixed(graph.size(), false);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Op op = graph[NodeId{i}].op;
    if (op == Op::scatter_add || op_class(op) == OpClass::leaf) fixed[i] = true;
  }
  const Users users = graph.users();
  // Whoever sees the value under another shape has to find the axis in it.
  auto is_seen = [&](auto& self, NodeId n, int axis) -> bool {
    return std::all_of(users[n.value].begin(), users[n.value].end(), [&](NodeId user) {
      if (graph[user].op != Op::reshape) return true;
      const int other = axis_in_user(graph, user, axis);
      return other >= 0 && self(self, user, other);
    });
  };
  std::vector<NodeId> pending;
  auto decide = [&](NodeId n, int axis) {
    if (axis < 0 || innermost[n.value] >= 0 || fixed[n.value] || !is_seen(is_seen, n, axis)) return;
    innermost[n.value] = axis;
    pending.push_back(n);
  };
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph[NodeId{i}];
    if (node.op != Op::contract) continue;
    const Attributes& labels = node.attributes;
    if (const int channels = channel_label(graph, node); channels >= 0) {
      decide({i}, position_of(labels.out, channels));
      continue;
    }
    std::vector<int> only[2];  // axes of the result that one operand gives
    for (int axis = 0; axis < int(labels.out.size()); ++axis) {
      const int label = labels.out[size_t(axis)];
      const bool left = holds(labels.lhs, label), right = holds(labels.rhs, label);
      if (left != right) only[left ? 0 : 1].push_back(axis);
    }
    for (int side = 0; side < 2; ++side)
      if (only[side].size() == 1 && only[1 - side].size() > 1 && node.type.shape[size_t(only[side][0])].size >= fewest) decide({i}, only[side][0]);
  }
  for (size_t at = 0; at < pending.size(); ++at) {
    const NodeId n = pending[at];
    const int axis = innermost[n.value];
    // From one operand of a contraction by channels to its result, and back.
    auto follow = [&](NodeId contract, NodeId from, int label) {
      const Node& node = graph[contract];
      const Attributes& a = node.attributes;
      if (label < 0 || label != channel_label(graph, node)) return;
      if (from != contract) decide(contract, position_of(a.out, label));
      for (int side = 0; side < 2; ++side) decide(node.operands[size_t(side)], position_of(side == 0 ? a.lhs : a.rhs, label));
    };
    for (NodeId user : users[n.value]) {
      const Node& node = graph[user];
      if (node.op != Op::contract) {
        decide(user, axis_in_user(graph, user, axis));
        continue;
      }
      for (int side = 0; side < 2; ++side)
        if (node.operands[size_t(side)] == n) follow(user, n, (side == 0 ? node.attributes.lhs : node.attributes.rhs)[size_t(axis)]);
    }
    if (graph[n].op == Op::contract)
      follow(n, n, graph[n].attributes.out[size_t(axis)]);
    else
      for (NodeId operand : graph[n].operands) decide(operand, axis_in_operand(graph, n, operand, axis));
  }
  return innermost;
}

std::vector<int> order_with_innermost(int rank, int axis) {
  std::vector<int> order;
  if (axis < 0 || axis == rank - 1) return order;
  for (int a = 0; a < rank; ++a)
    if (a != axis) order.push_back(a);
  order.push_back(axis);
  return order;
}

std::optional<std::vector<int>> order_of_view(const Shape& from, const std::vector<int>& order, const Shape& to) {
  if (order.empty() || from == to) return order;
  // Least stretches of axes, one on each side, that have as many elements.
  struct Stretch {
    int from_begin, from_end, to_begin, to_end;
  };
  std::vector<Stretch> stretches;
  auto times = [](Extent product, Extent e) { return Extent{product.size * e.size, product.rows || e.rows}; };
  const int from_rank = int(from.size()), to_rank = int(to.size());
  for (int f = 0, t = 0; f < from_rank || t < to_rank;) {
    Stretch s{f, f, t, t};
    Extent left{1, false}, right{1, false};
    do {
      const bool behind = left.size < right.size || (left.size == right.size && right.rows && !left.rows);
      if (s.from_end < from_rank && (s.from_end == f || s.to_end == to_rank || behind))
        left = times(left, from[size_t(s.from_end++)]);
      else if (s.to_end < to_rank)
        right = times(right, to[size_t(s.to_end++)]);
      else
        return std::nullopt;
    } while (left != right);
    stretches.push_back(s);
    f = s.from_end;
    t = s.to_end;
  }
  std::vector<int> result;
  for (size_t at = 0; at < order.size();) {
    const auto s = std::find_if(stretches.begin(), stretches.end(), [&](const Stretch& x) { return order[at] >= x.from_begin && order[at] < x.from_end; });
    for (int axis = s->from_begin; axis < s->from_end; ++axis, ++at)
      if (at >= order.size() || order[at] != axis) return std::nullopt;
    for (int axis = s->to_begin; axis < s->to_end; ++axis) result.push_back(axis);
  }
  for (int axis = 0; axis < to_rank; ++axis)  // axes of one index that no axis of `from` has
    if (!holds(result, axis)) result.push_back(axis);
  if (std::is_sorted(result.begin(), result.end())) result.clear();
  return result;
}

namespace {

/// Goes through a graph and the bodies in it: what a body captures of a persistent is that persistent.
class LayoutChooser {
 public:
  /// The persistent that a node is, by its name; no entry: it is none.
  using Names = std::map<NodeId, std::string>;

  static Names names_of(const Graph& graph) {
    Names names;
    for (uint32_t i = 0; i < graph.size(); ++i)
      if (graph[NodeId{i}].op == Op::parameter) names[NodeId{i}] = graph[NodeId{i}].attributes.text;
    return names;
  }

  void fix_viewed(const Graph& graph, const Names& names) {
    for (uint32_t i = 0; i < graph.size(); ++i) {
      const Node& node = graph[NodeId{i}];
      for (size_t k = 0; k < node.operands.size(); ++k) {
        const auto name = names.find(node.operands[k]);
        if (name == names.end()) continue;
        const bool captured = node.op == Op::scan && place_of_operand(node.attributes, int(k)).kind == BodyInput::capture;
        if (node.op == Op::reshape || node.op == Op::gather || node.op == Op::slice || (node.op == Op::scan && !captured)) fixed.insert(name->second);
      }
      if (node.op == Op::scan) fix_viewed(*node.attributes.body, names_in_body(node, names));
    }
  }

  void choose(const Graph& graph, const Names& names) {
    const std::vector<int> innermost = choose_innermost(graph);
    for (const Node& node : graph.nodes()) {
      if (node.op == Op::scan) choose(*node.attributes.body, names_in_body(node, names));
      if (node.op == Op::contract) choose_operands(graph, node, names, innermost);
    }
  }

  std::set<std::string> fixed;
  Layouts chosen;  ///< row-major orders, too

 private:
  static Names names_in_body(const Node& scan, const Names& names) {
    Names inside;
    const Graph& body = *scan.attributes.body;
    for (uint32_t i = 0; i < body.size(); ++i) {
      if (body[NodeId{i}].op != Op::input) continue;
      const int operand = *operand_of_input(scan, body[NodeId{i}]);
      const auto name = names.find(scan.operands[size_t(operand)]);
      if (name != names.end() && place_of_operand(scan.attributes, operand).kind == BodyInput::capture) inside[NodeId{i}] = name->second;
    }
    return inside;
  }

  void choose_operands(const Graph& graph, const Node& node, const Names& names, const std::vector<int>& innermost) {
    for (int side = 0; side < 2; ++side) {
      const Node& direct = graph[node.operands[size_t(side)]];
      std::vector<int> labels = side == 0 ? node.attributes.lhs : node.attributes.rhs;
      // Through a view that only has more axes, of one index.
      const bool is_spread = direct.op == Op::broadcast && direct.type.elements(1) == graph.type(direct.operands[0]).elements(1);
      const NodeId id = is_spread ? direct.operands[0] : node.operands[size_t(side)];
      const Node& operand = graph[id];
      const auto name = names.find(id);
      if (is_spread) {
        std::vector<int> kept_labels;
        for (int a : direct.attributes.axes) kept_labels.push_back(labels[size_t(a)]);
        labels = std::move(kept_labels);
      }
      if (name == names.end() || operand.type.rank() < 2 || !fixed.insert(name->second).second) continue;
      std::vector<int> summed, kept;
      const std::vector<int>& others = side == 0 ? node.attributes.rhs : node.attributes.lhs;
      std::vector<int> walk = order_with_innermost(int(others.size()), innermost[node.operands[size_t(1 - side)].value]);
      for (int a = 0; a < int(others.size()); ++a) {
        const int label = others[size_t(walk.empty() ? a : walk[size_t(a)])], own = position_of(labels, label);
        if (is_summed(node.attributes, label) && own >= 0) summed.push_back(own);
      }
      for (int a = 0; a < int(labels.size()); ++a) {
        if (!is_summed(node.attributes, labels[size_t(a)])) kept.push_back(a);
        else if (!holds(summed, a)) summed.push_back(a);
      }
      std::vector<int> order = summed;
      order.insert(order.end(), kept.begin(), kept.end());
      chosen[name->second] = std::move(order);
    }
  }
};

}  // namespace

Layouts choose_layouts(const Graph& graph) {
  LayoutChooser chooser;
  const LayoutChooser::Names names = LayoutChooser::names_of(graph);
  chooser.fix_viewed(graph, names);
  chooser.choose(graph, names);
  Layouts layouts = std::move(chooser.chosen);
  std::erase_if(layouts, [](const auto& layout) { return std::is_sorted(layout.second.begin(), layout.second.end()); });
  // States follow the parameter whose update they share a kernel with.
  std::map<int, std::string> leader;
  for (const Update& u : graph.updates)
    if (int group = graph[u.node].group; group >= 0 && layouts.count(u.name)) leader.try_emplace(group, u.name);
  for (const Update& u : graph.updates) {
    auto it = leader.find(graph[u.node].group);
    if (it == leader.end() || chooser.fixed.count(u.name) || layouts.count(u.name)) continue;
    if (graph.find_persistent(it->second)->type.shape == graph.find_persistent(u.name)->type.shape) layouts[u.name] = layouts.at(it->second);
  }
  return layouts;
}

Layouts layouts_of_captures(const Graph& body) {
  LayoutChooser chooser;
  LayoutChooser::Names names;
  for (uint32_t i = 0; i < body.size(); ++i)
    if (const Node& node = body[NodeId{i}]; node.op == Op::input && node.attributes.text.starts_with("capture.")) names[NodeId{i}] = node.attributes.text;
  chooser.fix_viewed(body, names);
  chooser.choose(body, names);
  return std::move(chooser.chosen);
}

std::vector<int> steps_first(const Type& sequence) {
  std::vector<int> order;
  if (step_axis(sequence) == 0) return order;
  for (int a = 0; a < sequence.rank(); ++a) order.push_back(a == 0 ? 1 : a == 1 ? 0 : a);
  return order;
}

std::vector<std::vector<int>> memory_orders(const Graph& graph) {
  const std::vector<int> innermost = choose_innermost(graph);
  std::vector<std::vector<int>> orders;
  for (uint32_t i = 0; i < graph.size(); ++i) orders.push_back(order_with_innermost(graph.type(NodeId{i}).rank(), innermost[i]));
  if (std::none_of(graph.nodes().begin(), graph.nodes().end(), [](const Node& n) { return n.op == Op::scan; })) return orders;
  const Users users = graph.users();
  auto is_seen = [&](auto& self, NodeId from, NodeId n, const std::vector<int>& order) -> bool {
    return std::all_of(users[n.value].begin(), users[n.value].end(), [&](NodeId user) {
      return graph[user].op != Op::reshape || (order_of_view(graph.type(from).shape, order, graph.type(user).shape) && self(self, from, user, order));
    });
  };
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::scan) continue;
    for (int k = node.attributes.carried; k < node.attributes.carried + node.attributes.sliced; ++k) {
      const NodeId sequence = node.operands[size_t(k)];
      const Op op = graph[sequence].op;
      if (graph[sequence].group < 0 || op == Op::scatter_add || op == Op::result || op_class(op) == OpClass::leaf) continue;
      std::vector<int> order = steps_first(graph.type(sequence));
      if (const int axis = innermost[sequence.value]; axis > 1 && !order.empty()) {
        std::erase(order, axis);
        order.push_back(axis);
      }
      if (is_seen(is_seen, sequence, sequence, order)) orders[sequence.value] = std::move(order);
    }
  }
  return orders;
}

std::optional<Graph> copy_viewed_leaves(const Graph& graph, const LowerOptions& options) {
  // The leaf, or sequence that a scan has made, that a node sees under another shape and cannot read where it stands.
  auto viewed = [&](NodeId n) -> NodeId {
    if (graph[n].op != Op::reshape) return {};
    NodeId base = graph[n].operands[0];
    while (graph[base].op == Op::reshape) base = graph[base].operands[0];
    const Node& leaf = graph[base];
    if (leaf.op == Op::parameter) return options.layouts.count(leaf.attributes.text) ? base : NodeId{};
    std::vector<int> order;
    if (leaf.op == Op::input) {
      const auto place = options.places.find(leaf.attributes.text);
      if (place == options.places.end() || place->second.kind == BufferKind::field) {
        const bool rows_apart = graph.type(n).rank() == 0 || graph.type(n).shape[0] != leaf.type.shape[0];
        return rows_apart ? base : NodeId{};
      }
      order = place->second.order;
    } else if (leaf.op == Op::result && leaf.attributes.begin >= graph[leaf.operands[0]].attributes.carried) {
      order = steps_first(leaf.type);
    } else if (leaf.op == Op::exchange) {
      if (const auto layout = options.layouts.find(leaf.attributes.text); layout != options.layouts.end()) order = layout->second;
    }
    return order_of_view(leaf.type.shape, order, graph.type(n).shape) ? NodeId{} : base;
  };
  auto key_of = [&](NodeId leaf) { return std::tuple{graph[leaf].op, graph[leaf].attributes.text, is_made_elsewhere(graph[leaf].op) ? leaf.value : 0}; };
  std::map<std::tuple<Op, std::string, uint32_t>, NodeId> copies;
  Rebuild rebuild(graph);
  int groups = 0;
  auto copy_of = [&](NodeId leaf) {
    Node read = is_made_elsewhere(graph[leaf].op) ? rebuild.translated(leaf) : graph[leaf];
    read.group = -1;  // where the leaf is what an update stores, it is in a group: that stays with the node itself
    const NodeId copy = rebuild.result.add(Op::stop_gradient, {add_node(rebuild.result, read)});
    rebuild.result[copy].group = groups++;
    return copy;
  };
  // Leaves first of all kernels, so that groups stay in topological order.
  std::set<NodeId> later;  // sequences
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const NodeId leaf = viewed(NodeId{i});
    if (!leaf.valid()) continue;
    if (is_made_elsewhere(graph[leaf].op)) later.insert(leaf);
    else if (NodeId& copy = copies[key_of(leaf)]; !copy.valid()) copy = copy_of(leaf);
  }
  if (copies.empty() && later.empty()) return std::nullopt;
  const int first = groups;
  int last = first;
  for (const Node& node : graph.nodes()) last = std::max(last, node.group + 1 + first);
  groups = last;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node node = rebuild.translated(NodeId{i});
    if (const NodeId leaf = viewed(NodeId{i}); leaf.valid()) node.operands[0] = copies.at(key_of(leaf));
    if (node.group >= 0) node.group += first;
    rebuild.to[i] = add_node(rebuild.result, node);
    if (later.count(NodeId{i})) copies[key_of(NodeId{i})] = copy_of(NodeId{i});
  }
  return rebuild.finish();
}

}  // namespace nnc
