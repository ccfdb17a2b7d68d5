// MapKernels as loops. The outer axes are one linear sequence of iterations that pieces cut; what stands in an iteration depends
// on the vector axis:
//   last outer axis   an iteration is `lanes` consecutive indices of it; every value is a vector, reductions run serially,
//                     per lane. Where they run long, an iteration takes several vectors, so that whole lines of memory are read once
//   last inner axis   outer blocks are scalar, the innermost loop of inner blocks takes `lanes` indices at a time; a reduction keeps one
//                     vector (small bodies: four, to hide the latency of the addition), combined by halving at the end
//   none              scalar code
// Kernels that take several outer indices together, or that have guards, are emitted by register_blocks.cpp, those that walk chains by chains.cpp.
// Where an extent is no multiple of the lanes, the code is emitted a second time for the tail, with a mask.
//
// The order of every reduction depends on the shape and the target alone. A sum of floats is cut into chains and, along rows, pieces
// (ir/sum_order.h): the accumulators of a chain become one and wait in a tree (partial_sums.h). So lanes and side-by-side
// accumulators are within a chain; the lanes meet at the very end.
#include "codegen/map.h"

#include <llvm/IR/Module.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "base/check.h"
#include "codegen/chains.h"
#include "codegen/limits.h"
#include "codegen/partial_sums.h"
#include "codegen/register_blocks.h"
#include "ir/program_regions.h"

namespace nnc {

using llvm::Value;

namespace {

/// What the linear sequence of iterations looks like.
struct Iterations {
  const Emitter& emitter;
  const MapKernel& map;
  bool in_rounds = false;  ///< of a parallel region
  bool lanes_outer() const { return map.vector_axis >= 0 && map.vector_axis == map.outer - 1; }
  bool lanes_inner() const { return map.vector_axis >= map.outer && map.vector_axis == int(map.axes.size()) - 1; }
  /// Indices of the last outer axis in an iteration, where lanes run along it.
  int width() const {
    constexpr int most_vectors = 4;
    constexpr int64_t long_loop = 8;
    int vectors = 1;
    const Extent last = map.axes[size_t(map.outer) - 1].extent;
    const int64_t inner = joint_extent(map.axes, size_t(map.outer), map.axes.size()).at(emitter.program.rows);
    // Scores of a block of queries, one line after the other: whole lines, or each pass over them would use few sets of the cache.
    if (in_rounds && !last.rows) {
      while (emitter.lanes * vectors < 64 && last.size % (emitter.lanes * vectors * 2) == 0) vectors *= 2;
      return emitter.lanes * vectors;
    }
    const bool simple = std::all_of(map.blocks.begin(), map.blocks.end(), [](const Block& b) { return is_simple(b.code); });
    if (!simple || last.rows || inner < long_loop) return emitter.lanes;
    while (vectors < most_vectors && last.size % (emitter.lanes * vectors * 2) == 0) vectors *= 2;
    return emitter.lanes * vectors;
  }

