// Map kernels whose iterations take a block of neighbouring outer indices (Axis::together), as convolutions by channels do: the block's points read much of the same,
// which then is loaded once, and each has its sum in a register. Neighbouring pixels of a result share columns of the image; all taps of a weight's gradient share both
// operands. A point's terms and their order are what they would be without blocks.
//
// The nest: lines (outer axes of which one index is taken, cut into pieces), blocks, vectors of lanes, then the inner loops. Short inner loops are written out, long ones by
// a few indices, so that equal loads of points and of neighbouring indices are seen to be equal: their addresses differ by constants alone.
//
// A guard says for each point at which indices of one inner axis there is a term: an interval. If it is about an axis of blocks, the intervals are numbers once the
// block's place is: blocks with the same intervals share code (first, middle, last), and the inner loop is cut into ranges in each of which a fixed set of points has
// terms. If it is about lines, it bounds the loop for all points alike.
#include "codegen/register_blocks.h"

#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/floor_division.h"
#include "codegen/guard_bounds.h"
#include "codegen/map.h"
#include "codegen/partial_sums.h"

namespace nnc {

using llvm::Value;

namespace {

bool is_guard(const Instruction& i) { return i.kind == Instruction::Kind::guard; }

/// The outer axes of which an iteration has one index, but for that of lanes.
std::vector<size_t> line_axes(const MapKernel& map) {
  std::vector<size_t> axes;
  for (size_t axis = 0; axis + 1 < size_t(map.outer); ++axis)
    if (map.axes[axis].together == 1) axes.push_back(axis);
  return axes;
}

int64_t piece_lines(const Emitter& e, const Kernel& kernel) {
  const auto& map = std::get<MapKernel>(kernel.body);
  int64_t lines = 1;
  for (size_t axis : line_axes(map)) lines *= map.axes[axis].extent.at(e.program.rows);
  return iterations_of_piece(kernel, lines);
}

Value* count_lines(Emitter& e, const MapKernel& map, Value* rows) {
  Value* lines = e.i64(1);
  for (size_t axis : line_axes(map)) lines = e.ir.CreateMul(lines, e.extent(map.axes[axis].extent, rows));
  return lines;
}

class BlockEmitter {
 public:
  BlockEmitter(Emitter& e, const Kernel& kernel)
      : e(e), kernel(kernel), map(std::get<MapKernel>(kernel.body)), lanes_axis(size_t(map.outer) - 1), index(map.axes.size(), nullptr), shift(map.axes.size(), 0) {
    for (size_t axis = 0; axis < lanes_axis; ++axis)
      if (map.axes[axis].together > 1) block_axes.push_back({axis, 0, 1});
    width = e.lanes * vectors();
  }

  void emit() {
    const int64_t size = piece_lines(e, kernel);
    Value *begin = e.i64(0), *end = count_lines(e, map, e.arguments.rows);
    if (size != INT64_MAX) {
      begin = e.ir.CreateMul(e.arguments.piece_begin, e.i64(size));
      end = e.minimum_index(e.ir.CreateMul(e.arguments.piece_end, e.i64(size)), end);
    }
    e.loop(begin, end, 1, [&](Value* line) {
      const std::vector<size_t> axes = line_axes(map);
      for (size_t k = axes.size(); k-- > 0;) {
        Value* extent = e.extent(map.axes[axes[k]].extent);
        index[axes[k]] = k == 0 ? line : e.ir.CreateURem(line, extent);
        line = e.ir.CreateUDiv(line, extent);
      }
      emit_blocks(0);
    });
  }

 private:
  /// Vectors that an iteration takes: as many as there are registers for sums, if the inner loops are long, so that lines of memory beside each other are read together.
  int vectors() const {
    constexpr int other_registers = 6;
    const Extent extent = map.axes[lanes_axis].extent;
    int64_t sums = 0;
    for (const Block& b : map.blocks) sums = std::max<int64_t>(sums, std::count_if(b.code.begin(), b.code.end(), [](const Instruction& i) { return i.kind == Instruction::Kind::reduce; }));
    for (const BlockAxis& axis : block_axes) sums *= map.axes[axis.axis].together;
    int vectors = 1;
    if (extent.rows || is_written_out(size_t(map.outer))) return vectors;
    while (sums * vectors * 2 <= e.target.vector_registers - other_registers && extent.size % (e.lanes * vectors * 2) == 0) vectors *= 2;
    return vectors;
  }

