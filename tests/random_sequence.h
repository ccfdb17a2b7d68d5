// Networks over tokens [B, T], layer upon layer at random: attention under all kinds of masks, recurrences both ways, windows, shifts, sums along positions. Of each layer it is known whether it is causal.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "base/philox.h"
#include "ir/interpreter.h"
#include "ir/regions.h"
#include "ir/window.h"

namespace nnc::test {

struct RandomSequence {
  Graph graph;  ///< output "result": scores [B, T, V]
  NodeId tokens;
  Bindings bindings;
  int64_t positions = 0, characters = 5;
  bool causal = true;
  std::string layers;  ///< what it is made of, for messages
};

class SequenceMaker {
 public:
  explicit SequenceMaker(uint64_t seed) : random_(seed, stable_hash("sequence")) {}

  /// `causal_only`: of layers that are causal and proved to be.
  RandomSequence make(bool causal_only) {
    made_ = {};
    made_.positions = t_ = between(2, 7);
    made_.bindings.rows = 1;
    Builder b(made_.graph);
    made_.tokens = b.input("tokens", {DType::i32, {{1, true}, {t_}}});
    Tensor tokens = make_tensor(DType::i32, {1, t_});
    for (double& v : tokens.values) v = double(between(0, made_.characters - 1));
    made_.bindings.inputs["tokens"] = tokens;
    Attributes a;
    a.axes = {0};
    a.lhs = {0, 1};
    a.rhs = {2, 3};
    a.out = {2, 3, 1};
    const NodeId table = weight({made_.characters, c_});
    NodeId h = b.graph.add(Op::gather, {table, made_.tokens}, a);
    if (chance(50)) h = b.add(h, with_positions(b));
    for (int64_t n = between(1, 3); n > 0; --n) h = layer(b, h, causal_only);
    made_.graph.outputs = {{"result", b.contract(h, weight({c_, made_.characters}), {0, 1, 2}, {2, 3}, {0, 1, 3})}};
    return std::move(made_);
  }

 private:
  int64_t between(int64_t low, int64_t high) { return low + int64_t(random_.next_below(uint64_t(high - low + 1))); }
  bool chance(int percent) { return between(1, 100) <= percent; }
  Shape whole() const { return {{1, true}, {t_}, {c_}}; }

  NodeId weight(const std::vector<int64_t>& shape) {
    const std::string name = "w" + std::to_string(made_.graph.persistents.size());
    Tensor t = make_tensor(DType::f32, shape);
    for (double& v : t.values) v = double(float(random_.next_normal() / 2));
    made_.bindings.persistents[name] = t;
    Type type{DType::f32, {}};
    for (int64_t size : shape) type.shape.push_back({size});
    return Builder(made_.graph).parameter({name, type, PersistentKind::parameter, {}});
  }

  NodeId with_positions(Builder& b) {
    const NodeId table = weight({t_ + 2, c_});
    return b.broadcast(b.slice(table, 0, 0, {t_}), whole(), {1, 2});
  }

  NodeId dense(Builder& b, NodeId x) { return b.contract(x, weight({c_, c_}), {0, 1, 2}, {3, 2}, {0, 1, 3}); }

  NodeId layer(Builder& b, NodeId x, bool causal_only) {
    while (true) {
      const int64_t kind = between(0, 15);
      const bool is_causal = kind < 8 || (kind > 10 && kind < 13);
      if (causal_only && !is_causal) continue;
      made_.layers += " " + std::to_string(kind);
      if (!is_causal) made_.causal = false;
      switch (kind) {
        case 0: return b.unary(Op::tanh, dense(b, x));
        case 1:
        case 2: {
          const NodeId y = attention(b, x, causal_only);
          return b.add(x, y);
        }
        case 3: return recurrence(b, x, false);
        case 4: return window(b, x, 0);
        case 5: {  // one position on
          const NodeId shifted = b.pad(b.slice(x, 1, 0, {t_ - 1}), 1, 1, {t_});
          return b.add(dense(b, shifted), x);
        }
        case 6: return running_mean(b, x);
        case 7: {  // normalised over its own numbers, weighed by its position
          NodeId mean;
          if (chance(50)) {
            mean = b.expand(b.mean(x, {2}), {2}, x);
          } else {
            const NodeId turned = b.transpose(x, {0, 2, 1});
            mean = b.transpose(b.expand(b.mean(turned, {1}), {1}, turned), {0, 2, 1});
          }
          const NodeId place = b.cast(b.iota(whole(), 1), DType::f32);
          const NodeId centred = b.sub(x, mean), wave = b.unary(Op::cos, place);
          return b.mul(centred, wave);
        }
        case 8: return recurrence(b, x, true);
        case 9: return window(b, x, between(1, 2));
        case 10: {
          const NodeId mean = b.mean(x, {1});
          return b.add(x, b.expand(mean, {1}, x));
        }
        case 11: {  // two dimensions of what was one
          const NodeId halves = b.reshape(x, {{1, true}, {t_}, {2}, {c_ / 2}});
          const NodeId largest = b.expand(b.reduce(Op::reduce_max, halves, {2}), {2}, halves);
          return b.reshape(b.sub(halves, b.mul(largest, 0.5)), whole());
        }
        case 12: return window(b, x, 0);
        case 13: {  // one position back
          const NodeId shifted = b.pad(b.slice(x, 1, 1, {t_ - 1}), 1, 0, {t_});
          return b.add(dense(b, shifted), x);
        }
        case 14: {
          const NodeId last = b.result(scan_of(b, x, false, false), 0);
          return b.add(x, b.expand(last, {1}, x));
        }
        default: {
          const NodeId scan = scan_of(b, x, false, true);
          return b.result(scan, b.graph[scan].attributes.carried);
        }
      }
    }
  }

