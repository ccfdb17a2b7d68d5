// Contractions. Each label of the index notation has a role: in both operands and the result, batch; in one operand and the result, m or n; in both
// operands only, k. n is the role that runs along contiguous memory of what the epilogue stores. Axes of one role that every access
// walks as one are joined; what is left over of n becomes batch, which is right, if not as cheap. m and k may stay several axes: those of a convolution are its
// images, lines and pixels, its taps and channels. Where lanes would be empty on either side, and for types that the register tile does not know,
// the contraction is lowered to a row-wise kernel instead, which can express any.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/check.h"
#include "ir/window.h"
#include "passes/channelwise.h"
#include "passes/lower_internal.h"
#include "passes/rewrite.h"
#include "passes/tiles.h"

namespace nnc {
namespace {

enum class Role { batch, m, n, k };

struct LabelAxis {
  int label;
  Role role;
  Extent extent;
};

int64_t stored_stride(const std::vector<Instruction>& code, const Program& program, size_t axis) {
  // The stride that matters: of the largest buffer the epilogue stores.
  int64_t stride = 0, largest = -1;
  for (const Instruction& i : code)
    if (i.kind == Instruction::Kind::store && program[i.access.buffer].bytes > largest) {
      largest = program[i.access.buffer].bytes;
      stride = i.access.strides[axis];
    }
  return stride;
}

/// But for guards.
bool single_load(const Operand& operand) {
  if (operand.code.empty()) return false;
  const Instruction& last = operand.code.back();
  const bool others = std::any_of(operand.code.begin(), operand.code.end() - 1, [](const Instruction& i) { return i.kind != Instruction::Kind::guard; });
  return !others && last.kind == Instruction::Kind::load && last.dtype == contraction_type;
}

bool has_guards(const Operand& operand) {
  return std::any_of(operand.code.begin(), operand.code.end(), [](const Instruction& i) { return i.kind == Instruction::Kind::guard; });
}

bool is_guarded(const Operand& operand, size_t axis) {
  return std::any_of(operand.code.begin(), operand.code.end(), [&](const Instruction& i) { return i.kind == Instruction::Kind::guard && i.access.strides[axis] != 0; });
}

/// Memory seen through views alone, at indices that are not data. No other window decides over one whose outside can be left out: where both are outside, there may be a number.
bool is_viewed_memory(const LoweringContext& lowering, NodeId n) {
  while (true) {
    const Node& node = lowering.graph[n];
    if (lowering.buffer_of[n.value].valid() || node.op == Op::reshape) return true;
    if (node.op == Op::window && leaves_operand(lowering.graph, node) && !is_guardable(node)) return false;
    if (!is_linear_view(node.op)) return false;
    n = node.operands[0];
  }
}

/// Whether guards can be bounds of the loops over k (verify_program.cpp, P5).
bool can_guard(const ContractKernel& kernel) {
  if (has_guards(kernel.a)) {
    const Access& access = kernel.a.code.back().access;
    if (!single_load(kernel.a) || access.index_value >= 0 || access.row_axis >= int(kernel.row_axis())) return false;
  }
  for (const Operand* operand : {&kernel.a, &kernel.b})
    for (const Instruction& guard : operand->code) {
      if (guard.kind != Instruction::Kind::guard) continue;
      const std::vector<int64_t>& factors = guard.access.strides;
      size_t own = 0;
      for (size_t axis = kernel.first_k(); axis < kernel.axes.size(); ++axis) {
        if (factors[axis] == 0) continue;
        ++own;
        if (kernel.axes[axis].extent.rows) return false;
      }
      if (own != 1 || factors[kernel.row_axis()] != 0 || factors[kernel.n_axis()] != 0) return false;
    }
  return true;
}

/// Of the largest buffer that an operand loads.
/// For the whole batch, for the order of a sum goes by it.
int64_t loaded_bytes(const Operand& operand, const Program& program) {
  int64_t bytes = 0;
  for (const Instruction& i : operand.code)
    if (i.access.buffer.valid()) bytes = std::max(bytes, buffer_bytes(program[i.access.buffer], program.planned().whole));
  return bytes;
}

int64_t largest_stride(const Operand& operand, size_t axis) {
  int64_t stride = 0;
  for (const Instruction& i : operand.code)
    if (i.access.buffer.valid()) stride = std::max(stride, i.access.strides[axis]);
  return stride;
}

/// An axis of k along which the operand goes backwards through memory (the turned taps of an input's gradient) is counted from its other end.
void walk_upwards(int64_t size, size_t axis, const Operand& operand, std::initializer_list<std::vector<Instruction>*> code) {
  bool backwards = false;
  for (const Instruction& i : operand.code) backwards = backwards || (i.access.buffer.valid() && i.access.strides[axis] < 0);
  for (const std::vector<Instruction>* list : code)
    for (const Instruction& i : *list) backwards = backwards && !(i.kind == Instruction::Kind::axis_index && i.axis == int(axis)) && i.access.row_axis != int(axis);
  if (!backwards) return;
  for (std::vector<Instruction>* list : code)
    for (Instruction& i : *list) {
      if (!has_place(i)) continue;
      i.access.offset += i.access.strides[axis] * (size - 1);
      i.access.strides[axis] *= -1;
    }
}

/// The axes of m so that the last fills the rows of tiles: the one that moves least through the result, of those with enough indices for a tile; the longest if none
/// has (the images of a small one: then a tile's rows stand at one pixel). None that guards are about, if there is another.
/// With sums over the rows of tiles these are the rows of the batch.
std::vector<int> rows_last(const std::vector<Axis>& axes, const ContractKernel& kernel, const Operand& a, int64_t rows, bool sums) {
  constexpr int64_t enough = 8;
  auto extent = [&](size_t axis) { return is_guarded(a, axis) ? 0 : axes[axis].extent.at(rows); };
  size_t chosen = kernel.row_axis();
  while (chosen > kernel.first_m() && extent(chosen) < enough) --chosen;
  if (extent(chosen) < enough)
    for (size_t axis = kernel.first_m(); axis < kernel.n_axis(); ++axis)
      if (extent(axis) > extent(chosen)) chosen = axis;
  if (sums)
    for (size_t axis = kernel.first_m(); axis < kernel.n_axis(); ++axis)
      if (axes[axis].extent.rows) chosen = axis;
  std::vector<int> position(axes.size());
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    const bool moves_up = axis > chosen && axis < kernel.n_axis();
    position[axis] = axis == chosen ? int(kernel.row_axis()) : int(axis) - moves_up;
  }
  return position;
}

// Values of a kernel's code lists are numbered apart: adds `shift` to every id.
void shift_ids(std::vector<Instruction>& code, int shift) {
  for (Instruction& i : code) {
    if (i.id >= 0) i.id += shift;
    for (int& o : i.operands) o += shift;
    if (i.access.index_value >= 0) i.access.index_value += shift;
  }
}

int ids_after(const std::vector<Instruction>& code) {
  int top = 0;
  for (const Instruction& i : code) top = std::max(top, i.id + 1);
  return top;
}

// The same contraction as a loop nest with a reduction over all k axes.
MapKernel as_map_kernel(const std::vector<Axis>& axes, size_t k_axes, Operand& a, Operand& b, std::vector<Instruction>& epilogue, int accumulator, int next_id,
                        int64_t rows, int lanes) {
  MapKernel kernel;
  kernel.axes = axes;
  kernel.outer = int(axes.size() - k_axes);
  Block inner{true, {}}, after{false, {}};
  // What does not depend on an inner axis stands before the loop.
  Block before{false, {}};
  std::set<int> inner_values;
  for (auto* list : {&a.code, &b.code})
    for (Instruction& i : *list) {
      bool is_inner = i.kind == Instruction::Kind::axis_index && i.axis >= kernel.outer;
      for (int o : i.operands) is_inner = is_inner || inner_values.count(o);
      if (has_place(i)) {
        is_inner = is_inner || inner_values.count(i.access.index_value) || i.access.row_axis >= kernel.outer;
        for (size_t x = size_t(kernel.outer); x < axes.size(); ++x) is_inner = is_inner || i.access.strides[x] != 0;
      }
      if (is_inner) inner_values.insert(i.id);
      (is_inner ? inner : before).code.push_back(std::move(i));
    }
  Instruction product;
  product.kind = Instruction::Kind::compute;
  product.op = Op::mul;
  product.operands = {a.value, b.value};
  product.id = next_id++;
  product.dtype = contraction_type;
  for (const auto* block : {&inner, &before})
    for (const Instruction& i : block->code)
      if (i.id == product.operands[0]) product.dtype = i.dtype;
  Instruction sum = product;
  sum.kind = Instruction::Kind::reduce;
  sum.op = Op::reduce_sum;
  sum.operands = {product.id};
  sum.id = next_id++;
  inner.code.push_back(product);
  inner.code.push_back(sum);
  for (Instruction& i : epilogue) {
    if (i.kind == Instruction::Kind::accumulator) continue;
    for (int& o : i.operands)
      if (o == accumulator) o = sum.id;
    after.code.push_back(std::move(i));
  }
  if (!before.code.empty()) kernel.blocks.push_back(std::move(before));
  kernel.blocks.push_back(std::move(inner));
  kernel.blocks.push_back(std::move(after));
  kernel.serial = kernel.outer == 0;
  // Lanes run along the axis that fills more of them; elements that stand a few apart are worth a third of contiguous ones. The outer axis if both are worth the same.
  kernel.vector_axis = -1;
  double best = 0;
  for (int axis : {kernel.outer - 1, int(axes.size()) - 1}) {
    if (axis < 0) continue;
    const double filled = double(std::min<int64_t>(axes[size_t(axis)].extent.at(rows), lanes));
    for (const Instruction& i : kernel.blocks[kernel.blocks.size() - 2].code) {
      if (!i.access.buffer.valid()) continue;
      const int64_t stride = std::abs(i.access.strides[size_t(axis)]);
      const double worth = stride == 1 ? filled : stride > 1 && stride <= 4 ? filled / 3 : 0;
      if (worth <= best) continue;
      kernel.vector_axis = axis;
      best = worth;
    }
  }
  if (kernel.vector_axis < 0) kernel.vector_axis = kernel.outer > 0 ? kernel.outer - 1 : int(axes.size()) - 1;
  return kernel;
}

/// The sum of a contraction's group over the rows, axis 0 of what is summed, of which `map` says where the others lie.
int emit_row_sum(KernelBuilder& builder, const Graph& graph, NodeId n, IndexMap map) {
  map.insert(map.begin(), {0, 0, -1});
  Instruction sum;
  sum.kind = Instruction::Kind::reduce;
  sum.op = graph[n].op;
  sum.dtype = graph.type(n).dtype;
  sum.node = n;
  sum.operands = {builder.value(graph[n].operands[0], map)};
  return builder.emit(std::move(sum), false);
}

/// With guards for what windows read outside, unless that cannot be: then nothing is made.
bool lower_contract(const GroupContext& context, bool guards, Kernel& result) {
  const Graph& graph = context.lowering.graph;
  const Program& program = context.lowering.program;
  NodeId contract = context.space.members[0];
  for (NodeId m : context.space.members)
    if (graph[m].op == Op::contract) contract = m;
  const Node& node = graph[contract];
  const Attributes& labels = node.attributes;
  auto has = [](const std::vector<int>& list, int label) { return std::find(list.begin(), list.end(), label) != list.end(); };

  // One axis for each label: result's in order, then the summed ones.
  std::vector<LabelAxis> axes;
  std::map<int, int> axis_of;
  auto add_axis = [&](int label, Role role, Extent extent) {
    axis_of[label] = int(axes.size());
    axes.push_back({label, role, extent});
  };
  for (size_t i = 0; i < labels.out.size(); ++i) {
    int label = labels.out[i];
    Role role = has(labels.lhs, label) ? (has(labels.rhs, label) ? Role::batch : Role::m) : Role::n;
    add_axis(label, role, node.type.shape[i]);
  }
  const Shape& lhs_shape = graph.type(node.operands[0]).shape;
  const Shape& rhs_shape = graph.type(node.operands[1]).shape;
  for (size_t i = 0; i < labels.lhs.size(); ++i)
    if (!axis_of.count(labels.lhs[i])) add_axis(labels.lhs[i], Role::k, lhs_shape[i]);
  for (size_t i = 0; i < labels.rhs.size(); ++i)
    if (!axis_of.count(labels.rhs[i])) add_axis(labels.rhs[i], Role::k, rhs_shape[i]);

  KernelBuilder builder(context.lowering, context.group, std::vector<bool>(axes.size(), false));
  Instruction sum;
  sum.kind = Instruction::Kind::accumulator;
  sum.dtype = node.type.dtype;
  sum.node = contract;
  int accumulator = builder.emit(sum, false);
  builder.define(contract, accumulator);
  // Everything is computed before anything is stored: an update may overwrite what another value reads.
  std::vector<ValueStore> stores, sum_stores;
  for (size_t k = 0; k < context.space.members.size(); ++k) {
    NodeId m = context.space.members[k];
    IndexMap map;
    for (int axis : context.space.axes[k]) map.push_back({axis, 0, -1});
    const bool is_sum = op_class(graph[m].op) == OpClass::reduce;
    if (is_sum) builder.define(m, emit_row_sum(builder, graph, m, map));
    if (!context.stores.stores(m)) continue;
    for (ValueStore& s : stores_of(context.lowering, context.stores, builder, m, map, builder.value(m, map))) (is_sum ? sum_stores : stores).push_back(std::move(s));
  }
  for (const ValueStore& s : stores) builder.store(s.target, s.map, s.value, s.node);
  std::vector<Instruction> epilogue = std::exchange(builder.outer, {});
  for (const ValueStore& s : sum_stores) builder.store(s.target, s.map, s.value, s.node);
  std::vector<Instruction> after_rows = std::move(builder.outer);
  const bool sums = !after_rows.empty();

  // n runs along contiguous stores: exchange the operands if that is the left one's role.
  int lead = -1;
  for (size_t i = 0; i < axes.size(); ++i)
    if (axes[i].role != Role::k && axes[i].role != Role::batch && stored_stride(epilogue, program, i) == 1) lead = int(i);
  if (lead < 0)
    for (size_t i = 0; i < labels.out.size(); ++i)
      if (axes[i].role != Role::batch) lead = int(i);
  // Sums over the rows ask for these among m.
  const bool exchange = sums ? axes[0].role == Role::n : lead >= 0 && axes[size_t(lead)].role == Role::m;
  if (exchange)
    for (LabelAxis& axis : axes)
      if (axis.role == Role::m || axis.role == Role::n) axis.role = axis.role == Role::m ? Role::n : Role::m;

  // Channel by channel, lanes are channels.
  const int channels = channel_label(graph, node);
  const bool by_channels = channels >= 0 && stored_stride(epilogue, program, size_t(axis_of.at(channels))) == 1;
  // What is outside of a window is absent. a, the rows of a tile, is read in place, so that nothing is copied for it; b is mostly packed.
  auto operand_code = [&](NodeId operand, const std::vector<int>& operand_labels, bool is_a) {
    KernelBuilder own(context.lowering, context.group, std::vector<bool>(axes.size(), false));
    if (guards && is_viewed_memory(context.lowering, operand)) own.guard_outside(!is_a && !by_channels);
    IndexMap map;
    for (int label : operand_labels) map.push_back({axis_of.at(label), 0, -1});
    Operand code;
    code.value = own.value(operand, map);
    code.code = std::move(own.outer);
    return code;
  };
  Operand a = operand_code(node.operands[0], labels.lhs, !exchange), b = operand_code(node.operands[1], labels.rhs, exchange);
  int next_id = ids_after(a.code);
  shift_ids(b.code, next_id);
  b.value += next_id;
  next_id = std::max(next_id, ids_after(b.code));
  shift_ids(epilogue, next_id);
  shift_ids(after_rows, next_id);
  accumulator += next_id;
  next_id = std::max(ids_after(epilogue), ids_after(after_rows));
  if (exchange) std::swap(a, b);

  // No axis but those of the loops.
  if (by_channels)
    for (LabelAxis& axis : axes)
      if (axis.role != Role::k) axis.role = Role::batch;

  // Order: batch, m, n by falling stride of the result; k by the strides of the larger operand, rows first, along which sums are cut into pieces.
  std::vector<int> sorted = identity_axes(int(axes.size()));
  const Operand& larger = loaded_bytes(a, program) > loaded_bytes(b, program) ? a : b;
  std::vector<int64_t> weight(axes.size(), 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    weight[i] = stored_stride(epilogue, program, i);
    if (axes[i].role != Role::k) continue;
    if (!axes[i].extent.rows) walk_upwards(axes[i].extent.size, i, larger, {&a.code, &b.code});
    weight[i] = axes[i].extent.rows ? INT64_MAX : largest_stride(larger, i);
  }
  std::stable_sort(sorted.begin(), sorted.end(), [&](int x, int y) {
    if (axes[size_t(x)].role != axes[size_t(y)].role) return axes[size_t(x)].role < axes[size_t(y)].role;
    return weight[size_t(x)] > weight[size_t(y)];
  });
  std::vector<Axis> kernel_axes(axes.size());
  const std::vector<int> position = inverse_axes(sorted);
  for (size_t i = 0; i < axes.size(); ++i) kernel_axes[i] = {std::string(1, char('a' + axes[i].label % 26)), axes[i].extent};
  KernelCode code{&kernel_axes, {&a.code, &b.code, &epilogue, &after_rows}};
  permute_axes(code, position);
  std::vector<Role> roles(axes.size());
  for (size_t i = 0; i < axes.size(); ++i) roles[size_t(position[i])] = axes[i].role;
  for (size_t axis : drop_single_axes(code, 0)) roles.erase(roles.begin() + std::ptrdiff_t(axis));
  std::vector<bool> may_join(roles.size(), false);
  for (size_t i = 0; i + 1 < roles.size(); ++i) may_join[i] = roles[i] == roles[i + 1];
  std::vector<int> where = join_axes(code, may_join);
  std::vector<Role> joined(kernel_axes.size());
  for (size_t i = 0; i < roles.size(); ++i) joined[size_t(where[i])] = roles[i];

  size_t k_axes = size_t(std::count(joined.begin(), joined.end(), Role::k));
  // The lanes that are full, of a few: the last axis of n has the lanes.
  constexpr int64_t fewest_lanes = 4;
  int64_t columns = 1;
  for (size_t i = 0; i < joined.size(); ++i)
    if (joined[i] == Role::n) columns = kernel_axes[i].extent.at(program.planned().whole);
  bool fits_kernel = sums || (node.type.dtype == contraction_type && !by_channels && (k_axes <= 1 || columns >= fewest_lanes));
  if (!fits_kernel) {
    const bool guarded = has_guards(a) || has_guards(b);
    if (guarded && !by_channels) return false;
    if (k_axes == 0) {  // nothing is summed: a sum of one term
      kernel_axes.push_back({"k", Extent{1, false}});
      for (Access* access : accesses_of(code)) access->strides.push_back(0);
      k_axes = 1;
    }
    MapKernel map = as_map_kernel(kernel_axes, k_axes, a, b, epilogue, accumulator, next_id, program.planned().whole, program.target.f32_lanes());
    if (guarded && !can_bound_loops(map)) return false;
    if (by_channels) choose_blocks(program, map);
    result.body = std::move(map);
    return true;
  }
  // Exactly one axis of n, the last; the others are batch. Of m and k at least one: missing ones get extent 1.
  ContractKernel kernel;
  const std::pair<Role, const char*> needed[] = {{Role::m, "m"}, {Role::n, "n"}, {Role::k, "k"}};
  for (auto [role, name] : needed) {
    if (std::count(joined.begin(), joined.end(), role) > 0) continue;
    joined.push_back(role);
    kernel_axes.push_back({name, Extent{1, false}});
    for (Access* access : accesses_of(code)) access->strides.push_back(0);
  }
  for (size_t i = 0, left = size_t(std::count(joined.begin(), joined.end(), Role::n)); left > 1; ++i)
    if (joined[i] == Role::n) {
      joined[i] = Role::batch;
      --left;
    }
  std::vector<int> order = identity_axes(int(joined.size()));
  std::stable_sort(order.begin(), order.end(), [&](int x, int y) { return joined[size_t(x)] < joined[size_t(y)]; });
  permute_axes(code, inverse_axes(order));
  kernel.batch = int(std::count(joined.begin(), joined.end(), Role::batch));
  kernel.m = int(std::count(joined.begin(), joined.end(), Role::m));
  permute_axes(code, rows_last(kernel_axes, kernel, a, program.planned().whole, sums));
  kernel.axes = std::move(kernel_axes);
  kernel.a = std::move(a);
  kernel.b = std::move(b);
  kernel.epilogue = std::move(epilogue);
  kernel.after_rows = std::move(after_rows);
  if (!can_guard(kernel)) return false;
  // An operand without loads of its own (a constant) or with code goes through a panel.
  kernel.a.pack = !single_load(kernel.a);
  kernel.b.pack = !single_load(kernel.b) || kernel.b.code[0].access.strides[kernel.n_axis()] != 1;
  choose_tiles(program, kernel);
  result.body = std::move(kernel);
  return true;
}

}  // namespace

void lower_contract_group(const GroupContext& context, Kernel& result) {
  if (lower_contract(context, true, result)) return;
  const bool made = lower_contract(context, false, result);
  NNC_CHECK(made, "a contraction without guards that asks for some");
}

}  // namespace nnc