  int64_t planned() const {
    int64_t count = 1;
    for (int a = 0; a < map.outer; ++a) {
      int64_t e = map.axes[size_t(a)].extent.at(emitter.program.rows);
      count *= lanes_outer() && a == map.outer - 1 ? (e + width() - 1) / width() : e;
    }
    return count;
  }
};

Iterations iterations_of(const Emitter& e, const Kernel& kernel) {
  return {e, std::get<MapKernel>(kernel.body), round_axes(e.program, size_t(&kernel - e.program.kernels.data())) > 0};
}

int64_t grain(const Emitter& e, const Kernel& kernel) {
  const MapKernel& map = std::get<MapKernel>(kernel.body);
  int64_t iterations = iterations_of(e, kernel).planned();
  const int axes = round_axes(e.program, size_t(&kernel - e.program.kernels.data()));
  if (axes == 0) return iterations_of_piece(kernel, iterations);
  for (int axis = 0; axis < axes; ++axis) iterations /= std::max<int64_t>(1, map.axes[size_t(axis)].extent.at(e.program.rows));
  return std::max<int64_t>(1, iterations);  // a round is a piece
}

Value* ceil_div(Emitter& e, Value* value, int64_t divisor) {
  if (divisor == 1) return value;
  return e.ir.CreateUDiv(e.ir.CreateAdd(value, e.i64(divisor - 1)), e.i64(divisor));
}

Value* last_count(Emitter& e, const Kernel& kernel, Value* rows) {
  const MapKernel& map = std::get<MapKernel>(kernel.body);
  Value* extent = e.extent(map.axes[size_t(map.outer) - 1].extent, rows);
  const Iterations iterations = iterations_of(e, kernel);
  return iterations.lanes_outer() ? ceil_div(e, extent, iterations.width()) : extent;
}

Value* total_iterations(Emitter& e, const Kernel& kernel, Value* rows) {
  const MapKernel& map = std::get<MapKernel>(kernel.body);
  if (map.outer == 0) return e.i64(1);
  Value* total = last_count(e, kernel, rows);
  for (int a = 0; a + 1 < map.outer; ++a) total = e.ir.CreateMul(total, e.extent(map.axes[size_t(a)].extent, rows));
  return total;
}

bool is_cheap(const std::vector<Instruction>& code) {
  const bool stores = std::any_of(code.begin(), code.end(), [](const Instruction& i) { return i.kind == Instruction::Kind::store || i.kind == Instruction::Kind::store_add; });
  return code.size() <= 10 && !stores && is_simple(code);
}

class MapEmitter {
 public:
  MapEmitter(Emitter& e, const Kernel& kernel) : e(e), kernel(kernel), map(std::get<MapKernel>(kernel.body)), shape(iterations_of(e, kernel)) {}

  void emit() {
    NNC_CHECK(map.vector_axis < 0 || shape.lanes_outer() || shape.lanes_inner(),
              "vector axis of kernel " + kernel.name + " is not a last axis");
    if (map.outer == 0) {
      Point point = new_point();
      emit_blocks(point);
      return;
    }
    Value* total = total_iterations(e, kernel, e.arguments.rows);
    if (auto* constant = llvm::dyn_cast<llvm::ConstantInt>(total); constant && constant->isZero()) return;
    int64_t size = grain(e, kernel);
    Value *begin = e.i64(0), *end = total;
    if (size != INT64_MAX) {
      begin = e.ir.CreateMul(e.arguments.piece_begin, e.i64(size));
      end = e.minimum_index(e.ir.CreateMul(e.arguments.piece_end, e.i64(size)), total);
    }
    if (map.outer == 1) {
      emit_last_axis(new_point(), begin, end);
      return;
    }
    e.when(e.ir.CreateICmpSLT(begin, end), [&] {
      Value* last = last_count(e, kernel, e.arguments.rows);
      Value* first_line = e.ir.CreateUDiv(begin, last);
      Value* end_line = e.ir.CreateUDiv(e.ir.CreateAdd(end, e.ir.CreateSub(last, e.i64(1))), last);
      e.loop(
          first_line, end_line, 1,
          [&](Value* line) {
            Point point = new_point();
            Value* rest = line;
            for (int a = map.outer - 2; a > 0; --a) {
              Value* extent = e.extent(map.axes[size_t(a)].extent);
              point.index[size_t(a)] = e.ir.CreateURem(rest, extent);
              rest = e.ir.CreateUDiv(rest, extent);
            }
            point.index[0] = rest;
            Value* line_begin = e.ir.CreateMul(line, last);
            Value* from = e.ir.CreateSub(begin, line_begin);
            from = e.ir.CreateSelect(e.ir.CreateICmpSGT(from, e.i64(0)), from, e.i64(0));
            Value* to = e.minimum_index(e.ir.CreateSub(end, line_begin), last);
            emit_last_axis(point, from, to);
          },
          true);
    });
  }

 private:
  Emitter& e;
  const Kernel& kernel;
  const MapKernel& map;
  Iterations shape;

  Point new_point() {
    Point point;
    point.index.resize(map.axes.size(), nullptr);
    return point;
  }

