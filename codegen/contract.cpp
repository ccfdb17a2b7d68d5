// A contraction as nested blocks (K. Goto, R. van de Geijn, 2008): a piece of work is mc x nc outputs; for each block of kc the
// operands that need it are packed, then register tiles of mr x nr vectors run over the block, columns outside, rows inside, so
// that the panel of b stays in the first-level cache. Every output is a sum of chains of FMAs, ascending within a chain, joined by a tree
// (ir/sum_order.h): between blocks of k accumulators wait in memory, and so do the partial tiles of the tree, one place a level. So
// neither tiles nor blocks nor threads change a bit of the result.
//
// m may be several axes: the last gives the rows of tiles, and a block goes over a part of a line of it or over several lines. So the weights' gradient of a
// convolution takes all taps from one block of images, and an input's rows meet weights that are packed once. k may be several axes (codegen/micro.cpp). What is
// packed stays while the following pieces of a call read the same.
//
// Compile time follows the size of straight-line code, so there is one tile written out in each kernel. Its epilogue is inline on
// the accumulators where it is short and k is not long; elsewhere, and at the edges, accumulators go to memory and one rolled
// loop runs the epilogue over them. Edges compute whole tiles where what they read exists (packed panels, rows up to the planned
// number) and drop the surplus; other parts of tiles are done by small functions that all kernels of the same strides share. So are whole tiles where the epilogue draws random
// numbers: it calls functions, and around a call no sum stays in a register.
//
// Limits of axes are the begin and end of a block of m or n, which may leave nothing of it, and of the terms: chains stay where they are, and those that are not there
// have no part in the tree.
//
// Sums over the rows of tiles (codegen/row_sums.h) are made by the epilogue, in either form, while a column of tiles passes; then what follows them runs.
#include "codegen/contract.h"

#include <llvm/IR/Intrinsics.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "base/check.h"
#include "codegen/contract_pack.h"
#include "codegen/contract_plan.h"
#include "codegen/guard_bounds.h"
#include "codegen/joint_axes.h"
#include "codegen/limits.h"
#include "codegen/micro.h"
#include "codegen/partial_sums.h"
#include "codegen/row_sums.h"
#include "ir/axis_limits.h"

namespace nnc {
namespace {

class ContractEmitter {
 public:
  ContractEmitter(Emitter& e, const ContractKernel& kernel)
      : e_(e), ir_(e.ir), kernel_(kernel), plan_(plan_contract(e.program, kernel)) {
    for (const Operand* operand : {&kernel.a, &kernel.b})
      for (const Instruction& i : operand->code)
        if (i.kind == Instruction::Kind::guard) guards_.push_back(&i);
    const int64_t vector_bytes = int64_t(e.lanes) * contraction_bytes;
    shape_.rows = plan_.mr;
    shape_.vectors = plan_.nr;
    shape_.a_row = plan_.pack_a ? contraction_bytes : stride(kernel.a, plan_.m_axis);
    shape_.a_k = plan_.pack_a ? plan_.mr * contraction_bytes : stride(kernel.a, plan_.k_axes.end - 1);
    shape_.b_k = plan_.pack_b ? plan_.width * contraction_bytes : stride(kernel.b, plan_.k_axes.end - 1);
    shape_.c_row = plan_.nr * vector_bytes;
    shape_.runs = runs();
  }

  void run() {
    e_.request_scratch(plan_.scratch);
    panels_a_ = e_.offset_pointer(e_.arguments.scratch, plan_.a_offset);
    panels_b_ = e_.offset_pointer(e_.arguments.scratch, plan_.b_offset);
    accumulators_ = e_.offset_pointer(e_.arguments.scratch, plan_.c_offset);
    lines_ = e_.extent(plan_.lines);
    m_ = e_.extent(plan_.m);
    n_ = e_.extent(plan_.n);
    k_ = e_.extent(plan_.k);
    k_from_ = e_.i64(0);
    if (!is_limited(plan_.k_axes.begin)) chains_.emplace(e_, plan_.order, k_);
    if (!plan_.row_sums.empty()) row_sums_.emplace(e_, plan_);
    llvm::Value* m_blocks = blocks(m_, plan_.mc);
    llvm::Value* line_blocks = blocks(lines_, plan_.block_lines);
    llvm::Value* n_blocks = blocks(n_, plan_.nc);
    kept_a_ = kept(plan_.pack_a);
    kept_b_ = kept(plan_.pack_b);
    e_.loop(e_.arguments.piece_begin, e_.arguments.piece_end, 1, [&](llvm::Value* piece) {
      index_.assign(kernel_.axes.size(), nullptr);
      piece_ = piece;
      llvm::Value* rest = piece;
      auto take = [&](llvm::Value* extent) {
        llvm::Value* digit = ir_.CreateURem(rest, extent);
        rest = ir_.CreateUDiv(rest, extent);
        return digit;
      };
      m_begin_ = plan_.planned_m <= plan_.mc ? e_.i64(0) : ir_.CreateMul(take(m_blocks), e_.i64(plan_.mc));
      line_begin_ = plan_.planned_lines <= plan_.block_lines ? e_.i64(0) : ir_.CreateMul(take(line_blocks), e_.i64(plan_.block_lines));
      n_begin_ = plan_.planned_n <= plan_.nc ? e_.i64(0) : ir_.CreateMul(take(n_blocks), e_.i64(plan_.nc));
      for (int axis = kernel_.batch - 1; axis >= 0; --axis)
        index_[size_t(axis)] = take(e_.extent(kernel_.axes[size_t(axis)].extent));
      m_count_ = e_.minimum_index(e_.i64(plan_.mc), ir_.CreateSub(m_, m_begin_));
      line_count_ = plan_.planned_lines == 1 ? e_.i64(1) : e_.minimum_index(e_.i64(plan_.block_lines), ir_.CreateSub(lines_, line_begin_));
      n_count_ = e_.minimum_index(e_.i64(plan_.nc), ir_.CreateSub(n_, n_begin_));
      emit_limited_blocks();
    });
  }

