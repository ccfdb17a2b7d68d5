// The step function: what runs between kernels. It is a loop over a table of kernels: the function of each, which equal kernels share, and where it works
// (sharing.h). A region is a loop around the loop over its kernels; they are told the round. Two bodies, chosen by the size of the team:
//   alone   for each step: kernels one after the other, each with all its pieces in one call
//   team    a parallel kernel's pieces are claimed from the team's ticket; the kernels between two barriers share one run of
//   tickets (a kernel's
//           pieces are the tickets from the sum of the pieces before it), so that the ticket is only ever reset at a barrier, by
//           the last to arrive
// Barriers are sense-reversing ones: the phase counts completed barriers; the last to arrive resets count and ticket and then
// advances the phase. Waiting is a bounded spin, then context->wait. The barrier at a step's start also carries the decision to
// stop: the last to arrive reads the stop flag and sets the ticket to `stopped`, so that all threads leave at the same step. A
// last barrier makes the return of any thread the end of all work.
#include "codegen/step.h"

#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/TargetParser/Triple.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>

#include "base/check.h"
#include "codegen/contract.h"
#include "codegen/llvm_versions.h"
#include "codegen/machine.h"
#include "codegen/map.h"
#include "ir/kernel_code.h"
#include "ir/program_regions.h"
#include "runtime/step_abi.h"

namespace nnc {

using llvm::AtomicOrdering;
using llvm::BasicBlock;
using llvm::Value;

namespace {

constexpr int64_t stopped = int64_t(1) << 62;
constexpr int spins = 2000;  // pauses before a waiting thread gives up its processor: some 30 to 100 microseconds

class StepEmitter {
 public:
  StepEmitter(Emitter& e, const KernelSharing& sharing, const std::vector<llvm::Function*>& functions, std::vector<size_t> segments)
      : e(e), ir(e.ir), sharing(sharing), functions(functions), segments(std::move(segments)) {}

  void emit() {
    barrier = emit_barrier();
    emit_table();
    const size_t kernels = e.program.kernels.size();
    emit_run(0, kernels, "");
    if (segments.size() == 1) return;
    segments.push_back(kernels);
    for (size_t s = 0; s + 1 < segments.size(); ++s) emit_run(segments[s], segments[s + 1], fmt::format(".{}", s));
  }

 private:
  /// What runs kernels `begin` to `end`.
  void emit_run(size_t begin, size_t end, const std::string& suffix) {
    llvm::Function* alone = emit_body(false, begin, end, suffix);
    llvm::Function* team = emit_body(true, begin, end, suffix);
    auto* pointer = ir.getPtrTy();
    auto* type = llvm::FunctionType::get(ir.getVoidTy(), {pointer, ir.getInt32Ty(), ir.getInt64Ty()}, false);
    auto* run = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, "run" + suffix, e.module);
    run->addFnAttr(llvm::Attribute::NoUnwind);
    run->addFnAttr("no-builtins");
    auto* many = BasicBlock::Create(e.context, "many", run);
    auto* one = BasicBlock::Create(e.context, "one", run);
    auto* check = BasicBlock::Create(e.context, "check", run, many);
    auto* entry = BasicBlock::Create(e.context, "entry", run, check);
    ir.SetInsertPoint(entry);
    Value* members = load(pointer, run->getArg(0), offsetof(NncContext, team));
    ir.CreateCondBr(ir.CreateIsNull(members), one, check);
    ir.SetInsertPoint(check);
    Value* size = load(ir.getInt32Ty(), members, offsetof(NncTeam, size));
    ir.CreateCondBr(ir.CreateICmpSLE(size, ir.getInt32(1)), one, many);
    ir.SetInsertPoint(many);
    ir.CreateCall(team, {run->getArg(0), run->getArg(1), run->getArg(2)});
    ir.CreateRetVoid();
    ir.SetInsertPoint(one);
    ir.CreateCall(alone, {run->getArg(0), run->getArg(1), run->getArg(2)});
    ir.CreateRetVoid();
  }

  Emitter& e;
  llvm::IRBuilder<>& ir;
  const KernelSharing& sharing;
  const std::vector<llvm::Function*>& functions;
  std::vector<size_t> segments;
  llvm::Function* barrier = nullptr;
  struct Entry {  // of the table, for its layout
    void *function, *places;
    int32_t flags;
  };
  llvm::GlobalVariable* table = nullptr;
  llvm::FunctionType* kernel_type = nullptr;
  enum Flag { parallel = 1, barrier_before = 2 };

