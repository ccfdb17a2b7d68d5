// The whole gradient: what the rules give together, sums over all ways from a leaf to the loss included.
//
// One random direction through all leaves moves everything at once: a wrong element anywhere shows, unless it is a small part of
// the whole; directions through each leaf and single elements follow. Results that are not one number are made one by a sum with
// random weights, the same on both sides: seeds of the rules, factors of the interpreter's results.
//
// A loss has kinks, and a model may begin on one: zeros under relu or max. There the rules' number need not be a slope of the
// loss to either side, nor lie between the two. relu(x) - relu(-x) is x, of slope 1, but each relu has slope 0 at 0 by its rule,
// so 0 is what the rules give; v1 relu(x) + v2 relu(-x) has the slopes v1 and -v2, and 0 may lie outside of them. What the rules
// must give, to the last digit, is the slope of the loss with every decision held as it is at the point (engine/hold_branches.h): the
// smooth piece whose slopes the rules have chosen, one by one (that each choice is a slope of its operation is for
// gradient_check_rules.cpp to say). So a difference quotient of the loss itself that settles, without a corner, and agrees is
// taken for what it is; any other direction is compared with the loss of held decisions, and counted as a kink if that has
// another slope. Both are the same function near a point without a kink, so nothing wrong there can hide; and what is wrong
// beside a kink does not either. Where not even held decisions give a quotient that settles (the edge of a domain), the direction
// is skipped and counted.
//
// An element of the gradient that is not finite can be compared with nothing. Those are reported, and stay out of all directions.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "base/philox.h"
#include "engine/hold_branches.h"
#include "verify/difference_quotient.h"
#include "verify/gradient_check.h"
#include "passes/costs.h"
#include "passes/differentiate.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();
constexpr const char* seed_name = "the seed";  // no name in a program has a space

/// The slope in a direction: across the point, and to either side of it.
struct Slopes {
  Quotient across, left, right;

  /// A number that can be compared: it settles, and both sides have it.
  bool settled() const {
    return std::isfinite(across.error) && across.error <= 1e-4 * (1e-3 + std::fabs(across.value)) && !has_corner();
  }

 private:
  bool has_corner() const {
    double gap = std::fabs(left.value - right.value), error = left.error + right.error;
    return std::isfinite(error) && gap > 1e-3 * std::max(std::fabs(left.value), std::fabs(right.value)) && gap > 10 * error;
  }
};

class LossCheck {
 public:
  LossCheck(const Graph& graph, const Bindings& bindings, const std::vector<NodeId>& results, const std::vector<NodeId>& leaves,
            const GradientCheckOptions& options)
      : options_(options), graph_(graph), results_(results), leaves_(leaves), random_(11, stable_hash("gradcheck")) {
    for (NodeId result : results) {
      Tensor w = make_tensor(graph.type(result).dtype, shape_at(graph.type(result), bindings.rows));
      bool number = results.size() == 1 && w.shape.empty();
      for (double& v : w.values) v = number ? 1 : random_.next_normal();
      weights_.push_back(std::move(w));
    }
    gradients_ = rule_gradients(bindings);
    GraphCase free = hold(graph, bindings, results, {.stopped = true});
    forward_ = std::move(free.graph);
    at_ = std::move(free.bindings);
    if (has_branches(graph)) {
      GraphCase held = hold(graph, bindings, results, {.stopped = true, .branches = true});
      held_ = std::move(held.graph);
      at_.inputs.merge(held.bindings.inputs);
    }
    tried_.resize(leaves.size());
    compared_.resize(leaves.size());
  }

  LossReport run() {
    size_t count = leaves_.size();
    report_.parameters = int64_t(count);
    for (size_t k = 0; k < count; ++k) report_.parameter_elements += int64_t(tensor(k).values.size());
    note_what_is_not_finite();
    if (report_.is_loss_finite()) compare_all();
    for (size_t k = 0; k < count; ++k) {
      bool known = std::any_of(report_.not_finite.begin(), report_.not_finite.end(),
                               [&](const NotFinite& n) { return n.node == leaves_[k]; });
      if (tried_[k] > 0 && compared_[k] == 0 && !known) report_.unchecked.push_back(leaves_[k]);
    }
    return std::move(report_);
  }