 private:
  llvm::Value* blocks(llvm::Value* extent, int64_t block) {
    return ir_.CreateUDiv(ir_.CreateAdd(extent, e_.i64(block - 1)), e_.i64(block));
  }

  bool is_limited(size_t axis) const { return kernel_.axes[axis].limit.axis >= 0; }

  std::pair<llvm::Value*, llvm::Value*> indices(size_t axis) { return emit_indices(e_, kernel_.axes[axis], is_limited(axis) ? index_[size_t(kernel_.axes[axis].limit.axis)] : nullptr); }

  /// What limits leave of the current piece of work.
  void emit_limited_blocks() {
    all_rows_ = m_count_;
    all_columns_ = n_count_;
    llvm::Value* any = ir_.getTrue();
    auto cut = [&](size_t axis, llvm::Value*& begin, llvm::Value*& count, bool one_block) {
      if (!is_limited(axis)) return;
      const auto [first, end] = indices(axis);
      llvm::Value* block_end = e_.minimum_index(ir_.CreateAdd(begin, count), end);
      begin = e_.maximum_index(begin, first);
      count = ir_.CreateSub(block_end, begin);
      if (!one_block) any = ir_.CreateAnd(any, ir_.CreateICmpSGT(count, e_.i64(0)));
    };
    cut(plan_.m_axis, m_begin_, m_count_, plan_.planned_m <= plan_.mc);
    cut(plan_.n_axis, n_begin_, n_count_, plan_.planned_n <= plan_.nc);
    if (is_limited(plan_.k_axes.begin)) {
      std::tie(k_from_, k_) = indices(plan_.k_axes.begin);
      chains_.emplace(e_, plan_.order, k_);
    }
    when(any, [&] { emit_blocks(); });
  }

  /// Whether an operand is packed for all of a block, whatever the limit of its axis leaves of it: then it stays for pieces with another limit.
  bool packs_whole(const Operand& operand, size_t axis) const {
    const Limit& limit = kernel_.axes[axis].limit;
    return limit.axis < 0 || (!limit.from && !plan_.split_k && !depends_on(operand, limit.axis));
  }

  /// The number of the first chain that has terms.
  llvm::Value* first_chain() {
    return kernel_.axes[plan_.k_axes.begin].limit.from && plan_.order.chains(plan_.planned_k) > 1 ? ir_.CreateUDiv(k_from_, e_.i64(plan_.order.chain)) : static_cast<llvm::Value*>(e_.i64(0));
  }

  /// Bytes between neighbours along an axis of an operand that is read in place.
  int64_t stride(const Operand& operand, size_t axis) {
    return plan_.planned_k > 0 ? operand.code.back().access.strides[axis] * contraction_bytes : contraction_bytes;
  }

  size_t summed_axis(const Instruction& guard) const {
    size_t axis = plan_.k_axes.begin;
    while (guard.access.strides[axis] == 0) ++axis;
    return axis;
  }

  /// The indices of an axis of k at which a guard holds, for the current line: 0 <= rest + factor * index < limit.
  std::pair<llvm::Value*, llvm::Value*> held(const Instruction& guard, size_t axis) {
    llvm::Value* rest = e_.i64(guard.access.offset);
    for (size_t other = 0; other < plan_.m_axis; ++other)
      if (const int64_t factor = guard.access.strides[other]; factor != 0) rest = ir_.CreateAdd(rest, ir_.CreateMul(index_[other], e_.i64(factor)));
    return guard_bounds(e_, rest, guard.access.strides[axis], guard.extent.size);
  }

  /// What all guards leave of the axes that are bounded.
  std::vector<std::pair<llvm::Value*, llvm::Value*>> bounds() {
    std::vector<std::pair<llvm::Value*, llvm::Value*>> all;
    for (size_t bounded : shape_.runs.bounded) {
      const size_t axis = plan_.k_axes.begin + bounded;
      llvm::Value *low = e_.i64(0), *high = e_.i64(kernel_.axes[axis].extent.size);
      for (const Instruction* guard : guards_) {
        if (summed_axis(*guard) != axis) continue;
        const auto [first, end] = held(*guard, axis);
        low = e_.maximum_index(low, first);
        high = e_.minimum_index(high, end);
      }
      high = e_.maximum_index(high, low);
      // Of a run's first axis an index is several steps.
      const int64_t steps = bounded == shape_.runs.extents.size() ? shape_.runs.length / kernel_.axes[axis].extent.size : 1;
      all.emplace_back(ir_.CreateMul(low, e_.i64(steps)), ir_.CreateMul(high, e_.i64(steps)));
    }
    return all;
  }

  /// By the operands that are read in place.
  KRuns runs() {
    KRuns runs;
    if (plan_.planned_k == 0) return runs;
    auto first_of = [&](const Operand& operand, bool packed) {
      return packed ? plan_.k_axes.begin : run_of(operand.code.back().access, plan_.k_axes, e_.program.rows).first;
    };
    const size_t a_first = first_of(kernel_.a, plan_.pack_a), b_first = first_of(kernel_.b, plan_.pack_b);
    size_t first = std::max(a_first, b_first);
    if (first == plan_.k_axes.begin && guards_.empty()) return runs;
    // A run is cut at its ends alone, so it begins with the last axis that a guard is about.
    for (const Instruction* guard : guards_) first = std::max(first, summed_axis(*guard));
    runs.length = 1;
    for (size_t axis = first; axis < plan_.k_axes.end; ++axis) runs.length *= kernel_.axes[axis].extent.at(e_.program.rows);
    for (size_t axis = plan_.k_axes.begin; axis <= first; ++axis)
      if (std::any_of(guards_.begin(), guards_.end(), [&](const Instruction* guard) { return summed_axis(*guard) == axis; }))
        runs.bounded.push_back(axis - plan_.k_axes.begin);
    const bool parted = plan_.split_k || plan_.order.chains(plan_.planned_k) > 1;
    auto whole = [&](int64_t length) { return length % runs.length == 0; };
    runs.whole = !parted || (whole(plan_.order.chain) && whole(plan_.order.piece) && (!plan_.parts() || whole(plan_.kc)));
    for (size_t axis = plan_.k_axes.begin; axis < first; ++axis) {
      runs.extents.push_back(std::max<int64_t>(1, kernel_.axes[axis].extent.at(e_.program.rows)));
      if (a_first > plan_.k_axes.begin) runs.a.push_back(stride(kernel_.a, axis));
      if (b_first > plan_.k_axes.begin) runs.b.push_back(stride(kernel_.b, axis));
    }
    return runs;
  }