  void emit_table() {
    auto* pointer = ir.getPtrTy();
    kernel_type = e.kernel_type();
    auto* entry = llvm::StructType::get(e.context, {pointer, pointer, ir.getInt32Ty()});
    std::vector<llvm::Constant*> entries;
    for (size_t k = 0; k < e.program.kernels.size(); ++k) {
      const Kernel& kernel = e.program.kernels[k];
      const size_t function = sharing.function_of[k];
      llvm::Constant* places = sharing.functions[function].uses > 1 ? emit_places(kernel) : llvm::ConstantPointerNull::get(pointer);
      // The step begins with a barrier of its own.
      int flags = (kernel.parallel ? parallel : 0) | (kernel.barrier_before && (k > 0 || !e.program.regions.empty()) ? barrier_before : 0);
      entries.push_back(llvm::ConstantStruct::get(entry, {functions[function], places, ir.getInt32(uint32_t(flags))}));
    }
    auto* type = llvm::ArrayType::get(entry, entries.size());
    table = new llvm::GlobalVariable(e.module, type, true, llvm::GlobalValue::InternalLinkage,
                                     llvm::ConstantArray::get(type, entries), "nnc." + e.program.name + ".kernels");
  }

  llvm::Constant* emit_places(const Kernel& kernel) {
    const std::vector<int64_t> places = place_table(e.program, kernel);
    auto* numbers = llvm::ConstantDataArray::get(e.context, llvm::ArrayRef<uint64_t>(reinterpret_cast<const uint64_t*>(places.data()), places.size()));
    return new llvm::GlobalVariable(e.module, numbers->getType(), true, llvm::GlobalValue::InternalLinkage, numbers,
                                    "nnc." + e.program.name + "." + kernel.name + ".places");
  }

  Value* member(Value* base, size_t offset) { return e.offset_pointer(base, int64_t(offset)); }
  Value* load(llvm::Type* type, Value* base, size_t offset) { return ir.CreateLoad(type, member(base, offset)); }
  Value* load_atomic(llvm::Type* type, Value* base, size_t offset, AtomicOrdering order) {
    auto* value = ir.CreateLoad(type, member(base, offset));
    value->setAtomic(order);
    return value;
  }
  void store_atomic(Value* value, Value* base, size_t offset, AtomicOrdering order) {
    ir.CreateStore(value, member(base, offset))->setAtomic(order);
  }

  llvm::Function* internal_function(const std::string& name, llvm::ArrayRef<llvm::Type*> arguments) {
    auto* f = llvm::Function::Create(llvm::FunctionType::get(ir.getVoidTy(), arguments, false),
                                     llvm::GlobalValue::InternalLinkage, "nnc." + e.program.name + "." + name, e.module);
    f->addFnAttr(llvm::Attribute::NoUnwind);
    f->addFnAttr(llvm::Attribute::NoInline);
    f->addFnAttr("no-builtins");
    return f;
  }

