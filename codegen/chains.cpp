// Sums by entries of a table. A chain leads from an entry's first place to its last, in their order, so that a sum has the terms in the order of the places whoever makes it.
// Where the rows of the batch are cut into pieces, a piece is a stretch of places: the sum of those that an entry has in it is finished where its chain leaves the stretch, and waits
// on the stack (ir/README.md, Sums by entries of a table). Most entries have places in one piece, and nothing waits.
//
// A kernel that walks chains goes over entries: over those that are named, or over all, each with its columns in vectors and a sum of each vector that is in registers from the
// first place to the last. Then comes the code of the entry, usually an update. Entries have no part in each other, so pieces are shares of the entries and change no bit. How
// many entries are named is known when the kernel runs; a piece is a share of however many there are.
#include "codegen/chains.h"

#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "codegen/llvm_versions.h"
#include "codegen/map.h"
#include "codegen/partial_sums.h"
#include "ir/chains.h"
#include "ir/sum_order.h"

namespace nnc {

using llvm::Value;

namespace {

/// Reads and writes the parts of a buffer of chains.
class ChainMemory {
 public:
  ChainMemory(Emitter& e, BufferId buffer, int64_t entries) : layout(chain_layout(e.program[buffer], entries)), e_(e), buffer_(buffer) {}

  const ChainLayout layout;

  /// i32 of one part, of an index of i64.
  Value* read(int64_t part, Value* index) {
    auto* value = e_.ir.CreateAlignedLoad(e_.ir.getInt32Ty(), address(part, index), llvm::Align(4));
    e_.annotate(value, buffer_);
    return value;
  }
  void write(int64_t part, Value* index, Value* value) { e_.annotate(e_.ir.CreateAlignedStore(value, address(part, index), llvm::Align(4)), buffer_); }

  Value* count() { return wide(read(layout.count(), e_.i64(0))); }
  Value* wide(Value* value) { return e_.ir.CreateSExt(value, e_.ir.getInt64Ty()); }

  struct Slot {
    Value* number;    ///< i64; some slot where the entry is not named
    Value* is_named;  ///< i1
  };
  /// Where an entry (i64) stands among the `count` (i64) that are named. What an entry that is not named has there may be anything.
  Slot find(Value* entry, Value* count) {
    Value* found = e_.ir.CreateZExt(read(layout.slot(), entry), e_.ir.getInt64Ty());
    Value* within = e_.ir.CreateICmpULT(found, count);
    Value* number = e_.ir.CreateSelect(within, found, e_.i64(0));
    Value* named = wide(read(layout.touched(), number));
    return {number, e_.ir.CreateAnd(within, e_.ir.CreateICmpEQ(named, entry))};
  }

 private:
  Value* address(int64_t part, Value* index) {
    return e_.offset_pointer(e_.offset_pointer(e_.base_pointer(buffer_), e_.ir.CreateNSWMul(index, e_.i64(4))), part * 4);
  }

  Emitter& e_;
  const BufferId buffer_;
};

class WalkEmitter {
 public:
  WalkEmitter(Emitter& e, const Kernel& kernel)
      : e(e), kernel(kernel), map(std::get<MapKernel>(kernel.body)), linked(*find_linked(map)), touched(find_touched(map)),
        chains(e, linked.access.buffer, map.axes[0].extent.size) {}

  void emit() {
    Point point;
    point.index.resize(map.axes.size(), nullptr);
    Value* count = chains.count();
    Value* entries = e.i64(chains.layout.entries);
    Value* all = e.ir.getTrue();
    if (touched) {
      for (const Instruction& i : map.blocks.front().code) {
        if (&i == touched) break;
        e.emit(i, point);
      }
      all = point.value(touched->operands[0]);
    }
    const int64_t pieces = chain_walk_pieces(e, kernel);
    Value* total = touched ? e.ir.CreateSelect(all, entries, count) : entries;
    auto share = [&](Value* piece) { return e.ir.CreateUDiv(e.ir.CreateMul(total, piece), e.i64(pieces)); };
    Value *begin = share(e.arguments.piece_begin), *end = share(e.arguments.piece_end);
    e.loop(begin, end, 1, [&](Value* i) {
      if (!touched) return emit_entry(point, i, first_of(i, count));
      llvm::AllocaInst *entry = e.slot(e.ir.getInt64Ty(), "entry"), *first = e.slot(e.ir.getInt64Ty(), "first");
      e.when(all, [&] {
        e.ir.CreateStore(i, entry);
        e.ir.CreateStore(first_of(i, count), first);
      });
      e.when(e.ir.CreateNot(all), [&] {
        e.ir.CreateStore(chains.wide(chains.read(chains.layout.touched(), i)), entry);
        e.ir.CreateStore(chains.wide(chains.read(chains.layout.first(), i)), first);
        fetch_ahead(point, i, end);
      });
      emit_entry(point, e.ir.CreateLoad(e.ir.getInt64Ty(), entry), e.ir.CreateLoad(e.ir.getInt64Ty(), first));
    });
  }

