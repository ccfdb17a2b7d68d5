// Delta debugging (Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002) on graphs. As a text reducer
// cuts a file at both ends before it looks at single lines, whole ends go first: results, then everything after some node (what
// lives there becomes outputs), then everything before one (what is needed becomes leaves that hold the interpreter's values, so
// that the numbers that show the fault survive). Then nodes one at a time: a leaf, an operand or a constant in their place. Then
// sizes, rows and numbers. All of it is repeated until nothing helps. Every accepted step has fewer operations, fewer leaves that
// are not constants, smaller sizes or plainer numbers, in that order, so the search ends by itself.
#include "verify/reduce.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/diagnostics.h"
#include "passes/dead_code.h"
#include "verify/reduce_sizes.h"
#include "passes/rewrite.h"
#include "passes/unroll.h"

namespace nnc {
namespace {

bool is_leaf(Op op) { return op_class(op) == OpClass::leaf; }

/// Whether compiled code can read a value of this type from a leaf, and from which.
bool fits_input(const Type& type) { return !type.shape.empty() && type.shape[0] == Extent{1, true}; }
bool fits_leaf(const Type& type) { return fits_input(type) || !type.has_rows(); }

class Reducer {
 public:
  Reducer(GraphCase c, const std::function<bool(const GraphCase&)>& fails, const ReduceOptions& options)
      : best_(std::move(c)), fails_(fails), options_(options), start_(std::chrono::steady_clock::now()) {}

  GraphCase run() {
    NNC_CHECK(verify_graph(best_.graph).empty(), "a graph to be reduced is not sound");
    // A fault that needs dead code is kept with all of it.
    if (!attempt(best_, true)) {
      keep_dead_ = true;
      if (!ask(best_)) return std::move(best_);
    }
    write_out_scans();
    bool changed = true;
    while (changed && !exhausted()) {
      changed = false;
      changed |= keep_one_result();
      changed |= drop_results();
      changed |= cut_end();
      changed |= cut_beginning();
      changed |= drop_results();
      changed |= shrink_rows();
      changed |= replace_chunks();
      changed |= replace_nodes();
      changed |= clear_attributes();
      changed |= shrink_sizes();
      changed |= simplify_values();
    }
    return std::move(best_);
  }

 private:
  bool exhausted() const {
    std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start_;
    return evaluations_ >= options_.evaluations || spent.count() > options_.seconds;
  }

  bool ask(const GraphCase& c) {
    ++evaluations_;
    try {
      return fails_(c);
    } catch (const std::exception&) {
      return false;
    }
  }

  static bool indices_in_range(const GraphCase& c) {
    bool indexed = std::any_of(c.graph.nodes().begin(), c.graph.nodes().end(),
                               [](const Node& n) { return op_class(n.op) == OpClass::indexing; });
    if (!indexed) return true;
    try {
      interpret(c.graph, c.bindings);
      return true;
    } catch (const UserError&) {
      return false;
    }
  }

  static void drop_unused(GraphCase& c) {
    std::set<std::string> inputs, scalars, persistents;
    for (const Node& n : c.graph.nodes()) {
      if (n.op == Op::input) inputs.insert(n.attributes.text);
      if (n.op == Op::scalar) scalars.insert(n.attributes.text);
      if (n.op == Op::parameter) persistents.insert(n.attributes.text);
    }
    for (const Update& u : c.graph.updates) persistents.insert(u.name);
    std::erase_if(c.graph.persistents, [&](const Persistent& p) { return !persistents.count(p.name); });
    std::erase_if(c.bindings.inputs, [&](const auto& entry) { return !inputs.count(entry.first); });
    std::erase_if(c.bindings.scalars, [&](const auto& entry) { return !scalars.count(entry.first); });
    std::erase_if(c.bindings.persistents, [&](const auto& entry) { return !persistents.count(entry.first); });
  }

  /// Takes the candidate if the fault is still there.
  bool attempt(GraphCase candidate, bool first = false) {
    if (exhausted() && !first) return false;
    if (!keep_dead_) remove_dead_code(candidate.graph);
    drop_unused(candidate);
    if (candidate.graph.outputs.empty() && candidate.graph.updates.empty()) return false;
    if (!verify_graph(candidate.graph).empty() || !indices_in_range(candidate) || !ask(candidate)) return false;
    best_ = std::move(candidate);
    values_known_ = false;
    return true;
  }

  /// The interpreter's values of the best case's nodes; empty if it refuses.
  const std::vector<Tensor>& values() {
    if (values_known_) return values_;
    values_known_ = true;
    try {
      values_ = interpret(best_.graph, best_.bindings, true).values;
    } catch (const UserError&) {
      values_.clear();
    }
    return values_;
  }

