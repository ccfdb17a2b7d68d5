// Demand-driven generation of scalar code: each node is evaluated at an index map; what is the same value at the same index is computed once.
#include "passes/kernel_builder.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <utility>

#include "base/check.h"
#include "ir/window.h"
#include "passes/fuse_internal.h"
#include "passes/lower.h"

namespace nnc {

static bool is_lone_axis(const IndexTerm& term) { return term.axes.size() == 1 && term == IndexTerm(term.axes[0].first, 0, -1); }

Buffer LoweringContext::temporary_of(NodeId n) const {
  Buffer b;
  b.name = "%" + std::to_string(n.value);
  b.dtype = graph.type(n).dtype;
  b.shape = graph.type(n).shape;
  b.order = order_of[n.value];
  b.node = n;
  b.span = graph[n].span;
  b.bytes = buffer_bytes(b, program.rows);
  return b;
}

BufferId LoweringContext::memory_of(NodeId n) const {
  while (!buffer_of[n.value].valid() && graph[n].op == Op::reshape) n = graph[n].operands[0];
  return buffer_of[n.value];
}

void KernelBuilder::begin_inner() {
  std::erase_if(memo_, [&](const auto& entry) { return inner_values_[entry.second]; });
}

int KernelBuilder::emit(Instruction instruction, bool is_inner) {
  if (defines_value(instruction)) {
    instruction.id = int(inner_values_.size());
    // A reduction's code stands in the inner loop, its value is known after it.
    inner_values_.push_back(is_inner && instruction.kind != Instruction::Kind::reduce);
  }
  int id = instruction.id;
  (is_inner ? inner : outer).push_back(std::move(instruction));
  return id;
}

int KernelBuilder::constant(Number number, DType dtype) {
  number = rounded_to(dtype, number);
  auto [it, fresh] = constants_.try_emplace({std::bit_cast<uint64_t>(double(number)), number.rest(), dtype}, -1);
  if (fresh) {
    Instruction code;
    code.kind = Instruction::Kind::constant;
    code.number = number;
    code.dtype = dtype;
    it->second = emit(code, false);
  }
  return it->second;
}

int KernelBuilder::compute(Op op, DType dtype, std::vector<int> operands, NodeId node) {
  Instruction code;
  code.kind = Instruction::Kind::compute;
  code.op = op;
  code.dtype = dtype;
  code.node = node;
  bool is_inner = std::any_of(operands.begin(), operands.end(), [&](int id) { return inner_values_[id]; });
  code.operands = std::move(operands);
  return emit(std::move(code), is_inner);
}

// As the reader sees it: a reshape has other axes over the same elements.
Buffer KernelBuilder::viewed(BufferId id, const Shape& shape) const {
  Buffer view = lowering_.program[id];
  std::optional<std::vector<int>> order = order_of_view(view.shape, view.order, shape);
  NNC_CHECK(order, "a permuted buffer is viewed under another shape");
  view.order = std::move(*order);
  view.shape = shape;
  return view;
}

Access KernelBuilder::access(BufferId id, const Shape& shape, const IndexMap& map) const {
  const Buffer& buffer = lowering_.program[id];
  std::vector<int64_t> strides = buffer_strides(viewed(id, shape), lowering_.program.rows);
  strides.resize(std::max(strides.size(), map.size()), 1);  // behind the axes: elements (one_computed_index)
  Access access;
  access.buffer = id;
  access.strides.assign(inner_axes_.size(), 0);
  for (size_t i = 0; i < map.size(); ++i) {
    const IndexTerm& term = map[i];
    if (buffer.kind == BufferKind::field && i == 0) {
      NNC_CHECK(is_lone_axis(term), "rows of a field are read in batch order");
      access.row_axis = term.axes[0].first;
      continue;
    }
    access.offset += term.offset * strides[i];
    for (auto [axis, factor] : term.axes) access.strides[size_t(axis)] += factor * strides[i];
    if (term.value >= 0) {
      NNC_CHECK(access.index_value < 0, "two computed indices in one access");
      access.index_value = term.value;
      access.index_stride = strides[i];
    }
  }
  return access;
}

// An access has room for one computed index: several, each times its stride, are added up.
IndexMap KernelBuilder::one_computed_index(BufferId id, const Shape& shape, IndexMap map) {
  if (std::count_if(map.begin(), map.end(), [](const IndexTerm& t) { return t.value >= 0; }) < 2) return map;
  const Buffer view = viewed(id, shape);
  const std::vector<int64_t> strides = buffer_strides(view, lowering_.program.rows);
  NNC_CHECK(buffer_bytes(view, lowering_.program.rows) <= INT32_MAX * int64_t(byte_size(view.dtype)), "a computed index into more elements than i32 counts");
  IndexTerm total;
  int last = -1;
  for (size_t i = 0; i < map.size(); ++i) {
    if (map[i].value < 0) continue;
    IndexTerm part(-1, 0, std::exchange(map[i].value, -1));
    total = sum(total, scaled(part, strides[i]));
    if (strides[i] == 1) last = int(i);
  }
  if (last < 0) last = int(map.size());
  map.resize(std::max(map.size(), size_t(last) + 1));
  map[size_t(last)].value = total.value;
  return map;
}

int KernelBuilder::load(BufferId id, const Shape& shape, const IndexMap& several, NodeId node) {
  const IndexMap map = one_computed_index(id, shape, several);
  Instruction code;
  code.kind = Instruction::Kind::load;
  code.dtype = lowering_.program[id].dtype;
  code.access = access(id, shape, map);
  code.node = node;
  bool is_inner = code.access.index_value >= 0 && inner_values_[code.access.index_value];
  for (size_t a = 0; a < inner_axes_.size(); ++a)
    is_inner = is_inner || (inner_axes_[a] && (code.access.strides[a] != 0 || code.access.row_axis == int(a)));
  return emit(std::move(code), is_inner);
}

int KernelBuilder::draw(NodeId n, const IndexMap& map) {
  const Node& node = lowering_.graph[n];
  Instruction code;
  code.kind = Instruction::Kind::random;
  code.dtype = node.type.dtype;
  code.site = node.attributes.text;
  code.node = n;
  code.access.strides.assign(inner_axes_.size(), 0);
  int64_t stride = 1;
  bool is_inner = false;
  for (size_t i = map.size(); i-- > 0;) {
    const IndexTerm& term = map[i];
    NNC_CHECK(term.value < 0, "a draw that is indexed by data does not stand in memory");
    for (auto [axis, factor] : term.axes) is_inner = is_inner || inner_axes_[size_t(axis)];
    if (node.type.shape[i].rows) {
      NNC_CHECK(is_lone_axis(term), "rows of a draw are drawn in batch order");
      code.access.row_axis = term.axes[0].first;
      continue;
    }
    code.access.offset += term.offset * stride;
    for (auto [axis, factor] : term.axes) code.access.strides[size_t(axis)] += factor * stride;
    stride *= node.type.shape[i].size;
  }
  return emit(std::move(code), is_inner);
}

void KernelBuilder::store(BufferId id, const IndexMap& map, int value, NodeId node, bool add) {
  Instruction code;
  code.kind = add ? Instruction::Kind::store_add : Instruction::Kind::store;
  code.dtype = lowering_.program[id].dtype;
  code.access = access(id, lowering_.program[id].shape, map);
  code.operands = {value};
  code.node = node;
  bool is_inner = inner_values_[value];
  for (size_t a = 0; a < inner_axes_.size(); ++a) is_inner = is_inner || (inner_axes_[a] && code.access.strides[a] != 0);
  emit(std::move(code), is_inner);
}

int KernelBuilder::index_of(const IndexTerm& term) {
  int id = term.value;
  for (auto [axis, factor] : term.axes) {
    Instruction code;
    code.kind = Instruction::Kind::axis_index;
    code.axis = axis;
    code.dtype = index_type;
    int index = emit(code, inner_axes_[size_t(axis)]);
    if (factor != 1) index = compute(Op::mul, index_type, {index, constant(double(factor), index_type)}, NodeId{});
    id = id < 0 ? index : compute(Op::add, index_type, {id, index}, NodeId{});
  }
  if (id < 0) return constant(double(term.offset), index_type);
  if (term.offset == 0) return id;
  return compute(Op::add, index_type, {id, constant(double(term.offset), index_type)}, NodeId{});
}

IndexTerm KernelBuilder::scaled(IndexTerm term, int64_t factor) {
  if (factor == 0) return IndexTerm();
  for (auto& [axis, own] : term.axes) own *= factor;
  term.offset *= factor;
  if (term.value >= 0 && factor != 1) {
    int by = constant(double(factor), index_type);
    term.value = compute(Op::mul, index_type, {term.value, by}, NodeId{});
  }
  return term;
}

IndexTerm KernelBuilder::sum(IndexTerm term, const IndexTerm& other) {
  std::map<int, int64_t> factors(term.axes.begin(), term.axes.end());
  for (auto [axis, factor] : other.axes) factors[axis] += factor;
  std::erase_if(factors, [](const auto& f) { return f.second == 0; });
  term.axes.assign(factors.begin(), factors.end());
  term.offset += other.offset;
  if (other.value >= 0) term.value = term.value < 0 ? other.value : compute(Op::add, index_type, {term.value, other.value}, NodeId{});
  return term;
}

std::pair<int, int> KernelBuilder::clamp(int index, int64_t size, NodeId n) {
  int zero = constant(0, index_type), last = constant(double(size - 1), index_type);
  int below = compute(Op::minimum, index_type, {index, last}, n);
  int clamped = compute(Op::maximum, index_type, {below, zero}, n);
  return {clamped, compute(Op::equal, DType::boolean, {index, clamped}, n)};
}

int KernelBuilder::entry(NodeId index_node, const IndexMap& map, int64_t entries, NodeId n) {
  int index = value(index_node, map);
  if (lowering_.graph.type(index_node).dtype != index_type) index = compute(Op::cast, index_type, {index}, n);
  int last = constant(double(entries - 1), index_type);
  return compute(Op::maximum, index_type, {compute(Op::minimum, index_type, {index, last}, n), constant(0, index_type)}, n);
}

// Read at a clamped index, then choose: indices outside are never touched.
int KernelBuilder::select_inside(int inside, NodeId operand, const IndexMap& map, Number outside, NodeId n) {
  const DType dtype = lowering_.graph.type(n).dtype;
  int read = value(operand, map), fill = constant(outside, dtype);
  return compute(Op::select, dtype, {inside, read, fill}, n);
}

int KernelBuilder::value(NodeId n, const IndexMap& map) {
  if (auto it = fixed_.find(n); it != fixed_.end()) return it->second;
  if (auto it = memo_.find(std::pair<NodeId, const IndexMap&>(n, map)); it != memo_.end()) return it->second;
  int id = evaluate(n, map);
  memo_.try_emplace({n, map}, id);
  return id;
}

int KernelBuilder::evaluate(NodeId n, const IndexMap& map) {
  const Graph& graph = lowering_.graph;
  const Node& node = graph[n];
  bool member = node.group >= 0 && node.group == group_;
  bool leaf = node.op == Op::input || node.op == Op::parameter || node.op == Op::scalar || node.op == Op::literal || is_made_elsewhere(node.op);
  if (!member || leaf || spilled_[n]) {
    if (BufferId memory = lowering_.buffer_of[n.value]; memory.valid()) return load(memory, node.type.shape, map, n);
    NNC_CHECK(node.group < 0, "a value of another kernel does not stand in memory: " + std::string(op_name(node.op)));
  }
  const Attributes& attributes = node.attributes;
  switch (node.op) {
    case Op::constant: return constant(attributes.number, node.type.dtype);
    case Op::iota: return index_of(map[attributes.axes[0]]);
    case Op::random: return draw(n, map);
    case Op::extent: {
      Instruction code;
      code.kind = Instruction::Kind::extent;
      code.extent = attributes.extents[0];
      code.dtype = scalar_type;
      code.node = n;
      return emit(code, false);
    }
    case Op::stop_gradient: return value(node.operands[0], map);
    case Op::broadcast: {
      IndexMap from(attributes.axes.size());
      for (size_t i = 0; i < from.size(); ++i) from[i] = map[attributes.axes[i]];
      return value(node.operands[0], from);
    }
    case Op::transpose: {
      IndexMap from(map.size());
      for (size_t i = 0; i < map.size(); ++i) from[attributes.axes[i]] = map[i];
      return value(node.operands[0], from);
    }
    case Op::reshape: {
      BufferId memory = lowering_.memory_of(node.operands[0]);
      if (!memory.valid() && only_unit_axes(graph, node)) {
        IndexMap from;
        size_t next = 0;
        for (const Extent& e : graph.type(node.operands[0]).shape) {
          if (e == Extent{1, false}) {
            from.emplace_back();
            continue;
          }
          while (node.type.shape[next] == Extent{1, false}) ++next;
          from.push_back(map[next++]);
        }
        return value(node.operands[0], from);
      }
      NNC_CHECK(memory.valid(), "the operand of a reshape does not stand in memory");
      return load(memory, node.type.shape, map, n);
    }
    case Op::slice: {
      IndexMap from = map;
      from[attributes.axes[0]].offset += attributes.begin;
      return value(node.operands[0], from);
    }
    case Op::pad: {
      int axis = attributes.axes[0];
      const int64_t length = graph.type(node.operands[0]).shape[axis].size;
      if (length == 0) return constant(0, node.type.dtype);
      IndexMap from = map;
      from[axis].offset -= attributes.begin;
      auto [clamped, inside] = clamp(index_of(from[axis]), length, n);
      from[axis] = IndexTerm{-1, 0, clamped};
      return select_inside(inside, node.operands[0], from, 0, n);
    }
    case Op::window: {
      const size_t axis = size_t(attributes.axes[0]);
      const int64_t length = graph.type(node.operands[0]).shape[axis].size;
      if (length == 0) return constant(attributes.number, node.type.dtype);
      IndexTerm at = scaled(map[axis], attributes.stride);
      if (attributes.axes.size() > 1) at = sum(at, scaled(map[size_t(attributes.axes[1])], attributes.dilation));
      at.offset += attributes.begin;
      IndexMap from = map;
      from[axis] = at;
      if (!leaves_operand(graph, node)) return value(node.operands[0], from);
      if (guards_outside_ && at.value < 0 && is_guardable(node)) {
        Instruction guard;
        guard.kind = Instruction::Kind::guard;
        guard.node = n;
        guard.extent = Extent{length, false};
        guard.access.offset = at.offset;
        guard.access.strides.assign(inner_axes_.size(), 0);
        for (auto [own, factor] : at.axes) guard.access.strides[size_t(own)] = factor;
        emit(std::move(guard), false);
        if (!chooses_outside_) return value(node.operands[0], from);
      }
      int index = index_of(at), divides = -1;
      if (attributes.divide != 1) {
        int by = constant(double(attributes.divide), index_type), zero = constant(0, index_type);
        int rest = compute(Op::floor_mod, index_type, {index, by}, n);
        divides = compute(Op::equal, DType::boolean, {rest, zero}, n);
        index = compute(Op::floor_div, index_type, {index, by}, n);
      }
      auto [clamped, inside] = clamp(index, length, n);
      if (divides >= 0) inside = compute(Op::logical_and, DType::boolean, {inside, divides}, n);
      from[axis] = IndexTerm{-1, 0, clamped};
      return select_inside(inside, node.operands[0], from, attributes.number, n);
    }
    case Op::gather: {
      auto at = [&](int label) {
        auto it = std::find(attributes.out.begin(), attributes.out.end(), label);
        return map[size_t(it - attributes.out.begin())];
      };
      IndexMap index_map, table_map;
      for (int label : attributes.rhs) index_map.push_back(at(label));
      int axis = attributes.axes[0];
      const Shape& table = graph.type(node.operands[0]).shape;
      const int index = entry(node.operands[1], index_map, table[axis].size, n);
      for (size_t i = 0; i < table.size(); ++i)
        table_map.push_back(int(i) == axis ? IndexTerm{-1, 0, index} : at(attributes.lhs[i]));
      return value(node.operands[0], table_map);
    }
    default: break;
  }
  NNC_CHECK(is_elementwise(node.op), "lowering met " + std::string(op_name(node.op)) + " inside a kernel of another kind");
  std::vector<int> operands;
  for (NodeId o : node.operands) operands.push_back(value(o, map));
  return compute(node.op, node.type.dtype, std::move(operands), n);
}

}  // namespace nnc
