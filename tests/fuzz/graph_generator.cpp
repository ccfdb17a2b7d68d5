// The graph as a whole: leaves, operations, a loss, gradients and updates.
#include "tests/fuzz/graph_generator.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "base/check.h"
#include "passes/differentiate.h"
#include "tests/fuzz/coverage.h"
#include "tests/fuzz/graph_builder.h"

namespace nnc::fuzz {
namespace {

class Generator {
 public:
  explicit Generator(uint64_t seed) : seed_(seed), g_(seed) {}

  GraphCase make() {
    add_leaves();
    int wanted = g_.random.pick({4, 8, 14, 20, 30, 45});
    // Half of the graphs are made of few kinds of operations, so that these meet often.
    std::vector<Op> ops;
    for (int i = 0; i < op_count; ++i)
      if (op_class(Op(i)) != OpClass::leaf || g_.random.chance(25)) ops.push_back(Op(i));
    if (g_.random.chance(50)) {
      g_.random.shuffle(ops);
      ops.resize(size_t(g_.random.between(4, 14)));
    }
    // Every operation in every element type comes up within a few dozen seeds, whatever chance does.
    static const std::vector<std::pair<Op, DType>> legal = legal_operations();
    if (!g_.wild)
      for (size_t i = 0; i < 8; ++i) {
        auto [op, dtype] = legal[(seed_ * 8 + i) % legal.size()];
        g_.force(op, dtype);
      }
    uint32_t first = g_.graph.size();
    for (int tries = 0; tries < wanted * 6 && int(g_.graph.size() - first) < wanted; ++tries) {
      if (g_.random.chance(20))
        add_idiom();
      else
        add_operation(g_, g_.random.pick(ops));
    }
    add_outputs();
    if (g_.random.chance(80)) add_loss();
    add_updates();
    if (g_.graph.outputs.empty() && g_.graph.updates.empty()) g_.graph.outputs.push_back({"value", g_.pool.back()});
    std::vector<std::string> violations = verify_graph(g_.graph);
    NNC_CHECK(violations.empty(), "the generator made an unsound graph: " + violations.front());
    return {std::move(g_.graph), std::move(g_.bindings)};
  }

 private:
  void add_leaves() {
    for (int i = g_.random.between(1, 3); i > 0; --i) add_operation(g_, Op::input);
    for (int i = g_.random.between(0, 3); i > 0; --i) add_operation(g_, Op::parameter);
    for (int i = g_.random.between(1, 3); i > 0; --i) g_.leaf(DType::f32, g_.random_shape(3, false), true);
    if (g_.pool.empty()) g_.leaf(DType::f32, {}, true);
    if (g_.random.chance(40)) {
      Extent d = g_.random_extent();
      if (d.size > 0 && d.at(1) * g_.bindings.rows <= g_.most_elements) g_.leaf(DType::f32, {{1, true}, d}, false);
    }
  }

  NodeId find_float(int least_rank) {
    return g_.find([&](NodeId n) { return g_.type(n).dtype == DType::f32 && g_.type(n).rank() >= least_rank; });
  }

  void keep(NodeId n) {
    if (NodeId kept = g_.keep(n); kept.valid()) idioms_.push_back(kept);
  }

