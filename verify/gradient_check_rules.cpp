// Every gradient rule by itself.
//
// A rule is checked at the node itself, its operands being leaves with their values in the model. An element-wise operation has a
// diagonal Jacobian: one evaluation moves every element, and each gives a quotient of its own. Everything else with a rule is
// linear in each operand or a contraction, for which a central difference is exact at any step: a random direction through a
// whole operand moves every element of the gradient at once, single elements follow. The largest and smallest of a reduction are
// linear between ties: elements that tie move together, which the shares must add up to.
//
// At a kink the two one-sided slopes differ, and any number between them is a (sub)gradient; nnc's conventions
// (gradient_rules.cpp) all are such numbers. Next to a pole or jump quotients do not settle, and the element is skipped and
// counted, as is one whose result is not finite.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include <fmt/format.h>

#include "base/philox.h"
#include "verify/difference_quotient.h"
#include "verify/gradient_check.h"
#include "ir/interpreter_ops.h"
#include "passes/costs.h"
#include "passes/differentiate.h"
#include "verify/reduce_sizes.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();

/// One operation over leaves: an input "x0", "x1", ... for each operand, one for both if they are the same node.
struct SingleOp {
  Graph graph;
  Bindings bindings;
  NodeId result;
  std::vector<NodeId> leaves;   ///< of float type, whose gradients are asked for
  std::vector<int> operand_of;  ///< the leaf's operand
  std::vector<size_t> chosen;   ///< if only some elements of the node stand here: which
  std::vector<int64_t> shape;   ///< of the node, then
};

SingleOp isolate(const Graph& graph, NodeId id, const std::vector<const Tensor*>& operands, int64_t rows) {
  SingleOp s;
  const Node& n = graph[id];
  s.graph.name = "rule";
  s.bindings.rows = rows;
  Builder b(s.graph, n.span, n.scope);
  std::vector<NodeId> leaves;
  for (size_t k = 0; k < n.operands.size(); ++k) {
    auto same = std::find(n.operands.begin(), n.operands.begin() + ptrdiff_t(k), n.operands[k]);
    if (same != n.operands.begin() + ptrdiff_t(k)) {
      leaves.push_back(leaves[size_t(same - n.operands.begin())]);
      continue;
    }
    std::string name = "x" + std::to_string(k);
    leaves.push_back(b.input(name, graph.type(n.operands[k])));
    s.bindings.inputs[name] = *operands[k];
    if (!is_float(graph.type(n.operands[k]).dtype)) continue;
    s.leaves.push_back(leaves.back());
    s.operand_of.push_back(int(k));
  }
  s.result = s.graph.add(n.op, leaves, n.attributes, n.span, n.scope);
  s.graph.outputs = {{"result", s.result}};
  return s;
}

class RuleCheck {
 public:
  RuleCheck(const GradientCheckOptions& options, RuleReport& report, NodeId node)
      : options_(options), report_(report), node_(node), random_(7, stable_hash("gradcheck")) {}

  void run(const SingleOp& s) {
    s_ = &s;
    at_ = s.bindings;
    base_ = value();
    weights_ = base_;
    for (double& w : weights_.values) w = random_.next_normal();
    gradients_ = rule_gradients();
    for (size_t k = 0; k < s.leaves.size(); ++k) {
      if (is_elementwise(s.graph[s.result].op))
        check_elements(k);
      else
        check_linear(k);
    }
  }

 private:
  const std::string& name(size_t k) const { return s_->graph[s_->leaves[k]].attributes.text; }
  Tensor value() {
    if (options_.poll) options_.poll();
    return interpret(s_->graph, at_).outputs.at("result");
  }

  /// By leaf; zeros where the rule gives nothing.
  std::vector<Tensor> rule_gradients() {
    Graph g = s_->graph;
    g.outputs.clear();
    Builder b(g, g[s_->result].span);
    NodeId seed = b.input("seed", g.type(s_->result));
    std::vector<NodeId> given =
        options_.gradients ? options_.gradients(g, s_->result, seed, s_->leaves) : gradients_of(g, s_->result, seed, s_->leaves);
    for (size_t k = 0; k < given.size(); ++k)
      if (given[k].valid()) g.outputs.push_back({name(k), given[k]});
    Bindings bindings = s_->bindings;
    bindings.inputs["seed"] = weights_;
    Results results = interpret(g, bindings);
    std::vector<Tensor> gradients;
    for (size_t k = 0; k < given.size(); ++k) {
      const Tensor& leaf = s_->bindings.inputs.at(name(k));
      gradients.push_back(given[k].valid() ? results.outputs.at(name(k)) : make_tensor(leaf.dtype, leaf.shape));
    }
    return gradients;
  }

