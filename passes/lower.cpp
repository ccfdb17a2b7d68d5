// Lowering of a whole graph: which values stand in memory, in which buffers, and one kernel for each group. The kernels' code is made in
// lower_map.cpp and lower_contract.cpp, regions in lower_scan.cpp.
#include "passes/lower.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/check.h"
#include "ir/chains.h"
#include "ir/kernel_code.h"
#include "passes/costs.h"
#include "passes/lower_internal.h"
#include "passes/program_lowering.h"
#include "passes/touched_rows.h"

namespace nnc {

NodeList computing_operands(const Graph& graph, NodeId n) {
  NodeList found, seen = graph[n].operands;  // few
  for (size_t i = 0; i < seen.size(); ++i) {
    const NodeId at = seen[i];
    if (std::find(seen.begin(), seen.begin() + i, at) != seen.begin() + i) continue;
    if (graph[at].group >= 0) found.push_back(at);
    else
      for (NodeId o : graph[at].operands) seen.push_back(o);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<Access*> accesses_of(const KernelCode& code) {
  std::vector<Access*> result;
  for (std::vector<Instruction>* list : code.code)
    for (Instruction& i : *list)
      if (has_place(i)) result.push_back(&i.access);
  return result;
}

std::vector<int> join_axes(KernelCode kernel, const std::vector<bool>& may_join) {
  std::vector<Axis>& axes = *kernel.axes;
  std::vector<int> where(axes.size());
  for (size_t i = 0; i < where.size(); ++i) where[i] = int(i);
  std::vector<bool> join = may_join;
  for (size_t i = 0; i + 1 < axes.size();) {
    bool possible = join[i] && !axes[i + 1].extent.rows;
    for (Access* a : accesses_of(kernel)) {
      possible = possible && a->strides[i] == a->strides[i + 1] * axes[i + 1].extent.size && a->row_axis != int(i) && a->row_axis != int(i) + 1;
    }
    for (std::vector<Instruction>* list : kernel.code)
      for (const Instruction& c : *list) {
        if (c.kind == Instruction::Kind::axis_index) possible = possible && c.axis != int(i) && c.axis != int(i) + 1;
      }
    if (!possible) {
      ++i;
      continue;
    }
    axes[i].extent.size *= axes[i + 1].extent.size;
    axes[i].name += axes[i + 1].name;
    axes.erase(axes.begin() + long(i) + 1);
    join.erase(join.begin() + long(i));
    for (Access* a : accesses_of(kernel)) {
      a->strides[i] = a->strides[i + 1];
      a->strides.erase(a->strides.begin() + long(i) + 1);
      if (a->row_axis > int(i)) --a->row_axis;
    }
    for (std::vector<Instruction>* list : kernel.code)
      for (Instruction& c : *list)
        if (c.kind == Instruction::Kind::axis_index && c.axis > int(i)) --c.axis;
    for (int& w : where)
      if (w > int(i)) --w;
  }
  return where;
}

std::vector<size_t> drop_single_axes(KernelCode code, size_t first) {
  std::vector<size_t> dropped;
  for (size_t axis = code.axes->size(); axis-- > first;) {
    bool needed = (*code.axes)[axis].extent != Extent{1, false};
    for (const std::vector<Instruction>* list : code.code)
      for (const Instruction& i : *list) {
        needed = needed || (i.kind == Instruction::Kind::axis_index && i.axis == int(axis));
        needed = needed || (has_place(i) && i.access.row_axis == int(axis));
      }
    if (needed) continue;
    dropped.push_back(axis);
    code.axes->erase(code.axes->begin() + std::ptrdiff_t(axis));
    for (Access* access : accesses_of(code)) {
      access->strides.erase(access->strides.begin() + std::ptrdiff_t(axis));
      access->row_axis -= access->row_axis > int(axis);
    }
    for (std::vector<Instruction>* list : code.code)
      for (Instruction& i : *list)
        if (i.kind == Instruction::Kind::axis_index) i.axis -= i.axis > int(axis);
  }
  return dropped;
}

void permute_axes(KernelCode kernel, const std::vector<int>& position) {
  std::vector<Axis> axes(kernel.axes->size());
  for (size_t a = 0; a < position.size(); ++a) axes[position[a]] = (*kernel.axes)[a];
  *kernel.axes = axes;
  for (Access* access : accesses_of(kernel)) {
    std::vector<int64_t> strides(access->strides.size());
    for (size_t a = 0; a < position.size(); ++a) strides[position[a]] = access->strides[a];
    access->strides = strides;
    if (access->row_axis >= 0) access->row_axis = position[access->row_axis];
  }
  for (std::vector<Instruction>* list : kernel.code)
    for (Instruction& c : *list)
      if (c.kind == Instruction::Kind::axis_index) c.axis = position[c.axis];
}

void ProgramLowering::add_leaves() {
  for (const auto& [name, buffer] : options_.places) place_[name] = add_buffer(buffer);
  for (const Persistent& p : graph_.persistents) {
    Buffer b;
    b.name = p.name;
    b.kind = BufferKind::persistent;
    b.dtype = p.type.dtype;
    b.shape = p.type.shape;
    b.span = p.span;
    if (auto it = options_.layouts.find(p.name); it != options_.layouts.end()) b.order = it->second;
    BufferId id = add_buffer(std::move(b));
    persistent_[p.name] = id;
    program_.persistents.push_back({p, id});
  }
  std::map<std::string, BufferId> inputs, scalars;
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const Node& node = graph_[NodeId{i}];
    if (node.op == Op::parameter) {
      lowering_.buffer_of[i] = persistent_.at(node.attributes.text);
    } else if (node.op == Op::exchange) {
      lowering_.buffer_of[i] = persistent_.at(node.attributes.text);
      // The part stands where the sum will, unless somebody else reads it as it is, or a scatter makes it, which reads its result.
      const NodeId part = node.operands[0];
      const auto reads_part = std::ranges::count_if(graph_.nodes(), [&](const Node& other) { return std::ranges::find(other.operands, part) != other.operands.end(); });
      if (BufferId& memory = lowering_.buffer_of[part.value]; reads_part == 1 && !memory.valid() && !is_lone_scatter(part)) memory = lowering_.buffer_of[i];
    } else if (node.op == Op::input && options_.places.count(node.attributes.text)) {
      lowering_.buffer_of[i] = place_.at(node.attributes.text);
    } else if (node.op == Op::input) {
      auto [it, fresh] = inputs.try_emplace(node.attributes.text);
      if (fresh) {
        Buffer b;
        b.name = node.attributes.text;
        b.dtype = node.type.dtype;
        b.shape = node.type.shape;
        b.span = node.span;
        b.kind = BufferKind::field;
        b.field = uint32_t(program_.fields.size());
        program_.fields.push_back(b.name);
        it->second = add_buffer(std::move(b));
      }
      lowering_.buffer_of[i] = it->second;
    } else if (node.op == Op::literal) {
      Buffer b;
      b.name = fmt::format("%{}", i);
      b.kind = BufferKind::literal;
      b.dtype = node.type.dtype;
      b.shape = node.type.shape;
      b.values = node.attributes.values;
      b.node = NodeId{i};
      b.span = node.span;
      lowering_.buffer_of[i] = add_buffer(std::move(b));
    } else if (node.op == Op::scalar) {
      auto [it, fresh] = scalars.try_emplace(node.attributes.text);
      if (fresh) {
        Buffer b;
        b.name = node.attributes.text;
        b.kind = BufferKind::scalars;
        b.dtype = node.type.dtype;
        b.offset = int64_t(program_.scalars.size()) * scalar_bytes;
        program_.scalars.push_back(b.name);
        it->second = add_buffer(std::move(b));
      }
      lowering_.buffer_of[i] = it->second;
    }
  }
}

// Which groups read which persistent, and which groups feed which.
void ProgramLowering::find_readers() {
  after_.resize(spaces_.size());
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const Node& node = graph_[NodeId{i}];
    if (node.group < 0) continue;
    for (NodeId o : computing_operands(graph_, NodeId{i}))
      if (graph_[o].group != node.group) after_[size_t(graph_[o].group)].insert(node.group);
    // Walk down this member's own operands to the persistents; `same_index`: they are read at the index that is computed.
    bool anchor = node.op == Op::contract || node.op == Op::scatter_add || op_class(node.op) == OpClass::reduce;
    std::vector<std::pair<NodeId, bool>> pending;
    auto note_axes = [&](const std::string& persistent) {
      const GroupSpace& space = spaces_[size_t(node.group)];
      size_t member = size_t(std::find(space.members.begin(), space.members.end(), NodeId{i}) - space.members.begin());
      reader_axes_[persistent][node.group].insert(space.axes[member]);
    };
    if (node.op == Op::parameter) {
      readers_[node.attributes.text][node.group] = true;
      note_axes(node.attributes.text);
    }
    for (NodeId o : node.operands) pending.push_back({o, !anchor && is_elementwise(node.op)});
    std::vector<std::pair<NodeId, bool>> seen;  // few
    while (!pending.empty()) {
      auto [at, same_index] = pending.back();
      pending.pop_back();
      const Node& down = graph_[at];
      if (std::find(seen.begin(), seen.end(), std::pair{at, same_index}) != seen.end()) continue;
      seen.push_back({at, same_index});
      if (down.op == Op::parameter) {
        auto [it, fresh] = readers_[down.attributes.text].try_emplace(node.group, true);
        it->second = it->second && same_index;
        note_axes(down.attributes.text);
      }
      if (down.group >= 0) continue;
      for (NodeId o : down.operands) pending.push_back({o, same_index && is_elementwise(down.op)});
    }
  }
}

// In place is safe if the group itself reads the old value at the index it writes only, and no other kernel that reads it has to come after this
// group, be it for its values or because it overwrites something else that this group reads.
bool ProgramLowering::claim_in_place(const Update& update) {
  int group = graph_[update.node].group;
  const std::map<int, bool>& readers = readers_[update.name];
  if (auto own = readers.find(group); own != readers.end() && !own->second) return false;
  // The member that reads and the one that writes may see the kernel's axes in another order, with a transpose between them.
  const GroupSpace& own_space = spaces_[size_t(group)];
  size_t member = size_t(std::find(own_space.members.begin(), own_space.members.end(), update.node) - own_space.members.begin());
  for (const std::vector<int>& axes : reader_axes_[update.name][group])
    if (axes != own_space.axes[member]) return false;
  // In a kernel of several stages an inner value is stored before later stages have read the old one.
  bool staged = std::find(own_space.reduced.begin(), own_space.reduced.end(), true) != own_space.reduced.end();
  if (staged && graph_.type(update.node).shape.size() == own_space.space.size()) return false;
  std::vector<int> pending{group};
  std::set<int> later;
  while (!pending.empty()) {
    int at = pending.back();
    pending.pop_back();
    for (int next : after_[size_t(at)])
      if (later.insert(next).second) pending.push_back(next);
  }
  for (const auto& [reader, same_index] : readers)
    if (reader != group && later.count(reader)) return false;
  for (const auto& [reader, same_index] : readers)
    if (reader != group) after_[size_t(reader)].insert(group);
  return true;
}

void ProgramLowering::plan_stores() {
  stores_.targets.resize(graph_.size());
  stores_.parts.resize(graph_.size());
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    if (graph_[NodeId{i}].op == Op::scan) add_scan_buffers(NodeId{i});
    if (graph_[NodeId{i}].op == Op::result) lowering_.buffer_of[i] = result_memory(NodeId{i});
  }
  // What a body gives stands where it is wanted, for who reads it within the body, too.
  for (const Output& output : graph_.outputs) {
    const auto place = place_.find(output.name);
    BufferId& memory = lowering_.buffer_of[output.node.value];
    const Node& node = graph_[output.node];
    if (place == place_.end() || memory.valid() || node.group < 0 || is_lone_scatter(output.node)) continue;
    memory = place->second;
    stores_.targets[output.node.value].push_back(memory);
  }
  std::vector<bool> in_memory(graph_.size(), false);
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const Node& node = graph_[NodeId{i}];
    if (node.group < 0) continue;
    if (const Join* join = join_of(node.group)) {
      for (const JoinedPart& part : join->parts)
        if (graph_[part.value].group >= 0 && !is_stored_in_place(part)) in_memory[part.value.value] = true;
        else if (graph_[part.value].group < 0)
          for (NodeId m : computing_operands(graph_, part.value)) in_memory[m.value] = true;
      continue;
    }
    bool hard = node.op == Op::contract || node.op == Op::scatter_add;
    for (NodeId m : computing_operands(graph_, NodeId{i}))
      if (graph_[m].group != node.group || hard) in_memory[m.value] = true;
  }
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const Node& node = graph_[NodeId{i}];
    if (node.group >= 0 && is_lone_scatter(NodeId{i})) in_memory[i] = true;
    if (!in_memory[i] || node.op == Op::scan || lowering_.buffer_of[i].valid()) continue;
    lowering_.buffer_of[i] = temporary(NodeId{i});
    stores_.targets[i].push_back(lowering_.buffer_of[i]);
  }
  for (const Output& output : graph_.outputs) {
    const Type& type = graph_.type(output.node);
    const auto known = place_.find(output.name);
    if (known != place_.end() && lowering_.buffer_of[output.node.value] == known->second) continue;
    Buffer b;
    b.name = output.name;
    b.span = graph_[output.node].span;
    if (known != place_.end()) {
    } else if (type.rank() == 0 && (type.dtype == scalar_type || !options_.typed_scalars)) {
      b.kind = BufferKind::results;
      b.dtype = scalar_type;
      b.offset = int64_t(program_.results.size()) * scalar_bytes;
      program_.results.push_back(output.name);
    } else {
      b.kind = BufferKind::output;
      b.dtype = type.dtype;
      b.shape = type.shape;
      b.offset = int64_t(program_.outputs.size());
      program_.outputs.push_back(output.name);
    }
    BufferId place = known != place_.end() ? known->second : add_buffer(std::move(b));
    // A scatter adds to memory that it reads again: it is made in a temporary, and copied out.
    if (is_lone_scatter(output.node)) {
      copies_.push_back({lowering_.buffer_of[output.node.value], place});
    } else {
      stores_.targets[output.node.value].push_back(place);
    }
  }
  for (const Update& update : graph_.updates) {
    BufferId place = persistent_.at(update.name);
    if (!is_lone_scatter(update.node) && claim_in_place(update)) {
      stores_.targets[update.node.value].push_back(place);
      continue;
    }
    BufferId memory = lowering_.buffer_of[update.node.value];
    bool leaf = memory.valid() && program_[memory].kind != BufferKind::temporary;  // another persistent's old value: kept apart
    if (!memory.valid() || leaf) {
      Buffer copied = lowering_.temporary_of(update.node);
      copied.order = program_[place].order;  // as it will stand, so that the kernel goes through both as they lie
      memory = add_buffer(std::move(copied));
      if (!leaf) lowering_.buffer_of[update.node.value] = memory;
      stores_.targets[update.node.value].push_back(memory);
    }
    copies_.push_back({memory, place});
  }
  plan_parts();
}

