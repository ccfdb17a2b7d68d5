// The trees that join chains and pieces of a sum (ir/sum_order.h), in generated code: partial sums wait in memory, one place a level.
#pragma once

#include "codegen/emitter.h"
#include "ir/sum_order.h"

namespace nnc {

/// Where the sums of a map kernel's inner loops are cut into chains.
struct InnerChains {
  int axis = -1;     ///< along which; -1: no sum has more than one chain
  SumOrder order;    ///< along the axis; pieces in it only where it is the first inner axis
  int levels = 0;    ///< of the tree that joins the chains of a piece
};
/// `side_by_side`: indices of the last axis that accumulators take at once.
InnerChains inner_chains(const MapKernel&, PlannedRows rows, int64_t side_by_side);

/// i64: the trailing one bits of an i64. Their number is the level at which what is finished as `number` waits.
llvm::Value* trailing_ones(Emitter&, llvm::Value* number);

/// body(level), rolled, for each bit that is set in `mask` (i64), lowest first.
void for_each_level(Emitter&, llvm::Value* mask, llvm::function_ref<void(llvm::Value* level)> body);

/// What a finished chain takes up, and the level at which it waits then. Values of i64.
struct ChainJoin {
  llvm::Value *mask, *level;
};

/// Where the chains of a sum over `extent` indices (at least one, at most `order.length`) begin and end, and what each joins. All values are i64, `number` one below count().
class ChainNumbers {
 public:
  ChainNumbers(Emitter&, const SumOrder& order, llvm::Value* extent);
  llvm::Value* count() const { return count_; }
  llvm::Value* last() const { return last_; }
  llvm::Value* begin(llvm::Value* number);
  llvm::Value* end(llvm::Value* number);
  ChainJoin join(llvm::Value* number, llvm::Value* is_last);  ///< the last takes up all that waits

 private:
  Emitter& e_;
  SumOrder order_;
  llvm::Value *extent_, *count_, *last_;
};

/// One tree over values of one kind in stack memory of the kernel's function. All values of a tree are pushed and closed together.
class PartialSums {
 public:
  /// `values`: the slots that hold what is summed; at most `levels` of each wait.
  PartialSums(Emitter&, std::vector<llvm::AllocaInst*> values, int levels);
  void clear();  ///< nothing has been pushed
  void push();   ///< the values of the slots are finished; what the slots hold afterwards is of no use
  /// The same for who passes over what is 0: they are finished as `number`, and all up to `next` (i64, greater) is 0. All values of a tree are pushed so, or none.
  void push(llvm::Value* number, llvm::Value* next);
  void close();            ///< sets the slots to the sums of all that was pushed, 0 if nothing was
  void close_with_last();  ///< the slots hold the last values, which are not pushed: they become the sums of all

 private:
  llvm::Value* place(size_t value, llvm::Value* level);
  void take_up(llvm::Value* mask);
  void put(llvm::Value* level);
  Emitter& e_;
  std::vector<llvm::AllocaInst*> values_;
  std::vector<llvm::AllocaInst*> waiting_;
  llvm::AllocaInst* waits_;  ///< i64: at which levels something waits; the bits of how many were pushed, where nothing was passed over
};

}  // namespace nnc
