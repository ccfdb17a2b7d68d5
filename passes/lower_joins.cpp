// What is stored of a value: all of it in buffers of its own, and its places in joins. A join has no kernel but for parts that nobody makes, which are copied.
#include "ir/graph.h"
#include "passes/lower_internal.h"

namespace nnc {
namespace {

/// A part's value as it stands in the join: zeros of other parts are added, so -0 becomes 0, and all else stays.
int value_in_join(KernelBuilder& builder, int value, DType dtype, NodeId node) {
  return is_float(dtype) ? builder.compute(Op::add, dtype, {value, builder.constant(0, dtype)}, node) : value;
}

/// Where the join has what stands at `map` in its part.
IndexMap place_in_join(const IndexMap& part, const IndexMap& map) {
  IndexMap place;
  for (const IndexTerm& term : part) place.push_back(composed(term, map));
  return place;
}

}  // namespace

std::vector<ValueStore> stores_of(const LoweringContext& lowering, const StorePlan& plan, KernelBuilder& builder, NodeId n, const IndexMap& map, int value) {
  std::vector<ValueStore> stores;
  const DType own = lowering.graph.type(n).dtype;
  for (BufferId target : plan.targets[n.value]) {
    const DType stored = lowering.program[target].dtype;
    stores.push_back({target, map, stored == own ? value : builder.compute(Op::cast, stored, {value}, n), n});
  }
  if (plan.parts[n.value].empty()) return stores;
  const int joined = value_in_join(builder, value, own, n);
  for (const PartTarget& part : plan.parts[n.value]) {
    stores.push_back({part.target, place_in_join(part.place, map), joined, part.join});
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
      const int value = value_in_join(builder, builder.value(part.value, map), type.dtype, join.root);
      const IndexMap place = place_in_join(part.place, map);
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
