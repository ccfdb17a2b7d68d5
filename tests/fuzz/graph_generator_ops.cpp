// How each operation of ops.def is made from what a graph holds: one function per operation, declared from the list, so that a new
// operation does not link until it has one.
#include <limits>
#include <algorithm>
#include <array>
#include <numeric>

#include "ir/regions.h"
#include "tests/fuzz/graph_builder.h"

namespace nnc::fuzz {
namespace {

#define NNC_OP(name, arity, op_class, differentiable, summary) NodeId make_##name(GraphBuilder& g);
#include "ir/ops.def"
#undef NNC_OP

#define MAKE(name) NodeId make_##name([[maybe_unused]] GraphBuilder& g)

// --- leaves ---

DType any_dtype(GraphBuilder& g) {
  if (g.wanted) return *g.wanted;
  return g.random.pick({DType::f32, DType::f32, DType::f32, DType::f32, DType::f64, DType::i32, DType::i64, DType::u8, DType::boolean});
}
MAKE(input) {
  Shape s = g.random_shape(4, false);
  s.insert(s.begin(), Extent{1, true});
  Type t{any_dtype(g), s};
  return t.elements(g.bindings.rows) > g.most_elements ? NodeId{} : g.leaf(t.dtype, s, false);
}
MAKE(parameter) {
  DType dtype = any_dtype(g);
  return g.leaf(dtype, g.random_shape(4, false), true);
}
MAKE(scalar) {
  if (g.random.chance(40)) {  // a count: small, beyond f32, beyond i32
    g.bindings.scalars.try_emplace("step", g.random.pick({3.0, 16777217.0, 2147483649.0}));
    return g.keep(g.build.scalar("step"));
  }
  g.bindings.scalars["rate"] = 0.375;
  return g.keep(g.build.scalar("rate"));
}
MAKE(constant) { return g.keep(g.number({any_dtype(g), g.random_shape(3, true)})); }
MAKE(literal) {
  Type t{any_dtype(g), g.random_shape(4, false)};
  std::vector<Number> values(size_t(t.elements(1)));
  for (Number& v : values) v = random_number(g.random, t.dtype, 0, g.wild);
  return g.keep(g.build.literal(std::move(values), std::move(t)));
}
MAKE(iota) {
  Shape s = g.random_shape(4, true);
  return s.empty() ? NodeId{} : g.keep(g.build.iota(s, g.random.below(int(s.size()))));
}
MAKE(random) {
  Shape s = g.random_shape(4, true);
  if (!s.empty() && s[0].rows) s.set_size(0, 1);
  if (g.bindings.draws == DrawPosition{})  // near where the counter's words wrap around, and far from it
    g.bindings.draws = {uint64_t(g.random.below(1 << 30)), g.random.pick({uint64_t(0), uint64_t(7), uint64_t(0xFFFFFFFF), uint64_t(1) << 40}),
                        g.random.pick({uint32_t(0), uint32_t(5), uint32_t(0xFFFFFFFE)})};
  return g.keep(g.build.random("draw" + std::to_string(g.build.graph.size()) + "#0", std::move(s)));
}
MAKE(extent) { return g.keep(g.build.extent(g.random.chance(60) ? Extent{g.random.between(1, 3), true} : g.random_extent())); }

// --- element-wise ---

DType numeric(GraphBuilder& g) { return g.wanted ? *g.wanted : g.random.pick({DType::f32, DType::f32, DType::f32, DType::f32, DType::f32, DType::f64, DType::i32, DType::i64}); }
DType floating(GraphBuilder& g) { return g.wanted ? *g.wanted : g.random.chance(85) ? DType::f32 : DType::f64; }

NodeId unary(GraphBuilder& g, Op op, DType dtype) {
  NodeId x = g.find_dtype(dtype);
  if (!x.valid()) x = g.build.cast(g.any(), dtype);
  return g.make(op, {x});
}
// Arguments that an operation is defined for: positive ones are made from any.
NodeId positive(GraphBuilder& g, DType dtype) {
  NodeId x = g.find_dtype(dtype);
  if (!x.valid() || g.wild) return x;
  NodeId y = g.random.chance(50) ? g.build.unary(Op::abs, x) : g.build.mul(x, x);
  return g.build.add(y, g.random.pick({0.5, 1.0, 0.0625}));
}

#define NUMERIC(name) \
  MAKE(name) { return unary(g, Op::name, numeric(g)); }
#define FLOATING(name) \
  MAKE(name) { return unary(g, Op::name, floating(g)); }
#define POSITIVE(name)                        \
  MAKE(name) {                                \
    NodeId x = positive(g, floating(g));      \
    return x.valid() ? g.make(Op::name, {x}) : NodeId{}; \
  }
NUMERIC(neg)
NUMERIC(abs)
NUMERIC(sign)
FLOATING(floor)
FLOATING(ceil)
FLOATING(round)
POSITIVE(sqrt)
FLOATING(exp)
FLOATING(expm1)
POSITIVE(log)
POSITIVE(log1p)
FLOATING(sin)
FLOATING(cos)
FLOATING(tanh)
FLOATING(sigmoid)
FLOATING(erf)
FLOATING(normal_cdf)
MAKE(logical_not) { return unary(g, Op::logical_not, DType::boolean); }
MAKE(stop_gradient) { return g.make(Op::stop_gradient, {g.any()}); }

NodeId binary(GraphBuilder& g, Op op, DType dtype) {
  NodeId x = g.find_dtype(dtype);
  if (!x.valid()) x = g.build.cast(g.any(), dtype);
  NodeId y = g.random.chance(5) ? x : g.like(g.type(x));
  if (g.random.chance(50)) std::swap(x, y);
  return g.make(op, {x, y});
}
#define BINARY(name, dtype) \
  MAKE(name) { return binary(g, Op::name, dtype(g)); }
DType boolean(GraphBuilder&) { return DType::boolean; }
DType ordered(GraphBuilder& g) { return g.wanted ? *g.wanted : g.random.pick({DType::f32, DType::f32, DType::f32, DType::f64, DType::i32, DType::i64, DType::u8}); }
BINARY(add, numeric)
BINARY(sub, numeric)
BINARY(mul, numeric)
BINARY(maximum, numeric)
BINARY(minimum, numeric)
BINARY(equal, any_dtype)
BINARY(not_equal, any_dtype)
BINARY(less, ordered)
BINARY(less_equal, ordered)
BINARY(greater, ordered)
BINARY(greater_equal, ordered)
BINARY(logical_and, boolean)
BINARY(logical_or, boolean)

MAKE(div) {
  NodeId x = g.find_dtype(floating(g));
  if (!x.valid()) return {};
  NodeId y = g.like(g.type(x));
  if (!g.wild && g.random.chance(80)) y = g.build.add(g.build.unary(Op::abs, y), 0.5);
  return g.make(Op::div, {x, y});
}
NodeId floor_division(GraphBuilder& g, Op op) {
  NodeId x = g.find_dtype(numeric(g));
  if (!x.valid()) return {};
  NodeId y = g.random.chance(60) ? g.build.constant(awkward_number(g.random, g.type(x).dtype), g.type(x)) : g.like(g.type(x));
  return g.make(op, {x, y});
}
MAKE(floor_div) { return floor_division(g, Op::floor_div); }
MAKE(floor_mod) { return floor_division(g, Op::floor_mod); }
MAKE(copysign) {
  NodeId x = g.find_dtype(floating(g));
  if (!x.valid()) return {};
  NodeId y = g.like(g.type(x));
  return g.make(Op::copysign, {x, y});
}
MAKE(pow) {
  NodeId x = g.find_dtype(floating(g));
  if (!x.valid()) return {};
  Type t = g.type(x);
  if (g.random.chance(60)) return g.make(Op::pow, {x, g.build.constant(g.random.pick({0.0, 1.0, 2.0, 3.0, -1.0, 4.0, -2.0, 2.5, 0.5, 1.5, -0.5}), t)});
  NodeId base = positive(g, t.dtype);
  if (!base.valid()) return {};
  NodeId exponent = g.like(g.type(base));
  return g.make(Op::pow, {base, exponent});
}

MAKE(select) {
  NodeId x = g.find_dtype(any_dtype(g));
  if (!x.valid()) return {};
  NodeId condition = g.like({DType::boolean, g.shape(x)});
  if (g.random.chance(50) && is_float(g.type(x).dtype)) {
    NodeId other = g.like(g.type(x));
    condition = g.build.binary(g.random.pick({Op::less, Op::greater, Op::less_equal, Op::greater_equal, Op::equal}), x, other);
  }
  NodeId y = g.like(g.type(x));
  return g.random.chance(50) ? g.make(Op::select, {condition, x, y}) : g.make(Op::select, {condition, y, x});
}
MAKE(cast) {
  NodeId x = g.any();
  g.wanted.reset();  // which was of the operand
  Attributes a;
  a.dtype = any_dtype(g);
  return g.make(Op::cast, {x}, a);
}

// --- shape ---

std::vector<int> some_axes(GraphBuilder& g, int rank, int percent) {
  std::vector<int> axes;
  for (int i = 0; i < rank; ++i)
    if (g.random.chance(percent)) axes.push_back(i);
  return axes;
}

MAKE(broadcast) {
  NodeId x = g.any();
  Attributes a;
  Shape s = g.shape(x);
  for (int i = 0; i < int(s.size()); ++i) a.axes.push_back(i);
  for (int more = g.random.between(1, 2); more > 0; --more) {
    bool rows = std::any_of(s.begin(), s.end(), [](Extent e) { return e.rows; });
    bool new_rows = !rows && g.random.chance(30);
    int at = new_rows ? 0 : g.random.between(rows ? 1 : 0, int(s.size()));
    s.insert(s.begin() + at, new_rows ? Extent{1, true} : g.random_extent());
    for (int& axis : a.axes) axis += axis >= at;
  }
  if (s.size() > 5) return {};
  a.extents = s;
  return g.make(Op::broadcast, {x}, a);
}
MAKE(transpose) {
  NodeId x = g.find([&](NodeId n) { return g.type(n).rank() >= (g.type(n).has_rows() ? 3 : 2); });
  if (!x.valid()) return {};
  Attributes a;
  a.axes.resize(size_t(g.type(x).rank()));
  std::iota(a.axes.begin(), a.axes.end(), 0);
  std::vector<int> free(a.axes.begin() + g.type(x).has_rows(), a.axes.end());
  g.random.shuffle(free);
  std::copy(free.begin(), free.end(), a.axes.begin() + g.type(x).has_rows());
  return g.make(Op::transpose, {x}, a);
}
MAKE(reshape) {
  NodeId x = g.find([&](NodeId n) { return g.type(n).rank() >= 1; });
  if (!x.valid()) return {};
  int64_t all = 1;
  for (const Extent& e : g.shape(x)) all *= e.size;
  Attributes a;
  // Random factors of the number of elements, in random order.
  int64_t rest = all;
  for (int more = g.random.below(4); more > 0 && rest > 1; --more) {
    std::vector<int64_t> factors;
    for (int64_t f = 1; f <= std::min<int64_t>(rest, 70); ++f)
      if (rest % f == 0) factors.push_back(f);
    int64_t f = g.random.pick(factors);
    a.extents.push_back({f});
    rest /= f;
  }
  if (all != 1 || g.type(x).has_rows() || g.random.chance(50)) a.extents.push_back({rest});
  std::vector<Extent> shuffled(a.extents.begin(), a.extents.end());
  g.random.shuffle(shuffled);
  a.extents = Shape(shuffled.begin(), shuffled.end());
  if (g.type(x).has_rows()) {
    if (g.random.chance(80))
      a.extents.insert(a.extents.begin(), Extent{1, true});
    else
      a.extents.set(0, {a.extents[0].size, true});
  }
  if (a.extents.size() > 5) return {};
  return g.make(Op::reshape, {x}, a);
}
NodeId with_fixed_axis(GraphBuilder& g, int& axis) {
  NodeId x = g.find([&](NodeId n) { return g.type(n).rank() >= (g.type(n).has_rows() ? 2 : 1); });
  if (x.valid()) axis = g.random.between(g.type(x).has_rows(), g.type(x).rank() - 1);
  return x;
}
MAKE(slice) {
  int axis = 0;
  NodeId x = with_fixed_axis(g, axis);
  if (!x.valid()) return {};
  int64_t size = g.shape(x)[size_t(axis)].size;
  Attributes a;
  a.axes = {axis};
  int64_t length = size == 0 ? 0 : g.random.chance(3) ? 0 : g.random.between(1, int(size));
  a.begin = g.random.between(0, int(size - length));
  a.extents = {{length}};
  return g.make(Op::slice, {x}, a);
}
MAKE(pad) {
  int axis = 0;
  NodeId x = with_fixed_axis(g, axis);
  if (!x.valid()) return {};
  int64_t size = g.shape(x)[size_t(axis)].size;
  // Often to a size that others have, so that sums of padded pieces are concatenations.
  int64_t total = g.random.chance(50) ? std::max(size, g.random.pick(g.sizes)) : size + g.random.below(4);
  Attributes a;
  a.axes = {axis};
  a.begin = g.random.chance(30) ? 0 : g.random.chance(30) ? total - size : g.random.between(0, int(total - size));
  a.extents = {{total}};
  return g.make(Op::pad, {x}, a);
}

MAKE(window) {
  int axis = 0;
  NodeId x = with_fixed_axis(g, axis);
  if (!x.valid()) return {};
  const Type type = g.type(x);
  Attributes a;
  a.axes = {axis};
  if (g.random.chance(70)) {  // along another axis that counts the elements; mostly a repetition
    if (g.random.chance(60) && type.rank() < 4) {
      Attributes repeat;
      repeat.extents = type.shape;
      repeat.extents.push_back({g.random.between(1, 4)});
      for (int i = 0; i < type.rank(); ++i) repeat.axes.push_back(i);
      x = g.make(Op::broadcast, {x}, repeat);
      if (!x.valid()) return {};
      a.axes.push_back(type.rank());
    } else if (int other = g.random.below(type.rank()); other != axis && !type.shape[size_t(other)].rows) {
      a.axes.push_back(other);
    }
  }
  const int64_t size = g.shape(x)[size_t(axis)].size, elements = a.axes.size() > 1 ? g.shape(x)[size_t(a.axes[1])].size : 1;
  a.stride = g.random.chance(60) ? 1 : g.random.between(2, 3);
  a.divide = g.random.chance(70) ? 1 : g.random.between(2, 3);
  if (a.axes.size() > 1) a.dilation = g.random.pick(std::vector<int>{1, 1, 1, 2, -1, -1, -3, 0});
  const int64_t reach = (elements - 1) * std::abs(a.dilation);
  if (g.random.chance(15)) a.stride = -a.stride;
  a.begin = g.random.chance(40) ? 0 : g.random.chance(50) ? -reach / 2 : g.random.between(-4, 4);
  const int64_t fitting = (size * a.divide - reach - 1) / std::abs(a.stride) + 1;  // so many do not leave it if they begin at 0
  if (a.stride < 0 && g.random.chance(70)) a.begin += size * a.divide - 1;
  a.extents = {{g.random.chance(3) ? 0 : g.random.chance(50) && fitting > 0 ? fitting : g.random.between(1, int(std::min<int64_t>(size + 4, 40)))}};
  if (g.random.chance(25)) a.number = type.dtype == DType::boolean ? 1 : is_float(type.dtype) && g.random.chance(50) ? -std::numeric_limits<double>::infinity() : 3;
  return g.make(Op::window, {x}, a);
}

// --- reductions ---

NodeId reduce(GraphBuilder& g, Op op) {
  DType dtype = numeric(g);
  NodeId x = g.find([&](NodeId n) { return g.type(n).dtype == dtype && g.type(n).rank() > 0; });
  if (!x.valid()) return {};
  Attributes a;
  a.axes = some_axes(g, g.type(x).rank(), g.random.pick({20, 50, 100}));
  if (a.axes.empty()) a.axes = {g.random.below(g.type(x).rank())};
  NodeId n = g.make(op, {x}, a);
  // What is too large for the pool may do as a mean.
  if (!n.valid() && op == Op::reduce_sum && is_float(dtype)) n = g.keep(g.build.mean(x, a.axes));
  return n;
}
MAKE(reduce_sum) { return reduce(g, Op::reduce_sum); }
MAKE(reduce_max) { return reduce(g, Op::reduce_max); }
MAKE(reduce_min) { return reduce(g, Op::reduce_min); }
MAKE(argmax) {
  DType dtype = ordered(g);
  NodeId x = g.find([&](NodeId n) { return g.type(n).dtype == dtype && g.type(n).rank() > 0; });
  if (!x.valid()) return {};
  Attributes a;
  a.axes = {g.random.below(g.type(x).rank())};
  return g.make(Op::argmax, {x}, a);
}

// --- contraction and indexing ---

// A product with rows that are looked up in a small table, or one of its gradients: of the weights, of the table, and of the table but for a padding entry.
NodeId product_with_lookups(GraphBuilder& g) {
  const Extent rows{1, true}, places{g.random.between(1, 4)}, width{g.random.between(14, 20)}, outputs{g.random.between(1, 20)};
  const int64_t entries = g.random.between(1, int(std::max<int64_t>(1, g.bindings.rows * places.size - 1)));
  if (places.size * g.bindings.rows * width.size * outputs.size > 40000 || places.size * g.bindings.rows * width.size > g.most_elements) return {};
  const NodeId index = g.leaf(DType::i32, {rows, places}, false, entries);
  const NodeId weight = g.leaf(DType::f32, {outputs, width}, true);
  const NodeId small = g.build.mul(weight, 0.0625);
  Attributes lookup;
  lookup.axes = {0};
  lookup.lhs = {0, 1};
  lookup.rhs = {2, 3};
  lookup.out = {2, 3, 1};
  const int kind = g.random.below(4);
  if (kind < 2) {
    const NodeId table = g.leaf(DType::f32, {Extent{entries}, width}, true);
    const NodeId found = g.make(Op::gather, {table, index}, lookup);
    if (!found.valid()) return {};
    Attributes a;
    a.lhs = {2, 3, 1};
    a.rhs = {4, 1};
    a.out = {2, 3, 4};
    if (kind == 0) return g.make(Op::contract, {found, small}, a);
    const NodeId back = g.leaf(DType::f32, {rows, places, outputs}, false);
    a.rhs = a.out;
    a.out = {4, 1};
    return g.make(Op::contract, {found, back}, a);
  }
  const NodeId back = g.leaf(DType::f32, {rows, places, outputs}, false);
  Attributes a;
  a.lhs = {2, 3, 4};
  a.rhs = {4, 1};
  a.out = {2, 3, 1};
  NodeId updates = g.build.contract(back, small, a.lhs, a.rhs, a.out);
  if (kind == 3) {
    const NodeId padding = g.build.binary(Op::equal, index, g.build.constant_like(double(g.random.between(0, int(entries) - 1)), index));
    const NodeId everywhere = g.build.broadcast(padding, g.shape(updates), {0, 1}), zero = g.build.constant_like(0, updates);
    updates = g.build.select(everywhere, zero, updates);
  }
  Attributes scatter;
  scatter.axes = {0};
  scatter.extents = {Extent{entries}, width};
  scatter.lhs = {2, 3, 1};
  scatter.rhs = {2, 3};
  scatter.out = {0, 1};
  return g.make(Op::scatter_add, {updates, index}, scatter);
}

MAKE(contract) {
  if (!g.closed && !g.wild && g.bindings.rows > 0 && g.random.chance(12))
    if (NodeId n = product_with_lookups(g); n.valid()) return n;
  DType dtype = numeric(g);
  auto fits = [&](NodeId n) { return g.type(n).dtype == dtype && g.type(n).rank() <= 4; };
  NodeId x = g.find(fits), y = g.find(fits);
  if (!x.valid()) return {};
  const Shape p = g.shape(x), q = g.shape(y);
  Attributes a;
  std::vector<Extent> extent(p.begin(), p.end());
  for (int i = 0; i < int(p.size()); ++i) a.lhs.push_back(i);
  int share = g.random.pick({100, 70, 40});
  for (const Extent& e : q) {
    std::vector<int> equal;
    for (int i = 0; i < int(p.size()); ++i)
      if (p[size_t(i)] == e && std::find(a.rhs.begin(), a.rhs.end(), i) == a.rhs.end()) equal.push_back(i);
    if (!equal.empty() && (e.rows || g.random.chance(share))) {
      a.rhs.push_back(g.random.pick(equal));
    } else {
      a.rhs.push_back(int(extent.size()));
      extent.push_back(e);
    }
  }
  int64_t work = 1;
  for (const Extent& e : extent) work *= e.at(g.bindings.rows);
  if (work > 200000) return {};
  int keep_shared = g.random.pick({0, 0, 30, 60}), keep_alone = g.random.pick({100, 100, 90, 50});
  for (int label = 0; label < int(extent.size()); ++label) {
    bool left = label < int(p.size()), right = std::find(a.rhs.begin(), a.rhs.end(), label) != a.rhs.end();
    if (g.random.chance(left && right ? (extent[size_t(label)].rows ? 50 : keep_shared) : keep_alone)) a.out.push_back(label);
  }
  g.random.shuffle(a.out);
  bool rows = false;
  for (size_t i = 0; i < a.out.size(); ++i)
    if (extent[size_t(a.out[i])].rows) {
      if (rows) return {};
      rows = true;
      std::rotate(a.out.begin(), a.out.begin() + long(i), a.out.begin() + long(i) + 1);
    }
  if (a.out.size() > 5) return {};
  NodeId n = g.make(Op::contract, {x, y}, a);
  if (n.valid() || !is_float(dtype)) return n;
  NodeId small = g.build.mul(x, 0.0625);
  return g.make(Op::contract, {small, y}, a);
}

// An integer value whose elements lie in [0, limit), of at most the given rank.
NodeId index_below(GraphBuilder& g, int64_t limit, int most_rank) {
  auto in_range = [&](NodeId n) {
    DType d = g.type(n).dtype;
    if ((d != DType::i32 && d != DType::i64 && d != DType::u8) || g.type(n).rank() > most_rank) return false;
    const Tensor& t = g.value(n);
    return std::all_of(t.values.begin(), t.values.end(), [&](double v) { return v >= 0 && v < double(limit); });
  };
  // Sure of its range whatever the numbers are: a field declared so, an argmax over few enough, an iota, or a clamped value.
  auto sure = [&](NodeId n) {
    const Node& node = g.graph[n];
    if (!in_range(n)) return false;
    if (node.op == Op::argmax) return !g.shape(node.operands[0])[size_t(node.attributes.axes[0])].rows &&
                                      g.shape(node.operands[0])[size_t(node.attributes.axes[0])].size <= limit;
    if (node.op == Op::iota) return !node.attributes.extents[size_t(node.attributes.axes[0])].rows && node.attributes.extents[size_t(node.attributes.axes[0])].size <= limit;
    size_t at = node.attributes.text.find("_below");
    return node.op == Op::input && at != std::string::npos && std::stoll(node.attributes.text.substr(at + 6)) <= limit;
  };
  NodeId known = g.find(sure);
  if (known.valid() && g.random.chance(60)) return known;
  NodeId integer = g.find([&](NodeId n) { return (g.type(n).dtype == DType::i32 || g.type(n).dtype == DType::i64) && g.type(n).rank() <= most_rank; });
  if (integer.valid() && g.random.chance(40)) {
    NodeId low = g.build.constant_like(0, integer), high = g.build.constant_like(double(limit - 1), integer);
    NodeId above = g.build.binary(Op::maximum, integer, low);
    return g.build.binary(Op::minimum, above, high);
  }
  Shape s = g.random_shape(most_rank - 1, false);
  s.insert(s.begin(), Extent{1, true});
  DType d = g.random.pick({DType::i32, DType::i64, DType::u8});
  if (Type{d, s}.elements(g.bindings.rows) > g.most_elements) return {};
  return g.leaf(d, s, false, d == DType::u8 ? std::min<int64_t>(limit, 256) : limit);
}

MAKE(gather) {
  NodeId table = g.find([&](NodeId n) { return g.type(n).rank() >= (g.type(n).has_rows() ? 2 : 1) && g.type(n).rank() <= 3; });
  if (!table.valid()) return {};
  const Shape s = g.shape(table);
  Attributes a;
  int axis = g.random.between(s[0].rows, int(s.size()) - 1);
  int64_t length = s[size_t(axis)].size;
  if (length == 0) return {};
  a.axes = {axis};
  bool largest = s.size() == 1 && g.type(table).dtype != DType::boolean && g.random.chance(25);
  NodeId index = largest ? g.build.reduce(Op::argmax, table, {0}) : index_below(g, length, 3);
  if (!index.valid()) return {};
  const Shape q = g.shape(index);
  for (int i = 0; i < int(s.size()); ++i) a.lhs.push_back(i);
  int next = int(s.size());
  std::vector<int> free;
  for (const Extent& e : q) {
    int label = -1;
    for (int i = 0; i < int(s.size()); ++i)
      if (i != axis && s[size_t(i)] == e && std::find(a.rhs.begin(), a.rhs.end(), i) == a.rhs.end() && (e.rows || g.random.chance(60))) label = i;
    if (label < 0) free.push_back(label = next++);
    a.rhs.push_back(label);
  }
  for (int i = 0; i < int(s.size()); ++i)
    if (i != axis) a.out.push_back(i);
  int place = g.random.chance(60) ? std::min(axis, int(a.out.size())) : g.random.below(int(a.out.size()) + 1);
  a.out.insert(a.out.begin() + place, free.begin(), free.end());
  // Rows go first, and there is one row dimension.
  std::vector<int> rows;
  for (int label : a.out) {
    size_t in_index = size_t(std::find(a.rhs.begin(), a.rhs.end(), label) - a.rhs.begin());
    if (label < int(s.size()) ? s[size_t(label)].rows : q[in_index].rows) rows.push_back(label);
  }
  if (rows.size() > 1) return {};
  if (!rows.empty()) {
    a.out.erase(std::find(a.out.begin(), a.out.end(), rows[0]));
    a.out.insert(a.out.begin(), rows[0]);
  }
  if (a.out.size() > 5) return {};
  return g.make(Op::gather, {table, index}, a);
}

MAKE(scatter_add) {
  DType dtype = numeric(g);
  NodeId updates = g.find([&](NodeId n) { return g.type(n).dtype == dtype && g.type(n).rank() >= 1 && g.type(n).rank() <= 3; });
  if (!updates.valid()) return {};
  int64_t length = g.random.chance(70) ? std::max<int64_t>(1, g.random.pick(g.sizes)) : g.random.between(1, 9);
  const Shape s = g.shape(updates);
  // The index has some of the updates' axes; the others, and perhaps some of those as well, are the result's.
  Shape index_shape;
  Attributes a;
  for (int i = 0; i < int(s.size()); ++i) a.lhs.push_back(i);
  NodeId index = g.find([&](NodeId n) {
    DType d = g.type(n).dtype;
    if ((d != DType::i32 && d != DType::i64 && d != DType::u8) || g.type(n).rank() > g.type(updates).rank()) return false;
    size_t at = 0;
    for (const Extent& e : s)
      if (at < g.shape(n).size() && g.shape(n)[at] == e) ++at;
    return at == g.shape(n).size();
  });
  if (!index.valid() || (g.type(index).rank() == 0 && g.random.chance(70))) {
    if (s[0] != Extent{1, true}) return {};
    DType d = g.random.pick({DType::i32, DType::i64, DType::u8});
    index = g.leaf(d, {s[0]}, false, length);
  } else if (g.type(index).dtype != DType::u8) {
    NodeId low = g.build.constant_like(0, index), high = g.build.constant_like(double(length - 1), index);
    NodeId above = g.build.binary(Op::maximum, index, low);
    index = g.build.binary(Op::minimum, above, high);
  } else {
    length = 256;
  }
  index_shape = g.shape(index);
  for (int i = 0; i < int(s.size()) && a.rhs.size() < index_shape.size(); ++i)
    if (s[size_t(i)] == index_shape[a.rhs.size()]) a.rhs.push_back(i);
  for (int i = 0; i < int(s.size()); ++i) {
    bool indexed = std::find(a.rhs.begin(), a.rhs.end(), i) != a.rhs.end();
    if (!indexed || g.random.chance(20)) a.out.push_back(i);
  }
  int at = g.random.between(!a.out.empty() && s[size_t(a.out[0])].rows, int(a.out.size()));
  a.out.insert(a.out.begin() + at, int(s.size()));
  a.axes = {at};
  for (int label : a.out) a.extents.push_back(label == int(s.size()) ? Extent{length} : s[size_t(label)]);
  return g.make(Op::scatter_add, {updates, index}, a);
}

// --- shares of a batch ---

MAKE(exchange) {
  if (g.closed) return {};
  const NodeId part = g.find([&](NodeId n) { return !g.type(n).has_rows(); });
  if (!part.valid()) return {};
  Attributes a;
  a.text = "partial." + std::to_string(g.graph.size());
  g.graph.add_persistent({a.text, g.type(part), PersistentKind::partial, {}});
  g.graph.updates.push_back({a.text, part});
  g.bindings.persistents[a.text] = make_tensor(g.type(part).dtype, shape_at(g.type(part), 1));
  return g.make(Op::exchange, {part}, a);
}

// --- regions ---

// A scan over what there is: carries of any type, sequences, captured values; operations in its body, now and then another scan.
MAKE(scan) {
  Attributes a;
  a.extents = {{g.random.pick({1, 2, 3, 4, 5, 7})}};
  a.reverse = g.random.chance(40);
  std::vector<NodeId> operands;
  auto take = [&](int count, auto fits) {
    int found = 0;
    for (int i = 0; i < count; ++i)
      if (NodeId n = g.find(fits); n.valid()) {
        operands.push_back(n);
        ++found;
      }
    return found;
  };
  auto is_small = [&](NodeId n) { return g.elements(n) * a.extents[0].size <= g.most_elements; };
  auto has_steps = [&](NodeId n) { return g.type(n).rank() > step_axis(g.type(n)) && !g.shape(n)[size_t(step_axis(g.type(n)))].rows; };
  if (g.random.chance(60))  // as many steps as a value has
    if (NodeId n = g.find([&](NodeId x) { return has_steps(x) && g.shape(x)[size_t(step_axis(g.type(x)))].size >= 1 && g.shape(x)[size_t(step_axis(g.type(x)))].size <= 12; }); n.valid())
      a.extents = {g.shape(n)[size_t(step_axis(g.type(n)))]};
  a.carried = take(g.random.between(0, 3), is_small);
  a.sliced = take(g.random.between(0, 2), [&](NodeId n) { return has_steps(n) && g.shape(n)[size_t(step_axis(g.type(n)))] == a.extents[0]; });
  take(g.random.between(0, 3), [](NodeId) { return true; });
  if (operands.empty()) return {};

  GraphBuilder body(g);
  for (size_t k = 0; k < operands.size(); ++k) {
    const auto [kind, number] = place_of_operand(a, int(k));
    const std::string name = body_input_name(kind, number);
    const Type type = body_input_type(a, int(k), g.type(operands[k]));
    Tensor value = make_tensor(type.dtype, shape_at(type, g.bindings.rows));
    const Tensor& whole = g.value(operands[k]);
    for (size_t i = 0; i < value.values.size(); ++i) value.set(i, whole.at(i));  // of a sequence: any of its elements
    body.bindings.inputs[name] = std::move(value);
    body.pool.push_back(body.build.input(name, type));
  }
  const bool may_nest = !g.closed;
  for (int i = g.random.between(1, 7); i > 0; --i) {
    const Op op = Op(g.random.below(op_count));
    const bool is_outside = op == Op::input || op == Op::parameter || op == Op::scalar || op == Op::random;
    if (is_outside || (op_class(op) == OpClass::region && !may_nest)) continue;
    add_operation(body, op);
  }
  for (int k = 0; k < a.carried; ++k) {
    const Type type = g.type(operands[size_t(k)]);
    NodeId next = body.find([&](NodeId n) { return body.type(n) == type; });
    if (is_float(type.dtype) && g.random.chance(70)) next = body.build.unary(Op::tanh, next);
    body.graph.outputs.push_back({body_output_name(a, k), next});
  }
  for (int i = g.random.between(a.carried == 0 ? 1 : 0, 2); i > 0; --i) {
    NodeId n = body.any();
    if (body.elements(n) * a.extents[0].size <= g.most_elements) body.graph.outputs.push_back({body_output_name(a, int(body.graph.outputs.size())), n});
  }
  if (body.graph.outputs.empty()) return {};
  a.body = {std::make_shared<Graph>(std::move(body.graph))};
  const NodeId scan = g.graph.add(Op::scan, std::move(operands), a);
  NodeId last;
  for (size_t k = 0; k < a.body->outputs.size(); ++k)
    if (NodeId kept = g.keep(g.build.result(scan, int(k))); kept.valid()) last = kept;
  return last;
}
MAKE(result) { return make_scan(g); }

}  // namespace

NodeId add_operation(GraphBuilder& g, Op op) {
  using Make = NodeId (*)(GraphBuilder&);
  static constexpr std::array<Make, op_count> table{{
#define NNC_OP(name, arity, op_class, differentiable, summary) make_##name,
#include "ir/ops.def"
#undef NNC_OP
  }};
  return table[size_t(op)](g);
}

}  // namespace nnc::fuzz