  /// Iterations from .. to - 1 of the last outer axis; in units of vectors if lanes run along it.
  void emit_last_axis(Point point, Value* from, Value* to) {
    size_t axis = size_t(map.outer) - 1;
    if (!shape.lanes_outer()) {
      e.loop(from, to, 1, [&](Value* i) {
        Point p = point;
        p.index[axis] = i;
        emit_blocks(p);
      });
      return;
    }
    point.lane_axis = int(axis);
    point.width = shape.width();
    for_lanes(map.axes[axis].extent, from, to, [&](Value* first, Value* active) {
      Point p = point;
      p.index[axis] = first;
      p.active = active;
      p.mask = active ? e.lane_mask(active, p.width) : nullptr;
      emit_blocks(p);
    });
  }

  /// body(first index, number of lanes or null) for the vectors from .. to - 1 along an axis; null bounds: all of them.
  void for_lanes(Extent extent, Value* from, Value* to, llvm::function_ref<void(Value*, Value*)> body) {
    int64_t w = shape.width();
    Value* size = e.extent(extent);
    Value* full = e.ir.CreateUDiv(size, e.i64(w));
    if (!from) from = e.i64(0);
    e.loop(from, to ? e.minimum_index(to, full) : full, 1, [&](Value* v) { body(e.ir.CreateMul(v, e.i64(w)), nullptr); });
    if (extent.size % w == 0) return;  // so is every multiple of it
    Value* tail = e.ir.CreateURem(size, e.i64(w));
    Value* wanted = to ? e.ir.CreateICmpSGT(to, full) : e.ir.CreateICmpNE(tail, e.i64(0));
    e.when(wanted, [&] { body(e.ir.CreateMul(full, e.i64(w)), tail); });
  }

  void emit_blocks(Point& point) {
    for (const Block& block : map.blocks) {
      if (block.inner)
        emit_inner(block, point);
      else
        e.emit(block.code, point);
    }
  }

  // --- inner blocks ---

  struct Reduction {
    const Instruction* instruction = nullptr;
    DType type{};                                 ///< of what is reduced
    std::vector<llvm::AllocaInst*> value, index;  ///< one of each accumulator; index for argmax
    llvm::AllocaInst* of_pieces = nullptr;        ///< a number: the sum over all pieces of rows, each of which is a number of its own
  };

  DType reduced_type(const Block& block, const Instruction& reduce) {
    if (reduce.op != Op::argmax) return reduce.dtype;
    auto defines = [&](const std::vector<Instruction>& code) -> const Instruction* {
      for (const Instruction& i : code)
        if (i.id == reduce.operands[0]) return &i;
      return nullptr;
    };
    if (auto* found = defines(block.code)) return found->dtype;
    for (const Block& other : map.blocks)
      if (auto* found = defines(other.code)) return found->dtype;
    NNC_UNREACHABLE("operand of argmax in kernel " + kernel.name);
  }

  /// Lanes where x beats `best`: larger, or the first NaN.
  Value* beats(Value* x, Value* best) {
    if (!x->getType()->isFPOrFPVectorTy())
      return x->getType()->getScalarSizeInBits() <= 8 ? e.ir.CreateICmpUGT(x, best) : e.ir.CreateICmpSGT(x, best);
    Value* first_nan = e.ir.CreateAnd(e.ir.CreateFCmpUNO(x, x), e.ir.CreateFCmpORD(best, best));
    return e.ir.CreateOr(e.ir.CreateFCmpOGT(x, best), first_nan);
  }