  /// Whether an operand is packed anew by a piece: a slot for the number of the block that the panels hold. None where a block of k makes way for the next.
  llvm::AllocaInst* kept(bool packed) {
    if (!packed || plan_.split_k) return nullptr;
    llvm::AllocaInst* slot = e_.slot(ir_.getInt64Ty(), "kept");
    ir_.CreateStore(e_.i64(-1), slot);
    return slot;
  }

  /// Packs unless the panels hold the block already: that of the piece along `axis`, and of the batch axes that the operand depends on.
  void pack_unless_kept(llvm::AllocaInst* slot, const Operand& operand, size_t across, std::vector<std::pair<llvm::Value*, llvm::Value*>> block,
                        llvm::function_ref<void()> pack) {
    if (!slot) return pack();
    const int by_k = kernel_.axes[plan_.k_axes.begin].limit.axis, by_across = packs_whole(operand, across) ? -1 : kernel_.axes[across].limit.axis;
    for (int axis = 0; axis < kernel_.batch; ++axis)
      if (depends_on(operand, axis) || axis == by_k || axis == by_across) block.push_back({index_[size_t(axis)], e_.extent(kernel_.axes[size_t(axis)].extent)});
    llvm::Value* number = e_.i64(0);
    for (auto [index, extent] : block) number = ir_.CreateAdd(ir_.CreateMul(number, extent), index);
    e_.when(ir_.CreateICmpNE(ir_.CreateLoad(ir_.getInt64Ty(), slot), number), [&] {
      pack();
      ir_.CreateStore(number, slot);
    });
  }

  static bool depends_on(const Operand& operand, int axis) {
    return std::any_of(operand.code.begin(), operand.code.end(), [&](const Instruction& i) {
      if (i.kind == Instruction::Kind::axis_index) return i.axis == axis;
      return has_place(i) && (i.access.row_axis == axis || i.access.strides[size_t(axis)] != 0);
    });
  }

  /// body(line of the block) for all of them, with the indices of the outer axes of m set.
  void each_line(llvm::function_ref<void(llvm::Value* line)> body) {
    auto at = [&](llvm::Value* line) {
      if (plan_.outer_m.begin < plan_.outer_m.end) plan_.outer_m.set(e_, ir_.CreateAdd(line_begin_, line), index_);
      body(line);
    };
    if (plan_.block_lines == 1) return at(e_.i64(0));
    e_.loop(e_.i64(0), line_count_, 1, at, true);
  }

  /// All blocks of k for the current piece of work.
  void emit_blocks() {
    chain_ends_ = ir_.getTrue();
    resume_ = nullptr;
    first_of_all_ = first_chain();
    if (!plan_.split_k) {
      first_chain_ = first_of_all_;
      end_chain_ = chains_->count();
      return emit_block(k_from_, ir_.CreateSub(k_, k_from_));
    }
    auto from_chain = [&](llvm::Value* first) {
      first_chain_ = e_.maximum_index(first, first_of_all_);
      end_chain_ = e_.minimum_index(ir_.CreateAdd(first, e_.i64(plan_.block_chains)), chains_->count());
      llvm::Value* begin = e_.maximum_index(chains_->begin(first_chain_), k_from_);
      llvm::Value* end = chains_->end(ir_.CreateSub(end_chain_, e_.i64(1)));
      if (!plan_.parts()) return emit_block(begin, ir_.CreateSub(end, begin));
      e_.loop(
          begin, end, plan_.kc,
          [&](llvm::Value* k) {
            llvm::Value* count = e_.minimum_index(e_.i64(plan_.kc), ir_.CreateSub(end, k));
            resume_ = ir_.CreateICmpNE(k, begin);
            chain_ends_ = ir_.CreateICmpEQ(ir_.CreateAdd(k, count), end);
            emit_block(k, count);
          },
          true);
    };
    if (plan_.order.chains(plan_.planned_k) == 1)
      from_chain(e_.i64(0));
    else
      e_.loop(ir_.CreateSub(first_of_all_, ir_.CreateURem(first_of_all_, e_.i64(plan_.block_chains))), chains_->count(), plan_.block_chains, from_chain, true);
  }

  /// The place of a tile's partial sums that wait at `level`; `c`: its accumulators.
  llvm::Value* waiting_place(llvm::Value* c, llvm::Value* level) {
    llvm::Value* at = ir_.CreateMul(level, e_.i64(plan_.c_tile));
    llvm::Value* shared = e_.offset_pointer(e_.offset_pointer(e_.arguments.scratch, plan_.waiting_offset), at);
    if (plan_.outer_levels == 0) return shared;
    llvm::Value* own = e_.offset_pointer(e_.offset_pointer(c, (1 - plan_.inner_levels) * plan_.c_tile), at);
    if (plan_.inner_levels == 0) return own;
    return ir_.CreateSelect(ir_.CreateICmpSLT(level, e_.i64(plan_.inner_levels)), shared, own);
  }

  /// The levels at which something waits for chain `number` where chains begin late. At a level that is a bit of the number waits the sum of the chains with that bit cleared and the
  /// bits above alike: it has terms if the first chain of all differs there, or above.
  llvm::Value* levels_with_terms(llvm::Value* number) {
    llvm::Value* differs = ir_.CreateXor(number, first_of_all_);
    llvm::Value* zeros = ir_.CreateIntrinsic(llvm::Intrinsic::ctlz, {ir_.getInt64Ty()}, {differs, ir_.getFalse()});
    llvm::Value* none = ir_.CreateICmpEQ(differs, e_.i64(0));
    llvm::Value* levels = ir_.CreateLShr(e_.i64(-1), ir_.CreateSelect(none, e_.i64(0), zeros));
    return ir_.CreateSelect(none, e_.i64(0), levels);
  }