  /// A fault that is not about scans shows without them, where every operation can be taken away.
  void write_out_scans() {
    if (std::ranges::none_of(best_.graph.nodes(), [](const Node& n) { return n.op == Op::scan; })) return;
    GraphCase c = best_;
    unroll_scans(c.graph);
    attempt(std::move(c));
  }

  // --- results ---

  bool keep_one_result() {
    const Graph graph = best_.graph;
    if (graph.outputs.size() + graph.updates.size() < 2) return false;
    for (size_t i = 0; i < graph.outputs.size(); ++i) {
      GraphCase c = best_;
      c.graph.outputs = {graph.outputs[i]};
      drop_updates(c.graph);
      if (attempt(std::move(c))) return true;
    }
    for (size_t i = 0; i < graph.updates.size(); ++i) {
      GraphCase c = best_;
      c.graph.outputs.clear();
      c.graph.updates = {graph.updates[i]};
      if (attempt(std::move(c))) return true;
    }
    return false;
  }

  /// Half of the results at a time, then quarters, down to single ones.
  bool drop_results() {
    bool changed = false;
    auto count = [&] { return best_.graph.outputs.size() + best_.graph.updates.size(); };
    for (size_t chunk = count() / 2; chunk > 0; chunk /= 2)
      for (size_t first = 0; first < count() && count() > 1;) {
        GraphCase c = best_;
        size_t end = std::min(first + chunk, count()), outputs = c.graph.outputs.size();
        for (size_t i = end; i-- > first;) {
          if (i < outputs)
            c.graph.outputs.erase(c.graph.outputs.begin() + ptrdiff_t(i));
          else
            c.graph.updates.erase(c.graph.updates.begin() + ptrdiff_t(i - outputs));
        }
        if (attempt(std::move(c)))
          changed = true;
        else
          first = end;
      }
    return changed;
  }

  // --- both ends ---

  /// The first `count` nodes; those that had users beyond become outputs.
  GraphCase prefix(uint32_t count) const {
    const Graph& old = best_.graph;
    GraphCase c{Graph{}, best_.bindings};
    c.graph.name = old.name;
    c.graph.persistents = old.persistents;
    std::vector<bool> used(count, false);
    for (uint32_t i = 0; i < count; ++i) {
      add_node(c.graph, old[NodeId{i}]);
      for (NodeId operand : old[NodeId{i}].operands) used[operand.value] = true;
    }
    for (const Output& o : old.outputs)
      if (o.node.value < count) c.graph.outputs.push_back(o), used[o.node.value] = true;
    for (uint32_t i = 0; i < count; ++i)
      if (!used[i] && !is_leaf(old[NodeId{i}].op) && fits_leaf(old[NodeId{i}].type))
        c.graph.outputs.push_back({"value." + std::to_string(i), NodeId{i}});
    return c;
  }

  bool cut_end() {
    bool changed = false;
    // Bisection: a fault that is there is there in every longer beginning too, nearly always.
    for (uint32_t low = 0, high = best_.graph.size(); high - low > 1 && high <= best_.graph.size();) {
      uint32_t middle = low + (high - low) / 2;
      if (attempt(prefix(middle))) {
        changed = true;
        high = best_.graph.size();
        if (high < middle) low = 0;  // what was dead is gone: numbers are others
      } else {
        low = middle;
      }
    }
    // An operand of the one result in its place.
    for (bool again = true; again && best_.graph.outputs.size() == 1 && best_.graph.updates.empty();) {
      again = false;
      const Node sink = best_.graph[best_.graph.outputs[0].node];
      for (NodeId operand : sink.operands) {
        if (is_leaf(best_.graph[operand].op)) continue;
        GraphCase c = best_;
        c.graph.outputs[0].node = operand;
        again = attempt(std::move(c));
        if (again) break;
      }
      changed |= again;
    }
    return changed;
  }

  std::string fresh_name(const GraphCase& c, Op op) const {
    for (int i = 0;; ++i) {
      std::string name = std::string(op_name(op)) + "." + std::to_string(i);
      if (!c.bindings.inputs.count(name) && !c.bindings.persistents.count(name) && !c.graph.find_persistent(name)) return name;
    }
  }

