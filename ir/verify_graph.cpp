// Invariants of a tensor graph. Every pass may rely on them and must keep them; run_passes (passes/pass_manager.h) checks them before the
// first pass and after each.
//
//   G1  Operands precede users: each operand is a node with a smaller number.
//   G2  Every node has the number of operands its operation takes, and its type is what infer_type gives for them.
//   G3  Persistents have unique names, no row dimension, and every parameter node refers to one and has its type; outputs and updates refer to
//       nodes; output names are unique; each update is for a persistent of the node's type, at most one per persistent, never for a frozen one.
//   G4  The row dimension is only ever outermost.
//   G5  Attributes an operation does not use are empty, so that equal nodes have equal attributes.
//   G6  One name, one type: two input nodes (two parameter nodes) of one name have one type.
//   G7  A kernel group is -1 or a small number.
//   G8  One site, one draw: random nodes of one site have one type.
//   G9  The body of a region is sound by itself, and each `result` is one that its scan has, of that type.
//   G10 An exchange is of a persistent of kind partial, whose update is its operand and which no parameter node reads.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "ir/graph.h"
#include "ir/op_rules.h"
#include "ir/regions.h"

namespace nnc {
namespace {

// The attributes of an operation, as a set of bits.
enum Used : unsigned { none = 0, axes = 1, extents = 2, begin = 4, number = 8, text = 16, labels = 32, dtype = 64, values = 128, steps = 256, region = 512 };

unsigned used_attributes(Op op) {
  switch (op) {
    case Op::input:
    case Op::parameter: return text | extents | dtype;
    case Op::scalar:
    case Op::exchange: return text;
    case Op::constant: return number | extents | dtype;
    case Op::literal: return values | extents | dtype;
    case Op::iota: return axes | extents;
    case Op::random: return text | extents;
    case Op::extent: return extents;
    case Op::cast: return dtype;
    case Op::broadcast: return axes | extents;
    case Op::reshape: return extents;
    case Op::slice:
    case Op::pad: return axes | begin | extents;
    case Op::window: return axes | begin | extents | number | steps;
    case Op::transpose:
    case Op::reduce_sum:
    case Op::reduce_max:
    case Op::reduce_min:
    case Op::argmax: return axes;
    case Op::contract: return labels;
    case Op::gather: return labels | axes;
    case Op::scatter_add: return labels | axes | extents;
    case Op::scan: return extents | region;
    case Op::result: return begin | extents | dtype;
    default: return none;
  }
}

bool has_stray_attribute(Op op, const Attributes& a) {
  unsigned used = used_attributes(op);
  return (!(used & axes) && !a.axes.empty()) || (!(used & extents) && !a.extents.empty()) || (!(used & begin) && a.begin != 0) ||
         (!(used & number) && a.number != 0) || (!(used & text) && !a.text.empty()) ||
         (!(used & labels) && (!a.lhs.empty() || !a.rhs.empty() || !a.out.empty())) || (!(used & dtype) && a.dtype != DType::f32) ||
         (!(used & values) && !a.values.empty()) || (!(used & steps) && (a.stride != 1 || a.dilation != 1 || a.divide != 1)) ||
         (!(used & region) && (a.body || a.carried != 0 || a.sliced != 0 || a.reverse)) || (op == Op::window && a.axes.size() == 1 && a.dilation != 1) || (op != Op::reduce_sum && a.terms != TermOrder{});
}

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  std::vector<std::string> run() {
    check_persistents();
    for (uint32_t i = 0; i < graph_.size(); ++i) check_node(i);
    check_outputs();
    check_updates();
    check_exchanges();
    return std::move(problems_);
  }

 private:
  template <class... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    problems_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  std::string node_text(uint32_t i) const {
    const Node& node = graph_[NodeId{i}];
    return size_t(node.op) < size_t(op_count) ? fmt::format("%{} ({})", i, op_name(node.op)) : fmt::format("%{}", i);
  }

  const Persistent* find_persistent(std::string_view name) const {
    auto it = persistents_.find(name);
    return it == persistents_.end() ? nullptr : it->second;
  }

  void check_persistents() {
    persistents_.reserve(graph_.persistents.size());
    for (const Persistent& p : graph_.persistents) {
      if (p.name.empty()) fail("G3: a persistent has no name");
      if (!persistents_.emplace(p.name, &p).second) fail("G3: persistent {} is declared twice", p.name);
      if (p.type.has_rows()) fail("G3: persistent {} has a row dimension: {}", p.name, to_string(p.type));
    }
  }

