// What of a scan is needed is found by walks backwards through its body: from the results that are read, and from each carry that one of these walks comes to.
#include "passes/prune_scans.h"

#include <algorithm>
#include <map>
#include <memory>

#include "base/check.h"
#include "ir/regions.h"
#include "passes/rewrite.h"
#include "passes/rewrite_scans.h"

namespace nnc {
namespace {

class Pruner {
 public:
  Pruner(Graph& graph, const Node& scan, const std::vector<bool>& read)
      : graph_(graph), scan_(scan), body_(*scan.attributes.body), read_(read), live_(body_.size()), carry_is_live_(carried()) {}

  std::optional<std::vector<NodeId>> run() {
    find_equal_outputs();
    find_live();
    return is_pruned() ? std::nullopt : std::optional(rebuild());
  }

 private:
  size_t carried() const { return size_t(scan_.attributes.carried); }
  NodeId output(size_t k) const { return body_.outputs[k].node; }

  /// Of each output the first that has its value; of a carry that never changes nothing.
  void find_equal_outputs() {
    std::map<std::pair<NodeId, NodeId>, size_t> carries;
    std::map<NodeId, size_t> stacks;
    for (size_t k = 0; k < body_.outputs.size(); ++k) {
      const Node& made = body_[output(k)];
      is_constant_.push_back(k < carried() && made.op == Op::input && operand_of_input(scan_, made) == int(k));
      if (k < carried())
        same_.push_back(carries.try_emplace({scan_.operands[k], is_constant_[k] ? NodeId{} : output(k)}, k).first->second);
      else
        same_.push_back(stacks.try_emplace(output(k), k).first->second);
    }
  }

  void find_live() {
    std::vector<NodeId> pending;
    auto want = [&](NodeId id) {
      if (live_[id.value]) return;
      live_[id.value] = true;
      pending.push_back(id);
    };
    auto want_output = [&](size_t k) {
      k = same_[k];
      if (k < carried() && (is_constant_[k] || carry_is_live_[k])) return;
      if (k < carried()) carry_is_live_[k] = true;
      want(output(k));
    };
    for (size_t k = 0; k < read_.size(); ++k)
      if (read_[k]) want_output(k);
    while (!pending.empty()) {
      const Node& node = body_[pending.back()];
      pending.pop_back();
      for (NodeId operand : node.operands) want(operand);
      if (node.op != Op::input) continue;
      if (int k = *operand_of_input(scan_, node); k < scan_.attributes.carried) want_output(size_t(k));
    }
  }

  bool is_pruned() const {
    for (size_t k = 0; k < read_.size(); ++k)
      if (same_[k] != k || (k < carried() ? is_constant_[k] || !carry_is_live_[k] : !read_[k])) return false;
    std::vector<bool> is_read(scan_.operands.size());
    for (uint32_t i = 0; i < body_.size(); ++i) {
      if (!live_[i]) return false;
      if (body_[NodeId{i}].op == Op::input) is_read[size_t(*operand_of_input(scan_, body_[NodeId{i}]))] = true;
    }
    std::map<std::pair<BodyInput, NodeId>, int> times;
    for (size_t k = carried(); k < is_read.size(); ++k)
      if (!is_read[k] || times[{place_of_operand(scan_.attributes, int(k)).kind, scan_.operands[k]}]++ > 0 || repeats(int(k))) return false;
    return true;
  }

  /// A sequence or a captured value that is a number or an index, or repeats a smaller value, and is the same at each step: the body can make that itself.
  bool repeats(int k) const {
    const Node& n = graph_[scan_.operands[size_t(k)]];
    const bool is_slice = place_of_operand(scan_.attributes, k).kind == BodyInput::slice;
    const bool is_made = n.op == Op::broadcast || n.op == Op::iota;
    return n.op == Op::constant || (is_made && !(is_slice && holds(n.attributes.axes, step_axis(n.type))));
  }

