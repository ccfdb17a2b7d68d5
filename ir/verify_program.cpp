// Invariants of a program: what codegen may rely on, and an independent proof of the memory plan. The checks use the kernels' loads and stores
// alone, never what the passes that made them believed.
//
//   P1  Buffers: their sizes are numbers of bytes, memory order is a permutation (persistents and temporaries only), byte count as buffer_bytes says,
//       temporaries and persistents aligned to 64 bytes and inside arena and persistent block, slots of fields, scalars, results and outputs exist, a literal
//       has one number of its type for each element.
//       A slot is part of a buffer that is none, of its kind (fields, persistents, temporaries, literals) and type.
//   P2  Persistents do not overlap; each has one buffer of its type. Nothing is declared twice.
//   P3  Kernels: names unique, axes and vector axis in range, points countable, tiles positive, inner blocks only where there are inner axes. Indices are taken together
//       along outer axes without rows behind which stands the vector axis, at most max_together at once; inner axes are without rows then, and nothing is an argmax.
//       Code behind a contraction's rows stands only where its epilogue sums over them, and then all rows are in a block.
//   P4  Values: ids unique in a kernel; defined before use, in the same block or in one whose values are visible there (an outer block, or a reduction
//       of an inner one); a contraction's operands and epilogue see only their own, the code behind its rows
//       the epilogue's sums alone; gather indices are integers.
//   P5  Instructions stand where their kind is allowed, and types agree: with the buffer, and with infer_type for arithmetic and constants. Guards stand in
//       operands of contractions, before a lone load if these are not packed, each about one axis of k, none about the rows or columns of a tile; or in inner
//       blocks that only reduce, each about one inner axis without rows, none about the vector axis (the last outer one), and about an axis of which indices are taken
//       together if it is about no other outer one.
//   P6  Accesses stay within their buffer for the planned number of rows (of an operand that is not packed: where its guards hold); a field is read by rows; operand a does not depend on n, b not on m,
//       an epilogue not on k, the code behind the rows not on them either, an outer block not on inner axes. A draw is of a row of
//       the batch, or of none, and of an element below 2^34.
//   P7  Fields, scalars and literals are only read.
//   P8  A kernel writes no element twice: each store is one-to-one over its axes, two stores of one kernel to one buffer are disjoint (looked at
//       element by element, in buffers of up to 2^24 elements and for 2^28 elements in all). store_add, and a store at an index that is data, only in serial kernels.
//   P9  A persistent is never read after its update (but a partial sum after all that store it: segments_of): no later kernel loads it, and the kernel that stores it loads it only at the very element
//       it stores, before the store. A temporary that one kernel both stores and loads is touched at equal places too, unless the kernel is one
//       serial iteration.
//   P10 A temporary's first access is a store; every result and output is stored.
//   P11 Temporaries alive at the same time (first to last access, in order of kernels; over all of a region if touched outside of it, too, or by slots that move) do not
//       overlap in the arena.
//   P12 Without a barrier between them, two kernels of which one is parallel touch no byte that either writes.
//   P13 Regions have kernels and rounds, are nested or apart, and stand in the order of their kernels.
//   P14 A slot that a kernel touches moves with regions around the kernel alone, and lies in its buffer in each of their rounds. A slot without
//       elements lies there by its stretch (stretch_of), a slot with elements in a buffer that has some.
//   P15 What a kernel reads in a round, of a buffer that the region stores, has been stored by an earlier kernel of the round or by the round before, and for the first round
//       before the region. A persistent is not stored in a region. What one kernel stores and loads or stores again through two slots of a buffer lies apart.
//   P16 Chains are made and walked as chains.h says, see verify_chains.cpp.
//   P17 Parallel regions have kernels, are nested or apart, and never around regions of rounds. Their kernels are parallel and have no barrier between them; their first axes are equal,
//       outer axes without lanes or batch axes. No round sees what another one stores, those of an inner region neither, and none stores a persistent or a result; see verify_parallel.cpp.
//   P18 A local buffer is touched in one parallel region, the innermost around all who do, at places that do not depend on its axes.
//   P19 Limits of axes are as axis_limits.h says. No other check relies on them: a kernel is sound where all indices are there.
//   P20 What is read of a temporary or a local buffer has been stored, by one or several who come earlier, or in an earlier round; so is all of an output (looked at where up to
//       256 instructions store a buffer, element by element as in P8); see verify_stored.cpp.
// P8 to P12 see a buffer with all of its slots as one, kernels of a region as if they stood there twice, and a parallel region as one kernel; P11 goes for local buffers in a thread's memory. P8 to P12 and P15 are in verify_memory.cpp. A program may come from a text that anybody wrote: no product of its numbers is taken before it is known to fit,
// and no check takes the square of the text's length.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/philox.h"
#include "ir/axis_limits.h"
#include "ir/chains.h"
#include "ir/op_rules.h"
#include "ir/program.h"
#include "ir/program_regions.h"
#include "ir/verify_blocks.h"
#include "ir/verify_chains.h"
#include "ir/verify_memory.h"
#include "ir/verify_parallel.h"
#include "ir/verify_stored.h"

