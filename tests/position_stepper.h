// Runs the graph of one position for one position after the other, by whatever evaluates graphs.
#pragma once

#include <functional>
#include <utility>

#include "ir/interpreter.h"
#include "passes/position_graph.h"

namespace nnc::test {

/// Memories begin with what is no part of the result. The tokens are the input `tokens`, the output is `result`.
class PositionStepper {
 public:
  using Evaluate = std::function<Results(const Graph&, const Bindings&)>;
  PositionStepper(const PositionGraph& position, const Bindings& bindings, Evaluate evaluate) : position_(position), bindings_(bindings), evaluate_(std::move(evaluate)) {
    for (const PositionMemory& m : position.memories) {
      Tensor t = make_tensor(m.type.dtype, shape_at(m.type, 1));
      for (size_t i = 0; i < t.values.size(); ++i) t.values[i] = m.type.dtype == DType::boolean ? 1 : 2 + double(i % 3);
      bindings_.inputs[m.name] = t;
    }
    for (const Persistent& p : position.graph.persistents)
      if (!bindings_.persistents.count(p.name)) bindings_.persistents[p.name] = make_tensor(p.type.dtype, shape_at(p.type, 1));
  }

  Tensor step(int64_t t, double token) {
    Tensor tokens = make_tensor(DType::i32, {1, 1});
    tokens.values[0] = token;
    bindings_.inputs["tokens"] = tokens;
    bindings_.scalars[position_scalar] = double(t);
    Results results = evaluate_(position_.graph, bindings_);
    for (const PositionMemory& m : position_.memories) keep(m, bindings_.inputs.at(m.name), results.outputs.at(m.name), t);
    for (auto& [name, value] : results.updates) bindings_.persistents[name] = value;
    return results.outputs.at("result");
  }

 private:
  static void keep(const PositionMemory& m, Tensor& memory, const Tensor& made, int64_t t) {
    if (m.axis < 0) {
      memory = made;
      return;
    }
    const int64_t slots = memory.shape[size_t(m.axis)];
    if (t >= slots) return;
    int64_t inner = 1;
    for (size_t i = size_t(m.axis) + 1; i < memory.shape.size(); ++i) inner *= memory.shape[i];
    for (size_t i = 0; i < made.values.size(); ++i) memory.values[size_t((int64_t(i) / inner * slots + t) * inner + int64_t(i) % inner)] = made.values[i];
  }

  const PositionGraph& position_;
  Bindings bindings_;
  Evaluate evaluate_;
};

}  // namespace nnc::test