  NodeId mask(Builder& b, int64_t kind) {
    const Shape pair{{t_}, {t_}};
    const NodeId t = b.iota(pair, 0), s = b.iota(pair, 1);
    switch (kind) {
      case 0: return b.binary(Op::less_equal, s, t);
      case 1: return b.binary(Op::greater_equal, t, s);
      case 2: return b.unary(Op::logical_not, b.binary(Op::greater, s, t));
      case 3: {  // the last two alone
        const NodeId past = b.binary(Op::less_equal, s, t), two = b.constant_like(2, t);
        const NodeId near = b.binary(Op::less, b.sub(t, s), two);
        return b.binary(Op::logical_and, past, near);
      }
      case 4: {  // written down
        std::vector<Number> numbers;
        for (int64_t i = 0; i < t_; ++i)
          for (int64_t j = 0; j < t_; ++j) numbers.push_back(j <= i ? 1 : 0);
        const NodeId written = b.literal(numbers, {DType::f32, pair});
        return b.binary(Op::greater, written, b.constant_like(0.5, written));
      }
      case 5: {
        const NodeId next = b.add(t, Number(1));
        return b.binary(Op::less, s, next);
      }
      case 6: {  // one too far
        const NodeId next = b.add(t, Number(1));
        return b.binary(Op::less_equal, s, next);
      }
      case 7: return b.binary(Op::greater_equal, s, t);  // the wrong way
      case 8: {  // for one position alone
        std::vector<Number> numbers;
        for (int64_t i = 0; i < t_; ++i)
          for (int64_t j = 0; j < t_; ++j) numbers.push_back(j <= i || (i == 0 && j == 1) ? 1 : 0);
        const NodeId written = b.literal(numbers, {DType::f32, pair});
        return b.binary(Op::greater, written, b.constant_like(0.5, written));
      }
      default: return b.binary(Op::equal, s, s);         // none
    }
  }

  NodeId attention(Builder& b, NodeId x, bool causal_only) {
    const int64_t kind = causal_only ? between(0, 5) : between(0, 9);
    if (kind > 5) made_.causal = false;
    made_.layers += "." + std::to_string(kind);
    const int64_t d = 2, heads = c_ / d;
    const Shape split{{1, true}, {t_}, {heads}, {d}}, scores{{1, true}, {t_}, {heads}, {t_}};
    const NodeId q = b.reshape(dense(b, x), split), k = b.reshape(dense(b, x), split), v = b.reshape(dense(b, x), split);
    const NodeId score = b.contract(q, k, {0, 1, 2, 3}, {0, 4, 2, 3}, {0, 1, 2, 4});
    const NodeId condition = mask(b, kind);
    const NodeId may = b.broadcast(condition, scores, {1, 3});
    const double never = -std::numeric_limits<double>::infinity();
    NodeId masked;
    if (chance(50)) {
      masked = b.select(may, score, b.constant_like(never, score));
    } else {  // added to the scores, or taken from them
      const bool adds = chance(50);
      const NodeId none = b.constant_like(0, score);
      masked = b.binary(adds ? Op::add : Op::sub, score, b.select(may, none, b.constant_like(adds ? never : -never, score)));
    }
    const NodeId largest = b.expand(b.reduce(Op::reduce_max, masked, {3}), {3}, masked);
    const NodeId grown = b.unary(Op::exp, b.sub(masked, largest));
    const NodeId total = b.expand(b.reduce(Op::reduce_sum, grown, {3}), {3}, masked);
    const NodeId share = b.div(grown, total);
    const NodeId mixed = b.contract(share, v, {0, 1, 2, 4}, {0, 4, 2, 3}, {0, 1, 2, 3});
    return dense(b, b.reshape(mixed, whole()));
  }

