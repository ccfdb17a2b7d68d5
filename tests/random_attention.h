// Random graphs with attention in them, with a loss, gradients and updates: products of batches with row-wise code between them, in many sizes and manners of writing, and with whatever
// else a model may want of the scores. Everything follows from the seed.
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/philox.h"
#include "ir/graph.h"
#include "ir/interpreter.h"
#include "ir/regions.h"
#include "passes/differentiate.h"

namespace nnc::test {

class RandomAttention {
 public:
  explicit RandomAttention(uint64_t seed) : random_(seed, stable_hash("attention")), b_(&graph_) {}

  Graph make() {
    heads_ = pick<int64_t>({1, 2, 2, 3, 3}), width_ = pick<int64_t>({3, 8, 16}), channels_ = heads_ * width_;
    queries_ = pick<int64_t>({16, 32, 48, 48, 64, 64, 37, 96});
    keys_ = chance(65) ? queries_ : pick<int64_t>({5, 16, 24, 33, 64});
    say(fmt::format("{} heads of {}, {} queries, {} keys", heads_, width_, queries_, keys_));
    const NodeId x = b().input("x", {DType::f32, {rows(), Extent{queries_}, Extent{channels_}}});
    NodeId y = keys_ == queries_ && chance(70) ? x : b().input("y", {DType::f32, {rows(), Extent{keys_}, Extent{channels_}}});
    NodeId out = chance(12) ? in_a_scan(x) : attention(x, y);
    if (chance(30)) {
      say("another attention");
      shares_keys_ = chance(50);
      out = attention(shares_keys_ ? x : out, y);
    }
    NodeId loss = b().mul(mean_of(b().unary(Op::tanh, out)), 2);
    for (NodeId more : losses_) loss = b().add(loss, more);
    graph_.outputs.push_back({"out", out});
    std::vector<std::string> names;
    for (const Persistent& p : graph_.persistents)
      if (p.kind == PersistentKind::parameter) names.push_back(p.name);
    if (chance(in_scan_ ? 40 : 85)) {
      const std::vector<ParameterGradient> gradients = differentiate(graph_, loss, names);
      for (size_t i = 0; i < names.size(); ++i) graph_.updates.push_back({names[i], b().sub(parameters_[i], b().mul(gradients[i].node, 0.5))});
    } else {
      say("no gradients");
    }
    graph_.outputs.push_back({"loss", loss});
    return graph_;
  }

  /// What has been drawn.
  const std::string& said() const { return said_; }

 private:
  static Extent rows() { return Extent{1, true}; }
  Builder b() { return Builder(*b_); }  // of the graph at hand
  int64_t between(int64_t low, int64_t high) { return low + int64_t(random_.next_below(uint64_t(high - low + 1))); }
  bool chance(int percent) { return between(1, 100) <= percent; }
  template <class T>
  T pick(const std::vector<T>& list) { return list[size_t(between(0, int64_t(list.size()) - 1))]; }
  void say(const std::string& what) { said_ += (said_.empty() ? "" : "; ") + what; }
  const Shape& shape(NodeId n) { return b_->type(n).shape; }
  NodeId mean_of(NodeId n) {
    std::vector<int> axes;
    for (int i = 0; i < b_->type(n).rank(); ++i) axes.push_back(i);
    return b().mean(n, axes);
  }
  /// A parameter; in a body, which has none, a captured one.
  NodeId parameter(Shape s) {
    const std::string name = fmt::format("p{}", parameters_.size());
    parameters_.push_back(Builder(graph_).parameter({name, {DType::f32, s}, PersistentKind::parameter, {}}));
    if (b_ == &graph_) return parameters_.back();
    captures_.push_back(parameters_.back());
    return b().input(body_input_name(BodyInput::capture, int(captures_.size()) - 1), graph_.type(captures_.back()));
  }

  /// [B, L, H, D] or, with heads first, [B, H, L, D].
  NodeId projected(NodeId x, bool heads_first) {
    const int64_t length = shape(x)[1].size;
    if (chance(50)) {
      const NodeId w = parameter({Extent{heads_}, Extent{width_}, Extent{channels_}});
      return b().contract(x, w, {0, 1, 2}, {3, 4, 2}, heads_first ? std::vector<int>{0, 3, 1, 4} : std::vector<int>{0, 1, 3, 4});
    }
    const NodeId w = parameter({Extent{channels_}, Extent{channels_}});
    NodeId flat = b().contract(x, w, {0, 1, 2}, {3, 2}, {0, 1, 3});
    if (chance(50)) {
      const NodeId bias = parameter({Extent{channels_}});
      flat = b().add(flat, b().broadcast(bias, shape(flat), {2}));
    }
    const NodeId apart = b().reshape(flat, {rows(), Extent{length}, Extent{heads_}, Extent{width_}});
    return heads_first ? b().transpose(apart, {0, 2, 1, 3}) : apart;
  }

