// A scatter into a table, entry by entry. The first kernel links the places of each entry (ir/chains.h); the second goes over entries and their columns, adds up the updates of
// an entry's places in f64, in the order of the places and by pieces of the batch (ir/sum_order.h), and computes what has joined it: a stored gradient, or the update of the table. Where the update would leave
// entries without places as they are, it passes over them (touched_rows.h).
#include <algorithm>
#include <map>

#include "base/check.h"
#include "ir/chains.h"
#include "passes/lower_internal.h"
#include "passes/rewrite.h"
#include "passes/touched_rows.h"

namespace nnc {
namespace {

class EntryLowering {
 public:
  explicit EntryLowering(const GroupContext& context)
      : context_(context), graph_(context.lowering.graph), program_(context.lowering.program), scatter_(context.space.members.front()), node_(graph_[scatter_]) {
    NNC_CHECK(sums_by_entry(graph_, node_), "a group of a scatter begins with another operation");
  }

  void run(std::vector<Kernel>& kernels) {
    add_axes();
    kernels.push_back(make_links());
    kernels.push_back(make_sums());
  }

 private:
  const GroupContext& context_;
  const Graph& graph_;
  Program& program_;
  const NodeId scatter_;
  const Node& node_;
  const Attributes& attributes_ = node_.attributes;
  BufferId chains_;
  std::vector<Axis> axes_;             // of the sums: entries, columns, places
  size_t outer_ = 0;
  std::map<int, int> axis_of_label_;
  std::vector<int> axis_of_result_;    // by axis of the table

  int entries_axis() const { return attributes_.axes[0]; }
  Extent entries() const { return node_.type.shape[size_t(entries_axis())]; }

  void add_axis(int label, Extent extent) {
    axis_of_label_[label] = int(axes_.size());
    axes_.push_back({std::string(1, char('i' + axes_.size())), extent});
  }

  /// The buffer that most of the work goes to.
  std::vector<int64_t> strides_of_table() const {
    for (NodeId m : context_.space.members)
      for (BufferId target : context_.stores.targets[m.value])
        if (program_[target].shape.size() == node_.type.shape.size()) return buffer_strides(program_[target], program_.rows);
    return buffer_strides(context_.lowering.temporary_of(scatter_), program_.rows);
  }

  void add_axes() {
    const Shape& table = node_.type.shape;
    add_axis(attributes_.out[size_t(entries_axis())], entries());
    const std::vector<int64_t> strides = strides_of_table();
    std::vector<size_t> columns;
    for (size_t i = 0; i < table.size(); ++i)
      if (int(i) != entries_axis()) columns.push_back(i);
    std::stable_sort(columns.begin(), columns.end(), [&](size_t a, size_t b) { return strides[a] > strides[b]; });
    for (size_t i : columns) add_axis(attributes_.out[i], table[i]);
    outer_ = axes_.size();
    const Shape& index = graph_.type(node_.operands[1]).shape;
    for (size_t i = 0; i < attributes_.rhs.size(); ++i) add_axis(attributes_.rhs[i], index[i]);
    for (int label : attributes_.out) axis_of_result_.push_back(axis_of_label_.at(label));
  }

  IndexMap map_of(const std::vector<int>& labels) const {
    IndexMap map;
    for (int label : labels) map.push_back({axis_of_label_.at(label), 0, -1});
    return map;
  }

  Kernel make_links() {
    MapKernel map;
    for (size_t i = outer_; i < axes_.size(); ++i) map.axes.push_back({std::string(1, char('i' + i - outer_)), axes_[i].extent});
    map.outer = int(map.axes.size());
    map.serial = true;
    const ChainLayout layout{entries().size, joint_extent(map.axes, 0, map.axes.size()).at(program_.rows)};
    Buffer buffer;
    buffer.name = "%" + std::to_string(scatter_.value);
    buffer.dtype = index_type;
    buffer.shape = {Extent{layout.size()}};
    buffer.node = scatter_;
    buffer.span = node_.span;
    buffer.bytes = buffer_bytes(buffer, program_.rows);
    program_.buffers.push_back(std::move(buffer));
    chains_ = BufferId{uint32_t(program_.buffers.size() - 1)};

    KernelBuilder builder(context_.lowering, context_.group, std::vector<bool>(map.axes.size(), false));
    IndexMap place;
    for (int axis = 0; axis < map.outer; ++axis) place.push_back({axis, 0, -1});
    Instruction link;
    link.kind = Instruction::Kind::link;
    link.dtype = index_type;
    link.operands = {builder.entry(node_.operands[1], place, entries().size, scatter_)};
    link.extent = entries();
    link.access.buffer = chains_;
    link.access.strides = place_strides(map.axes, 0, map.axes.size(), program_.rows);
    link.node = scatter_;
    builder.emit(std::move(link), false);
    map.blocks.push_back({false, std::move(builder.outer)});
    Kernel kernel;
    kernel.name = "places";
    kernel.body = std::move(map);
    return kernel;
  }