namespace nnc {
namespace {

constexpr size_t max_faults = 100;
constexpr int64_t max_step = int64_t(1) << 56;   // elements between neighbours along an axis: any buffer is smaller, and the bytes still fit 64 bits
constexpr int64_t max_bytes = int64_t(1) << 62;

int64_t saturating_add(int64_t a, int64_t b) {
  int64_t out;
  return __builtin_add_overflow(a, b, &out) ? (b < 0 ? INT64_MIN : INT64_MAX) : out;
}
int64_t saturating_multiply(int64_t a, int64_t b) {
  int64_t out;
  return __builtin_mul_overflow(a, b, &out) ? ((a < 0) != (b < 0) ? INT64_MIN : INT64_MAX) : out;
}

/// Do the sizes' product and each of its parts, where a size of 0 hides no other, stay within `most`?
template <class Extents, class Size>
bool product_fits(const Extents& list, Size size_of, int64_t rows, int64_t most) {
  int64_t product = 1;
  for (const auto& entry : list) {
    Extent e = size_of(entry);
    int64_t size = e.rows ? saturating_multiply(e.size, rows) : e.size;
    if (e.size < 0 || size > most) return false;
    product = saturating_multiply(product, std::max<int64_t>(size, 1));
    if (product > most) return false;
  }
  return true;
}

class ProgramVerifier {
 public:
  explicit ProgramVerifier(const Program& program)
      : program_(program), touches_(program.buffers.size()), sized_(program.buffers.size(), false), placed_(program.buffers.size(), false) {}

  std::vector<ProgramFault> run() {
    if (program_.rows < 0 || program_.rows > max_elements) {
      fail("P1: {} rows are planned", program_.rows);
      return faults_.take();
    }
    if (program_.whole_rows < 0 || (program_.whole_rows > 0 && program_.whole_rows < program_.rows) || program_.whole_rows > max_elements)
      fail("P1: {} rows are planned of a batch of {}", program_.rows, program_.whole_rows);
    if (program_.piece_rows < 0 || program_.piece_rows > max_elements) fail("P1: a piece has {} rows", program_.piece_rows);
    if (!faults_.empty()) return faults_.take();
    check_buffers();
    check_persistents();
    check_regions();
    if (faults_.empty()) check_parallel_ranges(program_, faults_);
    if (!faults_.empty()) return faults_.take();
    std::set<std::string> names;
    for (size_t k = 0; k < program_.kernels.size() && !faults_.full(); ++k) {
      faults_.where = {{}, ProgramFault::none, k, ProgramFault::none};
      instruction_ = 0;
      kernel_ = &program_.kernels[k];
      regions_ = regions_around(program_, k);
      if (!names.insert(kernel_->name).second) fail("P3: two kernels are named {}", kernel_->name);
      if (const MapKernel* map = std::get_if<MapKernel>(&kernel_->body))
        check_map(*map);
      else
        check_contract(std::get<ContractKernel>(kernel_->body));
    }
    if (faults_.empty()) check_chains(program_, faults_);
    if (faults_.empty()) check_parallel_rounds(program_, touches_, faults_);
    // The plan is only looked at where the accesses it is judged by are sound.
    if (faults_.empty()) check_memory(program_, touches_, faults_);
    if (faults_.empty()) check_stored(program_, touches_, faults_);
    return faults_.take();
  }

 private:
  template <class... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    faults_.add(fmt::format(format, std::forward<Args>(args)...));
  }

  // --- P1, P2 ---

  void at_buffer(size_t buffer) { faults_.where = {{}, buffer, ProgramFault::none, ProgramFault::none}; }

  void check_buffers() {
    if (program_.local_bytes % 64 != 0) fail("P1: {} bytes local to each thread are no multiple of 64", program_.local_bytes);  // a thread's scratch stands behind them
    for (size_t i = 0; i < program_.buffers.size(); ++i) {
      const Buffer& b = program_.buffers[i];
      at_buffer(i);
      sized_[i] = product_fits(b.shape, [](Extent e) { return e; }, program_.rows, max_bytes / 8);
      if (!sized_[i]) {
        fail("P1: {} is {} for {} rows, which no memory can hold", b.name, to_string(Type{b.dtype, b.shape}), program_.rows);
        continue;
      }
      bool placed = b.kind == BufferKind::temporary || b.kind == BufferKind::persistent || b.kind == BufferKind::local;
      if (!b.order.empty()) {
        std::vector<int> sorted = b.order;
        std::sort(sorted.begin(), sorted.end());
        bool permutation = sorted.size() == b.shape.size();
        for (size_t i = 0; permutation && i < sorted.size(); ++i) permutation = sorted[i] == int(i);
        if (!permutation || !placed) fail("P1: the memory order of {} is not one of its {} axes", b.name, b.shape.size());
      }
      if (b.bytes != buffer_bytes(b, program_.rows)) fail("P1: {} has {} bytes, not {}", b.name, b.bytes, buffer_bytes(b, program_.rows));
      if (b.slot.valid()) {
        check_slot(b);
        continue;
      }
      auto slot = [&](const std::vector<std::string>& list, int64_t index, std::string_view what) {
        if (index < 0 || index >= int64_t(list.size())) fail("P1: {} is {} {} of {}", b.name, what, index, list.size());
      };
      switch (b.kind) {
        case BufferKind::temporary:
        case BufferKind::persistent:
        case BufferKind::local: {
          int64_t room = b.kind == BufferKind::temporary ? program_.arena_bytes : b.kind == BufferKind::local ? program_.local_bytes : program_.persistent_bytes;
          if (b.offset % 64 != 0) fail("P1: {} stands at {}, which is no multiple of 64", b.name, b.offset);
          placed_[i] = b.offset >= 0 && b.bytes >= 0 && b.offset <= room && b.bytes <= room - b.offset;
          if (!placed_[i]) fail("P1: {} at {} with {} bytes leaves its block of {}", b.name, b.offset, b.bytes, room);
          break;
        }
        case BufferKind::field: slot(program_.fields, b.field, "field"); break;
        case BufferKind::scalars:
        case BufferKind::results: {
          DType type = b.kind == BufferKind::scalars ? type_of_scalar(b.name) : scalar_type;
          if (b.offset % scalar_bytes != 0 || b.dtype != type || b.bytes != scalar_bytes) fail("P1: {} is no {} scalar of its block", b.name, dtype_name(type));
          slot(b.kind == BufferKind::scalars ? program_.scalars : program_.results, scalar_slot(b), "slot");
          break;
        }
        case BufferKind::literal:
          if (int64_t(b.values.size()) != Type{b.dtype, b.shape}.elements(program_.rows) || Type{b.dtype, b.shape}.has_rows())
            fail("P1: {} has {} numbers for {}", b.name, b.values.size(), to_string(Type{b.dtype, b.shape}));
          for (Number v : b.values)
            if (!is_value_of(b.dtype, v)) fail("P1: {} holds {}, which is not a value of {}", b.name, number_text(v), dtype_name(b.dtype));
          break;
        case BufferKind::output: slot(program_.outputs, b.offset, "output"); break;
      }
    }
  }