 private:
  /// The pieces of the batch, as stretches of places.
  struct PlacePieces {
    int64_t places = 1;  ///< of a piece; the last may have fewer
    int levels = 0;      ///< of the tree over pieces; 0: there is one
  };
  /// Of an entry, in i64.
  struct ChainStart {
    Value* first;      ///< place, or -1
    Value* piece_end;  ///< behind the last place of the piece in which it is; null: there is one piece
  };
  using Sum = std::pair<const Instruction*, llvm::AllocaInst*>;

  Emitter& e;
  const Kernel& kernel;
  const MapKernel& map;
  const Instruction& linked;
  const Instruction* touched;
  ChainMemory chains;
  const PlacePieces batch_pieces = pieces_of_places();

  PlacePieces pieces_of_places() const {
    const size_t rows = size_t(map.outer), end = map.axes.size();  // they are the outermost axis of places, if they are one
    if (rows == end) return {};
    const SumOrder order = piece_order(map.axes[rows].extent, e.program.planned());
    if (order.piece_levels() == 0) return {};
    return {order.piece * joint_extent(map.axes, rows + 1, end).at(e.program.rows), order.piece_levels()};
  }

  /// The first place of an entry, or -1.
  Value* first_of(Value* entry, Value* count) {
    const ChainMemory::Slot slot = chains.find(entry, count);
    return e.ir.CreateSelect(slot.is_named, chains.wide(chains.read(chains.layout.first(), slot.number)), e.i64(-1));
  }

  // Entries that are named lie anywhere in the table: what they keep there is fetched some entries ahead.
  void fetch_ahead(Point point, Value* i, Value* end) {
    constexpr int64_t ahead = 8, line = 64, most_lines = 16;
    Value* next = e.minimum_index(e.ir.CreateAdd(i, e.i64(ahead)), e.ir.CreateSub(end, e.i64(1)));
    for (Value*& index : point.index) index = e.i64(0);
    point.index[0] = chains.wide(chains.read(chains.layout.touched(), next));
    for (const Block& block : map.blocks)
      for (const Instruction& store : block.code) {
        if (store.kind != Instruction::Kind::store) continue;
        int64_t bytes = int64_t(byte_size(store.dtype));
        const size_t columns = size_t(map.outer) - 1;
        if (columns > 0 && store.access.strides[columns] == 1) bytes *= map.axes[columns].extent.size;
        Value* address = e.address(store.access, point);
        for (int64_t at = 0; at < std::min(bytes, line * most_lines); at += line)
          e.ir.CreateIntrinsic(llvm::Intrinsic::prefetch, {address->getType()}, {e.offset_pointer(address, at), e.ir.getInt32(1), e.ir.getInt32(3), e.ir.getInt32(1)});
      }
  }

  void emit_entry(Point point, Value* entry, Value* first) {
    point.index[0] = entry;
    emit_columns(point, 1, {first, batch_pieces.levels > 0 ? end_of_piece(first) : nullptr});
  }

