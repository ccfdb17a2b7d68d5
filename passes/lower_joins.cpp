// What is stored of a value: all of it in buffers of its own, and its places in joins. A join has no kernel but for parts that nobody makes, which are copied.
#include "ir/graph.h"
#include "passes/lower_internal.h"

namespace nnc {

std::vector<ValueStore> stores_of(const LoweringContext& lowering, const StorePlan& plan, KernelBuilder& builder, NodeId n, const IndexMap& map, int value) {
  std::vector<ValueStore> stores;
  const DType own = lowering.graph.type(n).dtype;
  for (BufferId target : plan.targets[n.value]) {
    const DType stored = lowering.program[target].dtype;
    stores.push_back({target, map, stored == own ? value : builder.compute(Op::cast, stored, {value}, n), n});
  }
  if (plan.parts[n.value].empty()) return stores;
  // Zeros of other parts are added: -0 becomes 0, all else stays.
  const int joined = is_float(own) ? builder.compute(Op::add, own, {value, builder.constant(0, own)}, n) : value;
  for (const PartTarget& part : plan.parts[n.value]) {
    IndexMap place;
    for (const IndexTerm& term : part.place) place.push_back(composed(term, map));
    stores.push_back({part.target, std::move(place), joined, part.join});
  }
  return stores;
}

void lower_copied_parts(const GroupContext& context, const Join& join, std::vector<Kernel>& kernels) {
  const Graph& graph = context.lowering.graph;
  Program& program = context.lowering.program;
  const std::vector<BufferId>& targets = context.stores.targets[join.root.value];
  std::vector<bool> done(join.parts.size(), false);
  for (size_t first = 0; first < join.parts.size(); ++first) {
    auto is_copied = [&](size_t i) { return !done[i] && !context.stores.stores_part(join.parts[i].value, join.root); };
    if (!is_copied(first)) continue;
    const Shape& shape = graph.type(join.parts[first].value).shape;
    MapKernel kernel;
    IndexMap map;
    for (const Extent& e : shape) {
      map.push_back({int(kernel.axes.size()), 0, -1});
      kernel.axes.push_back({std::string(1, char('i' + kernel.axes.size())), e});
    }
    kernel.outer = int(kernel.axes.size());
    KernelBuilder builder(context.lowering, context.group, std::vector<bool>(kernel.axes.size(), false));
    for (size_t i = first; i < join.parts.size(); ++i) {
      const JoinedPart& part = join.parts[i];
      const Type& type = graph.type(part.value);
      if (!is_copied(i) || type.shape != shape) continue;
      done[i] = true;
      int value = builder.value(part.value, map);
      if (is_float(type.dtype)) value = builder.compute(Op::add, type.dtype, {value, builder.constant(0, type.dtype)}, join.root);
      IndexMap place;
      for (const IndexTerm& term : part.place) place.push_back(composed(term, map));
      for (BufferId target : targets) builder.store(target, place, value, join.root);
    }
    kernel.blocks.push_back({false, std::move(builder.outer)});
    settle_axes(program, kernel);
    kernel.vector_axis = kernel.outer - 1;
    kernel.serial = kernel.outer == 0;
    kernels.emplace_back().body = std::move(kernel);
  }
}

}  // namespace nnc