  // Shapes of code that networks are full of and that passes look for.
  void add_idiom() {
    NodeId x = find_float(1);
    if (!x.valid()) return;
    Builder& b = g_.build;
    int axis = g_.random.below(g_.type(x).rank());
    switch (g_.random.below(16)) {
      case 0: {  // softmax
        NodeId top = b.unary(Op::stop_gradient, b.reduce(Op::reduce_max, x, {axis}));
        NodeId e = b.unary(Op::exp, b.sub(x, b.expand(top, {axis}, x)));
        keep(b.div(e, b.expand(b.reduce(Op::reduce_sum, e, {axis}), {axis}, e)));
        return;
      }
      case 1: {  // normalisation
        NodeId centre = b.sub(x, b.expand(b.mean(x, {axis}), {axis}, x));
        NodeId variance = b.mean(b.mul(centre, centre), {axis});
        NodeId scale = b.unary(Op::sqrt, b.add(variance, 1e-3));
        keep(b.div(centre, b.expand(scale, {axis}, x)));
        return;
      }
      case 2: {  // dense layer
        if (g_.shape(x)[size_t(axis)].rows) return;
        NodeId w = g_.leaf(DType::f32, {g_.random_extent(), g_.shape(x)[size_t(axis)]}, true);
        if (g_.elements(w) > g_.most_elements) return;
        std::vector<int> lhs, out;
        int rank = g_.type(x).rank();
        for (int i = 0; i < rank; ++i) {
          lhs.push_back(i);
          if (i != axis) out.push_back(i);
        }
        out.push_back(rank);
        int64_t work = g_.elements(x) * g_.shape(w)[0].size;
        if (work > 200000 || work / std::max<int64_t>(1, g_.shape(x)[size_t(axis)].size) > g_.most_elements) return;
        NodeId y = b.contract(x, w, lhs, {rank, axis}, out);
        if (g_.random.chance(70)) {
          NodeId bias = g_.leaf(DType::f32, {g_.shape(w)[0]}, true);
          y = b.add(y, b.broadcast(bias, g_.shape(y), {g_.type(y).rank() - 1}));
        }
        if (g_.random.chance(60)) y = b.unary(g_.random.pick({Op::tanh, Op::sigmoid, Op::abs, Op::erf, Op::normal_cdf}), y);
        keep(y);
        return;
      }
      case 3: {  // concatenation
        if (g_.shape(x)[size_t(axis)].rows) return;
        NodeId y = g_.find([&](NodeId n) {
          if (g_.type(n).dtype != DType::f32 || g_.type(n).rank() != g_.type(x).rank() || g_.shape(n)[size_t(axis)].rows) return false;
          for (int i = 0; i < g_.type(n).rank(); ++i)
            if (i != axis && g_.shape(n)[size_t(i)] != g_.shape(x)[size_t(i)]) return false;
          return true;
        });
        int64_t left = g_.shape(x)[size_t(axis)].size, right = g_.shape(y)[size_t(axis)].size;
        NodeId first = b.pad(x, axis, 0, {left + right}), second = b.pad(y, axis, left, {left + right});
        keep(b.add(first, second));
        return;
      }
      case 4: {  // relu and relatives
        NodeId zero = b.constant_like(0, x);
        NodeId low = b.binary(Op::less_equal, x, zero);
        NodeId other = g_.random.chance(50) ? zero : b.mul(x, 0.01);
        keep(b.select(low, other, x));
        return;
      }
      case 5: {  // one-hot times values
        int64_t size = g_.shape(x)[size_t(axis)].size;
        if (g_.shape(x)[size_t(axis)].rows || size == 0) return;
        NodeId best = b.reduce(Op::argmax, x, {axis});
        NodeId wide = b.expand(best, {axis}, x), places = b.iota(g_.shape(x), axis);
        NodeId hot = b.cast(b.binary(Op::equal, wide, places), DType::f32);
        keep(b.mul(hot, x));
        return;
      }
      case 6: {  // a choice within a choice, by the same condition or its opposite
        NodeId condition;
        if (g_.random.chance(50)) {
          condition = g_.like({DType::boolean, g_.shape(x)});
        } else {
          Op comparison = g_.random.pick({Op::less, Op::greater_equal});
          condition = b.binary(comparison, x, g_.like(g_.type(x)));
        }
        NodeId y = g_.like(g_.type(x)), z = g_.like(g_.type(x));
        NodeId inner = g_.random.chance(50) ? b.select(condition, x, y) : b.select(condition, y, x);
        if (g_.random.chance(40)) condition = b.unary(Op::logical_not, condition);
        keep(g_.random.chance(50) ? b.select(condition, inner, z) : b.select(condition, z, inner));
        return;
      }
      case 7: {  // a piece of a piece
        int64_t size = g_.shape(x)[size_t(axis)].size;
        if (g_.shape(x)[size_t(axis)].rows || size == 0) return;
        for (int i = 0; i < 2; ++i) {
          int64_t length = g_.random.between(1, int(size));
          x = b.slice(x, axis, g_.random.between(0, int(size - length)), {length});
          size = length;
        }
        keep(x);
        return;
      }
      case 8: {  // rows times a vector: one number for each
        x = g_.find([&](NodeId n) { return g_.type(n).dtype == DType::f32 && g_.type(n).rank() == 2 && g_.type(n).has_rows(); });
        if (!x.valid()) return;
        NodeId v = g_.leaf(DType::f32, {g_.shape(x)[1]}, true);
        keep(g_.random.chance(50) ? b.contract(x, v, {0, 1}, {1}, {0}) : b.contract(v, x, {1}, {0, 1}, {0}));
        return;
      }
      case 9: {  // a product with something seen the other way round
        x = g_.find([&](NodeId n) { return g_.type(n).dtype == DType::f32 && g_.type(n).rank() == 2 && !g_.type(n).has_rows() && g_.elements(n) > 0; });
        if (!x.valid()) return;
        NodeId w = g_.leaf(DType::f32, {g_.random_extent(), g_.shape(x)[0]}, true);
        if (g_.elements(w) == 0 || g_.elements(w) > g_.most_elements || g_.elements(x) * g_.shape(w)[0].size > 200000) return;
        NodeId turned = b.transpose(x, {1, 0});
        NodeId y = g_.random.chance(50) ? b.contract(turned, w, {0, 1}, {2, 1}, {0, 2}) : b.contract(w, turned, {2, 1}, {0, 1}, {2, 0});
        if (g_.random.chance(40)) y = b.transpose(y, {1, 0});
        keep(y);
        return;
      }
      case 10:
      case 11: {  // one view or sum of another, with nothing in between
        std::vector<NodeId> others{g_.random.chance(15) ? g_.number(g_.type(x)) : x};
        std::swap(others, g_.pool);
        static const std::vector<Op> views{Op::transpose, Op::reshape, Op::broadcast, Op::slice, Op::transpose, Op::reshape, Op::broadcast, Op::slice, Op::reduce_sum, Op::neg, Op::mul, Op::div};
        Op op = g_.random.pick(views);
        for (int i = 0; i < 3; ++i) {
          NodeId n = add_operation(g_, op);
          if (n.valid()) g_.pool = {n};
          if (g_.random.chance(50)) op = g_.random.pick(views);
        }
        NodeId last = g_.pool.back();
        std::swap(others, g_.pool);
        keep(last);
        return;
      }
      case 12: {  // what is computed, held against a part or another view of itself: both sides must be the same bits
        NodeId square = b.mul(x, x);
        NodeId other = g_.random.chance(50) ? b.constant_like(1, x) : g_.like(g_.type(x));
        NodeId value = b.sub(square, other);
        const Shape shape = g_.shape(value);
        NodeId left = value, right = value;
        if (g_.random.chance(70)) {
          NodeId extreme = b.reduce(g_.random.pick({Op::reduce_max, Op::reduce_min}), value, {axis});
          right = b.expand(extreme, {axis}, value);
        } else if (shape.size() == 1 && !shape[0].rows) {
          left = b.broadcast(value, {shape[0], shape[0]}, {0});
          right = b.broadcast(value, {shape[0], shape[0]}, {1});
        } else {
          other = g_.like(g_.type(value));
          right = b.binary(g_.random.pick({Op::maximum, Op::minimum}), value, other);
        }
        if (g_.random.chance(20)) {
          left = b.neg(left);
          right = b.neg(right);
        }
        NodeId compared = b.binary(g_.random.pick({Op::equal, Op::not_equal, Op::less, Op::greater_equal}), left, right);
        NodeId zero = b.constant_like(0, left);
        keep(g_.random.chance(50) ? b.select(compared, left, zero) : b.cast(compared, DType::f32));
        return;
      }
      case 13:
      case 14: attention(); return;
      default: {  // logsumexp
        NodeId top = b.reduce(Op::reduce_max, x, {axis});
        NodeId e = b.unary(Op::exp, b.sub(x, b.expand(top, {axis}, x)));
        keep(b.add(b.unary(Op::log, b.reduce(Op::reduce_sum, e, {axis})), top));
      }
    }
  }