  /// An axis of blocks, and the block at hand, or one of several that share code.
  struct BlockAxis {
    size_t axis;
    int64_t begin, size;
  };
  /// A point of the block: its place in it along each of the axes of blocks, and its values.
  struct BlockPoint {
    std::vector<int64_t> at;
    Point point;
  };
  /// Indices of an inner axis.
  struct Range {
    int64_t begin, end;
    auto operator<=>(const Range&) const = default;
  };
  struct Accumulator {
    const Instruction* reduce;
    std::vector<llvm::AllocaInst*> of_point;
  };
  using Points = std::vector<size_t>;

  Emitter& e;
  const Kernel& kernel;
  const MapKernel& map;
  const size_t lanes_axis;
  int width = 1;               ///< lanes of an iteration
  std::vector<Value*> index;   ///< of each axis; the block's first, and 0 of an inner loop that is written out
  std::vector<int64_t> shift;  ///< what is added to it
  std::vector<BlockAxis> block_axes;
  std::vector<BlockPoint> points;
  const Block* block = nullptr;  ///< the inner block at hand
  std::vector<Accumulator> accumulators;
  InnerChains chains;
  std::optional<PartialSums> partial_sums;

  int64_t inner_extent(size_t axis) const { return map.axes[axis].extent.size; }

  // --- guards ---

  /// The inner axis that a guard is about.
  size_t bounded_axis(const Instruction& guard) const {
    size_t axis = size_t(map.outer);
    while (guard.access.strides[axis] == 0) ++axis;
    return axis;
  }

  /// The position in block_axes of the axis of blocks that a guard is about, or -1.
  int block_axis_of(const Instruction& guard) const {
    for (size_t k = 0; k < block_axes.size(); ++k)
      if (guard.access.strides[block_axes[k].axis] != 0) return int(k);
    return -1;
  }

  /// Where a guard holds at place `at` along the axis of blocks it is about.
  Range range_at(const Instruction& guard, size_t block_axis, int64_t at) const {
    const size_t bounded = bounded_axis(guard);
    const int64_t rest = guard.access.offset + guard.access.strides[block_axes[block_axis].axis] * at, limit = guard.extent.size;
    const int64_t factor = guard.access.strides[bounded], extent = inner_extent(bounded);
    Range range;
    if (factor > 0)
      range = {-floor_quotient(rest, factor), floor_quotient(limit - 1 - rest, factor) + 1};
    else
      range = {floor_quotient(rest - limit, -factor) + 1, floor_quotient(rest, -factor) + 1};
    range.begin = std::clamp<int64_t>(range.begin, 0, extent);
    range.end = std::clamp<int64_t>(range.end, range.begin, extent);
    return range;
  }

  template <class Visit>
  void for_each_guard(Visit visit) const {
    for (const Block& b : map.blocks)
      for (const Instruction& i : b.code)
        if (is_guard(i)) visit(i);
  }

  // --- blocks ---

  /// What the guards leave to a block, for each of its places.
  std::vector<Range> ranges_of_block(size_t k, int64_t begin, int64_t size) const {
    std::vector<Range> ranges;
    for_each_guard([&](const Instruction& guard) {
      if (block_axis_of(guard) != int(k)) return;
      for (int64_t at = 0; at < size; ++at) ranges.push_back(range_at(guard, k, begin + at));
    });
    return ranges;
  }

  /// All blocks along the axes from `k` on; neighbours that are left the same are one loop.
  void emit_blocks(size_t k) {
    if (k == block_axes.size()) return emit_vectors();
    const size_t axis = block_axes[k].axis;
    const int64_t extent = map.axes[axis].extent.size, together = map.axes[axis].together;
    for (int64_t begin = 0, end = 0; begin < extent; begin = end) {
      const int64_t size = std::min(together, extent - begin);
      const std::vector<Range> ranges = ranges_of_block(k, begin, size);
      end = begin + size;
      while (size == together && end + together <= extent && ranges_of_block(k, end, size) == ranges) end += together;
      block_axes[k].begin = begin;
      block_axes[k].size = size;
      e.loop(e.i64(begin), e.i64(end), together, [&](Value* first) {
        index[axis] = first;
        emit_blocks(k + 1);
      });
    }
  }

  void emit_vectors() {
    const Extent extent = map.axes[lanes_axis].extent;
    Value *size = e.extent(extent), *tail = e.ir.CreateURem(size, e.i64(width)), *whole = e.ir.CreateSub(size, tail);
    e.loop(e.i64(0), whole, width, [&](Value* first) { emit_block(first, nullptr); });
    if (extent.size % width == 0) return;
    e.when(e.ir.CreateICmpNE(tail, e.i64(0)), [&] { emit_block(whole, tail); });
  }

