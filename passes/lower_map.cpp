// Row-wise kernels. Outer axes are those the group's reductions keep; for each outer index the code runs in stages: straight code, a loop over the
// inner (reduced) axes, straight code with the reductions' results, the next loop, and so on. A value of an earlier loop that a later one needs
// is computed again if that is cheap, and kept in memory (which is still in the nearest cache) if it is not.
#include <algorithm>
#include <map>
#include <set>

#include "base/check.h"
#include "ir/term_order.h"
#include "passes/costs.h"
#include "passes/lower_internal.h"

namespace nnc {
namespace {

struct Member {
  NodeId node;
  std::vector<int> axes;  // node axis -> axis of the space
  bool reduce = false;
  bool inner = false;     // has the reduced axes
  int stage = 0;
  bool stored = false;
};

IndexMap map_of(const std::vector<int>& axes, const std::vector<int>& kernel_axis) {
  IndexMap map;
  for (int a : axes) map.push_back({kernel_axis[size_t(a)], 0, -1});
  return map;
}

/// An axis of one index moves nothing, whatever its stride: it gets that of the axis before it, so that the two are joined and lanes do not run along it. Where sums run along
/// inner axes their order is that of the lanes, which stay.
void join_unit_axes(const MapKernel& kernel, const KernelCode& code) {
  if (kernel.outer != int(kernel.axes.size())) return;
  const std::vector<Access*> accesses = accesses_of(code);
  for (size_t axis = 1; axis < kernel.axes.size(); ++axis) {
    const bool looked_up = std::any_of(accesses.begin(), accesses.end(), [&](const Access* a) { return a->row_axis == int(axis) || a->row_axis == int(axis) - 1; });
    if (kernel.axes[axis].extent != Extent{1, false} || looked_up) continue;
    for (Access* a : accesses) a->strides[axis] = a->strides[axis - 1];
  }
}

}  // namespace

void settle_axes(const Program& program, MapKernel& kernel, const std::vector<int>& terms) {
  std::vector<std::vector<Instruction>*> lists;
  for (Block& b : kernel.blocks) lists.push_back(&b.code);
  KernelCode code{&kernel.axes, lists};
  std::vector<double> weight(kernel.axes.size(), 0);
  for (Access* a : accesses_of(code)) {
    if (!a->buffer.valid()) continue;  // a draw may be made in any order
    const Buffer& buffer = program[a->buffer];
    const double bytes = double(buffer_bytes(buffer, program.planned().whole));
    double share = bytes + 1;
    for (size_t i = 0; i < weight.size(); ++i) {
      double stride = a->row_axis == int(i) ? bytes : double(a->strides[i]);
      weight[i] += stride * share;
    }
  }
  std::vector<int> sorted(kernel.axes.size());
  for (size_t i = 0; i < sorted.size(); ++i) sorted[i] = int(i);
  auto heavier = [&](int a, int b) {
    bool rows_a = a >= kernel.outer && kernel.axes[size_t(a)].extent.rows, rows_b = b >= kernel.outer && kernel.axes[size_t(b)].extent.rows;
    return rows_a != rows_b ? rows_a : weight[size_t(a)] > weight[size_t(b)];
  };
  std::stable_sort(sorted.begin(), sorted.begin() + kernel.outer, heavier);
  if (terms.empty())
    std::stable_sort(sorted.begin() + kernel.outer, sorted.end(), heavier);
  else
    std::copy(terms.begin(), terms.end(), sorted.begin() + kernel.outer);
  std::vector<int> position(sorted.size());
  for (size_t i = 0; i < sorted.size(); ++i) position[size_t(sorted[i])] = int(i);
  permute_axes(code, position);
  join_unit_axes(kernel, code);
  if (!terms.empty() && joint_extent(kernel.axes, size_t(kernel.outer), kernel.axes.size()) != Extent{1, false}) drop_single_axes(code, size_t(kernel.outer));
  bool has_argmax = false;
  for (auto* list : lists)
    for (const Instruction& i : *list) has_argmax = has_argmax || (i.kind == Instruction::Kind::reduce && i.op == Op::argmax);
  std::vector<bool> may_join(kernel.axes.size(), true);
  if (kernel.outer > 0) may_join[size_t(kernel.outer) - 1] = false;
  if (has_argmax || !terms.empty())
    for (size_t i = size_t(kernel.outer); i < may_join.size(); ++i) may_join[i] = false;
  std::vector<int> where = join_axes(code, may_join);
  int outer = 0;
  for (int i = 0; i < kernel.outer; ++i) outer = std::max(outer, where[size_t(i)] + 1);
  kernel.outer = outer;
}

namespace {

/// Where the sums of the kernel say, or else, of reductions that give the same in any order, the axis along which most of the traffic is contiguous.
int choose_vector_axis(const Program& program, const MapKernel& kernel, const TermOrder& terms) {
  int outer = kernel.outer > 0 ? kernel.outer - 1 : -1;
  int inner = int(kernel.axes.size()) > kernel.outer ? int(kernel.axes.size()) - 1 : -1;
  if (inner < 0) return outer;
  if (outer < 0) return inner;
  if (!terms.axes.empty()) return terms.lanes ? inner : outer;
  double outer_gain = 0, inner_gain = 0;
  for (const Block& b : kernel.blocks)
    for (const Instruction& i : b.code) {
      if (!i.access.buffer.valid() || !b.inner) continue;
      double bytes = double(buffer_bytes(program[i.access.buffer], program.planned().whole));
      if (i.access.strides[size_t(outer)] == 1) outer_gain += bytes;
      if (i.access.strides[size_t(inner)] == 1) inner_gain += bytes;
    }
  return outer_gain > inner_gain ? outer : inner;
}

}  // namespace

void lower_map_group(const GroupContext& context, Kernel& result) {
  const Graph& graph = context.lowering.graph;
  Program& program = context.lowering.program;
  const GroupSpace& space = context.space;
  // Kernel axes: kept ones first, then reduced ones.
  MapKernel kernel;
  std::vector<int> kernel_axis(space.space.size());
  for (int pass = 0; pass < 2; ++pass)
    for (size_t a = 0; a < space.space.size(); ++a) {
      if (space.reduced[a] != (pass == 1)) continue;
      kernel_axis[a] = int(kernel.axes.size());
      kernel.axes.push_back({std::string(1, char('i' + kernel.axes.size())), space.space[a]});
      if (pass == 0) ++kernel.outer;
    }
  std::vector<bool> inner_axes(kernel.axes.size());
  for (size_t i = 0; i < inner_axes.size(); ++i) inner_axes[i] = int(i) >= kernel.outer;

  std::map<NodeId, size_t> position;
  std::vector<Member> members;
  int last_stage = 0;
  for (size_t k = 0; k < space.members.size(); ++k) {
    Member m{space.members[k], space.axes[k], false, false, 0, false};
    Op op = graph[m.node].op;
    m.reduce = op_class(op) == OpClass::reduce;
    for (int a : m.axes) m.inner = m.inner || space.reduced[size_t(a)];
    for (NodeId o : computing_operands(graph, m.node)) {
      auto it = position.find(o);
      if (it == position.end()) continue;
      const Member& from = members[it->second];
      m.stage = std::max(m.stage, from.stage + (from.reduce ? 1 : 0));
    }
    m.stored = context.stores.stores(m.node);
    last_stage = std::max(last_stage, m.stage);
    position[m.node] = members.size();
    members.push_back(m);
  }
  // Costly inner values that later loops need are kept.
  std::vector<bool> later(members.size(), false);
  std::map<NodeId, BufferId> kept;
  for (size_t k = members.size(); k-- > 0;) {
    Member& m = members[k];
    if (m.inner && !m.reduce && later[k] && costs_much(graph[m.node].op) && !context.lowering.buffer_of[m.node.value].valid()) {
      program.buffers.push_back(context.lowering.temporary_of(m.node));
      kept[m.node] = BufferId{uint32_t(program.buffers.size() - 1)};
    }
    bool in_memory = context.lowering.buffer_of[m.node.value].valid() || kept.count(m.node);
    for (NodeId o : computing_operands(graph, m.node)) {
      auto it = position.find(o);
      if (it == position.end() || !members[it->second].inner) continue;
      if (members[it->second].stage < m.stage || (later[k] && !in_memory && m.inner)) later[it->second] = true;
    }
  }

  KernelBuilder builder(context.lowering, context.group, inner_axes);
  TermOrder terms;  // of the kernel's sums, by its axes
  std::vector<ValueStore> updates;
  auto store_all = [&](const Member& m, int value) {
    IndexMap map = map_of(m.axes, kernel_axis);
    for (ValueStore& s : stores_of(context.lowering, context.stores, builder, m.node, map, value)) {
      if (program[s.target].kind == BufferKind::persistent && !m.inner) {
        updates.push_back(std::move(s));  // overwritten last: other code of the kernel may read the old value
      } else {
        builder.store(s.target, s.map, s.value, s.node);
      }
    }
    if (auto it = kept.find(m.node); it != kept.end()) builder.store(it->second, map, value, m.node);
  };
  for (int stage = 0; stage <= last_stage + 1; ++stage) {
    // Straight code, then the loop of this stage. Values of the loop may put further straight code before it.
    for (const Member& m : members) {
      if (m.reduce || m.inner || m.stage != stage || !m.stored) continue;
      store_all(m, builder.value(m.node, map_of(m.axes, kernel_axis)));
    }
    for (const Member& m : members) {
      if (m.stage != stage - 1 || !m.reduce || !m.stored) continue;
      store_all(m, builder.value(m.node, map_of(m.axes, kernel_axis)));
    }
    std::vector<std::pair<NodeId, int>> results;
    for (const Member& m : members) {
      if (m.stage != stage) continue;
      if (m.reduce) {
        const Node& node = graph[m.node];
        NodeId operand = node.operands[0];
        // The operand's index map: kept axes in order, reduced axes where the attribute says.
        IndexMap map(graph.type(operand).shape.size());
        size_t kept_axis = 0;
        std::vector<int> free;
        for (size_t a = 0; a < space.space.size(); ++a)
          if (space.reduced[a]) free.push_back(int(a));
        std::vector<bool> taken(space.space.size(), false);
        std::vector<int> own(map.size());  // the kernel's axes
        for (size_t i = 0; i < map.size(); ++i) {
          bool reduced = std::find(node.attributes.axes.begin(), node.attributes.axes.end(), int(i)) != node.attributes.axes.end();
          int axis = -1;
          if (!reduced) {
            axis = m.axes[kept_axis++];
          } else if (auto it = position.find(operand); it != position.end()) {
            axis = members[it->second].axes[i];
          } else {
            for (int f : free)
              if (!taken[size_t(f)] && space.space[size_t(f)] == graph.type(operand).shape[i]) {
                axis = f;
                break;
              }
          }
          NNC_CHECK(axis >= 0, "a reduction does not fit its kernel");
          taken[size_t(axis)] = true;
          own[i] = kernel_axis[size_t(axis)];
          map[i] = {own[i], 0, -1};
        }
        if (has_term_order(node)) {
          TermOrder order = term_order(graph, node);
          for (int& a : order.axes) a = own[size_t(a)];
          NNC_CHECK(terms.axes.empty() || terms == order, "sums of different orders in one kernel");
          terms = std::move(order);
        }
        int value = builder.value(operand, map);
        Instruction code;
        code.kind = Instruction::Kind::reduce;
        code.op = node.op;
        code.dtype = node.type.dtype;
        code.operands = {value};
        code.node = m.node;
        results.push_back({m.node, builder.emit(code, true)});
      } else if (m.inner && (m.stored || kept.count(m.node))) {
        store_all(m, builder.value(m.node, map_of(m.axes, kernel_axis)));
      }
    }
    if (!builder.outer.empty()) kernel.blocks.push_back({false, std::move(builder.outer)});
    if (!builder.inner.empty()) kernel.blocks.push_back({true, std::move(builder.inner)});
    builder.outer.clear();
    builder.inner.clear();
    builder.begin_inner();
    for (auto [node, id] : results) builder.define(node, id);
    for (const Member& m : members) {
      if (m.stage != stage || !m.inner || m.reduce) continue;
      if (auto it = kept.find(m.node); it != kept.end()) context.lowering.buffer_of[m.node.value] = it->second;
      if (context.lowering.buffer_of[m.node.value].valid()) builder.spill(m.node);
    }
  }
  for (const ValueStore& u : updates) builder.store(u.target, u.map, u.value, u.node);
  if (!builder.outer.empty()) {
    if (kernel.blocks.empty() || kernel.blocks.back().inner) kernel.blocks.push_back({false, {}});
    std::vector<Instruction>& last = kernel.blocks.back().code;
    last.insert(last.end(), builder.outer.begin(), builder.outer.end());
  }
  for (auto [node, buffer] : kept) context.lowering.buffer_of[node.value] = BufferId{};
  settle_axes(program, kernel, terms.axes);
  kernel.vector_axis = choose_vector_axis(program, kernel, terms);
  kernel.serial = kernel.outer == 0;
  result.body = std::move(kernel);
}

void lower_scatter_group(const GroupContext& context, std::vector<Kernel>& kernels) {
  const Graph& graph = context.lowering.graph;
  Program& program = context.lowering.program;
  NNC_CHECK(context.space.members.size() == 1, "a scatter shares its kernel");
  NodeId n = context.space.members[0];
  const Node& node = graph[n];
  const BufferId result = context.lowering.buffer_of[n.value];
  BufferId target = result;
  // A destination may get any number of updates, one after the other: floats add up in f64, and are rounded once.
  const DType sum_type = is_float(node.type.dtype) ? DType::f64 : node.type.dtype;
  if (program[result].dtype != sum_type) {
    Buffer sums = program[result];
    sums.kind = BufferKind::temporary;
    sums.dtype = sum_type;
    sums.bytes = buffer_bytes(sums, program.rows);
    program.buffers.push_back(std::move(sums));
    target = BufferId{uint32_t(program.buffers.size() - 1)};
  }
  auto axis_name = [](size_t i) { return std::string(1, char('i' + i)); };
  // A kernel over all elements of the result.
  auto add_elementwise = [&](auto value_at) {
    MapKernel kernel;
    IndexMap map;
    for (const Extent& e : node.type.shape) {
      map.push_back({int(kernel.axes.size()), 0, -1});
      kernel.axes.push_back({axis_name(kernel.axes.size()), e});
    }
    kernel.outer = int(kernel.axes.size());
    KernelBuilder builder(context.lowering, context.group, std::vector<bool>(kernel.axes.size(), false));
    value_at(builder, map);
    kernel.blocks.push_back({false, std::move(builder.outer)});
    settle_axes(program, kernel);
    kernel.vector_axis = kernel.outer - 1;
    kernels.emplace_back().body = std::move(kernel);
  };
  add_elementwise([&](KernelBuilder& builder, const IndexMap& map) { builder.store(target, map, builder.constant(0, sum_type), n); });
  const Attributes& attributes = node.attributes;
  MapKernel kernel;
  std::map<int, int> axis_of_label;
  const Shape& updates = graph.type(node.operands[0]).shape;
  IndexMap update_map, index_map, result_map;
  for (size_t i = 0; i < attributes.lhs.size(); ++i) {
    axis_of_label[attributes.lhs[i]] = int(i);
    kernel.axes.push_back({axis_name(i), updates[i]});
    update_map.push_back({int(i), 0, -1});
  }
  kernel.outer = int(kernel.axes.size());
  for (int label : attributes.rhs) index_map.push_back({axis_of_label.at(label), 0, -1});
  KernelBuilder builder(context.lowering, context.group, std::vector<bool>(kernel.axes.size(), false));
  const int scattered = attributes.axes[0];
  const int index = builder.entry(node.operands[1], index_map, node.type.shape[size_t(scattered)].size, n);
  bool contiguous = false;
  for (size_t i = 0; i < attributes.out.size(); ++i) {
    if (int(i) == scattered) {
      result_map.push_back({-1, 0, index});
    } else {
      int axis = axis_of_label.at(attributes.out[i]);
      result_map.push_back({axis, 0, -1});
      bool in_index = std::find(attributes.rhs.begin(), attributes.rhs.end(), attributes.out[i]) != attributes.rhs.end();
      contiguous = contiguous || (axis == kernel.outer - 1 && !in_index);
    }
  }
  int update = builder.value(node.operands[0], update_map);
  if (node.type.dtype != sum_type) update = builder.compute(Op::cast, sum_type, {update}, n);
  builder.store(target, result_map, update, n, true);
  kernel.blocks.push_back({false, std::move(builder.outer)});
  // Lanes must not collide: they run along an axis that the index does not depend on, or there is only one.
  kernel.vector_axis = contiguous ? kernel.outer - 1 : -1;
  kernel.serial = true;
  kernels.emplace_back().body = std::move(kernel);
  if (target == result) return;
  add_elementwise([&](KernelBuilder& builder, const IndexMap& map) {
    int sum = builder.load(target, node.type.shape, map, n);
    builder.store(result, map, builder.compute(Op::cast, node.type.dtype, {sum}, n), n);
  });
}

}  // namespace nnc