  /// barrier(context, start): start is true at the start of a step.
  llvm::Function* emit_barrier() {
    auto* pointer = ir.getPtrTy();
    auto* i32 = ir.getInt32Ty();
    llvm::Function* f = internal_function("barrier", {pointer, ir.getInt1Ty()});
    Value *context = f->getArg(0), *start = f->getArg(1);
    auto block = [&](const char* name) { return BasicBlock::Create(e.context, name, f); };
    BasicBlock *entry = block("entry"), *last = block("last"), *wake = block("wake"), *spin = block("spin"),
               *again = block("again"), *wait = block("wait"), *done = block("done");
    ir.SetInsertPoint(entry);
    Value* team = load(pointer, context, offsetof(NncContext, team));
    Value* size = load(i32, team, offsetof(NncTeam, size));
    Value* phase = load_atomic(i32, team, offsetof(NncTeam, phase), AtomicOrdering::Acquire);
    Value* before = ir.CreateAtomicRMW(llvm::AtomicRMWInst::Add, member(team, offsetof(NncTeam, arrived)), ir.getInt32(1),
                                       llvm::MaybeAlign(4), AtomicOrdering::AcquireRelease);
    ir.CreateCondBr(ir.CreateICmpEQ(ir.CreateAdd(before, ir.getInt32(1)), size), last, spin);

    ir.SetInsertPoint(last);
    Value* stop = load_atomic(i32, context, offsetof(NncContext, stop), AtomicOrdering::Monotonic);
    Value* leave = ir.CreateAnd(start, ir.CreateICmpNE(stop, ir.getInt32(0)));
    store_atomic(ir.getInt32(0), team, offsetof(NncTeam, arrived), AtomicOrdering::Monotonic);
    store_atomic(ir.CreateSelect(leave, e.i64(stopped), e.i64(0)), team, offsetof(NncTeam, ticket), AtomicOrdering::Monotonic);
    store_atomic(ir.CreateAdd(phase, ir.getInt32(1)), team, offsetof(NncTeam, phase), AtomicOrdering::SequentiallyConsistent);
    Value* wake_function = load(pointer, context, offsetof(NncContext, wake));
    ir.CreateCondBr(ir.CreateIsNull(wake_function), done, wake);
    ir.SetInsertPoint(wake);
    ir.CreateCall(llvm::FunctionType::get(ir.getVoidTy(), {pointer}, false), wake_function, {context});
    ir.CreateBr(done);

    ir.SetInsertPoint(spin);
    auto* count = ir.CreatePHI(i32, 2, "spins");
    count->addIncoming(ir.getInt32(0), entry);
    Value* now = load_atomic(i32, team, offsetof(NncTeam, phase), AtomicOrdering::Acquire);
    ir.CreateCondBr(ir.CreateICmpNE(now, phase), done, again);
    ir.SetInsertPoint(again);
    if (llvm::Triple(e.module.getTargetTriple()).isX86()) call_intrinsic(ir, llvm::Intrinsic::x86_sse2_pause);
    Value* next = ir.CreateAdd(count, ir.getInt32(1));
    count->addIncoming(next, again);
    ir.CreateCondBr(ir.CreateICmpSLT(next, ir.getInt32(spins)), spin, wait);
    ir.SetInsertPoint(wait);
    ir.CreateCall(llvm::FunctionType::get(ir.getVoidTy(), {pointer, i32}, false),
                  load(pointer, context, offsetof(NncContext, wait)), {context, phase});
    ir.CreateFence(AtomicOrdering::Acquire);
    ir.CreateBr(done);
    ir.SetInsertPoint(done);
    ir.CreateRetVoid();
    return f;
  }