  /// Softmax along the last axis, or something else that goes along it.
  NodeId row_wise(NodeId s) {
    const std::vector<int> last{b_->type(s).rank() - 1};
    switch (pick<int>({0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 4})) {
      case 0: {
        const NodeId most = b().unary(Op::stop_gradient, b().reduce(Op::reduce_max, s, last));
        const NodeId e = b().unary(Op::exp, b().sub(s, b().expand(most, last, s)));
        const NodeId sum = b().reduce(Op::reduce_sum, e, last);
        return b().div(e, b().expand(sum, last, e));
      }
      case 1: {
        say("squares");
        const NodeId t = b().unary(Op::tanh, s), square = b().add(b().mul(t, t), 0.01), sum = b().reduce(Op::reduce_sum, square, last);
        return b().div(square, b().expand(sum, last, square));
      }
      case 2: {
        say("centred");
        const NodeId t = b().unary(Op::sigmoid, s), mean = b().mean(t, last);
        return b().mul(b().sub(t, b().expand(mean, last, t)), 0.125);
      }
      case 3:
        say("element-wise");
        return b().mul(b().unary(Op::tanh, s), 0.0625);
      default: {
        say("softmax of softmax");
        NodeId of = s;
        for (int i = 0; i < 2; ++i) {
          const NodeId e = b().unary(Op::exp, b().unary(Op::tanh, of)), sum = b().reduce(Op::reduce_sum, e, last);
          of = b().div(e, b().expand(sum, last, e));
        }
        return of;
      }
    }
  }

  /// Scores [B, H, T, S], with what is done to them.
  NodeId masked(NodeId s, NodeId q, NodeId k, bool heads_first) {
    const Shape like = shape(s);
    if (chance(70)) s = b().mul(s, 0.3);
    if (chance(35)) {
      say("causal");
      const NodeId t = b().iota(like, 2), u = b().iota(like, 3), past = b().binary(Op::less_equal, u, t);
      s = b().select(past, s, b().constant(chance(50) ? -std::numeric_limits<double>::infinity() : -30, b_->type(s)));
    }
    if (b_ == &graph_ && chance(25)) {
      say("mask by key");
      const NodeId mask = b().input(fmt::format("mask{}", inputs_++), {DType::boolean, {rows(), Extent{like[3].size}}});
      const NodeId low = b().constant(-20, b_->type(s)), seen = b().broadcast(mask, like, {0, 3});
      s = b().select(seen, s, low);
    }
    if (chance(15)) {
      say("bias by head and key");
      s = b().add(s, b().broadcast(parameter({Extent{heads_}, Extent{like[3].size}}), like, {1, 3}));
    }
    if (chance(15)) {
      say("bias by query and key");
      s = b().add(s, b().broadcast(parameter({Extent{like[2].size}, Extent{like[3].size}}), like, {2, 3}));
    }
    if (chance(10)) {
      say("bias by head, query and key");
      const NodeId bias = parameter({Extent{heads_}, Extent{like[2].size}, Extent{like[3].size}});
      s = b().add(s, b().broadcast(chance(50) ? bias : b().unary(Op::tanh, bias), like, {1, 2, 3}));
    }
    if (b_ == &graph_ && chance(10)) {
      say("mask by query and key");
      const NodeId mask = b().input(fmt::format("pairs{}", inputs_), {DType::boolean, {rows(), Extent{like[2].size}, Extent{like[3].size}}});
      s = b().select(b().broadcast(mask, like, {0, 2, 3}), s, b().constant(-20, b_->type(s)));
    }
    if (chance(12)) {
      say("squares of keys");
      const NodeId square = b().mul(k, k), sum = b().reduce(Op::reduce_sum, square, {3}), by_head = heads_first ? sum : b().transpose(sum, {0, 2, 1});
      s = b().sub(s, b().mul(b().broadcast(by_head, like, {0, 1, 3}), 0.1));
    }
    if (b_ == &graph_ && chance(10)) {
      say("a state scales");
      const NodeId state = b().parameter({fmt::format("state{}", inputs_), {DType::f32, {}}, PersistentKind::state, {}});
      s = b().mul(s, b().broadcast(b().unary(Op::tanh, state), like, {}));
      const NodeId mean = b().unary(Op::stop_gradient, mean_of(q)), tenth = b().mul(mean, 0.1);
      graph_.updates.push_back({fmt::format("state{}", inputs_++), b().add(b().mul(state, 0.9), tenth)});
    }
    return s;
  }

