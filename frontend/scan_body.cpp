// What depends on the position, on a carried value or on a draw of the trace belongs to the body; the rest is the same at each step.
#include "frontend/scan_body.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "ir/regions.h"

namespace nnc {
namespace {

class Cutter {
 public:
  Cutter(Builder outer, const ScanTrace& trace, std::vector<bool>& traced) : outer_(std::move(outer)), trace_(trace), traced_(traced) {
    body_.name = "body";
    const Graph& graph = outer_.graph;
    traced_.resize(graph.size(), false);
    inside_.resize(graph.size(), false);
    inside_[trace.position.value] = true;
    for (NodeId carry : trace.carries) inside_[carry.value] = true;
    for (uint32_t i = trace.first; i < graph.size(); ++i) {
      const Node& node = graph[NodeId{i}];
      if (traced_[i]) continue;  // of a scan in this one
      inside_[i] = inside_[i] || node.op == Op::random || std::any_of(node.operands.begin(), node.operands.end(), [&](NodeId o) { return bool(inside_[o.value]); });
    }
  }

  NodeId cut(std::optional<ShortSequence>& too_short) {
    std::vector<Output> outputs;
    Attributes a;
    a.carried = int(trace_.carries.size());
    for (const std::vector<NodeId>* list : {&trace_.next, &trace_.stacked})
      for (NodeId id : *list) {
        const NodeId made = translate(id);
        outputs.push_back({body_output_name(a, int(outputs.size())), made});
      }
    too_short = too_short_;
    for (size_t i = 0; i < inside_.size(); ++i)
      if (inside_[i]) traced_[i] = true;
    if (too_short_) return {};
    body_.outputs = std::move(outputs);
    std::vector<NodeId> operands = trace_.firsts;
    operands.insert(operands.end(), sequences_.begin(), sequences_.end());
    operands.insert(operands.end(), captures_.begin(), captures_.end());
    a.sliced = int(sequences_.size());
    a.extents = {{trace_.steps, false}};
    a.reverse = trace_.reverse;
    a.body = {std::make_shared<Graph>(std::move(body_))};
    return outer_.graph.add(Op::scan, std::move(operands), std::move(a), outer_.span, outer_.scope);
  }

 private:
  Builder at(const Node& node) { return Builder(body_, node.span, node.scope); }

  NodeId translate(NodeId id) {
    if (auto known = to_.find(id); known != to_.end()) return known->second;
    const Node node = outer_.graph[id];
    NodeId made;
    if (id == trace_.position) {
      made = slice_of(node, [&](Builder& b) { return b.iota({{trace_.steps, false}}, 0); });
    } else if (auto carry = std::find(trace_.carries.begin(), trace_.carries.end(), id); carry != trace_.carries.end()) {
      made = at(node).input(body_input_name(BodyInput::carry, int(carry - trace_.carries.begin())), node.type);
    } else if (!inside_[id.value]) {
      // A repeated value is captured as it was before.
      const bool is_free = node.op == Op::constant || node.op == Op::literal || node.op == Op::iota || node.op == Op::extent || node.op == Op::broadcast;
      made = is_free ? copied(node) : capture(id, node);
    } else if (node.op == Op::random) {
      made = slice_of(node, [&](Builder& b) { return b.random(node.attributes.text, sequence_type(node.type, trace_.steps).shape); });
    } else if (is_selection(node)) {
      made = selected(id, node);
    } else {
      made = copied(node);
    }
    return to_[id] = made;
  }

  NodeId copied(const Node& node) {
    std::vector<NodeId> operands;
    for (NodeId operand : node.operands) operands.push_back(translate(operand));
    return body_.add(node.op, std::move(operands), node.attributes, node.span, node.scope);
  }

  NodeId capture(NodeId id, const Node& node) {
    captures_.push_back(id);
    return at(node).input(body_input_name(BodyInput::capture, int(captures_.size()) - 1), node.type);
  }

  template <class Make>
  NodeId slice_of(const Node& node, Make make) {
    Builder b(outer_.graph, node.span, node.scope);
    sequences_.push_back(make(b));
    return at(node).input(body_input_name(BodyInput::slice, int(sequences_.size()) - 1), node.type);
  }

  /// x[T: t] of an x from outside.
  bool is_selection(const Node& node) const { return node.op == Op::gather && node.operands[1] == trace_.position && !inside_[node.operands[0].value]; }

  NodeId selected(NodeId id, const Node& node) {
    const NodeId table = node.operands[0];
    const int axis = node.attributes.axes[0];
    const int64_t entries = outer_.graph.type(table).shape[size_t(axis)].size;
    if (entries < trace_.steps) {
      if (!too_short_) too_short_ = ShortSequence{id, entries};
      return at(node).constant(0, node.type);
    }
    // Axes in the order of the result, and the steps where a sequence has them.
    std::vector<int> order;
    for (int label : node.attributes.out) order.push_back(int(std::find(node.attributes.lhs.begin(), node.attributes.lhs.end(), label) - node.attributes.lhs.begin()));
    order.insert(order.begin() + step_axis(node.type), axis);
    return slice_of(node, [&](Builder& b) {
      const NodeId whole = entries > trace_.steps ? b.slice(table, axis, 0, {trace_.steps, false}) : table;
      return b.transpose(whole, order);
    });
  }

  Builder outer_;
  const ScanTrace& trace_;
  std::vector<bool>& traced_;
  std::vector<bool> inside_;  ///< by node
  Graph body_;
  std::vector<NodeId> sequences_, captures_;
  std::map<NodeId, NodeId> to_;
  std::optional<ShortSequence> too_short_;
};

}  // namespace

NodeId cut_scan(Builder outer, const ScanTrace& trace, std::vector<bool>& traced, std::optional<ShortSequence>& too_short) {
  return Cutter(std::move(outer), trace, traced).cut(too_short);
}

Graph without_nodes(const Graph& graph, const std::vector<bool>& erased) {
  if (std::find(erased.begin(), erased.end(), true) == erased.end()) return graph;
  Graph result;
  result.name = graph.name;
  result.persistents = graph.persistents;
  std::vector<NodeId> to(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (i < erased.size() && erased[i]) continue;
    Node node = graph[NodeId{i}];
    for (NodeId& operand : node.operands) {
      operand = to[operand.value];
      NNC_CHECK(operand.valid(), "a node outside of a scan reads one of its trace");
    }
    to[i] = result.add(node.op, std::move(node.operands), std::move(node.attributes), node.span, std::move(node.scope));
    result[to[i]].group = node.group;
  }
  for (const Output& o : graph.outputs) result.outputs.push_back({o.name, to[o.node.value]});
  for (const Update& u : graph.updates) result.updates.push_back({u.name, to[u.node.value]});
  return result;
}

}  // namespace nnc