  /// The loop over steps, for a team of one or for a thread of a larger one.
  llvm::Function* emit_body(bool team, size_t first_kernel, size_t end_kernel, const std::string& suffix) {
    auto* pointer = ir.getPtrTy();
    auto* i32 = ir.getInt32Ty();
    auto* i64 = ir.getInt64Ty();
    llvm::Function* f = internal_function((team ? "team" : "alone") + suffix, {pointer, i32, i64});
    Value *context = f->getArg(0), *thread = f->getArg(1), *steps = f->getArg(2);
    auto block = [&](const char* name) { return BasicBlock::Create(e.context, name, f); };
    BasicBlock *entry = block("entry"), *head = block("step"), *work = block("work"), *body = block("kernels"),
               *next = block("next"), *done = block("done");
    ir.SetInsertPoint(entry);
    Value* members = team ? load(pointer, context, offsetof(NncContext, team)) : nullptr;
    Value* scratch =
        ir.CreateGEP(ir.getInt8Ty(), load(pointer, context, offsetof(NncContext, scratch)),
                     ir.CreateMul(ir.CreateSExt(thread, i64), load(i64, context, offsetof(NncContext, scratch_bytes))));
    if (e.program.local_bytes > 0) scratch = e.offset_pointer(scratch, e.program.local_bytes);  // what is local to rounds stands before it
    Value* cycles = load(pointer, context, offsetof(NncContext, kernel_cycles));
    Value* first_thread = ir.CreateICmpEQ(thread, ir.getInt32(0));
    Value* timed = ir.CreateIsNotNull(cycles);
    if (team) timed = ir.CreateAnd(timed, first_thread);
    Value* claimed = team ? ir.CreateAlloca(i64, nullptr, "claimed") : nullptr;
    Value* base = team ? ir.CreateAlloca(i64, nullptr, "base") : nullptr;  // tickets of the kernels since the last barrier
    Value* started = ir.CreateAlloca(i64, nullptr, "started");
    const bool one_run = e.program.parallel_regions.empty();  // else functions do parts of the step
    Value* kept = one_run ? nullptr : ir.CreateAlloca(i64, e.i64(frame_values), "frame");
    Value* rounds = e.program.regions.empty() ? static_cast<Value*>(llvm::ConstantPointerNull::get(pointer)) : ir.CreateAlloca(i64, e.i64(int64_t(max_region_depth)), "rounds");
    ir.CreateStore(e.i64(0), started);
    e.when(first_thread, [&] { ir.CreateStore(e.i64(0), member(context, offsetof(NncContext, steps_done))); });
    BasicBlock* before = ir.GetInsertBlock();
    ir.CreateCondBr(ir.CreateICmpSGT(steps, e.i64(0)), head, done);

    ir.SetInsertPoint(head);
    auto* step = ir.CreatePHI(i64, 2, "step");
    step->addIncoming(e.i64(0), before);
    Value* stop = nullptr;
    if (team) {
      ir.CreateCall(barrier, {context, ir.getTrue()});
      stop = ir.CreateICmpSGE(load_atomic(i64, members, offsetof(NncTeam, ticket), AtomicOrdering::Monotonic), e.i64(stopped));
      ir.CreateStore(e.i64(-1), claimed);
    } else {
      stop = ir.CreateICmpNE(load_atomic(i32, context, offsetof(NncContext, stop), AtomicOrdering::Monotonic), ir.getInt32(0));
    }
    ir.CreateCondBr(stop, done, work);

    ir.SetInsertPoint(work);
    Value* rows = ir.CreateLoad(i64, ir.CreateGEP(i64, load(pointer, context, offsetof(NncContext, rows)), step), "rows");
    ir.CreateCondBr(ir.CreateICmpSGT(rows, e.i64(0)), body, next);

    ir.SetInsertPoint(body);
    auto at_step = [&](size_t base, llvm::Type* type, Value* count) {
      return ir.CreateGEP(type, load(pointer, context, base), ir.CreateMul(step, count));
    };
    Value* row_index = at_step(offsetof(NncContext, row_index), i64, load(i64, context, offsetof(NncContext, rows_capacity)));
    Value* scalars = at_step(offsetof(NncContext, scalars), ir.getDoubleTy(), e.i64(int64_t(e.program.scalars.size())));
    Value* results = at_step(offsetof(NncContext, results), ir.getDoubleTy(), e.i64(int64_t(e.program.results.size())));
    Value* draw = ir.CreateGEP(ir.getInt8Ty(), load(pointer, context, offsetof(NncContext, draws)), ir.CreateMul(step, e.i64(int64_t(sizeof(NncDraw)))), "draw");
    if (team) ir.CreateStore(e.i64(0), base);
    Value* nothing = llvm::ConstantPointerNull::get(pointer);
    Frame frame{context, row_index, rows, scalars, results, draw, scratch, rounds, cycles, timed, team ? members : nothing, team ? claimed : nothing, team ? base : nothing, first_thread, started};
    if (!one_run) keep(frame, kept);
    auto run_kernels = [&](size_t begin, size_t end) {
      if (one_run) e.loop(e.i64(int64_t(begin)), e.i64(int64_t(end)), 1, [&](Value* k) { run_kernel(frame, team, k); });
      else ir.CreateCall(kernels_function(team), {kept, e.i64(int64_t(begin)), e.i64(int64_t(end))});
    };
    auto run_parallel = [&](const ParallelRegion& region) {
      ir.CreateCall(region_function(region, team), {kept, e.i64(int64_t(region.first)), e.i64(int64_t(region.first + region.count))});
    };
    emit_kernels(first_kernel, end_kernel, 0, 0, rounds, run_kernels, run_parallel);
    ir.CreateBr(next);

    ir.SetInsertPoint(next);
    Value* after = ir.CreateAdd(step, e.i64(1));
    auto finish_step = [&] { ir.CreateStore(after, member(context, offsetof(NncContext, steps_done))); };
    if (team)
      e.when(first_thread, finish_step);
    else
      finish_step();
    step->addIncoming(after, ir.GetInsertBlock());
    ir.CreateCondBr(ir.CreateICmpSLT(after, steps), head, done);
    done->moveAfter(ir.GetInsertBlock());
    ir.SetInsertPoint(done);
    if (team) ir.CreateCall(barrier, {context, ir.getFalse()});
    ir.CreateRetVoid();
    return f;
  }