  /// A chain's sums take up what waits for them; then they wait in turn, but for the last. each(place, body) calls body(address of a vector that waits, the sum it
  /// belongs to) for all vectors of a tile; load and store: of such a sum.
  template <class Each, class Load, class Store>
  void join(llvm::Value* c, llvm::Value* number, llvm::Value* last, Each each, Load load, Store store) {
    ChainJoin join = chains_->join(number, last);
    if (kernel_.axes[plan_.k_axes.begin].limit.from) join.mask = ir_.CreateAnd(join.mask, levels_with_terms(number));
    for_each_level(e_, join.mask, [&](llvm::Value* level) {
      each(waiting_place(c, level), [&](llvm::Value* at, auto* sum) { store(ir_.CreateFAdd(e_.read_scratch(at), load(sum)), sum); });
    });
    when(ir_.CreateNot(last), [&] { each(waiting_place(c, join.level), [&](llvm::Value* at, auto* sum) { e_.write_scratch(load(sum), at); }); });
  }

  std::vector<llvm::Value*> join_registers(std::vector<llvm::Value*> sums, llvm::Value* c, llvm::Value* number, llvm::Value* last) {
    std::vector<llvm::AllocaInst*> slots;
    for (llvm::Value* sum : sums) ir_.CreateStore(sum, slots.emplace_back(e_.slot(vector_type(), "sum")));
    auto each = [&](llvm::Value* place, auto body) {
      for (size_t i = 0; i < slots.size(); ++i) body(e_.offset_pointer(place, int64_t(i) * e_.lanes * contraction_bytes), slots[i]);
    };
    auto load = [&](llvm::AllocaInst* slot) { return ir_.CreateLoad(vector_type(), slot); };
    join(c, number, last, each, load, [&](llvm::Value* sum, llvm::AllocaInst* slot) { ir_.CreateStore(sum, slot); });
    for (size_t i = 0; i < slots.size(); ++i) sums[i] = load(slots[i]);
    return sums;
  }

  /// Of sums that stand in memory at c.
  void join_memory(llvm::Value* c, llvm::Value* number, llvm::Value* last) {
    auto each = [&](llvm::Value* place, auto body) {
      e_.loop(e_.i64(0), e_.i64(plan_.c_tile), int64_t(e_.lanes) * contraction_bytes,
              [&](llvm::Value* at) { body(e_.offset_pointer(place, at), e_.offset_pointer(c, at)); });
    };
    join(c, number, last, each, [&](llvm::Value* sum) { return e_.read_scratch(sum); }, [&](llvm::Value* sum, llvm::Value* at) { e_.write_scratch(sum, at); });
  }

  /// One block of k for the current piece: whole chains, or a part of one.
  void emit_block(llvm::Value* k_begin, llvm::Value* k_count) {
    k_begin_ = k_begin;
    k_count_ = k_count;
    if (plan_.pack_b) pack_unless_kept(kept_b_, kernel_.b, plan_.n_axis, {{n_begin_, n_}}, [&] { emit_pack(e_, job(kernel_.b, plan_.n_axis)); });
    if (plan_.pack_a) pack_unless_kept(kept_a_, kernel_.a, plan_.m_axis, {{line_begin_, lines_}, {m_begin_, m_}}, [&] { emit_pack_a(); });
    e_.loop(
        e_.i64(0), n_count_, plan_.width,
        [&](llvm::Value* j) {
          if (!row_sums_) return emit_rows(e_.i64(0), m_count_, j);
          row_sums_->each_chain(m_count_, [&](llvm::Value* begin, llvm::Value* end) { emit_rows(begin, end, j); });
          llvm::Value* ends_k = plan_.split_k ? ir_.CreateICmpEQ(ir_.CreateAdd(k_begin_, k_count_), k_) : ir_.getTrue();
          when(ends_k, [&] { emit_after_rows(j); });
        },
        true);
  }

  /// The tiles of rows begin .. end - 1 (the last of the block, or of a chain, which is whole tiles) of all lines, in column j of the block.
  void emit_rows(llvm::Value* begin, llvm::Value* end, llvm::Value* j) {
    // Rows that are images: neighbouring lines, pixels of the same ones, read most of the same memory.
    if (plan_.m.rows)
      e_.loop(begin, end, plan_.mr, [&](llvm::Value* i) { each_line([&](llvm::Value* line) { emit_tile_at(line, i, j); }); }, true);
    else
      each_line([&](llvm::Value* line) { e_.loop(begin, end, plan_.mr, [&](llvm::Value* i) { emit_tile_at(line, i, j); }, true); });
  }

  /// What follows all rows, of all lines, in column j of the block.
  void emit_after_rows(llvm::Value* j) {
    llvm::Value* columns = e_.i64(plan_.masked ? plan_.n.size : plan_.width);
    if (plan_.columns_left) columns = e_.minimum_index(columns, ir_.CreateSub(n_count_, j));
    each_line([&](llvm::Value* line) {
      each_vector(columns, [&](llvm::Value* column, llvm::Value* active) {
        Point point = columns_at(ir_.CreateAdd(j, column), active);
        for (size_t sum = 0; sum < plan_.row_sums.size(); ++sum) point.value(plan_.row_sums[sum]) = e_.read_scratch(row_sums_->place(sum, line, column));
        e_.emit(kernel_.after_rows, point);
      });
    });
  }