  void check_slot(const Buffer& b) {
    if (b.slot.of.value >= program_.buffers.size()) return fail("P1: {} is part of no buffer", b.name);
    const Buffer& whole = program_[b.slot.of];
    const bool may = whole.kind == BufferKind::field || whole.kind == BufferKind::persistent || whole.kind == BufferKind::temporary || whole.kind == BufferKind::literal;
    if (whole.slot.valid()) fail("P1: {} is part of {}, which is a slot itself", b.name, whole.name);
    if (!may || b.kind != whole.kind || b.dtype != whole.dtype || (b.kind == BufferKind::field && b.field != whole.field))
      fail("P1: {} is no part that {} can have", b.name, whole.name);
    auto too_far = [](int64_t step) { return step > max_step || step < -max_step; };
    if (too_far(b.slot.first) || std::any_of(b.slot.per_round.begin(), b.slot.per_round.end(), too_far)) fail("P1: {} moves further than any buffer reaches", b.name);
    else if (b.offset != offset_of_slot(program_, b)) fail("P1: {} stands at {}, not {}", b.name, b.offset, offset_of_slot(program_, b));
  }

  // --- P13, P14 ---

  void check_regions() {
    const size_t kernels = program_.kernels.size();
    std::vector<size_t> open;  // ends of the regions around
    for (size_t r = 0; r < program_.regions.size(); ++r) {
      const Region& region = program_.regions[r];
      faults_.where = {};
      faults_.where.region = r;
      if (region.count == 0 || region.first >= kernels || region.count > kernels - region.first || region.rounds < 1 || region.rounds > max_elements) {
        fail("P13: {} has no kernels or no rounds", region.name);
        return;
      }
      while (!open.empty() && open.back() <= region.first) open.pop_back();
      const size_t end = region.first + region.count;
      if (r > 0 && program_.regions[r - 1].first > region.first) fail("P13: {} begins before the region that stands before it", region.name);
      if (!open.empty() && open.back() < end) fail("P13: {} is neither in the region around its first kernel nor apart from it", region.name);
      open.push_back(end);
      if (open.size() > max_region_depth) return fail("P13: more than {} regions are around {}", max_region_depth, program_.kernels[region.first].name);
      int64_t rounds = 1;
      for (size_t around : regions_around(program_, region.first))
        if (around <= r) rounds = saturating_multiply(rounds, program_.regions[around].rounds);
      if (rounds > int64_t(1) << 40) fail("P13: {} runs {} times", region.name, rounds);
    }
  }

  void check_slot_moves(const Instruction& inst, const Buffer& b) {
    if (b.slot.per_round.size() > regions_.size()) return fail("P14: {} touches {}, which moves with {} regions of {}", at(inst), b.name, b.slot.per_round.size(), regions_.size());
    int64_t low = b.slot.first, high = b.slot.first;
    for (size_t d = 0; d < b.slot.per_round.size(); ++d) {
      const int64_t way = saturating_multiply(b.slot.per_round[d], program_.regions[regions_[d]].rounds - 1);
      int64_t& end = way < 0 ? low : high;
      end = saturating_add(end, way);
    }
    const Buffer& whole = program_[b.slot.of];
    if (!sized_[b.slot.of.value]) return;
    auto has_elements = [&](const Buffer& buffer) {
      for (size_t i = buffer.kind == BufferKind::field ? 1 : 0; i < buffer.shape.size(); ++i)
        if (buffer.shape[i].at(program_.rows) == 0) return false;
      return true;
    };
    // Where there are no elements, there is room for slots without elements alone.
    const int64_t room = has_elements(b) && !has_elements(whole) ? 0 : stretch_of(whole, program_.rows);
    const int64_t end = saturating_add(high, stretch_of(b, program_.rows));
    if (low < 0 || end > room) fail("P14: {} touches {}, which leaves {} in some round: elements {} to {} of {}", at(inst), b.name, whole.name, low, end - 1, room);
  }

