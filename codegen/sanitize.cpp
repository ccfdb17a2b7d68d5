// LLVM's own passes (AddressSanitizer, ThreadSanitizer) do most of it. They leave three things out, which are done here first:
//   masked loads and stores   ASan tests each lane in a block of its own, which makes tails ten times as long; TSan ignores them.
//   Our masks are prefixes
//                             (Emitter::lane_mask), so that one range of as many bytes as the mask has lanes is exact
//   gathers                   one address at a time; an absent lane stands for lane 0, which always exists
//   vectors over 16 bytes     TSan knows no single access as large: a range again
// And ASan sees the arena and the persistents as one allocation each. The bytes that belong to no buffer (spread_memory in
// passes/poison.h leaves some after each) are poisoned while `run` runs: by every thread as it enters, which is idempotent, and
// until the first leaves, which is after the last barrier.
#include "codegen/sanitize.h"

#include <llvm/Analysis/CGSCCPassManager.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Transforms/Instrumentation/AddressSanitizer.h>
#include <llvm/Transforms/Instrumentation/ThreadSanitizer.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "codegen/codegen.h"
#include "runtime/step_abi.h"

#if defined(__SANITIZE_ADDRESS__)
#define NNC_ADDRESS_SANITIZER 1
#elif defined(__SANITIZE_THREAD__)
#define NNC_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NNC_ADDRESS_SANITIZER 1
#elif __has_feature(thread_sanitizer)
#define NNC_THREAD_SANITIZER 1
#endif
#endif

#if NNC_ADDRESS_SANITIZER || NNC_THREAD_SANITIZER
#include <dlfcn.h>
#endif

namespace nnc {

Sanitizer code_sanitizer() {
#if NNC_ADDRESS_SANITIZER
  return Sanitizer::address;
#elif NNC_THREAD_SANITIZER
  return Sanitizer::thread;
#else
  return Sanitizer::none;
#endif
}

#if !NNC_ADDRESS_SANITIZER && !NNC_THREAD_SANITIZER

void instrument_for_sanitizer(llvm::Module&, llvm::TargetMachine&, const Program&) {}
uint64_t sanitizer_symbol(const std::string&) { return 0; }

#else

namespace {

#if NNC_ADDRESS_SANITIZER
constexpr bool address_sanitizer = true;
#else
constexpr bool address_sanitizer = false;
#endif

class Ranges {
 public:
  explicit Ranges(llvm::Module& module) : module_(module), ir_(module.getContext()) {
    auto* type = llvm::FunctionType::get(ir_.getVoidTy(), {ir_.getPtrTy(), ir_.getInt64Ty()}, false);
    load_ = module.getOrInsertFunction(address_sanitizer ? "__asan_loadN" : "__tsan_read_range", type);
    store_ = module.getOrInsertFunction(address_sanitizer ? "__asan_storeN" : "__tsan_write_range", type);
  }

  void run() {
    std::vector<llvm::Instruction*> instructions;
    for (llvm::Function& f : module_)
      for (llvm::Instruction& i : llvm::instructions(f)) instructions.push_back(&i);
    for (llvm::Instruction* i : instructions) check(i);
  }

 private:
  void check(llvm::Instruction* i) {
    ir_.SetInsertPoint(i);
    if (auto* call = llvm::dyn_cast<llvm::IntrinsicInst>(i)) {
      if (call->getIntrinsicID() == llvm::Intrinsic::masked_load)
        masked(call, load_, call->getArgOperand(0), call->getArgOperand(2), call->getType());
      else if (call->getIntrinsicID() == llvm::Intrinsic::masked_store)
        masked(call, store_, call->getArgOperand(1), call->getArgOperand(3), call->getArgOperand(0)->getType());
      else if (call->getIntrinsicID() == llvm::Intrinsic::masked_gather)
        gather(call);
      return;
    }
    if (address_sanitizer) return;
    if (auto* load = llvm::dyn_cast<llvm::LoadInst>(i)) wide(load_, load->getPointerOperand(), load->getType());
    if (auto* store = llvm::dyn_cast<llvm::StoreInst>(i))
      wide(store_, store->getPointerOperand(), store->getValueOperand()->getType());
  }

  uint64_t bytes(llvm::Type* type) const { return module_.getDataLayout().getTypeStoreSize(type).getFixedValue(); }

  void wide(llvm::FunctionCallee function, llvm::Value* pointer, llvm::Type* type) {
    if (bytes(type) <= 16 || llvm::isa<llvm::AllocaInst>(pointer->stripPointerCasts())) return;
    ir_.CreateCall(function, {pointer, ir_.getInt64(bytes(type))});
  }

  void masked(llvm::IntrinsicInst* call, llvm::FunctionCallee function, llvm::Value* pointer, llvm::Value* mask,
              llvm::Type* type) {
    unsigned lanes = llvm::cast<llvm::FixedVectorType>(type)->getNumElements();
    llvm::Value* bits = ir_.CreateZExt(ir_.CreateBitCast(mask, ir_.getIntNTy(lanes)), ir_.getInt64Ty());
    llvm::Value* count = ir_.CreateUnaryIntrinsic(llvm::Intrinsic::ctpop, bits);
    ir_.CreateCall(function, {pointer, ir_.CreateMul(count, ir_.getInt64(bytes(type->getScalarType())))});
    call->setMetadata(llvm::LLVMContext::MD_nosanitize, llvm::MDNode::get(module_.getContext(), {}));
  }