  void check_node(uint32_t i) {
    const Node& node = graph_[NodeId{i}];
    if (size_t(node.op) >= size_t(op_count)) return fail("G2: {} has no operation", node_text(i));
    for (NodeId operand : node.operands) {
      if (operand.value >= i) return fail("G1: {} uses %{}, which does not precede it", node_text(i), operand.value);
      if (graph_[operand].op == Op::scan && node.op != Op::result) return fail("G9: {} uses %{}, a scan, whose value only a result reads", node_text(i), operand.value);
    }
    for (size_t axis = 1; axis < node.type.shape.size(); ++axis)
      if (node.type.shape[axis].rows) fail("G4: {} has the row dimension at axis {}: {}", node_text(i), axis, to_string(node.type));
    std::optional<Type> type = infer_operation(node.op, OperandTypes(graph_, node.operands), node.attributes, error_);
    if (!type)
      fail("G2: {}: {}", node_text(i), std::exchange(error_, {}));
    else if (*type != node.type)
      fail("G2: {} has type {}, but its operation gives {}", node_text(i), to_string(node.type), to_string(*type));
    if (has_stray_attribute(node.op, node.attributes)) fail("G5: {} has an attribute that its operation does not use", node_text(i));
    if (node.op == Op::parameter || node.op == Op::exchange) {
      const Persistent* p = find_persistent(node.attributes.text);
      if (!p)
        fail("G3: {} refers to {}, which is not declared", node_text(i), node.attributes.text);
      else if (p->type != node.type)
        fail("G3: {} has type {}, but {} is {}", node_text(i), to_string(node.type), p->name, to_string(p->type));
    }
    if (node.op == Op::input) {
      auto [it, fresh] = inputs_.emplace(node.attributes.text, &node.type);
      if (!fresh && *it->second != node.type)
        fail("G6: input {} is both {} and {}", node.attributes.text, to_string(*it->second), to_string(node.type));
    }
    if (node.op == Op::random) {
      auto [it, fresh] = sites_.emplace(node.attributes.text, &node.type);
      if (!fresh && *it->second != node.type)
        fail("G8: site {} draws both {} and {}", node.attributes.text, to_string(*it->second), to_string(node.type));
    }
    if (node.op == Op::scan && node.attributes.body)
      for (const std::string& problem : verify_graph(*node.attributes.body)) fail("G9: in the body of {}: {}", node_text(i), problem);
    if (node.op == Op::result) check_result(i);
    if (node.group < -1) fail("G7: {} is in group {}", node_text(i), node.group);
  }

  void check_result(uint32_t i) {
    const Node &node = graph_[NodeId{i}], &scan = graph_[node.operands[0]];
    const int64_t number = node.attributes.begin;
    if (scan.op != Op::scan || !scan.attributes.body) return fail("G9: {} is of %{}, which is no scan", node_text(i), node.operands[0].value);
    if (number < 0 || number >= int64_t(scan.attributes.body->outputs.size()))
      return fail("G9: {} is number {} of {}, which has {} results", node_text(i), number, node_text(node.operands[0].value), scan.attributes.body->outputs.size());
    if (Type type = result_type(scan, int(number)); type != node.type) fail("G9: {} has type {}, but the scan gives {}", node_text(i), to_string(node.type), to_string(type));
  }

  void check_exchanges() {
    std::unordered_set<std::string_view> exchanged;
    for (uint32_t i = 0; i < graph_.size(); ++i) {
      const Node& node = graph_[NodeId{i}];
      if (node.op != Op::exchange) continue;
      const std::string& name = node.attributes.text;
      exchanged.insert(name);
      if (const Persistent* p = find_persistent(name); p && p->kind != PersistentKind::partial) fail("G10: {} is of {}, which is not of kind partial", node_text(i), name);
      const auto update = std::ranges::find(graph_.updates, name, &Update::name);
      if (update == graph_.updates.end() || update->node != node.operands[0]) fail("G10: {} is of {}, whose update is not its operand", node_text(i), name);
    }
    for (uint32_t i = 0; i < graph_.size() && !exchanged.empty(); ++i)
      if (graph_[NodeId{i}].op == Op::parameter && exchanged.count(graph_[NodeId{i}].attributes.text)) fail("G10: {} reads a persistent that is exchanged", node_text(i));
  }

  void check_outputs() {
    std::set<std::string_view> names;
    for (const Output& o : graph_.outputs) {
      if (!names.insert(o.name).second) fail("G3: output {} is given twice", o.name);
      if (o.node.value >= graph_.size())
        fail("G3: output {} refers to %{}, which does not exist", o.name, o.node.value);
      else if (graph_[o.node].op == Op::scan)
        fail("G9: output {} is %{}, a scan, whose value only a result reads", o.name, o.node.value);
    }
  }

  void check_updates() {
    std::unordered_set<std::string_view> names;
    names.reserve(graph_.updates.size());
    for (const Update& u : graph_.updates) {
      if (!names.insert(u.name).second) fail("G3: {} is updated twice", u.name);
      const Persistent* p = find_persistent(u.name);
      if (!p) fail("G3: update of {}, which is not declared", u.name);
      if (p && p->kind == PersistentKind::frozen) fail("G3: update of {}, which is frozen", u.name);
      if (u.node.value < graph_.size() && graph_[u.node].op == Op::scan) fail("G9: update of {} is %{}, a scan, whose value only a result reads", u.name, u.node.value);
      if (u.node.value >= graph_.size())
        fail("G3: update of {} refers to %{}, which does not exist", u.name, u.node.value);
      else if (p && p->type != graph_.type(u.node))
        fail("G3: update of {} has type {}, but the persistent is {}", u.name, to_string(graph_.type(u.node)), to_string(p->type));
    }
  }

  const Graph& graph_;
  std::unordered_map<std::string_view, const Persistent*> persistents_;  // Graph::find_persistent searches a list
  std::map<std::string_view, const Type*> inputs_, sites_;
  std::vector<std::string> problems_;
  std::string error_;  // of the node that is looked at
};

}  // namespace

std::vector<std::string> verify_graph(const Graph& graph) { return Verifier(graph).run(); }

}  // namespace nnc