  NodeId attention(NodeId x, NodeId y) {
    const bool heads_first = chance(25);
    const NodeId q = projected(x, heads_first);
    if (!shares_keys_ || !key_.valid() || key_heads_first_ != heads_first || b_ != &graph_) {
      key_ = projected(y, heads_first), value_ = projected(y, heads_first);
      key_heads_first_ = heads_first;
    }
    const NodeId k = key_, v = value_;
    const std::vector<int> of_q = heads_first ? std::vector<int>{0, 2, 1, 3} : std::vector<int>{0, 1, 2, 3};        // B T H D
    const std::vector<int> of_k = heads_first ? std::vector<int>{0, 2, 4, 3} : std::vector<int>{0, 4, 2, 3};        // B S H D
    NodeId s = b().contract(q, k, of_q, of_k, {0, 2, 1, 4});
    s = masked(s, q, k, heads_first);
    const NodeId scores = s;
    NodeId p = row_wise(s);
    more(scores, p);
    NodeId shares = dropped(p);
    if (chance(10)) {
      say("turned by a statistic of the queries");
      if (shape(p)[2] == shape(p)[3]) {
        const NodeId each = b().unary(Op::sigmoid, b().reduce(Op::reduce_sum, b().mul(p, scores_finite(scores)), {3}));  // [B, H, T], read by key
        shares = b().mul(p, b().broadcast(each, shape(p), {0, 1, 3}));
      }
    }
    if (chance(8)) {
      say("columns normalised");
      const NodeId column = b().add(b().reduce(Op::reduce_sum, b().unary(Op::abs, shares), {2}), 0.1);
      shares = b().div(shares, b().broadcast(column, shape(shares), {0, 1, 3}));
    }
    const std::vector<int> of_v = heads_first ? std::vector<int>{0, 1, 3, 4} : std::vector<int>{0, 3, 1, 4};        // B H S D
    const bool out_heads_first = chance(30);
    NodeId out = b().contract(shares, v, {0, 1, 2, 3}, of_v, out_heads_first ? std::vector<int>{0, 1, 2, 4} : std::vector<int>{0, 2, 1, 4});
    if (chance(15)) {
      say("shares used twice");
      out = b().add(out, b().contract(p, b().unary(Op::tanh, v), {0, 1, 2, 3}, of_v, out_heads_first ? std::vector<int>{0, 1, 2, 4} : std::vector<int>{0, 2, 1, 4}));
    }
    if (out_heads_first) out = b().transpose(out, {0, 2, 1, 3});
    out = b().reshape(out, {rows(), shape(out)[1], Extent{channels_}});
    const NodeId w = parameter({Extent{channels_}, Extent{channels_}});
    out = b().contract(out, w, {0, 1, 2}, {3, 2}, {0, 1, 3});
    return chance(50) && shape(out) == shape(x) ? b().add(out, x) : out;
  }
  NodeId scores_finite(NodeId s) {
    const NodeId low = b().constant(-4, b_->type(s));
    return b().binary(Op::maximum, s, low);
  }

  /// What is left of shares by a draw for each of them, asked in one way or another; forward and backward see the same.
  NodeId dropped(NodeId p) {
    if (b_ != &graph_ || !chance(45)) return p;
    const Type like = b_->type(p);
    const NodeId u = b().random(fmt::format("attention{}#0", inputs_++), like.shape), zero = b().constant(0, like);
    const NodeId rate = b().constant(pick<double>({0.1, 0.5, 0.9}), like), more = b().mul(p, 1.25);
    switch (pick<int>({0, 0, 0, 1, 2, 3, 4, 5})) {
      case 0: say("dropout"); return b().select(b().binary(Op::less, u, rate), zero, more);
      case 1: say("dropout by what is kept"); return b().select(b().binary(Op::greater_equal, u, rate), more, zero);
      case 2: say("dropout by a rate that is greater"); return b().select(b().binary(Op::greater, rate, u), zero, more);
      case 3: say("dropout as a factor"); return b().mul(p, b().cast(b().binary(Op::less, u, rate), DType::f32));
      case 4: {
        say("a draw for each query");  // of all keys
        const NodeId each = b().random(fmt::format("attention{}#1", inputs_), {like.shape[0], like.shape[1], like.shape[2]});
        return b().select(b().broadcast(b().binary(Op::less, each, b().constant(0.3, b_->type(each))), like.shape, {0, 1, 2}), zero, more);
      }
      default: say("noise"); return b().mul(p, b().add(u, 0.5));
    }
  }

