// Graphs that together use every operation of ops.def in every way that is compiled in a way of its own: what op_sweep_test.cpp holds against the interpreter
// and guard_page_test.cpp runs between guard pages.
//
// Each operation has a function that adds its uses to a graph, listed from ops.def: an operation without one does not compile. Sizes of 0
// are legal for every axis but the rows (a step has at least one) and what an argmax or an index runs over.
#pragma once

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ir/window.h"
#include "ir/graph.h"
#include "ir/interpreter.h"

namespace nnc::test {

inline constexpr Extent rows{1, true};

/// Numbers that an operand may have.
enum class Domain {
  any,       ///< with zeros of both signs and halves
  positive,
  special,   ///< with NaN, infinities and ties
  summed,    ///< eighths: sums and products of that many are exact in every float type, in any order
  index,     ///< 0 .. limit - 1
};

/// One graph being filled with uses of operations at one size and element type.
class Sweep {
 public:
  Sweep(DType dtype, int64_t n) : dtype(dtype), n(n), b(graph) {}
  const DType dtype;
  const int64_t n;  ///< the size that is swept
  Graph graph;
  Builder b;

  /// A field [B, ...]; the same request gives the same node.
  NodeId field(Shape shape, Domain domain = Domain::any, int copy = 0) { return field(dtype, std::move(shape), domain, copy); }
  NodeId field(DType type, Shape shape, Domain domain = Domain::any, int copy = 0, int64_t limit = 0) {
    shape.insert(shape.begin(), rows);
    Type t{type, shape};
    return leaf(fmt::format("field.{}.{}.{}.{}", to_string(t), int(domain), copy, limit), t, domain, limit);
  }
  NodeId weight(Shape shape, Domain domain = Domain::any, int copy = 0) {
    Type t{dtype, shape};
    return leaf(fmt::format("weight.{}.{}.{}", to_string(t), int(domain), copy), t, domain, 0);
  }
  /// Adds the operation if it takes these operands, and its result as an output.
  void use(Op op, std::vector<NodeId> operands, Attributes attributes = {}) {
    std::vector<Type> types;
    for (NodeId o : operands) types.push_back(graph.type(o));
    std::string error;
    if (!infer_type(op, types, attributes, error)) return;
    NodeId result = graph.add(op, std::move(operands), std::move(attributes));
    graph.outputs.push_back({fmt::format("{}.{}", op_name(op), graph.outputs.size()), result});
  }

  /// What the parts of all shares come to, as an output; what the persistent holds before counts for nothing.
  void exchange(NodeId part) {
    Attributes a;
    a.text = fmt::format("partial.{}", graph.updates.size());
    leaves_[a.text] = {part, graph.type(part), Domain::special, 0};
    graph.add_persistent({a.text, graph.type(part), PersistentKind::partial, {}});
    graph.updates.push_back({a.text, part});
    use(Op::exchange, {part}, std::move(a));
  }

  Bindings bind(int64_t row_count, std::mt19937_64& random) const {
    Bindings result;
    result.rows = row_count;
    for (const auto& [name, l] : leaves_) {
      Tensor t = make_tensor(l.type.dtype, shape_at(l.type, row_count));
      for (double& v : t.values) v = draw(l, random);
      (name[0] == 'f' ? result.inputs : result.persistents)[name] = std::move(t);
    }
    result.draws = {17, 0x1FFFFFFFF, 0xFFFFFFF0};  // rows and updates wrap around within the counter's words
    result.scalars["rate"] = 0.375;
    result.scalars["step"] = 2147483649.0;
    return result;
  }

 private:
  struct Leaf {
    NodeId node;
    Type type;
    Domain domain;
    int64_t limit;
  };

  NodeId leaf(const std::string& name, const Type& type, Domain domain, int64_t limit) {
    auto it = leaves_.find(name);
    if (it != leaves_.end()) return it->second.node;
    NodeId node = name[0] == 'f' ? b.input(name, type) : b.parameter({name, type, PersistentKind::parameter, {}});
    leaves_[name] = {node, type, domain, limit};
    return node;
  }