  void compare(double rule, const Quotient& q, std::string what) {
    ++report_.elements;
    note_worst(report_.worst, report_.failed, options_.rule_tolerance,
               {relative_error(rule, q, options_.rule_tolerance), rule, q.value, node_, std::move(what)});
  }

  // Every element at once, each with the step that suits it best.
  void check_elements(size_t k) {
    std::vector<double>& x = at_.inputs.at(name(k)).values;
    const std::vector<double> kept = x;
    std::vector<Quotient> best(kept.size()), left(kept.size()), right(kept.size());
    for (double scale : {0x1p-7, 0x1p-14, 0x1p-21}) {
      for (bool relative : {false, true}) {
        std::vector<double> h(kept.size());
        for (size_t i = 0; i < kept.size(); ++i)
          h[i] = scale * (relative ? std::fabs(kept[i]) : std::max(1.0, std::fabs(kept[i])));
        std::array<std::vector<double>, 3> up, down;
        for (size_t level = 0; level < 3; ++level)
          for (bool plus : {true, false}) {
            for (size_t i = 0; i < kept.size(); ++i) x[i] = kept[i] + (plus ? h[i] : -h[i]) / double(1 << level);
            (plus ? up : down)[level] = value().values;
          }
        for (size_t i = 0; i < kept.size(); ++i) {
          if (h[i] == 0) continue;
          double y = base_.values[i];
          auto difference = [&](size_t level, const std::vector<double>& a, double b0, double width) {
            return (a[i] - b0) / (width * h[i] / double(1 << level));
          };
          double magnitude = std::max({std::fabs(up[0][i]), std::fabs(down[0][i]), std::fabs(y)});
          // The steps that were really taken differ from h by roundings of x: that is an error of the quotient too.
          double slope = std::fabs(difference(2, up[2], down[2][i], 2));
          double shift = slope * epsilon * std::fabs(kept[i]);
          auto improve = [&](Quotient& q, Quotient with) {
            if (with.error < q.error) q = with;
          };
          improve(best[i], extrapolate(difference(0, up[0], down[0][i], 2), difference(1, up[1], down[1][i], 2),
                                       difference(2, up[2], down[2][i], 2), magnitude + shift / epsilon, h[i]));
          auto one_side = [&](const std::array<std::vector<double>, 3>& a, double sign) {
            return extrapolate_one_side(sign * difference(0, a[0], y, 1), sign * difference(1, a[1], y, 1),
                                        sign * difference(2, a[2], y, 1), magnitude + shift / epsilon, h[i]);
          };
          improve(right[i], one_side(up, 1));
          improve(left[i], one_side(down, -1));
        }
      }
    }
    x = kept;
    const std::vector<int64_t>& shape = at_.inputs.at(name(k)).shape;
    for (size_t i = 0; i < kept.size(); ++i) {
      double w = weights_.values[i], rule = gradients_[k].values[i] / w;
      double scale = std::max(std::fabs(left[i].value), std::fabs(right[i].value));
      double gap = std::fabs(left[i].value - right[i].value);
      bool sides_known = std::isfinite(left[i].error) && std::isfinite(right[i].error);
      bool kink = sides_known && gap > 1e-3 * scale && gap > 10 * (left[i].error + right[i].error);
      bool sampled = !s_->chosen.empty();
      std::string what =
          fmt::format("operand {}{}", s_->operand_of[k], index_text(sampled ? s_->chosen[i] : i, sampled ? s_->shape : shape));
      if (!std::isfinite(base_.values[i])) {
        ++report_.undefined;  // to both sides of 0/0 there may well be numbers
      } else if (kink) {
        double low = std::min(left[i].value, right[i].value), high = std::max(left[i].value, right[i].value);
        ++report_.kinks;
        if (left[i].error + right[i].error > 1e-6 * (1 + scale)) continue;
        compare(rule, {std::clamp(rule, low, high), left[i].error + right[i].error}, what + ", a kink");
      } else if (!std::isfinite(best[i].error) || best[i].error > 1e-5 * (1e-3 + std::fabs(best[i].value))) {
        ++report_.undefined;
      } else {
        compare(rule, best[i], what);
      }
    }
  }