  void emit_pack_a() {
    each_line([&](llvm::Value* line) {
      PackJob a = job(kernel_.a, plan_.m_axis);
      a.panels = e_.offset_pointer(a.panels, ir_.CreateMul(line, e_.i64(plan_.line_tiles() * plan_.a_panel)));
      if (plan_.planned_lines == 1 && gathers_rows(kernel_.a, int(plan_.m_axis)) && !plan_.split_k && plan_.mc <= 64) {
        // The rows of the first piece at once, then those of the next piece while this one computes.
        llvm::Value* end = ir_.CreateAdd(m_begin_, m_count_);
        when(ir_.CreateICmpEQ(piece_, e_.arguments.piece_begin), [&] { emit_prefetch_rows(e_, a, m_begin_, end); });
        emit_pack(e_, a);
        if (plan_.mc < plan_.planned_m)
          emit_prefetch_rows(e_, a, end, e_.minimum_index(m_, ir_.CreateAdd(end, e_.i64(plan_.mc))));
      } else {
        emit_pack(e_, a);
      }
    });
  }

  /// Packing of the current block of an operand; axis: m for a, n for b.
  PackJob job(const Operand& operand, size_t axis) {
    const bool is_a = axis == plan_.m_axis, whole = packs_whole(operand, axis);
    PackJob job;
    job.operand = &operand;
    job.across_axis = int(axis);
    job.k_axes = plan_.k_axes;
    job.index = index_;
    job.first = is_a ? m_begin_ : n_begin_;
    job.count = is_a ? (whole ? all_rows_ : m_count_) : whole ? all_columns_ : n_count_;
    job.count_max = is_a ? std::min(plan_.planned_m, plan_.mc) : std::min(plan_.planned_n, plan_.nc);
    job.k_first = k_begin_;
    job.k_count = k_count_;
    job.k_max = plan_.kc;
    if (plan_.k.rows)  // rows >= 1; the last block may have any length
      job.k_min = plan_.split_k ? 1 : plan_.k.size;
    else
      job.k_min = plan_.split_k ? plan_.shortest_block() : plan_.planned_k;
    if (const Axis& k = kernel_.axes[plan_.k_axes.begin]; k.limit.axis >= 0) {
      const IndexRange fewest = indices_at(k, k.limit.from ? kernel_.axes[size_t(k.limit.axis)].extent.size - 1 : 0);
      job.k_min = plan_.split_k ? 1 : fewest.end - fewest.begin;
    }
    job.width = is_a ? plan_.mr : int(plan_.width);
    job.whole_panels = (is_a ? plan_.m : plan_.n).size % job.width == 0 && (whole || !(is_a ? plan_.ragged_rows : plan_.ragged_columns));
    job.panel_bytes = is_a ? plan_.a_panel : plan_.b_panel;
    job.panels = is_a ? panels_a_ : panels_b_;
    return job;
  }

  /// The tile at row i of a line, column j of the piece's block.
  void emit_tile_at(llvm::Value* line, llvm::Value* i, llvm::Value* j) {
    line_ = line;
    llvm::Value* row_tile = ir_.CreateAdd(ir_.CreateMul(line, e_.i64(plan_.line_tiles())), ir_.CreateUDiv(i, e_.i64(plan_.mr), "", true));
    llvm::Value* column_tile = ir_.CreateUDiv(j, e_.i64(plan_.width), "", true);
    TilePlace place;
    place.k = k_count_;
    place.k_first = k_begin_;
    place.resume = resume_;
    if (!shape_.runs.bounded.empty()) place.bounds = bounds();
    place.aligned_b = plan_.pack_b;
    place.annotate = true;
    if (plan_.planned_k > 0 && !plan_.pack_a) place.a_buffer = kernel_.a.code.back().access.buffer;
    if (plan_.planned_k > 0 && !plan_.pack_b) place.b_buffer = kernel_.b.code.back().access.buffer;
    place.a = plan_.pack_a ? e_.offset_pointer(panels_a_, ir_.CreateMul(row_tile, e_.i64(plan_.a_panel)))
                           : address(kernel_.a, plan_.m_axis, ir_.CreateAdd(m_begin_, i), shape_.runs.a.empty());
    place.b = plan_.pack_b ? e_.offset_pointer(panels_b_, ir_.CreateMul(column_tile, e_.i64(plan_.b_panel)))
                           : address(kernel_.b, plan_.n_axis, ir_.CreateAdd(n_begin_, j), shape_.runs.b.empty());
    place.c = accumulators_;
    if (plan_.split_k) {
      llvm::Value* tile = ir_.CreateAdd(ir_.CreateMul(column_tile, e_.i64(plan_.block_lines * plan_.line_tiles())), row_tile);
      place.c = e_.offset_pointer(accumulators_, ir_.CreateMul(tile, e_.i64(plan_.tile_places())));
    }
    llvm::Value *rows = e_.i64(plan_.mr), *columns = e_.i64(plan_.masked ? plan_.n.size : plan_.width);
    llvm::Value *all_rows = ir_.getTrue(), *all_columns = ir_.getTrue();
    if (plan_.rows_left) {
      rows = e_.minimum_index(rows, ir_.CreateSub(m_count_, i));
      all_rows = ir_.CreateICmpEQ(rows, e_.i64(plan_.mr));
    }
    if (plan_.columns_left) {
      columns = e_.minimum_index(columns, ir_.CreateSub(n_count_, j));
      all_columns = ir_.CreateICmpEQ(columns, e_.i64(plan_.width));
    }
    if (plan_.m.rows && plan_.planned_lines > 1 && !plan_.split_k) prefetch_epilogue(i, j);
    llvm::Value* whole = ir_.CreateAnd(all_rows, all_columns);
    llvm::Value* computable =
        ir_.CreateAnd(plan_.surplus_rows ? ir_.getTrue() : all_rows, plan_.surplus_columns ? ir_.getTrue() : all_columns);
    auto emit_chain = [&](const TilePlace& at, llvm::Value* number) {
      llvm::Value* last = ir_.CreateAnd(chain_ends_, ir_.CreateICmpEQ(number, chains_->last()));
      llvm::Value* finished = plan_.inline_epilogue ? ir_.CreateAnd(whole, last) : ir_.getFalse();
      auto in_memory = [&](auto make) {
        make();
        if (plan_.cuts()) when(chain_ends_, [&] { join_memory(at.c, number, last); });
      };
      when(computable, [&] {
        if (!plan_.calls_tiles) return emit_whole(i, j, at, number, last, finished);
        in_memory([&] { call_tile(plan_.mr, plan_.nr, e_.i64(0), e_.i64(0), lanes_of_last(), at); });
      });
      when(ir_.CreateNot(computable), [&] { in_memory([&] { emit_parts(rows, columns, at); }); });
      when(ir_.CreateAnd(last, ir_.CreateNot(finished)), [&] { emit_epilogue_loop(i, j, rows, columns, at.c); });
    };
    if (plan_.block_chains == 1) return emit_chain(place, first_chain_);
    e_.loop(
        first_chain_, end_chain_, 1,
        [&](llvm::Value* number) {
          llvm::Value* begin = e_.maximum_index(chains_->begin(number), k_from_);
          llvm::Value* offset = ir_.CreateSub(begin, k_begin_);
          TilePlace at = place;
          if (shape_.runs.a.empty()) at.a = e_.offset_pointer(place.a, ir_.CreateMul(offset, e_.i64(shape_.a_k)));
          if (shape_.runs.b.empty()) at.b = e_.offset_pointer(place.b, ir_.CreateMul(offset, e_.i64(shape_.b_k)));
          at.k_first = begin;
          at.k = ir_.CreateSub(chains_->end(number), begin);
          emit_chain(at, number);
        },
        true);
  }