  NodeId repeated(Graph& body, int k, const Type& type, OperandList& captures, const Node& input) {
    const Node& n = graph_[scan_.operands[size_t(k)]];
    Builder b(body, input.span, input.scope);
    if (n.op == Op::constant) return b.constant(n.attributes.number, type);
    std::vector<int> axes = n.attributes.axes;
    if (place_of_operand(scan_.attributes, k).kind == BodyInput::slice)
      for (int& axis : axes) axis -= axis > step_axis(n.type);
    if (n.op == Op::iota) return b.iota(type.shape, axes[0]);
    const NodeId source = b.input(body_input_name(BodyInput::capture, captures.number_of(n.operands[0])), graph_.type(n.operands[0]));
    return b.broadcast(source, type.shape, std::move(axes));
  }

  std::vector<NodeId> rebuild() {
    Graph body;
    body.name = body_.name;
    std::vector<NodeId> carries, to(body_.size());
    OperandList sequences, captures;
    std::vector<int> new_carry(carried(), -1);
    for (size_t k = 0; k < carried(); ++k) {
      if (!carry_is_live_[k]) continue;
      new_carry[k] = int(carries.size());
      carries.push_back(scan_.operands[k]);
    }
    std::map<std::string, NodeId> inputs;
    for (uint32_t i = 0; i < body_.size(); ++i) {
      if (!live_[i]) continue;
      Node node = body_[NodeId{i}];
      for (NodeId& operand : node.operands) operand = to[operand.value];
      if (node.op != Op::input) {
        to[i] = add_node(body, node);
        continue;
      }
      const int k = *operand_of_input(scan_, node);
      const BodyInput kind = place_of_operand(scan_.attributes, k).kind;
      const NodeId operand = scan_.operands[size_t(k)];
      if (kind != BodyInput::carry && repeats(k)) {
        to[i] = repeated(body, k, node.type, captures, node);
        continue;
      }
      if (kind == BodyInput::slice)
        node.attributes.text = body_input_name(kind, sequences.number_of(operand));
      else if (kind == BodyInput::carry && !is_constant_[same_[size_t(k)]])
        node.attributes.text = body_input_name(kind, new_carry[same_[size_t(k)]]);
      else
        node.attributes.text = body_input_name(BodyInput::capture, captures.number_of(operand));
      auto [known, fresh] = inputs.try_emplace(node.attributes.text);
      if (fresh) known->second = add_node(body, node);
      to[i] = known->second;
    }
    Attributes a;
    a.carried = int(carries.size());
    std::vector<int> number(read_.size(), -1);
    auto add_output = [&](size_t k) {
      number[k] = int(body.outputs.size());
      body.outputs.push_back({body_output_name(a, number[k]), to[output(k).value]});
    };
    for (size_t k = 0; k < carried(); ++k)
      if (carry_is_live_[k]) add_output(k);
    for (size_t k = carried(); k < read_.size(); ++k)
      if (read_[k] && number[same_[k]] < 0) add_output(same_[k]);

    NodeId scan;
    if (!body.outputs.empty()) scan = add_scan(graph_, scan_, std::move(body), carries, sequences, captures);
    std::vector<NodeId> results(read_.size());
    for (size_t k = 0; k < read_.size(); ++k) {
      if (!read_[k]) continue;
      const bool is_first = k < carried() && is_constant_[k];
      results[k] = is_first ? scan_.operands[k] : Builder(graph_, scan_.span, scan_.scope).result(scan, number[same_[k]]);
    }
    return results;
  }

  Graph& graph_;
  const Node& scan_;
  const Graph& body_;
  const std::vector<bool>& read_;
  std::vector<bool> is_constant_;    ///< by output: a carry that stays what it is
  std::vector<size_t> same_;         ///< by output
  std::vector<bool> live_;           ///< by node of the body
  std::vector<bool> carry_is_live_;
};

}  // namespace

bool prune_scans_of(Graph& graph) {
  bool changed = false;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& node = graph[NodeId{i}];
    if (node.op != Op::scan || !has_scan(*node.attributes.body)) continue;
    Graph body = *node.attributes.body;
    if (!prune_scans_of(body)) continue;
    node.attributes.body = {std::make_shared<Graph>(std::move(body))};
    changed = true;
  }
  return rewrite_scans(graph, [](Graph& result, const Node& scan, const std::vector<bool>& read) { return Pruner(result, scan, read).run(); }) || changed;
}

void prune_scans(Graph& graph) {
  // What a scan no longer reads another one need not give.
  while (has_scan(graph) && prune_scans_of(graph)) {
  }
}

}  // namespace nnc