  void check_part(const PersistentPlace& place, const Buffer& b) {
    const Type& type = place.persistent.type;
    const PersistentPart& part = *place.part;
    if (type.has_rows() || !product_fits(type.shape, [](Extent e) { return e; }, 1, max_bytes / 8) || part.begin < 0 || part.end < part.begin || part.end > type.elements(1)) {
      fail("P2: elements {} to {} are no part of persistent {}, which is {}", part.begin, part.end - 1, place.persistent.name, to_string(type));
      return;
    }
    if (b.dtype != type.dtype || b.shape != Shape{Extent{part.end - part.begin, false}} || !b.order.empty())
      fail("P2: {} elements of persistent {}, which is {}, are in a buffer that is {}", part.end - part.begin, place.persistent.name, to_string(type), to_string(Type{b.dtype, b.shape}));
    std::vector<int> axes = part.order;
    std::sort(axes.begin(), axes.end());
    bool permutes = axes.empty() || axes.size() == type.shape.size();
    for (size_t a = 0; permutes && a < axes.size(); ++a) permutes = axes[a] == int(a);
    if (!permutes) fail("P2: persistent {} has a memory order that is no permutation of its axes", place.persistent.name);
  }

  void check_persistents() {
    std::set<std::string> names;
    std::set<BufferId> used;
    for (const PersistentPlace& place : program_.persistents) {
      at_buffer(place.buffer.value < program_.buffers.size() ? place.buffer.value : ProgramFault::none);
      if (!names.insert(place.persistent.name).second) fail("P2: persistent {} is placed twice", place.persistent.name);
      if (place.buffer.value >= program_.buffers.size() || program_[place.buffer].kind != BufferKind::persistent) {
        fail("P2: persistent {} has no persistent buffer", place.persistent.name);
        continue;
      }
      const Buffer& b = program_[place.buffer];
      if (!used.insert(place.buffer).second) fail("P2: buffer {} holds two persistents", b.name);
      if (place.part)
        check_part(place, b);
      else if (b.dtype != place.persistent.type.dtype || b.shape != place.persistent.type.shape)
        fail("P2: persistent {} is {}, its buffer {}", place.persistent.name, to_string(place.persistent.type), to_string(Type{b.dtype, b.shape}));
    }
    // In the order of their places, one that begins before an earlier one has ended overlaps it.
    std::vector<size_t> by_place;
    for (size_t i = 0; i < program_.buffers.size(); ++i)
      if (program_.buffers[i].kind == BufferKind::persistent && placed_[i]) by_place.push_back(i);
    std::stable_sort(by_place.begin(), by_place.end(), [&](size_t x, size_t y) { return program_.buffers[x].offset < program_.buffers[y].offset; });
    size_t furthest = ProgramFault::none;
    auto end_of = [&](size_t i) { return program_.buffers[i].offset + program_.buffers[i].bytes; };
    for (size_t i : by_place) {
      if (furthest != ProgramFault::none && buffers_overlap(program_.buffers[furthest], program_.buffers[i])) {
        at_buffer(std::max(furthest, i));
        fail("P2: {} and {} overlap", program_.buffers[std::min(furthest, i)].name, program_.buffers[std::max(furthest, i)].name);
      }
      if (furthest == ProgramFault::none || end_of(i) > end_of(furthest)) furthest = i;
    }
  }

  // --- P3 to P7: one kernel ---

  struct Code {
    CodePlace place{};
    size_t block = 0;
    const std::vector<Axis>* axes = nullptr;
    std::vector<bool> loops;   ///< axes an access may depend on
    size_t inner_axes = 0;
    bool serial = false;       ///< colliding stores are allowed
  };

  void check_map(const MapKernel& map) {
    values_.clear();
    ids_.clear();
    guards_.clear();
    int count = int(map.axes.size());
    if (map.outer < 0 || map.outer > count) return fail("P3: {} has {} outer axes of {}", kernel_->name, map.outer, count);
    bool outer_vector = map.outer > 0 && map.vector_axis == map.outer - 1, inner_vector = map.outer < count && map.vector_axis == count - 1;
    if (map.vector_axis != -1 && !outer_vector && !inner_vector)
      fail("P3: {} has vector axis {}, which is neither the last outer nor the last inner one", kernel_->name, map.vector_axis);
    if (kernel_->parallel && map.serial) fail("P3: {} is serial and parallel", kernel_->name);
    if (!check_axes(map.axes)) return;
    check_together(*kernel_, map, faults_);
    check_limits(*kernel_, faults_);
    packed_ = false;
    for (size_t i = 0; i < map.blocks.size(); ++i) {
      const Block& block = map.blocks[i];
      guards_.clear();
      if (block.inner && map.outer == count) fail("P3: {} has an inner block but no inner axes", kernel_->name);
      Code code{block.inner ? CodePlace::inner_block : CodePlace::outer_block, i, &map.axes, std::vector<bool>(map.axes.size(), block.inner), 0, map.serial};
      for (int axis = 0; axis < map.outer; ++axis) code.loops[size_t(axis)] = true;
      code.inner_axes = size_t(count - map.outer);
      check_code(block.code, code);
      if (!block.inner) continue;
      check_block_guards(*kernel_, map, block, guards_, faults_);
      // Only reductions are seen outside, and only there: they are complete when the loop has ended.
      for (const Instruction& inst : block.code)
        if (inst.kind == Instruction::Kind::reduce)
          values_[inst.id] = inst.dtype;
        else
          values_.erase(inst.id);
    }
  }

