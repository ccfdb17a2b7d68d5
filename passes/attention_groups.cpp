// A group begins with a product of scores and takes what follows along the same axes: whoever reads what a member stores, and what a reader has besides, as long as each axis of the one is an axis of the
// other by its stride in the buffer that they share. Its axes become the region's. Queries may be rows or columns of the product, batch and heads one axis or two, in either order.
#include "passes/attention_groups.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "ir/program_regions.h"
#include "ir/store_places.h"
#include "passes/kernel_axes.h"

namespace nnc {

using Kind = Instruction::Kind;

bool Member::blocked() const { return rows != no_axis && std::find(batch.begin(), batch.end(), no_axis) == batch.end(); }

const Member* Group::member(size_t kernel) const {
  const auto found = std::find_if(members.begin(), members.end(), [&](const Member& m) { return m.kernel == kernel; });
  return found == members.end() ? nullptr : &*found;
}

const Member* Group::maker(BufferId id) const {
  const auto found = std::find_if(members.begin(), members.end(), [&](const Member& m) { return writes(m.copy, id); });
  return found == members.end() ? nullptr : &*found;
}

std::vector<Dimension> dimensions(const Program& program, BufferId id) {
  const Buffer& buffer = program[id];
  const std::vector<int64_t> strides = buffer_strides(buffer, program.rows);
  std::vector<Dimension> all;
  for (size_t i = 0; i < strides.size(); ++i)
    if (buffer.shape[i] != Extent{1, false}) all.push_back({strides[i], buffer.shape[i]});
  std::sort(all.begin(), all.end(), [](const Dimension& x, const Dimension& y) { return x.stride > y.stride; });
  return all;
}

int dimension_of(const std::vector<Dimension>& all, int64_t stride, int64_t size, int64_t rows) {
  for (size_t d = 0; d < all.size(); ++d)  // the slowest first
    if (stride >= all[d].stride) return stride % all[d].stride == 0 && stride / all[d].stride * (size - 1) < all[d].extent.at(rows) ? int(d) : no_axis;
  return no_axis;
}

bool writes(const Kernel& kernel, BufferId id) {
  bool found = false;
  for_each_access_to(kernel, id, [&](const Instruction& i) { found = found || writes_memory(i); });
  return found;
}

bool touches(const Kernel& kernel, BufferId id) {
  bool found = false;
  for_each_access_to(kernel, id, [&](const Instruction&) { found = true; });
  return found;
}

int64_t stride_of(const Kernel& kernel, BufferId id, int axis) {
  int64_t stride = 0;
  for_each_access_to(kernel, id, [&](const Instruction& i) { stride = i.access.strides[size_t(axis)]; });
  return stride;
}

namespace {

constexpr size_t max_waiting = 8;  // kernels between two of a group that have nothing to do with it

const ContractKernel* contraction(const Kernel& kernel) { return std::get_if<ContractKernel>(&kernel.body); }

std::vector<BufferId> buffers_of(const Kernel& kernel) {
  std::vector<BufferId> found;
  for_each_access(kernel, [&](const Instruction& i) {
    if (std::find(found.begin(), found.end(), i.access.buffer) == found.end()) found.push_back(i.access.buffer);
  });
  return found;
}

bool looked_up(const Kernel& kernel, int axis) {
  bool found = false;
  for_each_instruction(kernel, [&](const Instruction& i) { found = found || (has_place(i) && i.access.row_axis == axis); });
  return found;
}

}  // namespace

void separate(const Program& program, Kernel& kernel, BufferId id) {
  const std::vector<Dimension> all = dimensions(program, id);
  auto outer = [&] {
    const auto* c = std::get_if<ContractKernel>(&kernel.body);
    return c ? c->batch : std::get<MapKernel>(kernel.body).outer;
  };
  for (int axis = 0; axis < outer(); ++axis) {
    const int64_t stride = stride_of(kernel, id, axis);
    const Extent extent = axes_of(kernel)[size_t(axis)].extent;
    auto inner = std::find_if(all.begin(), all.end(), [&](const Dimension& d) { return d.stride == stride; });
    if (stride == 0 || inner == all.end()) continue;
    std::vector<Extent> parts{inner->extent};
    std::vector<Axis> joint{{"", inner->extent}};
    while (joint_extent(joint, 0, joint.size()) != extent && inner != all.begin()) {
      --inner;
      parts.insert(parts.begin(), inner->extent);
      joint.push_back({"", inner->extent});
    }
    if (parts.size() < 2 || joint_extent(joint, 0, joint.size()) != extent) continue;
    if (!looked_up(kernel, axis)) split_axis(kernel, size_t(axis), parts);
  }
}

int64_t query_block(const Group& group, const RegionOptions& options) {
  if (group.rows <= options.queries) return group.rows;
  for (int64_t block = options.queries; block >= std::min<int64_t>(16, options.queries); block -= 8)
    if (group.rows % block == 0) return block;
  return group.rows <= 4 * options.queries ? group.rows : 0;
}

namespace {

class GroupFinder {
 public:
  GroupFinder(const Program& program, const AttentionGroups& all, const RegionOptions& options) : program_(program), all_(all), options_(options) {}

