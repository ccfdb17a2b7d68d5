// Lowering of scans: a region of the program. The body is lowered as a graph of its own whose inputs and outputs are buffers that are given; its kernels are then taken over
// into the program around it, where these buffers are slots that move from round to round. Nested scans are regions of the body's program, so nothing is said of them here but
// that their slots move with one more region.
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "ir/kernel_code.h"
#include "ir/regions.h"
#include "passes/program_lowering.h"

namespace nnc {
namespace {

/// Of a scan: elements of a buffer between slices of neighbouring steps.
int64_t step_stride(const Buffer& sequence, int64_t rows) {
  return buffer_strides(sequence, rows)[size_t(step_axis({sequence.dtype, sequence.shape}))];
}

/// The order of the other axes, when those of a sequence stand in `order`.
std::vector<int> order_of_slice(const std::vector<int>& order, int axis) {
  std::vector<int> slice;
  for (int a : order)
    if (a != axis) slice.push_back(a < axis ? a : a - 1);
  if (std::is_sorted(slice.begin(), slice.end())) slice.clear();
  return slice;
}

/// Whether slices are stretches of memory, one for each step.
bool stands_by_steps(const Buffer& sequence) {
  const int axis = step_axis({sequence.dtype, sequence.shape});
  if (sequence.kind == BufferKind::field) return axis == 1;
  return sequence.order.empty() ? axis == 0 : sequence.order.front() == axis;
}

bool may_have_slots(BufferKind kind) {
  return kind == BufferKind::field || kind == BufferKind::persistent || kind == BufferKind::temporary || kind == BufferKind::literal;
}

/// Whether the output is the carry, as it comes in or as it goes out: `number` of it, and which of the two.
struct CarriedOutput {
  int carry = -1;
  bool comes_in = false;
};

CarriedOutput find_carry(const Node& scan, const Graph& body, NodeId output) {
  const Attributes& a = scan.attributes;
  for (int k = 0; k < a.carried; ++k)
    if (body.outputs[size_t(k)].node == output) return {k, false};
  const Node& node = body[output];
  if (node.op != Op::input) return {};
  const BodyInputPlace place = place_of_operand(a, *operand_of_input(scan, node));
  return place.kind == BodyInput::carry ? CarriedOutput{place.number, true} : CarriedOutput{};
}

}  // namespace

BufferId ProgramLowering::add_slot(Slot slot, const Type& type, std::vector<int> order, NodeId node, std::string name) {
  Buffer b;
  b.name = std::move(name);
  b.kind = program_[slot.of].kind;
  b.dtype = type.dtype;
  b.shape = type.shape;
  b.order = std::move(order);
  b.field = program_[slot.of].field;
  b.slot = std::move(slot);
  b.node = node;
  b.span = graph_[node].span;
  return add_buffer(std::move(b));
}

void ProgramLowering::add_scan_buffers(NodeId id) {
  const Node& scan = graph_[id];
  const Attributes& a = scan.attributes;
  const Graph& body = *a.body;
  const int64_t steps = a.extents[0].size;
  ScanMemory memory;
  auto add = [&](const Type& slice, int64_t slots, std::string name) {
    Buffer b;
    b.name = std::move(name);
    b.dtype = slice.dtype;
    const Type type = sequence_type(slice, slots);
    b.shape = type.shape;
    b.order = steps_first(type);
    b.node = id;
    b.span = scan.span;
    return add_buffer(std::move(b));
  };
  for (int k = 0; k < a.carried; ++k) memory.carries.push_back(add(graph_.type(scan.operands[size_t(k)]), steps + 1, fmt::format("%{}.carry.{}", id.value, k)));
  for (size_t k = size_t(a.carried); k < body.outputs.size(); ++k) {
    const NodeId output = body.outputs[k].node;
    const Type& slice = body.type(output);
    const CarriedOutput carried = find_carry(scan, body, output);
    std::string name = fmt::format("%{}.stack.{}", id.value, k - size_t(a.carried));
    memory.is_carry.push_back(carried.carry >= 0);
    if (carried.carry < 0) {
      memory.stacks.push_back(add(slice, steps, std::move(name)));
      continue;
    }
    const BufferId whole = memory.carries[size_t(carried.carry)];
    const int64_t first = carried.comes_in == a.reverse ? step_stride(program_[whole], program_.rows) : 0;
    const Type type = sequence_type(slice, steps);
    memory.stacks.push_back(add_slot({whole, first, {}}, type, steps_first(type), id, std::move(name)));
  }
  scans_[id] = std::move(memory);
}

/// Where the value of a `result` stands.
BufferId ProgramLowering::result_memory(NodeId id) {
  const Node& node = graph_[id];
  const Attributes& a = graph_[node.operands[0]].attributes;
  const ScanMemory& memory = scans_.at(node.operands[0]);
  const size_t number = size_t(node.attributes.begin), carried = size_t(a.carried);
  if (number >= carried) return memory.stacks[number - carried];
  const BufferId whole = memory.carries[number];
  const int64_t last = a.reverse ? 0 : step_stride(program_[whole], program_.rows) * a.extents[0].size;
  return add_slot({whole, last, {}}, node.type, {}, id, fmt::format("%{}", id.value));
}

/// Puts the value of an operand into memory of the scan's own.
BufferId ProgramLowering::copy_operand(NodeId operand, std::vector<int> order, NodeId scan, std::string name) {
  Buffer b = lowering_.temporary_of(operand);
  b.name = std::move(name);
  b.node = scan;
  b.order = std::move(order);
  const BufferId to = add_buffer(std::move(b));
  add_copy(to, graph_.type(operand).shape, scan, [&](KernelBuilder& builder, const IndexMap& index) { return builder.value(operand, index); });
  return to;
}

/// Where a sequence stands step by step.
BufferId ProgramLowering::sequence_memory(NodeId operand, NodeId scan, std::string name) {
  const BufferId known = lowering_.buffer_of[operand.value];
  if (known.valid() && may_have_slots(program_[known].kind) && stands_by_steps(program_[known])) return known;
  return copy_operand(operand, steps_first(graph_.type(operand)), scan, std::move(name));
}

/// Where a captured value stands. What is multiplied with in many rounds is turned once, so that no round packs it.
BufferId ProgramLowering::capture_memory(NodeId operand, const std::vector<int>* order, NodeId scan, std::string name) {
  constexpr int64_t many = 4;
  const BufferId known = lowering_.buffer_of[operand.value];
  if (!known.valid()) return copy_operand(operand, order ? *order : std::vector<int>{}, scan, std::move(name));
  if (!order || graph_[scan].attributes.extents[0].size < many) return known;
  const bool stands_so = program_[known].order.empty() ? std::is_sorted(order->begin(), order->end()) : program_[known].order == *order;
  return stands_so ? known : copy_operand(operand, *order, scan, std::move(name));
}

Buffer ProgramLowering::as_place(BufferId id) const {
  Buffer b = program_[id];
  b.slot = {};
  b.offset = 0;
  return b;
}

void ProgramLowering::add_scan(NodeId id) {
  const Node& scan = graph_[id];
  const Attributes& a = scan.attributes;
  const int64_t steps = a.extents[0].size;
  const ScanMemory memory = scans_.at(id);
  const Layouts layouts = layouts_of_captures(*a.body);
  std::map<std::string, BufferId> places;
  auto part = [&](BufferId whole, int64_t first, int64_t per_round, const Type& type, std::vector<int> order, const std::string& name) {
    Slot slot{memory_of(program_, whole), first, {per_round}};
    if (program_[whole].slot.valid()) {
      slot.first += program_[whole].slot.first;
      NNC_CHECK(program_[whole].slot.per_round.empty(), "the memory of a graph moves with a region");
    }
    places[name] = add_slot(std::move(slot), type, std::move(order), id, fmt::format("%{}.{}", id.value, name.ends_with(output_mark) ? name : name + ".now"));
  };
  for (int k = 0; k < int(scan.operands.size()); ++k) {
    const NodeId operand = scan.operands[size_t(k)];
    const Type& type = graph_.type(operand);
    const BodyInputPlace at = place_of_operand(a, k);
    const std::string name = body_input_name(at.kind, at.number);
    switch (at.kind) {
      case BodyInput::carry: {
        const BufferId whole = memory.carries[size_t(k)];
        const int64_t step = step_stride(program_[whole], program_.rows);
        const BufferId first = add_slot({whole, a.reverse ? steps * step : 0, {}}, type, {}, id, fmt::format("%{}.first.{}", id.value, k));
        add_copy(first, type.shape, id, [&](KernelBuilder& builder, const IndexMap& index) { return builder.value(operand, index); });
        part(whole, a.reverse ? step : 0, step, type, {}, name);
        part(whole, a.reverse ? 0 : step, step, type, {}, body_output_name(a, k) + output_mark);
        break;
      }
      case BodyInput::slice: {
        const BufferId whole = sequence_memory(operand, id, fmt::format("%{}.sequence.{}", id.value, at.number));
        part(whole, 0, step_stride(program_[whole], program_.rows), slice_type(type), order_of_slice(program_[whole].order, step_axis(type)), name);
        break;
      }
      case BodyInput::capture: {
        const auto order = layouts.find(name);
        places[name] = capture_memory(operand, order == layouts.end() ? nullptr : &order->second, id, fmt::format("%{}.capture.{}", id.value, at.number));
        break;
      }
    }
  }
  Graph body = *a.body;
  for (size_t k = size_t(a.carried); k < body.outputs.size(); ++k) {
    const size_t number = k - size_t(a.carried);
    if (memory.is_carry[number]) continue;
    const BufferId whole = memory.stacks[number];
    part(whole, 0, step_stride(program_[whole], program_.rows), body.type(body.outputs[k].node), {}, body.outputs[k].name);
  }
  // What a carry has is not stored again, and inputs and outputs have names of their own.
  for (size_t k = body.outputs.size(); k-- > size_t(a.carried);) {
    if (!memory.is_carry[k - size_t(a.carried)]) continue;
    const NodeId node = body.outputs[k].node;
    body.outputs.erase(body.outputs.begin() + std::ptrdiff_t(k));
    const bool wanted = std::any_of(body.outputs.begin(), body.outputs.end(), [&](const Output& o) { return o.node == node; });
    if (!wanted && op_class(body[node].op) == OpClass::leaf) body[node].group = -1;
  }
  for (size_t k = 0; k < size_t(a.carried); ++k) body.outputs[k].name += output_mark;

  LowerOptions options{options_.name, options_.rows, options_.target};
  options.whole_rows = options_.whole_rows;
  options.piece_rows = options_.piece_rows;
  for (const auto& [name, buffer] : places) options.places[name] = as_place(buffer);
  std::optional<Graph> copied = copy_viewed_leaves(body, options);
  take_over(lower(copied ? *copied : body, options), places, id);
}

void ProgramLowering::take_over(Program body, const std::map<std::string, BufferId>& places, NodeId id) {
  const Node& scan = graph_[id];
  std::vector<BufferId> to;
  for (const auto& [name, buffer] : places) to.push_back(buffer);  // the first of its buffers
  for (size_t b = to.size(); b < body.buffers.size(); ++b) {
    Buffer& buffer = body.buffers[b];
    buffer.name = fmt::format("%{}.{}", id.value, std::string_view(buffer.name).substr(buffer.name.starts_with('%') ? 1 : 0));
    buffer.node = id;
    if (buffer.slot.valid()) {
      const BufferId around = to[buffer.slot.of.value];
      const Slot outer = program_[around].slot;
      const int64_t moves = outer.per_round.empty() ? 0 : outer.per_round[0];
      buffer.slot.of = memory_of(program_, around);
      buffer.slot.first += outer.first;
      if (moves != 0 || !buffer.slot.per_round.empty()) buffer.slot.per_round.insert(buffer.slot.per_round.begin(), moves);
    }
    to.push_back(add_buffer(std::move(buffer)));
  }
  Region region;
  region.name = scan.scope.empty() ? "scan" : scan.scope + ".scan";
  region.scope = scan.scope;
  region.span = scan.span;
  region.first = program_.kernels.size();
  region.count = body.kernels.size();
  region.rounds = scan.attributes.extents[0].size;
  region.reverse = scan.attributes.reverse;
  region.node = id;
  if (region.count == 0) return;
  for (Region& inner : body.regions) inner.first += region.first;
  for (Region& inner : body.regions) inner.node = id;
  program_.regions.push_back(std::move(region));
  program_.regions.insert(program_.regions.end(), body.regions.begin(), body.regions.end());
  for (Kernel& kernel : body.kernels) {
    kernel.name = unique_name(kernel.name);
    kernel.nodes = {id};
    for_each_instruction(kernel, [&](Instruction& i) {
      if (i.access.buffer.valid()) i.access.buffer = to[i.access.buffer.value];
      i.node = id;
    });
    program_.kernels.push_back(std::move(kernel));
  }
}

}  // namespace nnc
