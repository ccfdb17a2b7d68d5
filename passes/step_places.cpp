// Walks over the body, forwards along operands and backwards along users, each of them linear. A decision never has to be taken back: what feeds a carry stays in the loop; contractions
// that feed none sink, and all that reads them; this says which values have to be had behind the loop; and what comes of these alone is made there, too.
#include "passes/step_places.h"

#include <algorithm>

#include "ir/regions.h"
#include "passes/batch_steps.h"
#include "passes/costs.h"

namespace nnc {

bool CarriedSum::leaves() const { return std::ranges::all_of(terms, &Term::is_behind); }

namespace {

bool is_light(Op op) { return op_cost(op) == OpCost::light && (is_elementwise(op) || op_class(op) == OpClass::shape || op_class(op) == OpClass::leaf); }

class Placer {
 public:
  Placer(const Node& scan, int64_t rows)
      : scan_(scan), a_(scan.attributes), body_(*scan.attributes.body), rows_(rows > 0 ? rows : assumed_rows), steps_(a_.extents[0].size), users_(body_.users()), uses_(size()), has_rule_(size()), feeds_(size()), crosses_(size()), remade_(size()) {
    for (std::vector<bool>* flags : {&p_.varies, &p_.bound, &p_.sunk, &p_.stacked, &p_.hoisted, &p_.outside, &p_.inside, &p_.adds_up}) flags->resize(size());
    p_.sums.resize(size_t(a_.carried));
  }

  StepPlaces run() {
    for (uint32_t i = 0; i < size(); ++i) {
      has_rule_[i] = has_batching_rule(body_, {i}, steps_);
      for (NodeId operand : node({i}).operands) ++uses_[operand.value];
    }
    for (const Output& o : body_.outputs) ++uses_[o.node.value];
    find_sums();
    find_bound();
    find_feeding();
    sink();
    settle_sums();
    hoist();
    find_needed();
    return std::move(p_);
  }

 private:
  static constexpr int64_t assumed_rows = 128;

  uint32_t size() const { return body_.size(); }
  const Node& node(NodeId id) const { return body_[id]; }
  size_t carried() const { return size_t(a_.carried); }
  int64_t elements(NodeId id) const { return body_.type(id).elements(rows_); }
  bool is_slice(const Node& n) const { return n.op == Op::input && place_of_operand(a_, *operand_of_input(scan_, n)).kind == BodyInput::slice; }
  bool is_carry(const Node& n) const { return n.op == Op::input && *operand_of_input(scan_, n) < a_.carried; }
  /// All that is not bound and differs from step to step can be made before the loop.
  bool is_free(NodeId id) const { return p_.varies[id.value] && !p_.bound[id.value]; }

  /// Carries that only add up: from the carry upwards each value has one reader, an addition, until the output.
  void find_sums() {
    std::vector<NodeId> input(carried());
    std::vector<int> inputs(carried(), 0);
    for (uint32_t i = 0; i < size(); ++i)
      if (is_carry(node({i}))) {
        const size_t k = size_t(*operand_of_input(scan_, node({i})));
        input[k] = {i};
        ++inputs[k];
      }
    for (size_t k = 0; k < carried(); ++k) {
      if (inputs[k] != 1) continue;
      CarriedSum sum;
      std::vector<NodeId> additions;
      NodeId at = input[k];
      while (uses_[at.value] == 1 && at != body_.outputs[k].node && !users_[at.value].empty()) {
        const NodeId user = users_[at.value][0];
        const Node& n = node(user);
        const bool is_difference = n.op == Op::sub && n.operands[0] == at;
        if (n.op != Op::add && !is_difference) break;
        sum.terms.push_back({n.operands[0] == at ? n.operands[1] : n.operands[0], is_difference});
        additions.push_back(at = user);
      }
      if (at != body_.outputs[k].node || uses_[at.value] != 1 || additions.empty()) continue;
      for (NodeId addition : additions) p_.adds_up[addition.value] = true;
      p_.sums[k] = std::move(sum);
    }
  }

  void find_bound() {
    for (uint32_t i = 0; i < size(); ++i) {
      const Node& n = node({i});
      p_.varies[i] = p_.bound[i] = is_carry(n);
      if (is_slice(n)) p_.varies[i] = true;
      for (NodeId operand : n.operands) {
        if (p_.varies[operand.value]) p_.varies[i] = true;
        if (p_.bound[operand.value]) p_.bound[i] = true;
      }
      if (p_.varies[i] && n.op != Op::input && !has_rule_[i]) p_.bound[i] = true;
    }
  }

