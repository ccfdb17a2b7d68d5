// The gradient of a scan is a scan in the other direction (M. Bartholomew-Biggs et al. 2000; A. Griewank, A. Walther, "Evaluating Derivatives", ch. 12: a step of the loop is an
// elemental function, whose adjoint needs the state it began with).
//
// Step t of the reverse scan has the gradient of the carries behind step t, and gives that before it: these are carries. So are the gradients of captured values, which add up
// over the steps. Gradients of sequences are stacked. Its body is the gradient of the forward body by the ordinary rules, over a copy of it.
//
// What the forward body computed and the gradient reads is either computed again or kept: the forward scan is widened by a stacked result for it. Sequences and captures are there
// already, of the carries the values before each step are kept, and from these, and from what else is kept, arithmetic and views are computed again. Everything dearer is kept.
#include <algorithm>
#include <map>

#include "base/check.h"
#include "ir/gradient_flow.h"
#include "ir/regions.h"
#include "passes/costs.h"
#include "passes/differentiate.h"
#include "passes/gradient_rules.h"

namespace nnc {
namespace {

/// Cheaper to compute than to store and load.
bool is_cheap(Op op) { return op_cost(op) == OpCost::light && (is_elementwise(op) || op_class(op) == OpClass::shape); }

class ReverseScan {
 public:
  explicit ReverseScan(Adjoint& adjoint)
      : a_(adjoint), scan_(adjoint.node.attributes), body_(*adjoint.b.graph[adjoint.y].attributes.body), given_(adjoint.results.at(adjoint.y.value)) {
    given_.resize(body_.outputs.size());
  }

  void build() {
    copy_forward();
    differentiate_body();
    choose_kept();
    make_scan();
  }

 private:
  size_t carried() const { return size_t(scan_.carried); }
  Builder builder() { return Builder(work_, a_.b.span, a_.b.scope); }

  /// The forward body in a graph in which its gradient will stand, too; an input is there once.
  void copy_forward() {
    std::map<std::string, NodeId> inputs;
    for (uint32_t i = 0; i < body_.size(); ++i) {
      Node node = body_[NodeId{i}];
      for (NodeId& operand : node.operands) operand = in_work_[operand.value];
      if (node.op == Op::input) {
        auto [known, fresh] = inputs.try_emplace(node.attributes.text);
        if (!fresh) {
          in_work_.push_back(known->second);
          continue;
        }
        known->second = {work_.size()};
        inputs_[size_t(*operand_of_input(a_.node, node))] = known->second;
      }
      forward_.push_back({i});
      in_work_.push_back(work_.add(node.op, node.operands, node.attributes, node.span, node.scope));
    }
  }

  void differentiate_body() {
    std::vector<bool> wanted;
    for (size_t k = 0; k < a_.node.operands.size(); ++k) wanted.push_back(a_.wants(int(k)));
    varies_ = varying_operands(a_.node, wanted);
    std::vector<Seed> seeds;
    for (size_t k = 0; k < body_.outputs.size(); ++k) {
      const NodeId output = in_work_[body_.outputs[k].node.value];
      const bool is_carry = k < carried();
      if (is_carry ? !varies_[k] : !given_[k].valid()) continue;
      Builder b = builder();
      const NodeId gradient = b.input((is_carry ? "gradient.carry." : "gradient.stack.") + std::to_string(k), work_.type(output));
      gradient_inputs_[k] = gradient;
      seeds.push_back({output, gradient});
    }
    std::vector<size_t> operands;
    std::vector<NodeId> wrt;
    for (auto [k, input] : inputs_)
      if (varies_[k]) {
        operands.push_back(k);
        wrt.push_back(input);
      }
    const std::vector<NodeId> found = gradients_of(work_, seeds, wrt);
    for (size_t i = 0; i < operands.size(); ++i)
      if (found[i].valid()) gradients_[operands[i]] = found[i];
  }

  bool is_forward(NodeId id) const { return id.value < forward_.size(); }
  /// What the gradient of a scan in the body has made it give beside what it gave.
  bool is_added_result(NodeId id) const { return !is_forward(id) && work_[id].op == Op::result && is_forward(work_[id].operands[0]); }

