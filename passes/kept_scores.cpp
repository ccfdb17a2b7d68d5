// Both change kernels as lowering has left them, in which scores have a place in memory for all rounds: groups are looked for again afterwards, and what stands in one alone becomes local there.
#include "passes/kept_scores.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "ir/axis_limits.h"
#include "ir/program_regions.h"
#include "passes/costs.h"

namespace nnc {
namespace {

using Kind = Instruction::Kind;

// --- draws ---

/// What a dropout wants to know of a draw: how it compares with a number. Nothing else sees the draw.
struct Comparison {
  std::vector<Instruction>* code = nullptr;  ///< where the result stands
  Instruction draw, result;
  bool draw_first = true;
  Number number;
  bool asks_the_same(const Comparison& other) const {
    return draw.site == other.draw.site && result.op == other.result.op && draw_first == other.draw_first && number == other.number;
  }
};

/// Of a map kernel, or behind the sums of a contraction.
std::vector<std::vector<Instruction>*> code_of(Kernel& kernel) {
  std::vector<std::vector<Instruction>*> all;
  if (auto* map = std::get_if<MapKernel>(&kernel.body)) {
    for (Block& block : map->blocks) all.push_back(&block.code);
  } else {
    all.push_back(&std::get<ContractKernel>(kernel.body).epilogue);
  }
  return all;
}

std::vector<Comparison> comparisons_of(Kernel& kernel) {
  std::map<int, const Instruction*> draws, constants;
  std::map<int, int> uses;
  for (const auto* code : code_of(kernel))
    for (const Instruction& i : *code) {
      if (i.kind == Kind::random) draws[i.id] = &i;
      if (i.kind == Kind::constant) constants[i.id] = &i;
      for (int operand : i.operands) ++uses[operand];
    }
  std::vector<Comparison> found;
  for (auto* code : code_of(kernel))
    for (const Instruction& i : *code) {
      if (i.kind != Kind::compute || op_class(i.op) != OpClass::compare) continue;
      for (const bool first : {true, false}) {
        const auto draw = draws.find(i.operands[first ? 0 : 1]), number = constants.find(i.operands[first ? 1 : 0]);
        if (draw != draws.end() && number != constants.end() && uses[draw->first] == 1) found.push_back({code, *draw->second, i, first, number->second->number});
      }
    }
  return found;
}

/// A limit of an axis as the elements of a draw see it, whatever axes are called: strides and extents of the axis and of the one that it is limited by.
using SeenLimit = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, bool>;

std::optional<std::set<SeenLimit>> limits_of(const Kernel& kernel, const Access& draw) {
  std::set<SeenLimit> limits;
  const std::vector<Axis>& axes = axes_of(kernel);
  for (size_t a = 0; a < axes.size(); ++a) {
    const Limit& limit = axes[a].limit;
    if (limit.axis < 0) continue;
    const int64_t stride = draw.strides[a], by = draw.strides[size_t(limit.axis)];
    if (stride != 0 && by != 0) limits.insert({stride, axes[a].extent.size, by, axes[size_t(limit.axis)].extent.size, limit.step, limit.from});
    else if (stride != 0 || by != 0) return std::nullopt;
  }
  return limits;
}

class DrawKeeper {
 public:
  DrawKeeper(Program& program, const AttentionGroups& all) : program_(program), all_(all) {}

  bool run(const std::vector<Group>& groups) {
    bool changed = false;
    for (const Group& group : groups)
      for (const Member& m : group.members) {
        if (!m.blocked() || m.columns == no_axis) continue;
        for (const Comparison& c : comparisons_of(program_.kernels[m.kernel])) {
          const auto known = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& k) { return k.comparison.asks_the_same(c); });
          if (known != kept_.end()) changed = load(*known, m.kernel, c) || changed;
          else note_maker(group, m.kernel, c);
        }
      }
    return changed;
  }

