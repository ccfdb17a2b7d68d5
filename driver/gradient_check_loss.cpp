// The whole gradient: what the rules give together, sums over all ways from a leaf to the loss included.
//
// One random direction through all leaves moves everything at once: a wrong element anywhere shows, unless it is a small part of
// the whole; directions through each leaf and single elements follow. Results that are not one number are made one by a sum with
// random weights, the same on both sides: seeds of the rules, factors of the interpreter's results.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "base/philox.h"
#include "driver/difference_quotient.h"
#include "driver/gradient_check.h"
#include "passes/differentiate.h"
#include "passes/rewrite.h"

namespace nnc {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();
constexpr const char* seed_name = "the seed";  // no name in a program has a space

/// What stop_gradient holds does not move with the leaves: a leaf of its own.
GraphCase hold_stopped(const Graph& graph, const Bindings& bindings, const std::vector<NodeId>& results) {
  GraphCase c{Graph{}, bindings};
  std::vector<Tensor> values = interpret(graph, bindings, true).values;
  Rebuild rebuild(graph);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& n = graph[NodeId{i}];
    if (n.op != Op::stop_gradient) {
      rebuild.copy(NodeId{i});
      continue;
    }
    std::string name = "stopped." + std::to_string(i);
    rebuild.to[i] = Builder(rebuild.result, n.span).input(name, n.type);
    c.bindings.inputs[name] = std::move(values[i]);
  }
  c.graph = std::move(rebuild.result);
  for (size_t k = 0; k < results.size(); ++k) c.graph.outputs.push_back({std::to_string(k), rebuild.to[results[k].value]});
  return c;
}

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
    GraphCase c = hold_stopped(graph, bindings, results);
    forward_ = std::move(c.graph);
    at_ = std::move(c.bindings);
  }

  LossReport run() {
    size_t count = leaves_.size();
    report_.parameters = int64_t(count);
    for (size_t k = 0; k < count; ++k) report_.parameter_elements += int64_t(tensor(k).values.size());
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
      check(direction, "a direction through everything", NodeId{});
    }
    for (size_t k : spread(count, each)) {
      std::vector<std::vector<double>> direction(count);
      direction[k] = random_direction(k);
      ++report_.directions;
      check(direction, fmt::format("`{}`, a direction through all of it", name(k)), leaves_[k]);
      for (size_t i : single == 0 ? std::vector<size_t>{} : spread(tensor(k).values.size(), single)) {
        direction[k].assign(tensor(k).values.size(), 0.0);
        direction[k][i] = 1;
        ++report_.elements;
        check(direction, fmt::format("`{}`{}", name(k), index_text(i, tensor(k).shape)), leaves_[k]);
      }
    }
    return std::move(report_);
  }

 private:
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
      g.updates.clear();
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

  double loss_at(const std::vector<std::vector<double>>& kept, const std::vector<std::vector<double>>& direction, double t) {
    if (options_.poll) options_.poll();
    for (size_t k = 0; k < leaves_.size(); ++k)
      if (!direction[k].empty())
        for (size_t i = 0; i < kept[k].size(); ++i) tensor(k).values[i] = kept[k][i] + t * direction[k][i];
    Results results = interpret(forward_, at_);
    double sum = 0;
    for (size_t r = 0; r < weights_.size(); ++r) {
      const Tensor& y = results.outputs.at(std::to_string(r));
      for (size_t i = 0; i < y.values.size(); ++i) sum += weights_[r].values[i] * y.values[i];
    }
    return sum;
  }

  void check(const std::vector<std::vector<double>>& direction, std::string what, NodeId node) {
    std::vector<std::vector<double>> kept(leaves_.size());
    double rule = 0, length = 0, largest = 0, terms = 0;
    for (size_t k = 0; k < leaves_.size(); ++k) {
      if (direction[k].empty()) continue;
      kept[k] = tensor(k).values;
      for (size_t i = 0; i < direction[k].size(); ++i) {
        double d = direction[k][i];
        if (d == 0) continue;
        rule += gradients_[k].values[i] * d;
        terms += std::fabs(gradients_[k].values[i] * d);
        length += d * d;
        largest = std::max(largest, std::fabs(kept[k][i]));
      }
    }
    length = std::sqrt(length);
    Quotient best;
    for (double scale : {0x1p-9, 0x1p-15, 0x1p-20}) {
      double h = scale * std::max(1.0, largest) / std::max(length, 1e-300), magnitude = 0;
      std::array<double, 3> d{};
      for (size_t level = 0; level < 3; ++level) {
        double step = h / double(1 << level), up = loss_at(kept, direction, step), down = loss_at(kept, direction, -step);
        d[level] = (up - down) / (2 * step);
        magnitude = std::max({magnitude, std::fabs(up), std::fabs(down)});
      }
      Quotient q = extrapolate(d[0], d[1], d[2], magnitude + std::fabs(d[2]) * largest, h);
      q.error += epsilon * terms;
      if (q.error < best.error) best = q;
      if (best.error < 0.01 * options_.loss_tolerance * std::max(std::fabs(best.value), terms)) break;
    }
    for (size_t k = 0; k < leaves_.size(); ++k)
      if (!direction[k].empty()) tensor(k).values = kept[k];
    if (!std::isfinite(best.error) || best.error > 1e-4 * (1e-3 + std::fabs(best.value))) {
      ++report_.kinks;
      return;
    }
    note_worst(report_.worst, report_.failed, options_.loss_tolerance,
               {relative_error(rule, best, options_.loss_tolerance), rule, best.value, node, std::move(what)});
  }

  const GradientCheckOptions& options_;
  const Graph& graph_;
  std::vector<NodeId> results_, leaves_;
  RandomStream random_;
  std::vector<Tensor> weights_;  ///< of the results
  std::vector<Tensor> gradients_;
  Graph forward_;
  Bindings at_;
  LossReport report_;
};

}  // namespace

LossReport check_loss(const Graph& graph, const Bindings& bindings, const std::vector<NodeId>& results,
                      const std::vector<NodeId>& leaves, const GradientCheckOptions& options) {
  return LossCheck(graph, bindings, results, leaves, options).run();
}

}  // namespace nnc