  /// The columns from axis `axis` on, the last by vectors.
  void emit_columns(Point point, size_t axis, ChainStart chain) {
    if (axis >= size_t(map.outer)) return emit_point(point, chain);
    Value* extent = e.extent(map.axes[axis].extent);
    if (int(axis) != map.vector_axis) {
      e.loop(e.i64(0), extent, 1, [&](Value* i) {
        Point p = point;
        p.index[axis] = i;
        emit_columns(p, axis + 1, chain);
      });
      return;
    }
    const int64_t size = map.axes[axis].extent.size, full = size / e.lanes * e.lanes;
    point.lane_axis = int(axis);
    point.width = e.lanes;
    e.loop(e.i64(0), e.i64(full), e.lanes, [&](Value* i) {
      Point p = point;
      p.index[axis] = i;
      emit_point(p, chain);
    });
    if (full == size) return;
    point.index[axis] = e.i64(full);
    point.active = e.i64(size - full);
    point.mask = e.lane_mask(point.active, point.width);
    emit_point(point, chain);
  }

  void emit_point(Point point, ChainStart chain) {
    bool begun = !touched;  // what stands before it has been computed
    for (const Block& block : map.blocks) {
      if (block.inner) {
        emit_sums(block, point, chain);
        continue;
      }
      for (const Instruction& i : block.code) {
        if (begun) e.emit(i, point);
        begun = begun || &i == touched;
      }
    }
  }

  void emit_sums(const Block& block, Point& outer, ChainStart chain) {
    std::vector<Sum> sums;
    for (const Instruction& i : block.code)
      if (i.kind == Instruction::Kind::reduce) sums.emplace_back(&i, e.slot(e.register_type(i.dtype, outer.width), "sum"));
    begin_sums(sums);
    e.when(is_place(chain.first), [&] {
      if (batch_pieces.levels > 0)
        add_pieces(block, outer, chain, sums);
      else
        add_places(block, outer, chain.first, sums, [&](Value* next) { return is_place(next); });
    });
    for (auto [reduce, sum] : sums) outer.value(reduce->id) = e.ir.CreateLoad(sum->getAllocatedType(), sum);
  }

  void begin_sums(const std::vector<Sum>& sums) {
    for (auto [reduce, sum] : sums) e.ir.CreateStore(reduction_identity(reduce->op, sum->getAllocatedType()), sum);
  }

  Value* is_place(Value* place) { return e.ir.CreateICmpSGE(place, e.i64(0)); }  // or the end of a chain, -1

  /// From `first` on, while the next is one that `goes_on` says yes to; that one's number at the end.
  Value* follow(Value* first, llvm::function_ref<Value*(Value* place)> body, llvm::function_ref<Value*(Value* next)> goes_on) {
    llvm::BasicBlock* before = e.ir.GetInsertBlock();
    llvm::Function* f = before->getParent();
    auto* head = llvm::BasicBlock::Create(e.context, "place", f);
    auto* done = llvm::BasicBlock::Create(e.context, "followed", f);
    e.ir.CreateBr(head);
    e.ir.SetInsertPoint(head);
    auto* place = e.ir.CreatePHI(e.ir.getInt64Ty(), 2, "place");
    place->addIncoming(first, before);
    Value* next = body(place);
    place->addIncoming(next, e.ir.GetInsertBlock());
    e.ir.CreateCondBr(goes_on(next), head, done);
    done->moveAfter(e.ir.GetInsertBlock());
    e.ir.SetInsertPoint(done);
    return next;
  }

  /// Adds up the updates of an entry's places from `first` on. The place behind the last one, or -1.
  Value* add_places(const Block& block, const Point& outer, Value* first, const std::vector<Sum>& sums, llvm::function_ref<Value*(Value* next)> goes_on) {
    return follow(first, [&](Value* place) {
      Point point = outer;
      Value* rest = place;
      const size_t begin = size_t(map.outer);
      for (size_t axis = map.axes.size(); axis-- > begin;) {
        Value* extent = e.extent(map.axes[axis].extent);
        point.index[axis] = axis == begin ? rest : e.ir.CreateURem(rest, extent);
        if (axis > begin) rest = e.ir.CreateUDiv(rest, extent);
      }
      for (const Instruction& i : block.code) {
        if (i.kind != Instruction::Kind::reduce) {
          e.emit(i, point);
          continue;
        }
        auto found = std::find_if(sums.begin(), sums.end(), [&](const Sum& sum) { return sum.first == &i; });
        Value* old = e.ir.CreateLoad(found->second->getAllocatedType(), found->second);
        e.ir.CreateStore(combine_reduced(e, i.op, old, e.splat(point.value(i.operands[0]), point.width)), found->second);
      }
      return chains.wide(chains.read(chains.layout.next(), place));
    }, goes_on);
  }