  /// What tells parallel regions apart but for where their kernels stand in the table: in a network of equal layers there are few kinds.
  std::string kind_of(const ParallelRegion& region) const {
    std::string kind = std::to_string(region.count);
    for (const ParallelRegion& inner : e.program.parallel_regions)
      if (inner.first >= region.first && inner.first < region.first + region.count)
        kind += fmt::format(" {}+{}:{}", inner.first - region.first, inner.count, inner.axes);
    for (size_t k = region.first; k < region.first + region.count; ++k)
      for (int axis = 0; axis < round_axes(e.program, k); ++axis) {
        const Extent extent = first_kernel_axes(k)[size_t(axis)].extent;
        kind += fmt::format(" {}{}", extent.size, extent.rows ? "B" : "");
      }
    return kind;
  }

  static constexpr int64_t frame_values = 14;
  /// What runs kernels needs to know of the step and the thread.
  struct Frame {
    Value *context, *row_index, *rows, *scalars, *results, *draw, *scratch, *rounds, *cycles, *timed, *members, *claimed, *base, *first_thread;
    Value* started;  ///< a variable; each function has its own
    std::array<Value**, frame_values> kept() {
      return {&context, &row_index, &rows, &scalars, &results, &draw, &scratch, &rounds, &cycles, &timed, &members, &claimed, &base, &first_thread};
    }
  };

  /// The frame in memory, 8 bytes for each of its values: what a call takes stays short, however many layers there are to call for.
  void keep(Frame& frame, Value* memory) {
    auto values = frame.kept();
    for (size_t n = 0; n < values.size(); ++n) ir.CreateStore(*values[n], member(memory, n * sizeof(int64_t)));
  }

  /// f(frame, begin, end): does a part of the step, kernels `begin` to `end`; body(frame, begin, end) writes it.
  llvm::Function* part_function(const std::string& name, llvm::function_ref<void(const Frame&, Value*, Value*)> body) {
    llvm::IRBuilderBase::InsertPointGuard guard(ir);
    llvm::Type *pointer = ir.getPtrTy(), *i1 = ir.getInt1Ty(), *i64 = ir.getInt64Ty();
    llvm::Function* f = internal_function(name, {pointer, i64, i64});
    ir.SetInsertPoint(BasicBlock::Create(e.context, "entry", f));
    Frame frame{};
    frame.started = ir.CreateAlloca(i64, nullptr, "started");
    ir.CreateStore(e.i64(0), frame.started);
    auto values = frame.kept();
    for (size_t n = 0; n < values.size(); ++n) {
      llvm::Type* type = values[n] == &frame.rows ? i64 : values[n] == &frame.timed || values[n] == &frame.first_thread ? i1 : pointer;
      *values[n] = load(type, f->getArg(0), n * sizeof(int64_t));
    }
    body(frame, f->getArg(1), f->getArg(2));
    ir.CreateRetVoid();
    return f;
  }

  Value* entry_of(Value* k) { return ir.CreateGEP(table->getValueType()->getArrayElementType(), table, k); }

  Value* call_kernel(const Frame& frame, Value* k, Value* begin, Value* end) {
    Value* function = load(ir.getPtrTy(), entry_of(k), offsetof(Entry, function));
    Value* places = load(ir.getPtrTy(), entry_of(k), offsetof(Entry, places));
    return ir.CreateCall(kernel_type, function,
                         {frame.context, frame.row_index, frame.rows, frame.scalars, frame.results, frame.draw, frame.scratch, begin, end, places, frame.rounds});
  }

  Value* has(Value* k, Flag flag) {
    Value* flags = load(ir.getInt32Ty(), entry_of(k), offsetof(Entry, flags));
    return ir.CreateICmpNE(ir.CreateAnd(flags, ir.getInt32(uint32_t(flag))), ir.getInt32(0));
  }

  void wait_for_all(const Frame& frame) {
    ir.CreateCall(barrier, {frame.context, ir.getFalse()});
    ir.CreateStore(e.i64(-1), frame.claimed);
    ir.CreateStore(e.i64(0), frame.base);
  }