  static double draw(const Leaf& l, std::mt19937_64& random) {
    if (l.domain == Domain::index) return double(random() % uint64_t(l.limit));
    double special[] = {std::numeric_limits<double>::quiet_NaN(), INFINITY, -INFINITY, 1e10, -1e10, 0.0};
    switch (l.type.dtype) {
      case DType::boolean: return double(random() & 1);
      case DType::u8: return double(random() % 256);
      case DType::i32: return random() % 4 ? double(int64_t(random() % 9) - 4) : double(int32_t(random()));  // also those that wrap around
      case DType::i64: return random() % 4 ? double(int64_t(random() % 9) - 4) : double(int64_t(random() % 2000001) - 1000000);
      default: break;
    }
    double v = std::uniform_real_distribution<double>(-4, 4)(random);
    if (random() % 4 == 0) v = std::nearbyint(v * 2) / 2;
    if (random() % 16 == 0) v = -0.0;
    if (l.domain == Domain::special && random() % 8 == 0) v = special[random() % 6];
    if (l.domain == Domain::summed) v = std::nearbyint(v * 8) / 8;
    if (l.domain == Domain::positive) v = std::fabs(v) + 0.015625;
    return l.type.dtype == DType::f32 ? double(float(v)) : v;
  }

  std::map<std::string, Leaf> leaves_;
};

inline Attributes shaped(std::vector<int> axes, Shape extents = {}, int64_t begin = 0) {
  Attributes a;
  a.axes = std::move(axes);
  a.extents = std::move(extents);
  a.begin = begin;
  return a;
}

inline Attributes labelled(std::vector<int> lhs, std::vector<int> rhs, std::vector<int> out, Attributes a = {}) {
  a.lhs = std::move(lhs);
  a.rhs = std::move(rhs);
  a.out = std::move(out);
  return a;
}

#define SWEEP(name) inline void sweep_##name([[maybe_unused]] Sweep& s)

// --- leaves, copied by the kernel that stores them ---
SWEEP(input) { s.graph.outputs.push_back({"input", s.field({{s.n}})}); }
SWEEP(parameter) { s.graph.outputs.push_back({"parameter", s.weight({{3}, {s.n}})}); }
SWEEP(scalar) {
  Attributes a;
  a.text = s.dtype == count_type ? "step" : "rate";
  s.use(Op::scalar, {}, a);
}
SWEEP(constant) {
  Attributes a = shaped({}, {rows, {s.n}});
  a.dtype = s.dtype;
  a.number = 1;
  s.use(Op::constant, {}, a);
}
SWEEP(literal) {
  Attributes a = shaped({}, {{3}, {s.n}});
  a.dtype = s.dtype;
  for (int64_t i = 0; i < 3 * s.n; ++i) a.values.push_back(s.dtype == DType::boolean ? double(i % 2) : double(i % 100));
  s.use(Op::literal, {}, a);
  if (is_float(s.dtype)) {  // read by a contraction and by other operations, as a parameter is
    NodeId table = s.b.literal(a.values, {s.dtype, a.extents}), x = s.field({{s.n}}, Domain::summed);
    s.graph.outputs.push_back({"literal.contract", s.b.contract(x, table, {0, 1}, {2, 1}, {0, 2})});
    s.graph.outputs.push_back({"literal.added", s.b.add(x, s.b.broadcast(s.b.reduce(Op::reduce_max, table, {0}), s.graph.type(x).shape, {1}))});
  }
  a.extents = {{s.n}};
  a.values.resize(size_t(s.n));
  s.use(Op::literal, {}, a);
}
SWEEP(iota) {
  s.use(Op::iota, {}, shaped({1}, {rows, {s.n}}));
  s.use(Op::iota, {}, shaped({0}, {rows, {s.n}}));
}
SWEEP(random) {
  auto draw = [&](Shape shape) {
    Attributes a = shaped({}, std::move(shape));
    a.text = fmt::format("draw{}#0", s.graph.size());
    s.use(Op::random, {}, a);
  };
  draw({});
  draw({{s.n}});
  draw({{3}, {s.n}});
  draw({rows});
  draw({rows, {s.n}});
  draw({rows, {2}, {s.n}});
}
SWEEP(extent) {
  s.use(Op::extent, {}, shaped({}, {Extent{s.n, true}}));
  s.use(Op::extent, {}, shaped({}, {Extent{s.n}}));
}

// --- element-wise: the two axes of fields walk as one of run-time length, a parameter is of static length ---
inline void unary(Sweep& s, Op op, Domain domain) {
  s.use(op, {s.field({{s.n}}, domain)});
  s.use(op, {s.weight({{s.n}}, domain)});
}
#define UNARY(name, domain) \
  SWEEP(name) { unary(s, Op::name, Domain::domain); }
UNARY(neg, special)
UNARY(abs, special)
UNARY(sign, special)
UNARY(floor, special)
UNARY(ceil, special)
UNARY(round, special)
UNARY(sqrt, positive)
UNARY(exp, any)
UNARY(expm1, any)
UNARY(log, positive)
UNARY(log1p, positive)
UNARY(sin, any)
UNARY(cos, any)
UNARY(tanh, special)
UNARY(sigmoid, special)
UNARY(erf, special)
UNARY(normal_cdf, special)
UNARY(logical_not, any)
UNARY(stop_gradient, special)

inline void binary(Sweep& s, Op op, Domain first, Domain second) {
  s.use(op, {s.field({{s.n}}, first), s.field({{s.n}}, second, 1)});
  s.use(op, {s.weight({{s.n}}, first), s.weight({{s.n}}, second, 1)});
}
#define BINARY(name, first, second) \
  SWEEP(name) { binary(s, Op::name, Domain::first, Domain::second); }
BINARY(add, any, any)
BINARY(sub, any, any)
BINARY(mul, any, any)
BINARY(div, any, positive)
BINARY(floor_div, special, special)
BINARY(floor_mod, special, special)
BINARY(pow, positive, any)
BINARY(maximum, special, special)
BINARY(minimum, special, special)
BINARY(copysign, special, special)
BINARY(equal, special, special)
BINARY(not_equal, special, special)
BINARY(less, special, special)
BINARY(less_equal, special, special)
BINARY(greater, special, special)
BINARY(greater_equal, special, special)
BINARY(logical_and, any, any)
BINARY(logical_or, any, any)

SWEEP(select) { s.use(Op::select, {s.field(DType::boolean, {{s.n}}), s.field({{s.n}}), s.field({{s.n}}, Domain::special)}); }

SWEEP(cast) {
  for (DType to : {DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean}) {
    Attributes a;
    a.dtype = to;
    // What saturates an i64 is not exact in the interpreter.
    s.use(Op::cast, {s.field({{s.n}}, to == DType::i64 ? Domain::any : Domain::special)}, a);
  }
}

// --- shape ---
SWEEP(broadcast) {
  s.use(Op::broadcast, {s.weight({{s.n}})}, shaped({1}, {rows, {s.n}}));
  s.use(Op::broadcast, {s.field({})}, shaped({0}, {rows, {s.n}}));
  s.use(Op::broadcast, {s.weight({{s.n}})}, shaped({0}, {{s.n}, {3}}));
  s.use(Op::broadcast, {s.weight({{3}, {s.n}})}, shaped({1, 3}, {rows, {3}, {2}, {s.n}}));
}
SWEEP(transpose) {
  s.use(Op::transpose, {s.weight({{3}, {s.n}})}, shaped({1, 0}));
  s.use(Op::transpose, {s.weight({{s.n}, {3}})}, shaped({1, 0}));
  s.use(Op::transpose, {s.field({{3}, {s.n}})}, shaped({0, 2, 1}));
}
SWEEP(reshape) {
  s.use(Op::reshape, {s.field({{3}, {s.n}})}, shaped({}, {rows, {3 * s.n}}));
  s.use(Op::reshape, {s.weight({{3}, {s.n}})}, shaped({}, {{s.n}, {3}}));
}
SWEEP(slice) {
  s.use(Op::slice, {s.field({{s.n + 5}})}, shaped({1}, {{s.n}}, 2));
  s.use(Op::slice, {s.field({{s.n + 5}, {3}})}, shaped({1}, {{s.n}}, 5));
  s.use(Op::slice, {s.weight({{7}, {s.n}})}, shaped({0}, {{3}}, 4));
}
SWEEP(pad) {
  s.use(Op::pad, {s.field({{s.n}})}, shaped({1}, {{s.n + 5}}, 2));
  s.use(Op::pad, {s.weight({{s.n}, {3}})}, shaped({0}, {{s.n + 1}}, 0));
}

SWEEP(window) {
  NodeId row = s.field({{s.n + 4}}), weight = s.weight({{3}, {s.n}, {2}});
  s.use(Op::window, {row}, make_window({1}, {s.n}, 1, 1, 4));                                   // a slice
  s.use(Op::window, {row}, make_window({1}, {s.n / 2 + 3}, 2, 1, -1));                          // every other one, both ends outside
  s.use(Op::window, {row}, make_window({1}, {2 * s.n + 9}, 1, 1, -1, 2, 1));                    // spread apart
  s.use(Op::window, {s.field({{s.n}, {3}})}, make_window({1, 2}, {s.n}, 1, 1, -1));             // a convolution's
  s.use(Op::window, {s.field({{s.n}, {3}})}, make_window({1, 2}, {s.n + 2}, 1, -1, 0));         // and its transpose
  s.use(Op::window, {s.field({{3}, {s.n}})}, make_window({2, 1}, {s.n / 2 + 1}, 2, 3, -2));     // strided, dilated, the elements' axis outside
  s.use(Op::window, {s.field({{3}, {s.n}})}, make_window({2, 1}, {2 * s.n + 1}, 1, -3, 2, 2));  // and its transpose
  s.use(Op::window, {row}, make_window({1}, {s.n / 2 + 4}, -2, 1, s.n + 5));                    // backwards
  s.use(Op::window, {s.field({{s.n}, {3}})}, make_window({1, 2}, {s.n + 2}, -1, -1, s.n, 2));   // both backwards
  s.use(Op::window, {weight}, make_window({1, 2}, {s.n - (s.n > 1)}, 1, 1, 0));                 // nothing outside
  s.use(Op::window, {weight}, make_window({0, 2}, {4}, 1, 2, -2, 3));
}

// --- reductions: along the vector axis, across it, along the rows, over several axes ---
inline void reduction(Sweep& s, Op op, Domain domain) {
  s.use(op, {s.field({{s.n}}, domain)}, shaped({1}));
  s.use(op, {s.field({{s.n}}, domain)}, shaped({0}));
  s.use(op, {s.field({{s.n}, {3}}, domain)}, shaped({1}));
  s.use(op, {s.field({{3}, {s.n}}, domain)}, shaped({1}));
}
SWEEP(reduce_sum) {
  reduction(s, Op::reduce_sum, Domain::summed);
  s.use(Op::reduce_sum, {s.field({{s.n}}, Domain::summed)}, shaped({0, 1}));
  s.use(Op::reduce_sum, {s.weight({{3}, {s.n}}, Domain::summed)}, shaped({0, 1}));
}
SWEEP(reduce_max) {
  reduction(s, Op::reduce_max, Domain::special);
  s.use(Op::reduce_max, {s.field({{s.n}})}, shaped({0, 1}));
}
SWEEP(reduce_min) {
  reduction(s, Op::reduce_min, Domain::special);
  s.use(Op::reduce_min, {s.weight({{3}, {s.n}})}, shaped({0, 1}));
}
SWEEP(argmax) { reduction(s, Op::argmax, Domain::special); }

// --- contractions: the operand orders of a training step, and the rest of index notation ---
SWEEP(contract) {
  auto row = [&](Shape shape, int copy = 0) { return s.field(std::move(shape), Domain::summed, copy); };
  auto held = [&](Shape shape) { return s.weight(std::move(shape), Domain::summed); };
  NodeId x = row({{s.n}}), y = row({{5}}), w = held({{5}, {s.n}}), v = held({{s.n}});
  s.use(Op::contract, {x, w}, labelled({0, 1}, {2, 1}, {0, 2}));              // n is summed
  s.use(Op::contract, {y, w}, labelled({0, 1}, {1, 2}, {0, 2}));              // n is the result's last axis
  s.use(Op::contract, {y, x}, labelled({0, 1}, {0, 2}, {1, 2}));              // rows are summed
  s.use(Op::contract, {x, y}, labelled({0, 1}, {0, 2}, {1, 2}));
  s.use(Op::contract, {x, row({{s.n}}, 1)}, labelled({0, 1}, {0, 1}, {0}));   // a dot product per row
  s.use(Op::contract, {w, v}, labelled({0, 1}, {1}, {0}));                    // matrix by vector
  s.use(Op::contract, {v, held({{3}})}, labelled({0}, {1}, {0, 1}));          // outer product: nothing summed
  s.use(Op::contract, {row({{3}, {s.n}}), row({{3}, {s.n}}, 1)}, labelled({0, 1, 2}, {0, 3, 2}, {0, 1, 3}));  // one product per row
}

// --- indexing ---
SWEEP(gather) {
  if (s.n == 0) {
    NodeId index = s.field(DType::i32, {}, Domain::index, 0, 4);
    s.use(Op::gather, {s.weight({{4}, {s.n}}), index}, labelled({0, 1}, {2}, {2, 1}, shaped({0})));
    return;
  }
  for (DType type : {DType::i32, DType::i64, DType::u8}) {
    int64_t limit = type == DType::u8 ? std::min<int64_t>(s.n, 256) : s.n;
    NodeId index = s.field(type, {}, Domain::index, 0, limit);
    s.use(Op::gather, {s.field({{s.n}}), index}, labelled({0, 1}, {0}, {0}, shaped({1})));        // one column of each row
    s.use(Op::gather, {s.weight({{s.n}, {5}}), index}, labelled({0, 1}, {2}, {2, 1}, shaped({0})));  // rows of a table
  }
  NodeId narrow = s.field(DType::i32, {}, Domain::index, 0, 4), many = s.field(DType::i32, {{3}}, Domain::index, 0, s.n);
  s.use(Op::gather, {s.weight({{4}, {s.n}}), narrow}, labelled({0, 1}, {2}, {2, 1}, shaped({0})));
  s.use(Op::gather, {s.weight({{s.n}}), many}, labelled({0}, {1, 2}, {1, 2}, shaped({0})));
}
SWEEP(scatter_add) {
  NodeId narrow = s.field(DType::i32, {}, Domain::index, 0, 4);
  s.use(Op::scatter_add, {s.field({{s.n}}, Domain::summed), narrow}, labelled({0, 1}, {0}, {2, 1}, shaped({0}, {{4}, {s.n}})));
  if (s.n == 0) return;
  for (DType type : {DType::i32, DType::i64, DType::u8}) {
    int64_t limit = type == DType::u8 ? std::min<int64_t>(s.n, 256) : s.n;
    NodeId index = s.field(type, {}, Domain::index, 0, limit);
    s.use(Op::scatter_add, {s.field({}, Domain::summed), index}, labelled({0}, {0}, {0, 1}, shaped({1}, {rows, {s.n}})));          // one place of each row
    s.use(Op::scatter_add, {s.field({{5}}, Domain::summed), index}, labelled({0, 1}, {0}, {2, 1}, shaped({0}, {{s.n}, {5}})));  // rows of a table
  }
}

// --- regions ---
SWEEP(exchange) {
  // A sum over rows that rows read; what another exchange is made of; a persistent's old value.
  if (is_float(s.dtype)) {
    const NodeId x = s.field({{s.n}}, Domain::summed);
    s.exchange(s.b.reduce(Op::reduce_sum, x, {0}));
    const NodeId total = s.graph.outputs.back().node;
    const NodeId rest = s.b.sub(x, s.b.broadcast(total, s.graph.type(x).shape, {1}));
    s.graph.outputs.push_back({fmt::format("rest.{}", s.graph.outputs.size()), rest});
    s.exchange(s.b.reduce(Op::reduce_max, rest, {0}));
  }
  s.exchange(s.weight({{3}, {s.n}}));
}
SWEEP(scan) {
  (void)s;  // its value is that of its results
}
SWEEP(result) {
  // Each step hands on its slice: values of any type, one step late.
  const NodeId sequence = s.field({{3}, {s.n}}), first = s.field({{s.n}}, Domain::summed, 1);
  const Type slice = s.graph.type(first);
  for (bool reverse : {false, true}) {
    Graph body;
    Builder b(body);
    const NodeId carry = b.input("carry.0", slice), next = b.input("slice.0", slice);
    body.outputs = {{"carry.0", next}, {"stack.0", carry}};
    Attributes a;
    a.carried = a.sliced = 1;
    a.extents = {{3}};
    a.reverse = reverse;
    a.body = {std::make_shared<Graph>(std::move(body))};
    const NodeId scan = s.graph.add(Op::scan, {first, sequence}, std::move(a));
    for (int k = 0; k < 2; ++k) s.graph.outputs.push_back({fmt::format("result.{}", s.graph.outputs.size()), s.b.result(scan, k)});
  }
}

struct OpSweep {
  Op op;
  void (*add)(Sweep&);
};
inline constexpr OpSweep sweeps[] = {
#define NNC_OP(name, arity, op_class, differentiable, summary) {Op::name, sweep_##name},
#include "ir/ops.def"
#undef NNC_OP
};
#undef SWEEP
#undef UNARY
#undef BINARY

}  // namespace nnc::test