  void emit_block(Value* first, Value* active) {
    index[lanes_axis] = first;
    Point point;
    point.lane_axis = int(lanes_axis);
    point.width = width;
    point.active = active;
    point.mask = active ? e.lane_mask(active, width) : nullptr;
    points.assign(1, {{}, point});
    for (const BlockAxis& axis : block_axes) {
      std::vector<BlockPoint> more;
      for (const BlockPoint& p : points)
        for (int64_t at = 0; at < axis.size; ++at) {
          more.push_back(p);
          more.back().at.push_back(at);
        }
      points = std::move(more);
    }
    for (const Block& b : map.blocks) {
      if (!b.inner || is_written_out(size_t(map.outer))) fetch_ahead(b.code, b.inner ? size_t(map.outer) : map.axes.size());
      if (b.inner) {
        emit_inner(b);
        continue;
      }
      for (BlockPoint& p : points)
        for (const Instruction& i : b.code) emit_instruction(i, p);
    }
  }

  // --- fetching ahead ---

  /// What an access touches in the whole block, over `inner` written out loops: elements relative to the block's first.
  std::vector<int64_t> touched(const Access& access, size_t inner) const {
    std::vector<int64_t> all{0};
    auto spread = [&](int64_t stride, int64_t size) {
      if (stride == 0) return;
      const std::vector<int64_t> one = std::exchange(all, {});
      for (int64_t place : one)
        for (int64_t i = 0; i < size; ++i) all.push_back(place + stride * i);
    };
    for (const BlockAxis& axis : block_axes) spread(access.strides[axis.axis], axis.size);
    for (size_t axis = inner; axis < map.axes.size(); ++axis) spread(access.strides[axis], inner_extent(axis));
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  }

  /// A block's lines of memory are some in each of several places, an order that the hardware's prefetchers do not see: asks for what lies some distance behind, but not
  /// for what an earlier block or line has touched. `inner`: the first axis that is written out.
  void fetch_ahead(const std::vector<Instruction>& code, size_t inner) {
    constexpr int64_t distance = 4096, line_bytes = 64;
    constexpr int second_level = 2;
    if (block_axes.empty()) return;
    for (const Instruction& i : code) {
      const Access& access = i.access;
      if (!access.buffer.valid() || access.row_axis >= 0 || access.index_value >= 0 || access.strides[lanes_axis] != 1) continue;
      const std::vector<int64_t> all = touched(access, inner);
      std::vector<int64_t> steps;  // from the block before to this one, along each loop around
      bool moves = false;          // within an image: what does not is in the cache
      for (size_t axis = 0; axis < inner; ++axis) {
        if (axis == lanes_axis || access.strides[axis] == 0) continue;
        moves = moves || !map.axes[axis].extent.rows;
        steps.push_back(access.strides[axis] * map.axes[axis].together);
      }
      if (!moves) continue;
      Access ahead = access;
      for (size_t axis = inner; axis < map.axes.size(); ++axis) ahead.strides[axis] = 0;
      Point point = points.front().point;
      point.index = index;
      for (int64_t place : all) {
        const bool known = std::any_of(steps.begin(), steps.end(), [&](int64_t step) { return std::binary_search(all.begin(), all.end(), place + step); });
        if (known) continue;
        ahead.offset = access.offset + place + distance / int64_t(byte_size(i.dtype));
        const bool writes = i.kind == Instruction::Kind::store;
        const int64_t line = line_bytes / int64_t(byte_size(i.dtype));
        for (int64_t lane = 0; lane < width; lane += line, ahead.offset += line)
          e.ir.CreateIntrinsic(llvm::Intrinsic::prefetch, {e.ir.getPtrTy()}, 
                               {e.address(ahead, point), e.ir.getInt32(writes), e.ir.getInt32(second_level), e.ir.getInt32(1)});
      }
    }
  }

  // --- inner loops ---