  /// work(), with its cycles added to those of kernel k.
  void time_kernel(const Frame& frame, Value* k, llvm::function_ref<void()> work) {
    auto* i64 = ir.getInt64Ty();
    e.when(frame.timed, [&] { ir.CreateStore(call_intrinsic(ir, llvm::Intrinsic::readcyclecounter), frame.started); });
    work();
    e.when(frame.timed, [&] {
      Value* spent = ir.CreateSub(call_intrinsic(ir, llvm::Intrinsic::readcyclecounter), ir.CreateLoad(i64, frame.started));
      Value* sum = ir.CreateGEP(i64, frame.cycles, k);
      ir.CreateStore(ir.CreateAdd(ir.CreateLoad(i64, sum), spent), sum);
    });
  }

  /// All pieces of a kernel, or those that a thread of a team claims.
  void run_kernel(const Frame& frame, bool team, Value* k) {
    auto call = [&](Value* begin, Value* end) { return call_kernel(frame, k, begin, end); };
    if (!team) return time_kernel(frame, k, [&] { call(e.i64(0), e.i64(-1)); });
    e.when(has(k, barrier_before), [&] { wait_for_all(frame); });
    time_kernel(frame, k, [&] {
      Value* is_parallel = has(k, parallel);
      e.when(ir.CreateAnd(ir.CreateNot(is_parallel), frame.first_thread), [&] { call(e.i64(0), e.i64(-1)); });
      e.when(is_parallel, [&] {
        Value* first = ir.CreateLoad(ir.getInt64Ty(), frame.base);
        Value* end = ir.CreateAdd(first, call(e.i64(-1), e.i64(0)));
        emit_claims(frame.members, frame.claimed, first, end, call);
        ir.CreateStore(end, frame.base);
      });
    });
  }

  /// Kernels between parallel regions: a function, since there are as many such runs as regions.
  llvm::Function* kernels_function(bool team) {
    llvm::Function*& f = kernels_functions_[team];
    if (!f)
      f = part_function(team ? "kernels.team" : "kernels.alone", [&](const Frame& frame, Value* begin, Value* end) {
        e.loop(begin, end, 1, [&](Value* k) { run_kernel(frame, team, k); });
      });
    return f;
  }
  llvm::Function* kernels_functions_[2] = {nullptr, nullptr};

  /// All rounds of an outermost parallel region, or those that a thread of a team claims: a function for each kind.
  llvm::Function* region_function(const ParallelRegion& region, bool team) {
    llvm::Function*& f = region_functions_[{kind_of(region), team}];
    if (f) return f;
    const std::string name = fmt::format("rounds{}.{}", region_functions_.size(), team ? "team" : "alone");
    return f = part_function(name, [&](const Frame& frame, Value* begin, Value*) { emit_rounds(frame, team, region, begin); });
  }

  void emit_rounds(const Frame& frame, bool team, const ParallelRegion& region, Value* begin) {
    auto* i64 = ir.getInt64Ty();
    Value* pieces_of_round = ir.CreateAlloca(i64, e.i64(int64_t(region.count)), "pieces_of_round");  // of each kernel
    if (team) e.when(has(begin, barrier_before), [&] { wait_for_all(frame); });
    auto number = [&](size_t k) { return ir.CreateAdd(begin, e.i64(int64_t(k - region.first))); };
    auto slot = [&](size_t k) { return ir.CreateGEP(i64, pieces_of_round, e.i64(int64_t(k - region.first))); };
    // A kernel's pieces are those of its rounds, one round after the other.
    Value* count = rounds_of_axes(region, 0, frame.rows);
    for (size_t k = region.first; k < region.first + region.count; ++k) {
      Value* own = rounds_of_axes(round_axes(e.program, k), first_kernel_axes(k), 0, frame.rows);
      Value* pieces = call_kernel(frame, number(k), e.i64(-1), e.i64(0));
      ir.CreateStore(ir.CreateUDiv(pieces, ir.CreateBinaryIntrinsic(llvm::Intrinsic::umax, own, e.i64(1))), slot(k));
    }
    auto run_round = [&](Value* round) {
      emit_round(region, round, frame.rows, [&](size_t k, Value* own) {
        Value* share = ir.CreateLoad(i64, slot(k));
        Value* first = ir.CreateMul(own, share);
        time_kernel(frame, number(k), [&] { call_kernel(frame, number(k), first, ir.CreateAdd(first, share)); });
      });
    };
    if (!team) {
      e.loop(e.i64(0), count, 1, run_round);
      return;
    }
    Value* first = ir.CreateLoad(i64, frame.base);
    Value* end = ir.CreateAdd(first, count);
    emit_claims(frame.members, frame.claimed, first, end, [&](Value* round, Value*) -> Value* {
      run_round(round);
      return nullptr;
    });
    ir.CreateStore(end, frame.base);
  }
  std::map<std::pair<std::string, bool>, llvm::Function*> region_functions_;