const Join* ProgramLowering::join_of(int group) const {
  const std::vector<NodeId>& members = spaces_[size_t(group)].members;
  const int number = members.size() == 1 ? joins_.number[members.front().value] : -1;
  return number < 0 ? nullptr : &joins_.all[size_t(number)];
}

bool ProgramLowering::is_stored_in_place(const JoinedPart& part) const {
  const int group = graph_[part.value].group;
  return part.computed && group >= 0 && !spaces_[size_t(group)].scatter;
}

void ProgramLowering::plan_parts() {
  for (const Join& join : joins_.all) {
    const int group = graph_[join.root].group;
    if (group < 0 || join_of(group) != &join) continue;
    for (const JoinedPart& part : join.parts)
      if (is_stored_in_place(part))
        for (BufferId target : stores_.targets[join.root.value]) stores_.parts[part.value.value].push_back({target, part.place, join.root});
  }
}

void ProgramLowering::find_updates() {
  updates_.assign(spaces_.size(), false);
  for (const Update& u : graph_.updates)
    if (const int group = graph_[u.node].group; group >= 0) updates_[size_t(group)] = true;
}

void ProgramLowering::name_kernel(Kernel& kernel, const GroupSpace& space, int group) {
  // Named after the scope of the member that gives the kernel its shape, and what it does.
  NodeId anchor = space.members.front();
  for (NodeId m : space.members)
    if (graph_[m].op == Op::contract || graph_[m].op == Op::scatter_add) anchor = m;
  kernel.scope = graph_[anchor].scope;
  kernel.span = graph_[anchor].span;
  bool reduces = std::find(space.reduced.begin(), space.reduced.end(), true) != space.reduced.end();
  std::string what = space.contract ? "contract" : space.scatter ? "scatter" : reduces ? "rows" : "map";
  if (updates_[size_t(group)]) what += "_update";
  if (!kernel.name.empty()) what = kernel.name;
  kernel.name = unique_name(kernel.scope.empty() ? what : kernel.scope + "." + what);
}

