// The partial evaluation of a loop (as JAX's scan does it for its gradient, and loop distribution: Allen, Kennedy, "Optimizing Compilers for Modern Architectures", ch. 5). Where each
// operation goes is decided in step_places.cpp, how one is done for all steps at once in batch_steps.cpp; here the scan is taken apart accordingly.
#include "passes/split_scans.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "base/check.h"
#include "ir/regions.h"
#include "passes/batch_steps.h"
#include "passes/dead_code.h"
#include "passes/prune_scans.h"
#include "passes/rewrite.h"
#include "passes/rewrite_scans.h"
#include "passes/simplify.h"
#include "passes/step_places.h"

namespace nnc {
namespace {

class Splitter {
 public:
  Splitter(Graph& graph, const Node& scan, StepPlaces places)
      : graph_(graph), scan_(scan), a_(scan.attributes), body_(*scan.attributes.body), places_(std::move(places)), steps_(a_.extents[0].size), values_(body_.size()), inside_(body_.size()), sums_products_(body_.size()) {}

  std::vector<NodeId> run(const std::vector<bool>& read) {
    for (uint32_t i = 0; i < body_.size(); ++i)
      if (places_.outside[i] && !places_.bound[i]) values_[i] = outside_of({i});
    make_loop();
    for (uint32_t i = 0; i < body_.size(); ++i)
      if (places_.outside[i] && places_.bound[i]) values_[i] = places_.stacked[i] ? StepsValue{builder().result(loop_, stack_of_.at({i})), true} : outside_of({i});
    find_sums_of_products();
    std::vector<NodeId> results(read.size());
    for (size_t k = 0; k < read.size(); ++k)
      if (read[k]) results[k] = result(k);
    return results;
  }

 private:
  size_t carried() const { return size_t(a_.carried); }
  Builder builder() { return Builder(graph_, scan_.span, scan_.scope); }

  StepsValue outside_of(NodeId id) {
    const Node& node = body_[id];
    if (node.op == Op::input) {
      const int operand = *operand_of_input(scan_, node);
      return {scan_.operands[size_t(operand)], place_of_operand(a_, operand).kind == BodyInput::slice};
    }
    std::vector<StepsValue> operands;
    for (NodeId operand : node.operands) operands.push_back(values_[operand.value]);
    return batch_steps(graph_, body_, id, operands, steps_);
  }

  void make_loop() {
    Graph body;
    body.name = body_.name;
    std::vector<NodeId> carries;
    OperandList sequences, captures;
    std::map<size_t, NodeId> carry_inputs;  // by the old number
    for (size_t k = 0; k < carried(); ++k) {
      if (places_.sums[k] && places_.sums[k]->leaves()) continue;
      carry_of_[k] = int(carries.size());
      carries.push_back(scan_.operands[k]);
    }
    std::map<std::string, NodeId> inputs;
    auto add_input = [&](const Node& like, BodyInput kind, int number) {
      auto [known, fresh] = inputs.try_emplace(body_input_name(kind, number));
      if (fresh) known->second = Builder(body, like.span, like.scope).input(known->first, like.type);
      return known->second;
    };
    auto read_operand = [&](const Node& like, StepsValue value) {
      return value.is_sequence ? add_input(like, BodyInput::slice, sequences.number_of(value.node)) : add_input(like, BodyInput::capture, captures.number_of(value.node));
    };
    for (uint32_t i = 0; i < body_.size(); ++i) {
      const Node& node = body_[NodeId{i}];
      if (node.op == Op::input && *operand_of_input(scan_, node) < a_.carried) {
        if (auto carry = carry_of_.find(size_t(*operand_of_input(scan_, node))); carry != carry_of_.end()) inside_[i] = add_input(node, BodyInput::carry, carry->second);
      } else if (places_.inside[i] && (node.op == Op::input || places_.hoisted[i])) {
        inside_[i] = read_operand(node, node.op == Op::input ? outside_of({i}) : values_[i]);
      } else if (places_.inside[i]) {
        Node copy = node;
        for (NodeId& operand : copy.operands) operand = inside_[operand.value];
        inside_[i] = add_node(body, copy);
      }
    }
    Attributes numbering;
    numbering.carried = int(carries.size());
    auto add_output = [&](NodeId node) { body.outputs.push_back({body_output_name(numbering, int(body.outputs.size())), node}); };
    for (auto [k, number] : carry_of_) add_output(places_.sums[k] ? added_up(body, k, inputs.at(body_input_name(BodyInput::carry, number))) : inside_[body_.outputs[k].node.value]);
    for (uint32_t i = 0; i < body_.size(); ++i) {
      if (!places_.stacked[i]) continue;
      stack_of_[{i}] = int(body.outputs.size());
      add_output(inside_[i]);
    }
    if (!body.outputs.empty()) loop_ = add_scan(graph_, scan_, std::move(body), carries, sequences, captures);
  }

  /// The next value of a carry to which some of its terms are still added in the loop.
  NodeId added_up(Graph& body, size_t k, NodeId carry) {
    Builder b(body, body_[body_.outputs[k].node].span, body_[body_.outputs[k].node].scope);
    for (const CarriedSum::Term& term : places_.sums[k]->terms)
      if (!term.is_behind) carry = b.binary(term.subtracted ? Op::sub : Op::add, carry, inside_[term.node.value]);
    return carry;
  }