  /// Which values of the forward body are kept.
  void choose_kept() {
    std::vector<bool> reads(forward_.size(), false);  // by the gradient
    std::vector<bool> live(work_.size(), false);
    for (auto [k, gradient] : gradients_) live[gradient.value] = true;
    for (uint32_t i = work_.size(); i-- > 0;) {
      if (!live[i]) continue;
      if (is_forward({i})) {
        reads[i] = true;
        continue;
      }
      if (is_added_result({i})) {
        kept_.insert({{i}, NodeId{}});
        continue;
      }
      for (NodeId operand : work_[NodeId{i}].operands) live[operand.value] = true;
    }
    std::vector<bool> available(forward_.size(), false);
    for (uint32_t i = 0; i < forward_.size(); ++i) {
      const Node& node = work_[NodeId{i}];
      auto is_available = [&](NodeId operand) { return bool(available[operand.value]); };
      available[i] = std::all_of(node.operands.begin(), node.operands.end(), is_available) &&
                     (node.operands.empty() || is_cheap(node.op));
      if (!reads[i] || available[i]) continue;
      // A view that repeats or moves is made of less.
      NodeId kept{i};
      while ((work_[kept].op == Op::broadcast || work_[kept].op == Op::reshape || work_[kept].op == Op::transpose) && !available[work_[kept].operands[0].value])
        kept = work_[kept].operands[0];
      kept_.insert({kept, NodeId{}});
      available[kept.value] = available[i] = true;
    }
  }

  /// Results of the forward scan, by what they stack: nodes of the working graph.
  NodeId stacked(NodeId kept) {
    NodeId& result = kept_[kept];
    if (result.valid()) return result;
    const int number = int(widened_.outputs.size());
    NodeId in_body;
    if (is_forward(kept)) {
      in_body = forward_[kept.value];
    } else {
      const Node& node = work_[kept];
      in_body = Builder(widened_, node.span, node.scope).result(forward_[node.operands[0].value], int(node.attributes.begin));
    }
    widened_.outputs.push_back({body_output_name(scan_, number), in_body});
    return result = NodeId{uint32_t(number)};
  }

  /// A graph for the body of the reverse scan, the operands that it reads, and which node of the working graph stands where in it.
  struct Reverse {
    Graph body;
    std::vector<NodeId> carries, sequences, captures;  ///< operands in the graph of the scan
    std::vector<size_t> kept_sequences;                ///< places among the sequences that results of the forward scan take,
    std::vector<int> kept_results;                     ///< and their numbers
    std::map<NodeId, NodeId> to;
  };

  NodeId add_input(Reverse& r, BodyInput kind, NodeId operand, Type type) {
    std::vector<NodeId>& list = kind == BodyInput::carry ? r.carries : kind == BodyInput::slice ? r.sequences : r.captures;
    list.push_back(operand);
    return Builder(r.body, a_.b.span, a_.b.scope).input(body_input_name(kind, int(list.size()) - 1), std::move(type));
  }

  NodeId add_kept(Reverse& r, NodeId node) {
    r.kept_sequences.push_back(r.sequences.size());
    r.kept_results.push_back(int(stacked(node).value));
    return add_input(r, BodyInput::slice, {}, work_.type(node));
  }

  /// What stands for a node of the working graph in the reverse body.
  NodeId translate(Reverse& r, NodeId id) {
    if (auto known = r.to.find(id); known != r.to.end()) return known->second;
    Node node = work_[id];
    NodeId made;
    if (kept_.contains(id)) {
      made = add_kept(r, id);
    } else if (node.op == Op::input) {
      // Carries of gradients are there already.
      for (auto [k, input] : gradient_inputs_)
        if (input == id) made = add_input(r, BodyInput::slice, given_[k], node.type);
      for (auto [k, input] : inputs_) {
        if (input != id) continue;
        const BodyInput kind = place_of_operand(scan_, int(k)).kind;
        made = kind == BodyInput::carry ? add_kept(r, id) : add_input(r, kind, a_.x(int(k)), node.type);
      }
    } else {
      for (NodeId& operand : node.operands) operand = translate(r, operand);
      made = r.body.add(node.op, node.operands, node.attributes, node.span, node.scope);
    }
    NNC_CHECK(made.valid(), "an input of a reverse body");
    return r.to[id] = made;
  }