  std::vector<Group> find() const {
    std::vector<Group> groups;
    for (size_t k = 0; k < program_.kernels.size();) {
      std::optional<Group> group = find_group(k);
      if (!group) {
        ++k;
        continue;
      }
      k = group->members.back().kernel + 1;
      groups.push_back(std::move(*group));
    }
    return groups;
  }

  bool goes_along(const Group& group, const Member& maker, BufferId id, size_t k) const {
    const std::optional<Member> joined = plain(program_.kernels[k]) ? align(maker, id, unknown_member(group.batch.size(), k)) : std::nullopt;
    return joined && fits(*joined);
  }

 private:
  /// The group that begins with kernel `first`, a product of scores, of which queries are the rows or the columns.
  std::optional<Group> find_group(size_t first) const {
    for (const bool turned : {false, true})
      if (std::optional<Group> group = find_group(first, turned)) return group;
    return std::nullopt;
  }

  std::optional<Group> find_group(size_t first, bool turned) const {
    const ContractKernel* product = contraction(program_.kernels[first]);
    if (!product || product->batch == 0 || product->m != 1 || !plain(program_.kernels[first])) return std::nullopt;
    Group group;
    Member head{first, program_.kernels[first], {}, no_axis, no_axis};
    for (BufferId id : buffers_of(head.copy))
      if (writes(head.copy, id)) separate(program_, head.copy, id);
    if (turned) swap_operands(head.copy);
    product = contraction(head.copy);
    head.rows = int(product->row_axis());
    head.columns = int(product->n_axis());
    for (int axis = 0; axis < product->batch; ++axis) {
      head.batch.push_back(axis);
      group.batch.push_back(product->axes[size_t(axis)].extent);
    }
    const Extent rows = product->axes[product->row_axis()].extent, columns = product->axes[product->n_axis()].extent;
    if (rows.rows || columns.rows || rows.size < 2 || columns.size < 2) return std::nullopt;
    group.rows = rows.size;
    group.columns = columns.size;
    group.members.push_back(std::move(head));
    const std::vector<size_t> around = regions_around(program_, first);
    std::vector<size_t> waiting;
    for (size_t k = first + 1; k < program_.kernels.size() && waiting.size() <= max_waiting; ++k) {
      if (regions_around(program_, k) != around) break;
      const bool late = reads_kernels(group.behind, k) || overwrites(group, k);
      if (!late && !reads_any(group.members, k)) {
        waiting.push_back(k);
        continue;
      }
      std::optional<Member> member = late ? std::nullopt : join(group, k);
      if (!member || !fits(*member)) {
        group.behind.push_back(k);
        if (group.behind.size() > max_waiting) break;
        continue;
      }
      // What has waited and makes something that this one reads along the same axes belongs to the group.
      std::vector<size_t> left;
      std::vector<Member> taken;
      for (size_t w : waiting) {
        std::optional<Member> earlier = plain(program_.kernels[w]) ? join_writer(*member, w) : std::nullopt;
        const bool good = earlier && fits(*earlier) && (in_blocks(*earlier) || !in_blocks(*member)) &&
                          std::none_of(group.members.begin(), group.members.end(), [&](const Member& m) { return reads_any({*earlier}, m.kernel); });
        if (good) taken.push_back(std::move(*earlier));
        else left.push_back(w);
      }
      // The rest will stand before the group.
      if (std::any_of(left.begin(), left.end(), [&](size_t w) { return reads_any(taken, w); })) break;
      waiting = std::move(left);
      for (Member& t : taken) group.members.push_back(std::move(t));
      group.members.push_back(std::move(*member));
    }
    std::sort(group.members.begin(), group.members.end(), [](const Member& x, const Member& y) { return x.kernel < y.kernel; });
    std::erase_if(group.behind, [&](size_t k) { return k > group.members.back().kernel; });
    if (!finish(group)) return std::nullopt;
    return group;
  }