  void emit_inner(const Block& inner) {
    block = &inner;
    accumulators.clear();
    partial_sums.reset();
    std::vector<llvm::AllocaInst*> sums;
    for (const Instruction& i : inner.code) {
      if (i.kind != Instruction::Kind::reduce) continue;
      llvm::Type* type = e.register_type(i.dtype, width);
      Accumulator& accumulator = accumulators.emplace_back(Accumulator{&i, {}});
      for (size_t p = 0; p < points.size(); ++p) {
        accumulator.of_point.push_back(e.slot(type, "accumulator"));
        e.ir.CreateStore(reduction_identity(i.op, type), accumulator.of_point.back());
        if (is_rounded_sum(i)) sums.push_back(accumulator.of_point.back());
      }
    }
    chains = sums.empty() ? InnerChains{} : inner_chains(map, e.program.planned(), 1);
    if (chains.axis >= 0) partial_sums.emplace(e, sums, chains.levels).clear();
    Points all(points.size());
    for (size_t p = 0; p < all.size(); ++p) all[p] = p;
    emit_axis(size_t(map.outer), all);
    if (partial_sums) partial_sums->close();
    for (const Accumulator& a : accumulators)
      for (size_t p = 0; p < points.size(); ++p)
        points[p].point.value(a.reduce->id) = e.ir.CreateLoad(a.of_point[p]->getAllocatedType(), a.of_point[p]);
  }

  /// Sums whose order decides their bits.
  static bool is_rounded_sum(const Instruction& reduce) { return reduce.op == Op::reduce_sum && is_float(reduce.dtype); }

  /// All indices of an inner axis and of those inside it, for points that have terms there.
  void emit_axis(size_t axis, const Points& active) {
    if (axis == map.axes.size()) {
      if (!is_written_out(size_t(map.outer))) fetch_ahead(block->code, axis);
      for (size_t p : active)
        for (const Instruction& i : block->code) emit_instruction(i, points[p], p);
      return;
    }
    shift[axis] = 0;
    if (int(axis) != chains.axis) return emit_bounded(axis, active, nullptr, nullptr);
    Value* extent = e.i64(inner_extent(axis));
    e.loop(e.i64(0), extent, chains.order.chain, [&](Value* from) {
      emit_bounded(axis, active, from, e.minimum_index(e.ir.CreateAdd(from, e.i64(chains.order.chain)), extent));
      partial_sums->push();
      for (const Accumulator& a : accumulators)
        if (is_rounded_sum(*a.reduce))
          for (llvm::AllocaInst* slot : a.of_point) e.ir.CreateStore(llvm::Constant::getNullValue(slot->getAllocatedType()), slot);
    });
  }

  /// Indices from .. to - 1 (null: all) at which guards about lines hold.
  void emit_bounded(size_t axis, const Points& active, Value* from, Value* to) {
    Value *low = from, *high = to;
    for (const Instruction& i : block->code) {
      if (!is_guard(i) || bounded_axis(i) != axis || block_axis_of(i) >= 0) continue;
      Value* rest = e.i64(i.access.offset);
      for (size_t line = 0; line < lanes_axis; ++line)
        if (const int64_t factor = i.access.strides[line]; factor != 0) rest = e.ir.CreateAdd(rest, e.ir.CreateMul(index[line], e.i64(factor)));
      const auto [first, end] = guard_bounds(e, rest, i.access.strides[axis], i.extent.size);
      low = low ? e.maximum_index(low, first) : first;
      high = high ? e.minimum_index(high, end) : e.minimum_index(end, e.i64(inner_extent(axis)));
    }
    if (low == from || from || !is_written_out(axis)) return emit_ranges(axis, active, low, high);
    // Most lines have all terms, which are written out for them.
    Value* all = e.ir.CreateAnd(e.ir.CreateICmpEQ(low, e.i64(0)), e.ir.CreateICmpEQ(high, e.i64(inner_extent(axis))));
    e.when(all, [&] { emit_ranges(axis, active, nullptr, nullptr); });
    e.when(e.ir.CreateNot(all), [&] { emit_ranges(axis, active, low, high); });
  }

  /// The ranges in which the same points have terms, each cut to low .. high - 1 (null: all indices).
  void emit_ranges(size_t axis, const Points& active, Value* low, Value* high) {
    const int64_t extent = inner_extent(axis);
    std::vector<Range> of_point(active.size(), Range{0, extent});
    std::vector<int64_t> cuts{0, extent};
    for (const Instruction& i : block->code) {
      if (!is_guard(i) || bounded_axis(i) != axis) continue;
      const int k = block_axis_of(i);
      if (k < 0) continue;
      for (size_t n = 0; n < active.size(); ++n) {
        const Range held = range_at(i, size_t(k), block_axes[size_t(k)].begin + points[active[n]].at[size_t(k)]);
        of_point[n] = {std::max(of_point[n].begin, held.begin), std::min(of_point[n].end, held.end)};
        cuts.insert(cuts.end(), {held.begin, held.end});
      }
    }
    std::sort(cuts.begin(), cuts.end());
    for (size_t c = 0; c + 1 < cuts.size(); ++c) {
      const Range range{cuts[c], cuts[c + 1]};
      Points present;
      for (size_t n = 0; n < active.size(); ++n)
        if (of_point[n].begin <= range.begin && range.end <= of_point[n].end) present.push_back(active[n]);
      if (range.begin == range.end || present.empty()) continue;
      if (low)
        emit_loop(axis, present, e.maximum_index(low, e.i64(range.begin)), e.minimum_index(high, e.i64(range.end)));
      else
        emit_whole(axis, present, range);
    }
  }

