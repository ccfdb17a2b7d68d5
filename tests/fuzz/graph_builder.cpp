// Leaves, partners and the judgement of values.
#include "tests/fuzz/graph_builder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/check.h"
#include "ir/interpreter_ops.h"

namespace nnc::fuzz {

// Where arithmetic goes wrong first: 1, primes whose reciprocal times themselves is not 1 (41, 47), neighbours of powers of two, what f32 holds just about or
// not at all, the ends of the types, both zeros.
double awkward_number(Random& random, DType dtype) {
  switch (dtype) {
    case DType::boolean: return random.below(2);
    case DType::u8: return random.pick({0, 1, 2, 3, 41, 127, 128, 254, 255});
    case DType::i32:
      return random.pick({1.0, -1.0, 2.0, 3.0, -7.0, 41.0, 47.0, 0.0, 255.0, 257.0, 0x1p24 - 1, 0x1p24, 0x1p24 + 1, -0x1p24 - 1, 0x1p31 - 1, -0x1p31, 1 - 0x1p31});
    case DType::i64: return random.pick({1.0, -1.0, 3.0, -7.0, 41.0, 47.0, 0.0, 0x1p24 + 1, 0x1p31, -0x1p31, 0x1p32 + 1, 0x1p49 + 1, -0x1p49 - 1});
    default:
      return double(float(random.pick({1.0, -1.0, 3.0, -7.0, 41.0, 47.0, -49.0, 0.1, 1.0 / 3, 255.0, 0x1p23 - 0.5, 0x1p23 + 1, 0x1p24 - 1, -0x1p24, 0x1p24 + 2, 0x1p31,
                                       0x1p53, 0x1p-149, -0x1.8p-148, 0x1p-126, 0x1p-126 - 0x1p-149, 0x1p127, -0x1.fffffep127, 0.0, -0.0, HUGE_VAL, -HUGE_VAL})));
  }
}

double random_number(Random& random, DType dtype, int64_t limit, bool wild) {
  if (limit > 0) return double(random.below(int(std::min<int64_t>(limit, 1 << 30))));
  if (wild && random.chance(20)) return awkward_number(random, dtype);
  if (is_float(dtype) && random.chance(5)) return double(float(random.pick({41.0, 47.0, -49.0, 0.1, 1.0 / 3, 127.0})));
  switch (dtype) {
    case DType::boolean: return random.below(2);
    case DType::u8: return random.chance(70) ? random.below(6) : random.below(256);
    case DType::i32: return random.chance(90) || !wild ? random.between(-5, 5) : double(int32_t(random.bits()));
    case DType::i64: return random.chance(90) || !wild ? random.between(-5, 5) : random.between(-1000000, 1000000) * 1000.0;
    default: break;
  }
  if (wild && random.chance(5))
    return random.pick({std::numeric_limits<double>::quiet_NaN(), HUGE_VAL, -HUGE_VAL, 0x1p100, -0x1p70, 0x1p-100, 0.0, -0.0});
  double v = random.chance(60) ? random.normal() : 4 * random.unit() - 2;
  if (random.chance(20)) v = std::nearbyint(2 * v) / 2;  // ties
  return double(float(v));
}

GraphBuilder::GraphBuilder(uint64_t seed) : random(seed, "graph") {
  graph.name = fmt::format("fuzz.{}", seed);
  static const std::vector<int64_t> all{1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 40, 41, 64, 65};
  for (int i = random.between(2, 4); i > 0; --i) sizes.push_back(random.pick(all));
  if (random.chance(3)) sizes.push_back(0);
  bindings.rows = random.pick({1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 32, 33, 40});
  wild = random.chance(10);
}

GraphBuilder::GraphBuilder(GraphBuilder& around)
    : random(uint64_t(around.random.below(1 << 30)), "body"), sizes(around.sizes), wild(around.wild), closed(true), most_elements(around.most_elements) {
  graph.name = "body";
  bindings.rows = around.bindings.rows;
}

const Tensor& GraphBuilder::value(NodeId n) {
  using Evaluate = void (*)(InterpreterCall&);
  static constexpr std::array<Evaluate, op_count> table{{
#define NNC_OP(name, arity, op_class, differentiable, summary) interpret_##name,
#include "ir/ops.def"
#undef NNC_OP
  }};
  for (; evaluated_ <= n.value; ++evaluated_) {
    NodeId id{evaluated_};
    const Node& node = graph[id];
    InterpreterCall call{graph, id, node, bindings, {}, make_tensor(node.type.dtype, shape_at(node.type, bindings.rows))};
    for (NodeId o : node.operands) call.operands.push_back(&values_.at(o));
    table[size_t(node.op)](call);
    values_[id] = std::move(call.result);
  }
  return values_.at(n);
}

bool GraphBuilder::tame(const Tensor& t) const {
  if (!is_float(t.dtype)) {
    double most = t.dtype == DType::i64 ? 0x1p50 : HUGE_VAL;  // what the interpreter holds exactly
    return std::all_of(t.values.begin(), t.values.end(), [&](double v) { return std::fabs(v) < most; });
  }
  if (wild) return true;
  return std::all_of(t.values.begin(), t.values.end(), [](double v) { return std::fabs(v) < 200; });
}

NodeId GraphBuilder::keep(NodeId n) {
  if (elements(n) > most_elements || !tame(value(n))) return {};
  pool.push_back(n);
  return n;
}

NodeId GraphBuilder::make(Op op, std::vector<NodeId> operands, Attributes attributes) {
  std::vector<Type> types;
  for (NodeId o : operands) {
    if (!o.valid()) return {};
    types.push_back(type(o));
  }
  std::string error;
  std::optional<Type> result = infer_type(op, types, attributes, error);
  if (!result || result->elements(bindings.rows) > most_elements) return {};
  return keep(graph.add(op, std::move(operands), std::move(attributes), {}, random.chance(15) ? "block" : ""));
}

Shape GraphBuilder::random_shape(int most_rank, bool rows_allowed) {
  Shape shape;
  int64_t all = 1;
  if (rows_allowed && random.chance(60)) {
    shape.push_back({random.chance(90) ? 1 : 2, true});
    all *= shape[0].at(bindings.rows);
  }
  for (int rank = random.below(most_rank + 1); int(shape.size()) < rank;) {
    Extent e = random_extent();
    if (all * e.size > most_elements) break;
    all *= e.size;
    shape.push_back(e);
  }
  return shape;
}

NodeId GraphBuilder::leaf(DType dtype, Shape shape, bool persistent, int64_t limit) {
  NNC_CHECK(persistent || (!shape.empty() && shape[0] == Extent{1, true}), "an input holds one row of each example of the batch");
  Type t{dtype, std::move(shape)};
  if (closed) {
    pool.push_back(build.constant(random_number(random, dtype, limit, wild), std::move(t)));
    return pool.back();
  }
  std::string name = fmt::format("{}{}{}", persistent ? "p" : "x", leaves_++, limit > 0 ? fmt::format("_below{}", limit) : "");
  Tensor tensor = make_tensor(dtype, shape_at(t, bindings.rows));
  for (double& v : tensor.values) v = random_number(random, dtype, limit, wild);
  NodeId n;
  if (persistent) {
    PersistentKind kind = !is_float(dtype) ? PersistentKind::state
                                           : random.pick({PersistentKind::parameter, PersistentKind::parameter, PersistentKind::parameter,
                                                          PersistentKind::state, PersistentKind::frozen, PersistentKind::optimizer_state});
    bindings.persistents[name] = std::move(tensor);
    n = build.parameter({name, t, kind, {}});
  } else {
    bindings.inputs[name] = std::move(tensor);
    n = build.input(name, t);
  }
  pool.push_back(n);
  return n;
}

void GraphBuilder::force(Op op, DType dtype) {
  Extent size{random.between(2, 9)};
  bool persistent = random.chance(40);
  leaf(dtype, persistent ? Shape{size, random_extent()} : Shape{{1, true}, size}, persistent);
  for (int tries = 0; tries < 8; ++tries) {
    wanted = first_ = dtype;
    NodeId made = add_operation(*this, op);
    wanted.reset();
    first_.reset();
    if (made.valid() && random.chance(80)) return;
  }
}

NodeId GraphBuilder::number(Type t) {
  double v = random_number(random, t.dtype, 0, wild);
  if (is_float(t.dtype) && random.chance(50)) v = random.pick({0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, 41.0, 0.1, -0.25});
  return build.constant(v, std::move(t));
}

NodeId GraphBuilder::like(Type t) {
  if (random.chance(20)) return number(t);
  NodeId same = find([&](NodeId n) { return type(n) == t; });
  if (same.valid() && random.chance(60)) return same;
  NodeId smaller = find([&](NodeId n) {
    const Shape& s = shape(n);
    size_t at = 0;
    for (const Extent& e : t.shape)
      if (at < s.size() && s[at] == e) ++at;
    return at == s.size() && s.size() < t.shape.size() && type(n).dtype == t.dtype;
  });
  if (smaller.valid()) {
    std::vector<int> axes;
    const Shape small = shape(smaller);
    bool late = random.chance(50);  // match axes from the end: an embedding that differs where sizes repeat
    if (late) {
      size_t left = small.size();
      for (size_t i = t.shape.size(); i-- > 0 && left > 0;)
        if (t.shape[i] == small[left - 1]) axes.insert(axes.begin(), int(i)), --left;
    } else {
      for (size_t i = 0; i < t.shape.size() && axes.size() < small.size(); ++i)
        if (t.shape[i] == small[axes.size()]) axes.push_back(int(i));
    }
    if (axes.size() == small.size()) return build.broadcast(smaller, t.shape, axes);
  }
  if (same.valid()) return same;
  NodeId other = find([&](NodeId n) { return shape(n) == t.shape; });
  if (other.valid()) return build.cast(other, t.dtype);
  return number(t);
}

}  // namespace nnc::fuzz