  /// What else a model wants of its scores and shares.
  void more(NodeId scores, NodeId p) {
    if (b_ != &graph_) return;
    const bool square = shape(p)[2] == shape(p)[3];
    const std::string number = std::to_string(inputs_++);
    if (chance(5)) {
      say("scores are an output");
      graph_.outputs.push_back({"scores" + number, scores});
    }
    if (chance(5)) {
      say("shares are an output");
      graph_.outputs.push_back({"shares" + number, p});
    }
    if (chance(10)) {
      say("a report on shares");
      graph_.outputs.push_back({"report" + number, mean_of(b().mul(p, p))});
    }
    if (chance(10)) {
      say("a loss of shares");
      losses_.push_back(mean_of(b().unary(Op::tanh, p)));
    }
    if (chance(8)) {
      say("the query that sees most of each key");
      graph_.outputs.push_back({"query" + number, b().reduce(Op::argmax, b().add(p, b().mul(b().cast(b().iota(shape(p), 2), DType::f32), 0.01)), {2})});  // the last one of what a mask makes equal
    }
    if (square && chance(8)) {
      say("shares and their transpose");
      losses_.push_back(mean_of(b().mul(p, b().transpose(p, {0, 1, 3, 2}))));
    }
    if (square && chance(8)) {
      say("a product of shares and shares");
      losses_.push_back(mean_of(b().contract(p, p, {0, 1, 2, 3}, {0, 1, 3, 4}, {0, 1, 2, 4})));
    }
    if (earlier_.valid() && shape(earlier_) == shape(p) && chance(60)) {
      say("shares of both attentions");
      if (square && chance(50)) {
        losses_.push_back(mean_of(b().contract(earlier_, p, {0, 1, 2, 3}, {0, 1, 3, 4}, {0, 1, 2, 4})));
      } else {
        const NodeId turned = square && chance(50) ? b().transpose(p, {0, 1, 3, 2}) : p;
        losses_.push_back(mean_of(b().mul(earlier_, turned)));
      }
    }
    if (chance(8)) {
      say("a scan over rows of shares");
      const NodeId first = b().reduce(Op::reduce_sum, p, {1});  // [B, T, S]
      losses_.push_back(mean_of(scan_over(heads_ == 1 ? b().reshape(p, shape(first)) : first)));
    }
    earlier_ = p;
  }

  NodeId scan_over(NodeId sequence) {
    Graph body;
    body.name = "body";
    Builder in(body);
    const Type slice{DType::f32, {rows(), shape(sequence)[2]}};
    const NodeId carry = in.input(body_input_name(BodyInput::carry, 0), slice), now = in.input(body_input_name(BodyInput::slice, 0), slice);
    body.outputs.push_back({"carry.0", in.unary(Op::tanh, in.add(carry, now))});
    Attributes a;
    a.extents = {shape(sequence)[1]};
    a.carried = a.sliced = 1;
    const NodeId zero = b().constant(0, slice);
    a.body = {std::make_shared<Graph>(std::move(body))};
    return b().result(graph_.add(Op::scan, {zero, sequence}, std::move(a)), 0);
  }

  /// x goes through an attention to itself again and again, with the same weights.
  NodeId in_a_scan(NodeId x) {
    say("in a scan");
    in_scan_ = true;
    Graph body;
    body.name = "body";
    b_ = &body;
    const NodeId carry = b().input(body_input_name(BodyInput::carry, 0), graph_.type(x));
    const NodeId next = b().unary(Op::tanh, attention(carry, carry));
    body.outputs.push_back({"carry.0", next});
    b_ = &graph_;
    key_ = {};
    Attributes a;
    a.extents = {Extent{between(2, 3)}};
    a.reverse = chance(30);
    a.carried = 1;
    std::vector<NodeId> operands{x};
    operands.insert(operands.end(), captures_.begin(), captures_.end());
    a.body = {std::make_shared<Graph>(std::move(body))};
    return b().result(graph_.add(Op::scan, std::move(operands), std::move(a)), 0);
  }

  RandomStream random_;
  Graph graph_;
  Graph* b_;
  std::string said_;
  std::vector<NodeId> parameters_, captures_, losses_;
  NodeId key_, value_, earlier_;
  bool shares_keys_ = false, in_scan_ = false, key_heads_first_ = false;
  int inputs_ = 0;
  int64_t heads_ = 1, width_ = 8, channels_ = 8, queries_ = 16, keys_ = 16;
};

}  // namespace nnc::test