  /// What a carry needs that is more than a sum, or what stays in the loop for want of a rule.
  void find_feeding() {
    for (size_t k = 0; k < carried(); ++k)
      if (!p_.sums[k]) feeds_[body_.outputs[k].node.value] = true;
    for (uint32_t i = size(); i-- > 0;) {
      if (p_.bound[i] && !has_rule_[i]) feeds_[i] = true;
      if (feeds_[i] && !p_.adds_up[i])
        for (NodeId operand : node({i}).operands) feeds_[operand.value] = true;
    }
  }

  /// A product whose factors are smaller: a contraction, or one that sums nothing.
  bool is_product(NodeId id) const {
    const Node& n = node(id);
    auto is_repeated = [&](NodeId operand) { return node(operand).op == Op::broadcast; };
    return n.op == Op::contract || (n.op == Op::mul && std::ranges::all_of(n.operands, is_repeated));
  }

  /// A view of no less than what it reads: stacked is what it reads.
  bool is_seen_through(NodeId id) const {
    const Node& n = node(id);
    switch (n.op) {
      case Op::broadcast:
      case Op::reshape:
      case Op::transpose:
      case Op::pad:
      case Op::window: return p_.bound[id.value] && !p_.sunk[id.value] && has_rule_[id.value] && elements(n.operands[0]) <= elements(id);
      default: return false;
    }
  }

  /// What is stacked so that a bound value can be had behind the loop.
  NodeId source_of(NodeId id) const {
    while (is_seen_through(id)) id = node(id).operands[0];
    return id;
  }

  bool reads_sunk(NodeId id) const {
    return std::ranges::any_of(node(id).operands, [&](NodeId operand) { return p_.sunk[operand.value]; });
  }

  void sink() {
    for (uint32_t i = 0; i < size(); ++i)
      p_.sunk[i] = p_.bound[i] && !feeds_[i] && !p_.adds_up[i] && node({i}).op != Op::input && (is_product({i}) || reads_sunk({i}));
    auto cross = [&](NodeId id) {
      if (p_.bound[id.value]) crosses_[source_of(id).value] = true;
    };
    for (uint32_t i = 0; i < size(); ++i)
      if (p_.sunk[i])
        for (NodeId operand : node({i}).operands) cross(operand);
    for (size_t k = carried(); k < body_.outputs.size(); ++k) cross(body_.outputs[k].node);
    // What comes of nothing but these, and the loop need not compute.
    for (uint32_t i = 0; i < size(); ++i) {
      const Node& n = node({i});
      remade_[i] = p_.bound[i] && !feeds_[i] && !p_.adds_up[i] && n.op != Op::input && std::ranges::all_of(n.operands, [&](NodeId operand) { return is_behind(operand); });
    }
  }

  /// Had behind the loop at no further stacked value.
  bool is_behind(NodeId id) const {
    const NodeId source = source_of(id);
    return !p_.bound[id.value] || p_.sunk[source.value] || crosses_[source.value] || remade_[source.value];
  }

  /// Which terms are added up behind the loop.
  void settle_sums() {
    int64_t room = 0;
    for (const Node& n : body_.nodes())
      if (is_slice(n)) room = std::max(room, n.type.elements(rows_));
    for (size_t k = carried(); k < body_.outputs.size(); ++k) room = std::max(room, elements(body_.outputs[k].node));
    for (size_t k = 0; k < carried(); ++k) {
      std::optional<CarriedSum>& sum = p_.sums[k];
      if (!sum) continue;
      bool any = false;
      for (CarriedSum::Term& term : sum->terms) {
        term.is_behind = is_behind(term.node) || elements(source_of(term.node)) <= room;
        any |= term.is_behind;
      }
      if (any) continue;
      NodeId at = body_.outputs[k].node;
      for (size_t n = sum->terms.size(); n-- > 0;) {
        p_.adds_up[at.value] = false;
        at = node(at).operands[node(at).operands[0] == sum->terms[n].node ? 1 : 0];
      }
      sum.reset();
    }
  }