  void accumulate(Reduction& r, size_t chain, Point& point) {
    Value* x = point.value(r.instruction->operands[0]);
    NNC_CHECK(x != nullptr, "reduction of a value that is not computed in kernel " + kernel.name);
    x = e.splat(x, point.width);
    llvm::Type* type = r.value[chain]->getAllocatedType();
    Value* old = e.ir.CreateLoad(type, r.value[chain]);
    bool masked = point.mask && point.lane_axis >= map.outer;  // along an outer axis, absent lanes may hold anything
    if (r.instruction->op == Op::argmax) {
      llvm::Type* index_type = r.index[chain]->getAllocatedType();
      Value* best = e.ir.CreateLoad(index_type, r.index[chain]);
      Instruction where;
      where.kind = Instruction::Kind::axis_index;
      where.dtype = nnc::index_type;
      where.axis = map.outer;
      where.id = int(point.values.size());
      e.emit(where, point);
      Value* better = beats(x, old);
      if (masked) better = e.ir.CreateAnd(better, point.mask);
      e.ir.CreateStore(e.ir.CreateSelect(better, x, old), r.value[chain]);
      e.ir.CreateStore(e.ir.CreateSelect(better, e.splat(point.value(where.id), point.width), best), r.index[chain]);
      point.values.pop_back();
      return;
    }
    Value* sum = combine_reduced(e, r.instruction->op, old, x);
    e.ir.CreateStore(masked ? e.ir.CreateSelect(point.mask, sum, old) : sum, r.value[chain]);
  }

  void emit_body(const Block& block, Point& point, std::vector<Reduction>& reductions, size_t chain) {
    size_t next = 0;
    for (const Instruction& i : block.code) {
      if (i.kind == Instruction::Kind::reduce) {
        Reduction& r = reductions[next++];
        accumulate(r, chain % r.value.size(), point);
      } else {
        e.emit(i, point);
      }
    }
  }

  /// The inner axes of a block as they are walked: what one iteration adds to an accumulator, and where chains and pieces of sums are cut.
  struct Walk {
    int accumulators = 1;       ///< of each reduction but an argmax, which has one, side by side along the last axis
    InnerChains chains;
    bool pieces = false;        ///< the first inner axis has the rows, and they are cut
    std::vector<Reduction>* reductions = nullptr;
    PartialSums *chain_sums = nullptr, *piece_sums = nullptr;
  };

  Extent extent_of(int axis) const { return map.axes[size_t(axis)].extent; }

  /// The end of the loop over an inner axis.
  Value* end_of(int axis, const Point& point) {
    const Axis& inner = map.axes[size_t(axis)];
    return emit_indices(e, inner, inner.limit.axis < 0 ? nullptr : point.index[size_t(inner.limit.axis)]).second;
  }

  Walk plan_walk(const Block& block, bool reduces, bool sums) {
    Walk walk;
    const int first = map.outer, last = int(map.axes.size()) - 1;
    const PlannedRows rows = e.program.planned();
    if (!reduces || first > last) return walk;
    const SumOrder by_piece = piece_order(extent_of(first), rows);  // a chain is a piece
    int64_t walked = first == last ? by_piece.chain : extent_of(last).at(rows.most);
    // Of sums it is the shape that says how many there are, whatever else the block does.
    if (shape.lanes_inner() && (sums || is_cheap(block.code)) && walked >= 8 * e.lanes) walk.accumulators = 4;
    if (!sums) return walk;
    walk.pieces = by_piece.piece_levels() > 0;
    walk.chains = inner_chains(map, rows, shape.lanes_inner() ? int64_t(walk.accumulators) * e.lanes : 1);
    return walk;
  }