  void gather(llvm::IntrinsicInst* call) {
    unsigned lanes = llvm::cast<llvm::FixedVectorType>(call->getType())->getNumElements();
    llvm::Value *pointers = call->getArgOperand(0), *mask = call->getArgOperand(2);
    llvm::Value* first = ir_.CreateExtractElement(pointers, uint64_t(0));
    for (unsigned l = 0; l < lanes; ++l) {
      llvm::Value* pointer =
          ir_.CreateSelect(ir_.CreateExtractElement(mask, uint64_t(l)), ir_.CreateExtractElement(pointers, uint64_t(l)), first);
      ir_.CreateCall(load_, {pointer, ir_.getInt64(bytes(call->getType()->getScalarType()))});
    }
    call->setMetadata(llvm::LLVMContext::MD_nosanitize, llvm::MDNode::get(module_.getContext(), {}));
  }

  llvm::Module& module_;
  llvm::IRBuilder<> ir_;
  llvm::FunctionCallee load_, store_;
};

using Gaps = std::vector<std::pair<int64_t, int64_t> >;  // offset, bytes

/// What of a block of the program's memory no buffer owns at any time.
Gaps gaps_of(const Program& program, BufferKind kind, int64_t block_bytes) {
  std::vector<std::pair<int64_t, int64_t> > owned;
  for (const Buffer& b : program.buffers)
    if (b.kind == kind) owned.emplace_back(b.offset, b.offset + b.bytes);
  std::sort(owned.begin(), owned.end());
  Gaps gaps;
  int64_t at = 0;
  for (auto [begin, end] : owned) {
    if (begin > at) gaps.emplace_back(at, begin - at);
    at = std::max(at, end);
  }
  if (block_bytes > at) gaps.emplace_back(at, block_bytes - at);
  return gaps;
}

void poison_gaps(llvm::Module& module, const Program& program) {
  llvm::Function* run = module.getFunction("run");
  if (!run || run->isDeclaration()) return;
  llvm::IRBuilder<> ir(module.getContext());
  auto mark = [&](llvm::Instruction* before, const char* function) {
    auto* type = llvm::FunctionType::get(ir.getVoidTy(), {ir.getPtrTy(), ir.getInt64Ty()}, false);
    llvm::FunctionCallee callee = module.getOrInsertFunction(function, type);
    ir.SetInsertPoint(before);
    auto block = [&](size_t member, const Gaps& gaps) {
      llvm::Value* base = ir.CreateLoad(ir.getPtrTy(), ir.CreateConstGEP1_64(ir.getInt8Ty(), run->getArg(0), member));
      for (auto [offset, bytes] : gaps)
        ir.CreateCall(callee, {ir.CreateConstGEP1_64(ir.getInt8Ty(), base, uint64_t(offset)), ir.getInt64(uint64_t(bytes))});
    };
    block(offsetof(NncContext, arena), gaps_of(program, BufferKind::temporary, program.arena_bytes));
    block(offsetof(NncContext, persistent), gaps_of(program, BufferKind::persistent, program.persistent_bytes));
  };
  std::vector<llvm::Instruction*> returns;
  for (llvm::Instruction& i : llvm::instructions(*run))
    if (llvm::isa<llvm::ReturnInst>(i)) returns.push_back(&i);
  for (llvm::Instruction* i : returns) mark(i, "__asan_unpoison_memory_region");
  mark(&*run->getEntryBlock().getFirstInsertionPt(), "__asan_poison_memory_region");
}

}  // namespace

void instrument_for_sanitizer(llvm::Module& module, llvm::TargetMachine& machine, const Program& program) {
  for (llvm::Function& f : module) {
    if (f.isDeclaration()) continue;
    f.addFnAttr(address_sanitizer ? llvm::Attribute::SanitizeAddress : llvm::Attribute::SanitizeThread);
    f.addFnAttr("frame-pointer", "all");  // the sanitizers' stack traces follow it
  }
  for (llvm::GlobalVariable& g : module.globals()) {  // constants: nothing registers red zones around them
    llvm::GlobalValue::SanitizerMetadata metadata;
    metadata.NoAddress = true;
    g.setSanitizerMetadata(metadata);
  }
  Ranges(module).run();
  if (address_sanitizer) poison_gaps(module, program);

  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager cgscc;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(cgscc);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, cgscc, modules);
  llvm::ModulePassManager passes;
  if (address_sanitizer) {
    llvm::AddressSanitizerOptions options;
    options.UseAfterReturn = llvm::AsanDetectStackUseAfterReturnMode::Never;
    passes.addPass(llvm::AddressSanitizerPass(options, false, false, llvm::AsanDtorKind::None, llvm::AsanCtorKind::None));
  } else {
    passes.addPass(llvm::createModuleToFunctionPassAdaptor(llvm::ThreadSanitizerPass()));
  }
  passes.run(module, modules);
}

uint64_t sanitizer_symbol(const std::string& name) {
  if (name.rfind(address_sanitizer ? "__asan_" : "__tsan_", 0) != 0) return 0;
  return uint64_t(reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, name.c_str())));
}

#endif

}  // namespace nnc