  void check_contract(const ContractKernel& contract) {
    ids_.clear();
    for (const Axis& axis : contract.axes)
      if (axis.together != 1) fail("P3: {} takes {} indices of axis {} together", kernel_->name, axis.together, axis.name);
    if (contract.batch < 0 || contract.m < 1 || contract.axes.size() <= contract.first_k())
      return fail("P3: {} has {} axes for {} batch axes, {} of m, n and k", kernel_->name, contract.axes.size(), contract.batch, contract.m);
    if (contract.mr < 1 || contract.nr < 1 || contract.mc < 1 || contract.nc < 1 || contract.kc < 1) fail("P3: {} has an empty tile", kernel_->name);
    if (!check_axes(contract.axes)) return;
    int rows_of_m = 0;
    for (size_t i = contract.first_m(); i < contract.n_axis(); ++i) rows_of_m += contract.axes[i].extent.rows;
    if (rows_of_m > 1) fail("P3: two axes of m of {} have rows", kernel_->name);
    for (size_t i = contract.first_k() + 1; i < contract.axes.size(); ++i)
      if (contract.axes[i].extent.rows) fail("P3: axis {} of {} has rows, but is not the first of k", contract.axes[i].name, kernel_->name);
    auto check_part = [&](const std::vector<Instruction>& instructions, CodePlace place, size_t without, size_t end) {
      if (place != CodePlace::after_rows) values_.clear();
      guards_.clear();
      Code code{place, 0, &contract.axes, std::vector<bool>(contract.axes.size(), true), 0, false};
      for (size_t i = 0; i < code.loops.size(); ++i)
        code.loops[i] = (i < without || i >= end) && (place != CodePlace::after_rows || i < contract.first_k());
      check_code(instructions, code);
    };
    auto check_operand = [&](const Operand& operand, CodePlace place, size_t without, size_t end, std::string_view which) {
      packed_ = operand.pack;
      check_part(operand.code, place, without, end);
      check_guards(contract, operand);
      auto it = values_.find(operand.value);
      if (it == values_.end())
        fail("P4: operand {} of {} ends with v{}, which it does not define", which, kernel_->name, operand.value);
      else if (it->second != contraction_type)
        fail("P5: operand {} of {} is {}, not {}", which, kernel_->name, dtype_name(it->second), dtype_name(contraction_type));
    };
    check_limits(*kernel_, faults_);
    check_operand(contract.a, CodePlace::operand_a, contract.n_axis(), contract.first_k(), "a");
    check_operand(contract.b, CodePlace::operand_b, contract.first_m(), contract.n_axis(), "b");
    check_part(contract.epilogue, CodePlace::epilogue, contract.first_k(), contract.axes.size());
    check_after_rows(contract, check_part);
  }

  /// Only sums are seen behind the rows, and where there are some a block has all rows: pieces of work then store elements of their own.
  template <class CheckPart>
  void check_after_rows(const ContractKernel& contract, CheckPart check_part) {
    values_.clear();
    for (const Instruction& inst : contract.epilogue)
      if (inst.kind == Instruction::Kind::reduce) values_[inst.id] = inst.dtype;
    const Axis& rows = contract.axes[contract.row_axis()];
    if (!values_.empty() && contract.mc < rows.extent.at(program_.rows))
      fail("P3: {} sums over the {} of axis {}, but its blocks have {}", kernel_->name, rows.extent.at(program_.rows), rows.name, contract.mc);
    if (values_.empty() && !contract.after_rows.empty()) fail("P3: {} has code behind its rows, but no sum over them", kernel_->name);
    check_part(contract.after_rows, CodePlace::after_rows, contract.row_axis(), contract.n_axis());
  }

  /// Guards of the operand at hand become bounds of loops over k.
  void check_guards(const ContractKernel& contract, const Operand& operand) {
    for (const Instruction* guard : guards_) {
      if (guard->access.strides.size() != contract.axes.size()) return;
      size_t summed = 0;
      for (size_t axis = contract.first_k(); axis < contract.axes.size(); ++axis) {
        if (guard->access.strides[axis] == 0) continue;
        ++summed;
        if (contract.axes[axis].extent.rows) fail("P5: a guard of {} is about rows", kernel_->name);
      }
      if (summed != 1) fail("P5: a guard of {} is about {} axes of k, not one", kernel_->name, summed);
      if (guard->access.strides[contract.row_axis()] != 0) fail("P5: a guard of {} depends on axis {}, that of a tile's rows", kernel_->name, contract.axes[contract.row_axis()].name);
      if (guard->access.strides[contract.n_axis()] != 0) fail("P5: a guard of {} depends on axis {}, that of a tile's columns", kernel_->name, contract.axes[contract.n_axis()].name);
    }
    if (guards_.empty() || operand.pack) return;
    const Instruction& load = operand.code.back();
    const size_t n = contract.n_axis();
    const bool lone = operand.code.size() == guards_.size() + 1 && load.kind == Instruction::Kind::load && load.access.strides.size() == contract.axes.size();
    const bool lanes = &operand == &contract.a || contract.axes[n].extent == Extent{1, false} || (lone && load.access.strides[n] == 1);
    if (!lone || !lanes || load.access.index_value >= 0 || load.access.row_axis >= int(contract.row_axis()))
      fail("P5: an operand of {} has guards, but is neither packed nor a lone load in place", kernel_->name);
  }