  bool reads_any(const std::vector<Member>& members, size_t k) const {
    bool found = false;
    for_each_access(program_.kernels[k], [&](const Instruction& i) {
      if (reads_memory(i))
        for (const Member& m : members) found = found || (m.kernel != k && writes(m.copy, i.access.buffer));
    });
    return found;
  }
  /// Does kernel k store a persistent that a kernel reads in front of which it would come to stand?
  bool overwrites(const Group& group, size_t k) const {
    bool found = false;
    for (BufferId id : buffers_of(program_.kernels[k])) {
      if (program_[id].kind != BufferKind::persistent || !writes(program_.kernels[k], id)) continue;
      for (const Member& m : group.members) found = found || touches(m.copy, id);
      for (size_t other : group.behind) found = found || touches(program_.kernels[other], id);
    }
    return found;
  }
  bool reads_kernels(const std::vector<size_t>& kernels, size_t k) const {
    bool found = false;
    for_each_access(program_.kernels[k], [&](const Instruction& i) {
      if (reads_memory(i))
        for (size_t other : kernels) found = found || writes(program_.kernels[other], i.access.buffer);
    });
    return found;
  }

  /// Other kernels than products go along rows of scores.
  static bool fits(const Member& m) {
    if (contraction(m.copy)) return true;
    const MapKernel& map = std::get<MapKernel>(m.copy.body);
    const int outer = int(m.batch.size()) + 1;
    return m.blocked() && map.outer == outer && map.axes.size() == size_t(outer) + 1 && m.rows < outer && m.columns == outer;
  }

  /// Nothing that a region's kernels cannot have, or that is looked up by rows of its own.
  bool plain(const Kernel& kernel) const {
    const MapKernel* map = std::get_if<MapKernel>(&kernel.body);
    bool good = !map || (!map->serial && map->outer > 0);
    for (const Axis& axis : axes_of(kernel)) good = good && axis.together == 1;
    for_each_instruction(kernel, [&](const Instruction& i) {
      good = good && i.kind != Kind::guard && i.kind != Kind::link && i.kind != Kind::linked && i.kind != Kind::touched && i.kind != Kind::store_add;
      if (writes_memory(i)) good = good && all_.is_temporary(i.access.buffer);
    });
    if (const ContractKernel* c = contraction(kernel)) good = good && c->after_rows.empty() && c->m == 1;
    return good;
  }

  std::optional<Member> join(const Group& group, size_t k) const {
    if (!plain(program_.kernels[k])) return std::nullopt;
    std::optional<Member> member;
    for (const Member& known : group.members)
      for (BufferId id : buffers_of(known.copy)) {
        if (!writes(known.copy, id) || makes_part_beside(known, id, k)) continue;
        std::optional<Member> found = align(known, id, member ? *member : unknown_member(group.batch.size(), k));
        if (!found) {
          if (touches(program_.kernels[k], id)) return std::nullopt;
          continue;
        }
        member = std::move(found);
      }
    if (!member || !in_blocks(*member)) return member;
    // A block of queries has from others of the group what they make for these queries: the rest is not there yet.
    for (const Member& known : group.members)
      for (BufferId id : buffers_of(known.copy)) {
        if (!in_blocks(known) || !writes(known.copy, id) || !touches(member->copy, id) || makes_part_beside(known, id, k)) continue;
        if (axis_with(member->copy, id, stride_of(known.copy, id, known.rows), axes_of(known.copy)[size_t(known.rows)].extent) != member->rows) return std::nullopt;
      }
    return member;
  }

  /// What both store and neither reads: parts of a value, which say nothing of their axes.
  bool makes_part_beside(const Member& known, BufferId id, size_t k) const { return writes(program_.kernels[k], id) && store_apart(program_, known.copy, program_.kernels[k], id); }

  Member unknown_member(size_t batch, size_t k) const { return {k, program_.kernels[k], std::vector<int>(batch, no_axis)}; }

  /// Whether it goes through rows in blocks: those of a contraction's tiles, or an outer axis.
  static bool in_blocks(const Member& m) {
    const ContractKernel* c = contraction(m.copy);
    return m.rows != no_axis && (!c || m.rows == int(c->row_axis()));
  }

