// Gradients against central finite differences of the 64-bit interpreter.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "base/philox.h"
#include "ir/interpreter.h"
#include "passes/differentiate.h"
#include "tests/unit/catch.h"

namespace nnc::test {

/// The tensor bound to an input, parameter or scalar node.
inline double& bound_value(Bindings& bindings, const Node& leaf, size_t element) {
  const std::string& name = leaf.attributes.text;
  if (leaf.op == Op::scalar) return bindings.scalars.at(name);
  return (leaf.op == Op::input ? bindings.inputs : bindings.persistents).at(name).values.at(element);
}

struct GradientCheck {
  int compared = 0;
  int skipped = 0;  ///< elements near a kink or jump: differences of two step sizes disagree
  int wrong = 0;
  std::string first_fault;
};

/// Compares d sum(seed * result)/d leaf with finite differences, for every element of every leaf. The graph is not changed.
inline GradientCheck check_gradients(const Graph& graph, NodeId result, const std::vector<NodeId>& leaves,
                                     const Bindings& bindings, uint64_t seed = 1) {
  Graph forward = graph, backward = graph;
  forward.outputs = {{"result", result}};
  forward.updates.clear();
  backward.outputs.clear();
  backward.updates.clear();
  Builder b(backward);
  NodeId weights = b.input("seed", graph.type(result));
  std::vector<NodeId> gradients = gradients_of(backward, result, weights, leaves);
  for (size_t i = 0; i < leaves.size(); ++i)
    if (gradients[i].valid()) backward.outputs.push_back({"grad." + std::to_string(i), gradients[i]});
  GradientCheck check;
  if (!verify_graph(backward).empty()) {
    check.wrong = 1;
    check.first_fault = verify_graph(backward)[0];
    return check;
  }
  Bindings at = bindings;
  RandomStream random(seed, stable_hash("seed"));
  Tensor weighting = make_tensor(graph.type(result).dtype, shape_at(graph.type(result), at.rows));
  for (double& v : weighting.values) v = random.next_normal();
  at.inputs["seed"] = weighting;
  std::map<std::string, Tensor> found = interpret(backward, at).outputs;
  auto loss = [&] {
    Tensor value = interpret(forward, at).outputs.at("result");
    double sum = 0;
    for (size_t i = 0; i < value.values.size(); ++i) sum += value.values[i] * weighting.values[i];
    return sum;
  };
  for (size_t i = 0; i < leaves.size(); ++i) {
    const Node& leaf = graph[leaves[i]];
    int64_t elements = leaf.type.elements(at.rows);
    for (int64_t k = 0; k < elements; ++k) {
      double& x = bound_value(at, leaf, size_t(k));
      double kept = x;
      auto difference = [&](double step) {
        x = kept + step;
        double up = loss();
        x = kept - step;
        double down = loss();
        x = kept;
        return (up - down) / (2 * step);
      };
      double coarse = difference(3e-5), fine = difference(1e-5);
      if (std::fabs(coarse - fine) > 1e-6 * (1 + std::fabs(fine))) {
        ++check.skipped;
        continue;
      }
      ++check.compared;
      double ours = gradients[i].valid() ? found.at("grad." + std::to_string(i)).values[size_t(k)] : 0;
      if (std::fabs(ours - fine) <= 2e-6 * (1 + std::fabs(fine))) continue;
      if (!check.wrong++)
        check.first_fault = leaf.attributes.text + "[" + std::to_string(k) + "]: gradient " + std::to_string(ours) +
                            ", finite difference " + std::to_string(fine) + "\n" + print_graph(graph, nullptr);
    }
  }
  return check;
}

}  // namespace nnc::test