  /// What the epilogue of the tile at row i, column j of the block touches is fetched while the sums are made: rows that are images stand in as many streams, more than a
  /// processor foresees.
  void prefetch_epilogue(llvm::Value* i, llvm::Value* j) {
    for (const Instruction& instruction : kernel_.epilogue) {
      const Access& access = instruction.access;
      if (!access.buffer.valid() || access.row_axis >= 0 || access.index_value >= 0 || access.strides[plan_.m_axis] == 0) continue;
      const int to_write = instruction.kind == Instruction::Kind::load ? 0 : 1;
      for (int row = 0; row < plan_.mr; ++row)
        for (int v = 0; v < plan_.nr; ++v) {
          Point point;
          point.index = index_;
          point.index[plan_.m_axis] = ir_.CreateAdd(m_begin_, ir_.CreateAdd(i, e_.i64(row)));
          point.index[plan_.n_axis] = ir_.CreateAdd(n_begin_, ir_.CreateAdd(j, e_.i64(int64_t(v) * e_.lanes)));
          ir_.CreateIntrinsic(llvm::Intrinsic::prefetch, {ir_.getPtrTy()}, {e_.address(access, point), ir_.getInt32(to_write), ir_.getInt32(3), ir_.getInt32(1)});
        }
    }
  }

  /// Emitter::when that knows constants.
  void when(llvm::Value* condition, llvm::function_ref<void()> body) {
    if (auto* known = llvm::dyn_cast<llvm::ConstantInt>(condition)) {
      if (known->isOne()) body();
    } else {
      e_.when(condition, body);
    }
  }

  /// At the first step of the block, or at index 0 of k.
  llvm::Value* address(const Operand& operand, size_t axis, llvm::Value* at, bool first_step) {
    if (plan_.planned_k == 0) return accumulators_;  // never read
    Point point;
    point.index = index_;
    point.index[axis] = at;
    // All of k is walked by the stride of its last axis where the operand has no strides of its own in shape_.runs.
    for (size_t k = plan_.k_axes.begin; k < plan_.k_axes.end; ++k) point.index[k] = e_.i64(0);
    if (first_step) point.index[plan_.k_axes.end - 1] = k_begin_;
    return e_.address(operand.code.back().access, point);
  }

  /// Lanes of the last vector of a whole tile; null: all.
  llvm::Value* lanes_of_last() { return plan_.masked && plan_.n.size % e_.lanes != 0 ? e_.i64(plan_.n.size % e_.lanes) : nullptr; }

  /// A whole tile of a chain or a part of one; with its epilogue if `finished`, else the accumulators go to memory.
  void emit_whole(llvm::Value* i, llvm::Value* j, TilePlace place, llvm::Value* number, llvm::Value* last, llvm::Value* finished) {
    TileShape shape = shape_;
    shape.masked = plan_.masked && plan_.reads_masked(e_.lanes);
    llvm::Value* active = lanes_of_last();
    place.active = active;
    std::vector<llvm::Value*> sums(size_t(plan_.mr * plan_.nr), llvm::ConstantAggregateZero::get(vector_type()));
    if (plan_.planned_k > 0) sums = emit_tile(e_, shape, place);
    llvm::Value* kept = ir_.CreateNot(finished);
    if (plan_.cuts() && !plan_.parts()) {
      sums = join_registers(std::move(sums), place.c, number, last);
      kept = ir_.CreateAnd(kept, last);
    }
    auto each = [&](auto body) {
      for (int row = 0; row < plan_.mr; ++row)
        for (int v = 0; v < plan_.nr; ++v) body(row, v, sums[size_t(row * plan_.nr + v)]);
    };
    when(finished, [&] {
      // Sums over the rows go through registers.
      std::vector<llvm::Value*> places, values;
      for (size_t number = 0; number < plan_.row_sums.size(); ++number)
        for (int v = 0; v < plan_.nr; ++v) values.push_back(e_.read_scratch(places.emplace_back(row_sums_->place(number, line_, e_.i64(int64_t(v) * e_.lanes)))));
      each([&](int row, int v, llvm::Value* sum) {
        emit_epilogue(ir_.CreateAdd(i, e_.i64(row)), ir_.CreateAdd(j, e_.i64(int64_t(v) * e_.lanes)), sum, v == plan_.nr - 1 ? active : nullptr,
                      [&](size_t number, llvm::Value* term) {
                        llvm::Value*& value = values[number * size_t(plan_.nr) + size_t(v)];
                        value = ir_.CreateFAdd(value, term);
                      });
      });
      for (size_t at = 0; at < places.size(); ++at) e_.write_scratch(values[at], places[at]);
    });
    when(kept, [&] {
      each([&](int row, int v, llvm::Value* sum) {
        e_.write_scratch(sum, e_.offset_pointer(place.c, row * shape_.c_row + int64_t(v) * e_.lanes * contraction_bytes));
      });
    });
    if (plan_.cuts() && plan_.parts()) when(chain_ends_, [&] { join_memory(place.c, number, last); });
  }