  std::optional<Member> join_writer(const Member& reader, size_t k) const {
    for (BufferId id : buffers_of(reader.copy)) {
      if (!writes(program_.kernels[k], id) || makes_part_beside(reader, id, k)) continue;
      return align(reader, id, unknown_member(reader.batch.size(), k));
    }
    return std::nullopt;
  }

  /// The axis of all accesses of a kernel to the buffer that has this stride and extent.
  static int axis_with(const Kernel& kernel, BufferId id, int64_t stride, Extent extent) {
    int found = no_axis;
    bool first = true, same = true;
    for_each_access_to(kernel, id, [&](const Instruction& i) {
      int axis = no_axis;
      for (size_t a = 0; a < i.access.strides.size(); ++a)
        if (i.access.strides[a] == stride && axes_of(kernel)[a].extent == extent && extent != Extent{1, false}) axis = int(a);
      same = same && (first || axis == found) && i.access.index_value < 0 && i.access.row_axis < 0 && i.access.offset == 0;
      found = axis;
      first = false;
    });
    return same ? found : no_axis;
  }

  /// Queries are the rows of a product's tiles, whichever it had there.
  static void put_rows_in_m(Member& m) {
    auto* c = std::get_if<ContractKernel>(&m.copy.body);
    if (!c || c->m != 1 || m.rows != int(c->n_axis())) return;
    swap_operands(m.copy);
    m.rows = int(c->row_axis());
    if (m.columns == m.rows) m.columns = int(c->n_axis());
  }

  /// The kernel of `unknown` along the axes of one that touches the same buffer. What is known of it already must agree.
  std::optional<Member> align(const Member& known, BufferId id, Member unknown) const {
    if (!all_.is_temporary(id) || !touches(unknown.copy, id)) return std::nullopt;
    if (std::all_of(unknown.batch.begin(), unknown.batch.end(), [](int axis) { return axis == no_axis; })) separate(program_, unknown.copy, id);
    auto find = [&](int axis) {
      if (axis == no_axis) return no_axis;
      const int64_t stride = stride_of(known.copy, id, axis);
      return stride == 0 ? no_axis : axis_with(unknown.copy, id, stride, axes_of(known.copy)[size_t(axis)].extent);
    };
    bool any = false;
    for (size_t number = 0; number < known.batch.size(); ++number) {
      const int found = find(known.batch[number]);
      int& axis = unknown.batch[number];
      if (axis != no_axis && found != no_axis && found != axis) return std::nullopt;
      if (found != no_axis && is_outer(unknown.copy, found)) axis = found;
      any = any || axis != no_axis;
    }
    if (!any) return std::nullopt;
    const int rows = find(known.rows), columns = find(known.columns);
    auto agree = [](int& known, int found) {
      const bool good = known == no_axis || found == no_axis || known == found;
      if (found != no_axis) known = found;
      return good;
    };
    if (!agree(unknown.rows, rows) || !agree(unknown.columns, columns)) return std::nullopt;  // it sees one thing by query and another by key
    put_rows_in_m(unknown);
    return unknown;
  }

  static bool is_outer(const Kernel& kernel, int axis) {
    if (const ContractKernel* c = contraction(kernel)) return axis < c->batch;
    const MapKernel& map = std::get<MapKernel>(kernel.body);
    return axis < map.outer && axis != map.vector_axis;
  }

  /// Whether the group is one, and worth it.
  bool finish(Group& group) const {
    size_t products = 0;
    double flops = 0;
    std::vector<bool> in_all(group.batch.size(), true);
    for (Member& m : group.members) {
      flops += m.copy.flops;
      const ContractKernel* c = contraction(m.copy);
      products += c != nullptr;
      // Who sums over rows has them all at once.
      if (!in_blocks(m)) m.rows = no_axis;
      if (c && m.blocked() && c->batch != int(m.batch.size())) return false;
      for (size_t number = 0; number < in_all.size(); ++number) in_all[number] = in_all[number] && m.batch[number] != no_axis;
    }
    if (products < 2 || products == group.members.size()) return false;
    put_shared_first(group, in_all);
    int64_t rounds = 1;
    for (Extent e : group.batch) rounds *= e.at(program_.rows);
    if (group.shared == 0 || query_block(group, options_) == 0 || flops / double(rounds) < options_.round_flops) return false;
    find_scores(group);
    return !group.scores.empty() && turns(group);
  }

