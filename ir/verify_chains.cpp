// P16: what code generation relies on where it walks chains instead of all places.
//
//   - A buffer of chains is a temporary of i32 with one axis and no rows, of the size that entries and places ask for (chains.h), by every kernel that makes or walks it.
//     Nothing else reads it, and one kernel makes it: one serial loop nest over the places that has no inner axes and links each once, in row-major order.
//   - A kernel that walks chains has one inner block, which begins with its one `linked`: about the kernel's first outer axis, which is not the vector axis, and all places,
//     row-major over the inner axes. The block only adds up floats. No lanes run along places.
//   - `touched` is about the same axis and buffer. It stands in the first block, and what stands before it is the same for all indices. Its kernel stores persistents alone: an
//     element that is left out keeps its value, which a temporary has none of.
#include "ir/verify_chains.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "ir/chains.h"
#include "ir/kernel_code.h"

namespace nnc {
namespace {

using Kind = Instruction::Kind;

class ChainChecker {
 public:
  ChainChecker(const Program& program, FaultList& faults) : program_(program), faults_(faults) {}

  void run() {
    for (size_t k = 0; k < program_.kernels.size() && !faults_.full(); ++k) {
      kernel_ = &program_.kernels[k];
      faults_.where = {{}, ProgramFault::none, k, ProgramFault::none};
      size_t found = 0;
      for_each_instruction(*kernel_, [&](const Instruction& i) { found += is_of_chains(i); });
      if (found == 0) continue;
      if (const auto* map = std::get_if<MapKernel>(&kernel_->body))
        check_kernel(*map, found);
      else
        fail("is a contraction and has to do with chains");
    }
    if (entries_.empty()) return;
    for (size_t k = 0; k < program_.kernels.size() && !faults_.full(); ++k) {
      kernel_ = &program_.kernels[k];
      faults_.where = {{}, ProgramFault::none, k, ProgramFault::none};
      for_each_access(*kernel_, [&](const Instruction& i) {
        if (entries_.count(i.access.buffer) && reads_memory(i) && !is_of_chains(i)) fail("reads chains as numbers");
      });
    }
  }

 private:
  void fail(std::string_view what) { faults_.add(fmt::format("P16: {} {}", kernel_->name, what)); }

  void check_kernel(const MapKernel& map, size_t found) {
    const Instruction *linked = find_linked(map), *touched = find_touched(map);
    if (linked)
      check_walk(map, *linked, touched, found);
    else if (touched)
      fail("leaves out entries, but walks no chains");
    else
      check_making(map, found);
  }

  void check_buffer(BufferId id, int64_t entries, int64_t places) {
    const Buffer& buffer = program_[id];
    const bool plain = buffer.kind == BufferKind::temporary && buffer.dtype == index_type && buffer.shape.size() == 1 && !buffer.shape[0].rows;
    if (!plain || entries < 1 || places < 1 || buffer.shape[0].size != ChainLayout{entries, places}.size())
      fail(fmt::format("keeps chains of {} entries and {} places in {}, which is no room for them", entries, places, buffer.name));
    auto [it, fresh] = entries_.try_emplace(id, entries);
    if (!fresh && it->second != entries) fail(fmt::format("takes {} for chains of another number of entries", buffer.name));
  }

  int64_t points(const MapKernel& map, size_t begin, size_t end) const { return joint_extent(map.axes, begin, end).at(program_.rows); }

  void check_making(const MapKernel& map, size_t found) {
    const Instruction* link = nullptr;
    for (const Block& block : map.blocks)
      for (const Instruction& i : block.code)
        if (i.kind == Kind::link) link = &i;
    const bool alone = found == 1 && map.serial && map.vector_axis < 0 && size_t(map.outer) == map.axes.size() && map.outer > 0;
    if (!alone) return fail("links places, but is not one serial loop nest over them");
    if (type_of(map, link->operands[0]) != index_type) fail("links places to an entry that is no i32");
    if (link->access.offset != 0 || link->access.index_value >= 0 || link->access.strides != place_strides(map.axes, 0, map.axes.size(), program_.rows))
      return fail("links places in another order than it goes over them");
    check_buffer(link->access.buffer, link->extent.size, points(map, 0, map.axes.size()));
    if (!made_.insert(link->access.buffer).second) fail("makes chains that another kernel has made");
  }