  NodeId result(size_t k) {
    const NodeId made = body_.outputs[k].node;
    Builder b = builder();
    if (k >= carried()) return as_sequence(b, values_[made.value], steps_);
    NodeId value;  // invalid: zero
    if (auto carry = carry_of_.find(k); carry != carry_of_.end())
      value = b.result(loop_, carry->second);
    else if (splat_value(graph_, scan_.operands[k]) != Number(0))
      value = scan_.operands[k];
    if (!places_.sums[k]) return value;
    for (const CarriedSum::Term& term : places_.sums[k]->terms) {
      if (!term.is_behind) continue;
      const NodeId sum = sum_over_steps(term.node);
      if (value.valid())
        value = b.binary(term.subtracted ? Op::sub : Op::add, value, sum);
      else
        value = term.subtracted ? b.neg(sum) : sum;
    }
    return value;
  }

  /// Computed for all steps at once, so that its operands are there, too.
  bool is_made_outside(NodeId id) const { return places_.outside[id.value] && !places_.stacked[id.value] && body_[id].op != Op::input; }

  /// Where the sum over the steps is best made before an operation, since it is that of a contraction.
  void find_sums_of_products() {
    for (uint32_t i = 0; i < body_.size(); ++i) {
      if (!is_made_outside({i}) || !values_[i].is_sequence) continue;
      const Node& node = body_[NodeId{i}];
      const bool any = std::ranges::any_of(node.operands, [&](NodeId operand) { return bool(sums_products_[operand.value]); });
      switch (node.op) {
        case Op::contract: sums_products_[i] = true; break;
        case Op::neg:
        case Op::reshape:
        case Op::transpose:
        case Op::broadcast:
        case Op::slice:
        case Op::pad:
        case Op::add:
        case Op::sub: sums_products_[i] = any; break;
        case Op::mul: sums_products_[i] = any && std::ranges::any_of(node.operands, [&](NodeId operand) { return !values_[operand.value].is_sequence; }); break;
        default: break;
      }
    }
  }

  /// The sum of what the steps have of a value of the body. Sums of contractions are contractions that sum the steps as well, and views of sums stand for sums of views.
  NodeId sum_over_steps(NodeId id) {
    auto [known, fresh] = sums_.try_emplace(id);
    if (!fresh) return known->second;
    const Node& node = body_[id];
    const StepsValue value = values_[id.value];
    Builder b(graph_, node.span, node.scope);
    NodeId sum;
    if (!value.is_sequence) {
      sum = b.mul(value.node, Number(steps_));
    } else if (is_made_outside(id) && node.op == Op::reduce_sum) {
      const Node made = graph_[value.node];
      std::vector<int> axes = made.attributes.axes;
      axes.push_back(step_axis(body_.type(node.operands[0])));
      std::ranges::sort(axes);
      sum = b.reduce(Op::reduce_sum, made.operands[0], axes);
    } else if (!sums_products_[id.value]) {
      sum = b.reduce(Op::reduce_sum, value.node, {step_axis(node.type)});
    } else if (node.op == Op::contract) {
      Node made = graph_[value.node];
      made.attributes.out.erase(made.attributes.out.begin() + step_axis(node.type));
      sum = add_node(graph_, made);
    } else {
      std::vector<NodeId> operands;
      for (NodeId operand : node.operands) operands.push_back(node.op == Op::mul && !values_[operand.value].is_sequence ? values_[operand.value].node : sum_over_steps(operand));
      sum = graph_.add(node.op, std::move(operands), node.attributes, node.span, node.scope);
    }
    return sums_[id] = sum;
  }

  Graph& graph_;
  const Node& scan_;
  const Attributes& a_;
  const Graph& body_;
  const StepPlaces places_;
  const int64_t steps_;
  std::vector<StepsValue> values_;  ///< outside of the loop, by node of the body
  std::vector<NodeId> inside_;      ///< in the new body, likewise
  std::vector<bool> sums_products_; ///< likewise, find_sums_of_products
  std::map<NodeId, NodeId> sums_;   ///< over the steps, likewise
  NodeId loop_;
  std::map<size_t, int> carry_of_;  ///< carries that stay: their numbers in the new scan
  std::map<NodeId, int> stack_of_;  ///< results of the new scan, by node of the body
};

std::optional<std::vector<NodeId>> split(Graph& graph, const Node& scan, const std::vector<bool>& read, int64_t rows) {
  StepPlaces places = place_steps(scan, rows);
  return places.anything_moves ? std::optional(Splitter(graph, scan, std::move(places)).run(read)) : std::nullopt;
}

/// The forms that are looked for are those that simplification leaves.
void prepare_bodies(Graph& graph, int64_t rows) {
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Node& node = graph[NodeId{i}];
    if (node.op != Op::scan) continue;
    Graph body = *node.attributes.body;
    erase_stop_gradient(body);
    simplify(body);
    if (has_scan(body)) {
      split_scans(body, rows);
      simplify(body);
    }
    node.attributes.body = {std::make_shared<Graph>(std::move(body))};
  }
}

}  // namespace

void split_scans(Graph& graph, int64_t rows) {
  // What one scan no longer reads another one need not stack, and what is no longer stacked may sink.
  bool changed = has_scan(graph);
  while (changed) {
    remove_dead_code(graph);
    prepare_bodies(graph, rows);
    changed = prune_scans_of(graph);
    if (rewrite_scans(graph, [&](Graph& result, const Node& scan, const std::vector<bool>& read) { return split(result, scan, read, rows); })) changed = true;
    remove_dead_code(graph);
  }
}

}  // namespace nnc