  /// Any part of a tile, by functions that leave the accumulators in memory.
  void emit_parts(llvm::Value* rows, llvm::Value* columns, const TilePlace& place) {
    std::vector<int> heights;  // descending
    if (plan_.surplus_rows || plan_.columns_left) heights.push_back(plan_.mr);
    if (plan_.rows_left && !plan_.surplus_rows) {
      if (plan_.ragged_rows) {
        for (int height : {8, 4, 2, 1})
          if (height < plan_.mr) heights.push_back(height);
      } else {
        heights.push_back(plan_.m.rows ? 1 : int(plan_.m.size % plan_.mr));
      }
    }
    auto rows_of = [&](int vectors, llvm::Value* column, llvm::Value* active) {
      if (plan_.surplus_rows) return call_tile(plan_.mr, vectors, e_.i64(0), column, active, place);
      llvm::Value* done = e_.i64(0);
      for (int height : heights) {
        llvm::Value* left = ir_.CreateSub(rows, done);
        llvm::Value* end = ir_.CreateAdd(done, ir_.CreateSub(left, ir_.CreateURem(left, e_.i64(height))));
        e_.loop(done, end, height, [&](llvm::Value* row) { call_tile(height, vectors, row, column, active, place); });
        done = end;
      }
    };
    if (plan_.masked) return rows_of(plan_.nr, e_.i64(0), e_.i64(plan_.n.size % e_.lanes));
    if (!plan_.columns_left || plan_.surplus_columns) return rows_of(plan_.nr, e_.i64(0), nullptr);
    llvm::Value* wide = ir_.CreateICmpEQ(columns, e_.i64(plan_.width));
    if (plan_.rows_left && !plan_.surplus_rows)
      when(wide, [&] { rows_of(plan_.nr, e_.i64(0), nullptr); });
    else
      wide = ir_.getFalse();
    when(ir_.CreateNot(wide), [&] {
      if (!plan_.n.rows && !plan_.ragged_columns) {
        int64_t left = plan_.n.size % plan_.width;
        rows_of(int((left + e_.lanes - 1) / e_.lanes), e_.i64(0), left % e_.lanes != 0 ? e_.i64(left % e_.lanes) : nullptr);
      } else {
        e_.loop(
            e_.i64(0), columns, e_.lanes,
            [&](llvm::Value* column) { rows_of(1, column, e_.minimum_index(e_.i64(e_.lanes), ir_.CreateSub(columns, column))); },
            true);
      }
    });
  }

  /// The epilogue over accumulators in memory.
  void emit_epilogue_loop(llvm::Value* i, llvm::Value* j, llvm::Value* rows, llvm::Value* columns, llvm::Value* c) {
    if (row_sums_) return emit_summed_loop(i, j, rows, columns, c);
    e_.loop(
        e_.i64(0), rows, 1,
        [&](llvm::Value* row) {
          llvm::Value* saved = e_.offset_pointer(c, ir_.CreateMul(row, e_.i64(shape_.c_row)));
          each_vector(columns, [&](llvm::Value* column, llvm::Value* active) {
            llvm::Value* address = e_.offset_pointer(saved, ir_.CreateMul(column, e_.i64(4)));
            emit_epilogue(ir_.CreateAdd(i, row), ir_.CreateAdd(j, column), e_.read_scratch(address), active, [](size_t, llvm::Value*) {});
          });
        },
        true);
  }

  /// The same with sums over the rows: one vector of columns after the other, whose sums stay in registers.
  void emit_summed_loop(llvm::Value* i, llvm::Value* j, llvm::Value* rows, llvm::Value* columns, llvm::Value* c) {
    std::vector<llvm::AllocaInst*> sums;
    for (size_t number = 0; number < plan_.row_sums.size(); ++number) sums.push_back(e_.slot(vector_type(), "row.sum"));
    each_vector(columns, [&](llvm::Value* column, llvm::Value* active) {
      for (size_t number = 0; number < sums.size(); ++number) ir_.CreateStore(e_.read_scratch(row_sums_->place(number, line_, column)), sums[number]);
      llvm::Value* saved = e_.offset_pointer(c, ir_.CreateMul(column, e_.i64(contraction_bytes)));
      e_.loop(
          e_.i64(0), rows, 1,
          [&](llvm::Value* row) {
            llvm::Value* sum = e_.read_scratch(e_.offset_pointer(saved, ir_.CreateMul(row, e_.i64(shape_.c_row))));
            emit_epilogue(ir_.CreateAdd(i, row), ir_.CreateAdd(j, column), sum, active, [&](size_t number, llvm::Value* term) {
              ir_.CreateStore(ir_.CreateFAdd(ir_.CreateLoad(vector_type(), sums[number]), term), sums[number]);
            });
          },
          true);
      for (size_t number = 0; number < sums.size(); ++number) e_.write_scratch(ir_.CreateLoad(vector_type(), sums[number]), row_sums_->place(number, line_, column));
    });
  }

  /// at(column, active lanes or null for all) for the vectors of the columns of a tile.
  void each_vector(llvm::Value* columns, llvm::function_ref<void(llvm::Value* column, llvm::Value* active)> at) {
    llvm::Value* left = ir_.CreateURem(columns, e_.i64(e_.lanes));
    llvm::Value* end = ir_.CreateSub(columns, left);
    if (plan_.n.rows || plan_.n.size >= e_.lanes)
      e_.loop(e_.i64(0), end, e_.lanes, [&](llvm::Value* column) { at(column, nullptr); });
    if (plan_.n.size % e_.lanes != 0 || plan_.ragged_columns) when(ir_.CreateICmpNE(left, e_.i64(0)), [&] { at(end, left); });
  }

