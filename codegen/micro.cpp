// A register tile keeps rows x vectors accumulators in registers while k advances: each step loads the vectors of b once,
// broadcasts each row's element of a once and does rows * vectors independent FMAs (K. Goto, R. van de Geijn, "Anatomy of
// high-performance matrix multiplication", 2008). The loop over k stays rolled: unrolled, LLVM's scheduler hoists loads over the
// accumulators and spills. Where k is several axes that do not lie one after the other in memory (the taps and channels of a convolution), a second loop goes over
// the runs, and the accumulators stay where they are (E. Georganas et al., "Harnessing deep learning via a single building block", 2020: the batch-reduce product).
//
// A transpose of R vectors with L lanes is log2(R) perfect shuffles: interleaving the first half of the concatenated vectors with
// the second rotates the bits of an element's index by one; after log2(R) rotations the row's bits have moved below the column's.
//
// A window that goes past the ends of its operand leaves terms out of the sum, and zeros are not multiplied: of the axes of k that a guard is about a tile walks a
// part, whose bounds are the same for all its rows and columns.
#include "codegen/micro.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <llvm/IR/Module.h>

#include "base/check.h"

namespace nnc {
namespace {

llvm::MDNode* keep_rolled(llvm::LLVMContext& context) {
  auto property = [&](const char* name) { return llvm::MDNode::get(context, llvm::MDString::get(context, name)); };
  llvm::Metadata* parts[] = {nullptr, property("llvm.loop.unroll.disable")};
  llvm::MDNode* loop = llvm::MDNode::getDistinct(context, parts);
  loop->replaceOperandWith(0, loop);
  return loop;
}

}  // namespace

std::vector<llvm::Value*> emit_tile(Emitter& e, const TileShape& shape, const TilePlace& place) {
  auto& ir = e.ir;
  const int count = shape.rows * shape.vectors;
  const int64_t vector_bytes = int64_t(e.lanes) * contraction_bytes;
  auto* vector_type = llvm::FixedVectorType::get(ir.getFloatTy(), unsigned(e.lanes));
  llvm::Value* zero = llvm::ConstantAggregateZero::get(vector_type);
  llvm::Function* function = ir.GetInsertBlock()->getParent();
  const llvm::Align b_align(place.aligned_b ? uint64_t(vector_bytes) : 4);
  auto c_address = [&](int row, int v) { return e.offset_pointer(place.c, row * shape.c_row + v * vector_bytes); };

  auto reads = [&](llvm::Instruction* load, BufferId buffer) {
    if (place.annotate) e.annotate(load, buffer);
    return load;
  };

  std::vector<llvm::Value*> start(size_t(count), zero);
  if (place.resume) {
    llvm::BasicBlock* before = ir.GetInsertBlock();
    auto* reload = llvm::BasicBlock::Create(e.context, "reload", function);
    auto* ready = llvm::BasicBlock::Create(e.context, "ready", function);
    ir.CreateCondBr(place.resume, reload, ready);
    ir.SetInsertPoint(reload);
    std::vector<llvm::Value*> saved;
    for (int row = 0; row < shape.rows; ++row)
      for (int v = 0; v < shape.vectors; ++v)
        saved.push_back(reads(ir.CreateAlignedLoad(vector_type, c_address(row, v), llvm::Align(uint64_t(vector_bytes))), {}));
    ir.CreateBr(ready);
    ir.SetInsertPoint(ready);
    for (int i = 0; i < count; ++i) {
      llvm::PHINode* phi = ir.CreatePHI(vector_type, 2);
      phi->addIncoming(zero, before);
      phi->addIncoming(saved[size_t(i)], reload);
      start[size_t(i)] = phi;
    }
  }
  llvm::Value* mask = shape.masked ? e.lane_mask(place.active, e.lanes) : nullptr;

  // `count` steps at a and b, from `sums`, which become the new ones: a rolled loop, or one after the other.
  auto one_step = [&](llvm::Value* a, llvm::Value* b, const std::vector<llvm::Value*>& sums) {
    std::vector<llvm::Value*> columns;
    for (int v = 0; v < shape.vectors; ++v) {
      llvm::Value* address = e.offset_pointer(b, v * vector_bytes);
      if (mask && v == shape.vectors - 1)
        columns.push_back(reads(ir.CreateMaskedLoad(vector_type, address, llvm::Align(4), mask, zero), place.b_buffer));
      else
        columns.push_back(reads(ir.CreateAlignedLoad(vector_type, address, b_align), place.b_buffer));
    }
    std::vector<llvm::Value*> next;
    for (int row = 0; row < shape.rows; ++row) {
      llvm::Value* element =
          reads(ir.CreateAlignedLoad(ir.getFloatTy(), e.offset_pointer(a, row * shape.a_row), llvm::Align(4)), place.a_buffer);
      llvm::Value* everywhere = e.splat(element, e.lanes);
      for (int v = 0; v < shape.vectors; ++v) next.push_back(e.fma(everywhere, columns[size_t(v)], sums[next.size()]));
    }
    return next;
  };
  // What a loop carries, which begins as `first`, in the block before the loop.
  auto carried = [&](llvm::Value* first, llvm::BasicBlock* before) {
    llvm::PHINode* phi = ir.CreatePHI(first->getType(), 2);
    phi->addIncoming(first, before);
    return phi;
  };
  auto rolled = [&](llvm::Value* steps, llvm::Value* a_first, llvm::Value* b_first, std::vector<llvm::Value*>& values) {
    // Where b ends says when, instead of a counter; where b stands still, as a k of one step does, there is one.
    const bool by_b = shape.b_k != 0;
    llvm::Value* first = by_b ? b_first : e.i64(0);
    llvm::Value* end = by_b ? e.offset_pointer(b_first, ir.CreateMul(steps, e.i64(shape.b_k))) : steps;
    llvm::BasicBlock* before = ir.GetInsertBlock();
    auto* body = llvm::BasicBlock::Create(e.context, "k", function);
    auto* after = llvm::BasicBlock::Create(e.context, "k.done", function);
    ir.CreateBr(body);
    ir.SetInsertPoint(body);
    llvm::PHINode* a = carried(a_first, before);
    llvm::PHINode* at = carried(first, before);
    std::vector<llvm::PHINode*> sums;
    for (llvm::Value* value : values) sums.push_back(carried(value, before));
    std::vector<llvm::Value*> next = one_step(a, by_b ? at : b_first, {sums.begin(), sums.end()});
    llvm::Value* at_next = by_b ? e.offset_pointer(at, shape.b_k) : ir.CreateAdd(at, e.i64(1));
    a->addIncoming(e.offset_pointer(a, shape.a_k), body);
    at->addIncoming(at_next, body);
    for (int i = 0; i < count; ++i) sums[size_t(i)]->addIncoming(next[size_t(i)], body);
    llvm::BranchInst* branch = ir.CreateCondBr(ir.CreateICmpNE(at_next, end), body, after);
    branch->setMetadata(llvm::LLVMContext::MD_loop, keep_rolled(e.context));
    ir.SetInsertPoint(after);
    values = std::move(next);
  };
  const KRuns& runs = shape.runs;
  if (runs.length == 0) {
    rolled(place.k, place.a, place.b, start);
    return start;
  }

  // The loop over runs. Where all are whole, indices and addresses go on from run to run by adding, so that a run's first loads wait for nothing; else they are computed from the step.
  llvm::BasicBlock* before = ir.GetInsertBlock();
  auto* body = llvm::BasicBlock::Create(e.context, "run", function);
  auto* after = llvm::BasicBlock::Create(e.context, "runs.done", function);
  llvm::Value* end = ir.CreateAdd(place.k_first, place.k);
  const size_t axes = runs.extents.size();
  auto digits_at = [&](llvm::Value* step) {
    llvm::Value* number = ir.CreateUDiv(step, e.i64(runs.length));
    std::vector<llvm::Value*> digits(axes);
    for (size_t i = axes; i-- > 0;) {
      digits[i] = i == 0 ? number : ir.CreateURem(number, e.i64(runs.extents[i]));
      if (i > 0) number = ir.CreateUDiv(number, e.i64(runs.extents[i]));
    }
    return digits;
  };
  auto offset_of = [&](const std::vector<llvm::Value*>& digits, const std::vector<int64_t>& strides) {
    llvm::Value* offset = e.i64(0);
    for (size_t i = 0; i < strides.size(); ++i) offset = ir.CreateAdd(offset, ir.CreateMul(digits[i], e.i64(strides[i])));
    return offset;
  };
  std::vector<llvm::Value*> digits;  // of the run
  llvm::Value *a_run = nullptr, *b_run = nullptr;  // addresses at a whole run's first step
  if (runs.whole) {
    digits = digits_at(place.k_first);
    a_run = e.offset_pointer(place.a, offset_of(digits, runs.a));
    b_run = e.offset_pointer(place.b, offset_of(digits, runs.b));
  }
  ir.CreateBr(body);
  ir.SetInsertPoint(body);
  std::vector<std::pair<llvm::PHINode*, llvm::Value*>> ends;  // what is carried, and what it is after a run
  llvm::PHINode* at = carried(place.k_first, before);
  std::vector<llvm::PHINode*> sums;
  for (llvm::Value* first : start) sums.push_back(carried(first, before));
  llvm::Value* within = nullptr;
  llvm::Value* steps = e.i64(runs.length);
  if (runs.whole) {
    std::vector<llvm::PHINode*> now;
    for (llvm::Value* first : digits) now.push_back(carried(first, before));
    llvm::PHINode *a_now = carried(a_run, before), *b_now = carried(b_run, before);
    // An index goes on where all faster ones begin anew.
    std::vector<llvm::Value*> goes_on(axes, ir.getTrue());
    for (size_t i = axes; i-- > 0;) {
      llvm::Value* more = ir.CreateAdd(now[i], e.i64(1));
      llvm::Value* anew = i == 0 ? ir.getFalse() : ir.CreateAnd(goes_on[i], ir.CreateICmpEQ(more, e.i64(runs.extents[i])));
      if (i > 0) goes_on[i - 1] = anew;
      ends.emplace_back(now[i], ir.CreateSelect(anew, e.i64(0), ir.CreateSelect(goes_on[i], more, now[i])));
    }
    auto after_run = [&](llvm::PHINode* address, const std::vector<int64_t>& strides, int64_t step) {
      llvm::Value* by = e.i64(runs.length * step);
      int64_t back = 0;  // of the faster axes, from their last index to their first
      for (size_t i = strides.size(); i-- > 0;) {
        by = i + 1 == strides.size() ? e.i64(strides[i]) : ir.CreateSelect(goes_on[i], e.i64(strides[i] - back), by);
        back += (runs.extents[i] - 1) * strides[i];
      }
      return e.offset_pointer(address, by);
    };
    ends.emplace_back(a_now, after_run(a_now, runs.a, shape.a_k));
    ends.emplace_back(b_now, after_run(b_now, runs.b, shape.b_k));
    digits.assign(now.begin(), now.end());
    a_run = a_now;
    b_run = b_now;
  } else {
    digits = digits_at(at);
    within = ir.CreateURem(at, e.i64(runs.length));
    steps = e.minimum_index(ir.CreateSub(steps, within), ir.CreateSub(end, at));
  }
  llvm::Value *next = ir.CreateAdd(at, steps), *first_step = at;
  // What is left out: runs by a branch, steps at a run's ends.
  llvm::Value* inside = nullptr;
  auto require = [&](llvm::Value* condition) { inside = inside ? ir.CreateAnd(inside, condition) : condition; };
  for (size_t i = 0; i < runs.bounded.size(); ++i) {
    const auto [low, high] = place.bounds[i];
    if (const size_t axis = runs.bounded[i]; axis < axes) {
      require(ir.CreateICmpULT(ir.CreateSub(digits[axis], low), ir.CreateSub(high, low)));
      continue;
    }
    llvm::Value* from = within ? within : e.i64(0);
    within = e.maximum_index(from, low);
    steps = ir.CreateSub(e.minimum_index(ir.CreateAdd(from, steps), high), within);
    first_step = ir.CreateAdd(at, ir.CreateSub(within, from));
    require(ir.CreateICmpSGT(steps, e.i64(0)));
  }
  std::vector<llvm::Value*> values(sums.begin(), sums.end());
  llvm::BasicBlock *tested = nullptr, *rest = nullptr;
  if (inside) {
    auto* taken = llvm::BasicBlock::Create(e.context, "inside", function);
    rest = llvm::BasicBlock::Create(e.context, "run.done", function);
    ir.CreateCondBr(inside, taken, rest);
    tested = ir.GetInsertBlock();
    ir.SetInsertPoint(taken);
  }
  auto pointer = [&](llvm::Value* base, llvm::Value* run, const std::vector<int64_t>& strides, int64_t step) {
    if (run) return within ? e.offset_pointer(run, ir.CreateMul(within, e.i64(step))) : run;
    if (strides.empty()) return e.offset_pointer(base, ir.CreateMul(ir.CreateSub(first_step, place.k_first), e.i64(step)));
    return e.offset_pointer(base, ir.CreateAdd(ir.CreateMul(within, e.i64(step)), offset_of(digits, strides)));
  };
  llvm::Value *a = pointer(place.a, a_run, runs.a, shape.a_k), *b = pointer(place.b, b_run, runs.b, shape.b_k);
  constexpr int64_t shortest_loop = 8;  // the exit of a shorter one costs more than its steps
  if (!within && runs.length < shortest_loop) {
    for (int64_t step = 0; step < runs.length; ++step)
      values = one_step(e.offset_pointer(a, step * shape.a_k), e.offset_pointer(b, step * shape.b_k), values);
  } else {
    rolled(steps, a, b, values);
  }
  if (inside) {
    llvm::BasicBlock* done = ir.GetInsertBlock();
    ir.CreateBr(rest);
    ir.SetInsertPoint(rest);
    for (int i = 0; i < count; ++i) {
      llvm::PHINode* phi = ir.CreatePHI(vector_type, 2);
      phi->addIncoming(sums[size_t(i)], tested);
      phi->addIncoming(values[size_t(i)], done);
      values[size_t(i)] = phi;
    }
  }
  ends.emplace_back(at, next);
  for (const auto& [phi, value] : ends) phi->addIncoming(value, ir.GetInsertBlock());
  for (int i = 0; i < count; ++i) sums[size_t(i)]->addIncoming(values[size_t(i)], ir.GetInsertBlock());
  llvm::BranchInst* branch = ir.CreateCondBr(ir.CreateICmpSLT(next, end), body, after);
  branch->setMetadata(llvm::LLVMContext::MD_loop, keep_rolled(e.context));
  ir.SetInsertPoint(after);
  return values;
}

static std::string text_of(const KRuns& runs) {
  if (runs.length == 0) return "";
  return fmt::format(".r{}{}_{}_{}_{}_{}", runs.length, runs.whole ? "w" : "", fmt::join(runs.extents, "x"), fmt::join(runs.a, "x"), fmt::join(runs.b, "x"),
                     fmt::join(runs.bounded, "x"));
}

llvm::Function* tile_function(Emitter& e, const TileShape& shape, bool aligned_b) {
  std::string name = fmt::format("nnc.tile.{}x{}.a{}_{}.b{}{}.c{}{}{}", shape.rows, shape.vectors, shape.a_row, shape.a_k,
                                 shape.b_k, aligned_b ? "p" : "", shape.c_row, shape.masked ? ".masked" : "", text_of(shape.runs));
  if (llvm::Function* made = e.module.getFunction(name)) return made;
  auto& ir = e.ir;
  llvm::IRBuilderBase::InsertPointGuard guard(ir);
  llvm::Type* pointer = ir.getPtrTy();
  llvm::Type* index = ir.getInt64Ty();
  std::vector<llvm::Type*> arguments{pointer, pointer, pointer, index, index, ir.getInt1Ty(), index};
  arguments.insert(arguments.end(), 2 * shape.runs.bounded.size(), index);
  auto* type = llvm::FunctionType::get(ir.getVoidTy(), arguments, false);
  auto* function = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage, name, e.module);
  // The target's attributes are those of the kernel being emitted.
  function->setAttributes(llvm::AttributeList::get(e.context, e.function->getAttributes().getFnAttrs(), {}, {}));
  function->setCallingConv(e.function->getCallingConv());
  function->addFnAttr(llvm::Attribute::NoInline);
  ir.SetInsertPoint(llvm::BasicBlock::Create(e.context, "entry", function));
  ir.SetCurrentDebugLocation({});
  TilePlace place;
  place.a = function->getArg(0);
  place.b = function->getArg(1);
  place.c = function->getArg(2);
  place.k = function->getArg(3);
  place.k_first = function->getArg(4);
  place.resume = function->getArg(5);
  place.active = function->getArg(6);
  for (unsigned i = 7; i < arguments.size(); i += 2) place.bounds.emplace_back(function->getArg(i), function->getArg(i + 1));
  place.aligned_b = aligned_b;
  std::vector<llvm::Value*> sums = emit_tile(e, shape, place);
  const int64_t vector_bytes = int64_t(e.lanes) * contraction_bytes;
  for (int row = 0; row < shape.rows; ++row)
    for (int v = 0; v < shape.vectors; ++v)
      ir.CreateAlignedStore(sums[size_t(row * shape.vectors + v)],
                            e.offset_pointer(place.c, row * shape.c_row + v * vector_bytes), llvm::Align(uint64_t(vector_bytes)));
  ir.CreateRetVoid();
  return function;
}

std::vector<llvm::Value*> emit_transpose(Emitter& e, std::vector<llvm::Value*> rows) {
  const size_t count = rows.size();
  const unsigned lanes = llvm::cast<llvm::FixedVectorType>(rows[0]->getType())->getNumElements();
  NNC_CHECK((count & (count - 1)) == 0 && count <= lanes, "transpose of a number of rows that is no power of two");
  std::vector<int> low, high;
  for (unsigned l = 0; l < lanes / 2; ++l) {
    low.insert(low.end(), {int(l), int(lanes + l)});
    high.insert(high.end(), {int(lanes / 2 + l), int(lanes + lanes / 2 + l)});
  }
  for (size_t done = 1; done < count; done *= 2) {
    std::vector<llvm::Value*> next;
    for (size_t i = 0; i < count / 2; ++i) {
      next.push_back(e.ir.CreateShuffleVector(rows[i], rows[i + count / 2], low));
      next.push_back(e.ir.CreateShuffleVector(rows[i], rows[i + count / 2], high));
    }
    rows = std::move(next);
  }
  return rows;
}

}  // namespace nnc