  /// The one update of the group, if it is in place, nothing else is stored, and entries without places keep their values.
  std::optional<SteadyUpdate> steady_update() const {
    NodeId stored;
    size_t stores = 0;
    BufferId place;
    for (NodeId m : context_.space.members)
      for (BufferId target : context_.stores.targets[m.value]) {
        ++stores;
        stored = m;
        place = target;
      }
    if (stores != 1 || program_[place].kind != BufferKind::persistent) return std::nullopt;
    return find_steady_update(graph_, {program_[place].name, stored}, scatter_);
  }

  /// Passes over entries without places unless the update's step for a gradient of 0 is another number than the zero that changes nothing.
  void pass_over_untouched(KernelBuilder& builder, const SteadyUpdate& update) const {
    const DType type = graph_.type(update.step).dtype;
    builder.define(scatter_, builder.constant(0, node_.type.dtype));
    const int step = builder.value(update.step, IndexMap(graph_.type(update.step).shape.size(), IndexTerm{-1, 0, -1}));
    const int zero = builder.constant(0, type), one = builder.constant(1, type);
    const int is_other = builder.compute(Op::not_equal, DType::boolean, {step, zero}, scatter_);
    const int sign = builder.compute(Op::copysign, type, {one, step}, scatter_);
    const int turns = builder.compute(update.subtracts ? Op::less : Op::greater, DType::boolean, {sign, zero}, scatter_);
    Instruction touched;
    touched.kind = Instruction::Kind::touched;
    touched.dtype = index_type;
    touched.operands = {builder.compute(Op::logical_or, DType::boolean, {is_other, turns}, scatter_)};
    touched.axis = 0;
    touched.access.buffer = chains_;
    touched.access.strides.assign(axes_.size(), 0);
    touched.node = scatter_;
    builder.emit(std::move(touched), false);
  }

  Kernel make_sums() {
    MapKernel map;
    map.axes = axes_;
    map.outer = int(outer_);
    std::vector<bool> inner(axes_.size(), false);
    std::fill(inner.begin() + std::ptrdiff_t(outer_), inner.end(), true);
    KernelBuilder builder(context_.lowering, context_.group, inner);
    if (std::optional<SteadyUpdate> update = steady_update()) pass_over_untouched(builder, *update);

    Instruction linked;
    linked.kind = Instruction::Kind::linked;
    linked.dtype = index_type;
    linked.axis = 0;
    linked.access.buffer = chains_;
    linked.access.strides = place_strides(axes_, outer_, axes_.size(), program_.rows);
    linked.node = scatter_;
    builder.emit(std::move(linked), true);
    int update = builder.value(node_.operands[0], map_of(attributes_.lhs));
    // An entry may have any number of places: floats add up in f64 and are rounded once.
    if (node_.type.dtype != DType::f64) update = builder.compute(Op::cast, DType::f64, {update}, scatter_);
    Instruction reduce;
    reduce.kind = Instruction::Kind::reduce;
    reduce.op = Op::reduce_sum;
    reduce.dtype = DType::f64;
    reduce.operands = {update};
    reduce.node = scatter_;
    int sum = builder.emit(reduce, true);
    if (!builder.outer.empty()) map.blocks.push_back({false, std::move(builder.outer)});
    map.blocks.push_back({true, std::move(builder.inner)});
    builder.outer.clear();
    builder.inner.clear();
    builder.begin_inner();
    if (node_.type.dtype != DType::f64) sum = builder.compute(Op::cast, node_.type.dtype, {sum}, scatter_);
    builder.define(scatter_, sum);
    store_members(builder);
    map.blocks.push_back({false, std::move(builder.outer)});
    settle(map);
    Kernel kernel;
    kernel.body = std::move(map);
    return kernel;
  }

  /// Persistents are overwritten when all values have been computed, which may need the old ones.
  void store_members(KernelBuilder& builder) const {
    struct Store {
      BufferId target;
      IndexMap index;
      int value;
      NodeId node;
    };
    std::vector<Store> updates;
    for (size_t k = 0; k < context_.space.members.size(); ++k) {
      const NodeId m = context_.space.members[k];
      IndexMap index;
      for (int axis : context_.space.axes[k]) index.push_back({axis_of_result_[size_t(axis)], 0, -1});
      for (BufferId target : context_.stores.targets[m.value]) {
        int value = builder.value(m, index);
        if (program_[target].dtype != graph_.type(m).dtype) value = builder.compute(Op::cast, program_[target].dtype, {value}, m);
        if (program_[target].kind == BufferKind::persistent)
          updates.push_back({target, index, value, m});
        else
          builder.store(target, index, value, m);
      }
    }
    for (const Store& update : updates) builder.store(update.target, update.index, update.value, update.node);
  }

  /// Columns that are walked as one become one axis, and so do places.
  void settle(MapKernel& map) const {
    KernelCode code{&map.axes, {}};
    for (Block& block : map.blocks) code.code.push_back(&block.code);
    std::vector<bool> may_join(map.axes.size(), true);
    may_join[0] = may_join[outer_ - 1] = false;
    const std::vector<int> where = join_axes(code, may_join);
    map.outer = where[outer_ - 1] + 1;
    map.vector_axis = map.outer > 1 ? map.outer - 1 : -1;
  }
};

}  // namespace

void lower_entry_sums(const GroupContext& context, std::vector<Kernel>& kernels) { EntryLowering(context).run(kernels); }

}  // namespace nnc