  void emit_inner(const Block& block, Point& outer) {
    int width = shape.lanes_inner() ? e.lanes : outer.width;
    std::vector<Reduction> reductions;
    bool sums = false;
    for (const Instruction& i : block.code)
      if (i.kind == Instruction::Kind::reduce) {
        NNC_CHECK(i.op != Op::argmax || int(map.axes.size()) == map.outer + 1,
                  "argmax over more than one axis in kernel " + kernel.name);
        reductions.push_back({&i, reduced_type(block, i), {}, {}});
        sums = sums || is_rounded_sum(reductions.back());
      }
    Walk walk = plan_walk(block, !reductions.empty(), sums);
    walk.reductions = &reductions;
    for (Reduction& r : reductions)
      for (int c = 0; c < (r.instruction->op == Op::argmax ? 1 : walk.accumulators); ++c) {
        llvm::Type* type = e.register_type(r.type, width);
        r.value.push_back(e.slot(type, "accumulator"));
        e.ir.CreateStore(reduction_identity(r.instruction->op == Op::argmax ? Op::reduce_max : r.instruction->op, type), r.value.back());
        if (r.instruction->op != Op::argmax) continue;
        llvm::Type* index_type = e.register_type(nnc::index_type, width);
        r.index.push_back(e.slot(index_type, "position"));
        e.ir.CreateStore(llvm::Constant::getNullValue(index_type), r.index.back());
      }
    std::vector<llvm::AllocaInst*> summed;
    for (const Reduction& r : reductions)
      if (is_rounded_sum(r)) summed.push_back(r.value[0]);
    std::optional<PartialSums> chain_sums, piece_sums;
    if (walk.chains.axis >= 0) walk.chain_sums = &chain_sums.emplace(e, summed, walk.chains.levels);
    Point point = outer;
    if (walk.pieces) {
      const SumOrder by_piece = piece_order(extent_of(map.outer), e.program.planned());
      // The sum of a piece is a number, not one for each lane: a share of the batch gives no more of it.
      if (shape.lanes_inner()) {
        summed.clear();
        for (Reduction& r : reductions)
          if (is_rounded_sum(r)) summed.push_back(r.of_pieces = e.slot(e.register_type(r.type, 1), "pieces"));
      }
      walk.piece_sums = &piece_sums.emplace(e, summed, by_piece.piece_levels() + 1);  // the last is pushed as well
      piece_sums->clear();
      Value* all = e.extent(extent_of(map.outer));
      e.loop(e.i64(0), all, by_piece.piece, [&](Value* begin) {
        emit_piece(block, point, walk, begin, e.minimum_index(e.ir.CreateAdd(begin, e.i64(by_piece.piece)), all));
        add_up_accumulators(walk);
        for (Reduction& r : reductions)
          if (r.of_pieces) e.ir.CreateStore(across_lanes(Op::reduce_sum, e.ir.CreateLoad(r.value[0]->getAllocatedType(), r.value[0]), width), r.of_pieces);
        piece_sums->push();
        clear_sums(walk);
      });
      piece_sums->close();
    } else if (!map.axes.empty() && map.outer < int(map.axes.size())) {
      emit_piece(block, point, walk, e.i64(0), end_of(map.outer, point));
    } else {
      emit_body(block, point, reductions, 0);
    }
    for (Reduction& r : reductions) outer.value(r.instruction->id) = finish(r, width);
  }

  /// Sums whose order decides their bits.
  static bool is_rounded_sum(const Reduction& r) { return r.instruction->op == Op::reduce_sum && is_float(r.type); }

  /// Indices begin .. end - 1 of the first inner axis, all of the others; afterwards sums stand in the accumulators.
  void emit_piece(const Block& block, Point& point, Walk& walk, Value* begin, Value* end) {
    if (walk.chain_sums) walk.chain_sums->clear();
    emit_nest(block, point, map.outer, walk, begin, end);
    if (walk.chain_sums) walk.chain_sums->close();
  }

  /// The accumulators of a sum, side by side, become one; the others are 0.
  void add_up_accumulators(Walk& walk) {
    for (Reduction& r : *walk.reductions) {
      if (!is_rounded_sum(r) || r.value.size() == 1) continue;
      e.ir.CreateStore(join(r), r.value[0]);
      for (size_t c = 1; c < r.value.size(); ++c)
        e.ir.CreateStore(llvm::Constant::getNullValue(r.value[c]->getAllocatedType()), r.value[c]);
    }
  }

  void clear_sums(Walk& walk) {
    for (Reduction& r : *walk.reductions)
      if (is_rounded_sum(r)) e.ir.CreateStore(llvm::Constant::getNullValue(r.value[0]->getAllocatedType()), r.value[0]);
  }

