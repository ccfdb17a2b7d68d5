// A tree as a binary counter: the trailing one bits of the number of what is finished say which levels it takes up. The loops over levels are rolled, and what
// waits stands in memory, so that the code does not grow with the number of terms.
#include "codegen/partial_sums.h"

#include <llvm/IR/Intrinsics.h>

#include <algorithm>
#include <bit>

#include "codegen/llvm_versions.h"

namespace nnc {

using llvm::Value;

InnerChains inner_chains(const MapKernel& map, PlannedRows rows, int64_t side_by_side) {
  const int first = map.outer, last = int(map.axes.size()) - 1;
  auto extent_of = [&](int axis) { return map.axes[size_t(axis)].extent; };
  // The outermost axis one iteration of which has no more terms than a chain may have.
  int64_t terms = 1;  // of one accumulator, in one iteration of `axis`
  int axis = last;
  for (; axis > first; --axis) {
    int64_t more = extent_of(axis).at(rows.most);
    if (axis == last) more = (more + side_by_side - 1) / side_by_side;
    if (terms * more > reduction_chain) break;
    terms *= std::max<int64_t>(more, 1);
  }
  const int64_t step = axis == last ? side_by_side : 1;
  const SumOrder order = sum_order(axis == first ? extent_of(first) : Extent{extent_of(axis).at(rows.most), false}, rows, reduction_chain / terms * step, step);
  if (order.chain_levels() == 0 && axis == first) return {};
  int64_t chains = order.per_piece;
  for (int outside = first; outside < axis; ++outside)
    chains *= outside == first ? piece_order(extent_of(outside), rows).piece : extent_of(outside).at(rows.most);
  return {axis, order, int(std::bit_width(uint64_t(std::max<int64_t>(chains, 1))))};
}

Value* trailing_ones(Emitter& e, Value* number) {
  Value* next = e.ir.CreateAdd(number, e.i64(1));
  return e.ir.CreateAnd(number, e.ir.CreateNot(next));
}

void for_each_level(Emitter& e, Value* mask, llvm::function_ref<void(Value*)> body) {
  llvm::AllocaInst* left = e.slot(e.ir.getInt64Ty(), "levels");
  e.ir.CreateStore(mask, left);
  e.when(e.ir.CreateICmpNE(mask, e.i64(0)), [&] {
    llvm::Function* f = e.ir.GetInsertBlock()->getParent();
    auto* head = llvm::BasicBlock::Create(e.context, "level", f);
    auto* done = llvm::BasicBlock::Create(e.context, "levels.done", f);
    e.ir.CreateBr(head);
    e.ir.SetInsertPoint(head);
    Value* now = e.ir.CreateLoad(e.ir.getInt64Ty(), left);
    body(e.ir.CreateIntrinsic(llvm::Intrinsic::cttz, {e.ir.getInt64Ty()}, {now, e.ir.getTrue()}));
    Value* rest = e.ir.CreateAnd(now, e.ir.CreateSub(now, e.i64(1)));
    e.ir.CreateStore(rest, left);
    e.ir.CreateCondBr(e.ir.CreateICmpNE(rest, e.i64(0)), head, done);
    done->moveAfter(e.ir.GetInsertBlock());
    e.ir.SetInsertPoint(done);
  });
}

ChainNumbers::ChainNumbers(Emitter& e, const SumOrder& order, Value* extent) : e_(e), order_(order), extent_(extent) {
  last_ = e.i64(0);
  if (order.chains(order.length) > 1) {
    Value* before = e.ir.CreateSub(extent, e.i64(1));
    if (order.piece_levels() == 0) {
      last_ = e.ir.CreateUDiv(before, e.i64(order.chain));
    } else {
      Value* whole = e.ir.CreateMul(e.ir.CreateUDiv(before, e.i64(order.piece)), e.i64(order.per_piece));
      last_ = e.ir.CreateAdd(whole, e.ir.CreateUDiv(e.ir.CreateURem(before, e.i64(order.piece)), e.i64(order.chain)));
    }
  }
  count_ = e.ir.CreateAdd(last_, e.i64(1));
}

Value* ChainNumbers::begin(Value* number) {
  if (order_.piece_levels() == 0 || order_.per_piece == 1) return e_.ir.CreateMul(number, e_.i64(order_.chain));
  Value* piece = e_.ir.CreateMul(e_.ir.CreateUDiv(number, e_.i64(order_.per_piece)), e_.i64(order_.piece));
  return e_.ir.CreateAdd(piece, e_.ir.CreateMul(e_.ir.CreateURem(number, e_.i64(order_.per_piece)), e_.i64(order_.chain)));
}

Value* ChainNumbers::end(Value* number) {
  Value* next = e_.ir.CreateAdd(number, e_.i64(1));
  return e_.ir.CreateSelect(e_.ir.CreateICmpEQ(number, last_), extent_, begin(next));
}

ChainJoin ChainNumbers::join(Value* number, Value* is_last) {
  auto ones = [&](Value* mask) -> Value* { return e_.ir.CreateIntrinsic(llvm::Intrinsic::ctpop, {e_.ir.getInt64Ty()}, {mask}); };
  Value* all = number;
  Value* mask = trailing_ones(e_, number);
  Value* level = ones(mask);
  if (order_.chain_levels() > 0 && order_.piece_levels() > 0) {
    // The bits of the chain within its piece, and above them those of the piece.
    const int bits = order_.chain_levels();
    Value *chain = e_.ir.CreateURem(number, e_.i64(order_.per_piece)), *piece = e_.ir.CreateUDiv(number, e_.i64(order_.per_piece));
    Value *of_chain = trailing_ones(e_, chain), *of_piece = trailing_ones(e_, piece);
    Value* ends_piece = e_.ir.CreateICmpEQ(chain, e_.i64(order_.per_piece - 1));
    all = e_.ir.CreateOr(chain, e_.ir.CreateShl(piece, uint64_t(bits)));
    mask = e_.ir.CreateSelect(ends_piece, e_.ir.CreateOr(chain, e_.ir.CreateShl(of_piece, uint64_t(bits))), of_chain);
    level = e_.ir.CreateSelect(ends_piece, e_.ir.CreateAdd(ones(of_piece), e_.i64(bits)), ones(of_chain));
  }
  return {e_.ir.CreateSelect(is_last, all, mask), level};
}

PartialSums::PartialSums(Emitter& e, std::vector<llvm::AllocaInst*> values, int levels) : e_(e), values_(std::move(values)) {
  for (llvm::AllocaInst* value : values_)
    waiting_.push_back(e.slot(llvm::ArrayType::get(value->getAllocatedType(), uint64_t(levels)), "waiting"));
  waits_ = e.slot(e.ir.getInt64Ty(), "waits");
}

void PartialSums::clear() { e_.ir.CreateStore(e_.i64(0), waits_); }

void PartialSums::push() {
  Value* number = e_.ir.CreateLoad(e_.ir.getInt64Ty(), waits_);
  Value* mask = trailing_ones(e_, number);
  take_up(mask);
  put(e_.ir.CreateIntrinsic(llvm::Intrinsic::ctpop, {e_.ir.getInt64Ty()}, {mask}));
  e_.ir.CreateStore(e_.ir.CreateAdd(number, e_.i64(1)), waits_);
}

void PartialSums::push(Value* number, Value* next) {
  // Counting from `number` to `next`, a carry goes through all bits below the highest that changes, and stays there.
  Value* changed = e_.ir.CreateXor(number, next);
  Value* zeros = e_.ir.CreateIntrinsic(llvm::Intrinsic::ctlz, {e_.ir.getInt64Ty()}, {changed, e_.ir.getTrue()});
  Value* level = e_.ir.CreateSub(e_.i64(63), zeros);
  Value* bit = e_.ir.CreateShl(e_.i64(1), level);
  Value* waits = e_.ir.CreateLoad(e_.ir.getInt64Ty(), waits_);
  Value* below = e_.ir.CreateAnd(waits, e_.ir.CreateSub(bit, e_.i64(1)));
  take_up(below);
  put(level);
  e_.ir.CreateStore(e_.ir.CreateOr(e_.ir.CreateXor(waits, below), bit), waits_);
}

void PartialSums::close() {
  for (llvm::AllocaInst* value : values_) e_.ir.CreateStore(llvm::Constant::getNullValue(value->getAllocatedType()), value);
  close_with_last();
}

void PartialSums::close_with_last() { take_up(e_.ir.CreateLoad(e_.ir.getInt64Ty(), waits_)); }

void PartialSums::put(Value* level) {
  for (size_t i = 0; i < values_.size(); ++i) {
    Value* sum = e_.ir.CreateLoad(values_[i]->getAllocatedType(), values_[i]);
    e_.ir.CreateStore(sum, place(i, level));
  }
}

void PartialSums::take_up(Value* mask) {
  for_each_level(e_, mask, [&](Value* level) {
    for (size_t i = 0; i < values_.size(); ++i) {
      llvm::Type* type = values_[i]->getAllocatedType();
      Value* sum = e_.ir.CreateFAdd(e_.ir.CreateLoad(type, place(i, level)), e_.ir.CreateLoad(type, values_[i]));
      e_.ir.CreateStore(sum, values_[i]);
    }
  });
}

Value* PartialSums::place(size_t value, Value* level) {
  return e_.ir.CreateInBoundsGEP(values_[value]->getAllocatedType(), waiting_[value], level);
}

}  // namespace nnc