  // Products of a batch with code along rows between them, alone or with something else that wants the scores.
  void attention() {
    Builder& b = g_.build;
    const Extent batch = g_.random.chance(70) ? Extent{1, true} : Extent{g_.random.between(1, 3)};
    const Extent queries{g_.random.pick({2, 4, 6, 8, 9})}, keys = g_.random.chance(60) ? queries : Extent{g_.random.between(2, 9)}, width{g_.random.between(1, 5)};
    if (batch.at(g_.bindings.rows) * queries.size * keys.size > g_.most_elements) return;
    const bool is_persistent = !batch.rows;
    const NodeId q = g_.leaf(DType::f32, {batch, queries, width}, is_persistent), k = g_.leaf(DType::f32, {batch, keys, width}, is_persistent);
    NodeId s = b.contract(q, k, {0, 1, 2}, {0, 3, 2}, {0, 1, 3});
    if (g_.random.chance(50)) s = b.mul(s, 0.25);
    if (g_.random.chance(40)) {
      const NodeId row = b.iota(g_.shape(s), 1), column = b.iota(g_.shape(s), 2), seen = b.binary(Op::less_equal, column, row);
      const NodeId low = b.constant_like(-9, s);
      s = b.select(seen, s, low);
    }
    if (g_.random.chance(30)) s = b.add(s, b.broadcast(g_.leaf(DType::f32, {keys}, true), g_.shape(s), {2}));
    NodeId p = b.unary(Op::tanh, s);
    if (g_.random.chance(80)) {
      if (g_.random.chance(50)) p = s;
      const NodeId top = b.unary(Op::stop_gradient, b.reduce(Op::reduce_max, p, {2}));
      const NodeId e = b.unary(Op::exp, b.sub(p, b.expand(top, {2}, p)));
      p = b.div(e, b.expand(b.reduce(Op::reduce_sum, e, {2}), {2}, e));
    }
    if (g_.random.chance(15)) keep(s);
    if (g_.random.chance(15)) keep(p);
    const NodeId v = g_.random.chance(50) ? k : b.unary(Op::sin, k);
    NodeId out = b.contract(p, v, {0, 1, 2}, {0, 2, 3}, {0, 1, 3});
    if (g_.random.chance(60)) {
      const NodeId w = g_.leaf(DType::f32, {width, g_.random_extent()}, true);
      if (g_.elements(w) > 0) out = b.contract(out, w, {0, 1, 2}, {2, 3}, {0, 1, 3});
    }
    keep(out);
  }

