// Random well-typed graphs with a loss, gradients and updates, from a seed: what compiled code is held against the interpreter on, and what the memory plan is
// tried on.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ir/graph.h"
#include "passes/differentiate.h"

namespace nnc::test {

class RandomGraph {
 public:
  explicit RandomGraph(uint64_t seed) : random_(seed), build_(graph_) {}

  Graph make() {
    int64_t sizes[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 33};
    for (int i = 0; i < 4; ++i) dims_.push_back(Extent{sizes[pick(10)]});
    values_.push_back(build_.cast(build_.input("x", {DType::f32, {rows(), dim()}}), DType::f32));
    values_.push_back(build_.mul(build_.cast(build_.input("bytes", {DType::u8, {rows(), dim()}}), DType::f32), 0.25));
    label_ = build_.input("label", {DType::i32, {rows()}});
    for (int i = 0; i < 3; ++i) parameter({dim(), dim()});
    parameter({dim()});
    int steps = 6 + int(pick(14));
    for (int i = 0; i < steps; ++i) step();
    NodeId loss = build_.constant(0, {DType::f32, {}});
    for (size_t i = 0; i < 3; ++i) {
      NodeId v = values_[values_.size() - 1 - i];
      loss = build_.add(loss, mean_of(build_.unary(Op::tanh, v)));
    }
    for (NodeId p : parameters_) loss = build_.add(loss, mean_of(build_.mul(p, p)));
    graph_.outputs.push_back({"loss", loss});
    graph_.outputs.push_back({"value", rows_first(values_.back())});
    std::vector<std::string> names;
    for (const Persistent& p : graph_.persistents) names.push_back(p.name);
    std::vector<ParameterGradient> gradients = differentiate(graph_, loss, names);
    for (size_t i = 0; i < names.size(); ++i) {
      Builder b(graph_);
      graph_.updates.push_back({names[i], b.sub(parameter_nodes_[i], b.mul(gradients[i].node, 0.5))});
    }
    return graph_;
  }

 private:
  Extent rows() { return Extent{1, true}; }
  Extent dim() { return dims_[pick(dims_.size())]; }
  size_t pick(size_t n) { return size_t(random_() % n); }
  NodeId any() { return values_[pick(values_.size())]; }
  const Shape& shape(NodeId n) { return graph_.type(n).shape; }
  NodeId mean_of(NodeId n) {
    std::vector<int> axes;
    for (int i = 0; i < graph_.type(n).rank(); ++i) axes.push_back(i);
    return build_.mean(n, axes);
  }
  // Outputs keep rows outermost.
  NodeId rows_first(NodeId n) {
    for (size_t i = 1; i < shape(n).size(); ++i)
      if (shape(n)[i].rows) {
        std::vector<int> order{int(i)};
        for (size_t k = 0; k < shape(n).size(); ++k)
          if (k != i) order.push_back(int(k));
        return build_.transpose(n, order);
      }
    return n;
  }
  void parameter(Shape s) {
    NodeId p = build_.parameter({fmt::format("p{}", parameters_.size()), {DType::f32, s}, PersistentKind::parameter, {}});
    parameters_.push_back(p);
    parameter_nodes_.push_back(p);
    values_.push_back(p);
  }

  // Another value brought to v's shape: broadcast along the axes it lacks, if its axes can be matched in order.
  NodeId partner(NodeId v) {
    for (int tries = 0; tries < 6; ++tries) {
      NodeId w = any();
      std::vector<int> axes;
      size_t at = 0;
      for (const Extent& e : shape(w)) {
        while (at < shape(v).size() && shape(v)[at] != e) ++at;
        if (at == shape(v).size()) break;
        axes.push_back(int(at++));
      }
      if (axes.size() == shape(w).size()) return build_.broadcast(w, shape(v), axes);
    }
    return build_.constant(0.5 + double(pick(3)), graph_.type(v));
  }

