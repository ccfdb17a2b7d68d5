// The axes of a group (attention_groups.h) become a region's: rows are cut into blocks of queries, (b, h, q, i), unless a causal mask has done that (limit_axes.h), and a round is one (b, h, q); what sums
// over all rows (the gradients of keys and values) stands behind the blocks, in a region over (b, h).
//
// Scores are turned, s before t: a product makes them with keys as rows of tiles and queries in lanes, so it packs the block of queries alone and reads keys as they lie; row-wise code runs
// down the columns, with a query in each lane and no sums across lanes; and to the product with the values they are an operand in order of its sum.
#include "passes/form_regions.h"

#include <algorithm>
#include <optional>

#include "passes/attention_groups.h"
#include "passes/kept_scores.h"
#include "passes/kernel_axes.h"
#include "passes/tiles.h"

namespace nnc {
namespace {

class Former {
 public:
  Former(Program& program, const RegionOptions& options) : program_(program), options_(options) {}

  void run() {
    std::vector<Group> groups = find_groups();
    if (keep_draws(program_, *all_, groups)) groups = find_groups();
    if (make_scores_again(program_, *all_, groups, options_.kept_bytes)) groups = find_groups();
    if (groups.empty()) return;
    for (Group& group : groups)
      for (Member& m : group.members) program_.kernels[m.kernel] = m.copy;
    for (Group& group : groups) cut_rows(group);
    lay_out_scores(groups);
    for (Group& group : groups)
      for (Member& m : group.members) put_axes_first(group, m);
    assemble(groups);
  }

 private:
  std::vector<Group> find_groups() {
    all_.emplace(program_, options_);
    return all_->find();
  }

  // --- layout ---

  /// Rows of which there are many become (blocks, rows of a block) where they are gone through in blocks; blocks are one more batch axis.
  void cut_rows(Group& group) {
    const int64_t block = query_block(group, options_), blocks = group.rows / block;
    if (blocks == 1) return;
    for (Member& m : group.members) {
      if (!m.blocked()) {
        m.batch.push_back(no_axis);
        continue;
      }
      Kernel& kernel = program_.kernels[m.kernel];
      split_axis(kernel, size_t(m.rows), {Extent{blocks}, Extent{block}});
      const int cut = m.rows;
      auto moved = [&](int axis) { return axis > cut ? axis + 1 : axis; };
      for (int& axis : m.batch) axis = moved(axis);
      m.batch.push_back(cut);
      m.rows = cut + 1;
      if (m.columns != no_axis) m.columns = moved(m.columns);
      if (std::holds_alternative<ContractKernel>(kernel.body)) move_to_batch(kernel, size_t(cut));
    }
    group.batch.push_back(Extent{blocks});
    group.rows = block;
  }

  void lay_out_scores(const std::vector<Group>& groups) {
    std::set<size_t> kernels;
    std::set<BufferId> done;
    for (const Group& group : groups)
      for (BufferId id : group.scores) {
        if (!done.insert(id).second) continue;
        for (size_t k : all_->touching(id)) separate(program_, program_.kernels[k], id);
        turn(group, id);
        kernels.insert(all_->touching(id).begin(), all_->touching(id).end());
      }
    touched_.assign(kernels.begin(), kernels.end());
  }