  bool check_axes(const std::vector<Axis>& axes) {
    for (const Axis& axis : axes)
      if (axis.extent.size < 0) fail("P3: axis {} of {} has size {}", axis.name, kernel_->name, axis.extent.size);
    bool fits = product_fits(axes, [](const Axis& a) { return a.extent; }, program_.rows, INT64_MAX - 1);
    if (!fits) fail("P3: {} has more points than 64 bits can count", kernel_->name);
    return fits;
  }

  void check_code(const std::vector<Instruction>& instructions, const Code& code) {
    for (const Instruction& inst : instructions) {
      if (faults_.full()) break;
      faults_.where.instruction = instruction_++;
      check_instruction(inst, code);
    }
    faults_.where.instruction = ProgramFault::none;
  }

  std::string at(const Instruction& inst) const {
    if (is_of_chains(inst)) return fmt::format("a line of {} about chains", kernel_->name);
    if (inst.kind == Instruction::Kind::guard) return "a guard of " + kernel_->name;
    return inst.id >= 0 ? fmt::format("v{} of {}", inst.id, kernel_->name) : fmt::format("a store of {}", kernel_->name);
  }

  void check_instruction(const Instruction& inst, const Code& code) {
    using Kind = Instruction::Kind;
    std::vector<Type> types;
    for (int id : inst.operands) {
      auto it = values_.find(id);
      if (it == values_.end())
        fail("P4: {} uses v{}, which is not defined there", at(inst), id);
      else
        types.push_back({it->second, {}});
    }
    if (types.size() != inst.operands.size()) return define(inst);
    bool operand_code = code.place == CodePlace::operand_a || code.place == CodePlace::operand_b;
    switch (inst.kind) {
      case Kind::load: check_access(inst, code); break;
      case Kind::store:
      case Kind::store_add:
        if (operand_code) fail("P5: {} stands in an operand", at(inst));
        if ((inst.kind == Kind::store_add || inst.access.index_value >= 0) && !code.serial)
          fail("P8: {} may meet another one, but the kernel is not serial", at(inst));
        if (types.size() != 1 || types[0].dtype != inst.dtype) fail("P5: {} does not store one value of its type", at(inst));
        check_access(inst, code);
        break;
      case Kind::constant: {
        Attributes attributes;
        attributes.dtype = inst.dtype;
        attributes.number = inst.number;
        std::string error;
        if (!infer_type(Op::constant, {}, attributes, error)) fail("P5: {}: {}", at(inst), error);
        break;
      }
      case Kind::axis_index:
        if (inst.axis < 0 || size_t(inst.axis) >= code.axes->size() || !code.loops[size_t(inst.axis)])
          fail("P6: {} is the index of axis {}, over which it does not run", at(inst), inst.axis);
        if (inst.dtype != index_type) fail("P5: {} is an index of type {}", at(inst), dtype_name(inst.dtype));
        break;
      case Kind::compute: {
        Attributes attributes;
        if (inst.op == Op::cast) attributes.dtype = inst.dtype;
        std::string error;
        if (!is_elementwise(inst.op)) return fail("P5: {} computes {}, which is not element-wise", at(inst), op_name(inst.op));
        std::optional<Type> type = infer_type(inst.op, types, attributes, error);
        if (!type)
          fail("P5: {}: {} {}", at(inst), op_name(inst.op), error);
        else if (type->dtype != inst.dtype)
          fail("P5: {} is {}, but {} gives {}", at(inst), dtype_name(inst.dtype), op_name(inst.op), dtype_name(type->dtype));
        break;
      }
      case Kind::reduce:
        if (code.place != CodePlace::inner_block && code.place != CodePlace::epilogue) fail("P5: {} reduces outside an inner block and an epilogue", at(inst));
        if (types.size() != 1) return fail("P5: {} reduces {} values", at(inst), types.size());
        if (code.place == CodePlace::epilogue && (inst.op != Op::reduce_sum || inst.dtype != contraction_type)) {
          fail("P5: {} is no f32 sum over the rows of an epilogue", at(inst));
        } else if (inst.op == Op::argmax) {
          if (inst.dtype != index_type || code.inner_axes != 1) fail("P5: {} is an argmax that is not i32 over one axis", at(inst));
        } else if (inst.op != Op::reduce_sum && inst.op != Op::reduce_max && inst.op != Op::reduce_min) {
          fail("P5: {} reduces by {}", at(inst), op_name(inst.op));
        } else if (inst.dtype != types[0].dtype) {
          fail("P5: {} reduces {} to {}", at(inst), dtype_name(types[0].dtype), dtype_name(inst.dtype));
        }
        if (op_class(inst.op) == OpClass::reduce) {
          Attributes attributes;
          attributes.axes = {0};
          std::string error;
          if (!infer_type(inst.op, {{types[0].dtype, {Extent{1}}}}, attributes, error)) fail("P5: {}: {} {}", at(inst), op_name(inst.op), error);
        }
        break;
      case Kind::accumulator:
        if (code.place != CodePlace::epilogue || inst.dtype != contraction_type) fail("P5: {} is no f32 accumulator of an epilogue", at(inst));
        break;
      case Kind::guard: check_guard(inst, code); break;
      case Kind::link:
      case Kind::linked:
      case Kind::touched: check_access(inst, code); break;
      case Kind::random: check_draw(inst, code); break;
      case Kind::extent:
        if (inst.dtype != scalar_type) fail("P5: {} is an extent of type {}", at(inst), dtype_name(inst.dtype));
        break;
    }
    define(inst);
  }