  void step() {
    NodeId v = any();
    size_t rank = shape(v).size();
    switch (pick(12)) {
      case 0: case 1: {
        Op ops[] = {Op::tanh, Op::sigmoid, Op::exp, Op::abs, Op::neg, Op::erf, Op::normal_cdf, Op::sin, Op::cos, Op::expm1};
        Op op = ops[pick(9)];
        if (op == Op::exp || op == Op::expm1) v = build_.unary(Op::tanh, v);
        add(build_.unary(op, v));
        break;
      }
      case 2: case 3: {
        Op ops[] = {Op::add, Op::sub, Op::mul, Op::maximum, Op::minimum};
        add(build_.binary(ops[pick(5)], v, partner(v)));
        break;
      }
      case 4: {
        NodeId w = partner(v);
        add(build_.select(build_.binary(Op::less_equal, v, w), v, build_.mul(w, 0.25)));
        break;
      }
      case 5: {
        NodeId w = partner(v);
        add(build_.div(v, build_.add(build_.mul(w, w), 1.0)));
        break;
      }
      case 6: {
        if (rank == 0) break;
        int axis = int(pick(rank));
        Op ops[] = {Op::reduce_sum, Op::reduce_max, Op::reduce_min};
        NodeId r = build_.reduce(ops[pick(3)], v, {axis});
        if (graph_[r].op == Op::reduce_sum) r = build_.mul(r, 0.125);
        add(r);
        break;
      }
      case 7: {  // softmax
        if (rank == 0) break;
        int axis = int(pick(rank));
        NodeId top = build_.unary(Op::stop_gradient, build_.reduce(Op::reduce_max, v, {axis}));
        NodeId e = build_.unary(Op::exp, build_.sub(v, build_.expand(top, {axis}, v)));
        add(build_.div(e, build_.expand(build_.reduce(Op::reduce_sum, e, {axis}), {axis}, e)));
        break;
      }
      case 8: case 9: {  // contraction over a dimension both have
        NodeId w = any();
        std::vector<int> lhs, rhs, out;
        int next = 0;
        for (size_t i = 0; i < rank; ++i) lhs.push_back(next++);
        bool summed = false;
        std::vector<bool> used(rank, false);
        for (const Extent& e : shape(w)) {
          int label = -1;
          for (size_t i = 0; i < rank; ++i)
            if (!used[i] && shape(v)[i] == e && (e.rows || pick(2) == 0 || !summed)) {
              label = int(i);
              used[i] = true;
              break;
            }
          rhs.push_back(label >= 0 ? label : next++);
          summed = summed || label >= 0;
        }
        if (!summed || rank + shape(w).size() > 5) break;
        bool first = true;
        for (int l : lhs) {
          bool shared = std::find(rhs.begin(), rhs.end(), l) != rhs.end();
          if (shared && (first || pick(2) == 0)) {
            first = false;
            continue;
          }
          out.push_back(l);
        }
        for (int l : rhs)
          if (std::find(lhs.begin(), lhs.end(), l) == lhs.end()) out.push_back(l);
        if (out.size() > 1 && pick(3) == 0) std::swap(out[0], out[1]);
        int rows_at = -1;
        for (size_t i = 0; i < out.size(); ++i) {
          size_t p = size_t(std::find(lhs.begin(), lhs.end(), out[i]) - lhs.begin());
          const Extent& e = p < lhs.size() ? shape(v)[p] : shape(w)[size_t(std::find(rhs.begin(), rhs.end(), out[i]) - rhs.begin())];
          if (e.rows) rows_at = rows_at < 0 ? int(i) : 99;
        }
        if (rows_at == 99) break;
        if (rows_at > 0) std::swap(out[0], out[size_t(rows_at)]);
        add(build_.mul(build_.contract(v, w, lhs, rhs, out), 0.125));
        break;
      }
      case 10: {  // look up one column per row
        if (rank != 2 || !shape(v)[0].rows || shape(v)[1].size < 3) break;
        Attributes a;
        a.axes = {1};
        a.lhs = {0, 1};
        a.rhs = {0};
        a.out = {0};
        add(graph_.add(Op::gather, {v, label_}, a));
        break;
      }
      case 11: {  // embedding: rows of a table
        if (rank != 2 || shape(v)[0].rows || shape(v)[0].size < 3) break;
        Attributes a;
        a.axes = {0};
        a.lhs = {0, 1};
        a.rhs = {2};
        a.out = {2, 1};
        add(graph_.add(Op::gather, {v, label_}, a));
        break;
      }
    }
  }
  void add(NodeId n) { values_.push_back(n); }

  std::mt19937_64 random_;
  Graph graph_;
  Builder build_;
  std::vector<Extent> dims_;
  std::vector<NodeId> values_, parameters_, parameter_nodes_;
  NodeId label_;
};

}  // namespace nnc::test