  void hoist() {
    std::vector<bool> reads_capture(size());
    for (uint32_t i = 0; i < size(); ++i) {
      const Node& n = node({i});
      if (n.op == Op::input) reads_capture[i] = true;
      for (NodeId operand : n.operands)
        if (reads_capture[operand.value]) reads_capture[i] = true;
      const bool repeats = n.op == Op::broadcast || (is_light(n.op) && std::ranges::any_of(n.operands, [&](NodeId x) { return node(x).op == Op::broadcast; }));
      if (n.op == Op::input || p_.bound[i]) continue;
      if (!p_.varies[i])
        p_.hoisted[i] = reads_capture[i] && !repeats && n.op != Op::scan;
      else
        p_.hoisted[i] = op_class(n.op) == OpClass::contract || op_class(n.op) == OpClass::reduce || op_class(n.op) == OpClass::indexing || follows({i});
    }
    // What is made before the loop for these, and dear, the loop need not make again.
    std::vector<bool> before(size());
    auto want = [&](NodeId id) { before[id.value] = true; };
    for (size_t k = carried(); k < body_.outputs.size(); ++k) want(body_.outputs[k].node);
    for (const std::optional<CarriedSum>& sum : p_.sums)
      if (sum)
        for (const CarriedSum::Term& term : sum->terms)
          if (term.is_behind) want(term.node);
    for (uint32_t i = size(); i-- > 0;) {
      const Node& n = node({i});
      if (is_free({i}) && before[i] && n.op != Op::input && !is_light(n.op)) p_.hoisted[i] = true;
      if (p_.sunk[i] || (before[i] && !is_stacked({i})) || (is_free({i}) && p_.hoisted[i]))
        for (NodeId operand : n.operands) want(operand);
    }
  }

  /// Arithmetic behind a hoisted value that takes its place: the loop reads the result instead.
  bool follows(NodeId id) const {
    const Node& n = node(id);
    if (!is_elementwise(n.op) && n.op != Op::reshape && n.op != Op::transpose) return false;
    return std::ranges::any_of(n.operands, [&](NodeId operand) {
      return p_.varies[operand.value] && p_.hoisted[operand.value] && uses_[operand.value] == 1 && elements(id) <= elements(operand);
    });
  }

  /// Of what is read behind the loop.
  bool is_stacked(NodeId id) const { return p_.bound[id.value] && !p_.sunk[id.value] && !remade_[id.value] && !is_seen_through(id); }

  void find_needed() {
    const std::vector<Output>& outputs = body_.outputs;
    for (size_t k = carried(); k < outputs.size(); ++k) {
      const NodeId id = outputs[k].node;
      p_.outside[id.value] = true;
      if (!is_stacked(id)) p_.anything_moves = true;
    }
    for (size_t k = 0; k < carried(); ++k) {
      if (!p_.sums[k]) {
        p_.inside[outputs[k].node.value] = true;
        continue;
      }
      p_.anything_moves = true;
      for (const CarriedSum::Term& term : p_.sums[k]->terms) (term.is_behind ? p_.outside : p_.inside)[term.node.value] = true;
    }
    auto need_operands = [&](std::vector<bool>& where, uint32_t i) {
      for (NodeId operand : node({i}).operands) where[operand.value] = true;
    };
    for (uint32_t i = size(); i-- > 0;) {
      if (!p_.outside[i]) continue;
      p_.stacked[i] = is_stacked({i});
      if (!p_.stacked[i]) need_operands(p_.outside, i);
    }
    // A carry whose sum keeps a term in the loop is still read there.
    for (uint32_t i = 0; i < size(); ++i)
      if (p_.stacked[i]) p_.inside[i] = true;
    for (uint32_t i = size(); i-- > 0;) {
      if (!p_.inside[i]) continue;
      if (!p_.hoisted[i]) {
        need_operands(p_.inside, i);
        continue;
      }
      p_.outside[i] = true;
      p_.anything_moves = true;
    }
    for (uint32_t i = size(); i-- > 0;)
      if (p_.outside[i] && !p_.bound[i]) need_operands(p_.outside, i);
  }

  const Node& scan_;
  const Attributes& a_;
  const Graph& body_;
  int64_t rows_, steps_;
  Users users_;
  std::vector<int> uses_;  ///< operands and outputs
  std::vector<bool> has_rule_;
  std::vector<bool> feeds_;    ///< a carry needs it, or what stays in the loop
  std::vector<bool> crosses_;  ///< bound, and needed behind the loop, there or for a view of it
  std::vector<bool> remade_;   ///< bound, and if it is needed behind the loop made there of what is had there
  StepPlaces p_;
};

}  // namespace

StepPlaces place_steps(const Node& scan, int64_t rows) { return Placer(scan, rows).run(); }

}  // namespace nnc