  /// Indices begin .. end - 1 of `axis`, all of the axes inside it, cut into chains where it is the axis for that.
  void emit_nest(const Block& block, Point& point, int axis, Walk& walk, Value* begin, Value* end) {
    if (axis != walk.chains.axis) return emit_range(block, point, axis, walk, begin, end);
    e.loop(begin, end, walk.chains.order.chain, [&](Value* from) {
      emit_range(block, point, axis, walk, from, e.minimum_index(e.ir.CreateAdd(from, e.i64(walk.chains.order.chain)), end));
      add_up_accumulators(walk);
      walk.chain_sums->push();
      clear_sums(walk);
    });
  }

  /// Whether all that a block does over `axis` and the axes inside it, a window of a few places, is less code than the loops would be work.
  bool is_written_out(const Block& block, int axis, Value* begin, Value* end) const {
    constexpr int64_t most_instructions = 32;
    auto *first = llvm::dyn_cast<llvm::ConstantInt>(begin), *last = llvm::dyn_cast<llvm::ConstantInt>(end);
    if (!first || !first->isZero() || !last || last->getSExtValue() != extent_of(axis).size) return false;
    int64_t instructions = int64_t(block.code.size());
    for (size_t a = size_t(axis); a < map.axes.size(); ++a) {
      if (map.axes[a].extent.rows || map.axes[a].limit.axis >= 0) return false;
      instructions *= map.axes[a].extent.size;
    }
    return instructions <= most_instructions;
  }

  void emit_range(const Block& block, Point& point, int axis, Walk& walk, Value* begin, Value* end) {
    bool innermost = axis + 1 == int(map.axes.size());
    if (!innermost || !shape.lanes_inner()) {
      auto at_index = [&](Value* i) {
        Point p = point;
        p.index[size_t(axis)] = i;
        if (innermost)
          emit_body(block, p, *walk.reductions, 0);
        else
          emit_nest(block, p, axis + 1, walk, e.i64(0), end_of(axis + 1, p));
      };
      if (is_written_out(block, axis, begin, end))
        for (int64_t i = 0; i < extent_of(axis).size; ++i) at_index(e.i64(i));
      else
        e.loop(begin, end, 1, at_index);
      return;
    }
    auto body = [&](Value* first, Value* active, size_t accumulator) {
      Point p = point;
      p.lane_axis = axis;
      p.width = e.lanes;
      p.index[size_t(axis)] = first;
      p.active = active;
      p.mask = active ? e.lane_mask(active, e.lanes) : nullptr;
      emit_body(block, p, *walk.reductions, accumulator);
    };
    Value* count = e.ir.CreateSub(end, begin);
    Value* done = e.i64(0);
    if (walk.accumulators > 1) {
      const int64_t together = int64_t(walk.accumulators) * e.lanes;
      done = e.ir.CreateMul(e.ir.CreateUDiv(count, e.i64(together)), e.i64(together));
      e.loop(e.i64(0), done, together, [&](Value* at) {
        for (size_t c = 0; c < size_t(walk.accumulators); ++c)
          body(e.ir.CreateAdd(begin, e.ir.CreateAdd(at, e.i64(int64_t(c) * e.lanes))), nullptr, c);
      });
    }
    const int64_t step = map.axes[size_t(axis)].limit.step;
    Value* parted = nullptr;
    if (walk.accumulators > 1 && step % (int64_t(walk.accumulators) * e.lanes) != 0) {
      parted = emit_parted(axis, walk, begin, count, done, body);
      done = e.ir.CreateSelect(parted, count, done);
    }
    Value* whole = e.ir.CreateMul(e.ir.CreateUDiv(count, e.i64(e.lanes)), e.i64(e.lanes));
    e.loop(done, whole, e.lanes, [&](Value* at) { body(e.ir.CreateAdd(begin, at), nullptr, 0); });
    if (extent_of(axis).size % e.lanes == 0 && step % e.lanes == 0) return;  // so is every multiple of it, and what a piece or a chain has
    Value* tail = e.ir.CreateSub(count, whole);
    Value* wanted = e.ir.CreateICmpNE(tail, e.i64(0));
    if (parted) wanted = e.ir.CreateAnd(wanted, e.ir.CreateNot(parted));
    e.when(wanted, [&] { body(e.ir.CreateAdd(begin, whole), tail, 0); });
  }