 private:
  void note_what_is_not_finite() {
    Results results = interpret(forward_, at_);
    for (size_t r = 0; r < results_.size(); ++r) note_not_finite(results_[r], results.outputs.at(std::to_string(r)), false);
    value_ = weighted_sum(results);
    for (size_t k = 0; k < leaves_.size(); ++k) note_not_finite(leaves_[k], gradients_[k], true);
  }
  void note_not_finite(NodeId node, const Tensor& t, bool is_gradient) {
    NotFinite found{node, 0, 0, 0, is_gradient};
    for (size_t i = t.values.size(); i-- > 0;)
      if (!std::isfinite(t.values[i])) found = {node, i, t.values[i], found.count + 1, is_gradient};
    if (found.count > 0) report_.not_finite.push_back(found);
  }

  void compare_all() {
    size_t count = leaves_.size();
    // One quotient takes 6 evaluations, a few times that where it does not settle at once.
    double quotients = std::max(2.0, options_.work / std::max(1.0, work_of(forward_, at_.rows)) / 10);
    size_t all = quotients > 40 ? 3 : 1;
    quotients -= double(all);
    size_t each = std::min(count, size_t(std::max(0.0, quotients)));
    quotients -= double(each);
    size_t single =
        std::min(size_t(options_.single_elements), size_t(std::max(0.0, quotients / double(std::max<size_t>(count, 1)))));
    for (size_t n = 0; n < all; ++n) {
      std::vector<std::vector<double>> direction;
      for (size_t k = 0; k < count; ++k) direction.push_back(random_direction(k));
      ++report_.directions;
      check(direction, "a direction through everything", std::nullopt);
    }
    for (size_t k : spread(count, each)) {
      std::vector<std::vector<double>> direction(count);
      direction[k] = random_direction(k);
      ++report_.directions;
      check(direction, fmt::format("`{}`, a direction through all of it", name(k)), k);
      for (size_t i : single == 0 ? std::vector<size_t>{} : spread(tensor(k).values.size(), single)) {
        direction[k].assign(tensor(k).values.size(), 0.0);
        direction[k][i] = 1;
        ++report_.elements;
        check(direction, fmt::format("`{}`{}", name(k), index_text(i, tensor(k).shape)), k);
      }
    }
  }

  const std::string& name(size_t k) const { return graph_[leaves_[k]].attributes.text; }
  Tensor& tensor(size_t k) { return (graph_[leaves_[k]].op == Op::input ? at_.inputs : at_.persistents).at(name(k)); }
  std::vector<double> random_direction(size_t k) {
    std::vector<double> d(tensor(k).values.size());
    for (double& v : d) v = random_.next_normal();
    return d;
  }

  std::vector<Tensor> rule_gradients(const Bindings& bindings) {
    std::vector<Tensor> sum;
    for (NodeId leaf : leaves_) sum.push_back(make_tensor(graph_.type(leaf).dtype, shape_at(graph_.type(leaf), bindings.rows)));
    for (size_t r = 0; r < results_.size(); ++r) {
      Graph g = graph_;
      g.outputs.clear();
      drop_updates(g);
      NodeId seed = Builder(g, g[results_[r]].span).input(seed_name, g.type(results_[r]));
      std::vector<NodeId> given =
          options_.gradients ? options_.gradients(g, results_[r], seed, leaves_) : gradients_of(g, results_[r], seed, leaves_);
      for (size_t k = 0; k < given.size(); ++k)
        if (given[k].valid()) g.outputs.push_back({std::to_string(k), given[k]});
      Bindings seeded = bindings;
      seeded.inputs[seed_name] = weights_[r];
      for (const auto& [k, part] : interpret(g, seeded).outputs)
        for (size_t i = 0; i < part.values.size(); ++i) sum[std::stoul(k)].values[i] += part.values[i];
    }
    return sum;
  }

  double weighted_sum(const Results& results) const {
    double sum = 0;
    for (size_t r = 0; r < weights_.size(); ++r) {
      const Tensor& y = results.outputs.at(std::to_string(r));
      for (size_t i = 0; i < y.values.size(); ++i) sum += weights_[r].values[i] * y.values[i];
    }
    return sum;
  }

  struct Line {
    std::vector<std::vector<double>> kept, direction;  ///< by leaf; empty: it does not move
    double length = 0, largest = 0;
    double terms = 0;  ///< of the rules' slope, without their signs
  };

  double value_at(const Graph& graph, const Line& line, double t) {
    if (options_.poll) options_.poll();
    for (size_t k = 0; k < leaves_.size(); ++k)
      for (size_t i = 0; i < line.kept[k].size(); ++i) tensor(k).values[i] = line.kept[k][i] + t * line.direction[k][i];
    return weighted_sum(interpret(graph, at_));
  }

