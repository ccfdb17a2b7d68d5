// Every axis of every node is a number; operations unite those that must have one size (union-find), so that a class is what can
// be shrunk at once. Three operations relate sizes that differ: a reshape keeps products of neighbouring axes, a slice and a pad
// keep a window inside a whole. What a smaller class implies for these is propagated until nothing changes; sizes only fall, so
// it ends. The graph is then built again with the new sizes, and the values are cut to them.
#include "verify/reduce_sizes.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "passes/rewrite.h"

namespace nnc {
namespace {

/// The part of a tensor that begins at `begin` along each axis.
Tensor cut(const Tensor& t, const std::vector<int64_t>& sizes, const std::vector<int64_t>& begin) {
  Tensor result = make_tensor(t.dtype, sizes);
  std::vector<int64_t> index(sizes.size(), 0);
  for (size_t i = 0; i < result.values.size(); ++i) {
    int64_t at = 0;
    for (size_t a = 0; a < sizes.size(); ++a) at = at * t.shape[a] + begin[a] + index[a];
    result.set(i, t.at(size_t(at)));
    for (size_t a = sizes.size(); a-- > 0;) {
      if (++index[a] < sizes[a]) break;
      index[a] = 0;
    }
  }
  return result;
}

Tensor cut(const Tensor& t, const std::vector<int64_t>& sizes, bool tail) {
  std::vector<int64_t> begin(sizes.size(), 0);
  for (size_t a = 0; tail && a < sizes.size(); ++a) begin[a] = t.shape[a] - sizes[a];
  return cut(t, sizes, begin);
}

bool shape_in_attributes(Op op) {
  return op == Op::input || op == Op::parameter || op == Op::constant || op == Op::literal || op == Op::iota || op == Op::random || op == Op::broadcast ||
         op == Op::reshape || op == Op::scatter_add;
}

}  // namespace

int DimensionClasses::find(int id) const {
  while (parent_[size_t(id)] != id) id = parent_[size_t(id)] = parent_[size_t(parent_[size_t(id)])];
  return id;
}

void DimensionClasses::unite(int a, int b) {
  a = find(a);
  b = find(b);
  parent_[size_t(std::max(a, b))] = std::min(a, b);
}

std::vector<DimensionClasses::ReshapeGroup> DimensionClasses::reshape_groups(const Shape& from, const Shape& to) {
  std::vector<ReshapeGroup> groups;
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    ReshapeGroup group;
    int64_t left = 1, right = 1;
    auto take = [](const Shape& shape, size_t& at, std::vector<int>& axes, int64_t& product) {
      product *= shape[at].size;
      axes.push_back(int(at++));
    };
    if (i < from.size()) take(from, i, group.from, left);
    if (j < to.size()) take(to, j, group.to, right);
    while (left != right) {
      if (left < right && i < from.size())
        take(from, i, group.from, left);
      else if (j < to.size())
        take(to, j, group.to, right);
      else
        break;
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

void DimensionClasses::unite_labels(const Graph& graph, NodeId id) {
  const Node& n = graph[id];
  std::map<int, int> first;
  auto bind = [&](const std::vector<int>& labels, NodeId of_node) {
    for (size_t a = 0; a < labels.size(); ++a) {
      auto [it, fresh] = first.emplace(labels[a], of(of_node, a));
      if (!fresh) unite(it->second, of(of_node, a));
    }
  };
  bind(n.attributes.lhs, n.operands[0]);
  bind(n.attributes.rhs, n.operands[1]);
  bind(n.attributes.out, id);
}

DimensionClasses::DimensionClasses(const Graph& graph) {
  auto add = [&](const Shape& shape) {
    int first = int(sizes_.size());
    for (const Extent& e : shape) sizes_.push_back(e.size);
    return first;
  };
  for (const Node& n : graph.nodes()) node_axes_.push_back(add(n.type.shape));
  for (const Persistent& p : graph.persistents) persistent_axes_.push_back(add(p.type.shape));
  parent_.resize(sizes_.size());
  std::iota(parent_.begin(), parent_.end(), 0);

  auto unite_persistent = [&](const std::string& name, NodeId id) {
    for (size_t p = 0; p < graph.persistents.size(); ++p)
      if (graph.persistents[p].name == name)
        for (size_t a = 0; a < graph.type(id).shape.size(); ++a) unite(of_persistent(p, a), of(id, a));
  };
  std::map<std::string, NodeId> inputs;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    NodeId id{i};
    const Node& n = graph[id];
    auto same = [&](NodeId operand) {
      for (size_t a = 0; a < n.type.shape.size(); ++a) unite(of(id, a), of(operand, a));
    };
    if (n.op == Op::input) {
      auto [it, fresh] = inputs.emplace(n.attributes.text, id);
      if (!fresh) same(it->second);
    } else if (n.op == Op::parameter) {
      unite_persistent(n.attributes.text, id);
    } else if (is_elementwise(n.op)) {
      for (NodeId operand : n.operands) same(operand);
    } else if (n.op == Op::broadcast) {
      for (size_t a = 0; a < n.attributes.axes.size(); ++a) unite(of(n.operands[0], a), of(id, size_t(n.attributes.axes[a])));
    } else if (n.op == Op::transpose) {
      for (size_t a = 0; a < n.attributes.axes.size(); ++a) unite(of(id, a), of(n.operands[0], size_t(n.attributes.axes[a])));
    } else if (n.op == Op::slice || n.op == Op::pad || n.op == Op::window) {
      for (size_t a = 0; a < n.type.shape.size(); ++a)
        if (int(a) != n.attributes.axes[0]) unite(of(id, a), of(n.operands[0], a));
    } else if (n.op == Op::reshape) {
      for (const ReshapeGroup& g : reshape_groups(graph.type(n.operands[0]).shape, n.type.shape))
        if (g.from.size() == 1 && g.to.size() == 1) unite(of(n.operands[0], size_t(g.from[0])), of(id, size_t(g.to[0])));
    } else if (op_class(n.op) == OpClass::reduce) {
      size_t kept = 0;
      for (int a = 0; a < graph.type(n.operands[0]).rank(); ++a)
        if (!holds(n.attributes.axes, a)) unite(of(n.operands[0], size_t(a)), of(id, kept++));
    } else if (op_class(n.op) == OpClass::contract || op_class(n.op) == OpClass::indexing) {
      unite_labels(graph, id);
    }
  }
  for (const Update& u : graph.updates) unite_persistent(u.name, u.node);

  std::vector<bool> seen(sizes_.size(), false);
  for (size_t axis = 0; axis < sizes_.size(); ++axis) {
    int root = find(int(axis));
    if (!seen[size_t(root)] && sizes_[axis] > 1) classes_.push_back({root, sizes_[axis]});
    seen[size_t(root)] = true;
  }
}

// False if the sizes cannot be made to agree.
bool DimensionClasses::propagate(const Graph& graph, std::vector<int64_t>& sizes) const {
  bool changed = true;
  auto lower = [&](int id, int64_t to) {
    if (to < 1 || to >= sizes[size_t(id)]) return;
    sizes[size_t(id)] = to;
    changed = true;
  };
  // Takes `factor` out of one of the axes.
  auto divide = [&](NodeId node, const std::vector<int>& axes, int64_t product, int64_t wanted) {
    if (axes.size() == 1) return lower(of(node, size_t(axes[0])), wanted);
    if (product % wanted != 0) return;
    for (int a : axes) {
      int id = of(node, size_t(a));
      if (sizes[size_t(id)] % (product / wanted) == 0) return lower(id, sizes[size_t(id)] / (product / wanted));
    }
  };
  while (changed) {
    changed = false;
    for (uint32_t i = 0; i < graph.size(); ++i) {
      NodeId id{i};
      const Node& n = graph[id];
      if (n.op == Op::slice || n.op == Op::pad) {
        size_t axis = size_t(n.attributes.axes[0]);
        int whole = of(n.op == Op::slice ? n.operands[0] : id, axis), part = of(n.op == Op::slice ? id : n.operands[0], axis);
        lower(part, sizes[size_t(whole)]);
        if (sizes[size_t(part)] > sizes[size_t(whole)]) return false;
      }
      if (n.op != Op::reshape) continue;
      for (const ReshapeGroup& g : reshape_groups(graph.type(n.operands[0]).shape, n.type.shape)) {
        auto product = [&](NodeId node, const std::vector<int>& axes) {
          int64_t p = 1;
          for (int a : axes) p *= sizes[size_t(of(node, size_t(a)))];
          return p;
        };
        int64_t left = product(n.operands[0], g.from), right = product(id, g.to);
        if (left == right) continue;
        bool before = changed;
        changed = false;
        if (left < right)
          divide(id, g.to, right, left);
        else
          divide(n.operands[0], g.from, left, right);
        if (!changed) return false;
        changed = changed || before;
      }
    }
  }
  return true;
}

std::optional<GraphCase> DimensionClasses::shrink(const GraphCase& c, int id, int64_t size, bool tail) const {
  std::vector<int64_t> sizes = sizes_;
  sizes[size_t(id)] = size;
  for (size_t axis = 0; axis < sizes.size(); ++axis)
    if (find(int(axis)) == int(axis) && sizes[axis] == 0) return std::nullopt;
  if (!propagate(c.graph, sizes)) return std::nullopt;

  GraphCase result;
  result.bindings = c.bindings;
  result.graph.name = c.graph.name;
  for (size_t p = 0; p < c.graph.persistents.size(); ++p) {
    Persistent persistent = c.graph.persistents[p];
    for (size_t a = 0; a < persistent.type.shape.size(); ++a) persistent.type.shape.set_size(a, sizes[size_t(of_persistent(p, a))]);
    if (auto it = result.bindings.persistents.find(persistent.name); it != result.bindings.persistents.end())
      it->second = cut(it->second, shape_at(persistent.type, 1), tail);
    result.graph.persistents.push_back(std::move(persistent));
  }
  for (uint32_t i = 0; i < c.graph.size(); ++i) {
    NodeId node{i};
    Node n = c.graph[node];
    auto new_size = [&](NodeId of_node, size_t axis) { return sizes[size_t(of(of_node, axis))]; };
    if (shape_in_attributes(n.op))
      for (size_t a = 0; a < n.attributes.extents.size(); ++a) n.attributes.extents.set_size(a, new_size(node, a));
    if (n.op == Op::literal) {
      Tensor whole = make_tensor(n.type.dtype, shape_at(n.type, 1));
      whole.set_numbers(n.attributes.values);
      n.attributes.values = cut(whole, shape_at({n.type.dtype, n.attributes.extents}, 1), tail).numbers();
    }
    if (n.op == Op::slice || n.op == Op::pad) {
      size_t axis = size_t(n.attributes.axes[0]);
      int64_t other = new_size(n.operands[0], axis), own = new_size(node, axis);
      n.attributes.extents.set_size(0, own);
      n.attributes.begin = std::min(n.attributes.begin, std::abs(other - own));
    }
    if (n.op == Op::window) n.attributes.extents.set_size(0, new_size(node, size_t(n.attributes.axes[0])));
    std::vector<Type> types;
    for (NodeId operand : n.operands) types.push_back(result.graph.type(operand));
    std::string error;
    if (!infer_type(n.op, types, n.attributes, error)) return std::nullopt;
    add_node(result.graph, n);
    if (n.op == Op::input)
      if (auto it = result.bindings.inputs.find(n.attributes.text); it != result.bindings.inputs.end()) {
        std::vector<int64_t> wanted = shape_at(result.graph.type(node), result.bindings.rows);
        if (wanted != it->second.shape) it->second = cut(it->second, wanted, tail);
      }
  }
  result.graph.outputs = c.graph.outputs;
  result.graph.updates = c.graph.updates;
  // An index that pointed into the part cut off points at the last element kept.
  for (const Node& n : result.graph.nodes()) {
    if (op_class(n.op) != OpClass::indexing) continue;
    size_t axis = size_t(n.attributes.axes[0]);
    int64_t length = n.op == Op::gather ? result.graph.type(n.operands[0]).shape[axis].at(c.bindings.rows)
                                        : n.type.shape[axis].at(c.bindings.rows);
    NodeId index = n.operands[1];
    while (!result.graph[index].operands.empty()) index = result.graph[index].operands[0];
    const Node& leaf = result.graph[index];
    auto& bound = leaf.op == Op::input ? result.bindings.inputs : result.bindings.persistents;
    auto it = bound.find(leaf.attributes.text);
    if (it == bound.end() || is_float(leaf.type.dtype)) continue;
    for (double& v : it->second.values) v = std::min(v, double(length - 1));
  }
  return result;
}

GraphCase take_rows(const GraphCase& c, int64_t rows, bool tail) {
  GraphCase result = c;
  result.bindings.rows = rows;
  for (const Node& n : c.graph.nodes()) {
    auto it = result.bindings.inputs.find(n.attributes.text);
    if (n.op != Op::input || !n.type.has_rows() || it == result.bindings.inputs.end()) continue;
    std::vector<int64_t> wanted = shape_at(n.type, rows);
    if (wanted != it->second.shape) it->second = cut(it->second, wanted, tail);
  }
  return result;
}

}  // namespace nnc