  /// The largest and smallest of elements that (nearly) tie move with all others of their result.
  void bind_ties(size_t k, std::vector<double>& direction) {
    const Node& n = s_->graph[s_->result];
    if (n.op != Op::reduce_max && n.op != Op::reduce_min) return;
    const Tensor& x = s_->bindings.inputs.at(name(k));
    std::vector<int64_t> strides = row_major_strides(x.shape), kept = row_major_strides(base_.shape);
    std::vector<size_t> result_of(x.values.size());
    std::vector<int64_t> near(base_.values.size(), 0);
    for (size_t i = 0; i < x.values.size(); ++i) {
      size_t at = 0, out = 0;
      for (size_t a = 0; a < x.shape.size(); ++a) {
        if (holds(n.attributes.axes, int(a))) continue;
        at += size_t(int64_t(i) / strides[a] % x.shape[a] * kept[out++]);
      }
      result_of[i] = at;
      if (std::fabs(x.values[i] - base_.values[at]) <= 1e-3 * (1e-3 + std::fabs(base_.values[at]))) ++near[at];
    }
    std::vector<double> common(base_.values.size());
    for (double& v : common) v = random_.next_normal();
    for (size_t i = 0; i < x.values.size(); ++i)
      if (near[result_of[i]] > 1) direction[i] = common[result_of[i]];
    report_.kinks += std::count_if(near.begin(), near.end(), [](int64_t c) { return c > 1; });
  }

  void check_linear(size_t k) {
    std::vector<double>& x = at_.inputs.at(name(k)).values;
    const std::vector<double> kept = x;
    double largest = 0;
    for (double v : kept)
      if (std::isfinite(v)) largest = std::max(largest, std::fabs(v));
    bool extreme = s_->graph[s_->result].op == Op::reduce_max || s_->graph[s_->result].op == Op::reduce_min;
    // Exact for any step; between ties only below the gap.
    double h = extreme ? 0x1p-14 * std::max(largest, 1e-3) : largest > 0 ? std::exp2(std::round(std::log2(largest))) : 1.0;
    auto check = [&](const std::vector<double>& direction, std::string what, bool bound_ties) {
      std::array<std::vector<double>, 2> y;
      for (size_t side = 0; side < 2; ++side) {
        for (size_t i = 0; i < kept.size(); ++i) x[i] = kept[i] + (side == 0 ? h : -h) * direction[i];
        y[side] = value().values;
      }
      x = kept;
      double quotient = 0, error = 0, rule = 0, bend = 0, sum = 0;
      for (size_t j = 0; j < weights_.values.size(); ++j) {
        double w = weights_.values[j];
        quotient += w * (y[0][j] - y[1][j]) / (2 * h);
        error += std::fabs(w) * epsilon * std::max(std::fabs(y[0][j]), std::fabs(y[1][j])) / h;
        bend = std::max(bend, std::fabs(y[0][j] - 2 * base_.values[j] + y[1][j]) / h);
        sum = std::max(sum, std::fabs(y[0][j] - y[1][j]) / h);
      }
      for (size_t i = 0; i < kept.size(); ++i)
        if (direction[i] != 0) rule += gradients_[k].values[i] * direction[i];
      if (!std::isfinite(quotient)) {
        ++report_.undefined;
        return;
      }
      if (extreme && !bound_ties && bend > 1e-6 * sum) {
        ++report_.kinks;
        return;
      }
      // Sums of many products are themselves rounded.
      error *= std::sqrt(double(kept.size())) + 1;
      compare(rule, {quotient, error}, std::move(what));
    };
    std::vector<double> direction(kept.size());
    for (double& v : direction) v = std::clamp(random_.next_normal(), -2.0, 2.0);
    bind_ties(k, direction);
    if (!kept.empty()) check(direction, fmt::format("operand {}, a direction through all of it", s_->operand_of[k]), true);
    for (size_t i : spread(kept.size(), size_t(options_.single_elements))) {
      std::fill(direction.begin(), direction.end(), 0.0);
      direction[i] = 1;
      check(direction, fmt::format("operand {}{}", s_->operand_of[k], index_text(i, at_.inputs.at(name(k)).shape)), false);
    }
  }

  const GradientCheckOptions& options_;
  RuleReport& report_;
  NodeId node_;
  RandomStream random_;
  const SingleOp* s_ = nullptr;
  Bindings at_;
  Tensor base_, weights_;
  std::vector<Tensor> gradients_;
};

