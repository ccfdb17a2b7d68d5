// A kernel is shared out by its first axis if that walks through all persistents that it updates, line by line: an access with the stride of a whole line. What it reads besides may lie in any order: all of
// that is there.
#include "passes/shard_updates.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "ir/chains.h"
#include "ir/kernel_code.h"

namespace nnc {
namespace {

/// What of a tensor one index of a kernel's first axis touches: so many elements, one line behind the other. Workers' ranges begin at multiples of `step`.
struct Lines {
  int64_t count = 0, length = 0, step = 1;
  bool operator==(const Lines&) const = default;
};

class UpdateSharding {
 public:
  UpdateSharding(Program& program, int worker, int workers) : program_(program), worker_(worker), workers_(workers) {}

  std::vector<OwnedRange> run() {
    for (const Kernel& kernel : program_.kernels) shared_.push_back(is_shared_out(kernel));
    // A persistent has one cut: the first kernel's, and who needs another is not shared out.
    for (size_t k = 0; k < shared_.size(); ++k) shared_[k] = shared_[k] && take_cuts(program_.kernels[k]);
    std::vector<OwnedRange> ranges;
    for (const auto& [buffer, lines] : cuts_) {
      OwnedRange range{program_[buffer].name, {}, false, false, false};
      for (int64_t line : bounds(lines)) range.begins.push_back(line * lines.length);
      for (size_t k = 0; k < shared_.size(); ++k)
        for_each_access(program_.kernels[k], [&](const Instruction& i) {
          if (i.access.buffer != buffer) return;
          range.updated = range.updated || (shared_[k] && writes_memory(i));
          range.read_whole = range.read_whole || !shared_[k] || is_read_whole(std::get<MapKernel>(program_.kernels[k].body), i);
        });
      const bool is_partial = std::ranges::any_of(program_.persistents, [&](const PersistentPlace& p) { return p.buffer == buffer && p.persistent.kind == PersistentKind::partial; });
      if (range.updated || (is_partial && !range.read_whole)) ranges.push_back(std::move(range));
    }
    for (size_t k = 0; k < shared_.size(); ++k)
      if (shared_[k]) restrict_to_share(program_.kernels[k]);
    const std::vector<std::string> faults = verify_program(program_);
    NNC_CHECK(faults.empty(), "a shared update is not sound: " + (faults.empty() ? "" : faults.front()));
    return ranges;
  }

 private:
  bool is_persistent(BufferId b) const { return program_[b].kind == BufferKind::persistent && !program_[b].slot.valid(); }

  /// The lines of an access whose elements one index of the first axis has all by itself.
  Lines lines_of(const MapKernel& map, const Access& access) const {
    const int64_t count = map.axes[0].extent.size, all = Type{program_[access.buffer].dtype, program_[access.buffer].shape}.elements(1);
    if (access.offset != 0 || access.index_value >= 0 || count == 0 || all % count != 0 || access.strides[0] != all / count) return {};
    int64_t reach = 1;
    for (size_t axis = 1; axis < map.axes.size(); ++axis) reach += std::max<int64_t>(0, access.strides[axis]) * (map.axes[axis].extent.size - 1);
    const bool within = reach <= access.strides[0] && std::all_of(access.strides.begin(), access.strides.end(), [](int64_t s) { return s >= 0; });
    return within ? Lines{count, access.strides[0]} : Lines{};
  }

  /// Of a kernel that is shared out: whether the instruction needs more of a persistent than the lines of its own indices: the same for all of them, or what lies in another order.
  bool is_read_whole(const MapKernel& map, const Instruction& i) const { return lines_of(map, i.access).length == 0; }

  bool is_shared_out(const Kernel& kernel) const {
    const auto* map = std::get_if<MapKernel>(&kernel.body);
    if (!map || map->outer < 1 || map->serial || map->axes[0].extent.rows || map->axes[0].together != 1 || map->axes[0].limit.axis >= 0) return false;
    bool fits = true, updates = false;
    for_each_instruction(kernel, [&](const Instruction& i) {
      if (i.kind == Instruction::Kind::axis_index && i.axis == 0) fits = false;
      if (is_of_chains(i) || i.kind == Instruction::Kind::random || i.kind == Instruction::Kind::guard || i.kind == Instruction::Kind::store_add) fits = false;
      if (!i.access.buffer.valid()) return;
      if (i.access.row_axis >= 0) fits = false;
      if (writes_memory(i)) {
        updates = true;
        fits = fits && is_persistent(i.access.buffer) && lines_of(*map, i.access).length > 0;
      } else if (is_persistent(i.access.buffer)) {
        fits = fits && i.access.index_value < 0;  // what is not read line by line is read whole
      }
    });
    return fits && updates;
  }

  /// Notes how the kernel cuts what it touches; false if somebody cuts it otherwise.
  bool take_cuts(const Kernel& kernel) {
    const MapKernel& map = std::get<MapKernel>(kernel.body);
    bool agrees = true;
    std::map<BufferId, Lines> own;
    for_each_access(kernel, [&](const Instruction& i) {
      if (!is_persistent(i.access.buffer) || is_read_whole(map, i)) return;
      const Lines lines = lines_of(map, i.access);
      const auto [known, fresh] = own.try_emplace(i.access.buffer, lines);
      agrees = agrees && known->second == lines;
    });
    // All that a kernel touches is cut at the same lines: whole cache lines where each is an element of everything.
    constexpr int64_t cache_line = 16;  // elements of f32
    const bool is_flat = std::ranges::all_of(own, [](const auto& o) { return o.second.length == 1; });
    for (auto& [buffer, lines] : own) lines.step = is_flat ? cache_line : 1;
    for (const auto& [buffer, lines] : own)
      if (const auto other = cuts_.find(buffer); other != cuts_.end()) agrees = agrees && other->second == lines;
    if (agrees) cuts_.insert(own.begin(), own.end());
    return agrees;
  }

  /// Where each worker's lines begin, and the end.
  std::vector<int64_t> bounds(const Lines& lines) const {
    std::vector<int64_t> result;
    for (int w = 0; w <= workers_; ++w) result.push_back(w == workers_ ? lines.count : lines.count * w / workers_ / lines.step * lines.step);
    return result;
  }

  void restrict_to_share(Kernel& kernel) const {
    MapKernel& map = std::get<MapKernel>(kernel.body);
    const int64_t count = map.axes[0].extent.size;
    BufferId written;
    for_each_access(kernel, [&](const Instruction& i) {
      if (writes_memory(i)) written = i.access.buffer;
    });
    const std::vector<int64_t> all = bounds(cuts_.at(written));
    const int64_t begin = all[size_t(worker_)], end = all[size_t(worker_) + 1];
    for (Block& block : map.blocks)
      for (Instruction& i : block.code)
        if (i.access.buffer.valid()) i.access.offset += i.access.strides[0] * begin;
    map.axes[0].extent.size = end - begin;
    const double share = double(end - begin) / double(std::max<int64_t>(count, 1));
    kernel.flops *= share;
    kernel.bytes *= share;
  }

  Program& program_;
  const int worker_, workers_;
  std::vector<bool> shared_;  // by kernel
  std::map<BufferId, Lines> cuts_;
};

}  // namespace

std::vector<OwnedRange> shard_updates(Program& program, int worker, int workers) { return UpdateSharding(program, worker, workers).run(); }

}  // namespace nnc