  static void put_shared_first(Group& group, const std::vector<bool>& in_all) {
    std::vector<size_t> order(in_all.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::stable_partition(order.begin(), order.end(), [&](size_t number) { return in_all[number]; });
    group.shared = size_t(std::count(in_all.begin(), in_all.end(), true));
    auto sorted = [&](const auto& list) {
      auto result = list;
      for (size_t i = 0; i < order.size(); ++i) result[i] = list[order[i]];
      return result;
    };
    group.batch = sorted(group.batch);
    for (Member& m : group.members) m.batch = sorted(m.batch);
  }

  /// Buffers with an element for each row and column, but for what comes from outside of the step, a bias for each pair or a mask: that is read as it stands, by lanes apart.
  void find_scores(Group& group) const {
    for (const Member& m : group.members) {
      if (!m.blocked() || m.columns == no_axis) continue;
      for_each_access(m.copy, [&](const Instruction& i) {
        const BufferKind kind = program_[i.access.buffer].kind;
        const bool others = reads_memory(i) && (kind == BufferKind::persistent || kind == BufferKind::field || kind == BufferKind::literal);
        if (!others && i.access.strides[size_t(m.rows)] != 0 && i.access.strides[size_t(m.columns)] != 0) group.scores.insert(i.access.buffer);
      });
    }
  }

  /// Does each axis of a kernel go along one dimension of the buffer, if at all?
  bool is_plain_access(const Kernel& kernel, BufferId id) const {
    const std::vector<Dimension> all = dimensions(program_, id);
    bool good = true;
    for_each_access_to(kernel, id, [&](const Instruction& i) {
      good = good && i.access.index_value < 0 && i.access.row_axis < 0 && i.access.offset == 0;
      for (size_t a = 0; good && a < i.access.strides.size(); ++a) {
        const int64_t size = axes_of(kernel)[a].extent.at(program_.rows);
        if (i.access.strides[a] != 0 && size > 1) good = dimension_of(all, i.access.strides[a], size, program_.rows) != no_axis;
      }
    });
    return good;
  }

  /// Can all scores stand the other way round, for all who touch them?
  bool turns(const Group& group) const {
    for (BufferId id : group.scores) {
      if (!all_.is_temporary(id) || (program_[id].dtype != DType::f32 && program_[id].dtype != DType::boolean)) return false;
      for (size_t k : all_.touching(id)) {
        const Member* member = group.member(k);
        Kernel copy = member ? member->copy : program_.kernels[k];
        separate(program_, copy, id);
        if (member && axes_of(copy).size() != axes_of(member->copy).size()) return false;
        if (!is_plain_access(copy, id)) return false;
      }
    }
    // What sums over all rows stands behind the blocks.
    for (const Member& m : group.members)
      for (const Member& other : group.members) {
        if (m.blocked() || !other.blocked()) continue;
        for (BufferId id : buffers_of(other.copy))
          if (writes(m.copy, id) && !store_apart(program_, m.copy, other.copy, id)) return false;
      }
    return true;
  }

  const Program& program_;
  const AttentionGroups& all_;
  const RegionOptions& options_;
};

}  // namespace

AttentionGroups::AttentionGroups(const Program& program, const RegionOptions& options) : program_(program), options_(options), touching_(program.buffers.size()), in_parts_(program.buffers.size(), false) {
  for (const Buffer& buffer : program_.buffers)
    if (buffer.slot.valid()) in_parts_[buffer.slot.of.value] = true;
  for (size_t k = 0; k < program_.kernels.size(); ++k)
    for_each_access(program_.kernels[k], [&](const Instruction& i) {
      std::vector<size_t>& all = touching_[i.access.buffer.value];
      if (all.empty() || all.back() != k) all.push_back(k);
    });
}

std::vector<Group> AttentionGroups::find() const { return GroupFinder(program_, *this, options_).find(); }

bool AttentionGroups::is_temporary(BufferId id) const { return program_[id].kind == BufferKind::temporary && !program_[id].slot.valid() && !in_parts_[id.value]; }

bool AttentionGroups::goes_along(const Group& group, const Member& maker, BufferId id, size_t kernel) const { return GroupFinder(program_, *this, options_).goes_along(group, maker, id, kernel); }

}  // namespace nnc
