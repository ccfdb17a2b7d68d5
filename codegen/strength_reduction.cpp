// Strength reduction: counters of innermost loops, the products made of them, and a carried value for each pair of counter and factor. (i + d) * c is the carried i * c plus d * c, which
// is computed before the loop: loads at several distances share one carried value.
#include "codegen/strength_reduction.h"

#include <llvm/ADT/DenseMap.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/PatternMatch.h>

namespace nnc {
namespace {

using llvm::Value;

/// More carried values than this would cost more registers than their products cost time.
constexpr size_t most_carried = 6;
/// The largest shift that an x86 address does by itself.
constexpr uint64_t address_shift = 3;

/// `counter` + `distance` (none: 0), times `factor`.
struct Product {
  llvm::Instruction* at = nullptr;
  llvm::PHINode* counter = nullptr;
  Value *distance = nullptr, *factor = nullptr;
};

class LoopReduction {
 public:
  explicit LoopReduction(llvm::Loop& loop)
      : loop_(loop), before_(loop.getLoopPreheader()), latch_(loop.getLoopLatch()), ir_(loop.getHeader()->getContext()) {}

  bool run() {
    if (!before_ || !latch_) return false;
    std::vector<Product> products;
    for (llvm::BasicBlock* block : loop_.blocks())
      for (llvm::Instruction& i : *block)
        if (Product p = product(i); p.at) products.push_back(p);
    bool changed = false;
    for (const Product& p : products) changed |= replace(p);
    return changed;
  }

 private:
  /// What a counter grows by in a round; null if this is no counter.
  Value* step(const llvm::PHINode& phi) const {
    using namespace llvm::PatternMatch;
    Value* by = nullptr;
    if (phi.getParent() != loop_.getHeader() || !match(phi.getIncomingValueForBlock(latch_), m_c_Add(m_Specific(&phi), m_Value(by)))) return nullptr;
    return loop_.isLoopInvariant(by) ? by : nullptr;
  }

  Product product(llvm::Instruction& i) const {
    using namespace llvm::PatternMatch;
    if (!i.getType()->isIntegerTy()) return {};
    Value *x = nullptr, *factor = nullptr;
    uint64_t shift = 0;
    if (match(&i, m_Shl(m_Value(x), m_ConstantInt(shift))) && shift > address_shift)
      factor = llvm::ConstantInt::get(i.getType(), uint64_t(1) << shift);
    else if (!match(&i, m_Mul(m_Value(x), m_Value(factor))))
      return {};
    if (loop_.isLoopInvariant(x)) std::swap(x, factor);
    if (!loop_.isLoopInvariant(factor)) return {};
    Product p{&i, llvm::dyn_cast<llvm::PHINode>(x), nullptr, factor};
    if (Value *a = nullptr, *b = nullptr; !p.counter && match(x, m_Add(m_Value(a), m_Value(b)))) {
      if (loop_.isLoopInvariant(a)) std::swap(a, b);
      if (!loop_.isLoopInvariant(b)) return {};
      p.counter = llvm::dyn_cast<llvm::PHINode>(a);
      p.distance = b;
    }
    return p.counter && step(*p.counter) ? p : Product{};
  }

  bool replace(const Product& p) {
    llvm::PHINode* carried = carried_.lookup({p.counter, p.factor});
    if (!carried) {
      if (carried_.size() == most_carried) return false;
      ir_.SetInsertPoint(before_->getTerminator());
      Value* first = ir_.CreateMul(p.counter->getIncomingValueForBlock(before_), p.factor);
      Value* by = ir_.CreateMul(step(*p.counter), p.factor);
      ir_.SetInsertPoint(loop_.getHeader(), loop_.getHeader()->begin());
      carried = ir_.CreatePHI(p.at->getType(), 2);
      ir_.SetInsertPoint(latch_->getTerminator());
      carried->addIncoming(first, before_);
      carried->addIncoming(ir_.CreateAdd(carried, by), latch_);
      carried_.insert({{p.counter, p.factor}, carried});
    }
    Value* value = carried;
    if (p.distance) {
      ir_.SetInsertPoint(before_->getTerminator());
      Value* distance = ir_.CreateMul(p.distance, p.factor);
      ir_.SetInsertPoint(p.at);
      value = ir_.CreateAdd(carried, distance);
    }
    p.at->replaceAllUsesWith(value);
    p.at->eraseFromParent();
    return true;
  }

  llvm::Loop& loop_;
  llvm::BasicBlock *before_, *latch_;
  llvm::IRBuilder<> ir_;
  llvm::DenseMap<std::pair<llvm::PHINode*, Value*>, llvm::PHINode*> carried_;
};

}  // namespace

llvm::PreservedAnalyses StrengthReduction::run(llvm::Function& function, llvm::FunctionAnalysisManager& analyses) {
  bool changed = false;
  for (llvm::Loop* loop : analyses.getResult<llvm::LoopAnalysis>(function).getLoopsInPreorder())
    if (loop->isInnermost()) changed |= LoopReduction(*loop).run();
  if (!changed) return llvm::PreservedAnalyses::all();
  llvm::PreservedAnalyses preserved;
  preserved.preserveSet<llvm::CFGAnalyses>();
  return preserved;
}

}  // namespace nnc