  void define(const Instruction& inst) {
    if (!defines_value(inst)) return;
    if (inst.id < 0) return fail("P4: an instruction of {} defines no value", kernel_->name);
    if (!ids_.insert(inst.id).second) fail("P4: {} is defined twice", at(inst));
    if (inst.kind != Instruction::Kind::reduce) values_[inst.id] = inst.dtype;
  }

  // --- P6, P7: one access ---

  /// Whether the access has a stride for each axis, none along one that does not run there, and all of them small enough to be multiplied.
  bool check_strides(const Instruction& inst, const Code& code) {
    const Access& access = inst.access;
    if (access.strides.size() != code.axes->size()) {
      fail("P6: {} has {} strides for {} axes", at(inst), access.strides.size(), code.axes->size());
      return false;
    }
    for (size_t i = 0; i < access.strides.size(); ++i)
      if (access.strides[i] != 0 && !code.loops[i]) fail("P6: {} depends on axis {}, over which it does not run", at(inst), (*code.axes)[i].name);
    return true;
  }

  static bool reaches_too_far(const Access& access) {
    auto too_far = [](int64_t step) { return step > max_step || step < -max_step; };
    return std::any_of(access.strides.begin(), access.strides.end(), too_far) || too_far(access.offset) || too_far(access.index_stride);
  }

  bool runs_over_rows(int axis, const Code& code) const { return axis >= 0 && size_t(axis) < code.axes->size() && code.loops[size_t(axis)]; }

  /// The lowest and the highest element over all axes; nothing if there is no point at all.
  std::optional<std::pair<int64_t, int64_t>> reach(const Access& access, const Code& code) const {
    int64_t low = access.offset, high = access.offset;
    bool empty = false;
    for (size_t i = 0; i < access.strides.size(); ++i) {
      int64_t size = (*code.axes)[i].extent.at(program_.rows);
      if (code.loops[i] && size == 0) empty = true;
      int64_t most = saturating_multiply(access.strides[i], std::max<int64_t>(size - 1, 0));
      int64_t& end = most < 0 ? low : high;
      end = saturating_add(end, most);
    }
    if (empty) return std::nullopt;
    return std::pair{low, high};
  }

  /// The same for a place where the guards hold: each says of a part of the place, a multiple of what it tests, how far it goes. The other axes move the place by what
  /// is left of their strides. A guard that comes first takes all of its axes, so they are asked in both orders. None adds to what all axes reach.
  std::optional<std::pair<int64_t, int64_t>> guarded_reach(const Access& access, const Code& code) const {
    const auto there = guarded_reach(access, code, guards_), back = guarded_reach(access, code, {guards_.rbegin(), guards_.rend()});
    const auto everywhere = reach(access, code);
    if (!there || !back || !everywhere) return std::nullopt;
    return std::pair{std::max({there->first, back->first, everywhere->first}), std::min({there->second, back->second, everywhere->second})};
  }

  std::optional<std::pair<int64_t, int64_t>> guarded_reach(Access access, const Code& code, const std::vector<const Instruction*>& guards) const {
    int64_t low = 0, high = 0;
    for (const Instruction* guard : guards) {
      const std::vector<int64_t>& factors = guard->access.strides;
      if (factors.size() != access.strides.size()) continue;
      const auto tested = reach(guard->access, code);
      if (!tested) return std::nullopt;
      const int64_t first = std::max<int64_t>(tested->first, 0), last = std::min(tested->second, guard->extent.size - 1);
      if (first > last) return std::nullopt;  // it holds nowhere
      auto without = [&](int64_t multiple) {
        Access rest = access;
        for (size_t i = 0; i < factors.size(); ++i) rest.strides[i] = saturating_add(rest.strides[i], saturating_multiply(-multiple, factors[i]));
        rest.offset = saturating_add(rest.offset, saturating_multiply(-multiple, guard->access.offset));
        return rest;
      };
      auto spread = [&](int64_t multiple) {
        const auto ends = reach(without(multiple), code);
        return ends ? saturating_add(saturating_add(ends->second, -ends->first), saturating_multiply(std::abs(multiple), last - first)) : 0;
      };
      // Of the multiples that leave nothing of one axis the one that leaves least of all.
      int64_t multiple = 0;
      for (size_t i = 0; i < factors.size(); ++i) {
        const int64_t other = factors[i] != 0 ? access.strides[i] / factors[i] : 0;
        if (spread(other) < spread(multiple)) multiple = other;
      }
      access = without(multiple);
      low = saturating_add(low, saturating_multiply(multiple, multiple < 0 ? last : first));
      high = saturating_add(high, saturating_multiply(multiple, multiple < 0 ? first : last));
    }
    auto ends = reach(access, code);
    if (ends) ends = {saturating_add(ends->first, low), saturating_add(ends->second, high)};
    return ends;
  }

  void check_guard(const Instruction& inst, const Code& code) {
    const bool may_stand = code.place == CodePlace::operand_a || code.place == CodePlace::operand_b || code.place == CodePlace::inner_block;
    if (!may_stand) return fail("P5: a guard of {} stands outside of a contraction's operands and of inner blocks", kernel_->name);
    const Access& access = inst.access;
    if (access.buffer.valid() || access.index_value >= 0 || access.row_axis >= 0) fail("P6: a guard of {} tests a place in memory", kernel_->name);
    if (inst.extent.rows || inst.extent.size < 0) fail("P6: a guard of {} has the limit {}", kernel_->name, to_string(inst.extent));
    if (!check_strides(inst, code)) return;
    if (reaches_too_far(access)) return fail("P6: a guard of {} tests further than any buffer", kernel_->name);
    guards_.push_back(&inst);
  }