/// Some elements of an element-wise operation as a vector: the rule does not see shapes.
SingleOp sample_elements(const Graph& graph, NodeId id, const std::vector<const Tensor*>& operands, int64_t count) {
  const Node& n = graph[id];
  std::vector<size_t> chosen = spread(operands[0]->values.size(), size_t(count));
  // Corners and ends of the domain are where rules go wrong: least, largest and zeros come along.
  for (const Tensor* t : operands) {
    auto [low, high] = std::minmax_element(t->values.begin(), t->values.end());
    if (low == t->values.end()) continue;
    chosen.push_back(size_t(low - t->values.begin()));
    chosen.push_back(size_t(high - t->values.begin()));
    auto zero = std::find(t->values.begin(), t->values.end(), 0.0);
    if (zero != t->values.end()) chosen.push_back(size_t(zero - t->values.begin()));
  }
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  std::vector<Tensor> sampled;
  std::vector<const Tensor*> pointers;
  for (const Tensor* t : operands) {
    Tensor part = make_tensor(t->dtype, {int64_t(chosen.size())});
    for (size_t i = 0; i < chosen.size(); ++i) part.values[i] = t->values[chosen[i]];
    sampled.push_back(std::move(part));
  }
  for (const Tensor& t : sampled) pointers.push_back(&t);
  Graph flat;
  Builder b(flat, n.span, n.scope);
  std::map<uint32_t, NodeId> leaves;
  std::vector<NodeId> over;
  for (NodeId operand : n.operands) {
    auto [it, fresh] = leaves.emplace(operand.value, NodeId{});
    if (fresh)
      it->second = b.input("x" + std::to_string(operand.value), {graph.type(operand).dtype, {{int64_t(chosen.size()), false}}});
    over.push_back(it->second);
  }
  NodeId result = flat.add(n.op, over, n.attributes, n.span, n.scope);
  SingleOp s = isolate(flat, result, pointers, 1);
  s.chosen = std::move(chosen);
  s.shape = operands[0]->shape;
  return s;
}

/// Smaller sizes until one evaluation is cheap; true if something was cut.
bool cut_to(SingleOp& s, double work) {
  bool cut = false;
  while (work_of(s.graph, s.bindings.rows) > work) {
    GraphCase c{s.graph, s.bindings};
    std::optional<GraphCase> smaller;
    if (c.bindings.rows > 4) {
      smaller = take_rows(c, c.bindings.rows / 2, false);
    } else {
      DimensionClasses dims(c.graph);
      std::vector<DimensionClasses::Class> classes = dims.classes();
      std::stable_sort(classes.begin(), classes.end(), [](const auto& a, const auto& b) { return a.size > b.size; });
      for (const DimensionClasses::Class& largest : classes)
        if (!smaller) smaller = dims.shrink(c, largest.id, (largest.size + 1) / 2, false);
    }
    if (!smaller) return cut;
    s.graph = std::move(smaller->graph);
    s.bindings = std::move(smaller->bindings);
    cut = true;
  }
  return cut;
}

}  // namespace

std::vector<bool> nodes_with_gradient(const Graph& graph, const std::vector<NodeId>& results, const std::vector<NodeId>& leaves) {
  std::vector<bool> depends(graph.size(), false), reaches(graph.size(), false), used(graph.size(), false);
  for (NodeId leaf : leaves) depends[leaf.value] = true;
  for (uint32_t i = 0; i < graph.size(); ++i)
    for (size_t k = 0; k < graph[NodeId{i}].operands.size(); ++k)
      if (depends[graph[NodeId{i}].operands[k].value] && is_float(graph.type(NodeId{i}).dtype) &&
          graph[NodeId{i}].op != Op::stop_gradient && !(graph[NodeId{i}].op == Op::select && k == 0))
        depends[i] = true;
  for (NodeId result : results) reaches[result.value] = true;
  for (uint32_t i = graph.size(); i-- > 0;) {
    if (!reaches[i] || !depends[i]) continue;
    const Node& n = graph[NodeId{i}];
    used[i] = op_differentiable(n.op) == Differentiable::yes;
    for (NodeId operand : n.operands) reaches[operand.value] = true;
  }
  return used;
}

std::vector<RuleReport> check_rules(const Graph& graph, const Bindings& bindings, const std::vector<bool>& nodes,
                                    const GradientCheckOptions& options) {
  std::map<Op, RuleReport> reports;
  const std::vector<Tensor> values = interpret(graph, bindings, true).values;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (!nodes[i]) continue;
    const Node& n = graph[NodeId{i}];
    RuleReport& report = reports[n.op];
    report.op = n.op;
    ++report.nodes;
    std::vector<const Tensor*> operands;
    for (NodeId operand : n.operands) operands.push_back(&values[operand.value]);
    SingleOp s = is_elementwise(n.op) ? sample_elements(graph, NodeId{i}, operands, options.elements_per_node)
                                      : isolate(graph, NodeId{i}, operands, bindings.rows);
    if (!is_elementwise(n.op) && cut_to(s, options.work_per_node)) ++report.cut_nodes;
    RuleCheck(options, report, NodeId{i}).run(s);
  }
  std::vector<RuleReport> result;
  for (auto& [op, report] : reports) {
    if (report.worst.node.valid()) report.at = graph[report.worst.node].span;
    result.push_back(std::move(report));
  }
  return result;
}
}  // namespace nnc
