// What is looked for: a product S[b, h, t, s] over batch axes b, h; kernels that go along its rows (a softmax, its gradient); products that sum over one of its axes. All kernels of
// a group have batch axes in common, and most the rows t. These become the region's axes: rows are cut into blocks of queries, (b, h, q, i), unless a causal mask has done that
// (limit_axes.h), and a round is one (b, h, q); what sums over all rows (the gradients of keys and values) stands behind the blocks, in a region over (b, h).
//
// Scores are turned, s before t: a product makes them with keys as rows of tiles and queries in lanes, so it packs the block of queries alone and reads keys as they lie; row-wise code runs
// down the columns, with a query in each lane and no sums across lanes; and to the product with the values they are an operand in order of its sum.
#include "passes/form_regions.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "base/check.h"
#include "ir/kernel_code.h"
#include "ir/program_regions.h"
#include "passes/kernel_axes.h"
#include "passes/tiles.h"

namespace nnc {
namespace {

using Kind = Instruction::Kind;

constexpr size_t max_waiting = 8;  // kernels between two of a group that have nothing to do with it
constexpr int none = -1;

/// A kernel of a group, as it will be: its own copy.
struct Member {
  size_t kernel = 0;                ///< number in the program
  Kernel copy;
  std::vector<int> batch;           ///< by batch axis of the group: its axis, or none
  int rows = none, columns = none;  ///< its axes t and s of scores

  /// Goes through scores block by block.
  bool blocked() const { return rows != none && std::find(batch.begin(), batch.end(), none) == batch.end(); }
};

struct Group {
  std::vector<Member> members;   ///< in order
  std::vector<Extent> batch;     ///< extents of the batch axes, first those that all members have
  size_t shared = 0;             ///< how many these are
  int64_t rows = 0, columns = 0; ///< of scores, as the blocked members have them
  std::set<BufferId> scores;
  std::vector<size_t> behind;    ///< kernels between them that read what they make, and will stand behind them
};

/// A dimension of a buffer that has more than one index.
struct Dimension {
  int64_t stride;
  Extent extent;
};

std::vector<Dimension> dimensions(const Program& program, BufferId id) {
  const Buffer& buffer = program[id];
  const std::vector<int64_t> strides = buffer_strides(buffer, program.rows);
  std::vector<Dimension> all;
  for (size_t i = 0; i < strides.size(); ++i)
    if (buffer.shape[i] != Extent{1, false}) all.push_back({strides[i], buffer.shape[i]});
  std::sort(all.begin(), all.end(), [](const Dimension& x, const Dimension& y) { return x.stride > y.stride; });
  return all;
}

template <class AnyKernel, class Visit>
void for_each_access_to(AnyKernel& kernel, BufferId id, Visit visit) {
  for_each_instruction(kernel, [&](auto& i) {
    if (i.access.buffer == id) visit(i);
  });
}

bool writes(const Kernel& kernel, BufferId id) {
  bool found = false;
  for_each_access_to(kernel, id, [&](const Instruction& i) { found = found || writes_memory(i); });
  return found;
}

const ContractKernel* contraction(const Kernel& kernel) { return std::get_if<ContractKernel>(&kernel.body); }

class Former {
 public:
  Former(Program& program, const RegionOptions& options) : program_(program), options_(options) {}