  const std::vector<Axis>& first_kernel_axes(size_t k) const { return axes_of(e.program.kernels[k]); }

  /// How many points a region's axes from number `from` on have.
  Value* rounds_of_axes(int to, const std::vector<Axis>& axes, int from, Value* rows) {
    Value* count = e.i64(1);
    for (int axis = from; axis < to; ++axis) count = ir.CreateMul(count, e.extent(axes[size_t(axis)].extent, rows));
    return count;
  }
  Value* rounds_of_axes(const ParallelRegion& region, int from, Value* rows) { return rounds_of_axes(region.axes, first_kernel_axes(region.first), from, rows); }

  /// One round of a parallel region: run(kernel, round of the innermost region around it), with loops over the rounds of regions within.
  void emit_round(const ParallelRegion& region, Value* round, Value* rows, llvm::function_ref<void(size_t, Value*)> run) {
    const std::vector<ParallelRegion>& all = e.program.parallel_regions;
    size_t next = size_t(&region - all.data()) + 1;
    for (size_t k = region.first; k < region.first + region.count;) {
      while (next < all.size() && all[next].first < k) ++next;
      if (next == all.size() || all[next].first != k) {
        run(k++, round);
        continue;
      }
      const ParallelRegion& inner = all[next++];
      Value* count = rounds_of_axes(inner, region.axes, rows);
      Value* before = ir.CreateMul(round, count);
      e.loop(e.i64(0), count, 1, [&](Value* own) { emit_round(inner, ir.CreateAdd(before, own), rows, run); });
      k += inner.count;
    }
  }

  /// For kernels `begin` to `end`, in `depth` regions: run(first, end) for those between regions, loops over rounds, parallel(region) for what runs in rounds that are shared out.
  /// `next`: the first region that may begin there.
  void emit_kernels(size_t begin, size_t end, size_t next, size_t depth, Value* rounds, llvm::function_ref<void(size_t, size_t)> run,
                    llvm::function_ref<void(const ParallelRegion&)> parallel) {
    const std::vector<Region>& regions = e.program.regions;
    const std::vector<ParallelRegion>& parallel_regions = e.program.parallel_regions;
    while (begin < end) {
      while (next < regions.size() && regions[next].first < begin) ++next;
      const bool is_region = next < regions.size() && regions[next].first == begin;
      size_t stop = next < regions.size() && !is_region ? std::min(end, regions[next].first) : end;
      const auto next_parallel = std::lower_bound(parallel_regions.begin(), parallel_regions.end(), begin, [](const ParallelRegion& r, size_t k) { return r.first < k; });
      if (!is_region && next_parallel != parallel_regions.end()) {
        if (next_parallel->first == begin) {
          parallel(*next_parallel);
          begin += next_parallel->count;
          continue;
        }
        stop = std::min(stop, next_parallel->first);
      }
      if (!is_region) {
        run(begin, stop);
        begin = stop;
        continue;
      }
      const Region& region = regions[next++];
      e.loop(e.i64(0), e.i64(region.rounds), 1, [&](Value* round) {
        Value* index = region.reverse ? ir.CreateSub(e.i64(region.rounds - 1), round) : round;
        ir.CreateStore(index, ir.CreateGEP(ir.getInt64Ty(), rounds, e.i64(int64_t(depth))));
        emit_kernels(region.first, region.first + region.count, next, depth + 1, rounds, run, parallel);
      });
      begin = region.first + region.count;
    }
  }

