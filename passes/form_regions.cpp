// What is looked for: a product S[b, h, t, s] over batch axes b, h; kernels that go along its rows (a softmax, its gradient); products that sum over one of its axes. All kernels of
// a group have the batch axes in common, and most the rows t. These become the region's axes: rows are cut into blocks of queries, (b, h, q, i), and a round is one (b, h, q); what
// sums over all rows (the gradients of keys and values) stands behind the blocks, in a region over (b, h).
//
// Scores are turned, [s][i]: a product makes them with keys as rows of tiles and queries in lanes, so it packs the block of queries alone and reads keys as they lie; row-wise code runs
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
  size_t kernel = 0;             ///< number in the program
  Kernel copy;
  std::vector<int> batch;        ///< its axes that are the group's batch axes
  int rows = none, columns = none;  ///< its axes t and s of scores; rows only where it can go through them in blocks
};

struct Group {
  std::vector<Member> members;   ///< in order
  std::vector<Extent> batch;     ///< extents of the batch axes
  int64_t rows = 0, columns = 0; ///< of scores
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
    lay_out_scores(groups);
    keep_local(groups);
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
    rows_.clear();
    for (size_t k = 0; k < program_.kernels.size();) {
      std::optional<Group> group = find_group(k);
      if (!group) {
        ++k;
        continue;
      }
      k = group->members.back().kernel + 1;
      for (BufferId id : group->scores) rows_.emplace(id, rows_of(*group, id));
      groups.push_back(std::move(*group));
    }
    return groups;
  }

  /// The group that begins with kernel `first`, a product of scores.
  std::optional<Group> find_group(size_t first) {
    const ContractKernel* product = contraction(program_.kernels[first]);
    if (!product || product->batch == 0 || product->m != 1 || !plain(program_.kernels[first])) return std::nullopt;
    Group group;
    Member head{first, program_.kernels[first], {}, int(product->row_axis()), int(product->n_axis())};
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
      if (!member || !fits(group, *member)) {
        group.behind.push_back(k);
        if (group.behind.size() > max_waiting) break;
        continue;
      }
      // What has waited and makes something that this one reads along the same axes belongs to the group.
      std::vector<size_t> left;
      std::vector<Member> taken;
      for (size_t w : waiting) {
        std::optional<Member> earlier = plain(program_.kernels[w]) ? join_writer(*member, w) : std::nullopt;
        const bool good = earlier && fits(group, *earlier) && (in_blocks(*earlier) || !in_blocks(*member)) &&
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

  /// Products have the batch axes and no others; other kernels go along rows of scores.
  static bool fits(const Group& group, const Member& m) {
    if (const ContractKernel* c = contraction(m.copy)) return c->batch == int(group.batch.size());
    const MapKernel& map = std::get<MapKernel>(m.copy.body);
    const int outer = int(group.batch.size()) + 1;
    return m.rows != none && map.outer == outer && map.axes.size() == size_t(outer) + 1 && m.rows < outer && m.columns == outer;
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
        std::optional<Member> found = align(known, id, member ? *member : Member{k, program_.kernels[k], {}});
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

  /// Whether it goes through rows in blocks: those of a contraction's tiles, or an outer axis.
  static bool in_blocks(const Member& m) {
    const ContractKernel* c = contraction(m.copy);
    return m.rows != none && (!c || m.rows == int(c->row_axis()));
  }

  std::optional<Member> join_writer(const Member& reader, size_t k) {
    for (BufferId id : buffers_of(reader.copy)) {
      if (!writes(program_.kernels[k], id)) continue;
      return align(reader, id, Member{k, program_.kernels[k], {}});
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
    auto* map = std::get_if<MapKernel>(&kernel.body);
    if (!map) return;
    const std::vector<Dimension> all = dimensions(program_, id);
    for (int axis = 0; axis < map->outer; ++axis) {
      const int64_t stride = stride_of(kernel, id, axis);
      auto inner = std::find_if(all.begin(), all.end(), [&](const Dimension& d) { return d.stride == stride; });
      if (stride == 0 || inner == all.end()) continue;
      std::vector<Extent> parts{inner->extent};
      std::vector<Axis> joint{{"", inner->extent}};
      while (joint_extent(joint, 0, joint.size()) != map->axes[size_t(axis)].extent && inner != all.begin()) {
        --inner;
        parts.insert(parts.begin(), inner->extent);
        joint.push_back({"", inner->extent});
      }
      if (parts.size() < 2 || joint_extent(joint, 0, joint.size()) != map->axes[size_t(axis)].extent) continue;
      if (!looked_up(kernel, axis)) split_axis(kernel, size_t(axis), parts);
    }
  }

  static bool looked_up(const Kernel& kernel, int axis) {
    bool found = false;
    for_each_instruction(kernel, [&](const Instruction& i) { found = found || (has_place(i) && i.access.row_axis == axis); });
    return found;
  }

  /// The kernel of `unknown` along the axes of one that touches the same buffer. What is known of it already must agree.
  std::optional<Member> align(const Member& known, BufferId id, Member unknown) {
    if (!is_temporary(id) || !touches(unknown.copy, id)) return std::nullopt;
    if (unknown.batch.empty()) separate(unknown.copy, id);
    auto find = [&](int axis) {
      if (axis == none) return none;
      const int64_t stride = stride_of(known.copy, id, axis);
      return stride == 0 ? none : axis_with(unknown.copy, id, stride, axes_of(known.copy)[size_t(axis)].extent);
    };
    std::vector<int> batch;
    for (int axis : known.batch) {
      const int found = find(axis);
      if (found == none || !is_outer(unknown.copy, found)) return std::nullopt;
      batch.push_back(found);
    }
    if (!unknown.batch.empty() && batch != unknown.batch) return std::nullopt;
    unknown.batch = batch;
    const int rows = find(known.rows), columns = find(known.columns);
    auto agree = [](int& known, int found) {
      const bool good = known == none || found == none || known == found;
      if (found != none) known = found;
      return good;
    };
    if (!agree(unknown.rows, rows) || !agree(unknown.columns, columns)) return std::nullopt;  // it sees one thing by query and another by key
    return unknown;
  }

  static bool is_outer(const Kernel& kernel, int axis) {
    if (const ContractKernel* c = contraction(kernel)) return axis < c->batch;
    const MapKernel& map = std::get<MapKernel>(kernel.body);
    return axis < map.outer && axis != map.vector_axis;
  }

  /// Whether the group is one, and worth it. Axes of rows are left to those that can go through them in blocks.
  bool finish(Group& group) {
    size_t products = 0, row_wise = 0;
    double flops = 0;
    for (Member& m : group.members) {
      flops += m.copy.flops;
      const ContractKernel* c = contraction(m.copy);
      if (c) {
        ++products;
        if (!in_blocks(m)) m.rows = none;
        continue;
      }
      ++row_wise;
    }
    if (products < 2 || row_wise < 1) return false;
    int64_t rounds = 1;
    for (Extent e : group.batch) rounds *= e.at(program_.rows);
    if (block_of(group) == 0 || flops / double(rounds) < options_.round_flops) return false;
    find_scores(group);
    return !group.scores.empty() && turns(group);
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
    for (const Member& m : group.members)
      for_each_access(m.copy, [&](const Instruction& i) {
        if (m.rows == none || m.columns == none) return;
        if (i.access.strides[size_t(m.rows)] != 0 && i.access.strides[size_t(m.columns)] != 0) group.scores.insert(i.access.buffer);
      });
  }

  /// Where each dimension of scores is for who touches them: by dimension (of `dimensions`) an axis.
  std::optional<std::vector<int>> places_of(const Kernel& kernel, BufferId id) const {
    const std::vector<Dimension> all = dimensions(program_, id);
    std::vector<int> places;
    for (const Dimension& d : all) {
      const int axis = axis_with(kernel, id, d.stride, d.extent);
      if (axis == none) return std::nullopt;
      places.push_back(axis);
    }
    bool others = false;
    for_each_access_to(kernel, id, [&](const Instruction& i) {
      for (size_t a = 0; a < i.access.strides.size(); ++a)
        others = others || (i.access.strides[a] != 0 && axes_of(kernel)[a].extent != Extent{1, false} && std::find(places.begin(), places.end(), int(a)) == places.end());
    });
    return others ? std::nullopt : std::optional(places);
  }

  /// The dimension of scores that is rows.
  Dimension rows_of(const Group& group, BufferId id) const {
    for (const Member& m : group.members)
      if (m.rows != none && m.columns != none && touches(m.copy, id)) return {stride_of(m.copy, id, m.rows), Extent{group.rows}};
    return {0, {}};
  }

  /// Can all scores stand the other way round, for all who touch them?
  bool turns(const Group& group) {
    std::map<BufferId, Dimension> rows = rows_;
    std::set<size_t> kernels;
    for (BufferId id : group.scores) {
      if (!is_temporary(id) || program_[id].dtype != DType::f32) return false;
      rows.emplace(id, rows_of(group, id));
      kernels.insert(touching_[id.value].begin(), touching_[id.value].end());
    }
    for (size_t k : kernels) {
      auto member = std::find_if(group.members.begin(), group.members.end(), [&](const Member& m) { return m.kernel == k; });
      Kernel copy = member == group.members.end() ? program_.kernels[k] : member->copy;
      if (!plain(copy) || !cuts_rows(copy, rows, blocks_of(group) > 1)) return false;
    }
    for (const Member& m : group.members) {
      bool good = true;
      for_each_access(m.copy, [&](const Instruction& i) {
        if (m.rows == none || m.columns == none || group.scores.count(i.access.buffer)) return;
        // What else is read by row and column would be gathered.
        if (i.access.strides[size_t(m.rows)] != 0 && i.access.strides[size_t(m.columns)] != 0) good = false;
      });
      if (!good) return false;
      // What sums over all rows stands behind the blocks.
      if (m.rows != none) continue;
      for (const Member& other : group.members)
        if (other.rows != none)
          for (BufferId id : buffers_of(other.copy)) good = good && !writes(m.copy, id);
      if (!good) return false;
    }
    return true;
  }

  /// Whether rows of all scores that a kernel touches, those of other groups too, are one axis of it, which can be cut.
  bool cuts_rows(Kernel& kernel, const std::map<BufferId, Dimension>& rows, bool cut) {
    std::vector<BufferId> touched;
    for (BufferId id : buffers_of(kernel))
      if (rows.count(id)) touched.push_back(id);
    for (BufferId id : touched) separate(kernel, id);
    int axis = none;
    for (BufferId id : touched) {
      const Dimension& dimension = rows.at(id);
      const int own = axis_with(kernel, id, dimension.stride, dimension.extent);
      if (!places_of(kernel, id) || own == none || (axis != none && own != axis)) return false;
      axis = own;
    }
    const MapKernel* map = std::get_if<MapKernel>(&kernel.body);
    if (!cut || !map || axis < map->outer) return true;
    bool found = false;
    for_each_instruction(kernel, [&](const Instruction& i) { found = found || (i.kind == Kind::reduce && i.op == Op::argmax); });
    return !found;
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

  static bool has(const Group& group, size_t kernel) {
    return std::any_of(group.members.begin(), group.members.end(), [&](const Member& m) { return m.kernel == kernel; });
  }

  /// Scores that the group makes and others read.
  std::set<BufferId> handed_on(const Group& group) const {
    std::set<BufferId> found;
    for (BufferId id : group.scores) {
      const bool made = std::any_of(group.members.begin(), group.members.end(), [&](const Member& m) { return writes(m.copy, id); });
      const bool read = std::any_of(touching_[id.value].begin(), touching_[id.value].end(), [&](size_t k) { return !has(group, k); });
      if (made && read) found.insert(id);
    }
    return found;
  }

  /// Whether all who read scores of a group from outside are in other groups, or will be in one that begins with who makes them. Otherwise they stand in memory as they are: made
  /// again, they would stand there twice.
  bool all_in_groups(const Group& group, const std::vector<Group>& groups, BufferId id) {
    const auto maker = std::find_if(group.members.begin(), group.members.end(), [&](const Member& m) { return writes(m.copy, id); });
    bool good = true, any = false;
    for (size_t k : touching_[id.value]) {
      if (has(group, k)) continue;
      const bool in_group = std::any_of(groups.begin(), groups.end(), [&](const Group& other) { return has(other, k); });
      any = any || in_group;
      if (in_group) continue;
      const std::optional<Member> joined = plain(program_.kernels[k]) ? align(*maker, id, Member{k, program_.kernels[k], {}}) : std::nullopt;
      good = good && joined && fits(group, *joined);
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
      const bool own = std::any_of(group.members.begin(), group.members.end(), [&](const Member& m) { return writes(m.copy, id); });
      if (!own || !made.insert(id).second) continue;  // what others have made is there
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

  /// How scores stood: strides of rows, columns and batch axes.
  struct Layout {
    int64_t rows, columns;
    std::vector<int64_t> batch;
    const Group* group;
  };

  void lay_out_scores(std::vector<Group>& groups) {
    std::map<BufferId, Layout> layouts;
    for (const Group& group : groups)
      for (const Member& m : group.members)
        for (BufferId id : group.scores) {
          if (m.rows == none || m.columns == none || !touches(m.copy, id) || layouts.count(id)) continue;
          Layout layout{stride_of(m.copy, id, m.rows), stride_of(m.copy, id, m.columns), {}, &group};
          for (int axis : m.batch) layout.batch.push_back(stride_of(m.copy, id, axis));
          layouts.emplace(id, std::move(layout));
        }
    std::set<size_t> kernels;
    for (const auto& [id, layout] : layouts)
      for (size_t k : touching_[id.value]) kernels.insert(k);
    for (const auto& [id, layout] : layouts)
      for (size_t k : kernels) separate(program_.kernels[k], id);
    for (size_t k : kernels) cut_rows(program_.kernels[k], layouts);
    for (const auto& [id, layout] : layouts) {
      Buffer& buffer = program_[id];
      buffer.shape = layout.group->batch;
      for (int64_t size : {blocks_of(*layout.group), layout.group->columns, block_of(*layout.group)}) buffer.shape.push_back(Extent{size});
      buffer.order.clear();
    }
    for (Group& group : groups)
      for (Member& m : group.members) put_axes_first(group, m, layouts);
    for (size_t k : kernels)
      if (auto* c = std::get_if<ContractKernel>(&program_.kernels[k].body)) choose_tiles(program_, *c);
  }

  int64_t blocks_of(const Group& group) const { return group.rows / block_of(group); }

  /// The axis of rows of scores, of which a kernel may touch several: (blocks, rows of a block) from here on. Scores stand turned.
  void cut_rows(Kernel& kernel, const std::map<BufferId, Layout>& layouts) {
    int axis = none;
    const Group* group = nullptr;
    for (const auto& [id, layout] : layouts) {
      if (!touches(kernel, id)) continue;
      group = layout.group;
      axis = axis_with(kernel, id, layout.rows, Extent{group->rows});
    }
    const int64_t block = block_of(*group), blocks = blocks_of(*group);
    if (blocks > 1) split_axis(kernel, size_t(axis), {Extent{blocks}, Extent{block}});
    for (const auto& [id, layout] : layouts)
      for_each_access_to(kernel, id, [&](Instruction& i) {
        for (size_t a = 0; a < i.access.strides.size(); ++a) {
          int64_t& stride = i.access.strides[a];
          const Extent extent = axes_of(kernel)[a].extent;
          if (stride == 0 || extent == Extent{1, false}) continue;
          if (stride == layout.columns && extent == Extent{layout.group->columns}) stride = block;
          else if (stride == layout.rows && extent == Extent{block}) stride = 1;
          else if (blocks > 1 && stride == layout.rows * block && extent == Extent{blocks}) stride = layout.group->columns * block;
          else {
            const size_t number = size_t(std::find(layout.batch.begin(), layout.batch.end(), stride) - layout.batch.begin());
            NNC_CHECK(number < layout.batch.size(), "an axis of scores is none of their dimensions");
            const Group& those = *layout.group;
            stride = those.rows * those.columns;
            for (size_t inner = number + 1; inner < those.batch.size(); ++inner) stride *= those.batch[inner].at(program_.rows);
          }
        }
      });
  }

  /// The batch axes, and the blocks, in the group's order; lanes along the rows of a block.
  void put_axes_first(const Group& group, Member& m, const std::map<BufferId, Layout>& layouts) {
    Kernel& kernel = program_.kernels[m.kernel];
    const bool cut = blocks_of(group) > 1;
    auto* map = std::get_if<MapKernel>(&kernel.body);
    std::vector<size_t> order;
    for (int axis : m.batch) order.push_back(size_t(axis + (map && cut && axis > m.rows ? 1 : 0)));
    if (map) {
      for (int part = 0; part <= int(cut); ++part) order.push_back(size_t(m.rows + part));
      map->vector_axis = none;
    } else {
      auto& contract = std::get<ContractKernel>(kernel.body);
      if (m.rows != none && cut) {
        order.push_back(contract.first_m());
        move_to_batch(kernel, contract.first_m());
      }
    }
    for (size_t axis = order.size(); axis < axes_of(kernel).size(); ++axis) order.push_back(axis);
    reorder_axes(kernel, order);
    if (map) map->vector_axis = map->outer - 1;
    auto* contract = std::get_if<ContractKernel>(&kernel.body);
    if (contract && m.rows != none && m.columns != none && stores_scores(kernel, layouts)) swap_operands(kernel);
  }

  bool stores_scores(const Kernel& kernel, const std::map<BufferId, Layout>& layouts) const {
    return std::any_of(layouts.begin(), layouts.end(), [&](const auto& one) { return writes(kernel, one.first); });
  }

  // --- what lives in a round ---

  void keep_local(const std::vector<Group>& groups) {
    for (const Group& group : groups)
      for (BufferId id : group.scores) {
        bool inside = true, blocked = true;
        for (size_t k : touching_[id.value]) {
          auto member = std::find_if(group.members.begin(), group.members.end(), [&](const Member& m) { return m.kernel == k; });
          inside = inside && member != group.members.end();
          blocked = blocked && inside && member->rows != none;
        }
        if (!inside) continue;
        const bool cut = blocks_of(group) > 1;
        const size_t dropped = group.batch.size() + (blocked || !cut ? 1 : 0);
        for (size_t k : touching_[id.value])
          for_each_access_to(program_.kernels[k], id, [&](Instruction& i) {
            for (size_t axis = 0; axis < group.batch.size() + (blocked && cut ? 1 : 0); ++axis) i.access.strides[axis] = 0;
          });
        Buffer& buffer = program_[id];
        buffer.kind = BufferKind::local;
        buffer.shape.erase(buffer.shape.begin(), buffer.shape.begin() + std::ptrdiff_t(dropped));
      }
  }

  // --- regions ---

  void assemble(std::vector<Group>& groups) {
    std::vector<size_t> order, behind;
    auto group = groups.begin();
    for (size_t k = 0; k < program_.kernels.size(); ++k) {
      const bool member = group != groups.end() && std::any_of(group->members.begin(), group->members.end(), [&](const Member& m) { return m.kernel == k; });
      const bool later = group != groups.end() && std::find(group->behind.begin(), group->behind.end(), k) != group->behind.end();
      if (!member) (later ? behind : order).push_back(k);
      if (group == groups.end() || k != group->members.back().kernel) continue;  // members are in order, so far
      std::stable_partition(group->members.begin(), group->members.end(), [](const Member& m) { return m.rows != none; });
      const size_t blocked = size_t(std::count_if(group->members.begin(), group->members.end(), [](const Member& m) { return m.rows != none; }));
      const bool cut = blocks_of(*group) > 1, all = blocked == group->members.size();
      const Kernel& first = program_.kernels[group->members.front().kernel];
      ParallelRegion region{first.name + ".region", first.scope, first.span, order.size(), group->members.size(), int(group->batch.size()) + (cut && all ? 1 : 0)};
      program_.parallel_regions.push_back(region);
      if (cut && !all) {
        region.name += ".blocks";
        region.count = blocked;
        ++region.axes;
        program_.parallel_regions.push_back(region);
      }
      for (const Member& m : group->members) order.push_back(m.kernel);
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
  std::map<BufferId, Dimension> rows_;         ///< of all scores of groups that are found
  std::vector<bool> in_parts_;                 ///< by buffer: it has slots
  std::vector<std::pair<size_t, size_t>> inserted_;  ///< in front of which kernel, and how many
};

}  // namespace

void form_parallel_regions(Program& program, const RegionOptions& options) { Former(program, options).run(); }

}  // namespace nnc