  void run() {
    find_touches();
    std::vector<Group> groups = find_groups();
    if (compute_again(groups)) {
      find_touches();
      groups = find_groups();
    }
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
  // --- what touches what ---

  void find_touches() {
    touching_.assign(program_.buffers.size(), {});
    in_parts_.assign(program_.buffers.size(), false);
    for (const Buffer& buffer : program_.buffers)
      if (buffer.slot.valid()) in_parts_[buffer.slot.of.value] = true;
    for (size_t k = 0; k < program_.kernels.size(); ++k)
      for_each_access(program_.kernels[k], [&](const Instruction& i) {
        std::vector<size_t>& all = touching_[i.access.buffer.value];
        if (all.empty() || all.back() != k) all.push_back(k);
      });
  }

  std::vector<BufferId> buffers_of(const Kernel& kernel) const {
    std::vector<BufferId> found;
    for_each_access(kernel, [&](const Instruction& i) {
      if (std::find(found.begin(), found.end(), i.access.buffer) == found.end()) found.push_back(i.access.buffer);
    });
    return found;
  }

  /// Of whose elements all places are known: nobody sees them as a slot.
  bool is_temporary(BufferId id) const { return program_[id].kind == BufferKind::temporary && !program_[id].slot.valid() && !in_parts_[id.value]; }

  // --- groups ---

  std::vector<Group> find_groups() {
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

  /// The group that begins with kernel `first`, a product of scores, of which queries are the rows or the columns.
  std::optional<Group> find_group(size_t first) {
    for (const bool turned : {false, true})
      if (std::optional<Group> group = find_group(first, turned)) return group;
    return std::nullopt;
  }

  std::optional<Group> find_group(size_t first, bool turned) {
    const ContractKernel* product = contraction(program_.kernels[first]);
    if (!product || product->batch == 0 || product->m != 1 || !plain(program_.kernels[first])) return std::nullopt;
    Group group;
    Member head{first, program_.kernels[first], {}, none, none};
    for (BufferId id : buffers_of(head.copy))
      if (writes(head.copy, id)) separate(head.copy, id);
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
      good = good && i.kind != Kind::guard && i.kind != Kind::link && i.kind != Kind::linked && i.kind != Kind::touched && i.kind != Kind::store_add && i.kind != Kind::random;
      if (writes_memory(i)) good = good && is_temporary(i.access.buffer);
    });
    if (const ContractKernel* c = contraction(kernel)) good = good && c->after_rows.empty() && c->m == 1;
    return good;
  }

  std::optional<Member> join(const Group& group, size_t k) {
    if (!plain(program_.kernels[k])) return std::nullopt;
    std::optional<Member> member;
    for (const Member& known : group.members)
      for (BufferId id : buffers_of(known.copy)) {
        if (!writes(known.copy, id)) continue;
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
        if (!in_blocks(known) || !writes(known.copy, id) || !touches(member->copy, id)) continue;
        if (axis_with(member->copy, id, stride_of(known.copy, id, known.rows), axes_of(known.copy)[size_t(known.rows)].extent) != member->rows) return std::nullopt;
      }
    return member;
  }

  Member unknown_member(size_t batch, size_t k) const { return {k, program_.kernels[k], std::vector<int>(batch, none)}; }

  /// Whether it goes through rows in blocks: those of a contraction's tiles, or an outer axis.
  static bool in_blocks(const Member& m) {
    const ContractKernel* c = contraction(m.copy);
    return m.rows != none && (!c || m.rows == int(c->row_axis()));
  }

  std::optional<Member> join_writer(const Member& reader, size_t k) {
    for (BufferId id : buffers_of(reader.copy)) {
      if (!writes(program_.kernels[k], id)) continue;
      return align(reader, id, unknown_member(reader.batch.size(), k));
    }
    return std::nullopt;
  }

  static bool touches(const Kernel& kernel, BufferId id) {
    bool found = false;
    for_each_access_to(kernel, id, [&](const Instruction&) { found = true; });
    return found;
  }

  /// The axis of all accesses of a kernel to the buffer that has this stride and extent.
  static int axis_with(const Kernel& kernel, BufferId id, int64_t stride, Extent extent) {
    int found = none;
    bool first = true, same = true;
    for_each_access_to(kernel, id, [&](const Instruction& i) {
      int axis = none;
      for (size_t a = 0; a < i.access.strides.size(); ++a)
        if (i.access.strides[a] == stride && axes_of(kernel)[a].extent == extent && extent != Extent{1, false}) axis = int(a);
      same = same && (first || axis == found) && i.access.index_value < 0 && i.access.row_axis < 0 && i.access.offset == 0;
      found = axis;
      first = false;
    });
    return same ? found : none;
  }