  /// Where a limit ends a range in the middle of what the accumulators take side by side: each takes what it would without the limit. Returns whether that is so.
  Value* emit_parted(int axis, const Walk& walk, Value* begin, Value* count, Value* done, llvm::function_ref<void(Value*, Value*, size_t)> body) {
    const int64_t together = int64_t(walk.accumulators) * e.lanes;
    Value* unlimited = e.ir.CreateSub(e.extent(extent_of(axis)), begin);
    if (axis == walk.chains.axis) unlimited = e.minimum_index(unlimited, e.i64(walk.chains.order.chain));
    Value* side_by_side = e.ir.CreateMul(e.ir.CreateUDiv(unlimited, e.i64(together)), e.i64(together));
    Value* parted = e.ir.CreateICmpSLT(done, side_by_side);
    e.when(parted, [&] {
      for (size_t c = 0; c < size_t(walk.accumulators); ++c) {
        Value* at = e.ir.CreateAdd(done, e.i64(int64_t(c) * e.lanes));
        Value* left = e.ir.CreateSub(count, at);
        e.when(e.ir.CreateICmpSGT(left, e.i64(0)), [&] { body(e.ir.CreateAdd(begin, at), e.minimum_index(left, e.i64(e.lanes)), c); });
      }
    });
    return parted;
  }

  /// The lower or upper half of the first 2 * width lanes of v. Below four lanes the vector stays one of four, whose other lanes
  /// do not matter: LLVM's legaliser takes long over shorter ones.
  Value* half(Value* v, int width, bool upper) {
    int size = int(llvm::cast<llvm::FixedVectorType>(v->getType())->getNumElements());
    if (!upper && size == std::max(width, 4)) return v;
    std::vector<int> lanes;
    for (int l = 0; l < std::max(width, 4); ++l) lanes.push_back(l < width ? l + (upper ? width : 0) : -1);
    return e.ir.CreateShuffleVector(v, lanes);
  }

  /// `combine_reduced` where NaN has been taken care of.
  Value* combine_numbers(Op op, Value* a, Value* b) {
    if (op == Op::reduce_sum || !a->getType()->isFPOrFPVectorTy()) return combine_reduced(e, op, a, b);
    return e.ir.CreateSelect(op == Op::reduce_max ? e.ir.CreateFCmpOGT(a, b) : e.ir.CreateFCmpOLT(a, b), a, b);
  }

  /// The accumulators of a reduction, side by side, combined by halving.
  Value* join(Reduction& r) {
    std::vector<Value*> parts;
    for (llvm::AllocaInst* slot : r.value) parts.push_back(e.ir.CreateLoad(slot->getAllocatedType(), slot));
    for (size_t n = parts.size(); n > 1; n /= 2)
      for (size_t i = 0; i < n / 2; ++i) parts[i] = combine_reduced(e, r.instruction->op, parts[i], parts[i + n / 2]);
    return parts[0];
  }

  /// The reduction's value for the outer iteration: accumulators, then (lanes along an inner axis) lanes combined by halving.
  Value* finish(Reduction& r, int width) {
    Op op = r.instruction->op;
    auto read = [&](llvm::AllocaInst* slot) -> Value* { return e.ir.CreateLoad(slot->getAllocatedType(), slot); };
    if (op == Op::argmax) {
      Value *value = read(r.value[0]), *index = read(r.index[0]);
      if (!shape.lanes_inner()) return index;
      for (int w = width / 2; w >= 1; w /= 2) {
        Value *v0 = half(value, w, false), *v1 = half(value, w, true), *i0 = half(index, w, false), *i1 = half(index, w, true);
        Value* neither = e.ir.CreateAnd(e.ir.CreateNot(beats(v0, v1)), e.ir.CreateNot(beats(v1, v0)));
        Value* take = e.ir.CreateOr(beats(v1, v0), e.ir.CreateAnd(neither, e.ir.CreateICmpSLT(i1, i0)));
        value = e.ir.CreateSelect(take, v1, v0);
        index = e.ir.CreateSelect(take, i1, i0);
      }
      return e.ir.CreateExtractElement(index, uint64_t(0));
    }
    if (r.of_pieces) return read(r.of_pieces);
    Value* value = join(r);
    return shape.lanes_inner() ? across_lanes(op, value, width) : value;
  }