  /// The chosen nodes as leaves that hold their values; empty if none can be one.
  std::optional<GraphCase> with_leaves(const std::vector<bool>& chosen) {
    if (values().empty()) return std::nullopt;
    GraphCase c{Graph{}, best_.bindings};
    Rebuild rebuild(best_.graph);
    bool any = false;
    for (uint32_t i = 0; i < best_.graph.size(); ++i) {
      const Node& n = best_.graph[NodeId{i}];
      if (!chosen[i] || is_leaf(n.op) || !fits_leaf(n.type)) {
        rebuild.copy(NodeId{i});
        continue;
      }
      any = true;
      Tensor value = values_[i];
      for (double& v : value.values) v = rounded_to(n.type.dtype, v);
      c.graph.persistents = rebuild.result.persistents;
      std::string name = fresh_name(c, n.op);
      Builder b(rebuild.result, n.span, n.scope);
      if (fits_input(n.type)) {
        rebuild.to[i] = b.input(name, n.type);
        c.bindings.inputs[name] = std::move(value);
      } else {
        PersistentKind kind = is_float(n.type.dtype) ? PersistentKind::parameter : PersistentKind::state;
        rebuild.to[i] = b.parameter({name, n.type, kind, n.span});
        c.bindings.persistents[name] = std::move(value);
      }
    }
    if (!any) return std::nullopt;
    c.graph = rebuild.finish();
    return c;
  }

  bool attempt_leaves(const std::vector<bool>& chosen) {
    std::optional<GraphCase> c = with_leaves(chosen);
    return c && attempt(std::move(*c));
  }

  bool cut_beginning() {
    uint32_t size = best_.graph.size();
    // Once a beginning has become leaves the numbers of nodes are others, so the search begins again with what is left.
    bool changed = false;
    for (uint32_t cut = size - size / 4; cut > 0; cut = cut * 2 / 3) {
      std::vector<bool> chosen(best_.graph.size(), false);
      for (uint32_t i = 0; i < std::min(cut, best_.graph.size()); ++i) chosen[i] = true;
      if (!attempt_leaves(chosen)) continue;
      changed = true;
      cut = best_.graph.size();
    }
    return changed;
  }

  // --- nodes ---

  bool replace_chunks() {
    bool changed = false;
    for (uint32_t chunk = best_.graph.size() / 2; chunk > 1; chunk /= 2)
      for (uint32_t end = best_.graph.size(); end > 0;) {
        uint32_t first = end > chunk ? end - chunk : 0;
        std::vector<bool> chosen(best_.graph.size(), false);
        for (uint32_t i = first; i < end; ++i) chosen[i] = true;
        bool taken = attempt_leaves(chosen);
        changed |= taken;
        end = std::min(first, best_.graph.size());
        if (exhausted()) return changed;
      }
    return changed;
  }

  /// Another node in the place of one, or a constant.
  bool attempt_instead(NodeId of, std::optional<NodeId> other, double number) {
    Rebuild rebuild(best_.graph);
    for (uint32_t i = 0; i < best_.graph.size(); ++i) {
      if (NodeId{i} != of) {
        rebuild.copy(NodeId{i});
      } else if (other) {
        rebuild.to[i] = rebuild.to[other->value];
      } else {
        const Node& n = best_.graph[of];
        rebuild.to[i] = Builder(rebuild.result, n.span, n.scope).constant(number, n.type);
      }
    }
    return attempt({rebuild.finish(), best_.bindings});
  }

  bool replace_node(NodeId id) {
    const Node n = best_.graph[id];
    if (n.op == Op::constant) return false;
    if (!is_leaf(n.op)) {
      for (NodeId operand : n.operands)
        if (best_.graph.type(operand) == n.type && attempt_instead(id, operand, 0)) return true;
      std::vector<bool> chosen(best_.graph.size(), false);
      chosen[id.value] = true;
      if (attempt_leaves(chosen)) return true;
    }
    if (n.type.dtype == DType::boolean || is_float(n.type.dtype))
      for (double number : {0.0, 1.0})
        if (attempt_instead(id, std::nullopt, number)) return true;
    return false;
  }

  bool replace_nodes() {
    bool changed = false;
    for (uint32_t i = best_.graph.size(); i-- > 0;) {
      if (i >= best_.graph.size()) continue;
      while (i < best_.graph.size() && !exhausted() && replace_node(NodeId{i})) changed = true;
    }
    return changed;
  }