  static int64_t stride_of(const Kernel& kernel, BufferId id, int axis) {
    int64_t stride = 0;
    for_each_access_to(kernel, id, [&](const Instruction& i) { stride = i.access.strides[size_t(axis)]; });
    return stride;
  }

  /// Axes that are several dimensions of the buffer at once are made several.
  void separate(Kernel& kernel, BufferId id) {
    const std::vector<Dimension> all = dimensions(program_, id);
    auto outer = [&] {
      const ContractKernel* c = contraction(kernel);
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

  /// Queries are the rows of a product's tiles, whichever it had there.
  static void put_rows_in_m(Member& m) {
    auto* c = std::get_if<ContractKernel>(&m.copy.body);
    if (!c || c->m != 1 || m.rows != int(c->n_axis())) return;
    swap_operands(m.copy);
    m.rows = int(c->row_axis());
    if (m.columns == m.rows) m.columns = int(c->n_axis());
  }

  static bool looked_up(const Kernel& kernel, int axis) {
    bool found = false;
    for_each_instruction(kernel, [&](const Instruction& i) { found = found || (has_place(i) && i.access.row_axis == axis); });
    return found;
  }

  /// The kernel of `unknown` along the axes of one that touches the same buffer. What is known of it already must agree.
  std::optional<Member> align(const Member& known, BufferId id, Member unknown) {
    if (!is_temporary(id) || !touches(unknown.copy, id)) return std::nullopt;
    if (std::all_of(unknown.batch.begin(), unknown.batch.end(), [](int axis) { return axis == none; })) separate(unknown.copy, id);
    auto find = [&](int axis) {
      if (axis == none) return none;
      const int64_t stride = stride_of(known.copy, id, axis);
      return stride == 0 ? none : axis_with(unknown.copy, id, stride, axes_of(known.copy)[size_t(axis)].extent);
    };
    bool any = false;
    for (size_t number = 0; number < known.batch.size(); ++number) {
      const int found = find(known.batch[number]);
      int& axis = unknown.batch[number];
      if (axis != none && found != none && found != axis) return std::nullopt;
      if (found != none && is_outer(unknown.copy, found)) axis = found;
      any = any || axis != none;
    }
    if (!any) return std::nullopt;
    const int rows = find(known.rows), columns = find(known.columns);
    auto agree = [](int& known, int found) {
      const bool good = known == none || found == none || known == found;
      if (found != none) known = found;
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
  bool finish(Group& group) {
    size_t products = 0;
    double flops = 0;
    std::vector<bool> in_all(group.batch.size(), true);
    for (Member& m : group.members) {
      flops += m.copy.flops;
      const ContractKernel* c = contraction(m.copy);
      products += c != nullptr;
      // Who sums over rows has them all at once.
      if (!in_blocks(m)) m.rows = none;
      if (c && m.blocked() && c->batch != int(m.batch.size())) return false;
      for (size_t number = 0; number < in_all.size(); ++number) in_all[number] = in_all[number] && m.batch[number] != none;
    }
    if (products < 2 || products == group.members.size()) return false;
    put_shared_first(group, in_all);
    int64_t rounds = 1;
    for (Extent e : group.batch) rounds *= e.at(program_.rows);
    if (group.shared == 0 || block_of(group) == 0 || flops / double(rounds) < options_.round_flops) return false;
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

  /// Queries of a block; 0: there is no good size.
  int64_t block_of(const Group& group) const {
    if (group.rows <= options_.queries) return group.rows;
    for (int64_t block = options_.queries; block >= std::min<int64_t>(16, options_.queries); block -= 8)
      if (group.rows % block == 0) return block;
    return group.rows <= 4 * options_.queries ? group.rows : 0;
  }

  /// Buffers with an element for each row and column.
  void find_scores(Group& group) {
    for (const Member& m : group.members) {
      if (!m.blocked() || m.columns == none) continue;
      for_each_access(m.copy, [&](const Instruction& i) {
        if (i.access.strides[size_t(m.rows)] != 0 && i.access.strides[size_t(m.columns)] != 0) group.scores.insert(i.access.buffer);
      });
    }
  }

  /// Which dimension a stride along an axis of so many indices goes along; none: not one alone.
  static int dimension_of(const std::vector<Dimension>& all, int64_t stride, int64_t size, int64_t rows) {
    for (size_t d = 0; d < all.size(); ++d)  // the slowest first
      if (stride >= all[d].stride) return stride % all[d].stride == 0 && stride / all[d].stride * (size - 1) < all[d].extent.at(rows) ? int(d) : none;
    return none;
  }

  /// Does each axis of a kernel go along one dimension of the buffer, if at all?
  bool is_plain_access(const Kernel& kernel, BufferId id) const {
    const std::vector<Dimension> all = dimensions(program_, id);
    bool good = true;
    for_each_access_to(kernel, id, [&](const Instruction& i) {
      good = good && i.access.index_value < 0 && i.access.row_axis < 0 && i.access.offset == 0;
      for (size_t a = 0; good && a < i.access.strides.size(); ++a) {
        const int64_t size = axes_of(kernel)[a].extent.at(program_.rows);
        if (i.access.strides[a] != 0 && size > 1) good = dimension_of(all, i.access.strides[a], size, program_.rows) != none;
      }
    });
    return good;
  }

  /// Can all scores stand the other way round, for all who touch them?
  bool turns(const Group& group) {
    for (BufferId id : group.scores) {
      if (!is_temporary(id) || program_[id].dtype != DType::f32) return false;
      for (size_t k : touching_[id.value]) {
        const Member* member = member_of(group, k);
        Kernel copy = member ? member->copy : program_.kernels[k];
        separate(copy, id);
        if (member && axes_of(copy).size() != axes_of(member->copy).size()) return false;
        if (!is_plain_access(copy, id)) return false;
      }
    }
    // What sums over all rows stands behind the blocks.
    for (const Member& m : group.members)
      for (const Member& other : group.members) {
        if (m.blocked() || !other.blocked()) continue;
        for (BufferId id : buffers_of(other.copy))
          if (writes(m.copy, id)) return false;
      }
    return true;
  }

  // --- computing again ---

  /// Where scores that others need would take too much memory, they are made again in front of who reads them.
  bool compute_again(const std::vector<Group>& groups) {
    int64_t kept = 0;
    for (const Group& group : groups)
      for (BufferId id : handed_on(group)) kept += buffer_bytes(program_[id], program_.rows);
    if (kept <= options_.kept_bytes) return false;
    const size_t before = program_.kernels.size();
    for (const Group& group : groups) make_again(group, groups);
    return program_.kernels.size() > before;
  }

  static const Member* member_of(const Group& group, size_t kernel) {
    const auto found = std::find_if(group.members.begin(), group.members.end(), [&](const Member& m) { return m.kernel == kernel; });
    return found == group.members.end() ? nullptr : &*found;
  }
  static bool has(const Group& group, size_t kernel) { return member_of(group, kernel) != nullptr; }
  /// Who of the group stores the buffer first; nobody: null.
  static const Member* maker_of(const Group& group, BufferId id) {
    const auto found = std::find_if(group.members.begin(), group.members.end(), [&](const Member& m) { return writes(m.copy, id); });
    return found == group.members.end() ? nullptr : &*found;
  }

  /// Scores that the group makes and others read.
  std::set<BufferId> handed_on(const Group& group) const {
    std::set<BufferId> found;
    for (BufferId id : group.scores) {
      const bool made = maker_of(group, id) != nullptr;
      const bool read = std::any_of(touching_[id.value].begin(), touching_[id.value].end(), [&](size_t k) { return !has(group, k); });
      if (made && read) found.insert(id);
    }
    return found;
  }

  /// Whether all who read scores of a group from outside are in other groups, or will be in one that begins with who makes them. Otherwise they stand in memory as they are: made
  /// again, they would stand there twice.
  bool all_in_groups(const Group& group, const std::vector<Group>& groups, BufferId id) {
    const Member* maker = maker_of(group, id);
    bool good = true, any = false;
    for (size_t k : touching_[id.value]) {
      if (has(group, k)) continue;
      const bool in_group = std::any_of(groups.begin(), groups.end(), [&](const Group& other) { return has(other, k); });
      any = any || in_group;
      if (in_group) continue;
      const std::optional<Member> joined = plain(program_.kernels[k]) ? align(*maker, id, unknown_member(group.batch.size(), k)) : std::nullopt;
      good = good && joined && fits(*joined);
    }
    return good && any;
  }

  bool make_again(const Group& group, const std::vector<Group>& groups) {
    std::set<BufferId> wanted = handed_on(group);
    std::erase_if(wanted, [&](BufferId id) { return !all_in_groups(group, groups, id); });
    if (wanted.empty()) return false;
    // Who makes them, from what is still there.
    std::set<size_t> makers;
    std::set<BufferId> made;
    std::vector<BufferId> open(wanted.begin(), wanted.end());
    while (!open.empty()) {
      const BufferId id = open.back();
      open.pop_back();
      if (!maker_of(group, id) || !made.insert(id).second) continue;  // what others have made is there
      for (const Member& m : group.members) {
        if (!writes(m.copy, id)) continue;
        makers.insert(m.kernel);
        bool there = true;
        for_each_access(m.copy, [&](const Instruction& i) {
          if (!reads_memory(i)) return;
          const BufferKind kind = program_[i.access.buffer].kind;
          if (group.scores.count(i.access.buffer)) open.push_back(i.access.buffer);
          else there = there && (is_temporary(i.access.buffer) || kind == BufferKind::literal || kind == BufferKind::field || kind == BufferKind::scalars);
        });
        if (!there) return false;
      }
    }
    size_t place = program_.kernels.size();
    for (BufferId id : wanted)
      for (size_t k : touching_[id.value])
        if (!has(group, k)) place = std::min(place, k);
    for (const Group& other : groups)  // in front of all of a group, which they will begin
      if (&other != &group && other.members.front().kernel < place && place <= other.members.back().kernel) place = other.members.front().kernel;
    if (regions_around(program_, now(place)) != regions_around(program_, now(*makers.begin()))) return false;
    std::map<BufferId, BufferId> again;
    for (BufferId id : made) {
      again[id] = BufferId{uint32_t(program_.buffers.size())};
      program_.buffers.push_back(Buffer(program_[id]));
    }
    std::vector<Kernel> kernels;
    for (size_t k : makers) {
      Kernel& kernel = kernels.emplace_back(program_.kernels[now(k)]);
      kernel.name += ".again";
      auto rewrite = [&](std::vector<Instruction>& code) {
        std::erase_if(code, [&](const Instruction& i) { return writes_memory(i) && !again.count(i.access.buffer); });
        for (Instruction& i : code)
          if (auto found = again.find(i.access.buffer); found != again.end()) i.access.buffer = found->second;
      };
      if (auto* map = std::get_if<MapKernel>(&kernel.body)) {
        for (Block& block : map->blocks) rewrite(block.code);
        std::erase_if(map->blocks, [](const Block& block) { return block.code.empty(); });
      } else {
        rewrite(std::get<ContractKernel>(kernel.body).epilogue);
      }
    }
    for (BufferId id : wanted)
      for (size_t k : touching_[id.value])
        if (!has(group, k)) for_each_access_to(program_.kernels[now(k)], id, [&](Instruction& i) { i.access.buffer = again.at(id); });
    const size_t here = now(place);
    for (Region& region : program_.regions) {
      if (region.first >= here) region.first += kernels.size();
      else if (region.first + region.count > here) region.count += kernels.size();
    }
    program_.kernels.insert(program_.kernels.begin() + std::ptrdiff_t(here), kernels.begin(), kernels.end());
    inserted_.emplace_back(place, kernels.size());
    return true;
  }

  /// The number of a kernel, in front of which others may have been put since all were numbered.
  size_t now(size_t kernel) const {
    size_t number = kernel;
    for (auto [place, count] : inserted_) number += place <= kernel ? count : 0;
    return number;
  }

  // --- layout ---

  /// Rows of which there are many become (blocks, rows of a block) where they are gone through in blocks; blocks are one more batch axis.
  void cut_rows(Group& group) {
    const int64_t block = block_of(group), blocks = group.rows / block;
    if (blocks == 1) return;
    for (Member& m : group.members) {
      if (!m.blocked()) {
        m.batch.push_back(none);
        continue;
      }
      Kernel& kernel = program_.kernels[m.kernel];
      split_axis(kernel, size_t(m.rows), {Extent{blocks}, Extent{block}});
      const int cut = m.rows;
      auto moved = [&](int axis) { return axis > cut ? axis + 1 : axis; };
      for (int& axis : m.batch) axis = moved(axis);
      m.batch.push_back(cut);
      m.rows = cut + 1;
      if (m.columns != none) m.columns = moved(m.columns);
      if (contraction(kernel)) move_to_batch(kernel, size_t(cut));
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
        for (size_t k : touching_[id.value]) separate(program_.kernels[k], id);
        turn(group, id);
        kernels.insert(touching_[id.value].begin(), touching_[id.value].end());
      }
    touched_.assign(kernels.begin(), kernels.end());
  }

  /// Scores of the group stand turned: [.., columns, rows]. What is not needed for all rounds at once becomes local, without the axes that rounds go over.
  void turn(const Group& group, BufferId id) {
    const auto known = std::find_if(group.members.begin(), group.members.end(), [&](const Member& m) { return m.blocked() && m.columns != none && touches(program_.kernels[m.kernel], id); });
    const Kernel& kernel = program_.kernels[known->kernel];
    const std::vector<Dimension> old = dimensions(program_, id);
    auto dimension = [&](int axis) {
      const int64_t stride = stride_of(kernel, id, axis);
      return stride == 0 ? none : dimension_of(old, stride, axes_of(kernel)[size_t(axis)].extent.at(program_.rows), program_.rows);
    };
    const int rows = dimension(known->rows), columns = dimension(known->columns);
    bool inside = true, blocked = true;
    for (size_t k : touching_[id.value]) {
      const Member* member = member_of(group, k);
      inside = inside && member;
      blocked = blocked && inside && member->blocked();
    }
    const size_t rounds = !inside ? 0 : blocked ? group.batch.size() : group.shared;  // how many of the group's axes the buffer does not have
    std::vector<bool> dropped(old.size(), false);
    for (size_t number = 0; number < rounds; ++number)
      if (const int d = dimension(known->batch[number]); d != none && d != rows) dropped[size_t(d)] = true;

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
    for (size_t k : touching_[id.value]) {
      Kernel& user = program_.kernels[k];
      const Member* member = member_of(group, k);
      for_each_access_to(user, id, [&](Instruction& i) {
        for (size_t a = 0; a < i.access.strides.size(); ++a) {
          int64_t& stride = i.access.strides[a];
          const int64_t extent = axes_of(user)[a].extent.at(program_.rows);
          if (stride == 0) continue;
          const int d = extent > 1 ? dimension_of(old, stride, extent, program_.rows) : none;
          stride = d == none ? 0 : stride / old[size_t(d)].stride * strides[size_t(d)];
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
      if (axis != none) order.push_back(size_t(axis));
    for (size_t axis = 0; axis < axes_of(kernel).size(); ++axis)
      if (std::find(order.begin(), order.end(), axis) == order.end()) order.push_back(axis);
    if (map) map->vector_axis = none;
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
      const bool member = group != groups.end() && has(*group, k);
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
  std::vector<std::vector<size_t>> touching_;  ///< by buffer: kernels
  std::vector<size_t> touched_;                ///< kernels that touch scores
  std::vector<bool> in_parts_;                 ///< by buffer: it has slots
  std::vector<std::pair<size_t, size_t>> inserted_;  ///< in front of which kernel, and how many
};

}  // namespace

void form_parallel_regions(Program& program, const RegionOptions& options) { Former(program, options).run(); }

}  // namespace nnc