  /// Scores of the group stand turned: [.., columns, rows]. What is not needed for all rounds at once becomes local, without the axes that rounds go over.
  void turn(const Group& group, BufferId id) {
    const auto known = std::find_if(group.members.begin(), group.members.end(), [&](const Member& m) { return m.blocked() && m.columns != no_axis && touches(program_.kernels[m.kernel], id); });
    const Kernel& kernel = program_.kernels[known->kernel];
    const std::vector<Dimension> old = dimensions(program_, id);
    auto dimension = [&](int axis) {
      const int64_t stride = stride_of(kernel, id, axis);
      return stride == 0 ? no_axis : dimension_of(old, stride, axes_of(kernel)[size_t(axis)].extent.at(program_.rows), program_.rows);
    };
    const int rows = dimension(known->rows), columns = dimension(known->columns);
    bool inside = true, blocked = true;
    for (size_t k : all_->touching(id)) {
      const Member* member = group.member(k);
      inside = inside && member;
      blocked = blocked && inside && member->blocked();
    }
    const size_t rounds = !inside ? 0 : blocked ? group.batch.size() : group.shared;  // how many of the group's axes the buffer does not have
    std::vector<bool> dropped(old.size(), false);
    for (size_t number = 0; number < rounds; ++number)
      if (const int d = dimension(known->batch[number]); d != no_axis && d != rows) dropped[size_t(d)] = true;

    // Rows are the fastest dimension. Where lines of memory would meet in few sets of the cache, they are a little longer.
    constexpr int64_t aliasing = 256, padding = 16;
    int64_t line = blocked ? group.rows : old[size_t(rows)].extent.size;
    if (!blocked && line % aliasing == 0) line += padding;
    std::vector<int64_t> strides(old.size(), 0);
    strides[size_t(rows)] = 1;
    strides[size_t(columns)] = line;
    int64_t size = line * old[size_t(columns)].extent.size;
    Shape shape{old[size_t(columns)].extent, Extent{line}};
    for (size_t d = old.size(); d-- > 0;) {
      if (int(d) == rows || int(d) == columns || dropped[d]) continue;
      strides[d] = size;
      size *= old[d].extent.at(program_.rows);
      shape.insert(shape.begin(), old[d].extent);
    }
    for (size_t k : all_->touching(id)) {
      Kernel& user = program_.kernels[k];
      const Member* member = group.member(k);
      for_each_access_to(user, id, [&](Instruction& i) {
        for (size_t a = 0; a < i.access.strides.size(); ++a) {
          int64_t& stride = i.access.strides[a];
          const int64_t extent = axes_of(user)[a].extent.at(program_.rows);
          if (stride == 0) continue;
          const int d = extent > 1 ? dimension_of(old, stride, extent, program_.rows) : no_axis;
          stride = d == no_axis ? 0 : stride / old[size_t(d)].stride * strides[size_t(d)];
        }
        for (size_t number = 0; number < rounds; ++number) i.access.strides[size_t(member->batch[number])] = 0;
      });
    }
    Buffer& buffer = program_[id];
    buffer.shape = std::move(shape);
    buffer.order.clear();
    if (inside) buffer.kind = BufferKind::local;
  }

  /// The batch axes in the group's order; lanes along the rows of a block.
  void put_axes_first(const Group& group, const Member& m) {
    Kernel& kernel = program_.kernels[m.kernel];
    auto* map = std::get_if<MapKernel>(&kernel.body);
    std::vector<size_t> order;
    for (int axis : m.batch)
      if (axis != no_axis) order.push_back(size_t(axis));
    for (size_t axis = 0; axis < axes_of(kernel).size(); ++axis)
      if (std::find(order.begin(), order.end(), axis) == order.end()) order.push_back(axis);
    if (map) map->vector_axis = no_axis;
    reorder_axes(kernel, order);
    if (map) {
      map->vector_axis = map->outer - 1;
      return;
    }
    auto& contract = std::get<ContractKernel>(kernel.body);
    if (m.blocked() && m.columns == int(contract.n_axis()) && stores_scores(group, kernel)) swap_operands(kernel);
  }

  bool stores_scores(const Group& group, const Kernel& kernel) const {
    return std::any_of(group.scores.begin(), group.scores.end(), [&](BufferId id) { return writes(kernel, id); });
  }

  // --- regions ---

  void assemble(std::vector<Group>& groups) {
    for (size_t k : touched_)
      if (auto* c = std::get_if<ContractKernel>(&program_.kernels[k].body)) choose_tiles(program_, *c);
    std::vector<size_t> order, behind;
    auto group = groups.begin();
    for (size_t k = 0; k < program_.kernels.size(); ++k) {
      const bool member = group != groups.end() && group->has(k);
      const bool later = group != groups.end() && std::find(group->behind.begin(), group->behind.end(), k) != group->behind.end();
      if (!member) (later ? behind : order).push_back(k);
      if (group == groups.end() || k != group->members.back().kernel) continue;
      std::vector<Member>& members = group->members;
      const auto unblocked = std::stable_partition(members.begin(), members.end(), [](const Member& m) { return m.blocked(); });
      const Kernel& first = program_.kernels[members.front().kernel];
      ParallelRegion region{first.name + ".region", first.scope, first.span, order.size(), members.size(), int(unblocked == members.end() ? group->batch.size() : group->shared)};
      program_.parallel_regions.push_back(region);
      if (unblocked != members.end() && group->batch.size() > group->shared) {
        region.name += ".blocks";
        region.count = size_t(unblocked - members.begin());
        region.axes = int(group->batch.size());
        program_.parallel_regions.push_back(region);
      }
      for (const Member& m : members) order.push_back(m.kernel);
      order.insert(order.end(), behind.begin(), behind.end());
      behind.clear();
      ++group;
    }
    std::vector<Kernel> kernels;
    for (size_t k : order) kernels.push_back(std::move(program_.kernels[k]));
    program_.kernels = std::move(kernels);
  }

  Program& program_;
  const RegionOptions& options_;
  std::optional<AttentionGroups> all_;
  std::vector<size_t> touched_;  ///< kernels that touch scores
};

}  // namespace

void form_parallel_regions(Program& program, const RegionOptions& options) { Former(program, options).run(); }

}  // namespace nnc