/// How much of a buffer a kernel touches that leaves out entries of a table, at the most.
double ProgramLowering::share_of_touched(const Kernel& kernel, BufferId b) const {
  const auto* map = std::get_if<MapKernel>(&kernel.body);
  const Instruction* touched = map ? find_touched(*map) : nullptr;
  if (!touched || program_[b].kind != BufferKind::persistent) return 1;
  const ChainLayout chains = chain_layout(program_[touched->access.buffer], map->axes[0].extent.size);
  return std::min(1.0, double(chains.places) / double(chains.entries));
}

void ProgramLowering::measure(Kernel& kernel) {
  kernel.flops = kernel_flops(kernel, program_.rows);
  kernel.bytes = 0;
  std::set<BufferId> touched;
  for_each_access(kernel, [&](const Instruction& i) { touched.insert(i.access.buffer); });
  for (BufferId b : touched) kernel.bytes += double(program_[b].bytes) * share_of_touched(kernel, b);
}

void ProgramLowering::add_copy(BufferId to, const Shape& shape, NodeId node, const std::function<int(KernelBuilder&, const IndexMap&)>& value) {
  Kernel kernel;
  kernel.span = program_[to].span;
  kernel.name = unique_name(program_[to].name + ".copy");
  if (node.valid()) kernel.nodes = {node};
  MapKernel map;
  IndexMap index;
  for (const Extent& e : shape) {
    index.push_back({int(map.axes.size()), 0, -1});
    map.axes.push_back({std::string(1, char('i' + map.axes.size())), e});
  }
  map.outer = int(map.axes.size());
  KernelBuilder builder(lowering_, -1, std::vector<bool>(map.axes.size(), false));
  builder.store(to, index, value(builder, index), node);
  map.blocks.push_back({false, std::move(builder.outer)});
  settle_axes(program_, map);
  map.vector_axis = map.outer - 1;
  map.serial = map.outer == 0;
  kernel.body = std::move(map);
  program_.kernels.push_back(std::move(kernel));
}

