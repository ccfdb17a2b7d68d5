// The gradients of random scans as graphs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "passes/differentiate.h"
#include "tests/random_scan.h"

namespace nnc::test {

/// The graph with the gradients of all its results, each weighted by an input, with respect to all leaves.
inline Graph with_gradients(const RandomScan& made, Bindings& bindings) {
  Graph g = made.graph;
  std::vector<Seed> seeds;
  for (size_t k = 0; k < made.results.size(); ++k) {
    const std::string name = "seed." + std::to_string(k);
    seeds.push_back({made.results[k], Builder(g).input(name, g.type(made.results[k]))});
    Tensor t = make_tensor(DType::f32, shape_at(g.type(made.results[k]), bindings.rows));
    for (size_t i = 0; i < t.values.size(); ++i) t.values[i] = double(float(0.5 + 0.25 * double((i + k) % 5)));
    bindings.inputs[name] = std::move(t);
  }
  const std::vector<NodeId> found = gradients_of(g, seeds, made.leaves);
  for (size_t k = 0; k < found.size(); ++k)
    if (found[k].valid()) g.outputs.push_back({"gradient." + std::to_string(k), found[k]});
  return g;
}

/// The gradient, with respect to all leaves, of the squared length of the gradient of the first result; nothing if no gradient flows.
inline std::optional<Graph> with_second_gradients(const RandomScan& made) {
  if (made.results.empty()) return std::nullopt;
  Graph g = made.graph;
  Builder b(g);
  const NodeId one = b.constant_like(1, made.results[0]);
  NodeId norm;
  for (NodeId found : gradients_of(g, made.results[0], one, made.leaves)) {
    if (!found.valid()) continue;
    const NodeId square = b.mul(found, found);
    std::vector<int> axes;
    for (int i = 0; i < g.type(square).rank(); ++i) axes.push_back(i);
    const NodeId sum = b.reduce(Op::reduce_sum, square, axes);
    norm = norm.valid() ? b.add(norm, sum) : sum;
  }
  if (!norm.valid()) return std::nullopt;
  const NodeId unit = b.constant_like(1, norm);
  const std::vector<NodeId> found = gradients_of(g, norm, unit, made.leaves);
  for (size_t k = 0; k < found.size(); ++k)
    if (found[k].valid()) g.outputs.push_back({"second." + std::to_string(k), found[k]});
  return g;
}

}  // namespace nnc::test