  void add_outputs() {
    for (int i = g_.random.between(1, 4); i > 0; --i) {
      NodeId n = g_.any();
      if (g_.random.chance(10)) n = g_.pool.back();
      g_.graph.outputs.push_back({fmt::format("out{}", i), n});
    }
    if (!idioms_.empty() && g_.random.chance(60)) g_.graph.outputs.push_back({"idiom", g_.random.pick(idioms_)});
  }

  NodeId mean_of_all(NodeId n) {
    std::vector<int> axes;
    for (int i = 0; i < g_.type(n).rank(); ++i) axes.push_back(i);
    return g_.build.mean(n, axes);
  }

  void add_loss() {
    auto floats_of = [&](const std::vector<NodeId>& nodes) {
      std::vector<NodeId> found;
      std::copy_if(nodes.begin(), nodes.end(), std::back_inserter(found), [&](NodeId n) { return is_float(g_.type(n).dtype); });
      return found;
    };
    const std::vector<NodeId> terms = floats_of(g_.pool), idioms = floats_of(idioms_);
    if (terms.empty()) return;
    NodeId loss = g_.build.constant(0, {DType::f32, {}});
    for (int i = g_.random.between(1, 4); i > 0; --i) {
      NodeId n = !idioms.empty() && g_.random.chance(40) ? g_.random.pick(idioms)
                 : g_.random.chance(50) ? terms[terms.size() - 1 - size_t(g_.random.below(int(std::min<size_t>(4, terms.size()))))] : g_.random.pick(terms);
      NodeId m = g_.build.cast(mean_of_all(g_.random.chance(50) ? g_.build.unary(Op::tanh, n) : n), DType::f32);
      loss = g_.build.add(loss, m);
    }
    g_.graph.outputs.push_back({"loss", loss});
    // With respect to parameters of either float type, and to inputs.
    std::vector<NodeId> wrt;
    std::set<std::string> seen;
    for (NodeId n : g_.pool) {
      const Node& node = g_.graph[n];
      if (!is_float(node.type.dtype)) continue;
      if (node.op == Op::parameter && g_.graph.find_persistent(node.attributes.text)->kind != PersistentKind::parameter) continue;
      if ((node.op == Op::parameter || (node.op == Op::input && g_.random.chance(30))) && seen.insert(node.attributes.text).second) wrt.push_back(n);
    }
    NodeId one = g_.build.constant(1, {DType::f32, {}});
    std::vector<NodeId> gradients = gradients_of(g_.graph, loss, one, wrt);
    if (g_.random.chance(8)) {  // gradients are ordinary operations, with gradients of their own
      NodeId norm;
      for (NodeId n : gradients)
        if (n.valid()) {
          NodeId m = g_.build.cast(mean_of_all(g_.build.unary(Op::tanh, n)), DType::f32);
          norm = norm.valid() ? g_.build.add(norm, m) : m;
        }
      if (norm.valid()) {
        std::vector<NodeId> second = gradients_of(g_.graph, norm, one, wrt);
        for (size_t i = 0; i < wrt.size(); ++i)
          if (second[i].valid()) g_.graph.outputs.push_back({"second." + g_.graph[wrt[i]].attributes.text, second[i]});
      }
    }
    for (size_t i = 0; i < wrt.size(); ++i) {
      if (!gradients[i].valid()) continue;
      const std::string name = g_.graph[wrt[i]].attributes.text;
      if (g_.graph[wrt[i]].op == Op::input || g_.random.chance(25)) g_.graph.outputs.push_back({"grad." + name, gradients[i]});
      if (g_.graph[wrt[i]].op == Op::parameter) gradients_.push_back({wrt[i], gradients[i]});
    }
  }