std::string ProgramLowering::unique_name(const std::string& base) {
  auto [taken, fresh] = names_.try_emplace(base, 1);
  if (fresh) return base;
  int& tried = taken->second;  // lower numbers are taken: equal layers would try them all again
  std::string name;
  do name = fmt::format("{}.{}", base, ++tried);
  while (!names_.try_emplace(name, 1).second);
  return name;
}

void ProgramLowering::add_kernels() {
  for (size_t g = 0; g < spaces_.size(); ++g) {
    const GroupSpace& space = spaces_[g];
    if (space.members.empty()) continue;
    if (graph_[space.members.front()].op == Op::scan) {
      add_scan(space.members.front());
      continue;
    }
    GroupContext context{lowering_, space, int(g), stores_};
    std::vector<Kernel> kernels(1);
    if (const Join* join = join_of(int(g))) {
      kernels.clear();
      lower_copied_parts(context, *join, kernels);
    } else if (space.scatter) {
      kernels.clear();
      (is_lone_scatter(space.members.front()) ? lower_scatter_group : lower_entry_sums)(context, kernels);
    } else if (space.contract) {
      lower_contract_group(context, kernels[0]);
    } else {
      lower_map_group(context, kernels[0]);
    }
    for (Kernel& kernel : kernels) {
      name_kernel(kernel, space, int(g));
      kernel.nodes = space.members;
      program_.kernels.push_back(std::move(kernel));
    }
  }
  for (auto [from, to] : copies_) {
    const NodeId none;
    add_copy(to, program_[to].shape, none, [&](KernelBuilder& builder, const IndexMap& index) { return builder.load(from, program_[from].shape, index, none); });
  }
  for (Kernel& kernel : program_.kernels) measure(kernel);
}

Program ProgramLowering::run() {
  lowering_.buffer_of.assign(graph_.size(), BufferId{});
  joins_ = find_joins(graph_);
  spaces_ = group_spaces(graph_, joins_);
  find_updates();
  add_leaves();
  find_readers();
  plan_stores();
  add_kernels();
  return std::move(program_);
}

Program lower(const Graph& graph, const LowerOptions& options) { return ProgramLowering(graph, options).run(); }

}  // namespace nnc