  llvm::FixedVectorType* vector_type() { return llvm::FixedVectorType::get(ir_.getFloatTy(), unsigned(e_.lanes)); }

  void call_tile(int height, int vectors, llvm::Value* row, llvm::Value* column, llvm::Value* active, const TilePlace& place) {
    TileShape shape = shape_;
    shape.rows = height;
    shape.vectors = vectors;
    shape.masked = active && !plan_.pack_b && plan_.reads_masked(e_.lanes);
    llvm::Function* function = tile_function(e_, shape, plan_.pack_b);
    llvm::Value* column_bytes = ir_.CreateMul(column, e_.i64(4));
    llvm::Value* a = e_.offset_pointer(place.a, ir_.CreateMul(row, e_.i64(shape.a_row)));
    llvm::Value* b = e_.offset_pointer(place.b, column_bytes);
    llvm::Value* c = e_.offset_pointer(e_.offset_pointer(place.c, ir_.CreateMul(row, e_.i64(shape.c_row))), column_bytes);
    std::vector<llvm::Value*> arguments{a, b, c, place.k, place.k_first, place.resume ? place.resume : ir_.getFalse(), active ? active : e_.i64(e_.lanes)};
    for (auto [low, high] : place.bounds) arguments.insert(arguments.end(), {low, high});
    llvm::CallInst* call = ir_.CreateCall(function, arguments);
    call->setCallingConv(function->getCallingConv());
  }

  /// The epilogue for the vector of sums at row i, columns j ... of the piece's block; `active` lanes of it (null: all). add(number, term) is for the sums over the rows.
  void emit_epilogue(llvm::Value* i, llvm::Value* j, llvm::Value* sum, llvm::Value* active, llvm::function_ref<void(size_t number, llvm::Value* term)> add) {
    llvm::Value* row = ir_.CreateAdd(m_begin_, i);
    Point point = columns_at(j, active);
    point.index[plan_.m_axis] = row;
    size_t number = 0;
    for (const Instruction& instruction : kernel_.epilogue) {
      if (instruction.kind == Instruction::Kind::reduce) {
        add(number++, e_.splat(point.value(instruction.operands[0]), e_.lanes));
        continue;
      }
      if (instruction.kind == Instruction::Kind::accumulator) point.value(instruction.id) = sum;
      e_.emit(instruction, point);
    }
  }

  /// Columns j ... of the piece's block, a vector of them; no row.
  Point columns_at(llvm::Value* j, llvm::Value* active) {
    Point point;
    point.index = index_;
    point.index[plan_.n_axis] = ir_.CreateAdd(n_begin_, j);
    point.lane_axis = int(plan_.n_axis);
    point.width = e_.lanes;
    if (active) {
      point.active = active;
      point.mask = e_.lane_mask(active, e_.lanes);
    }
    return point;
  }

  Emitter& e_;
  llvm::IRBuilder<>& ir_;
  const ContractKernel& kernel_;
  ContractPlan plan_;
  std::vector<const Instruction*> guards_;  ///< of both operands
  TileShape shape_;
  llvm::Value *panels_a_ = nullptr, *panels_b_ = nullptr, *accumulators_ = nullptr;
  llvm::Value *lines_ = nullptr, *m_ = nullptr, *n_ = nullptr, *k_ = nullptr;
  llvm::AllocaInst *kept_a_ = nullptr, *kept_b_ = nullptr;
  llvm::Value* piece_ = nullptr;
  std::vector<llvm::Value*> index_;  ///< batch axes of the current piece, outer axes of m of the current line
  llvm::Value *line_begin_ = nullptr, *line_count_ = nullptr, *m_begin_ = nullptr, *m_count_ = nullptr, *n_begin_ = nullptr, *n_count_ = nullptr;
  llvm::Value *all_rows_ = nullptr, *all_columns_ = nullptr;  ///< of the block, before a limit
  llvm::Value *k_begin_ = nullptr, *k_count_ = nullptr;
  llvm::Value* k_from_ = nullptr;        ///< the first term that is there; k_: behind the last one
  llvm::Value* first_of_all_ = nullptr;  ///< the first chain that has terms
  llvm::Value *first_chain_ = nullptr, *end_chain_ = nullptr;  ///< chains of the block
  std::optional<ChainNumbers> chains_;
  std::optional<RowSums> row_sums_;    ///< if the epilogue makes any
  llvm::Value* line_ = nullptr;        ///< of the block, that of the tile at hand
  llvm::Value* resume_ = nullptr;      ///< i1: the block goes on with a chain; null: it never does
  llvm::Value* chain_ends_ = nullptr;  ///< i1: the block ends a chain
};

}  // namespace

void emit_contract_kernel(Emitter& e, const Kernel& kernel, llvm::Function* function) {
  e.begin_kernel(kernel, function);
  ContractEmitter(e, std::get<ContractKernel>(kernel.body)).run();
  e.end_kernel();
}

llvm::Value* emit_contract_pieces(Emitter& e, const Kernel& kernel, llvm::Value* rows) {
  const auto& contract = std::get<ContractKernel>(kernel.body);
  const ContractPlan plan = plan_contract(e.program, contract);
  auto blocks = [&](Extent extent, int64_t block) {
    return e.ir.CreateUDiv(e.ir.CreateAdd(e.extent(extent, rows), e.i64(block - 1)), e.i64(block));
  };
  llvm::Value* pieces = e.ir.CreateMul(e.ir.CreateMul(blocks(plan.m, plan.mc), blocks(plan.lines, plan.block_lines)), blocks(plan.n, plan.nc));
  for (int axis = 0; axis < contract.batch; ++axis)
    pieces = e.ir.CreateMul(pieces, e.extent(contract.axes[size_t(axis)].extent, rows));
  return pieces;
}

}  // namespace nnc