  static std::optional<DType> type_of(const MapKernel& map, int id) {
    for (const Block& block : map.blocks)
      for (const Instruction& i : block.code)
        if (i.id == id && defines_value(i)) return i.dtype;
    return std::nullopt;
  }

  void check_walk(const MapKernel& map, const Instruction& linked, const Instruction* touched, size_t found) {
    const size_t outer = size_t(map.outer);
    size_t inner_blocks = 0;
    for (const Block& block : map.blocks) {
      if (!block.inner) continue;
      ++inner_blocks;
      if (block.code.empty() || &block.code.front() != &linked) fail("walks chains, but not from the beginning of its inner loop");
      for (const Instruction& i : block.code) {
        const bool sums = i.kind == Kind::reduce && i.op == Op::reduce_sum && is_float(i.dtype);
        if (writes_memory(i) || i.kind == Kind::guard || (i.kind == Kind::reduce && !sums)) fail("does more with the places of an entry than to add up floats");
      }
    }
    if (inner_blocks != 1 || found != (touched ? 2u : 1u)) return fail("walks chains in more than one place");
    const bool lanes = map.vector_axis < 0 || (map.vector_axis > 0 && map.vector_axis == map.outer - 1);
    if (linked.axis != 0 || !lanes || map.axes[0].extent.rows) return fail("walks chains of an axis that is not its first, or has its lanes or rows there");
    if (linked.access.offset != 0 || linked.access.index_value >= 0 || linked.access.strides != place_strides(map.axes, outer, map.axes.size(), program_.rows))
      return fail("takes places in another order than its inner loop");
    for (size_t axis = 0; axis < outer; ++axis)
      if (map.axes[axis].extent.rows) return fail("has rows among the axes of a table");
    check_buffer(linked.access.buffer, map.axes[0].extent.size, points(map, outer, map.axes.size()));
    if (touched) check_touched(map, linked, *touched);
  }

  void check_touched(const MapKernel& map, const Instruction& linked, const Instruction& touched) {
    if (touched.axis != linked.axis || touched.access.buffer != linked.access.buffer) fail("leaves out entries of other chains than it walks");
    if (type_of(map, touched.operands[0]) != DType::boolean) fail("leaves out entries by a value that is no bool");
    bool before = true;
    for (const Instruction& i : map.blocks.front().code) {
      if (&i == &touched) before = false;
      if (!before) break;
      const bool moves = std::any_of(i.access.strides.begin(), i.access.strides.end(), [](int64_t stride) { return stride != 0; }) || i.access.index_value >= 0 || i.access.row_axis >= 0;
      if (moves || writes_memory(i) || i.kind == Kind::axis_index || i.kind == Kind::random) fail("decides by what differs between indices which entries it leaves out");
    }
    if (before || map.blocks.front().inner) fail("leaves out entries after it has begun with them");
    for (const Block& block : map.blocks)
      for (const Instruction& i : block.code)
        if (writes_memory(i) && program_[i.access.buffer].kind != BufferKind::persistent) fail(fmt::format("leaves out elements of {}, which has no value that they keep", program_[i.access.buffer].name));
  }

  const Program& program_;
  FaultList& faults_;
  const Kernel* kernel_ = nullptr;
  std::map<BufferId, int64_t> entries_;  ///< of the buffers that hold chains
  std::set<BufferId> made_;
};

}  // namespace

void check_chains(const Program& program, FaultList& faults) { ChainChecker(program, faults).run(); }

}  // namespace nnc