  void check_draw(const Instruction& inst, const Code& code) {
    const Access& access = inst.access;
    if (inst.dtype != DType::f32) fail("P5: {} is a draw of type {}", at(inst), dtype_name(inst.dtype));
    if (inst.site.empty()) fail("P6: {} draws at no site", at(inst));
    if (access.buffer.valid() || access.index_value >= 0) fail("P6: {} draws at a place that no shape has", at(inst));
    if (!check_strides(inst, code)) return;
    if (reaches_too_far(access)) return fail("P6: {} draws further than element 2^34", at(inst));
    if (access.row_axis >= 0) {
      if (!runs_over_rows(access.row_axis, code)) return fail("P6: {} draws for rows, over which it does not run", at(inst));
      const Axis& axis = (*code.axes)[size_t(access.row_axis)];
      if (access.strides[size_t(access.row_axis)] != 0) fail("P6: {} has a stride along its rows", at(inst));
      if (axis.extent != Extent{1, true}) fail("P6: {} draws for rows along an axis of {}", at(inst), to_string(axis.extent));
    }
    auto ends = reach(access, code);
    if (ends && (ends->first < 0 || ends->second >= max_drawn_elements)) fail("P6: {} draws elements {} to {} of 2^34", at(inst), ends->first, ends->second);
  }

  void check_access(const Instruction& inst, const Code& code) {
    const Access& access = inst.access;
    bool load = !writes_memory(inst);
    if (access.buffer.value >= program_.buffers.size()) return fail("P6: {} touches no buffer", at(inst));
    const Buffer& b = program_[access.buffer];
    if (inst.dtype != b.dtype) fail("P5: {} is {}, but {} holds {}", at(inst), dtype_name(inst.dtype), b.name, dtype_name(b.dtype));
    if (!load && is_read_only(b.kind)) fail("P7: {} writes {}, which is read only", at(inst), b.name);
    if (!check_strides(inst, code) || !sized_[access.buffer.value]) return;
    if (reaches_too_far(access))
      return fail("P6: {} reaches further than any buffer", at(inst));
    if (b.slot.valid()) check_slot_moves(inst, b);
    int64_t elements = buffer_bytes(b, program_.rows) / int64_t(byte_size(b.dtype));
    if (b.kind == BufferKind::field) {
      int row = access.row_axis;
      if (!runs_over_rows(row, code)) return fail("P6: {} reads field {} without rows", at(inst), b.name);
      if (access.strides[size_t(row)] != 0) fail("P6: {} has a stride along the rows of {}", at(inst), b.name);
      if ((*code.axes)[size_t(row)].extent != Extent{1, true}) fail("P6: {} reads rows of {} along an axis of {}", at(inst), b.name, to_string((*code.axes)[size_t(row)].extent));
      elements = 1;
      for (size_t i = 1; i < b.shape.size(); ++i) elements *= b.shape[i].at(program_.rows);
    } else if (access.row_axis >= 0) {
      fail("P6: {} reads {} by rows, but it is no field", at(inst), b.name);
    }
    if (access.index_value >= 0) {
      auto it = values_.find(access.index_value);
      if (it == values_.end())
        fail("P4: {} uses index v{}, which is not defined there", at(inst), access.index_value);
      else if (!is_integer(it->second))
        fail("P4: {} uses index v{} of type {}", at(inst), access.index_value, dtype_name(it->second));
    }
    // What is packed is evaluated everywhere.
    auto ends = guards_.empty() || packed_ ? reach(access, code) : guarded_reach(access, code);
    if (ends && (ends->first < 0 || ends->second >= elements))
      fail("P6: {} touches elements {} to {} of {}, which has {}", at(inst), ends->first, ends->second, b.name, elements);
    Touch touch;
    touch.kernel = faults_.where.kernel;
    touch.instruction = faults_.where.instruction;
    touch.load = load;
    touch.add = inst.kind == Instruction::Kind::store_add;
    touch.of_chains = is_of_chains(inst);
    touch.place = code.place;
    touch.block = code.block;
    touch.access = &access;
    touch.axes = code.axes;
    touch.loops = code.loops;
    touches_[access.buffer.value].push_back(std::move(touch));
  }

  const Program& program_;
  FaultList faults_;
  BufferTouches touches_;
  std::vector<bool> sized_, placed_;         ///< buffers whose bytes can be counted, and that lie within their block
  const Kernel* kernel_ = nullptr;
  std::vector<size_t> regions_;              ///< around the kernel
  size_t instruction_ = 0;                   ///< of the kernel, the next one
  std::map<int, DType> values_;              ///< visible now
  std::vector<const Instruction*> guards_;   ///< of the operand or block at hand
  bool packed_ = false;                      ///< it is
  std::set<int> ids_;
};

}  // namespace

bool FaultList::full() const { return faults_.size() >= max_faults; }

void FaultList::add(std::string text) {
  if (full()) return;
  where.text = std::move(text);
  faults_.push_back(where);
}

std::vector<ProgramFault> find_faults(const Program& program) { return ProgramVerifier(program).run(); }

std::vector<std::string> verify_program(const Program& program) {
  std::vector<std::string> texts;
  for (ProgramFault& fault : find_faults(program)) texts.push_back(std::move(fault.text));
  return texts;
}

}  // namespace nnc