  Slopes slopes(const Graph& graph, const Line& line) {
    Slopes best;
    auto improve = [](Quotient& q, Quotient with) {
      if (with.error < q.error) q = with;
    };
    for (double scale : {0x1p-9, 0x1p-15, 0x1p-20}) {
      double h = scale * std::max(1.0, line.largest) / std::max(line.length, 1e-300), magnitude = std::fabs(value_);
      std::array<double, 3> across{}, left{}, right{};
      for (size_t level = 0; level < 3; ++level) {
        double step = h / double(1 << level), up = value_at(graph, line, step), down = value_at(graph, line, -step);
        across[level] = (up - down) / (2 * step);
        right[level] = (up - value_) / step;
        left[level] = (value_ - down) / step;
        magnitude = std::max({magnitude, std::fabs(up), std::fabs(down)});
      }
      auto with_rounding = [&](Quotient q) {
        q.error += epsilon * line.terms;
        return q;
      };
      auto values = [&](const std::array<double, 3>& d) { return magnitude + std::fabs(d[2]) * line.largest; };
      improve(best.across, with_rounding(extrapolate(across[0], across[1], across[2], values(across), h)));
      improve(best.left, with_rounding(extrapolate_one_side(left[0], left[1], left[2], values(left), h)));
      improve(best.right, with_rounding(extrapolate_one_side(right[0], right[1], right[2], values(right), h)));
      if (best.across.error < 0.01 * options_.loss_tolerance * std::max(std::fabs(best.across.value), line.terms)) break;
    }
    for (size_t k = 0; k < leaves_.size(); ++k)
      if (!line.direction[k].empty()) tensor(k).values = line.kept[k];
    return best;
  }

  /// `leaf`: the one that the direction is of, if it is of one.
  void check(const std::vector<std::vector<double>>& along, std::string what, std::optional<size_t> leaf) {
    Line line{std::vector<std::vector<double>>(leaves_.size()), along};
    double rule = 0;
    for (size_t k = 0; k < leaves_.size(); ++k) {
      if (along[k].empty()) continue;
      line.kept[k] = tensor(k).values;
      for (size_t i = 0; i < along[k].size(); ++i) {
        double& d = line.direction[k][i];
        if (!std::isfinite(gradients_[k].values[i])) d = 0;
        if (d == 0) continue;
        rule += gradients_[k].values[i] * d;
        line.terms += std::fabs(gradients_[k].values[i] * d);
        line.length += d * d;
        line.largest = std::max(line.largest, std::fabs(line.kept[k][i]));
      }
    }
    if (leaf) ++tried_[*leaf];
    if (line.length == 0) {
      ++report_.skipped;
      return;
    }
    line.length = std::sqrt(line.length);
    Slopes loss = slopes(forward_, line);
    Quotient slope = loss.across;
    bool settled = loss.settled();
    if (held_ && !(settled && relative_error(rule, slope, options_.loss_tolerance) <= options_.loss_tolerance)) {
      Slopes held = slopes(*held_, line);
      Quotient both{slope.value, slope.error + held.across.error};
      if (held.settled() &&
          !(settled && relative_error(held.across.value, both, options_.loss_tolerance) <= options_.loss_tolerance))
        ++report_.kinks;
      slope = held.across;
      settled = held.settled();
    }
    if (!settled) {
      ++report_.skipped;
      return;
    }
    if (leaf) ++compared_[*leaf];
    note_worst(report_.worst, report_.failed, options_.loss_tolerance,
               {relative_error(rule, slope, options_.loss_tolerance), rule, slope.value, leaf ? leaves_[*leaf] : NodeId{},
                std::move(what)});
  }

  const GradientCheckOptions& options_;
  const Graph& graph_;
  std::vector<NodeId> results_, leaves_;
  RandomStream random_;
  std::vector<Tensor> weights_;  ///< of the results
  std::vector<Tensor> gradients_;
  Graph forward_;
  std::optional<Graph> held_;              ///< with its decisions held; none if it makes none
  Bindings at_;                            ///< of both
  double value_ = 0;                       ///< of the loss, at the point
  std::vector<int64_t> tried_, compared_;  ///< directions and elements, by leaf
  LossReport report_;
};

}  // namespace

LossReport check_loss(const Graph& graph, const Bindings& bindings, const std::vector<NodeId>& results,
                      const std::vector<NodeId>& leaves, const GradientCheckOptions& options) {
  return LossCheck(graph, bindings, results, leaves, options).run();
}

}  // namespace nnc