  /// A range whose ends are numbers.
  void emit_whole(size_t axis, const Points& active, Range range) {
    constexpr int64_t most_together = 4;
    const int64_t length = range.end - range.begin;
    if (is_written_out(axis)) {
      for (int64_t i = range.begin; i < range.end; ++i) emit_at(axis, active, e.i64(0), i);
      return;
    }
    if (axis + 1 < map.axes.size()) return emit_loop(axis, active, e.i64(range.begin), e.i64(range.end));
    int64_t together = std::min(most_together, length);
    for (int64_t fewer = together - 1; fewer > 1; --fewer)
      if (length % fewer < length % together) together = fewer;
    const int64_t rest = range.end - length % together;
    e.loop(e.i64(range.begin), e.i64(rest), together, [&](Value* i) {
      for (int64_t next = 0; next < together; ++next) emit_at(axis, active, i, next);
    });
    for (int64_t i = rest; i < range.end; ++i) emit_at(axis, active, e.i64(0), i);
  }

  void emit_loop(size_t axis, const Points& active, Value* begin, Value* end) {
    e.loop(begin, end, 1, [&](Value* i) { emit_at(axis, active, i, 0); });
  }

  void emit_at(size_t axis, const Points& active, Value* at, int64_t further) {
    index[axis] = at;
    shift[axis] = further;
    emit_axis(axis + 1, active);
  }

  /// Whether all indices of an inner axis, and of those inside it, are few enough to be written out.
  bool is_written_out(size_t axis) const {
    constexpr int64_t most_written = 16;
    int64_t count = 1;
    for (; axis < map.axes.size(); ++axis) count *= inner_extent(axis);
    return count <= most_written;
  }

  // --- instructions ---

  void emit_instruction(const Instruction& i, BlockPoint& p, size_t number = 0) {
    if (is_guard(i)) return;
    Point& point = p.point;
    if (i.kind == Instruction::Kind::reduce) {
      llvm::AllocaInst* slot = nullptr;
      for (const Accumulator& a : accumulators)
        if (a.reduce == &i) slot = a.of_point[number];
      Value* old = e.ir.CreateLoad(slot->getAllocatedType(), slot);
      e.ir.CreateStore(combine_reduced(e, i.op, old, e.splat(point.value(i.operands[0]), width)), slot);
      return;
    }
    std::vector<int64_t> further = shift;
    for (size_t k = 0; k < block_axes.size(); ++k) further[block_axes[k].axis] += p.at[k];
    point.index = index;
    if (!has_place(i)) {
      if (i.kind == Instruction::Kind::axis_index)
        point.index[size_t(i.axis)] = e.ir.CreateAdd(index[size_t(i.axis)], e.i64(further[size_t(i.axis)]));
      e.emit(i, point);
      return;
    }
    Instruction moved = i;
    for (size_t axis = 0; axis < further.size(); ++axis) moved.access.offset += i.access.strides[axis] * further[axis];
    e.emit(moved, point);
  }
};

}  // namespace

bool is_register_block(const MapKernel& map) {
  if (std::any_of(map.axes.begin(), map.axes.end(), [](const Axis& axis) { return axis.together > 1; })) return true;
  return std::any_of(map.blocks.begin(), map.blocks.end(), [](const Block& b) { return std::any_of(b.code.begin(), b.code.end(), is_guard); });
}

void emit_register_blocks(Emitter& e, const Kernel& kernel) { BlockEmitter(e, kernel).emit(); }

Value* register_block_pieces(Emitter& e, const Kernel& kernel, Value* rows) {
  const int64_t size = piece_lines(e, kernel);
  if (size == INT64_MAX) return e.i64(1);
  return e.ir.CreateUDiv(e.ir.CreateAdd(count_lines(e, std::get<MapKernel>(kernel.body), rows), e.i64(size - 1)), e.i64(size));
}

}  // namespace nnc