  /// while ((ticket = claimed or a new one) < end) do piece ticket - base. A ticket beyond is kept: it belongs to the
  /// next kernel.
  void emit_claims(Value* members, Value* claimed, Value* base, Value* end, llvm::function_ref<Value*(Value*, Value*)> call) {
    auto* i64 = ir.getInt64Ty();
    auto claim = [&] {
      Value* ticket = ir.CreateAtomicRMW(llvm::AtomicRMWInst::Add, member(members, offsetof(NncTeam, ticket)), e.i64(1),
                                         llvm::MaybeAlign(8), AtomicOrdering::Monotonic);
      ir.CreateStore(ticket, claimed);
    };
    e.when(ir.CreateICmpSLT(ir.CreateLoad(i64, claimed), e.i64(0)), claim);
    llvm::Function* f = ir.GetInsertBlock()->getParent();
    auto* head = BasicBlock::Create(e.context, "claim", f);
    auto* piece = BasicBlock::Create(e.context, "piece", f);
    auto* done = BasicBlock::Create(e.context, "claimed", f);
    ir.CreateBr(head);
    ir.SetInsertPoint(head);
    Value* ticket = ir.CreateLoad(i64, claimed);
    ir.CreateCondBr(ir.CreateICmpSLT(ticket, end), piece, done);
    ir.SetInsertPoint(piece);
    Value* begin = ir.CreateSub(ticket, base);
    call(begin, ir.CreateAdd(begin, e.i64(1)));
    claim();
    ir.CreateBr(head);
    ir.SetInsertPoint(done);
  }
};

}  // namespace

Value* emit_pieces(Emitter& e, const Kernel& kernel, Value* rows) {
  return std::holds_alternative<MapKernel>(kernel.body) ? emit_map_pieces(e, kernel, rows)
                                                        : emit_contract_pieces(e, kernel, rows);
}

std::unique_ptr<llvm::Module> emit_program(const Program& program, const KernelSharing& sharing, const SourceMap* sources, llvm::TargetMachine& machine,
                                           llvm::LLVMContext& context, int64_t& scratch_bytes, const std::vector<bool>& part,
                                           bool entry, std::vector<size_t> segments) {
  auto module = std::make_unique<llvm::Module>("nnc." + program.name, context);
  set_machine(*module, machine);
  Emitter e(program, sources, *module);
  std::vector<llvm::Function*> functions;
  for (size_t n = 0; n < sharing.functions.size(); ++n) {
    const auto [k, uses] = sharing.functions[n];
    const Kernel& kernel = program.kernels[k];
    bool here = part.empty() || part[n];
    if (!here && !entry) continue;
    llvm::Function* f = e.create_kernel_function(kernel, uses);
    functions.push_back(f);
    e.shared = uses > 1;
    if (!part.empty()) f->setLinkage(llvm::GlobalValue::ExternalLinkage);
    if (!here) continue;
    if (std::holds_alternative<MapKernel>(kernel.body))
      emit_map_kernel(e, kernel, f);
    else
      emit_contract_kernel(e, kernel, f);
  }
  if (entry) StepEmitter(e, sharing, functions, std::move(segments)).emit();
  scratch_bytes = program.local_bytes + (e.scratch_bytes + 63) / 64 * 64;
  return module;
}

std::vector<std::vector<bool>> split_program(const Program& program, const KernelSharing& sharing, size_t parts) {
  const size_t count = sharing.functions.size();
  parts = std::max<size_t>(1, std::min(parts, (count + 3) / 4));
  std::vector<std::vector<bool>> result(parts, std::vector<bool>(count, false));
  // Functions in order, each to the part with the least to do; a register tile weighs as much as some dozens of scalar
  // instructions.
  std::vector<double> work(parts, 0);
  work[0] = 4.0 * double(count);  // the step function
  for (size_t n = 0; n < count; ++n) {
    const Kernel& kernel = program.kernels[sharing.functions[n].kernel];
    double weight = 10;
    if (auto* map = std::get_if<MapKernel>(&kernel.body)) {
      for (const Block& block : map->blocks) weight += double(block.code.size());
    } else {
      const auto& contract = std::get<ContractKernel>(kernel.body);
      weight += 60 + double(contract.a.code.size() + contract.b.code.size()) +
                double(contract.epilogue.size()) * contract.mr * contract.nr / 4 + double(contract.after_rows.size());
    }
    size_t least = size_t(std::min_element(work.begin(), work.end()) - work.begin());
    work[least] += weight;
    result[least][n] = true;
  }
  return result;
}

}  // namespace nnc