 private:
  struct Kept {
    size_t maker;           ///< kernel
    Comparison comparison;  ///< there
    Access place;           ///< of another buffer, which it stores as the draw goes: an element for each
    BufferId buffer;        ///< invalid: nobody has asked for it yet
  };

  /// A kernel in whose group an element of something is stored for each draw, all of them.
  void note_maker(const Group& group, size_t k, const Comparison& c) {
    const Kernel& kernel = program_.kernels[k];
    const Access& draw = c.draw.access;
    if (draw.row_axis < 0 || !limits_of(kernel, draw)) return;
    for (const Instruction& i : *c.code) {
      if (i.kind != Kind::store || !group.scores.count(i.access.buffer) || !all_.is_temporary(i.access.buffer)) continue;
      bool same = i.access.index_value < 0 && i.access.offset == draw.offset;
      int64_t points = 1;
      for (size_t a = 0; a < draw.strides.size(); ++a) {
        same = same && (int(a) == draw.row_axis ? i.access.strides[a] != 0 : i.access.strides[a] == draw.strides[a]);
        if (i.access.strides[a] != 0) points *= axes_of(kernel)[a].extent.at(program_.rows);
      }
      const Buffer& like = program_[i.access.buffer];
      if (!same || points * int64_t(byte_size(like.dtype)) != buffer_bytes(like, program_.rows)) continue;
      kept_.push_back({k, c, i.access, {}});
      return;
    }
  }

  /// A kernel reads what another one keeps, if all that it asks for is there.
  bool load(Kept& kept, size_t k, const Comparison& c) {
    Kernel& kernel = program_.kernels[k];
    const Access& draw = c.draw.access;
    const std::set<SeenLimit> there = *limits_of(program_.kernels[kept.maker], kept.comparison.draw.access);
    const std::optional<std::set<SeenLimit>> here = limits_of(kernel, draw);
    if (kept.maker == k || draw.row_axis < 0 || !here || !std::includes(here->begin(), here->end(), there.begin(), there.end())) return false;
    if (regions_around(program_, kept.maker) != regions_around(program_, k)) return false;
    if (!kept.buffer.valid()) keep(kept);
    Access place = draw;
    place.buffer = kept.buffer;
    place.strides[size_t(draw.row_axis)] = kept.place.strides[size_t(kept.comparison.draw.access.row_axis)];
    place.row_axis = -1;
    for (Instruction& i : *c.code) {
      if (i.id != c.result.id || !defines_value(i)) continue;
      i.kind = Kind::load;
      i.operands.clear();
      i.access = std::move(place);
      break;
    }
    std::set<int> used;
    for_each_instruction(kernel, [&](const Instruction& i) { used.insert(i.operands.begin(), i.operands.end()); });
    for (auto* code : code_of(kernel)) std::erase_if(*code, [&](const Instruction& i) { return (i.kind == Kind::random || i.kind == Kind::constant) && !used.count(i.id); });
    if (std::holds_alternative<MapKernel>(kernel.body)) kernel.flops = kernel_flops(kernel, program_.rows) * share_of_points(kernel);
    count_bytes(kernel, kept.buffer);
    return true;
  }

  /// The maker stores a byte for each draw.
  void keep(Kept& kept) {
    const Instruction& result = kept.comparison.result;
    const Buffer& like = program_[kept.place.buffer];
    Buffer buffer;
    buffer.name = "%" + std::to_string(result.node.value);
    buffer.dtype = DType::boolean;
    buffer.shape = like.shape;
    buffer.order = like.order;
    buffer.node = result.node;
    buffer.span = like.span;
    buffer.bytes = buffer_bytes(buffer, program_.rows);
    kept.buffer = BufferId{uint32_t(program_.buffers.size())};
    program_.buffers.push_back(std::move(buffer));
    Instruction store;
    store.kind = Kind::store;
    store.dtype = DType::boolean;
    store.operands = {result.id};
    store.access = kept.place;
    store.access.buffer = kept.buffer;
    store.node = result.node;
    Kernel& kernel = program_.kernels[kept.maker];
    for (auto* code : code_of(kernel)) {
      const auto at = std::find_if(code->begin(), code->end(), [&](const Instruction& i) { return defines_value(i) && i.id == result.id; });
      if (at == code->end()) continue;
      code->insert(at + 1, std::move(store));
      break;
    }
    count_bytes(kernel, kept.buffer);
  }