  void update(const std::string& name, NodeId n) {
    if (updated_.insert(name).second) g_.graph.updates.push_back({name, n});
  }

  void add_updates() {
    Builder& b = g_.build;
    NodeId lr;
    for (auto [parameter, gradient] : gradients_) {
      const std::string name = g_.graph[parameter].attributes.text;
      if (g_.random.chance(15)) continue;
      const Type t = g_.type(parameter);
      NodeId direction = gradient;
      if (g_.random.chance(40)) {  // momentum, or a second moment
        Persistent state{"state." + name, t, PersistentKind::optimizer_state, {}};
        Tensor start = make_tensor(t.dtype, shape_at(t, 1));
        for (double& v : start.values) v = std::fabs(random_number(g_.random, t.dtype, 0, g_.wild));
        g_.bindings.persistents[state.name] = start;
        NodeId m = b.parameter(state);
        if (g_.random.chance(50)) {
          NodeId kept = b.mul(m, 0.9), added = g_.random.chance(50) ? b.mul(gradient, 0.1) : gradient;
          NodeId next = b.add(kept, added);
          update(state.name, next);
          direction = g_.random.chance(70) ? next : m;
        } else {
          NodeId square = b.mul(b.mul(gradient, gradient), 0.1);
          NodeId next = b.add(b.mul(m, 0.9), square);
          update(state.name, next);
          direction = b.div(gradient, b.add(b.unary(Op::sqrt, next), 0.125));
        }
      }
      NodeId step = b.mul(direction, 0.5);
      if (g_.random.chance(40) && t.dtype == DType::f32) {
        g_.bindings.scalars["rate"] = 0.375;
        if (!lr.valid()) lr = b.cast(b.scalar("rate"), t.dtype);
        step = b.mul(direction, b.broadcast(lr, t.shape, {}));
      }
      update(name, b.sub(parameter, step));
    }
    // Others: to any value of the type, among them the old and the new values of one another.
    std::vector<Persistent> all = g_.graph.persistents;
    std::erase_if(all, [](const Persistent& p) { return p.kind == PersistentKind::partial; });  // what is exchanged has an update
    g_.random.shuffle(all);
    for (const Persistent& p : all) {
      if (p.kind == PersistentKind::frozen || !g_.random.chance(60)) continue;
      std::vector<NodeId> found, old;
      for (uint32_t i = 0; i < g_.graph.size(); ++i) {
        const Node& node = g_.graph[NodeId{i}];
        if (node.type != p.type || node.op == Op::scan) continue;
        (node.op == Op::parameter ? old : found).push_back({i});
      }
      NodeId n;
      if (!old.empty() && g_.random.chance(50)) {
        n = g_.random.pick(old);
        if (p.type.dtype != DType::boolean && p.type.dtype != DType::u8 && g_.random.chance(60)) n = b.add(n, 1.0);
        if (g_.random.chance(40) && is_float(p.type.dtype)) {
          Op op = g_.random.pick({Op::tanh, Op::neg, Op::exp});
          n = b.unary(op, b.unary(Op::tanh, n));
        }
      } else if (!found.empty()) {
        n = g_.random.pick(found);
      }
      if (n.valid()) update(p.name, n);
    }
    // The old value read at other indices than those written.
    for (const Persistent& p : all) {
      if (p.kind == PersistentKind::frozen || p.type.rank() < 2 || !g_.random.chance(10)) continue;
      if (p.type.shape[0] != p.type.shape[1]) continue;
      Attributes a;
      for (int i = 0; i < p.type.rank(); ++i) a.axes.push_back(i);
      std::swap(a.axes[0], a.axes[1]);
      NodeId read = b.parameter(p);
      update(p.name, g_.graph.add(Op::transpose, {read}, a));
    }
  }

  uint64_t seed_;
  GraphBuilder g_;
  std::vector<std::pair<NodeId, NodeId>> gradients_;
  std::vector<NodeId> idioms_;
  std::set<std::string> updated_;
};

}  // namespace

GraphCase generate_graph(uint64_t seed) { return Generator(seed).make(); }

Bindings rebind(const GraphCase& c, int64_t rows, uint64_t seed) {
  Bindings b = c.bindings;
  b.rows = rows;
  Random random(seed, "rebind");
  for (const Node& n : c.graph.nodes()) {
    if (n.op != Op::input) continue;
    size_t at = n.attributes.text.find("_below");
    int64_t limit = at == std::string::npos ? 0 : std::stoll(n.attributes.text.substr(at + 6));
    Tensor t = make_tensor(n.type.dtype, shape_at(n.type, rows));
    for (double& v : t.values) v = random_number(random, n.type.dtype, limit, false);
    b.inputs[n.attributes.text] = std::move(t);
  }
  return b;
}

}  // namespace nnc::fuzz