  NodeId running_mean(Builder& b, NodeId x) {
    const Shape pair{{t_}, {t_}}, spread{{1, true}, {t_}, {t_}, {c_}};
    const NodeId past = mask(b, between(0, 2));
    const NodeId place = b.cast(b.iota(whole(), 1), DType::f32);
    const NodeId count = b.add(place, Number(1));
    NodeId sum;
    if (chance(50)) {
      sum = b.contract(b.cast(past, DType::f32), x, {1, 3}, {0, 3, 2}, {0, 1, 2});
    } else {
      const NodeId all = b.broadcast(x, spread, {0, 2, 3}), may = b.broadcast(past, spread, {1, 2});
      sum = b.reduce(Op::reduce_sum, b.select(may, all, b.constant_like(0, all)), {2});
    }
    return b.div(sum, count);
  }

  /// `ahead`: how many positions beyond its own it reads.
  NodeId window(Builder& b, NodeId x, int64_t ahead) {
    const int64_t size = std::max<int64_t>(between(1, 3), ahead + 1), dilation = ahead > 0 ? 1 : between(1, 2);
    const Shape repeated{{1, true}, {t_}, {c_}, {size}};
    const NodeId taps = b.broadcast(x, repeated, {0, 1, 2});
    const NodeId seen = b.window(taps, make_window({1, 3}, {t_}, 1, dilation, ahead - (size - 1) * dilation, 1, chance(80) ? 0 : 0.25));
    return b.contract(seen, weight({c_, c_, size}), {0, 1, 2, 3}, {4, 2, 3}, {0, 1, 4});
  }

  NodeId recurrence(Builder& b, NodeId x, bool reverse) {
    const NodeId scan = scan_of(b, x, reverse, false);
    return b.result(scan, b.graph[scan].attributes.carried);
  }

  /// With `captured`, each step reads all of x.
  NodeId scan_of(Builder& b, NodeId x, bool reverse, bool captured) {
    Attributes a;
    a.extents = {{t_}};
    a.carried = chance(40) ? 2 : 1;
    a.sliced = 1;
    a.reverse = reverse;
    const Type state{DType::f32, {{1, true}, {c_}}}, count{DType::i32, {}};
    std::vector<NodeId> operands{chance(50) ? b.constant(0.5, state) : b.broadcast(weight({c_}), state.shape, {1})};
    if (a.carried == 2) operands.push_back(b.constant(3, count));
    operands.push_back(x);
    operands.push_back(weight({c_, c_}));
    if (captured) operands.push_back(x);
    Graph body;
    Builder in(body);
    const NodeId h = in.input(body_input_name(BodyInput::carry, 0), state);
    const NodeId n = a.carried == 2 ? in.input(body_input_name(BodyInput::carry, 1), count) : NodeId{};
    const NodeId slice = in.input(body_input_name(BodyInput::slice, 0), state), w = in.input(body_input_name(BodyInput::capture, 0), {DType::f32, {{c_}, {c_}}});
    const NodeId kept = in.contract(h, w, {0, 1}, {2, 1}, {0, 2});
    NodeId next = in.unary(Op::tanh, in.add(kept, slice));
    if (n.valid()) next = in.mul(next, in.unary(Op::cos, in.cast(n, DType::f32)));
    if (captured) next = in.add(next, in.mean(in.input(body_input_name(BodyInput::capture, 1), {DType::f32, whole()}), {1}));
    body.outputs.push_back({body_output_name(a, 0), next});
    if (n.valid()) body.outputs.push_back({body_output_name(a, 1), in.add(n, in.constant(1, count))});
    body.outputs.push_back({body_output_name(a, a.carried), in.add(next, slice)});
    a.body = {std::make_shared<Graph>(std::move(body))};
    return b.graph.add(Op::scan, std::move(operands), std::move(a));
  }

  RandomStream random_;
  RandomSequence made_;
  int64_t t_ = 0, c_ = 4;
};

inline RandomSequence random_sequence(uint64_t seed, bool causal_only) { return SequenceMaker(seed).make(causal_only); }

}  // namespace nnc::test