  void count_bytes(Kernel& kernel, BufferId id) { kernel.bytes += double(program_[id].bytes) * share_of_points(kernel); }

  Program& program_;
  const AttentionGroups& all_;
  std::vector<Kept> kept_;
};

// --- computing again ---

class AgainMaker {
 public:
  AgainMaker(Program& program, const AttentionGroups& all) : program_(program), all_(all) {}

  bool run(const std::vector<Group>& groups, int64_t kept_bytes) {
    int64_t kept = 0;
    for (const Group& group : groups)
      for (BufferId id : handed_on(group)) kept += buffer_bytes(program_[id], program_.rows);
    if (kept <= kept_bytes) return false;
    const size_t before = program_.kernels.size();
    for (const Group& group : groups) make_again(group, groups);
    return program_.kernels.size() > before;
  }

 private:
  /// Scores that the group makes and others read.
  std::set<BufferId> handed_on(const Group& group) const {
    std::set<BufferId> found;
    for (BufferId id : group.scores) {
      const bool made = group.maker(id) != nullptr;
      const bool read = std::any_of(all_.touching(id).begin(), all_.touching(id).end(), [&](size_t k) { return !group.has(k); });
      if (made && read) found.insert(id);
    }
    return found;
  }

  /// Whether all who read scores of a group from outside are in other groups, or will be in one that begins with who makes them. Otherwise they stand in memory as they are: made
  /// again, they would stand there twice.
  bool all_in_groups(const Group& group, const std::vector<Group>& groups, BufferId id) const {
    const Member* maker = group.maker(id);
    bool good = true, any = false;
    for (size_t k : all_.touching(id)) {
      if (group.has(k)) continue;
      const bool in_group = std::any_of(groups.begin(), groups.end(), [&](const Group& other) { return other.has(k); });
      any = any || in_group;
      if (in_group) continue;
      good = good && all_.goes_along(group, *maker, id, now(k));
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
      if (!group.maker(id) || !made.insert(id).second) continue;  // what others have made is there
      for (const Member& m : group.members) {
        if (!writes(m.copy, id)) continue;
        makers.insert(m.kernel);
        bool there = true;
        for_each_access(m.copy, [&](const Instruction& i) {
          if (!reads_memory(i)) return;
          const BufferKind kind = program_[i.access.buffer].kind;
          if (group.scores.count(i.access.buffer)) open.push_back(i.access.buffer);
          else there = there && (all_.is_temporary(i.access.buffer) || kind == BufferKind::literal || kind == BufferKind::field || kind == BufferKind::scalars);
        });
        if (!there) return false;
      }
    }
    size_t place = program_.kernels.size();
    for (BufferId id : wanted)
      for (size_t k : all_.touching(id))
        if (!group.has(k)) place = std::min(place, k);
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
      for (size_t k : all_.touching(id))
        if (!group.has(k)) for_each_access_to(program_.kernels[now(k)], id, [&](Instruction& i) { i.access.buffer = again.at(id); });
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

  Program& program_;
  const AttentionGroups& all_;
  std::vector<std::pair<size_t, size_t>> inserted_;  ///< in front of which kernel, and how many
};

}  // namespace

bool keep_draws(Program& program, const AttentionGroups& all, const std::vector<Group>& groups) { return DrawKeeper(program, all).run(groups); }

bool make_scores_again(Program& program, const AttentionGroups& all, const std::vector<Group>& groups, int64_t kept_bytes) { return AgainMaker(program, all).run(groups, kept_bytes); }

}  // namespace nnc