  void make_scan() {
    widened_ = body_;
    for (uint32_t i = 0; i < forward_.size(); ++i)
      if (work_[NodeId{i}].op == Op::scan) widened_[forward_[i]].attributes.body = work_[NodeId{i}].attributes.body;
    Reverse r;
    r.body.name = "body";
    auto zero = [&](Graph& graph, const Type& type) { return Builder(graph, a_.b.span, a_.b.scope).constant(0, type); };
    // Gradients of carries, then those of captured values, which add up.
    std::map<size_t, int> carry_of;
    std::vector<NodeId> seeds;
    for (size_t k = 0; k < carried(); ++k) {
      if (!gradient_inputs_.contains(k)) continue;
      const Type type = work_.type(gradient_inputs_[k]);
      carry_of[k] = int(r.carries.size());
      r.to[gradient_inputs_[k]] = add_input(r, BodyInput::carry, given_[k].valid() ? given_[k] : zero(a_.b.graph, type), type);
    }
    std::map<size_t, NodeId> sums;
    for (auto [k, gradient] : gradients_) {
      if (place_of_operand(scan_, int(k)).kind != BodyInput::capture || !a_.wants(int(k))) continue;
      const Type type = work_.type(gradient);
      carry_of[k] = int(r.carries.size());
      sums[k] = add_input(r, BodyInput::carry, zero(a_.b.graph, type), type);
    }
    std::vector<NodeId> outputs(r.carries.size());
    for (auto [k, carry] : carry_of) {
      auto gradient = gradients_.find(k);
      const NodeId made = gradient != gradients_.end() ? translate(r, gradient->second) : zero(r.body, work_.type(gradient_inputs_[k]));
      outputs[size_t(carry)] = sums.contains(k) ? Builder(r.body, a_.b.span, a_.b.scope).add(sums[k], made) : made;
    }
    std::map<size_t, int> stack_of;
    for (auto [k, gradient] : gradients_) {
      if (place_of_operand(scan_, int(k)).kind != BodyInput::slice || !a_.wants(int(k))) continue;
      stack_of[k] = int(outputs.size());
      outputs.push_back(translate(r, gradient));
    }
    if (outputs.empty()) return;

    a_.b.graph[a_.y].attributes.body = {std::make_shared<Graph>(std::move(widened_))};
    for (size_t i = 0; i < r.kept_sequences.size(); ++i) r.sequences[r.kept_sequences[i]] = a_.b.result(a_.y, r.kept_results[i]);
    Attributes attributes;
    attributes.extents = scan_.extents;
    attributes.reverse = !scan_.reverse;
    attributes.carried = int(r.carries.size());
    attributes.sliced = int(r.sequences.size());
    for (size_t k = 0; k < outputs.size(); ++k) r.body.outputs.push_back({body_output_name(attributes, int(k)), outputs[k]});
    attributes.body = {std::make_shared<Graph>(std::move(r.body))};
    std::vector<NodeId> operands = r.carries;
    operands.insert(operands.end(), r.sequences.begin(), r.sequences.end());
    operands.insert(operands.end(), r.captures.begin(), r.captures.end());
    const NodeId reverse = a_.b.graph.add(Op::scan, std::move(operands), std::move(attributes), a_.b.span, a_.b.scope);
    for (auto [k, number] : carry_of)
      if (a_.wants(int(k))) a_.give(int(k), a_.b.result(reverse, number));
    for (auto [k, number] : stack_of) a_.give(int(k), a_.b.result(reverse, number));
  }

  Adjoint& a_;
  const Attributes& scan_;
  const Graph body_;             ///< a copy: it makes way for the widened one
  std::vector<NodeId>& given_;   ///< gradients of results
  Graph work_;                   ///< the forward body, and behind it its gradient
  std::vector<NodeId> in_work_;  ///< by node of the body
  std::vector<NodeId> forward_;  ///< by node of the working graph: that of the body
  std::map<size_t, NodeId> inputs_, gradient_inputs_, gradients_;  ///< in the working graph, by operand; by result; by operand
  std::vector<bool> varies_;
  std::map<NodeId, NodeId> kept_;  ///< nodes of the working graph that are stacked; their numbers among the results
  Graph widened_;
};

}  // namespace

void gradient_scan(Adjoint& a) { ReverseScan(a).build(); }

void gradient_result(Adjoint& a) {
  std::vector<NodeId>& gradients = a.results[a.x(0).value];
  const size_t number = size_t(a.node.attributes.begin);
  if (gradients.size() <= number) gradients.resize(number + 1);
  gradients[number] = gradients[number].valid() ? a.b.add(gradients[number], a.g) : a.g;
}

}  // namespace nnc