  bool clear_attributes() {
    bool changed = false;
    auto edit = [&](auto&& change) {
      GraphCase c = best_;
      if (change(c.graph)) changed |= attempt(std::move(c));
    };
    auto each = [](Graph& g, auto&& change) {
      bool any = false;
      for (uint32_t i = 0; i < g.size(); ++i) any |= change(g[NodeId{i}]);
      return any;
    };
    edit([&](Graph& g) { return each(g, [](Node& n) { return std::exchange(n.group, -1) != -1; }); });
    edit([&](Graph& g) { return each(g, [](Node& n) { return !std::exchange(n.scope, "").empty(); }); });
    for (uint32_t i = 0; i < best_.graph.size(); ++i) {
      const Node& n = best_.graph[NodeId{i}];
      if ((n.op == Op::slice || n.op == Op::pad || n.op == Op::window) && n.attributes.begin != 0)
        edit([&](Graph& g) { return std::exchange(g[NodeId{i}].attributes.begin, 0) != 0; });
    }
    return changed;
  }

  // --- sizes and numbers ---

  bool shrink_rows() {
    bool changed = false;
    for (bool again = true; again && best_.bindings.rows > 1;) {
      int64_t rows = best_.bindings.rows;
      again = false;
      for (int64_t fewer : {int64_t{1}, int64_t{2}, rows / 4, rows / 2, rows * 3 / 4, rows - 1})
        for (bool tail : {false, true})
          if (!again && fewer >= 1 && fewer < rows) again = attempt(take_rows(best_, fewer, tail));
      changed |= again;
    }
    return changed;
  }

  bool shrink_sizes() {
    bool changed = false;
    for (size_t next = 0; !exhausted();) {
      DimensionClasses dims(best_.graph);
      if (next >= dims.classes().size()) break;
      auto [id, size] = dims.classes()[next];
      bool shrunk = false;
      for (int64_t smaller : {int64_t{1}, int64_t{2}, size / 4, size / 2, size * 3 / 4, size - 1})
        for (bool tail : {false, true}) {
          if (shrunk || smaller < 1 || smaller >= size) continue;
          if (std::optional<GraphCase> c = dims.shrink(best_, id, smaller, tail)) shrunk = attempt(std::move(*c));
        }
      changed |= shrunk;
      if (!shrunk) ++next;
    }
    return changed;
  }

  /// 0, 1, another whole number, anything else: how plain a number is, plainest first.
  static int plainness(double v) { return v == 0 ? (std::signbit(v) ? 2 : 0) : v == 1 ? 1 : v == std::round(v) ? 2 : 3; }

  template <class Get>
  bool simplify_tensor(Get get) {
    bool changed = false;
    size_t count = get(best_).values.size();
    for (size_t chunk = count; chunk > 0; chunk /= 2) {
      if (count / chunk > 64) break;
      for (size_t first = 0; first < count && !exhausted(); first += chunk) {
        auto edit = [&](auto&& plainer) {
          GraphCase c = best_;
          bool any = false;
          Tensor& t = get(c);
          for (size_t i = first; i < std::min(first + chunk, count); ++i) {
            double v = plainer(t.values[i]);
            if (plainness(v) >= plainness(t.values[i])) continue;
            t.set(i, v);
            any = true;
          }
          return any && attempt(std::move(c));
        };
        changed |= edit([](double) { return 0.0; }) || edit([](double) { return 1.0; }) ||
                   edit([](double v) { return std::isfinite(v) ? std::round(v) : v; });
      }
    }
    return changed;
  }

  bool simplify_values() {
    bool changed = false;
    auto names = [](const auto& map) {
      std::vector<std::string> result;
      for (const auto& [name, value] : map) result.push_back(name);
      return result;
    };
    for (const std::string& name : names(best_.bindings.inputs))
      changed |= simplify_tensor([&](GraphCase& c) -> Tensor& { return c.bindings.inputs.at(name); });
    for (const std::string& name : names(best_.bindings.persistents))
      changed |= simplify_tensor([&](GraphCase& c) -> Tensor& { return c.bindings.persistents.at(name); });
    for (const std::string& name : names(best_.bindings.scalars))
      for (double v : {0.0, 1.0, std::round(best_.bindings.scalars.at(name))}) {
        GraphCase c = best_;
        double& value = c.bindings.scalars.at(name);
        if (plainness(v) >= plainness(value)) continue;
        value = v;
        changed |= attempt(std::move(c));
      }
    return changed;
  }

  GraphCase best_;
  const std::function<bool(const GraphCase&)>& fails_;
  ReduceOptions options_;
  std::chrono::steady_clock::time_point start_;
  int evaluations_ = 0;
  bool keep_dead_ = false;
  std::vector<Tensor> values_;  ///< of best_, if known
  bool values_known_ = false;
};

}  // namespace

GraphCase reduce_case(GraphCase c, const std::function<bool(const GraphCase&)>& fails, const ReduceOptions& options) {
  return Reducer(std::move(c), fails, options).run();
}

}  // namespace nnc