  Value* piece_of(Value* place) { return e.ir.CreateUDiv(place, e.i64(batch_pieces.places)); }
  Value* end_of_piece(Value* place) { return e.ir.CreateMul(e.ir.CreateAdd(piece_of(place), e.i64(1)), e.i64(batch_pieces.places)); }

  /// The same piece by piece. An entry with places in one piece alone is done after the first walk.
  void add_pieces(const Block& block, const Point& outer, ChainStart chain, const std::vector<Sum>& sums) {
    // As a number without sign the end of a chain, -1, is beyond every piece.
    auto add_piece = [&](Value* first, Value* end) {
      return add_places(block, outer, first, sums, [&](Value* place) { return e.ir.CreateICmpULT(place, end); });
    };
    Value* second = add_piece(chain.first, chain.piece_end);
    e.when(is_place(second), [&] {
      std::vector<llvm::AllocaInst*> values;
      for (auto [reduce, sum] : sums) values.push_back(sum);
      PartialSums partial(e, values, batch_pieces.levels);
      partial.clear();
      llvm::AllocaInst* finished = e.slot(e.ir.getInt64Ty(), "piece");
      e.ir.CreateStore(piece_of(chain.first), finished);
      follow(second, [&](Value* begin) {
        Value *number = e.ir.CreateLoad(e.ir.getInt64Ty(), finished), *next = piece_of(begin);
        partial.push(number, next);
        e.ir.CreateStore(next, finished);
        begin_sums(sums);
        return add_piece(begin, end_of_piece(begin));
      }, [&](Value* next) { return is_place(next); });
      partial.close_with_last();
    }, true);
  }
};

}  // namespace

void emit_link(Emitter& e, const Instruction& i, Point& point) {
  ChainMemory chains(e, i.access.buffer, i.extent.size);
  const ChainLayout& part = chains.layout;
  Value* place = e.i64(0);
  for (size_t axis = 0; axis < i.access.strides.size(); ++axis)
    if (i.access.strides[axis] != 0) place = e.ir.CreateAdd(place, e.ir.CreateNSWMul(point.index[axis], e.i64(i.access.strides[axis])));
  Value* narrow = e.ir.CreateTrunc(place, e.ir.getInt32Ty());
  Value* value = point.value(i.operands[0]);
  Value* entry = chains.wide(value);
  Value* count = e.ir.CreateSelect(e.ir.CreateICmpEQ(place, e.i64(0)), e.i64(0), chains.count());
  const ChainMemory::Slot slot = chains.find(entry, count);
  e.when(slot.is_named, [&] { chains.write(part.next(), chains.wide(chains.read(part.last(), slot.number)), narrow); });
  Value* here = e.ir.CreateSelect(slot.is_named, slot.number, count);
  e.when(e.ir.CreateNot(slot.is_named), [&] {
    chains.write(part.slot(), entry, e.ir.CreateTrunc(here, e.ir.getInt32Ty()));
    chains.write(part.touched(), here, value);
    chains.write(part.first(), here, narrow);
  });
  chains.write(part.last(), here, narrow);
  chains.write(part.next(), place, e.ir.getInt32(uint32_t(-1)));
  Value* more = e.ir.CreateAdd(count, e.ir.CreateZExt(e.ir.CreateNot(slot.is_named), e.ir.getInt64Ty()));
  chains.write(part.count(), e.i64(0), e.ir.CreateTrunc(more, e.ir.getInt32Ty()));
}

bool walks_chains(const MapKernel& map) { return find_linked(map) != nullptr; }

int64_t chain_walk_pieces(const Emitter&, const Kernel& kernel) {
  if (!kernel.parallel) return 1;
  constexpr double enough = 16384;  // iterations_of_piece
  constexpr int64_t most = 64;
  const double pieces = std::ceil((kernel.flops + kernel.bytes) / enough);
  return std::clamp(pieces < double(most) ? int64_t(pieces) : most, int64_t(1), most);
}

void emit_chain_walk(Emitter& e, const Kernel& kernel) { WalkEmitter(e, kernel).emit(); }

}  // namespace nnc