  /// The numbers of all lanes as one.
  Value* across_lanes(Op op, Value* value, int width) {
    Value* any_nan = nullptr;
    if (op != Op::reduce_sum && value->getType()->isFPOrFPVectorTy()) {
      Value* nans = e.ir.CreateBitCast(e.ir.CreateFCmpUNO(value, value), e.ir.getIntNTy(unsigned(width)));
      any_nan = e.ir.CreateICmpNE(nans, llvm::Constant::getNullValue(nans->getType()));
    }
    for (int w = width / 2; w >= 1; w /= 2) value = combine_numbers(op, half(value, w, false), half(value, w, true));
    value = e.ir.CreateExtractElement(value, uint64_t(0));
    return any_nan ? e.ir.CreateSelect(any_nan, llvm::ConstantFP::getNaN(value->getType()), value) : value;
  }
};

}  // namespace

int64_t iterations_of_piece(const Kernel& kernel, int64_t planned) {
  const auto& map = std::get<MapKernel>(kernel.body);
  const int64_t total = std::max<int64_t>(planned, 1);
  if (!kernel.parallel || map.serial || map.outer == 0) return INT64_MAX;
  double cost = std::max(kernel.flops + kernel.bytes, double(total)) / double(total);
  auto enough = int64_t(std::ceil(16384.0 / cost));
  return std::max({enough, (total + 63) / 64, int64_t(1)});
}

llvm::Constant* reduction_identity(Op op, llvm::Type* type) {
  llvm::Type* element = type->getScalarType();
  unsigned bits = element->getScalarSizeInBits();
  if (op == Op::reduce_sum) return llvm::Constant::getNullValue(type);
  bool largest = op == Op::reduce_min;
  if (element->isFloatingPointTy()) return llvm::ConstantFP::getInfinity(type, !largest);
  if (bits <= 8) return largest ? llvm::Constant::getAllOnesValue(type) : llvm::Constant::getNullValue(type);
  return llvm::ConstantInt::get(type, largest ? llvm::APInt::getSignedMaxValue(bits) : llvm::APInt::getSignedMinValue(bits));
}

Value* combine_reduced(Emitter& e, Op op, Value* a, Value* b) {
  switch (op) {
    case Op::reduce_sum:
      return a->getType()->isFPOrFPVectorTy() ? e.ir.CreateFAdd(a, b) : e.ir.CreateAdd(a, b);
    case Op::reduce_max:
      return e.maximum(a, b);
    case Op::reduce_min:
      return e.minimum(a, b);
    default:
      NNC_UNREACHABLE("reduction " + std::string(op_name(op)));
  }
}

void emit_map_kernel(Emitter& e, const Kernel& kernel, llvm::Function* function) {
  e.begin_kernel(kernel, function);
  if (walks_chains(std::get<MapKernel>(kernel.body)))
    emit_chain_walk(e, kernel);
  else if (is_register_block(std::get<MapKernel>(kernel.body)))
    emit_register_blocks(e, kernel);
  else
    MapEmitter(e, kernel).emit();
  e.end_kernel();
}

Value* emit_map_pieces(Emitter& e, const Kernel& kernel, Value* rows) {
  if (walks_chains(std::get<MapKernel>(kernel.body))) return e.i64(chain_walk_pieces(e, kernel));
  if (is_register_block(std::get<MapKernel>(kernel.body))) return register_block_pieces(e, kernel, rows);
  int64_t size = grain(e, kernel);
  return size == INT64_MAX ? static_cast<Value*>(e.i64(1))
                           : ceil_div(e, total_iterations(e, kernel, rows), size);
}

}  // namespace nnc
